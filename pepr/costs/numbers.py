"""The numbers about predicted costs that prose may quote, in words: for notebook 06 and its chapters."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pepr.costs.fit import Evidence
from pepr.display.numbers import Number, Numbers, number
from pepr.display.words import percent
from pepr.published.tables import SETTINGS

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


def _estimate(value: float, text: str) -> Number:
    return number(value, text, estimate=True)


def _percent1(value: float) -> str:
    return f"{100 * value:.1f}%"
