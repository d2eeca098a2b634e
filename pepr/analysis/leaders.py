"""Which model of a set may be called the best, and of how many, and the numbers that say so for notebook 04.

The rule is `ranked.enough`, of every page and figure. A best, a share, a rank and a peak are stated where
enough of a set were compared, and a network is among them; else their keys are missing, and
`<cell>_standing` says what there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from pepr import stats
from pepr.analysis import units
from pepr.analysis.claims import CELLS
from pepr.analysis.peaks import PeakLocation
from pepr.analysis.ranked import enough
from pepr.analysis.scores import SET, in_set
from pepr.display.numbers import UNKNOWN, Numbers, interval_numbers, number
from pepr.display.words import amount, counted, fixed, markdown, measure_words, percent, performance
from pepr.models.space import BASELINES
from pepr.quantities import MEASURES, RESOURCES

STARTS = {"scratch": "From scratch", "pretrained": "From ImageNet weights"}
"""The two cells on all training images whose models are compared, and what they start from."""
RULE = "A best is named only among two models or more, and at least half of a set"
FROZEN_MEASURES = ("auroc", "auroc_above_chance", "accuracy")
"""The measures whose ranks over one range for all settings are told."""
COIN = 0.5
"""The AUROC of a coin, for any number of classes."""


def largest_set(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the one set that has the most models; all of them where there are none."""
    if rows.empty:
        return rows
    return rows[in_set(rows, rows.groupby(SET, dropna=False)["model"].nunique().idxmax())]


@dataclass(frozen=True)
class Leader:
    """The model, or the models that share the place, with the highest value; of `n_compared` with a value
    among the `n_models` of their set."""

    models: tuple[str, ...]
    value: float
    n_compared: int
    n_models: int

    @property
    def name(self) -> str:
        """The model's name; several stand side by side."""
        return " and ".join(self.models)

    @property
    def kind(self) -> str:
        """What it is, in words: a network or a baseline; or several of either."""
        baselines = sum(model in BASELINES for model in self.models)
        if len(self.models) == 1:
            return "a baseline" if baselines else "a network"
        return (
            "baselines" if baselines == len(self.models) else "networks" if not baselines else "of both kinds"
        )


def leader(rows: pd.DataFrame, column: str) -> Leader | None:
    """Who leads one set by a column of its score table: None where too few could be compared.

    `rows` has one row a model of the set, as `scores.pepr_table` for one resource and measure; a model
    without a value counts as not compared.
    """
    values = rows.set_index("model")[column].dropna().astype(float)
    if not enough(len(values), len(rows)):
        return None
    best = values.max()
    return Leader(tuple(values.index[values == best]), float(best), len(values), len(rows))


def leader_numbers(
    scores: pd.DataFrame,
    peaks: Iterable[PeakLocation],
    standings: pd.DataFrame,
    rank_changes: pd.DataFrame,
    letter: str,
    by_accuracy: pd.DataFrame | None = None,
) -> Numbers:
    """What prose may quote of the best models from scratch and from ImageNet weights, on all training images.

    `scores`, `peaks`, `standings` and `rank_changes` are those of `pipeline.Analysis`; `letter` is the
    resource that leads. With `by_accuracy`, its standings by accuracy, share and ties by that are told, too.
    """
    out: Numbers = {}
    peaks = list(peaks)
    for cell in STARTS:
        pretrained, fraction = CELLS[f"{cell}_full"]
        of_cell = scores[
            (scores["pretrained"].astype(bool) == pretrained) & (scores["train_fraction"] == fraction)
        ]
        networks = of_cell[~of_cell["model"].isin(BASELINES)]
        rows = largest_set(of_cell[of_cell["setting"].isin(networks["setting"])])
        out |= _standing_numbers(cell, rows, letter)
        if not len(rows) or not _networks(rows)["performance"].notna().any():
            continue
        ranked = standings[in_set(standings, rows.iloc[0][SET])]
        out |= _best_numbers(cell, rows, letter) | _baseline_numbers(cell, rows, ranked)
        out |= _chance_numbers(cell, ranked) | _doubt_numbers(cell, ranked)
        if by_accuracy is not None:
            same = by_accuracy[in_set(by_accuracy, rows.iloc[0][SET])]
            out |= _doubt_numbers(cell, same, "accuracy")
        for peak in peaks:
            if in_set(rows, peak.key).all() and peak.resource == letter:
                out |= _peak_numbers(peak, f"{cell}_peak_{peak.measure}")
    return out | _frozen_numbers(rank_changes, letter)


