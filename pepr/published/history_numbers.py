"""The numbers that prose may quote of the history, the noise floor and the second edition, in words."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from pepr import stats
from pepr.audit.finding import Finding
from pepr.display.numbers import Number, Numbers, number
from pepr.display.words import count, percent
from pepr.published.history import History, changed_cells, files, missing_runs
from pepr.published.numbers import effect_words
from pepr.published.reproduction import scores
from pepr.published.tables import SETTINGS, Published
from pepr.published.versions import Versions
from pepr.verdicts import VERDICTS, Entry

FULL = ("derma_pt", "derma", "lidc", "pneumonia")
"""The settings that train on all images of a data set."""


def history_numbers(
    tables: Published,
    runs: Versions,
    history: History,
    findings: Sequence[Finding],
    against: pd.DataFrame,
    floor: pd.DataFrame,
    claims: Sequence[Entry],
) -> Numbers:
    """All numbers of the history, by key. `findings` have their origins, `against` and `floor` are the tables
    of `origins.against_history` and `history.noise_floor`."""
    return {
        **_recorded(tables, history),
        **_origins(findings),
        **_checks(against),
        **_floor(floor),
        **_edition(runs),
        **_claims(claims),
    }


def _recorded(tables: Published, history: History) -> Numbers:
    listed, missing = files(), missing_runs(history, tables.results)
    changed = [cells for cells in changed_cells(history, tables.results) if cells]
    return {
        "history_runs": number(len(history.runs)),
        "history_left_out": number((~history.runs["published"]).sum()),
        "history_files": number(len(listed)),
        "history_first": number(None, str(listed["recorded"].min()).split()[0]),
        "history_last": number(None, str(listed["recorded"].max()).split()[0]),
        "history_cells": number(sum(len(cells) for cells in changed)),
        "history_changed_rows": number(len(changed)),
        "history_missing_models": number(None, ", ".join(missing["model"])),
        "history_missing_commit": number(None, ", ".join(missing["commit"].unique())),
        "history_missing_recorded": number(None, ", ".join(missing["recorded"].unique())),
    }


def _origins(findings: Sequence[Finding]) -> Numbers:
    groups: dict[float, dict[str, object]] = {
        f.value: f.origin for f in findings if f.check == "copied_energy" and f.origin
    }
    pasted = sum(f.check == "copied_row" for f in findings)
    dropped = [origin for origin in groups.values() if not origin["in_table"]]
    inside = [origin["setting"] for origin in groups.values() if origin["in_table"]]
    copied = [f for f in findings if f.check == "copied_energy"]
    missed = [f for f in findings if f.check == "energy_recorded_elsewhere"]
    return {
        "history_groups": number(len(groups) + pasted),
        "history_groups_derma": number(inside.count("derma")),
        "history_groups_derma_pt": number(inside.count("derma_pt")),
        "history_groups_dropped": number(len(dropped)),
        "history_foreign": number(len(copied) + len(missed)),
        "history_missed": number(len(missed)),
        "history_missed_rows": number(None, ", ".join(f"{f.model} in {f.setting}" for f in missed) or "none"),
        "history_unknown_energies": number(len(copied) + len(missed) + pasted),
        "history_shared_rows": number(
            len(copied) + pasted + sum(f.check == "owns_shared_energy" for f in findings)
        ),
    }


def _checks(against: pd.DataFrame) -> Numbers:
    numbers: Numbers = {}
    for row in against.to_dict("records"):
        for name in ("confirmed", "refuted", "not_decidable"):
            numbers[f"check_{row['check']}_{name}"] = number(row[name])
        for name in ("precision", "recall"):
            if row[name] == row[name]:
                numbers[f"check_{row['check']}_{name}"] = number(row[name], percent)
    judged = against["confirmed"] + against["refuted"] > 0
    numbers["check_others_not_decidable"] = number(against.loc[~judged, "not_decidable"].sum())
    return numbers


def _floor(floor: pd.DataFrame) -> Numbers:
    numbers: Numbers = {
        "floor_models": number(floor["models"].max()),
        "floor_pairs": number(floor["pairs"].sum()),
        "floor_equal": number(floor["equal_accuracies"].sum()),
        **_range("floor_time", floor["train_time_median"]),
        **_range("floor_memory_largest", floor["memory_largest"]),
    }
    numbers["floor_time_largest"] = _share(floor["train_time_largest"].max())
    full = floor["setting"].isin(FULL)
    smallest = floor["setting"].isin(("derma_smallest", "pneumonia_small"))
    numbers |= _range("floor_energy_full", floor.loc[full, "energy_median"])
    numbers["floor_energy_full_largest"] = _share(floor.loc[full, "energy_largest"].max())
    numbers |= _range("floor_energy_smallest_largest", floor.loc[smallest, "energy_largest"])
    for row in floor.to_dict("records"):
        for name in (
            "train_time_median",
            "energy_median",
            "train_time_largest",
            "energy_largest",
            "memory_largest",
        ):
            numbers[f"floor_{name}_{row['setting']}"] = _share(row[name])
        for name in ("pairs", "equal_accuracies", "energy_pairs"):
            numbers[f"floor_{name}_{row['setting']}"] = number(row[name])
    return numbers


def _share(value: float) -> Number:
    """A small share in percent, two significant digits."""
    return number(float(value), f"{100 * value:.2g}%" if value == value else "not known")


def _range(key: str, values: pd.Series) -> Numbers:
    return {f"{key}_low": _share(values.min()), f"{key}_high": _share(values.max())}


def _edition(runs: Versions) -> Numbers:
    table = runs.best
    numbers: Numbers = {
        "edition_runs": number(len(table)),
        "edition_measured": number((table["energy_kind"] == "measured").sum()),
        "edition_estimated": number((table["energy_kind"] == "estimated").sum()),
        "edition_restored": number((table["restored"] == "run").sum()),
    }
    tables = [runs.tables()[name] for name in ("corrected", "history")]
    scored = [table.assign(score=scores(table)) for table in tables]
    for setting in SETTINGS:
        first, second = (t[t["dataset"] == setting].set_index("model")["score"] for t in scored)
        both = sorted(set(first.index) & set(second.index))
        rho = stats.rank_correlation(first[both], second[both]).effect
        numbers[f"best_history_{setting}"] = number(None, str(second.idxmax()))
        numbers[f"edition_models_{setting}"] = number(len(second))
        numbers[f"edition_spearman_{setting}"] = number(rho, "{:.3f}".format, estimate=True)
    return numbers


def _claims(claims: Sequence[Entry]) -> Numbers:
    differ = [claim for claim in claims if claim["verdict_history"] != claim["verdict_corrected"]]
    numbers: Numbers = {
        "claims_history_differ": number(len(differ), "none" if not differ else count(len(differ))),
        "claims_history_differ_names": number(None, "; ".join(c["claim"] for c in differ) or "none"),
    }
    for claim in claims:
        numbers[f"claim_{claim['id']}_history"] = number(
            claim["effect_history"], effect_words(claim, "_history"), estimate=True
        )
        numbers[f"verdict_{claim['id']}_history"] = number(claim["verdict_history"], VERDICTS.get)
    return numbers
