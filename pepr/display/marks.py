"""The marks of runs that went otherwise: a shared processor, a failed run. An estimate is hollow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from pepr.display.style import PALETTE, legend_entry

NOT_RANKED, SHARED, FAILED = "x", "|", "1"
"""Markers over the point of a run: other programs are in its value, they were beside it; and of no point."""
SHARED_NAME = " (shared the CPU)"
"""What follows the name of a model whose bar or row has no marker."""
MOST_FAILED = 3
"""How many failed models a legend names."""


def shared_marks(
    axes: Axes, x: ArrayLike, y: ArrayLike, spoiled: ArrayLike, shared: ArrayLike
) -> list[Line2D]:
    """Mark the points [models] whose runs shared the processor; returns the legend's entries.

    `spoiled` says that other programs are in the value drawn, so that the model is not ranked by it; `shared`
    that there were some beside it.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    crossed = np.asarray(spoiled, dtype=bool)
    beside = np.asarray(shared, dtype=bool) & ~crossed
    entries = []
    for chosen, marker, words in (
        (crossed, NOT_RANKED, "shared the CPU: not ranked"),
        (beside, SHARED, "shared the CPU"),
    ):
        if chosen.any():
            axes.plot(x[chosen], y[chosen], marker, color=PALETTE["black"], ms=11, mew=1.4, zorder=4)
            entries.append(legend_entry(marker, PALETTE["black"], words, size=9))
    return entries


def failed_entries(models: Sequence[str]) -> list[Line2D]:
    """The legend's entry for models that failed: they have no point, and are named, or counted."""
    names = sorted(set(models))
    if not names:
        return []
    who = ", ".join(names) if len(names) <= MOST_FAILED else f"{len(names)} models"
    return [legend_entry(FAILED, PALETTE["black"], f"failed, not drawn: {who}", size=9)]


def too_few(axes: Axes, n_ranked: int, n_models: int) -> None:
    """Say in empty axes why nothing is ranked."""
    words = f"{n_ranked} of {n_models} models of this setting can be ranked\nby this resource: too few."
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes)
