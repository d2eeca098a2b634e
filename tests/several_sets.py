"""A study of several medical sets that never took place: its runs are drawn with known gains."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from pepr import models, runs
from pepr.runs import metrics
from pepr.runs.columns import Record

N_TRAIN = {"breastmnist": 546, "retinamnist": 1080, "pneumoniamnist": 4708}
N_TEST = {"breastmnist": 90, "retinamnist": 120, "pneumoniamnist": 150}
N_CLASSES = {"breastmnist": 2, "retinamnist": 5, "pneumoniamnist": 2}
PRETRAINED = ("mobilenetv2_100", "tf_efficientnet_lite0", "tf_efficientnet_lite1")
NETWORKS = ("dla46_c", "convnext_atto", "resnet18d", *PRETRAINED)
GAINS = {"breastmnist": 0.9, "retinamnist": 0.6, "pneumoniamnist": 1.2}
"""How much farther apart pretraining puts the classes of each set."""
EPOCHS = 4
RESAMPLES = 60
"""Enough to see that an interval is there."""


def write(
    root: Path,
    *,
    sets: tuple[str, ...] = tuple(N_TRAIN),
    seeds: tuple[int, ...] = (0, 1, 2),
    starts: tuple[bool, ...] = (True, False),
    fractions: tuple[float, ...] = (1.0, 0.1),
    gains: dict[str, float] = GAINS,
    arms: bool = False,
    baseline: bool = True,
    profile: str = "medical",
) -> runs.Results:
    """The simulated runs of some sets, seeds, starts and fractions, as results of this machine; with `arms`
    also from shuffled weights, which gain nothing, and from another run, which gain half of pretraining."""
    store = runs.Store(root, profile)
    for dataset, seed, pretrained, fraction in itertools.product(sets, seeds, starts, fractions):
        for model in PRETRAINED if pretrained else NETWORKS:
            _run(store, model, dataset, seed, pretrained, fraction, gains[dataset])
        if baseline and seed == 0:
            _run(store, "pca_svm", dataset, seed, pretrained, fraction, 0.0)
    for dataset, seed in itertools.product(sets if arms else (), seeds):
        for model in PRETRAINED:
            _run(store, model, dataset, seed, True, 1.0, 0.0, shuffled=True)
        for model in NETWORKS:
            _run(store, model, dataset, seed, False, 1.0, gains[dataset] / 2, init_from=f"of-{model}")
    runs.collect(store)
    return runs.Results(profile, "this machine", store.folder)


def with_table(results: runs.Results, table: pd.DataFrame) -> runs.Results:
    """The same results with another table."""

    class Changed(runs.Results):
        pass

    Changed.table = table
    return Changed(results.profile, results.origin, results.folder)


def _run(
    store: runs.Store,
    model: str,
    dataset: str,
    seed: int,
    pretrained: bool,
    fraction: float,
    gain: float,
    shuffled: bool = False,
    init_from: str | None = None,
) -> None:
    start = "_shuffled" if shuffled else "_from_another" if init_from else "" if pretrained else "_scratch"
    name = dataset.removesuffix("mnist") + start
    is_baseline = model in models.BASELINES
    spec = runs.RunSpec(
        model,
        dataset,
        name + ("_small" if fraction < 1 else ""),
        pretrained=pretrained,
        train_fraction=fraction,
        seed=seed,
        image_size=32,
        shuffled=shuffled,
        init_from=init_from,
        epochs=1 if is_baseline else EPOCHS,
    )
    rng = np.random.default_rng(list(spec.run_id.encode()))
    n, k = N_TEST[dataset], N_CLASSES[dataset]
    labels = np.random.default_rng(1).permutation(np.arange(n) % (k + 1) % k)
    apart = (
        0.8
        + (gain if pretrained or init_from else 0.0)
        - 0.4 * (fraction < 1)
        + 0.1 * NETWORKS[::-1].index(model)
        if (not is_baseline)
        else 0.8
    )
    probabilities = softmax(apart * np.eye(k)[labels] + rng.normal(size=(n, k)), axis=1).astype(np.float32)
    n_train = round(N_TRAIN[dataset] * fraction)
    train_s = (
        n_train * spec.epochs * (1 + models.find(model).num_params / 1e6 if not is_baseline else 1) / 1e3
    )
    energy = 10.0 * train_s / 3.6e6
    climb = np.linspace(0.6, 0.75 + (0.1 if pretrained else 0.0) + rng.normal(0, 0.01), spec.epochs)
    history = [
        {
            "epoch": epoch,
            "train_loss": 0.7 - 0.1 * epoch,
            "train_accuracy": 0.7,
            "val_loss": 0.6 - 0.05 * epoch,
            "val_accuracy": float(climb[epoch]),
            "val_auroc": float(climb[epoch]),
            "train_time_s": train_s / spec.epochs,
            "energy_kwh": energy / spec.epochs,
        }
        for epoch in range(spec.epochs)
    ]
    measured = metrics.performance(probabilities, labels, ordered=dataset == "retinamnist")
    record: Record = runs.run_record(
        spec,
        {"software": "torch 2.14.1, codecarbon 3.3.2", "hardware": "simulated CPU, 2 cores"},
        num_params=None if is_baseline else models.find(model).num_params,
        n_train=n_train,
        n_val=n // 2,
        n_test=n,
        val_accuracy=history[-1]["val_accuracy"],
        best_epoch=spec.epochs - 1,
        energy_kwh=energy,
        energy_cpu_kwh=0.7 * energy,
        energy_ram_kwh=0.3 * energy,
        energy_source="cpu:load_model;ram:assumed",
        energy_validation_kwh=0.1 * energy,
        energy_inference_kwh=0.1 * energy,
        co2eq_g=energy * 475,
        carbon_intensity_g_per_kwh=475.0,
        train_time_s=train_s,
        train_cpu_time_s=train_s,
        inference_time_s=0.1 * train_s,
        validation_time_s=0.1 * train_s,
        wall_time_s=2 * train_s,
        epoch_time_s_first=train_s / spec.epochs,
        epoch_time_s_median=train_s / spec.epochs,
        peak_memory_bytes=200_000_000,
        memory_source="rss_peak_minus_baseline",
        contended=False,
        data_status="official",
        weights="package" if pretrained else "none",
        init_energy_kwh=5 * energy if init_from else None,
        history=history,
        **measured,
        test_accuracy_last_epoch=measured["test_accuracy"],
    )
    store.write_predictions(spec.run_id, probabilities, labels)
    store.write_record(record)
