"""From a results table and its predictions to PePR tables, ranges, curves, peaks and their intervals.

A *set* is what is normalised together: one dataset, setting, way of training (fidelity, precision, image
size, batch size, epochs, learning rate) and hardware of a profile, `ok` rows only, seeds averaged. Resources
go by their letter, see `quantities`; D, data, is scored over the training fractions of one model. Baselines
are models of their set like any other: they take part in its range, its ranks, its curve and its peak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pepr import stats
from pepr.analysis import measures, units
from pepr.analysis.ranked import as_ranked, enough, spoiled
from pepr.models.space import BASELINES
from pepr.quantities import MEASURES, RESOURCES, energy_is_estimated, resource_kind
from pepr.runs.columns import METER_OF
from pepr.score import Range, below_range, normalise, pepr, pepr_curve, resource_range_of

ALIKE = ["fidelity", "precision", "image_size", "batch_size", "epochs", "learning_rate", "hardware"]
"""What runs must share to be of one set, or to have costs that tell networks apart."""
SET = ["dataset", "setting", *ALIKE]
POOLED = ["fidelity", "precision", "hardware"]
"""What settings must share to be scored over one pooled range."""
OF_NETWORKS = ["precision", "batch_size", "epochs", "learning_rate"]
"""What a baseline has no choice of, and what therefore does not keep it apart from networks."""
METER = r"(codecarbon \d[\w.]*)"
"""The meter's name and version among the software of a run."""
DATA_RANGE: Range = (0.01, 1.0)
"""Fractions of the training split between which PePR-D is normalised: the 1% and 100% of the paper."""


def primary_resource(table: pd.DataFrame) -> str:
    """E where every scored run's energy was metered; else T, since a load model is nearly time."""
    done = table[table["status"] == "ok"]
    estimated = [energy_is_estimated(source) for source in done["energy_source"]]
    return "T" if not estimated or any(estimated) else "E"


