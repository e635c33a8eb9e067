"""What is learned from curves, and how wrong it may be."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from daskhpo.advice import Learned, Lesson, learn
from daskhpo.exceptions import AnnealerError
from daskhpo.predictors import LastDrop, LastValue
from daskhpo.predictors.base import Configured


def made_up(rng, n, *, step=4, noise=0.1):
    """Exchangeable curves (n, step) and what they came to (n,)."""
    level = rng.lognormal(0, 0.5, n)
    curves = level[:, None] * (1 + 1 / np.arange(1, step + 1)) + noise * rng.normal(size=(n, step))
    return curves, level * 1.1 + noise * rng.standard_t(4, n)


class Recorded(LastValue):
    record = {"backend_requested": "qpu", "backend_used": "svr"}


class Refuses(Configured):
    def fit(self, curves, targets, static=None):
        raise AnnealerError("no network")


class Sees(Configured):
    """Remembers what it was fitted on."""

    def fit(self, curves, targets, static=None):
        self.seen = (curves.copy(), targets.copy(), static)
        return self

    def predict(self, curves, static=None):
        assert (static is None) == (self.seen[2] is None)
        for curve in curves:
            assert not (self.seen[0] == curve).all(axis=1).any(), "forecast of what it has seen"
        return curves[:, -1].copy()


# ---------------------------------------------------------------------- margins


@pytest.mark.parametrize("delta", [0.1, 0.3])
@pytest.mark.parametrize("n", [15, 40])
def test_as_many_forecasts_exceed_the_truth_by_their_margin_as_was_said(n, delta):
    rng, tries, over = np.random.default_rng(7), 600, 0
    for _ in range(tries):
        curves, targets = made_up(rng, n + 1)
        learned = learn(Lesson(4, 8, LastDrop(), curves[:-1], targets[:-1]))
        value = learned.model.predict(curves[-1:])[0]
        over += value - learned.margin(delta) > targets[-1]
    spread = math.sqrt(delta * (1 - delta) / tries)
    assert delta / 2 < over / tries < delta + 3 * spread


def test_a_margin_is_the_residual_that_few_exceed_and_never_below_zero():
    learned = Learned(1, 2, 19, None, np.linspace(-0.8, 1.0, 19))
    assert learned.margin(0.05) == 1.0
    assert learned.margin(0.1) == pytest.approx(0.9)
    assert learned.margin(0.5) == pytest.approx(0.1)
    assert Learned(1, 2, 19, None, np.linspace(-2, -1, 19)).margin(0.1) == 0.0


@pytest.mark.parametrize("n", [4, 9, 15, 18])
def test_with_too_few_curves_for_so_small_an_error_rate_the_margin_is_infinite(n):
    learned = Learned(1, 2, n, None, np.zeros(n))
    assert learned.margin(0.99 / (n + 1)) == math.inf
    assert learned.margin(1 / (n + 1)) == 0.0


# ---------------------------------------------------------------------- fits


def test_errors_are_of_forecasts_by_models_that_had_not_seen_the_curve():
    rng = np.random.default_rng(1)
    curves, targets = made_up(rng, 23)
    learned = learn(Lesson(4, 8, Sees(), curves, targets, rng.random((23, 2))))
    assert learned.model.seen[0].shape == (23, 4)
    assert learned.residuals == pytest.approx(np.sort(curves[:, -1] - targets))
    assert learned.error == pytest.approx(np.abs(curves[:, -1] - targets).mean())
    assert learned.drop == pytest.approx(np.median(curves[:, -1] - targets))


def test_the_baseline_is_its_own_equal():
    for seed in range(20):
        learned = learn(Lesson(4, 8, LastDrop(), *made_up(np.random.default_rng(seed), 20)))
        assert learned.error == learned.baseline > 0, "not even by rounding"


def test_what_forecasts_worse_than_the_baseline_is_found_out():
    learned = learn(Lesson(4, 8, LastValue(), *made_up(np.random.default_rng(3), 20)))
    assert learned.error > learned.baseline


def test_the_predictor_of_a_lesson_stays_as_it_is_and_its_record_is_kept():
    predictor = Recorded()
    learned = learn(Lesson(4, 8, predictor, *made_up(np.random.default_rng(4), 20)))
    assert learned.model is not predictor
    assert learned.record == predictor.record


def test_a_predictor_that_cannot_learn_is_recorded_and_not_raised():
    curves, targets = made_up(np.random.default_rng(5), 20)
    learned = learn(Lesson(4, 8, Refuses(), curves, targets, arrived=31))
    assert learned.model is None
    assert learned.record == {"failed": "no network"}
    assert learned.margin(0.1) == learned.error == math.inf
    curves[3, 1] = math.nan
    assert "row 3" in learn(Lesson(4, 8, Sees(), curves, targets)).record["failed"]


def test_a_lesson_can_be_learned_elsewhere():
    curves, targets = made_up(np.random.default_rng(6), 20)
    lesson = Lesson(4, 8, LastDrop(), curves, targets, arrived=70)
    there = pickle.loads(pickle.dumps(learn(pickle.loads(pickle.dumps(lesson)))))
    here = learn(lesson)
    assert (there.residuals == here.residuals).all()
    assert (there.drop, there.error, there.arrived) == (here.drop, here.error, 70)
    assert there.model.predict(curves) == pytest.approx(here.model.predict(curves))


# ---------------------------------------------------------------------- borrowed errors


def lender(residuals):
    residuals = np.sort(np.asarray(residuals, float))
    return Learned(4, 8, len(residuals), LastDrop(), residuals, error=0.01, baseline=0.05)


def test_few_curves_learn_the_median_drop_and_borrow_the_errors_of_the_stretch_before():
    curves, targets = np.array([[1.0], [2.0], [3.0]]), np.array([0.9, 1.9, 2.9])
    learned = learn(Lesson(9, 16, Refuses(), curves, targets, lender=lender(np.arange(20) / 10)))
    assert isinstance(learned.model, LastDrop)
    assert learned.drop == pytest.approx(0.1)
    assert learned.record == {"errors_of": 8}
    assert len(learned.residuals) == 23
    assert learned.margin(0.1) == pytest.approx(1.8)  # 1.8 is exceeded by one of 23
    assert (learned.labels, learned.error, learned.baseline) == (3, 0.05, 0.05)


@pytest.mark.parametrize("delta", [0.05, 0.1, 0.3, 0.5])
def test_no_borrowed_error_is_smaller_than_the_largest_own_one(delta):
    curves, targets = np.array([[1.0], [1.0], [1.0]]), np.array([0.5, 0.5, 0.1])
    learned = learn(Lesson(9, 16, LastDrop(), curves, targets, lender=lender([-0.2] * 20)))
    assert learned.margin(delta) == pytest.approx(0.4)  # from the first two: 0.5 for the third
