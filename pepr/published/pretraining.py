"""What pretraining buys: the same architectures on Derma from scratch, pretrained, and pretrained on a tenth.

Curves are paired by model. Costs are the authors' energies, where a run has one of its own or an estimate
from its time; the bill of pretraining itself is an estimate from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr import stats
from pepr.display.numbers import Numbers, number
from pepr.display.words import difference, percent
from pepr.models.space import family_of
from pepr.published.families import share_over_families
from pepr.published.tables import EPOCHS, TEST_COLUMNS, TRAIN_IMAGES

SCRATCH, PRETRAINED, TENTH = "derma", "derma_pt", "derma_small"
IMAGENET_IMAGES = 1_281_167
"""Training images of ImageNet-1k (Russakovsky et al. 2015)."""
IMAGENET_EPOCHS = (90, 300)
"""Epochs of a classical and of a present-day recipe for ImageNet (Wightman et al. 2021: 100 to 600)."""


@dataclass(frozen=True)
class Curves:
    """Test accuracies after each epoch [models, epochs] of the models that all settings have, by setting."""

    models: list[str]
    num_params: np.ndarray
    scratch: np.ndarray
    pretrained: np.ndarray
    tenth: np.ndarray


def curves(table: pd.DataFrame) -> Curves:
    """The paired curves of a table of runs."""
    parts = {}
    for setting in (SCRATCH, PRETRAINED, TENTH):
        parts[setting] = table[table["dataset"] == setting].set_index("model")
    models = sorted(set.intersection(*(set(part.index) for part in parts.values())))
    values = {name: part.loc[models, list(TEST_COLUMNS)].to_numpy(float) for name, part in parts.items()}
    size = parts[SCRATCH].loc[models, "num_param"].to_numpy(float)
    return Curves(models, size, values[SCRATCH], values[PRETRAINED], values[TENTH])


def passing_epoch(pretrained: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """The first epoch (1, 2, ..) after which each pretrained run is above its twin's last accuracy from
    scratch, [models]; infinite where it never is. Both are [models, epochs]."""
    above = pretrained > scratch[:, -1:]
    return np.where(above.any(axis=1), above.argmax(axis=1) + 1.0, np.inf)


def shares_above(found: Curves) -> pd.DataFrame:
    """By epoch: the share of models that are above their own end from scratch after that epoch, whatever they
    were after an earlier one, with its 95% interval over families; pretrained on all data (`all`) and on a
    tenth (`tenth`, after that many passes over fewer images)."""
    rows = []
    for name, values in (("all", found.pretrained), ("tenth", found.tenth)):
        above = values > found.scratch[:, -1:]
        for epoch in range(1, EPOCHS + 1):
            share = share_over_families(pd.Series(above[:, epoch - 1], index=found.models))
            rows.append(
                {
                    "data": name,
                    "epoch": epoch,
                    "share": share.estimate,
                    "low": share.low,
                    "high": share.high,
                }
            )
    return pd.DataFrame(rows)


def tenth_by_size(found: Curves, groups: int = 2) -> pd.DataFrame:
    """A tenth pretrained against all from scratch, in points of final accuracy, by groups of equal count in
    size: mean difference with its 95% interval (errors robust to families)."""
    difference = found.tenth[:, -1] - found.scratch[:, -1]
    edges = np.quantile(found.num_params, np.linspace(0, 1, groups + 1))
    code = np.clip(np.searchsorted(edges, found.num_params, side="left") - 1, 0, groups - 1)
    rows = []
    for group in range(groups):
        inside = code == group
        names = pd.Series(np.array(found.models)[inside])
        test = stats.paired_test(difference[inside], np.zeros(inside.sum()), clusters=family_of(names))
        rows.append(
            {
                "from_params": float(found.num_params[inside].min()),
                "to_params": float(found.num_params[inside].max()),
                "models": int(inside.sum()),
                "points": 100 * test.effect,
                "low": 100 * test.low,
                "high": 100 * test.high,
            }
        )
    return pd.DataFrame(rows)


def bill(table: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """What pretraining a model would take, and after how many uses it has paid for itself: estimates.

    One row a model that has both runs: `pretraining_kwh`, the energy of so many epochs over ImageNet's
    images at the energy that an image of Derma took from scratch; `saved_kwh`, the energy of ten epochs from
    scratch less that of the epochs after which the pretrained run has passed its end (NaN where it never
    does); `uses`, one over the other.
    """
    found = curves(table)
    part = table[table["dataset"] == SCRATCH].set_index("model").loc[found.models]
    energy = part["energy"].to_numpy(float)
    passes = passing_epoch(found.pretrained, found.scratch)
    an_image = energy / (EPOCHS * TRAIN_IMAGES[SCRATCH])
    saved = np.where(np.isfinite(passes) & (passes < EPOCHS), energy * (1 - passes / EPOCHS), np.nan)
    pretraining = an_image * IMAGENET_IMAGES * epochs
    return pd.DataFrame(
        {
            "model": found.models,
            "pretraining_kwh": pretraining,
            "saved_kwh": saved,
            "uses": pretraining / saved,
        }
    )


def numbers(shares: pd.DataFrame, by_size: pd.DataFrame, table: pd.DataFrame) -> Numbers:
    """What prose may quote, by key: of `shares_above`, of `tenth_by_size` in two groups, and of the bill of
    the runs in `table`, whose medians of what is saved and of the uses are over the models that save some."""
    return {**_curves_numbers(shares, by_size), **_bill_numbers(table)}


def _curves_numbers(shares: pd.DataFrame, by_size: pd.DataFrame) -> Numbers:
    quoted: Numbers = {}
    for data in ("all", "tenth"):
        part = shares[shares["data"] == data].set_index("epoch")
        for word, epoch in (("first", part.index.min()), ("last", part.index.max())):
            row = part.loc[epoch]
            text = f"{percent(row['share'])} ({percent(row['low'])} to {percent(row['high'])})"
            quoted[f"passing_{data}_{word}"] = number(row["share"], text)
    for word, row in zip(("small", "large"), by_size.to_dict("records"), strict=True):
        effect, low, high = (difference(row[name], 1) for name in ("points", "low", "high"))
        quoted[f"tenth_scratch_{word}"] = number(row["points"], f"{effect} points ({low} to {high})")
        quoted[f"tenth_scratch_{word}_models"] = number(row["models"])
    border = by_size["to_params"].iloc[0]
    quoted["tenth_scratch_border"] = number(border, f"{border / 1e6:.0f} million")
    return quoted


def _bill_numbers(table: pd.DataFrame) -> Numbers:
    quoted: Numbers = {"imagenet_images": number(IMAGENET_IMAGES)}
    for word, epochs in zip(("short", "long"), IMAGENET_EPOCHS, strict=True):
        paid = bill(table, epochs)
        low, high = paid["pretraining_kwh"].quantile([0.05, 0.95])
        middle = float(np.nanmedian(paid["uses"]))
        quoted |= {
            f"bill_{word}_epochs": number(epochs),
            f"bill_{word}_median": number(paid["pretraining_kwh"].median(), "{:.0f} kWh".format, True),
            f"bill_{word}_range": number(None, f"{low:.0f} to {high:.0f} kWh", True),
            f"bill_{word}_uses": number(middle, f"{round(middle, -2):,.0f}", True),
        }
    saved = bill(table, IMAGENET_EPOCHS[0])["saved_kwh"]
    quoted["bill_saved_median"] = number(float(saved.median()), f"{1000 * saved.median():.0f} Wh", True)
    quoted["bill_never"] = number(saved.isna().sum())
    return quoted
