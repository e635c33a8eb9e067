"""What is learned from curves, and how wrong it may be."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.advice import Learned, Lesson, learn
from daskhpo.advice.lessons import Loan
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


def steady(drop, *, steps=9, curves=3):
    """All values on the way from 8 to 16, of curves that fall by as much in all."""
    return np.arange(1.0, curves + 1)[:, None] - np.linspace(0, drop, steps)


def borrow(residuals, stretches, *, step=9):
    """Learn from a few curves, given all of their values from 8 to 16."""
    curves = np.concatenate([np.full((len(stretches), 7), 9.0), stretches[:, : step - 7]], axis=1)
    loan = Loan(lender(residuals), stretches)
    return learn(Lesson(step, 16, Refuses(), curves, stretches[:, -1], loan=loan))


def test_few_curves_learn_the_median_drop_and_borrow_the_errors_of_the_stretch_before():
    learned = borrow(np.arange(20) / 10, steady(0.8))
    assert isinstance(learned.model, LastDrop)
    assert learned.drop == pytest.approx(0.7)
    assert learned.record == {"errors_of": 8}
    assert len(learned.residuals) == 23
    assert learned.margin(0.1) == pytest.approx(1.8)  # 1.8 is exceeded by one of 23
    assert learned.worst == pytest.approx(1.9)
    assert (learned.labels, learned.error, learned.baseline) == (3, 0.05, 0.05)


DELTAS = [0.05, 0.1, 0.3, 0.5]


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize(("first", "largest"), [(0.5, 0.4), (0.1, 0.6)])
def test_no_borrowed_error_is_smaller_than_the_largest_own_one(first, largest, delta):
    stretches = 1.0 - np.outer([first, 0.5, 0.9], np.linspace(0, 1, 9))
    learned = borrow([-0.2] * 20, stretches, step=8)
    assert learned.margin(delta) == pytest.approx(largest)  # of the third, by the first two


# ---------------------------------------------------------------------- late drops


@pytest.mark.parametrize(("within", "drop"), [(1, 0.5), (2, 0.6), (3, 0.6), (8, 0.2)])
def test_the_largest_drop_is_that_of_any_curve_at_any_time(within, drop):
    stretches = np.ones((3, 9))
    stretches[1] = [1.0, 1.0, 0.9, 0.4, 0.8, 0.8, 0.8, 0.8, 0.8]
    stretches[2] = np.linspace(1.0, 1.2, 9)
    assert Loan(lender([0.0]), stretches).largest_drop(within) == pytest.approx(drop)


def test_where_all_curves_rise_the_largest_drop_is_a_rise():
    rising = np.linspace([1.0, 1.0], [1.8, 3.4], 9).T
    assert Loan(lender([0.0]), rising).largest_drop(2) == pytest.approx(-0.2)


@pytest.mark.parametrize("step", range(8, 16))
@pytest.mark.parametrize("when", range(1, 9))
def test_what_one_of_a_few_has_done_the_next_one_may_do_to_the_end_of_the_stretch(step, when):
    """It fell all at once, perhaps before the step at which the others are looked at."""
    stretches = steady(0.08)
    stretches[1, when:] -= 1.0
    learned = borrow([0.01] * 20, stretches, step=step)
    assert learned.drop == pytest.approx(0.01 * (16 - step))
    for delta in DELTAS:
        assert 0.99 < learned.margin(delta) <= learned.worst < 1.01


@settings(deadline=None)
@given(st.integers(8, 15), st.sampled_from(DELTAS), st.integers(0, 2**32 - 1))
def test_no_error_counts_as_smaller_than_the_largest_drop_less_the_median_one(step, delta, seed):
    rng = np.random.default_rng(seed)
    stretches = np.cumsum(rng.normal(-0.1, 0.3, (rng.integers(3, 9), 9)), axis=1)
    learned, within = borrow(rng.normal(0, 0.1, 20), stretches, step=step), 16 - step
    drops = [curve[at] - curve[at + within] for curve in stretches for at in range(9 - within)]
    assert learned.residuals[0] >= max(drops) - learned.drop - 1e-12
    assert learned.worst >= learned.margin(delta) >= max(drops) - learned.drop - 1e-12


# ---------------------------------------------------------------------- what is beyond


def test_the_worst_error_is_the_largest_and_never_below_zero():
    assert Learned(1, 2, 3, None, np.array([-0.2, 0.1, 0.3])).worst == 0.3
    assert Learned(1, 2, 2, None, np.array([-0.2, -0.1])).worst == 0.0
    assert Learned(1, 2, 0, None).worst == math.inf


def test_the_ceiling_is_the_largest_value_of_any_curve_at_each_step():
    curves, targets = made_up(np.random.default_rng(8), 20)
    assert learn(Lesson(4, 8, Sees(), curves, targets)).ceiling.tolist() == curves.max(0).tolist()
    stretches = steady(0.8)
    assert borrow([0.0], stretches, step=10).ceiling.tolist() == [9.0] * 7 + [3.0, 2.9, 2.8]
