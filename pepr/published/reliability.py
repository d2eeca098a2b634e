"""How much of a ranking is signal: epochs, test images and models as sources of variance in one table.

The tables hold the test accuracy after each of ten epochs. Two neighbouring epochs of one run differ by
noise alone once learning has ended, so they say how far an accuracy moves that nobody meant to move; the
binomial law says how far it moves when other images of the same kind are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from pepr import stats
from pepr.audit.table import View
from pepr.display.numbers import Numbers, number
from pepr.display.words import fixed, percent
from pepr.models.space import family_of
from pepr.published.tables import SETTINGS, TEST_COLUMNS
from pepr.score import pepr
from pepr.stats import FloatArray

LAST, BEFORE = TEST_COLUMNS[-1], TEST_COLUMNS[-2]
LEVEL = 0.95
N_DRAWS = 2_000
SEED = 23
TOP = 10


@dataclass(frozen=True)
class RankSets:
    """Ranks that are compatible with one setting's accuracies, by model, best first.

    `low` and `high` [models] bound the rank of each at `LEVEL` (Mogstad et al. 2024, from pairwise
    differences); `best` counts the models that may be the best.
    """

    models: list[str]
    accuracy: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def best(self) -> int:
        return int((self.low <= 1).sum())


def reliability(table: pd.DataFrame, n_test: dict[str, float]) -> pd.DataFrame:
    """How far each setting's rankings are signal, one row a setting.

    `accuracy_epochs` and `pepr_t_epochs` are rank correlations over models between the last two epochs,
    with 95% intervals robust to families of models, `top_ten` the models that the two top tens share;
    `share_models`, `share_epoch`, `share_images` are parts of the variance of the final accuracies
    (`variance_parts`); `may_be_best` counts models in the confidence set of the first rank, `rank_width` is
    the median width of a rank's set in ranks; `optimism` is how many points the winner loses on images that
    did not choose it.
    """
    rows = []
    for setting in SETTINGS:
        group = table[table["dataset"] == setting]
        n = n_test[setting]
        last, before = group[LAST].to_numpy(np.float64), group[BEFORE].to_numpy(np.float64)
        time = group["train_time"].to_numpy(np.float64)
        families = family_of(group["model"])
        plain = stats.rank_correlation(before, last, clusters=families)
        scored = stats.rank_correlation(pepr(before, time), pepr(last, time), clusters=families)
        sets = rank_sets(group, n)
        rows.append(
            {
                "setting": setting,
                "models": len(group),
                "accuracy_epochs": plain.effect,
                "accuracy_epochs_low": plain.low,
                "accuracy_epochs_high": plain.high,
                "pepr_t_epochs": scored.effect,
                "pepr_t_epochs_low": scored.low,
                "pepr_t_epochs_high": scored.high,
                "top_ten": round(TOP * stats.top_k_overlap(before, last, TOP)),
                **variance_parts(group, n),
                "may_be_best": sets.best,
                "rank_width": float(np.median(sets.high - sets.low + 1)),
                "optimism": optimism(group, n),
            }
        )
    return pd.DataFrame(rows)


def test_images(results: pd.DataFrame) -> dict[str, float]:
    """The number of test images that each setting's accuracies count, as the accuracies imply."""
    return dict(zip(results["dataset"], View(results).n_test, strict=True))


def variance_parts(group: pd.DataFrame, n_test: float) -> dict[str, float]:
    """Parts of the variance of one setting's final accuracies: models, epoch, images; and their size.

    `epoch_points` is the standard deviation of an accuracy between neighbouring epochs of one run (half
    the variance of their differences), `image_points` the mean binomial one. Both are taken from the
    total; what is left is between models. Spreads are scaled medians of absolute deviations, so that a few
    runs that failed do not make them. Images are counted as independent between models, which makes their
    part the largest that it can be.
    """
    last, before = group[LAST].to_numpy(np.float64), group[BEFORE].to_numpy(np.float64)
    total = _spread(last) ** 2
    epoch = _spread(last - before) ** 2 / 2
    images = float(np.mean(last * (1 - last)) / n_test)
    shares = np.array([max(total - epoch - images, 0.0), epoch, images])
    shares = shares / shares.sum()
    return {
        "share_models": float(shares[0]),
        "share_epoch": float(shares[1]),
        "share_images": float(shares[2]),
        "epoch_points": float(100 * np.sqrt(epoch)),
        "image_points": float(100 * np.sqrt(images)),
    }


