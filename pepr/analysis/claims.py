"""The claims that our own runs can test, each with its effect, interval, p and verdict.

Performance is AUROC unless a claim says otherwise. "As good as" is an equivalence (or non-inferiority) test
with a margin; the p values of all claims are adjusted together by Holm's method; `pepr.verdicts` says what
the verdicts mean. `verdict_corrected` is the verdict without runs that a shared
processor spoiled (see `ranked`) and without constant predictors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pepr import stats, verdicts
from pepr.analysis import measures
from pepr.analysis.ranked import as_ranked
from pepr.analysis.resampling import run_draws
from pepr.analysis.scores import SET, earned, model_means, primary_resource, with_sets
from pepr.display.words import measure_words
from pepr.models.space import BASELINES, model_space
from pepr.quantities import RESOURCES
from pepr.runs.results import Results
from pepr.score import normalise, pepr

MARGIN = 0.05
"""Equivalence margin: five points of AUROC (or of accuracy, where a claim is on that)."""
DIRECTION, AS_GOOD = verdicts.Rule("direction"), verdicts.Rule("as_good", MARGIN)
CELLS = {
    "scratch_full": (False, 1.0),
    "scratch_tenth": (False, 0.1),
    "pretrained_full": (True, 1.0),
    "pretrained_tenth": (True, 0.1),
}
"""(pretrained, fraction of the training split) of the four settings that are compared."""


@dataclass(frozen=True)
class PairedClaim:
    """A claim on one model, paired by seed: the first cell of `CELLS` against the second.

    `second_reading_of` is the id of the claim that this one repeats on another measure.
    """

    id: str
    words: str
    first: str
    second: str
    kind: str
    measure: str = "auroc"
    second_reading_of: str | None = None


PAIRED_CLAIMS = (
    PairedClaim(
        "pretrained_beats_scratch_seeds",
        "performs better pretrained than from scratch (AUROC)",
        "pretrained_full",
        "scratch_full",
        "direction",
    ),
    PairedClaim(
        "pretrained_beats_scratch_seeds_accuracy",
        "performs better pretrained than from scratch (accuracy)",
        "pretrained_full",
        "scratch_full",
        "direction",
        "accuracy",
        "pretrained_beats_scratch_seeds",
    ),
    PairedClaim(
        "tenth_as_good_as_all_scratch",
        "from scratch performs as well on a tenth of the data as on all of it",
        "scratch_tenth",
        "scratch_full",
        "equivalence",
    ),
    PairedClaim(
        "tenth_as_good_as_all_pretrained",
        "pretrained performs as well on a tenth of the data as on all of it",
        "pretrained_tenth",
        "pretrained_full",
        "equivalence",
    ),
    PairedClaim(
        "pretrained_tenth_as_good_as_scratch_all",
        "pretrained, on a tenth of the data, is at least as good as from scratch on all of it",
        "pretrained_tenth",
        "scratch_full",
        "noninferiority",
    ),
)


@dataclass(frozen=True)
class Finding:
    """A claim before its p is adjusted: its test's result, the rule of its verdict, what it stands on.

    `derived` marks an effect on an estimate; `pairs` are those of `paired_runs`, where the claim is over
    seeds.
    """

    id: str
    claim: str
    rule: verdicts.Rule
    result: stats.TestResult
    basis: str
    derived: bool = False
    second_reading_of: str | None = None
    measure: str = "auroc"
    pairs: tuple[tuple[int, str, str], ...] = ()


def claims(results: Results) -> list[dict[str, Any]]:
    """Every claim of a profile in the shape of `claims.json`, with more keys: `id`, `p_holm`, `margin`, ...

    `low` and `high` bound the effect: 95%, or the 90% interval of an equivalence or non-inferiority test.
    For claims over seeds, `low_samples` and `high_samples` bound it (95%) when test images are resampled
    together with the seeds. A value that does not exist (one pair has no p) is null.
    """
    table = with_sets(results.table)
    as_they_are, corrected = findings(table), findings(sound_rows(table))
    adjusted, again = adjusted_p_values(as_they_are), adjusted_p_values(corrected)
    by_id = {finding.id: finding for finding in corrected}
    intervals = _sample_intervals(results, table, as_they_are)
    return [
        {
            "id": finding.id,
            "claim": finding.claim,
            "test": finding.result.test,
            **verdicts.values(finding.result, adjusted[finding.id]),
            "margin": finding.rule.margin,
            "verdict": finding.rule.verdict(finding.result, adjusted[finding.id]),
            "verdict_corrected": by_id[finding.id].rule.verdict(by_id[finding.id].result, again[finding.id])
            if finding.id in by_id
            else "undecided",
            "basis": finding.basis,
            "low_samples": intervals[finding.id].low if finding.id in intervals else None,
            "high_samples": intervals[finding.id].high if finding.id in intervals else None,
            "estimated": finding.derived,
        }
        for finding in as_they_are
    ]


def adjusted_p_values(found: list[Finding]) -> dict[str, float]:
    """p values by claim id, adjusted by Holm's method over the claims that are no second reading."""
    second = {f.id: f.second_reading_of for f in found if f.second_reading_of is not None}
    return verdicts.adjusted({finding.id: finding.result.p for finding in found}, second)


