"""Energies that are an assumed power times the time: which rows have which power, as far as digits tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pepr.quantities import JOULES_PER_KWH
from pepr.stats import FloatArray

if TYPE_CHECKING:
    from pepr.audit.table import View

Rows = NDArray[np.int64]
MIN_ROWS, MIN_ROWS_OF_SEVERAL, MOST_POWERS = 5, 3, 3
"""How many rows show that they have one power; each of several powers, where these explain all rows."""
MOST_GROUPS = 1000
ENOUGH_DIGITS = 0.01
MOST_ROWS = 0.6
"""A power is told where the digits of most rows leave it open by less than this share."""
TIMES_APART = 1.2
"""By what ratio the times must differ: energies of equal times have one power whatever it is."""


def assumed_powers(view: View) -> list[tuple[Rows, float]]:
    """Rows whose energies are one constant times their times, with that constant in W.

    Of the whole table, of each of its machines and settings; else of a table that a few constants explain.
    """
    energy, time = view.role("energy"), view.role("time")
    if energy is None or time is None:
        return []
    low, high, seconds = _bounds(view)
    found: list[tuple[Rows, float]] = []
    left = (energy > 0) & (time > 0)
    for codes in (np.zeros(view.n_rows, dtype=np.int64), view.machine_code, view.setting_code):
        for code in np.unique(codes) if len(np.unique(codes)) <= MOST_GROUPS else []:
            rows = np.flatnonzero((codes == code) & left)
            if len(rows) >= MIN_ROWS and _told(rows, low, high, seconds):
                top, bottom = low[rows].max(), high[rows].min()
                if top <= bottom * (1 + 1e-9):
                    left[rows] = False
                    found.append((rows, float((top + bottom) / 2)))
    return found or _several(np.flatnonzero(left), low, high, seconds)


def _bounds(view: View) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Least and greatest power [rows, W] that the digits of energy and time allow, and the time [rows, s]."""
    energy, time = view.role("energy"), view.role("time")
    factors, columns = view.columns.factors, view.columns
    to_kwh, to_seconds = factors.get(columns.energy, 1.0), factors.get(columns.time, 1.0)
    joules = energy * JOULES_PER_KWH
    half_energy = np.maximum(half_digit(energy / to_kwh) * to_kwh * JOULES_PER_KWH, half_digit(joules))
    half_time = half_digit(time / to_seconds) * to_seconds * columns.time_factor
    seconds = time * columns.time_factor
    with np.errstate(divide="ignore", invalid="ignore"):
        low = (joules - half_energy) / (seconds + half_time)
        high = (joules + half_energy) / np.maximum(seconds - half_time, 1e-300)
    return low, high, seconds


def _told(rows: Rows, low: FloatArray, high: FloatArray, seconds: FloatArray) -> bool:
    """Whether the digits of these rows leave their power open by little, and their times differ."""
    open_by = (high[rows] - low[rows]) / ((high[rows] + low[rows]) / 2)
    apart = seconds[rows].max() >= TIMES_APART * seconds[rows].min()
    return bool((open_by < ENOUGH_DIGITS).mean() >= MOST_ROWS and apart)


def _several(rows: Rows, low: FloatArray, high: FloatArray, seconds: FloatArray) -> list[tuple[Rows, float]]:
    """A few powers that explain all of the rows between them; nothing where that takes more of them."""
    found: list[tuple[Rows, float]] = []
    while 0 < len(rows) <= MOST_GROUPS and len(found) < MOST_POWERS:
        # Of intervals, the most share the lower end of one of them.
        shared = np.array([(low[rows] <= edge) & (edge <= high[rows]) for edge in low[rows]]).sum(axis=1)
        edge = low[rows][shared.argmax()]
        inside = (low[rows] <= edge) & (edge <= high[rows])
        same = rows[inside]
        if len(same) < MIN_ROWS_OF_SEVERAL or not _told(same, low, high, seconds):
            return []
        found.append((same, float((low[same].max() + high[same].min()) / 2)))
        rows = rows[~inside]
    return found if not len(rows) and sum(len(same) for same, _ in found) >= MIN_ROWS else []


def half_digit(values: FloatArray) -> FloatArray:
    """Half of the last decimal that a value is written with [n]."""
    half = np.full(len(values), np.nan)
    for decimals in range(16):
        open_ = np.isnan(half)
        if not open_.any():
            break
        fits = open_ & (np.abs(values - values.round(decimals)) <= 1e-15 * np.abs(values))
        half[fits] = 0.5 * 10.0**-decimals
    return np.where(np.isnan(half), 1e-14 * np.abs(values), half)
