"""The numbers about pretraining's bill, a sweep checked by runs, and one's own machine, in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pepr.costs import bill, swept_check, your_machine
from pepr.costs.sweep import Sweep
from pepr.display.numbers import Number, Numbers, number
from pepr.display.words import count
from pepr.quantities import energy_is_estimated

OF_TARGET = {"train_time_s": "time", "energy_wh": "energy", "peak_memory_bytes": "memory"}
NAMED = 4
"""How many models that gain or lose most are named."""


def bill_numbers(short: pd.DataFrame, long: pd.DataFrame, beside: pd.DataFrame) -> Numbers:
    """Of pretraining: `bill.break_even` for the two numbers of epochs, and `bill.beside_published`."""
    found: Numbers = {}
    for word, epochs, table in zip(("short", "long"), bill.EPOCHS, (short, long), strict=True):
        kwh = table["pretraining_kwh"]
        low, high = kwh.quantile([0.05, 0.95])
        uses = table["uses"].dropna()
        found |= {
            f"pretraining_{word}_epochs": number(epochs, count(epochs)),
            f"pretraining_{word}_kwh": _estimate(kwh.median(), _kwh(kwh.median())),
            f"pretraining_{word}_range": _estimate(None, f"{low:.0f} to {_kwh(high)}"),
            f"pretraining_{word}_runs": _estimate(
                table["runs_worth"].median(), _rough(table["runs_worth"].median())
            ),
            f"pretraining_{word}_uses": _estimate(uses.median(), _rough(uses.median())),
            f"pretraining_{word}_uses_low": _estimate(uses.quantile(0.05), _rough(uses.quantile(0.05))),
            f"pretraining_{word}_uses_high": _estimate(uses.quantile(0.95), _rough(uses.quantile(0.95))),
        }
    tenth = bill.uses_until(short)
    found["pretraining_uses_until_tenth"] = _estimate(tenth, _rough(tenth))
    found["pretraining_models"] = number(len(short), count(len(short)))
    for row in bill.shared(short).itertuples():
        found[f"pretraining_share_{row.uses}"] = _estimate(row.share_kwh, _wh(1000 * row.share_kwh))
        found[f"pretraining_share_{row.uses}_runs"] = _estimate(
            row.of_a_fine_tuning, _times(row.of_a_fine_tuning)
        )
    for key, row in zip(("resnet", "deit"), beside.itertuples(), strict=True):
        found |= {
            f"pretraining_{key}_epochs": number(row.epochs, count(row.epochs)),
            f"pretraining_{key}_gpu_hours": number(row.published_gpu_hours, count(row.published_gpu_hours)),
            f"pretraining_{key}_at_most": _estimate(
                row.published_kwh_at_most, _kwh(row.published_kwh_at_most)
            ),
            f"pretraining_{key}_kwh": _estimate(row.predicted_kwh, _kwh(row.predicted_kwh)),
            f"pretraining_{key}_hours": _estimate(row.predicted_gpu_hours, count(row.predicted_gpu_hours)),
        }
    return found


def checked_numbers(table: pd.DataFrame) -> Numbers:
    """How far predictions from a sweep, and by the cost model, are off: `swept_check.summary`."""
    found: Numbers = {}
    for row in table.to_dict("records"):
        name = OF_TARGET[row["target"]]
        found |= {
            "sweep_runs": number(row["runs"], count(row["runs"])),
            "sweep_run_models": number(row["models"], count(row["models"])),
            f"sweep_{name}_factor": number(row["factor"], f"{row['factor']:.2f}"),
        }
        for key in ("by_step", "by_shape"):
            found[f"sweep_{name}_{key}"] = number(row[f"{key}_median"], _percent1(row[f"{key}_median"]))
            found[f"sweep_{name}_{key}_90"] = number(row[f"{key}_90"], _percent1(row[f"{key}_90"]))
    return found


def met(table: pd.DataFrame) -> pd.DataFrame:
    """The aims of a sweep's predictions, and whether each is met."""
    by = table.set_index("target")
    time, memory = by.loc["train_time_s"], by.loc["peak_memory_bytes"]
    rows = [
        ("time: median error at most 5%", time["by_step_median"] <= swept_check.TIME_MEDIAN),
        ("time: nine of ten runs within 15%", time["by_step_90"] <= swept_check.TIME_90),
        ("memory: median error at most 5%", memory["by_step_median"] <= swept_check.MEMORY_MEDIAN),
    ]
    found = pd.DataFrame(rows, columns=["aim", "met"])
    return found.assign(met=np.where(found["met"], "yes", "no"))


