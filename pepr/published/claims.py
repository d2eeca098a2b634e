"""The paper's claims, one by one, tested on the authors' tables as published and as corrected twice.

`verdict_corrected` is of the tables corrected by what the audit infers from them alone, `verdict_history` of
those corrected by how they came about; the latter is None where the history is not at hand.

Models are paired where both settings have them; whatever is said over models is bootstrapped over
architecture families, since members of a family are not independent; the p values of all tests on one
version of the tables are adjusted together by Holm's method; `pepr.verdicts` says what the verdicts mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pepr import stats, verdicts
from pepr.audit.table import View
from pepr.published.families import (
    family_weights,
    from_draws,
    group_test,
    means_by_model,
    paired_test_over_families,
    weighted_gap,
    weighted_spearman,
)
from pepr.published.reproduction import FINAL, redraw_scores, scores
from pepr.published.tables import RESOURCES, SETTINGS
from pepr.published.versions import Versions
from pepr.score import normalise
from pepr.stats import TestResult
from pepr.verdicts import Rule

MARGIN = 0.02
"""Equivalence margin: two points of test accuracy."""
DIRECTION, AS_GOOD = Rule("direction"), Rule("as_good", MARGIN)
PROXY_AT_LEAST = 0.7
"""A rank correlation of 0.7 explains half of the variance of ranks: below it a proxy misleads."""
SAME_AT_LEAST = 0.95
"""Two scores whose ranks correlate above this say the same."""
CLEAR_WINNER = 0.95
EDITIONS = ("published", "corrected", "history")
"""The tables that the claims are tested on."""
Judged = tuple[TestResult, float, str]

POOLS = {
    "all": SETTINGS,
    "pretrained_full": ("derma_pt", "lidc", "pneumonia"),
    "tenth": ("derma_small", "lidc_small", "pneumonia_small"),
    "scratch": ("derma",),
    "without_smallest": tuple(s for s in SETTINGS if s != "derma_smallest"),
}
"""Settings that are averaged per model before models are compared."""
POOL_WORDS = {
    "all": "over all eight settings",
    "pretrained_full": "pretrained, on all data",
    "tenth": "pretrained, on a tenth of the data",
    "scratch": "from scratch",
    "without_smallest": "over all settings but the one with the fewest images",
}
TENTHS = {
    "derma": ("derma_pt", "derma_small"),
    "lidc": ("lidc", "lidc_small"),
    "pneumonia": ("pneumonia", "pneumonia_small"),
}


@dataclass(frozen=True)
class Claim:
    """A claim, how the paper supports it, the rule for its verdict, and how it is tested here."""

    id: str
    words: str
    evidence: str
    rule: Rule
    test: Callable[[pd.DataFrame], TestResult]
    basis: str


def claims(runs: Versions) -> list[dict[str, Any]]:
    """Every claim with its effect, interval, p and verdict on the published and on the corrected tables."""
    listed = all_claims(runs)
    judged = {}
    for name in EDITIONS:
        if name not in runs.tables():
            judged[name] = [None] * len(listed)
            continue
        results = [claim.test(runs.tables()[name]) for claim in listed]
        p_values = {claim.id: result.p for claim, result in zip(listed, results, strict=True)}
        adjusted = verdicts.adjusted(p_values)
        judged[name] = [
            (result, adjusted[claim.id], claim.rule.verdict(result, adjusted[claim.id]))
            for claim, result in zip(listed, results, strict=True)
        ]
    return [
        _as_record(claim, first, dict(zip(EDITIONS[1:], others, strict=True)))
        for claim, first, *others in zip(listed, *judged.values(), strict=True)
    ]


def all_claims(runs: Versions) -> list[Claim]:
    """The claims, in the order in which the chapter tells them."""
    n_by_setting = dict(zip(runs.published["dataset"], View(runs.published).n_test, strict=True))
    return [
        *_small_models(),
        *_pretraining_and_data(),
        *_kinds_of_models(),
        *_resources(),
        *(_winner(setting, n_by_setting[setting]) for setting in SETTINGS),
    ]


def _small_models() -> list[Claim]:
    evidence = "the abstract, and performance against parameters (no test)"
    basis = (
        "Accuracy of models up to the median size minus that of larger ones; "
        f"equivalence within {MARGIN:.2f}."
    )
    found = [
        Claim(
            f"small_as_good_{pool}",
            f"Small models perform as well as large ones, {POOL_WORDS[pool]}.",
            evidence,
            AS_GOOD,
            _small_as_good(settings),
            basis,
        )
        for pool, settings in POOLS.items()
    ]
    found += [
        Claim(
            f"small_as_good_in_{setting}",
            f"Small models perform as well as large ones in {setting}.",
            evidence,
            AS_GOOD,
            _small_as_good((setting,)),
            basis,
        )
        for setting in SETTINGS
        if setting != "derma"
    ]
    return [
        *found,
        Claim(
            "small_higher_pepr_e",
            "Small models have a higher PePR-E.",
            "PePR-E against parameters",
            DIRECTION,
            _small_higher_score,
            "Mean PePR-E over the settings, small minus large.",
        ),
        Claim(
            "small_advantage_is_resource",
            "Most of the PePR-E advantage of small models is the resource term alone.",
            "added here",
            Rule("at_least", threshold=0.5),
            _resource_share,
            "Advantage that remains when every model of a setting is given the same accuracy, as a "
            "share of the "
            "whole; above a half.",
        ),
    ]


def _small_as_good(settings: tuple[str, ...]) -> Callable[[pd.DataFrame], TestResult]:
    def test(table: pd.DataFrame) -> TestResult:
        means = means_by_model(table[table["dataset"].isin(settings)])
        return group_test(means, means["accuracy"], means["small"], MARGIN)

    return test


def _small_higher_score(table: pd.DataFrame) -> TestResult:
    means = means_by_model(table)
    return group_test(means, means["pepr_e"], means["small"])


def _resource_share(table: pd.DataFrame) -> TestResult:
    """Share of the small models' advantage in PePR-E that the resource term makes by itself."""
    norm = table.groupby("dataset")["energy"].transform(lambda e: pd.Series(normalise(e), index=e.index))
    mean = table.groupby("dataset")[FINAL].transform("mean")
    means = means_by_model(table.assign(alone=mean / (1 + norm)))
    alone = (
        table.assign(alone=mean / (1 + norm)).groupby("model")["alone"].mean().loc[means["model"]].to_numpy()
    )
    small = means["small"].to_numpy()

    def share(weights: np.ndarray) -> np.ndarray:
        return weighted_gap(alone, small, weights) / weighted_gap(means["pepr_e"].to_numpy(), small, weights)

    draws = share(family_weights(means["model"]))
    return from_draws(
        "share, bootstrap over families", len(means), float(share(np.ones((1, len(means))))[0]), draws, 0.5
    )


