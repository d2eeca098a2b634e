"""Predicted costs: arithmetic that can be checked by hand, and the aims on the published tables."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from recordings import needs_tables
from typer.testing import CliRunner

from pepr import cli, published
from pepr.costs import calibration, fit, model as cost, prediction
from pepr.errors import InputError
from pepr.models import atlas
from pepr.models.space import model_space
from pepr.runs.results import Results, reference_folder


@pytest.fixture(scope="module")
def evidence():
    return fit.evidence(published.load())


def entry(model="resnet18d", size=256):
    return atlas.read()[model, size]


def test_memory_is_state_gradients_activations_and_workspace():
    row, job = entry(), cost.job_of("lidc")
    by_hand = (
        12 * row.fine_tuned_params
        + row.buffer_bytes
        + row.working_bytes_fixed
        + 32 * row.working_bytes_per_image
        + cost.model()["memory"]["workspace_bytes"]
    )
    assert cost.peak_memory(row, job) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("cheaper", "dearer"),
    [
        ({"optimiser": "sgd"}, {"optimiser": "momentum"}),
        ({"optimiser": "momentum"}, {"optimiser": "adam"}),
        ({"precision": "bf16"}, {"precision": "fp32"}),
        ({"batch_size": 8}, {"batch_size": 16}),
    ],
)
def test_thrift_takes_less_memory(cheaper, dearer):
    first, second = (cost.peak_memory(entry(), cost.job_of("lidc", **c)) for c in (cheaper, dearer))
    assert first < second


def test_with_one_image_a_large_model_peaks_in_the_optimisers_step():
    row, job = entry("vgg13"), cost.job_of("lidc", batch_size=1)
    workspace = cost.model()["memory"]["workspace_bytes"]
    assert cost.peak_memory(row, job) == cost.optimiser_step_bytes(row, job) + workspace


def test_the_largest_batch_fits_and_one_more_does_not():
    row, job, card = entry(), cost.job_of("lidc"), 8e9
    batch = cost.largest_batch(row, job, card)
    ratio = cost.model()["memory"]["reserved_ratio_high"]

    def reserved(size):
        return ratio * cost.peak_memory(row, cost.job_of("lidc", batch_size=size))

    assert reserved(batch) <= card < reserved(batch + 1)
    assert cost.largest_batch(entry("vgg13"), job, 1e9) == 0


def test_time_grows_with_images_and_epochs():
    once = cost.predict(entry(), cost.job_of("lidc", epochs=1))
    twice = cost.predict(entry(), cost.job_of("lidc", epochs=2))
    assert twice.train_time_s == pytest.approx(2 * once.train_time_s)
    fewer = cost.predict(entry(), cost.job_of("lidc", train_images=2000))
    assert fewer.train_time_s < cost.predict(entry(), cost.job_of("lidc")).train_time_s


def test_intervals_surround_their_prediction():
    for setting in cost.settings():
        row = prediction.as_row("resnet18d", cost.job_of(setting))
        for key in ("peak_memory_bytes", "energy_wh", "train_time_s"):
            assert row[f"{key}_low"] < row[key] < row[f"{key}_high"]


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"epochs": -1},
        {"optimiser": "lion"},
        {"precision": "int8"},
        {"train_images": 10**400},
        {"epochs": 10**400},
        {"image_size": 10**20},
    ],
)
def test_an_impossible_job_is_an_input_error(changes):
    with pytest.raises(InputError):
        cost.job_of("lidc", **changes)


def test_the_basis_says_how_far_beyond_the_fit_a_prediction_reaches():
    row = entry()
    plain = cost.basis(row, cost.job_of("lidc"), cost.reference_hardware())
    far = cost.basis(row, cost.job_of("lidc", batch_size=8, precision="bf16"), cost.reference_hardware())
    assert plain.startswith("predicted; fitted to") and "beyond" not in plain
    assert "beyond what was fitted: batches of 8, bf16" in far
    assert "beyond what was fitted: tf32" in cost.basis(
        row, cost.job_of("lidc", precision="tf32"), cost.reference_hardware()
    )


def test_the_basis_on_a_calibrated_machine_says_what_its_time_does_not_know():
    row, machine = entry("resnet18d", 64), calibration.saved("shipped")
    plain = cost.basis(row, cost.job_of("lidc", image_size=64, batch_size=8), machine)
    assert f"time and energy by {machine.described}" in plain and "beyond" not in plain
    job = cost.job_of("lidc", image_size=64, precision="bf16", optimiser="sgd", checkpointing=True)
    far = "beyond what was fitted: bf16, sgd, gradient checkpointing (time not adjusted)"
    assert far in cost.basis(row, job, machine)


def test_the_command_gives_the_designs_keys_for_one_and_for_all():
    one = json.loads(CliRunner().invoke(cli.app, ["predict", "resnet18d", "--json"]).output)
    wanted = (
        "model num_params flops activation_bytes peak_memory_bytes peak_memory_bytes_low "
        "peak_memory_bytes_high energy_wh energy_wh_low energy_wh_high setting hardware basis"
    )
    assert set(wanted.split()) <= set(one)
    assert one["setting"] == "lidc" and "RTX 3090" in one["hardware"] and "predicted" in one["basis"]
    every = json.loads(CliRunner().invoke(cli.app, ["predict", "--all", "--json"]).output)
    assert {row["model"] for row in every} == set(model_space()) and one in every
    table = CliRunner().invoke(cli.app, ["predict", "resnet18d", "--card-gb", "8"]).output
    assert "Predicted for 9,057 training images" in table and "largest batch" in table


COLD = """
import atexit, sys, time
atexit.register(lambda: print(time.process_time(), file=sys.stderr))
from pepr.cli import app
app(["predict", "resnet18d", "--json"])
"""
"""Tells the processor time of its whole process, which other programs lengthen less than the clock's."""


