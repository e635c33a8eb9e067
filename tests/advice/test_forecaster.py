"""Which curves are learned from, when, and whose forecast it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from daskhpo.advice import Forecaster, Learned, learn
from daskhpo.advice.forecaster import FEW, MOST
from daskhpo.predictors import LastDrop
from daskhpo.predictors.base import Configured


def new(labels=5, predictor=None):
    return Forecaster(predictor or LastDrop(), labels=labels)


def train(forecaster, numbers, steps, *, first=1):
    """Let trials report ``number + 1 / step`` at every step from ``first`` on."""
    for number in numbers:
        for step in range(first, steps + 1):
            forecaster.observe(number, step, number + 1 / step)


def ask(forecaster, number, step, target, delta=0.2):
    return forecaster.forecast(number, step, target=target, delta=delta)


def only(lessons):
    (lesson,) = lessons
    return lesson


# ---------------------------------------------------------------------- what is learned from


def test_only_trials_that_came_to_the_target_are_learned_from():
    forecaster = new()
    train(forecaster, range(5), 4)
    train(forecaster, range(5, 8), 3)
    ask(forecaster, 7, 2, 4)
    lesson = only(forecaster.due())
    assert (lesson.step, lesson.target, lesson.arrived) == (2, 4, 5)
    assert lesson.curves.tolist() == [[n + 1, n + 0.5] for n in range(5)]
    assert lesson.targets.tolist() == [n + 0.25 for n in range(5)]


def test_who_arrives_after_the_first_question_is_learned_from_too():
    forecaster = new()
    train(forecaster, range(4), 4)
    ask(forecaster, 0, 2, 4)
    assert forecaster.due() == []
    train(forecaster, [9], 3)
    ask(forecaster, 0, 2, 4)
    assert forecaster.due() == []
    train(forecaster, [9], 4, first=4)
    ask(forecaster, 0, 2, 4)
    assert only(forecaster.due()).targets.tolist()[-1] == 9.25


def test_a_step_without_a_report_has_the_value_of_the_report_before():
    forecaster = new(labels=4)
    for number in range(4):
        for step in (2, 5, 8):
            forecaster.observe(number, step, 10 * number + step)
    ask(forecaster, 0, 6, 7)
    lesson = only(forecaster.due())
    assert lesson.curves[1].tolist() == [12, 12, 12, 12, 15, 15]
    assert lesson.targets.tolist() == [5, 15, 25, 35]


def test_a_trial_that_passes_several_targets_at_once_counts_for_each():
    forecaster = new(labels=4)
    train(forecaster, range(4), 2)
    for target in (4, 8, 16):
        ask(forecaster, 0, 2, target)
    for number in range(4):
        forecaster.observe(number, 9, float(number))
    for target in (4, 8, 16):
        ask(forecaster, 0, 2, target)
    assert [lesson.target for lesson in forecaster.due()] == [4, 8]


def test_only_the_latest_curves_are_learned_from():
    forecaster = new()
    train(forecaster, range(MOST + 7), 4)
    ask(forecaster, 0, 2, 4)
    lesson = only(forecaster.due())
    assert lesson.targets.tolist() == [n + 0.25 for n in range(7, MOST + 7)]
    assert lesson.arrived == MOST + 7


def test_what_does_not_change_is_learned_from_where_it_is_known_of_all():
    forecaster = new(labels=4)
    for number in range(4):
        forecaster.begin(number, np.array([number, 0.5]))
    train(forecaster, range(4), 4)
    ask(forecaster, 0, 2, 4)
    assert only(forecaster.due()).static.tolist() == [[n, 0.5] for n in range(4)]
    train(forecaster, [4], 4)
    ask(forecaster, 0, 2, 4)
    assert only(forecaster.due()).static is None


# ---------------------------------------------------------------------- when


def test_nothing_is_due_that_nobody_asked_for():
    forecaster = new()
    train(forecaster, range(9), 4)
    assert forecaster.due() == []


def test_a_lesson_is_given_once_and_again_when_there_are_a_quarter_more_curves():
    forecaster = new(labels=8)
    train(forecaster, range(7), 4)
    given = []
    for number in range(7, 20):
        ask(forecaster, 0, 2, 4)
        given += [lesson.arrived for lesson in forecaster.due()]
        ask(forecaster, 0, 2, 4)
        assert forecaster.due() == []
        train(forecaster, [number], 4)
    assert given == [8, 10, 13, 17]


# ---------------------------------------------------------------------- what is forecast


def test_there_is_no_forecast_before_something_was_learned():
    forecaster = new()
    train(forecaster, range(9), 4)
    assert ask(forecaster, 0, 2, 4) is None
    lesson = only(forecaster.due())
    assert ask(forecaster, 0, 2, 4) is None
    forecaster.take(learn(lesson))
    assert ask(forecaster, 0, 2, 4) is not None
    assert ask(forecaster, 0, 3, 4) is None
    assert ask(forecaster, 0, 2, 8) is None


def test_a_forecast_is_of_the_first_steps_alone():
    forecaster = new()
    train(forecaster, range(9), 4)
    ask(forecaster, 0, 2, 4)
    forecaster.take(learn(only(forecaster.due())))
    forecaster.observe(20, 1, 5.0)
    forecaster.observe(20, 2, 4.0)
    before = ask(forecaster, 20, 2, 4)
    forecaster.observe(20, 3, -100.0)
    assert ask(forecaster, 20, 2, 4) == before
    assert (before.step, before.target, before.labels) == (2, 4, 9)
    assert before.value == before.simple == pytest.approx(3.75)
    assert before.error == before.baseline


def test_a_forecast_that_is_no_finite_number_is_none():
    class Overflows(Configured):
        def fit(self, curves, targets, static=None):
            return self

        def predict(self, curves, static=None):
            return np.full(len(curves), np.inf if curves[0, 0] == 77 else 0.0)

    forecaster = new(predictor=Overflows())
    train(forecaster, range(9), 4)
    ask(forecaster, 0, 2, 4)
    forecaster.take(learn(only(forecaster.due())))
    assert ask(forecaster, 0, 2, 4).value == 0.0
    train(forecaster, [76], 2)
    assert ask(forecaster, 76, 2, 4) is None


def learned(arrived, *, drop=0.0, model=True, labels=20):
    found = LastDrop().fit(np.array([[drop]]), np.array([0.0])) if model else None
    residuals = np.zeros(labels)
    return Learned(2, 4, labels, found, residuals, 0.0, 0.0, drop, arrived=arrived)


@pytest.mark.parametrize("labels", [20, MOST])
def test_what_was_learned_never_gives_way_to_what_is_older(labels):
    forecaster = new()
    train(forecaster, range(2), 4)
    for arrived, now in ((75, 75), (60, 75), (94, 94), (75, 94)):
        forecaster.take(learned(arrived, drop=arrived / 10, labels=labels))
        assert ask(forecaster, 0, 2, 4).simple == pytest.approx(0.5 - now / 10)


def test_what_could_not_be_learned_leaves_what_there_was():
    forecaster = new()
    train(forecaster, range(2), 4)
    forecaster.take(learned(20, drop=0.5, model=False))
    assert ask(forecaster, 0, 2, 4) is None
    forecaster.take(learned(20, drop=0.5))
    forecaster.take(learned(30, model=False))
    assert ask(forecaster, 0, 2, 4).value == 0.0


# ---------------------------------------------------------------------- borrowed errors


def taught(labels=5):
    """A forecaster that has learned the ways from 5, 6 and 7 to 8 from enough curves."""
    forecaster = new(labels=labels)
    train(forecaster, range(labels), 8)
    for step in (5, 6, 7):
        ask(forecaster, 0, step, 8)
    for lesson in forecaster.due():
        forecaster.take(learn(lesson))
    return forecaster


def test_with_few_curves_the_errors_of_the_stretch_before_are_borrowed():
    forecaster = taught()
    train(forecaster, range(FEW - 1), 16, first=9)
    ask(forecaster, 0, 12, 16)
    assert forecaster.due() == [], "two curves are too few even for that"
    train(forecaster, [FEW - 1], 16, first=9)
    ask(forecaster, 0, 12, 16)
    lesson = only(forecaster.due())
    assert (lesson.lender.step, lesson.lender.target) == (6, 8)
    forecaster.take(learn(lesson))
    said = ask(forecaster, 0, 12, 16)
    assert (said.labels, said.record) == (FEW, {"errors_of": 8})
    assert said.value == said.simple


@pytest.mark.parametrize(("step", "lends"), [(9, 5), (10, 5), (12, 6), (14, 7)])
def test_the_lender_is_at_the_same_place_of_its_stretch(step, lends):
    forecaster = taught()
    train(forecaster, range(3), 16, first=9)
    ask(forecaster, 0, step, 16)
    assert only(forecaster.due()).lender.step == lends


def test_with_enough_curves_nothing_is_borrowed_and_nobody_lends_what_was():
    forecaster = taught()
    train(forecaster, range(4), 32, first=9)
    ask(forecaster, 0, 12, 16)
    forecaster.take(learn(only(forecaster.due())))
    ask(forecaster, 0, 24, 32)
    assert only(forecaster.due()).lender.target == 8
    train(forecaster, [4], 16, first=9)
    ask(forecaster, 0, 12, 16)
    lesson = only(forecaster.due())
    assert lesson.lender is None
    forecaster.take(learn(lesson))
    ask(forecaster, 0, 20, 32)
    assert only(forecaster.due()).lender.target == 16


def test_where_nothing_was_learned_before_nothing_is_borrowed():
    forecaster = new(labels=10)
    train(forecaster, range(9), 4)
    ask(forecaster, 0, 2, 4)
    assert forecaster.due() == []


def test_of_a_record_only_plain_facts_go_with_a_forecast():
    forecaster = new()
    train(forecaster, range(2), 4)
    record = {"backend_used": "svr", "reads": 100, "torn": None, "fits": [{"reads": 1}]}
    forecaster.take(dataclasses.replace(learned(20), record=record))
    del record["fits"]
    assert ask(forecaster, 0, 2, 4).record == record
