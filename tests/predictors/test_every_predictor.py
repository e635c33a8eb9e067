"""What holds for every predictor that has a name and needs nothing that is not here."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.base import clone

from daskhpo.exceptions import PredictorError
from daskhpo.predictors import _TYPES, Predictor, make_predictor, predictor_name

SMALLER = {  # what keeps the slow ones quick
    "boosting": "boosting(trees=5)",
    "ensemble": "ensemble(predictor=nu_svr, members=2, size=8)",
    "extra_trees": "extra_trees(trees=5)",
    "qubo_svr": "qubo_svr(annealer='simulated(reads=5, sweeps=20)')",
}
ELSEWHERE = {"lc_pfn", "ifbo"}  # need weights, see test_pretrained
NAMES = [SMALLER.get(name, name) for name in sorted(set(_TYPES) - ELSEWHERE)]
CHECKING = [name for name in NAMES if not name.startswith("last_")]

every = pytest.mark.parametrize("name", NAMES)
# Those that are fitted often in a property: annealing has one of its own.
quick = st.sampled_from([name for name in NAMES if "qubo" not in name])
values = st.sampled_from([0.0, 1.0, 534.0, 1e-300, -1e300, 1e300]) | st.floats(-1e3, 1e3)
curves = arrays.arrays(float, st.tuples(st.integers(2, 9), st.integers(1, 4)), elements=values)


@every
def test_it_is_a_predictor_and_knows_its_name(name):
    predictor = make_predictor(name)
    assert isinstance(predictor, Predictor)
    again = make_predictor(predictor_name(predictor))
    assert predictor_name(again) == predictor_name(predictor)


@every
def test_it_is_cloned_as_scikit_learn_does_it(name):
    predictor = make_predictor(name)
    assert clone(predictor).get_params(deep=False) == predictor.get_params(deep=False)


@every
def test_the_same_curves_give_the_same_forecasts(name, falling):
    known, targets = falling(16)
    first, again = (make_predictor(name).fit(known, targets).predict(known) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@every
def test_it_is_pickled_before_and_after_it_has_learned(name, falling):
    known, targets = falling(16)
    fresh = pickle.loads(pickle.dumps(make_predictor(name))).fit(known, targets)
    forecasts = fresh.predict(known)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fresh)).predict(known), forecasts)


@every
def test_a_second_fit_forgets_the_first(name, falling):
    known, targets = falling(16)
    twice = make_predictor(name).fit(*falling(12, seed=1)).fit(known, targets)
    once = make_predictor(name).fit(known, targets)
    np.testing.assert_array_equal(twice.predict(known), once.predict(known))


@every
def test_each_curve_is_forecast_by_itself(name, falling):
    known, targets = falling(16)
    predictor = make_predictor(name).fit(known, targets)
    others, _ = falling(5, seed=1)
    together = predictor.predict(others)
    apart = [predictor.predict(row[None])[0] for row in others]
    np.testing.assert_allclose(together, apart, rtol=1e-9)
    assert predictor.predict(others[:0]).shape == (0,)


@every
def test_what_is_given_is_left_as_it_was(name, falling):
    known, targets = falling(16)
    copies = known.copy(), targets.copy()
    make_predictor(name).fit(known, targets).predict(known)
    np.testing.assert_array_equal(known, copies[0])
    np.testing.assert_array_equal(targets, copies[1])


@every
def test_lists_of_failures_and_repeats_give_finite_forecasts(name):
    rng = np.random.default_rng(0)
    good = np.repeat(rng.normal(450, 5, (6, 5)), 2, axis=0)
    known = np.concatenate([good, np.full((4, 5), 534.0)])
    targets = np.concatenate([good[:, -1] - 3, np.full(4, 534.0)])
    forecasts = make_predictor(name).fit(known, targets).predict(known)
    assert np.isfinite(forecasts).all()


@settings(max_examples=60, deadline=None)
@given(quick, curves, st.data())
def test_any_finite_numbers_give_finite_forecasts_without_a_warning(name, known, data):
    targets = data.draw(arrays.arrays(float, len(known), elements=values))
    forecasts = make_predictor(name).fit(known, targets).predict(known)
    assert forecasts.shape == (len(known),)
    assert np.isfinite(forecasts).all()


@pytest.mark.parametrize("name", CHECKING)
def test_a_value_that_is_not_finite_is_refused_by_its_row(name, falling):
    known, targets = falling(16)
    spoiled = known.copy()
    spoiled[7, 2] = np.nan
    with pytest.raises(PredictorError, match="curves: row 7"):
        make_predictor(name).fit(spoiled, targets)
    with pytest.raises(PredictorError, match="targets: row 3"):
        make_predictor(name).fit(known, np.where(np.arange(16) == 3, np.inf, targets))
    with pytest.raises(PredictorError, match="curves: row 7"):
        make_predictor(name).fit(known, targets).predict(spoiled)
