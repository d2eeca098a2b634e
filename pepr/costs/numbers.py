"""The numbers about predicted costs that prose may quote, in words: for notebook 06 and its chapters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from pepr.costs import bill, swept_check, your_machine
from pepr.costs.fit import Evidence
from pepr.costs.swept import Sweep
from pepr.display.numbers import Number, Numbers, number
from pepr.display.words import count, counted, fixed, markdown, percent, tenths
from pepr.published.numbers import top_ten_words
from pepr.published.tables import SETTINGS
from pepr.quantities import energy_is_estimated

OF_TARGET = {"train_time_s": "time", "energy_wh": "energy", "peak_memory_bytes": "memory"}
NAMED = 4
"""How many models that gain or lose most are named."""
TARGETS = {"energy_wh": "energy", "time_s": "time"}
MEMORY_TARGET, R2_TARGET, ERROR_TARGET = 0.02, 0.92, 0.10


def cost_numbers(
    evidence: Evidence,
    rankings: pd.DataFrame,
    cpu: pd.DataFrame,
    transfer: pd.DataFrame,
    to_target: pd.DataFrame,
    outweighed: pd.Series,
    advice: pd.DataFrame,
) -> Numbers:
    """Everything that the chapters on costs and on choosing quote."""
    return {
        **_memory(evidence),
        **_fits(evidence),
        **_coefficients(evidence.fitted),
        **_rankings(rankings),
        **_transfer(cpu, transfer),
        **_targets(to_target, outweighed),
        **_advice(advice),
    }


def bill_numbers(short: pd.DataFrame, long: pd.DataFrame, beside: pd.DataFrame) -> Numbers:
    """Of pretraining: `bill.break_even` for the two numbers of epochs, and `bill.beside_published`."""
    found: Numbers = {}
    for word, epochs, table in zip(("short", "long"), bill.EPOCHS, (short, long), strict=True):
        kwh = table["pretraining_kwh"]
        low, high = kwh.quantile([0.05, 0.95])
        uses = table["uses"].dropna()
        found |= {
            f"pretraining_{word}_epochs": number(epochs),
            f"pretraining_{word}_kwh": _estimate(kwh.median(), _kwh),
            f"pretraining_{word}_range": _estimate(None, f"{low:.0f} to {_kwh(high)}"),
            f"pretraining_{word}_runs": _estimate(table["runs_worth"].median(), _rough),
            f"pretraining_{word}_uses": _estimate(uses.median(), _rough),
            f"pretraining_{word}_uses_low": _estimate(uses.quantile(0.05), _rough),
            f"pretraining_{word}_uses_high": _estimate(uses.quantile(0.95), _rough),
        }
    found["pretraining_uses_until_tenth"] = _estimate(bill.uses_until(short), _rough)
    found["pretraining_models"] = number(len(short))
    for row in bill.shared(short).itertuples():
        found[f"pretraining_share_{row.uses}"] = _estimate(row.share_kwh, _wh(1000 * row.share_kwh))
        found[f"pretraining_share_{row.uses}_runs"] = _estimate(row.of_a_fine_tuning, _times)
    for key, row in zip(("resnet", "deit"), beside.itertuples(), strict=True):
        found |= {
            f"pretraining_{key}_epochs": number(row.epochs),
            f"pretraining_{key}_gpu_hours": number(row.published_gpu_hours, count),
            f"pretraining_{key}_at_most": _estimate(row.published_kwh_at_most, _kwh),
            f"pretraining_{key}_kwh": _estimate(row.predicted_kwh, _kwh),
            f"pretraining_{key}_hours": _estimate(row.predicted_gpu_hours, count),
        }
    return found


def checked_numbers(table: pd.DataFrame) -> Numbers:
    """How far predictions from a sweep, and by the cost model, are off: `swept_check.summary`."""
    found: Numbers = {}
    for row in table.to_dict("records"):
        name = OF_TARGET[row["target"]]
        found |= {
            "sweep_runs": number(row["runs"]),
            "sweep_run_models": number(row["models"]),
            f"sweep_{name}_factor": number(row["factor"], "{:.2f}".format),
        }
        for key in ("by_step", "by_shape", "at_pace"):
            found[f"sweep_{name}_{key}"] = number(row[f"{key}_median"], tenths)
            found[f"sweep_{name}_{key}_90"] = number(row[f"{key}_90"], tenths)
    return found


def checked_parts(checked: pd.DataFrame) -> Numbers:
    """How far predicted times are off by each sweep of `swept_check.of_sweeps`; nothing of a single one."""
    if checked["sweep"].nunique() < 2:
        return {}
    rows = []
    for name, part in checked.groupby("sweep", sort=False):
        time = swept_check.summary(part).set_index("target").loc["train_time_s"]
        rows.append(
            {
                "Sweep": str(name),
                "Runs": str(int(time["runs"])),
                "Networks": str(int(time["models"])),
                "Time, median error": tenths(time["by_step_median"]),
                "Nine of ten runs within": tenths(time["by_step_90"]),
                "At a run's pace, median": tenths(time["at_pace_median"]),
            }
        )
    return {"sweep_parts_table": number(len(rows), markdown(rows))}


def swept_met(table: pd.DataFrame) -> pd.DataFrame:
    """The aims of a sweep's predictions, and whether each is met."""
    by = table.set_index("target")
    time, memory = by.loc["train_time_s"], by.loc["peak_memory_bytes"]
    rows = [
        ("time: median error at most 5%", time["by_step_median"] <= swept_check.TIME_MEDIAN),
        ("time: nine of ten runs within 15%", time["by_step_90"] <= swept_check.TIME_90),
        ("time at a run's pace: median error at most 5%", time["at_pace_median"] <= swept_check.TIME_MEDIAN),
        ("memory: median error at most 5%", memory["by_step_median"] <= swept_check.MEMORY_MEDIAN),
    ]
    found = pd.DataFrame(rows, columns=["aim", "met"])
    return found.assign(met=np.where(found["met"], "yes", "no"))


