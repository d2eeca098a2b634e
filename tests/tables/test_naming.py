"""What a column's name says it holds, where a word of it has two meanings."""

import pytest

from pepr.tables.naming import (
    columns_named,
    is_cost,
    is_measured,
    is_named,
    less_is_better,
    meaning,
    more_is_better,
    names_things,
    spelled_otherwise,
)


@pytest.mark.parametrize(
    ("name", "quantity", "factor"),
    [
        ("memory_consumption_mb", None, None),
        ("water_consumption_l", None, None),
        ("fuel consumption", None, None),
        ("power_consumption_w", "power", 1.0),
        ("time_consumption_s", "time", 1.0),
        ("consumption", "energy", 1.0),
        ("power_consumption(kWh)", "energy", 1.0),
        ("gpu_consumption_wh", "energy", 1e-3),
        ("memory_energy_consumption_j", "energy", 1 / 3.6e6),
    ],
)
def test_a_consumption_is_of_energy_where_no_word_says_of_what_else(name, quantity, factor):
    found = meaning(name)
    assert (found and found.quantity, found and found.factor) == (quantity, factor)
    assert is_cost(name)


@pytest.mark.parametrize(
    ("name", "quantity", "factor"),
    [
        ("energy_uj", "energy", 1e-6 / 3.6e6),
        ("Energy (µJ)", "energy", 1e-6 / 3.6e6),
        ("Energy (µWh)", "energy", 1e-9),
        ("gpu_energy_uWh", "energy", 1e-9),
        ("cpuWh", "energy", 1e-3),
        ("energy_GJ", "energy", 1e9 / 3.6e6),
        ("Énergie (Wh)", "energy", 1e-3),
        ("duration_ns", "time", 1e-9),
        ("Durée (s)", "time", 1.0),
        ("Laufzeit (min)", "time", None),
        ("elapsed_days", "time", 86400.0),
        ("CO₂e (kg)", "carbon", 1e3),
        ("emissions_tons", "carbon", 1e6),
        ("CO2 (pounds)", "carbon", 453.59237),
    ],
)
def test_a_unit_is_known_in_other_scripts_and_sizes(name, quantity, factor):
    found = meaning(name)
    assert (found.quantity, found.factor) == (quantity, factor and pytest.approx(factor, rel=1e-9, abs=0))


@pytest.mark.parametrize("name", ["wer", "fid_score", "MSE", "brier", "energy_kwh", "runtime", "peak_memory"])
def test_of_an_error_and_of_a_cost_less_is_better(name):
    assert less_is_better(name) and not more_is_better(name)


@pytest.mark.parametrize("name", ["auc_30_days", "acc_us", "accuracy", "images_per_us"])
def test_a_performance_over_days_or_of_a_country_is_one(name):
    assert more_is_better(name) and not less_is_better(name)


@pytest.mark.parametrize("name", ["acc", "score", "images_per_kwh", "pepr_kwh", "memory_score", "y"])
def test_of_a_performance_and_a_rate_less_is_not_better(name):
    assert not less_is_better(name)


@pytest.mark.parametrize("name", ["grad_acc_steps", "grad_acc", "gradient_acc", "gradAcc"])
def test_an_accumulation_of_gradients_is_no_accuracy(name):
    assert not more_is_better(name) and not is_measured(name)


@pytest.mark.parametrize(
    ("name", "plain"),
    [("Run ID", "run_id"), ("runid", "run_id"), ("Data Set", "dataset"), ("test-accuracy", "test_accuracy")],
)
def test_capitals_and_what_stands_between_words_make_no_other_name(name, plain):
    assert columns_named([name], [plain]) == [name] and is_named(name, ["x", plain])
    assert spelled_otherwise([name, plain], [plain]) == [f"{name!r} as {plain}"]


def test_a_unit_of_one_letter_is_no_plural():
    assert columns_named(["gpu_s", "GPU s"], ["gpus"]) == [] and columns_named(["nGPUs"], ["ngpus"])


@pytest.mark.parametrize("name", ["Run ID", "runId", "run-id", "git.commit", "Commit Hash", "run"])
def test_a_column_of_names_is_one_however_it_is_spelled(name):
    assert names_things(name)


@pytest.mark.parametrize("name", ["run_time_s", "Run time (s)", "model_size_mb", "accuracy", "energy"])
def test_a_measurement_of_a_run_is_no_name(name):
    assert not names_things(name)


@pytest.mark.parametrize(
    "name, refused",
    [
        ("energy_kwh", True),
        ("train_time_s", True),
        ("co2eq_g", True),
        ("peak_memory_gb", True),
        ("wer", True),
        ("energy_saved_kwh", False),
        ("model_flops_utilization", False),
        ("power", False),
        ("member_rate", False),
        ("auc_30_days", False),
        ("accuracy", False),
    ],
)
def test_what_a_run_takes_is_no_performance_and_what_it_saves_may_be(name, refused):
    assert less_is_better(name) is refused


@pytest.mark.parametrize(
    "name, is_time", [("train_hours", True), ("train_days", False), ("elapsed_days", True)]
)
def test_days_of_data_are_no_time_of_a_run(name, is_time):
    found = meaning(name)
    assert (found is not None and found.quantity == "time") is is_time
