"""Fine-tuning: what a record holds, that it repeats, that the chosen epoch's weights are the ones tested."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pepr import datasets, errors, files, models, runs, training
from pepr.audit import gates
from pepr.errors import Diverged, InputError, MeterError, ModelUnavailable, OutOfMemory
from pepr.machine import meter
from pepr.training import loop
from pepr.training.record import Parts
from tests.machine.test_meter import SOURCES, FakeTracker

SPEC = runs.RunSpec("mobilenetv2_050", "elpv", "elpv_small", train_fraction=0.1, image_size=32, epochs=2)


@pytest.fixture(scope="module", autouse=True)
def results_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPR_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield


def fake_meter(windows=20, reading=(1e-6, 0.0, 2e-6)):
    return meter.Meter(FakeTracker(*[reading] * windows), SOURCES, power_limit_w=1e9)


def run(spec=SPEC, **kwargs):
    return training.fine_tune(spec, **{"meter": fake_meter(), "progress": lambda line: None, **kwargs})


@pytest.fixture(scope="module")
def outcome(results_folder):
    return run()


def test_the_record_fills_every_column_that_this_machine_can(outcome):
    empty = {name for name in runs.COLUMNS if outcome.record[name] is None}
    of_grades = {"test_quadratic_kappa", "test_mean_absolute_error"}
    asked_for = {"water_l", "water_l_per_kwh"}
    of_another_start = {"init_from", "init_energy_kwh"}
    not_here = {"failure", "energy_gpu_kwh", "idle_power_w", "largest_batch_size"}
    assert empty == not_here | of_grades | asked_for | of_another_start
    assert outcome.record["status"] == "ok" and outcome.record["run_id"] == SPEC.run_id
    assert outcome.record["n_train"] == 142 and outcome.record["num_params"] == 1_968_680


def test_metrics_are_those_of_the_predictions(outcome):
    record, labels = outcome.record, outcome.labels
    predicted = outcome.probabilities.argmax(1)
    assert record["test_accuracy"] == np.mean(predicted == labels)
    assert record["test_auroc"] == pytest.approx(
        roc_auc_score(labels, outcome.probabilities[:, 1]), abs=1e-12
    )
    assert record["test_sensitivity"] == np.mean(predicted[labels == 1])
    assert record["test_specificity"] == np.mean(1 - predicted[labels == 0])
    assert record["test_balanced_accuracy"] == pytest.approx(
        (record["test_sensitivity"] + record["test_specificity"]) / 2
    )
    np.testing.assert_allclose(outcome.probabilities.sum(1), 1, atol=1e-6)


def test_the_same_specification_gives_the_same_predictions(outcome):
    np.testing.assert_array_equal(run().probabilities, outcome.probabilities)


def test_on_a_cpu_results_do_not_depend_on_how_many_threads_there_could_be(outcome):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        again = run()
    finally:
        torch.set_num_threads(before)
    assert again.record["threads"] == outcome.record["threads"] == 1
    np.testing.assert_array_equal(again.probabilities, outcome.probabilities)


def test_the_speed_of_the_machine_is_probed_before_and_after_the_training(outcome):
    before, after = outcome.record["speed_probes_s"]
    assert outcome.record["speed_probe_s"] == pytest.approx((before + after) / 2)
    assert 0.01 < before < 2 and 0.01 < after < 2


def test_another_seed_gives_others(outcome):
    other = run(runs.RunSpec(**{**SPEC.as_dict(), "seed": 1}))
    assert np.abs(other.probabilities - outcome.probabilities).max() > 1e-3


def test_energy_is_of_training_alone_and_windows_are_apart(outcome):
    record = outcome.record
    assert record["energy_kwh"] == pytest.approx(SPEC.epochs * 3e-6)
    assert record["energy_validation_kwh"] == pytest.approx(SPEC.epochs * 3e-6)
    assert record["energy_inference_kwh"] == pytest.approx(3e-6)
    assert record["co2eq_g"] == pytest.approx(record["energy_kwh"] * record["carbon_intensity_g_per_kwh"])
    assert record["train_time_s"] == pytest.approx(sum(row["train_time_s"] for row in record["history"]))


def test_the_row_passes_the_gates(outcome):
    rows = runs.as_table([outcome.record])
    assert gates.gates(rows).query("gate != @gates.DID_LEARN").empty


@pytest.mark.parametrize("best", [0, 1])
def test_the_chosen_epoch_is_the_best_on_validation_and_its_weights_are_tested(monkeypatch, best):
    """Validation scores are made up so that a known epoch wins; its test predictions must be reported."""
    seen = {"val": [], "test": []}
    real, n_val = training.predict, 660

    def spy(network, batches, spec):
        part = real(network, batches, spec)
        kind = "val" if len(seen["val"]) < SPEC.epochs else "test"
        if kind == "val":
            part = np.full_like(part, 0.5)
            part[:, 0] += 0.4 if len(seen["val"]) == best else -0.4
            part[:, 1] = 1 - part[:, 0]
        seen[kind].append(part)
        return part

    monkeypatch.setattr(loop, "predict", spy)
    result = run()
    assert result.record["best_epoch"] == best and len(seen["val"][0]) == n_val
    assert len(seen["test"]) == (1 if best == SPEC.epochs - 1 else 2)
    np.testing.assert_array_equal(result.probabilities, seen["test"][-1])
    if best == 0:
        monkeypatch.setattr(loop, "predict", real)
        one_epoch = run(runs.RunSpec(**{**SPEC.as_dict(), "epochs": 1}))
        np.testing.assert_allclose(result.probabilities, one_epoch.probabilities, atol=1e-6)


def test_the_papers_way_takes_the_last_epoch_and_drops_the_incomplete_batch():
    record = run(runs.RunSpec(**{**SPEC.as_dict(), "fidelity": "paper"})).record
    assert record["best_epoch"] == SPEC.epochs - 1
    assert record["n_test"] == 512
    assert record["test_accuracy"] == record["test_accuracy_last_epoch"]
    assert math.isclose(record["test_accuracy"] * 512, round(record["test_accuracy"] * 512))


class Watched(FakeTracker):
    """Knows which window of its meter is open."""

    window = None

    def start_task(self, task_name):
        self.window = task_name.rpartition("-")[0]
        super().start_task(task_name)

    def stop_task(self):
        self.window = None
        return super().stop_task()


@pytest.mark.parametrize(
    ("fidelity", "windows"), [("paper", ["train", "train", "inference"]), ("study", ["inference"])]
)
def test_the_papers_energy_of_training_has_the_test_passes_inside_and_the_studys_has_not(
    monkeypatch, fidelity, windows
):
    spec, seen, real = dataclasses.replace(SPEC, fidelity=fidelity), [], training.predict
    tracker = Watched(*[(1e-6, 0.0, 2e-6)] * 20)

    def spy(network, batches, spec):
        batches = list(batches)
        seen.append((tracker.window, torch.cat([labels for _, labels in batches]).tolist()))
        return real(network, iter(batches), spec)

    monkeypatch.setattr(loop, "predict", spy)
    record = run(spec, meter=meter.Meter(tracker, SOURCES, power_limit_w=1e9)).record
    parts = Parts.of(spec)
    test, val = (parts.data.labels[index].tolist() for index in (parts.test, parts.val))
    assert len(test) == record["n_test"] == (512 if fidelity == "paper" else 540)
    # An earlier epoch that is chosen is tested outside of all windows.
    assert [window for window, labels in seen if labels == test and window] == windows
    assert [window for window, labels in seen if labels == val] == ["validation"] * SPEC.epochs
    assert record["energy_kwh"] == pytest.approx(SPEC.epochs * 3e-6)


def test_the_papers_way_trains_on_images_that_repeat_others_and_the_study_does_not(monkeypatch):
    data = datasets.prepare("elpv", 32)
    repeated = np.zeros(len(data.labels), dtype=bool)
    repeated[data.indices("train")[:20]] = True
    marked = dataclasses.replace(data, repeated=repeated)
    monkeypatch.setattr(datasets, "prepare", lambda *arguments: marked)
    for fidelity, expected in (("paper", 142), ("study", 140)):  # a tenth of 1,424 images, and of 1,404
        spec = dataclasses.replace(SPEC, epochs=1, fidelity=fidelity)
        assert run(spec).record["n_train"] == expected


@pytest.mark.parametrize(("fidelity", "kept"), [("study", True), ("paper", False)])
def test_weights_are_kept_only_where_an_epoch_is_chosen(fidelity, kept):
    data = datasets.prepare("elpv", 32)
    _, epochs = loop.quiet(dataclasses.replace(SPEC, fidelity=fidelity), data, fake_meter())
    epochs.epoch(0, **{part: data.indices(part)[::10] for part in datasets.SPLITS})
    assert (epochs.best_state is not None) == kept


def test_weights_are_kept_in_the_memory_of_the_host_and_do_not_change_with_the_network():
    """A copy on a GPU would count as the model's memory."""

    class OnAGpu:
        def to(self, device, copy):
            return device, copy

    on_a_gpu = SimpleNamespace(state_dict=lambda: {"weight": OnAGpu()})
    assert loop.on_the_host(on_a_gpu) == {"weight": ("cpu", True)}
    network = torch.nn.BatchNorm2d(3)
    kept = loop.on_the_host(network)
    network(torch.arange(24.0).reshape(2, 3, 2, 2))
    torch.nn.init.constant_(network.weight, 5.0)
    assert kept.keys() == network.state_dict().keys()
    assert kept["weight"].tolist() == [1.0] * 3 and kept["running_mean"].tolist() == [0.0] * 3
    network.load_state_dict(kept)
    assert network.weight.tolist() == [1.0] * 3 and int(network.num_batches_tracked) == 0


