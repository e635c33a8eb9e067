"""What a regressor sees of a curve, and on which scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.preprocessing import QuantileTransformer

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.features import Features, Scaling, check_curves, check_known

KINDS = ("quantile", "minmax", "standard")
numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
columns = arrays.arrays(float, st.tuples(st.integers(2, 12), st.integers(1, 4)), elements=numbers)
CURVES = np.array([[5.0, 3.0, 2.0], [4.0, 4.0, 1.0]])


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("prefix", CURVES),
        ("differences", [[-2.0, -1.0], [0.0, -3.0]]),
        ("second", [[1.0], [-3.0]]),
        ("last", [[2.0], [1.0]]),
        ("static", [[7.0], [8.0]]),
    ],
)
def test_each_part_is_what_it_says(part, expected):
    np.testing.assert_array_equal(Features([part])(CURVES, np.array([[7.0], [8.0]])), expected)


def test_parts_stand_beside_one_another_in_the_order_asked_for():
    found = Features(["last", "differences"])(CURVES)
    np.testing.assert_array_equal(found, [[2.0, -2.0, -1.0], [1.0, 0.0, -3.0]])


def test_static_columns_that_are_not_known_are_left_out():
    np.testing.assert_array_equal(Features(["last", "static"])(CURVES), [[2.0], [1.0]])


def test_a_curve_too_short_for_every_part_gives_its_last_value():
    np.testing.assert_array_equal(Features(["second"])(CURVES[:, :1]), [[5.0], [4.0]])


@pytest.mark.parametrize("parts", [[], "prefix", ["prefixes"]])
def test_parts_that_do_not_exist_are_refused(parts):
    with pytest.raises(PredictorError, match="features"):
        Features(parts)


@given(columns, columns, st.sampled_from(KINDS))
def test_no_value_leaves_the_range_that_was_learned(known, others, kind):
    width = min(known.shape[1], others.shape[1])
    scaling = Scaling(kind).fit(known[:, :width])
    ours, theirs = scaling.transform(known[:, :width]), scaling.transform(others[:, :width])
    assert (theirs >= ours.min(axis=0) - 1e-9).all()
    assert (theirs <= ours.max(axis=0) + 1e-9).all()


@given(columns, st.sampled_from(KINDS))
def test_larger_stays_larger(known, kind):
    column = known[:, 0]
    scaled = Scaling(kind).fit(column).transform(column)
    order = np.argsort(column, kind="stable")
    assert (np.diff(scaled[order]) >= -1e-9).all()


@given(columns, st.sampled_from(KINDS))
def test_the_inverse_leads_back(known, kind):
    column = known[:, 0]
    scaling = Scaling(kind).fit(column)
    size = max(np.abs(column).max(), 1.0)
    back = scaling.inverse(scaling.transform(column))
    np.testing.assert_allclose(back, column, atol=1e-6 * size)


@given(columns, st.sampled_from(KINDS))
def test_the_inverse_never_leaves_the_range_either(known, kind):
    column = known[:, 0]
    back = Scaling(kind).fit(column).inverse(np.array([-1e9, 1e9]))
    assert column.min() <= back.min()
    assert back.max() <= column.max()


@pytest.mark.parametrize("quantiles", [None, 7])
def test_ranks_are_those_of_scikit_learn(quantiles):
    rng = np.random.default_rng(0)
    known, others = rng.normal(size=(30, 3)), rng.normal(size=(50, 3))
    theirs = QuantileTransformer(n_quantiles=quantiles or 30).fit(known)
    ours = Scaling("quantile", quantiles=quantiles).fit(known)
    for X in (known, others):
        np.testing.assert_allclose(ours.transform(X), theirs.transform(X), atol=1e-12)


def test_equal_values_share_the_mean_of_their_ranks():
    scaling = Scaling("quantile").fit(np.array([0.0, 1.0, 1.0, 1.0, 2.0]))
    np.testing.assert_allclose(scaling.transform(np.array([0.0, 1.0, 2.0])), [0.0, 0.5, 1.0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_column_becomes_nothing_and_comes_back(kind):
    scaling = Scaling(kind).fit(np.full(5, 534.1))
    np.testing.assert_array_equal(scaling.transform(np.array([0.0, 534.1, 900.0])), 0.0)
    np.testing.assert_allclose(scaling.inverse(np.zeros(2)), 534.1)


def test_without_a_kind_numbers_stay_as_they_are():
    scaling = Scaling(None).fit(CURVES)
    np.testing.assert_array_equal(scaling.transform(2 * CURVES), 2 * CURVES)
    np.testing.assert_array_equal(scaling.inverse(np.array([9.0])), [9.0])


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(PredictorError, match=r"scaling='minmaxx'.*'minmax'"):
        Scaling("minmaxx")
    with pytest.raises(PredictorError, match="quantiles=1: must be at least 2"):
        Scaling(quantiles=1)


@pytest.mark.parametrize(
    ("curves", "targets", "static", "message"),
    [
        ([[1.0, np.nan]], [1.0], None, "curves: row 0 has a value that is not finite"),
        ([[1.0], [2.0]], [1.0, np.inf], None, "targets: row 1 has a value that is not finite"),
        ([[1.0], [2.0]], [1.0, 2.0], [[0.0], [np.nan]], "static: row 1"),
        ([[1.0], [2.0, 3.0]], [1.0, 2.0], None, "curves .*the same length"),
        ([1.0, 2.0], [1.0, 2.0], None, r"curves has the shape \(2,\): must be"),
        ([[1.0], [2.0]], [1.0], None, "targets has 1 rows and curves 2"),
        ([[1.0], [2.0]], [1.0, 2.0], [[1.0]], "static has 1 rows and curves 2"),
        ([[], []], [1.0, 2.0], None, "curves have no step"),
        ([[1.0]], [1.0], None, "1 curves to learn from: must be at least 2"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_by_name(curves, targets, static, message):
    with pytest.raises(PredictorError, match=message):
        check_known(curves, targets, static)


def test_numbers_without_a_finite_square_are_brought_nearer():
    found, _ = check_curves(np.array([[1e300, -1e300, 1e-300, 5.0]]))
    np.testing.assert_array_equal(found, [[1e100, -1e100, 0.0, 5.0]])
