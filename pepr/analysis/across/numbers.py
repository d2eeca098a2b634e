"""What several sets say together, in words and tables that prose may quote: the numbers of notebook 07."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from pepr import datasets, stats
from pepr.analysis.across import agreement, arms, parity, pretraining
from pepr.analysis.across.pretraining import Difference
from pepr.analysis.across.sets import TARGETS, Chosen, Sets, grades, last_epochs, tenths, title
from pepr.analysis.claims import margin, order
from pepr.display.numbers import UNKNOWN, Numbers, number
from pepr.display.words import (
    count,
    counted,
    difference,
    ends,
    fixed,
    markdown,
    millions,
    p_value,
    percent,
    wh,
)
from pepr.verdicts import VERDICTS, Entry

STARTED = ("from ImageNet weights", "from scratch", "from shuffled weights", "from another set")
"""What any run starts from, in words."""
STARTS = {"pretrained_full": "ImageNet weights", "scratch_full": "from scratch"}
OF_A_TENTH = {
    "pretrained": ("tenth_as_good_as_all_pretrained", "pretrained: a tenth against all"),
    "scratch": ("tenth_as_good_as_all_scratch", "from scratch: a tenth against all"),
    "pretrained_or_all": (
        "pretrained_tenth_as_good_as_scratch_all",
        "pretrained on a tenth against from scratch on all",
    ),
}
"""The claim of `claims` that each of `pretraining.COMPARISONS` is, and its words in a table."""
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
NINETY = "90%: "
"""What stands before an interval of two one-sided tests where those beside it are of 95%."""


def across_numbers(sets: Sets, claims: Sequence[Entry]) -> Numbers:
    """Everything that the chapter across sets quotes: what one set alone can say, and what takes two.

    `claims` are those of the study. A key is missing where its runs are.
    """
    names = sets.names
    out: Numbers = {
        "sets": number(len(names), counted(len(names), "set")),
        "sets_names": number(None, _listed([title(name) for name in names]) or "none"),
        "sets_networks": number(sets.networks["model"].nunique()),
        "sets_margin_share": number(order().margin_share, percent),
    }
    if not names:
        return out | {key: number(None, "no such runs") for key in CELLS}
    out |= _table("sets_hardware", hardware_by_set(sets))
    out |= _table("sets_targets_table", targets_table([sets.chosen(name) for name in names]))
    out |= _table("sets_grades_table", grades_table(sets))
    out |= _table("sets_tenths_table", tenths_table(tenths(sets)))
    out |= _table("sets_epochs_table", epochs_table(last_epochs(sets)))
    out |= pretraining_numbers(sets, claims) | tenth_numbers(sets, claims)
    out |= parity_numbers(parity.pairs(sets.results.records(), names))
    from_scratch = [name for name in names if len(sets.cell(name, "scratch_full"))]
    out |= claim_numbers(claims, from_scratch) | arm_numbers(sets)
    out |= {key: number(None, "no such runs") for key in CELLS if key not in out}
    return out | (agreement_numbers(sets) if len(names) > 1 else {})


def hardware_by_set(sets: Sets) -> str:
    """What was run on each kind of hardware, a sentence for each: sets, and from which start where a set ran
    on several; empty where all were on one kind."""
    rows = sets.everything
    if rows["hardware"].nunique() < 2:
        return ""
    start, ran = _started(rows), {}
    for name in [*sets.names, *sorted(set(rows["dataset"]) - set(sets.names))]:
        on: dict[str, list[str]] = {}
        for words in STARTED:
            of_start = rows.loc[(rows["dataset"] == name) & (start == words), "hardware"].dropna()
            in_part = " (in part)" if of_start.nunique() > 1 else ""
            for hardware in sorted(of_start.unique()):
                on.setdefault(hardware, []).append(f"{words}{in_part}")
        for hardware, starts in on.items():
            of_which = f" {_listed(starts)}" if len(on) > 1 else ""
            ran.setdefault(hardware, {}).setdefault(of_which, []).append(title(name).replace(",", ""))
    sentences = []
    for hardware, alike in ran.items():
        parts = (f"{_listed(titles)}{of_which}" for of_which, titles in alike.items())
        sentences.append(f"{', and '.join(parts)} ran on {hardware}.")
    return " ".join(sentences)


def _started(rows: pd.DataFrame) -> pd.Series:
    """What each run starts from [runs], a word of `STARTED`."""
    imagenet, scratch, shuffled, another = STARTED
    words = rows["pretrained"].astype(bool).map({True: imagenet, False: scratch})
    words = words.mask(rows["shuffled"].fillna(False).astype(bool), shuffled)
    return words.mask(rows["init_from"].notna(), another)


def targets_table(chosen: Iterable[Chosen]) -> str:
    """What validation chose on each set, beside the target and the published benchmark. Markdown."""
    rows = []
    for one in chosen:
        target, value = TARGETS.get(one.dataset), one.auroc.estimate
        told = datasets.find(one.dataset).benchmark
        if target is None:
            verdict = "none was set"
        else:
            short = "less than 0.001" if target - value < 0.001 else f"{target - value:.3f}"
            verdict = f"{target:.2f}: " + ("reached" if value >= target else f"missed by {short}")
        rows.append(
            {
                "Set": title(one.dataset),
                "Network and start": f"{one.model}, {STARTS[one.cell]}",
                "Runs": str(one.n_seeds),
                "Test AUROC": f"{value:.3f}",
                "95% interval": ends(one.auroc.low, one.auroc.high, "{:.3f}".format),
                "Interval over": one.over,
                "Target": verdict,
                "ResNet-18, published": "none" if told is None else f"{told[1]:.3f}",
            }
        )
    return markdown(rows)


def grades_table(sets: Sets) -> str:
    """Kappa and mean absolute error of every start and model on ordered grades. Markdown; empty without."""
    return markdown(
        {
            "Model": row["model"],
            "Setting": row["setting"],
            "Runs": str(row["runs"]),
            "Quadratic kappa": fixed(row["kappa"]),
            "95% interval": ends(row["kappa_low"], row["kappa_high"], fixed),
            "Mean error, grades": fixed(row["error"]),
            "95% interval of the error": ends(row["error_low"], row["error_high"], fixed),
            "Intervals over": row["over"],
        }
        for dataset in sets.names
        for row in grades(sets, dataset).to_dict("records")
    )


def tenths_table(rows: pd.DataFrame) -> str:
    """What a tenth of each set is. Markdown; empty without."""
    return markdown(
        {
            "Set": title(row["dataset"]),
            "Training images": count(row["all"]),
            "A tenth": count(row["tenth"]),
            "Classes": str(row["classes"]),
            "Of the rarest": f"about {row['rarest']:.0f}",
            "Steps on a tenth": count(row["steps"]),
            "Steps on all": count(row["steps_of_all"]),
            "Validation images": count(row["val"]),
            "Test images": count(row["test"]),
        }
        for row in rows.to_dict("records")
    )


def epochs_table(rows: pd.DataFrame) -> str:
    """In how many runs of either start the last epoch is the one that counts. Markdown; empty without."""
    return markdown(
        {
            "Set": title(row["dataset"]),
            "Epochs": row["epochs"],
            "The last one counts, from ImageNet weights": f"{row['pretrained']} of {row['n']}",
            "From scratch": f"{row['scratch']} of {row['n']}",
        }
        for row in rows.to_dict("records")
    )


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
    rows = []
    for one in found:
        several = f"{one.whom}: {counted(len(one.models), 'network')}"
        rows.append(
            {
                "Set": title(one.dataset),
                "Networks": one.models[0] if len(one.models) == 1 else several,
                **_difference_cells(one.n_units, one.result),
                "Verdict": _verdict(claims, PRETRAINING, one.dataset) if one.whom == "all" else "-",
            }
        )
    return markdown(rows)


def _verdict(claims: Sequence[Entry], name: str, dataset: str) -> str:
    """What the study says of a claim on a set: the one verdict that pages give it; - without the claim."""
    of_id = {claim["id"]: claim for claim in claims}
    claim = of_id.get(f"{name}_{dataset}", of_id.get(name))
    return "-" if claim is None else VERDICTS[claim["verdict"]]


def _difference_cells(n_units: int, result: stats.TestResult) -> dict[str, str]:
    """The cells on a difference in AUROC that is tested against none."""
    return {
        "Pairs of seeds": str(n_units),
        "Difference in AUROC": difference(result.effect),
        "95% interval": ends(result.low, result.high, difference),
        "p, not corrected": p_value(result.p),
    }


def _pooled_words(
    whole: Sequence[Difference], together: stats.TestResult | None, drawn: stats.TestResult | None
) -> str:
    if len(whole) < 2:
        return f"Both starts are there of one set only, {title(whole[0].dataset)}, so nothing is pooled."
    named = _listed([title(one.dataset) for one in whole])
    if not pretraining.agree(whole):
        return f"The effects on {named} do not have one sign, so no average is made: it would be of nothing."
    if together is None:
        return "The effects have one sign, but not every set has three seeds, so no average is made of them."
    words = (
        f"The effects on {named} have one sign. Their mean, each weighing alike, is "
        f"{difference(together.effect)} (95% interval {ends(together.low, together.high, difference)}) for "
        "these networks on these sets. It is no claim of the order: such a mean is made only where signs "
        "agree, and that by itself moves it away from zero."
    )
    if drawn is None:
        return f"{words} A mixed model with the networks drawn has no solution on these runs."
    wide = "holds zero" if drawn.low <= 0 <= drawn.high else "does not hold zero"
    return (
        f"{words} For other networks like them, by a mixed model in which the {drawn.n} networks are drawn, "
        f"the interval is {ends(drawn.low, drawn.high, difference)}: it {wide}."
    )


def tenth_numbers(sets: Sets, claims: Sequence[Entry] = ()) -> Numbers:
    """What a tenth of the images does, with the study's verdict on each set. Intervals are of 90%."""
    found = pretraining.tenth(sets)
    rows = [
        {
            "Asked": OF_A_TENTH[one.comparison][1],
            "Set": title(one.difference.dataset),
            "Networks": counted(len(one.difference.models), "network"),
            "Pairs of seeds": str(one.difference.n_units),
            "Difference in AUROC": difference(one.result.effect),
            "90% interval": ends(one.result.low, one.result.high, difference),
            "As good as?": _verdict(claims, OF_A_TENTH[one.comparison][0], one.difference.dataset),
        }
        for one in found
    ]
    out = _table("sets_data_table", markdown(rows))
    if out:
        out["sets_margin"] = number(margin(), "{:.2f}".format)
        for comparison in OF_A_TENTH:
            of_one = [one for one in found if one.comparison == comparison]
            text = "; ".join(
                f"{title(one.difference.dataset)} {_effect(one.result, NINETY)}" for one in of_one
            )
            if text:
                out[f"sets_tenth_{comparison}_cell"] = number(None, text)
    return out


