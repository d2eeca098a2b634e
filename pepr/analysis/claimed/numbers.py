"""The numbers of claims that prose may quote: their verdicts, tables of them, and when they were named."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from pepr import datasets
from pepr.analysis import claims as run_claims
from pepr.display.numbers import UNKNOWN, Numbers, number
from pepr.display.words import difference, difference_points, ends, markdown, p_value, percent
from pepr.runs.results import Results, reference_folder
from pepr.verdicts import PRIMARY, VERDICTS, Entry


def claims_table(claims: list[Entry]) -> str:
    """Claims as a Markdown table: role, on what, effect, interval, the verdict and its corrected p; and
    the set, where there are several."""
    several = of_several_sets(claims)
    return markdown(
        {
            **({"Set": _set(claim)} if several else {}),
            "Claim": claim["claim"],
            "Role": claim["role"],
            "On": claim["basis"],
            "Effect": _difference_in(claim)(claim["effect"]),
            "Interval": ends(claim["low"], claim["high"], _difference_in(claim)),
            "p, corrected": "–" if claim["p_verdict"] is None else p_value(claim["p_verdict"]),
            "Verdict": VERDICTS[claim["verdict"]],
        }
        for claim in claims
    )


def of_several_sets(claims: list[Entry]) -> bool:
    """Whether claims are on more than one dataset, each by itself."""
    return len({claim["dataset"] for claim in claims}) > 1


def _set(claim: Entry) -> str:
    return datasets.find(str(claim["dataset"])).short_title


def _difference_in(claim: Entry) -> Callable[[float | None], str]:
    """What puts a difference in the measure of a claim into words."""
    return difference_points if claim["measure"] == "accuracy" else difference


NOISES = {
    "noise_seed": "Another seed",
    "noise_machine": "Another processor",
    "noise_images": "Other test images",
    "noise_splits": "Splits and seeds",
}
"""What is drawn again, by the key of its standard deviation in `claims.json`."""


def noise_table(claims: list[Entry]) -> str:
    """The claims that performances move, as a Markdown table: effect, and its standard deviation by source;
    empty where none is known."""
    known = [claim for claim in claims if any(claim[name] is not None for name in NOISES)]
    if not known:
        return ""
    several = of_several_sets(claims)
    heads = ["Claim", "Effect", *NOISES.values(), "Its interval is over"]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (1 + len(NOISES)) + " --- |"]
    for claim in known:
        words = f"{_set(claim)}: {claim['claim']}" if several else claim["claim"]
        cells = [_deviation(claim[name], claim["measure"] == "accuracy") for name in NOISES]
        effect = _difference_in(claim)(claim["effect"])
        over = next((some for some in ("splits", "seeds") if some in str(claim["test"])), "models")
        lines.append(f"| {words} | {effect} | {' | '.join(cells)} | {over} |")
    return "\n".join(lines)


def _deviation(value: float | None, points: bool) -> str:
    if value is None:
        return UNKNOWN
    return f"{100 * value:.1f} points" if points else f"{value:.3f}"


def overlap_table(claims: list[Entry]) -> str:
    """Primary claims on splits as a Markdown table, once as if splits were independent and once not."""
    lines = [
        "| Claim | Interval | Verdict | Interval, splits not independent | Verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for claim in claims:
        if claim["role"] == PRIMARY and claim["verdict_overlap"] is not None:
            cells = [f"{_set(claim)}: {claim['claim']}" if of_several_sets(claims) else claim["claim"]]
            for kind in ("", "_overlap"):
                cells.append(ends(claim[f"low{kind}"], claim[f"high{kind}"], difference))
                cells.append(VERDICTS[claim[f"verdict{kind}"]])
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def claim_numbers(claims: list[Entry]) -> Numbers:
    primary = [claim for claim in claims if claim["role"] == PRIMARY]
    out: Numbers = {"claims": number(len(claims)), "claims_primary": number(len(primary))}
    if not claims:
        return out
    out["claims_table"] = number(None, claims_table(claims))
    if table := noise_table(claims):
        out["noise_table"] = number(None, table)
    shared = [claim for claim in claims if claim["role"] == PRIMARY and claim["verdict_overlap"]]
    if shared:
        stand = sum(claim["verdict"] == claim["verdict_overlap"] for claim in shared)
        out["claims_overlap"] = number(None, overlap_table(claims))
        out["claims_overlap_stand"] = number(stand, f"{stand} of {len(shared)}")
    for verdict in VERDICTS:
        for kind, some in (("", claims), ("_primary", primary)):
            out[f"claims{kind}_{verdict}"] = number(sum(claim["verdict"] == verdict for claim in some))
    out["claims_supported_words"] = number(None, supported_words(claims))
    for claim in claims:
        key = f"claim_{claim['id']}"
        for name in ("effect", "low", "high"):
            out[f"{key}_{name}"] = number(claim[name], _difference_in(claim), claim["estimated"])
        for name in ("p", "p_upper", "p_holm", "p_upper_holm", "p_verdict"):
            if name in ("p", "p_holm", "p_verdict") or claim["margin"] is not None:
                out[f"{key}_{name}"] = number(claim[name], p_value)
        out[f"{key}_n"] = number(claim["n"])
        for name in ("verdict", "verdict_overlap"):
            if claim[name]:
                out[f"{key}_{name}"] = number(claim[name], VERDICTS.get)
        out[f"{key}_basis"] = number(None, claim["basis"])
        out[f"{key}_why"] = number(None, why(claim))
        if claim["networks"]:
            out[f"{key}_networks"] = number(None, claim["networks"])
    return out


def supported_words(claims: list[Entry]) -> str:
    """How many claims are supported, how many of these are on an estimated resource, which goes with another
    that was measured, and how many are left if splits are not taken for independent."""
    supported = [claim for claim in claims if claim["verdict"] == "supported"]
    derived = sum(bool(claim["estimated"]) for claim in supported)
    left = sum(claim["verdict_overlap"] in (None, "supported") for claim in supported)
    notes = [f"{derived} of them on an estimate that repeats another"] if derived else []
    notes += [f"{left} if splits are not taken for independent"] if left < len(supported) else []
    words = f"{len(supported)} {'is' if len(supported) == 1 else 'are'} supported"
    return f"{words} ({'; '.join(notes)})" if notes else words


def why(claim: Entry) -> str:
    """On what a verdict stands, in words: its p, raw and corrected, or why it has none."""
    if "moot: " in str(claim["basis"]):
        return "neither side is shown to be above a coin, and networks that are no better than one are alike"
    if claim["p_verdict"] is None:
        return "without a test"
    raw = f"p {p_value(claim['p'])}"
    if claim["margin"] is not None:
        raw += f' for "no worse than by the margin", {p_value(1 - claim["p"])} for "worse"'
        raw += f', {p_value(claim["p_upper"])} for "no better"'
    return f"{raw}; {p_value(claim['p_verdict'])} when the claims are corrected together"


def order_numbers(results: Results) -> Numbers:
    """The dated order of the claims: when it was set, and when the runs began that were seen first; the
    margin and its reason."""
    order, margin = run_claims.order(), run_claims.margin()
    of_whom, seen = _seen(results)
    started, own = _starts(seen), _starts(results)
    notes = order.tested_as_at.values()
    late, last = (
        sum(bool(started) and _moment(when) >= started[place][:19] for when in notes) for place in (0, -1)
    )
    before = not started or _moment(order.dated) < started[0][:19]
    when = f", the first of which began on {_hour(started[0])}" if started else ""
    when += f"; those of this book began on {_hour(own[0])}" if seen is not results and own else ""
    return {
        "claims_named": number(
            None, f"{_hour(_moment(order.dated))}, {'before' if before else 'not before'} {of_whom}{when}"
        ),
        "claims_seen": number(None, of_whom),
        "claims_worded_late": number(late, f"{late} of {len(notes)}"),
        "claims_worded_last": number(last),
        "claims_withdrawn": number(len(order.withdrawn_at)),
        "margin": number(margin, "{:.2f}".format),
        "margin_share": number(order.margin_share, percent),
        "margin_reason": number(None, order.margin_reason),
        "margin_reason_dated": number(
            order.margin_reason_at.isoformat(), _hour(_moment(order.margin_reason_at))
        ),
        "claims_dated": number(order.dated.isoformat(), _hour(_moment(order.dated))),
        "questions": number(len(order.questions)),
    }


def _seen(results: Results) -> tuple[str, Results]:
    """The runs that had been looked at while claims were worded, in words and with their records: the shipped
    ones of the profile, whoever repeats them; where it ships none, these."""
    folder = reference_folder(results.profile)
    if results.origin == "reference" or not (folder / "results.csv").exists():
        return "these runs", results
    return "the runs of the reference", Results(results.profile, "reference", folder)


def _starts(results: Results) -> list[str]:
    return sorted(str(record["started_at"]) for record in results.records() if record.get("started_at"))


def _moment(when: datetime.date) -> str:
    """A moment as records write it, to the second and in UTC; a date is its first second."""
    if isinstance(when, datetime.datetime):
        when = when.astimezone(datetime.UTC) if when.tzinfo else when
        return when.replace(tzinfo=None).isoformat(timespec="seconds")
    return f"{when.isoformat()}T00:00:00"


def _hour(moment: str) -> str:
    return f"{moment[:10]} at {moment[11:16]} UTC"
