"""The numbers of the re-analysis that prose may quote, in words: for notebook 05 and its chapters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from pepr import verdicts
from pepr.analysis import carbon
from pepr.analysis.composites import ComparedSet, comparison_numbers, macs_of
from pepr.audit.accuracy import DIGIT_CHANGED
from pepr.audit.finding import Finding
from pepr.audit.power import HOST_POWER_W, LARGEST_PUE
from pepr.audit.table import View
from pepr.display.numbers import Number, Numbers, number
from pepr.display.words import p_value, percent
from pepr.published import reproduction, versions
from pepr.published.audit import GPU_POWER_LIMIT_W
from pepr.published.claims import (
    PAPER,
    PROXY_AT_LEAST,
    SAME_AT_LEAST,
    arithmetic,
    margins_of,
    order,
    same_ranks,
)
from pepr.published.tables import (
    COMMIT,
    EPOCHS,
    N_MODELS,
    SETTINGS,
    TEST_COLUMNS,
    TRAIN_IMAGES,
    Published,
)
from pepr.score import above_chance
from pepr.verdicts import VERDICTS, Entry

IMAGE_SIZES = (256, 224)
"""The authors' images in pixels, and those of architectures that take no such ones."""
SIZE_IN = "small_as_good_in_"
"""How the ids of the claims on size in one setting begin."""
NEARLY_ONE = 0.995
"""From here on two decimals of a correlation read as 1."""
ACCURACY_CLAIMS = ("small_as_good", "tenth", "pretraining", "cnn_as_good", "efficient_more")
"""Claims (the beginnings of their ids) whose effect is a difference of accuracies: no estimate enters."""


def published_numbers(
    tables: Published,
    runs: versions.Versions,
    findings: Sequence[Finding],
    claims: Sequence[Entry],
    peaks: Sequence[reproduction.Peak],
    sensitivity: pd.DataFrame,
    stability: pd.DataFrame,
) -> Numbers:
    """All numbers of namespace `published`, by key."""
    return {
        **_study(tables, runs),
        **_reproduction(tables, runs),
        **_findings(tables, runs, findings),
        **_corrections(runs),
        **_energy(runs),
        **_sensitivity(runs, sensitivity, stability),
        **_peaks(peaks),
        **_claims(claims, runs),
        **composite_numbers(runs),
    }


def points(value: float) -> str:
    """A difference of accuracies in percentage points, signed."""
    return f"{100 * value:+.1f}".replace("-", "−")


def _count(value: float) -> Number:
    return number(int(value), f"{int(value):,}")


def _study(tables: Published, runs: versions.Versions) -> Numbers:
    size = tables.models["num_param"]
    return {
        "models": _count(N_MODELS),
        "settings": _count(len(SETTINGS)),
        "runs": _count(len(tables.results)),
        "epochs": _count(EPOCHS),
        "commit": number(COMMIT, COMMIT[:8]),
        "origin": number(tables.origin, tables.origin),
        "smallest_params": number(int(size.min()), f"{size.min() / 1e6:.1f} million"),
        "largest_params": number(int(size.max()), f"{size.max() / 1e6:.0f} million"),
        "median_params": number(float(size.median()), f"{size.median() / 1e6:.1f} million"),
        "efficient_models": _count(tables.models["efficient"].sum()),
        "gpu_hours": number(
            float(tables.results["train_time"].sum() * EPOCHS / 3600),
            f"{tables.results['train_time'].sum() * EPOCHS / 3600:.0f} hours",
            estimate=True,
        ),
    }


def _energy(runs: versions.Versions) -> Numbers:
    """The energy of all published runs, in four countries: with the corrected table, so an estimate."""
    total = float(runs.corrected["energy"].sum())
    return {"energy_total": number(total, f"{total:.0f} kWh", True), **carbon.grid_numbers(total)}


