"""PePR beside the other scores of performance and cost: who wins by each, where they agree, what PePR pays.

What is compared is a set of models with one performance, one energy, and what NetScore asks of each. Energy
is that of training, in watt-hours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr import composites, stats, verdicts
from pepr.analysis import measures
from pepr.analysis.ranked import NORMAL_95, enough
from pepr.analysis.scores import (
    SET,
    as_array,
    model_means,
    of_set,
    on_shared_units,
    primary_resource,
    with_sets,
)
from pepr.display.numbers import UNKNOWN, Number, Numbers, number
from pepr.display.words import fixed, markdown, measure_words, performance, wh
from pepr.models import atlas
from pepr.quantities import ABOVE_CHANCE, RECORDED, RESOURCES
from pepr.score import pepr, resource_range_of
from pepr.stats import FloatArray

SCORES = {
    "pepr": "PePR-E",
    "pepr_above": "PePR-E above chance",
    "performance": "Performance",
    "per_wh": "Performance for a watt-hour",
    "netscore": "NetScore",
    "pareto": "Pareto rank",
    "cheapness": "Least energy",
}
ROUNDING = 1e-9
"""How near chance a score is a guesser's own."""
DEAR = 100
"""Points of performance, all that there are: a watt-hour worth so many is priced by its thousandth."""
FEWEST = 3
"""Models below which a set has no ranking to compare."""


@dataclass(frozen=True)
class ComparedSet:
    """One set: its models with their performance by `measure`, the same above chance, energy in Wh, number
    of parameters and multiply-accumulate operations, [models] each; NaN where not known. `chance` is what a
    guesser has, the mean over its runs; `by_split` the performance [models, splits], of one run each if None,
    and then `n_test` the images that accuracies count, where known.
    """

    name: str
    measure: str
    models: list[str]
    chance: float
    performance: FloatArray
    above: FloatArray
    energy_wh: FloatArray
    num_params: FloatArray
    macs: FloatArray
    by_split: FloatArray | None = None
    n_test: float = np.nan

    @property
    def scores(self) -> dict[str, FloatArray]:
        """Every score of `SCORES` [models], higher is better in each."""
        return {
            "pepr": pepr(self.performance, self.energy_wh),
            "pepr_above": pepr(np.maximum(self.above, 0.0), self.energy_wh),
            "performance": self.performance,
            "per_wh": composites.per_unit(self.performance, self.energy_wh),
            "netscore": composites.netscore(self.performance, self.num_params, self.macs),
            "pareto": -composites.pareto_rank(self.performance, self.energy_wh),
            "cheapness": -self.energy_wh,
        }


def macs_of(model: str, image_sizes: Sequence[int]) -> float:
    """Multiply-accumulate operations of one image, at the first of the sizes that the atlas has; else NaN."""
    known = atlas.read()
    entries = (known[model, size] for size in image_sizes if (model, size) in known)
    return next((entry.flops / 2 for entry in entries), np.nan)


def sets_of_study(table: pd.DataFrame, measure: str = "auroc") -> list[ComparedSet]:
    """The sets of a results table that have energies for enough of their models (see `ranked.enough`).

    Of each setting the one with most, compared on the splits and seeds that all of them have.
    """
    table, above = on_shared_units(with_sets(table)), ABOVE_CHANCE[measure]
    means = model_means(table)
    found: dict[str, ComparedSet] = {}
    for key, asked in means.groupby(SET, dropna=False):
        group = asked[asked["E"].notna() & asked[measure].notna()]
        if not enough(len(group), len(asked)):
            continue
        known = dict(zip(SET, key, strict=True))
        name = str(known["setting"])
        if len(group) < max(FEWEST, len(found[name].models) + 1 if name in found else 0):
            continue
        sizes = [] if pd.isna(known["image_size"]) else [int(known["image_size"])]
        runs = of_set(table, group)
        done = runs[runs["status"] == "ok"]
        found[name] = ComparedSet(
            name=name,
            measure=measure,
            chance=float(np.nanmean(measures.chance(done, above))),
            models=list(group["model"]),
            performance=as_array(group[measure]),
            above=as_array(group[above]),
            energy_wh=RESOURCES["E"].scale * as_array(group["E"]),
            num_params=as_array(group["num_params"]),
            macs=np.array([macs_of(model, sizes) for model in group["model"]]),
            by_split=_by_split(done, measure).reindex(group["model"]).to_numpy(np.float64),
        )
    return list(found.values())


