"""Other scores of performance and cost, and how far two rankings agree: from arrays to arrays.

A NaN is a model without a score. Higher is better in every score but `pareto_rank`, where 1 is best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau

FloatArray = NDArray[np.float64]


def netscore(performance: ArrayLike, num_params: ArrayLike, macs: ArrayLike) -> FloatArray:
    """NetScore [n]: `20 log10(a^2 / (sqrt(p) sqrt(m)))`, with a the performance in percent, p the parameters
    in millions and m the multiply-accumulate operations of one forward pass in billions.

    It asks what a model is and not what it took: two runs of one architecture differ by a alone. -inf for a
    performance of 0. Source: Wong, ICIAR 2019, equation 1 with its own exponents, 2, 1/2 and 1/2.
    """
    a, p, m = (np.asarray(values, dtype=np.float64) for values in (performance, num_params, macs))
    with np.errstate(divide="ignore"):
        return 20 * np.log10((100 * a) ** 2 / np.sqrt(p / 1e6 * m / 1e9))


def per_unit(performance: ArrayLike, resource: ArrayLike) -> FloatArray:
    """Performance for one unit of a resource [n], as accuracy for a watt-hour; NaN where none was used."""
    values, needs = (np.asarray(column, dtype=np.float64) for column in (performance, resource))
    return values / np.where(needs > 0, needs, np.nan)


def pareto_rank(performance: ArrayLike, resource: ArrayLike) -> FloatArray:
    """The front that each model is on [n]: 1 where no other is at least as good for no more of the resource,
    and better in one of the two; 2 where that holds once the first front is gone; and so on.

    It weighs nothing against anything, and so leaves most models tied. Source: non-dominated sorting, Deb et
    al., IEEE Transactions on Evolutionary Computation 6(2), 2002.
    """
    values, needs = (np.asarray(column, dtype=np.float64) for column in (performance, resource))
    no_worse = (values[:, None] >= values) & (needs[:, None] <= needs)
    dominates = no_worse & ((values[:, None] > values) | (needs[:, None] < needs))
    rank = np.full(values.shape, np.nan)
    left, front = ~(np.isnan(values) | np.isnan(needs)), 1
    while left.any():
        first = left & ~dominates[left].any(axis=0)
        rank[first] = front
        left, front = left & ~first, front + 1
    return rank


def kendall(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's tau-b of two scores [n], over the models that have both: 1 where they order all alike, -1
    where in reverse; ties count for neither. NaN below three models, or where one score is constant.

    Source: Kendall, Biometrika 30, 1938.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    known = ~(np.isnan(a) | np.isnan(b))
    if known.sum() < 3:
        return float("nan")
    return float(kendalltau(a[known], b[known]).statistic)
