"""Forecasts: from runs measured here or in the reference, else from the cost model, and how sure they are."""

import dataclasses
import datetime
import math

import pytest
from fake_nvml import FakeGpu

from pepr import grids, models, runs, study
from pepr.costs import calibration
from pepr.display import words
from pepr.machine import cores, description
from pepr.study import forecast, workflow
from tests.costs.test_costs import simulated


@pytest.fixture(autouse=True)
def no_runs_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))


def reference(specs, wall_time_s):
    return {
        forecast.key(spec): {
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
    monkeypatch.setattr(forecast, "reference_records", lambda name: reference(specs, 36.0))
    expected = forecast.forecast(profile, specs)
    assert expected.runs == len(specs) == expected.measured
    assert expected.runs_per_seed == sum(spec.seed == 0 for spec in specs)
    assert expected.hours == pytest.approx(0.01 * len(specs))
    assert expected.energy_kwh == pytest.approx(0.003 * len(specs))
    assert expected.co2eq_g == pytest.approx(expected.energy_kwh * grids.carbon_intensity()[0])
    assert "a machine" in expected.basis and dataclasses.asdict(expected)["disk_bytes"] > 0


def test_a_forecast_from_some_runs_is_scaled_and_from_none_is_empty(monkeypatch):
    profile = study.load("pocket")
    specs = study.grid(profile)
    monkeypatch.setattr(forecast, "predicted_cost", lambda spec, hardware: None)
    networks = [spec for spec in specs if spec.model not in models.BASELINES]
    monkeypatch.setattr(forecast, "reference_records", lambda name: reference(networks[:5], 36.0))
    expected = forecast.forecast(profile, specs)
    assert expected.hours == pytest.approx(0.01 * len(networks))
    assert (expected.measured, expected.unknown) == (5, len(networks) - 5)
    assert f"{len(specs) - len(networks)} baselines take seconds, and are left out" in expected.basis
    assert f"{len(networks) - 5} held to be like the mean of the others" in expected.basis
    monkeypatch.setattr(forecast, "reference_records", lambda name: {})
    empty = forecast.forecast(profile, specs)
    assert empty.hours is None and empty.basis.startswith("no run of this profile was measured yet")


def test_the_papers_grid_is_forecast_by_the_cost_model_about_as_the_authors_measured_it():
    """The authors' table adds up to some sixty GPU hours a seed, over the same 1,048 runs."""
    profile = study.load("paper")
    expected = forecast.forecast(profile, study.grid(profile))
    assert (expected.runs, expected.runs_per_seed) == (1048, 1048)
    assert (expected.measured, expected.predicted, expected.unknown) == (0, 1048, 0)
    assert 30 < expected.hours_low < expected.hours < expected.hours_high < 90 and 50 < expected.hours < 70
    assert expected.energy_kwh_low < expected.energy_kwh < expected.energy_kwh_high
    assert "1048 of 1048 runs predicted" in expected.basis and expected.disk_bytes > 1048 * 17_000


def test_a_run_measured_here_is_believed_before_the_reference_and_the_prediction(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    profile = study.restrict(study.load("paper"), models=["dla46_c"], settings=["pneumonia"])
    (spec,) = study.grid(profile)
    predicted = forecast.forecast(profile, [spec])
    record = next(iter(reference([spec], 7200.0).values())) | {"run_id": spec.run_id, "status": "ok"}
    runs.Store(tmp_path, "paper").write_record(record)
    expected = forecast.forecast(profile, [spec])
    assert expected.hours == 2.0 == expected.hours_low == expected.hours_high != predicted.hours
    assert (expected.measured, expected.predicted) == (1, 0) and "measured on a machine" in expected.basis


def test_measured_runs_teach_the_predictions_of_the_others(monkeypatch):
    profile = study.restrict(study.load("gpu"), settings=["pneumonia"])
    specs = study.grid(profile)
    by_model = forecast.forecast(profile, specs)
    known = {}
    for spec, factor in zip(specs[:3], (20.0, 10.0, 30.0), strict=True):
        alone = forecast.forecast(profile, [spec])
        known |= reference([spec], factor * 3600 * alone.hours)
    monkeypatch.setattr(forecast, "reference_records", lambda name: known)
    expected = forecast.forecast(profile, specs)
    first = sum(forecast.forecast(profile, [spec]).hours for spec in specs[:3])
    monkeypatch.setattr(forecast, "reference_records", lambda name: {})
    rest = sum(forecast.forecast(profile, [spec]).hours for spec in specs[3:])
    assert expected.hours == pytest.approx(first + 20 * rest)
    assert expected.hours_low == pytest.approx(first + 10 * rest)
    assert expected.hours_high == pytest.approx(first + 30 * rest) and expected.hours > 5 * by_model.hours
    assert f"{len(specs) - 3} of {len(specs)} runs predicted, by what those that were measured took" in (
        expected.basis
    )
    monkeypatch.setattr(forecast, "reference_records", lambda name: known)
    left = forecast.forecast(profile, specs[3:], taught_by=specs)
    assert left.hours == pytest.approx(20 * rest) and (left.runs, left.measured) == (len(specs) - 3, 0)


UNMETERED = {"energy_source": None, "meter": {name: {"energy_kwh": None} for name in ("train", "inference")}}
"""What the record of a run on an Apple GPU says of its energy."""


def test_runs_whose_energy_was_not_metered_are_forecast_and_announced_without_one(monkeypatch, tmp_path):
    profile = study.load("gpu")
    specs = study.grid(profile)
    known = {name: record | UNMETERED for name, record in reference(specs, 36.0).items()}
    monkeypatch.setattr(forecast, "reference_records", lambda name: known)
    expected = forecast.forecast(profile, specs)
    assert expected.hours == pytest.approx(0.01 * len(specs)) and expected.measured == len(specs)
    assert expected.energy_kwh is None and expected.energy_kwh_high is None and expected.co2eq_g is None
    assert "energy by no meter" in expected.basis
    together, store = forecast.SideBySide(1, 1, "One at a time."), runs.Store(tmp_path, "gpu")
    text = workflow.announcement(profile, specs, store, together=together)
    assert ", energy not metered, " in text and "CO2" not in text


def test_a_run_whose_energy_was_not_metered_is_in_no_total_and_no_lesson_of_it(monkeypatch):
    profile = study.restrict(study.load("gpu"), settings=["pneumonia"])
    specs = study.grid(profile)
    alone, rest = (forecast.forecast(profile, some) for some in (specs[:1], specs[1:]))
    record = next(iter(reference(specs[:1], 20 * 3600 * alone.hours).values()))
    known = {forecast.key(specs[0]): record | UNMETERED}
    monkeypatch.setattr(forecast, "reference_records", lambda name: known)
    expected = forecast.forecast(profile, specs)
    assert expected.hours == pytest.approx(20 * (alone.hours + rest.hours))
    assert expected.energy_kwh == pytest.approx(rest.energy_kwh)


def test_on_a_cpu_that_was_not_calibrated_the_shipped_runs_tell_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    profile = study.restrict(study.load("paper"), models=["dla46_c"], settings=["pneumonia"], epochs=1)
    specs = study.grid(profile)
    gpu, cpu = forecast.forecast(profile, specs), forecast.forecast(profile, specs, "cpu")
    assert 3600 * gpu.hours < 60 < 120 < 3600 * cpu.hours < 1200
    assert "RTX 3090" in gpu.basis and "90% of runs" in gpu.basis
    assert "shipped pocket runs" in cpu.basis and "at worst" in cpu.basis and "90%" not in cpu.basis


def test_a_calibration_counts_for_the_machine_and_device_that_it_was_made_on(driver, monkeypatch):
    driver(FakeGpu("GPU-aaaa", name="Fake 4090"), FakeGpu("GPU-bbbb", name="Fake T4"))
    calibration.calibrate("here", "cpu", measure=simulated)
    assert forecast.hardware_for("cpu").described.startswith(description.hardware("cpu"))
    for elsewhere in ("cuda", None):
        assert "RTX 3090" in forecast.hardware_for(elsewhere).described
    with monkeypatch.context() as another_machine:
        another_machine.setattr(cores, "usable", lambda: 64.0)
        assert "shipped pocket runs" in forecast.hardware_for("cpu").described
    calibration.calibrate("here", "cuda:1", measure=simulated)
    assert forecast.hardware_for("cuda:1").described.startswith("Fake T4; ")
    assert "RTX 3090" in forecast.hardware_for("cuda").described
    assert "shipped pocket runs" in forecast.hardware_for("cpu").described
    driver()
    assert "RTX 3090" in forecast.hardware_for("cuda:1").described, "whose GPU was taken out"


def test_the_gpu_profile_fits_into_three_hours_of_the_papers_gpu():
    profile = study.load("gpu")
    specs = study.grid(profile)
    expected = forecast.forecast(profile, specs)
    assert 18 <= len({spec.model for spec in specs}) <= 22
    assert {"dermamnist", "pneumoniamnist", "nodule"} == {spec.dataset for spec in specs}
    assert expected.unknown == 0 and expected.hours_high < 3


def test_runs_side_by_side_take_their_turns_with_a_launch_before_each_and_leave_a_place_empty_at_the_end():
    launch = forecast.between_runs_s()
    assert 1 < launch < 4
    assert forecast.elapsed_s([], 2) == 0
    assert forecast.elapsed_s([10, 10, 10], 1) == pytest.approx(30 + 3 * launch)
    assert forecast.elapsed_s([10, 10, 10], 2) == pytest.approx(20 + 2 * launch)
    assert forecast.elapsed_s([50, 10, 10], 2) == pytest.approx(50 + launch), (
        "two short ones beside the long one"
    )
    assert forecast.elapsed_s([10, 10, 50], 2) == pytest.approx(60 + 2 * launch)


def test_the_launch_of_a_run_is_seen_between_two_in_one_place_and_a_break_is_none():
    start = datetime.datetime(2026, 11, 27, 12)
    free, records = [0.0, 0.0], []
    for place, took in enumerate((5, 20, 7, 9, 30, 4, 6, 8)):
        began = min(free) + 2.5 + (7200 if place == 6 else 0)
        free[free.index(min(free))] = began + took
        times = {"started_at": began, "ended_at": began + took}
        records.append({key: (start + datetime.timedelta(seconds=s)).isoformat() for key, s in times.items()})
    assert forecast.median_gap_s(reversed(records)) == pytest.approx(2.5)


def test_the_announcement_leads_with_the_time_until_all_is_done(monkeypatch, tmp_path):
    profile = study.load("pocket")
    specs = study.grid(profile)
    monkeypatch.setattr(forecast, "reference_records", lambda name: reference(specs, 36.0))
    monkeypatch.setattr(forecast, "between_runs_s", lambda: 4.0)
    together = forecast.SideBySide(2, 1, "Two at once.")
    store = runs.Store(tmp_path, "pocket")
    text = workflow.announcement(profile, specs, store, together=together, wherever=True)
    elapsed = 40.0 * math.ceil(len(specs) / 2)
    assert f"Done in about {words.duration(elapsed)}. All runs added up: about" in text
    assert words.duration(36.0 * len(specs)) in text and "Two at once." in text


def test_of_a_study_that_was_stopped_the_cost_of_what_is_left_is_announced(monkeypatch, tmp_path):
    profile = study.restrict(study.load("pocket"), settings=["elpv"], seeds=[0])
    specs = study.grid(profile)
    monkeypatch.setattr(forecast, "reference_records", lambda name: reference(specs, 36.0))
    together, store = forecast.SideBySide(2, 1, "Two at once."), runs.Store(tmp_path, "pocket")

    def announced():
        return workflow.announcement(profile, specs, store, together=together)

    for spec in specs[:-2]:
        store.write_record({"run_id": spec.run_id, "status": "failed"})
    text = announced()
    assert f"{len(specs)} runs on " in text and f", {len(specs) - 2} of them done." in text
    assert "Those left added up: about 72 s" in text and "All runs" not in text
    for spec in specs[-2:]:
        store.write_record({"run_id": spec.run_id, "status": "ok"})
    text = announced()
    assert f", {len(specs)} of them done." in text
    assert "about" not in text.split("PROFILE=medical")[0] and "Two at once" not in text


def test_baselines_alone_are_told_to_take_seconds(monkeypatch):
    profile = study.restrict(study.load("pocket"), models=["majority"])
    monkeypatch.setattr(forecast, "reference_records", lambda name: {})
    expected = forecast.forecast(profile, study.grid(profile))
    assert expected.basis == f"{expected.runs} baselines take seconds, and are left out"


def test_a_plan_is_for_this_machine_and_tells_a_gpu_apart(tmp_path, monkeypatch):
    """Its first line names this machine: what follows must not be another's."""
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    profile = study.restrict(study.load("paper"), models=["dla46_c"], settings=["pneumonia"], epochs=1)
    specs = study.grid(profile, "cpu")
    together = forecast.SideBySide(2, 1, "Two at once.")
    store = runs.Store(tmp_path, "paper")
    lines = workflow.announcement(profile, specs, store, together=together, wherever=True).splitlines()
    here = forecast.forecast(profile, specs, "cpu", 2)
    assert here.runs_at_once == 2 and here.elapsed_hours > here.hours
    assert lines[2].startswith(f"Done in about {words.duration(3600 * here.elapsed_hours)}.")
    assert "RTX 3090" not in lines[3] and "shipped pocket runs" in lines[3]
    gpu = forecast.on_the_authors_gpu(specs)
    assert "RTX 3090" in lines[4] and f"about {words.duration(gpu.seconds)} of runs" in lines[4]
    assert (gpu.runs, gpu.seconds) == (1, pytest.approx(3600 * forecast.forecast(profile, specs).hours))
    at_start = workflow.announcement(profile, specs, store, together=together)
    assert "RTX 3090" not in at_start


def test_time_left_follows_the_speed_of_this_machine():
    launch = forecast.between_runs_s()
    specs = [spec for spec in study.grid(study.load("pocket")) if spec.model not in models.BASELINES]
    measured = reference(specs, 10.0)
    assert forecast.seconds_left(specs, {}, measured) == pytest.approx((10.0 + launch) * len(specs))
    twice_as_slow = {spec.run_id: {**spec.as_dict(), "wall_time_s": 20.0} for spec in specs[:4]}
    slower = pytest.approx((20.0 + launch) * (len(specs) - 4))
    assert forecast.seconds_left(specs, twice_as_slow, measured) == slower
    assert forecast.seconds_left(specs, twice_as_slow, {}) == slower
    failed = {spec.run_id: {**spec.as_dict(), "wall_time_s": 1.0, "status": "failed"} for spec in specs[4:8]}
    fewer = pytest.approx((20.0 + launch) * (len(specs) - 8))
    assert forecast.seconds_left(specs, twice_as_slow | failed, measured) == fewer
    assert forecast.seconds_left(specs, twice_as_slow | failed, {}) == fewer
    assert forecast.seconds_left(specs, {}, {}) is None


def test_time_left_of_long_runs_is_not_that_of_the_short_ones_done_first():
    profile = study.restrict(study.load("medical"), settings=["ham10000", "ham10000_small"])
    specs = [spec for spec in study.grid(profile) if spec.model not in models.BASELINES]
    short = [spec for spec in specs if spec.train_fraction < 1]
    trained = {
        spec.run_id: 2 * forecast.predicted_cost(spec, forecast.hardware_for(spec.device)).seconds[0]
        for spec in specs
    }
    done = {
        spec.run_id: {
            **spec.as_dict(),
            "train_time_s": trained[spec.run_id],
            "wall_time_s": 10 + trained[spec.run_id],
        }
        for spec in short
    }
    left = sum(
        10 + trained[spec.run_id] + forecast.between_runs_s() for spec in specs if spec.run_id not in done
    )
    assert forecast.seconds_left(specs, done, {}) == pytest.approx(left)


def test_a_batch_is_no_larger_than_the_images(monkeypatch):
    monkeypatch.setattr(forecast.swept, "of_job", lambda job: None)
    images = int(forecast.image_counts("elpv")[0] * 0.1)
    large, whole = (
        runs.RunSpec("resnet18d", "elpv", "elpv_small", train_fraction=0.1, batch_size=size)
        for size in (1024, images)
    )
    hardware = forecast.hardware_for("cpu")
    assert forecast.predicted_cost(large, hardware) == forecast.predicted_cost(whole, hardware)
    assert forecast.on_the_authors_gpu([large]) == forecast.on_the_authors_gpu([whole])
