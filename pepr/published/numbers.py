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
from pepr.display.numbers import Numbers, number
from pepr.display.words import between, count, difference, fixed, markdown, millions, p_value, percent, tenths
from pepr.published import reproduction, versions
from pepr.published.audit import GPU_POWER_LIMIT_W
from pepr.published.claims import (
    PAPER,
    POOLS,
    PROXY_AT_LEAST,
    arithmetic,
    margins_of,
    order,
    same_ranks,
)
from pepr.published.families import means_by_model
from pepr.published.pretraining import SCRATCH
from pepr.published.reliability import test_images
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
    return difference(100 * value, 1)


def _study(tables: Published, runs: versions.Versions) -> Numbers:
    size, hours = tables.models["num_param"], tables.results["train_time"].sum() * EPOCHS / 3600
    drawn = runs.corrected["dataset"].value_counts()[list(POOLS["pretrained_full"])]
    return {
        "models": number(N_MODELS),
        "panel_models": number(drawn.min(), between(drawn, count)),
        "settings": number(len(SETTINGS)),
        "runs": number(len(tables.results)),
        "epochs": number(EPOCHS),
        "commit": number(COMMIT, COMMIT[:8]),
        "origin": number(tables.origin),
        "smallest_params": number(int(size.min()), millions),
        "largest_params": number(int(size.max()), f"{size.max() / 1e6:.0f} million"),
        "median_params": number(float(size.median()), millions),
        "efficient_models": number(tables.models["efficient"].sum()),
        "gpu_hours": number(hours, "{:.0f} hours".format, estimate=True),
    }


def start_words(setting: str) -> str:
    """What the models of a setting start from, in words."""
    return "from scratch" if setting == SCRATCH else "from ImageNet weights"


def _images_words(setting: str) -> str:
    """The training images of a setting, and their share of the largest setting's of the same data set."""
    data = setting.split("_")[0]
    share = TRAIN_IMAGES[setting] / max(n for name, n in TRAIN_IMAGES.items() if name.split("_")[0] == data)
    return f"{TRAIN_IMAGES[setting]:,} ({percent(share)})"


def _energy(runs: versions.Versions) -> Numbers:
    """The energy of all published runs, in four countries: with the corrected table, so an estimate."""
    total = float(runs.corrected["energy"].sum())
    return {"energy_total": number(total, "{:.0f} kWh".format, True), **carbon.grid_numbers(total)}


