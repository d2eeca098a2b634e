"""The check of a GPU: every line can pass, fail, or say why it cannot tell."""

import json
import subprocess
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_nvml import FakeGpu
from typer.testing import CliRunner

from pepr import cli, runs
from pepr.costs import gpu_check, model as cost, sweep as sweeping, swept
from pepr.costs.gpu_check import CannotTell, DoesNotHold, Subject
from pepr.machine import gpu
from pepr.models import atlas
from pepr.models.space import model_space
from pepr.training import steps, trial

CPU, CUDA = Subject("cpu", 32, 4), Subject("cuda", 128, 32)


def outcomes(looks, monkeypatch):
    monkeypatch.setattr(gpu_check, "CHECKS", looks)
    return [(one.outcome, one.seen) for one in gpu_check.check(CPU)]


def test_whatever_a_check_raises_is_what_it_saw(monkeypatch):
    def raises(error):
        def look(subject):
            raise error

        return look

    looks = {
        "a": lambda subject: "fine",
        "b": raises(DoesNotHold("3 W")),
        "c": raises(CannotTell("no GPU")),
        "d": raises(ValueError("boom\nmore")),
    }
    assert outcomes(looks, monkeypatch) == [
        ("pass", "fine"),
        ("FAIL", "3 W"),
        ("not checkable", "no GPU"),
        ("FAIL", "ValueError: boom"),
    ]


@pytest.mark.parametrize(("seen", "status"), [("fine", 0), (None, 1)])
def test_the_command_tells_each_check_in_a_line_and_fails_with_any(monkeypatch, seen, status):
    def look(subject):
        if seen is None:
            raise DoesNotHold("not so")
        return seen

    monkeypatch.setattr(gpu_check, "CHECKS", {"it holds": look})
    told = CliRunner().invoke(cli.app, ["gpu-check", "--device", "cpu"])
    assert told.exit_code == status
    assert told.output == f"{'FAIL' if status else 'pass':<13}  it holds: {seen or 'not so'} (0 s)\n"
    as_json = CliRunner().invoke(cli.app, ["gpu-check", "--device", "cpu", "--json"])
    (row,) = [json.loads(line) for line in as_json.output.splitlines()]
    assert row["name"] == "it holds" and row["outcome"] == ("FAIL" if status else "pass")


def test_what_only_a_gpu_shows_is_not_checkable_on_a_cpu():
    for look in (
        gpu_check.same_device,
        gpu_check.counter,
        gpu_check.power,
        gpu_check.memory,
        gpu_check.out_of_memory,
    ):
        with pytest.raises(CannotTell, match="cpu is no NVIDIA GPU"):
            look(CPU)


def test_the_device_is_used_to_say_that_it_can_be_used():
    assert f"torch {torch.__version__} on " in gpu_check.usable(CPU)


@pytest.mark.parametrize(
    ("torchs", "said"),
    [
        (SimpleNamespace(name="Fake GPU", uuid="aaaa"), None),
        (SimpleNamespace(name="Fake GPU"), None),
        (SimpleNamespace(name="Fake GPU", uuid="bbbb"), "CUDA_VISIBLE_DEVICES by its UUID"),
        (SimpleNamespace(name="Another", uuid="aaaa"), "torch has Another"),
    ],
)
def test_torch_and_nvml_are_held_against_each_other(driver, monkeypatch, torchs, said):
    driver(FakeGpu())
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: torchs)
    if said is None:
        assert "GPU-aaaa, driver 999.99" in gpu_check.same_device(CUDA)
    else:
        with pytest.raises(DoesNotHold, match=said):
            gpu_check.same_device(CUDA)


def loaded(**values):
    known = {"idle_w": 50.0, "loaded_w": 300.0, "counter_w": 300.0, "limit_w": 350.0, "seconds": 2.0}
    subject = Subject("cuda")
    subject.load = gpu.Load(**known | values)
    return subject


