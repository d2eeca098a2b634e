"""The lines of runs that go on side by side: whole, each with its run's place in the study."""

import io
import os
import subprocess
import sys
import types

import pytest
from conftest import fail, simulated_run

from pepr.study import profile as study_profile, progress

SPECS = study_profile.grid(study_profile.load("pocket"))


def test_lines_are_handed_on_whole_with_their_label_and_blank_ones_are_not():
    stream = io.StringIO()
    lines = progress.LabelledLines(stream, "[ 2/12] ")
    for part in ("epoch 1", "/3", "\n\n", "epoch 2/3\nep"):
        lines.write(part)
    assert stream.getvalue() == "[ 2/12] epoch 1/3\n[ 2/12] epoch 2/3\n"
    lines.write("och 3/3\n")
    assert stream.getvalue().endswith("[ 2/12] epoch 3/3\n")


def test_the_lines_of_processes_that_print_at_once_never_mix():
    program = (
        "import sys; from pepr.study.progress import LabelledLines\n"
        "lines = LabelledLines(sys.stdout, sys.argv[1])\n"
        "for _ in range(300):\n    lines.write('a line in'); lines.write(' two parts\\n')"
    )
    reader, writer = os.pipe()
    running = [
        subprocess.Popen([sys.executable, "-u", "-c", program, label], stdout=writer) for label in "AB"
    ]
    os.close(writer)
    with os.fdopen(reader) as stream:
        lines = stream.read().splitlines()
    assert all(process.wait() == 0 for process in running)
    assert sorted(lines) == ["Aa line in two parts"] * 300 + ["Ba line in two parts"] * 300


def test_a_line_of_a_run_is_one_write(monkeypatch):
    """Two writes, of a text and of its end, let another run's line in between."""
    written = []
    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(write=written.append, flush=lambda: None))
    progress.say("[1/2] begun")
    assert written == ["[1/2] begun\n"]


def test_a_run_is_known_by_its_place_in_the_profile():
    labels = [progress.label(spec, SPECS) for spec in SPECS]
    assert labels[0] == f"[  1/{len(SPECS)}] " and labels[-1] == f"[{len(SPECS)}/{len(SPECS)}] "
    assert progress.begun(SPECS[0]) == "elpv · majority · seed 0"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "s of the processor  whole run"),
        ({"contended": True}, "(other programs ran meanwhile)"),
        ({"contended": True, "device": "cuda"}, "(other programs ran meanwhile: time and energy not ranked)"),
    ],
)
def test_what_became_of_a_run_is_one_line(changes, told):
    record = simulated_run("dla46_c", "elpv", 0)[0] | changes
    assert told in progress.ended(record) and "\n" not in progress.ended(record)


def test_a_failed_run_says_why():
    record = fail(simulated_run("dla46_c", "elpv", 0)[0], "diverged") | {"traceback": "Diverged: loss nan"}
    assert progress.ended(record) == "failed: diverged: Diverged: loss nan"


def test_what_is_left_is_told_for_the_runs_that_go_on_at_once(monkeypatch):
    asked = []

    def seconds_left(specs, done, measured, runs_at_once):
        asked.append((len(specs) - len(done), runs_at_once))
        return 3600.0

    monkeypatch.setattr(progress.forecast, "seconds_left", seconds_left)
    one, whole = {SPECS[0].run_id: {}}, {spec.run_id: {} for spec in SPECS}
    assert progress.left(SPECS, one, "pocket", 2) == f"1 of {len(SPECS)} runs done, about 60 min left"
    assert asked == [(len(SPECS) - 1, 2)]
    assert progress.left(SPECS, whole, "pocket", 2) == f"{len(SPECS)} of {len(SPECS)} runs done"
