"""Scores of forecasts agree with what others compute, and say what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from daskhpo.analysis.prediction_scores import lost, r2, score

values = arrays(np.float64, 12, elements=st.floats(-10, 10), unique=True)


@given(values, values)
def test_r2_and_rank_correlation_are_those_of_others(targets, forecasts):
    found = score(forecasts, targets, seconds=0.0)
    assert found.r2 == pytest.approx(r2_score(targets, forecasts))
    assert found.exchanged == pytest.approx(r2_score(forecasts, targets))
    assert found.spearman == pytest.approx(spearmanr(targets, forecasts).statistic, abs=1e-9)


def test_equal_forecasts_have_no_ranks_and_explain_nothing():
    found = score(np.full(5, 2.0), np.arange(5.0), seconds=0.0)
    assert math.isnan(found.spearman)
    assert (found.r2, found.exchanged, found.error) == (0.0, 0.0, 1.0)


def test_who_is_lost_is_the_best_that_is_forecast_to_end_beyond_the_best_quarter():
    targets = np.arange(100.0)
    pessimistic = targets + 30.0
    assert lost(targets, targets) == 0.0
    assert lost(pessimistic, targets) == 1.0
    assert lost(-targets, targets) == 0.0  # forecast to be good: whatever their rank
    one = targets.copy()
    one[4] = 90.0
    assert lost(one, targets) == pytest.approx(0.2)


def test_r2_of_targets_without_variance_is_nothing():
    assert r2(np.ones(4), np.zeros(4)) == 0.0