def usual_starts(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose networks start as `pretrained` says: from random weights, or ImageNet's as they are.

    What starts from shuffled weights or from another run is a set of its own, and neither of these two.
    """
    return table[~table["shuffled"].fillna(False).astype(bool) & table["init_from"].isna()]


def main_setting(table: pd.DataFrame, pretrained: bool = False) -> str | None:
    """The setting with most models among those from scratch, or pretrained, on the largest share of the
    training data that any of them had; None where there is none."""
    done = usual_starts(table)
    done = done[(done["status"] == "ok") & (done["pretrained"].astype("boolean") == pretrained)]
    done = done[done["train_fraction"] == done["train_fraction"].max()]
    return None if done.empty else str(done.groupby("setting")["model"].nunique().idxmax())


def run_alike(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the one dataset, way of training and hardware with most models, and among equal ones with
    most rows: their costs can be compared, whatever they start from. All of them where there are none."""
    kinds = rows.groupby(["dataset", *ALIKE], dropna=False)
    if not kinds.ngroups:
        return rows
    number = kinds.ngroup()
    of_kind = rows["model"].groupby(number).agg(["nunique", "size"])
    return rows[number == of_kind.sort_values(["nunique", "size"], ascending=False).index[0]]


def with_sets(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns of `SET` such that runs that are normalised together share them.

    A failed run's unknown hardware is filled in where its set leaves no doubt. The meter's version joins it
    where one machine had several: what they call a watt may differ. A baseline, which is fitted once and has
    no learning rate, takes these from the networks beside it, and where those differ from most of them.
    """
    table = _with_baselines(table.copy())
    unknown = table["hardware"].isna()
    known = table[~unknown].groupby(SET[:-1], dropna=False)["hardware"].agg(["nunique", "first"])
    for index, row in table[unknown].iterrows():
        key = tuple(row[column] for column in SET[:-1])
        if key in known.index and known.loc[key, "nunique"] == 1:
            table.loc[index, "hardware"] = known.loc[key, "first"]
    meters = table["software"].astype("string").str.extract(METER, expand=False)
    several = meters.groupby(table["hardware"], dropna=False).transform("nunique") > 1
    table.loc[several, "hardware"] += METER_OF + meters[several].fillna("not known")
    return table


def _with_baselines(table: pd.DataFrame) -> pd.DataFrame:
    """Baselines in the largest set of networks on the same data, in the same setting and on one machine."""
    is_baseline, at = table["model"].isin(BASELINES), table["hardware"].notna()
    same = [column for column in SET if column not in OF_NETWORKS]
    for rows, beside in ((is_baseline & at, same), (is_baseline & ~at, same[:-1])):
        networks = table[~is_baseline].groupby(beside, dropna=False).groups
        for key, group in table[rows].groupby(beside, dropna=False):
            if key in networks:
                trained = table.loc[networks[key]].groupby(OF_NETWORKS, dropna=False)
                table.loc[group.index, OF_NETWORKS] = trained.size().idxmax()
    return table


def on_shared_units(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that compare models on equal terms: of each set, those of the splits on which every model that
    has an `ok` run has one; and where that is one split, of the seeds that every network has.

    `table` is one of `with_sets`. Failed runs stay, and all rows of a set whose models share no split, or
    whose networks share no seed. A baseline takes no seed from the networks: it counts with those of theirs
    that it has, or else with its own.
    """
    keep = pd.Series(True, index=table.index, dtype=bool)
    splits = table["split"].fillna(-1)
    for _, group in table.groupby(SET, dropna=False):
        done = group[group["status"] == "ok"]
        of_models = [set(splits[rows.index]) for _, rows in done.groupby("model")]
        shared = set.intersection(*of_models) if of_models else set()
        if shared:
            keep[done.index] = splits[done.index].isin(shared)
        left = done[keep[done.index]]
        if not units.resplits(left):
            networks = left[~left["model"].isin(BASELINES)]
            seeds = units.common_units(networks, networks["seed"])
            for _, runs in left.groupby("model"):
                if (common := runs["seed"].isin(seeds)).any():
                    keep[runs.index] = common
    return table[keep]


def model_means(table: pd.DataFrame) -> pd.DataFrame:
    """One row a set and model: seeds averaged, failed seeds counted.

    For each resource letter, `<letter>` is the mean that is ranked (without runs that a shared processor
    spoiled, see `ranked`) and `<letter>_shown` the mean of all `ok` runs; `<letter>_spoiled` says that every
    run was spoiled, and `shared` that some run had other programs beside it. A model that has no `ok` run
    keeps its row, with NaN.
    """
    table = as_ranked(with_sets(table))
    measured = {name: measures.values(table, name) for name in MEASURES}
    rows = []
    for key, group in table.groupby([*SET, "model"], dropna=False, sort=True):
        done = group[group["status"] == "ok"]
        row = dict(zip([*SET, "model"], key, strict=True))
        row |= {name: _first(group[name]) for name in ("num_params", "pretrained", "train_fraction")}
        row |= {name: _first(done[name]) for name in ("n_train", "n_test", "energy_source", "memory_source")}
        row |= {
            "n_seeds": len(done),
            "n_failed": len(group) - len(done),
            "status": "ok" if len(done) else "failed",
            "shared": bool(done["contended"].fillna(False).any()),
            "T_error": done["train_time_error"].max(),
        }
        for measure, of_runs in measured.items():
            of_seeds = of_runs[done.index]
            row[measure] = of_seeds.mean() if len(done) else np.nan
            row[f"{measure}_sd"] = of_seeds.std(ddof=1) if len(done) > 1 else np.nan
        for letter, resource in RESOURCES.items():
            ranked = done[~spoiled(done, letter)]
            row[letter] = _mean(ranked[resource.column])
            row[f"{letter}_spoiled"] = bool(len(done) and not len(ranked))
            row[f"{letter}_shown"] = _mean(done[resource.column])
        rows.append(row)
    return pd.DataFrame(rows)


def pooled_ranges(means: pd.DataFrame) -> dict[tuple[str, ...], dict[str, Range]]:
    """The declared range of each resource, (lowest, highest) over all settings of one kind of hardware, one
    fidelity and one precision, by these (`POOLED`)."""
    return {
        _known(key): {
            letter: resource_range_of(as_array(group["accuracy"]), as_array(group[letter]))
            for letter in RESOURCES
        }
        for key, group in means.groupby(POOLED, dropna=False)
    }


def _known(key: tuple) -> tuple:
    """The key of a group with None for what is not known of its runs: NaN is not equal to itself."""
    return tuple(None if pd.isna(part) else part for part in key)


def pepr_table(table: pd.DataFrame, frozen: Mapping[str, Range] | None = None) -> pd.DataFrame:
    """Every score: one row a set, model, resource letter and performance measure.

    `score` and `rank` are set-relative; `score_frozen` and `rank_frozen` use one declared range, that of all
    settings on the same hardware (`pooled_ranges`), or `frozen` ({letter: (lo, hi)}). `below_range` marks a
    resource under a frozen range, and `below_chance` a performance above chance that is negative: it is
    shown, and scored as 0.
    Failed models, and those that a shared processor spoiled, have empty scores; `resource_value` is shown
    anyway. Equal scores share the better rank; a set of which too few have a score (see `ranked.enough`) has
    none. Models of a set are compared on the splits and seeds that all of them have (`on_shared_units`), of
    which `n_seeds` is the number.
    """
    means = model_means(on_shared_units(with_sets(table)))
    pooled = pooled_ranges(means)
    parts = []
    for key, group in means.groupby(SET, dropna=False):
        at = dict(zip(SET, key, strict=True))
        ranges = frozen or pooled[_known(tuple(at[column] for column in POOLED))]
        for letter in RESOURCES:
            parts += [_scored(group, letter, measure, ranges[letter]) for measure in MEASURES]
    return pd.concat(parts, ignore_index=True)


def rank_differences(scores: pd.DataFrame) -> pd.DataFrame:
    """How far set-relative and frozen scores rank alike: ranks that differ and Spearman's rho, per set."""
    rows = []
    for key, group in scores.groupby([*SET, "resource", "measure"], dropna=False):
        ranked = group.dropna(subset=["score", "score_frozen", "rank"])
        rows.append(
            {
                **dict(zip([*SET, "resource", "measure"], key, strict=True)),
                "n_models": len(ranked),
                "n_ranks_differ": int((ranked["rank"] != ranked["rank_frozen"]).sum()),
                "spearman": stats.rank_correlation(ranked["score"], ranked["score_frozen"]).effect,
            }
        )
    return pd.DataFrame(rows)


def data_scores(table: pd.DataFrame) -> pd.DataFrame:
    """PePR-D: each model over its training fractions, one row a fraction and measure.

    R_norm is the fraction between 1% and 100% (`DATA_RANGE`). `ratio_to_win` is how many times the
    performance of the model's smallest fraction the full set must reach to score higher. Fractions may have
    epochs of their own.
    """
    means = model_means(usual_starts(table))
    means = means[means["status"] == "ok"]
    rows = []
    same = ["dataset", *(name for name in ALIKE if name != "epochs"), "pretrained", "model"]
    for _, group in means.groupby(same, dropna=False):
        if group["train_fraction"].nunique() < 2:
            continue
        group = group.sort_values("train_fraction")
        fractions = as_array(group["train_fraction"])
        norm = normalise(fractions, DATA_RANGE)
        for measure in MEASURES:
            scores = pepr(earned(group[measure]), fractions, DATA_RANGE)
            for position, (_, row) in enumerate(group.iterrows()):
                rows.append(
                    {
                        **row[[*same, "setting", "train_fraction", "n_train", "n_seeds"]],
                        "measure": measure,
                        "performance": row[measure],
                        "resource_norm": norm[position],
                        "score": scores[position],
                        "ratio_to_win": 2.0 / (1.0 + norm[0]),
                    }
                )
    return pd.DataFrame(rows)


def failures(table: pd.DataFrame) -> pd.DataFrame:
    """The failed runs, and what the absence of each does to the range that its set is normalised over.

    A failed model has no resource to put into the range; its size tells where it would have been.
    """
    table, told = with_sets(table), ["run_id", "model", "setting", "seed", "failure", "num_params"]
    means, letter = model_means(table), primary_resource(table)
    rows = []
    for _, run in table[table["status"] == "failed"].iterrows():
        same = means[(means[SET] == [run[name] for name in SET]).all(axis=1)]
        scored = same[same["status"] == "ok"]
        low, high = resource_range_of(as_array(scored["accuracy"]), as_array(scored[letter]))
        rows.append(
            {
                **run[told],
                f"{RESOURCES[letter].column}_lowest": low,
                f"{RESOURCES[letter].column}_highest": high,
                "effect_on_range": _effect_on_range(run, scored),
            }
        )
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*told, "effect_on_range"])


