"""The claims that our own runs can test, each with its effect, interval, p and verdict, in a fixed order.

`primary.yaml` names the primary claim of each question, what it gates, and the margin, with a date; several
datasets ask each question by themselves, and nothing is averaged over them. Performance is AUROC unless a
claim says otherwise. Claims on what training does have models fixed and splits and seeds drawn (`units`), and
are over as many models as share three of these; claims on small and large models are over models, and over
families of models where that is more cautious, by the splits and seeds that all of them have.
`pepr.verdicts` says what the verdicts mean. `verdict_corrected` is the verdict without runs that a shared
processor spoiled (see `ranked`) and without constant predictors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pepr import stats, verdicts
from pepr.analysis import machines, measures, units
from pepr.analysis.claimed import overlap
from pepr.analysis.claimed.cells import CELLS, PAIRED_CLAIMS, PairedClaim
from pepr.analysis.measures import N_RESAMPLES, Resampled
from pepr.analysis.ranked import as_ranked
from pepr.analysis.scores import (
    SET,
    earned,
    model_means,
    of_set,
    on_shared_units,
    primary_resource,
    usual_starts,
    with_sets,
)
from pepr.display.words import counted, fixed, measure_words
from pepr.models.space import BASELINES, family_of
from pepr.quantities import RESOURCES
from pepr.runs.results import Results
from pepr.score import normalise, of, pepr
from pepr.verdicts import Entry

CHANCE = 0.5
"""The AUROC of a guesser."""
DIRECTION = verdicts.Rule("direction")
ImagesOf = Callable[[str], units.Images]
"""What draws test images again, by measure."""


@dataclass(frozen=True)
class Finding:
    """A claim before its p is adjusted: its test's result, the rule of its verdict, what it stands on.

    `name` is its place in the order, `id` that with the `dataset` where a study has several; `derived` marks
    an effect on an estimate. `networks` says over which networks it is, and `moot` why it says nothing even
    if its test holds. `contrast` is the effect by its runs, None of one that their performances do not move.
    """

    name: str
    suffix: str
    claim: str
    rule: verdicts.Rule
    result: stats.TestResult
    basis: str
    derived: bool = False
    measure: str = "auroc"
    networks: str = ""
    moot: str = ""
    contrast: units.Contrast | None = None
    dataset: str = ""

    @property
    def id(self) -> str:
        return self.name + self.suffix

    @property
    def gate(self) -> str | None:
        first = order().gate(self.name)
        return None if first is None else first + self.suffix


@dataclass(frozen=True)
class Gap:
    """PePR of small minus large models: the whole, what the resource alone makes of it, the rest, tested; and
    how much the rest moves with the performance of each model, by name."""

    whole: float
    by_resource: float
    beyond: stats.TestResult
    per_performance: pd.Series


def order() -> verdicts.Order:
    """The order of these claims, from `primary.yaml`."""
    return verdicts.order("pepr.analysis")


def margin() -> float:
    """The margin of equivalence, in AUROC."""
    return order().margin(CHANCE)


def claims(results: Results, seed: int = 0) -> list[Entry]:
    """Every claim of a profile in the shape of `claims.json`, with more keys: `id`, `question`, `role`, ...

    `low` and `high` bound the effect: 95%, or 90% where there is a margin; `noise_...` is `machines.Noise`. A
    value that does not exist (two seeds have no p) is null. `low_overlap`, `high_overlap`, `verdict_overlap`
    are those of a claim on splits if these are not taken for independent, see `overlap`. `seed` is that of
    the resampled test images.
    """
    table = with_sets(results.table)
    drawn = Resampled(results, ("auroc", "accuracy"), N_RESAMPLES, seed)
    as_they_are, corrected = (findings(rows, drawn.of) for rows in (table, sound_rows(table)))
    judged, again = judge(as_they_are), judge(corrected)
    shared = {
        one.id: overlap.again(one.result, one.contrast, table, one.measure, one.rule.margin)
        for one in as_they_are
    }
    with_shared = judge([replace(one, result=shared[one.id] or one.result) for one in as_they_are])
    return [
        {
            "id": found.id,
            "claim": found.claim,
            "dataset": found.dataset,
            "question": order().question_of[found.name],
            "role": order().role(found.name),
            "test": found.result.test,
            **verdicts.values(found.result, judged[found.id]),
            "margin": found.rule.margin,
            "verdict": judged[found.id].verdict,
            "verdict_corrected": again[found.id].verdict if found.id in again else "not_tested",
            **overlap.values(shared[found.id], with_shared[found.id]),
            "tested_as": order().tested_as.get(found.name),
            "basis": "; ".join(part for part in (found.basis, judged[found.id].closed) if part),
            "measure": found.measure,
            "estimated": found.derived,
            "networks": found.networks or None,
            **machines.noise_entry(found.contrast, table, found.measure, drawn.of(found.measure)),
        }
        for found in as_they_are
    ]


def judge(found: list[Finding]) -> dict[str, verdicts.Judged]:
    """The verdicts on findings by id, in the order of `primary.yaml`."""
    return verdicts.judge(
        [verdicts.Tested(one.id, one.rule, one.result, one.gate, one.moot) for one in found]
    )


def findings(table: pd.DataFrame, images: ImagesOf | None = None) -> list[Finding]:
    """The claims that a results table has runs for, with the results of their tests, in the order's order.

    Claims on the sizes of networks are on those from scratch; of a study that has none, on the pretrained.
    """
    done = usual_starts(table[table["status"] == "ok"])
    trained = done[~done["model"].isin(BASELINES)]
    any_scratch = len(of_cell(trained, "scratch_full")) > 0
    found = []
    for dataset in sorted(done["dataset"].unique()):
        rows = done[done["dataset"] == dataset]
        suffix = "" if done["dataset"].nunique() == 1 else f"_{dataset}"
        networks = rows[~rows["model"].isin(BASELINES)]
        by_size = len(networks) and (len(of_cell(networks, "scratch_full")) or not any_scratch)
        of_dataset = [
            *_paired_claims(networks, suffix, images),
            *(_model_claims(networks, suffix, images) if by_size else []),
            *_baseline_claims(rows, suffix, images),
        ]
        places = list(order().question_of)
        of_dataset = [replace(one, dataset=str(dataset)) for one in of_dataset]
        found += sorted(of_dataset, key=lambda one: places.index(one.name))
    return found


def sound_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The table without runs whose time a shared processor spoiled and without constant predictors."""
    constant = table["constant_predictor"].fillna(False).astype(bool)
    return table[~as_ranked(table)["time_spoiled"] & ~constant]


