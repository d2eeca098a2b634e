"""What the tests share: a results folder shaped like the pocket study, made of simulated runs."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from pepr import datasets, runs
from pepr.runs import metrics

hypothesis.settings.register_profile("pepr", deadline=None, derandomize=True)
hypothesis.settings.load_profile("pepr")


def pytest_configure(config: pytest.Config) -> None:
    """Begin without results, whatever was run in this checkout before, and take nothing from a person's
    `PEPR_*` variables but where data are.

    Keep each of several workers, and all that it starts, on a core of its own: threads that wait for each
    other crawl when another worker has their core."""
    for name in [name for name in os.environ if name.startswith("PEPR_") and name != "PEPR_DATA"]:
        del os.environ[name]
    empty = tempfile.mkdtemp(prefix="pepr-tests-")
    config.add_cleanup(functools.partial(shutil.rmtree, empty, ignore_errors=True))
    os.environ["PEPR_RESULTS"] = empty
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


SCRATCH_MODELS = {
    "dla46_c": (1_301_400, 4.6, 0.62),
    "mobilenetv2_050": (1_968_680, 3.4, 0.55),
    "ghostnet_100": (5_182_508, 8.0, 0.58),
    "hardcorenas_a": (5_260_232, 7.1, 0.57),
    "resnet18d": (11_708_744, 10.5, 0.80),
    "resnet14t": (10_081_632, 9.2, 0.78),
    "mnasnet_100": (4_383_312, 6.3, 0.56),
    "resnetv2_50": (25_549_352, 27.0, 0.72),
}
"""Parameters, seconds an epoch, and quality of the simulated runs from scratch."""
LITE_MODELS = {
    "tf_efficientnet_lite0": (4_652_008, 8.5, 0.60),
    "tf_efficientnet_lite1": (5_416_680, 9.8, 0.59),
    "tf_efficientnet_lite2": (6_092_072, 12.6, 0.61),
}
SETTINGS = {
    "elpv": (False, 1.0, 0.0),
    "elpv_pt": (True, 1.0, 0.28),
    "elpv_small": (False, 0.1, -0.06),
    "elpv_pt_small": (True, 0.1, 0.12),
}
"""Pretrained, fraction of the training split, and what the setting adds to the quality."""
FULL_TRAIN, N_VALIDATION, N_TEST, EPOCHS = 1574, 525, 525, 3
SIMULATED_MACHINE = {"software": "torch 2.14.1, timm 1.0.31", "hardware": "simulated CPU, 2 cores"}
POWER_CPU_W, POWER_RAM_W, GRAMS_PER_KWH = 8.0, 3.0, 151.65


def pocket_grid() -> list[tuple[str, str, int]]:
    """(model, setting, seed) of the 24 simulated runs."""
    grid = [(model, "elpv", 0) for model in SCRATCH_MODELS]
    grid += [("tf_efficientnet_lite0", setting, seed) for setting in SETTINGS for seed in (0, 1, 2)]
    names = ("tf_efficientnet_lite1", "tf_efficientnet_lite2")
    return grid + [(model, setting, 0) for model in names for setting in ("elpv", "elpv_pt")]


def simulated_run(model: str, setting: str, seed: int) -> tuple[dict, np.ndarray, np.ndarray]:
    """A record, test probabilities [525, 2] and labels [525] of one run that never took place."""
    num_params, epoch_s, quality = {**SCRATCH_MODELS, **LITE_MODELS}[model]
    pretrained, fraction, gain = SETTINGS[setting]
    spec = runs.RunSpec(
        model, "elpv", setting, pretrained=pretrained, train_fraction=fraction, seed=seed, split=seed
    )
    spec = runs.RunSpec(**{**spec.as_dict(), "epochs": EPOCHS})
    rng = np.random.default_rng([seed, *spec.run_id.encode()])
    labels = (np.random.default_rng(0).permutation(N_TEST) < 0.29 * N_TEST).astype(np.int64)
    separation = 4.0 * (quality + gain - 0.45) + rng.normal(0, 0.08)
    positive = 1 / (1 + np.exp(-(separation * (labels - 0.5) * 2 - 1.0 + 1.4 * rng.normal(size=N_TEST))))
    probabilities = np.column_stack([1 - positive, positive])
    predicted = positive > 0.5
    n_train = round(FULL_TRAIN * fraction)
    train_s = EPOCHS * epoch_s * max(fraction, 0.05) * rng.normal(1.0, 0.02)
    kwh = {name: watts * train_s / 3.6e6 for name, watts in (("cpu", POWER_CPU_W), ("ram", POWER_RAM_W))}
    energy = kwh["cpu"] + kwh["ram"]
    inference_s = 0.12 * train_s / fraction
    val_auroc = np.sort(np.clip(0.5 + 0.4 * separation / 3 + rng.normal(0, 0.02, EPOCHS), 0.4, 0.99))
    found = {
        "num_params": num_params,
        "n_train": n_train,
        "n_val": N_VALIDATION,
        "n_test": N_TEST,
        "test_accuracy": float(np.mean(predicted == labels)),
        "test_accuracy_last_epoch": float(np.mean(predicted == labels)),
        "test_balanced_accuracy": float(metrics.weighted_balanced_accuracy(labels, predicted)[0]),
        "test_auroc": float(metrics.macro_auroc(labels, probabilities)[0]),
        "test_sensitivity": float(np.mean(predicted[labels == 1])),
        "test_specificity": float(np.mean(~predicted[labels == 0])),
        "test_majority_rate": float(np.mean(labels == 0)),
        "constant_predictor": len(np.unique(predicted)) == 1,
        "val_accuracy": 0.75,
        "best_epoch": 2,
        "energy_kwh": energy,
        "energy_cpu_kwh": kwh["cpu"],
        "energy_ram_kwh": kwh["ram"],
        "energy_source": "cpu:load_model;ram:assumed",
        "energy_validation_kwh": energy * 0.3,
        "energy_inference_kwh": 11.0 * inference_s / 3.6e6,
        "co2eq_g": energy * GRAMS_PER_KWH,
        "carbon_intensity_g_per_kwh": GRAMS_PER_KWH,
        "train_time_s": train_s,
        "train_cpu_time_s": 1.9 * train_s,
        "inference_time_s": inference_s,
        "validation_time_s": 0.3 * train_s,
        "wall_time_s": 1.6 * train_s + 9.0,
        "epoch_time_s_first": train_s / 3,
        "epoch_time_s_median": train_s / 3,
        "peak_memory_bytes": int(2e8 + 9 * num_params + 1e7 * epoch_s + rng.integers(0, 1_000_000)),
        "memory_source": "rss_peak_minus_baseline",
        "contended": False,
        "data_status": "official",
        "weights": "package" if pretrained else "none",
        "history": [
            {
                "epoch": epoch,
                "train_loss": 0.7 - 0.1 * epoch,
                "train_accuracy": 0.7 + 0.05 * epoch,
                "val_loss": 0.65 - 0.04 * epoch,
                "val_accuracy": 0.7 + 0.02 * epoch,
                "val_auroc": float(val_auroc[epoch]),
                "train_time_s": train_s / EPOCHS,
                "energy_kwh": energy / EPOCHS,
            }
            for epoch in range(EPOCHS)
        ],
    }
    return runs.run_record(spec, SIMULATED_MACHINE, **found), probabilities, labels


def fail(record: dict, failure: str) -> dict:
    """The record of the same run, had it failed before it measured anything."""
    spec = runs.RunSpec.from_dict(record)
    kept = {name: record[name] for name in ("hardware", "num_params")}
    return runs.run_record(spec, {}, failure=failure, traceback=failure, **kept)


def write_synthetic(
    root: Path, profile: str = "pocket", failed: tuple[str, ...] = ("hardcorenas_a",)
) -> Path:
    """Write a simulated profile under `root`: one failed run, one contended run, 22 others."""
    store = runs.Store(root, profile)
    for model, setting, seed in pocket_grid():
        record, probabilities, labels = simulated_run(model, setting, seed)
        record["contended"] = model == "ghostnet_100"
        if model in failed:
            record = fail(record, "out_of_memory")
        else:
            store.write_predictions(record["run_id"], probabilities, labels)
        store.write_record(record)
    runs.collect(store)
    return store.folder


@pytest.fixture(scope="session")
def synthetic_results(tmp_path_factory) -> runs.Results:
    """Simulated results of the pocket study on disk: `synthetic_results.folder.parent` is the root."""
    folder = write_synthetic(tmp_path_factory.mktemp("results"))
    return runs.Results("pocket", "this machine", folder)


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """Install a pretended NVIDIA driver with the given GPUs."""
    from fake_nvml import FakeNvml

    from pepr.machine import description, gpu

    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "PEPR_DEVICE", gpu.UNLIKE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setattr(gpu.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpu, "WAIT_S", 0.01)
    monkeypatch.setattr(description, "why_torch_has_no_gpu", lambda: None)
    description.gpu_names.cache_clear()

    def install(*gpus, **options):
        nvml = FakeNvml(*gpus, **options)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        return nvml

    yield install
    description.gpu_names.cache_clear()


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory):
    """The prepared images, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPR_RESULTS", str(tmp_path_factory.mktemp("prepared")))
        datasets.prepare("elpv", 32)
        return datasets.cache_folder("elpv", 32)


@pytest.fixture
def results(tmp_path, monkeypatch, data_cache):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("PEPR_DEVICE", "cpu")
    target = tmp_path / "results" / "data" / data_cache.name
    target.mkdir(parents=True)
    for path in data_cache.iterdir():
        os.link(path, target / path.name)
    return tmp_path / "results"


@pytest.fixture(scope="session")
def authors_tables():
    """The authors' published tables."""
    from pepr import published

    return published.load()


@pytest.fixture(scope="session")
def authors_results(authors_tables):
    """The authors' runs, as published."""
    return authors_tables.results


@pytest.fixture(scope="session")
def recorded(authors_results):
    """The history of the authors' runs."""
    from pepr.published import history

    return history.load(authors_results)


@pytest.fixture(scope="module")
def few_resamples():
    """Claims on few resamples, where their values are not what is tested."""
    import several_sets

    from pepr.analysis import claims

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "N_RESAMPLES", several_sets.RESAMPLES)
        yield