def machine_numbers(found: Sweep, table: pd.DataFrame, rankings: pd.DataFrame) -> Numbers:
    """Of the chapter on one's own machine: `your_machine.both` and `your_machine.rankings`."""
    ok = sum(row["status"] == "ok" for row in found.rows.values())
    sweeps = max(row.get("sweeps") or 1 for row in found.rows.values())
    drawn = table.sort_values("ratio")
    numbers: Numbers = {
        "machine_hardware": number(None, found.hardware),
        "machine_size": number(found.conditions.image_size, f"{found.conditions.image_size} px"),
        "machine_swept": number(ok),
        "machine_sweeps": number(sweeps, counted(sweeps, "sweep")),
        "machine_models": number(len(table)),
        "machine_gain": number(None, _named(drawn.head(NAMED))),
        "machine_lose": number(None, _named(drawn.tail(NAMED)[::-1])),
        "machine_size_alone": _estimate(_rank(table["there_predicted_s"], table["there_s"]), fixed),
        "machine_like_size": _estimate(_rank(table["here_s"], table["there_predicted_s"]), fixed),
    }
    others = your_machine.others(found)
    if len(others):
        told = (
            f"{row.hardware} ({row.conditions}): {row.ratio:.2f} times the time of a step here in the median "
            f"of {row.models} models, with a rank correlation of {fixed(row.spearman)}"
            for row in others.itertuples()
        )
        numbers["machine_others"] = number(len(others), "; ".join(told))
    source = next((row["energy_source"] for row in found.rows.values() if row["status"] == "ok"), None)
    for row in rankings.itertuples():
        key, guess = f"machine_{row.score.lower()}", row.score == "E" and energy_is_estimated(source)
        numbers |= {
            f"{key}_{row.setting}_rank": number(row.spearman, fixed, guess),
            f"{key}_{row.setting}_top": number(row.top_ten_overlap, top_ten_words, guess),
            f"{key}_{row.setting}_best": number(None, f"`{row.best_here}`", guess),
            f"{key}_{row.setting}_best_there": number(None, f"`{row.best_there}`"),
        }
        if row.setting == your_machine.SETTING:
            numbers[f"{key}_costs"] = number(row.resource_spearman, fixed, guess)
    kinds = your_machine.by_class(table).set_index("operators")
    for kind in your_machine.CLASSES:
        key, models, median, spread = f"machine_of_{kind}", 0, number(None, "-"), "-"
        if kind in kinds.index:
            row = kinds.loc[kind]
            models, median = int(row["models"]), number(row["median"], "{:.2f}".format)
            spread = f"{row['low']:.2f} to {row['high']:.2f}"
        numbers |= {f"{key}_models": number(models), key: median, f"{key}_range": number(None, spread)}
    return numbers


