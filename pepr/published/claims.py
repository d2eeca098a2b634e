"""The paper's claims, one by one, tested on the authors' tables as published and as corrected twice.

`verdict_corrected` is of the tables corrected by what the audit infers from them alone, `verdict_history` of
those corrected by how they came about; the latter is None where the history is not at hand.

Models are paired where both settings have them; whatever is said over models has errors that are robust to
architecture families, since members of a family are not independent. `primary.yaml` says which claims lead
and how large a margin is; the paper's claims and those that are added here are adjusted apart, on each
version of the tables; `pepr.verdicts` says what the verdicts mean. What a score does by its arithmetic
(`arithmetic`) is described and is no claim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr import stats, verdicts
from pepr.audit.table import View
from pepr.models.space import family_of
from pepr.published.families import (
    from_jackknife,
    group_test,
    mean_over_families,
    means_by_model,
    paired_test_over_families,
    weighted_gap,
    weighted_spearman,
    without_each_family,
)
from pepr.published.reproduction import FINAL, scores
from pepr.published.tables import RESOURCES, SETTINGS
from pepr.published.versions import Versions
from pepr.score import normalise, of
from pepr.stats import TestResult
from pepr.verdicts import Entry, Order, Rule, order as order_in

DIRECTION = Rule("direction")
PROXY_AT_LEAST = 0.7
"""A rank correlation of 0.7 explains half of the variance of ranks: below it a proxy misleads."""
SAME_AT_LEAST = 0.95
"""Two scores whose ranks correlate above this say the same."""
EDITIONS = ("published", "corrected", "history")
"""The tables that the claims are tested on."""
PAPER, HERE = "paper", "here"
"""Whose claim it is: the paper's, or one that is added here."""
Judged = tuple[TestResult, verdicts.Judged]

POOLS = {
    "pretrained_full": ("derma_pt", "lidc", "pneumonia"),
    "tenth": ("derma_small", "lidc_small", "pneumonia_small"),
    "all": SETTINGS,
}
"""Settings that are averaged per model before models are compared, where all of them point the same way."""
POOL_WORDS = {
    "pretrained_full": "pretrained, on all data",
    "tenth": "pretrained, on a tenth of the data",
    "all": "over all eight settings",
}
TENTHS = {
    "derma": ("derma_pt", "derma_small"),
    "lidc": ("lidc", "lidc_small"),
    "pneumonia": ("pneumonia", "pneumonia_small"),
}


def order() -> Order:
    """Which claims lead, and how large a margin is."""
    return order_in("pepr.published")


@dataclass(frozen=True)
class Claim:
    """A claim, how the paper supports it, the rule for its verdict, and how it is tested here.

    An equivalence names what it `compares`: groups of settings, of which one at least is to be above chance.
    """

    id: str
    words: str
    evidence: str
    rule: Rule
    test: Callable[[pd.DataFrame], TestResult]
    basis: str
    compares: tuple[tuple[str, ...], ...] = ()

    @property
    def whose(self) -> str:
        return HERE if order().question_of[self.id] in order().ours else PAPER


def claims(runs: Versions) -> list[Entry]:
    """Every claim with its effect, interval, p and verdict on the published and on the corrected tables."""
    listed, rates = all_claims(runs), majority_rates(runs.published)
    judged: dict[str, list[Judged | None]] = {}
    for name in EDITIONS:
        if name not in runs.tables():
            judged[name] = [None] * len(listed)
            continue
        table = runs.tables()[name]
        results = {claim.id: claim.test(table) for claim in listed}
        found: dict[str, verdicts.Judged] = {}
        for whose in (PAPER, HERE):
            found |= verdicts.judge(
                [
                    verdicts.Tested(
                        claim.id,
                        claim.rule,
                        results[claim.id],
                        order().gate(claim.id),
                        moot(claim, table, rates),
                    )
                    for claim in listed
                    if claim.whose == whose
                ]
            )
        judged[name] = [(results[claim.id], found[claim.id]) for claim in listed]
    return [
        _as_record(claim, first, dict(zip(EDITIONS[1:], others, strict=True)))
        for claim, first, *others in zip(listed, *judged.values(), strict=True)
    ]


def all_claims(runs: Versions) -> list[Claim]:
    """The claims, in the order in which the chapter tells them."""
    margins = margins_of(runs.published)
    return [
        *_small_models(margins),
        *_pretraining_and_data(margins),
        *_kinds_of_models(margins),
        *_resources(),
    ]


def margins_of(table: pd.DataFrame) -> dict[str, float]:
    """The margin of each setting in accuracy: a share of the range above the rate of its largest class."""
    return {setting: order().margin(rate) for setting, rate in majority_rates(table).items()}