@pytest.mark.parametrize(("device", "first"), [("cuda", ["given back"]), ("cpu", [])])
def test_memory_counts_without_what_a_gpu_keeps_of_the_warming_up(monkeypatch, device, first):
    done = []
    gauge = SimpleNamespace(reset=lambda: done.append("counted"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("given back"))
    loop.count_anew(gauge, torch.device(device))
    assert done == [*first, "counted"]


def test_memory_counts_from_the_end_of_the_warming_up(monkeypatch):
    order = []
    monkeypatch.setattr(loop, "warm_up", lambda *arguments: order.append("warm"))
    monkeypatch.setattr(loop, "count_anew", lambda *arguments: order.append("counted"))
    monkeypatch.setattr(loop, "train_epoch", lambda *arguments: order.append("trained") or (0.5, 0.5))
    run(dataclasses.replace(SPEC, epochs=1))
    assert order == ["warm", "counted", "trained"]


def test_progress_names_each_epoch():
    lines = []
    run(progress=lines.append)
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]


def test_a_loss_that_is_no_number_is_a_failure_not_a_score():
    with pytest.raises(Diverged, match="epoch 1 of 2: training loss nan"):
        run(runs.RunSpec(**{**SPEC.as_dict(), "learning_rate": 1e30}))


@pytest.mark.parametrize("best", [0, 1])
@pytest.mark.parametrize("worst", [float("nan"), float("inf")])
def test_a_probability_of_a_test_image_that_is_no_number_is_a_failure_not_a_score(monkeypatch, best, worst):
    """Those of the last epoch are none, whichever of the two epochs is the best."""
    real, passes = training.predict, []

    def spy(network, batches, spec):
        found = real(network, batches, spec).copy()
        passes.append(None)
        if len(passes) == SPEC.epochs + 1:
            found[7, 0] = worst
        elif len(passes) <= SPEC.epochs:
            sure = 0.9 if len(passes) == best + 1 else 0.1
            found[:] = np.array([sure, 1 - sure])
        return found

    monkeypatch.setattr(loop, "predict", spy)
    with pytest.raises(Diverged, match="probabilities of test images are not finite") as told:
        run()
    assert len(passes) == SPEC.epochs + 2 - best
    assert errors.classify(type(told.value).__name__, str(told.value)) == "diverged"


