"""The training loop costs no more than its arithmetic, and a run starts no slower than its libraries.

Ratios within one run, so that a slow machine does not fail them.
"""

import json
import math
import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from benchmarks import loops, runs, timing, wrapping
from benchmarks.__main__ import RESULTS, combined, thirds
from pepr.study import execution


def test_work_is_timed_in_alternating_order_after_a_warm_up():
    order = []
    found = timing.compare({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b", "a", "b", "b", "a"]
    assert len(found.seconds["a"]) == 2 and found.median("a") >= 0
    longer = timing.compare({"a": lambda: time.sleep(0.01)}, rounds=2, at_least_s=0.5)
    assert len(longer.seconds["a"]) in range(3, 51)
    fixed = timing.Comparison({"a": [9.0, 2.0], "b": [3.0, 1.0]})
    assert fixed.ratios("a", "b") == [3.0, 2.0]
    assert fixed.least("a") == 2.0 and fixed.median("a") == 5.5
    assert timing.summary([3.0, 1.0, 2.0]) == (2.0, [1.0, 3.0])


def test_cases_are_combined_by_medians_of_thirds_and_of_all_rounds():
    quick, slow = [1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 4.0, 4.0, 9.0, 4.0], [1.0, 4.0, 1.0]
    assert thirds(quick) == [1.0, 1.0, 4.0] and thirds(slow) == slow
    assert combined([quick, slow]) == (pytest.approx([1.0, 2.0, 2.0]), pytest.approx(math.sqrt(2.5)))


def test_both_loops_do_the_same_arithmetic(data_cache, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(data_cache.parents[1]))
    found = [
        loops.losses(way, "mobilenetv2_050", torch.float64, image_size=32, steps=6)
        for way in ("ours", "authors")
    ]
    assert loops.greatest_difference(*found) < 1e-5
    assert loops.greatest_difference([1.0, 2.0, 3.0], [1.0, 2.5, 3.1]) == 0.5


@pytest.mark.slow
def test_a_training_is_measured_bare_and_wrapped_in_turns():
    found = wrapping.overhead(seconds=2.0, rounds=2)
    assert set(found) == set(wrapping.NAMES) and all(len(values) == 2 for values in found.values())
    assert all(share > 0 for kind in ("s", "cpu_s") for share in wrapping.shares(found, kind))
    assert min(found["wrapped_cpu_s"]) > min(found["training_cpu_s"]) > 0.2
    assert 1 / 3 < wrapping.energy_ratio(found) < 3  # of two seconds, beside whatever else goes on


@pytest.mark.slow
def test_the_meter_is_measured_beside_a_training_that_ends_with_it():
    before = set(psutil.Process().children())
    with loops.at_work("mobilenetv2_050"):
        (trainer,) = (
            p for p in set(psutil.Process().children()) - before if "spawn_main" in str(p.cmdline())
        )
        began = sum(trainer.cpu_times()[:2])
        (share,) = runs.meter(2.0, rounds=1)
        assert sum(trainer.cpu_times()[:2]) - began > 1.0
    assert 0 < share < 0.1
    assert not trainer.is_running()


@pytest.mark.slow
def test_only_the_process_of_our_loop_has_the_settings_of_a_run(monkeypatch):
    for variable in execution.KERNEL_ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)
    with loops.processes() as pools:
        assert os.environ.keys().isdisjoint(execution.KERNEL_ENVIRONMENT)
        for name, pool in pools.items():
            has = {key: pool.submit(os.getenv, key).result() for key in execution.KERNEL_ENVIRONMENT}
            assert has == (execution.KERNEL_ENVIRONMENT if name == "ours" else dict.fromkeys(has))


def test_shares_follow_from_the_records():
    meter = {
        "train": {"time_s": 60.0, "energy_kwh": 0.003},
        "validation": {"time_s": 15.0, "energy_kwh": 0.0},
    }
    meter |= {"inference": {"time_s": 5.0, "energy_kwh": 0.001}}
    # Each takes 90 s, of which 80 are metered; ten seconds lie between two, and once a night.
    times = (
        ("10:00:00", "10:01:30"),
        ("10:01:40", "10:03:10"),
        ("10:03:20", "10:04:50"),
        ("22:00:00", "22:01:30"),
    )
    records = [
        {
            "meter": meter,
            "wall_time_s": 90.0,
            "started_at": f"2026-01-02T{start}",
            "ended_at": f"2026-01-02T{end}",
        }
        for start, end in times
    ]
    assert runs.startup_seconds(records) == pytest.approx(20)
    assert runs.startup_share(records[::-1]) == pytest.approx(0.2)
    split = runs.energy_split(records, 20.0)
    assert split["train"] == pytest.approx(12) and split["overhead_estimated"] == pytest.approx(4)


def test_the_phases_of_a_run_are_all_of_it_but_its_metered_windows():
    began, ended = (datetime(2026, 1, 2, 3, 4, second, tzinfo=UTC) for second in (0, 20))
    notebook = {
        "metadata": {"papermill": {"start_time": "2026-01-02T03:04:01.500000"}},
        "cells": [
            {"cell_type": "markdown", "metadata": {"papermill": {}}},
            {"cell_type": "code", "metadata": {"papermill": {"start_time": "2026-01-02T03:04:02.000000"}}},
        ],
    }
    record = {"started_at": "2026-01-02T03:04:05.000+00:00", "ended_at": "2026-01-02T03:04:19.000+00:00"}
    record["meter"] = {"train": {"time_s": 8.0}, "inference": {"time_s": 2.0}}
    assert runs.phase_seconds(began, notebook, record, ended) == {
        "launch": 1.5,
        "kernel": 0.5,
        "torch": 3.0,
        "training": 4.0,
        "ending": 1.0,
    }


def test_make_keeps_what_python_compiles_where_the_environment_forbids_it():
    recipe = "show: ; @python -c 'import sys; print(sys.dont_write_bytecode)'"
    shown = subprocess.run(
        ["make", "--no-print-directory", f"--eval={recipe}", "show"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "False\n"


@pytest.mark.alone
def test_the_loop_keeps_up_with_the_bare_loop():
    with loops.processes("ours") as pools:
        found = pools["ours"].submit(loops.against_bare, "mobilenetv2_050", 64, 2, 5, 15.0).result()
    assert np.median(found) > 0.9


@pytest.mark.alone
def test_a_run_starts_in_less_than_twice_the_time_that_the_benchmark_found():
    found = runs.startup(rounds=3, warm_up=0)
    assert found.least("run") / found.least("bare") < 2 * json.loads(RESULTS.read_text())["startup_vs_bare"]