def majority_rates(table: pd.DataFrame) -> dict[str, float]:
    """The rate of the largest class in each setting, which a constant answer has for an accuracy."""
    rates = dict(zip(table["dataset"], View(table).majority, strict=True))
    return {setting: float(rates[setting]) for setting in SETTINGS}


def moot(claim: Claim, table: pd.DataFrame, rates: dict[str, float]) -> str:
    """Why an equivalence says nothing: in none of the groups of settings that it compares is the
    mean accuracy above that of a constant answer with its 95% interval. Empty for all others."""
    for settings in claim.compares:
        of_models = means_by_model(table[table["dataset"].isin(settings)]).set_index("model")["accuracy"]
        if mean_over_families(of_models).low > np.mean([rates[setting] for setting in settings]):
            return ""
    if not claim.compares:
        return ""
    return "moot: accuracies are not shown above a constant answer's; models that are no better are alike"


def _as_good(margins: dict[str, float], settings: tuple[str, ...]) -> Rule:
    return Rule("as_good", float(np.mean([margins[setting] for setting in settings])))


def _small_models(margins: dict[str, float]) -> list[Claim]:
    evidence = "the abstract, and performance against parameters (no test)"
    basis = "Accuracy of models up to the median size minus that of larger ones; margin {margin:.3f}."
    by_setting = [(f"in_{setting}", f"in {setting}", (setting,)) for setting in SETTINGS]
    averages = [(pool, POOL_WORDS[pool], settings) for pool, settings in POOLS.items()]
    found = []
    for name, words, settings in (*by_setting, *averages):
        rule = _as_good(margins, settings)
        found.append(
            Claim(
                f"small_as_good_{name}",
                f"Small models perform as well as large ones, {words}.",
                evidence,
                rule,
                _small_as_good(settings, rule.margin),
                basis.format(margin=rule.margin),
                (settings,),
            )
        )
    return [
        *found,
        Claim(
            "small_pepr_e_beyond_cost",
            "Small models have a higher PePR-E than their lower energy alone gives them.",
            "added here",
            DIRECTION,
            _small_beyond_cost,
            "Mean PePR-E over the settings, small minus large, less what it would be if all models of a "
            "setting had the same accuracy: that part is arithmetic.",
        ),
    ]


def _small_as_good(settings: tuple[str, ...], margin: float | None) -> Callable[[pd.DataFrame], TestResult]:
    def test(table: pd.DataFrame) -> TestResult:
        parts = {setting: _small_and_large(table, (setting,)) for setting in settings}
        gaps = {setting: group_test(*part).effect for setting, part in parts.items()}
        if len({gap > 0 for gap in gaps.values()}) > 1:
            return no_average(len(next(iter(parts.values()))[0]), gaps)
        return group_test(*_small_and_large(table, settings), margin)

    return test


def _small_and_large(
    table: pd.DataFrame, settings: tuple[str, ...]
) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    means = means_by_model(table[table["dataset"].isin(settings)])
    return means, means["accuracy"], means["small"]


NO_AVERAGE = "no average"
"""How the test of a claim begins that would average what points in different directions."""


def no_average(n: int, gaps: dict[str, float]) -> TestResult:
    """What stands in place of an average over settings whose effects have different signs."""
    signs = ", ".join(f"{setting} {'+' if gap > 0 else '-'}" for setting, gap in gaps.items())
    return TestResult(f"{NO_AVERAGE}: the signs differ ({signs})", n, *[np.nan] * 5)


def arithmetic(table: pd.DataFrame) -> dict[str, TestResult]:
    """What small models have by the arithmetic of the score, which divides by the cost: no claims.

    `small_higher_pepr_e` is how much higher their mean PePR-E is; `small_advantage_is_resource` the share of
    it that would remain if all models of a setting had the same accuracy.
    """
    means = means_by_model(table)
    return {
        "small_higher_pepr_e": group_test(means, means["pepr_e"], means["small"]),
        "small_advantage_is_resource": _resource_share(table),
    }


def _alone(table: pd.DataFrame) -> pd.DataFrame:
    """The tables with `alone`, PePR-E if every model of a setting had its mean accuracy."""
    norm = table.groupby("dataset")["energy"].transform(lambda e: pd.Series(normalise(e), index=e.index))
    return table.assign(alone=of(table.groupby("dataset")[FINAL].transform("mean"), norm))


def _small_beyond_cost(table: pd.DataFrame) -> TestResult:
    means = means_by_model(table)
    alone = _alone(table).groupby("model")["alone"].mean().loc[means["model"]].to_numpy()
    return group_test(means, means["pepr_e"] - alone, means["small"])


