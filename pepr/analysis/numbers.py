"""The numbers of our own runs that prose may quote, in words with units: for the notebooks 03 and 04."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pepr import grids as pepr_grids, quantities
from pepr.analysis import carbon, claims as run_claims, energy, order as claim_order
from pepr.analysis.peaks import PeakLocation
from pepr.analysis.scores import model_means, primary_resource
from pepr.audit import gates
from pepr.display.numbers import UNKNOWN, Number, Numbers, number
from pepr.display.words import (
    ORIGINS,
    amount,
    count,
    difference,
    difference_points,
    grams,
    millions,
    minutes,
    p_value,
    percent,
    performance,
    seconds,
    watts,
    wh,
)
from pepr.errors import InputError, NothingToAnalyse
from pepr.models.space import BASELINES
from pepr.quantities import MEASURES, RESOURCES
from pepr.runs.results import Results
from pepr.verdicts import PRIMARY, Entry

WITHDRAWN = (
    " They are withdrawn as evidence: they are older than the heads and the splits that this book describes, "
    "and show how results are read until they are made again."
)


def where_from(results: Results) -> str:
    """One sentence: whose runs these are, on which hardware, with which software.

    Raises NothingToAnalyse when no run ended well.
    """
    done = results.table.query("status == 'ok'")
    if done.empty:
        kinds = ", ".join(sorted(results.table["failure"].dropna().unique())) or "no run at all"
        path = results.folder / "results.csv"
        raise NothingToAnalyse(f"{path}: no run is ok ({kinds}); see runs/*.json for why")
    hardware = "; ".join(sorted(done["hardware"].dropna().unique())) or UNKNOWN
    software = "; ".join(sorted(done["software"].dropna().unique())) or UNKNOWN
    return (
        f"Profile {results.profile}: {len(results.table)} runs of {ORIGINS[results.origin]}, "
        f"made on {hardware} with {software}." + withdrawn(done)
    )


def withdrawn(done: pd.DataFrame) -> str:
    """A sentence for runs whose design the study has given up: records without a numbered split are older
    than the heads and the splits of today. Empty for others."""
    return WITHDRAWN if done["split"].isna().any() else ""


def energy_numbers(results: Results, country: str) -> Numbers:
    """What notebook 03 lets prose quote: the bill, its nature, grids, break-even, energy to a target.

    Raises InputError for a country code that CodeCarbon's table does not have.
    """
    table, records = results.table, results.records()
    energies, bill = energy.energy_table(networks_only(table)), energy.study_bill(table)
    estimated = bill["estimated"]
    out: Numbers = {
        f"bill_{window}": number(bill[f"{window}_wh"], wh(bill[f"{window}_wh"]), estimated)
        for window in (*quantities.WINDOWS, "total")
    }
    out |= {
        "bill_co2": number(bill["co2eq_g"], grams(bill["co2eq_g"]), True),
        "bill_metered_time": number(bill["metered_hours"], minutes(60 * bill["metered_hours"])),
        "bill_wall_time": number(bill["wall_hours"], minutes(60 * bill["wall_hours"])),
        "energy_nature": number(
            "estimated" if estimated else "measured", "an estimate" if estimated else "a measurement"
        ),
        "gate_violations": _count((gates.gates(table)["gate"] != gates.DID_LEARN).sum()),
        "power_lowest": number(energies["power_w"].min(), watts(energies["power_w"].min()), estimated),
        "power_highest": number(energies["power_w"].max(), watts(energies["power_w"].max()), estimated),
    }
    for name, row in (
        ("cheapest", _extreme(energies, "training_wh", min)),
        ("dearest", _extreme(energies, "training_wh", max)),
    ):
        out |= {
            f"{name}_run_model": number(row["model"], row["model"]),
            f"{name}_run_setting": number(row["setting"], row["setting"]),
            f"{name}_run_energy": number(row["training_wh"], wh(row["training_wh"]), bool(row["estimated"])),
            f"{name}_run_time": number(row["train_time_s"], seconds(row["train_time_s"])),
        }
    for component in quantities.COMPONENTS:
        share = energies[f"{component}_wh"].sum() / energies["training_wh"].sum()
        how = energies[f"{component}_how"].dropna().unique()
        out[f"share_{component}"] = number(
            share, percent(share) if share else "none", estimated and share > 0
        )
        text = ", ".join(sorted(how)).replace("_", " ") or "not metered"
        out[f"how_{component}"] = number(text, text)
    full = energies[energies["n_train"] == energies["n_train"].max()]
    median = float(full["inferences_to_outweigh_training"].median())
    out["break_even_inferences"] = number(median, count(median), estimated)
    grids = _grid_numbers(bill, country) | carbon.study_numbers(table)
    return out | grids | water_numbers(table) | _target_numbers(records, estimated)


def pepr_numbers(
    results: Results,
    scores: pd.DataFrame,
    peaks: list[PeakLocation],
    claims: list[Entry],
    rank_changes: pd.DataFrame,
) -> Numbers:
    """What notebook 04 lets prose quote: the runs, the best models, the peaks, the claims."""
    out = _run_numbers(results) | _baseline_numbers(results)
    out |= _repeated_numbers(results, scores) | _claim_numbers(claims)
    for cell in ("scratch", "pretrained"):
        out |= _best_numbers(scores, peaks, rank_changes, cell, primary_resource(results.table))
    return out | _gap_numbers(results)


def _grid_numbers(bill: Mapping[str, float], country: str) -> Numbers:
    grids = pepr_grids.carbon_across_countries(bill["total_wh"] / 1000).set_index("country_code")
    if country not in grids.index:
        raise InputError(f"country {country!r} is not in CodeCarbon's table; use a code such as DNK")
    chosen, lowest, highest = grids.loc[country], grids.iloc[0], grids.iloc[-1]
    ratio = highest["co2eq_g"] / lowest["co2eq_g"]
    out = {
        "grid_country": number(country, chosen["country"]),
        "grid_year": number(int(chosen["year"]), str(int(chosen["year"]))),
        "grids": number(len(grids), str(len(grids))),
        "grid_ratio": number(ratio, f"{ratio:.0f}", True),
    }
    for name, row in (("grid", chosen), ("grid_lowest", lowest), ("grid_highest", highest)):
        out[f"{name}_intensity"] = number(
            row["carbon_intensity"], f"{row['carbon_intensity']:.0f} g/kWh", True
        )
        out[f"{name}_co2"] = number(row["co2eq_g"], grams(row["co2eq_g"]), True)
    for name, row in (("grid_lowest", lowest), ("grid_highest", highest)):
        out[f"{name}_country"] = number(row["country"], row["country"])
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


def _target_numbers(records: list[Mapping[str, Any]], estimated: bool) -> Numbers:
    records = energy.of_networks(records)
    target = energy.typical_target(records)
    spent = energy.energy_to_target(records, target)
    reached = spent.dropna(subset=["time_to_target_s"])
    out = {
        "target_auroc": number(target, f"{target:.2f}"),
        "target_reached": number(len(reached), str(len(reached))),
        "target_runs": number(len(spent), str(len(spent))),
    }
    if len(reached):
        first = reached.loc[reached["time_to_target_s"].idxmin()]
        out |= {
            "target_first_model": number(first["model"], first["model"]),
            "target_first_setting": number(first["setting"], first["setting"]),
            "target_first_energy": number(
                first["energy_to_target_wh"], wh(first["energy_to_target_wh"]), estimated
            ),
            "target_first_time": number(first["time_to_target_s"], seconds(first["time_to_target_s"])),
        }
    return out


def networks_only(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are of no baseline; all of them where nothing else ended well."""
    networks = table[~table["model"].isin(BASELINES)]
    return networks if (networks["status"] == "ok").any() else table