def _reproduction(tables: Published, runs: versions.Versions) -> Numbers:
    differences = reproduction.score_differences(tables.results).drop(columns=["setting", "rows"])
    largest = float(differences.to_numpy().max())
    best = reproduction.best_models(runs.published)
    five = best[best["place"] != "most accurate"].groupby("setting")["model"].agg(tuple)
    accurate = best[best["place"] == "most accurate"].set_index("setting")["model"]
    agree = sum(five[s] == reproduction.AUTHORS_TOP_FIVE[s] for s in SETTINGS)
    differ = [s for s in SETTINGS if accurate[s] != reproduction.AUTHORS_MOST_ACCURATE[s]]
    tests = reproduction.t_tests(runs.published)
    board = reproduction.imagenet(tables)
    rates = reproduction.publications(tables)
    numbers = {
        "largest_score_difference": number(largest, "exactly zero" if largest == 0 else f"{largest:.1e}"),
        "top_five_agree": number(agree, f"{agree} of {len(SETTINGS)}"),
        "most_accurate_agree": number(
            len(SETTINGS) - len(differ), f"{len(SETTINGS) - len(differ)} of {len(SETTINGS)}"
        ),
        "most_accurate_differ": number(", ".join(differ), ", ".join(differ) or "none"),
        "most_accurate_ours": number(None, ", ".join(accurate[s] for s in differ) or "none"),
        "most_accurate_theirs": number(
            None, ", ".join(reproduction.AUTHORS_MOST_ACCURATE[s] for s in differ) or "none"
        ),
        "imagenet_largest_difference": number(
            float((board["pepr_m"] - board["pepr_m_recomputed"]).abs().max()),
            f"{(board['pepr_m'] - board['pepr_m_recomputed']).abs().max():.0e}",
        ),
        "imagenet_best": number(None, board.loc[board["pepr_m"].idxmax(), "model"]),
        "imagenet_best_own": number(None, board.loc[board["pepr_m_own"].idxmax(), "model"]),
    }
    for key, row in zip(("pretraining", "training_size"), tests.itertuples(), strict=True):
        numbers |= {
            f"{key}_t": number(row.t, f"{row.t:.1f}"),
            f"{key}_p": number(row.p_unpaired, p_value(row.p_unpaired)),
            f"{key}_first": number(row.mean_first, f"{row.mean_first:.1%}"),
            f"{key}_second": number(row.mean_second, f"{row.mean_second:.1%}"),
            f"{key}_paired": number(
                row.difference_paired,
                f"{points(row.difference_paired)} points (95% interval {points(row.low)} to "
                f"{points(row.high)})",
            ),
            f"{key}_effect_size": number(row.effect_size, f"{row.effect_size:.1f}"),
        }
    for region, key in (
        ("Northern Europe", "northern_europe"),
        ("Middle East and North Africa", "middle_east"),
        ("South Asia", "south_asia"),
    ):
        row = rates[(rates["region"] == region) & (rates["year"] == 2023)].iloc[0]
        numbers[f"{key}_published"] = number(row["published"], f"{row['published']:.0f}")
        numbers[f"{key}_mended"] = number(row["corrected"], f"{row['corrected']:.0f}", estimate=True)
    return numbers


