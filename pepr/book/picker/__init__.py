"""The model picker: one page, without server or network, made from the candidates of every setting."""

from __future__ import annotations

import importlib
import json
import re
from importlib import metadata, resources
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from pepr.costs import model, recommendation, trials
from pepr.errors import DataUnavailable, InputError
from pepr.files import write_atomic
from pepr.grids import per_kwh
from pepr.models.space import model_space
from pepr.quantities import RESOURCES, Resource

DIGITS = 6
UNITS = {"wh": "Wh", "gb": "GB", "minutes": "minutes", "g": "g CO2-eq", "l": "L"}
"""The unit that the name of a budget ends with, as it is written."""
TRIALS = 10
"""How many models of a plan of trials the page shows."""


def page(cache: Path) -> str:
    """The picker as one HTML page; `cache` is a folder for what is the same at each build.

    Raises InputError naming the packages that it is made with, if missing.
    """
    chart, bundle = chart_specification(), vega_bundle(cache)
    template = _asset("picker.html")
    filled = {
        "/*style*/": _asset("picker.css"),
        "/*vega*/": inline(bundle),
        '"data"': inline(json.dumps(data(), ensure_ascii=False, separators=(",", ":"))),
        '"chart"': inline(json.dumps(chart, separators=(",", ":"))),
        "/*script*/": inline(_asset("picker.js")),
    }
    for mark in filled:
        if template.count(mark) != 1:
            raise InputError(f"picker.html: expected the mark {mark} once, found {template.count(mark)}")
    marks = re.compile("|".join(map(re.escape, filled)))
    return marks.sub(lambda found: filled[found[0]], template)


def data() -> dict[str, Any]:
    """What the page chooses from: rows of every setting, and where they come from."""
    tables, origin, hardware = candidates()
    return {
        "origin": origin,
        "hardware": hardware,
        "costs": [describe(resource) for resource in shown()],
        "settings": {name: rows(table) for name, table in tables.items()},
        "expected": [list(points.values()) for points in trials.expected(TRIALS)],
    }


def shown() -> list[Resource]:
    """The resources to choose by: those that nothing predicts, or whose factor is not known, are left out."""
    known, limited = per_kwh(), [one for one in RESOURCES.values() if one.budget]
    return [one for one in limited if not one.per_kwh or known[one.per_kwh] is not None]


def key_of(resource: Resource) -> str:
    """What the page and its links call a resource: energy, carbon, time, memory."""
    return resource.name.split()[-1]


def describe(resource: Resource) -> dict[str, str | None]:
    """A resource as the page's script needs it; `factor` is the rows' key by which energy becomes it."""
    unit = UNITS[resource.budget.rsplit("_", 1)[-1]]
    return {
        "key": key_of(resource),
        "title": f"{resource.label} ({unit})",
        "unit": unit,
        "option": f"--max-{resource.budget.replace('_', '-')}",
        "factor": resource.per_kwh or None,
    }


