"""What a run is ranked by: on a CPU the processor's time, set right where the machine's speed drifted.

Wall time on a CPU is as much about the programs beside a run as about its model; processor time hardly moves
with them. A run of one thread has it, and the time of the same fixed work before and after (`speed_probe_s`,
see `training.probe`). Tables without that, and runs on a GPU, are ranked by wall time as before.

Runs are made one after the other, and a machine changes meanwhile. An interleaved timing (`study.timing`)
takes all networks in several rounds, in a random order each, a few steps at a time, so that whatever changes
meets all of them. What is ranked stays the training's own time; how far the two differ, from one network to
another, is its error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr.models.space import BASELINES
from pepr.quantities import MEASURED_KINDS, RESOURCES, component_sources
from pepr.runs.columns import METER_OF
from pepr.runs.timing import CONDITIONS

DRIFT_LIMIT = 0.2
"""How far a probe may be from the median of its machine before the machine, and not the probe, is taken to
have drifted. A probe is short: in the reference `pocket` it moves by a twentieth, once by a sixth, while the
processor time of the same training moves by a fiftieth: a smaller limit would add the noise of the probe."""
CLOCK_ERROR = 0.05
"""Within what share processor time is known where the machine did not drift: a training step moves by as much
under any load."""
DERIVED = [resource.column for resource in RESOURCES.values() if resource.per_kwh]


def as_ranked(table: pd.DataFrame) -> pd.DataFrame:
    """A results table in which `train_time_s` and the energies of a load model are those that rank.

    `train_time_s` becomes the corrected processor time, whose error is within `train_time_error`, a share of
    it. A load model's energy follows: the processor's part by that time, and the memory's part, where another
    program made a run wait, for as long as the run would have taken without. `time_spoiled` and
    `energy_spoiled` say of a run that shared the processor whether what it took cannot be ranked: on a CPU
    only an energy that was measured with the other program's in it.
    """
    table, drifted = table.copy(), drift(table)
    by_processor = drifted.notna()
    contended = table["contended"].fillna(False).astype(bool)
    wall = table["train_time_s"].astype("float64")
    seconds = table["train_cpu_time_s"].astype("float64") / drifted
    modelled = by_processor & ~table["energy_source"].map(_cpu_is_measured)
    waited = (seconds / wall).clip(upper=1.0).where(contended, 1.0)
    cpu, memory = (table[f"energy_{part}_kwh"].astype("float64").fillna(0.0) for part in ("cpu", "ram"))
    before = table["energy_kwh"].astype("float64")
    energy = before - cpu * (1.0 - 1.0 / drifted) - memory * (1.0 - waited)
    table["energy_kwh"] = energy.where(modelled, before)
    for column in table.columns.intersection(DERIVED):
        table[column] = table[column].astype("float64") * (energy / before).where(modelled, 1.0)
    table["train_time_s"] = seconds.where(by_processor, wall)
    table["train_time_error"] = np.maximum(CLOCK_ERROR, (drifted - 1.0).abs()).where(by_processor, 0.0)
    table["time_spoiled"] = contended & ~by_processor
    table["energy_spoiled"] = contended & ~modelled
    return table


def enough(n_compared: int, n_models: int) -> bool:
    """Whether a best, a share or a rank may be stated of a set of `n_models`, those that failed included: two
    models could be compared at least, and half of the set."""
    return bool(n_compared > 1 and 2 * n_compared >= n_models)


def spoiled(ranked: pd.DataFrame, letter: str) -> pd.Series:
    """Which rows of `as_ranked` cannot be ranked by a resource: other programs are in its value [runs]."""
    if not RESOURCES[letter].spoiled:
        return pd.Series(False, index=ranked.index)
    return ranked["time_spoiled" if letter == "T" else "energy_spoiled"]


def drift(table: pd.DataFrame) -> pd.Series:
    """How many times slower than usual the processor was during each run [runs]: its probe over the median
    probe of the same hardware; 1 within `DRIFT_LIMIT`. NaN for runs not ranked by processor time."""
    known = table["device"].astype("string").str.startswith("cpu").fillna(False).astype(bool)
    probe = table["speed_probe_s"].astype("float64").where(known & table["train_cpu_time_s"].notna())
    usual = probe.groupby(table["hardware"]).transform("median")
    ratio = probe / usual
    return ratio.where((ratio - 1.0).abs() > DRIFT_LIMIT, ratio.where(ratio.isna(), 1.0))


FEWEST_MODELS = 3
"""From fewer nothing is said of how far times differ from one model to another."""


@dataclass(frozen=True)
class Agreement:
    """How the training times of a set stand to its timing.

    `ratios` are the mean training time of each model over its steps times a timed step; `rank_correlation` is
    Spearman's of the two; `error` is the standard deviation of the ratios' logarithms, a share of a time;
    `step_error` that of a model's timed step, from its `rounds`; NaN from one round.
    """

    ratios: pd.Series
    rank_correlation: float
    error: float
    step_error: float
    rounds: int

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return float(self.ratios.median())


def training_steps(rows: pd.DataFrame) -> pd.Series:
    """Training steps of each run [runs]; a last batch that is not full counts by its images, and one of a
    single image is left out, as the training does."""
    images, batch = rows["n_train"].astype("float64"), rows["batch_size"].astype("float64")
    return rows["epochs"].astype("float64") * (images - (images % batch == 1)) / batch


def timed_steps(rows: pd.DataFrame, timing: pd.DataFrame | None) -> pd.DataFrame:
    """Seconds of a step of each model of a set in each round [models, rounds], timed as its runs were made:
    processor time on a CPU, wall time on a GPU. Empty where none was."""
    if timing is None or rows.empty:
        return pd.DataFrame()
    same = timing[timing["model"].isin(rows["model"])]
    for column in CONDITIONS:
        values = rows[column].dropna()
        if column == "hardware":  # in which a set may name its meter
            values = values.str.split(METER_OF).str[0]
        same = same[same[column].isin(values.unique())]
    on_cpu = same["device"].astype(str).str.startswith("cpu")
    seconds = same["step_cpu_time_s"].where(on_cpu, same["step_time_s"])
    return seconds.groupby([same["model"], same["round"]]).mean().unstack()


def agreement(rows: pd.DataFrame, timing: pd.DataFrame | None) -> Agreement | None:
    """How the ranked times of the `ok` runs of a set stand to its timing; None where fewer than three of its
    models were timed. `rows` are those of `ranked.as_ranked`."""
    steps = timed_steps(rows, timing)
    if len(steps) < FEWEST_MODELS:
        return None
    known = rows[rows["train_time_s"] > 0]
    each = (known["train_time_s"].astype("float64") / training_steps(known)).groupby(known["model"]).mean()
    logarithm = np.log(steps)
    step = np.exp(logarithm.mean(axis=1))
    ratios = (each / step).dropna()
    if len(ratios) < FEWEST_MODELS:
        return None
    freedom = int((logarithm.notna().sum(axis=1) - 1).clip(lower=0).sum())
    within = float(np.nansum(logarithm.sub(logarithm.mean(axis=1), axis=0).to_numpy() ** 2))
    return Agreement(
        ratios=ratios,
        rank_correlation=float(each[ratios.index].corr(step[ratios.index], method="spearman")),
        error=float(np.log(ratios).std(ddof=1)),
        step_error=float(np.sqrt(within / freedom / steps.shape[1])) if freedom else np.nan,
        rounds=steps.shape[1],
    )


NORMAL_95 = 1.96
"""Standard errors to either side of a mean within which 95% of what is normal lies."""


def resource_errors(rows: pd.DataFrame, letter: str, timing: pd.DataFrame | None = None) -> pd.Series:
    """The standard error of each model's mean resource, as a share of it; `rows` of `as_ranked`, one set.

    Runs of one model differ in their seed and split and take the same work for each training image: how far
    these repeats scatter, pooled over the networks of the set, and over its baselines, which take
    milliseconds, is the error of one run. Time, and the energy of
    a load model, also have the error of their clock, `train_time_error`, which bounds it to either side: a
    run's error is the larger of the two. A mean over n runs has that divided by the root of n. NaN where
    neither is known: every model was run once, and the meter is trusted.

    Where the models were timed in turn as well (`timing`), how far mean times differ from that, from model to
    model, takes the place of the bound for those whose clock did not drift: it is of means, and not divided.
    """
    known = rows[rows[RESOURCES[letter].column].astype("float64") > 0]
    resource = known[RESOURCES[letter].column].astype("float64")
    work = 1.0 if letter == "M" else known["n_train"].astype("float64")
    logarithm = np.log(resource / work)
    spread = logarithm - logarithm.groupby(known["model"]).transform("mean")
    runs = known.groupby("model").size()
    baseline = known["model"].isin(BASELINES)
    freedom = runs.sub(1).groupby(runs.index.isin(BASELINES)).sum()
    pooled = np.sqrt((spread**2).groupby(baseline).sum() / freedom.where(freedom > 0))
    repeats = baseline.groupby(known["model"]).first().map(pooled)
    by_clock = known["train_time_error"].astype("float64") / NORMAL_95
    follows_clock = RESOURCES[letter].spoiled & ~known["energy_spoiled"]
    if letter != "T":
        follows_clock &= ~known["energy_source"].map(_cpu_is_measured)
    timed = agreement(known, timing) if follows_clock.all() else None
    if timed is not None:
        held = ~known["model"].isin(timed.ratios.index) | (known["train_time_error"] > CLOCK_ERROR)
        by_clock = by_clock.where(held, 0.0)
    clock = by_clock.where(follows_clock, 0.0).groupby(known["model"]).max()
    error = np.fmax(clock.where(clock > 0), repeats) / np.sqrt(runs)
    if timed is None:
        return error
    return np.fmax(error, pd.Series(timed.error, index=timed.ratios.index).reindex(error.index))


def _cpu_is_measured(energy_source: str | None) -> bool:
    return component_sources(energy_source).get("cpu") in MEASURED_KINDS