def parity_numbers(rows: pd.DataFrame) -> Numbers:
    """How soon a pretrained network passes its twin's end, by size."""
    if rows.empty:
        return {}
    table = markdown(
        {
            "Set": title(row["dataset"]),
            "Network": row["model"],
            "Parameters": millions(row["num_params"]),
            "Passed": f"{row['passed']} of {row['n']}",
            "Epochs (median)": f"{row['epochs']:g}" if np.isfinite(row["epochs"]) else NEVER,
            "From scratch took": wh(row["scratch_wh"]),
            "Share until parity": percent(row["share"]) if np.isfinite(row["share"]) else NEVER,
        }
        for row in parity.of_networks(rows).to_dict("records")
    )
    passed, first = int(np.isfinite(rows["epochs"]).sum()), int((rows["epochs"] == 1).sum())
    share = float(rows["share"].median())
    estimated = bool(rows["estimated"].any())
    if np.isfinite(share):
        own, of_own = (
            percent(float(values.median()))
            for values in (rows["own_share"], rows["share"] / rows["own_share"])
        )
        words = (
            f"In the median it has then taken {percent(share)} of the energy of the whole run from scratch. "
            f"That run is itself first there after {own} of its energy: of what it took until then, the "
            f"pretrained twin takes {of_own}."
        )
    else:
        words = "In half of the pairs or more it never does, so there is no median of the energy until then."
    return _table("sets_parity_table", table, estimated) | {
        "sets_parity_pairs": number(len(rows), counted(len(rows), "pair")),
        "sets_parity_passed": number(passed, f"{passed} of {len(rows)}"),
        "sets_parity_first": number(first, f"{first} of {len(rows)}"),
        "sets_parity_words": number(share, words, estimated),
    }