def _standing_numbers(cell: str, rows: pd.DataFrame, letter: str) -> Numbers:
    """How many models a cell has, how many finished and how many can be ranked; always known."""
    rows = _one(rows, letter, "auroc")
    networks, finished, ranked = _networks(rows), rows["performance"].notna(), rows["score"].notna()
    out = {
        f"{cell}_networks": number(len(networks)),
        f"{cell}_baselines": number(len(rows) - len(networks)),
        f"{cell}_finished": number(finished.sum()),
        f"{cell}_ranked": number(ranked.sum()),
    }
    if rows.empty:
        words = f"{STARTS[cell]} no network was trained on all images."
    else:
        baselines = len(rows) - len(networks)
        beside = f" and {counted(baselines, 'baseline')} beside them" if baselines else ""
        words = (
            f"{STARTS[cell]} on all images: {counted(len(networks), 'network')}{beside}, of which "
            f"{finished.sum()} finished and {ranked.sum()} can be ranked by {RESOURCES[letter].name}."
        )
    if not enough(ranked.sum(), len(rows)) or not networks["performance"].notna().any():
        words += f" {RULE}."
    return out | {f"{cell}_standing": number(None, words)}


def _best_numbers(cell: str, rows: pd.DataFrame, letter: str) -> Numbers:
    """The best performance by each measure and the best score by each resource, and of how many models."""
    out: Numbers = {}
    for measure in MEASURES:
        found = leader(_one(rows, letter, measure), "performance")
        if found:
            out |= _leader_numbers(f"{cell}_best_{measure}", found, performance(found.value, measure))
        for resource in RESOURCES:
            part = _one(rows, resource, measure)
            found = leader(part, "score")
            if found:
                estimated = bool((part.loc[part["score"].notna(), "kind"] == "estimated").any())
                key = f"{cell}_best_pepr_{resource.lower()}_{measure}"
                out |= _leader_numbers(key, found, fixed(found.value, 3), estimated)
    return out


def _leader_numbers(key: str, found: Leader, words: str, estimated: bool = False) -> Numbers:
    return {
        key: number(found.value, words, estimated),
        f"{key}_model": number(found.name),
        f"{key}_kind": number(found.kind),
        f"{key}_of": number(found.n_compared, _of(found.n_compared, found.n_models)),
    }


def _of(n_compared: int, n_models: int) -> str:
    return f"{n_compared} models" if n_compared == n_models else f"{n_compared} of {n_models} models"


def _baseline_numbers(cell: str, rows: pd.DataFrame, standings: pd.DataFrame) -> Numbers:
    """How the networks of a set stand to the best baseline beside them, by AUROC, in one sentence: how many
    are below and above it, with whole intervals."""
    means = _one(rows, "T", "auroc").set_index("model")["performance"].dropna()
    baselines, networks = means[means.index.isin(BASELINES)], means[~means.index.isin(BASELINES)]
    if baselines.empty:
        return {f"{cell}_baseline_words": number(None, "No baseline finished beside them.")}
    best, value = str(baselines.idxmax()), float(baselines.max())
    below, surely = int((networks < value).sum()), int(standings["below_baseline"].sum())
    above = int(standings["above_baseline"].sum())
    told = "" if value == means.max() else f" with {performance(value, 'auroc')}"
    words = (
        f"The best of {counted(len(baselines), 'baseline')} is {best} ({BASELINES[best]}){told}; "
        f"{below} of {counted(len(networks), 'network')} {_lie(below)} below it in the mean, "
        f"{surely} with the whole interval of the difference; {above} {_lie(above)} above it with theirs."
    )
    return {f"{cell}_baseline_words": number(None, words)}


def _lie(number_of: int) -> str:
    return "lies" if number_of == 1 else "lie"


