"""What pretraining and what data buy: by set, by series of networks, over all sets where they agree."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.linalg import LinAlgError
from statsmodels.formula.api import mixedlm
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from pepr import stats
from pepr.analysis import units
from pepr.analysis.across.sets import Sets, series
from pepr.analysis.claims import margin

COMPARISONS = {
    "pretrained": ("pretrained_tenth", "pretrained_full"),
    "scratch": ("scratch_tenth", "scratch_full"),
    "pretrained_or_all": ("pretrained_tenth", "scratch_full"),
}
"""What is asked of a tenth of the images: against all, from each start, and against all from scratch."""
POOLED_NAME = "mean of the sets, paired t over seeds and test images"
MIXED_NAME = "mixed model, networks drawn"


@dataclass(frozen=True)
class Difference:
    """A difference in test AUROC between two starts or amounts of data of the same networks of one set.

    `whom` is a series of networks, or `all`; `estimate` has the error over the seeds and over the test images
    that they share, and `own` the part of its variance that is over seeds.
    """

    dataset: str
    whom: str
    models: tuple[str, ...]
    n_units: int
    estimate: stats.Estimate
    own: float

    @property
    def result(self) -> stats.TestResult:
        return stats.t_result("paired t over seeds and test images", self.n_units, self.estimate)

    def within(self, limit: float) -> stats.TestResult:
        """The test of "as good as" with a margin."""
        return stats.t_result("paired TOST over seeds", self.n_units, self.estimate, margin=limit)


def difference(sets: Sets, dataset: str, cells: tuple[str, str], whom: str = "all") -> Difference | None:
    """The first cell of a set less the second, over the networks that both have; None where there is none."""
    first, second = sets.both(dataset, *cells)
    if whom != "all":
        first, second = (rows[rows["model"].map(series) == whom] for rows in (first, second))
    if first.empty or second.empty:
        return None
    found = units.contrast(first, second)
    by_unit = found.by_unit(sets.auroc)
    n_units = len(by_unit)
    if n_units < stats.FEWEST_UNITS:
        effect = float(by_unit.mean()) if n_units else np.nan
        estimate, own = stats.Estimate(effect, np.nan, np.nan), np.nan
    else:
        shared = units.shared_variance(found, pd.concat([first, second]), sets.images)
        own = float(by_unit.var(ddof=1)) / n_units
        freedom = (n_units - 1) * ((own + shared) / own) ** 2 if own > 0 else np.inf
        estimate = stats.Estimate(float(by_unit.mean()), float(np.sqrt(own + shared)), freedom)
    return Difference(dataset, whom, tuple(sorted(set(first["model"]))), n_units, estimate, own)


def by_series(sets: Sets) -> list[Difference]:
    """Pretrained less from scratch on all images: of each set, of all networks and of each series of them."""
    found = []
    for dataset in sets.names:
        whole = difference(sets, dataset, ("pretrained_full", "scratch_full"))
        if whole is None:
            continue
        names = sorted({series(model) for model in whole.models})
        parts = [difference(sets, dataset, ("pretrained_full", "scratch_full"), name) for name in names]
        found += [whole, *(parts if len(names) > 1 else ())]
    return found


def agree(found: Sequence[Difference]) -> bool:
    """Whether the effects of all sets have one sign: only then is their average said."""
    signs = {np.sign(one.estimate.effect) for one in found}
    return len(found) > 1 and len(signs) == 1


def pooled(found: Sequence[Difference]) -> stats.TestResult | None:
    """The mean of the differences of several sets, which weigh alike and are fixed, as the networks are.

    None where the signs differ, there is one set only, or one has no error.
    """
    if not agree(found) or not all(one.estimate.error > 0 for one in found):
        return None
    variances = np.array([one.estimate.error**2 for one in found])
    owns = np.array([one.own for one in found])
    spread = float(sum(own**2 / (one.n_units - 1) for own, one in zip(owns, found, strict=True)))
    freedom = float(variances.sum()) ** 2 / spread if spread > 0 else np.inf
    effect = float(np.mean([one.estimate.effect for one in found]))
    error = float(np.sqrt(variances.sum())) / len(found)
    return stats.t_result(
        POOLED_NAME, sum(one.n_units for one in found), stats.Estimate(effect, error, freedom)
    )


def mixed(sets: Sets, found: Sequence[Difference]) -> stats.TestResult | None:
    """The same with the networks drawn: what other networks of these kinds would gain.

    A linear mixed model of the differences of each network, set and seed: the sets are fixed and weigh alike,
    networks, their ways on each set, and seeds are random. The error has the test images' part, and as many
    degrees of freedom as networks, less one. None where the signs differ or the model has no solution.

    Source: Laird and Ware 1982; statsmodels' `MixedLM` with crossed variance components.
    """
    if not agree(found):
        return None
    rows = pd.concat([_pairs(sets, one) for one in found], ignore_index=True)
    n_networks = rows["model"].nunique()
    if n_networks < stats.FEWEST_UNITS:
        return None
    parts = {
        "network": "0 + C(model)",
        "network_on_set": "0 + C(model_on_set)",
        "unit": "0 + C(unit)",
    }
    rows = rows.assign(model_on_set=rows["model"] + " " + rows["dataset"], everything=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            law = mixedlm("difference ~ C(dataset, Sum)", rows, groups="everything", vc_formula=parts)
            # A variance of 0 lies at the edge, where what follows the gradient does not know that it arrived.
            fitted = law.fit(reml=True, method=["lbfgs", "powell"])
    except (LinAlgError, ValueError):
        return None
    if not fitted.converged:
        return None
    shared = sum(max(one.estimate.error**2 - one.own, 0.0) for one in found if one.estimate.error > 0)
    error = float(np.sqrt(fitted.bse_fe["Intercept"] ** 2 + shared / len(found) ** 2))
    if not error > 0:
        return None
    estimate = stats.Estimate(float(fitted.fe_params["Intercept"]), error, n_networks - 1.0)
    return stats.t_result(MIXED_NAME, n_networks, estimate)


def _pairs(sets: Sets, one: Difference) -> pd.DataFrame:
    """One row a network and seed of a set: pretrained less from scratch."""
    first, second = sets.both(one.dataset, "pretrained_full", "scratch_full")
    rows = pd.concat([first.assign(sign=1.0), second.assign(sign=-1.0)])
    rows["difference"] = rows["sign"] * sets.auroc.reindex(rows["run_id"]).to_numpy()
    pairs = rows.groupby(["model", "seed"]).filter(lambda group: group["sign"].nunique() == 2)
    pairs = pairs.groupby(["model", "seed"], as_index=False)["difference"].sum()
    return pairs.assign(dataset=one.dataset, unit=one.dataset + " " + pairs["seed"].astype(str))


@dataclass(frozen=True)
class Tenth:
    """How a tenth of the images does in one of `COMPARISONS`, tested within the study's margin. What
    that says is up to the order of the claims: see `claims`."""

    comparison: str
    difference: Difference
    result: stats.TestResult


def tenth(sets: Sets) -> list[Tenth]:
    """What a tenth of the images does, in every set and comparison that has runs."""
    return [
        Tenth(comparison, one, one.within(margin()))
        for comparison, cells in COMPARISONS.items()
        for dataset in sets.names
        if (one := difference(sets, dataset, cells)) is not None
    ]
