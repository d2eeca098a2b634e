"""What a column's name says it holds, where a word of it has two meanings."""

import pytest

from pepr.tables.naming import is_cost, is_measured, meaning, more_is_better


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


@pytest.mark.parametrize("name", ["grad_acc_steps", "grad_acc", "gradient_acc", "gradAcc"])
def test_an_accumulation_of_gradients_is_no_accuracy(name):
    assert not more_is_better(name) and not is_measured(name)