def _findings(tables: Published, runs: versions.Versions, findings: Sequence[Finding]) -> Numbers:
    table = runs.published
    by_severity = Counter(finding.severity for finding in findings)
    by_check = Counter((finding.check, finding.severity) for finding in findings)
    named = Counter(finding.check for finding in findings)
    shared = View(table).shared_energy
    power = table["energy"] * 3.6e6 / (EPOCHS * table["train_time"])
    ceiling = (GPU_POWER_LIMIT_W + HOST_POWER_W) * LARGEST_PUE
    sound = power[~power.index.isin(power.index[shared])]
    groups = table[shared].groupby("energy")
    times = groups["train_time"].max() / groups["train_time"].min()
    with_copies = _of_longer_runs(runs)["dataset"].nunique()
    numbers: Numbers = {
        "sharing_settings_low": _count(groups.size().min()),
        "sharing_settings_high": _count(groups.size().max()),
        "sharing_time_ratio": number(float(times.max()), f"{times.max():.0f}"),
        "settings_with_copies": _count(with_copies),
        "findings": _count(len(findings)),
        **{f"findings_{name}s": _count(by_severity[name]) for name in ("error", "warning", "note")},
        **{f"n_{check}": _count(total) for check, total in named.items()},
        **{f"n_{check}_{severity}": _count(total) for (check, severity), total in by_check.items()},
        "copied_rows_share": number(
            len(runs.replaced) / len(table), percent(len(runs.replaced) / len(table))
        ),
        "rows_sharing_energy": _count(int(shared.sum())),
        "values_shared": _count(table.loc[shared, "energy"].nunique()),
        "power_limit": number(GPU_POWER_LIMIT_W, f"{GPU_POWER_LIMIT_W:.0f} W"),
        "power_ceiling": number(ceiling, f"{ceiling:.0f} W", estimate=True),
        "power_largest": number(float(power.max()), f"{power.max():,.0f} W"),
        "power_largest_sound": number(float(sound.max()), f"{sound.max():.0f} W"),
    }
    for setting in SETTINGS:
        count = sum(
            f.check == "copied_energy" and f.severity == "error" and f.setting == setting for f in findings
        )
        numbers[f"copied_energy_{setting}"] = _count(count)
        numbers[f"never_above_majority_{setting}"] = _count(
            sum(f.check == "never_above_majority" and f.setting == setting for f in findings)
        )
    return {**numbers, **_special_findings(tables, findings)}


def _special_findings(tables: Published, findings: Sequence[Finding]) -> Numbers:
    edited = [f for f in findings if f.cause == DIGIT_CHANGED]
    joined = [f for f in findings if f.check == "joined_to_other_model"]
    fallback = [f for f in findings if f.check == "carbon_fallback"]
    intensity = [f for f in findings if f.check == "carbon_intensity_varies"]
    lowest, highest = min(f.expected for f in intensity), max(f.value for f in intensity)
    view = View(tables.results)
    n_test = dict(zip(tables.results["dataset"], view.n_test, strict=True))
    norway = tables.regions_2023.set_index("name").loc["Norway", "pop"]
    return {
        "digit_rows": _count(len(edited)),
        "digit_count": _count(round((edited[0].value % 0.1) * n_test["derma"])),
        **{f"n_test_{name}": _count(n_test[name]) for name in ("derma", "lidc", "pneumonia")},
        "train_images_smallest": _count(TRAIN_IMAGES["derma_smallest"]),
        "digit_models": number(None, _names(f"{f.model} in {f.setting}" for f in edited)),
        "digit_values": number(None, _names(f"{f.value:.7f}" for f in edited)),
        "joins_zero": _count(sum(f.value == 0 for f in joined)),
        "joins_other": _count(sum(f.value != 0 for f in joined)),
        "fallback_intensity": number(fallback[0].value, f"{fallback[0].value:.0f} g/kWh"),
        "local_intensity": number(fallback[0].expected, f"{fallback[0].expected:.0f} g/kWh"),
        "intensity_lowest": number(lowest, f"{lowest:.0f}"),
        "intensity_highest": number(highest, f"{highest:.0f} g/kWh"),
        "norway_population": _count(norway),
        "collapsed_models": number(
            None, _names(f"{f.model} in {f.setting}" for f in findings if f.check == "collapsed_run")
        ),
        "copied_row_models": number(None, _names(f.model for f in findings if f.check == "copied_row")),
    }


def _names(values: Iterable[str | None]) -> str:
    return ", ".join(str(value) for value in values) or "none"


def _of_longer_runs(runs: versions.Versions) -> pd.DataFrame:
    """The replaced rows whose energy is that of a longer run: more than a tenth above their own time's."""
    return runs.replaced[runs.replaced["energy"] > 1.1 * runs.replaced["estimate"]]


