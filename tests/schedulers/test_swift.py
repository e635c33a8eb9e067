"""Swift-Hyperband: the paper's rounds, and what the paper's program crashes on."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.predictors import LastDrop
from daskhpo.schedulers import Hyperband, SwiftHyperband, make_scheduler
from daskhpo.schedulers.brackets import brackets
from daskhpo.testing import SchedulerSuite
from daskhpo.trial import Decision


class TestFewCurves(SchedulerSuite):
    def make(self):
        return SwiftHyperband(max_step=20, curves=3)


class TestManyCurves(SchedulerSuite):
    def make(self):
        return SwiftHyperband(max_step=20, curves=15)


class TestNearlyNobodyInFull(SchedulerSuite):
    def make(self):
        return SwiftHyperband(max_step=8, curves=1, full=0.01, known=0.3)


class Remembering:
    """Forecasts the last value, and remembers every fit."""

    def __init__(self, fits):
        self.fits = fits  # [(curves, targets)]

    def fit(self, curves, targets):
        self.fits.append((curves.copy(), targets.copy()))
        return self

    def predict(self, curves):
        return curves[:, -1]

    def __deepcopy__(self, memo):
        return Remembering(self.fits)


def paper(curves, max_step, *, eta=2, full=0.5, least=15, threshold=0.25):
    """The authors' rounds with one worker and LastDrop: (steps trained, complete trials).

    The order in which the members of a round are served is ours: who can go on in place is first,
    then come the others by rank.
    """
    kept, models, steps, complete, begun = {}, {}, 0, [], 0
    for _, rungs in brackets(max_step, eta):
        members = list(range(begun, begun + rungs[0][1]))
        begun, before = begun + len(members), 0
        for i, (milestone, _) in enumerate(rungs):
            wanted = rungs[i + 1][1] if i + 1 < len(rungs) else 1
            point = before + math.ceil((milestone - before) / 2)
            known = kept.setdefault(milestone, [])
            finals, parked = {}, []
            for n in members:
                if point == milestone or len(finals) < full * wanted or len(known) < least:
                    known.append(curves[n][:milestone])
                    finals[n] = curves[n][milestone - 1]
                    steps += milestone - before
                else:
                    parked.append(n)
                    steps += point - before
                last = n
            if parked:
                if (point, milestone) not in models:
                    learned = np.array(known)
                    models[point, milestone] = LastDrop().fit(learned[:, :point], learned[:, -1])
                forecasts = models[point, milestone].predict(
                    np.array([curves[n][:point] for n in parked])
                )
                order = sorted(zip(forecasts.tolist(), parked, strict=True))
                bar = np.quantile(list(finals.values()), threshold)
                chosen = [n for forecast, n in order if forecast < bar]
                if len(chosen) + len(finals) < wanted:
                    chosen = [n for _, n in order[: wanted - len(finals)]]
                if last in chosen:
                    chosen = [last] + [n for n in chosen if n != last]
                for n in chosen:
                    finals[n] = curves[n][milestone - 1]
                    steps += milestone - point
                    last = n
            ranked = sorted(finals, key=lambda n: (finals[n], n))[:wanted]
            if last in ranked:
                ranked = [last] + [n for n in ranked if n != last]
            if i + 1 == len(rungs):
                complete += finals
            members, before = ranked, milestone
    return steps, sorted(complete)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 8), st.floats(0.1, 0.9))
def test_with_one_worker_it_is_the_papers_program(race, seed, max_step, least, threshold):
    trials = sum(rungs[0][1] for _, rungs in brackets(max_step, 2))
    rng = np.random.default_rng(seed)
    curves = rng.normal(size=(trials, max_step)).cumsum(axis=1)
    scheduler = SwiftHyperband(max_step, curves=least, threshold=threshold)
    run = race(scheduler, curves, trials=trials, workers=1, seed=seed)
    steps, complete = paper(run.curves, max_step, least=least, threshold=threshold)
    assert run.study.steps == steps
    done = [n for n, trial in run.study.trials.items() if trial.state.value == "completed"]
    assert sorted(done) == complete


def test_mlpf_costs_a_tenth_less_than_hyperband_and_ends_as_well(mlpf, race):
    runs = [race(SwiftHyperband(100), mlpf, trials=163, workers=8, seed=seed) for seed in range(6)]
    epochs = np.array([run.study.steps for run in runs])
    assert abs(epochs.mean() - 2915) < 47  # the notes' mean and spread, of 20 seeds
    assert (abs(epochs - 2915) < 4 * 47).all()
    assert [run.rank for run in runs] == [0] * 6
    plain = race(Hyperband(100), mlpf, trials=163, workers=8)
    assert plain.rank == 0


class Drill:
    """The bracket s=2 of R=16 (after s=4 and s=3): 7 trials to step 4, then 3 to 8, 1 to 16."""

    def __init__(self, **arguments):
        self.fits = []
        arguments = {"curves": 2, "predictor": Remembering(self.fits)} | arguments
        self.scheduler = SwiftHyperband(16, **arguments)
        for number in range(26):
            self.scheduler.begin(number)
            self.scheduler.fail(number)
        assert [self.scheduler.begin(number).stop for number in range(26, 33)] == [2] * 7
        self.fits.clear()

    def report(self, number, step, value):
        return self.scheduler.report(26 + number, step, value)

    def fail(self, number):
        self.scheduler.fail(26 + number)

    def next(self):
        promotion = self.scheduler.promote(drained=False)
        return promotion and (promotion.number - 26, promotion.stop)


def test_the_first_to_arrive_train_in_full_and_the_others_park():
    drill = Drill()
    answers = [drill.report(n, 2, 0.5) for n in (4, 1, 0, 2, 3)]
    # Three will go on: 0.5 * 3 of them need no decision, so two; they are also the two curves.
    assert [(a.decision.value, a.stop) for a in answers] == [("continue", 4)] * 2 + [
        ("pause", 2)
    ] * 3
    assert drill.next() is None


def test_more_train_in_full_while_curves_are_missing():
    drill = Drill(curves=5)
    answers = [drill.report(n, 2, 0.5) for n in range(7)]
    assert [a.decision.value for a in answers] == ["continue"] * 5 + ["pause"] * 2


def test_at_the_barrier_those_forecast_below_the_quantile_train_on_the_best_first():
    drill = Drill(threshold=0.25)
    for n, value in enumerate([0.50, 0.70, 0.90, 0.51, 0.99, 0.30]):
        drill.report(n, 2, value)
    drill.report(0, 3, 0.50)
    assert drill.report(0, 4, 0.50).decision is Decision.PAUSE
    assert drill.report(1, 4, 0.70).decision is Decision.PAUSE
    assert drill.next() is None
    assert not drill.fits
    answer = drill.report(6, 2, 0.98)  # the last to arrive; the quantile of 0.5 and 0.7 is 0.55
    assert answer.decision is Decision.PAUSE
    assert drill.next() == (5, 4)
    assert drill.next() == (3, 4)
    assert drill.next() is None
    ((curves, targets),) = drill.fits
    assert curves.tolist() == [[0.5, 0.5], [0.7, 0.7]]
    assert targets.tolist() == [0.5, 0.7]
    # The second barrier: the best three of all seven go on, to the next decision point.
    assert drill.report(5, 4, 0.8).decision is Decision.PAUSE
    answer = drill.report(3, 4, 0.6)
    assert (answer.decision, answer.stop) == (Decision.CONTINUE, 6)
    assert [drill.next(), drill.next()] == [(0, 6), (1, 6)]
    assert drill.next() is None


def test_the_last_to_arrive_continues_in_place_if_it_is_chosen():
    drill = Drill()
    for n in range(6):
        drill.report(n, 2, 0.5)
    for n in range(2):
        drill.report(n, 4, 0.5)
    answer = drill.report(6, 2, 0.1)
    assert (answer.decision, answer.stop) == (Decision.CONTINUE, 4)
    assert answer.evidence["forecast"] == 0.1
    assert answer.evidence["bar"] == 0.5


def test_a_forecast_at_the_threshold_is_not_below_it():
    drill = Drill()
    for n in range(6):
        drill.report(n, 2, 0.5)
    for n in range(2):
        drill.report(n, 4, 0.5)
    drill.report(6, 2, 0.5)
    assert drill.next() == (2, 4)  # it fills up: three will go on
    assert drill.next() is None


def test_the_tail_calls_back_who_was_not_chosen_when_everybody_else_has_failed():
    drill = Drill(curves=1)
    for n in range(4):
        drill.report(n, 2, 0.5 + n / 10)
    drill.report(0, 4, 0.5)
    drill.report(1, 4, 0.6)
    for n in (4, 5, 6):
        drill.fail(n)
    assert drill.next() == (2, 4)
    for n in (0, 1, 2):
        drill.fail(n)
    promotion = drill.scheduler.promote(drained=True)
    assert (promotion.number - 26, promotion.stop) == (3, 16)
    assert drill.report(3, 16, 0.1).decision is Decision.STOP
    assert drill.scheduler.promote(drained=True) is None


def test_to_be_asked_in_vain_changes_nothing():
    drill = Drill(curves=1)
    for n in range(7):
        drill.fail(n)
    for n in range(7, 12):  # s=1; in the bracket after it, s=0, everybody trains to step 16
        drill.scheduler.begin(26 + n)
        drill.fail(n)
    begin = [drill.scheduler.begin(number).stop for number in (38, 39)]
    assert begin == [8, 8]
    drill.report(12, 8, 0.5)
    drill.report(12, 16, 0.4)
    drill.report(13, 8, 0.9)
    before = drill.scheduler.table()
    # One is complete and the other one's forecast is worse: nobody would train on.
    assert drill.scheduler.promote(drained=True) is None
    assert drill.scheduler.table() == before
    assert drill.scheduler.admits()
    for number in (40, 41, 42):
        drill.scheduler.begin(number)
    drill.report(14, 16, 0.3)
    drill.report(15, 8, 0.9)
    drill.fits.clear()
    drill.report(16, 8, 0.9)
    ((curves, _),) = drill.fits
    assert len(curves) == 2  # and not the fit that nobody knows of


def test_curves_are_forgotten_with_their_bracket():
    scheduler = SwiftHyperband(4)
    for number in range(60):
        assert scheduler.begin(number).stop <= 2
        scheduler.report(number, 4, 0.5)
    assert len(scheduler._points) <= 4


def test_the_best_forecasts_fill_up_where_too_few_are_below():
    drill = Drill()
    for n in range(6):
        drill.report(n, 2, 0.9 - n / 100)
    drill.report(0, 4, 0.1)
    drill.report(1, 4, 0.1)
    drill.report(6, 2, 0.99)
    assert drill.next() == (5, 4)  # one, for three that will go on
    assert drill.next() is None


def test_where_nobody_is_left_in_full_the_best_forecasts_fill_up():
    drill = Drill(curves=1)
    for n in range(7):
        drill.report(n, 2, 0.9 - n / 100)
    drill.report(0, 4, 0.1)
    drill.fail(0)  # its curve is known all the same
    drill.fail(1)
    assert [drill.next() for _ in range(4)] == [(6, 4), (5, 4), (4, 4), None]


def test_where_no_curve_is_known_everybody_parked_trains_on():
    drill = Drill()
    for n in range(7):
        drill.report(n, 2, 0.9 - n / 100)
    drill.fail(0)
    drill.fail(1)
    assert [drill.next() for _ in range(6)] == [*((n, 4) for n in range(2, 7)), None]
    assert not drill.fits


def test_a_failed_full_trial_makes_room_for_another():
    drill = Drill()
    drill.report(0, 2, 0.5)
    drill.fail(0)
    answers = [drill.report(n, 2, 0.5) for n in range(1, 5)]
    assert [a.decision.value for a in answers] == ["continue"] * 2 + ["pause"] * 2


def test_a_parked_trial_that_fails_is_not_waited_for():
    drill = Drill()
    for n in range(6):
        drill.report(n, 2, 0.5)
    drill.report(0, 4, 0.5)
    drill.report(1, 4, 0.5)
    drill.fail(6)
    assert drill.next() == (2, 4)


def test_a_predictor_is_fitted_once_for_each_decision_point(mlpf, race):
    fits = []
    scheduler = SwiftHyperband(100, predictor=Remembering(fits))
    race(scheduler, mlpf, trials=2 * 163, workers=8)
    shapes = [curves.shape for curves, _ in fits]
    # Seven milestones, those beyond the first from two kinds of round: after another one of the
    # same bracket, or as its first. 2 -> 3 has no step between; nothing is fitted there.
    assert len(shapes) == len({steps for _, steps in shapes}) <= 12
    assert min(n for n, _ in shapes) >= 15


def test_a_trial_that_skips_the_decision_point_is_a_full_one():
    drill = Drill()
    for n in range(3):
        drill.report(n, 2, 0.5)
    assert drill.report(3, 4, 0.2).decision is Decision.PAUSE
    drill.report(0, 4, 0.5)
    drill.report(1, 4, 0.5)
    for n in range(4, 7):
        drill.report(n, 2, 0.9)
    ((curves, _),) = drill.fits
    assert curves.tolist() == [[0.2, 0.2], [0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("predictor", ["last_drop", LastDrop()])
def test_it_comes_back_from_a_campaign_file(predictor):
    scheduler = SwiftHyperband(50, eta=3, full=0.3, known=0.4, predictor=predictor)
    form = json.loads(json.dumps(scheduler.settings()))
    assert form["predictor"] == "last_drop"
    assert repr(make_scheduler(form)) == repr(scheduler)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"eta": 1}, "eta=1"),
        ({"max_step": 1.5}, "max_step=1.5"),
        ({"full": 0}, "full=0"),
        ({"known": 1}, "known=1"),
        ({"threshold": -0.1}, "threshold=-0.1"),
        ({"curves": 0}, "curves=0"),
        ({"predictor": "last_dro"}, "predictor='last_dro'.*last_drop"),
        ({"predictor": 7}, "predictor=7.*fit and predict"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, word):
    with pytest.raises(SchedulerError, match=word):
        SwiftHyperband(**{"max_step": 9} | settings)
