"""The model picker: one page, without server or network, made from the candidates of every setting."""

from __future__ import annotations

import importlib.util
import json
import re
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pandas as pd

from pepr.costs import model, recommendation
from pepr.errors import DataUnavailable, InputError
from pepr.files import write_atomic
from pepr.models.space import model_space

COSTS = {"energy": "energy_wh", "memory": "peak_memory_gb", "time": "train_time_s"}
DIGITS = 6
EXPORTS = re.compile(r"export\{(?P<names>[^}]*)\}")
"""How the table library's module hands out its parts; inline, the page takes the part it needs."""


def page(cache: Path) -> str:
    """The picker as one HTML page; `cache` is a folder for what is the same at each build.

    Raises InputError naming the packages that it is made with, if missing.
    """
    chart, bundle = chart_specification(), vega_bundle(cache)
    script, style = table_library()
    template = _asset("picker.html")
    filled = {
        "/*table-style*/": style,
        "/*style*/": _asset("picker.css"),
        "/*vega*/": _inline(bundle),
        "/*table*/": _inline(script),
        '"data"': _inline(json.dumps(data(), ensure_ascii=False, separators=(",", ":"))),
        '"chart"': _inline(json.dumps(chart, separators=(",", ":"))),
        "/*script*/": _inline(_asset("picker.js")),
    }
    for mark in filled:
        if template.count(mark) != 1:
            raise InputError(f"picker.html: expected the mark {mark} once, found {template.count(mark)}")
    marks = re.compile("|".join(map(re.escape, filled)))
    return marks.sub(lambda found: filled[found[0]], template)


def data() -> dict[str, Any]:
    """What the page chooses from: rows of every setting, and where they come from."""
    tables, origin = candidates()
    return {
        "origin": origin,
        "hardware": model.model()["hardware"],
        "settings": {name: rows(table) for name, table in tables.items()},
    }


def candidates() -> tuple[dict[str, pd.DataFrame], str]:
    """Candidates by setting: the authors' eight where their tables are at hand, else the reference's."""
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
            "pocket, all costs measured on a CPU, most energies by a load model.",
        )
    runs = of(tables)
    return (
        {name: recommendation.from_authors(tables, name, runs=runs) for name in model.settings()},
        "Accuracies are the authors', without the runs that the audit found unusable. Costs are theirs where "
        "sound; the others are predicted.",
    )


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The candidates of a setting as small objects; `measured` names the costs that were measured."""
    space = model_space()
    out = []
    for row in table.to_dict("records"):
        entry = {
            "model": row["model"],
            "family": space[row["model"]].family,
            "params": row["num_params"],
            "measured": [name for name, key in COSTS.items() if key in row["measured"]],
            "performance": [_short(row[f"performance{end}"]) for end in ("", "_low", "_high")],
            "g_per_kwh": row["g_per_kwh"],
        }
        for name, key in COSTS.items():
            entry[name] = [_short(row[f"{key}{end}"]) for end in ("", "_low", "_high")]
        out.append(entry)
    return out


def chart_specification() -> dict[str, Any]:
    """Performance against cost as a Vega-Lite specification; the page fills in its data and axis title.

    Measured costs are filled marks, predicted ones hollow; a bar is the 90% interval of the accuracy; the
    line is the Pareto front of what the budget allows; dashed lines join equal PePR.
    """
    alt = _altair()
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
    _needed("vl_convert")
    kept = cache / f"vega-of-vl-convert-{metadata.version('vl-convert-python')}.js"
    if not kept.exists():
        import vl_convert

        write_atomic(kept, vl_convert.javascript_bundle())
    return kept.read_text(encoding="utf-8")


def table_library() -> tuple[str, str]:
    """DataTables as one module, as `itables` ships it, and its style; the module sets `window.DataTable`."""
    _needed("itables")
    folder = Path(str(resources.files("itables"))) / "html"
    script, style = ((folder / f"dt_bundle.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    found = EXPORTS.search(script)
    if not found:
        raise InputError("itables: its table library hands out nothing; another version is needed")
    named = dict(reversed(pair.split(" as ")) for pair in found["names"].split(","))
    return script.replace(found[0], f"window.DataTable={named['default']}"), style


def _altair() -> Any:
    _needed("altair")
    import altair

    return altair


def _needed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"the model picker is made with {package}: install altair, vl-convert-python and itables"
        )


def _asset(name: str) -> str:
    return (resources.files("pepr.book.picker") / name).read_text(encoding="utf-8")


def _inline(script: str) -> str:
    """A script that may stand inside a page: nothing in it ends the element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