def _resource_share(table: pd.DataFrame) -> TestResult:
    """Share of the small models' advantage in PePR-E that the resource term makes by itself."""
    means = means_by_model(table)
    alone = _alone(table).groupby("model")["alone"].mean().loc[means["model"]].to_numpy()
    small = means["small"].to_numpy()

    def share(weights: np.ndarray) -> np.ndarray:
        return weighted_gap(alone, small, weights) / weighted_gap(means["pepr_e"].to_numpy(), small, weights)

    without = share(without_each_family(means["model"]))
    estimate = float(share(np.ones((1, len(means))))[0])
    return from_jackknife("share, jackknife over families", len(means), estimate, without, 0.5)


def _pretraining_and_data(margins: dict[str, float]) -> list[Claim]:
    violin = "violins, unpaired t-test, p < 0.001"
    little = "Accuracy on a tenth of the data minus on all of it, paired by model; margin {margin:.3f}."
    by_dataset = {name: _as_good(margins, (few,)) for name, (_, few) in TENTHS.items()}
    average, scratch = _as_good(margins, POOLS["tenth"]), _as_good(margins, ("derma",))
    return [
        Claim(
            "pretraining_better",
            "Pretraining beats training from scratch.",
            violin,
            DIRECTION,
            _paired("derma_pt", "derma"),
            "Accuracy on all of Derma, pretrained minus from scratch, paired by model.",
        ),
        *(
            Claim(
                f"tenth_enough_{name}",
                f"Fine-tuning on a tenth of {name} costs little.",
                violin,
                by_dataset[name],
                _paired(few, all_of_it, by_dataset[name].margin),
                little.format(margin=by_dataset[name].margin),
                ((few,), (all_of_it,)),
            )
            for name, (all_of_it, few) in TENTHS.items()
        ),
        Claim(
            "tenth_enough_all",
            "Fine-tuning on a tenth of the data costs little, over the three datasets.",
            violin,
            average,
            _paired_pools(POOLS["tenth"], POOLS["pretrained_full"], average.margin),
            little.format(margin=average.margin),
            (POOLS["tenth"], POOLS["pretrained_full"]),
        ),
        Claim(
            "tenth_pretrained_as_good_as_scratch",
            "Pretrained and fine-tuned on a tenth is as good as from scratch on all data.",
            "the abstract (no test)",
            scratch,
            _paired("derma_small", "derma", scratch.margin),
            f"Accuracy on Derma, paired by model; margin {scratch.margin:.3f}.",
            (("derma_small",), ("derma",)),
        ),
    ]


def _paired(first: str, second: str, margin: float | None = None) -> Callable[[pd.DataFrame], TestResult]:
    return _paired_pools((first,), (second,), margin)


def _paired_pools(
    first: tuple[str, ...], second: tuple[str, ...], margin: float | None
) -> Callable[[pd.DataFrame], TestResult]:
    """The mean of some settings minus that of as many others, paired by model; none where signs differ."""

    def test(table: pd.DataFrame) -> TestResult:
        wide = table.pivot(index="model", columns="dataset", values=FINAL)
        gaps = {a: float((wide[a] - wide[b]).mean()) for a, b in zip(first, second, strict=True)}
        if len({gap > 0 for gap in gaps.values()}) > 1:
            return no_average(len(wide), gaps)
        a, b = (wide[list(settings)].mean(axis=1, skipna=False) for settings in (first, second))
        return paired_test_over_families(a, b, margin)

    return test


def _kinds_of_models(margins: dict[str, float]) -> list[Claim]:
    as_good = _as_good(margins, SETTINGS)
    figure = "colours in the figures (drawn by row position)"
    return [
        Claim(
            "efficient_higher_pepr_e",
            "Efficient architectures have a higher PePR-E.",
            figure,
            DIRECTION,
            _labelled("pepr_e", "efficient"),
            "Mean PePR-E over the settings, models labelled efficient minus others.",
        ),
        Claim(
            "efficient_higher_at_equal_size",
            "Efficient architectures have a higher PePR-E at equal size.",
            "added here",
            DIRECTION,
            _adjusted("pepr_e", "efficient"),
            "Coefficient of the label beside log10 of the parameters and its square.",
        ),
        Claim(
            "efficient_more_accurate_at_equal_size",
            "Efficient architectures are more accurate at equal size.",
            "added here",
            DIRECTION,
            _adjusted("accuracy", "efficient"),
            "Coefficient of the label beside log10 of the parameters and its square.",
        ),
        Claim(
            "cnn_as_good",
            "Convolutional networks perform as well as other architectures.",
            "labels in the tables (no test)",
            as_good,
            _labelled("accuracy", "cnn", as_good.margin),
            f"Mean accuracy, CNN minus other; margin {as_good.margin:.3f}.",
            (SETTINGS,),
        ),
        Claim(
            "cnn_higher_pepr_e_at_equal_size",
            "Convolutional networks have a higher PePR-E at equal size.",
            "added here",
            DIRECTION,
            _adjusted("pepr_e", "cnn"),
            "Coefficient of the label beside log10 of the parameters and its square.",
        ),
    ]


