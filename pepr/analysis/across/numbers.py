"""What several sets say together, in words and tables that prose may quote: the numbers of notebook 07."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from pepr import datasets, stats
from pepr.analysis.across import agreement, arms, parity, pretraining
from pepr.analysis.across.pretraining import Difference
from pepr.analysis.across.sets import TARGETS, Chosen, Sets, grades, tenths, title
from pepr.analysis.claims import margin
from pepr.display.numbers import UNKNOWN, Numbers, number
from pepr.display.words import count, counted, difference, millions, p_value, percent, wh
from pepr.verdicts import ALPHA, Entry

STARTS = {"pretrained_full": "ImageNet weights", "scratch_full": "from scratch"}
OF_A_TENTH = {
    "pretrained": "pretrained: a tenth against all",
    "scratch": "from scratch: a tenth against all",
    "pretrained_or_all": "pretrained on a tenth against from scratch on all",
}
OF_AN_ARM = {
    "scale": "shuffled ImageNet weights against from scratch",
    "features": "ImageNet weights against the same, shuffled",
    "transfer": "from another set against from scratch",
    "imagenet": "from ImageNet against from another set",
}
PRETRAINING = "pretrained_beats_scratch_models"
CLAIMS = {
    "size": ("small_as_good_as_large", "small networks against large ones"),
    "score": ("small_higher_pepr", "PePR of small networks beyond their cost"),
    "parameters": ("parameters_rank_time", "parameters and training time"),
}
"""The claims of `claims` that the authors' tables are asked too, by the key of their words here."""
CELLS = (
    "sets_pretraining_cell",
    *(f"sets_tenth_{comparison}_cell" for comparison in OF_A_TENTH),
    *(f"sets_{key}_cell" for key in CLAIMS),
)
"""What stands beside the authors' results, a claim each; if only that there are no such runs."""
NEVER = "never"


def across_numbers(sets: Sets, claims: Sequence[Entry]) -> Numbers:
    """Everything that the chapter across sets quotes: what one set alone can say, and what takes two.

    `claims` are those of the study. A key is missing where its runs are.
    """
    names = sets.names
    out: Numbers = {
        "sets": number(len(names), counted(len(names), "set")),
        "sets_names": number(None, _listed([title(name) for name in names]) or "none"),
        "sets_networks": number(sets.networks["model"].nunique(), str(sets.networks["model"].nunique())),
    }
    if not names:
        return out | {key: number(None, "no such runs") for key in CELLS}
    out |= _table("sets_targets_table", targets_table([sets.chosen(name) for name in names]))
    out |= _table("sets_grades_table", grades_table(sets))
    out |= _table("sets_tenths_table", tenths_table(tenths(sets)))
    out |= pretraining_numbers(sets, claims) | tenth_numbers(sets)
    out |= parity_numbers(parity.pairs(sets.results.records(), names))
    out |= claim_numbers(claims, names) | arm_numbers(sets)
    out |= {key: number(None, "no such runs") for key in CELLS if key not in out}
    return out | (agreement_numbers(sets) if len(names) > 1 else {})


def targets_table(chosen: Iterable[Chosen]) -> str:
    """What validation chose on each set, beside the target and the published benchmark. Markdown."""
    lines = []
    for one in chosen:
        target, value = TARGETS.get(one.dataset), one.auroc.estimate
        told = datasets.find(one.dataset).benchmark
        if target is None:
            verdict = "none was set"
        else:
            verdict = f"{target:.2f}: " + (
                "reached" if value >= target else f"missed by {target - value:.3f}"
            )
        lines.append(
            [
                title(one.dataset),
                one.model,
                STARTS[one.cell],
                str(one.n_seeds),
                f"{value:.3f}",
                _ends(one.auroc.low, one.auroc.high, "{:.3f}".format),
                one.over,
                verdict,
                "none" if told is None else f"{told[1]:.3f}",
            ]
        )
    head = ["Set", "Network", "Start", "Runs", "Test AUROC", "95% interval", "Interval over", "Target"]
    return _markdown([*head, "ResNet-18, published"], lines)


