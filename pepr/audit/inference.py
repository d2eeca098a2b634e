"""What accuracies tell of a test set that nobody described: its size and its class rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pepr.audit.energy_line import BoolArray
from pepr.stats import FloatArray

if TYPE_CHECKING:
    from pepr.audit.table import View

DROPPED_IMAGES = 8
"""Images by which a constant predictor's count moves when a last batch, drawn at random, is left out of the
test set: three standard deviations for a batch of 32."""
LATTICE_LIMIT = 20_000
MIN_DISTINCT = 8
MANY_DISTINCT = 40
LEAST_LEVELS = 500
"""With fewer accuracies that a run may have, trained runs keep one for epochs, and share it, by chance."""
BELOW_CEILING = 0.02
"""How far a class rate that nobody states lies below the best accuracy: what no run exceeds is where trained
runs end, and no share of a class."""


def _without_neighbours(counts: pd.Series, n: float) -> set[float]:
    """The accuracies in `counts` (runs by accuracy) but those one image away from one five times commoner."""
    values, runs = counts.index.to_numpy(np.float64), counts.to_numpy(np.float64)
    near = (np.abs(values[:, None] - values) < 1.5 / abs(n)) & (runs[None, :] > 5 * runs[:, None])
    return set(values[~near.any(axis=1)])


def count_tolerance(n: FloatArray) -> FloatArray:
    """How far an accuracy times n may be from a whole number of images [n's shape]."""
    return np.maximum(1e-3, 1e-7 * n)


def off_lattice(values: FloatArray, n: FloatArray) -> BoolArray:
    """True where an accuracy times n is not a whole number; False where n is NaN or digits are too few."""
    known = values[np.isfinite(values)]
    decimals = next((d for d in range(1, 8) if np.allclose(known, known.round(d), rtol=0, atol=1e-12)), None)
    with np.errstate(invalid="ignore"):
        tolerance = count_tolerance(n) + (0.5 * 10.0**-decimals * n if decimals else 0.0)
        counts = values * n
        off = np.abs(counts - np.round(counts)) > tolerance
        return off & np.isfinite(counts) & (tolerance < 0.25)


def infer_n_test(values: FloatArray) -> int | None:
    """The smallest n for which at least eight in ten distinct accuracies are k/n; None when not evident.

    An n is evident when the accuracies carry enough digits and there are at least eight distinct ones; of a
    few, all but one must fit. Where twice, three or four times n fits all of them, that is the number: a few
    counts may be even by chance.
    """
    distinct = np.unique(values[np.isfinite(values)].round(12))
    distinct = distinct[(distinct > 0) & (distinct < 1)]
    if len(distinct) < MIN_DISTINCT or np.allclose(distinct, distinct.round(6), rtol=0, atol=1e-12):
        return None
    candidates = np.arange(2, LATTICE_LIMIT + 1)
    for size in (MIN_DISTINCT, 40):
        sample = distinct[np.linspace(0, len(distinct) - 1, min(size, len(distinct))).astype(int)]
        candidates = candidates[_on_lattice(sample, candidates) >= 0.6]
    least = 0.8 if len(distinct) >= MANY_DISTINCT else max(0.8, 1 - 1.5 / len(distinct))
    for n in candidates:
        if _on_lattice(distinct, np.array([n]))[0] >= least:
            multiples = n * np.arange(2, 5) if len(distinct) < MANY_DISTINCT else n * np.ones(0)
            whole = [m for m in multiples if _on_lattice(distinct, np.array([m]))[0] == 1]
            return int(whole[0]) if whole and _on_lattice(distinct, np.array([n]))[0] < 1 else int(n)
    return None


def _on_lattice(values: FloatArray, candidates: NDArray[np.int64]) -> FloatArray:
    """Share of values [m] that are k/n, for each n [candidates]."""
    counts = values[None, :] * candidates[:, None]
    return (np.abs(counts - np.round(counts)) <= count_tolerance(candidates)[:, None]).mean(axis=1)


def class_rates(view: View) -> list[set[float]]:
    """For every setting, accuracies that a predictor of one class would have, as far as evident.

    A rate is a value that several runs keep for at least half of their epochs, and that others exceed, in any
    setting with the same test set (the same n); or one of the values around which runs move that answer now
    one of two classes and now the other (`moving_rates`).
    """
    stated = [_majority_of(view, code) for code in range(len(view.settings))]
    if not view.columns.by_epoch:
        return stated
    stuck = _stuck_values(view)
    test_set = [float(view.n_test[rows[0]]) for rows in view.rows_by_setting]
    test_set = [n if np.isfinite(n) else -1e9 - code for code, n in enumerate(test_set)]
    rates: dict[float, set[float]] = {}
    for n in set(test_set):
        together = pd.concat([table for table, m in zip(stuck, test_set, strict=True) if m == n])
        together = together.groupby(level=0).sum()
        often = together[(together["half"] >= 2) | (together["some"] >= together["enough"])]
        rows = np.concatenate([r for r, m in zip(view.rows_by_setting, test_set, strict=True) if m == n])
        values = view.performance[rows]
        rates[n] = set() if _coarse(values, n) else moving_rates(values, n)
        if not rates[n] and not _coarse(values, n):
            most = np.fmax.reduce(values, axis=None, initial=0.0)
            found = _without_neighbours(often["some"], n) - {0.0, 1.0}
            rates[n] = {rate for rate in found if rate + BELOW_CEILING < most}
    return [rates[n] or known for n, known in zip(test_set, stated, strict=True)]


def _coarse(values: FloatArray, n: float) -> bool:
    """Whether accuracies are few, by a small test set or by rounding, so that trained runs share one."""
    known = np.unique(values[np.isfinite(values)].round(9))
    if n > 0:
        rounded = (10**d % n and np.allclose(known, known.round(d), rtol=0, atol=1e-9) for d in (1, 2, 3))
        return n < LEAST_LEVELS or any(rounded)
    apart = np.diff(known).min(initial=1.0) > 1 / LEAST_LEVELS
    return bool(apart or np.allclose(known, known.round(3), rtol=0, atol=1e-9))


def moving_rates(values: FloatArray, n: float) -> set[float]:
    """Class rates of a test set of two classes that drops its last batch at random; empty if not evident.

    Such a predictor counts nearly, not exactly, the images of its class. What gives it away is that it
    changes sides: accuracies [rows, epochs] near a in some epochs and near 1 - a in others, in at least two
    rows, and at least half of the epochs of three. Then every count within `DROPPED_IMAGES` of either side is
    a rate.
    """
    if not n >= 100 * DROPPED_IMAGES or values.shape[1] < 3:
        return set()
    counts = values * n
    larger = np.maximum(counts, n - counts)
    half = (values.shape[1] + 1) // 2
    ordered = np.sort(larger, axis=1)
    widths = ordered[:, half - 1 :] - ordered[:, : values.shape[1] - half + 1]
    tight = np.flatnonzero(widths.min(axis=1) <= 2 * DROPPED_IMAGES)
    start = widths[tight].argmin(axis=1)
    centre = (ordered[tight, start] + ordered[tight, start + half - 1]) / 2
    near = np.abs(larger[tight] - centre[:, None]) <= DROPPED_IMAGES
    upper = counts[tight] > n / 2
    apart = centre > n / 2 + DROPPED_IMAGES
    changes = apart & (near & upper).any(axis=1) & (near & ~upper).any(axis=1)
    if changes.sum() < 2:
        return set()
    common = np.median(centre[changes])
    alike = np.abs(centre - common) <= DROPPED_IMAGES
    if (changes & alike).sum() < 2 or alike.sum() < 3:
        return set()
    reach = np.arange(-DROPPED_IMAGES, DROPPED_IMAGES + 1)
    sides = np.concatenate([np.round(common) + reach, n - np.round(common) + reach])
    return {round(float(count / n), 12) for count in sides}


def is_one_of(view: View, rates: list[set[float]]) -> BoolArray:
    """True [rows, columns] where an accuracy is one of its setting's `rates`."""
    found = np.zeros(view.performance.shape, dtype=bool)
    for rows, values in zip(view.rows_by_setting, rates, strict=True):
        for value in values:
            found[rows] |= np.isclose(view.performance[rows], value, rtol=0, atol=1e-8)
    return found


def largest_rate(rates: set[float]) -> float:
    """The largest class rate, unless it is a single one below a half, which is not that of a majority."""
    if not rates or (len(rates) == 1 and max(rates) < 0.5):
        return np.nan
    return max(rates)


def _stuck_values(view: View) -> list[pd.DataFrame]:
    """Per setting, by accuracy: runs that keep it for half of their epochs (`half`), for three (`some`).

    `enough` of the latter, five or one run in a hundred, are more than chance.
    """
    values = np.sort(view.performance.round(9), axis=1)
    epochs = values.shape[1]
    new = np.diff(values, axis=1, prepend=-1.0) != 0
    run = np.cumsum(new.ravel()) - 1
    length = np.bincount(run)
    first = np.flatnonzero(new.ravel())
    long = np.flatnonzero(length >= 3)
    kept = pd.DataFrame(
        {
            "row": first[long] // epochs,
            "value": values.ravel()[first[long]],
            "half": (length[long] >= max(3, (epochs + 1) // 2)).astype(int),
            "some": 1,
        }
    )
    kept["setting"] = view.setting_code[kept["row"]]
    tables = []
    for code, rows in enumerate(view.rows_by_setting):
        counts = kept[kept["setting"] == code].groupby("value")[["half", "some"]].sum()
        tables.append(counts.assign(enough=max(5.0, 0.01 * len(rows))))
    return tables


def _majority_of(view: View, code: int) -> set[float]:
    """The majority rates that the table states; runs may share an accuracy for other reasons."""
    rows = view.rows_by_setting[code]
    given = view.role("majority_rate")
    if given is not None:
        known = given[rows][~np.isnan(given[rows])]
        return {round(float(value), 9) for value in np.unique(known)}
    return set()
