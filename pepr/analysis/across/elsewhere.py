"""The same runs on other hardware: how far each moved, and whether pretraining gains as much there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pepr import stats
from pepr.analysis.across import pretraining
from pepr.analysis.across.pretraining import Difference
from pepr.analysis.across.sets import FULL, Sets, title
from pepr.display.numbers import Numbers, number
from pepr.display.words import difference, ends, fixed, markdown
from pepr.runs.columns import METER_OF
from pepr.runs.results import Results


@dataclass(frozen=True)
class Elsewhere:
    """The runs of a set's networks that were made on other hardware, too; their software is `alike` or not.

    `moved`: test AUROC there less here [runs]. `shift`: its mean, with the spread over seeds. `seeds`: the
    median distance in test AUROC, here, of two seeds of one network in one setting; NaN of one seed. `gains`:
    what pretraining adds here and there on all images; None where not both have runs of both starts.
    """

    dataset: str
    hardware: str
    alike: bool
    moved: np.ndarray
    shift: stats.TestResult
    seeds: float
    gains: tuple[Difference, Difference] | None

    @property
    def apart(self) -> float:
        """The median size of a move."""
        return float(np.median(np.abs(self.moved)))

    @property
    def furthest(self) -> float:
        return float(np.abs(self.moved).max())


def elsewhere(sets: Sets, others: Sequence[Results]) -> list[Elsewhere]:
    """What other results of the study say of each set that has runs in common with them."""
    return [one for other in others for one in _of(sets, other)]


def _of(sets: Sets, other: Results) -> Iterator[Elsewhere]:
    """`elsewhere` of one other folder of results, a kind of hardware at a time."""
    theirs = Sets(other, sets.n_resamples)
    columns = ["run_id", "hardware", "software"]
    ours, others = (  # without the meter, which a set may name
        rows.assign(hardware=rows["hardware"].str.replace(f"{METER_OF}.*", "", regex=True))
        for rows in (sets.networks, theirs.networks[columns])
    )
    pairs = ours.merge(others, on="run_id", suffixes=("", "_there"))
    pairs = pairs[pairs["hardware"] != pairs["hardware_there"]]
    known = (sets.auroc.reindex(pairs["run_id"]) + theirs.auroc.reindex(pairs["run_id"])).notna()
    pairs = pairs[known.to_numpy()]
    alike = pairs["software"] == pairs["software_there"]
    for dataset in sets.names:
        for (hardware, same), rows in pairs[pairs["dataset"] == dataset].groupby(["hardware_there", alike]):
            ids = frozenset(rows["run_id"])
            here, there = replace(sets, only=ids), replace(theirs, only=ids)
            moved = (there.auroc.reindex(rows["run_id"]) - here.auroc.reindex(rows["run_id"])).to_numpy()
            gains = [pretraining.difference(side, dataset, FULL) for side in (here, there)]
            yield Elsewhere(
                dataset,
                str(hardware),
                bool(same),
                moved,
                stats.unit_test(pd.Series(moved).groupby(rows["seed"].to_numpy()).mean()),
                _between_seeds(rows, here.auroc),
                None if gains[0] is None or gains[1] is None else (gains[0], gains[1]),
            )


def _between_seeds(rows: pd.DataFrame, auroc: pd.Series) -> float:
    """The median distance of two seeds of one network in one setting."""
    values = auroc.reindex(rows["run_id"]).to_numpy()
    groups = pd.Series(values).groupby([rows["setting"].to_numpy(), rows["model"].to_numpy()])
    apart = [abs(one - other) for _, of in groups for one, other in itertools.combinations(of, 2)]
    return float(np.median(apart)) if apart else np.nan


def elsewhere_numbers(found: Sequence[Elsewhere]) -> Numbers:
    """What the chapter across sets quotes of runs on other hardware; none where no run is in common."""
    if not found:
        return {}
    moved = np.concatenate([one.moved for one in found])
    kinds = dict.fromkeys(map(_kind, found))
    table = markdown(
        {
            "Set": title(one.dataset),
            **({"Other hardware": _kind(one)} if len(kinds) > 1 else {}),
            "Runs": str(len(one.moved)),
            "AUROC apart, median (greatest)": f"{one.apart:.3f} ({one.furthest:.3f})",
            "Two seeds here, median": fixed(one.seeds, 3),
            "Mean shift (95% interval)": f"{difference(one.shift.effect)} "
            f"({ends(one.shift.low, one.shift.high, difference)})",
            "Pretraining gains here": _gain(one, 0),
            "there": _gain(one, 1),
        }
        for one in found
    )
    return {
        "sets_elsewhere_table": number(None, table),
        "sets_elsewhere_hardware": number(None, " and on ".join(kinds)),
        "sets_elsewhere_runs": number(len(moved), f"{len(moved)} runs"),
        "sets_elsewhere_apart": number(float(np.median(np.abs(moved))), "{:.3f}".format),
    }


def _kind(one: Elsewhere) -> str:
    return one.hardware + ("" if one.alike else ", other software")


def _gain(one: Elsewhere, side: int) -> str:
    if one.gains is None:
        return "-"
    result = one.gains[side].result
    return f"{difference(result.effect)} ({ends(result.low, result.high, difference)})"
