"""What ranks on a CPU: processor time, set right by the probe; tables without it are ranked as they were."""

import numpy as np
import pandas as pd
import pytest
from conftest import simulated_run

from pepr.analysis.ranked import as_ranked, drift
from pepr.runs.results import as_table

MODELS = ("dla46_c", "mobilenetv2_050", "resnet18d", "mnasnet_100")
CORE_W, MEMORY_W = 4.0, 6.0


def run(model, cpu_s, wall_s=None, probe_s=0.125, **changes):
    """A run of one thread on a CPU under the load model, alone on its machine."""
    wall_s = wall_s or cpu_s
    cpu, ram = CORE_W * cpu_s / 3.6e6, MEMORY_W * wall_s / 3.6e6
    measured = {
        "threads": 1,
        "runs_at_once": 1,
        "speed_probe_s": probe_s,
        "train_cpu_time_s": cpu_s,
        "train_time_s": wall_s,
        "energy_cpu_kwh": cpu,
        "energy_ram_kwh": ram,
        "energy_kwh": cpu + ram,
        "co2eq_g": 500.0 * (cpu + ram),
    }
    return simulated_run(model, "elpv", 0)[0] | measured | changes


def table_of(*records):
    return as_ranked(as_table(list(records))).set_index("model")


def test_a_run_that_waited_for_its_core_ranks_as_it_would_have_without_waiting():
    quiet = table_of(*(run(model, 10.0 + place) for place, model in enumerate(MODELS)))
    crowded = table_of(
        *(run(model, 10.0 + place, 31.0 - place, contended=True) for place, model in enumerate(MODELS))
    )
    for column in ("train_time_s", "energy_kwh", "co2eq_g"):
        np.testing.assert_allclose(crowded[column], quiet[column], rtol=1e-12)
    assert not crowded[["time_spoiled", "energy_spoiled"]].any().any()


def test_time_is_set_right_where_the_machine_was_slower_and_left_alone_within_the_probes_own_noise():
    runs = [run(model, 10.0) for model in (*MODELS[:2], "resnetv2_50")]
    found = table_of(*runs, run("resnet18d", 12.5, probe_s=0.15625), run("mnasnet_100", 10.4, probe_s=0.13))
    assert found.loc["resnet18d", "train_time_s"] == pytest.approx(10.0)
    assert found.loc["mnasnet_100", "train_time_s"] == 10.4
    assert found.loc["resnet18d", "train_time_error"] == pytest.approx(0.25)
    assert found.loc["mnasnet_100", "train_time_error"] == 0.05
    joules = found.loc["resnet18d", "energy_kwh"] * 3.6e6
    assert joules == pytest.approx(CORE_W * 10.0 + MEMORY_W * 12.5)
    assert found.loc["resnet18d", "co2eq_g"] == pytest.approx(500.0 * joules / 3.6e6)


def test_probes_are_compared_on_one_machine_only():
    slow = {"hardware": "another", "probe_s": 0.5}
    records = [run(model, 10.0) for model in MODELS[:2]] + [run(model, 10.0, **slow) for model in MODELS[2:]]
    assert drift(as_table(records)).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    "changes",
    [{"speed_probe_s": None}, {"train_cpu_time_s": None}, {"device": "cuda"}],
    ids=["an older table", "no processor time", "a GPU"],
)
def test_without_processor_time_of_one_thread_the_wall_ranks_and_a_contended_run_does_not(changes):
    records = [run(model, 10.0, 20.0, contended=True) | changes for model in MODELS]
    found, before = table_of(*records), as_table(records).set_index("model")
    for column in ("train_time_s", "energy_kwh", "co2eq_g"):
        pd.testing.assert_series_equal(found[column], before[column])
    assert found["time_spoiled"].all() and found["energy_spoiled"].all()


def test_an_energy_that_was_measured_beside_another_program_is_not_ranked_though_the_time_is():
    metered = {"energy_source": "cpu:counter;ram:assumed", "contended": True}
    found = table_of(*(run(model, 10.0, 20.0, **metered) for model in MODELS))
    assert found["energy_spoiled"].all() and not found["time_spoiled"].any()
    assert (found["train_time_s"] == 10.0).all()
    np.testing.assert_allclose(found["energy_kwh"] * 3.6e6, CORE_W * 10.0 + MEMORY_W * 20.0)
