"""Curves that restarted, mended for a forecast; the rule itself is tested with the importer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.predictors.cleaning import mend, restarts, setbacks

FALLING = [10.0, 6.0, 4.0, 3.0, 2.5, 2.2, 2.1, 2.0]


def test_a_curve_stays_where_it_was_until_it_is_below_that_again():
    curve = FALLING[:5] + FALLING
    mended = mend(np.array([curve]))[0]
    np.testing.assert_array_equal(mended, FALLING[:5] + [2.5] * 5 + [2.2, 2.1, 2.0])


def test_what_came_before_two_restarts_is_kept_through_both():
    curve = FALLING[:6] + FALLING[:5] + FALLING[:4]
    mended = mend(np.array([curve]))[0]
    np.testing.assert_array_equal(mended[6:], [2.2] * 9)


def test_a_restart_at_the_very_last_step_is_mended():
    assert mend(np.array([[*FALLING, 9.9]]))[0, -1] == 2.0


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12))
def test_curves_that_did_not_restart_are_left_alone(curve):
    mended = mend(np.array([curve]))[0]
    if not restarts(curve):
        np.testing.assert_array_equal(mended, curve)
    assert (mended <= curve).all()


def test_a_setback_falls_with_the_root_of_the_steps_since_the_last_restart():
    curves = np.array([FALLING[:5] + FALLING[:3], FALLING])
    expected = (4.0 - 2.5) * np.sqrt(3 / (3 + 8))
    np.testing.assert_allclose(setbacks(curves, mend(curves)), [expected, 0.0])


def test_a_curve_that_is_back_has_no_setback():
    curves = np.array([FALLING[:5] + FALLING])
    assert setbacks(curves, mend(curves)) == [0.0]


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12))
def test_a_setback_is_never_more_than_what_a_curve_lacks(curve):
    curves = np.array([curve])
    mended = mend(curves)
    assert 0 <= setbacks(curves, mended)[0] <= (curves - mended)[0, -1]


def test_the_curves_given_are_not_changed():
    curves = np.array([FALLING[:5] + FALLING])
    before = curves.copy()
    mend(curves)
    np.testing.assert_array_equal(curves, before)


def test_the_published_curves_of_mlpf_restart_as_often_as_was_counted(published):
    found = [len(restarts(curve)) for curve in published("mlpf").tolist()]
    assert [found.count(times) for times in (1, 2, 3)] == [54, 26, 4]


@pytest.mark.parametrize("name", ["ptb", "cifar10", "mnist"])
def test_of_other_published_curves_one_in_a_hundred_is_taken_for_a_restart_at_most(name, published):
    curves = published(name)
    assert (mend(curves) != curves).any(axis=1).mean() <= 0.01