def _corrections(runs: versions.Versions) -> Numbers:
    longer = _of_longer_runs(runs)
    ratio = longer["energy"] / longer["estimate"]
    return {
        "copied_longer": _count(len(longer)),
        "copied_equal": _count(len(runs.replaced) - len(longer)),
        "table_versions": _count(len(runs.tables())),
        "dropped": _count(len(runs.dropped)),
        "replaced": _count(len(runs.replaced)),
        "reduced_runs": _count(len(runs.reduced)),
        "line_slope_low": number(float(runs.lines["slope_w"].min()), f"{runs.lines['slope_w'].min():.0f} W"),
        "line_slope_high": number(float(runs.lines["slope_w"].max()), f"{runs.lines['slope_w'].max():.0f} W"),
        "line_error": number(
            float(runs.lines["median_error"].max()), f"{runs.lines['median_error'].max():.1%}"
        ),
        "copy_ratio_low": number(float(ratio.min()), f"{ratio.min():.1f}"),
        "copy_ratio_high": number(float(ratio.max()), f"{ratio.max():.0f}"),
    }


def _sensitivity(runs: versions.Versions, rows: pd.DataFrame, stability: pd.DataFrame) -> Numbers:
    numbers: Numbers = {}
    corrected = rows[(rows["table"] == "corrected") & (rows["normalisation"] == "min-max")]
    for row in corrected.itertuples():
        numbers |= {
            f"spearman_{row.setting}": number(row.spearman, f"{row.spearman:.2f}", estimate=True),
            f"top_ten_{row.setting}": number(
                row.top_ten_overlap, f"{10 * row.top_ten_overlap:.0f} of 10", estimate=True
            ),
            f"best_{row.setting}": number(None, row.best_published),
            f"best_corrected_{row.setting}": number(None, row.best),
        }
    changed = [row.setting for row in corrected.itertuples() if row.best != row.best_published]
    numbers["best_changed"] = number(len(changed), f"{len(changed)} of {len(SETTINGS)}", estimate=True)
    numbers["best_changed_settings"] = number(None, _names(changed))
    for row in stability.itertuples():
        numbers[f"combinations_{row.setting}"] = _count(row.combinations)
        numbers[f"most_often_{row.setting}"] = number(None, row.most_often)
        numbers[f"winner_share_{row.setting}"] = number(row.share, percent(row.share))
        numbers[f"different_winners_{row.setting}"] = _count(row.different_winners)
    numbers["combinations"] = _count(stability["combinations"].max())
    numbers["different_winners_most"] = _count(stability["different_winners"].max())
    outliers = reproduction.outlier_effect(runs.published)
    numbers |= {
        "outlier_model": number(None, outliers["outlier"].value_counts().index[0]),
        "outlier_moved_low": _count(outliers["ranks_moved"].min()),
        "outlier_moved_high": _count(outliers["ranks_moved"].max()),
        "outlier_largest_move": _count(np.floor(outliers["largest_move"].max())),
        "outlier_winner_changed": _count((outliers["best_before"] != outliers["best_after"]).sum()),
    }
    return numbers


def _peaks(peaks: Sequence[reproduction.Peak]) -> Numbers:
    numbers: Numbers = {}
    for peak in peaks:
        key, estimate = f"peak_{peak.table}_{peak.setting}", peak.table == "corrected"
        numbers |= {
            f"{key}_model": number(None, peak.model),
            f"{key}_score": number(peak.score, f"{peak.score:.3f}", estimate),
            f"{key}_place": number(
                peak.energy_norm, f"{peak.energy_norm:.3f} ({peak.low:.3f} to {peak.high:.3f})", estimate
            ),
            f"{key}_wh": number(1000 * peak.energy_kwh, f"{1000 * peak.energy_kwh:.3g} Wh", estimate),
            f"{key}_probability": number(peak.probability, percent(peak.probability), estimate),
        }
    largest = max(peak.energy_norm for peak in peaks)
    numbers["peak_place_largest"] = number(largest, f"{largest:.1%}", estimate=True)
    return numbers


