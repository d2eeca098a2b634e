"""Images that are not at hand: said before anything starts, with what to put where."""

import pytest

from pepr import study
from pepr.datasets import at_hand, downloads
from pepr.errors import InputError


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No file of the user's, none downloaded before, and no network."""
    monkeypatch.setenv("PEPR_DATA", str(tmp_path))
    monkeypatch.setattr(downloads, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(at_hand, "answers", lambda url: False)
    return tmp_path


def missing(specs):
    return at_hand.missing(spec.dataset for spec in specs)


def part_of(*settings):
    return study.restrict(study.load("medical"), models=["mobilenetv2_100"], settings=list(settings))


def test_without_any_image_one_line_says_what_to_put_where(nowhere):
    with pytest.raises(InputError) as told:
        missing(study.grid(study.load("medical")))
    line = str(told.value)
    assert "\n" not in line and f"$PEPR_DATA (PEPR_DATA={nowhere})" in line
    for file in ("breastmnist", "retinamnist", "pneumoniamnist"):
        assert f"medmnist/{file}.npz from MedMNIST v2, https://" in line
    assert line.count("ham10000/HAM10000_metadata.csv and ham10000/HAM10000_images*.zip from Harvard") == 1


def test_where_some_are_at_hand_the_runs_of_the_others_are_counted(nowhere):
    (nowhere / "medmnist").mkdir()
    (nowhere / "medmnist" / "breastmnist.npz").touch()
    specs = study.grid(part_of("breast", "retina"))
    assert missing(specs) == {"retinamnist": 5}


def test_what_can_be_downloaded_is_not_missing(nowhere, monkeypatch):
    monkeypatch.setattr(at_hand, "answers", lambda url: url == at_hand.HOST)
    specs = study.grid(part_of("breast", "ham10000"))
    assert missing(specs) == {"ham10000": 3}


def test_images_that_come_as_a_package_are_at_hand(nowhere):
    assert missing(study.grid(study.load("pocket"))) == {}
