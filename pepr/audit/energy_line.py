"""What energies tell of each other: which are shared, and the line of energy against time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pepr.stats import FloatArray

if TYPE_CHECKING:
    from pepr.audit.table import View

BoolArray = NDArray[np.bool_]

SIGNIFICANT_DIGITS = 6
MIN_LINE_ROWS = 8
FEW_ROWS = 20
"""Fewer rows than this tell no line from the differences between models."""
SIBLINGS_APART = np.log(1.6)
"""The least ratio, as a logarithm, by which a run must differ from its siblings."""


def shared(values: FloatArray | None, n_rows: int) -> BoolArray:
    """True [rows] where a value is identical to another row's, though its digits make chance unlikely.

    Zeros, missing values and numbers with at most six significant digits (rounded ones) do not count.
    """
    if values is None:
        return np.zeros(n_rows, dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        mantissa = values * scale
        precise = (values > 0) & (np.abs(mantissa - np.round(mantissa)) > 1e-6)
    return precise & pd.Series(values).duplicated(keep=False).to_numpy()


def robust_line(x: FloatArray, y: FloatArray, iterations: int = 30) -> tuple[float, float, float] | None:
    """Intercept, slope and spread of y over x [n], by weighted least squares with Tukey's biweight.

    Errors are relative to x; the spread is the scaled median of |residual| / (slope x). None when no line
    with a positive slope fits.
    """
    if len(x) < 3 or np.ptp(x) <= 0:
        return None
    design = np.stack([np.ones_like(x), x], axis=1) / x[:, None]
    target = y / x
    start = float(np.median(target))
    residual = target - start
    weights = np.ones_like(x)
    coefficients = np.array([0.0, start])
    for _ in range(iterations):
        scale = 1.4826 * np.median(np.abs(residual)) + 1e-12 * start
        weights = np.clip(1 - (residual / (6 * scale)) ** 2, 0, None)
        coefficients, *_ = np.linalg.lstsq(design * weights[:, None], target * weights, rcond=None)
        residual = target - design @ coefficients
    intercept, slope = (float(value) for value in coefficients)
    if not slope > 0:
        return None
    return intercept, slope, float(1.4826 * np.median(np.abs(residual)) / slope)


def copied_rows(view: View) -> NDArray[np.int64]:
    """Group number [rows] of rows whose measurements are all identical; -1 for the others."""
    roles = ("energy", "carbon", "time", "inference_time")
    present = [name for role in roles if (name := getattr(view.columns, role)) is not None]
    if len(present) < 2:
        return np.full(view.n_rows, -1)
    candidates = np.ones(view.n_rows, dtype=bool)
    for role in roles:
        if getattr(view.columns, role) is not None:
            candidates &= view.repeated(role)
    rows = np.flatnonzero(candidates)
    groups = np.full(view.n_rows, -1)
    if rows.size:
        both = view.table.loc[rows, [*present, *view.columns.performance]]
        codes = both.groupby(list(both.columns), dropna=False, sort=False).ngroup().to_numpy()
        sizes = np.bincount(codes)
        groups[rows] = np.where(sizes[codes] > 1, codes, -1)
    return groups


def energy_lines(view: View) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fitted energy, deviation and tolerance of each row [rows]: see the properties of `View`."""
    fitted, deviation, tolerance = (np.full(view.n_rows, np.nan) for _ in range(3))
    energy, time = view.role("energy"), view.role("time")
    if energy is None or time is None:
        return fitted, deviation, tolerance
    own = (energy > 0) & (time > 0) & ~view.shared_energy
    pooled = robust_line(time[own], energy[own]) if own.sum() >= MIN_LINE_ROWS else None
    for rows in view.rows_by_setting:
        clean = rows[own[rows]]
        enough = len(clean) >= MIN_LINE_ROWS
        line = robust_line(time[clean], energy[clean]) if enough else pooled
        if line is None:
            continue
        intercept, slope, spread = line
        fitted[rows] = intercept + slope * time[rows]
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation[rows] = (energy[rows] - fitted[rows]) / (slope * time[rows])
        tolerance[rows] = max(0.15, 6 * spread)
    return fitted, deviation, tolerance


def off_line(view: View) -> list[int]:
    """Rows far from their setting's line, where it has many rows, that are not as their siblings are."""
    energy = view.role("energy")
    if energy is None or view.power is None:
        return []
    allowed = np.maximum(0.3, 8 / 6 * view.energy_tolerance)
    off = (np.abs(view.energy_deviation) > allowed) & ~view.shared_energy & (energy > 0)
    size = np.bincount(view.setting_code, minlength=len(view.settings))[view.setting_code]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(view.power)
    group = view.work_code * (view.machine_code.max(initial=0) + 1) + view.machine_code
    middle, count = middle_of(values, group, np.isfinite(values))
    alike = (count >= 3) & (np.abs(values - middle) < SIBLINGS_APART)
    return np.flatnonzero(off & (size >= FEW_ROWS) & ~alike).tolist()


def middle_of(
    values: FloatArray, group: NDArray[np.int64], known: BoolArray
) -> tuple[FloatArray, NDArray[np.int64]]:
    """The median of each row's group [rows], and how many known rows that group has [rows]."""
    series = pd.Series(np.where(known, values, np.nan)).groupby(group)
    return series.transform("median").to_numpy(), series.transform("count").to_numpy()