def _run_numbers(results: Results) -> Numbers:
    table = results.table
    done = table[table["status"] == "ok"]
    failed = table[table["status"] == "failed"]
    letter = primary_resource(table)
    networks = networks_only(done)
    sizes = networks.drop_duplicates("model").dropna(subset=["num_params"]).sort_values("num_params")
    whole = networks[networks["train_fraction"] == 1.0]
    tenth = done[done["train_fraction"] == 0.1]
    contended = int(table["contended"].fillna(False).sum())
    constant = int(table["constant_predictor"].fillna(False).sum())
    names = ", ".join(sorted(failed["model"].unique())) or "none"
    majority = float(done["test_majority_rate"].median())
    out = {
        "origin": number(results.origin, ORIGINS[results.origin]),
        "hardware": _text("; ".join(sorted(done["hardware"].dropna().unique()))),
        "software": _text("; ".join(sorted(done["software"].dropna().unique()))),
        "failed_models": number(names, names),
        "withdrawn": number(len(withdrawn(done)) or None, withdrawn(done).strip() or UNKNOWN),
        "primary_resource": number(letter, RESOURCES[letter].name),
        "primary_score": number(f"PePR-{letter}", f"PePR-{letter}"),
        "majority_rate": number(majority, percent(majority)),
        **_order_numbers(),
    }
    for name, position in (("smallest", 0), ("largest", -1)) if len(sizes) else ():
        row = sizes.iloc[position]
        out[f"{name}_model"] = number(row["model"], row["model"])
        out[f"{name}_model_params"] = number(int(row["num_params"]), millions(row["num_params"]))
    counts = {
        "runs": len(table),
        "runs_ok": len(done),
        "runs_failed": len(failed),
        "runs_contended": contended,
        "runs_constant": constant,
        "runs_not_learned": int((gates.gates(table)["gate"] == gates.DID_LEARN).sum()),
        "models": networks["model"].nunique(),
        "baselines": done.loc[done["model"].isin(BASELINES), "model"].nunique(),
        "models_scratch": whole[~whole["pretrained"].astype(bool)]["model"].nunique(),
        "models_pretrained": whole[whole["pretrained"].astype(bool)]["model"].nunique(),
        "settings": done["setting"].nunique(),
        "n_train": whole["n_train"].max() if len(whole) else None,
        "n_train_tenth": tenth["n_train"].max() if len(tenth) else None,
        "n_val": done["n_val"].max(),
        "n_test": done["n_test"].max(),
        "epochs": networks["epochs"].max(),
        "image_size": done["image_size"].max(),
    }
    return out | {name: _count(value) for name, value in counts.items()}