def curves(scores: pd.DataFrame) -> pd.DataFrame:
    """The PePR curves of a score table: one row a point, in each set, resource and measure."""
    parts, by = [], [*SET, "resource", "measure"]
    for key, group in scores.groupby(by, dropna=False):
        ranked = group.dropna(subset=["score"])
        curve = pepr_curve(earned(ranked["performance"]), as_array(ranked["resource_value"]))
        parts.append(pd.DataFrame(vars(curve)).assign(**dict(zip(by, key, strict=True))))
    return pd.concat(parts, ignore_index=True)


def _scored(group: pd.DataFrame, letter: str, measure: str, frozen: Range) -> pd.DataFrame:
    performance, resource = earned(group[measure]), as_array(group[letter])
    of_model = ["model", "num_params", "pretrained", "train_fraction", "n_train"]
    part = group[[*SET, *of_model, "n_seeds", "n_failed", "status"]].copy()
    part["contended"], part["shared"] = group[f"{letter}_spoiled"], group["shared"]
    part["resource"], part["measure"] = letter, measure
    sources = zip(group["energy_source"], group["memory_source"], strict=True)
    part["kind"] = [resource_kind(letter, energy, memory) for energy, memory in sources]
    part.loc[group[f"{letter}_shown"].isna(), "kind"] = None
    part["performance"], part["performance_sd"] = as_array(group[measure]), as_array(group[f"{measure}_sd"])
    part["resource_value"] = as_array(group[f"{letter}_shown"])
    part["resource_norm"] = normalise(np.where(np.isnan(performance), np.nan, resource))
    part["score"] = pepr(performance, resource)
    ranked = enough(part["score"].notna().sum(), len(part))
    part["rank"] = part["score"].rank(ascending=False, method="min") if ranked else np.nan
    part["resource_norm_frozen"] = normalise(resource, frozen)
    part["score_frozen"] = pepr(performance, resource, frozen)
    part["rank_frozen"] = part["score_frozen"].rank(ascending=False, method="min") if ranked else np.nan
    part["below_range"] = below_range(resource, frozen)
    part["below_chance"] = as_array(group[measure]) < 0
    return part


