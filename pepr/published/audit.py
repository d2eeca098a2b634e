"""Checks on the tables around a study: joins, labels drawn by row position, populations."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import numpy as np
import pandas as pd

from pepr.audit.finding import ERROR, NOTE, WARNING, Finding
from pepr.audit.registry import named
from pepr.audit.report import audit
from pepr.audit.table import plain
from pepr.published.history import History
from pepr.published.origins import with_origins
from pepr.published.tables import Published
from pepr.tables.reader import read_table

POPULATION_FACTOR = 1.65
"""Beyond any country's growth in the ten years around the reference; the largest of a sound row is 1.6."""
NEIGHBOUR_FACTOR = 1.45
OLD_NAMES = {
    "adv_inception_v3": "inception_v3.tf_adv_in1k",
    "gluon_inception_v3": "inception_v3.gluon_in1k",
    "gluon_resnet34_v1b": "resnet34.gluon_in1k",
    "gluon_resnet152_v1b": "resnet152.gluon_in1k",
    "gluon_resnext101_32x4d": "resnext101_32x4d.gluon_in1k",
    "gluon_seresnext50_32x4d": "seresnext50_32x4d.gluon_in1k",
    "gluon_seresnext101_32x4d": "seresnext101_32x4d.gluon_in1k",
}
"""Names that timm has since turned into a weight tag of another name."""


@named(
    "A value looked up by searching for a name inside longer names: the first match may be another "
    "model, or there may be none."
)
def joined_to_other_model(
    values: pd.DataFrame,
    lookup: pd.DataFrame,
    setting: str,
    value: str = "top1",
    old_names: Mapping[str, str] = OLD_NAMES,
) -> list[Finding]:
    """Rows of `values` (columns `model`, `value`) that hold another model's value, or zero for none.

    `lookup` has names of the form `model.tag` in the order that was searched. A row is sound when its
    value is one of its own model's in the lookup.
    """
    base = lookup["model"].str.split(".").str[0]
    found = []
    for model, seen in zip(values["model"], values[value], strict=True):
        exact = lookup["model"] == old_names[model] if model in old_names else base == model
        own = lookup.loc[exact, value].to_numpy(np.float64)
        if len(own) and np.isclose(own, seen, rtol=0, atol=1e-9).any():
            continue
        matches = lookup["model"][lookup["model"].str.contains(model, regex=False)]
        expected = float(own[0]) if len(own) else None
        text = _join_text(model, seen, matches, lookup["model"][exact], model in old_names)
        found.append(Finding(ERROR, setting, str(model), [value], float(seen), expected, text))
    return found


def _join_text(model: str, seen: float, matches: pd.Series, own: pd.Series, renamed: bool) -> str:
    known = f"Its own entry is {own.iloc[0]}." if len(own) else "It has no entry of its own."
    if seen == 0 and not len(matches):
        was = " The name is older than the list." if renamed else ""
        return f"No name in the list contains {model!r}, so it was given {seen:g}.{was} {known}"
    if len(matches):
        return (
            f"The value is that of {matches.iloc[0]}, the first name in the list that contains {model!r}: "
            f"another one. {known} Comparing the part before the first dot would find it."
        )
    return f"The value {seen:g} is not that of any entry of this model. {known}"


@named(
    "Labels of one table laid beside the rows of another by position, while the two are sorted "
    "differently: most rows then carry another row's label."
)
def labels_by_position(
    labels: pd.DataFrame, drawn_order: pd.Series, column: str, setting: str
) -> list[Finding]:
    """Models whose mark in a figure is another model's label.

    `labels` (columns `model` and `column`) in its own order was laid beside values in `drawn_order`
    (models). A model is found when its own label differs from the one at its position.
    """
    own = dict(zip(labels["model"], labels[column], strict=True))
    found = []
    for position, (model, drawn) in enumerate(zip(drawn_order, labels[column], strict=True)):
        if own[model] == drawn:
            continue
        text = (
            f"Row {position + 1} in alphabetical order is {model}, but it is marked with the label of row "
            f"{position + 1} of the list of names, {labels['model'].iloc[position]}. Joining on the name "
            "would mend it."
        )
        found.append(Finding(WARNING, setting, str(model), [column], bool(drawn), bool(own[model]), text))
    return found


