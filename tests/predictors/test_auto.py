"""The predictor to use unless there is a reason."""

from __future__ import annotations

import json

import numpy as np
import pytest

from daskhpo.exceptions import PredictorError
from daskhpo.predictors import LastDrop, LinearOnLast, make_predictor, record_of
from daskhpo.predictors.auto import Auto
from daskhpo.predictors.folds import out_of_fold


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
    predictor = Auto(["last_drop", "linear"]).fit(curves, targets)
    first, second = sorted(("last_drop", "linear"), key=predictor.errors_.__getitem__)
    ratio = (predictor.errors_[first] / predictor.errors_[second]) ** 5  # the root of 25
    assert predictor.weights_[second] / predictor.weights_[first] == pytest.approx(ratio)


def test_what_is_not_simple_is_charged_the_standard_error_of_its_lead(falling):
    curves, targets = falling(25)
    targets += 0.1 * np.random.default_rng(0).normal(size=25)
    predictor = Auto(["last_drop", "nu_svr"]).fit(curves, targets)
    simple, other = (
        np.abs(out_of_fold(make_predictor(name), curves, targets) - targets)
        for name in ("last_drop", "nu_svr")
    )
    charge = (other - simple).std(ddof=1) / 5
    ratio = (simple.mean() / (other.mean() + charge)) ** 5
    shares = predictor.weights_
    assert shares["nu_svr"] / shares["last_drop"] == pytest.approx(ratio)


def test_where_curves_say_nothing_the_mean_is_chosen():
    rng = np.random.default_rng(0)
    predictor = Auto().fit(100 * rng.normal(size=(40, 5)), rng.normal(size=40))
    assert predictor.chosen_ == "mean"
    assert np.abs(predictor.predict(100 * rng.normal(size=(50, 5)))).max() < 2


def test_a_curve_that_restarted_is_forecast_as_if_it_had_stayed_and_set_back(falling):
    curves, targets = falling(20, d=12)
    predictor = Auto(["last_drop"]).fit(curves, targets)
    restarted = np.concatenate([curves[0, :8], curves[0, :4]])[None]
    held = np.concatenate([curves[0, :8], curves[0, [7] * 4]])[None]
    expected = (curves[0, 3] - curves[0, 7]) * np.sqrt(4 / (4 + 12))
    assert predictor.setback_ == 1
    np.testing.assert_allclose(predictor.predict(restarted), predictor.predict(held) + expected)


@pytest.mark.parametrize(("came_back", "least", "most"), [(True, 0.0, 0.4), (False, 1.6, 2.0)])
def test_it_learns_whether_restarts_come_back(came_back, least, most, falling):
    curves, targets = falling(20, d=12)
    lost = curves[:6, 2] - curves[:6, 8]
    curves[:6, 9:] = curves[:6, :3]
    targets[:6] += 0.0 if came_back else lost
    predictor = Auto(["last_drop", "linear"]).fit(curves, targets)
    assert least <= predictor.setback_ <= most
    assert predictor.record["setback"] == predictor.setback_


def test_without_noise_or_with_restarts_alone_it_learns_as_well(falling):
    curves, _ = falling(6, d=12)
    targets = curves[:, 8].copy()
    curves[:, 9:] = curves[:, :3]
    assert Auto(["last_drop"]).fit(curves, targets).setback_ == pytest.approx(1 / 7)


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
