"""The numbers about predicted costs that prose may quote, in words: for notebook 06 and its chapters."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pepr.costs import bill, swept_check, your_machine
from pepr.costs.fit import Evidence
from pepr.costs.sweep import Sweep
from pepr.display.numbers import Number, Numbers, number
from pepr.display.words import count, percent
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


def swept_met(table: pd.DataFrame) -> pd.DataFrame:
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
    others = your_machine.others(found)
    if len(others):
        told = (
            f"{row.hardware} ({row.conditions}): {row.ratio:.2f} times the time of a step here in the median "
            f"of {row.models} models, with a rank correlation of {row.spearman:.2f}"
            for row in others.itertuples()
        )
        numbers["machine_others"] = number(len(others), "; ".join(told))
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


def _memory(evidence: Evidence) -> Numbers:
    table = evidence.memory_accuracy().set_index("setting")
    rows = evidence.memory[evidence.memory["setting"] == "lidc"]
    error = (rows["predicted"] / rows["observed"] - 1).abs()
    off = rows.assign(error=rows["predicted"] / rows["observed"] - 1)[error > 0.10]
    found: Numbers = {
        "memory_models": number(len(rows), f"{len(rows)}"),
        "memory_workspace": _estimate(
            evidence.fitted["memory"]["workspace_bytes"],
            f"{evidence.fitted['memory']['workspace_bytes'] / 1e6:.0f} MB",
        ),
        "memory_off_models": number(
            len(off), ", ".join(f"`{r.model}` ({100 * r.error:+.0f}%)" for r in off.itertuples()) or "none"
        ),
        "reserved_ratio": number(
            evidence.fitted["memory"]["reserved_ratio"], f"{evidence.fitted['memory']['reserved_ratio']:.2f}"
        ),
        "reserved_ratio_high": number(
            evidence.fitted["memory"]["reserved_ratio_high"],
            f"{evidence.fitted['memory']['reserved_ratio_high']:.2f}",
        ),
    }
    for setting in SETTINGS:
        row = table.loc[setting]
        found[f"memory_error_{setting}"] = number(row["median_error"], _percent1(row["median_error"]))
        found[f"memory_off_{setting}"] = number(row["off_by_10_percent"], f"{row['off_by_10_percent']:.0f}")
        found[f"memory_spearman_{setting}"] = number(row["spearman"], f"{row['spearman']:.4f}")
        found[f"memory_coverage_{setting}"] = number(row["coverage"], percent(row["coverage"]))
    worst = table["median_error"].max()
    found["memory_error_most"] = number(worst, _percent1(worst))
    return found


def _fits(evidence: Evidence) -> Numbers:
    table = evidence.accuracy().set_index(["target", "setting"])
    rows = evidence.rows[evidence.rows["target"] == "energy_wh"]
    found: Numbers = {
        "sound_rows": number(len(rows), f"{len(rows)}"),
        "families": number(rows["family"].nunique(), f"{rows['family'].nunique()}"),
    }
    for target, share in evidence.coverage().items():
        found[f"coverage_{TARGETS.get(target, target)}"] = number(share, percent(share))
    for (target, setting), row in table.iterrows():
        key = f"{TARGETS[target]}_{{}}_{setting}"
        found[key.format("rows")] = number(row["rows"], f"{row['rows']:.0f}")
        found[key.format("r2")] = number(row["r2_log"], f"{row['r2_log']:.3f}")
        found[key.format("error")] = number(row["median_error"], _percent1(row["median_error"]))
        found[key.format("coverage")] = number(row["coverage"], percent(row["coverage"]))
        found[key.format("spearman")] = number(row["spearman"], f"{row['spearman']:.3f}")
    outside = [
        f"{TARGETS[target]} of `{setting}` ({percent(row['coverage'])})"
        for (target, setting), row in table.iterrows()
        if not 0.85 <= row["coverage"] <= 0.95
    ]
    found["coverage_outside"] = number(len(outside), ", ".join(outside) or "none")
    time, energy = (evidence.fitted[target]["interval"] for target in ("time_s", "energy_wh"))
    found["interval_seconds"] = _estimate(time["absolute"], f"{time['absolute']:.0f} s")
    found["interval_wh"] = _estimate(energy["absolute"], f"{energy['absolute']:.1f} Wh")
    lidc = rows[rows["setting"] == "lidc"].assign(factor=lambda r: r["observed"] / r["predicted"])
    order = np.log(lidc["factor"]).abs().sort_values(ascending=False).index
    worst = lidc.loc[order[:5]]
    found["energy_worst"] = number(
        None, ", ".join(f"`{row.model}` (published {row.factor:.2f} times)" for row in worst.itertuples())
    )
    return found


def _coefficients(fitted: dict) -> Numbers:
    time = fitted["time_s"]["coefficients"]
    bandwidth = 1e-9 / time["bytes_moved"]
    conv = 3e-12 / time["conv_flops"]
    return {
        "bandwidth": _estimate(bandwidth, f"{bandwidth:.0f} GB/s"),
        "conv_speed": _estimate(conv, f"{conv:.0f} TFLOP/s"),
        "launch": _estimate(time["operations"], f"{1e6 * time['operations']:.0f} microseconds"),
        "large_depthwise_slower": _estimate(
            time["large_depthwise_flops"] / time["conv_flops"],
            f"{time['large_depthwise_flops'] / time['conv_flops']:.0f}",
        ),
        "inference_share": number(fitted["inference_share"], percent(fitted["inference_share"])),
        "meter_unseen": _estimate(fitted["energy_wh"]["unseen"], f"{fitted['energy_wh']['unseen']:.2f} Wh"),
    }


def _rankings(table: pd.DataFrame) -> Numbers:
    found: Numbers = {}
    for row in table.itertuples():
        key = f"{row.score.lower().replace(' ', '_')}_{row.setting}"
        found[f"rank_{key}"] = number(row.spearman, f"{row.spearman:.3f}")
        found[f"top_{key}"] = number(row.top_ten_overlap, f"{10 * row.top_ten_overlap:.0f} of 10")
    for score in ("E", "M"):
        part = table[table["score"] == score]
        found[f"rank_{score.lower()}_least"] = number(part["spearman"].min(), f"{part['spearman'].min():.3f}")
        same = int(part["same_best"].sum())
        found[f"best_{score.lower()}_same"] = number(same, f"{same} of {len(part)}")
    return found


def _transfer(cpu: pd.DataFrame, table: pd.DataFrame) -> Numbers:
    by = table.set_index("predictor")
    found: Numbers = {"cpu_models": number(len(cpu), f"{len(cpu)}")}
    for predictor, row in by.iterrows():
        name = predictor.rsplit("_", 1)[0]
        found[f"cpu_rank_{name}"] = number(
            row["spearman"], f"{row['spearman']:.2f} ({row['models']:.0f} models)"
        )
    memory = cpu["memory_bytes"].rank().corr(cpu["predicted_memory_bytes"].rank())
    share = (cpu["predicted_memory_bytes"] / cpu["memory_bytes"]).median()
    found["cpu_memory_rank"] = number(memory, f"{memory:.2f}")
    found["cpu_memory_share"] = number(share, percent(share))
    row = by.loc["calibrated_s"]
    found["cpu_error"] = number(row["median_error"], percent(row["median_error"]))
    found["cpu_error_worst"] = number(row["worst_error"], percent(row["worst_error"]))
    found["cpu_tested"] = number(row["tested"], f"{row['tested']:.0f}")
    calibrating = cpu.loc[cpu["calibrating"], "model"]
    found["cpu_calibrating"] = number(None, ", ".join(f"`{name}`" for name in calibrating))
    return found


def _targets(table: pd.DataFrame, outweighed: pd.Series) -> Numbers:
    reached = table.dropna(subset=["energy_to_target_wh"])
    cheapest, median = reached.iloc[0], reached["energy_to_target_wh"].median()
    most = reached.iloc[-1]
    return {
        "target": number(cheapest["target"], f"{100 * cheapest['target']:.1f}%"),
        "target_cheapest": number(None, f"`{cheapest['model']}`"),
        "target_cheapest_wh": _estimate(
            cheapest["energy_to_target_wh"], f"{cheapest['energy_to_target_wh']:.2g} Wh"
        ),
        "target_median_wh": _estimate(median, f"{median:.2g} Wh"),
        "target_dearest": number(None, f"`{most['model']}`"),
        "target_dearest_wh": _estimate(most["energy_to_target_wh"], f"{most['energy_to_target_wh']:.3g} Wh"),
        "target_reached": number(len(reached), f"{len(reached)} of {len(table)}"),
        "inferences_median": _estimate(outweighed.median(), f"{outweighed.median():,.0f}"),
        "inferences_low": _estimate(outweighed.quantile(0.05), f"{outweighed.quantile(0.05):,.0f}"),
        "inferences_high": _estimate(outweighed.quantile(0.95), f"{outweighed.quantile(0.95):,.0f}"),
    }


def _advice(table: pd.DataFrame) -> Numbers:
    found: Numbers = {}
    for row in table.itertuples():
        found[f"advice_{row.case}"] = number(None, f"`{row.model}`")
        found[f"advice_{row.case}_accuracy"] = number(row.performance, f"{100 * row.performance:.1f}%")
        found[f"advice_{row.case}_stability"] = number(row.stability, percent(row.stability))
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
        median_error=table["median_error"].map(_percent1),
        error_90=table["error_90"].map(_percent1),
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


def _estimate(value: float | None, text: str) -> Number:
    return number(value, text, estimate=True)


def _percent1(value: float) -> str:
    return f"{100 * value:.1f}%"


def _named(rows: pd.DataFrame) -> str:
    return ", ".join(f"`{row.model}` ({row.ratio:.2g})" for row in rows.itertuples())


def _rank(first: pd.Series, second: pd.Series) -> tuple[float, str]:
    value = float(first.rank().corr(second.rank()))
    return value, f"{value:.2f}"


def _kwh(value: float) -> str:
    return f"{value:,.0f} kWh" if value >= 10 else f"{value:.2g} kWh"


def _wh(value: float) -> str:
    return _kwh(value / 1000) if value >= 1000 else f"{_rough(value)} Wh"


def _times(value: float) -> str:
    return f"{_rough(value)} times" if value >= 1 else f"{_rough(100 * value)}%"


def _rough(value: float) -> str:
    """A count that is an estimate: two digits that count."""
    return f"{float(f'{value:.2g}'):,.10g}"
