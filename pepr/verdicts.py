"""What a claim is: an effect with its interval, a place in an order, a p adjusted by Holm, a verdict.

Each question has one primary claim. Holm's method adjusts the p values of the primary claims together. The
secondary claims of a question are tested if its primary claim holds, and only then (a gate); the p values of
those that are tested are adjusted together, and none is surer than the primary claim before it.

Verdicts:

- `supported`, `not_supported`: the effect has the claimed, or the opposite, direction (or is no worse than
  the margin, or worse than it);
- `equivalent`: the difference lies inside the margin on both sides;
- `undecided`: it was tested, and the data cannot tell, which with few models or seeds is the usual answer; or
  it is moot: no side is shown to do better than a coin, and models that do not are alike, too;
- `not_tested`: its primary claim did not hold, or the data give no p, as too few pairs do;
- `supported_with_correction`: undecided or not supported as it was, supported or equivalent once corrected.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import yaml

from pepr.errors import InputError
from pepr.stats import TestResult, holm

Entry = dict[str, str | float | bool | None]
"""A claim as `claims.json` has it, by key."""
ALPHA = 0.05
"""A claim is decided by a p below this, after Holm's method."""
VERDICTS = {
    "supported": "supported",
    "supported_with_correction": "supported once corrected",
    "equivalent": "equivalent",
    "not_supported": "not supported",
    "undecided": "undecided",
    "not_tested": "not tested",
}
"""Every verdict, and how a page says it."""
HOLDS = ("supported", "equivalent")
"""The verdicts of a claim that holds."""
PRIMARY, SECONDARY = "primary", "secondary"


@dataclass(frozen=True)
class PValues:
    """The p of a test; with a margin those of "no worse", "no better" (together: equivalent) and "worse"."""

    p: float
    p_upper: float = np.nan
    p_worse: float = np.nan


UNTESTED = PValues(np.nan)


@dataclass(frozen=True)
class Rule:
    """How the result of a test becomes a verdict.

    `kind`: `direction` (the effect is above 0), `at_least` and `at_most` (it is on that side of `threshold`),
    `as_good` (no worse than by `margin`, and equivalent when it is no better than by the margin either).
    """

    kind: str
    margin: float | None = None
    threshold: float = 0.0

    def p_values(self, result: TestResult) -> PValues:
        """What a result decides by."""
        if self.kind != "as_good":
            return PValues(result.p)
        return PValues(result.p, result.p_upper, 1.0 - result.p)

    def verdict(self, result: TestResult, adjusted: PValues) -> str:
        """The verdict on a result by its adjusted p values; not tested where there are none."""
        if np.isnan(adjusted.p):
            return "not_tested"
        if self.kind == "as_good":
            if adjusted.p < ALPHA:
                return "equivalent" if adjusted.p_upper < ALPHA else "supported"
            return "not_supported" if adjusted.p_worse < ALPHA else "undecided"
        if not adjusted.p < ALPHA:
            return "undecided"
        above = result.effect > self.threshold
        return "supported" if above != (self.kind == "at_most") else "not_supported"


@dataclass(frozen=True)
class Tested:
    """A claim with its test's result; `gate` is the id of its primary claim, None for a primary one.

    `moot` says why the claim would say nothing even if its test held. Its p still counts among the others:
    whether a claim is moot is itself learned from the data.
    """

    __test__ = False  # pytest collects classes by this name

    id: str
    rule: Rule
    result: TestResult
    gate: str | None = None
    moot: str = ""

    def judged(self, adjusted: PValues) -> Judged:
        """The verdict by adjusted p values: undecided where the claim was tested and is moot."""
        verdict = self.rule.verdict(self.result, adjusted)
        if self.moot and verdict != "not_tested":
            return Judged("undecided", adjusted, self.moot)
        return Judged(verdict, adjusted)


@dataclass(frozen=True)
class Judged:
    """The verdict on a claim, its adjusted p values, and why it was not tested or is moot."""

    verdict: str
    adjusted: PValues
    closed: str = ""

    @property
    def decisive(self) -> float:
        """The adjusted p that the verdict stands on: the larger of both sides where it is `equivalent`, that
        of "worse" where the claim fails by it, else that of the claim itself; NaN where none decides."""
        if self.closed:
            return np.nan
        if self.verdict == "equivalent":
            return max(self.adjusted.p, self.adjusted.p_upper)
        if self.verdict == "not_supported" and not np.isnan(self.adjusted.p_worse):
            return self.adjusted.p_worse
        return self.adjusted.p


