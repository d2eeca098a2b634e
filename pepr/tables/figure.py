"""The PePR curve of anyone's table as the book draws it."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from pepr.display.curve import PeakMark, draw_curve
from pepr.display.style import WIDTH_IN, save, theme
from pepr.tables.peak import Curve


def curve_figure(curve: Curve, performance: str) -> Figure:
    """The curve of one group and resource, with the models as points and the peak's interval."""
    theme()
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 4.4))
    peak = curve.peak
    axes.set(xlabel=f"{peak.column}, normalised", ylabel=performance, xlim=(-0.02, 1.02))
    if peak.group:
        axes.set_title(peak.group)
    low, high = (None if v is None else _norm(curve, v) for v in (peak.low, peak.high))
    mark = PeakMark(peak.model, peak.resource_norm, peak.performance, low, high)
    points = (curve.resource_norm, curve.performance)
    draw_curve(figure, axes, points, (curve.curve.resource_norm, curve.curve.best_performance), mark)
    return figure


def _norm(curve: Curve, value: float) -> float:
    """A resource on the axis of the normalised one, kept between 0 and 1."""
    known = np.unique(curve.resource_norm)
    if len(known) < 2:
        return 0.0
    at = [int(np.flatnonzero(curve.resource_norm == edge)[0]) for edge in (known[0], known[-1])]
    (low, high), (first, last) = curve.resource[at], curve.resource_norm[at]
    return float(np.clip(first + (value - low) / (high - low) * (last - first), 0, 1))


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as SVG, and close it."""
    save(figure, path)
    plt.close(figure)
