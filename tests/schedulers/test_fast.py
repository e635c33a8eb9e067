"""Fast-Hyperband: it stops whom it is sure of, at any step."""

from __future__ import annotations

import json
from statistics import NormalDist

import numpy as np
import pytest

from daskhpo.exceptions import SchedulerError
from daskhpo.predictors import LastDrop
from daskhpo.schedulers import FastHyperband, Hyperband, make_scheduler
from daskhpo.schedulers.brackets import brackets
from daskhpo.testing import SchedulerSuite
from daskhpo.trial import Decision


class TestQuick(SchedulerSuite):
    def make(self):
        return FastHyperband(max_step=20, curves=2, delta=0.5)


class TestCautious(SchedulerSuite):
    def make(self):
        return FastHyperband(max_step=8, curves=3, delta=0.99, full=0.1)


class Drill:
    """The bracket s=1 of R=16, after the others have failed: five trials to step 8, two to 16."""

    def __init__(self, **arguments):
        self.scheduler = FastHyperband(16, **({"curves": 3, "full": 0.5} | arguments))
        self.first = sum(rungs[0][1] for s, rungs in brackets(16, 2) if s > 1)
        for number in range(self.first):
            self.scheduler.begin(number)
            self.scheduler.fail(number)
        assert [self.begin(n) for n in range(5)] == [8] * 5

    def begin(self, number):
        return self.scheduler.begin(self.first + number).stop

    def train(self, number, last, *, to, drop=0.1):
        """Train to step ``to`` with values that fall by ``drop`` a step to ``last``."""
        for step in range(1, to + 1):
            value = last + drop * (to - step)
            answer = self.scheduler.report(self.first + number, step, value)
            if answer.decision is not Decision.CONTINUE:
                return step, answer
        return to, answer


def test_a_trial_stops_once_it_is_surely_worse_than_the_last_that_would_go_on():
    drill = Drill()
    for number, (last, drop) in enumerate([(0.1, 0.10), (0.2, 0.11), (0.3, 0.12)]):
        step, answer = drill.train(number, last, to=8, drop=drop)
        assert (step, answer.decision) == (8, Decision.PAUSE)
    step, answer = drill.train(3, 9.0, to=8, drop=0.1)
    assert (step, answer.decision) == (1, Decision.STOP)
    evidence = answer.evidence
    assert (evidence["rule"], evidence["milestone"], evidence["of"]) == ("forecast", 8, 3)
    assert evidence["bar"] == 0.2  # two go on
    assert evidence["forecast"] == pytest.approx(9.0 + 7 * 0.1 - 7 * 0.11)
    # Left out, one of the drops .7, .77 and .84 is forecast by the mean of the other two.
    assert evidence["spread"] == pytest.approx(np.std([0.105, 0.0, -0.105], ddof=1))
    assert evidence["probability"] == 1.0
    # It counts as the worst: with the last one the rung is full.
    step, answer = drill.train(4, 0.15, to=8)
    assert (step, answer.decision, answer.stop) == (8, Decision.CONTINUE, 16)
    assert drill.scheduler.promote(drained=False).number == drill.first


@pytest.mark.parametrize(("delta", "stops"), [(0.6, True), (0.7, False)])
def test_how_sure_it_must_be_is_said_by_delta(delta, stops):
    drill = Drill(delta=delta)
    for number, (last, drop) in enumerate([(0.1, 0.10), (0.2, 0.11), (0.3, 0.12)]):
        drill.train(number, last, to=8, drop=drop)
    drop, spread, bar = 0.77, np.std([0.105, 0.0, -0.105], ddof=1), 0.2
    forecast = NormalDist(0, spread).inv_cdf(0.65) + bar  # P(worse than the bar) = 0.65
    answer = drill.scheduler.report(drill.first + 3, 1, forecast + drop)
    assert (answer.decision is Decision.STOP) == stops
    if stops:
        assert answer.evidence["probability"] == pytest.approx(0.65)


def test_nobody_stops_before_as_many_have_arrived_as_will_go_on():
    drill = Drill(curves=2)
    drill.train(0, 0.1, to=8)
    assert drill.train(1, 9.0, to=7)[0] == 7
    assert drill.train(2, 9.0, to=7)[0] == 7


def test_nobody_stops_before_there_are_curves_to_learn_from():
    drill = Drill(curves=4)
    for number in range(3):
        drill.train(number, 0.1 * number, to=8)
    assert drill.train(3, 9.0, to=8)[0] == 8
    assert drill.train(4, 9.0, to=8)[0] == 1