def judge(claims: Sequence[Tested]) -> dict[str, Judged]:
    """The verdicts on claims by id: primary ones together, then the secondary ones whose gate is open.

    A gate that is not among the claims is closed. A test that has no p counts for no other.
    """
    first = [claim for claim in claims if claim.gate is None]
    found = _together(first)
    is_open = {claim.id for claim in first if found[claim.id].verdict in HOLDS}
    tested = [claim for claim in claims if claim.gate in is_open]
    for claim, judged in zip(tested, _together(tested).values(), strict=True):
        least = found[claim.gate].decisive
        adjusted = PValues(*(float(np.maximum(value, least)) for value in vars(judged.adjusted).values()))
        found[claim.id] = claim.judged(adjusted)
    for claim in claims:
        if claim.id not in found:
            why = found[claim.gate].verdict.replace("_", " ") if claim.gate in found else "not at hand"
            found[claim.id] = Judged("not_tested", UNTESTED, f"not tested: the primary claim is {why}")
    return {claim.id: found[claim.id] for claim in claims}


def _together(claims: Sequence[Tested]) -> dict[str, Judged]:
    """Verdicts by p values that are adjusted together, both sides of a margin among them.

    Of "no worse" and "worse" one is true, so that these two count as one (Shaffer 1986).
    """
    raw = [claim.rule.p_values(claim.result) for claim in claims]
    table = np.array([[np.fmin(one.p, one.p_worse), one.p_upper] for one in raw]).reshape(len(claims), 2)
    adjusted = holm(table.ravel()).reshape(table.shape).tolist()
    found = {}
    for claim, one, (lower, upper) in zip(claims, raw, adjusted, strict=True):
        worse = one.p_worse < one.p
        p_values = PValues(1.0 if worse else lower, upper, lower if worse else np.nan)
        found[claim.id] = claim.judged(p_values)
    return found


def corrected(before: str, after: str) -> str:
    """The verdict on corrected data, which says where only the correction made the claim hold."""
    return "supported_with_correction" if after in HOLDS and before not in HOLDS else after


def values(result: TestResult, judged: Judged) -> Entry:
    """The numbers of a claim as JSON knows them; what does not exist (one pair has no p) is None.

    `p_verdict` is the p that the verdict stands on, see `Judged.decisive`.
    """
    found = {
        "n": result.n,
        "effect": result.effect,
        "low": result.low,
        "high": result.high,
        "p": result.p,
        "p_upper": result.p_upper,
        "p_holm": judged.adjusted.p,
        "p_upper_holm": judged.adjusted.p_upper,
        "p_verdict": judged.decisive,
        "effect_size": result.effect_size,
    }
    return known(found)


def known(found: Mapping[str, object]) -> Entry:
    """The values with None for every number that is none."""
    return {key: None if isinstance(v, float) and not np.isfinite(v) else v for key, v in found.items()}


@dataclass(frozen=True)
class Order:
    """Which claims are asked first, and how large a difference matters.

    `questions` are in words by name, `primary` the primary claim's id by question, `question_of` the question
    of each claim; `margin_share` is the margin of an equivalence as a share of the range above chance, with
    its `margin_reason`, written at `margin_reason_at`. `tested_as` says how a claim is tested whose words
    leave that open, `tested_as_at` when the last of that was written; `withdrawn_at` are the claims that are
    made no longer. `ours` are the questions that this study adds to somebody else's. A moment is a date, or
    has an hour where a file gives one.
    """

    dated: datetime.date
    measure: str
    margin_share: float
    margin_reason: str
    questions: dict[str, str]
    primary: dict[str, str]
    question_of: dict[str, str]
    tested_as: dict[str, str]
    tested_as_at: dict[str, datetime.date]
    margin_reason_at: datetime.date
    withdrawn_at: dict[str, datetime.date]
    baseline_model: str | None = None
    ours: frozenset[str] = frozenset()

    def margin(self, chance: float) -> float:
        """The margin in units of a measure whose guesser has `chance`."""
        return self.margin_share * (1.0 - chance)

    def role(self, claim: str) -> str:
        """`primary` or `secondary`. Raises InputError for a claim without a place in the order."""
        return PRIMARY if self.gate(claim) is None else SECONDARY

    def gate(self, claim: str) -> str | None:
        """The primary claim that has to hold before this one is tested; None for a primary claim."""
        if claim not in self.question_of:
            raise InputError(f"claim {claim!r} has no place in the order of {self.dated}")
        first = self.primary[self.question_of[claim]]
        return None if first == claim else first