def findings(table: pd.DataFrame) -> list[Finding]:
    """The claims that a results table has runs for, with the results of their tests; all are of networks, and
    of no baseline."""
    done = table[(table["status"] == "ok") & ~table["model"].isin(BASELINES)]
    found = []
    for dataset in sorted(done["dataset"].unique()):
        rows = done[done["dataset"] == dataset]
        suffix = "" if done["dataset"].nunique() == 1 else f"_{dataset}"
        found += _model_claims(rows, suffix) + _repeated_claims(rows, suffix)
    return found


def sound_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The table without runs whose time a shared processor spoiled and without constant predictors."""
    constant = table["constant_predictor"].fillna(False).astype(bool)
    return table[~as_ranked(table)["time_spoiled"] & ~constant]


def family(model: str) -> str:
    """The family of a model in the model space; a model that is not in it is a family of its own.

    Models of a family are not independent, so what is said over models is also tested over families.
    """
    space = model_space()
    return space[model].family if model in space else model


def small_and_large(means: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Models up to the median size, models above it, and that size in parameters."""
    median = float(means["num_params"].astype("float64").median())
    small = means["num_params"].astype("float64") <= median
    return means[small], means[~small], median


def pepr_gap(means: pd.DataFrame, letter: str, measure: str = "auroc") -> tuple[stats.TestResult, float]:
    """PePR of small minus large models, and the part of that gap that the resource alone makes.

    The resource's part is the gap when every model is given the mean performance. It is close to the whole
    gap wherever performance varies less than the resource.
    """
    means = means[means[letter].notna() & means[measure].notna()]
    performance, resource = earned(means[measure]), means[letter].to_numpy(dtype=np.float64)
    scored = means.assign(
        score=pepr(performance, resource), by_resource=means[measure].mean() / (1 + normalise(resource))
    )
    small, large, _ = small_and_large(scored)
    gap = _over_models(small, large, "score", stats.welch_test)
    return gap, float(small["by_resource"].mean() - large["by_resource"].mean())


def repeated_model(rows: pd.DataFrame) -> str | None:
    """The network that was run with most seeds in most of the four settings; None if none was in two."""
    rows = rows[~rows["model"].isin(BASELINES)]
    if rows.empty:
        return None
    runs_of = rows[[_cell(row) is not None for _, row in rows.iterrows()]].groupby("model")
    counts = runs_of.agg(runs=("run_id", "size"), settings=("setting", "nunique"))
    counts = counts[counts["settings"] > 1].sort_values(["runs", "settings"], ascending=False, kind="stable")
    return None if counts.empty else str(counts.index[0])


