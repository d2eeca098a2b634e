"""Performance per resource unit: normalisation, score, curve and peak, from arrays to arrays.

PePR is defined by Selvan et al., NLDL 2025, arXiv 2403.12562. For performances P in [0, 1] and a resource
R over a set of models, `R_norm = (R - R_min) / (R_max - R_min)` and `PePR = P / (1 + R_norm)`.

Rules that hold in every function here:

- A NaN performance or resource is a model without a score: its score is NaN and it takes no part in the
  range that is normalised, in the curve or in the peak.
- A performance outside [0, 1], or a negative or infinite resource, is a ValueError that names where.
- Empty input gives empty arrays; a peak of nothing is a ValueError.
- A performance above chance (`above_chance`) may be negative. Whoever scores it scores a negative one as 0:
  divided by its cost it would rise with the cost, and rank first among the bad whoever wasted most.

>>> performance, energy_kwh = [0.80, 0.90, 0.85], [0.1, 0.5, 0.2]
>>> pepr(performance, energy_kwh).round(2).tolist()
[0.8, 0.45, 0.68]
>>> pepr_peak(performance, energy_kwh).index
0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Values = Any  # arrays, series or numbers, which divide element by element
Range = tuple[float, float]
ROUNDING = 8 * np.finfo(np.float64).eps
"""Values that differ by less than this share of their size differ by how they were rounded."""


@dataclass(frozen=True)
class PeprCurve:
    """The best that a budget buys: one point for every distinct normalised resource, in rising order.

    `best_performance[k]` is the highest performance among models that need at most `resource_norm[k]`;
    `score` is `best_performance / (1 + resource_norm)`. All three have shape [points].
    """

    resource_norm: FloatArray
    best_performance: FloatArray
    score: FloatArray


@dataclass(frozen=True)
class PeprPeak:
    """The model at the curve's maximum: its index in the input, and its values (resource in its own unit)."""

    index: int
    performance: float
    resource: float
    resource_norm: float
    score: float


def of(performance: Values, resource_norm: Values) -> Values:
    """P / (1 + R_norm), element by element, of values that were checked and normalised before."""
    return performance / (1.0 + resource_norm)


def above_chance(performance: ArrayLike, chance: ArrayLike) -> FloatArray:
    """The share of what a guesser leaves to be earned that was earned [n]: `(P - chance) / (1 - chance)`.

    `performance` [n] in [0, 1]; `chance` is one number or [n]: 0.5 for AUROC, one over the number of classes
    for balanced accuracy, the largest class's share of the test images for accuracy. 1 is perfect and 0 as
    good as guessing. What is worse than guessing stays negative, so that a mean over seeds that guess is 0
    and not above it. NaN where either is NaN, and where chance is 1 and leaves nothing to be earned. Raises
    ValueError for a performance or a chance outside [0, 1].

    For AUROC of two classes this is the Gini coefficient; for balanced accuracy, Youden's J.
    """
    values = _performance(performance)
    level = np.asarray(chance, dtype=np.float64)
    outside = np.flatnonzero((level < 0.0) | (level > 1.0))
    if outside.size:
        raise ValueError(f"chance is {level.flat[outside[0]]:g}, outside [0, 1]")
    left = np.where(level < 1.0, 1.0 - level, np.nan)
    return (values - level) / left


def normalise(resource: ArrayLike, resource_range: Range | None = None) -> FloatArray:
    """Min-max normalisation of a resource [n], in any unit.

    Without `resource_range` the range is that of the values themselves (set-relative), and a constant
    resource, or one whose values differ by how they were rounded, becomes 0 everywhere. With a frozen
    `resource_range=(lo, hi)`, values below `lo` become 0 (`below_range` tells which) and values above `hi`
    stay above 1. NaN stays NaN.

    Raises ValueError for a negative or infinite resource, for a range that is not 0 <= lo <= hi, and for
    a value above a frozen range of zero width, which has no place on it.
    """
    values = _resource(resource)
    lo, hi = _checked_range(_range(values) if resource_range is None else resource_range)
    if hi - lo <= ROUNDING * hi:
        above = np.flatnonzero(values > hi * (1 + ROUNDING))
        if above.size:
            raise ValueError(
                f"resource[{above[0]}] is {values[above[0]]:g}, above a range of zero width at {hi:g}"
            )
        return np.where(np.isnan(values), np.nan, 0.0)
    return np.maximum((values - lo) / (hi - lo), 0.0)


