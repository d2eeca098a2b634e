"""Baselines: predictors that are no networks, fitted beforehand as they are here, metered as networks are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from pepr import datasets
from pepr.datasets import leaks
from pepr.machine.meter import Meter, Window
from pepr.runs import metrics
from pepr.runs.spec import RunSpec
from pepr.training.memory import memory_gauge
from pepr.training.probe import speed_probe_s
from pepr.training.record import Clock, Outcome, Parts, epoch_entry, outcome

THUMBNAIL_PX = 32
NEIGHBOURS = 10
COMPONENTS = 64
WARM_UP_IMAGES = 100
LEAST_WINDOW_S = 0.5
"""A piece of work that takes less is repeated for so long, and its energy and time are of one repetition: the
clocks of a processor count in hundredths of a second, and the meter opens and closes around a window."""

T = TypeVar("T")
Make = Callable[[int, int], Any]
"""Makes an estimator for so many training images, with a seed."""


class Baseline:
    """An estimator of scikit-learn with its defaults, since nothing is tuned on the data, on `features`
    [n, d] of images: thumbnails, or the order of their files, where no pixel is seen.

    Margins of a support vector machine become probabilities by a softmax, which keeps their order and is not
    calibrated.
    """

    def __init__(
        self, features: Callable[[datasets.Prepared, np.ndarray], np.ndarray], make: Make, seed: int
    ):
        self.features, self.make, self.seed = features, make, seed

    def fit(self, data: datasets.Prepared, train: np.ndarray) -> None:
        """Fit on the images at the positions `train` [n]."""
        torch.manual_seed(self.seed)
        self.estimator = self.make(len(train), self.seed)
        self.estimator.fit(self.features(data, train), data.labels[train])

    def predict(self, data: datasets.Prepared, index: np.ndarray) -> np.ndarray:
        """Class probabilities [n, classes] of the images at the positions `index` [n], in the float32 in
        which they are kept: two that are equal there are equal for every measure."""
        features = self.features(data, index)
        if hasattr(self.estimator, "predict_proba"):
            found = self.estimator.predict_proba(features)
        else:
            margins = self.estimator.decision_function(features)
            two = margins.ndim == 1
            found = softmax(np.stack([-margins, margins], axis=1) if two else margins, axis=1)
        probabilities = np.zeros((len(index), data.num_classes), dtype=np.float32)
        probabilities[:, self.estimator.classes_] = found
        return probabilities


def _thumbnails(data: datasets.Prepared, index: np.ndarray) -> np.ndarray:
    return leaks.thumbnails(data.images[index], THUMBNAIL_PX)


def _file_numbers(data: datasets.Prepared, index: np.ndarray) -> np.ndarray:
    return (index if data.order is None else data.order[index])[:, None]


def _class_shares(n_train: int, seed: int) -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")


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
"""Of the baselines that see thumbnails."""
WITHOUT_PIXELS = {"majority": _class_shares, "file_order": _nearest_neighbours}


def make(model: str, seed: int) -> Baseline:
    """A baseline by the name that the model space gives it, not yet fitted."""
    if model in WITHOUT_PIXELS:
        return Baseline(_file_numbers, WITHOUT_PIXELS[model], seed)
    return Baseline(_thumbnails, PIPELINES[model], seed)


def fit(spec: RunSpec, meter: Meter, progress: Callable[[str], None]) -> Outcome:
    """Fit a baseline and measure what it takes, in the record of a network's run: energy in kWh, time in
    seconds, memory in bytes. One fit counts as one epoch; there is no loss that was trained on."""
    clock, parts = Clock(), Parts.of(spec)
    data, train = parts.data, parts.train
    with threadpool_limits(1):
        few = datasets.stratified_share(data.labels[train], min(1, WARM_UP_IMAGES / len(train)), spec.seed)
        make(spec.model, spec.seed).fit(data, train[few])  # loads what a first use loads
        baseline, memory = make(spec.model, spec.seed), memory_gauge(torch.device("cpu"))
        probes = [speed_probe_s()]
        memory.reset()
        repeated_work(meter, "train", lambda: baseline.fit(data, train))
        peak = max(memory.peak(), 0) or None  # what needs no more than is there anyway has none that is known
        probes.append(speed_probe_s())
        on_val = repeated_work(meter, "validation", lambda: baseline.predict(data, parts.val))
        on_test = repeated_work(meter, "inference", lambda: baseline.predict(data, parts.test))
        on_train = baseline.predict(data, train)
    loss = metrics.cross_entropy(on_train, data.labels[train])
    accuracy = float(np.mean(on_train.argmax(1) == data.labels[train]))
    epoch = epoch_entry(0, loss, accuracy, meter.windows["train"], on_val, data.labels[parts.val])
    told = f"validation accuracy {epoch['val_accuracy']:.3f}  {epoch['train_time_s']:.3g} s"
    progress(f"{spec.model} fitted  {told}")
    return outcome(
        spec,
        parts,
        meter,
        clock,
        history=[epoch],
        best_epoch=0,
        probabilities=on_test,
        last=on_test,
        threads=1,
        probes=probes,
        weights="none",
        weights_sha256=None,
        peak_memory_bytes=peak,
        peak_memory_reserved_bytes=None,
        memory_source=memory.source,
    )


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
