"""Your machine instead of the authors': all models scored by a sweep's costs and by those on their GPU.

Accuracies are the authors' in both. What a machine favours is told by what its models compute.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pepr import stats
from pepr.costs import model as cost, swept
from pepr.costs.evidence import FINAL, TOP
from pepr.costs.fit import BATCH_SIZE, IMAGE_SIZE, sound_rows
from pepr.costs.sweep import IMAGE_SIZE as SWEPT_SIZE
from pepr.costs.swept import Sweep, step_time_s
from pepr.models import atlas
from pepr.models.space import family_of
from pepr.published.tables import EPOCHS, SETTINGS
from pepr.published.versions import Versions
from pepr.score import pepr

SETTING = "lidc"
"""The setting whose costs stand for the authors' machine: the longest runs, and the best measured."""
GB = 1e9
FEWEST = 20
"""A sweep of fewer models ranks too few."""
RECURRENT = ("sequencer",)
ATTENTION_SHARE, PARTED_SHARE = 0.1, 0.005
"""A model is of a class if so much of its arithmetic is in products of matrices, or in depthwise and grouped
convolutions, whose arithmetic is little by their nature."""
CLASSES = {
    "recurrent": "recurrent layers",
    "attention": "attention",
    "large_depthwise": "depthwise above 5x5",
    "depthwise": "depthwise",
    "grouped": "grouped convolutions",
    "dense": "dense convolutions",
}
"""What models are mostly made of, in words."""


def at_hand() -> Sweep | None:
    """The sweep that the chapter shows: this machine's, else the first that the project measured, of those
    with at least `FEWEST` models; None where there is none. At the size that sweeps have by default."""
    own = (swept.find(size, BATCH_SIZE, "fp32") for size in SWEPT_SIZE.values())
    for found in (*own, *swept.shipped_sweeps()):
        if found is not None and len(found.rows) >= FEWEST:
            return found
    return None


def others(found: Sweep) -> pd.DataFrame:
    """The other machines and conditions that were swept, beside the one of `found`: one row each.

    Columns: `hardware`, `conditions`, `models` that both have, `ratio`, the median over those of the time
    that a step takes there to that which it takes here, and `spearman`, the rank correlation of the two.
    """
    here = (found.hardware, found.conditions)
    rows = []
    for other in swept.shipped_sweeps():
        shared = [name for name in found.rows if found.row(name) and other.row(name)]
        if (other.hardware, other.conditions) == here or len(shared) < FEWEST:
            continue
        times = [np.array([step_time_s(one.rows[name]) for name in shared]) for one in (found, other)]
        rows.append(
            {
                "hardware": other.hardware,
                "conditions": other.conditions.name,
                "models": len(shared),
                "ratio": float(np.median(times[1] / times[0])),
                "spearman": stats.rank_correlation(*times).effect,
            }
        )
    return pd.DataFrame(rows, columns=["hardware", "conditions", "models", "ratio", "spearman"])


def operators(model: str, image_size: int = IMAGE_SIZE) -> str:
    """What a model is made of, by the shapes of its operations: the first of `CLASSES` that fits."""
    entry = atlas.look_up(model, image_size)
    if family_of([model])[0] in RECURRENT:
        return "recurrent"
    if entry.matmul_flops > ATTENTION_SHARE * entry.flops:
        return "attention"
    if entry.large_depthwise_flops > 0:
        return "large_depthwise"
    parted = entry.flops - entry.conv_flops - entry.pointwise_flops - entry.matmul_flops
    if parted < PARTED_SHARE * entry.flops:
        return "dense"
    return "grouped" if entry.grouped_bytes else "depthwise"


def both(found: Sweep, runs: Versions) -> pd.DataFrame:
    """Every model that was swept and that the authors ran, with a step there and here: seconds, Wh and GB.

    There, it is the training of `SETTING` without its test passes, a step of it; `there_energy_wh` is NaN for
    energies that the audit leaves out. `there_predicted_s` is what the cost model says of a step on their
    machine at the sweep's image size, which tells the part of the size from that of the machine. `ratio` is
    time here over time there, relative to the median model: above 1, a model is slower here than elsewhere.
    """
    sound = sound_rows(runs).query("dataset == @SETTING").set_index("model")["energy_wh"]
    steps = EPOCHS * cost.equivalent_images(cost.job_of(SETTING)) / BATCH_SIZE
    size = found.conditions.image_size
    job = cost.job_of(SETTING, image_size=size, batch_size=found.conditions.batch_size)
    rows = []
    for run in runs.published.query("dataset == @SETTING").itertuples():
        row = found.row(run.model)
        if row is None:
            continue
        step = swept.predict(row, cost.Job(None, job.batch_size, 0, 1, job.batch_size, size))
        entry = atlas.look_up(run.model, size)
        rows.append(
            {
                "model": run.model,
                "operators": operators(run.model),
                "there_s": EPOCHS * run.train_time / steps,
                "there_energy_wh": sound.get(run.model, np.nan) / steps,
                "there_memory_gb": run.memR,
                "there_predicted_s": sum(cost.parts(entry, job, "time_s"))
                / (EPOCHS * cost.equivalent_images(job) / job.batch_size),
                "here_s": step.train_time_s,
                "here_energy_wh": np.nan if step.energy_wh is None else step.energy_wh,
                "here_memory_gb": step.peak_memory_bytes / GB,
            }
        )
    table = pd.DataFrame(rows)
    quotient = table["here_s"] / table["there_s"]
    return table.assign(ratio=quotient / quotient.median())


RESOURCES = {"E": "energy_wh", "T": "s", "M": "memory_gb"}
"""The columns of `both`, after `there_` or `here_`, by the letter of the score."""


def rankings(table: pd.DataFrame, runs: Versions) -> pd.DataFrame:
    """PePR by the costs here against PePR by those there, the authors' accuracies in both: one row a setting
    and score. `resource_spearman` is of the costs alone."""
    rows = []
    for setting in SETTINGS:
        accuracy = runs.corrected[runs.corrected["dataset"] == setting].set_index("model")[FINAL]
        for letter, name in RESOURCES.items():
            known = table.dropna(subset=[f"there_{name}"])
            known = known[known["model"].isin(accuracy.index)]
            performance = known["model"].map(accuracy).to_numpy(float)
            there, here = known[f"there_{name}"].to_numpy(), known[f"here_{name}"].to_numpy()
            first, second = pepr(performance, there), pepr(performance, here)
            rows.append(
                {
                    "setting": setting,
                    "score": letter,
                    "models": len(known),
                    "spearman": stats.rank_correlation(first, second).effect,
                    "top_ten_overlap": stats.top_k_overlap(first, second, min(TOP, len(known))),
                    "resource_spearman": stats.rank_correlation(there, here).effect,
                    "best_there": known["model"].iloc[int(np.argmax(first))],
                    "best_here": known["model"].iloc[int(np.argmax(second))],
                }
            )
    return pd.DataFrame(rows)


def by_class(table: pd.DataFrame) -> pd.DataFrame:
    """The `ratio` of `both` by what models are made of: median and middle half, in the order of `CLASSES`."""
    rows = []
    for name in CLASSES:
        values = table.loc[table["operators"] == name, "ratio"]
        if len(values):
            ends = dict(zip(("low", "median", "high"), values.quantile([0.25, 0.5, 0.75]), strict=True))
            rows.append({"operators": name, "models": len(values), **ends})
    return pd.DataFrame(rows)