def _order_numbers() -> Numbers:
    """The dated order of the claims: when it was set, the margin and its reason."""
    order, margin = claim_order.order(), run_claims.margin()
    return {
        "margin": number(margin, f"{margin:.2f}"),
        "margin_share": number(order.margin_share, percent(order.margin_share)),
        "margin_reason": number(None, order.margin_reason),
        "claims_dated": number(order.dated.isoformat(), order.dated.isoformat()),
        "questions": _count(len(order.questions)),
    }


def _baseline_numbers(results: Results) -> Numbers:
    """How networks from scratch on all data stand to the best baseline beside them, by mean AUROC."""
    done = results.table.query("status == 'ok' and train_fraction == 1 and not pretrained")
    means = done.groupby("model")["test_auroc"].mean()
    ours, networks = means[means.index.isin(BASELINES)], means[~means.index.isin(BASELINES)]
    if ours.empty or networks.empty:
        return {}
    best = str(ours.idxmax())
    below = int((networks < ours.max()).sum())
    return {
        "baseline_best": number(best, BASELINES[best]),
        "baseline_best_auroc": number(ours.max(), performance(ours.max(), "auroc")),
        "baseline_file_order_auroc": number(
            ours.get("file_order", np.nan), performance(ours.get("file_order", np.nan), "auroc")
        ),
        "networks_below_baseline": _count(below),
        "networks_beside_baseline": _count(len(networks)),
    }


