"""The authors' tables as published, as corrected by what the audit infers, and by their history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pepr.audit.energy_line import robust_line
from pepr.audit.finding import ERROR, Finding
from pepr.audit.report import audit
from pepr.audit.table import View
from pepr.published import history as published_history
from pepr.published.audit import GPU_POWER_LIMIT_W
from pepr.published.history import CELLS, History, changed_cells, missing_runs
from pepr.published.tables import EPOCHS, RESOURCES, TEST_COLUMNS, Published
from pepr.score import normalise, pepr

DROPPING_CHECKS = ("collapsed_run", "accuracy_not_k_of_n", "copied_row")
"""Checks whose errors leave no usable accuracy; the later name is the reason given."""


@dataclass(frozen=True)
class Versions:
    """The runs as published, corrected and reduced, each with the authors' columns.

    `corrected` has `energy_kind`: `measured`, or `estimated` where the energy is the line's; `dropped` and
    `replaced` are the rows of the published table that were left out or replaced, with `reason`; `lines`
    are the fits, one a setting. `reduced` leaves out the rows whose energy their own time excludes; a copied
    one of a run of equal length stays. `by_history`, None where the history is not at hand, is the second
    edition: missing runs put back, cells as first recorded, and an energy estimated only where its own was
    never recorded; its column `restored` says what was put back.
    """

    published: pd.DataFrame
    corrected: pd.DataFrame
    reduced: pd.DataFrame
    dropped: pd.DataFrame
    replaced: pd.DataFrame
    lines: pd.DataFrame
    findings: list[Finding]
    by_history: pd.DataFrame | None = None

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name: `published`, `corrected`, `reduced`, and `history` where it is at hand."""
        named = {"published": self.published, "corrected": self.corrected, "reduced": self.reduced}
        return named if self.by_history is None else named | {"history": self.by_history}

    @property
    def best(self) -> pd.DataFrame:
        """The most that is known of the runs: corrected by history, else by inference."""
        return self.corrected if self.by_history is None else self.by_history


def of(tables: Published) -> Versions:
    """All versions of the authors' tables, with the history where its files are at hand."""
    if not published_history.at_hand():
        return versions(tables.results)
    return versions(tables.results, published_history.load(tables.results))


def versions(results: pd.DataFrame, history: History | None = None) -> Versions:
    """Audit the runs, and make the corrected tables from what was found.

    Left out: rows copied whole from another setting, rows whose final accuracy is no count of test images,
    runs that collapsed. Replaced: energies (and carbon) that another row owns, by the line of energy over
    time of the setting; carbon by the setting's median local intensity, also where it is a fallback.
    """
    view = View(results, power_limit_w=GPU_POWER_LIMIT_W)
    found = audit(results, power_limit_w=GPU_POWER_LIMIT_W)
    key = results["model"] + "|" + results["dataset"]
    drop = _dropped(found)
    is_dropped = key.isin(drop)
    is_copied = key.isin(_keys(found, "copied_energy"))
    is_fallback = key.isin(_keys(found, "carbon_fallback"))
    table = _with_energy(results, view.fitted_energy, is_copied, is_fallback)
    impossible = is_copied & (np.abs(view.energy_deviation) > view.energy_tolerance)
    reduced = _with_energy(results, view.fitted_energy, impossible, is_fallback)
    return Versions(
        published=results.assign(energy_kind="measured"),
        corrected=table[~is_dropped].reset_index(drop=True),
        reduced=reduced[~is_dropped & ~impossible].reset_index(drop=True),
        dropped=results[is_dropped].assign(reason=key[is_dropped].map(drop)).reset_index(drop=True),
        replaced=results[is_copied & ~is_dropped]
        .assign(estimate=view.fitted_energy[is_copied & ~is_dropped])
        .reset_index(drop=True),
        lines=_lines(view),
        findings=found,
        by_history=None if history is None else second_edition(results, history),
    )


def second_edition(results: pd.DataFrame, history: History) -> pd.DataFrame:
    """The runs as the history gives them: see `Versions.by_history`. Runs that collapsed are left out."""
    table = restored(results, history)
    found = audit(table.drop(columns="restored"), power_limit_w=GPU_POWER_LIMIT_W)
    key = table["model"] + "|" + table["dataset"]
    at = history.rows_of(table)
    foreign = pd.Series(history.runs["energy_run"].to_numpy()[at] != at, index=table.index)
    fallback = key.isin(_keys(found, "carbon_fallback"))
    mended = _with_energy(table, _line_of_own_energies(table, foreign), foreign, fallback)
    return mended[~key.isin(_dropped(found))].reset_index(drop=True)