def grades_table(sets: Sets) -> str:
    """Kappa and mean absolute error of every start and model on ordered grades. Markdown; empty without."""
    lines = []
    for dataset in sets.names:
        for row in grades(sets, dataset).to_dict("records"):
            lines.append(
                [
                    row["model"],
                    row["setting"],
                    str(row["runs"]),
                    _fixed(row["kappa"]),
                    _ends(row["kappa_low"], row["kappa_high"], _fixed),
                    _fixed(row["error"]),
                    _ends(row["error_low"], row["error_high"], _fixed),
                ]
            )
    head = [
        "Model",
        "Setting",
        "Runs",
        "Quadratic kappa",
        "95% interval",
        "Mean error, grades",
        "95% interval",
    ]
    return _markdown(head, lines)


def tenths_table(rows: pd.DataFrame) -> str:
    """What a tenth of each set is. Markdown; empty without."""
    lines = [
        [
            title(row["dataset"]),
            count(row["all"]),
            count(row["tenth"]),
            str(row["classes"]),
            f"about {row['rarest']:.0f}",
            count(row["steps"]),
            count(row["steps_of_all"]),
            count(row["test"]),
        ]
        for row in rows.to_dict("records")
    ]
    head = [
        *("Set", "Training images", "A tenth", "Classes", "Of the rarest", "Steps on a tenth"),
        *("Steps on all", "Test images"),
    ]
    return _markdown(head, lines)


def pretraining_numbers(sets: Sets, claims: Sequence[Entry] = ()) -> Numbers:
    """Pretrained less from scratch: per set, per series of networks, and over the sets where they agree."""
    found = pretraining.by_series(sets)
    whole = [one for one in found if one.whom == "all"]
    if not whole:
        return {}
    out = _table("sets_pretraining_table", differences_table(found, claims))
    series = sorted({one.whom for one in found} - {"all"})
    out["sets_series"] = number(max(len(series), 1), f"{max(len(series), 1)} series")
    for one in whole:
        out |= _difference_numbers(f"sets_pretraining_{one.dataset}", one.result)
    together, drawn = pretraining.pooled(whole), pretraining.mixed(sets, whole)
    out["sets_pretraining_words"] = number(None, _pooled_words(whole, together, drawn))
    if together is not None:
        out |= _difference_numbers("sets_pretraining_pooled", together)
    if drawn is not None:
        out |= _difference_numbers("sets_pretraining_mixed", drawn)
    cell = "; ".join(f"{title(one.dataset)} {_effect(one.result)}" for one in whole)
    return out | {"sets_pretraining_cell": number(None, cell)}


def differences_table(found: Iterable[Difference], claims: Sequence[Entry] = ()) -> str:
    """Differences in AUROC by set and series of networks, with the study's verdict on each set. Markdown."""
    of_id, lines = {claim["id"]: claim for claim in claims}, []
    for one in found:
        claim = (
            of_id.get(f"{PRETRAINING}_{one.dataset}", of_id.get(PRETRAINING)) if one.whom == "all" else None
        )
        networks = one.models[0] if len(one.models) == 1 else counted(len(one.models), "network")
        result = one.result
        lines.append(
            [
                title(one.dataset),
                one.whom,
                networks,
                str(one.n_units),
                difference(result.effect),
                _ends(result.low, result.high, difference),
                p_value(result.p),
                "-" if claim is None else claim["verdict"].replace("_", " "),
            ]
        )
    head = [
        "Set",
        "Series",
        "Networks",
        "Pairs of seeds",
        "Difference in AUROC",
        "95% interval",
        "p",
        "Verdict",
    ]
    return _markdown(head, lines)


def _pooled_words(
    whole: Sequence[Difference], together: stats.TestResult | None, drawn: stats.TestResult | None
) -> str:
    if len(whole) < 2:
        return "There is one set only, so nothing is pooled."
    if not pretraining.agree(whole):
        return (
            f"The effects of the {len(whole)} sets do not have one sign, so no average is made: "
            "it would be of nothing."
        )
    if together is None:
        return "The effects have one sign, but not every set has three seeds, so no average is tested."
    verdict = "undecided"
    if together.p < ALPHA:
        verdict = "supported" if together.effect > 0 else "not supported"
    words = (
        f"All {len(whole)} sets have one sign. Their mean, each weighing alike, is "
        f"{difference(together.effect)} (95% interval {_ends(together.low, together.high, difference)}; "
        f"p {p_value(together.p)}) for these networks on these sets: {verdict}."
    )
    if drawn is None:
        return f"{words} A mixed model with the networks drawn has no solution on these runs."
    wide = "holds zero" if drawn.low <= 0 <= drawn.high else "does not hold zero"
    return (
        f"{words} For other networks like them, by a mixed model in which the {drawn.n} networks are drawn, "
        f"the interval is {_ends(drawn.low, drawn.high, difference)}: it {wide}."
    )


