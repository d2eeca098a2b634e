"""The numbers that prose may quote on signal in a ranking, on choosing, and on pretraining, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pepr.display.numbers import number
from pepr.display.words import count, percent
from pepr.published import pretraining
from pepr.published.strategies import CHEAP_SHARE, N_DRAWS

Numbers = dict[str, dict[str, Any]]


def ranking_numbers(
    signal: pd.DataFrame,
    choosing: pd.DataFrame,
    shares: pd.DataFrame,
    by_size: pd.DataFrame,
    table: pd.DataFrame,
) -> Numbers:
    """All numbers of the three chapters, by key: of `reliability.reliability`, `strategies.over_settings`,
    `pretraining.passing_shares`, `pretraining.tenth_by_size` in two groups, and the runs themselves."""
    return {
        **_signal(signal),
        **_choosing(choosing),
        **_pretraining(shares, by_size),
        **_bill(table),
    }


def _points(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _share(value: float) -> str:
    """A share in percent: whole from ten percent on, two digits below."""
    return percent(value) if value >= 0.1 else f"{100 * value:.2g}%"


def _signal(rows: pd.DataFrame) -> Numbers:
    numbers: Numbers = {}
    for row in rows.to_dict("records"):
        setting = row["setting"]
        for name in ("accuracy_epochs", "pepr_t_epochs"):
            low, high = row[f"{name}_low"], row[f"{name}_high"]
            text = f"{row[name]:.2f} ({low:.2f} to {high:.2f})".replace("-", "−")
            numbers[f"signal_{name}_{setting}"] = number(row[name], text)
        for name in ("share_models", "share_epoch", "share_images"):
            numbers[f"signal_{name}_{setting}"] = number(row[name], percent(row[name]), estimate=True)
        numbers[f"signal_top_ten_{setting}"] = number(row["top_ten"], f"{row['top_ten']} of 10")
        numbers[f"signal_may_be_best_{setting}"] = number(
            row["may_be_best"], f"{row['may_be_best']} of {row['models']}"
        )
        numbers[f"signal_optimism_{setting}"] = number(row["optimism"], f"{row['optimism']:.1f} points")
    for name, words in (("pepr_t_epochs", ".2f"), ("optimism", ".1f"), ("may_be_best", ".0f")):
        low, high = rows[name].min(), rows[name].max()
        numbers[f"signal_{name}_range"] = number(None, f"{low:{words}} to {high:{words}}")
    return numbers


def _choosing(summary: pd.DataFrame) -> Numbers:
    numbers: Numbers = {
        "choosing_draws": number(N_DRAWS, count(N_DRAWS)),
        "choosing_cheap": number(CHEAP_SHARE, "third"),
    }
    for row in summary.to_dict("records"):
        key = "choosing_" + row["strategy"].lower().replace(",", "").replace(" ", "_")
        numbers |= {
            f"{key}_lost": number(
                row["lost_mean"], f"{row['lost_mean']:.1f}".replace("-", "−"), estimate=True
            ),
            f"{key}_worst": number(row["lost_worst"], f"{row['lost_worst']:.1f}", estimate=True),
            f"{key}_energy": number(
                row["energy_share_mean"], _share(row["energy_share_mean"]), estimate=True
            ),
        }
    return numbers


def _pretraining(shares: pd.DataFrame, by_size: pd.DataFrame) -> Numbers:
    numbers: Numbers = {}
    for data in ("all", "tenth"):
        part = shares[shares["data"] == data].set_index("epoch")
        for word, epoch in (("first", part.index.min()), ("last", part.index.max())):
            row = part.loc[epoch]
            text = f"{percent(row['share'])} ({percent(row['low'])} to {percent(row['high'])})"
            numbers[f"passing_{data}_{word}"] = number(row["share"], text)
    for word, row in zip(("small", "large"), by_size.to_dict("records"), strict=True):
        text = f"{_points(row['points'])} points ({_points(row['low'])} to {_points(row['high'])})"
        numbers[f"tenth_scratch_{word}"] = number(row["points"], text)
        numbers[f"tenth_scratch_{word}_models"] = number(row["models"], count(row["models"]))
    numbers["tenth_scratch_border"] = number(
        by_size["to_params"].iloc[0], f"{by_size['to_params'].iloc[0] / 1e6:.0f} million"
    )
    return numbers


def _bill(table: pd.DataFrame) -> Numbers:
    numbers: Numbers = {
        "imagenet_images": number(pretraining.IMAGENET_IMAGES, count(pretraining.IMAGENET_IMAGES))
    }
    for word, epochs in zip(("short", "long"), pretraining.IMAGENET_EPOCHS, strict=True):
        bill = pretraining.bill(table, epochs)
        low, high = bill["pretraining_kwh"].quantile([0.05, 0.95])
        middle = float(np.nanmedian(bill["uses"]))
        numbers |= {
            f"bill_{word}_epochs": number(epochs, count(epochs)),
            f"bill_{word}_median": number(
                float(bill["pretraining_kwh"].median()), f"{bill['pretraining_kwh'].median():.0f} kWh", True
            ),
            f"bill_{word}_range": number(None, f"{low:.0f} to {high:.0f} kWh", True),
            f"bill_{word}_uses": number(middle, f"{round(middle, -2):,.0f}", True),
        }
    saved = pretraining.bill(table, pretraining.IMAGENET_EPOCHS[0])["saved_kwh"]
    numbers["bill_saved_median"] = number(float(saved.median()), f"{1000 * saved.median():.0f} Wh", True)
    numbers["bill_never"] = number(int(saved.isna().sum()), count(saved.isna().sum()))
    return numbers
