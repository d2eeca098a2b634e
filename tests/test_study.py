"""Profiles: validated before anything starts, turned into a grid, forecast from measured runs."""

import dataclasses

import pytest
import yaml

from pepr import models, study
from pepr.errors import InputError

SOUND = {
    "title": "a",
    "needs": "b",
    "image_size": 64,
    "epochs": 1,
    "settings": {"elpv": {"dataset": "elpv", "pretrained": False}},
    "runs": [{"models": ["dla46_c"], "settings": ["elpv"]}],
}


def load(tmp_path, **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**SOUND, **changes}))
    return study.load(str(path))


def test_every_shipped_profile_is_sound_and_none_of_its_runs_stands_twice():
    for name in study.profile_names():
        specs = study.grid(study.load(name))
        assert len({spec.run_id for spec in specs}) == len(specs) >= 2


def test_pocket_is_the_designs_grid():
    specs = study.grid(study.load("pocket"))
    lite0 = {(spec.setting, spec.seed) for spec in specs if spec.model == "tf_efficientnet_lite0"}
    settings = {"elpv", "elpv_pt", "elpv_small", "elpv_pt_small"}
    assert lite0 == {(setting, seed) for setting in settings for seed in (0, 1, 2)}
    scratch = {spec.model for spec in specs if spec.setting == "elpv"} & set(models.paper_models())
    sizes = sorted(models.find(model).num_params for model in scratch)
    assert sum(1e6 <= size <= 13e6 for size in sizes) >= 8 and 24e6 < sizes[-1] < 27e6
    assert all(spec.pretrained == ("_pt" in spec.setting) for spec in specs)
    assert {spec.train_fraction for spec in specs if spec.setting.endswith("small")} == {0.1}
    assert {(spec.image_size, spec.epochs, spec.batch_size, spec.learning_rate) for spec in specs} == {
        (64, 3, 32, 5e-4)
    }


def test_defaults_are_filled_in(tmp_path):
    (spec,) = study.grid(load(tmp_path))
    assert (spec.batch_size, spec.learning_rate, spec.fidelity, spec.seed) == (32, 5e-4, "study", 0)
    assert study.load("smoke").timeout_s == 300


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"epoch": 3}, "the file: Additional properties are not allowed \\('epoch' was unexpected\\)"),
        ({"epochs": 0}, "epochs: 0 is less than the minimum"),
        ({"epochs": "three"}, "epochs: 'three' is not of type"),
        ({"fidelity": "exact"}, "fidelity: 'exact' is not one of"),
        (
            {"settings": {"elpv": {"dataset": "elpw", "pretrained": False}}},
            "settings.elpv.dataset: unknown dataset 'elpw'",
        ),
        (
            {"settings": {"elpv": {"dataset": "elpv", "pretrained": False, "train_fraction": 2}}},
            "train_fraction: 2 is greater",
        ),
        ({"runs": [{"models": ["dla46"], "settings": ["elpv"]}]}, "runs.0.models: unknown model 'dla46'"),
        (
            {"runs": [{"models": ["dla46_c"], "settings": ["elpv_pt"]}]},
            "runs.0.settings: unknown setting 'elpv_pt'",
        ),
        ({"runs": [{"models": ["halonet26t"], "settings": ["elpv"]}]}, "halonet26t cannot take 64 px"),
        ({"runs": []}, "runs: \\[\\]"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path, changes, where):
    with pytest.raises(InputError, match=rf"mine\.yaml: .*{where}"):
        load(tmp_path, **changes)


def test_an_unknown_profile_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="unknown profile 'pokket'; known: pocket, smoke"):
        study.load("pokket")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"broken\.yaml: not YAML"):
        study.load(str(tmp_path / "broken.yaml"))


def reference(specs, wall_time_s):
    return {
        study.key(spec): {
            **spec.as_dict(),
            "wall_time_s": wall_time_s,
            "carbon_intensity_g_per_kwh": 100.0,
            "hardware": "a machine",
            "energy_source": "cpu:counter",
            "meter": {"train": {"energy_kwh": 0.002}, "inference": {"energy_kwh": 0.001}},
        }
        for spec in specs
    }


def test_a_forecast_adds_up_what_the_reference_took(monkeypatch):
    profile = study.load("pocket")
    specs = study.grid(profile)
    monkeypatch.setattr(study, "reference_records", lambda name: reference(specs, 36.0))
    forecast = study.forecast(profile, specs)
    assert forecast.runs == len(specs) and forecast.runs_per_seed == len(specs) - 8
    assert forecast.hours == pytest.approx(0.01 * len(specs))
    assert forecast.energy_kwh == pytest.approx(0.003 * len(specs))
    assert forecast.co2eq_g == pytest.approx(0.3 * len(specs))
    assert "a machine" in forecast.basis and dataclasses.asdict(forecast)["disk_bytes"] > 0


def test_a_forecast_from_some_runs_is_scaled_and_from_none_is_empty(monkeypatch):
    profile = study.load("pocket")
    specs = study.grid(profile)
    monkeypatch.setattr(study, "reference_records", lambda name: reference(specs[:5], 36.0))
    assert study.forecast(profile, specs).hours == pytest.approx(0.01 * len(specs))
    monkeypatch.setattr(study, "reference_records", lambda name: {})
    empty = study.forecast(profile, specs)
    assert empty.hours is None and empty.basis == "no run of this profile was measured yet"


def test_time_left_follows_the_speed_of_this_machine():
    specs = study.grid(study.load("pocket"))
    measured = reference(specs, 10.0)
    assert study.seconds_left(specs, {}, measured) == pytest.approx(10.0 * len(specs))
    twice_as_slow = {spec.run_id: {**spec.as_dict(), "wall_time_s": 20.0} for spec in specs[:4]}
    assert study.seconds_left(specs, twice_as_slow, measured) == pytest.approx(20.0 * (len(specs) - 4))
    assert study.seconds_left(specs, twice_as_slow, {}) == pytest.approx(20.0 * (len(specs) - 4))
    assert study.seconds_left(specs, {}, {}) is None