def _by_split(runs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """A measure by model and split, seeds averaged."""
    values = runs.assign(value=measures.values(runs, measure))
    return values.pivot_table(index="model", columns="split", values="value")


def agreement(sets: Sequence[ComparedSet]) -> pd.DataFrame:
    """Kendall's tau of PePR-E with every other score, one row a set; NaN where they share too few models.
    `<score>_models` are those that have both."""
    rows = []
    for one in sets:
        scores = one.scores
        others = {name: composites.kendall(scores["pepr"], scores[name]) for name in SCORES if name != "pepr"}
        both = {f"{name}_models": int(np.isfinite(scores["pepr"] + scores[name]).sum()) for name in others}
        rows.append({"set": one.name, "models": len(one.models), **others, **both})
    return pd.DataFrame(rows)


def winners(sets: Sequence[ComparedSet]) -> pd.DataFrame:
    """The best model by each score, one row a set; empty where too few models have the score. The Pareto
    rank is not there: its first front is tied."""
    rows = []
    for one in sets:
        row: dict[str, str | None] = {"set": one.name}
        for name, values in one.scores.items():
            if name != "pareto":
                known = (~np.isnan(values)).sum() >= FEWEST
                row[name] = one.models[int(np.nanargmax(values))] if known else None
        rows.append(row)
    return pd.DataFrame(rows)


def exchange(sets: Sequence[ComparedSet]) -> pd.DataFrame:
    """What PePR pays for energy, one row a set: points of performance for a watt-hour at constant score.

    From `P = s (1 + R_norm)`, `dP/dR = s / (R_max - R_min)`, at the best score s of the set. Above chance it
    is `(1 - chance) s' / (R_max - R_min)`, in points of the same P. NaN where all took the same energy.
    """
    rows = []
    for one in sets:
        low, high = resource_range_of(one.performance, one.energy_wh)
        span, scores = (high - low) or np.nan, one.scores
        row = {"set": one.name, "measure": one.measure, "chance": one.chance, "range_wh": high - low}
        row["points_per_wh"] = 100 * np.nanmax(scores["pepr"]) / span
        known = scores["pepr_above"][~np.isnan(scores["pepr_above"])]
        earned = known.max() if known.size else np.nan
        row["points_per_wh_above"] = 100 * (1 - one.chance) * earned / span
        rows.append(row)
    return pd.DataFrame(rows)


def winners_places(sets: Sequence[ComparedSet]) -> pd.DataFrame:
    """Where the best model by PePR-E stands by performance alone, one row a set.

    `place` counts from 1 the models that perform better; `best` is the model that does so most, by `gap`,
    with a 95% interval, `gap_low` to `gap_high`, over what `gap_over` says; see `_gap`.
    `guesser_beats` is how many models have a lower score than a guesser, who would have chance for no more
    energy than the cheapest model; `guesser_beats_worse` how many of these perform no better than it anyway.
    """
    rows = []
    for one in sets:
        score = one.scores["pepr"]
        top, best = int(np.nanargmax(score)), int(np.nanargmax(one.performance))
        beaten = score < one.chance - ROUNDING
        gap, over = _gap(one, best, top)
        rows.append(
            {
                "set": one.name,
                "measure": one.measure,
                "model": one.models[top],
                "place": int((one.performance > one.performance[top]).sum()) + 1,
                "models": len(one.models),
                "performance": one.performance[top],
                "best": one.models[best],
                "best_performance": one.performance[best],
                "gap": one.performance[best] - one.performance[top],
                "gap_low": gap.low,
                "gap_high": gap.high,
                "gap_over": over,
                "chance": one.chance,
                "guesser_beats": int(beaten.sum()),
                "guesser_beats_worse": int((beaten & (one.performance <= one.chance + ROUNDING)).sum()),
            }
        )
    return pd.DataFrame(rows)


def _gap(one: ComparedSet, best: int, top: int) -> tuple[stats.Interval, str]:
    """How much better one model is than another, and what its interval is over: splits, from three on; of one
    run each, the test images, as if models failed on them independently, which is too wide. Else NaN."""
    if one.by_split is not None:
        gaps = one.by_split[best] - one.by_split[top]
        return stats.mean_interval(gaps).within(-1.0, 1.0), "splits"
    p, q = one.performance[best], one.performance[top]
    half = NORMAL_95 * np.sqrt((p * (1 - p) + q * (1 - q)) / one.n_test)
    gap = stats.Interval(p - q, p - q - half, p - q + half).within(-1.0, 1.0)
    return gap, "the test images, models failing independently,"


def comparison_numbers(
    sets: Sequence[ComparedSet],
    priced: Sequence[ComparedSet],
    estimated: bool,
    margin: Callable[[float], float],
) -> Numbers:
    """What prose may quote of the comparison of `sets`, and of the exchange rates of `priced`: the same sets,
    by more measures. Keys begin with `compared_`; there are none without a set.

    `margin` is, by chance, the difference up to which two models are called as good: the worst winner by
    PePR-E is the one that is most margins behind.
    """
    if not sets:
        return {}
    out = {
        "compared_agreement": number(None, agreement_table(agreement(sets))),
        "compared_winners": number(None, winners_table(winners(sets))),
        "compared_exchange": number(None, exchange_table(exchange(priced))),
        "compared_sets": number(len(sets)),
    }
    places = winners_places(sets)
    places["margin"] = places["chance"].map(margin)
    worst = places.loc[(places["gap"] / places["margin"]).idxmax()]
    if worst["place"] > 1:
        out |= _of_place(worst, "compared_worst", estimated)
    undeserved = (places["guesser_beats"] - places["guesser_beats_worse"]) / places["models"]
    beaten = places.loc[undeserved.idxmax()]
    if undeserved.max() > 0:
        out |= _of_place(beaten, "compared_guesser", estimated)
    differ = sum(table["pepr"] != table.get("pepr_above") for table in winners(sets).to_dict("records"))
    out["compared_other_winner"] = number(differ, estimate=estimated)
    return out


def _of_place(row: pd.Series, key: str, estimated: bool) -> Numbers:
    measure = row["measure"]
    apart = _points(row["gap"], measure)
    interval = (_points(row[end], measure).split()[0] for end in ("gap_low", "gap_high"))
    if np.isfinite(row["gap_low"]):
        tied = ", so that neither is shown to be better" if row["gap_low"] <= 0 <= row["gap_high"] else ""
        apart += " (95% interval over {} {} to {}{})".format(row["gap_over"], *interval, tied)
    side = "more" if row["gap"] > row["margin"] else "no more"

    def known(name: str) -> Number:
        return number(row[name], performance(row[name], measure))

    return {
        f"{key}_set": number(row["set"]),
        f"{key}_measure": number(measure, measure_words),
        f"{key}_model": number(row["model"], estimate=estimated),
        f"{key}_place": number(row["place"], estimate=estimated),
        f"{key}_models": number(row["models"]),
        f"{key}_performance": known("performance"),
        f"{key}_best": number(row["best"]),
        f"{key}_best_performance": known("best_performance"),
        f"{key}_gap": number(100 * row["gap"], apart),
        f"{key}_margin": number(100 * row["margin"], f"{side} than {_points(row['margin'], measure)}"),
        f"{key}_chance": known("chance"),
        f"{key}_beats": number(row["guesser_beats"], estimate=estimated),
        f"{key}_beats_worse": number(row["guesser_beats_worse"], estimate=estimated),
    }


def _points(value: float, measure: str) -> str:
    unit = "hundredths" if measure == "auroc" else "percentage points"
    return f"{fixed(100 * value, 1)} {unit}"


def agreement_table(rows: pd.DataFrame) -> str:
    """`agreement` as a Markdown table; beside a tau over fewer models than the set's, their number."""
    shown = {name: words for name, words in SCORES.items() if name in rows}

    def tau(row: pd.Series, name: str) -> str:
        fewer = row[f"{name}_models"] < row["models"] and not np.isnan(row[name])
        return fixed(row[name]) + (f" (of {row[f'{name}_models']})" if fewer else "")

    return markdown(
        {"Setting": row["set"], "Models": str(row["models"])}
        | {words: tau(row, name) for name, words in shown.items()}
        for _, row in rows.iterrows()
    )


def winners_table(rows: pd.DataFrame) -> str:
    """`winners` as a Markdown table."""
    shown = {name: words for name, words in SCORES.items() if name in rows}
    return markdown(
        {"Setting": row["set"]}
        | {words: UNKNOWN if pd.isna(row[name]) else row[name] for name, words in shown.items()}
        for _, row in rows.iterrows()
    )


def exchange_table(rows: pd.DataFrame) -> str:
    """`exchange` as a Markdown table: points of performance for 1 Wh, or 1 mWh where that is `DEAR`."""
    heads = ("Points of performance", "Above chance")
    return markdown(
        {
            "Setting": row["set"],
            "Performance": measure_words(row["measure"]),
            "Chance": performance(row["chance"], row["measure"]),
            "Range of energy": wh(row["range_wh"]),
            **dict(zip(heads, _prices(row["points_per_wh"], row["points_per_wh_above"]), strict=True)),
        }
        for _, row in rows.iterrows()
    )


def _prices(*per_wh: float) -> list[str]:
    """Prices of one set, all for the same amount of energy."""
    scale, unit = (1, "Wh") if not np.nanmax(per_wh, initial=0) >= DEAR else (1000, "mWh")
    return [
        f"{value / scale:#.3g}".rstrip(".") + f" for 1 {unit}" if np.isfinite(value) else UNKNOWN
        for value in per_wh
    ]


def study_numbers(table: pd.DataFrame) -> Numbers:
    """`comparison_numbers` of a results table: compared by AUROC, priced by every recorded measure."""
    priced = [one for measure in RECORDED for one in sets_of_study(table, measure)]
    priced.sort(key=lambda one: one.name)
    estimated, margin = primary_resource(table) != "E", verdicts.order("pepr.analysis").margin
    return comparison_numbers(sets_of_study(table), priced, estimated, margin)
