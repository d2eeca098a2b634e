"""Each network by itself where claims are on the mean of several, on the splits that it has: for the book."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pepr import stats
from pepr.analysis import measures, units
from pepr.analysis.claimed.cells import PAIRED_CLAIMS
from pepr.analysis.claims import ImagesOf, margin, networks_of, of_cell, paired_units
from pepr.analysis.scores import usual_starts
from pepr.analysis.units import Images
from pepr.display.numbers import Numbers, number
from pepr.display.words import counted, difference, ends, markdown, performance
from pepr.models.space import BASELINES
from pepr.runs.results import Results

SHARES = {"full": "all", "tenth": "a tenth"}
"""The training images of the two cells that are compared, and what a page calls them."""


@dataclass(frozen=True)
class Pair:
    """One network both ways on as many of the training images as `share` says, on `n_units` common splits.

    `scratch` and `pretrained` are mean AUROC on these, `gain` their difference with its 95% interval over
    what `over` says, splits or seeds of one (NaN ends where there are fewer than three); `n_lower` of these
    have it below zero.
    """

    dataset: str
    model: str
    share: str
    scratch: float
    pretrained: float
    gain: stats.Interval
    n_units: int
    n_lower: int
    over: str


def pairs(results: Results, images: Images) -> list[Pair]:
    """Every network that was trained both ways, on all images or on a tenth, in that order.

    `images` draws the test images again, where seeds of one split share them.
    """
    done = usual_starts(results.table[results.table["status"] == "ok"])
    networks = done[~done["model"].isin(BASELINES)]
    values = measures.values(networks.set_index("run_id"), "auroc")
    found = []
    for share in SHARES:
        for (dataset, model), runs in networks.groupby(["dataset", "model"]):
            sides = [of_cell(runs, f"{start}_{share}") for start in ("pretrained", "scratch")]
            if not all(map(len, sides)):
                continue
            one = _pair(str(dataset), str(model), share, sides, values, images)
            if one is not None:
                found.append(one)
    return found


def _pair(
    dataset: str, model: str, share: str, sides: list[pd.DataFrame], values: pd.Series, images: Images
) -> Pair | None:
    contrast = units.contrast(*sides)
    if not contrast.n_units:
        return None
    used = [side[side["run_id"].isin(contrast.weights.index)] for side in sides]
    pretrained, scratch = (units.contrast(side).by_unit(values).mean() for side in used)
    by_unit = contrast.by_unit(values)
    gain = units.mean_of(used[0], values, images, used[1])
    ends = (gain.interval.low, gain.interval.high) if gain.over != units.IMAGES else (np.nan, np.nan)
    return Pair(
        dataset,
        model,
        share,
        float(scratch),
        float(pretrained),
        stats.Interval(float(by_unit.mean()), *ends),
        contrast.n_units,
        int((by_unit < 0).sum()),
        gain.over,
    )


def pair_numbers(found: list[Pair]) -> Numbers:
    """What prose may quote of `pairs`: a table, and for how many networks pretraining lowers the mean."""
    if not found:
        return {}
    out = {"pretraining_pairs": number(None, pairs_table(found))}
    for share in SHARES:
        of_share = [one for one in found if one.share == share]
        if of_share:
            lower = sum(one.gain.estimate < 0 for one in of_share)
            words = f"{lower} of {counted(len(of_share), 'network')}"
            out[f"pretraining_lowers_{share}"] = number(lower, words)
    return out


def pairs_table(found: list[Pair]) -> str:
    """Pairs as a Markdown table; the dataset is named where there are several."""
    several = len({one.dataset for one in found}) > 1
    noun = _noun(one.over for one in found)
    return markdown(
        ({"Set": one.dataset} if several else {})
        | {
            "Network": one.model,
            "Training images": SHARES[one.share],
            "AUROC from scratch": performance(one.scratch, "auroc"),
            "Pretrained": performance(one.pretrained, "auroc"),
            "Difference": difference(one.gain.estimate),
            f"95% interval over {noun}": _ends_or_too_few(one.gain, noun),
            noun.capitalize(): str(one.n_units),
            f"{noun.capitalize()} in which it is lower pretrained": str(one.n_lower),
        }
        for one in found
    )


def _noun(over: Iterable[str]) -> str:
    """What a table calls the units of its intervals, by what these are over: seeds where any are of one
    split."""
    return "seeds" if any(units.SEEDS in words for words in over) else "splits"


def _ends_or_too_few(found: stats.Interval | stats.TestResult, noun: str) -> str:
    return ends(found.low, found.high, difference) if np.isfinite(found.low) else f"too few {noun}"


def as_good_numbers(results: Results, images: ImagesOf) -> Numbers:
    """What prose may quote of `as_good_rows`, where there are any."""
    rows = as_good_rows(results, images)
    return {"as_good_networks": number(None, markdown(rows))} if rows else {}


def as_good_rows(results: Results, images: ImagesOf) -> list[dict[str, str]]:
    """The claims of equivalence on networks, a row each network that the claim is over: its difference with
    its 90% interval, by the head of a table. The dataset is named where there are several."""
    done = usual_starts(results.table[results.table["status"] == "ok"])
    networks = done[~done["model"].isin(BASELINES)]
    several = networks["dataset"].nunique() > 1
    tested = []
    for dataset, of_dataset in networks.groupby("dataset"):
        for claim in (claim for claim in PAIRED_CLAIMS if claim.as_good):
            sides, _ = networks_of(claim, of_dataset)
            for model in sorted(sides[0]["model"].unique()):
                own = [side[side["model"] == model] for side in sides]
                found = paired_units(*own, claim.measure, images, margin())
                tested.append((str(dataset), claim.words, model, found))
    noun = _noun(found.test for *_, found in tested)
    return [
        ({"Set": dataset} if several else {})
        | {
            "Claim": words,
            "Network": model,
            "Difference": difference(found.effect),
            f"90% interval over {noun}": _ends_or_too_few(found, noun),
            noun.capitalize(): str(found.n),
        }
        for dataset, words, model, found in tested
    ]
