"""From the results of a profile to its scores, claims, tables and numbers: the one way that there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pepr import grids
from pepr.analysis import claims, composites, energy, machines, numbers, peaks, scores, standings
from pepr.analysis.across.elsewhere import Elsewhere, elsewhere, elsewhere_numbers
from pepr.analysis.across.numbers import across_numbers
from pepr.analysis.across.sets import Sets
from pepr.analysis.claimed import pairs
from pepr.analysis.measures import N_RESAMPLES, Resampled
from pepr.analysis.ranked import as_ranked
from pepr.display.numbers import update_numbers
from pepr.files import write_atomic
from pepr.runs.results import Results
from pepr.verdicts import Entry

STAGES = {
    "03_energy": ("energy.csv",),
    "04_pepr": ("pepr.csv", "peaks.csv", "ranks.csv", "standings.csv", "claims.json"),
    "07_sets": (),
}
"""The notebooks that analyse a profile, and the files that each leaves beside its numbers."""
DEFAULT_COUNTRY = "DNK"


@dataclass(frozen=True)
class Analysis:
    """What follows from the results of a profile; each part is worked out once, when it is first asked for.

    `country`: the three-letter code of the electricity grid that the bill is also worked out for. `authors`:
    the authors' table of runs, to compare rankings with; None where it is not at hand. Raises InputError for
    a country whose grid is not known.
    """

    results: Results
    country: str = DEFAULT_COUNTRY
    authors: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        grids.known_country(self.country)  # refused before anything is worked out

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a run."""
        return self.results.table

    @cached_property
    def energies(self) -> pd.DataFrame:
        return energy.energy_table(self.table)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row a set, model, resource and measure: `pepr_table`."""
        return scores.pepr_table(self.table)

    @cached_property
    def rank_changes(self) -> pd.DataFrame:
        return scores.rank_differences(self.scores)

    @cached_property
    def wall_ranks(self) -> pd.DataFrame:
        """How far ranks by PePR-E may be from those of a meter on the wall."""
        return energy.rank_intervals(self.scores, energy.processor_shares(self.table))

    @cached_property
    def drawn(self) -> list[peaks.Drawn]:
        """What the scores of each set could be."""
        return peaks.drawn_scores(self.results)

    @cached_property
    def peaks(self) -> list[peaks.PeakLocation]:
        return [peaks.peak_of(drawn) for drawn in self.drawn]

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Scores and ranks with their intervals."""
        return peaks.rank_table(self.drawn)

    @cached_property
    def peak_table(self) -> pd.DataFrame:
        return peaks.peak_table(self.peaks)

    @cached_property
    def standings(self) -> pd.DataFrame:
        return standings.standings(self.results)

    @cached_property
    def standings_by_accuracy(self) -> pd.DataFrame:
        return standings.standings(self.results, "accuracy")

    @cached_property
    def choices(self) -> list[standings.Choice]:
        """The models that validation would have chosen, one of each dataset."""
        return standings.choices(self.results)

    @property
    def choices_table(self) -> str:
        """The choices as a Markdown table."""
        return standings.choices_table(self.choices)

    @cached_property
    def agreement(self) -> pd.DataFrame | None:
        """How the authors' models rank on the same images; None without their table."""
        return None if self.authors is None else standings.agreement(self.results, self.authors)

    @cached_property
    def claims(self) -> list[Entry]:
        return claims.claims(self.results)

    @cached_property
    def sets(self) -> Sets:
        """The networks of each dataset, side by side."""
        return Sets(self.results)

    @cached_property
    def elsewhere(self) -> list[Elsewhere]:
        """Runs of the sets that ship from other hardware, too. What else this machine has of its own is not
        asked: `pepr verify` makes the numbers of a folder again, wherever it is."""
        others = machines.shipped(self.results.profile)
        return elsewhere(self.sets, [one for one in others if one.folder != self.results.folder])

    @property
    def timing_numbers(self) -> numbers.Numbers:
        """How the times of the main setting are known, in words and numbers."""
        rows = scores.with_sets(self.table)
        setting = scores.main_setting(self.table) or scores.main_setting(self.table, pretrained=True)
        done = rows[(rows["status"] == "ok") & (rows["setting"] == setting)]
        return numbers.timing_numbers(as_ranked(done), self.results.timing)

    @property
    def files(self) -> Mapping[str, Callable[[], Any]]:
        """What makes each file of `STAGES`: a table, or for JSON a list."""
        return {
            "energy.csv": lambda: self.energies,
            "pepr.csv": lambda: self.scores,
            "peaks.csv": lambda: self.peak_table,
            "ranks.csv": lambda: self.ranks,
            "standings.csv": lambda: self.standings,
            "claims.json": lambda: self.claims,
        }

    def numbers(self, stage: str) -> numbers.Numbers:
        """The numbers that a stage lets prose quote."""
        if stage == "03_energy":
            known = numbers.energy_numbers(self.results, self.country)
            return known | energy.wall_numbers(self.wall_ranks)
        if stage == "07_sets":
            return across_numbers(self.sets, self.claims) | elsewhere_numbers(self.elsewhere)
        ranked = numbers.pepr_numbers(
            self.results,
            self.scores,
            self.peaks,
            self.claims,
            self.rank_changes,
            self.standings,
            self.standings_by_accuracy,
        )
        ranked |= composites.study_numbers(self.table) | self.timing_numbers
        images = Resampled(self.results, ("auroc",), N_RESAMPLES).of
        ranked |= pairs.pair_numbers(pairs.pairs(self.results, images("auroc")))
        ranked |= pairs.as_good_numbers(self.results, images)
        return ranked | standings.selection_numbers(self.standings, self.choices, self.agreement)

    def write(self, stage: str, folder: Path) -> numbers.Numbers:
        """Write the files and the numbers of a stage into a results folder; returns the numbers."""
        for name in STAGES[stage]:
            made = self.files[name]()
            if isinstance(made, pd.DataFrame):
                text = made.to_csv(index=False)
            else:
                text = json.dumps(made, indent=1, allow_nan=False) + "\n"
            write_atomic(folder / name, text)
        found = self.numbers(stage)
        update_numbers(folder, stage, found)
        return found
