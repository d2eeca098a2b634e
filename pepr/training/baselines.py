"""Baselines: predictors that are no networks, fitted beforehand as they are here, metered as networks are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from pepr import datasets
from pepr.datasets import leaks
from pepr.machine.meter import Meter, Window
from pepr.runs import metrics
from pepr.runs.spec import RunSpec
from pepr.training.memory import memory_gauge
from pepr.training.probe import speed_probe_s
from pepr.training.record import Clock, Epoch, Fitted, Outcome, outcome

THUMBNAIL_PX = 32
NEIGHBOURS = 10
COMPONENTS = 64
WARM_UP_IMAGES = 100
LEAST_WINDOW_S = 0.5
"""A piece of work that takes less is repeated for so long, and its energy and time are of one repetition: the
clocks of a processor count in hundredths of a second, and the meter opens and closes around a window."""

T = TypeVar("T")


class Baseline(Protocol):
    """Fitted on images of the training set, it gives class probabilities [n, classes] of others."""

    def fit(self, data: datasets.Prepared, train: np.ndarray) -> None: ...
    def predict(self, data: datasets.Prepared, index: np.ndarray) -> np.ndarray: ...


class Majority:
    """The class shares of the training set, for every image."""

    def fit(self, data: datasets.Prepared, train: np.ndarray) -> None:
        self.shares = np.bincount(data.labels[train], minlength=data.num_classes) / len(train)

    def predict(self, data: datasets.Prepared, index: np.ndarray) -> np.ndarray:
        return np.tile(self.shares, (len(index), 1))


class FileOrder:
    """The class shares of the nearest training files: no pixel is seen."""

    def fit(self, data: datasets.Prepared, train: np.ndarray) -> None:
        self.train = train

    def predict(self, data: datasets.Prepared, index: np.ndarray) -> np.ndarray:
        return leaks.nearest_shares(self.train, data.labels[self.train], index, NEIGHBOURS, data.num_classes)


class OnThumbnails:
    """A pipeline of scikit-learn on images that are reduced to thumbnails, with its defaults: nothing is
    tuned on the data. Margins of a support vector machine become probabilities by a softmax, which keeps
    their order and is not calibrated."""

    def __init__(self, make: Callable[[int], Any], seed: int):
        self.make, self.seed = make, seed

    def fit(self, data: datasets.Prepared, train: np.ndarray) -> None:
        torch.manual_seed(self.seed)
        self.pipeline = self.make(len(train), self.seed)
        self.pipeline.fit(leaks.thumbnails(data.images[train], THUMBNAIL_PX), data.labels[train])

    def predict(self, data: datasets.Prepared, index: np.ndarray) -> np.ndarray:
        small = leaks.thumbnails(data.images[index], THUMBNAIL_PX)
        if hasattr(self.pipeline, "predict_proba"):
            found = self.pipeline.predict_proba(small)
        else:
            margins = self.pipeline.decision_function(small)
            two = margins.ndim == 1
            found = _softmax(np.stack([-margins, margins], axis=1) if two else margins)
        probabilities = np.zeros((len(index), data.num_classes))
        probabilities[:, self.pipeline.classes_] = found
        return probabilities


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _logistic_regression(n_train: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _nearest_neighbours(n_train: int, seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(NEIGHBOURS, n_train))


def _pca_svm(n_train: int, seed: int) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    components = PCA(min(COMPONENTS, n_train - 1), whiten=True, random_state=seed)
    return make_pipeline(components, SVC(kernel="rbf"))


PIPELINES = {
    "logistic_regression": _logistic_regression,
    "nearest_neighbours": _nearest_neighbours,
    "pca_svm": _pca_svm,
}


def make(model: str, seed: int) -> Baseline:
    """A baseline by the name that the model space gives it, not yet fitted."""
    if model == "majority":
        return Majority()
    if model == "file_order":
        return FileOrder()
    return OnThumbnails(PIPELINES[model], seed)


def fit(spec: RunSpec, meter: Meter, progress: Callable[[str], None]) -> Outcome:
    """Fit a baseline and measure what it takes, in the record of a network's run: energy in kWh, time in
    seconds, memory in bytes. One fit counts as one epoch; there is no loss that was trained on."""
    clock = Clock()
    data = datasets.prepare(spec.dataset, spec.image_size, spec.split)
    train = data.train_indices(spec.train_fraction, spec.seed, keep_repeated=spec.fidelity == "paper")
    val, test = data.indices("val"), data.indices("test")
    if spec.fidelity == "paper":
        test = test[: len(test) - len(test) % spec.batch_size]
    with threadpool_limits(1):
        few = datasets.stratified_share(data.labels[train], min(1, WARM_UP_IMAGES / len(train)), spec.seed)
        make(spec.model, spec.seed).fit(data, train[few])  # loads what a first use loads
        baseline, memory = make(spec.model, spec.seed), memory_gauge(torch.device("cpu"))
        probes = [speed_probe_s()]
        memory.reset()
        repeated_work(meter, "train", lambda: baseline.fit(data, train))
        peak = max(memory.peak(), 0) or None  # what needs no more than is there anyway has none that is known
        probes.append(speed_probe_s())
        on_val = repeated_work(meter, "validation", lambda: baseline.predict(data, val))
        on_test = repeated_work(meter, "inference", lambda: baseline.predict(data, test))
        on_train = baseline.predict(data, train)
    epoch = _epoch(data, meter.windows["train"], (train, on_train), (val, on_val))
    told = f"validation accuracy {epoch['val_accuracy']:.3f}  {epoch['train_time_s']:.3g} s"
    progress(f"{spec.model} fitted  {told}")
    fitted = Fitted(
        train=train,
        val=val,
        test=test,
        probabilities=on_test,
        last=on_test,
        history=[epoch],
        best_epoch=0,
        train_loss=None,
        num_params=None,
        weights="none",
        weights_sha256=None,
        peak_memory_bytes=peak,
        peak_memory_reserved_bytes=None,
        memory_source=memory.source,
        threads=1,
        probes=probes,
    )
    return outcome(spec, data, fitted, meter, clock)


def repeated_work(meter: Meter, name: str, work: Callable[[], T]) -> T:
    """Do a piece of work in a window of the meter, again and again where it is short, and make the window
    that of one repetition."""
    repetitions = 0
    with meter.window(name):
        began = time.perf_counter()
        while repetitions == 0 or time.perf_counter() - began < LEAST_WINDOW_S:
            found = work()
            repetitions += 1
    shares = {
        key: value if value is None else value / repetitions
        for key, value in asdict(meter.windows[name]).items()
    }
    meter.windows[name] = Window(**shares)
    return found


def _epoch(
    data: datasets.Prepared,
    window: Window,
    on_train: tuple[np.ndarray, np.ndarray],
    on_val: tuple[np.ndarray, np.ndarray],
) -> Epoch:
    (train, of_train), (val, of_val) = on_train, on_val
    return {
        "epoch": 0,
        "train_loss": metrics.cross_entropy(of_train, data.labels[train]),
        "train_accuracy": float(np.mean(of_train.argmax(1) == data.labels[train])),
        "val_loss": metrics.cross_entropy(of_val, data.labels[val]),
        "val_accuracy": float(np.mean(of_val.argmax(1) == data.labels[val])),
        "val_auroc": metrics.auroc(of_val, data.labels[val]),
        "train_time_s": window.time_s,
        "train_cpu_time_s": window.cpu_time_s,
        "energy_kwh": window.energy_kwh,
    }
