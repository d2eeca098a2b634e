"""The gates that a row's circumstances decide; which row and column each names is in `tests/analysis`."""

import pandas as pd
import pytest

from pepr.audit import gates

RUN_OF_30_W = {"train_time_s": 3600.0, "energy_kwh": 0.030, "idle_power_w": 50.0, "power_limit_w": 100.0}


@pytest.fixture
def table(synthetic_results):
    return synthetic_results.table.copy()


def with_a_run(table, **values):
    row = table.query("model == 'dla46_c'").index[0]
    for column, value in values.items():
        table.loc[row, column] = value
    return table


@pytest.mark.parametrize(("at_once", "breaks"), [(pd.NA, True), (1, True), (2, False), (3, False)])
def test_runs_that_share_a_machine_are_each_held_against_a_share_of_its_idle_power(table, at_once, breaks):
    found = gates.gates(with_a_run(table, **RUN_OF_30_W, runs_at_once=at_once))
    assert found["gate"].tolist() == ["power_above_idle"] * breaks


def test_a_run_below_its_share_of_the_idle_power_is_told_the_share(table):
    values = RUN_OF_30_W | {"energy_kwh": 0.020, "runs_at_once": 2}
    found = gates.gates(with_a_run(table, **values))
    assert found["expected"].tolist() == ["at least 0.025 kWh, which is 25 W for 3600 s"]


def test_a_table_from_before_runs_went_on_side_by_side_is_held_against_the_whole(table):
    found = gates.gates(with_a_run(table, **RUN_OF_30_W).drop(columns="runs_at_once"))
    assert found["gate"].tolist() == ["power_above_idle"]


@pytest.mark.parametrize(
    ("changes", "breaks"),
    [
        ({"energy_kwh": 0.028}, True),  # a factor of two on all of a study of two runs at once
        ({"energy_kwh": 0.014}, False),
        ({"energy_kwh": 0.028, "runs_at_once": 1}, False),
        ({"energy_kwh": 0.028, "threads": 2}, False),
        ({"energy_kwh": 0.028, "energy_source": "cpu:load_model;gpu:counter;ram:assumed"}, False),
        ({"energy_kwh": 0.028, "energy_source": "cpu:counter;ram:assumed"}, False),
    ],
)
def test_threads_side_by_side_are_each_held_against_a_share_of_the_limit_by_a_load_model(
    table, changes, breaks
):
    one_of_two = {"train_time_s": 3600.0, "power_limit_w": 28.0, "runs_at_once": 2, "threads": 1}
    modelled = {"energy_source": "cpu:load_model;ram:assumed"}
    found = gates.gates(with_a_run(table, **one_of_two | modelled | changes))
    assert found["gate"].tolist() == ["power_below_limit"] * breaks
    assert found["expected"].tolist() == ["at most 0.014 kWh, which is 14 W for 3600 s"] * breaks
