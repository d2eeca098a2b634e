"""Where Unix is missing, what needs no grid works, and the grid says in one line that it does not."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from pepr import files, study
from pepr.errors import InputError
from pepr.study import workflow

UNIX_ONLY = ("fcntl", "resource", "pty", "termios", "tty", "pwd", "grp")
WITHOUT = f"import asyncio, psutil, subprocess, sys; sys.modules.update(dict.fromkeys({UNIX_ONLY!r})); "


@pytest.mark.parametrize(
    "work",
    [
        "import pepr.training.loop, pepr.datasets.downloads, pepr.machine.meter, pepr.machine.gpu",
        "from pepr import files; import tempfile, pathlib",
        "import pepr; pepr.measure",
        "from pepr.cli import app; app(['models', '--family', 'dla'])",
        "from pepr.cli import app; app(['plan', '--json'])",
        "from pepr.cli import app; app(['predict', 'resnet18'])",
        "from pepr.cli import app; app(['recommend', '--setting', 'elpv'])",
        "from pepr.cli import app; app(['verify', 'pocket'])",
    ],
)
def test_what_needs_no_grid_works_without_the_modules_of_unix(work):
    code = f"{WITHOUT}{work}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_command_to_measure_is_refused_in_one_line():
    code = (
        f"{WITHOUT}from pepr.cli import app; from pepr.errors import exit_status; "
        "sys.argv = ['pepr', 'measure', '--', 'x']; sys.exit(exit_status(app, 'pepr: '))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (told,) = done.stderr.splitlines()
    assert told.startswith("pepr: a command is measured on Linux or macOS") and "pepr.measure" in told


def test_a_lock_is_waited_for_however_long_another_has_it(monkeypatch):
    tried = []

    def locking(handle, how, size):
        tried.append(how)
        if len(tried) < 5:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_LOCK=1, LK_NBLCK=2))
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "LOCK_POLL_S", 0)
    assert not files.lock(7, wait=False) and tried == [2]
    assert files.lock(7, wait=True) and tried == 5 * [2]


def test_the_grid_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(workflow.sys, "platform", "win32")
    with pytest.raises(
        InputError, match=r"Linux or macOS.*\(WSL\).*the notebooks and the other commands work"
    ):
        workflow.reproduce(study.load("smoke"), tmp_path)
