"""The order of claims, from a dated file: the primary claim of each question, what it gates, the margin."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from pepr.errors import InputError
from pepr.verdicts import PRIMARY, SECONDARY


@dataclass(frozen=True)
class Order:
    """Which claims are asked first, and how large a difference matters.

    `questions` are in words by name, `primary` the primary claim's id by question, `question_of` the question
    of each claim; `margin_share` is the margin of an equivalence as a share of the range above chance, with
    its `margin_reason`. `tested_as` says how a claim is tested whose words leave that open. `ours` are the
    questions that this study adds to somebody else's.
    """

    dated: datetime.date
    measure: str
    margin_share: float
    margin_reason: str
    questions: dict[str, str]
    primary: dict[str, str]
    question_of: dict[str, str]
    tested_as: dict[str, str]
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


@functools.cache
def order(package: str = "pepr.analysis") -> Order:
    """The order in a package's `primary.yaml`. Raises InputError naming what is missing or stands twice."""
    path = resources.files(package) / "primary.yaml"
    return parse(yaml.safe_load(path.read_text()), str(path))


def parse(values: Mapping[str, Any], where: str = "primary.yaml") -> Order:
    """The order that a file's values describe. Raises InputError naming the file and the entry."""
    try:
        margin, asked = values["margin"], dict(values["questions"])
        share = float(margin["share_of_range_above_chance"])
        found = Order(
            dated=_date(values["dated"]),
            measure=str(values["measure"]),
            margin_share=share,
            margin_reason=str(margin["reason"]).strip(),
            questions={name: str(entry["asks"]) for name, entry in asked.items()},
            primary={name: str(entry["primary"]) for name, entry in asked.items()},
            question_of=_questions(asked),
            tested_as=_notes(values.get("tested_as", {}), _questions(asked)),
            baseline_model=values.get("baseline_model"),
            ours=frozenset(name for name, entry in asked.items() if entry.get("ours")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {type(error).__name__}: {error}") from None
    if not 0 < share < 1:
        raise InputError(f"{where}: margin.share_of_range_above_chance is {share:g}; expected 0 to 1")
    return found


def _notes(notes: Mapping[str, Mapping[str, Any]], known: Mapping[str, str]) -> dict[str, str]:
    for claim, note in notes.items():
        if claim not in known:
            raise ValueError(f"tested_as: no claim {claim}")
        _date(note["dated"])
    return {claim: str(note["as"]).strip() for claim, note in notes.items()}


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
