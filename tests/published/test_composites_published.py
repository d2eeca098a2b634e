"""The authors' runs under other scores: chance as their accuracies tell it, and what follows from it."""

import numpy as np
import pytest
from recordings import needs_tables

from pepr import published
from pepr.published import numbers as published_numbers, versions
from pepr.published.claims import margins_of
from pepr.published.tables import SETTINGS

pytestmark = needs_tables


@pytest.fixture(scope="module")
def runs():
    return versions.versions(published.load().results)


def test_every_setting_is_compared_with_the_chance_of_its_test_images(runs):
    sets = {one.name: one for one in published_numbers.compared_sets(runs)}
    assert tuple(sets) == SETTINGS
    # DermaMNIST's test images: 1,341 of 2,005 are nevi. PneumoniaMNIST's: 390 of 624 show pneumonia.
    assert sets["derma"].chance == pytest.approx(1341 / 2005, abs=2e-3)
    assert sets["pneumonia"].chance == pytest.approx(390 / 624, abs=2e-3)
    # LIDC's balanced halves, of which a last batch is dropped at random.
    assert sets["lidc"].chance == pytest.approx(sets["lidc_small"].chance)
    assert 0.5 <= sets["lidc"].chance < 0.53
    assert sum(np.isfinite(one.scores["netscore"]).all() for one in sets.values()) == len(SETTINGS)


def test_numbers_have_a_row_a_setting(runs):
    numbers = published_numbers.composite_numbers(runs)
    for key in ("agreement", "winners", "exchange"):
        assert len(numbers[f"compared_{key}"]["text"].splitlines()) == 2 + len(SETTINGS)
    assert 1 < numbers["compared_worst_place"]["value"] <= 131
    starts = {"derma": "from scratch"}
    for key in ("compared_worst", "compared_guesser"):
        start = starts.get(numbers[f"{key}_set"]["value"], "from ImageNet weights")
        assert numbers[f"{key}_start"]["text"] == start


def test_the_worst_winner_is_behind_by_more_than_the_margin_of_its_setting(runs):
    numbers, margins = published_numbers.composite_numbers(runs), margins_of(runs.published)
    margin = 100 * margins[numbers["compared_worst_set"]["value"]]
    assert numbers["compared_worst_gap"]["value"] > margin
    assert "95% interval over the test images" in numbers["compared_worst_gap"]["text"]
    assert numbers["compared_worst_margin"]["text"] == f"more than {margin:.1f} percentage points"
