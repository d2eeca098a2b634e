"""The paper's scores, tables and figure data, recomputed from the authors' tables as published and corrected.

`Versions` holds the runs three ways: as published; corrected (impossible rows left out, copied energies
replaced by an estimate from time); and reduced (every row with a copied energy left out as well).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from pepr import stats
from pepr.audit.table import View
from pepr.models.space import family_of
from pepr.published.audit import OLD_NAMES, implausible_population, reference_populations
from pepr.published.tables import RESOURCES, SETTINGS, TEST_COLUMNS, Published
from pepr.published.versions import Versions
from pepr.score import PeprCurve, normalise, of, pepr, pepr_curve, pepr_peak

FINAL = TEST_COLUMNS[-1]
NORMALISATIONS = ("min-max", "min-max of the log", "clipped percentiles", "one range for all")
PERFORMANCES = ("last epoch", "best epoch", "mean of the last three")
PERCENTILES = (5, 95)
N_RESAMPLES = 2_000

AUTHORS_TOP_FIVE = {
    "derma_pt": ("ghostnet_100", "ese_vovnet19b_dw", "fbnetc_100", "mobilenetv2_050", "mnasnet_100"),
    "lidc": ("mnasnet_100", "resnet18d", "resnet14t", "resnet34d", "resnet26d"),
    "lidc_small": ("dpn68", "sehalonet33ts", "densenetblur121d", "bat_resnext26ts", "mobilevit_s"),
    "derma": ("ese_vovnet19b_dw", "resnet18d", "gluon_resnet34_v1b", "crossvit_9_240", "convnext_atto"),
    "derma_small": ("ese_vovnet19b_dw", "resnet14t", "dpn68b", "gcresnext26ts", "densenetblur121d"),
    "derma_smallest": (
        "mobilenetv2_050",
        "convnext_atto",
        "crossvit_9_240",
        "pvt_v2_b0",
        "bat_resnext26ts",
    ),
    "pneumonia": ("dla46_c", "hardcorenas_a", "mobilenetv2_050", "mobilevitv2_050", "semnasnet_075"),
    "pneumonia_small": ("resnext50d_32x4d", "dla60", "cspresnet50", "tinynet_a", "gcresnet33ts"),
}
"""The five best by PePR-E that the authors print (`results_table.ipynb` of their repository)."""
AUTHORS_MOST_ACCURATE = {
    "derma_pt": "edgenext_base",
    "lidc": "dpn107",
    "lidc_small": "seresnext101d_32x8d",
    "derma": "halonet50ts",
    "derma_small": "ese_vovnet19b_dw",
    "derma_smallest": "mobilenetv2_050",
    "pneumonia": "pnasnet5large",
    "pneumonia_small": "cs3edgenet_x",
}
"""The most accurate model of each setting that the authors print, in the same notebook."""


def performance(table: pd.DataFrame, which: str = "last epoch") -> np.ndarray:
    """Test accuracy of each row, [rows], by one of `PERFORMANCES`."""
    epochs = table[list(TEST_COLUMNS)].to_numpy(np.float64)
    if which == "best epoch":
        return epochs.max(axis=1)
    return epochs[:, -3:].mean(axis=1) if which == "mean of the last three" else epochs[:, -1]


def scores(
    table: pd.DataFrame,
    resource: str = "energy",
    normalisation: str = "min-max",
    which: str = "last epoch",
) -> pd.Series:
    """PePR of every row within its setting, under one of `NORMALISATIONS` and `PERFORMANCES`."""
    values = pd.Series(performance(table, which), index=table.index)
    result = pd.Series(np.nan, index=table.index)
    whole = (float(table[resource].min()), float(table[resource].max()))
    for _, rows in table.groupby("dataset").groups.items():
        needs = table.loc[rows, resource].to_numpy(np.float64)
        result[rows] = of(values[rows], _normalised(needs, normalisation, whole))
    return result


def _normalised(needs: np.ndarray, normalisation: str, whole: tuple[float, float]) -> np.ndarray:
    if normalisation == "min-max of the log":
        return normalise(np.log(needs) - np.log(needs.min()))
    if normalisation == "clipped percentiles":
        low, high = np.percentile(needs, PERCENTILES)
        return np.minimum(normalise(needs, (float(low), float(high))), 1.0)
    return normalise(needs, whole if normalisation == "one range for all" else None)


def score_differences(results: pd.DataFrame) -> pd.DataFrame:
    """Largest absolute difference of every published score and normalised column from ours, by setting."""
    rows = []
    for setting in SETTINGS:
        group = results[results["dataset"] == setting]
        row: dict[str, object] = {"setting": setting, "rows": len(group)}
        for key, resource in RESOURCES.items():
            needs = group[resource].to_numpy()
            row[f"{key}_n"] = float(np.abs(normalise(needs) - group[f"{key}_n"]).max())
            ours = pepr(group[FINAL].to_numpy(), needs)
            row[f"pepr_{key.lower()}"] = float(np.abs(ours - group[f"pepr_{key.lower()}"]).max())
        rows.append(row)
    return pd.DataFrame(rows)


def best_models(table: pd.DataFrame) -> pd.DataFrame:
    """The five best models of each setting by PePR on energy, and the most accurate, [settings x 6]."""
    ranked = table.assign(score=scores(table))
    rows = []
    for setting in SETTINGS:
        group = ranked[ranked["dataset"] == setting]
        top = group.sort_values("score", ascending=False, kind="stable").head(5)
        accurate = group.sort_values(FINAL, ascending=False, kind="stable").iloc[0]
        rows += [
            {"setting": setting, "place": str(place), **_entry(row)}
            for place, (_, row) in enumerate(top.iterrows(), start=1)
        ]
        rows.append({"setting": setting, "place": "most accurate", **_entry(accurate)})
    return pd.DataFrame(rows)


def _entry(row: pd.Series) -> dict[str, object]:
    return {
        "model": row["model"],
        "parameters_m": row["num_param"] / 1e6,
        "energy_wh": row["energy"] * 1000,
        "energy_kind": row["energy_kind"],
        "accuracy": row[FINAL],
        "pepr_e": row["score"],
    }


def t_tests(table: pd.DataFrame) -> pd.DataFrame:
    """The two comparisons of the paper's violins, as the authors test them (unpaired) and paired by model.

    Pretrained against from scratch on all of Derma; all data against a tenth, averaged over the datasets.
    """
    wide = table.pivot(index="model", columns="dataset", values=FINAL)
    full = wide[["derma_pt", "lidc", "pneumonia"]].mean(axis=1, skipna=False)
    tenth = wide[["derma_small", "lidc_small", "pneumonia_small"]].mean(axis=1, skipna=False)
    pairs = {
        "pretrained against from scratch": (wide["derma_pt"], wide["derma"]),
        "all data against a tenth": (full, tenth),
    }
    rows = []
    for name, (first, second) in pairs.items():
        unpaired = scipy_stats.ttest_ind(first.dropna(), second.dropna())
        paired = stats.paired_test(first, second, clusters=np.array(family_of(wide.index)))
        rows.append(
            {
                "comparison": name,
                "mean_first": float(first.mean()),
                "mean_second": float(second.mean()),
                "t": float(unpaired.statistic),
                "p_unpaired": float(unpaired.pvalue),
                "difference_paired": paired.effect,
                "low": paired.low,
                "high": paired.high,
                "p_paired": paired.p,
                "effect_size": paired.effect_size,
                "pairs": paired.n,
            }
        )
    return pd.DataFrame(rows)


def model_means(table: pd.DataFrame) -> pd.DataFrame:
    """Every model's mean over its settings: size, labels, energy (kWh), accuracy, and the four scores.

    Scores are normalised within each setting before they are averaged, as in the paper.
    """
    scored = table.assign(
        accuracy=table[FINAL], **{f"pepr_{k.lower()}": scores(table, r) for k, r in RESOURCES.items()}
    )
    names = ["energy", "train_time", "accuracy", *(f"pepr_{k.lower()}" for k in RESOURCES)]
    means = scored.groupby("model")[names].mean()
    labels = table.groupby("model")[["num_param", "type", "efficient"]].first()
    settings = table.groupby("model").size().rename("settings")
    estimated = (table["energy_kind"] == "estimated").groupby(table["model"]).any().rename("estimated")
    return labels.join(means).join(settings).join(estimated).reset_index()


def drawn_labels(tables: Published, means: pd.DataFrame) -> pd.Series:
    """The `efficient` mark that each model of `means` (sorted by name) has in the paper's figures."""
    return pd.Series(tables.models["efficient"].to_numpy(), index=means.sort_values("model").index)


