"""What a claim is: an effect with its interval, a p that Holm's method adjusted, a margin, a verdict.

Verdicts:

- `supported`, `not_supported`: the effect has the claimed, or the opposite, direction (or lies beyond the
  margin on the wrong side);
- `equivalent`: the difference lies inside the margin;
- `undecided`: the data cannot tell, which with few models or seeds is the usual answer;
- `supported_with_correction`: undecided or not supported as it was, supported or equivalent once corrected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pepr.stats import TestResult, holm

ALPHA = 0.05
"""A claim is decided by a p below this, after Holm's method."""
HOLDS = ("supported", "equivalent")
"""The verdicts of a claim that holds."""


@dataclass(frozen=True)
class Rule:
    """How the result of a test becomes a verdict.

    `kind`: `direction` (the effect is above 0), `at_least` and `at_most` (it is on that side of `threshold`),
    `as_good` (no worse than by `margin`, and equivalent when its 90% interval lies inside the margin),
    `share` (a share's interval against `threshold`; it has no p).
    """

    kind: str
    margin: float | None = None
    threshold: float = 0.0

    def verdict(self, result: TestResult, p_holm: float) -> str:
        """The verdict on a result whose p was adjusted to `p_holm`; undecided where there is no p."""
        if self.kind == "share":
            if result.low >= self.threshold:
                return "supported"
            return "not_supported" if result.high < self.threshold else "undecided"
        if np.isnan(p_holm):
            return "undecided"
        if self.kind == "as_good":
            return _within(result, p_holm, self.margin or 0.0)
        if p_holm >= ALPHA:
            return "undecided"
        above = result.effect > self.threshold
        return "supported" if above != (self.kind == "at_most") else "not_supported"


def _within(result: TestResult, p_holm: float, margin: float) -> str:
    if result.high < -margin:
        return "not_supported"
    if result.low > margin:
        return "supported"
    if p_holm >= ALPHA:
        return "undecided"
    return "equivalent" if -margin < result.low and result.high < margin else "supported"


def adjusted(
    p_values: Mapping[str, float], second_readings: Mapping[str, str] | None = None
) -> dict[str, float]:
    """p values by claim, adjusted by Holm's method over the claims that are no second reading.

    A second reading of a claim (the same on another measure, or on an energy that is derived from time; here
    with the claim that it repeats) is no new claim: its p gets the factor that the first one's got, and is
    never below the first one's.
    """
    second_readings = second_readings or {}
    first = {name: p for name, p in p_values.items() if name not in second_readings}
    found = dict(zip(first, holm(list(first.values())).tolist(), strict=True))
    for name, repeated in second_readings.items():
        factor = found[repeated] / first[repeated] if first[repeated] > 0 else float(len(first))
        found[name] = float(np.fmin(1.0, np.maximum(found[repeated], factor * p_values[name])))
    return found


def corrected(before: str, after: str) -> str:
    """The verdict on corrected data, which says where only the correction made the claim hold."""
    return "supported_with_correction" if after in HOLDS and before not in HOLDS else after


def values(result: TestResult, p_holm: float) -> dict[str, Any]:
    """The numbers of a claim as JSON knows them; what does not exist (one pair has no p) is None."""
    found = {
        "n": result.n,
        "effect": result.effect,
        "low": result.low,
        "high": result.high,
        "p": result.p,
        "p_holm": float(p_holm),
        "effect_size": result.effect_size,
    }
    return {key: None if isinstance(v, float) and not np.isfinite(v) else v for key, v in found.items()}
