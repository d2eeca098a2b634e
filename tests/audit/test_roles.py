"""Which column plays which role: by its name, and by the words of it."""

from pepr.audit.roles import columns_of


def test_epochs_are_in_the_order_of_their_numbers_and_the_last_is_final():
    epochs = [f"test_{epoch}" for epoch in (8, 9, 10, 11)]
    found = columns_of(["model", "energy", *reversed(epochs)])
    assert found.performance == tuple(epochs) and found.final == "test_11"
    assert columns_of(["model", "test_00", "test_01"]).final == "test_01"


def test_an_accumulation_of_gradients_is_no_accuracy():
    names = ["model", "grad_acc_steps", "gradient_acc", "acc_steps", "energy_kwh"]
    assert columns_of(names).final is None
    assert columns_of([*names, "top1 acc"]).final == "top1 acc"


def test_a_consumption_of_memory_is_no_energy():
    assert columns_of(["model", "acc", "memory_consumption_mb", "water_consumption_l"]).energy is None


def test_columns_by_epoch_and_of_memory_are_known_in_any_spelling():
    found = columns_of(["Model", "Energy", "Train Time", "Peak Memory Bytes", "Test 00", "Test 01", "test-2"])
    assert found.performance == ("Test 00", "Test 01", "test-2") and found.by_epoch
    assert found.memory == ("Peak Memory Bytes",) and (found.time, found.time_factor) == ("Train Time", 3.0)


def test_the_names_of_a_model_have_an_order_of_preference():
    assert columns_of(["backbone", "Net", "acc"]).model == "Net"
