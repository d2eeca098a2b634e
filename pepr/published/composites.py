"""The authors' runs under PePR and under the other scores of performance and cost."""

from __future__ import annotations

import numpy as np

from pepr.analysis.composites import ComparedSet, comparison_numbers, macs_of
from pepr.audit.table import View
from pepr.display.numbers import Numbers
from pepr.published.tables import SETTINGS, TEST_COLUMNS
from pepr.published.versions import Versions
from pepr.score import above_chance

IMAGE_SIZES = (256, 224)
"""The authors' images in pixels, and those of architectures that take no such ones."""


def compared_sets(runs: Versions) -> list[ComparedSet]:
    """The settings of the corrected table; accuracy is that after the last epoch, and chance the share of the
    largest class of the test images, as the published accuracies tell it."""
    table, view = runs.corrected, View(runs.published)
    majority = {name: _majority(rates) for name, rates in zip(view.settings, view.class_rates, strict=True)}
    found = []
    for setting in SETTINGS:
        rows = table[table["dataset"] == setting]
        accuracy = rows[TEST_COLUMNS[-1]].to_numpy(np.float64)
        found.append(
            ComparedSet(
                name=setting,
                measure="accuracy",
                chance=majority[setting],
                models=list(rows["model"]),
                performance=accuracy,
                above=above_chance(accuracy, majority[setting]),
                energy_wh=1000 * rows["energy"].to_numpy(np.float64),
                num_params=rows["num_param"].to_numpy(np.float64),
                macs=np.array([macs_of(model, IMAGE_SIZES) for model in rows["model"]]),
            )
        )
    return found


def _majority(rates: set[float]) -> float:
    """The share of the largest class; the median of its rates where a last batch was dropped at random."""
    larger = [rate for rate in rates if rate >= 0.5]
    return float(np.median(larger)) if larger else np.nan


def composite_numbers(runs: Versions) -> Numbers:
    """The numbers of the comparison for prose; energies of the corrected table are estimates."""
    sets = compared_sets(runs)
    return comparison_numbers(sets, sets, estimated=True)
