"""How solutions are averaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.combining import COMBINATIONS, offset, papers_top, weigh

residuals = st.tuples(st.integers(1, 6), st.integers(1, 8)).flatmap(
    lambda shape: st.lists(
        st.lists(
            st.sampled_from([0.0, 1e-200, 1e-9, 0.03, -0.5, 1.0, -7.0, 1e6, 1e100]),
            min_size=shape[1],
            max_size=shape[1],
        ),
        min_size=shape[0],
        max_size=shape[0],
    ).map(np.array)
)

RESIDUALS = np.array([[0.3, 0.3, -0.3], [0.1, -0.1, 0.1], [0.5, 0.0, 0.0]])
ENERGIES = np.array([-3.0, -2.0, -1.0])
TARGETS = np.array([0.0, 0.5, 1.0])
MSE = np.array([0.09, 0.01, 0.25 / 3])


@pytest.mark.parametrize("combine", COMBINATIONS)
@given(residuals)
def test_weights_are_shares_however_good_or_bad_the_solutions(combine, residuals):
    energies, targets = np.arange(len(residuals)) - 5.0, np.zeros(residuals.shape[1])
    weights = weigh(combine, residuals, energies, targets)
    assert weights.shape == (len(residuals),)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


def test_each_combination_by_hand():
    def found(combine):
        return weigh(combine, RESIDUALS, ENERGIES, TARGETS)

    def shares(scores):
        return pytest.approx(np.asarray(scores) / np.sum(scores))

    logcosh = np.log2((2.0**RESIDUALS + 2.0**-RESIDUALS) / 2).sum(axis=1)
    assert found("mean") == shares([1, 1, 1])
    assert found("best") == shares([0, 1, 0])
    assert found("min_energy") == shares([1, 0, 0])
    assert found("mse") == shares(1 / MSE)
    assert found("softmax_mse") == shares(np.exp(1 / MSE))
    assert found("logcosh") == shares(1 / logcosh)
    assert found("softmax_logcosh") == shares(np.exp(1 / logcosh))
    assert found("softmax_r2") == shares(np.exp(1 - MSE / TARGETS.var()))


@pytest.mark.parametrize("combine", ["best", "mse", "softmax_mse", "logcosh", "softmax_logcosh"])
def test_a_perfect_solution_takes_the_weight_and_two_share_it(combine):
    rows = np.array([[0.2, 0.1], [0.0, 0.0], [0.0, 0.0]])
    weights = weigh(combine, rows, np.zeros(3), np.array([0.0, 1.0]))
    assert weights[0] < 1e-9
    assert weights[1:].sum() == pytest.approx(1)
    if combine != "best":
        assert weights[1] == weights[2]


@pytest.mark.parametrize("combine", sorted(set(COMBINATIONS) - {"mean", "min_energy"}))
def test_a_worse_solution_never_weighs_more(combine):
    rows = np.linspace(0.1, 1, 5)[:, None] * np.array([1.0, -1.0, 0.5])
    weights = weigh(combine, rows, np.zeros(5), TARGETS)
    assert (np.diff(weights) <= 0).all()
    assert weights[0] > weights[-1]


def test_the_mean_residual_is_the_offset_by_default_of_any_coefficients():
    nothing = np.zeros((3, 3))
    found = offset("mean_residual", RESIDUALS, nothing, nothing, 0.02)
    assert found == pytest.approx(RESIDUALS.mean(axis=1))


def test_the_authors_offset_is_the_mean_over_support_vectors_less_epsilon():
    a = np.array([[0.5, 0.0, 0.0], [0.0, 0.0, 0.0], [0.25, 0.0, 0.0]])
    A = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.25, 0.0, 0.0]])
    found = offset("authors", RESIDUALS, a, A, 0.02)
    assert found[0] == pytest.approx((0.3 - 0.3) / 2 - 0.02)
    assert found[1] == pytest.approx(RESIDUALS[1].mean())  # no support vector
    assert found[2] == pytest.approx(0.5 - 0.02)


def test_the_papers_combine_four_of_a_thousand_and_at_least_two():
    assert [papers_top(reads) for reads in (1, 100, 500, 1000, 2500)] == [2, 2, 2, 4, 10]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(PredictorError, match="combine='softmax_logcos'.*'softmax_logcosh'"):
        weigh("softmax_logcos", RESIDUALS, ENERGIES, TARGETS)
    with pytest.raises(PredictorError, match="offset='author'.*'authors'"):
        offset("author", RESIDUALS, RESIDUALS, RESIDUALS, 0.02)