def machine_numbers(found: Sweep, table: pd.DataFrame, rankings: pd.DataFrame) -> Numbers:
    """Of the chapter on one's own machine: `your_machine.both` and `your_machine.rankings`."""
    ok = sum(row["status"] == "ok" for row in found.rows.values())
    drawn = table.sort_values("ratio")
    numbers: Numbers = {
        "machine_hardware": number(None, found.hardware),
        "machine_size": number(found.conditions.image_size, f"{found.conditions.image_size} px"),
        "machine_swept": number(ok, count(ok)),
        "machine_models": number(len(table), count(len(table))),
        "machine_times": _estimate(None, f"{(table['here_s'] / table['there_s']).median():.1f}"),
        "machine_gain": number(None, _named(drawn.head(NAMED))),
        "machine_lose": number(None, _named(drawn.tail(NAMED)[::-1])),
        "machine_size_alone": _estimate(*_rank(table["there_predicted_s"], table["there_s"])),
        "machine_like_size": _estimate(*_rank(table["here_s"], table["there_predicted_s"])),
    }
    source = next((row["energy_source"] for row in found.rows.values() if row["status"] == "ok"), None)
    for row in rankings.itertuples():
        key, guess = (
            f"machine_{row.score.lower()}_{row.setting}",
            row.score == "E" and energy_is_estimated(source),
        )
        numbers |= {
            f"{key}_rank": number(row.spearman, f"{row.spearman:.2f}", guess),
            f"{key}_top": number(row.top_ten_overlap, f"{10 * row.top_ten_overlap:.0f} of 10", guess),
            f"{key}_best": number(None, f"`{row.best_here}`", guess),
            f"{key}_best_there": number(None, f"`{row.best_there}`"),
        }
        if row.setting == your_machine.SETTING:
            rank = number(row.resource_spearman, f"{row.resource_spearman:.2f}", guess)
            numbers[f"machine_{row.score.lower()}_costs"] = rank
    kinds = your_machine.by_class(table).set_index("operators")
    for kind in your_machine.CLASSES:
        key = f"machine_of_{kind}"
        numbers |= {
            f"{key}_models": number(0, "0"),
            key: number(None, "-"),
            f"{key}_range": number(None, "-"),
        }
        if kind in kinds.index:
            row = kinds.loc[kind]
            numbers[f"{key}_models"] = number(int(row["models"]), count(row["models"]))
            numbers[key] = number(row["median"], f"{row['median']:.2f}")
            numbers[f"{key}_range"] = number(None, f"{row['low']:.2f} to {row['high']:.2f}")
    return numbers


def _named(rows: pd.DataFrame) -> str:
    return ", ".join(f"`{row.model}` ({row.ratio:.2g})" for row in rows.itertuples())


def _rank(first: pd.Series, second: pd.Series) -> tuple[float, str]:
    value = float(first.rank().corr(second.rank()))
    return value, f"{value:.2f}"


def _estimate(value: float | None, text: str) -> Number:
    return number(value, text, estimate=True)


def _percent1(value: float) -> str:
    return f"{100 * value:.1f}%"


def _kwh(value: float) -> str:
    return f"{value:,.0f} kWh" if value >= 10 else f"{value:.2g} kWh"


def _wh(value: float) -> str:
    return _kwh(value / 1000) if value >= 1000 else f"{_rough(value)} Wh"


def _times(value: float) -> str:
    return f"{_rough(value)} times" if value >= 1 else f"{_rough(100 * value)}%"


def _rough(value: float) -> str:
    """A count that is an estimate: two digits that count."""
    return f"{float(f'{value:.2g}'):,.10g}"
