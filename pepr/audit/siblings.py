"""Checks that compare a run with its like: the same model's other runs, the other rows of a setting."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pepr.audit.energy_line import FEW_ROWS, SIBLINGS_APART, middle_of
from pepr.audit.finding import NOTE, WARNING, Finding
from pepr.audit.power import watts
from pepr.audit.registry import check, where
from pepr.audit.roles import SIZE_NAMES
from pepr.audit.table import View
from pepr.stats import FloatArray

UNTIMED_APART = np.log(5)
"""The same where no times are known: a seed may stop early."""
SIZES_APART = np.log(4)
"""The same for runs of one model on other data or settings: what they draw varies more."""
TIMES_ALIKE = np.log(1.5)
"""How far the times of the same work may differ on one machine."""
FEWEST_MODELS = 4
"""Models from which on they tell which of a model's runs that differ are at fault."""
ALONE_APART = np.log(8)
"""The same for a run without siblings, from the nearest of all other rows."""
PAIR_APART = np.log(5)
LEAST_PART, MACHINES_APART = 3, np.log(2)
"""Rows that a part of a small table must have to be called another machine's, and its ratio of powers."""
MOST_MACHINES_APART = np.log(20)
"""By what ratio of powers, as a logarithm, another machine explains that a model's runs differ."""


@check(
    "A run whose energy, for its time, is a multiple or a fraction of that of the same model's other runs: "
    "part of the measurement was lost, or is another's.",
)
def unlike_siblings(view: View) -> list[Finding]:
    energy = view.role("energy")
    if energy is None:
        return []
    known = (energy > 0) & ~view.shared_energy
    known[view.off_line] = False
    by_time = view.power is not None and bool(np.isfinite(view.power[known]).any())
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(view.power if by_time else energy)
    known &= np.isfinite(values)
    same_work = _pairs(view.work_code, view.machine_code)
    group = view.model_code if by_time else same_work
    middle, count = middle_of(values, same_work, known)
    least = SIBLINGS_APART if by_time else UNTIMED_APART
    odd = _odd(view, values - middle, same_work, known & (count >= 3), least)
    if by_time:
        other, of_any = middle_of(values, group, known)
        own = values - other
        own -= _usual(own, view.codes_of(SIZE_NAMES), known & (of_any >= 3))
        odd |= (more := _odd(view, own, group, known & (of_any >= 3) & (count < 3), SIZES_APART))
        middle, count = np.where(more, other, middle), np.where(more, of_any, count)
    found = {int(row): middle[row] for row in np.flatnonzero(odd)}
    last_of = _last_of_its_model(values, group, known, found) if by_time else {}
    found = {row: value for row, value in found.items() if row not in last_of.values()}
    found |= {row: values[kept] for row, kept in last_of.items()}
    _, count = middle_of(values, group, known)
    found |= _lost_of_pairs(view, values, group, known & (count == 2), by_time)
    if by_time:
        found |= {row: v for row, v in _alone(view, values, known, group).items() if row not in found}
    columns = [view.columns.energy, view.columns.time if by_time else None]

    def explain(row: int) -> str:
        ratio = np.exp(values[row] - found[row])
        seen = f"{watts(np.exp(values[row]))} on average" if by_time else f"{np.exp(values[row]):.4g} kWh"
        usual = watts(np.exp(found[row])) if by_time else f"{np.exp(found[row]):.4g} kWh"
        whose = "the same model's other runs" if count[row] > 1 else "the nearest of all other rows"
        if row in last_of:
            whose = f"one of its runs, {where(view, last_of[row])}, which is like those of other models"
        size = f"a factor of {1 / ratio:.3g} below" if ratio < 1 else f"{ratio:.3g} times"
        why = (
            "Part of the energy was lost." if ratio < 1 else "It holds another run's energy, or other work's."
        )
        return f"{seen}, {size} the {usual} of {whose}. {why}"

    def expected(row: int) -> float:
        return energy[row] * np.exp(found[row] - values[row])

    return view.findings(sorted(found), WARNING, columns, energy, explain, expected)