def _reproduction(tables: Published, runs: versions.Versions) -> Numbers:
    differences = reproduction.score_differences(tables.results).drop(columns=["setting", "rows"])
    largest = float(differences.to_numpy().max())
    best = reproduction.best_models(runs.published)
    five = best[best["place"] != "most accurate"].groupby("setting")["model"].agg(tuple)
    accurate = best[best["place"] == "most accurate"].set_index("setting")["model"]
    agree = sum(five[s] == reproduction.AUTHORS_TOP_FIVE[s] for s in SETTINGS)
    differ = [s for s in SETTINGS if accurate[s] != reproduction.AUTHORS_MOST_ACCURATE[s]]
    tests = reproduction.t_tests(runs.published)
    board, rates = reproduction.imagenet(tables), reproduction.publications(tables)
    alike = len(SETTINGS) - len(differ)
    numbers = {
        "largest_score_difference": number(largest, "exactly zero" if largest == 0 else f"{largest:.1e}"),
        "top_five_agree": number(agree, f"{agree} of {len(SETTINGS)}"),
        "most_accurate_agree": number(alike, f"{alike} of {len(SETTINGS)}"),
        "most_accurate_differ": number(", ".join(differ), ", ".join(differ) or "none"),
        "most_accurate_ours": number(None, _names(accurate[s] for s in differ)),
        "most_accurate_theirs": number(None, _names(reproduction.AUTHORS_MOST_ACCURATE[s] for s in differ)),
        "imagenet_best_own": number(None, board.loc[board["pepr_m_own"].idxmax(), "model"]),
    }
    for key, row in zip(("pretraining", "training_size"), tests.itertuples(), strict=True):
        numbers |= {
            f"{key}_t": number(row.t, "{:.1f}".format),
            f"{key}_p": number(row.p_unpaired, p_value),
            f"{key}_first": number(row.mean_first, tenths),
            f"{key}_second": number(row.mean_second, tenths),
            f"{key}_paired": number(
                row.difference_paired,
                f"{points(row.difference_paired)} points (95% interval {points(row.low)} to "
                f"{points(row.high)})",
            ),
        }
    for region, key in (
        ("Northern Europe", "northern_europe"),
        ("Middle East and North Africa", "middle_east"),
    ):
        row = rates[(rates["region"] == region) & (rates["year"] == 2023)].iloc[0]
        numbers[f"{key}_published"] = number(row["published"], "{:.0f}".format)
        numbers[f"{key}_mended"] = number(row["corrected"], "{:.0f}".format, estimate=True)
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
        "sharing_settings_low": number(groups.size().min()),
        "sharing_settings_high": number(groups.size().max()),
        "sharing_time_ratio": number(float(times.max()), "{:.0f}".format),
        "settings_with_copies": number(with_copies),
        "findings": number(len(findings)),
        **{f"findings_{name}s": number(by_severity[name]) for name in ("error", "warning", "note")},
        **{f"n_{check}": number(total) for check, total in named.items()},
        **{f"n_{check}_{severity}": number(total) for (check, severity), total in by_check.items()},
        "copied_rows_share": number(len(runs.replaced) / len(table), percent),
        "rows_sharing_energy": number(int(shared.sum())),
        "values_shared": number(table.loc[shared, "energy"].nunique()),
        "power_limit": number(GPU_POWER_LIMIT_W, "{:.0f} W".format),
        "power_ceiling": number(ceiling, "{:.0f} W".format, estimate=True),
        "power_largest": number(float(power.max()), "{:,.0f} W".format),
        "power_largest_sound": number(float(sound.max()), "{:.0f} W".format),
    }
    for setting in SETTINGS:
        here = [f for f in findings if f.setting == setting]
        copied = sum(f.check == "copied_energy" and f.severity == "error" for f in here)
        numbers[f"copied_energy_{setting}"] = number(copied)
        constant = sum(f.check == "never_above_majority" for f in here)
        numbers[f"never_above_majority_{setting}"] = number(constant)
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
        "digit_count": number(round((edited[0].value % 0.1) * n_test["derma"])),
        **{f"n_test_{name}": number(int(n_test[name])) for name in ("derma", "lidc")},
        "train_images_smallest": number(TRAIN_IMAGES["derma_smallest"]),
        "digit_models": number(None, _names(f"{f.model} in {f.setting}" for f in edited)),
        "digit_values": number(None, _names(f"{f.value:.7f}" for f in edited)),
        "joins_zero": number(sum(f.value == 0 for f in joined)),
        "joins_other": number(sum(f.value != 0 for f in joined)),
        "fallback_intensity": number(fallback[0].value, "{:.0f} g/kWh".format),
        "local_intensity": number(fallback[0].expected, "{:.0f} g/kWh".format),
        "intensity_lowest": number(lowest, "{:.0f}".format),
        "intensity_highest": number(highest, "{:.0f} g/kWh".format),
        "norway_population": number(norway),
        "collapsed_models": number(
            None, _names(f"{f.model} in {f.setting}" for f in findings if f.check == "collapsed_run")
        ),
        "copied_row_models": number(None, _names(f.model for f in findings if f.check == "copied_row")),
    }


def top_ten_words(overlap: float) -> str:
    """A share of the ten best as their number."""
    return f"{10 * overlap:.0f} of 10"


def _names(values: Iterable[str | None]) -> str:
    return ", ".join(str(value) for value in values) or "none"


def _of_longer_runs(runs: versions.Versions) -> pd.DataFrame:
    """The replaced rows whose energy is that of a longer run: more than a tenth above their own time's."""
    return runs.replaced[runs.replaced["energy"] > 1.1 * runs.replaced["estimate"]]


