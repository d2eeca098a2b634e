"""What runs cost: energy by component and how it is known, the study's bill, the distance from a wall meter.

That distance is a stated prior: it is shown, and never applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pepr.analysis.scores import SET, as_array, with_sets
from pepr.audit.gates import mean_power_w, runs_at_once
from pepr.display.numbers import Numbers, number
from pepr.models.space import BASELINES
from pepr.quantities import (
    COMPONENTS,
    JOULES_PER_KWH,
    MEASURED_KINDS,
    WINDOWS,
    component_sources,
    energy_is_estimated,
)
from pepr.score import FloatArray, pepr

Energy = TypeVar("Energy", float, FloatArray, pd.Series)
WALL_DRAWS = 2_000
WALL_SEED = 37


@dataclass(frozen=True)
class Prior:
    """The energy that a meter inside one machine reported, as a share of what one on its wall showed: the
    median over runs, and between which shares the middle of the runs lies."""

    machine: str
    median: float
    low: float
    high: float

    @property
    def words(self) -> str:
        return (
            f"Beside a meter on the wall of one machine ({self.machine}), CodeCarbon reported "
            f"{self.median:.2f} of its energy in the median, {self.low:.2f} to {self.high:.2f} in the middle "
            "of the runs."
        )


PROCESSOR = Prior("an Intel i9-13900K", 0.68, 0.39, 0.74)
"""CodeCarbon beside a wall meter, ImageNet inference on the processor of one machine (Fischer 2025, arXiv
2509.22092, data of `raphischer/ai-energy-validation` at d71d339)."""


def energy_table(table: pd.DataFrame) -> pd.DataFrame:
    """The resource table: one row an `ok` run, energies in watt hours, with how each component is known.

    `<component>_how` is `counter`, `sampled_power`, `load_model`, `tdp_constant` or `assumed`; `estimated` is
    true unless the component that did the work was metered. `power_w` is the mean over the training window.
    `net_wh` is the energy of training less that of the idle machine for as long: of runs that had the machine
    for themselves, where its idle power is known.
    `inferences_to_outweigh_training` is how many predictions cost as much as training did.
    """
    done = table[table["status"] == "ok"]
    sources = [component_sources(text) for text in done["energy_source"]]
    rows = done[["run_id", "model", "setting", "seed", "num_params", "n_train", "hardware"]].copy()
    for window, column in WINDOWS.items():
        rows[f"{window}_wh"] = 1000 * done[column]
    idle_kwh = done["idle_power_w"].astype("float64") * done["train_time_s"] / JOULES_PER_KWH
    alone = (runs_at_once(done) == 1) & ~done["contended"].fillna(False).astype(bool)
    rows["net_wh"] = (1000 * (done["energy_kwh"] - idle_kwh)).where(alone)
    for component in COMPONENTS:
        rows[f"{component}_wh"] = 1000 * done[f"energy_{component}_kwh"]
        rows[f"{component}_how"] = [source.get(component) for source in sources]
    rows["gpu_how"] = [source.get("gpu", source.get("module")) for source in sources]
    rows["estimated"] = [energy_is_estimated(text) for text in done["energy_source"]]
    rows["train_time_s"] = done["train_time_s"]
    rows["power_w"] = mean_power_w(done)
    rows["co2eq_g"] = done["co2eq_g"]
    rows["peak_memory_mb"] = done["peak_memory_bytes"].astype("Float64") / 1e6
    rows["memory_source"] = done["memory_source"]
    rows["contended"] = done["contended"].fillna(False)
    rows["inferences_to_outweigh_training"] = break_even_inferences(done)
    return rows.reset_index(drop=True)


def break_even_inferences(table: pd.DataFrame) -> pd.Series:
    """Inferences (one image each) after which inference has used as much energy as training did.

    From the energy of the pass over the test set; NaN where that was not metered.
    """
    each = table["energy_inference_kwh"] / table["n_test"].astype("Float64").astype("float64")
    return np.ceil(table["energy_kwh"] / each.where(each > 0))


def by_component(table: pd.DataFrame) -> pd.DataFrame:
    """Training energy in Wh, one row a run and component that has a value, with `how` and `measured`."""
    rows = energy_table(table)
    parts = []
    for component in COMPONENTS:
        part = rows[["run_id", "model", "setting", "seed"]].copy()
        part["component"] = component
        part["energy_wh"], part["how"] = rows[f"{component}_wh"], rows[f"{component}_how"]
        part["measured"] = part["how"].isin(MEASURED_KINDS)
        part["contended"] = rows["contended"]
        parts.append(part[part["energy_wh"].notna()])
    return pd.concat(parts, ignore_index=True)


def by_window(table: pd.DataFrame) -> pd.DataFrame:
    """Energy in Wh, one row an `ok` run and window: training, validation, inference."""
    rows = energy_table(table)
    names = ["run_id", "model", "setting", "seed", "estimated", "contended"]
    parts = [rows[names].assign(window=window, energy_wh=rows[f"{window}_wh"]) for window in WINDOWS]
    return pd.concat(parts, ignore_index=True)


def study_bill(table: pd.DataFrame) -> dict[str, float]:
    """What the study itself used: Wh by window and in all, hours, grams, and whether any of it is estimated.

    Failed runs count with what their records hold. Grams are those of the records, which are of training,
    scaled to all windows. Hours are those of whole runs. What is not in here: pretraining, making the
    hardware, the data.
    """
    wh = {f"{window}_wh": float(1000 * table[column].sum()) for window, column in WINDOWS.items()}
    sources = table.loc[table["energy_kwh"].notna(), "energy_source"]
    total = sum(wh.values())
    grams = float(table["co2eq_g"].sum())
    trained = wh["training_wh"]
    return {
        **wh,
        "total_wh": total,
        "wall_hours": float(table["wall_time_s"].sum() / 3600),
        "co2eq_g": grams * total / trained if trained else np.nan,
        "estimated": bool(any(energy_is_estimated(text) for text in sources)) or not len(sources),
    }


def energy_to_target(
    records: Iterable[Mapping[str, Any]], target: float, measure: str = "val_auroc"
) -> pd.DataFrame:
    """Training energy in Wh, and epochs, until a run's validation reaches `target`; NaN if it never did."""
    rows = []
    for record in records:
        if record.get("status") != "ok" or not record.get("history"):
            continue
        history = record["history"]
        spent = np.cumsum([np.nan if e["energy_kwh"] is None else e["energy_kwh"] for e in history])
        seconds = np.cumsum([e["train_time_s"] for e in history])
        reached = [k for k, e in enumerate(history) if e[measure] is not None and e[measure] >= target]
        first = reached[0] if reached else None
        rows.append(
            {
                **{name: record[name] for name in ("run_id", "model", "setting", "seed")},
                "best": max((e[measure] for e in history if e[measure] is not None), default=np.nan),
                "epochs_to_target": np.nan if first is None else first + 1,
                "energy_to_target_wh": np.nan if first is None else 1000 * float(spent[first]),
                "time_to_target_s": np.nan if first is None else float(seconds[first]),
            }
        )
    columns = ["run_id", "model", "setting", "seed", "best", "epochs_to_target"]
    return pd.DataFrame(rows, columns=[*columns, "energy_to_target_wh", "time_to_target_s"])