def _reason(margin: Mapping[str, Any]) -> str:
    """Why a margin is as it is; where the reason came later than the margin, when."""
    if not (again := margin.get("restated")):
        return str(margin["reason"]).strip()
    since = f"(The margin is older than this reason, which is of {_date(again['dated']):%Y-%m-%d %H:%M}.)"
    return f"{str(again['reason']).strip()} {since}"


@functools.cache
def order(package: str) -> Order:
    """The order in a package's `primary.yaml`. Raises InputError naming what is missing or stands twice."""
    path = resources.files(package) / "primary.yaml"
    return parse_order(yaml.safe_load(path.read_text()), str(path))


def parse_order(values: Mapping[str, Any], where: str = "primary.yaml") -> Order:
    """The order that a file's values describe. Raises InputError naming the file and the entry."""
    try:
        margin, asked = values["margin"], dict(values["questions"])
        share = float(margin["share_of_range_above_chance"])
        places = _questions(asked)
        notes = _notes(values.get("tested_as", {}), places)
        withdrawn = _withdrawn(values.get("withdrawn", {}), asked, places)
        found = Order(
            dated=_date(values["dated"]),
            measure=str(values["measure"]),
            margin_share=share,
            margin_reason=_reason(margin),
            questions={name: str(entry["asks"]) for name, entry in asked.items()},
            primary={name: str(entry["primary"]) for name, entry in asked.items()},
            question_of={name: asks for name, asks in places.items() if name not in withdrawn},
            tested_as={name: " ".join(words) for name, (words, _) in notes.items()},
            tested_as_at={name: max(moments, key=str) for name, (_, moments) in notes.items()},
            margin_reason_at=_date(margin.get("restated", values)["dated"]),
            withdrawn_at=withdrawn,
            baseline_model=values.get("baseline_model"),
            ours=frozenset(name for name, entry in asked.items() if entry.get("ours")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {type(error).__name__}: {error}") from None
    if not 0 < share < 1:
        raise InputError(f"{where}: margin.share_of_range_above_chance is {share:g}; expected 0 to 1")
    return found


def _notes(
    notes: Mapping[str, Any], known: Mapping[str, str]
) -> dict[str, tuple[list[str], list[datetime.date]]]:
    """How claims are tested, by id, and when it was written: one note each, or a list of them."""
    found = {}
    for claim, entry in notes.items():
        if claim not in known:
            raise ValueError(f"tested_as: no claim {claim}")
        dated = entry if isinstance(entry, list) else [entry]
        found[claim] = [str(note["as"]).strip() for note in dated], [_date(note["dated"]) for note in dated]
    return found


def _withdrawn(
    entries: Mapping[str, Any], asked: Mapping[str, Any], known: Mapping[str, str]
) -> dict[str, datetime.date]:
    """Since when a claim is made no longer. A primary one cannot be: its question would have none."""
    for claim in entries:
        if claim not in known or asked[known[claim]]["primary"] == claim:
            raise ValueError(f"withdrawn: no secondary claim {claim}")
    return {claim: _date(entry["dated"]) for claim, entry in entries.items()}


def _date(value: object) -> datetime.date:
    return value if isinstance(value, datetime.date) else datetime.date.fromisoformat(str(value))


def _questions(asked: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, entry in asked.items():
        for claim in [entry["primary"], *entry.get("secondary", [])]:
            if claim in found:
                raise ValueError(f"claim {claim} stands under {found[claim]} and under {name}")
            found[str(claim)] = name
    return found