def restored(results: pd.DataFrame, history: History) -> pd.DataFrame:
    """`results` with missing runs in place of the rows that hide them, and with first-recorded cells.

    Column `restored`: empty, `run`, or the changed cells with the published values.
    """
    table = results.assign(restored="")
    for row, cells in zip(table.index, changed_cells(history, results), strict=True):
        if cells:
            published = " ".join(f"{name}={results.at[row, name]:.6g}" for name in cells)
            table.loc[row, [*cells, "restored"]] = [*cells.values(), published]
    pairs = zip(table["dataset"], table["model"], strict=True)
    place = dict(zip(pairs, table.index, strict=True))
    for run in missing_runs(history, results).to_dict("records"):
        values = [run[name] for name in CELLS]
        table.loc[place[run["setting"], run["model"]], [*CELLS, "restored"]] = [*values, "run"]
    return table


def write_best(path: Path | str, runs: Versions) -> pd.DataFrame:
    """Write the best table that there is as CSV, its normalised columns and scores made again; return it.

    The columns are the published ones and `energy_kind`; by history also `restored`.
    """
    table = runs.best.copy()
    for letter, resource in RESOURCES.items():
        for _, rows in table.groupby("dataset").groups.items():
            needs = table.loc[rows, resource].to_numpy(np.float64)
            table.loc[rows, f"{letter}_n"] = normalise(needs)
            table.loc[rows, f"pepr_{letter.lower()}"] = pepr(table.loc[rows, TEST_COLUMNS[-1]], needs)
    table.to_csv(path, index=False, lineterminator="\n")
    return table


def _dropped(found: list[Finding]) -> dict[str, str]:
    """Rows whose accuracy is unusable, with the check that says so."""
    return {key: check for check in DROPPING_CHECKS for key in _keys(found, check)}


def _keys(found: list[Finding], check: str) -> set[str]:
    """`model|setting` of a check's errors; of all its findings where it concerns carbon alone."""
    return {
        f"{f.model}|{f.setting}"
        for f in found
        if f.check == check and (f.severity == ERROR or check == "carbon_fallback")
    }


def _with_energy(
    results: pd.DataFrame, estimate: np.ndarray, foreign: pd.Series, fallback: pd.Series
) -> pd.DataFrame:
    """`results` with estimates for foreign energies, and local carbon for those and for fallbacks."""
    table = results.assign(
        energy=np.where(foreign, estimate, results["energy"]),
        energy_kind=np.where(foreign, "estimated", "measured"),
    )
    mended = foreign | fallback
    ratio = (results["co2"] / results["energy"]).where(~mended)
    intensity = ratio.groupby(results["dataset"]).transform("median")
    table["co2"] = np.where(mended, table["energy"] * intensity, results["co2"])
    return table


def _line_of_own_energies(table: pd.DataFrame, foreign: pd.Series) -> np.ndarray:
    """The energy that each row's time implies [rows, kWh], by the line of its setting's own readings."""
    fitted = np.full(len(table), np.nan)
    time, energy = table["train_time"].to_numpy(np.float64), table["energy"].to_numpy(np.float64)
    for _, rows in table.groupby("dataset").indices.items():
        own = rows[~foreign.to_numpy()[rows]]
        line = robust_line(time[own], energy[own])
        if line is not None:
            fitted[rows] = line[0] + line[1] * time[rows]
    return fitted


def _lines(view: View) -> pd.DataFrame:
    """Intercept (Wh), slope (W, over ten epochs), rows fitted, and tolerance of each setting's line."""
    rows = []
    time = view.role("time")
    for name, members in zip(view.settings, view.rows_by_setting, strict=True):
        slope, intercept = np.polyfit(time[members], view.fitted_energy[members], 1)
        own = members[~view.shared_energy[members]]
        relative = np.abs(view.role("energy")[own] / view.fitted_energy[own] - 1)
        rows.append(
            {
                "setting": name,
                "rows_fitted": len(own),
                "rows_shared": len(members) - len(own),
                "slope_w": slope * 3.6e6 / EPOCHS,
                "intercept_wh": intercept * 1000,
                "median_error": float(np.median(relative)),
            }
        )
    return pd.DataFrame(rows)