def _pretraining_and_data() -> list[Claim]:
    violin = "violins, unpaired t-test, p < 0.001"
    little = (
        "Accuracy on a tenth of the data minus on all of it, paired by model; "
        f"a loss of at most {MARGIN:.2f}."
    )
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
                AS_GOOD,
                _paired(few, all_of_it, MARGIN),
                little,
            )
            for name, (all_of_it, few) in TENTHS.items()
        ),
        Claim(
            "tenth_enough_all",
            "Fine-tuning on a tenth of the data costs little, over the three datasets.",
            violin,
            AS_GOOD,
            _paired_pools(POOLS["tenth"], POOLS["pretrained_full"]),
            little,
        ),
        Claim(
            "tenth_pretrained_as_good_as_scratch",
            "Pretrained and fine-tuned on a tenth is as good as from scratch on all data.",
            "the abstract (no test)",
            AS_GOOD,
            _paired("derma_small", "derma", MARGIN),
            "Accuracy on Derma, paired by model; no worse by more than the margin.",
        ),
    ]


def _paired(first: str, second: str, margin: float | None = None) -> Callable[[pd.DataFrame], TestResult]:
    return _paired_pools((first,), (second,), margin)


def _paired_pools(
    first: tuple[str, ...], second: tuple[str, ...], margin: float | None = MARGIN
) -> Callable[[pd.DataFrame], TestResult]:
    def test(table: pd.DataFrame) -> TestResult:
        wide = table.pivot(index="model", columns="dataset", values=FINAL)
        a, b = (wide[list(settings)].mean(axis=1, skipna=False) for settings in (first, second))
        return paired_test_over_families(a, b, margin)

    return test