def candidates() -> tuple[dict[str, pd.DataFrame], str, str]:
    """Candidates by setting, the authors' eight where their tables are at hand, else the reference's; where
    they come from; and on which machine they cost what they do, which is this one where it was swept."""
    from pepr import published
    from pepr.published.versions import of

    try:
        tables = published.load()
    except DataUnavailable:
        from pepr.runs.results import Results, reference_folder

        names = Results("pocket", "reference", reference_folder("pocket")).table["setting"].unique()
        return (
            {name: recommendation.from_reference(name) for name in sorted(names)},
            "This copy was made without the authors' tables: it shows the runs of this study's small profile "
            "pocket, made on a CPU, energies by a load model.",
            model.model()["hardware"],
        )
    runs = of(tables)
    swept = recommendation.swept_here(model.job_of(None))
    costs = (
        "Costs follow from a training step of each model that `pepr sweep` measured; models that it could "
        "not measure are left out."
        if swept
        else "Costs are theirs where sound; the others are predicted."
    )
    return (
        {name: recommendation.from_authors(tables, name, runs=runs) for name in model.settings()},
        f"Accuracies are the authors', without the runs that the audit found unusable. {costs}",
        swept.hardware if swept else model.model()["hardware"],
    )


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The candidates of a setting as small objects; `measured` names the costs that were measured."""
    space, resources = model_space(), shown()
    measured = [one for one in resources if not one.per_kwh]
    needed = {
        key_of(one): [recommendation.needs(one, table, end).tolist() for end in ("", "_low", "_high")]
        for one in measured
    }
    out = []
    for at, row in enumerate(table.to_dict("records")):
        entry = {
            "model": row["model"],
            "family": space[row["model"]].family,
            "params": row["num_params"],
            "measured": [
                key_of(one) for one in measured if recommendation.COLUMNS[one.letter][0] in row["measured"]
            ],
            "performance": [_short(row[f"performance{end}"]) for end in ("", "_low", "_high")],
            **{one.per_kwh: row[one.per_kwh] for one in resources if one.per_kwh},
            **{key: [_short(values[at]) for values in ends] for key, ends in needed.items()},
            "rank": _short(row["rank"]) if row.get("rank", np.nan) > 0 else None,
        }
        out.append(entry)
    return out


def chart_specification() -> dict[str, Any]:
    """Performance against cost as a Vega-Lite specification; the page fills in its data and axis title.

    Measured costs are filled marks, predicted ones hollow; a bar is the 90% interval of the accuracy; the
    line is the Pareto front of what the budget allows; dashed lines join equal PePR.
    """
    alt = _needed("altair")
    x = alt.X(
        "x:Q",
        title="cost",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(labelOverlap="greedy", labelSeparation=8),
    )
    y = alt.Y("performance:Q", title="Test accuracy", scale=alt.Scale(zero=False), axis=alt.Axis(format="%"))
    points = alt.Data(name="points")

    def kind(channel: Any, *looks: str) -> Any:
        """How a measured and how a predicted cost look in a channel; equal legends become one."""
        scale = alt.Scale(domain=["cost measured", "cost predicted"], range=looks)
        return channel("kind:N", title=None, legend=alt.Legend(orient="top"), scale=scale)

    within = alt.condition("datum.within", alt.value(0.95), alt.value(0.18))
    bars = (
        alt.Chart(points)
        .mark_rule(strokeWidth=1)
        .encode(
            x=x,
            y=alt.Y("low:Q", title="Test accuracy"),
            y2="high:Q",
            opacity=alt.condition("datum.within", alt.value(0.35), alt.value(0.06)),
            color=alt.value("#808080"),
        )
    )
    marks = (
        alt.Chart(points)
        .mark_point(size=60, strokeWidth=1.6)
        .encode(
            x=x,
            y=y,
            shape=kind(alt.Shape, "circle", "square"),
            opacity=within,
            fill=alt.condition(
                "datum.chosen && datum.kind == 'cost measured'",
                alt.value("#D55E00"),
                kind(alt.Fill, "#0072B2", "transparent"),
            ),
            stroke=alt.condition("datum.chosen", alt.value("#D55E00"), alt.value("#0072B2")),
            tooltip=["model:N", "accuracy:N", "cost:N", "kind:N", alt.Tooltip("pepr:Q", format=".3f")],
        )
    )
    front = (
        alt.Chart(alt.Data(name="front"))
        .mark_line(interpolate="step-after", color="#009E73")
        .encode(x=x, y=y)
    )
    contours = (
        alt.Chart(alt.Data(name="contours"))
        .mark_line(strokeDash=[4, 4], strokeWidth=1, color="#8A8A8A", clip=True)
        .encode(x=x, y=y, detail="level:N")
    )
    names = (
        alt.Chart(points)
        .transform_filter("datum.named")
        .mark_text(align="left", dx=8, dy=-6, fontSize=11, color="#8A8A8A")
        .encode(x=x, y=y, text="model:N")
    )
    chart = alt.layer(contours, bars, front, marks, names).properties(width="container", height=360)
    chart = chart.configure(background="transparent").configure_view(stroke=None)
    chart = chart.configure_legend(labelColor="#808080").configure_axis(
        labelColor="#808080", titleColor="#808080", gridColor="#80808033", domainColor="#808080"
    )
    return chart.to_dict(format="vega-lite")


def vega_bundle(cache: Path) -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which ships in a Python package.

    Bundling takes seconds, so a version's script is kept in the folder `cache`.
    """
    vl_convert = _needed("vl_convert")
    kept = cache / f"vega-of-vl-convert-{metadata.version('vl-convert-python')}.js"
    if not kept.exists():
        write_atomic(kept, vl_convert.javascript_bundle())
    return kept.read_text(encoding="utf-8")


def _needed(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(
            f"the model picker is made with {package}: install altair and vl-convert-python"
        ) from None


def _asset(name: str) -> str:
    return (resources.files("pepr.book.picker") / name).read_text(encoding="utf-8")


def inline(script: str) -> str:
    """A script that may stand inside a page: nothing in it ends the element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