@pytest.mark.alone
def test_a_cold_prediction_takes_at_most_two_seconds():
    done = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["model"] == "resnet18d"
    assert float(done.stderr.split()[-1]) < 2.0


def test_non_negative_coefficients_are_found_despite_outliers():
    rng = np.random.default_rng(0)
    terms = rng.uniform(1, 100, size=(60, 3))
    observed = terms @ np.array([2.0, 0.0, 5.0])
    observed[:5] *= 4
    assert fit.fit(terms, observed) == pytest.approx([2.0, 0.0, 5.0], rel=0.05, abs=0.1)


def test_a_conformal_interval_covers_what_it_promises():
    rng = np.random.default_rng(1)
    low, high = fit.interval(np.exp(rng.normal(size=400)), np.arange(400))
    fresh = np.exp(rng.normal(size=20_000))
    assert np.mean((fresh >= low) & (fresh <= high)) == pytest.approx(0.90, abs=0.03)


def test_a_conformal_interval_covers_the_rows_of_a_family_that_it_has_not_seen():
    rng = np.random.default_rng(3)
    inside, rowwise = [], []
    for _ in range(400):
        sizes = np.where(rng.random(50) < 0.2, 40, 2)  # a few large families, which are alike within
        families = np.repeat(np.arange(50), sizes)
        shift = np.where(sizes == 2, 2.0, 0.3) * rng.normal(size=50)
        scores = shift[families] + 0.1 * rng.normal(size=len(families))
        known = families != 49
        for found, units in ((inside, families), (rowwise, np.arange(len(families)))):
            low, high = fit.interval(scores[known], units[known])
            found.append(np.mean((scores[~known] >= low) & (scores[~known] <= high)))
    assert 0.88 <= np.mean(inside) <= 0.95
    assert np.mean(rowwise) < 0.85


def test_a_family_weighs_as_much_as_any_other():
    assert fit.share_of_family(np.array(["a", "b", "b", "a", "a"])) == pytest.approx(
        [1 / 6, 1 / 4, 1 / 4, 1 / 6, 1 / 6]
    )
    scores, families = np.arange(100.0), np.arange(100)
    assert fit.interval(scores, families) == fit.interval(np.repeat(scores, 7), np.repeat(families, 7))


def test_an_intervals_fixed_part_is_found_where_errors_have_one_and_only_there():
    rng = np.random.default_rng(2)
    predicted, families = rng.uniform(1, 200, size=4000), np.arange(4000)
    noise = rng.normal(size=4000)
    proportional = fit.Spread.chosen(predicted * (1 + 0.1 * noise), predicted, families)
    assert proportional.absolute < 2
    both = fit.Spread.chosen(predicted + 0.1 * (predicted + 30) * noise, predicted, families)
    assert 20 < both.absolute < 45
    low, high = both.bounds(np.array([1.0, 200.0]))
    assert (high - low) / [31, 230] == pytest.approx([0.33, 0.33], rel=0.1)


def test_the_interval_score_is_width_and_what_an_escape_costs():
    spread = fit.Spread(absolute=0.0, low=-0.5, high=0.5)
    scores = spread.interval_score(np.array([2.0, 3.5, 0.5]), np.array([2.0, 2.0, 2.0]))
    assert scores == pytest.approx([1.0, 1.0 + 20 * 0.5 / 2, 1.0 + 20 * 0.5 / 2])


@needs_tables
def test_the_shipped_model_is_what_a_refit_gives(evidence):
    assert _near(json.loads(fit.as_json(evidence.fitted)), cost.model())


def _near(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_near(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_near, first, second))
    return first == pytest.approx(second, rel=1e-5) if isinstance(first, float) else first == second


@needs_tables
@pytest.mark.parametrize("setting", ["lidc", "derma_pt", "derma", "pneumonia"])
def test_memory_meets_its_aims(evidence, setting):
    row = evidence.memory_accuracy().set_index("setting").loc[setting]
    assert row["rows"] == 131
    assert row["median_error"] <= 0.02 and row["off_by_10_percent"] <= 4 and row["spearman"] >= 0.997


@needs_tables
@pytest.mark.parametrize("setting", ["lidc", "derma_pt"])
def test_energy_of_unseen_families_meets_its_aims(evidence, setting):
    row = evidence.accuracy().set_index(["target", "setting"]).loc[("energy_wh", setting)]
    assert row["r2_log"] >= 0.92 and row["median_error"] <= 0.10 and 0.85 <= row["coverage"] <= 0.95


