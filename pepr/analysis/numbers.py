"""The numbers of our own runs that prose may quote, in words with units: for the notebooks 03 and 04."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from pepr import datasets, grids as pepr_grids, quantities
from pepr.analysis import carbon, claims as run_claims, energy
from pepr.analysis.claimed.numbers import claim_numbers, order_numbers
from pepr.analysis.leaders import largest_set, leader_numbers
from pepr.analysis.peaks import PeakLocation
from pepr.analysis.ranked import agreement
from pepr.analysis.scores import (
    main_setting,
    model_means,
    on_shared_units,
    primary_resource,
    usual_starts,
    with_sets,
)
from pepr.audit import gates
from pepr.display.numbers import UNKNOWN, Number, Numbers, number
from pepr.display.words import (
    ORIGINS,
    amount,
    between,
    count,
    counted,
    difference,
    fixed,
    grams,
    millions,
    minutes,
    percent,
    performance,
    rounded,
    seconds,
    tenths,
    watts,
    wh,
)
from pepr.errors import NothingToAnalyse
from pepr.models.space import BASELINES
from pepr.quantities import MEASURES, RESOURCES
from pepr.runs.results import Results
from pepr.verdicts import Entry


def where_from(results: Results) -> str:
    """One sentence: whose runs these are, on which hardware, with which software.

    Raises NothingToAnalyse when no run ended well.
    """
    done = results.table.query("status == 'ok'")
    if done.empty:
        kinds = ", ".join(sorted(results.table["failure"].dropna().unique())) or "no run at all"
        path = results.folder / "results.csv"
        raise NothingToAnalyse(f"{path}: no run is ok ({kinds}); see runs/*.json for why")
    hardware = hardware_words(done) or UNKNOWN
    software = "; ".join(sorted(done["software"].dropna().unique())) or UNKNOWN
    return (
        f"Profile {results.profile}: {len(results.table)} runs of {ORIGINS[results.origin]}, "
        f"made on {hardware} with {software}."
    )


def hardware_words(done: pd.DataFrame) -> str:
    """Every kind of hardware of some runs, to stand behind "on". Empty where none is known."""
    return " and on ".join(sorted(done["hardware"].dropna().unique()))


def setting_words(table: pd.DataFrame, setting: str | None) -> str:
    """Of what the figures of one setting of a results table are, in a sentence; empty where it has no run."""
    done = table[(table["setting"] == setting) & (table["status"] == "ok")]
    if done.empty:
        return ""
    of = datasets.find(dataset_of(done, setting)).short_title
    return f"Figures of one setting are of `{setting}`: {of}, on {hardware_words(done) or UNKNOWN}."


def dataset_of(table: pd.DataFrame, setting: str | None) -> str | None:
    """The dataset of a setting; None where it has no run."""
    names = table.loc[table["setting"] == setting, "dataset"]
    return None if names.empty else str(names.iloc[0])


def hardware_of(table: pd.DataFrame, setting: str | None = None) -> str | None:
    """The hardware of most `ok` runs, of one setting or of all; None where none is known."""
    rows = table[table["status"] == "ok"]
    known = (rows if setting is None else rows[rows["setting"] == setting])["hardware"].dropna()
    return None if known.empty else str(known.value_counts().idxmax())


def energy_numbers(results: Results, country: str) -> Numbers:
    """What notebook 03 lets prose quote: the bill, its nature, grids, break-even.

    Raises InputError for a country code that CodeCarbon's table does not have.
    """
    table = results.table
    energies, bill = energy.energy_table(networks_only(table)), energy.study_bill(table)
    estimated = bill["estimated"]
    out: Numbers = {
        f"bill_{window}": number(bill[f"{window}_wh"], wh, estimated)
        for window in (*quantities.WINDOWS, "total")
    }
    out |= {
        "bill_co2": number(bill["co2eq_g"], grams, True),
        "bill_wall_time": number(bill["wall_hours"], minutes(60 * bill["wall_hours"])),
        "energy_nature": number(
            "estimated" if estimated else "measured", "an estimate" if estimated else "a measurement"
        ),
        "gate_violations": number(int((gates.gates(table)["gate"] != gates.DID_LEARN).sum())),
    }
    out |= _power_numbers(energies, estimated) | _extreme_runs(table, energies)
    for component in quantities.COMPONENTS:
        share = energies[f"{component}_wh"].sum() / energies["training_wh"].sum()
        how = energies[f"{component}_how"].dropna().unique()
        words = percent(share) if share else "none"
        out[f"share_{component}"] = number(share, words, estimated and share > 0)
        out[f"how_{component}"] = number(", ".join(sorted(how)).replace("_", " ") or "not metered")
    most = table["train_fraction"] == table["train_fraction"].max()
    full = energies[energies["run_id"].isin(table.loc[most, "run_id"])]
    even = full.groupby("model")["inferences_to_outweigh_training"].median().dropna()
    for name, value in (("inferences", even.median()), ("lowest", even.min()), ("highest", even.max())):
        out[f"break_even_{name}"] = number(value, rounded, estimated)
    out["break_even_networks"] = number(len(even), counted(len(even), "network"))
    grids = _grid_numbers(bill, country) | carbon.study_numbers(table)
    return out | grids | water_numbers(table)


def _power_numbers(energies: pd.DataFrame, estimated: bool) -> Numbers:
    """The lowest and highest mean power, of runs that shared the processor with nothing where there are some:
    the others' clock also ran while they waited. Which those are, by model and setting."""
    contended = energies[energies["contended"]]
    power = energies.loc[~energies["contended"], "power_w"].dropna()
    power = power if len(power) else energies["power_w"]
    words = _cells(contended)
    return {
        "power_lowest": number(power.min(), watts, estimated),
        "power_highest": number(power.max(), watts, estimated),
        "contended_networks": _text(words),
    }


