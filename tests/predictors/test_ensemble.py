"""Several predictors of disjoint curves."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from daskhpo.exceptions import PredictorError
from daskhpo.predictors import make_predictor, predictor_name, record_of
from daskhpo.predictors.base import Configured
from daskhpo.predictors.ensemble import Ensemble
from daskhpo.predictors.last_value import LastDrop


class Memory(Configured):
    """Forecasts the mean target of its own curves; knows which they were."""

    def fit(self, curves, targets, static=None):
        self.curves, self.static, self.mean = curves[:, 0], static, targets.mean()
        return self

    def predict(self, curves, static=None):
        return np.full(len(curves), self.mean)


def numbered(n, seed=1):
    """Curves that are their own numbers, and targets."""
    return np.arange(n, dtype=float)[:, None], np.random.default_rng(seed).normal(size=n)


@given(st.integers(2, 60), st.integers(1, 6), st.integers(2, 25), st.integers(0, 99))
def test_members_learn_from_disjoint_sets_as_many_as_are_full(n, members, size, seed):
    curves, targets = numbered(n)
    ensemble = Ensemble(Memory(), members, size=size, seed=seed).fit(curves, targets)
    seen = [member.curves.astype(int).tolist() for member in ensemble.members_]
    assert len(seen) == max(1, min(members, n // size))
    together = [number for numbers in seen for number in numbers]
    assert len(together) == len(set(together))
    assert all(len(numbers) == min(size, n) for numbers in seen)


@given(st.integers(2, 40), st.integers(1, 4), st.integers(2, 15))
def test_a_curve_is_judged_only_by_members_that_did_not_see_it(n, members, size):
    curves, targets = numbered(n)
    ensemble = Ensemble(Memory(), members, size=size).fit(curves, targets)
    for number in range(n):
        others = [m.mean for m in ensemble.members_ if number not in m.curves]
        expected = np.mean(others) - targets[number] if others else np.nan
        assert ensemble.residuals_[number] == pytest.approx(expected, nan_ok=True)


def test_the_forecast_is_the_plain_mean():
    curves, targets = numbered(12)
    ensemble = Ensemble(Memory(), 3, size=4).fit(curves, targets)
    mean = np.mean([member.mean for member in ensemble.members_])
    np.testing.assert_allclose(ensemble.predict(curves[:5]), mean)
    assert ensemble.weights_ == pytest.approx([1 / 3] * 3)


class Sour(Configured):
    """Knows the answer, and says the opposite once it has seen curve 0."""

    def fit(self, curves, targets, static=None):
        self.sign = -1.0 if 0 in curves else 1.0
        return self

    def predict(self, curves, static=None):
        return self.sign * curves[:, 0]


def test_with_r2_a_member_that_fails_on_the_others_curves_has_no_weight():
    curves = np.arange(30.0)[:, None]
    by_worth = Ensemble(Sour(), 3, size=10, weights="r2").fit(curves, curves[:, 0])
    assert sorted(by_worth.weights_) == pytest.approx([0, 0.5, 0.5])
    np.testing.assert_allclose(by_worth.predict(curves), curves[:, 0])
    np.testing.assert_allclose(by_worth.residuals_, 0)
    alike = Ensemble(Sour(), 3, size=10).fit(curves, curves[:, 0])
    np.testing.assert_allclose(alike.predict(curves), curves[:, 0] / 3)


def test_members_that_all_fail_are_weighed_alike():
    curves, targets = numbered(8)
    assert Ensemble(Memory(), 2, size=4, weights="r2").fit(curves, targets).weights_ == (
        pytest.approx([0.5, 0.5])
    )
    constant = Ensemble(Memory(), 2, size=4, weights="r2").fit(curves, np.ones(8))
    np.testing.assert_allclose(constant.predict(curves), 1)


def test_members_get_the_static_facts_of_their_own_curves():
    curves, targets = numbered(9)
    ensemble = Ensemble(Memory(), 2, size=4).fit(curves, targets, 10 * curves)
    for member in ensemble.members_:
        np.testing.assert_array_equal(member.static[:, 0], 10 * member.curves)


def test_it_is_deterministic_and_its_seed_decides():
    curves, targets = numbered(40)
    one, two = (Ensemble(Memory(), seed=3).fit(curves, targets) for _ in range(2))
    np.testing.assert_array_equal(one.residuals_, two.residuals_)
    other = Ensemble(Memory(), seed=4).fit(curves, targets)
    assert (one.members_[0].curves != other.members_[0].curves).any()


def test_a_predictor_that_is_given_stays_as_it_was():
    given, (curves, targets) = LastDrop(), numbered(8)
    Ensemble(given, 2, size=4).fit(curves + 5, targets)
    assert given.drop == 0


def test_it_has_the_manners_of_scikit_learn():
    ensemble = Ensemble(Ensemble("last_drop", members=2), size=7)
    copy = clone(ensemble)
    assert repr(copy) == repr(ensemble)
    assert copy.set_params(predictor__members=3, weights="r2").predictor.members == 3
    fitted = Ensemble("last_drop", size=4).fit(*numbered(8))
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(numbered(3)[0]), fitted.predict(numbered(3)[0]))


def test_it_is_made_by_name_and_knows_its_name():
    made = make_predictor("ensemble(predictor='last_drop', members=2, size=3)")
    assert predictor_name(made) == "ensemble(predictor=last_drop, members=2, size=3)"


def test_its_record_tells_what_its_members_asked():
    curves, targets = numbered(40)
    ensemble = Ensemble("qubo_svr(annealer=svr)", 2).fit(curves, targets)
    record = record_of(ensemble)
    assert record["members"] == 2
    assert record["size"] == 20
    assert record["backend_requested"] == record["backend_used"] == "svr"
    assert [fit["curves"] for fit in record["fits"]] == [20, 20]
    assert record_of(Ensemble("last_drop", 2).fit(curves, targets)) == {"members": 2, "size": 20}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": 0}, "members=0: must be a whole number from 1 on"),
        ({"size": 1}, "size=1: must be a whole number from 2 on"),
        ({"seed": -1}, "seed=-1"),
        ({"weights": "r3"}, "weights='r3': known: equal, r2"),
        ({"predictor": "svrr"}, "predictor='svrr'"),
        ({"predictor": 3}, "predictor=3"),
    ],
)
def test_what_cannot_work_is_named(settings, message):
    with pytest.raises(PredictorError, match=message):
        Ensemble(**{"predictor": "last_drop"} | settings)


def test_too_few_curves_and_what_is_not_finite_are_refused():
    curves, targets = numbered(5)
    with pytest.raises(PredictorError, match="1 curves"):
        Ensemble("last_drop").fit(curves[:1], targets[:1])
    with pytest.raises(PredictorError, match="row 2"):
        Ensemble("last_drop").fit(curves, np.array([1.0, 2.0, np.nan, 1.0, 1.0]))