def tenth_numbers(sets: Sets) -> Numbers:
    """What a tenth of the images does, with the verdicts within the margin."""
    found = pretraining.tenth(sets)
    lines = [
        [
            OF_A_TENTH[one.comparison],
            title(one.difference.dataset),
            counted(len(one.difference.models), "network"),
            str(one.difference.n_units),
            difference(one.result.effect),
            _ends(one.result.low, one.result.high, difference),
            one.verdict.replace("_", " "),
        ]
        for one in found
    ]
    head = [
        "Asked",
        "Set",
        "Networks",
        "Pairs of seeds",
        "Difference in AUROC",
        "90% interval",
        "As good as?",
    ]
    out = _table("sets_data_table", _markdown(head, lines))
    if out:
        out["sets_margin"] = number(margin(), f"{margin():.2f}")
        for comparison in OF_A_TENTH:
            of_one = [one for one in found if one.comparison == comparison]
            text = "; ".join(f"{title(one.difference.dataset)} {_effect(one.result)}" for one in of_one)
            if text:
                out[f"sets_tenth_{comparison}_cell"] = number(None, text)
    return out


def parity_numbers(rows: pd.DataFrame) -> Numbers:
    """How soon a pretrained network passes its twin's end, by size."""
    if rows.empty:
        return {}
    each = parity.of_networks(rows)
    lines = [
        [
            title(row["dataset"]),
            row["model"],
            millions(row["num_params"]),
            f"{row['passed']} of {row['n']}",
            f"{row['epochs']:g}" if np.isfinite(row["epochs"]) else NEVER,
            wh(row["scratch_wh"]),
            percent(row["share"]) if np.isfinite(row["share"]) else NEVER,
        ]
        for row in each.to_dict("records")
    ]
    head = [
        "Set",
        "Network",
        "Parameters",
        "Passed",
        "Epochs (median)",
        "From scratch took",
        "Share until parity",
    ]
    passed, first = int(np.isfinite(rows["epochs"]).sum()), int((rows["epochs"] == 1).sum())
    share = float(rows["share"].median())
    estimated = bool(rows["estimated"].any())
    return _table("sets_parity_table", _markdown(head, lines), estimated) | {
        "sets_parity_pairs": number(len(rows), counted(len(rows), "pair")),
        "sets_parity_passed": number(passed, f"{passed} of {len(rows)}"),
        "sets_parity_first": number(first, f"{first} of {len(rows)}"),
        "sets_parity_share": number(share, percent(share) if np.isfinite(share) else NEVER, estimated),
    }


def arm_numbers(sets: Sets) -> Numbers:
    """What starts otherwise: shuffled weights, and networks that another run of the study left."""
    lines = {"shuffled": [], "transfer": []}
    for name, one in arms.differences(sets):
        lines["shuffled" if name in ("scale", "features") else "transfer"].append(
            [
                OF_AN_ARM[name],
                title(one.dataset),
                counted(len(one.models), "network"),
                str(one.n_units),
                difference(one.result.effect),
                _ends(one.result.low, one.result.high, difference),
                p_value(one.result.p),
            ]
        )
    head = ["Asked", "Set", "Networks", "Pairs of seeds", "Difference in AUROC", "95% interval", "p"]
    out: Numbers = {}
    for key, of_key in lines.items():
        out |= _table(f"sets_{key}_table", _markdown(head, of_key))
    bills = arms.shared_bills(sets)
    rows = [
        [
            title(one.dataset),
            str(one.uses),
            wh(one.energy_wh),
            f"{one.transferred:.3f}",
            f"{one.scratch:.3f}",
            f"{one.wins} of {one.n_networks}",
            f"{one.best[0]}, {one.best[1]}",
        ]
        for one in bills
    ]
    head = [
        "Set",
        "Uses",
        "Energy of one use",
        "Mean PePR-E, transferred",
        "from scratch",
        "Transfer wins",
        "Best",
    ]
    return out | _table("sets_bill_table", _markdown(head, rows), any(one.estimated for one in bills))