def test_counter_and_power_are_held_against_each_other():
    assert gpu_check.counter(loaded(counter_w=290.0)) == (
        "290 W by the counter, 300 W integrated, over 2.0 s"
    )
    with pytest.raises(DoesNotHold, match="more than 10% apart"):
        gpu_check.counter(loaded(counter_w=250.0))
    with pytest.raises(CannotTell, match="integrated from the power, 300 W"):
        gpu_check.counter(loaded(counter_w=None))


@pytest.mark.parametrize("values", [{"idle_w": 0.0}, {"idle_w": 310.0}, {"loaded_w": 400.0}])
def test_a_load_draws_more_than_idling_and_less_than_the_limit(values):
    assert "50 W idle, 300 W loaded, 350 W at most" in gpu_check.power(loaded())
    assert "no limit is told" in gpu_check.power(loaded(limit_w=None))
    with pytest.raises(DoesNotHold, match="W idle"):
        gpu_check.power(loaded(**values))


@pytest.mark.parametrize("counter", [True, False])
def test_a_load_is_read_at_rest_and_at_work_by_both_ways(driver, counter):
    driver(FakeGpu(watts=200.0, counter=counter))
    rest = []
    found = gpu.under_load(gpu.current("cuda"), lambda: rest.append(time.sleep(0.1)), lambda: time.sleep(0.4))
    assert rest and found.limit_w == 350
    assert found.idle_w == pytest.approx(200.0) and found.loaded_w == pytest.approx(200.0)
    if counter:
        assert found.counter_w == pytest.approx(200.0, rel=0.1)
    else:
        assert found.counter_w is None


def predicted(model):
    return cost.peak_memory(atlas.look_up(model, 128), cost.job_of("lidc", image_size=128))


@pytest.mark.parametrize(("factor", "passes"), [(1.03, True), (1.2, False)])
def test_a_dozen_peaks_are_held_against_their_predictions(monkeypatch, factor, passes):
    monkeypatch.setattr(
        sweeping,
        "measure_models",
        lambda names, conditions, limit_s: (
            {"model": name, "status": "ok", "peak_memory_bytes": factor * predicted(name)} for name in names
        ),
    )
    if passes:
        assert gpu_check.memory(CUDA) == "12 models, median error 3.0%, at worst +3.0%"
    else:
        with pytest.raises(DoesNotHold, match="median of at most 10%"):
            gpu_check.memory(CUDA)


def test_the_dozen_goes_across_the_range_of_sizes():
    sizes = [model_space()[name].num_params for name in gpu_check.a_dozen(256)]
    every = [known.num_params for known in model_space().values()]
    assert len(sizes) == 12 and sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (min(every), max(every))


def test_a_batch_without_room_says_the_largest_that_fits(monkeypatch):
    full = steps.loop.set_up

    def little_room(spec, *rest):
        if spec.batch_size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return full(spec, *rest)

    monkeypatch.setattr(steps.loop, "set_up", little_room)
    (row,) = sweeping.measure_models(["dla46_c"], swept.Conditions("cpu", 32, 8), limit_s=0.0)
    assert gpu_check.room_of(row) == "failed, out_of_memory, largest batch 3 of 4096"
    with pytest.raises(DoesNotHold, match="largest batch None"):
        gpu_check.room_of(row | {"largest_batch_size": None})


def test_little_room_is_left_for_the_batch_without_room_and_all_of_it_given_back(monkeypatch):
    shares = []

    def set_share(share, device):
        assert device == 1, "torch refuses a name without a number"
        shares.append(share)

    row = {"status": "failed", "failure": "out_of_memory", "largest_batch_size": 60, "explanation": ""}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 4 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", set_share)
    monkeypatch.setattr(sweeping, "measure_models", lambda names, conditions, limit_s: iter([row]))
    assert "largest batch 60 of 4096" in gpu_check.out_of_memory(Subject("cuda:1"))
    assert shares == [0.5, 1.0]


