"""What the book's interactive drawings read: a profile's models and the world's grids, as a script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pepr.analysis.ranked import enough
from pepr.analysis.scores import main_setting, model_means, on_shared_units, primary_resource, with_sets
from pepr.grids import grid_intensities
from pepr.quantities import RESOURCES
from pepr.runs.results import Results


def profile_models(results: Results) -> dict[str, Any]:
    """AUROC and primary resource of the models of a profile's main setting, in the unit that is named; none
    where too few of them can be ranked."""
    table = results.table
    setting = main_setting(table) or main_setting(table, pretrained=True)
    letter = primary_resource(table)
    resource = RESOURCES[letter]
    means = model_means(on_shared_units(with_sets(table)))
    asked = means[means["setting"] == setting]
    rows = asked.dropna(subset=["auroc", letter])
    rows = rows if enough(len(rows), len(asked)) else rows.iloc[:0]
    return {
        "profile": results.profile,
        "asked": len(asked),
        "setting": setting,
        "measure": "AUROC",
        "chance": 0.5,
        "resource": resource.name.capitalize(),
        "column": resource.column,
        "unit": resource.unit,
        "models": [
            {
                "model": row["model"],
                "performance": round(float(row["auroc"]), 4),
                "resource": round(resource.scale * float(row[letter]), 3),
            }
            for _, row in rows.iterrows()
        ],
    }


def grids() -> list[list[Any]]:
    """Code, country, intensity in g/kWh and year of every grid of CodeCarbon's table."""
    return [
        [code, name, round(float(intensity), 1), int(year)]
        for code, name, intensity, year in grid_intensities().itertuples(index=False)
    ]


def energies(numbers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The energy bills that the book knows: of each profile, and of the authors' runs where they are read."""
    bills = []
    for namespace, entries in numbers.items():
        found = entries.get("bill_total") or entries.get("energy_total")
        if not found or found["value"] is None:
            continue
        theirs = namespace == "published"
        what = "All runs of the paper (their PUE in it)" if theirs else f"The study {namespace}"
        kwh = found["value"] / (1 if theirs else 1000)
        nature = " (estimated)" if found["estimate"] else ""
        bills.append({"what": what, "kwh": kwh, "text": found["text"] + nature})
    return bills


def as_script(results: Results, numbers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The script that a page loads before its drawing: it needs no server, so it works from a file."""
    data = {"profile": profile_models(results), "grids": grids(), "energies": energies(numbers)}
    return f"window.peprStudy = {json.dumps(data, ensure_ascii=False)};\n"
