"""The bootstrap is what drawing events again by hand would be; intervals are binomial."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from daskhpo.exceptions import DataError
from daskhpo.mlpf.physics.uncertainties import Estimate, Resamples, wilson


@st.composite
def samples(draw):
    """Resamples of a few events, and values that belong to them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    events, n = draw(st.integers(2, 8)), draw(st.integers(0, 30))
    values = rng.normal(size=n).round(draw(st.sampled_from([1, 8])))  # some equal
    return Resamples.draw(events, 5, rng), values, rng.integers(0, events, n)


def drawn(values, event, weight):
    return np.repeat(values, weight[event])


@settings(max_examples=100, deadline=None)
@given(given_=samples())
def test_percentiles_are_those_of_the_events_drawn(given_):
    resamples, values, event = given_
    found = resamples.percentiles(values, event, (0, 25, 50, 75, 100))
    for weight, row in zip(resamples.weights, found, strict=True):
        again = drawn(values, event, weight)
        if len(again):
            expected = np.percentile(again, (0, 25, 50, 75, 100))
            np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-12)
        else:
            assert np.isnan(row).all()


@settings(max_examples=100, deadline=None)
@given(one=samples(), seed=st.integers(0, 100), n=st.integers(0, 20))
def test_wasserstein_distances_are_those_of_the_events_drawn(one, seed, n):
    resamples, a, of_a = one
    rng = np.random.default_rng(seed)
    b, of_b = rng.normal(1, 2, n), rng.integers(0, resamples.weights.shape[1], n)
    found = resamples.wasserstein(a, of_a, b, of_b)
    for weight, distance in zip(resamples.weights, found, strict=True):
        left, right = drawn(a, of_a, weight), drawn(b, of_b, weight)
        if len(left) and len(right):
            assert distance == pytest.approx(wasserstein_distance(left, right), abs=1e-12)
        else:
            assert np.isnan(distance)


def test_totals_count_things_of_drawn_events():
    resamples = Resamples(np.array([[1, 1, 1], [0, 3, 0], [2, 0, 1]]))
    assert resamples.totals(np.array([0, 0, 2])).tolist() == [3, 0, 5]


def test_a_resample_draws_as_many_events_as_there_are():
    weights = Resamples.draw(10, 7, np.random.default_rng(0)).weights
    assert weights.shape == (8, 10)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 10).all()


def test_the_same_generator_draws_the_same():
    one, other = (Resamples.draw(9, 4, np.random.default_rng(5)).weights for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_the_bootstrap_knows_the_error_of_a_median():
    rng = np.random.default_rng(2)
    values = rng.normal(0, 1, 2000)
    resamples = Resamples.draw(2000, 400, rng)
    median = Estimate.of(resamples.percentiles(values, np.arange(2000), [50])[:, 0])
    assert median.error == pytest.approx(np.sqrt(np.pi / 2 / 2000), rel=0.15)


def test_things_of_one_event_count_as_one():
    rng = np.random.default_rng(3)
    of_event = rng.normal(0, 1, 500)
    resamples = Resamples.draw(500, 200, rng)
    alone = resamples.percentiles(of_event, np.arange(500), [50])
    tenfold = resamples.percentiles(np.repeat(of_event, 10), np.repeat(np.arange(500), 10), [50])
    assert Estimate.of(tenfold[:, 0]).error == pytest.approx(
        Estimate.of(alone[:, 0]).error, rel=0.05
    )


def test_resamples_that_give_no_number_are_left_out():
    assert Estimate.of(np.array([2.0, 1.0, np.nan, 3.0])) == Estimate(2.0, np.sqrt(2))
    assert np.isnan(Estimate.of(np.array([np.nan, np.nan, np.nan])).error)


@pytest.mark.parametrize(
    ("events", "resamples", "said"),
    [(1, 10, "events is 1; uncertainties need"), (9, 1, "resamples is 1")],
)
def test_too_few_to_draw_are_refused(events, resamples, said):
    with pytest.raises(DataError, match=said):
        Resamples.draw(events, resamples, np.random.default_rng(0))


def test_wilson_is_the_root_of_its_equation():
    k, n = np.array([0, 3, 10]), np.array([10, 10, 10])
    for end in wilson(k, n, z=1.5):
        np.testing.assert_allclose((k / n - end) ** 2, 1.5**2 * end * (1 - end) / n, atol=1e-12)


def test_wilson_stays_within_bounds_and_needs_trials():
    low, high = wilson([0, 4, 0], [4, 4, 0])
    assert (low[0], high[1]) == (0.0, 1.0)
    assert high[0] > 0
    assert low[1] < 1
    assert np.isnan([low[2], high[2]]).all()
