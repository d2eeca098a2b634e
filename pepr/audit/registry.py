"""The audit's checks by name, and the words that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from pepr.audit.finding import Finding
from pepr.audit.table import View

Check = Callable[[View], list[Finding]]


@dataclass(frozen=True)
class NamedCheck:
    """A check, its name, and what it looks for and why, in a sentence or two."""

    name: str
    explanation: str
    run: Check


CHECKS: dict[str, NamedCheck] = {}
"""The checks on any results table, by name."""
EXPLANATIONS: dict[str, str] = {}
"""What each check looks for and why: those above, and those that take tables of their own."""


def check(name: str, explanation: str) -> Callable[[Check], Check]:
    """Register a function of a view as the check of this name."""

    def register(function: Check) -> Check:
        CHECKS[name] = NamedCheck(name, explanation, function)
        EXPLANATIONS[name] = explanation
        return function

    return register


def where(view: View, row: int) -> str:
    """`model in setting`, or the model alone."""
    setting = view.setting_of(row)
    return f"{view.model_of(row)} in {setting}" if setting else view.model_of(row)


def setting_words(view: View, row: int) -> str:
    """The setting of a row, in words."""
    return view.setting_of(row) or "that row"


def count_words(view: View, row: int, value: float) -> str:
    """An accuracy as k/n where n is known."""
    n = view.n_test[row]
    return f"{round(value * n)}/{n:g}" if np.isfinite(n) else f"{value:.6g}"


def listed(names: Iterable[str], limit: int = 6) -> str:
    """Names with commas, the first few of them."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
