"""What is known of whole curves, and what predictors make of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.predictors import LastDrop
from daskhpo.schedulers.forecasts import Forecasts, unroll


@given(st.sets(st.integers(1, 30), min_size=1), st.integers(1, 35))
def test_steps_without_a_report_have_the_value_before(reported, steps):
    points = [(step, float(step)) for step in sorted(reported)]
    curve = unroll(points, steps)
    assert len(curve) == steps
    for step, value in enumerate(curve, start=1):
        before = [s for s in reported if s <= step]
        assert value == (max(before) if before else min(reported))


def test_a_curve_that_went_beyond_the_milestone_counts_with_its_last_value():
    forecasts = Forecasts("last_drop")
    forecasts.keep(4, [(1, 1.0), (3, 0.8), (6, 0.2)])
    assert forecasts.count(4) == 1
    assert forecasts.count(3) == 0
    assert forecasts.fit(3, 4).predict(np.array([[1.0, 1.0, 1.0]]))[0] == pytest.approx(0.4)


def test_every_fit_is_of_its_own():
    forecasts = Forecasts(LastDrop())
    forecasts.keep(2, [(1, 0.9), (2, 0.5)])
    one = forecasts.fit(1, 2)
    forecasts.keep(2, [(1, 0.9), (2, 0.1)])
    other = forecasts.fit(1, 2)
    assert (one.drop, other.drop) == pytest.approx((0.4, 0.6))


def test_the_spread_is_that_of_errors_on_curves_left_out():
    drops = [0.1, 0.2, 0.6, 0.7]
    forecasts = Forecasts("last_drop")
    for drop in drops:
        forecasts.keep(2, [(1, 1.0), (2, 1.0 - drop)])
    errors = [drop - np.median([other for other in drops if other != drop]) for drop in drops]
    assert forecasts.spread(1, 2) == pytest.approx(np.std(errors, ddof=1))


@pytest.mark.parametrize(
    ("predictor", "word"),
    [("last", "predictor='last'.*last_drop"), (LastDrop, "fit and predict"), (None, "None")],
)
def test_what_is_no_predictor_is_named(predictor, word):
    with pytest.raises(SchedulerError, match=word):
        Forecasts(predictor)