def _claims(claims: Sequence[Entry], runs: versions.Versions) -> Numbers:
    margins, order_of_claims = margins_of(runs.published), order()
    numbers: Numbers = {
        "claims": _count(len(claims)),
        "margin": number(
            order_of_claims.margin_share, f"{percent(order_of_claims.margin_share)} of the range above chance"
        ),
        "margin_lowest": number(min(margins.values()), f"{100 * min(margins.values()):.1f}"),
        "margin_highest": number(max(margins.values()), f"{100 * max(margins.values()):.1f}"),
        "margin_reason": number(None, order_of_claims.margin_reason),
        **{f"margin_{name}": number(m, f"{100 * m:.1f} points") for name, m in margins.items()},
        "alpha": number(verdicts.ALPHA, f"{verdicts.ALPHA}"),
        "proxy_at_least": number(PROXY_AT_LEAST, f"{PROXY_AT_LEAST}"),
        "same_at_least": number(SAME_AT_LEAST, f"{SAME_AT_LEAST}"),
        "claims_changed": _count(
            sum(_settled(c["verdict"]) != _settled(c["verdict_corrected"]) for c in claims)
        ),
        "claims_paper": _count(sum(claim["whose"] == PAPER for claim in claims)),
        "claims_here": _count(sum(claim["whose"] != PAPER for claim in claims)),
        "claims_primary": _count(sum(claim["role"] == verdicts.PRIMARY for claim in claims)),
    }
    for side in ("verdict", "verdict_corrected"):
        counts = Counter(claim[side] for claim in claims)
        suffix = side.removeprefix("verdict")
        numbers |= {f"claims_{verdict}{suffix}": _count(counts[verdict]) for verdict in VERDICTS}
    for claim in claims:
        for suffix in ("", "_corrected"):
            estimate = bool(suffix) and not claim["id"].startswith(ACCURACY_CLAIMS)
            numbers[f"claim_{claim['id']}{suffix}"] = number(
                claim[f"effect{suffix}"], effect_words(claim, suffix), estimate
            )
            numbers[f"verdict_{claim['id']}{suffix}"] = number(
                claim[f"verdict{suffix}"], VERDICTS[claim[f"verdict{suffix}"]]
            )
    return numbers | _arithmetic(runs) | size_numbers(claims) | by_construction(runs)


def size_numbers(claims: Sequence[Entry]) -> Numbers:
    """Small against large models in every setting by itself, on the corrected tables: a table, the verdicts,
    and in how many settings the small ones are worse with their whole interval."""
    of_id = {claim["id"]: claim for claim in claims}
    found = {setting: of_id[f"{SIZE_IN}{setting}"] for setting in SETTINGS}
    lines = ["| Setting | Small minus large | Verdict |", "| --- | --- | --- |"]
    lines += [
        f"| `{name}` | {effect_words(claim, '_corrected')} | {VERDICTS[claim['verdict_corrected']]} |"
        for name, claim in found.items()
    ]
    counts = Counter(claim["verdict_corrected"] for claim in found.values())
    words = ", ".join(f"{counts[name]} {text}" for name, text in VERDICTS.items() if counts[name])
    worse = sum(claim["high_corrected"] < 0 for claim in found.values())
    return {
        "small_by_setting": number(None, "\n".join(lines)),
        "small_verdicts": number(None, words),
        "small_worse_settings": number(worse, f"{worse} of {len(found)} settings"),
    }


def by_construction(runs: versions.Versions) -> Numbers:
    """How far PePR-E and PePR-T are alike only because an energy was put in as a line in time."""
    share, found = float((runs.corrected["energy_kind"] == "estimated").mean()), same_ranks("T")(runs.reduced)
    entry = {"id": "e_and_t", "effect": found.effect, "low": found.low, "high": found.high}
    return {
        "corrected_by_time_share": number(share, percent(share)),
        "e_and_t_reduced": number(found.effect, effect_words(entry, "")),
    }