@named("Models described in the same paper, and built alike, under different labels.")
def labels_disagree(labels: pd.DataFrame, column: str, reference: str, setting: str) -> list[Finding]:
    """Rows whose `column` is not the commonest among rows with the same `reference` (all, where tied)."""
    found = []
    for link, rows in labels.groupby(reference, sort=False):
        counts = rows[column].value_counts()
        if len(counts) < 2:
            continue
        common = set(counts.index[counts == counts.max()])
        odd = rows if len(common) > 1 else rows[~rows[column].isin(common)]
        listed = ", ".join(f"{label} {number}" for label, number in counts.items())
        expected = None if len(common) > 1 else plain(next(iter(common)))
        for model, label in zip(odd["model"], odd[column], strict=True):
            text = (
                f"{column} is {label}, one of {len(rows)} models with the reference {link}: {listed}. Where "
                "groups are compared, models of one kind stand on both sides."
            )
            found.append(Finding(NOTE, setting, str(model), [column], plain(label), expected, text))
    return found


@named("A population that is not the country's: off by more than a decade's growth from a reference list.")
def implausible_population(
    regions: pd.DataFrame, setting: str, reference: pd.DataFrame | None = None
) -> list[Finding]:
    """Rows of `regions` (columns `name`, `pop`) that differ from the reference by a factor above 1.65."""
    known = reference_populations() if reference is None else reference
    names, sizes = known["name"].tolist(), known["population"].to_numpy(np.float64)
    position = {name: at for at, name in enumerate(names)}
    found = []
    for name, seen in zip(regions["name"], regions["pop"], strict=True):
        at = position.get(str(name).strip())
        if at is None or _factor(seen, sizes[at]) <= POPULATION_FACTOR:
            continue
        nearby = range(max(0, at - 4), min(len(names), at + 5))
        alike = [i for i in nearby if i != at and _factor(seen, sizes[i]) <= NEIGHBOUR_FACTOR]
        nearest = min(alike, key=lambda i: (abs(i - at), _factor(seen, sizes[i])), default=None)
        whose = None if nearest is None else names[nearest]
        hint = (
            f" It is close to that of {whose}, a neighbour in the alphabet, as when two lists slip by a row."
            if whose
            else ""
        )
        text = (
            f"{int(seen):,} people, where a reference list has about {sizes[at]:,.0f}.{hint} Publications "
            "per capita of its region inherit the difference."
        )
        found.append(Finding(ERROR, setting, str(name).strip(), ["pop"], int(seen), int(sizes[at]), text))
    return found


@named("A column of labels that contradicts the corrected column beside it in most rows.")
def superseded_column(table: pd.DataFrame, old: str, new: str, setting: str) -> list[Finding]:
    """A column of labels that disagrees with its corrected twin: found when most rows whose label both
    columns know differ."""
    both = table[table[old].isin(set(table[new])) & table[new].isin(set(table[old]))]
    differ = int((both[old] != both[new]).sum())
    if not len(both) or differ <= 0.5 * len(both):
        return []
    text = (
        f"{old!r} differs from {new!r} in {differ} of the {len(both)} rows that can be compared, and looks "
        f"like labels in another order. {new!r} is the one to use; {old!r} could be dropped from the file."
    )
    return [Finding(NOTE, setting, None, [old, new], differ, 0, text)]


def reference_populations() -> pd.DataFrame:
    """Populations by name, sorted by name (GeoNames, CC BY 4.0, mostly of 2018)."""
    path = resources.files("pepr.reference") / "populations.csv"
    with resources.as_file(path) as file:
        return read_table(file, texts=("name", "iso2"), keys=("name",))


def _factor(a: float, b: float) -> float:
    return float(max(a, b) / min(a, b)) if min(a, b) > 0 else float("inf")


GPU_POWER_LIMIT_W = 350.0
"""Board power of the RTX 3090 on which the authors trained (NVIDIA's specification)."""


def audit_published(tables: Published, history: History | None = None) -> list[Finding]:
    """Audit all of the authors' tables: the 1,048 runs, ImageNet, model names, and regions.

    With their history, findings say what it confirms or refutes, and it adds its own.
    """
    models = tables.models
    alphabetical = tables.results["model"].drop_duplicates().sort_values()
    found = audit(tables.results, power_limit_w=GPU_POWER_LIMIT_W)
    found += joined_to_other_model(tables.imagenet, tables.leaderboard, "imagenet")
    found += labels_by_position(models, alphabetical, "efficient", "figures")
    found += labels_disagree(models, "type", "link", "model_names")
    found += labels_disagree(models, "efficient", "link", "model_names")
    for year, regions in (("regions_2013", tables.regions_2013), ("regions_2023", tables.regions_2023)):
        found += implausible_population(regions, year)
        found += superseded_column(regions, "Region", "Region_updated", year)
    return found if history is None else with_origins(found, history, tables.results)
