"""Who may be called the best: only where at least half of a set's models could be compared."""

import numpy as np
import pandas as pd
import pytest

from pepr.analysis import leaders, ranked, scores


def rows(**values):
    return pd.DataFrame({"model": list(values), "score": list(values.values())})


@pytest.mark.parametrize(
    ("n_compared", "n_models", "expected"),
    [(0, 0, False), (1, 1, False), (1, 2, False), (2, 2, True), (2, 4, True), (2, 5, False), (3, 5, True)],
)
def test_a_best_needs_two_models_and_half_of_the_set(n_compared, n_models, expected):
    assert ranked.enough(n_compared, n_models) is expected


def test_the_best_is_of_those_that_could_be_compared():
    found = leaders.leader(rows(alder=0.4, birch=0.6, cedar=np.nan), "score")
    assert (found.name, found.value, found.n_compared, found.n_models) == ("birch", 0.6, 2, 3)
    assert found.kind == "a network"


def test_no_model_is_the_best_of_one_or_of_fewer_than_half():
    assert leaders.leader(rows(alder=0.4), "score") is None
    assert leaders.leader(rows(a=0.4, b=0.5, c=np.nan, d=np.nan, e=np.nan), "score") is None
    assert leaders.leader(rows(alder=np.nan, birch=np.nan), "score") is None


def test_models_that_share_the_first_place_are_all_named():
    found = leaders.leader(rows(majority=0.5, birch=0.5, cedar=0.4), "score")
    assert found.name == "majority and birch" and found.kind == "of both kinds"


def test_a_baseline_that_leads_is_called_one():
    assert leaders.leader(rows(pca_svm=0.7, birch=0.5), "score").kind == "a baseline"


def test_the_largest_set_has_one_machine_even_where_it_is_not_known():
    part = pd.DataFrame(dict.fromkeys(scores.SET, "same") | {"model": ["a", "b", "c"]})
    part["hardware"] = [None, None, "a card"]
    assert list(leaders.largest_set(part)["model"]) == ["a", "b"]
    assert leaders.largest_set(part.iloc[:0]).empty