def below_range(resource: ArrayLike, resource_range: Range) -> NDArray[np.bool_]:
    """True [n] where a resource lies below a frozen range, so that its normalised value was clipped to 0."""
    return _resource(resource) < _checked_range(resource_range)[0]


def resource_range_of(performance: ArrayLike, resource: ArrayLike) -> Range:
    """The (lowest, highest) resource among models that have both values; (0.0, 0.0) when there is none."""
    values, needs = _pair(performance, resource)
    return _range(np.where(np.isnan(values), np.nan, needs))


def pepr(performance: ArrayLike, resource: ArrayLike, resource_range: Range | None = None) -> FloatArray:
    """PePR of each model [n] from its performance [n] in [0, 1] and its resource [n].

    Scores lie between P/2 and P when the range is set-relative. `resource_range` as in `normalise`.
    """
    values, norm = _normalised(performance, resource, resource_range)
    return of(values, norm)


def pepr_curve(performance: ArrayLike, resource: ArrayLike, resource_range: Range | None = None) -> PeprCurve:
    """The PePR curve `P*(r) / (1 + r)`, with `P*(r)` the best performance at a normalised resource up to r.

    Models that share a resource share a point, which carries the best of them. The maximum of the curve
    equals the best score, by construction.
    """
    values, norm = _normalised(performance, resource, resource_range)
    scored = ~(np.isnan(values) | np.isnan(norm))
    values, norm = values[scored], norm[scored]
    order = np.argsort(norm, kind="stable")
    norm, best = norm[order], np.maximum.accumulate(values[order])
    last_of_tie = np.append(norm[1:] > norm[:-1], True) if norm.size else np.empty(0, dtype=bool)
    norm, best = norm[last_of_tie], best[last_of_tie]
    return PeprCurve(norm, best, of(best, norm))


def pepr_peak(performance: ArrayLike, resource: ArrayLike, resource_range: Range | None = None) -> PeprPeak:
    """The model with the best score: the point of diminishing returns of the curve.

    Among equal scores the lowest resource wins, then the lowest index. Raises ValueError when no model
    has a score.
    """
    values, norm = _normalised(performance, resource, resource_range)
    needs = _resource(resource)
    scores = of(values, norm)
    if not np.any(~np.isnan(scores)):
        raise ValueError("no peak: no model has both a performance and a resource")
    tied = np.flatnonzero(scores == np.nanmax(scores))
    index = int(tied[np.argmin(needs[tied])])
    return PeprPeak(
        index, float(values[index]), float(needs[index]), float(norm[index]), float(scores[index])
    )


def _normalised(
    performance: ArrayLike, resource: ArrayLike, resource_range: Range | None
) -> tuple[FloatArray, FloatArray]:
    """Performance and normalised resource; models without a performance do not set the range."""
    values, needs = _pair(performance, resource)
    return values, normalise(np.where(np.isnan(values), np.nan, needs), resource_range)


def _pair(performance: ArrayLike, resource: ArrayLike) -> tuple[FloatArray, FloatArray]:
    values, needs = _vector(performance, "performance"), _resource(resource)
    if values.shape != needs.shape:
        raise ValueError(f"performance has {values.size} values, resource has {needs.size}")
    return _performance(values), needs


def _performance(performance: ArrayLike) -> FloatArray:
    values = _vector(performance, "performance")
    outside = np.flatnonzero((values < 0.0) | (values > 1.0))
    if outside.size:
        raise ValueError(f"performance[{outside[0]}] is {values[outside[0]]:g}, outside [0, 1]")
    return values


def _resource(resource: ArrayLike) -> FloatArray:
    values = _vector(resource, "resource")
    bad = np.flatnonzero((values < 0.0) | np.isinf(values))
    if bad.size:
        raise ValueError(f"resource[{bad[0]}] is {values[bad[0]]:g}; a resource is finite and not negative")
    return values


def _vector(values: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions, expected one")
    return array


def _range(values: FloatArray) -> Range:
    known = values[~np.isnan(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def _checked_range(resource_range: Range) -> Range:
    lo, hi = (float(edge) for edge in resource_range)
    if not (np.isfinite(hi) and 0.0 <= lo <= hi):
        raise ValueError(f"resource_range is ({lo:g}, {hi:g}); expected 0 <= lo <= hi, both finite")
    return lo, hi