def rank_sets(group: pd.DataFrame, n_test: float) -> RankSets:
    """Confidence sets for the rank of each model of one setting, by final accuracy.

    A model's rank is at least one more than the number of models that are better beyond doubt, and at most
    the number of models less those that are worse beyond doubt; doubt is the noise of epoch and images of
    both, at `LEVEL` over all comparisons of the model (Bonferroni).
    """
    ordered = group.sort_values(LAST, ascending=False, kind="stable")
    accuracy = ordered[LAST].to_numpy(np.float64)
    epoch = _spread((ordered[LAST] - ordered[BEFORE]).to_numpy(np.float64)) ** 2 / 2
    variance = epoch + accuracy * (1 - accuracy) / n_test
    critical = scipy_stats.norm.isf((1 - LEVEL) / 2 / (len(accuracy) - 1))
    difference = accuracy[None, :] - accuracy[:, None]
    clear = critical * np.sqrt(variance[None, :] + variance[:, None])
    better, worse = (difference > clear).sum(axis=1), (difference < -clear).sum(axis=1)
    return RankSets(list(ordered["model"]), accuracy, 1.0 + better, len(accuracy) - 1.0 * worse)


def optimism(group: pd.DataFrame, n_test: float, draws: int = N_DRAWS) -> float:
    """Points of accuracy by which a winner looks better on the images that chose it than on others.

    The test images are divided at random into two halves, in counts (hypergeometric); the winner of one half
    is judged on the other.
    """
    rng = np.random.default_rng(SEED)
    first, second = halves(group[LAST].to_numpy(np.float64), n_test, draws, rng)
    chosen = first.argmax(axis=1)
    rows = np.arange(draws)
    return float(100 * (first[rows, chosen] - second[rows, chosen]).mean())


def halves(
    accuracy: FloatArray, n_test: float, draws: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Accuracies [draws, ...] on two random halves of the test images, whose counts add to those known."""
    n = int(n_test)
    counts = np.round(accuracy * n).astype(np.int64)
    half = n // 2
    first = rng.hypergeometric(counts, n - counts, half, size=(draws, *counts.shape))
    return first / half, (counts - first) / (n - half)


def numbers(rows: pd.DataFrame) -> Numbers:
    """What prose may quote of a table of `reliability`, by key."""
    quoted: Numbers = {}
    for row in rows.to_dict("records"):
        setting = row["setting"]
        value, low, high = (fixed(row[f"accuracy_epochs{end}"]) for end in ("", "_low", "_high"))
        interval = f"{value} ({low} to {high})"
        quoted[f"signal_accuracy_epochs_{setting}"] = number(row["accuracy_epochs"], interval)
        quoted[f"signal_share_models_{setting}"] = number(row["share_models"], percent, estimate=True)
        quoted[f"signal_top_ten_{setting}"] = number(row["top_ten"], f"{row['top_ten']} of 10")
        best = row["may_be_best"]
        quoted[f"signal_may_be_best_{setting}"] = number(best, f"{best} of {row['models']}")
        quoted[f"signal_optimism_{setting}"] = number(row["optimism"], "{:.1f} points".format)
    for name, words in (("pepr_t_epochs", ".2f"), ("optimism", ".1f"), ("may_be_best", ".0f")):
        low, high = rows[name].min(), rows[name].max()
        quoted[f"signal_{name}_range"] = number(None, f"{low:{words}} to {high:{words}}")
    return quoted


def _spread(values: FloatArray) -> float:
    """The standard deviation of the bulk of `values`, from the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