def paired_runs(rows: pd.DataFrame, model: str, first: str, second: str) -> list[tuple[int, str, str]]:
    """(seed, run_id in the first cell, run_id in the second) for every seed of a model in both cells."""
    by_cell: dict[str | None, dict[int, str]] = {}
    for _, row in rows[rows["model"] == model].iterrows():
        by_cell.setdefault(_cell(row), {})[int(row["seed"])] = row["run_id"]
    a, b = by_cell.get(first, {}), by_cell.get(second, {})
    return [(seed, a[seed], b[seed]) for seed in sorted(set(a) & set(b))]


def sample_and_seed_interval(
    draws: pd.DataFrame, pairs: list[tuple[int, str, str]], estimate: float, seed: int = 0
) -> stats.Interval:
    """Interval of a mean paired difference when test images (in `draws`) and seeds are both resampled."""
    difference = np.column_stack([draws[a] - draws[b] for _, a, b in pairs])
    picks = np.random.default_rng(seed).integers(0, len(pairs), size=difference.shape)
    low, high = np.percentile(np.take_along_axis(difference, picks, axis=1).mean(axis=1), [2.5, 97.5])
    return stats.Interval(estimate, float(low), float(high))


def paired_difference(
    rows: pd.DataFrame, pairs: list[tuple[int, str, str]], measure: str
) -> tuple[np.ndarray, np.ndarray]:
    """The measure of both sides of `paired_runs`, in order."""
    values = measures.values(rows.set_index("run_id"), measure)
    return (
        values[[a for _, a, _ in pairs]].to_numpy(dtype=np.float64),
        values[[b for _, _, b in pairs]].to_numpy(dtype=np.float64),
    )


def _model_claims(rows: pd.DataFrame, suffix: str) -> list[Finding]:
    """Claims over the models of the largest from-scratch set, or else of the largest set."""
    means = model_means(rows)
    means = means[means["status"] == "ok"]
    scratch = means[~means["pretrained"].astype(bool) & (means["train_fraction"] == 1.0)]
    sizes = (scratch if len(scratch) else means).groupby(SET).size()
    chosen = means[(means[SET] == list(sizes.idxmax())).all(axis=1)]
    small, large, median = small_and_large(chosen)
    letter = primary_resource(rows)
    where = f"setting {sizes.idxmax()[1]}"
    split = (
        f"{where}: {len(small)} models up to {median / 1e6:.1f}M parameters against {len(large)} larger ones"
    )
    if not len(large):
        return []
    equivalence = _over_models(small, large, "auroc", _equivalence)
    gap, by_resource = pepr_gap(chosen, letter)
    found = [
        Finding(
            f"small_as_good_as_large{suffix}",
            "Small models perform as well as large ones",
            AS_GOOD,
            equivalence,
            f"{split}; AUROC, margin {MARGIN:g}",
        ),
        Finding(
            f"small_higher_pepr{suffix}",
            f"Small models have a higher PePR-{letter}",
            DIRECTION,
            gap,
            f"{split}; AUROC; with every model's AUROC set to the mean, the resource alone makes a gap of "
            f"{by_resource:.3f} where the scores have {gap.effect:.3f}",
        ),
    ]
    for resource in ("T", "E"):
        ranked = chosen.dropna(subset=[resource])
        correlation = stats.rank_correlation(ranked["num_params"].astype("float64"), ranked[resource])
        derived = resource == "E" and letter == "T"
        note = "; energy here is a load model, nearly a constant times time" if derived else ""
        found.append(
            Finding(
                f"parameters_rank_{'time' if resource == 'T' else 'energy'}{suffix}",
                f"Models with more parameters need more {RESOURCES[resource].label.lower()}",
                DIRECTION,
                correlation,
                f"{where}: Spearman's rho of parameters and {RESOURCES[resource].column}{note}",
                derived,
                f"parameters_rank_time{suffix}" if derived else None,
            )
        )
    return found + _over_pretrained_models(rows, suffix)


