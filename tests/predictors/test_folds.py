"""Forecasts by predictors that have not learned from what they forecast."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import PredictorError
from daskhpo.predictors import LastDrop
from daskhpo.predictors.folds import deal, out_of_fold


class Seen:
    """Forecasts 1 for a curve that it has learned from, 0 for any other."""

    def fit(self, curves, targets, static=None):
        self.known = set(curves[:, 0])
        return self

    def predict(self, curves, static=None):
        return np.array([float(value in self.known) for value in curves[:, 0]])


@given(st.integers(2, 40), st.integers(2, 9), st.integers(0, 5))
def test_each_row_is_dealt_once_and_parts_are_even(n, folds, seed):
    parts = [own for _, own in deal(n, folds, seed=seed)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert len(parts) == min(n, folds)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(2, 40), st.integers(2, 9))
def test_no_curve_is_forecast_by_what_has_learned_from_it(n, folds):
    curves = np.arange(n, dtype=float)[:, None]
    np.testing.assert_array_equal(out_of_fold(Seen(), curves, np.zeros(n), folds=folds), 0.0)


def test_with_few_curves_each_is_left_out_once():
    curves, targets = np.array([[1.0], [2.0], [4.0]]), np.array([0.5, 1.5, 3.0])
    forecasts = out_of_fold(LastDrop(), curves, targets, folds=5)
    np.testing.assert_allclose(forecasts, [0.25, 1.25, 3.5])


def test_the_seed_decides_the_parts_and_nothing_else_does(falling):
    curves, targets = falling(20)
    first, again, other = (
        out_of_fold(LastDrop(), curves, targets, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_predictor_given_learns_nothing(falling):
    predictor = LastDrop()
    out_of_fold(predictor, *falling(9))
    assert predictor.drop == 0.0


def test_static_columns_go_with_their_curves():
    class Echo(Seen):
        def predict(self, curves, static=None):
            return static[:, 0]

    static = np.arange(9.0)[:, None]
    forecasts = out_of_fold(Echo(), np.ones((9, 2)), np.zeros(9), static)
    np.testing.assert_array_equal(forecasts, static[:, 0])


def test_too_few_folds_or_curves_are_refused():
    with pytest.raises(PredictorError, match="folds=1: must be at least 2"):
        out_of_fold(LastDrop(), np.ones((3, 1)), np.ones(3), folds=1)
    with pytest.raises(PredictorError, match="1 curves"):
        out_of_fold(LastDrop(), np.ones((1, 1)), np.ones(1))
