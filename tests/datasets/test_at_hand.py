"""Images that are not at hand: said before anything starts, with what to put where."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pepr import study
from pepr.datasets import at_hand, downloads
from pepr.errors import InputError


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No file of the user's, none downloaded before, and no network."""
    monkeypatch.setenv("PEPR_DATA", str(tmp_path))
    monkeypatch.setattr(downloads, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(at_hand, "answers", lambda url: False)
    return tmp_path


def missing(specs):
    return at_hand.missing(spec.dataset for spec in specs)


def part_of(*settings):
    return study.restrict(study.load("medical"), models=["mobilenetv2_100"], settings=list(settings))


def test_without_any_image_one_line_says_what_to_put_where(nowhere):
    with pytest.raises(InputError) as told:
        missing(study.grid(study.load("medical")))
    line = str(told.value)
    assert "\n" not in line and f"$PEPR_DATA (PEPR_DATA={nowhere})" in line
    for file in ("breastmnist", "retinamnist", "pneumoniamnist"):
        assert f"medmnist/{file}.npz from MedMNIST v2, https://" in line
    assert line.count("ham10000/HAM10000_metadata.csv and ham10000/HAM10000_images*.zip from Harvard") == 1


def test_where_some_are_at_hand_the_runs_of_the_others_are_counted(nowhere):
    (nowhere / "medmnist").mkdir()
    (nowhere / "medmnist" / "breastmnist.npz").touch()
    specs = study.grid(part_of("breast", "retina"))
    assert missing(specs) == {"retinamnist": 5}


def test_what_can_be_downloaded_is_not_missing(nowhere, monkeypatch):
    monkeypatch.setattr(at_hand, "answers", lambda url: url == at_hand.HOST)
    specs = study.grid(part_of("breast", "ham10000"))
    assert missing(specs) == {"ham10000": 3}


def test_images_that_come_as_a_package_are_at_hand(nowhere):
    assert missing(study.grid(study.load("pocket"))) == {}


@pytest.fixture
def no_proxies(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def test_a_proxy_that_is_nowhere_means_that_no_host_answers(no_proxies, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert not at_hand.answers("https://localhost")
    monkeypatch.setenv("https_proxy", "127.0.0.1:9")
    assert not at_hand.answers("https://localhost")


@pytest.mark.parametrize(("answer", "expected"), [("200 OK", True), ("502 Bad Gateway", False)])
def test_a_host_behind_a_proxy_answers_if_the_proxy_leads_there(no_proxies, monkeypatch, answer, expected):
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            asked.append(connection.recv(4096).decode())
            connection.sendall(f"HTTP/1.1 {answer}\r\n\r\n".encode())
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://me:so%40me@127.0.0.1:{server.getsockname()[1]}")
        assert at_hand.answers("https://images.example/some/file") is expected
    (request,) = asked
    assert request.startswith("CONNECT images.example:443")
    assert "Proxy-Authorization: Basic bWU6c29AbWU=" in request


def test_the_command_says_in_one_line_what_to_put_where_and_trains_nothing(tmp_path, no_proxies):
    """Nothing in PEPR_DATA, no network but a proxy that is nowhere, nothing downloaded before."""
    found = {
        "PEPR_DATA": str(tmp_path / "data"),
        "PEPR_RESULTS": str(tmp_path / "results"),
        "PEPR_DEVICE": "cpu",
        "HOME": str(tmp_path),
        "https_proxy": "http://127.0.0.1:9",
    }
    (tmp_path / "data").mkdir()
    command = [sys.executable, "-m", "pepr.cli", "reproduce", "--profile", "medical"]
    done = subprocess.run(
        [*command, "--settings", "breast"],
        cwd=Path(__file__).parents[2],
        env=os.environ | found,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("pepr: no image that these runs need is at hand: put into $PEPR_DATA")
    assert "medmnist/breastmnist.npz from MedMNIST v2, https://doi.org/" in line
    assert not list((tmp_path / "results").rglob("*.json"))