def _cells(runs: pd.DataFrame) -> str:
    """Of which model and setting some runs are, and how many of each."""
    cells = runs.groupby(["model", "setting"]).size()
    return ", ".join(f"{model} in {setting} ({n})" for (model, setting), n in cells.items())


def _extreme_runs(table: pd.DataFrame, energies: pd.DataFrame) -> Numbers:
    """The cheapest and the dearest training run on the hardware of most runs, where two or more shared the
    processor with no program."""
    networks = networks_only(table)
    main = networks["hardware"].eq(hardware_of(networks) or "").fillna(False).astype(bool)
    networks = networks[main | networks["hardware"].isna()]
    energies = energies[energies["run_id"].isin(networks["run_id"])]
    alone = energies[~energies["contended"]].dropna(subset=["training_wh"])
    if len(alone) < 2 or 2 * len(alone) < len(networks):
        return {}
    out = {"extreme_of": number(len(alone), counted(len(alone), "run"))}
    taken = alone["training_wh"]
    for name, at in (("cheapest", taken.idxmin()), ("dearest", taken.idxmax())):
        row = alone.loc[at]
        out |= {
            f"{name}_run_model": number(row["model"]),
            f"{name}_run_setting": number(row["setting"]),
            f"{name}_run_energy": number(row["training_wh"], wh, bool(row["estimated"])),
            f"{name}_run_time": number(row["train_time_s"], seconds),
        }
    return out


def pepr_numbers(
    results: Results,
    scores: pd.DataFrame,
    peaks: list[PeakLocation],
    claims: list[Entry],
    rank_changes: pd.DataFrame,
    standings: pd.DataFrame,
    by_accuracy: pd.DataFrame | None = None,
) -> Numbers:
    """What notebook 04 lets prose quote: the runs, the best models, the peaks, the claims."""
    out = run_numbers(results) | _repeated_numbers(results) | claim_numbers(claims)
    letter = primary_resource(results.table)
    scores = scores[scores["setting"].isin(usual_starts(results.table)["setting"])]
    leaders = leader_numbers(scores, peaks, standings, rank_changes, letter, by_accuracy)
    return out | leaders | _gap_numbers(results)


def _grid_numbers(bill: Mapping[str, float], country: str) -> Numbers:
    grids = pepr_grids.carbon_across_countries(bill["total_wh"] / 1000).set_index("country_code")
    chosen, lowest, highest = grids.loc[pepr_grids.known_country(country)], grids.iloc[0], grids.iloc[-1]
    ratio = highest["co2eq_g"] / lowest["co2eq_g"]
    out = {
        "grid_country": number(country, chosen["country"]),
        "grid_year": number(int(chosen["year"]), str(int(chosen["year"]))),
        "grids": number(len(grids)),
        "grid_ratio": number(ratio, "{:.0f}".format, True),
        "grid_intensity": number(chosen["carbon_intensity"], "{:.0f} g/kWh".format, True),
        "grid_co2": number(chosen["co2eq_g"], grams, True),
    }
    for name, row in (("grid_lowest", lowest), ("grid_highest", highest)):
        out[f"{name}_co2"] = number(row["co2eq_g"], grams, True)
        out[f"{name}_country"] = number(row["country"])
    return out


