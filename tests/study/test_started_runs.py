"""Runs that start from another run: what a profile brings along, in which order, and what it refuses."""

import dataclasses
import re

import pytest

from pepr import models, study
from pepr.errors import InputError
from pepr.study import profile as study_profile
from tests.study.test_profile import load


def test_every_network_after_ham10000_is_the_start_for_two_sets_and_comes_before_them():
    specs = study.grid(study.load("medical"))
    place = {spec.run_id: number for number, spec in enumerate(specs)}
    starts = [spec for spec in specs if spec.init_from]
    assert {(spec.setting, spec.seed) for spec in starts} == {
        (f"{name}_from_ham10000", seed) for name in ("breast", "retina") for seed in range(3)
    }
    by_id = {spec.run_id: spec for spec in specs}
    assert len({spec.model for spec in starts}) == 13
    for spec in starts:
        source = by_id[spec.init_from]
        assert (source.model, source.setting, source.seed) == (spec.model, "ham10000_scratch", 0)
        assert place[source.run_id] < place[spec.run_id] and not spec.pretrained


def test_a_run_brings_the_one_that_it_starts_from_where_that_was_not_asked_for():
    part = study.restrict(
        study.load("medical"), models=["dla46_c"], settings=["breast_from_ham10000"], seeds=[1]
    )
    first, second = study.grid(part)
    assert (first.setting, first.seed) == ("ham10000_scratch", 0)
    assert (second.setting, second.seed, second.init_from) == ("breast_from_ham10000", 1, first.run_id)
    other = study.restrict(
        study.load("medical"), settings=["breast_from_ham10000"], models=["dla46_c"], epochs=1
    )
    assert study.grid(other)[0].epochs == 1 and study.grid(other)[1].init_from != first.run_id


def test_what_others_start_from_is_a_source_whatever_part_of_the_profile_was_asked_for():
    whole = study.load("medical")
    wanted = {spec.init_from for spec in study.grid(whole)} - {None}
    part = study.restrict(whole, settings=["ham10000_scratch", "breast_scratch"])
    grid = study.grid(part)
    assert {spec.run_id for spec in grid if study_profile.is_source(part, spec)} == wanted
    assert len(wanted) == 13 < len([spec for spec in grid if spec.setting == "ham10000_scratch"])


def test_a_baseline_starts_from_no_network(tmp_path):
    settings = {"first": SCRATCH, "second": {**SCRATCH, "init_from": "first"}}
    blocks = [{"models": ["dla46_c", "majority"], "settings": ["second"]}]
    told = r"runs\.0\.models: majority is no network, and second starts from one"
    with pytest.raises(InputError, match=told):
        load(tmp_path, settings=settings, runs=blocks)


SCRATCH = {"dataset": "elpv", "pretrained": False}


def splits_of_starts(tmp_path, first, second, **block):
    """Split and seed of each start and of the run that it is for, and how many runs there are."""
    settings = {"first": first, "second": {**second, "init_from": "first"}}
    blocks = [{"models": ["dla46_c"], "settings": ["second"], **block}]
    specs = study.grid(load(tmp_path, settings=settings, runs=blocks))
    by_id = {spec.run_id: spec for spec in specs}
    pairs = [(by_id[spec.init_from], spec) for spec in specs if spec.init_from]
    assert all(start.setting == "first" and specs.index(start) < specs.index(run) for start, run in pairs)
    return [(start.split, start.seed, run.split, run.seed) for start, run in pairs], len(specs)


def test_a_source_on_the_dataset_of_the_run_is_trained_on_the_runs_own_split(tmp_path):
    """Each split has test images of its own, which are training images of others."""
    found, count = splits_of_starts(tmp_path, SCRATCH, SCRATCH, seeds=[0, 1, 6])
    assert found == [(0, 0, 0, 0), (1, 0, 1, 1), (1, 0, 1, 6)] and count == 5, "one source a split"
    found, count = splits_of_starts(tmp_path, SCRATCH, SCRATCH, seeds=[0, 1], splits=[3])
    assert found == [(3, 0, 3, 0), (3, 0, 3, 1)] and count == 3


def test_a_source_on_other_images_is_that_of_the_first_split_for_every_run(tmp_path):
    other = {"dataset": "breastmnist", "pretrained": False}
    found, count = splits_of_starts(tmp_path, other, SCRATCH, seeds=[0, 3])
    assert found == [(0, 0, 0, 0), (0, 0, 3, 3)] and count == 3
    found, count = splits_of_starts(tmp_path, SCRATCH, other, seeds=[0, 3])
    assert found == [(0, 0, 0, 0), (0, 0, 0, 3)] and count == 3