def _memory(evidence: Evidence) -> Numbers:
    table, fitted = evidence.memory_accuracy().set_index("setting"), evidence.fitted["memory"]
    rows = evidence.memory[evidence.memory["setting"] == "lidc"]
    rows = rows.assign(error=rows["predicted"] / rows["observed"] - 1)
    off = rows[rows["error"].abs() > 0.10]
    found: Numbers = {
        "memory_models": number(len(rows)),
        "memory_workspace": _estimate(fitted["workspace_bytes"], f"{fitted['workspace_bytes'] / 1e6:.0f} MB"),
        "memory_off_models": number(
            len(off), ", ".join(f"`{r.model}` ({100 * r.error:+.0f}%)" for r in off.itertuples()) or "none"
        ),
        "reserved_ratio": number(fitted["reserved_ratio"], "{:.2f}".format),
        "reserved_ratio_high": number(fitted["reserved_ratio_high"], "{:.2f}".format),
        "memory_error_most": number(table["median_error"].max(), tenths),
    }
    for setting in SETTINGS:
        row = table.loc[setting]
        found[f"memory_error_{setting}"] = number(row["median_error"], tenths)
        found[f"memory_off_{setting}"] = number(row["off_by_10_percent"], "{:.0f}".format)
        found[f"memory_spearman_{setting}"] = number(row["spearman"], "{:.4f}".format)
        found[f"memory_coverage_{setting}"] = number(row["coverage"], percent)
    return found


def _fits(evidence: Evidence) -> Numbers:
    table = evidence.accuracy().set_index(["target", "setting"])
    rows = evidence.rows[evidence.rows["target"] == "energy_wh"]
    found: Numbers = {
        "sound_rows": number(len(rows), str),
        "families": number(rows["family"].nunique()),
    }
    for target, share in evidence.coverage().items():
        found[f"coverage_{TARGETS.get(target, target)}"] = number(share, percent)
    for (target, setting), row in table.iterrows():
        key = f"{TARGETS[target]}_{{}}_{setting}"
        found[key.format("rows")] = number(row["rows"], "{:.0f}".format)
        found[key.format("r2")] = number(row["r2_log"], "{:.3f}".format)
        found[key.format("error")] = number(row["median_error"], tenths)
        found[key.format("coverage")] = number(row["coverage"], percent)
    outside = [
        f"{TARGETS[target]} of `{setting}` ({percent(row['coverage'])})"
        for (target, setting), row in table.iterrows()
        if not 0.85 <= row["coverage"] <= 0.95
    ]
    found["coverage_outside"] = number(len(outside), ", ".join(outside) or "none")
    time, energy = (evidence.fitted[target]["interval"] for target in ("time_s", "energy_wh"))
    found["interval_seconds"] = _estimate(time["absolute"], "{:.0f} s".format)
    found["interval_wh"] = _estimate(energy["absolute"], "{:.1f} Wh".format)
    lidc = rows[rows["setting"] == "lidc"].assign(factor=lambda r: r["observed"] / r["predicted"])
    order = np.log(lidc["factor"]).abs().sort_values(ascending=False).index
    worst = lidc.loc[order[:5]]
    found["energy_worst"] = number(
        None, ", ".join(f"`{row.model}` (published {row.factor:.2f} times)" for row in worst.itertuples())
    )
    return found


def _coefficients(fitted: dict) -> Numbers:
    time = fitted["time_s"]["coefficients"]
    slower = time["large_depthwise_flops"] / time["conv_flops"]
    return {
        "bandwidth": _estimate(1e-9 / time["bytes_moved"], "{:.0f} GB/s".format),
        "conv_speed": _estimate(3e-12 / time["conv_flops"], "{:.0f} TFLOP/s".format),
        "launch": _estimate(time["operations"], f"{1e6 * time['operations']:.0f} microseconds"),
        "large_depthwise_slower": _estimate(slower, "{:.0f}".format),
        "inference_share": number(fitted["inference_share"], percent),
        "meter_unseen": _estimate(fitted["energy_wh"]["unseen"], "{:.2f} Wh".format),
    }


def _rankings(table: pd.DataFrame) -> Numbers:
    found: Numbers = {}
    for row in table.itertuples():
        key = f"{row.score.lower().replace(' ', '_')}_{row.setting}"
        found[f"rank_{key}"] = number(row.spearman, "{:.3f}".format)
        found[f"top_{key}"] = number(row.top_ten_overlap, top_ten_words)
    for score in ("E", "M"):
        part = table[table["score"] == score]
        found[f"rank_{score.lower()}_least"] = number(part["spearman"].min(), "{:.3f}".format)
        same = int(part["same_best"].sum())
        found[f"best_{score.lower()}_same"] = number(same, f"{same} of {len(part)}")
    return found


def _transfer(cpu: pd.DataFrame, table: pd.DataFrame) -> Numbers:
    by = table.set_index("predictor")
    row, calibrating = by.loc["calibrated_s"], cpu.loc[cpu["calibrating"], "model"]
    share = (cpu["predicted_memory_bytes"] / cpu["memory_bytes"]).median()
    found: Numbers = {
        "cpu_models": number(len(cpu)),
        "cpu_memory_rank": number(_rank(cpu["memory_bytes"], cpu["predicted_memory_bytes"]), fixed),
        "cpu_memory_share": number(share, percent),
        "cpu_error": number(row["median_error"], percent),
        "cpu_error_worst": number(row["worst_error"], percent),
        "cpu_tested": number(row["tested"], "{:.0f}".format),
        "cpu_calibrating": number(None, ", ".join(f"`{name}`" for name in calibrating)),
    }
    for predictor, row in by.iterrows():
        words = f"{fixed(row['spearman'])} ({row['models']:.0f} models)"
        found[f"cpu_rank_{predictor.rsplit('_', 1)[0]}"] = number(row["spearman"], words)
    return found


