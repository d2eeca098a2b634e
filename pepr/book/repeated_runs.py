"""What the book says of runs that were made again with one thing changed: how they moved, what they took."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from pepr.analysis import machines
from pepr.display.numbers import UNKNOWN, escaped
from pepr.display.words import signed_share
from pepr.quantities import energy_is_estimated

SAME, OTHER = machines.AS_RECORDED, machines.ALL_LIBRARIES
"""The changes that sentences name: the same code on the same processor, and with another's instructions."""
COST_KEYS = (
    "repeats_costs_table",
    "repeats_floor_table",
    "repeats_at_once",
    "repeats_pairs",
    "repeats_energy_nature",
    "repeats_other_train_cpu_time_s",
    *(f"repeats_same_{cost}" for cost in machines.COSTS),
)
LABELS = {
    "change": "Made again",
    "setting": "Setting",
    "pairs": "Pairs",
    "equal_accuracies": "Equal accuracies",
}
Words = Callable[[Mapping[str, float], str], str]


def facts() -> dict[str, str]:
    """What came of runs that were made again with one thing changed: tables and the promise, as Markdown."""
    made = machines.repeats()
    changes = machines.by_change(made).to_dict("records")
    lines = [
        "| Made again | Runs | The same AUROC | AUROC, median | AUROC, at most | Accuracy, at most "
        "| One image's probability, at most |",
        "| --- |" + " ---: |" * 6,
    ]
    for row in changes:
        names = ("auroc_median", "auroc_greatest", "accuracy_greatest", "furthest_probability")
        far = [f"{100 * row[name]:.1f}" for name in names]
        lines.append(f"| {row['change']} | {row['runs']} | {row['equal']} | {' | '.join(far)} |")
    return {
        "repeats_table": "\n".join(lines),
        "repeats_alone": "; ".join(
            f"{row['change'].replace(' alone:', ', told')}: {row['runs'] - row['equal']} of {row['runs']}"
            for row in changes
            if " alone:" in row["change"]
        ),
        "repeats_runs": str(made["run_id"].nunique()),
        "repeats_models": str(made["model"].nunique()),
        "repeats_settings": str(made["setting"].nunique()),
        "repeats_hardware": escaped(made.loc[made["change"] == SAME, "hardware"].iloc[0]),
        "repeats_promise": machines.promise(made.assign(device="cpu")),
        **cost_facts(made),
    }


def cost_facts(made: pd.DataFrame) -> dict[str, str]:
    """What networks took when they were made again, from `machines.repeats`, as Markdown; each `UNKNOWN`
    where the table does not tell. Shares are of the mean of a pair."""
    found = dict.fromkeys(COST_KEYS, UNKNOWN)
    by_change = machines.costs(made, ["change"])
    if by_change.empty:
        return found
    compared = made[made["train_time_s_moved"].notna()]
    nature = "estimated" if compared["energy_source"].map(energy_is_estimated).any() else "measured"
    by_setting = machines.costs(made[made["change"].isin((SAME, OTHER))], ["change", "setting"])
    found |= {
        "repeats_costs_table": _table(by_change, ("change", "pairs"), nature, moved),
        "repeats_floor_table": _table(by_setting, tuple(LABELS), nature, apart),
        "repeats_at_once": f"{compared['runs_at_once'].max():.0f}",
        "repeats_pairs": str(by_change["pairs"].sum()),
        "repeats_energy_nature": nature,
    }
    rows = {row["change"]: row for row in by_change.to_dict("records")}
    if SAME in rows:
        found |= {f"repeats_same_{cost}": apart(rows[SAME], cost) for cost in machines.COSTS}
    if OTHER in rows:
        found["repeats_other_train_cpu_time_s"] = moved(rows[OTHER], "train_cpu_time_s")
    return found


def moved(row: Mapping[str, float], cost: str) -> str:
    """The median move of a row of `machines.costs`, and in brackets the least and the greatest."""
    middle, least, greatest = (
        signed_share(row[f"{cost}_{name}"]) for name in ("median", "least", "greatest")
    )
    return f"{middle} ({least} to {greatest})"


def apart(row: Mapping[str, float], cost: str) -> str:
    """The median size of the moves of a row of `machines.costs`, and in brackets the greatest."""
    return f"{_share(row[f'{cost}_apart'])} ({_share(row[f'{cost}_furthest'])})"


def _share(value: float) -> str:
    return UNKNOWN if value != value else f"{100 * value:.1f}%"


def _table(rows: pd.DataFrame, told: tuple[str, ...], nature: str, words: Words) -> str:
    costs = {
        cost: f"{label} ({nature})" if cost == "energy_kwh" else label
        for cost, label in machines.COSTS.items()
    }
    lines = [
        f"| {' | '.join([*(LABELS[name] for name in told), *costs.values()])} |",
        f"| {' | '.join('---' if name in ('change', 'setting') else '---:' for name in (*told, *costs))} |",
    ]
    for row in rows.to_dict("records"):
        cells = [str(row[name]) for name in told] + [words(row, cost) for cost in costs]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
