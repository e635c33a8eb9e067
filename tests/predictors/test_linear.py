"""A straight line through last values."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.predictors import LinearOnLast

values = st.lists(st.floats(-100, 100).map(lambda value: round(value, 3)), min_size=2, max_size=9)


@given(values, st.data())
def test_it_is_the_line_of_least_squares(last, data):
    targets = np.array([data.draw(st.floats(-100, 100)) for _ in last])
    predictor = LinearOnLast().fit(np.array(last)[:, None], targets)
    if len(set(last)) > 1:
        slope, intercept = np.polyfit(last, targets, 1)
        expected = slope * 3.0 + intercept
    else:
        expected = targets.mean()
    forecast = predictor.predict(np.array([[9.0, 3.0]]))
    np.testing.assert_allclose(forecast, expected, rtol=1e-6, atol=1e-6)


def test_equal_last_values_give_the_mean_of_the_targets():
    predictor = LinearOnLast().fit(np.full((3, 2), 0.1), np.array([1.0, 2.0, 6.0]))
    np.testing.assert_allclose(predictor.predict(np.array([[5.0, 4.0]])), 3.0)


def test_a_single_curve_gives_its_target():
    predictor = LinearOnLast().fit(np.array([[2.0]]), np.array([1.5]))
    np.testing.assert_allclose(predictor.predict(np.array([[7.0]])), 1.5)