def arm_numbers(sets: Sets) -> Numbers:
    """What starts otherwise: shuffled weights, and networks that another run of the study left."""
    rows, apart = {"shuffled": [], "transfer": []}, {"shuffled": [], "transfer": []}
    for name, one in arms.differences(sets):
        table = "shuffled" if name in ("scale", "features") else "transfer"
        if arms.on_other_hardware(sets, name, one.dataset):
            apart[table].append(title(one.dataset))
        rows[table].append(
            {
                "Asked": OF_AN_ARM[name],
                "Set": title(one.dataset),
                "Networks": counted(len(one.models), "network"),
                **_difference_cells(one.n_units, one.result),
            }
        )
    out: Numbers = {}
    for key, of_key in rows.items():
        out |= _table(f"sets_{key}_table", markdown(of_key))
        out |= _table(f"sets_{key}_apart", _listed(list(dict.fromkeys(apart[key]))))
    if rows["transfer"] and (of_one := len(arms.of_one_source(sets))):
        out["sets_transfer_one_source"] = number(of_one, counted(of_one, "network"))
    bills = arms.shared_bills(sets)
    table = markdown(
        {
            "Set": title(one.dataset),
            "Uses": str(one.uses),
            "Energy of one use": wh(one.energy_wh),
            "Mean PePR-E, transferred": fixed(one.transferred, 3),
            "from scratch": fixed(one.scratch, 3),
            "Transfer wins": f"{one.wins} of {one.n_networks}",
            "Best": f"{one.best[0]}, {one.best[1]}",
        }
        for one in bills
    )
    out |= _table("sets_bill_table", table, any(one.estimated for one in bills))
    if alike := list(dict.fromkeys(title(one.dataset) for one in bills if one.charged_alike)):
        out["sets_bill_alike"] = number(None, _listed(alike))
        if np.isfinite(share := arms.energy_of_two_starts(sets)):
            out["sets_bill_two_starts"] = number(share, f"{100 * share:.1f}%", True)
    return out