def of_networks(
    records: Iterable[Mapping[str, Any]], dataset: str | None = None, hardware: str | None = None
) -> list[Mapping[str, Any]]:
    """The records, of one dataset or of all and on one kind of hardware or on all, that are of no baseline,
    which has no epochs; where there is nothing else, those of the baselines.

    None of a start from another run, which is ahead by what that one took, or from shuffled weights.
    """
    every = [
        record
        for record in records
        if dataset in (None, record["dataset"])
        and hardware in (None, record.get("hardware"))
        and not record.get("shuffled")
        and not record.get("init_from")
    ]
    return [record for record in every if record["model"] not in BASELINES] or every


def typical_target(records: Iterable[Mapping[str, Any]], measure: str = "val_auroc") -> float:
    """A target that half of the runs reach: the median of their best validation values, two decimals down."""
    best = energy_to_target(records, 0.0, measure)["best"].median()
    return float(np.floor(100 * best) / 100)


def learning_curves(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The epochs of every run that has any: one row an epoch (from 1), with energy and time spent so far."""
    rows = []
    for record in records:
        spent_kwh, seconds = 0.0, 0.0
        for epoch in record.get("history") or []:
            spent_kwh += np.nan if epoch["energy_kwh"] is None else epoch["energy_kwh"]
            seconds += epoch["train_time_s"]
            rows.append(
                {
                    **{name: record[name] for name in ("run_id", "model", "setting", "seed", "status")},
                    **epoch,
                    "epoch": epoch["epoch"] + 1,
                    "energy_so_far_wh": 1000 * spent_kwh,
                    "time_so_far_s": seconds,
                }
            )
    return pd.DataFrame(rows)


def band(processor: Energy, rest: Energy) -> tuple[Energy, Energy]:
    """Between which values a meter on the wall may have been, for energies by a load model, in their unit.

    The prior is of a `processor` and divides its part alone; of the `rest`, such as memory, it says nothing.
    """
    return rest + processor / PROCESSOR.high, rest + processor / PROCESSOR.low


def processor_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Which share of its training energy the processor has: `processor_share` of each set and model of the
    `ok` runs that have an energy; 0 where the processor was not metered."""
    done = with_sets(table)
    done = done[(done["status"] == "ok") & (done["energy_kwh"] > 0)]
    sums = done.groupby([*SET, "model"], dropna=False)[["energy_cpu_kwh", "energy_kwh"]].sum()
    return (sums["energy_cpu_kwh"] / sums["energy_kwh"]).rename("processor_share").reset_index()


def rank_intervals(
    scores: pd.DataFrame, shares: pd.DataFrame, measure: str = "auroc", n_draws: int = WALL_DRAWS
) -> pd.DataFrame:
    """How far the prior may move ranks by PePR-E: one row a set and model of estimated energy, best first.

    `scores` is a table of `pepr_table`, `shares` of `processor_shares`. `rank_low` and `rank_high` hold 95%
    of the ranks when the processor's part of each model's energy is divided by a share of its own, drawn
    evenly on a log scale from the middle of the prior; the rest of the energy, and the performance, are taken
    as they are.
    """
    chosen = scores[(scores["resource"] == "E") & (scores["measure"] == measure) & scores["score"].notna()]
    chosen = chosen.merge(shares, how="left", on=[*SET, "model"])
    rng = np.random.default_rng(WALL_SEED)
    parts = []
    for _, group in chosen[chosen["kind"] == "estimated"].groupby(SET, dropna=False):
        performance, energy = as_array(group["performance"]), as_array(group["resource_value"])
        processor = energy * as_array(group["processor_share"].fillna(0.0))
        spread = np.log([PROCESSOR.low, PROCESSOR.high])
        walls = energy - processor + processor / np.exp(rng.uniform(*spread, (n_draws, len(energy))))
        drawn = rankdata([-pepr(performance, wall) for wall in walls], method="min", axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0, method="closest_observation").astype(int)
        low_wh, high_wh = band(1000 * processor, 1000 * (energy - processor))
        part = group[[*SET, "model", "score"]].assign(
            energy_wh=1000 * energy,
            wall_low_wh=low_wh,
            wall_high_wh=high_wh,
            rank=rankdata(-as_array(group["score"]), method="min").astype(int),
            rank_low=low,
            rank_high=high,
        )
        parts.append(part.sort_values("rank"))
    columns = [*SET, "model", "score", "energy_wh", "wall_low_wh", "wall_high_wh"]
    columns += ["rank", "rank_low", "rank_high"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def wall_numbers(ranks: pd.DataFrame) -> Numbers:
    """What prose may quote of the prior and of the ranks of `rank_intervals`; nothing where no energy is
    estimated. The prior is of a processor: it is applied to no bill, of which memory is a part."""
    if ranks.empty:
        return {}
    widths = ranks["rank_high"] - ranks["rank_low"]
    return {
        "wall_median": number(PROCESSOR.median, "{:.2f}".format),
        "wall_middle": number(None, f"{PROCESSOR.low:.2f} to {PROCESSOR.high:.2f}"),
        "wall_machine": number(None, PROCESSOR.machine),
        "wall_rank_width": number(float(widths.median()), _places, estimate=True),
        "wall_rank_widest": number(int(widths.max()), _places, estimate=True),
    }


def _places(ranks: float) -> str:
    return "1 place" if round(ranks) == 1 else f"{ranks:.0f} places"