def _targets(table: pd.DataFrame, outweighed: pd.Series) -> Numbers:
    reached = table.dropna(subset=["energy_to_target_wh"])
    cheapest, most = reached.iloc[0], reached.iloc[-1]
    return {
        "target": number(cheapest["target"], tenths),
        "target_cheapest": number(None, f"`{cheapest['model']}`"),
        "target_cheapest_wh": _estimate(cheapest["energy_to_target_wh"], "{:.2g} Wh".format),
        "target_median_wh": _estimate(reached["energy_to_target_wh"].median(), "{:.2g} Wh".format),
        "target_dearest": number(None, f"`{most['model']}`"),
        "target_dearest_wh": _estimate(most["energy_to_target_wh"], "{:.3g} Wh".format),
        "target_reached": number(len(reached), f"{len(reached)} of {len(table)}"),
        "inferences_median": _estimate(outweighed.median(), count),
        "inferences_low": _estimate(outweighed.quantile(0.05), count),
        "inferences_high": _estimate(outweighed.quantile(0.95), count),
    }


def _advice(table: pd.DataFrame) -> Numbers:
    found: Numbers = {}
    for row in table.itertuples():
        found[f"advice_{row.case}"] = number(None, f"`{row.model}`")
        found[f"advice_{row.case}_accuracy"] = number(row.performance, tenths)
        found[f"advice_{row.case}_stability"] = number(row.stability, percent)
    return found


def accuracy_table(evidence: Evidence, target: str) -> pd.DataFrame:
    """`Evidence.accuracy` of one target for a page, percentages as such."""
    table = evidence.accuracy()
    return _for_page(table[table["target"] == target].drop(columns="target"))


def memory_table(evidence: Evidence) -> pd.DataFrame:
    """`Evidence.memory_accuracy` for a page."""
    return _for_page(evidence.memory_accuracy())


def _for_page(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(
        median_error=table["median_error"].map(tenths),
        error_90=table["error_90"].map(tenths),
        coverage=table["coverage"].map(percent),
        spearman=table["spearman"].map("{:.4f}".format),
        r2_log=table["r2_log"].map("{:.3f}".format),
    )


def met(evidence: Evidence) -> pd.DataFrame:
    """The aims of this part of the study, and whether each is met, for the settings they name."""
    memory = evidence.memory_accuracy().set_index("setting")
    fits = evidence.accuracy().set_index(["target", "setting"])
    rows = []
    for setting in ("lidc", "derma_pt", "pneumonia"):
        row = memory.loc[setting]
        rows += [
            (setting, "memory: median error at most 2%", row["median_error"] <= MEMORY_TARGET),
            (setting, "memory: at most four models off by over 10%", row["off_by_10_percent"] <= 4),
            (setting, "memory: rank correlation at least 0.997", row["spearman"] >= 0.997),
        ]
    for setting in ("lidc", "derma_pt"):
        row = fits.loc[("energy_wh", setting)]
        rows += [
            (setting, "energy: R2 of the log at least 0.92", row["r2_log"] >= R2_TARGET),
            (setting, "energy: median error at most 10%", row["median_error"] <= ERROR_TARGET),
            (setting, "energy: intervals cover 85 to 95% by family", 0.85 <= row["coverage"] <= 0.95),
        ]
    table = pd.DataFrame(rows, columns=["setting", "aim", "met"])
    return table.assign(met=np.where(table["met"], "yes", "no"))


def _estimate(value: float | None, text: str | Callable[[float], str]) -> Number:
    return number(value, text, estimate=True)


def _named(rows: pd.DataFrame) -> str:
    return ", ".join(f"`{row.model}` ({row.ratio:.2g})" for row in rows.itertuples())


def _rank(first: pd.Series, second: pd.Series) -> float:
    return float(first.rank().corr(second.rank()))


def _kwh(value: float) -> str:
    return f"{value:,.0f} kWh" if value >= 10 else f"{value:.2g} kWh"


def _wh(value: float) -> str:
    return _kwh(value / 1000) if value >= 1000 else f"{_rough(value)} Wh"


def _times(value: float) -> str:
    return f"{_rough(value)} times" if value >= 1 else f"{_rough(100 * value)}%"


def _rough(value: float) -> str:
    """A count that is an estimate: two digits that count."""
    return f"{float(f'{value:.2g}'):,.10g}"
