"""Runs that were made on two kinds of hardware: how far each moved, and what pretraining gains on either."""

from dataclasses import replace

import numpy as np
import pytest
import several_sets
from several_sets import RESAMPLES

from pepr.analysis import pipeline
from pepr.analysis.across.elsewhere import elsewhere, elsewhere_numbers
from pepr.analysis.across.pretraining import difference
from pepr.analysis.across.sets import FULL, Sets

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    root = tmp_path_factory.mktemp("here")
    return Sets(several_sets.write(root, sets=("breastmnist", "retinamnist"), fractions=(1.0,)), RESAMPLES)


def there(of, change, **columns):
    """The same results on another machine, with other columns and test AUROCs."""
    table = of.results.table
    changed = change(table.assign(hardware="another machine", **columns))
    return several_sets.with_table(of.results, changed.astype(table.dtypes))


def shifted(table):
    """All runs a hundredth higher, those of one seed two, and only of one set."""
    table = table[table["dataset"] == "breastmnist"]
    more = np.where(table["seed"] == 0, 0.02, 0.01)
    return table.assign(test_auroc=table["test_auroc"] + more)


def test_a_move_is_there_less_here_and_the_shift_is_its_mean_over_seeds(here):
    (one,) = elsewhere(here, [there(here, shifted)])
    assert (one.dataset, one.hardware, one.alike) == ("breastmnist", "another machine", True)
    networks = here.networks[here.networks["dataset"] == "breastmnist"]
    assert len(one.moved) == len(networks) == 27
    assert sorted(set(np.round(one.moved, 9))) == [0.01, 0.02]
    assert one.apart == pytest.approx(0.01) and one.furthest == pytest.approx(0.02)
    assert one.shift.n == 3 and one.shift.effect == pytest.approx(0.04 / 3)
    assert one.shift.low < 0.01 < one.shift.high


def test_two_seeds_are_compared_within_a_network_and_setting(here):
    (one,) = elsewhere(here, [there(here, shifted)])
    rows = here.networks[here.networks["dataset"] == "breastmnist"]
    apart = []
    for _, of in rows.groupby(["setting", "model"])["test_auroc"]:
        first, second, third = of
        apart += [abs(first - second), abs(first - third), abs(second - third)]
    assert len(apart) == 27 and one.seeds == pytest.approx(np.median(apart))


def test_pretraining_gains_here_what_the_study_says_and_there_what_those_runs_say(here):
    def more_pretrained(table):
        return table.assign(test_auroc=table["test_auroc"] + 0.03 * table["pretrained"].astype(float))

    found = {one.dataset: one for one in elsewhere(here, [there(here, more_pretrained)])}
    assert list(found) == ["breastmnist", "retinamnist"]
    for dataset, one in found.items():
        expected = difference(here, dataset, FULL).result
        assert one.gains[0].result.effect == pytest.approx(expected.effect)
        assert one.gains[1].result.effect == pytest.approx(expected.effect + 0.03)
    one = found["breastmnist"]
    told = elsewhere_numbers(list(found.values()))
    assert f"{one.gains[1].result.effect:+.3f}" in told["sets_elsewhere_table"]["text"]
    assert told["sets_elsewhere_runs"]["text"] == "54 runs"


def test_the_gain_of_runs_that_only_one_machine_made_counts_on_neither(here):
    few = there(here, lambda table: table[~table["pretrained"] | (table["seed"] < 2)])
    one = elsewhere(here, [few])[0]
    assert [side.n_units for side in one.gains] == [2, 2]
    scratch = there(here, lambda table: table[~table["pretrained"]])
    alone = elsewhere(here, [scratch])
    assert [one.gains for one in alone] == [None, None]
    assert "| - | - |" in elsewhere_numbers(alone)["sets_elsewhere_table"]["text"]


def test_other_software_is_named_and_the_same_hardware_is_nothing_to_tell(here):
    newer = there(here, lambda table: table, software="torch 9.9")
    found = elsewhere(here, [newer])
    assert not any(one.alike for one in found)
    told = elsewhere_numbers(found)
    assert told["sets_elsewhere_hardware"]["text"] == "another machine, other software"
    assert "another machine" not in told["sets_elsewhere_table"]["text"]
    both = elsewhere_numbers([*found, *elsewhere(here, [there(here, lambda table: table)])])
    assert both["sets_elsewhere_hardware"]["text"] == "another machine, other software and on another machine"
    assert "| BreastMNIST | another machine, other software |" in both["sets_elsewhere_table"]["text"]
    assert elsewhere(here, [here.results]) == [] and elsewhere_numbers([]) == {}


def test_another_meter_is_no_other_hardware(here):
    table = here.results.table
    software = table["software"].mask(table["seed"] == 0, "torch 2.14.1, codecarbon 9.9")
    metered = several_sets.with_table(here.results, table.assign(software=software))
    assert Sets(metered, RESAMPLES).networks["hardware"].nunique() == 2
    assert elsewhere(here, [metered]) == []


def test_other_shipped_folders_of_the_profile_are_asked_and_no_own_one_is(here, monkeypatch, tmp_path):
    for name in ("medical", "contributed/medical-other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "results.csv").touch()
    monkeypatch.setattr(pipeline.machines, "reference_folder", lambda name: tmp_path / name)
    monkeypatch.setenv("PEPR_RESULTS", str(here.results.folder.parent))
    asked = []
    monkeypatch.setattr(pipeline, "elsewhere", lambda sets, others: asked.append(others) or [])
    shipped = replace(here.results, origin="reference", folder=tmp_path / "medical")
    other = replace(shipped, folder=tmp_path / "contributed" / "medical-other")
    assert pipeline.Analysis(shipped).elsewhere == []
    assert asked == [[other]]


def test_a_run_whose_auroc_is_not_known_on_either_side_is_no_twin(here):
    def without(table):
        return shifted(table.assign(test_auroc=table["test_auroc"].mask(table["seed"] == 1)))

    (one,) = elsewhere(here, [there(here, without)])
    assert len(one.moved) == 18 and one.shift.n == 2
    assert "nan" not in elsewhere_numbers([one])["sets_elsewhere_table"]["text"]