def _last_of_its_model(
    values: FloatArray, group: np.ndarray, known: np.ndarray, found: Mapping[int, float]
) -> dict[int, int]:
    """Rows, most of their model, that are far from what all other models have, where one of theirs, which is
    unlike them and so was `found`, is among these; that one, by row."""
    rows = np.flatnonzero(known)
    by_model = pd.Series(values[rows]).groupby(group[rows])
    middles, places, last_of = by_model.median(), by_model.indices, {}
    if len(middles) < FEWEST_MODELS:
        return {}
    ends = middles.nsmallest(2), middles.nlargest(2)

    def beyond(value: float, row: int) -> float:
        low, high = (end.drop(group[row], errors="ignore").iloc[0] for end in ends)
        return max(low - value, value - high, 0.0)

    for row, middle in found.items():
        if beyond(middle, row) > SIZES_APART and beyond(values[row], row) < np.log(2):
            siblings = rows[places[group[row]]]
            nearer = np.abs(values[siblings] - middle) < np.abs(values[siblings] - values[row])
            last_of |= dict.fromkeys(siblings[nearer].tolist(), row)
    return last_of


def _pairs(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """A number [rows] for every combination of two."""
    return one * (two.max(initial=0) + 1) + two


def _odd(view: View, own: FloatArray, group: np.ndarray, among: np.ndarray, least: float) -> np.ndarray:
    """True [rows] for the few of a group that are far from its middle, in proportion to what is usual."""
    odd = among & (np.abs(own) > max(least, 8 * _noise(own[among])))
    odd &= _share(odd, group) <= 1 / 3 + 1e-9
    return odd & ~(_other_machine(view, among) & (np.abs(own) < MOST_MACHINES_APART))


def _usual(own: FloatArray, setting: np.ndarray, known: np.ndarray) -> FloatArray:
    """What the rows of each setting have in common [rows]: short runs draw less. 0 for a few rows."""
    middle, count = middle_of(own, setting, known)
    return np.where(count >= 5, middle, 0.0)


def _noise(residuals: FloatArray) -> float:
    return 1.4826 * float(np.median(np.abs(residuals))) if len(residuals) else 0.0


def _share(rows: np.ndarray, group: np.ndarray) -> FloatArray:
    return pd.Series(rows.astype(float)).groupby(group).transform("mean").to_numpy()


def _other_machine(view: View, known: np.ndarray) -> np.ndarray:
    """True [rows] where the time differs from that of the same work as well: another machine would do so."""
    time = view.role("time")
    if time is None or view.power is None:
        return np.zeros(view.n_rows, dtype=bool)
    same_work = view.work_code
    with np.errstate(divide="ignore", invalid="ignore"):
        log_time = np.log(time)
    middle, count = middle_of(log_time, same_work, known & np.isfinite(log_time))
    return (count >= 3) & (np.abs(log_time - middle) > TIMES_ALIKE)


def _lost_of_pairs(
    view: View, values: FloatArray, group: np.ndarray, paired: np.ndarray, by_time: bool
) -> dict[int, float]:
    """The lower of two runs of one model that differ beyond what such a pair can; its sibling's value."""
    rows = np.flatnonzero(paired)
    order = rows[np.lexsort((values[rows], group[rows]))]
    low, high = order[::2], order[1::2]
    gaps = values[high] - values[low]
    usual = float(np.median(np.abs(gaps))) if len(gaps) >= 3 else 0.0
    lost = gaps > max(PAIR_APART, 8 * usual)
    if by_time and len(low):
        time = view.role("time")
        alike = np.abs(np.log(time[low] / time[high])) < TIMES_ALIKE
        lost &= alike | (gaps > MOST_MACHINES_APART)
    return {int(a): float(values[b]) for a, b in zip(low[lost], high[lost], strict=True)}


def _alone(view: View, values: FloatArray, known: np.ndarray, group: np.ndarray) -> dict[int, float]:
    """Rows without siblings that are far from all others of their machine; the nearest of these."""
    found = {}
    codes = view.machine_code
    sizes = pd.Series(known.astype(int)).groupby(group).transform("sum").to_numpy()
    for code in np.unique(codes) if len(np.unique(codes)) <= 1000 else []:
        rows = np.flatnonzero(known & (codes == code))
        if len(rows) < 5:
            continue
        order = rows[np.argsort(values[rows])]
        gaps = np.diff(values[order])
        for end, near, gap, rest in ((0, 1, gaps[0], gaps[1:]), (-1, -2, gaps[-1], gaps[:-1])):
            if sizes[order[end]] == 1 and gap > max(ALONE_APART, 3 * rest.max()):
                found[int(order[end])] = float(values[order[near]])
    return found


@check(
    "Within a setting, energy follows time along a line. A row far from it, whose energy no other row "
    "shares, was metered differently, or ran beside other work.",
)
def off_energy_time_line(view: View) -> list[Finding]:
    energy = view.role("energy")
    if energy is None or view.role("time") is None:
        return []
    rows = [row for row in view.off_line if row not in set(_second_machine(view))]

    def explain(row: int) -> str:
        return (
            f"The row lies {view.energy_deviation[row]:+.0%} off the line of energy over time of its "
            "setting. Other work on the machine, a meter that missed part of the run, or an energy from "
            "elsewhere could explain it."
        )

    columns = [view.columns.energy, view.columns.time]
    return view.findings(rows, WARNING, columns, energy, explain, view.fitted_energy)


def _second_machine(view: View) -> list[int]:
    """Rows off the line that are too many to be mistakes, and agree among themselves in their power."""
    rows = np.array(view.off_line, dtype=np.int64)
    found: list[int] = []
    for code in np.unique(view.setting_code[rows]):
        here = rows[view.setting_code[rows] == code]
        everyone = view.rows_by_setting[code]
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.log(view.power[here])
        alike = np.ptp(spread) < np.log(2) if len(here) else False
        if len(here) >= 3 and len(here) > 0.1 * len(everyone) and alike:
            found += here.tolist()
    return found


def _slower_part(view: View) -> list[int]:
    """Of settings with few rows, the smaller of two parts, each alike in power, that are far apart."""
    found: list[int] = []
    for rows in view.rows_by_setting:
        known = rows[np.isfinite(view.power[rows]) & ~view.assumed[rows]]
        if len(known) >= FEW_ROWS or len(np.unique(view.machine_code[known])) != 1:
            continue
        order = known[np.argsort(view.power[known])]
        log_power = np.log(view.power[order])
        cut = int(np.diff(log_power).argmax()) + 1 if len(order) > 1 else 0
        parts = [(order[:cut], log_power[:cut]), (order[cut:], log_power[cut:])]
        if min(cut, len(order) - cut) < LEAST_PART:
            continue
        gap = log_power[cut] - log_power[cut - 1]
        if gap > max(MACHINES_APART, *(4 * np.ptp(values) for _, values in parts)):
            found += min(parts, key=lambda part: len(part[0]))[0].tolist()
    return found


@check(
    "Some rows of a setting follow another line of energy over time than the rest, among themselves alike: "
    "a table of two machines, or of two ways to measure.",
)
def several_machines(view: View) -> list[Finding]:
    if view.power is None:
        return []
    rows = np.array(_second_machine(view) or _slower_part(view), dtype=np.int64)
    found = []
    for code in np.unique(view.setting_code[rows]):
        here = rows[view.setting_code[rows] == code]
        rest = np.setdiff1d(view.rows_by_setting[code], here)
        one, two = (float(np.nanmedian(view.power[part])) for part in (here, rest))
        text = (
            f"{len(here)} rows, such as {where(view, int(here[0]))}, draw about {watts(one)} where the "
            f"others draw {watts(two)}. Energies of two machines are not one ranking; name the "
            "machine in a column."
        )
        setting = view.settings[code] if view.columns.setting else None
        columns = [str(view.columns.energy), str(view.columns.time)]
        found.append(Finding(NOTE, setting, None, columns, one, two, text))
    return found
