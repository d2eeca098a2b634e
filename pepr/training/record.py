"""The record of a run that ended: one way to write it, whatever was fitted."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pepr import datasets, grids
from pepr.machine import description
from pepr.machine.meter import Meter
from pepr.runs import metrics
from pepr.runs.columns import Record
from pepr.runs.record import run_record
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

    started_at: str = field(default_factory=lambda: now())
    began: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves for its record.

    `train`, `val` and `test` are positions of images; `probabilities` and `last` [n_test, classes] are of the
    chosen epoch and of the last one; `history` has one entry an epoch; `train_loss` is the mean training loss
    of the last epoch in nats, None where no loss was trained on. Memory is in bytes, `probes` in seconds.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    probabilities: np.ndarray
    last: np.ndarray
    history: list[Epoch]
    best_epoch: int
    train_loss: float | None
    num_params: int | None
    weights: str
    weights_sha256: str | None
    peak_memory_bytes: int | None
    peak_memory_reserved_bytes: int | None
    memory_source: str
    threads: int
    probes: Sequence[float]
    init_energy_kwh: float | None = None


def outcome(spec: RunSpec, data: datasets.Prepared, fitted: Fitted, meter: Meter, clock: Clock) -> Outcome:
    """The record of a run that ended well, with its predictions.

    Raises MeterError where a window with work in it shows nothing.
    """
    labels = data.labels[fitted.test]
    record = run_record(
        spec,
        description.recorded(spec.device, fitted.threads, power=meter.assumptions),
        num_params=fitted.num_params,
        n_train=len(fitted.train),
        n_val=len(fitted.val),
        n_test=len(fitted.test),
        test_accuracy_last_epoch=float(np.mean(fitted.last.argmax(1) == labels)),
        val_accuracy=fitted.history[fitted.best_epoch]["val_accuracy"],
        best_epoch=fitted.best_epoch,
        train_loss_last_epoch=fitted.train_loss,
        train_class_entropy=metrics.class_entropy(data.labels[fitted.train]),
        **metrics.performance(fitted.probabilities, labels, ordered=data.card["ordered"]),
        **_costs(fitted.history, meter),
        peak_memory_bytes=fitted.peak_memory_bytes,
        peak_memory_reserved_bytes=fitted.peak_memory_reserved_bytes,
        memory_source=fitted.memory_source,
        threads=fitted.threads,
        runs_at_once=meter.runs_at_once,
        speed_probe_s=float(np.mean(fitted.probes)) if fitted.probes else None,
        speed_probes_s=list(fitted.probes),
        data_status=data.card["status"],
        data_sha256=data.card["sha256"],
        weights=fitted.weights,
        weights_sha256=fitted.weights_sha256,
        init_energy_kwh=fitted.init_energy_kwh,
        history=fitted.history,
        meter=meter.as_dict(),
        started_at=clock.started_at,
        ended_at=now(),
        wall_time_s=time.perf_counter() - clock.began,
    )
    groups = None if data.groups is None else data.groups[fitted.test]
    return Outcome(record, fitted.probabilities, labels, groups)


def _costs(history: Sequence[Epoch], meter: Meter) -> dict[str, str | float | bool | None]:
    train, validation, inference = (meter.check(name) for name in ("train", "validation", "inference"))
    epoch_times = [row["train_time_s"] for row in history]
    return {
        "energy_kwh": train.energy_kwh,
        "energy_cpu_kwh": train.energy_cpu_kwh,
        "energy_gpu_kwh": train.energy_gpu_kwh,
        "energy_ram_kwh": train.energy_ram_kwh,
        "energy_source": meter.source,
        "energy_validation_kwh": validation.energy_kwh,
        "energy_inference_kwh": inference.energy_kwh,
        "idle_power_w": meter.idle_power_w,
        "power_limit_w": meter.power_limit_w,
        **grids.derived(train.energy_kwh, grids.per_kwh()),
        "train_time_s": train.time_s,
        "train_cpu_time_s": train.cpu_time_s,
        "inference_time_s": inference.time_s,
        "validation_time_s": validation.time_s,
        "epoch_time_s_first": epoch_times[0],
        "epoch_time_s_median": float(np.median(epoch_times)),
        "contended": meter.contended("train"),
    }


def now() -> str:
    """The time in UTC, to the millisecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
