"""The front door where make is old and paths have blanks: what fails says so and leaves no mark."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=outside, capture_output=True, text=True, check=False
    )


@pytest.fixture
def checkout(tmp_path):
    """A checkout in a folder with a blank and a quote, whose virtual environment is made of stand-ins."""
    folder = tmp_path / "One Drive" / "it's mine"
    folder.mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "requirements-no-deps.lock", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, folder)
    program(folder / ".venv/bin/python", "exit 0")
    program(folder / ".venv/bin/pepr", 'for word; do echo "<$word>"; done')
    return folder


@pytest.mark.parametrize("shell_flags", [[], [".SHELLFLAGS=-c"]], ids=["make 4", "make 3.81"])
def test_an_installation_that_fails_leaves_no_mark_of_success(checkout, shell_flags):
    failing = 'case "$*" in *requirements.lock*) echo "ERROR: no such package"; exit 1;; esac'
    program(checkout / ".venv/bin/python", failing)
    for _ in range(2):
        done = make(checkout, *shell_flags, "setup")
        assert done.returncode != 0 and "no such package" in done.stdout
        assert not (checkout / ".venv/.installed").exists()


def test_an_environment_that_was_left_without_pip_is_made_again(checkout):
    """As it is where making it was interrupted, or where the system lacked a package that brings pip."""
    program(checkout / ".venv/bin/python", 'case "$*" in "-m pip"*) exit 1;; esac')
    program(checkout / "python", 'case "$*" in "-m venv .venv") echo "exit 0" >.venv/bin/python;; esac')
    done = make(checkout, "setup", "PYTHON=./python")
    assert done.returncode == 0 and (checkout / ".venv/.installed").exists()


def test_the_installation_says_how_to_take_less_and_how_to_reach_the_command(checkout):
    less = "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
    said = make(checkout, "setup").stdout
    assert f"\n  {less} make setup\n" in said and "source .venv/bin/activate" in said
    for page in ("README.md", "book/extending.md", "book/own-results.md"):
        assert "`source .venv/bin/activate`" in (CHECKOUT / page).read_text()
    (checkout / ".venv/.installed").unlink()
    assert less not in make(checkout, "setup", less).stdout


def test_a_set_up_checkout_is_not_set_up_again(checkout):
    assert make(checkout, "setup").returncode == 0 and (checkout / ".venv/.installed").exists()
    os.utime(checkout / ".venv/.installed", (2e9, 2e9))
    assert "Installing" not in make(checkout, "setup").stdout


def test_what_a_person_names_reaches_the_command_in_one_piece(checkout):
    done = make(
        checkout, "reproduce", "PROFILE=my study.yaml", "MODELS=a, b", "CLUSTER=my cluster", "SEEDS=0,1"
    )
    assert done.stdout.splitlines()[-9:] == [
        "<reproduce>",
        "<--profile>",
        "<my study.yaml>",
        "<--cluster>",
        "<my cluster>",
        "<--models>",
        "<a, b>",
        "<--seeds>",
        "<0,1>",
    ]


def test_what_a_person_names_is_no_program(checkout):
    """Two dollar signs are one of a name, to make."""
    name = """it's "mine" `touch a` $HOME $(touch b); touch c.yaml"""
    done = make(checkout, "plan", f"PROFILE={name.replace('$', '$$')}", f"MODELS={name.replace('$', '$$')}")
    assert done.stdout.splitlines()[-4:] == ["<--profile>", f"<{name}>", "<--models>", f"<{name}>"]
    assert not any((checkout / left).exists() for left in ("a", "b", "c.yaml"))