def _kinds_of_models() -> list[Claim]:
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
            AS_GOOD,
            _labelled("accuracy", "cnn", MARGIN),
            f"Mean accuracy, CNN minus other; equivalence within {MARGIN:.2f}.",
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
    """The label's coefficient in a least-squares fit with size, its interval bootstrapped over families."""

    def test(table: pd.DataFrame) -> TestResult:
        means = means_by_model(table)
        size = np.log10(means["num_param"].to_numpy(np.float64))
        centred = size - size.mean()
        design = np.stack(
            [means[label].to_numpy(np.float64), np.ones(len(means)), centred, centred**2], axis=1
        )
        target = means[column].to_numpy()

        def coefficient(weights: np.ndarray) -> np.ndarray:
            normal = np.einsum("rm,mi,mj->rij", weights, design, design)
            right = np.einsum("rm,mi,m->ri", weights, design, target)
            solvable = np.linalg.cond(normal) < 1e10
            return np.linalg.solve(normal[solvable], right[solvable][..., None])[:, 0, 0]

        estimate = float(coefficient(np.ones((1, len(means))))[0])
        residual = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
        name = "least squares beside size, bootstrap over families"
        return from_draws(
            name,
            len(means),
            estimate,
            coefficient(family_weights(means["model"])),
            0.0,
            residual.std(ddof=4),
        )

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
                _same_ranks(letter),
                differ,
            )
            for letter in ("C", "T", "M")
        ),
    ]


def _proxy(table: pd.DataFrame) -> TestResult:
    means = means_by_model(table)
    size, energy = means["num_param"].to_numpy(np.float64), means["energy"].to_numpy()
    draws = weighted_spearman(size, energy, family_weights(means["model"]))
    estimate = stats.rank_correlation(size, energy).effect
    return from_draws("Spearman, bootstrap over families", len(means), estimate, draws, PROXY_AT_LEAST)


def _same_ranks(letter: str) -> Callable[[pd.DataFrame], TestResult]:
    def test(table: pd.DataFrame) -> TestResult:
        first, second = (
            table.assign(score=scores(table, RESOURCES[k])).pivot(
                index="model", columns="dataset", values="score"
            )
            for k in ("E", letter)
        )
        weights = family_weights(pd.Series(first.index))
        each, estimates = [], []
        for setting in first.columns:
            known = first[setting].notna().to_numpy()
            a, b = first[setting].to_numpy()[known], second[setting].to_numpy()[known]
            each.append(weighted_spearman(a, b, weights[:, known]))
            estimates.append(stats.rank_correlation(a, b).effect)
        name = "Spearman, mean over settings, bootstrap over families"
        return from_draws(name, len(first), float(np.mean(estimates)), np.mean(each, axis=0), SAME_AT_LEAST)

    return test


def _winner(setting: str, n_test: float) -> Claim:
    def test(table: pd.DataFrame) -> TestResult:
        group = table[table["dataset"] == setting]
        drawn = redraw_scores(group[FINAL].to_numpy(), group["energy"].to_numpy(), n_test)
        best = scores(group).to_numpy().argmax()
        wins = int(np.round(stats.probability_best(drawn)[best] * len(drawn)))
        interval = stats.wilson_interval(wins, len(drawn))
        return TestResult(
            f"redrawn test images; the winner is {group['model'].iloc[best]}",
            len(group),
            interval.estimate,
            interval.low,
            interval.high,
            np.nan,
            np.nan,
        )

    return Claim(
        f"winner_stable_{setting}",
        f"The model with the best PePR-E in {setting} is surely the best.",
        "the table of the five best (one seed, no interval)",
        Rule("share", threshold=CLEAR_WINNER),
        test,
        f"Share of redrawn test sets in which it wins; clear at {CLEAR_WINNER:.0%}. The interval is that "
        "of the share.",
    )


def _as_record(claim: Claim, first: Judged, others: dict[str, Judged | None]) -> dict[str, Any]:
    return {
        "id": claim.id,
        "claim": claim.words,
        "evidence": claim.evidence,
        "test": first[0].test,
        **verdicts.values(*first[:2]),
        "margin": claim.rule.margin,
        "verdict": first[2],
        "verdict_without_holm": claim.rule.verdict(first[0], first[0].p),
        **{
            key: value
            for name, other in others.items()
            for key, value in _edition(name, first, other).items()
        },
        "basis": claim.basis,
    }


def _edition(name: str, first: Judged, other: Judged | None) -> dict[str, Any]:
    """What a claim is on a corrected table, its keys ending in the table's name; empty without the table."""
    if other is None:
        return {f"verdict_{name}": None}
    return {
        f"verdict_{name}": verdicts.corrected(first[2], other[2]),
        f"test_{name}": other[0].test,
        **{f"{key}_{name}": value for key, value in verdicts.values(*other[:2]).items()},
    }
