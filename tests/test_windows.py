"""Where Unix is missing, what needs no grid works, and the grid says in one line that it does not."""

import subprocess
import sys

import pytest

from pepr import study
from pepr.errors import InputError
from pepr.study import workflow

UNIX_ONLY = ("fcntl", "resource", "pty", "termios", "tty", "pwd", "grp")
WITHOUT = f"import asyncio, psutil, subprocess, sys; sys.modules.update(dict.fromkeys({UNIX_ONLY!r})); "


@pytest.mark.parametrize(
    "work",
    [
        "import pepr.training.loop, pepr.datasets.downloads, pepr.machine.meter, pepr.machine.gpu",
        "from pepr import files; import tempfile, pathlib",
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


def test_the_grid_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(workflow.sys, "platform", "win32")
    with pytest.raises(
        InputError, match=r"Linux or macOS.*\(WSL\).*the notebooks and the other commands work"
    ):
        workflow.reproduce(study.load("smoke"), tmp_path)
