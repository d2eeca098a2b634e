"""The page on one's own results shows what its commands print."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pepr.tables.keys import KNOWN_COLUMNS
from pepr.tables.naming import spelled_otherwise

BOOK = Path(__file__).parents[2] / "book"
EXAMPLE = BOOK / "_static" / "own-results"


def test_the_commands_of_the_page_print_what_it_shows(tmp_path):
    for name in ("accuracy.csv", "emissions.csv"):
        (tmp_path / name).write_bytes((EXAMPLE / name).read_bytes())
    program = tmp_path / "bin" / "pepr"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pepr.cli "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    commands = (EXAMPLE / "commands.sh").read_text().replace("\\\n", "").splitlines()
    audit, score, curve = (
        subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
        for line in commands
    )
    shown = {"audit.txt": audit.stdout, "said.txt": score.stderr, "peak.txt": curve.stdout}
    shown["scored.csv"] = (tmp_path / "scored.csv").read_text()
    for name, printed in shown.items():
        assert printed == (EXAMPLE / name).read_text(), name
    assert [done.returncode for done in (audit, score, curve)] == [0, 0, 0] and not score.stdout
    assert "its PePR" in (tmp_path / "curve.svg").read_text()


@pytest.mark.parametrize("name", ["Run ID", "run-id", "runId"])
def test_the_spellings_that_the_page_names_are_known(name):
    assert f"`{name}`" in (BOOK / "own-results.md").read_text()
    assert spelled_otherwise([name], KNOWN_COLUMNS) == [f"{name!r} as run_id"]
