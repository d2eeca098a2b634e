"""The audit's checks by name, and the words that they share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from pepr.audit.finding import Finding
from pepr.audit.table import View

Check = Callable[[View], list[Finding]]
Maker = Callable[..., list[Finding]]


CHECKS: dict[str, Check] = {}
"""The checks on any results table, by name."""
EXPLANATIONS: dict[str, str] = {}
"""What each check looks for and why: those above, and those that take tables of their own."""


def named(explanation: str) -> Callable[[Maker], Maker]:
    """Give a check its name, that of its function, and each of its findings too.

    `explanation`: what it looks for and why, in a sentence or two. A check of tables of its own needs no
    more; one of any results table is registered by `check`.
    """

    def name(function: Maker) -> Maker:
        EXPLANATIONS[function.__name__] = explanation

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> list[Finding]:
            return [replace(finding, check=function.__name__) for finding in function(*arguments, **options)]

        return run

    return name


def check(explanation: str) -> Callable[[Check], Check]:
    """Register a function of a view as a check on any results table, by the function's name."""

    def register(function: Check) -> Check:
        CHECKS[function.__name__] = named(explanation)(function)
        return CHECKS[function.__name__]

    return register


def where(view: View, row: int) -> str:
    """`model (seed 1) in setting`, of which only the model is always there."""
    setting, which = view.setting_of(row), view.which_of(row)
    named = f"{view.model_of(row)} ({which})" if which else view.model_of(row)
    return f"{named} in {setting}" if setting else named


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
