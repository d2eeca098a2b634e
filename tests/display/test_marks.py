"""The marks of a shared processor and of a failed run."""

import matplotlib as mpl
import matplotlib.pyplot as plt

from pepr.display import marks

mpl.use("agg")


def drawn(spoiled, shared):
    _, axes = plt.subplots()
    entries = marks.shared_marks(axes, [1, 2, 3], [4, 5, 6], spoiled, shared)
    found = {line.get_marker(): list(line.get_xdata()) for line in axes.lines}
    plt.close("all")
    return found, [entry.get_label() for entry in entries]


def test_what_shared_the_processor_has_a_stroke_and_what_is_not_ranked_for_it_a_cross():
    found, said = drawn([True, False, False], [True, True, False])
    assert found == {marks.NOT_RANKED: [1], marks.SHARED: [2]}
    assert said == ["shared the CPU: not ranked", "shared the CPU"]


def test_runs_that_were_alone_have_no_mark_and_no_entry():
    assert drawn([False] * 3, [False] * 3) == ({}, [])


def test_failed_models_are_named_and_many_of_them_counted():
    assert [entry.get_label() for entry in marks.failed_entries(["b", "a", "b"])] == [
        "failed, not drawn: a, b"
    ]
    assert marks.failed_entries(list("abcd"))[0].get_label() == "failed, not drawn: 4 models"
    assert marks.failed_entries([]) == []