def publications(tables: Published) -> pd.DataFrame:
    """Publications per million people by region and year, as published and with mended populations.

    A population that the audit finds impossible is replaced by the reference list's.
    """
    known = reference_populations().set_index("name")["population"]
    parts = []
    for year, regions in ((2013, tables.regions_2013), (2023, tables.regions_2023)):
        wrong = {finding.model for finding in implausible_population(regions, str(year))}
        name = regions["name"].str.strip()
        mended = np.where(name.isin(wrong), name.map(known), regions["pop"])
        sums = regions.assign(mended=mended).groupby("Region_updated")[["num_papers", "pop", "mended"]].sum()
        parts.append(
            pd.DataFrame(
                {
                    "region": sums.index,
                    "year": year,
                    "published": sums["num_papers"] / sums["pop"] * 1e6,
                    "corrected": sums["num_papers"] / sums["mended"] * 1e6,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def imagenet(tables: Published) -> pd.DataFrame:
    """ImageNet accuracy and PePR-M of each model: as published, recomputed, and with its own entry.

    The own entry is the first of the model's exact name in the leaderboard; NaN where there is none.
    """
    board = tables.leaderboard
    base = board["model"].str.split(".").str[0]
    first = board.assign(base=base).drop_duplicates("base").set_index("base")["top1"]
    by_tag = board.drop_duplicates("model").set_index("model")["top1"]
    table = tables.imagenet.copy()
    own = [
        by_tag.get(OLD_NAMES[m], np.nan) if m in OLD_NAMES else first.get(m, np.nan) for m in table["model"]
    ]
    table["own_top1"] = own
    table["pepr_m_recomputed"] = of(table["top1"] / 100, table["M_n"])
    table["pepr_m_own"] = of(table["own_top1"] / 100, table["M_n"])
    table["joined_wrongly"] = table["top1"] != table["own_top1"]
    return table


def sensitivity(runs: Versions) -> pd.DataFrame:
    """How each setting's PePR-E ranking changes under other tables and normalisations.

    Against the published table with min-max: Spearman's rho over the models that both have, the overlap of
    the ten best, the best model, and how many ranks moved.
    """
    reference = runs.published.assign(score=scores(runs.published))
    variants = [("corrected", "min-max"), ("reduced", "min-max")]
    variants += [("history", "min-max")] if runs.by_history is not None else []
    variants += [(name, how) for name in ("published", "corrected") for how in NORMALISATIONS[1:]]
    rows = []
    for name, how in variants:
        table = runs.tables()[name]
        scored = table.assign(score=scores(table, normalisation=how))
        for setting in SETTINGS:
            both = _both(reference, scored, setting)
            ranks = both[["score_first", "score_second"]].rank(ascending=False)
            rows.append(
                {
                    "setting": setting,
                    "table": name,
                    "normalisation": how,
                    "models": len(both),
                    "spearman": stats.rank_correlation(both["score_first"], both["score_second"]).effect,
                    "top_ten_overlap": stats.top_k_overlap(
                        both["score_first"], both["score_second"], min(10, len(both))
                    ),
                    "best": _best(scored, setting),
                    "best_published": _best(reference, setting),
                    "ranks_moved": int((ranks["score_first"] != ranks["score_second"]).sum()),
                    "largest_move": float((ranks["score_first"] - ranks["score_second"]).abs().max()),
                }
            )
    return pd.DataFrame(rows)


def _both(first: pd.DataFrame, second: pd.DataFrame, setting: str) -> pd.DataFrame:
    parts = [t.loc[t["dataset"] == setting, ["model", "score"]] for t in (first, second)]
    return parts[0].merge(parts[1], on="model", suffixes=("_first", "_second"))


def _best(scored: pd.DataFrame, setting: str) -> str:
    group = scored[scored["dataset"] == setting]
    return str(group.loc[group["score"].idxmax(), "model"])


def outlier_effect(table: pd.DataFrame) -> pd.DataFrame:
    """What leaving out the one row with the highest energy does to each setting's PePR-E ranking."""
    scored = table.assign(score=scores(table))
    rows = []
    for setting in SETTINGS:
        group = scored[scored["dataset"] == setting]
        outlier = group["energy"].idxmax()
        rest = group.drop(outlier)
        again = pd.Series(pepr(rest[FINAL].to_numpy(), rest["energy"].to_numpy()), index=rest.index)
        moves = (rest["score"].rank(ascending=False) - again.rank(ascending=False)).abs()
        rows.append(
            {
                "setting": setting,
                "outlier": group.loc[outlier, "model"],
                "times_next": float(group["energy"].max() / rest["energy"].max()),
                "ranks_moved": int((moves > 0).sum()),
                "largest_move": float(moves.max()),
                "best_before": _best(scored, setting),
                "best_after": str(rest.loc[again.idxmax(), "model"]),
            }
        )
    return pd.DataFrame(rows)


def winners(runs: Versions) -> pd.DataFrame:
    """Each setting's best model by PePR-E, for every table, normalisation and performance."""
    rows = []
    for (name, table), how, which in product(runs.tables().items(), NORMALISATIONS, PERFORMANCES):
        scored = table.assign(score=scores(table, normalisation=how, which=which))
        rows += [
            {
                "setting": setting,
                "table": name,
                "normalisation": how,
                "performance": which,
                "best": _best(scored, setting),
            }
            for setting in SETTINGS
        ]
    return pd.DataFrame(rows)


def winner_stability(all_winners: pd.DataFrame) -> pd.DataFrame:
    """By setting: the model that wins most combinations, its share, and how many models win at least one."""
    rows = []
    for setting, group in all_winners.groupby("setting", sort=False):
        counts = group["best"].value_counts()
        rows.append(
            {
                "setting": setting,
                "combinations": len(group),
                "most_often": str(counts.index[0]),
                "share": float(counts.iloc[0] / len(group)),
                "different_winners": len(counts),
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Peak:
    """The peak of one setting's PePR-E curve, with what chance could have made of it.

    `low` and `high` bound the normalised energy at the peak in 95% of resamples (families resampled, and
    each accuracy redrawn as a count of the test images); `probability` is how often the model would win if
    only the test images were redrawn; `curve` is the whole curve.
    """

    setting: str
    table: str
    model: str
    energy_kwh: float
    energy_norm: float
    low: float
    high: float
    accuracy: float
    score: float
    probability: float
    curve: PeprCurve


def peaks(runs: Versions) -> list[Peak]:
    """The peak of every setting's curve, on the published and the corrected version."""
    n_test = View(runs.published).n_test
    n_by_setting = dict(zip(runs.published["dataset"], n_test, strict=True))
    tables = runs.tables()
    return [
        _peak(tables[name][tables[name]["dataset"] == setting], setting, name, n_by_setting[setting])
        for name in ("published", "corrected")
        for setting in SETTINGS
    ]


def _peak(group: pd.DataFrame, setting: str, name: str, n_test: float) -> Peak:
    values, needs = group[FINAL].to_numpy(), group["energy"].to_numpy()
    peak = pepr_peak(values, needs)
    redrawn = redraw_scores(values, needs, n_test)
    families = np.array(family_of(group["model"]))
    present = stats.cluster_counts(families, N_RESAMPLES, seed=2) > 0
    location = normalise(needs)[np.where(present, redrawn, -1.0).argmax(axis=1)]
    low, high = np.percentile(location, [2.5, 97.5])
    return Peak(
        setting,
        name,
        str(group["model"].iloc[peak.index]),
        peak.resource,
        peak.resource_norm,
        float(low),
        float(high),
        peak.performance,
        peak.score,
        float(stats.probability_best(redrawn)[peak.index]),
        pepr_curve(values, needs),
    )


def peak_table(found: list[Peak]) -> pd.DataFrame:
    """The peaks without their curves, one row each."""
    return pd.DataFrame([{k: v for k, v in vars(peak).items() if k != "curve"} for peak in found])


def redraw_scores(values: np.ndarray, needs: np.ndarray, n_test: float, seed: int = 3) -> np.ndarray:
    """PePR [resamples, models] when each accuracy is redrawn as a count of n_test images."""
    rng = np.random.default_rng(seed)
    counts = rng.binomial(int(n_test), values, size=(N_RESAMPLES, len(values)))
    return of(counts / n_test, normalise(needs))