@needs_tables
def test_intervals_cover_what_they_promise_of_a_family_that_was_left_out(evidence):
    counted = evidence.coverage()
    assert set(counted) == {"energy_wh", "time_s", "memory"}
    by_hand = evidence.memory.groupby("family")["covered"].mean()
    assert counted["memory"] == by_hand.sum() / len(by_hand)
    assert all(0.85 <= share <= 0.95 for share in counted.values())


def test_no_family_is_predicted_by_a_fit_that_saw_it(monkeypatch):
    seen = []
    monkeypatch.setattr(
        fit, "fit", lambda terms, observed, offset=0.0: seen.append(len(observed)) or np.ones(2)
    )
    families = np.array(["a", "a", "b", "c"])
    fit.cross_validated(np.ones((4, 2)), np.ones(4), families)
    assert seen == [2, 3, 3]


def simulated(model: str, device: str, image_size: int) -> calibration.Measured:
    """A machine whose costs are known."""
    costs = {"flops": 1e-11, "bytes_moved": 2e-10, "operations": 5e-5, "parameters": 3e-8}
    seconds = cost.step_time_s(atlas.read()[model, image_size], calibration.BATCH_SIZE, costs)
    return calibration.Measured(model, image_size, 10, seconds, seconds * 40 / 3600, False)


def test_calibration_recovers_a_known_machine_and_predicts_other_models(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    found = calibration.calibrate("bench", "cpu", measure=simulated)
    assert found.costs["bytes_moved"] == pytest.approx(2e-10, rel=1e-3)
    assert found.power_w == pytest.approx(40) and found.worst_factor == pytest.approx(1, abs=0.01)
    job = cost.job_of("lidc", image_size=64)
    predicted = cost.predict(entry("resnetv2_50", 64), job, calibration.saved("bench"))
    steps = 10 * cost.equivalent_images(job) / 32
    assert predicted.train_time_s == pytest.approx(steps * simulated("resnetv2_50", "cpu", 64).step_time_s)
    assert predicted.energy_wh == pytest.approx(predicted.train_time_s * 40 / 3600)
    row = prediction.as_row("resnet18d", job, "bench")
    assert "calibrated" in row["hardware"] and "RTX 3090" not in row["hardware"]


def test_a_machine_that_was_calibrated_again_is_predicted_for_as_it_is_now(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    job, found = cost.job_of("lidc", image_size=64), []
    for slower in (1, 3):

        def measured(*asked, slower=slower):
            one = simulated(*asked)
            return dataclasses.replace(one, step_time_s=slower * one.step_time_s)

        calibration.calibrate("bench", "cpu", measure=measured)
        found.append(prediction.as_row("resnet18d", job, "bench")["train_time_s"])
    assert found[1] == pytest.approx(3 * found[0], rel=1e-2)


def test_the_shipped_runs_are_a_machine_too():
    shipped = calibration.of_shipped_runs()
    assert {run["model"] for run in shipped.measured} <= set(calibration.MODELS)
    assert len(shipped.measured) >= 4
    assert calibration.saved("shipped").costs == shipped.costs and shipped.worst_factor < 1.5
    row = prediction.as_row("resnet18d", cost.Job("elpv", 1574, 525, 3, 32, 64), "shipped")
    runs = Results("pocket", "reference", reference_folder("pocket")).table
    took = runs[(runs["model"] == "resnet18d") & (runs["setting"] == "elpv")]["train_cpu_time_s"]
    assert row["train_time_s"] == pytest.approx(took.median(), rel=0.3)


def test_an_unknown_machine_says_how_to_calibrate_one(tmp_path):
    with pytest.raises(InputError, match="pepr calibrate"):
        calibration.saved("elsewhere", tmp_path)
    with pytest.raises(InputError, match="letters"):
        calibration.calibrate("../x", "cpu", measure=simulated, folder=tmp_path)
    with pytest.raises(InputError, match="at most 64 letters"):
        calibration.calibrate("x" * 300, "cpu", measure=simulated, folder=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: cannot be written \(File exists\)"):
        calibration.calibrate("mine", "cpu", measure=None, folder=tmp_path / "file")


def test_a_real_step_can_be_measured(monkeypatch):
    import torch

    from pepr import training
    from pepr.machine import meter
    from pepr.training import loop

    monkeypatch.setattr(calibration, "WINDOW_S", 0.5)
    monkeypatch.setattr(calibration, "FEWEST_STEPS", 1)
    threads, train_epoch = [], loop.train_epoch

    def watched(*arguments):
        threads.append(torch.get_num_threads())
        return train_epoch(*arguments)

    monkeypatch.setattr(training, "train_epoch", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        measured = calibration.measure_model(meter.open_meter("cpu"), "mobilenetv2_050", "cpu", 32)
        assert set(threads) == {1}, "a calibration is of what a run takes"
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert measured.step_time_s > 0 and measured.step_energy_wh > 0 and measured.steps >= 1
