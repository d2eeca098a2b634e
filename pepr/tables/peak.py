"""The PePR curve of anyone's table, and where it peaks: with an interval where there are seeds."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats as distributions

from pepr.errors import InputError
from pepr.score import PeprCurve, normalise, of, pepr_curve, pepr_peak
from pepr.stats import FloatArray
from pepr.tables.keys import is_run
from pepr.tables.reader import Range
from pepr.tables.scoring import Survey

DRAWS = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Peak:
    """Where the curve of one group peaks, and how far seeds leave that open.

    `resource` is in the column's own unit. `low` and `high` bound the peak's resource at 95%, and `share` is
    how often redrawn seeds give the same model; None where no model has two seeds.
    """

    group: str
    column: str
    model: str
    performance: float
    resource: float
    resource_norm: float
    score: float
    models: int
    seeds: int
    low: float | None = None
    high: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class Curve:
    """One group's curve with its points, in the column's unit, and its peak."""

    peak: Peak
    curve: PeprCurve
    performance: FloatArray
    resource: FloatArray
    resource_norm: FloatArray
    models: list[str]

    def as_dict(self) -> dict[str, object]:
        """What `--curve --json` writes."""
        points = zip(self.curve.resource_norm, self.curve.best_performance, self.curve.score, strict=True)
        names = ("resource_norm", "best_performance", "score")
        return {**asdict(self.peak), "curve": [dict(zip(names, map(float, p), strict=True)) for p in points]}


def curves(done: Survey, resource_range: Range | None = None) -> list[Curve]:
    """The curve of every group and resource. Raises InputError where no row can be scored."""
    labels = _labels(done)
    found = []
    for at, needs in enumerate(done.needs):
        known = ~np.isnan(done.performance) & ~np.isnan(needs)
        for code, group in enumerate(done.group_names):
            rows = np.flatnonzero((done.group == code) & known)
            if rows.size:
                found.append(_curve(done, at, ", ".join(group), rows, labels, resource_range))
    if not found:
        raise InputError(f"{done.reader.path}: no row has both a performance and a resource above 0")
    return found


def _labels(done: Survey) -> list[str]:
    """What each scored row is called: the cells that name it, else its number."""
    columns = [name for name in done.names if not is_run([name])] or list(done.names)
    rows: list[str] = []
    wanted = set(done.first.tolist())
    number = 0
    for block in done.reader.blocks():
        for line in block.lines:
            if number in wanted:
                cells = [line.cells[done.reader.position(name)] for name in columns]
                rows.append(" ".join(filter(None, cells)) or f"row {line.row}")
            number += 1
    return [rows[int(at)] for at in np.argsort(np.argsort(done.first))]


def _curve(
    done: Survey, at: int, group: str, rows: np.ndarray, labels: list[str], resource_range: Range | None
) -> Curve:
    values, needs = done.scored[rows], done.needs[at, rows]
    best = pepr_peak(values, needs, resource_range)
    low, high, share, seeds = _interval(done, at, rows, best.index, resource_range)
    norm = normalise(needs, resource_range)
    names = [labels[row] for row in rows]
    placed = (best.performance, best.resource, best.resource_norm, best.score)
    peak = Peak(group, done.resources[at], names[best.index], *placed, len(rows), seeds, low, high, share)
    return Curve(peak, pepr_curve(values, needs, resource_range), values, needs, norm, names)


def _interval(
    done: Survey, at: int, rows: np.ndarray, best: int, resource_range: Range | None
) -> tuple[float | None, float | None, float | None, int]:
    """Low, high, share of draws at the same model, and the most seeds of a model.

    Each draw moves every model's mean by Student's t, scaled by the spread within models: of the performance
    as it is, of the resource's logarithm. Three seeds are too few to be resampled themselves.
    """
    values, needs, code = done.runs[0], done.runs[1][at], done.runs[2]
    of_row = code[done.first[rows]]
    own = np.isin(code, of_row) & ~np.isnan(values) & ~np.isnan(needs)
    _, member = np.unique(code[own], return_inverse=True)
    count = np.bincount(member)
    free = int((count - 1).sum())
    if free < 1:
        return None, None, None, int(count.max(initial=1))
    spread = [_spread_within(column, member, count) for column in (values[own], np.log(needs[own]))]
    rng = np.random.default_rng(0)
    shape = (DRAWS, len(rows))
    scale = 1 / np.sqrt(count[np.searchsorted(np.unique(code[own]), of_row)])
    moved, stretched = (
        s * scale * distributions.t.rvs(free, size=shape, random_state=rng) if s else np.zeros(shape)
        for s in spread
    )
    means = done.performance if done.above is None else done.above
    performance = np.clip(means[rows] + moved, 0, 1)
    resource = done.needs[at, rows] * np.exp(stretched)
    lo, hi = resource_range or (resource.min(axis=1, keepdims=True), resource.max(axis=1, keepdims=True))
    norm = np.maximum((resource - lo) / np.maximum(hi - lo, np.finfo(float).tiny), 0)
    peaks = np.argmax(of(performance, norm), axis=1)
    places = resource[np.arange(DRAWS), peaks]
    low, high = np.quantile(places, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high), float((peaks == best).mean()), int(count.max())


def _spread_within(values: np.ndarray, member: np.ndarray, count: np.ndarray) -> float:
    """The pooled standard deviation of values about their own model's mean."""
    means = np.bincount(member, values) / count
    return float(np.sqrt(((values - means[member]) ** 2).sum() / (count - 1).sum()))


def as_line(peak: Peak, performance: str) -> str:
    """The peak in one line for a person."""
    place = f"{peak.group}: " if peak.group else ""
    text = (
        f"{place}the curve over {peak.column} peaks at {peak.model}: {performance} {peak.performance:.4g}, "
        f"{peak.column} {peak.resource:.4g}, PePR {peak.score:.4g}, of {peak.models} models"
    )
    if peak.low is None:
        return text + "; without seeds, how sure that is cannot be told"
    return text + (
        f";\n  95% interval of its {peak.column}: {peak.low:.4g} to {peak.high:.4g}, from up to {peak.seeds} "
        f"seeds;\n  the same model in {peak.share:.0%} of draws"
    )
