"""Predictions from a sweep against whole runs of the same machine, and the cost model's beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pepr.analysis import machines
from pepr.analysis.ranked import as_ranked
from pepr.costs import calibration, fit, model as cost, swept
from pepr.costs.sweep import sweep
from pepr.costs.swept import Conditions, Sweep, as_csv, averaged, read_csv
from pepr.errors import InputError
from pepr.files import slug, write_atomic
from pepr.models import atlas

PROFILES = ("pocket", "medical")
"""The shipped references whose runs sweeps are held against."""
TARGETS = ("train_time_s", "energy_wh", "peak_memory_bytes")
TIME_MEDIAN, TIME_90, MEMORY_MEDIAN = 0.05, 0.15, 0.05
"""How far predictions from a sweep may be off: in time, the median and nine of ten runs; in memory, the
median."""


def against_runs(found: Sweep, runs: pd.DataFrame) -> pd.DataFrame:
    """What a sweep and the cost model say of each run that both can speak of, one row a run and target.

    `runs` is a results table; of it are taken the runs of the sweep's hardware and conditions that ended and
    are not spoiled, and whose model was swept. `observed`, `by_step` and `by_shape` are seconds of
    training (a CPU's processor time, as it was), Wh as runs are ranked, and bytes. `pace` is how many times
    slower the processor was in the run than in the sweep, each by its probe; 1 where none is known, and for
    what is not time. The cost model is calibrated on the shipped runs.
    """
    table = as_ranked(runs[(runs["status"] == "ok") & (runs["fidelity"] == "study")])
    wanted = asdict(found.conditions) | {"hardware": found.hardware, "time_spoiled": False}
    for name, value in wanted.items():
        table = table[table[name].eq(value).fillna(False).astype(bool)]
    table = table[[found.row(model) is not None for model in table["model"]]]
    machine = calibration.saved(calibration.SHIPPED)
    rows = []
    for run in table.itertuples():
        job = cost.Job(
            run.setting, int(run.n_train), 0, int(run.epochs), int(run.batch_size), int(run.image_size)
        )
        row = found.row(run.model)
        by_step = swept.predict(row, job)
        by_shape = cost.predict(atlas.look_up(run.model, job.image_size), job, machine)
        taken = run.train_cpu_time_s if run.device == "cpu" else run.train_time_s
        observed = (taken, 1000 * run.energy_kwh, run.peak_memory_bytes)
        pace = _pace(run, row)
        rows += [
            {
                "run_id": run.run_id,
                "model": run.model,
                "setting": run.setting,
                "target": target,
                "observed": float(value),
                "by_step": float(getattr(by_step, target)),
                "by_shape": float(getattr(by_shape, target)),
                "pace": pace if target == "train_time_s" else 1.0,
            }
            for target, value in zip(TARGETS, observed, strict=True)
        ]
    return pd.DataFrame(rows)


def _pace(run: Any, row: dict[str, Any]) -> float:
    swept_at = row.get("speed_probe_s")
    if pd.isna(run.speed_probe_s) or swept_at is None or pd.isna(swept_at):
        return 1.0
    return float(run.speed_probe_s / swept_at)


def of_reference() -> pd.DataFrame:
    """`of_sweeps` of the shipped ones of the first hardware of which there are shipped runs; empty where
    there is none."""
    runs, sweeps = shipped_runs(), swept.shipped_sweeps()
    for hardware in dict.fromkeys(found.hardware for found in sweeps):
        table = of_sweeps([found for found in sweeps if found.hardware == hardware], runs)
        if len(table):
            return table
    return pd.DataFrame()


def of_sweeps(sweeps: Sequence[Sweep], runs: pd.DataFrame) -> pd.DataFrame:
    """`against_runs` of some sweeps together, with `sweep`, the name of the conditions of each."""
    tables = [against_runs(found, runs).assign(sweep=found.conditions.name) for found in sweeps]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def shipped_runs() -> pd.DataFrame:
    """The results tables of the shipped references whose runs trained networks on a CPU, and of what was
    contributed to them, one below the other."""
    tables = [one.table for name in PROFILES for one in machines.shipped(name)]
    return pd.concat(tables, ignore_index=True)


def summary(checked: pd.DataFrame) -> pd.DataFrame:
    """`against_runs` in a row a target: `runs`, `models`, and for both predictors `median_error` and
    `error_90` (shares), and for steps at the pace of each run `at_pace_median` and `at_pace_90`; `factor`, by
    which nine of ten runs of a model that took no part lie at most above or below what its step says
    (`fit.one_sided`, the model as the unit)."""
    rows = []
    for target, part in checked.groupby("target", sort=False):
        row: dict[str, Any] = {"target": target, "runs": len(part), "models": part["model"].nunique()}
        at_pace = part["by_step"] * part["pace"]
        said = {"by_step": part["by_step"], "by_shape": part["by_shape"], "at_pace": at_pace}
        for name, value in said.items():
            error = (value / part["observed"] - 1).abs()
            row |= {f"{name}_median": error.median(), f"{name}_90": error.quantile(0.9)}
        apart = np.abs(np.log(part["observed"] / part["by_step"])).to_numpy()
        rows.append(row | {"factor": float(np.exp(fit.one_sided(apart, part["model"].to_numpy())))})
    return pd.DataFrame(rows)


def ship(conditions: Conditions, folder: Path, say: Callable[[str], None] = print) -> pd.DataFrame:
    """Sweep this machine, and write what ships into `folder`: its rows, averaged with those that are there,
    into the table of its hardware, and how far predictions from them are off for the shipped runs. Returns
    `summary`.

    Goes on where an earlier sweep stopped. Raises InputError where no run can be compared.
    """
    found = sweep(conditions, say=say)
    path = folder / f"{slug(found.hardware)}.csv"
    there = {one.conditions: one for one in read_csv(path)} if path.exists() else {}
    found = averaged(there.pop(conditions, None), found)
    kept = there.values()
    write_atomic(path, as_csv(*kept, found))
    compared = of_sweeps([*kept, found], shipped_runs())
    if compared.empty or not (compared["sweep"] == conditions.name).any():
        raise InputError(f"{path} is written, but no run of {found.hardware} at these conditions is at hand")
    table = summary(compared)
    text = json.dumps(as_checked(found.hardware, table), indent=1)
    write_atomic(folder / swept.CHECKED, text + "\n")
    return table


def as_checked(hardware: str, table: pd.DataFrame) -> dict[str, Any]:
    """`summary` as it ships, to six digits."""
    of = {
        row["target"]: {
            name: float(f"{row[name]:.6g}") for name in ("factor", "by_step_median", "by_step_90")
        }
        for row in table.to_dict("records")
    }
    return {
        "made_by": "pepr step ship-sweep",
        "hardware": hardware,
        "runs": int(table["runs"].max()),
        "models": int(table["models"].max()),
        "of": of,
    }
