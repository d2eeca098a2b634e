"""How many runs go on at once: one a core or one a GPU, fewer where asked for or where memory is short."""

import sys

import pytest
from fake_nvml import FakeGpu, FakeNvml

from pepr import models
from pepr.errors import InputError
from pepr.machine import cores
from pepr.runs.spec import RunSpec
from pepr.study import forecast, profile as study_profile

SPECS = study_profile.grid(study_profile.load("pocket"))
GB = 10**9


@pytest.fixture
def machine(monkeypatch):
    """Pretends a number of usable cores, and of free gigabytes."""

    def pretend(usable, free_gb=64):
        monkeypatch.setattr(cores, "usable", lambda: usable)
        monkeypatch.setattr(cores, "free_memory", lambda: int(free_gb * GB))

    return pretend


@pytest.mark.parametrize(
    ("usable", "asked", "runs", "told"),
    [
        (
            2.0,
            None,
            2,
            "2 runs at once, each with one thread on a core of its own. RUNS=1: one after the other",
        ),
        (1.0, None, 1, "One run at a time, with one thread."),
        (0.5, None, 1, "One run at a time, with one thread."),
        (3.5, None, 3, "3 runs at once"),
        (4.0, 1, 1, "RUNS=1 was asked for; 4 would find a place"),
        (4.0, 3, 3, "RUNS=3 was asked for; 4 would find a place"),
        (4.0, 9, 4, "RUNS=9 is more than the 4 cores of this machine"),
    ],
)
def test_on_a_cpu_there_is_one_run_with_one_thread_for_each_core(machine, usable, asked, runs, told):
    machine(usable)
    found = forecast.side_by_side(SPECS, "cpu", asked)
    assert (found.runs, found.threads) == (runs, 1) and told in found.words


@pytest.mark.parametrize(
    ("asked", "runs", "told"),
    [
        (None, 2, "2 runs at once, each with one thread"),
        (3, 2, "RUNS=3 is more than the grid has."),
        (1, 1, "RUNS=1 was asked for; 2 would find a place"),
        (9, 2, "RUNS=9 is more than the 4 cores of this machine"),
    ],
)
def test_no_more_runs_go_on_at_once_than_the_grid_has(machine, asked, runs, told):
    """Else each would pay for a smaller share of the memory than is its own."""
    machine(4.0)
    found = forecast.side_by_side(SPECS[:2], "cpu", asked)
    assert found.runs == runs and told in found.words


def test_the_one_run_of_a_grid_has_the_threads_of_all_gpus(machine, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*map(FakeGpu, ("GPU-aaaa", "GPU-bbbb"))))
    machine(8.0)
    found = forecast.side_by_side(SPECS[:1], "cuda")
    assert (found.runs, found.threads) == (1, 8)


def test_no_run_at_all_is_refused():
    with pytest.raises(InputError, match="RUNS=0: at least one"):
        forecast.side_by_side(SPECS, "cpu", 0)


def test_fewer_runs_go_on_where_their_memory_is_forecast_beyond_what_is_free_and_the_reason_is_told(machine):
    largest = sorted(map(forecast.memory_bytes, SPECS))[-3:]
    machine(3.0, (sum(largest) - 1) / GB)
    found = forecast.side_by_side(SPECS, "cpu")
    assert found.runs == 2
    need, free = f"{sum(largest) / GB:.1f} GB", f"{(sum(largest) - 1) / GB:.1f} GB are free"
    assert "3 at once may need" in found.words and need in found.words and free in found.words
    machine(3.0, sum(largest) / GB)
    assert forecast.side_by_side(SPECS, "cpu").runs == 3
    machine(3.0, 0.1)
    assert forecast.side_by_side(SPECS, "cpu").runs == 1, "one is tried"


def test_the_forecast_covers_the_memory_that_the_shipped_runs_of_networks_took():
    """A baseline takes a few megabytes, which are within those of its process."""
    shipped = forecast.reference_records("pocket")
    baselines = [record for key, record in shipped.items() if key[0] in models.BASELINES]
    assert max(record["peak_memory_bytes"] for record in baselines) < 0.1 * forecast.PROCESS_BYTES
    networks = [spec for spec in SPECS if spec.model not in models.BASELINES]
    beyond = {spec: shipped[forecast.key(spec)] for spec in networks if forecast.key(spec) in shipped}
    assert beyond
    for spec, record in beyond.items():
        model = forecast.memory_bytes(spec) - forecast.PROCESS_BYTES
        assert record["peak_memory_bytes"] < model < 2 * record["peak_memory_bytes"], spec.model


def test_a_model_whose_shapes_are_not_known_needs_at_least_its_processes():
    spec = RunSpec("dla46_c", "elpv", "elpv", image_size=65)
    assert forecast.memory_bytes(spec) == forecast.PROCESS_BYTES


def test_on_gpus_there_is_one_run_a_gpu_and_the_threads_of_the_cpu_are_shared_out(machine, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*map(FakeGpu, ("GPU-aaaa", "GPU-bbbb", "GPU-cccc"))))
    machine(8.0, free_gb=0.1)
    found = forecast.side_by_side(SPECS, "cuda")
    assert (found.runs, found.threads) == (3, 2) and "each on a GPU of its own" in found.words
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = forecast.side_by_side(SPECS, "cuda")
    assert (found.runs, found.threads) == (1, 8) and "One run at a time, with 8 threads" in found.words
