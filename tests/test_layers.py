"""Imports go one way: import-linter holds the table in pyproject.toml, and breaks when it is broken."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_imports_go_one_way():
    done = lint(CHECKOUT)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("pepr/runs/spec.py", "from pepr.study import forecast"),
        ("pepr/analysis/scores.py", "from pepr.training import loop"),
        ("pepr/score.py", "from pepr import grids"),
        ("pepr/machine/meter.py", "import torch"),
    ],
)
def test_an_upward_import_is_found(tmp_path, module, line):
    shutil.copytree(CHECKOUT / "pepr", tmp_path / "pepr", ignore=shutil.ignore_patterns("*.pyc", "reference"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1 and "BROKEN" in done.stdout
