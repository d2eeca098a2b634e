"""The page on one's own results shows what its commands print."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "book" / "_static" / "own-results"
SHOWN = ("audit.txt", "said.txt", "scored.csv", "peak.txt")


def test_the_commands_of_the_page_print_what_it_shows(tmp_path):
    for name in ("accuracy.csv", "emissions.csv"):
        (tmp_path / name).write_bytes((EXAMPLE / name).read_bytes())
    program = tmp_path / "bin" / "pepr"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pepr.cli "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    commands = ["sh", "-e", str(EXAMPLE / "commands.sh")]
    subprocess.run(commands, cwd=tmp_path, env=environment, check=True, capture_output=True)
    for name in SHOWN:
        assert (tmp_path / name).read_text() == (EXAMPLE / name).read_text(), name
    assert "its PePR" in (tmp_path / "curve.svg").read_text()