def test_a_meter_that_shows_zero_is_a_failure():
    with pytest.raises(MeterError, match=r"cpu energy is 0.0 kWh"):
        run(meter=fake_meter(reading=(0.0, 0.0, 1e-6)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fidelity": "exact"}, "fidelity 'exact'"),
        ({"precision": "int8"}, "precision 'int8'"),
        ({"model": "resnet18"}, "unknown model"),
        ({"dataset": "cifar"}, "unknown dataset"),
        ({"epochs": 0}, "epochs is 0: expected a whole number, at least 1"),
        ({"epochs": 1.0}, "epochs is 1.0: expected a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"train_fraction": float("nan")}, "train_fraction is nan"),
        ({"train_fraction": 0.0}, "train_fraction is 0.0"),
        ({"setting": "../x"}, "setting '../x': a name is of letters"),
        ({"model": "halonet26t"}, "cannot take 32 px"),
    ],
)
def test_what_is_not_known_is_refused_before_anything_starts(change, reason):
    with pytest.raises(InputError, match=reason):
        run(runs.RunSpec(**{**SPEC.as_dict(), **change}))


def test_a_batch_is_normalised_grey_in_three_channels_and_enlarged_where_the_source_is_smaller(monkeypatch):
    data = datasets.prepare("elpv", 32)
    device = torch.device("cpu")
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    batches = training.Batches(
        data, 48, loop.channelwise(mean, device), loop.channelwise(std, device), device
    )
    images, labels = batches.load(np.array([0, 5]))
    assert images.shape == (2, 3, 48, 48) and images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    restored = images * torch.tensor(std).view(1, 3, 1, 1) + torch.tensor(mean).view(1, 3, 1, 1)
    assert torch.allclose(restored[:, 0], restored[:, 2], atol=1e-6)
    assert float(restored.min()) >= 0 and float(restored.max()) <= 1
    assert labels.tolist() == data.labels[[0, 5]].tolist()


def test_an_epoch_sees_each_image_once_and_no_batch_of_one():
    data = datasets.prepare("elpv", 32)
    device = torch.device("cpu")
    unit = loop.channelwise((1.0, 1.0, 1.0), device)
    batches = training.Batches(data, 32, unit, unit, device)
    sizes = [len(labels) for _, labels in batches.shuffled(np.arange(65), 32, np.random.default_rng(0))]
    assert sizes == [32, 32]
    sizes = [len(labels) for _, labels in batches.shuffled(np.arange(66), 32, np.random.default_rng(0))]
    assert sizes == [32, 32, 2]


def test_warming_up_changes_no_weight_and_no_random_state():
    data = datasets.prepare("elpv", 32)
    device = torch.device("cpu")
    unit = loop.channelwise((0.5, 0.5, 0.5), device)
    batches = training.Batches(data, 32, unit, unit, device)
    network = models.create("mobilenetv2_050", 2, image_size=32).network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    loop.warm_up(network, batches, data.indices("train"), SPEC)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_largest_batch_that_fits_is_found_by_halving():
    tried = []
    assert training.largest_batch(lambda size: tried.append(size) or size <= 13, 32) == 13
    assert len(tried) == 5
    assert training.largest_batch(lambda size: True, 32) == 31
    assert training.largest_batch(lambda size: False, 32) is None


def test_out_of_memory_says_which_batch_would_fit(monkeypatch):
    def small_device(network, batches, train, spec):
        sizes.append(spec.batch_size)
        if spec.batch_size > 12:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.\nmore words")

    sizes = []
    monkeypatch.setattr(loop, "warm_up", small_device)
    told = r"^CUDA out of memory\. Tried to allocate 1 GiB\.; largest batch size that fits: 12$"
    with pytest.raises(OutOfMemory, match=told):
        run()
    assert sizes[0] == SPEC.batch_size == 32 and max(sizes[1:]) < 32


def test_a_run_keeps_its_network_where_it_is_asked_to_and_another_starts_from_it(tmp_path, monkeypatch):
    store = runs.Store(tmp_path, "own")
    small = dataclasses.replace(SPEC, epochs=1)
    run(small, store=store)
    assert not store.weights_path(small.run_id).exists(), "only where another run starts from it"
    monkeypatch.setenv("PEPR_KEEP_WEIGHTS", "yes")
    first = run(small, store=store)
    store.write_record(first.record)
    monkeypatch.delenv("PEPR_KEEP_WEIGHTS")
    spec = dataclasses.replace(small, setting="elpv_again", init_from=small.run_id)
    again, repeated = run(spec, store=store), run(spec, store=store)
    record = again.record
    assert record["init_from"] == small.run_id and record["weights"] == f"run:{small.run_id}"
    assert record["weights_sha256"] == files.checksum(store.weights_path(small.run_id))
    assert record["init_energy_kwh"] == first.record["energy_kwh"] > 0
    np.testing.assert_array_equal(again.probabilities, repeated.probabilities)
    assert np.abs(again.probabilities - first.probabilities).max() > 1e-3
    assert runs.as_table([record])["init_from"].iloc[0] == small.run_id
    run(small, store=store)
    assert not store.weights_path(small.run_id).exists(), "those of the run before are not this one's"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (None, "was not done"),
        ("failed", r"failed \(out_of_memory\)"),
        ("ok", "kept no weights at .*delete its"),
    ],
)
def test_a_run_whose_source_is_missing_or_failed_says_so(tmp_path, status, told):
    store = runs.Store(tmp_path, "own")
    if status:
        failure = "out_of_memory" if status == "failed" else None
        store.write_record(runs.run_record(SPEC, {}, failure=failure, energy_kwh=1.0))
    spec = dataclasses.replace(SPEC, setting="elpv_again", init_from=SPEC.run_id)
    with pytest.raises(ModelUnavailable, match=told):
        run(spec, store=store)