def _repeated_numbers(results: Results, scores: pd.DataFrame) -> Numbers:
    """The model with several seeds in each of the four settings; its PePR is over the pooled range."""
    done = results.table.query("status == 'ok'")
    model = run_claims.repeated_model(done)
    if model is None:
        return {"repeated_model": number(None, "none"), "repeated_seeds": number(0, "0")}
    means, letter = model_means(done[done["model"] == model]), primary_resource(results.table)
    out = {
        "repeated_model": number(model, model),
        "repeated_seeds": _count(done[done["model"] == model]["seed"].nunique()),
    }
    for cell, (pretrained, fraction) in run_claims.CELLS.items():
        rows = means[(means["pretrained"].astype(bool) == pretrained) & (means["train_fraction"] == fraction)]
        for measure in MEASURES:
            value = float(rows[measure].mean()) if len(rows) else np.nan
            out[f"repeated_{cell}_{measure}"] = number(value, performance(value, measure))
        scored = scores[
            (scores["model"] == model)
            & (scores["pretrained"].astype(bool) == pretrained)
            & (scores["train_fraction"] == fraction)
            & (scores["resource"] == letter)
            & (scores["measure"] == "auroc")
        ]
        value = float(scored["score_frozen"].mean()) if len(scored) else np.nan
        out[f"repeated_{cell}_pepr"] = number(value, performance(value, "auroc"))
    return out