def test_the_first_of_a_round_train_in_full():
    drill = Drill(curves=2)  # a half of the two that go on: one
    drill.train(0, 9.0, to=2)
    drill.train(1, 0.1, to=8)
    drill.train(2, 0.2, to=8, drop=0.2)
    answers = [drill.scheduler.report(drill.first, step, 9.0) for step in range(3, 9)]
    assert [a.decision for a in answers] == [Decision.CONTINUE] * 5 + [Decision.PAUSE]
    assert drill.train(3, 99.0, to=8)[0] == 1


def test_a_failed_one_of_the_first_makes_room_for_another():
    drill = Drill(curves=2)
    drill.train(0, 0.5, to=1)
    drill.scheduler.fail(drill.first)
    drill.train(1, 9.0, to=2)
    drill.train(2, 0.1, to=8)
    drill.train(3, 0.2, to=8, drop=0.2)
    answers = [drill.scheduler.report(drill.first + 1, step, 9.0) for step in range(3, 9)]
    assert [a.decision for a in answers] == [Decision.CONTINUE] * 5 + [Decision.PAUSE]
    assert drill.train(4, 99.0, to=8)[0] == 1


def test_curves_are_whole_though_others_began_meanwhile():
    fits = []

    class Remembering(LastDrop):
        def fit(self, curves, targets):
            fits.append(curves.tolist())
            return super().fit(curves, targets)

    scheduler = FastHyperband(4, curves=2, predictor=Remembering())
    for number in range(4 + 3):  # the brackets s=2 and s=1
        scheduler.begin(number)
        scheduler.fail(number)
    for number in range(3):  # s=0: three trials to step 4
        scheduler.begin(7 + number)
        scheduler.report(7 + number, 1, 0.9 - number / 10)
    for number in range(2):
        scheduler.report(7 + number, 3, 0.5)
        scheduler.report(7 + number, 4, 0.4)
    scheduler.report(9, 3, 0.1)
    assert fits[0] == [[0.9, 0.9, 0.5], [0.8, 0.8, 0.5]]


def test_curves_are_forgotten_with_their_bracket():
    scheduler = FastHyperband(4)
    for number in range(60):
        scheduler.begin(number)
        scheduler.report(number, 4, 0.5)
    assert len(scheduler._points) <= 4


def test_without_a_spread_the_forecast_is_the_truth():
    drill = Drill()
    for number in range(3):
        drill.train(number, 0.125 * number, to=8, drop=0.125)  # exact in binary: errors are 0
    assert drill.train(3, 0.0625, to=8, drop=0.125)[0] == 8
    step, answer = drill.train(4, 0.09375, to=8, drop=0.125)
    assert (step, answer.evidence["spread"], answer.evidence["probability"]) == (1, 0.0, 1.0)


def test_models_learn_again_when_their_curves_have_doubled():
    seen = []

    class Counting(LastDrop):
        def fit(self, curves, targets):
            if curves.shape[1] == 1:
                seen.append(len(curves))
            return super().fit(curves, targets)

    drill = Drill(predictor=Counting(), curves=2)
    drill.train(0, 0.1, to=8)
    drill.train(1, 0.2, to=8, drop=0.2)
    drill.scheduler.report(drill.first + 2, 1, 0.1)
    assert seen == [2, 1, 1]  # one for all, and one for each left out
    drill.train(3, 0.1, to=8, drop=0.2)
    drill.scheduler.report(drill.first + 4, 1, 0.1)
    assert seen == [2, 1, 1]
    for step in range(2, 9):
        drill.scheduler.report(drill.first + 4, step, 0.1)
    drill.scheduler.report(drill.first + 2, 8, 0.3)
    promotion = drill.scheduler.promote(drained=False)
    assert promotion is not None


def test_mlpf_ends_as_with_hyperband_for_fewer_epochs(mlpf, race):
    for workers, saved in [(1, 0.08), (8, 0.02)]:
        run = race(FastHyperband(100), mlpf, trials=163, workers=workers, seed=1)
        assert run.study.steps < (1 - saved) * 3213
        assert run.rank == 0
    assert race(Hyperband(100), mlpf, trials=163, workers=8, seed=1).rank == 0


def test_it_comes_back_from_a_campaign_file():
    scheduler = FastHyperband(50, eta=3, full=0.3, delta=0.9, predictor=LastDrop())
    form = json.loads(json.dumps(scheduler.settings()))
    assert form["predictor"] == "last_drop"
    assert repr(make_scheduler(form)) == repr(scheduler)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"eta": 1}, "eta=1"),
        ({"full": 1.5}, "full=1.5"),
        ({"delta": 1}, "delta=1"),
        ({"curves": 1}, "curves=1.*at least 2"),
        ({"predictor": "svr2"}, "predictor='svr2'"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, word):
    with pytest.raises(SchedulerError, match=word):
        FastHyperband(**{"max_step": 9} | settings)
