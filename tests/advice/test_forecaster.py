"""Which curves are learned from, when, and whose forecast it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.advice import Forecaster, Learned, learn
from daskhpo.advice.forecaster import FEW, MOST
from daskhpo.predictors import LastDrop, make_predictor
from daskhpo.predictors.base import Configured


def new(labels=5, predictor=None):
    return Forecaster(predictor or LastDrop(), labels=labels)


def train(forecaster, numbers, steps, *, first=1):
    """Let trials report ``number + 1 / step`` at every step from ``first`` on."""
    for number in numbers:
        for step in range(first, steps + 1):
            forecaster.observe(number, step, number + 1 / step)


def ask(forecaster, number, step, target, *, since=0, delta=0.2):
    return forecaster.forecast(number, step, target=target, since=since, delta=delta)


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
    train(forecaster, range(7), 4)
    ask(forecaster, 0, 2, 4)
    assert only(forecaster.due()).arrived == 7
    train(forecaster, range(7, MOST + 7), 4)
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


# ---------------------------------------------------------------------- earlier campaigns


def remember(forecaster, numbers, steps):
    """Tell of earlier trials that reported ``number + 1 / step`` at each of some steps."""
    for number in numbers:
        static = np.array([number, 0.5])
        forecaster.remember(static, steps, [number + 1 / step for step in steps])


def test_curves_of_earlier_campaigns_are_learned_from_before_there_is_any_other():
    forecaster = new(labels=4)
    remember(forecaster, [20, 30, 40, 50], range(1, 9))
    remember(forecaster, [60, 70], range(1, 4))
    train(forecaster, [0, 1], 2)
    ask(forecaster, 0, 2, 4)
    lesson = only(forecaster.due())
    assert lesson.curves.tolist() == [[n + 1, n + 0.5] for n in (20, 30, 40, 50)]
    assert lesson.targets.tolist() == [n + 0.25 for n in (20, 30, 40, 50)]
    assert lesson.static.tolist() == [[n, 0.5] for n in (20, 30, 40, 50)]
    forecaster.take(learn(lesson))
    assert ask(forecaster, 0, 2, 4).value == pytest.approx(0.25)
    assert ask(forecaster, 1, 2, 4).value == pytest.approx(1.25)


def test_a_step_that_is_not_known_of_an_earlier_curve_has_the_value_before():
    forecaster = new(labels=4)
    remember(forecaster, range(4), [1, 3, 8])
    ask(forecaster, 0, 4, 8)
    lesson = only(forecaster.due())
    assert lesson.curves[2].tolist() == [3, 3, 2 + 1 / 3, 2 + 1 / 3]


def test_however_many_earlier_curves_there_are_those_of_this_campaign_take_over():
    forecaster = new()
    remember(forecaster, range(1000), range(1, 5))
    ask(forecaster, 0, 2, 4)
    assert only(forecaster.due()).targets[-1] == 999.25
    given = []
    for number in range(MOST):
        for step in range(1, 5):
            forecaster.observe(number, step, -1.0)
        ask(forecaster, 0, 2, 4)
        given += [list(lesson.targets).count(-1.0) for lesson in forecaster.due()]
    assert given == [15, 34, 58]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(-2, 2), min_size=1, max_size=9), min_size=1, max_size=70),
    st.integers(0, 70),
    st.integers(1, 7),
    st.integers(1, 2),
)
def test_earlier_curves_teach_what_those_of_this_campaign_would(curves, earlier, step, way):
    """The first of them are of an earlier campaign, or none is: the same lessons."""
    told, alone = new(labels=4), new(labels=4)
    for number, curve in enumerate(curves):
        static, steps = np.array([number / 7]), range(1, len(curve) + 1)
        alone.begin(number, static)
        if number < earlier:
            told.remember(static, steps, curve)
        else:
            told.begin(number, static)
        for at, value in zip(steps, curve, strict=True):
            alone.observe(number, at, value)
            if number >= earlier:
                told.observe(number, at, value)
    lessons = []
    for forecaster in (told, alone):
        forecaster.begin(99, np.zeros(1))
        forecaster.observe(99, 8, 0.0)
        assert ask(forecaster, 99, step, step + way) is None
        lessons.append(
            [
                (each.curves.tolist(), each.targets.tolist(), each.static.tolist(), each.arrived)
                for each in forecaster.due()
            ]
        )
    assert lessons[0] == lessons[1]


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
            return np.full(len(curves), np.inf if curves[0, 0] == 4.5 else 0.0)

    forecaster = new(predictor=Overflows())
    train(forecaster, range(9), 4)
    ask(forecaster, 0, 2, 4)
    forecaster.take(learn(only(forecaster.due())))
    assert ask(forecaster, 0, 2, 4).value == 0.0
    train(forecaster, [3.5], 2)
    assert ask(forecaster, 3.5, 2, 4) is None


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


# ---------------------------------------------------------------------- beyond what is known

PREDICTORS = ["auto", "last_drop", "linear", "nu_svr", "svr", "boosting", "extra_trees", "ensemble"]


def told_of(curves, step, predictor="last_drop"):
    """A forecaster that has learned the way from a step to the last one."""
    forecaster, (count, target) = new(predictor=make_predictor(predictor)), curves.shape
    for number, curve in enumerate(curves):
        for at, value in enumerate(curve, start=1):
            forecaster.observe(number, at, value)
    ask(forecaster, 0, step, target)
    forecaster.take(learn(only(forecaster.due())))
    assert ask(forecaster, 0, step, target).labels == count
    return forecaster


def of_curve(forecaster, number, curve, target):
    """What is forecast for a trial that has come so far."""
    for at, value in enumerate(curve, start=1):
        forecaster.observe(number, at, value)
    return ask(forecaster, number, len(curve), target)


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_a_curve_above_all_that_were_seen_has_the_forecast_of_the_highest(predictor):
    rng = np.random.default_rng(2)
    curves = rng.random((20, 1)) + rng.uniform(1, 3, (20, 1)) / np.arange(1, 9)
    forecaster, highest = told_of(curves, 3, predictor), curves[:, :3].max(0)
    expected = of_curve(forecaster, 90, highest, 8)
    for number, beyond in ((91, 1e-3), (92, 100.0), (93, 1e6)):
        assert of_curve(forecaster, number, highest + beyond, 8) == expected
    below = of_curve(forecaster, 94, highest - 0.5, 8)
    assert below != expected, "below the ceiling it is for the model to say"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from(["last_drop", "linear"]))
def test_what_is_above_the_highest_value_of_a_step_counts_as_that(seed, step, predictor):
    rng = np.random.default_rng(seed)
    curves = rng.normal(size=(9, 5))
    forecaster, curve = told_of(curves, step, predictor), rng.normal(0, 3, step)
    clipped = np.minimum(curve, curves[:, :step].max(0))
    expected = of_curve(forecaster, 91, clipped, 5)
    assert of_curve(forecaster, 90, curve, 5) == expected
    assert expected.simple <= curves[:, step - 1].max() + 1e-9 - np.median(
        curves[:, step - 1] - curves[:, -1]
    )


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
    assert (lesson.loan.lender.step, lesson.loan.lender.target) == (6, 8)
    forecaster.take(learn(lesson))
    said = ask(forecaster, 0, 12, 16)
    assert (said.labels, said.record) == (FEW, {"errors_of": 8})
    assert said.value == said.simple


@pytest.mark.parametrize(("step", "lends"), [(9, 5), (10, 5), (12, 6), (14, 7)])
def test_the_lender_is_at_the_same_place_of_its_stretch(step, lends):
    forecaster = taught()
    train(forecaster, range(3), 16, first=9)
    ask(forecaster, 0, step, 16)
    assert only(forecaster.due()).loan.lender.step == lends


def test_with_enough_curves_nothing_is_borrowed_and_nobody_lends_what_was():
    forecaster = taught()
    train(forecaster, range(4), 32, first=9)
    ask(forecaster, 0, 12, 16)
    forecaster.take(learn(only(forecaster.due())))
    ask(forecaster, 0, 24, 32)
    assert only(forecaster.due()).loan.lender.target == 8
    train(forecaster, [4], 16, first=9)
    ask(forecaster, 0, 12, 16)
    lesson = only(forecaster.due())
    assert lesson.loan is None
    forecaster.take(learn(lesson))
    ask(forecaster, 0, 20, 32)
    assert only(forecaster.due()).loan.lender.target == 16


@pytest.mark.parametrize("since", [0, 1, 8, 12])
def test_a_loan_knows_the_whole_way_from_the_milestone_before(since):
    forecaster = taught()
    train(forecaster, range(3), 16, first=9)
    ask(forecaster, 0, 12, 16, since=since)
    stretches = only(forecaster.due()).loan.stretches
    assert stretches.tolist() == [[n + 1 / s for s in range(max(since, 1), 17)] for n in range(3)]


def test_a_forecast_has_the_margin_for_its_error_rate_and_the_worst_error():
    forecaster = new()
    train(forecaster, range(2), 4)
    forecaster.take(dataclasses.replace(learned(20), residuals=np.arange(20) / 10))
    said = [ask(forecaster, 0, 2, 4, delta=delta) for delta in (0.1, 0.2)]
    assert [(each.margin, each.worst) for each in said] == [(1.8, 1.9), (1.6, 1.9)]


def test_with_a_loan_the_worst_error_goes_with_a_forecast_as_the_margin_does():
    forecaster = taught()
    for number in range(3):
        for step in range(9, 17):
            fallen = number == 1 and step >= 10
            forecaster.observe(number, step, number - fallen)
    ask(forecaster, 0, 14, 16, since=8)
    forecaster.take(learn(only(forecaster.due())))
    said = ask(forecaster, 0, 14, 16, since=8)
    assert (said.value, said.margin, said.worst) == (0.0, 1.125, 1.125)  # from 1 + 1 / 8 to 0


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