def _effect_on_range(run: pd.Series, scored: pd.DataFrame) -> str:
    sizes = scored["num_params"].dropna()
    if not len(sizes):
        return "no model of this set is scored: there is no range"
    if pd.isna(run["num_params"]):
        return "its size is unknown, and so is what its absence does"
    if run["model"] in set(scored["model"]):
        return "none: other seeds of the model are scored"
    if run["num_params"] > sizes.max():
        return "larger than every scored model: the range may end too low, and scores may be too low"
    if run["num_params"] < sizes.min():
        return "smaller than every scored model: the range may start too high, and scores may be too high"
    return "its size lies inside those of the scored models: the range probably stays"


def in_set(table: pd.DataFrame, key: Sequence[object]) -> pd.Series:
    """Which rows of a table are of the set with a key, the values of `SET`; what is not known is alike."""
    same = pd.Series(True, index=table.index)
    for column, value in zip(SET, key, strict=True):
        alike = table[column].isna() if pd.isna(value) else table[column].eq(value).fillna(False)
        same &= alike.astype(bool)
    return same


def of_set(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are of the same set as `rows`, which are all of one."""
    return table[in_set(table, rows[SET].iloc[0])] if len(rows) else table.iloc[:0]


def earned(performance: pd.Series) -> np.ndarray:
    """What of a performance is scored [rows]: a negative one, worse than chance, as 0."""
    return np.maximum(as_array(performance), 0.0)


def as_array(values: pd.Series) -> np.ndarray:
    """A column as floats [rows], NaN where it is empty."""
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _mean(values: pd.Series) -> float:
    known = as_array(values)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else np.nan


def _first(values: pd.Series) -> object:
    known = values.dropna()
    return known.iloc[0] if len(known) else None