def claims_table(claims: list[Entry]) -> str:
    """Claims as a Markdown table: role, on what, effect, interval, p after Holm's correction, verdict."""
    lines = [
        "| Claim | Role | On | Effect | Interval | p, corrected | Verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for claim in claims:
        shown = difference_points if claim["measure"] == "accuracy" else difference
        low, high = shown(claim["low"]), shown(claim["high"])
        interval = low if low == high == UNKNOWN else f"{low}\u00a0to\u00a0{high}"
        verdict = claim["verdict"].replace("_", " ")
        cells = [
            claim["claim"],
            claim["role"],
            claim["basis"],
            shown(claim["effect"]),
            interval,
            p_value(claim["p_holm"]),
            verdict,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _claim_numbers(claims: list[Entry]) -> Numbers:
    primary = [claim for claim in claims if claim["role"] == PRIMARY]
    out: Numbers = {"claims": _count(len(claims)), "claims_primary": _count(len(primary))}
    if claims:
        out["claims_table"] = number(None, claims_table(claims))
    for verdict in ("supported", "equivalent", "not_supported", "undecided"):
        for kind, some in (("", claims), ("_primary", primary)):
            out[f"claims{kind}_{verdict}"] = _count(sum(claim["verdict"] == verdict for claim in some))
    for claim in claims:
        key = f"claim_{claim['id']}"
        shown = difference_points if claim["measure"] == "accuracy" else difference
        for name in ("effect", "low", "high"):
            out[f"{key}_{name}"] = number(claim[name], shown(claim[name]), claim["estimated"])
        for name in ("p", "p_upper", "p_holm", "p_upper_holm"):
            if name in ("p", "p_holm") or claim["margin"] is not None:
                out[f"{key}_{name}"] = number(claim[name], p_value(claim[name]))
        out[f"{key}_effect_size"] = number(claim["effect_size"], difference(claim["effect_size"], 2))
        out[f"{key}_n"] = _count(claim["n"])
        words = claim["verdict"].replace("_", " ")
        out[f"{key}_verdict"] = number(claim["verdict"], words)
        out[f"{key}_role"] = number(claim["role"], claim["role"])
        out[f"{key}_basis"] = number(None, claim["basis"])
    return out


def _best_numbers(
    scores: pd.DataFrame, peaks: list[PeakLocation], rank_changes: pd.DataFrame, cell: str, letter: str
) -> Numbers:
    """The best models of the largest full-data set, from scratch or pretrained."""
    pretrained, fraction = run_claims.CELLS[f"{cell}_full"]
    chosen = scores[
        (scores["pretrained"].astype(bool) == pretrained)
        & (scores["train_fraction"] == fraction)
        & scores["performance"].notna()  # failed runs are in the table too
    ]
    if chosen.empty:
        return {}
    setting = chosen.groupby("setting")["model"].nunique().idxmax()
    chosen = chosen[chosen["setting"] == setting]
    out: Numbers = {f"{cell}_setting": number(setting, setting)}
    for measure in MEASURES:
        rows = chosen[(chosen["measure"] == measure) & (chosen["resource"] == letter)]
        best = _extreme(rows, "performance", max)
        out[f"{cell}_best_{measure}"] = number(best["performance"], performance(best["performance"], measure))
        out[f"{cell}_best_{measure}_model"] = number(best["model"], best["model"])
        for resource in RESOURCES:
            rows = chosen[(chosen["measure"] == measure) & (chosen["resource"] == resource)]
            rows = rows.dropna(subset=["score"])
            if len(rows):
                best, key = _extreme(rows, "score", max), f"{cell}_best_pepr_{resource.lower()}_{measure}"
                out[key] = number(best["score"], f"{best['score']:.3f}", best["kind"] == "estimated")
                out[f"{key}_model"] = number(best["model"], best["model"])
    for peak in peaks:
        if peak.key[1] == setting and peak.resource == letter:
            out |= _peak_numbers(peak, f"{cell}_peak_{peak.measure}")
    changes = rank_changes[(rank_changes["setting"] == setting) & (rank_changes["resource"] == letter)]
    for _, row in changes.iterrows():
        out[f"{cell}_ranks_differ_{row['measure']}"] = _count(row["n_ranks_differ"])
        out[f"{cell}_ranked_{row['measure']}"] = _count(row["n_models"])
    return out


def _peak_numbers(peak: PeakLocation, key: str) -> Numbers:
    likely = sum(probability > 0.05 for probability in peak.probabilities.values())
    out = {
        f"{key}_model": number(peak.model, peak.model),
        f"{key}_probability": number(peak.probabilities[peak.model], percent(peak.probabilities[peak.model])),
        f"{key}_candidates": _count(likely),
        f"{key}_units": _count(peak.n_units),
        f"{key}_over": number(None, peak.over),
    }
    for name in ("estimate", "low", "high"):
        suffix = "" if name == "estimate" else f"_{name}"
        location, norm = getattr(peak.location, name), getattr(peak.location_norm, name)
        score = getattr(peak.score, name)
        out[f"{key}_location{suffix}"] = number(location, amount(peak.resource, location))
        out[f"{key}_location_norm{suffix}"] = number(norm, f"{norm:.2f}")
        out[f"{key}_score{suffix}"] = number(score, f"{score:.3f}")
    return out


def _gap_numbers(results: Results) -> Numbers:
    table = results.table
    means = model_means(table[table["status"] == "ok"])
    scratch = means[~means["pretrained"].astype(bool) & (means["train_fraction"] == 1.0)]
    scratch = scratch[~scratch["model"].isin(BASELINES)]
    if scratch.empty:
        return {}
    scratch = scratch[scratch["setting"] == scratch.groupby("setting").size().idxmax()]
    small, large, median = run_claims.small_and_large(scratch)
    if large.empty:
        return {}
    gap = run_claims.pepr_gap(scratch, primary_resource(table))
    return {
        "small_limit_params": number(median, millions(median)),
        "small_models": _count(len(small)),
        "large_models": _count(len(large)),
        "small_mean_auroc": number(small["auroc"].mean(), f"{small['auroc'].mean():.3f}"),
        "large_mean_auroc": number(large["auroc"].mean(), f"{large['auroc'].mean():.3f}"),
        "pepr_gap": number(gap.whole, difference(gap.whole)),
        "pepr_gap_resource_alone": number(gap.by_resource, difference(gap.by_resource)),
        "pepr_gap_performance": number(gap.beyond.effect, difference(gap.beyond.effect)),
    }


def _count(value: Any) -> Number:
    return number(None, UNKNOWN) if value is None or pd.isna(value) else number(int(value), f"{int(value):,}")


def _text(value: str) -> Number:
    return number(value or None, value or UNKNOWN)


def _extreme(rows: pd.DataFrame, column: str, which: Any) -> pd.Series:
    return rows.loc[rows[column].idxmin() if which is min else rows[column].idxmax()]