def water_numbers(table: pd.DataFrame) -> Numbers:
    """The litres of all trainings, where a factor was given for any of them."""
    factors = table["water_l_per_kwh"].dropna().unique()
    if not len(factors):
        return {}
    litres = float(table["water_l"].sum())
    return {
        "bill_water": number(litres, amount("W", litres), True),
        "water_factor": _text(" and ".join(f"{factor:g} L/kWh" for factor in sorted(factors))),
    }


def networks_only(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are of no baseline; all of them where nothing else ended well."""
    networks = table[~table["model"].isin(BASELINES)]
    return networks if (networks["status"] == "ok").any() else table


def run_numbers(results: Results) -> Numbers:
    """How many runs, models, settings and splits there are, and what became of them."""
    table = results.table
    done = table[table["status"] == "ok"]
    failed = table[table["status"] == "failed"]
    letter = primary_resource(table)
    networks, asked = networks_only(done), table[~table["model"].isin(BASELINES)]
    sizes = networks.drop_duplicates("model").dropna(subset=["num_params"]).sort_values("num_params")
    whole = usual_starts(networks[networks["train_fraction"] == 1.0])
    constant = int(asked["constant_predictor"].fillna(False).sum())  # a baseline may be one by design
    flagged = int(table["constant_predictor"].fillna(False).sum())
    out = {
        "origin": number(results.origin, ORIGINS[results.origin]),
        "hardware": _text(hardware_words(done)),
        "software": _text("; ".join(sorted(done["software"].dropna().unique()))),
        "failed_models": number(", ".join(sorted(failed["model"].unique())) or "none"),
        "constant_networks": _text(_cells(asked[asked["constant_predictor"].fillna(False).astype(bool)])),
        "primary_resource": number(letter, RESOURCES[letter].name),
        "primary_score": number(f"PePR-{letter}"),
        "majority_rate": number(None, between(done["test_majority_rate"], percent)),
        **{
            name: number(None, between(column, count))
            for name, column in (
                ("n_train", whole["n_train"]),
                ("n_val", done["n_val"]),
                ("n_test", done["n_test"]),
                ("epochs", networks["epochs"]),
                ("image_size", done["image_size"]),
            )
        },
        **order_numbers(results),
    }
    out |= _last_epoch_numbers(whole[~whole["model"].isin(BASELINES)])
    setting = main_setting(table) or main_setting(table, pretrained=True)
    out["main_setting"] = number(setting, setting or UNKNOWN)
    for name, position in (("smallest", 0), ("largest", -1)) if len(sizes) > 1 else ():
        row = sizes.iloc[position]
        out[f"{name}_model"] = number(row["model"])
        out[f"{name}_model_params"] = number(int(row["num_params"]), millions)
    counts = {
        "runs": len(table),
        "runs_ok": len(done),
        "runs_failed": len(failed),
        "runs_contended": int(table["contended"].fillna(False).sum()),
        "runs_constant": constant,
        "runs_constant_baselines": flagged - constant,
        "networks_runs": len(networks),
        "networks_first_epoch": int((networks["best_epoch"] == 0).sum()),
        "runs_not_learned": int((gates.gates(table)["gate"] == gates.DID_LEARN).sum()),
        "models": networks["model"].nunique(),
        "settings_asked": table["setting"].nunique(),
        "baselines": done.loc[done["model"].isin(BASELINES), "model"].nunique(),
        "settings": done["setting"].nunique(),
        "splits": done.groupby(["dataset", "split"], dropna=False).ngroups,
    }
    return out | {name: number(value) for name, value in counts.items()}


def _repeated_numbers(results: Results) -> Numbers:
    """The networks with most seeds in the four settings: their means over them, in each."""
    done = usual_starts(results.table.query("status == 'ok'"))
    models = run_claims.repeated_networks(done)
    if not models:
        return {"repeated_networks": number(None, UNKNOWN), "repeated_splits": number(0, counted(0, "split"))}
    runs = done[done["model"].isin(models)]
    settings = runs["setting"].nunique()
    named = models[0] if len(models) == 1 else counted(len(models), "network")
    out = {
        "repeated_networks": number(len(models), ", ".join(models)),
        "repeated_mean": number(len(models), named),
        "repeated_splits": number(
            int(runs["split"].nunique(dropna=False)), repeats_words(runs[runs["model"] == models[0]])
        ),
        "repeated_settings": number(settings, counted(settings, "setting")),
    }
    means = model_means(runs)
    for cell, (pretrained, fraction) in run_claims.CELLS.items():
        rows = means[(means["pretrained"].astype(bool) == pretrained) & (means["train_fraction"] == fraction)]
        for measure in MEASURES:
            value = float(rows[measure].mean()) if len(rows) else np.nan
            out[f"repeated_{cell}_{measure}"] = number(value, performance(value, measure))
        of_cell = runs[(runs["pretrained"].astype(bool) == pretrained) & (runs["train_fraction"] == fraction)]
        majority = float(of_cell["test_majority_rate"].mean()) if len(of_cell) else np.nan
        out[f"repeated_{cell}_majority"] = number(majority, performance(majority, "accuracy"))
    return out


def repeats_words(runs: pd.DataFrame) -> str:
    """How often a model was run in each of its settings: on how many splits, with how many seeds."""
    splits = runs.fillna({"split": 0}).groupby("setting")["split"].nunique()
    seeds = runs.groupby("setting")["seed"].nunique()
    words = f"{between(splits, count)} {'split' if splits.max() == 1 else 'splits'}"
    a_split = runs.fillna({"split": 0}).groupby(["setting", "split"])["seed"].nunique()
    if splits.max() == 1:
        return f"{words} with {between(seeds, count)} {'seed' if seeds.max() == 1 else 'seeds'}"
    return f"{words}, {'a seed' if a_split.max() == 1 else f'{between(a_split, count)} seeds'} each"


def timing_numbers(rows: pd.DataFrame, timing: pd.DataFrame | None) -> Numbers:
    """What prose may say of how the times of a set are known, `timing_words` in any case."""
    found = agreement(rows, timing)
    if found is None:
        words = (
            "Times are those of the training itself. These networks were not timed in turn as well, so that "
            "the error of a time is known from repeats alone, and held to be no smaller than what a step "
            "moves under load."
        )
        return {"timing_words": number(None, words)}
    models = len(found.ratios)
    words = (
        f"Times are those of the training itself. As a check, {counted(models, 'network')} were also timed a "
        f"few steps at a time, in {counted(found.rounds, 'round')} of random order: their training took "
        f"{found.ratio:.2f} times its steps at that pace in the middle, Spearman's correlation of the two is "
        f"{fixed(found.rank_correlation, 3)}, and from one network to another they differ by "
        f"{tenths(found.error)} (standard deviation). That is the error of a time in intervals and ranks, "
        "or the scatter of its repeats where it is larger."
    )
    out: Numbers = {
        "timing_words": number(None, words),
        "timing_models": number(models, counted(models, "network")),
        "timing_rounds": number(found.rounds, counted(found.rounds, "round")),
        "timing_ratio": number(found.ratio, "{:.2f}".format),
        "timing_rank_correlation": number(found.rank_correlation, partial(fixed, digits=3)),
        "timing_error": number(found.error, tenths),
    }
    if np.isfinite(found.step_error):
        out["timing_step_error"] = number(found.step_error, tenths)
    return out


def _last_epoch_numbers(whole: pd.DataFrame) -> Numbers:
    """In how many runs on all images the epoch that validation takes is the last, from either start: of the
    networks that have both. None where no network has."""
    scratch = ~whole["pretrained"].astype(bool)
    sides = {"scratch": whole[scratch], "pretrained": whole[~scratch]}
    both = set.intersection(*(set(rows["model"]) for rows in sides.values()))
    out: Numbers = {}
    for start, rows in sides.items() if both else ():
        of_both = rows[rows["model"].isin(both)]
        last = int((of_both["best_epoch"] == of_both["epochs"] - 1).sum())
        out[f"last_epoch_{start}"] = number(last, f"{last:,} of {len(of_both):,}")
    return out


def _gap_numbers(results: Results) -> Numbers:
    table = usual_starts(results.table)
    networks = table[(table["status"] == "ok") & ~table["model"].isin(BASELINES)]
    means = model_means(on_shared_units(with_sets(networks)))
    scratch = means[~means["pretrained"].astype(bool) & (means["train_fraction"] == 1.0)]
    if scratch.empty:
        return {}
    scratch = largest_set(scratch)
    small, large, median = run_claims.small_and_large(scratch)
    if large.empty:
        return {}
    gap = run_claims.pepr_gap(scratch, primary_resource(table))
    return {
        "small_limit_params": number(median, millions),
        "small_models": number(len(small)),
        "large_models": number(len(large)),
        "small_mean_auroc": number(small["auroc"].mean(), "{:.3f}".format),
        "large_mean_auroc": number(large["auroc"].mean(), "{:.3f}".format),
        "pepr_gap": number(gap.whole, difference),
        "pepr_gap_resource_alone": number(gap.by_resource, difference),
    }


def _text(value: str) -> Number:
    return number(value or None, value or UNKNOWN)