def _labelled(column: str, label: str, margin: float | None = None) -> Callable[[pd.DataFrame], TestResult]:
    def test(table: pd.DataFrame) -> TestResult:
        means = means_by_model(table)
        return group_test(means, means[column], means[label], margin)

    return test


def _adjusted(column: str, label: str) -> Callable[[pd.DataFrame], TestResult]:
    """The label's coefficient in a least-squares fit with size, its error robust to families."""

    def test(table: pd.DataFrame) -> TestResult:
        means = means_by_model(table)
        size = np.log10(means["num_param"].to_numpy(np.float64))
        centred = size - size.mean()
        columns = [means[label].to_numpy(np.float64), np.ones(len(means)), centred, centred**2]
        found = stats.least_squares(
            means[column].to_numpy(), np.stack(columns, axis=1), np.array(family_of(means["model"]))
        )
        return stats.t_result("least squares beside size, errors robust to families", len(means), found)

    return test


def _resources() -> list[Claim]:
    differ = (
        f"Mean over the settings of the rank correlation of the two scores; different below {SAME_AT_LEAST}."
    )
    return [
        Claim(
            "parameters_proxy_energy",
            "The number of parameters stands in for energy.",
            "energy against parameters",
            Rule("at_least", threshold=PROXY_AT_LEAST),
            _proxy,
            f"Rank correlation over models, energy averaged over the settings; above {PROXY_AT_LEAST}.",
        ),
        *(
            Claim(
                f"e_and_{letter.lower()}_differ",
                f"PePR-E and PePR-{letter} say different things.",
                "appendix panels",
                Rule("at_most", threshold=SAME_AT_LEAST),
                same_ranks(letter),
                differ,
            )
            for letter in ("C", "T", "M")
        ),
    ]


def _proxy(table: pd.DataFrame) -> TestResult:
    means = means_by_model(table)
    size, energy = means["num_param"].to_numpy(np.float64), means["energy"].to_numpy()
    without = weighted_spearman(size, energy, without_each_family(means["model"]))
    estimate = stats.rank_correlation(size, energy).effect
    name = "Spearman, jackknife over families"
    return from_jackknife(name, len(means), estimate, without, PROXY_AT_LEAST, fisher=True)


def same_ranks(letter: str) -> Callable[[pd.DataFrame], TestResult]:
    """What tests how far PePR-E and PePR by another resource rank the models of each setting alike."""

    def test(table: pd.DataFrame) -> TestResult:
        first, second = (
            table.assign(score=scores(table, RESOURCES[k])).pivot(
                index="model", columns="dataset", values="score"
            )
            for k in ("E", letter)
        )
        weights = without_each_family(pd.Series(first.index))
        each, estimates = [], []
        for setting in first.columns:
            known = first[setting].notna().to_numpy()
            a, b = first[setting].to_numpy()[known], second[setting].to_numpy()[known]
            each.append(weighted_spearman(a, b, weights[:, known]))
            estimates.append(stats.rank_correlation(a, b).effect)
        name = "Spearman, mean over settings, jackknife over families"
        without, mean = np.mean(each, axis=0), float(np.mean(estimates))
        return from_jackknife(name, len(first), mean, without, SAME_AT_LEAST, fisher=True)

    return test


def _as_record(claim: Claim, first: Judged, others: dict[str, Judged | None]) -> Entry:
    result, judged = first
    return {
        "id": claim.id,
        "claim": claim.words,
        "whose": claim.whose,
        "question": order().question_of[claim.id],
        "role": order().role(claim.id),
        "evidence": claim.evidence,
        "test": result.test,
        **verdicts.values(result, judged),
        "margin": claim.rule.margin,
        "verdict": judged.verdict,
        "verdict_without_holm": claim.rule.verdict(result, claim.rule.p_values(result)),
        **{
            key: value
            for name, other in others.items()
            for key, value in _edition(name, judged.verdict, other).items()
        },
        "basis": " ".join(part for part in (claim.basis, judged.closed.capitalize()) if part),
    }


def _edition(name: str, before: str, other: Judged | None) -> Entry:
    """What a claim is on a corrected table, its keys ending in the table's name; empty without the table."""
    if other is None:
        return {f"verdict_{name}": None}
    result, judged = other
    return {
        f"verdict_{name}": verdicts.corrected(before, judged.verdict),
        f"test_{name}": result.test,
        **{f"{key}_{name}": value for key, value in verdicts.values(result, judged).items()},
    }