def test_a_source_comes_before_its_runs_in_a_shuffled_order_too(tmp_path):
    names = [name for name in models.paper_models() if models.find(name).accepts(64)][:10]
    settings = {
        "first": {"dataset": "breastmnist", "pretrained": False},
        "plain": SCRATCH,
        "second": {**SCRATCH, "init_from": "first"},
    }
    blocks = [{"models": names, "settings": ["plain", "second"], "seeds": [0, 1]}]
    plain, shuffled = (
        study.grid(load(tmp_path, settings=settings, runs=blocks, shuffle_models=answer))
        for answer in (False, True)
    )
    assert set(shuffled) == set(plain) and len(shuffled) == 50 and shuffled != plain
    place = {spec.run_id: number for number, spec in enumerate(shuffled)}
    assert all(place[spec.init_from] < place[spec.run_id] for spec in shuffled if spec.init_from)
    assert [spec.seed for spec in shuffled] == sorted(spec.seed for spec in shuffled)
    others = [spec.model for spec in shuffled if spec.setting == "plain" and spec.seed == 0]
    assert sorted(others) == sorted(names) and others != names


def test_a_model_that_is_built_for_a_size_does_not_start_from_another_size(tmp_path):
    settings = {
        "first": {"dataset": "breastmnist", "pretrained": False, "image_size": 128},
        "second": {**SCRATCH, "init_from": "first"},
    }

    def grid(model, size):
        blocks = [{"models": [model], "settings": ["second"]}]
        return study.grid(load(tmp_path, settings=settings, runs=blocks, image_size=size))

    told = r"runs\.0\.models: eca_botnext26ts_256 .* from 128 px in setting first to 256 px in second"
    with pytest.raises(InputError, match=told):
        grid("eca_botnext26ts_256", 256)
    assert [spec.image_size for spec in grid("eca_botnext26ts_256", 128)] == [128, 128]
    assert [spec.image_size for spec in grid("convnext_atto", 256)] == [128, 256]
    with pytest.raises(InputError, match="halonet26t cannot take 128 px"):
        grid("halonet26t", 256)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ham10000", "ham10000_by_image"),
        ("ham10000_by_image", "ham10000"),
        ("ham10000", "dermamnist"),
        ("dermamnist", "ham10000_by_image"),
        ("dermamnist_c", "ham10000"),
        ("dermamnist", "dermamnist_c"),
        ("lidc", "nodule"),
        ("nodule", "lidc"),
    ],
)
def test_a_source_on_the_same_images_divided_otherwise_is_refused(tmp_path, first, second):
    settings = [{"dataset": name, "pretrained": False} for name in (first, second)]
    told = rf"settings\.second\.init_from: first is on the images of {second} divided otherwise \({first}\)"
    with pytest.raises(InputError, match=told):
        splits_of_starts(tmp_path, *settings)


def test_the_shuffled_settings_have_the_seeds_of_their_twins():
    specs = study.grid(study.load("medical"))
    for name in ("breast", "retina"):
        shuffled = [spec for spec in specs if spec.setting == f"{name}_shuffled"]
        twins = [spec for spec in specs if spec.setting == name and spec.model not in models.BASELINES]
        plain = {dataclasses.replace(spec, shuffled=False, setting=name) for spec in shuffled}
        assert plain == {spec for spec in twins if spec.seed < 3}
        assert len({spec.model for spec in twins}) == 4 and all(spec.shuffled for spec in shuffled)


def test_what_has_a_start_of_its_own_has_no_other():
    settings = ["breast", "breast_shuffled", "breast_from_ham10000"]
    part = study.restrict(study.load("medical"), settings=settings, pretrained=False)
    assert {spec.setting for spec in study.grid(part)} == {"breast_scratch"}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("{dataset: elpv, pretrained: false, shuffled: true}", "there is nothing to shuffle"),
        ("{dataset: elpv, pretrained: true, init_from: a}", "it is pretrained"),
        ("{dataset: elpv, pretrained: false, init_from: nowhere}", "unknown setting 'nowhere'"),
        ("{dataset: elpv, pretrained: false, init_from: b}", "b is not from scratch itself"),
    ],
)
def test_a_start_that_makes_no_sense_is_refused_with_its_place(tmp_path, setting, told):
    path = tmp_path / "own.yaml"
    path.write_text(
        "title: t\nneeds: n\nimage_size: 32\nepochs: 1\nsettings:\n  a: {dataset: elpv, pretrained: false}\n"
        f"  b: {{dataset: elpv, pretrained: true}}\n  c: {setting}\nruns:\n"
        "  - {models: [dla46_c], settings: [a]}\n"
    )
    with pytest.raises(InputError, match=re.escape(told)) as error:
        study.load(str(path))
    assert "settings.c" in str(error.value)
