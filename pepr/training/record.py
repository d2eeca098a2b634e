"""The record of a run that ended: one way to write it, whatever was fitted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pepr import datasets
from pepr.errors import Diverged, InputError
from pepr.machine import description
from pepr.machine.meter import Meter, Window
from pepr.runs import metrics
from pepr.runs.columns import Record
from pepr.runs.record import now, run_record
from pepr.runs.spec import RunSpec

Epoch = dict[str, float]
"""One entry of a learning curve: losses, accuracies, seconds, kWh."""


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: its record, and test probabilities [n_test, classes] with labels [n_test], and with
    groups [n_test] of images that are not independent (a module, a lesion) where the dataset names some."""

    record: Record
    probabilities: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None


@dataclass(frozen=True)
class Clock:
    """When a run began: on the wall, and in seconds of a counter."""

    started_at: str = field(default_factory=now)
    began: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Parts:
    """A prepared dataset, and the positions of the images that a run trains on, chooses its epoch by and is
    judged on."""

    data: datasets.Prepared
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, spec: RunSpec) -> Parts:
        """The parts of a run; in fidelity `paper` without what the paper's protocol leaves out."""
        data = datasets.prepare(spec.dataset, spec.image_size, spec.split)
        paper = spec.fidelity == "paper"
        train = data.train_indices(spec.train_fraction, spec.seed, keep_repeated=paper)
        test = data.indices("test")
        if paper:
            test = test[: len(test) - len(test) % spec.batch_size]
        if not len(test):
            raise InputError(
                f"batch_size is {spec.batch_size}, more than the test images: fidelity 'paper' drops an "
                "incomplete test batch, and none is left"
            )
        return cls(data, train, data.indices("val"), test)


def epoch_entry(
    epoch: int, loss: float, accuracy: float, window: Window, probabilities: np.ndarray, labels: np.ndarray
) -> Epoch:
    """One entry of a learning curve: `loss` and `accuracy` of training in a window of the meter, and how well
    probabilities [n_val, classes] go with labels [n_val]."""
    return {
        "epoch": epoch,
        "train_loss": loss,
        "train_accuracy": accuracy,
        "val_loss": metrics.cross_entropy(probabilities, labels),
        "val_accuracy": float(np.mean(probabilities.argmax(1) == labels)),
        "val_auroc": metrics.auroc(probabilities, labels),
        "train_time_s": window.time_s,
        "train_cpu_time_s": window.cpu_time_s,
        "energy_kwh": window.energy_kwh,
    }


def outcome(
    spec: RunSpec,
    parts: Parts,
    meter: Meter,
    clock: Clock,
    *,
    history: list[Epoch],
    best_epoch: int,
    probabilities: np.ndarray,
    last: np.ndarray,
    threads: int,
    probes: Sequence[float],
    **facts: Any,
) -> Outcome:
    """The record of a run that ended well, with its predictions.

    `history` has one entry an epoch; `probabilities` and `last` [n_test, classes] are of the best epoch and
    of the last one; `probes` are in seconds. `facts` are other columns and keys of the record, as they are.
    Raises Diverged where a probability is not finite, and MeterError where a window with work in it shows
    nothing.
    """
    if not (np.isfinite(probabilities).all() and np.isfinite(last).all()):
        raise Diverged("probabilities of test images are not finite")
    data, labels = parts.data, parts.data.labels[parts.test]
    costs = meter.costs("train")
    validation, inference = meter.check("validation"), meter.check("inference")
    epoch_times = [row["train_time_s"] for row in history]
    record = run_record(
        spec,
        description.recorded(spec.device, threads, power=meter.assumptions),
        n_train=len(parts.train),
        n_val=len(parts.val),
        n_test=len(parts.test),
        test_accuracy_last_epoch=float(np.mean(last.argmax(1) == labels)),
        val_accuracy=history[best_epoch]["val_accuracy"],
        best_epoch=best_epoch,
        train_class_entropy=metrics.class_entropy(data.labels[parts.train]),
        **metrics.performance(probabilities, labels, ordered=data.card["ordered"]),
        **costs,
        energy_source=meter.source,
        energy_validation_kwh=validation.energy_kwh,
        energy_inference_kwh=inference.energy_kwh,
        validation_time_s=validation.time_s,
        inference_time_s=inference.time_s,
        epoch_time_s_first=epoch_times[0],
        epoch_time_s_median=float(np.median(epoch_times)),
        threads=threads,
        runs_at_once=meter.runs_at_once,
        speed_probe_s=float(np.mean(probes)) if probes else None,
        speed_probes_s=list(probes),
        data_status=data.card["status"],
        data_sha256=data.card["sha256"],
        history=history,
        meter=meter.as_dict(),
        started_at=clock.started_at,
        ended_at=now(),
        wall_time_s=time.perf_counter() - clock.began,
        **facts,
    )
    groups = None if data.groups is None else data.groups[parts.test]
    return Outcome(record, probabilities, labels, groups)
