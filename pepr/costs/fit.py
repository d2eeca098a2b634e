"""Fit the cost model to the authors' sound measurements, and check it on architecture families left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import spearmanr

from pepr.costs import model as cost
from pepr.models import atlas
from pepr.models.space import family_of
from pepr.published.tables import COMMIT, EPOCHS, SETTINGS, TRAIN_IMAGES, Published
from pepr.published.versions import Versions, versions

FloatArray = NDArray[np.float64]
TEST_IMAGES = {"derma": 1984, "lidc": 3008, "pneumonia": 608}
"""Images that a test accuracy of each data set counts; all are predicted after every epoch."""
IMAGE_SIZE, BATCH_SIZE = 256, 32
GB = 1e9
COVERAGE = 0.90
ITERATIONS = 20
RELATIVE_FLOOR = 0.03
"""Residuals below this share count as equal, so that a few perfect rows do not decide a robust fit."""
CANDIDATES = 40
"""Values tried for the absolute part of an interval."""
TARGETS = ("time_s", "energy_wh")


def test_images(setting: str) -> int:
    """Test images of a published setting."""
    return TEST_IMAGES[setting.split("_")[0]]


def jobs() -> dict[str, cost.Job]:
    """The paper's eight settings as jobs."""
    return {
        name: cost.Job(name, TRAIN_IMAGES[name], test_images(name), EPOCHS, BATCH_SIZE, IMAGE_SIZE)
        for name in SETTINGS
    }


def sound_rows(runs: Versions) -> pd.DataFrame:
    """The published rows that the audit leaves standing, with `family`, `time_s` and `energy_wh` of the
    whole job: ten epochs, each taken to last as long as the last, which is the one that was published."""
    rows = runs.reduced
    return rows.assign(
        family=family_of(rows["model"]), time_s=rows["train_time"] * EPOCHS, energy_wh=rows["energy"] * 1000
    ).reset_index(drop=True)


def inference_share(results: pd.DataFrame) -> float:
    """What predicting an image takes of a training step of one image: the median over the LIDC runs of
    (inference time per test image) / (training time per training image)."""
    rows = results[results["dataset"] == "lidc"]
    training = (rows["train_time"] - rows["inf_time"]) / TRAIN_IMAGES["lidc"]
    return float((rows["inf_time"] / test_images("lidc") / training).median())


def meter_blind_wh(runs: Versions) -> float:
    """Wh of a run that the authors' meter did not see: how far the lines of energy over time pass below
    the origin, the median over the settings."""
    return float(-runs.lines["intercept_wh"].median())


def design(rows: pd.DataFrame, share: float) -> FloatArray:
    """The terms of every row, [rows, terms], in the order of `cost.TERMS`."""
    matrix = []
    for model, setting in zip(rows["model"], rows["dataset"], strict=True):
        job = jobs()[setting]
        images = job.train_images + share * job.test_images
        entry = atlas.read()[model, IMAGE_SIZE]
        needed = cost.job_terms(entry, images, images / BATCH_SIZE, EPOCHS)
        matrix.append([needed[name] for name in cost.TERMS])
    return np.array(matrix, dtype=np.float64)


def fit(terms: FloatArray, observed: FloatArray, offset: float = 0.0) -> FloatArray:
    """Coefficients, none negative, so that terms x coefficients is near observed + offset.

    Non-negative least squares on errors relative to `observed`, reweighted so that it approaches least
    absolute deviations: a model that is slow for a reason of its own does not bend the others.
    """
    scale = np.maximum(terms.max(axis=0), 1e-300)
    relative, target = terms / scale / observed[:, None], 1 + offset / observed
    weight = np.ones(len(observed))
    for _ in range(ITERATIONS):
        coefficients, _ = nnls(relative * weight[:, None], target * weight)
        weight = 1 / np.sqrt(np.maximum(np.abs(relative @ coefficients - target), RELATIVE_FLOOR))
    return coefficients / scale


def left_out(families: FloatArray) -> Iterator[NDArray[np.bool_]]:
    """One mask for each family: True for its rows."""
    for family in np.unique(families):
        yield families == family


def cross_validated(
    terms: FloatArray, observed: FloatArray, families: FloatArray, offset: float = 0.0
) -> FloatArray:
    """Each row's prediction by a fit that never saw its family, [rows]."""
    predicted = np.empty(len(observed))
    for out in left_out(families):
        raw = terms[out] @ fit(terms[~out], observed[~out], offset)
        predicted[out] = np.maximum(raw - offset, cost.LEAST_SEEN * raw)
    return predicted


def interval(scores: FloatArray, families: NDArray) -> tuple[float, float]:
    """Bounds that hold for the stated share of the scores [rows] of a family that is not among `families`.

    Rows of one family are alike and no independent evidence: a family, however many rows it has, weighs as
    much as any other, and as much as the unknown one, whose scores may lie anywhere (hierarchical conformal
    prediction, Lee, Barber and Willett 2023). With so few families that these weigh more than a
    tail, the outermost scores are the bounds.
    """
    share = 1 - (1 - COVERAGE) / 2
    return -one_sided(-scores, families, share), one_sided(scores, families, share)


