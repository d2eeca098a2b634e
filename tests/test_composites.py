"""Other scores of performance and cost, and how rankings agree: by hand, and against the definition."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from pepr.composites import kendall, netscore, pareto_rank, per_unit

small = st.integers(0, 4).map(float)


def test_netscore_of_two_networks_by_hand():
    # 80% with a million parameters and a billion operations: 20 log10(6400); with four times both, a quarter.
    found = netscore([0.8, 0.8], [1e6, 4e6], [1e9, 4e9])
    assert found.tolist() == pytest.approx([20 * np.log10(6400), 20 * np.log10(6400 / 4)])


def test_netscore_of_one_that_is_never_right_is_last_and_of_one_without_parameters_unknown():
    found = netscore([0.0, 0.5, 0.5], [1e6, 1e6, np.nan], [1e9, 1e9, 1e9])
    assert found[0] == -np.inf and np.isfinite(found[1]) and np.isnan(found[2])


def test_what_took_nothing_has_no_performance_for_a_unit():
    np.testing.assert_array_equal(per_unit([0.8, 0.9, 0.7], [2.0, 0.0, np.nan]), [0.4, np.nan, np.nan])


def test_fronts_of_five_models_by_hand():
    performance = [0.9, 0.8, 0.8, 0.7, np.nan]
    resource = [3.0, 1.0, 2.0, 3.0, 1.0]
    np.testing.assert_array_equal(pareto_rank(performance, resource), [1, 1, 2, 3, np.nan])


def test_models_that_are_alike_share_a_front():
    assert pareto_rank([0.8, 0.8], [1.0, 1.0]).tolist() == [1, 1]


@given(st.lists(st.tuples(small, small), min_size=1, max_size=25))
def test_a_front_is_what_no_model_of_a_later_front_or_of_itself_dominates(models):
    performance, resource = (np.array(side) for side in zip(*models, strict=True))
    rank = pareto_rank(performance, resource)

    def dominated_by(i, others):
        return any(
            performance[j] >= performance[i]
            and resource[j] <= resource[i]
            and (performance[j], resource[j]) != (performance[i], resource[i])
            for j in others
        )

    for i in range(len(models)):
        assert not dominated_by(i, np.flatnonzero(rank >= rank[i]))
        assert rank[i] == 1 or dominated_by(i, np.flatnonzero(rank == rank[i] - 1))


def test_kendalls_tau_of_rankings_by_hand():
    assert kendall([1, 2, 3], [10, 20, 30]) == 1 and kendall([1, 2, 3], [3, 2, 1]) == -1
    assert kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)  # five pairs alike, one in reverse


def test_kendalls_tau_leaves_out_models_without_a_score_and_needs_three():
    assert kendall([1, 2, 3, np.nan], [1, 2, 3, -5]) == 1
    assert np.isnan(kendall([1, 2, np.nan], [1, 2, 3])) and np.isnan(kendall([1, 1, 1], [1, 2, 3]))