def claim_numbers(claims: Sequence[Entry], names: Sequence[str]) -> Numbers:
    """The claims on size and parameters of every set in one table, and in a cell each beside the authors'."""
    of_id = {claim["id"]: claim for claim in claims}
    lines, out = [], {}
    for key, (claim, words) in CLAIMS.items():
        cells = []
        for name in names:
            entry = of_id.get(f"{claim}_{name}", of_id.get(claim) if len(names) == 1 else None)
            if entry is None:
                continue
            ends = [UNKNOWN if entry[end] is None else difference(entry[end]) for end in ("low", "high")]
            interval = UNKNOWN if UNKNOWN in ends else "\u00a0to\u00a0".join(ends)
            lines.append(
                [
                    words,
                    title(name),
                    difference(entry["effect"]),
                    interval,
                    entry["verdict"].replace("_", " "),
                ]
            )
            cells.append(f"{title(name)} {difference(entry['effect'])} ({interval.replace(chr(160), ' ')})")
        if cells:
            out[f"sets_{key}_cell"] = number(None, "; ".join(cells))
    head = ["Asked", "Set", "Effect", "Interval", "Verdict"]
    return out | _table("sets_size_table", _markdown(head, lines))


def agreement_numbers(sets: Sets) -> Numbers:
    """Whether the same network wins on every set, and what a choice on one loses on another."""
    lines = []
    for cells, words in ((("scratch_full",), "from scratch"), (STARTS, "every network and start")):
        for one in agreement.agreements(agreement.aurocs(sets, tuple(cells))):
            lines.append(
                [
                    words,
                    f"{title(one.first)}, {title(one.second)}",
                    str(one.rho.n),
                    difference(one.rho.effect, 2),
                    _ends(one.rho.low, one.rho.high, lambda value: difference(value, 2)),
                    *one.leaders,
                ]
            )
    head = [
        "Ranked",
        "Sets",
        "Compared",
        "Spearman's rho",
        "95% interval",
        "Leads the first",
        "Leads the second",
    ]
    out = _table("sets_agreement_table", _markdown(head, lines))
    found = agreement.losses(sets)
    lost = [
        [
            title(one.chosen_on),
            f"{one.taken[0]}, {STARTS[one.taken[1]]}",
            title(one.used_on),
            f"{one.instead[0]}, {STARTS[one.instead[1]]}",
            difference(one.loss.estimate),
            _ends(one.loss.low, one.loss.high, difference) if one.over != "the same choice" else "-",
            one.over,
        ]
        for one in found
    ]
    head = ["Chosen on", "Network", "Used on", "Chosen there", "AUROC lost", "95% interval", "Interval over"]
    out |= _table("sets_losses_table", _markdown(head, lost))
    if found:
        worst = max(found, key=lambda one: one.loss.estimate)
        out["sets_worst_loss"] = number(worst.loss.estimate, f"{worst.loss.estimate:.3f}")
    return out


def _difference_numbers(key: str, result: stats.TestResult) -> Numbers:
    return {
        f"{key}_{name}": number(getattr(result, name), difference(getattr(result, name)))
        for name in ("effect", "low", "high")
    } | {f"{key}_p": number(result.p, p_value(result.p))}


def _effect(result: stats.TestResult) -> str:
    low, high = difference(result.low), difference(result.high)
    interval = "no interval" if UNKNOWN in (low, high) else f"{low} to {high}"
    return f"{difference(result.effect)} ({interval})"


def _ends(low: float, high: float, words: Callable[[float], str]) -> str:
    """The two ends of an interval; not known where one is not."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return UNKNOWN
    return f"{words(low)}\u00a0to\u00a0{words(high)}"


def _fixed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if np.isfinite(value) else UNKNOWN


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; nothing where there is no line."""
    if not lines:
        return ""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _table(key: str, text: str, estimated: bool = False) -> Numbers:
    return {key: number(None, text, estimated)} if text else {}