def small_and_large(means: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Models up to the median size, models above it, and that size in parameters."""
    median = float(means["num_params"].astype("float64").median())
    small = means["num_params"].astype("float64") <= median
    return means[small], means[~small], median


def pepr_gap(means: pd.DataFrame, letter: str, measure: str = "auroc") -> Gap:
    """How much higher the PePR of small models is, and how much of that is arithmetic.

    The resource's part is the gap when every model is given the mean performance: a score that divides by the
    cost has it whatever the models do. The rest is tested over models and over families.
    """
    means = means[means[letter].notna() & means[measure].notna()]
    performance, resource = earned(means[measure]), means[letter].to_numpy(dtype=np.float64)
    alone = of(float(performance.mean()), normalise(resource))
    scored = means.assign(score=pepr(performance, resource), beyond=pepr(performance, resource) - alone)
    small, large, _ = small_and_large(scored)
    whole = float(small["score"].mean() - large["score"].mean())
    beyond = _over_models(small, large, "beyond")
    paid = pd.Series(of(1.0, normalise(resource)), index=means["model"])
    share = units.mean_less_mean(small["model"], large["model"]).reindex(paid.index) * paid
    return Gap(whole, whole - beyond.effect, beyond, share - share.mean())


def repeated_networks(rows: pd.DataFrame) -> list[str]:
    """The networks on which most of `PAIRED_CLAIMS` have the three pairs that an interval takes, and among
    equal ones those with most pairs, as many as have the splits and seeds of the first by name; none where
    none was run in two of the four settings."""
    rows = usual_starts(rows[~rows["model"].isin(BASELINES)])
    known: dict[str, tuple[int, int]] = {}
    for model, runs in rows.groupby("model"):
        if sum(len(of_cell(runs, cell)) > 0 for cell in CELLS) < 2:
            continue
        pairs = [
            units.contrast(of_cell(runs, claim.first), of_cell(runs, claim.second)).n_units
            for claim in PAIRED_CLAIMS
        ]
        known[str(model)] = sum(n >= stats.FEWEST_UNITS for n in pairs), sum(pairs)
    equal = sorted(model for model, pairs in known.items() if pairs == max(known.values()))
    made = {model: _splits_of(rows[rows["model"] == model]) for model in equal}
    return [model for model in equal if made[model] == made[equal[0]]]


def _splits_of(runs: pd.DataFrame) -> set[tuple[object, ...]]:
    names = ["dataset", "setting", "split", "seed"]
    return set(runs[names].fillna({"split": 0}).itertuples(index=False, name=None))


def networks_of(claim: PairedClaim, rows: pd.DataFrame) -> tuple[list[pd.DataFrame], list[str]]:
    """The two groups of runs that a claim is on, of as many networks as share three splits; and the names of
    all networks that have both kinds of runs, which are none where no group is."""
    sides = [of_cell(rows, claim.first), of_cell(rows, claim.second)]
    both = sorted(set(sides[0]["model"]) & set(sides[1]["model"]))
    sides = [side[side["model"].isin(both)] for side in sides]
    chosen = (units.comparable(*sides) if both else []) or both
    return [side[side["model"].isin(chosen)] for side in sides], both


def _paired_claims(rows: pd.DataFrame, suffix: str, images: ImagesOf | None) -> list[Finding]:
    """Claims on what training does, over the networks, which are fixed, that were trained both ways."""
    found = []
    for claim in PAIRED_CLAIMS:
        sides, both = networks_of(claim, rows)
        if not both:
            continue
        chosen = sorted(sides[0]["model"].unique())
        rule = verdicts.Rule("as_good", margin()) if claim.as_good else DIRECTION
        result = paired_units(*sides, claim.measure, images, rule.margin)
        found.append(
            Finding(
                claim.id,
                suffix,
                claim.words,
                rule,
                result,
                f"{measure_words(claim.measure)}, mean of {', '.join(chosen)}, {_families(chosen)}, "
                f"{_pairs(result)}{_left_out(chosen, both)}; of these networks, not of all"
                f"{_margin_words(rule)}",
                measure=claim.measure,
                networks=_over(chosen, both),
                moot=_moot(*sides, images) if claim.as_good else "",
                contrast=units.contrast(*sides),
            )
        )
    return found


def _model_claims(rows: pd.DataFrame, suffix: str, images: ImagesOf | None) -> list[Finding]:
    """Claims over the models of the largest from-scratch set, or else of the largest set, on the splits and
    seeds that all of them have."""
    shared = on_shared_units(rows)
    means = model_means(shared)
    means = means[means["status"] == "ok"]
    scratch = means[~means["pretrained"].astype(bool) & (means["train_fraction"] == 1.0)]
    sizes = (scratch if len(scratch) else means).groupby(SET).size()
    chosen = means[(means[SET] == list(sizes.idxmax())).all(axis=1)]
    small, large, median = small_and_large(chosen)
    if not len(large):
        return []
    runs, made = (of_set(with_sets(some), chosen) for some in (shared, rows))
    apart = "" if len(runs) == len(made) else ", on the splits and seeds that all its networks have"
    letter, where = primary_resource(rows), f"setting {sizes.idxmax()[1]}{apart}"
    split = (
        f"{where}: {len(small)} models up to {median / 1e6:.1f}M parameters against {len(large)} larger, "
        "with an interval over models and not over splits or images"
    )
    as_good = verdicts.Rule("as_good", margin())
    gap = pepr_gap(chosen, letter)
    sides = [runs[runs["model"].isin(side["model"])] for side in (small, large)]
    found = [
        Finding(
            "small_as_good_as_large",
            suffix,
            "Small networks perform as well as large ones",
            as_good,
            _over_models(small, large, "auroc", as_good.margin),
            f"{split}; AUROC{_margin_words(as_good)}",
            moot=_moot(*sides, images),
            contrast=units.contrast_of_models(runs, units.mean_less_mean(small["model"], large["model"])),
        ),
        Finding(
            "small_higher_pepr",
            suffix,
            f"Small networks have a higher PePR-{letter} than their lower cost alone gives them",
            DIRECTION,
            gap.beyond,
            f"{split}; of a gap of {fixed(gap.whole, 3)}, {fixed(gap.by_resource, 3)} would be there if all "
            "performed alike: that part is arithmetic, and only the rest is tested",
            contrast=units.contrast_of_models(runs, gap.per_performance),
        ),
    ]
    for resource in ("T", "E"):
        derived = resource == "E" and letter == "T"
        note = "; energy here is a load model, nearly a constant times time" if derived else ""
        found.append(
            Finding(
                f"parameters_rank_{'time' if resource == 'T' else 'energy'}",
                suffix,
                f"Networks with more parameters need more {RESOURCES[resource].label.lower()}",
                DIRECTION,
                _size_and(chosen.dropna(subset=[resource]), resource),
                f"{where}: Spearman's rho of parameters and {RESOURCES[resource].name}{note}",
                derived,
            )
        )
    return [one for one in found if np.isfinite(one.result.effect)]


def _baseline_claims(rows: pd.DataFrame, suffix: str, images: ImagesOf | None) -> list[Finding]:
    """Networks against the baseline of the order, on the same splits."""
    baseline = order().baseline_model
    words, found = BASELINES.get(baseline, baseline), []
    for name, how in (("pretrained", "Pretrained networks"), ("scratch", "Networks from scratch")):
        side = of_cell(rows, f"{name}_full")
        networks, beside = side[~side["model"].isin(BASELINES)], side[side["model"] == baseline]
        if networks.empty or beside.empty:
            continue
        every = sorted(networks["model"].unique())
        chosen = units.comparable(networks, beside) or every
        networks = networks[networks["model"].isin(chosen)]
        result = paired_units(networks, beside, "auroc", images)
        found.append(
            Finding(
                f"{name}_beats_baseline",
                suffix,
                f"{how} perform better than the baseline",
                DIRECTION,
                result,
                f"AUROC, mean of {_over(chosen, every)} against {words}, {_pairs(result)}"
                f"{_left_out(chosen, every)}",
                networks=_over(chosen, every),
                contrast=units.contrast(networks, beside),
            )
        )
    return found


def paired_units(
    first: pd.DataFrame,
    second: pd.DataFrame,
    measure: str,
    images: ImagesOf | None,
    limit: float | None = None,
) -> stats.TestResult:
    """Two models, or one in two settings, compared on the splits and seeds that both have, by a measure."""
    every = pd.concat([first, second])
    values = measures.values(every.set_index("run_id"), measure)
    return units.test_of(first, second, values, images and images(measure), limit)


def _over_models(
    small: pd.DataFrame, large: pd.DataFrame, column: str, limit: float | None = None
) -> stats.TestResult:
    """A test over models and one over families of models: the one with the wider interval."""
    a, b = (group[column].to_numpy(dtype=np.float64) for group in (small, large))
    families = family_of([*small["model"], *large["model"]])
    if limit is None:
        found = [stats.welch_test(a, b, clusters) for clusters in (None, families)]
    else:
        found = [stats.equivalence_test(a, b, limit, clusters) for clusters in (None, families)]
    return more_cautious(*found)


def _size_and(means: pd.DataFrame, resource: str) -> stats.TestResult:
    size, families = means["num_params"].astype("float64"), family_of(means["model"])
    found = [
        stats.rank_correlation(size, means[resource], clusters=clusters) for clusters in (None, families)
    ]
    return more_cautious(*found)


def more_cautious(over_models: stats.TestResult, over_families: stats.TestResult) -> stats.TestResult:
    """Of a test over models and one over families of models, that with the wider interval."""
    if (
        np.isnan(over_families.p)
        or over_families.high - over_families.low < over_models.high - over_models.low
    ):
        return over_models
    return over_families


def of_cell(rows: pd.DataFrame, cell: str) -> pd.DataFrame:
    """The rows of one of `CELLS`."""
    pretrained, fraction = CELLS[cell]
    return rows[(rows["pretrained"].astype(bool) == pretrained) & (rows["train_fraction"] == fraction)]


def _moot(first: pd.DataFrame, second: pd.DataFrame, images: ImagesOf | None) -> str:
    """Why two groups of runs say nothing by being alike: the mean AUROC of neither is shown to be above a
    guesser's, with its 95% interval. Empty where one is, and where no test images tell (`images` is None)."""
    if images is None:
        return ""
    measured = measures.values(pd.concat([first, second]).set_index("run_id"), "auroc")
    sides = [units.mean_of(side, measured, images("auroc")).interval for side in (first, second)]
    if any(side.low > CHANCE for side in sides):
        return ""
    known = " and ".join(f"{side.estimate:.2f} ({side.low:.2f} to {side.high:.2f})" for side in sides)
    return (
        f"moot: neither side is shown to be above chance, AUROC {known}; networks no better than a coin are "
        "alike, too"
    )


def _pairs(result: stats.TestResult) -> str:
    few = f"; too few to test: it takes {stats.FEWEST_UNITS}" if result.n < stats.FEWEST_UNITS else ""
    return f"paired by split and seed, {counted(result.n, 'pair')}{few}"


def _over(chosen: list[str], every: list[str]) -> str:
    """Over which of `every` network a claim is: by name where they are few, or some are left out."""
    if len(chosen) == len(every) > 4:
        return f"all {len(every)} networks"
    of = "" if len(chosen) == len(every) else f" ({len(chosen)} of {counted(len(every), 'network')})"
    return ", ".join(chosen) + of


def _left_out(chosen: list[str], every: list[str]) -> str:
    if len(chosen) == len(every):
        return ""
    return f"; without {len(every) - len(chosen)} that share fewer than {stats.FEWEST_UNITS} pairs with them"


def _families(models: list[str]) -> str:
    families = sorted(set(family_of(models)))
    if len(models) == 1:
        return f"of the family {families[0]}"
    if len(families) == 1:
        return f"all of the family {families[0]}"
    return f"of the families {', '.join(families)}"


def _margin_words(rule: verdicts.Rule) -> str:
    if rule.margin is None:
        return ""
    return f", margin {rule.margin:g} ({100 * order().margin_share:.0f}% of the range above chance)"