def test_a_start_that_has_seen_the_test_images_of_the_run_is_refused(tmp_path):
    store = runs.Store(tmp_path, "own")
    store.write_record(runs.run_record(SPEC, {}, energy_kwh=1.0))
    spec = dataclasses.replace(SPEC, setting="elpv_again", split=1, init_from=SPEC.run_id)
    with pytest.raises(InputError, match=r"trained on split 0 of elpv, and this one is tested on split 1: "):
        run(spec, store=store)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dataset": "ham10000"}, r"images of ham10000_by_image divided otherwise \(ham10000\)"),
        ({"dataset": "dermamnist"}, r"images of ham10000_by_image divided otherwise \(dermamnist\)"),
        ({"pretrained": True}, "is not from scratch itself"),
        ({"init_from": "another-run"}, "is not from scratch itself"),
    ],
)
def test_a_start_that_may_have_seen_the_test_images_otherwise_is_refused(tmp_path, changes, told):
    """Before any image is read."""
    store, source = runs.Store(tmp_path, "own"), dataclasses.replace(SPEC, **changes)
    store.write_record(runs.run_record(source, {}, energy_kwh=1.0))
    spec = dataclasses.replace(SPEC, dataset="ham10000_by_image", init_from=source.run_id)
    with pytest.raises(InputError, match=told):
        run(spec, store=store)


def test_a_start_that_is_two_things_or_nowhere_is_refused():
    for changes, told in (
        ({"shuffled": True}, "nothing to shuffle"),
        ({"init_from": "a-run", "pretrained": True}, "starts from one thing"),
        ({"init_from": "a-run"}, "in which store"),
    ):
        with pytest.raises(InputError, match=told):
            run(dataclasses.replace(SPEC, **changes))
