"""The forecast that others have to beat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.predictors import LastDrop, Predictor, make_predictor, predictor_name

curves = st.lists(
    st.lists(st.floats(-100, 100), min_size=3, max_size=3), min_size=1, max_size=9
).map(np.array)


@given(curves, curves, st.data())
def test_it_takes_the_median_drop_off_the_last_value(known, others, data):
    targets = np.array([data.draw(st.floats(-100, 100)) for _ in known])
    predictor = LastDrop()
    assert predictor.fit(known, targets) is predictor
    drop = np.median(known[:, -1] - targets)
    np.testing.assert_allclose(predictor.predict(others), others[:, -1] - drop)


def test_it_orders_trials_as_their_last_values_do():
    predictor = LastDrop().fit(np.array([[3.0, 2.0]]), np.array([1.0]))
    forecasts = predictor.predict(np.array([[0.0, 5.0], [9.0, 4.0], [1.0, 6.0]]))
    assert np.argsort(forecasts).tolist() == [1, 0, 2]


def test_it_is_made_by_name_and_knows_its_name():
    predictor = make_predictor("last_drop")
    assert isinstance(predictor, Predictor)
    assert repr(predictor) == "LastDrop()"
    assert predictor_name(predictor) == "last_drop"


def test_a_predictor_without_a_name_is_called_what_it_says():
    class Oracle(LastDrop):
        def __repr__(self):
            return "Oracle()"

    assert predictor_name(Oracle()) == "Oracle()"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(SchedulerError, match="'last_dro'.*did you mean 'last_drop'"):
        make_predictor("last_dro")