def _chance_numbers(cell: str, standings: pd.DataFrame) -> Numbers:
    """How many networks have an AUROC that is above a coin's with its whole interval, and with that of splits
    which are not taken for independent."""
    networks = standings[~standings["model"].isin(BASELINES)]
    above, of = int((networks["low"] > COIN).sum()), counted(len(networks), "network")
    words = f"{above} of {of} are shown to be better than a coin, with their whole interval"
    if networks["low_overlap"].notna().all():
        words += f" ({(networks['low_overlap'] > COIN).sum()} if splits are not taken for independent)"
    return {
        f"{cell}_above_chance": number(above, f"{above} of {of}"),
        f"{cell}_chance_words": number(None, words),
    }


def _doubt_numbers(cell: str, standings: pd.DataFrame, measure: str = "auroc") -> Numbers:
    """How sure the highest performance of a set is the highest: its share of draws, how many models tie with
    it, and over what; the first two where they are known."""
    if standings.empty:
        return {}
    over = number(None, over_words(standings))
    share = standings["probability_best"]
    if share.isna().any():
        return {f"{cell}_over": over}
    best = standings[measure] == standings[measure].max()
    others = int((standings["tied"].fillna(False) & ~best).sum())
    words = f"{counted(others, 'other model')} {'ties' if others == 1 else 'tie'} with it"
    return {
        f"{cell}_over": over,
        f"{cell}_best_{measure}_share": number(float(share[best].sum()), percent),
        f"{cell}_best_{measure}_ties": number(others, words if others else "no other model ties with it"),
    }


def over_words(standings: pd.DataFrame) -> str:
    """On how many splits the models of one set are compared, and what moves in their intervals."""
    n_units, over = int(standings["n_units"].iloc[0]), standings["compared_over"].iloc[0]
    if over == units.SPLITS:
        return f"{n_units} splits, a seed each"
    if over == units.SEEDS:
        return f"{n_units} seeds of one split, and its test images"
    images = f"test images drawn again, and nothing else: it takes {stats.FEWEST_UNITS} splits to know more"
    if n_units:
        return f"{counted(n_units, 'split')} alone ({images})"
    return f"splits that differ between the models ({images})"


def _frozen_numbers(rank_changes: pd.DataFrame, letter: str) -> Numbers:
    """How many ranks of each set a range over all settings changes; none where none can be ranked."""
    rows = rank_changes[(rank_changes["resource"] == letter) & (rank_changes["n_models"] > 0)]
    if rows.empty:
        return {}
    shown = [measure for measure in FROZEN_MEASURES if (rows["measure"] == measure).any()]
    sets = [group.set_index("measure") for _, group in rows.groupby(SET, dropna=False)]
    table = markdown(
        {"Setting": of_measure["setting"].iloc[0]}
        | {
            measure_words(measure): (
                _frozen_words(of_measure.loc[measure]) if measure in of_measure.index else UNKNOWN
            )
            for measure in shown
        }
        for of_measure in sets
    )
    return {"ranks_frozen": number(None, table)}


def _frozen_words(row: pd.Series) -> str:
    rho = "" if pd.isna(row["spearman"]) else f" (rank correlation {fixed(row['spearman'])})"
    return f"{int(row['n_ranks_differ'])} of {int(row['n_models'])}{rho}"


def _peak_numbers(peak: PeakLocation, key: str) -> Numbers:
    likely = sum(probability > 0.05 for probability in peak.probabilities.values())
    return {
        f"{key}_model": number(peak.model),
        f"{key}_kind": number(Leader((peak.model,), peak.performance, peak.n_models, peak.n_models).kind),
        f"{key}_of": number(peak.n_models, f"{peak.n_models} models"),
        f"{key}_probability": number(peak.probabilities[peak.model], percent),
        f"{key}_candidates": number(likely, f"{likely} of {peak.n_models}"),
        f"{key}_performance": number(peak.performance, performance(peak.performance, peak.measure)),
        f"{key}_over": number(None, peak.over),
        **interval_numbers(f"{key}_location", peak.location, partial(amount, peak.resource)),
        **interval_numbers(f"{key}_score", peak.score, partial(fixed, digits=3)),
    }


def _one(rows: pd.DataFrame, resource: str, measure: str) -> pd.DataFrame:
    """One row a model: a set's scores by one resource and measure."""
    return rows[(rows["resource"] == resource) & (rows["measure"] == measure)]


def _networks(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[~rows["model"].isin(BASELINES)]
