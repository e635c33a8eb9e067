"""The predictor to use unless there is a reason."""

from __future__ import annotations

import json

import numpy as np
import pytest

from daskhpo.exceptions import PredictorError
from daskhpo.predictors import LastDrop, LinearOnLast, make_predictor, record_of
from daskhpo.predictors.auto import Auto


def test_it_trusts_the_one_that_is_right(falling):
    curves, _ = falling(20)
    predictor = Auto(["last_drop", "linear"]).fit(curves, 3.0 * curves[:, -1] + 1.0)
    assert predictor.chosen_ == "linear"
    assert predictor.weights_["linear"] > 0.99


def test_its_forecast_is_the_weighted_mean_of_the_candidates(falling):
    curves, targets = falling(20)
    predictor = Auto(["last_drop", LinearOnLast()]).fit(curves, targets)
    shares = predictor.weights_
    assert sum(shares.values()) == pytest.approx(1)
    expected = sum(
        shares[name] * model.fit(curves, targets).predict(curves)
        for name, model in (("last_drop", LastDrop()), ("linear", LinearOnLast()))
    )
    np.testing.assert_allclose(
        predictor.predict(curves), expected + shares["mean"] * targets.mean()
    )


def test_weights_fall_with_errors_out_of_fold(falling):
    curves, targets = falling(25)
    predictor = Auto().fit(curves, targets)
    by_error = sorted(predictor.errors_, key=predictor.errors_.__getitem__)
    shares = [predictor.weights_[name] for name in by_error]
    assert shares == sorted(shares, reverse=True)
    first, second = by_error[:2]
    ratio = (predictor.errors_[first] / predictor.errors_[second]) ** 5  # the root of 25
    assert shares[1] / shares[0] == pytest.approx(ratio)


def test_where_curves_say_nothing_the_mean_is_chosen():
    rng = np.random.default_rng(0)
    predictor = Auto().fit(100 * rng.normal(size=(40, 5)), rng.normal(size=40))
    assert predictor.chosen_ == "mean"
    assert np.abs(predictor.predict(100 * rng.normal(size=(50, 5)))).max() < 2


def test_curves_that_restarted_are_mended(falling):
    curves, targets = falling(20, d=12)
    predictor = Auto(["last_drop"]).fit(curves, targets)
    restarted = np.concatenate([curves[0, :8], curves[0, :4]])[None]
    held = np.concatenate([curves[0, :8], curves[0, [7] * 4]])[None]
    np.testing.assert_allclose(predictor.predict(restarted), predictor.predict(held))


def test_candidates_that_need_more_curves_are_left_out():
    predictor = Auto().fit(np.array([[3.0, 2.0], [4.0, 2.5]]), np.array([1.0, 1.5]))
    assert predictor.errors_["nu_svr"] == np.inf
    assert predictor.weights_["nu_svr"] == 0
    assert predictor.chosen_ == "last_drop"


def test_its_record_is_json(falling):
    for n in (2, 20):
        predictor = Auto().fit(*falling(n))
        record = json.loads(json.dumps(record_of(predictor), allow_nan=False))
        assert record["chosen"] == predictor.chosen_


def test_hyperparameters_reach_the_candidates():
    static = np.arange(30.0)[:, None]
    predictor = Auto(["extra_trees(trees=20)"]).fit(np.ones((30, 2)), static[:, 0], static)
    low, high = predictor.predict(np.ones((2, 2)), np.array([[2.0], [27.0]]))
    assert low < 8
    assert high > 22


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("auto(folds=1)", "folds=1: must be a whole number from 2 on"),
        ("auto(candidates=linear)", "candidates='linear': must be a list"),
        ("auto(candidates=[linear, linear])", "'linear' is named twice"),
        ("auto(candidates=[liner])", "did you mean 'linear'"),
        ("auto(candidates=[3])", "3 has no methods fit and predict"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(PredictorError, match=message):
        make_predictor(settings)
