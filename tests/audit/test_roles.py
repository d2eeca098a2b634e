"""Which column plays which role: by its name, and by the words of it."""

from pepr.audit.roles import columns_of


def test_epochs_are_in_the_order_of_their_numbers_and_the_last_is_final():
    epochs = [f"test_{epoch}" for epoch in (8, 9, 10, 11)]
    found = columns_of(["model", "energy", *reversed(epochs)])
    assert found.performance == tuple(epochs) and found.final == "test_11"
    assert columns_of(["model", "test_00", "test_01"]).final == "test_01"
