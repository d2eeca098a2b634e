"""What predicted costs are good for: rankings without running, other hardware, targets, and running costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pepr import stats
from pepr.costs import calibration, model as cost, recommendation
from pepr.costs.fit import Evidence, sound_rows, test_images
from pepr.models import atlas
from pepr.published.tables import EPOCHS, SETTINGS, TEST_COLUMNS, Published
from pepr.published.versions import Versions
from pepr.score import pepr

FINAL = TEST_COLUMNS[-1]
TOP = 10


def rankings(runs: Versions, evidence: Evidence) -> pd.DataFrame:
    """PePR from predicted costs against PePR from measured ones, accuracy being measured in both.

    One row a setting and score: `E` over the sound rows, predictions by fits without the model's family;
    `M` against the authors' reserved memory, `M peak` against their peak of allocated memory.
    """
    sound = sound_rows(runs)
    predicted = evidence.rows[evidence.rows["target"] == "energy_wh"].set_index(["setting", "model"])
    memory = evidence.memory.set_index(["setting", "model"])
    rows = []
    for setting in SETTINGS:
        mine = sound[sound["dataset"] == setting]
        guessed = predicted.loc[setting].reindex(mine["model"])["predicted"].to_numpy()
        rows.append(agreement(setting, "E", mine[FINAL], mine["energy_wh"], guessed))
        every = runs.published[runs.published["dataset"] == setting]
        at = memory.loc[setting].reindex(every["model"])
        for score, measured in (("M", at["reserved"]), ("M peak", at["observed"])):
            rows.append(agreement(setting, score, every[FINAL], measured, at["predicted"].to_numpy()))
    return pd.DataFrame(rows)


def agreement(
    setting: str, score: str, performance: pd.Series, measured: pd.Series, predicted: np.ndarray
) -> dict:
    """How far a score from predicted costs [models] ranks like that from measured ones, for one setting."""
    first = pepr(performance.to_numpy(), measured.to_numpy())
    second = pepr(performance.to_numpy(), predicted)
    return {
        "setting": setting,
        "score": score,
        "models": len(first),
        "spearman": stats.rank_correlation(first, second).effect,
        "top_ten_overlap": stats.top_k_overlap(first, second, TOP),
        "same_best": bool(np.argmax(first) == np.argmax(second)),
    }


def on_this_cpu(published: pd.DataFrame | None = None) -> pd.DataFrame:
    """The shipped `pocket` runs from scratch on all data, measured on two CPU cores, one row a model.

    `time_s` is measured (training only, seeds averaged); `gpu_time_s` what the model fitted to the GPU
    predicts for the same job; `calibrated_s` the prediction of a calibration on the measured times of
    `calibration.MODELS`; `published_wh` the authors' LIDC energy, where they ran the model; `flops` of a
    forward pass; `memory_bytes` measured as resident memory, `predicted_memory_bytes` as on a GPU.
    """
    means = (
        calibration.shipped_runs()
        .groupby("model")
        .agg(
            time_s=("train_time_s", "mean"),
            memory_bytes=("peak_memory_bytes", "mean"),
            n_train=("n_train", "first"),
            epochs=("epochs", "first"),
            image_size=("image_size", "first"),
            batch_size=("batch_size", "first"),
        )
    )
    entries = {model: atlas.look_up(model, size) for model, size in means["image_size"].items()}
    steps = means["epochs"] * means["n_train"] / means["batch_size"]
    shipped = calibration.of_shipped_runs()
    known = {run["model"] for run in shipped.measured}
    rows = []
    for row in means.reset_index().itertuples():
        entry, done = entries[row.model], steps[row.model]
        job = cost.Job("elpv", row.n_train, 0, row.epochs, row.batch_size, row.image_size)
        rows.append(
            {
                "model": row.model,
                "time_s": row.time_s,
                "flops": entry.flops,
                "gpu_time_s": cost.predict(entry, job).train_time_s,
                "calibrated_s": done * cost.step_time_s(entry, row.batch_size, shipped.costs),
                "calibrating": row.model in known,
                "memory_bytes": row.memory_bytes,
                "predicted_memory_bytes": cost.peak_memory(entry, job),
            }
        )
    table = pd.DataFrame(rows)
    if published is not None:
        lidc = published[published["dataset"] == "lidc"].set_index("model")["energy"] * 1000
        table["published_wh"] = table["model"].map(lidc)
    return table


def transfer(table: pd.DataFrame) -> pd.DataFrame:
    """How well each predictor ranks the times measured on a CPU: Spearman over the models that have it.

    `median_error` and `worst_error` only for the calibrated times, over the models that did not calibrate.
    """
    rows = []
    for predictor in ("published_wh", "gpu_time_s", "flops", "calibrated_s"):
        if predictor not in table:
            continue
        have = table.dropna(subset=[predictor])
        rho = stats.rank_correlation(have["time_s"], have[predictor])
        row = {"predictor": predictor, "models": len(have), "spearman": rho.effect, "low": rho.low}
        if predictor == "calibrated_s":
            test = have[~have["calibrating"]]
            error = (test["calibrated_s"] / test["time_s"] - 1).abs()
            row |= {"median_error": error.median(), "worst_error": error.max(), "tested": len(test)}
        rows.append(row)
    return pd.DataFrame(rows)


def energy_to_target(runs: Versions, setting: str, target: float | None = None) -> pd.DataFrame:
    """Wh until the test accuracy first reaches a target, for the sound rows of a setting, cheapest first.

    The target is by default the median final accuracy. Energy is taken to be spread evenly over epochs,
    so the result is an estimate; a model that never reaches the target has NaN.
    """
    rows = sound_rows(runs)
    rows = rows[rows["dataset"] == setting]
    target = float(rows[FINAL].median()) if target is None else target
    reached = rows[list(TEST_COLUMNS)].to_numpy() >= target
    epochs = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, np.nan)
    table = pd.DataFrame(
        {
            "model": rows["model"],
            "target": target,
            "epochs": epochs,
            "energy_to_target_wh": rows["energy_wh"] * epochs / EPOCHS,
            "energy_wh": rows["energy_wh"],
            "final_accuracy": rows[FINAL],
        }
    )
    return table.sort_values("energy_to_target_wh").reset_index(drop=True)


def inferences_until_outweighed(runs: Versions, setting: str = "lidc") -> pd.Series:
    """Predicted images after which running a model has taken as long as its training, by model.

    Training is ten epochs without the test passes; the time of a test pass gives that of one image.
    Energy goes with time on one machine, so the same count is an estimate for energy.
    """
    rows = runs.published[runs.published["dataset"] == setting].set_index("model")
    training = EPOCHS * (rows["train_time"] - rows["inf_time"])
    return training / (rows["inf_time"] / test_images(setting))


def time_by_term(models: tuple[str, ...], setting: str = "lidc") -> pd.DataFrame:
    """Share of the predicted time that each term takes, [models, terms]; each row sums to one."""
    coefficients = cost.model()["time_s"]["coefficients"]
    table = {}
    for model in models:
        needed = cost.terms(atlas.look_up(model, 256), cost.job_of(setting))
        parts = pd.Series({name: coefficients[name] * needed[name] for name in cost.TERMS})
        table[model] = parts / parts.sum()
    return pd.DataFrame(table).T


ADVICE = {
    "energy_expected": ("lidc", recommendation.Budget(energy_wh=20), "expected"),
    "energy_cautious": ("lidc", recommendation.Budget(energy_wh=20), "cautious"),
    "memory_expected": ("derma_pt", recommendation.Budget(memory_gb=4), "expected"),
    "free_expected": ("lidc", recommendation.Budget(), "expected"),
}
"""Questions that the chapter on choosing asks as examples."""


def advice(tables: Published, runs: Versions | None = None) -> pd.DataFrame:
    """The first recommendation for each question of `ADVICE`, one row a question."""
    known: dict[str, pd.DataFrame] = {}
    rows = []
    for case, (setting, budget, risk) in ADVICE.items():
        if setting not in known:
            known[setting] = recommendation.from_authors(tables, setting, runs=runs)
        first = recommendation.choose(known[setting], budget, risk, top=5)[0]
        rows.append(
            {
                "case": case,
                "setting": setting,
                "risk": risk,
                "model": first.model,
                "performance": first.performance,
                "performance_low": first.performance_low,
                "energy_wh": first.energy_wh,
                "peak_memory_gb": first.peak_memory_gb,
                "stability": first.stability,
                "measured": ", ".join(first.measured),
            }
        )
    return pd.DataFrame(rows)