def one_sided(scores: FloatArray, families: NDArray, share: float = COVERAGE) -> float:
    """The bound below which lies the stated share of the scores of an unknown family; see `interval`."""
    order = np.argsort(scores, kind="stable")
    weights = share_of_family(families)[order]
    known = len(np.unique(families))
    at = np.searchsorted(np.cumsum(weights), share * (known + 1) / known - 1e-12)
    return float(scores[order[min(at, len(scores) - 1)]])


def share_of_family(families: NDArray) -> FloatArray:
    """The weight of each row where all families weigh the same, and all rows of one, [rows]; the sum is 1."""
    _, code, count = np.unique(families, return_inverse=True, return_counts=True)
    return 1 / (len(count) * count[code])


@dataclass(frozen=True)
class Spread:
    """How far observations lie from predictions: `low` to `high` times (prediction + `absolute`).

    Errors grow with a job, but not from nothing: of a short run, what a meter or a clock misses in absolute
    terms is most of the error (locally weighted conformal intervals, Lei et al. 2018, section 5.2).
    """

    absolute: float
    low: float
    high: float

    @classmethod
    def of(cls, observed: FloatArray, predicted: FloatArray, families: NDArray, absolute: float) -> Spread:
        """The interval of these rows, with a given `absolute` part in their unit."""
        return cls(absolute, *interval((observed - predicted) / (predicted + absolute), families))

    @classmethod
    def chosen(cls, observed: FloatArray, predicted: FloatArray, families: NDArray) -> Spread:
        """The one, over candidates of `absolute`, whose intervals score best, families weighing alike."""
        candidates = [0.0, *np.geomspace(predicted.min() / 4, np.median(predicted), CANDIDATES).tolist()]
        spreads = [cls.of(observed, predicted, families, absolute) for absolute in candidates]
        weights = share_of_family(families)
        return min(spreads, key=lambda spread: weights @ spread.interval_score(observed, predicted))

    def bounds(self, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bound of each prediction."""
        scale = predicted + self.absolute
        return predicted + self.low * scale, predicted + self.high * scale

    def interval_score(self, observed: FloatArray, predicted: FloatArray) -> FloatArray:
        """Width plus what an observation outside costs, relative to the prediction; less is better.

        The interval score of Gneiting and Raftery 2007 (equation 43): no interval but the true quantiles
        is expected to score better, so it cannot be won by width or by narrowness.
        """
        low, high = self.bounds(predicted)
        outside = np.maximum(low - observed, 0) + np.maximum(observed - high, 0)
        return (high - low + 2 / (1 - COVERAGE) * outside) / predicted


def covered(observed: FloatArray, predicted: FloatArray, families: NDArray) -> NDArray[np.bool_]:
    """Whether each row lies in an interval made, and its form chosen, without its family, [rows]."""
    inside = np.zeros(len(observed), dtype=bool)
    for out in left_out(families):
        spread = Spread.chosen(observed[~out], predicted[~out], families[~out])
        low, high = spread.bounds(predicted[out])
        inside[out] = (observed[out] >= low) & (observed[out] <= high)
    return inside


@dataclass(frozen=True)
class Evidence:
    """What the model rests on: `rows` with observed, predicted (by a fit without the row's family), whether
    its interval covered, one row a model, setting and target; `memory` likewise; `fitted`, to be shipped."""

    rows: pd.DataFrame
    memory: pd.DataFrame
    fitted: dict

    def coverage(self) -> dict[str, float]:
        """By target, `memory` among them: the share covered of a family's rows, the mean over families, each
        of which took no part in the fit, in the interval, or in the choice of the interval's form."""
        known = dict(iter(self.rows.groupby("target"))) | {"memory": self.memory}
        return {target: coverage_of_families(rows) for target, rows in known.items()}

    def accuracy(self) -> pd.DataFrame:
        """R2 of the log, median and 90th percentile of the absolute error, rank correlation, coverage by
        family (`coverage`)."""
        table = []
        for (target, setting), rows in self.rows.groupby(["target", "setting"], sort=False):
            table.append({"target": target, "setting": setting, **_scores(rows)})
        return pd.DataFrame(table)

    def memory_accuracy(self) -> pd.DataFrame:
        """Per setting: median absolute error, models off by more than 10%, rank correlation, coverage by
        family."""
        return pd.DataFrame(
            {"setting": setting, **_scores(rows)}
            for setting, rows in self.memory.groupby("setting", sort=False)
        )


def _scores(rows: pd.DataFrame) -> dict[str, float]:
    observed, predicted = rows["observed"].to_numpy(), rows["predicted"].to_numpy()
    logs = np.log(observed)
    error = np.abs(predicted / observed - 1)
    return {
        "rows": len(rows),
        "r2_log": 1 - np.sum((np.log(predicted) - logs) ** 2) / np.sum((logs - logs.mean()) ** 2),
        "median_error": float(np.median(error)),
        "error_90": float(np.quantile(error, 0.9)),
        "off_by_10_percent": int((error > 0.10).sum()),
        "spearman": float(spearmanr(observed, predicted).statistic),
        "coverage": coverage_of_families(rows),
    }


def coverage_of_families(rows: pd.DataFrame) -> float:
    """Mean over families of the share of their rows that lie in their interval; a family counts once,
    however many models and settings it has."""
    return float(rows.groupby("family")["covered"].mean().mean())


def evidence(tables: Published, runs: Versions | None = None) -> Evidence:
    """Fit and check everything on the authors' tables."""
    runs = runs or versions(tables.results)
    rows, share = sound_rows(runs), inference_share(runs.published)
    terms, families = design(rows, share), pd.factorize(rows["family"])[0]
    fitted: dict = {
        "made_by": "pepr step fit-costs",
        "source": f"saintslab/PePR at {COMMIT}, audited: {len(rows)} of {len(runs.published)} rows are sound",
        "basis": f"fitted to {len(rows)} sound runs of the authors on one RTX 3090, batches of {BATCH_SIZE}, "
        f"{IMAGE_SIZE} px, fp32, Adam; their meter's energy includes a PUE",
        "hardware": "the authors' machine with one NVIDIA RTX 3090, energy by carbontracker with its PUE",
        "software": atlas.read()["resnet18d", IMAGE_SIZE].software,
        "settings": {
            name: {"train_images": job.train_images, "test_images": job.test_images, "epochs": job.epochs}
            for name, job in jobs().items()
        },
        "inference_share": share,
    }
    parts = []
    for target in TARGETS:
        observed = rows[target].to_numpy(np.float64)
        unseen = meter_blind_wh(runs) if target == "energy_wh" else 0.0
        predicted = cross_validated(terms, observed, families, unseen)
        fitted[target] = {
            "coefficients": dict(zip(cost.TERMS, fit(terms, observed, unseen).tolist(), strict=True)),
            "unseen": unseen,
            "interval": asdict(Spread.chosen(observed, predicted, families)),
        }
        parts.append(
            pd.DataFrame(
                {
                    "target": target,
                    "setting": rows["dataset"],
                    "model": rows["model"],
                    "family": rows["family"],
                    "observed": observed,
                    "predicted": predicted,
                    "covered": covered(observed, predicted, families),
                }
            )
        )
    memory, fitted["memory"] = memory_evidence(runs.published)
    order = {name: at for at, name in enumerate(SETTINGS)}
    table = pd.concat(parts, ignore_index=True).sort_values(
        ["target", "setting"], key=lambda c: c.map(order) if c.name == "setting" else c, kind="stable"
    )
    return Evidence(table.reset_index(drop=True), memory, fitted)


def memory_evidence(results: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    """Predicted against published peak memory of every run, and the constants that are fitted.

    The one constant, the libraries' workspace, is the median of what the shapes leave unexplained over
    the LIDC runs; each family is predicted with the median of the others.
    """
    by_shape = {name: _peak_from_shapes(name) for name in results["model"].unique()}
    table = pd.DataFrame(
        {
            "setting": results["dataset"],
            "model": results["model"],
            "family": family_of(results["model"]),
            "observed": results["memM"] * GB,
            "reserved": results["memR"] * GB,
            "shapes": results["model"].map(by_shape),
        }
    )
    left = table["observed"] - table["shapes"]
    lidc = table["setting"] == "lidc"
    workspace = pd.Series(index=table.index, dtype=float)
    families = pd.factorize(table["family"])[0]
    for out in left_out(families):
        workspace[out] = left[lidc & ~out].median()
    table["predicted"] = table["shapes"] + workspace
    table["covered"] = covered(table["observed"].to_numpy(), table["predicted"].to_numpy(), families)
    reserved = (table["reserved"] / table["observed"])[lidc].to_numpy()
    fitted = {
        "workspace_bytes": round(float(left[lidc].median())),
        "interval": asdict(Spread.chosen(*table[["observed", "predicted"]].to_numpy().T, families)),
        "reserved_ratio": float(np.median(reserved)),
        "reserved_ratio_high": float(np.quantile(reserved, 0.95)),
    }
    return table, fitted


def _peak_from_shapes(model: str) -> float:
    entry, job = atlas.read()[model, IMAGE_SIZE], jobs()["lidc"]
    fixed, per_image = cost.fixed_and_per_image(entry, job)
    return max(fixed + per_image * job.batch_size, cost.optimiser_step_bytes(entry, job))


def as_json(fitted: dict) -> str:
    """The file that ships: coefficients to nine digits, so that a refit elsewhere gives the same text."""
    return json.dumps(_rounded(fitted), indent=1) + "\n"


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value
