"""A study of which only a part was run is analysed as far as it goes: every figure, claim and number."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from pepr import analysis, grids, runs
from pepr.analysis import (
    carbon,
    claims as run_claims,
    energy,
    energy_figures,
    figures,
    numbers as run_numbers,
    standings,
)


class Part:
    """The rows of some results that `where` keeps, read as results are."""

    timing = None

    def __init__(self, whole, where, contended=False, failed=None):
        self.profile, self.origin, self.folder = whole.profile, whole.origin, whole.folder
        self.table = whole.table.query(where)
        if contended:
            self.table = self.table.assign(contended=True)
        if failed:
            lost = self.table.eval(failed)
            for name in runs.COLUMNS:
                if name.startswith(("test_", "energy_", "train_time", "peak_memory", "contended", "co2eq")):
                    self.table.loc[lost, name] = pd.NA
            self.table.loc[lost, ["status", "failure"]] = "failed", "model_unavailable"
        self.predictions, self.groups, self.draws = whole.predictions, whole.groups, {}
        kept = set(self.table["run_id"])
        self._records = [record for record in whole.records() if record["run_id"] in kept]

    def records(self):
        return self._records


@pytest.mark.parametrize(
    "where",
    [
        "setting == 'elpv_small'",
        "setting == 'elpv_pt_small' and seed == 0",
        "setting in ['elpv_small', 'elpv_pt_small']",
        "setting == 'elpv_pt'",
        "setting == 'elpv' and model == 'dla46_c'",
    ],
)
@pytest.mark.parametrize("contended", [False, True])
def test_a_part_of_a_study_is_analysed_as_far_as_it_goes(synthetic_results, where, contended):
    analysed(Part(synthetic_results, where, contended))


def test_a_study_whose_pretrained_weights_could_not_be_had_is_analysed_from_scratch(synthetic_results):
    part = Part(synthetic_results, "setting in ['elpv', 'elpv_pt']", failed="setting == 'elpv_pt'")
    numbers = analysed(part)
    assert numbers["runs_failed"]["value"] > 0 and "scratch_best_auroc" in numbers
    assert "pretrained_best_auroc" not in numbers


def analysed(part):
    """Everything that the notebooks make of some results; returns the numbers."""
    table, letter = part.table, analysis.primary_resource(part.table)
    setting = analysis.main_setting(table) or analysis.main_setting(table, pretrained=True)
    scores = analysis.pepr_table(table)
    peaks = analysis.peak_locations(part, n_resamples=50)
    changes, claims = analysis.rank_differences(scores), run_claims.claims(part)
    drawn = [
        figures.model_space(scores, letter),
        figures.performance_vs_resource(
            scores, analysis.performance_intervals(part, n_resamples=50), setting, letter
        ),
        figures.pepr_curve(scores, analysis.curves(scores), analysis.peak_table(peaks), setting, letter),
        figures.rank_comparison(scores, setting, letter),
        figures.paired_slopes(table),
        energy_figures.energy_by_component(energy.by_component(table), setting),
        energy_figures.energy_by_window(energy.by_window(table), setting),
        energy_figures.carbon_of_models(carbon.grams_by_country(table), grids.country_names()),
    ]
    assert all(figure.axes for figure in drawn)
    plt.close("all")
    stand = standings.standings(part, n_resamples=50)
    numbers = run_numbers.pepr_numbers(part, scores, peaks, claims, changes, stand)
    numbers |= run_numbers.energy_numbers(part, "DNK")
    numbers |= standings.selection_numbers(stand, standings.choices(part, n_resamples=50), None)
    assert numbers["runs_ok"]["value"] == (table["status"] == "ok").sum()
    return numbers
