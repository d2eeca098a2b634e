"""Which of several rows that share a value owns it: by its time, then by the carbon intensity of its hour."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pepr.audit.table import View
from pepr.stats import FloatArray

NEIGHBOURS = 5
"""Runs of nearest size in a setting: made one after another where models are trained in order of size."""
SAME_HOUR = 0.10
"""A row's intensity is that of its neighbours within this share; the largest seen among owners is 0.09."""
OTHER_HOUR = 0.30
"""Beyond this share from its neighbours' intensity a row's value comes from another hour."""


@dataclass(frozen=True)
class Sharing:
    """Rows that share a value, those whose time fits it, and the one that owns it if there is just one.

    `by_carbon` says that the owner was told by its carbon intensity, where several times fit.
    """

    rows: list[int]
    candidates: list[int]
    owner: int | None
    by_carbon: bool = False


def owners(view: View, values: FloatArray, rows: np.ndarray) -> dict[int, Sharing]:
    """For each of `rows`, which all share one of `values` [table rows], who shares it and who owns it."""
    fits = np.abs(view.energy_deviation) <= view.energy_tolerance
    groups: dict[int, Sharing] = {}
    order = rows[np.argsort(values[rows], kind="stable")]
    for part in np.split(order, np.flatnonzero(np.diff(values[order])) + 1) if rows.size else []:
        members = [int(row) for row in part]
        on_line = [row for row in members if fits[row]]
        sharing = Sharing(members, on_line, on_line[0] if len(on_line) == 1 else None)
        groups.update(dict.fromkeys(members, sharing))
    return _told_by_carbon(view, groups)


def _told_by_carbon(view: View, groups: dict[int, Sharing]) -> dict[int, Sharing]:
    """The undecided groups decided where one candidate alone has the carbon intensity of its neighbours."""
    energy, carbon, size = (view.role(name) for name in ("energy", "carbon", "parameters"))
    if energy is None or carbon is None or size is None:
        return groups
    with np.errstate(divide="ignore", invalid="ignore"):
        intensity = np.where((energy > 0) & (carbon > 0), carbon / energy, np.nan)
        log_size = np.log(size)
    sure = ~view.shared_energy & np.isfinite(intensity)
    sure[[row for row, group in groups.items() if group.owner == row]] = True
    decided = {}
    for row, group in groups.items():
        if group.owner is None and len(group.candidates) > 1:
            group = _one_of_its_hour(view, group, intensity, log_size, sure)
        decided[row] = group
    return decided


def _one_of_its_hour(
    view: View, group: Sharing, intensity: FloatArray, log_size: FloatArray, sure: np.ndarray
) -> Sharing:
    distance = {row: _from_neighbours(view, row, intensity, log_size, sure) for row in group.candidates}
    near = [row for row, share in distance.items() if share <= SAME_HOUR]
    far = [row for row, share in distance.items() if share >= OTHER_HOUR]
    if len(near) == 1 and len(near) + len(far) == len(group.candidates):
        return replace(group, owner=near[0], by_carbon=True)
    return group


def _from_neighbours(
    view: View, row: int, intensity: FloatArray, log_size: FloatArray, sure: np.ndarray
) -> float:
    """How far a row's carbon intensity lies from its neighbours' median, as a share; NaN without any."""
    members = view.rows_by_setting[view.setting_code[row]]
    members = members[sure[members] & (members != row)]
    if len(members) < NEIGHBOURS:
        return float("nan")
    away = np.abs(log_size[members] - log_size[row])
    away[np.isnan(away)] = np.inf
    # No sort: a setting may have a hundred thousand rows. Of equally near ones the first are taken.
    last = np.partition(away, NEIGHBOURS - 1)[NEIGHBOURS - 1]
    nearer, ties = np.flatnonzero(away < last), np.flatnonzero(away == last)
    nearest = members[np.append(nearer, ties[: NEIGHBOURS - len(nearer)])]
    return float(abs(np.median(intensity[nearest]) / intensity[row] - 1))