def _arithmetic(runs: versions.Versions) -> Numbers:
    """What the score does by its arithmetic, in the form of a claim's effect, without a verdict."""
    numbers: Numbers = {}
    for suffix, table in (("", runs.published), ("_corrected", runs.corrected)):
        for name, result in arithmetic(table).items():
            found = {"id": name} | {
                f"{key}{suffix}": getattr(result, key) for key in ("effect", "low", "high")
            }
            words = effect_words(found, suffix)
            numbers[f"claim_{name}{suffix}"] = number(result.effect, words, bool(suffix))
    return numbers


def _settled(verdict: str) -> str:
    return verdict.removesuffix("_with_correction") if verdict != "equivalent" else "supported"


def effect_words(claim: Entry, suffix: str) -> str:
    """A claim's effect with its interval, in words; why there is none where signs differ."""
    values = [claim[f"{name}{suffix}"] for name in ("effect", "low", "high")]
    if values[0] is None:
        return "no average: the signs differ"
    if claim["id"].startswith(ACCURACY_CLAIMS):
        effect, low, high = (points(value) for value in values)
        return f"{effect} points ({low} to {high})"
    if claim["id"].startswith("small_advantage"):
        effect, low, high = (percent(value) for value in values)
        return f"{effect} ({low} to {high})"
    digits = 2 if max(map(abs, values)) < NEARLY_ONE else 4
    effect, low, high = (f"{value:.{digits}f}".replace("-", "−") for value in values)
    return f"{effect} ({low} to {high})"


def verdict_table(claims: Sequence[Entry]) -> pd.DataFrame:
    """The claims with effect, interval and verdict on each table, in words: the table to read first."""
    told = claims[0]["verdict_history"] is not None
    by_history = {
        "by history": [effect_words(claim, "_history") for claim in claims] if told else [],
        "verdict, by history": [VERDICTS[claim["verdict_history"]] for claim in claims] if told else [],
    }
    return pd.DataFrame(
        {
            "claim": [claim["claim"] for claim in claims],
            "of": [claim["whose"] for claim in claims],
            "role": [claim["role"] for claim in claims],
            "published": [effect_words(claim, "") for claim in claims],
            "verdict": [VERDICTS[claim["verdict"]] for claim in claims],
            "corrected": [effect_words(claim, "_corrected") for claim in claims],
            "verdict, corrected": [VERDICTS[claim["verdict_corrected"]] for claim in claims],
            **(by_history if told else {}),
            "paper's evidence": [claim["evidence"] for claim in claims],
        }
    )


def compared_sets(runs: versions.Versions) -> list[ComparedSet]:
    """The settings of the corrected table; accuracy is that after the last epoch, and chance the share of the
    largest class of the test images, as the published accuracies tell it."""
    table, view = runs.corrected, View(runs.published)
    majority = {name: _majority(rates) for name, rates in zip(view.settings, view.class_rates, strict=True)}
    found = []
    for setting in SETTINGS:
        rows = table[table["dataset"] == setting]
        accuracy = rows[TEST_COLUMNS[-1]].to_numpy(np.float64)
        found.append(
            ComparedSet(
                name=setting,
                measure="accuracy",
                chance=majority[setting],
                models=list(rows["model"]),
                performance=accuracy,
                above=above_chance(accuracy, majority[setting]),
                energy_wh=1000 * rows["energy"].to_numpy(np.float64),
                num_params=rows["num_param"].to_numpy(np.float64),
                macs=np.array([macs_of(model, IMAGE_SIZES) for model in rows["model"]]),
            )
        )
    return found


def _majority(rates: set[float]) -> float:
    """The share of the largest class; the median of its rates where a last batch was dropped at random."""
    larger = [rate for rate in rates if rate >= 0.5]
    return float(np.median(larger)) if larger else np.nan


def composite_numbers(runs: versions.Versions) -> Numbers:
    """The numbers of the comparison for prose; energies of the corrected table are estimates."""
    sets = compared_sets(runs)
    return comparison_numbers(sets, sets, estimated=True)
