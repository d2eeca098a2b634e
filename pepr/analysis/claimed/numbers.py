"""The numbers of claims that prose may quote: their verdicts, tables of them, and when they were named."""

from __future__ import annotations

import datetime

from pepr.analysis import claims as run_claims
from pepr.display.numbers import UNKNOWN, Number, Numbers, number
from pepr.display.words import difference, difference_points, p_value, percent
from pepr.runs.results import Results
from pepr.verdicts import PRIMARY, VERDICTS, Entry


def claims_table(claims: list[Entry]) -> str:
    """Claims as a Markdown table: role, on what, effect, interval, the verdict and its corrected p."""
    lines = [
        "| Claim | Role | On | Effect | Interval | p, corrected | Verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for claim in claims:
        shown = difference_points if claim["measure"] == "accuracy" else difference
        low, high = shown(claim["low"]), shown(claim["high"])
        interval = low if low == high == UNKNOWN else f"{low}\u00a0to\u00a0{high}"
        cells = [
            claim["claim"],
            claim["role"],
            claim["basis"],
            shown(claim["effect"]),
            interval,
            p_value(claim["p_verdict"]),
            VERDICTS[claim["verdict"]],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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
    heads = ["Claim", "Effect", *NOISES.values(), "Its interval is over"]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (1 + len(NOISES)) + " --- |"]
    for claim in known:
        points = claim["measure"] == "accuracy"
        cells = [_deviation(claim[name], points) for name in NOISES]
        effect = (difference_points if points else difference)(claim["effect"])
        over = next((some for some in ("splits", "seeds") if some in str(claim["test"])), "models")
        lines.append(f"| {claim['claim']} | {effect} | {' | '.join(cells)} | {over} |")
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
            both = [
                f"{difference(claim[low])}\u00a0to\u00a0{difference(claim[high])}"
                for low, high in (("low", "high"), ("low_overlap", "high_overlap"))
            ]
            words = [VERDICTS[claim[key]] for key in ("verdict", "verdict_overlap")]
            lines.append(f"| {claim['claim']} | {both[0]} | {words[0]} | {both[1]} | {words[1]} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def claim_numbers(claims: list[Entry]) -> Numbers:
    primary = [claim for claim in claims if claim["role"] == PRIMARY]
    out: Numbers = {"claims": _count(len(claims)), "claims_primary": _count(len(primary))}
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
            out[f"claims{kind}_{verdict}"] = _count(sum(claim["verdict"] == verdict for claim in some))
    for claim in claims:
        key = f"claim_{claim['id']}"
        shown = difference_points if claim["measure"] == "accuracy" else difference
        for name in ("effect", "low", "high"):
            out[f"{key}_{name}"] = number(claim[name], shown(claim[name]), claim["estimated"])
        for name in ("p", "p_upper", "p_holm", "p_upper_holm", "p_verdict"):
            if name in ("p", "p_holm", "p_verdict") or claim["margin"] is not None:
                out[f"{key}_{name}"] = number(claim[name], p_value(claim[name]))
        out[f"{key}_effect_size"] = number(claim["effect_size"], difference(claim["effect_size"], 2))
        out[f"{key}_n"] = _count(claim["n"])
        out[f"{key}_verdict"] = number(claim["verdict"], VERDICTS[claim["verdict"]])
        if claim["verdict_overlap"]:
            words = VERDICTS[claim["verdict_overlap"]]
            out[f"{key}_verdict_overlap"] = number(claim["verdict_overlap"], words)
        out[f"{key}_role"] = number(claim["role"], claim["role"])
        out[f"{key}_basis"] = number(None, claim["basis"])
        if claim["networks"]:
            out[f"{key}_networks"] = number(None, claim["networks"])
    return out


def order_numbers(results: Results) -> Numbers:
    """The dated order of the claims: when it was set and the runs began; the margin and its reason."""
    order, margin = run_claims.order(), run_claims.margin()
    started = sorted(str(record["started_at"]) for record in results.records() if record.get("started_at"))
    late = [name for name, when in order.tested_as_at.items() if started and _moment(when) >= started[0][:19]]
    before = not started or _moment(order.dated) < started[0][:19]
    when = f", the first of which began on {_hour(started[0])}" if started else ""
    return {
        "claims_named": number(
            None, f"{_hour(_moment(order.dated))}, {'before' if before else 'not before'} these runs{when}"
        ),
        "claims_worded_late": number(len(late), f"{len(late)} of {len(order.tested_as_at)}"),
        "margin": number(margin, f"{margin:.2f}"),
        "margin_share": number(order.margin_share, percent(order.margin_share)),
        "margin_reason": number(None, order.margin_reason),
        "claims_dated": number(order.dated.isoformat(), _hour(_moment(order.dated))),
        "questions": _count(len(order.questions)),
    }


def _moment(when: datetime.date) -> str:
    """A moment as records write it, to the second and in UTC; a date is its first second."""
    if isinstance(when, datetime.datetime):
        when = when.astimezone(datetime.UTC) if when.tzinfo else when
        return when.replace(tzinfo=None).isoformat(timespec="seconds")
    return f"{when.isoformat()}T00:00:00"


def _hour(moment: str) -> str:
    return f"{moment[:10]} at {moment[11:16]} UTC"


def _count(value: int) -> Number:
    return number(value, f"{value:,}")