def answers(monkeypatch, wrong):
    """Trainings that are wrong of so many of 100 images, by precision."""

    def trained(spec):
        labels = np.arange(100) % 2
        predicted = np.where(np.arange(100) < wrong[spec.precision], 1 - labels, labels)
        return np.eye(2)[predicted], labels

    monkeypatch.setattr(trial, "trained", trained)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fp32": 2, "bf16": 5}, None),
        ({"fp32": 2, "bf16": 12}, "bf16 0.880: more than 0.06 from fp32"),
        ({"fp32": 40, "bf16": 40}, "fp32 should reach 0.8"),
    ],
)
def test_precisions_are_held_against_fp32(monkeypatch, wrong, said):
    answers(monkeypatch, wrong)
    if said is None:
        assert gpu_check.precisions(CPU) == "fp32 0.980, bf16 0.950 (within 0.06)"
    else:
        with pytest.raises(DoesNotHold, match=said):
            gpu_check.precisions(CPU)
    assert "tf32" in gpu_check.precisions_of("cuda") and "fp16" in gpu_check.precisions_of("cuda:1")


def test_two_runs_that_differ_are_told_by_how_much(monkeypatch):
    values = iter([0.5, 0.5, 0.5, 0.75])
    monkeypatch.setattr(trial, "trained", lambda spec: (np.full((4, 2), next(values)), np.zeros(4)))
    assert gpu_check.repeatable(CPU) == "8 probabilities of two runs are the same"
    with pytest.raises(DoesNotHold, match=r"up to 0\.25 apart"):
        gpu_check.repeatable(CPU)


def test_a_slow_loop_is_told(monkeypatch):
    monkeypatch.setattr(trial, "against_bare", lambda *asked: [0.8, 0.97, 0.99])
    assert gpu_check.loop_speed(CPU).startswith("0.970 of its images a second (0.800 to 0.990)")
    monkeypatch.setattr(trial, "against_bare", lambda *asked: [0.8, 0.81, 0.99])
    with pytest.raises(DoesNotHold, match=r"expected at least 0\.9"):
        gpu_check.loop_speed(CPU)


def test_without_its_packages_the_small_study_is_not_checkable(monkeypatch):
    monkeypatch.setattr(gpu_check.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CannotTell, match="snakemake, papermill, pandas, elpv_dataset is not installed"):
        gpu_check.smoke(CPU)


def test_a_study_is_judged_by_its_runs_and_their_gates(synthetic_results, tmp_path):
    done = subprocess.CompletedProcess([], 1, "", "pepr: no room\n")
    with pytest.raises(DoesNotHold, match="exit status 1: pepr: no room"):
        gpu_check.gated(tmp_path / "results.csv", done)
    table = synthetic_results.folder / "results.csv"
    with pytest.raises(DoesNotHold, match="1 of 24 runs failed: out_of_memory"):
        gpu_check.gated(table, done)
    rows = runs.read_table(table)
    sound = rows[rows["status"] == "ok"]
    sound.to_csv(tmp_path / "sound.csv", index=False)
    assert "23 runs, every gate holds" in gpu_check.gated(tmp_path / "sound.csv", done)
    sound.assign(energy_kwh=0.0).to_csv(tmp_path / "zero.csv", index=False)
    with pytest.raises(DoesNotHold, match="energy_positive: energy_kwh is 0"):
        gpu_check.gated(tmp_path / "zero.csv", done)


def test_a_small_network_learns_the_gratings_and_the_bare_loop_trains_it_too():
    spec = replace(trial.SPEC, epochs=2)
    probabilities, labels = trial.trained(spec)
    again, _ = trial.trained(spec)
    np.testing.assert_array_equal(probabilities, again)
    assert np.mean(probabilities.argmax(1) == labels) > 0.7
    few = replace(spec, model="dla46_c", batch_size=4)
    shares = trial.against_bare(few, steps.noise(few), 2, 0.0)
    assert len(shares) == 2 and all(share > 0 for share in shares)


def test_the_study_goes_on_on_the_gpu_that_is_checked(driver):
    driver(FakeGpu("GPU-aaaa"), FakeGpu("GPU-bbbb"))
    on_the_second = {"PEPR_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": "GPU-bbbb"}
    assert gpu_check.study_environment("cuda:1") == on_the_second
    assert gpu_check.study_environment("cuda") == on_the_second | {"CUDA_VISIBLE_DEVICES": "GPU-aaaa"}
    assert gpu_check.study_environment("cpu") == {"PEPR_DEVICE": "cpu"}
