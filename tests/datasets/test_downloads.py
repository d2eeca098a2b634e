"""Downloads from a server that breaks, forbids, and lies: resumed, tried again, checked before use."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from pepr import errors
from pepr.datasets import downloads
from pepr.errors import DataUnavailable

CONTENT = np.random.default_rng(0).bytes(300_000)
CHUNK = downloads.CHUNK_BYTES
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `CONTENT`. `script` holds what each request in turn is answered with; afterwards all is well:

    a number breaks the connection after that many bytes of the body, `refuse` answers 503, `forbid` 404,
    `whole` ignores the range that was asked for, `lie` sends other bytes.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.ranges = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/images.npz?download=1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        act = self.server.script.pop(0) if self.server.script else None
        if act in ("refuse", "forbid"):
            return self.send_error(503 if act == "refuse" else 404)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and act != "whole" else 0
        if start >= len(CONTENT):
            return self.send_error(416)
        body = CONTENT[start:] if act != "lie" else bytes(len(CONTENT) - start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(body[:act] if isinstance(act, int) else body)
        if isinstance(act, int):
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(server, path):
    return downloads.fetch(server.url, path, md5=MD5, wait_s=0)


def test_a_file_is_downloaded_once(server, tmp_path):
    path = tmp_path / "new" / "images.npz"
    assert fetch(server, path) == path and path.read_bytes() == CONTENT
    fetch(server, path)
    assert server.ranges == [None] and [entry.name for entry in path.parent.iterdir()] == ["images.npz"]


def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path):
    server.script = [2 * CHUNK + 100, CHUNK + 100]
    assert fetch(server, tmp_path / "images.npz").read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={2 * CHUNK}-", f"bytes={3 * CHUNK}-"]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(server, tmp_path):
    path = tmp_path / "images.npz"
    server.script = [CHUNK + 100, *["refuse"] * downloads.ATTEMPTS]
    with pytest.raises(DataUnavailable, match="503"):
        fetch(server, path)
    assert not path.exists() and (tmp_path / "images.npz.part").stat().st_size == CHUNK
    assert fetch(server, path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={CHUNK}-"


def test_a_server_that_cannot_resume_sends_all_of_it_again(server, tmp_path):
    server.script = [CHUNK + 100, "whole"]
    assert fetch(server, tmp_path / "images.npz").read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={CHUNK}-"]


def test_a_passing_failure_is_tried_again_and_a_lasting_one_is_not(server, tmp_path):
    server.script = ["refuse", "refuse"]
    assert fetch(server, tmp_path / "images.npz").read_bytes() == CONTENT
    server.script = ["forbid"]
    with pytest.raises(DataUnavailable, match="404"):
        fetch(server, tmp_path / "other.npz")
    assert len(server.ranges) == 4 and [entry.name for entry in tmp_path.iterdir()] == ["images.npz"]


def test_bytes_with_another_checksum_are_never_used(server, tmp_path):
    server.script = ["lie"]
    with pytest.raises(DataUnavailable, match=f"has the MD5 .*, not {MD5}"):
        fetch(server, tmp_path / "images.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_rest_that_does_not_fit_is_thrown_away_and_fetched_again(server, tmp_path):
    (tmp_path / "images.npz.part").write_bytes(b"something else")
    assert fetch(server, tmp_path / "images.npz").read_bytes() == CONTENT
    assert server.ranges == ["bytes=14-", None]
    (tmp_path / "more.npz.part").write_bytes(bytes(len(CONTENT) + 5))
    assert fetch(server, tmp_path / "more.npz").read_bytes() == CONTENT


def test_two_at_once_make_one_download(server, tmp_path):
    path, found = tmp_path / "images.npz", []
    workers = [threading.Thread(target=lambda: found.append(fetch(server, path))) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [path] * 3 and path.read_bytes() == CONTENT and server.ranges == [None]


def test_no_server_at_all_is_told(tmp_path):
    with pytest.raises(DataUnavailable, match="ConnectionError"):
        downloads.fetch("http://127.0.0.1:9/x.npz", tmp_path / "x.npz", md5=MD5, wait_s=0)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_not_tried_again(server, tmp_path, monkeypatch):
    def full(url, stream, bar):
        calls.append(url)
        raise OSError(28, "No space left on device")

    calls = []
    monkeypatch.setattr(downloads, "receive_once", full)
    with pytest.raises(DataUnavailable, match="No space left on device"):
        fetch(server, tmp_path / "images.npz")
    assert len(calls) == 1


@pytest.fixture
def unwritable(monkeypatch):
    """A disk on which no folder can be made and no file opened to be written."""

    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(downloads.Path, "mkdir", refuse)
    monkeypatch.setattr(downloads.Path, "open", refuse)


def test_a_cache_that_cannot_be_written_is_told_as_an_error_of_the_disk(server, tmp_path, unwritable):
    with pytest.raises(DataUnavailable, match=r"PermissionError: \[Errno 13\] Permission denied: ") as told:
        fetch(server, tmp_path / "new" / "images.npz")
    assert errors.is_storage_error(str(told.value)) and server.ranges == []


def test_a_file_in_a_cache_that_cannot_be_written_is_used(server, tmp_path, request):
    fetch(server, tmp_path / "images.npz")
    request.getfixturevalue("unwritable")
    assert fetch(server, tmp_path / "images.npz") == tmp_path / "images.npz" and server.ranges == [None]


def test_a_supplied_file_is_found_in_the_folder_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("PEPR_DATA", raising=False)
    assert downloads.supplied("medmnist", "x.npz") is None
    assert downloads.place("lidc", "x.npz") == "$PEPR_DATA/lidc/x.npz (PEPR_DATA is not set)"
    monkeypatch.setenv("PEPR_DATA", str(tmp_path))
    assert downloads.supplied("medmnist", "x.npz") is None
    (tmp_path / "medmnist").mkdir()
    (tmp_path / "medmnist" / "x.npz").touch()
    assert downloads.supplied("medmnist", "x.npz") == tmp_path / "medmnist" / "x.npz"
