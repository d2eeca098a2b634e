"""Which models to try in which order within a budget, and what to expect of stopping after each."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pepr.costs.recommendation import (
    LIMITS,
    Budget,
    check,
    from_authors,
    most_frugal,
    nearest_setting,
    needs,
    within,
)
from pepr.errors import DataUnavailable, InputError
from pepr.models.space import family_of

if TYPE_CHECKING:
    from pepr.published.tables import Published

BASIS = (
    "ways of choosing played on the authors' corrected tables, which pass no model over for its price: one "
    "is taken by its accuracy on half of the test images and judged on the other half; one seed, and the "
    "order was chosen on the same tables"
)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One model to train. `total_*` are what it and all before it take: Wh, minutes; `totals`
    everything that a budget can limit in sum, by its name, None where a factor is not known.

    `points_lost` is what to expect when stopping here, in points of accuracy against training every model
    and taking the most accurate: the mean over the authors' settings, with the middle half of them;
    None where the tables do not say.
    """

    model: str
    family: str
    energy_wh: float
    train_time_s: float
    peak_memory_gb: float
    total_energy_wh: float
    total_minutes: float
    totals: dict[str, float | None]
    points_lost: float | None
    points_lost_low: float | None
    points_lost_high: float | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Models to train in turn; then the one with the best validation accuracy is taken.

    `sweep_wh` is the energy of training every model that fits into the memory, by the end of the costs that
    the trials go by.
    """

    setting: str
    trials: list[Trial]
    sweep_wh: float
    basis: str


def plan(
    budget: Budget,
    setting: str | None = None,
    train_images: int | None = None,
    risk: str = "expected",
    top: int | None = None,
) -> Plan:
    """What to try within a budget for all trials together: the cheapest third, one of each family first, but
    for those that take more than those before them leave; of them the first `top`.

    Within a family the model goes first that did best on the authors' data sets; upper bounds of the costs
    count where `cautious`. Raises InputError when none of these models fits by itself, and as `recommend`;
    DataUnavailable without the authors' tables, whose ranks the order comes from.
    """
    from pepr import published

    check(budget, train_images, risk, top)

    try:
        tables = published.load()
    except DataUnavailable as error:
        raise DataUnavailable(f"a plan needs the authors' tables: {error}") from None
    nearest = nearest_setting("lidc", setting, train_images)
    found = on_tables(tables, budget, nearest, train_images, risk)
    return dataclasses.replace(found, trials=found.trials[:top])


def on_tables(
    tables: Published, budget: Budget, setting: str, train_images: int | None = None, risk: str = "expected"
) -> Plan:
    """`plan` for one of the paper's settings."""
    from pepr.published.strategies import CHEAP_SHARE, trial_order

    table = from_authors(tables, setting, train_images)
    end = "_high" if risk == "cautious" else ""
    memory_gb = budget.limits.get("memory_gb")
    fits = table[within(table, Budget(memory_gb=memory_gb), risk)]
    cheap = fits.nsmallest(max(1, round(len(table) * CHEAP_SHARE)), "energy_wh", keep="first")
    if cheap.empty:
        raise InputError(f"no model fits into {memory_gb:g} GB of memory")
    rank = cheap["rank"].fillna(np.inf).to_numpy(np.float64)
    ordered = cheap.iloc[trial_order(rank, family_of(cheap["model"]))]
    kept = _affordable(ordered, budget, end)
    if not kept.any():
        raise InputError(f"no trial fits: {most_frugal(cheap, budget, risk)}")
    return Plan(setting, _totals(ordered[kept], end), float(fits[f"energy_wh{end}"].sum()), BASIS)


def _affordable(ordered: pd.DataFrame, budget: Budget, end: str) -> np.ndarray:
    """Which models of an order are tried [models]: those that by an `end` of their costs fit into what the
    ones before them leave of every limit on all trials together. One that does not is passed over, and takes
    nothing."""
    limits = {name: value for name, value in budget.limits.items() if name != "memory_gb"}
    needed = {name: needs(LIMITS[name], ordered, end).to_list() for name in limits}
    kept = np.zeros(len(ordered), dtype=bool)
    spent = dict.fromkeys(limits, 0.0)
    for at in range(len(ordered)):
        total = {name: spent[name] + needed[name][at] for name in limits}
        if all(total[name] <= limits[name] for name in limits):
            kept[at] = True
            spent = total
    return kept


def as_text(found: Plan) -> str:
    """The plan for a person: one line a model, and what to expect."""
    lines = [
        f"Train in this order ({found.setting}), stop when you like, keep the best on validation images:",
        "",
        f"{'':>3} {'model':<28} {'Wh':>9} {'in all':>9} {'minutes':>9}  points lost if you stop here",
    ]
    for place, trial in enumerate(found.trials, start=1):
        expect = (
            f"{trial.points_lost:.1f} ({trial.points_lost_low:.1f} to {trial.points_lost_high:.1f})"
            if trial.points_lost is not None
            else ""
        )
        lines.append(
            f"{place:>3} {trial.model:<28} {trial.energy_wh:>9.3g} {trial.total_energy_wh:>9.3g} "
            f"{trial.total_minutes:>9.3g}  {expect}"
        )
    share = found.trials[-1].total_energy_wh / found.sweep_wh
    return "\n".join(
        [*lines, "", f"All of it takes {share:.1%} of training every model. Basis: {found.basis}."]
    )


def _totals(ordered: pd.DataFrame, end: str) -> list[Trial]:
    """The trials with what they take together, by an `end` of the costs."""
    sums = {
        name: needs(resource, ordered, end).cumsum().to_list()
        for name, resource in LIMITS.items()
        if name != "memory_gb"
    }
    expect = expected(len(ordered))
    trials = []
    for at, row in enumerate(ordered.to_dict("records")):
        trials.append(
            Trial(
                model=row["model"],
                family=str(family_of(pd.Series([row["model"]]))[0]),
                energy_wh=float(row[f"energy_wh{end}"]),
                train_time_s=float(row[f"train_time_s{end}"]),
                peak_memory_gb=float(row[f"peak_memory_gb{end}"]),
                total_energy_wh=sums["energy_wh"][at],
                total_minutes=sums["minutes"][at],
                totals={name: None if np.isnan(of[at]) else of[at] for name, of in sums.items()},
                **expect[at],
            )
        )
    return trials


def expected(count: int) -> list[dict[str, float | None]]:
    """What to expect after each of `count` trials, between the numbers that were played."""
    from pepr.published.strategies import committed_expectations

    known = committed_expectations()
    at = np.arange(1, count + 1)
    columns = {"points_lost": "lost_mean", "points_lost_low": "lost_lower", "points_lost_high": "lost_upper"}
    values = {name: np.interp(at, known["models"], known[column]) for name, column in columns.items()}
    within_known = at <= known["models"].max()
    return [
        {name: round(float(values[name][i]), 2) if within_known[i] else None for name in columns}
        for i in range(count)
    ]
