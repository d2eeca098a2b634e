"""The authors' tables as published, and as corrected by what the audit found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr.audit.finding import ERROR, Finding
from pepr.audit.report import audit
from pepr.audit.table import View
from pepr.published.audit import GPU_POWER_LIMIT_W
from pepr.published.tables import EPOCHS


@dataclass(frozen=True)
class Versions:
    """The runs as published, corrected and reduced, each with the authors' columns.

    `corrected` has `energy_kind`: `measured`, or `estimated` where the energy is the line's; `dropped` and
    `replaced` are the rows of the published table that were left out or replaced, with `reason`; `lines`
    are the fits, one a setting.
    """

    published: pd.DataFrame
    corrected: pd.DataFrame
    reduced: pd.DataFrame
    dropped: pd.DataFrame
    replaced: pd.DataFrame
    lines: pd.DataFrame
    findings: list[Finding]

    def tables(self) -> dict[str, pd.DataFrame]:
        return {"published": self.published, "corrected": self.corrected, "reduced": self.reduced}


def versions(results: pd.DataFrame) -> Versions:
    """Audit the runs, and make the corrected tables from what was found.

    Left out: rows copied whole from another setting, rows whose final accuracy is no count of test images,
    runs that collapsed. Replaced: energies (and carbon) that another row owns, by the line of energy over
    time of the setting; carbon by the setting's median local intensity, also where it is a fallback.
    """
    view = View(results, power_limit_w=GPU_POWER_LIMIT_W)
    found = audit(results, power_limit_w=GPU_POWER_LIMIT_W)
    key = results["model"] + "|" + results["dataset"]
    reasons = {
        check: {
            f"{f.model}|{f.setting}"
            for f in found
            if f.check == check and (f.severity == ERROR or check == "carbon_fallback")
        }
        for check in (
            "copied_row",
            "accuracy_not_k_of_n",
            "collapsed_run",
            "copied_energy",
            "carbon_fallback",
        )
    }
    drop = {
        k: check for check in ("collapsed_run", "accuracy_not_k_of_n", "copied_row") for k in reasons[check]
    }
    is_dropped, is_copied = key.isin(drop), key.isin(reasons["copied_energy"])
    table = results.assign(
        energy=np.where(is_copied, view.fitted_energy, results["energy"]),
        energy_kind=np.where(is_copied, "estimated", "measured"),
    )
    intensity = _local_intensity(results, is_copied | key.isin(reasons["carbon_fallback"]))
    mended = is_copied | key.isin(reasons["carbon_fallback"])
    table["co2"] = np.where(mended, table["energy"] * intensity, results["co2"])
    return Versions(
        published=results.assign(energy_kind="measured"),
        corrected=table[~is_dropped].reset_index(drop=True),
        reduced=table[~is_dropped & ~is_copied].reset_index(drop=True),
        dropped=results[is_dropped].assign(reason=key[is_dropped].map(drop)).reset_index(drop=True),
        replaced=results[is_copied & ~is_dropped]
        .assign(estimate=view.fitted_energy[is_copied & ~is_dropped])
        .reset_index(drop=True),
        lines=_lines(view),
        findings=found,
    )


def _local_intensity(results: pd.DataFrame, suspect: pd.Series) -> pd.Series:
    """The median carbon intensity of each row's setting, over rows that own their energy and carbon."""
    ratio = (results["co2"] / results["energy"]).where(~suspect)
    return ratio.groupby(results["dataset"]).transform("median")


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
