"""Values as a person reads them: with unit, in few digits, or said to be unknown."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pepr.display.numbers import UNKNOWN
from pepr.errors import FAILURES
from pepr.quantities import MEASURES, RESOURCES

if TYPE_CHECKING:
    import pandas as pd

INDENTATION = re.compile(r">\s+<")
GRAMS_PER = {"t": 1e6, "kg": 1e3, "g": 1.0}


def mass(value_g: float) -> str:
    """Grams in the unit that reads best, to two digits."""
    unit = next((unit for unit, size in GRAMS_PER.items() if value_g >= size), "g")
    scaled = value_g / GRAMS_PER[unit]
    return f"{scaled:,.0f} {unit}" if scaled >= 100 else f"{scaled:.2g} {unit}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


ORIGINS = {"this machine": "this machine", "reference": "the project's own reference"}
UNITS = {"wh": "Wh", "s": "s", "w": "W", "mb": "MB", "g": "g"}
SPOKEN = {*MEASURES, *FAILURES, "not_supported"}
"""Values that are shown as words in tables."""


def as_html(rows: pd.DataFrame, digits: int = 3, empty: str = "None.") -> str:
    """A table for a page: units in brackets, `digits` significant digits, blanks for what is missing.

    It scrolls sideways where the page is narrow. A table without rows becomes the sentence `empty`.
    """
    import pandas as pd  # not by all who want words: each run of a study loads this module

    if rows.empty:
        return f"<p>{html.escape(empty)}</p>"
    words = {name: [_cell_text(value, digits) for value in rows[name]] for name in rows.columns}
    table = pd.DataFrame(words).rename(columns=_heading).to_html(index=False, border=0)
    # Without the indentation, which is a third of a long table.
    return f'<div style="overflow-x: auto" tabindex="0">{INDENTATION.sub("><", table)}</div>'


def markdown(rows: Iterable[Mapping[str, str]]) -> str:
    """A Markdown table of rows, each its cells by their heading; empty without rows."""
    rows = list(rows)
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def wh(value: float) -> str:
    return UNKNOWN if not np.isfinite(value) else f"{value:.3g} Wh"


def grams(value: float) -> str:
    return UNKNOWN if not np.isfinite(value) else f"{value:.2g} {RESOURCES['C'].unit}"


TICK_S = 1e-3
"""Of less than this no digits are told: nothing that takes a fraction of a millisecond was measured well."""


def amount(letter: str, value: float) -> str:
    """A resource in the column's own unit, as a person reads it: seconds turn into minutes, kWh into Wh."""
    resource = RESOURCES[letter]
    if letter == "T":
        return seconds(value)
    digits = ".0f" if letter == "M" else ".2g" if resource.per_kwh else ".3g"
    return UNKNOWN if not np.isfinite(value) else f"{value * resource.scale:{digits}} {resource.unit}"


def watts(value: float) -> str:
    return UNKNOWN if not np.isfinite(value) else f"{value:.1f} W"


def seconds(value: float) -> str:
    if 0 <= value < TICK_S:
        return f"under {1000 * TICK_S:.0f} ms"
    return UNKNOWN if not np.isfinite(value) else f"{value:.3g} s" if value < 600 else minutes(value / 60)


def minutes(value: float) -> str:
    if not np.isfinite(value):
        return UNKNOWN
    return f"{value:.1f} minutes" if value < 120 else f"{value / 60:.1f} hours"


def decimal(value: float, digits: str) -> str:
    """A number by a format such as `+.3f`, with the minus of print. What is zero in these digits has no sign:
    no reader can tell what `−0.000` is, and `+0.000` may be the end of an interval that holds zero."""
    text = f"{value:{digits}}"
    return text.replace("-", "−") if text.strip("+-0.%") else text.lstrip("+-")


def percent(value: float) -> str:
    return UNKNOWN if not np.isfinite(value) else decimal(value, ".0%")


def tenths(share: float) -> str:
    """A share in percent, to the tenth."""
    return UNKNOWN if not np.isfinite(share) else decimal(share, ".1%")


def count(value: float) -> str:
    return UNKNOWN if not np.isfinite(value) else f"{value:,.0f}"


def rounded(value: float) -> str:
    """A count that is an estimate, to two digits."""
    return UNKNOWN if not np.isfinite(value) else count(float(f"{value:.2g}"))


def counted(number: int, noun: str) -> str:
    """A number of things: `1 seed`, `3 seeds`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def between(values: pd.Series, words: Callable[[float], str]) -> str:
    """The lowest and the highest of some values in words, or the one value that all have."""
    known = values.dropna().astype(float)
    if known.empty:
        return UNKNOWN
    low, high = words(known.min()), words(known.max())
    return low if low == high else f"{low} to {high}"


def millions(value: float) -> str:
    return f"{float(value) / 1e6:.1f} million"


def performance(value: float, measure: str) -> str:
    """Accuracies in percent, AUROC as the number it is; so too above chance."""
    if not np.isfinite(value):
        return UNKNOWN
    return decimal(value, ".3f" if MEASURES[measure].base == "auroc" else ".1%")


def measure_words(name: str) -> str:
    """A measure as a sentence names it: `AUROC above chance`, `accuracy`."""
    return name.replace("_", " ").replace("auroc", "AUROC")


def signed_share(value: float | None) -> str:
    """A share in percent with its sign: `+1.2%`, `−0.3%`."""
    return UNKNOWN if value is None or not np.isfinite(value) else decimal(value, "+.1%")


def difference(value: float | None, digits: int = 3) -> str:
    return UNKNOWN if value is None or not np.isfinite(value) else decimal(value, f"+.{digits}f")


def fixed(value: float, digits: int = 2) -> str:
    return UNKNOWN if not np.isfinite(value) else decimal(value, f".{digits}f")


def ends(low: float | None, high: float | None, words: Callable[[float], str]) -> str:
    """The two ends of an interval in words; not known where one is not."""
    if low is None or high is None or not (np.isfinite(low) and np.isfinite(high)):
        return UNKNOWN
    return f"{words(low)}\u00a0to\u00a0{words(high)}"


def difference_points(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return UNKNOWN
    return f"{decimal(100 * value, '+.1f')} percentage points"


def p_value(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return UNKNOWN
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _heading(column: str) -> str:
    name, _, last = str(column).rpartition("_")
    return f"{name.replace('_', ' ')} ({UNITS[last]})" if last in UNITS else str(column).replace("_", " ")


def _cell_text(value: Any, digits: int) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value.replace("_", " ") if value in SPOKEN else value
    if float(value).is_integer() or abs(value) >= 10**digits:
        return f"{value:z,.0f}"
    return f"{value:.{digits}g}"