def claim_numbers(claims: Sequence[Entry], names: Sequence[str]) -> Numbers:
    """The claims on size and parameters of some sets in one table, and in a cell each beside the authors'."""
    of_id = {claim["id"]: claim for claim in claims}
    rows, out = [], {}
    for key, (claim, words) in CLAIMS.items():
        cells = []
        for name in names:
            entry = of_id.get(f"{claim}_{name}", of_id.get(claim) if len(names) == 1 else None)
            if entry is None:
                continue
            interval = ends(entry["low"], entry["high"], difference)
            if entry["margin"] is not None and interval != UNKNOWN:
                interval = NINETY + interval
            rows.append(
                {
                    "Asked": words,
                    "Set": title(name),
                    "Effect": difference(entry["effect"]),
                    "Interval over networks, 95% or as said": interval,
                    "Verdict": entry["verdict"].replace("_", " "),
                }
            )
            told = "no interval" if interval == UNKNOWN else interval.replace(chr(160), " ")
            cells.append(f"{title(name)} {difference(entry['effect'])} ({told})")
        if cells:
            out[f"sets_{key}_cell"] = number(None, "; ".join(cells))
    return out | _table("sets_size_table", markdown(rows))


def agreement_numbers(sets: Sets) -> Numbers:
    """Whether the same network wins on every set, and what a choice on one loses on another."""
    ranked = markdown(
        {
            "Ranked": words,
            "Sets": f"{title(one.first)}, {title(one.second)}",
            "Compared": str(one.rho.n),
            "Spearman's rho": difference(one.rho.effect, 2),
            "95% interval over networks": ends(one.rho.low, one.rho.high, lambda value: difference(value, 2)),
            "Leads these on the first": one.leaders[0],
            "On the second": one.leaders[1],
        }
        for cells, words in ((("scratch_full",), "from scratch"), (STARTS, "every network and start of both"))
        for one in agreement.agreements(agreement.aurocs(sets, tuple(cells)))
    )
    found = agreement.losses(sets)
    lost = markdown(
        {
            "Chosen on": f"{title(one.chosen_on)}: {one.taken[0]}, {STARTS[one.taken[1]]}",
            "Used on": title(one.used_on),
            "Chosen there": f"{one.instead[0]}, {STARTS[one.instead[1]]}",
            "AUROC lost": difference(one.loss.estimate),
            "95% interval, and over what": (
                one.over
                if one.over in agreement.NO_INTERVAL
                else f"{ends(one.loss.low, one.loss.high, difference)}, {one.over}"
            ),
        }
        for one in found
    )
    out = _table("sets_agreement_table", ranked)
    known_losses = [one.loss for one in found if np.isfinite(one.loss.estimate)]
    if known_losses:
        out |= _table("sets_losses_table", lost)
        worst = max(known_losses, key=lambda loss: loss.estimate)
        known = worst.low < worst.high
        interval = f" (95% interval {ends(worst.low, worst.high, difference)})" if known else ""
        out["sets_worst_loss"] = number(worst.estimate, f"{fixed(worst.estimate, 3)}{interval}")
    return out


def _difference_numbers(key: str, result: stats.TestResult) -> Numbers:
    return {
        f"{key}_{name}": number(getattr(result, name), difference) for name in ("effect", "low", "high")
    } | {f"{key}_p": number(result.p, p_value)}


def _effect(result: stats.TestResult, level: str = "") -> str:
    """An effect and its interval, which is of 95% where no `level` says otherwise."""
    low, high = difference(result.low), difference(result.high)
    interval = "no interval" if UNKNOWN in (low, high) else f"{level}{low} to {high}"
    return f"{difference(result.effect)} ({interval})"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _table(key: str, text: str, estimated: bool = False) -> Numbers:
    return {key: number(None, text, estimated)} if text else {}