def _over_pretrained_models(rows: pd.DataFrame, suffix: str) -> list[Finding]:
    means = model_means(rows)
    cells = {name: _cell_means(means, name) for name in ("pretrained_full", "scratch_full")}
    both = cells["pretrained_full"].index.intersection(cells["scratch_full"].index)
    if not len(both):
        return []
    families = {family(model) for model in both}
    return [
        Finding(
            f"pretrained_beats_scratch_models{suffix}",
            "Pretrained models perform better than the same models from scratch",
            DIRECTION,
            stats.paired_test(cells["pretrained_full"][both], cells["scratch_full"][both]),
            f"AUROC of {len(both)} models of {_plural(len(families), 'family', 'families')}, seeds averaged, "
            "paired by model",
        )
    ]


def _repeated_claims(rows: pd.DataFrame, suffix: str) -> list[Finding]:
    """Claims on the model that was repeated with several seeds, paired by seed."""
    model = repeated_model(rows)
    if model is None:
        return []
    found = []
    for claim in PAIRED_CLAIMS:
        pairs = paired_runs(rows, model, claim.first, claim.second)
        if not pairs:
            continue
        margin = "" if claim.kind == "direction" else f", margin {MARGIN:g}"
        first_reading, seeds = claim.second_reading_of, _plural(len(pairs), "seed", "seeds")
        found.append(
            Finding(
                f"{claim.id}{suffix}",
                f"{model} {claim.words}",
                DIRECTION if claim.kind == "direction" else AS_GOOD,
                _paired_result(rows, pairs, claim.measure, claim.kind),
                f"{measure_words(claim.measure)} over {seeds}, paired by seed{margin}",
                second_reading_of=first_reading and f"{first_reading}{suffix}",
                measure=claim.measure,
                pairs=tuple(pairs),
            )
        )
    return found


def _paired_result(
    rows: pd.DataFrame, pairs: list[tuple[int, str, str]], measure: str, kind: str
) -> stats.TestResult:
    a, b = paired_difference(rows, pairs, measure)
    if kind == "direction":
        return stats.paired_test(a, b)
    if kind == "equivalence":
        return stats.equivalence_test(a, b, MARGIN, paired=True)
    return stats.noninferiority_test(a, b, MARGIN)


def _sample_intervals(
    results: Results, table: pd.DataFrame, found: list[Finding]
) -> dict[str, stats.Interval]:
    intervals = {}
    for measure in {finding.measure for finding in found if finding.pairs}:
        chosen = [finding for finding in found if finding.pairs and finding.measure == measure]
        needed = {run_id for finding in chosen for _, a, b in finding.pairs for run_id in (a, b)}
        draws = run_draws(results, table[table["run_id"].isin(needed)], measure)
        for finding in chosen:
            intervals[finding.id] = sample_and_seed_interval(
                draws, list(finding.pairs), finding.result.effect
            )
    return intervals


def _over_models(
    small: pd.DataFrame, large: pd.DataFrame, column: str, test: Callable[..., stats.TestResult]
) -> stats.TestResult:
    """A test over models and the same over families of models; the more cautious (larger p) is returned."""
    a, b = (group[column].to_numpy(dtype=np.float64) for group in (small, large))
    families = [family(model) for model in [*small["model"], *large["model"]]]
    over_models = test(a, b)
    over_families = test(a, b, clusters=families)
    return over_families if over_families.p > over_models.p else over_models


def _equivalence(a: np.ndarray, b: np.ndarray, clusters: list[str] | None = None) -> stats.TestResult:
    return stats.equivalence_test(a, b, MARGIN, clusters=clusters)


def _cell(row: pd.Series) -> str | None:
    key = (bool(row["pretrained"]), float(row["train_fraction"]))
    return next((name for name, cell in CELLS.items() if cell == key), None)


def _cell_means(means: pd.DataFrame, cell: str) -> pd.Series:
    pretrained, fraction = CELLS[cell]
    chosen = (means["pretrained"].astype(bool) == pretrained) & (means["train_fraction"] == fraction)
    return means[chosen & (means["status"] == "ok")].groupby("model")["auroc"].mean()


def _plural(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