def _corrections(runs: versions.Versions) -> Numbers:
    longer = _of_longer_runs(runs)
    ratio = longer["energy"] / longer["estimate"]
    return {
        "complete_models": number(len(means_by_model(runs.corrected))),
        "copied_longer": number(len(longer)),
        "copied_equal": number(len(runs.replaced) - len(longer)),
        "table_versions": number(len(runs.tables())),
        "dropped": number(len(runs.dropped)),
        "replaced": number(len(runs.replaced)),
        "reduced_runs": number(len(runs.reduced)),
        "line_slope_low": number(runs.lines["slope_w"].min(), "{:.0f} W".format),
        "line_slope_high": number(runs.lines["slope_w"].max(), "{:.0f} W".format),
        "line_error": number(runs.lines["median_error"].max(), tenths),
        "copy_ratio_low": number(ratio.min(), "{:.1f}".format),
        "copy_ratio_high": number(ratio.max(), "{:.0f}".format),
    }


def _sensitivity(runs: versions.Versions, rows: pd.DataFrame, stability: pd.DataFrame) -> Numbers:
    numbers: Numbers = {}
    corrected = rows[(rows["table"] == "corrected") & (rows["normalisation"] == "min-max")]
    for row in corrected.itertuples():
        numbers |= {
            f"spearman_{row.setting}": number(row.spearman, "{:.2f}".format, estimate=True),
            f"top_ten_{row.setting}": number(row.top_ten_overlap, top_ten_words, estimate=True),
            f"best_{row.setting}": number(None, row.best_published),
            f"best_corrected_{row.setting}": number(None, row.best),
        }
    changed = [row.setting for row in corrected.itertuples() if row.best != row.best_published]
    numbers["best_changed"] = number(len(changed), f"{len(changed)} of {len(SETTINGS)}", estimate=True)
    numbers["best_changed_settings"] = number(None, _names(changed))
    for row in stability.itertuples():
        numbers[f"most_often_{row.setting}"] = number(None, row.most_often)
        numbers[f"winner_share_{row.setting}"] = number(row.share, percent)
        numbers[f"different_winners_{row.setting}"] = number(row.different_winners)
    numbers["combinations"] = number(stability["combinations"].max())
    outliers = reproduction.outlier_effect(runs.published)
    numbers |= {
        "outlier_model": number(None, outliers["outlier"].value_counts().index[0]),
        "outlier_moved_low": number(outliers["ranks_moved"].min()),
        "outlier_moved_high": number(outliers["ranks_moved"].max()),
        "outlier_largest_move": number(int(outliers["largest_move"].max())),
        "outlier_winner_changed": number((outliers["best_before"] != outliers["best_after"]).sum()),
    }
    return numbers


def _peaks(peaks: Sequence[reproduction.Peak]) -> Numbers:
    numbers: Numbers = {}
    for peak in peaks:
        key, estimate = f"peak_{peak.table}_{peak.setting}", peak.table == "corrected"
        numbers |= {
            f"{key}_model": number(None, peak.model),
            f"{key}_place": number(
                peak.energy_norm, f"{peak.energy_norm:.3f} ({peak.low:.3f} to {peak.high:.3f})", estimate
            ),
            f"{key}_wh": number(1000 * peak.energy_kwh, f"{1000 * peak.energy_kwh:.3g} Wh", estimate),
            f"{key}_probability": number(peak.probability, percent, estimate),
        }
    largest = max(peak.energy_norm for peak in peaks)
    numbers["peak_place_largest"] = number(largest, tenths, estimate=True)
    return numbers


