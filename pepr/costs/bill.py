"""The bill of pretraining: what ImageNet takes by the cost model and by published hours, and who shares it.

All of it is estimated. The cost model was fitted to runs of minutes on one GPU; here it is asked for weeks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr.costs import model as cost
from pepr.models import atlas
from pepr.published import pretraining
from pepr.published.pretraining import IMAGENET_EPOCHS, IMAGENET_IMAGES

IMAGENET_TEST_IMAGES = 50_000
"""Validation images of ImageNet-1k (Russakovsky et al. 2015), predicted after every epoch."""
EPOCHS = IMAGENET_EPOCHS
IMAGE_SIZE, BATCH_SIZE = 256, 32
USES = (1, 100, 10_000, 1_000_000)
"""Over how many fine-tunings a bill is shared, in the chapter's table."""
FINE_TUNING = "lidc"
"""The setting of the fine-tuning that a share of the bill is held against."""


@dataclass(frozen=True)
class Published:
    """A training on ImageNet-1k whose hours were published: GPUs, hours, and the power that such a board is
    allowed in watts, so that their product is what the GPUs took at most. `source` is a key of the
    bibliography."""

    model: str
    words: str
    epochs: int
    image_size: int
    gpus: int
    hours: float
    board_w: float
    source: str

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.hours

    @property
    def kwh_at_most(self) -> float:
        return self.gpu_hours * self.board_w / 1000


PUBLISHED = (
    Published("resnet50", "ResNet-50", 90, 224, 256, 1.0, 300.0, "goyal2017accurate"),
    Published("deit_base_patch16_224", "DeiT-B", 300, 224, 8, 53.0, 300.0, "touvron2021training"),
)
"""Goyal et al.: 90 epochs in an hour on 256 Tesla P100. Touvron et al.: 300 epochs of DeiT-B in 53 hours on a
node of 8 GPUs, taken to be V100 with 300 W."""


def imagenet(epochs: int, image_size: int = IMAGE_SIZE) -> cost.Job:
    """So many epochs over ImageNet-1k as a job of the authors' machine."""
    return cost.Job(None, IMAGENET_IMAGES, IMAGENET_TEST_IMAGES, epochs, BATCH_SIZE, image_size)


def predicted(models: Iterable[str], epochs: int) -> pd.DataFrame:
    """What pretraining each model takes on the authors' machine by the cost model: `pretraining_kwh` with its
    90% interval, `gpu_hours`, and `runs_worth`, how many fine-tunings of `FINE_TUNING` take as much."""
    rows = []
    for model in models:
        entry = atlas.look_up(model, IMAGE_SIZE)
        found = cost.predict(entry, imagenet(epochs))
        one = cost.predict(entry, cost.job_of(FINE_TUNING))
        rows.append(
            {
                "model": model,
                "epochs": epochs,
                "pretraining_kwh": found.energy_wh / 1000,
                "pretraining_kwh_low": found.energy_wh_low / 1000,
                "pretraining_kwh_high": found.energy_wh_high / 1000,
                "gpu_hours": found.train_time_s / 3600,
                "runs_worth": found.energy_wh / one.energy_wh,
            }
        )
    return pd.DataFrame(rows)


def beside_published() -> pd.DataFrame:
    """The cost model beside published trainings, a row each: what their GPUs took at most, and what the model
    predicts of the authors' one for the same epochs and image size, in kWh and GPU hours."""
    rows = []
    for known in PUBLISHED:
        entry = atlas.look_up(known.model, known.image_size)
        found = cost.predict(entry, imagenet(known.epochs, known.image_size))
        rows.append(
            {
                "model": known.words,
                "epochs": known.epochs,
                "published_gpu_hours": known.gpu_hours,
                "published_kwh_at_most": known.kwh_at_most,
                "predicted_gpu_hours": found.train_time_s / 3600,
                "predicted_kwh": found.energy_wh / 1000,
                "source": known.source,
            }
        )
    return pd.DataFrame(rows)


def break_even(table: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """After how many uses pretraining has paid for itself in energy: `predicted` with `saved_kwh` of a use
    (`published.pretraining.bill`) and `uses`, one over the other; NaN where a use saves nothing.

    `table` are the authors' runs of Derma with and without pretraining.
    """
    saved = pretraining.bill(table, epochs).set_index("model")["saved_kwh"]
    found = predicted(saved.index, epochs)
    found["saved_kwh"] = found["model"].map(saved)
    return found.assign(uses=found["pretraining_kwh"] / found["saved_kwh"])


def shared(found: pd.DataFrame, uses: Iterable[int] = USES) -> pd.DataFrame:
    """What each of so many uses carries of the bill, in the median of the models of `predicted`: kWh, and as
    a multiple of its own fine-tuning."""
    rows = [
        {
            "uses": count,
            "share_kwh": float(found["pretraining_kwh"].median() / count),
            "of_a_fine_tuning": float(found["runs_worth"].median() / count),
        }
        for count in uses
    ]
    return pd.DataFrame(rows)


def uses_until(found: pd.DataFrame, share: float = 0.1) -> float:
    """Uses after which the bill adds less than a share to a fine-tuning, in the median of the models."""
    return float(np.median(found["runs_worth"]) / share)