def _claims(claims: Sequence[Entry], runs: versions.Versions) -> Numbers:
    margins, order_of_claims = margins_of(runs.published), order()
    numbers: Numbers = {
        "claims": number(len(claims)),
        "margin": number(
            order_of_claims.margin_share, f"{percent(order_of_claims.margin_share)} of the range above chance"
        ),
        "margin_lowest": number(min(margins.values()), f"{100 * min(margins.values()):.1f}"),
        "margin_highest": number(max(margins.values()), f"{100 * max(margins.values()):.1f}"),
        "margin_reason": number(None, order_of_claims.margin_reason),
        **{f"margin_{name}": number(m, f"{100 * m:.1f} points") for name, m in margins.items()},
        "alpha": number(verdicts.ALPHA),
        "proxy_at_least": number(PROXY_AT_LEAST),
        "claims_changed": number(
            sum(_settled(c["verdict"]) != _settled(c["verdict_corrected"]) for c in claims)
        ),
        "claims_paper": number(sum(claim["whose"] == PAPER for claim in claims)),
        "claims_here": number(sum(claim["whose"] != PAPER for claim in claims)),
        "claims_primary": number(sum(claim["role"] == verdicts.PRIMARY for claim in claims)),
    }
    for side in ("verdict", "verdict_corrected"):
        counts = Counter(claim[side] for claim in claims)
        suffix = side.removeprefix("verdict")
        numbers |= {f"claims_{verdict}{suffix}": number(counts[verdict]) for verdict in VERDICTS}
    for claim in claims:
        for suffix in ("", "_corrected"):
            estimate = bool(suffix) and not claim["id"].startswith(ACCURACY_CLAIMS)
            numbers[f"claim_{claim['id']}{suffix}"] = number(
                claim[f"effect{suffix}"], effect_words(claim, suffix), estimate
            )
            numbers[f"verdict_{claim['id']}{suffix}"] = number(claim[f"verdict{suffix}"], VERDICTS.get)
    return numbers | _arithmetic(runs) | size_numbers(claims) | by_construction(runs)


def size_numbers(claims: Sequence[Entry]) -> Numbers:
    """Small against large models in every setting by itself, on the corrected tables: a table, the verdicts,
    and in how many settings the small ones are worse with their whole interval."""
    of_id = {claim["id"]: claim for claim in claims}
    found = {setting: of_id[f"{SIZE_IN}{setting}"] for setting in SETTINGS}
    table = markdown(
        {
            "Setting": f"`{name}`",
            "Starts from": "scratch" if name == SCRATCH else "ImageNet",
            "Training images": _images_words(name),
            "Small minus large": effect_words(claim, "_corrected"),
            "Verdict": VERDICTS[claim["verdict_corrected"]],
        }
        for name, claim in found.items()
    )
    counts = Counter(claim["verdict_corrected"] for claim in found.values())
    words = ", ".join(f"{counts[name]} {text}" for name, text in VERDICTS.items() if counts[name])
    worse = sum(claim["high_corrected"] < 0 for claim in found.values())
    return {
        "small_by_setting": number(None, table),
        "small_verdicts": number(None, words),
        "small_worse_settings": number(worse, f"{worse} of {len(found)} settings"),
    }


def by_construction(runs: versions.Versions) -> Numbers:
    """How far PePR-E and PePR-T are alike only because an energy was put in as a line in time."""
    share, found = float((runs.corrected["energy_kind"] == "estimated").mean()), same_ranks("T")(runs.reduced)
    entry = {"id": "e_and_t", "effect": found.effect, "low": found.low, "high": found.high}
    return {
        "corrected_by_time_share": number(share, percent),
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
    """A claim's effect with its interval, in words; why there is none where signs differ. An equivalence
    has the interval of its two one-sided tests, which says that it is one of 90%."""
    values = [claim[f"{name}{suffix}"] for name in ("effect", "low", "high")]
    if values[0] is None:
        return "no average: the signs differ"
    if claim["id"].startswith(ACCURACY_CLAIMS):
        effect, low, high = (points(value) for value in values)
        level = "90%: " if claim.get("margin") is not None else ""
        return f"{effect} points ({level}{low} to {high})"
    if claim["id"].startswith("small_advantage"):
        effect, low, high = (percent(value) for value in values)
    else:
        digits = 2 if max(map(abs, values)) < NEARLY_ONE else 4
        effect, low, high = (fixed(value, digits) for value in values)
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
    n_test = test_images(runs.published)
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
                n_test=n_test[setting],
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
    found = comparison_numbers(sets, sets, estimated=True, margin=order().margin)
    settings = {key: found[f"{key}_set"]["value"] for key in ("compared_worst", "compared_guesser")}
    return found | {f"{key}_start": number(None, start_words(str(name))) for key, name in settings.items()}
