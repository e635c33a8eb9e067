"""What a trial has to reach, and those that are taken off because they will not."""

from __future__ import annotations

import copy
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daskhpo.schedulers import ASHA, Fifo
from daskhpo.schedulers.trend import Trend
from daskhpo.trial import Decision

EIGHTH = 0.125  # values are whole numbers, and others lie between them

# A value, or None for a trial that fails on its way.
fates = st.lists(st.integers(0, 9).map(float) | st.none(), max_size=40)


@st.composite
def ladders(draw, mode):
    eta, max_step = draw(st.integers(2, 5)), draw(st.integers(1, 40))
    min_step = draw(st.integers(1, max_step))
    rungs = len(ASHA(max_step, min_step=min_step, eta=eta).table())
    brackets = draw(st.integers(1, min(3, rungs)))
    return ASHA(max_step, min_step=min_step, eta=eta, mode=mode, brackets=brackets)


def arrivals(scheduler, fates):
    """Train one trial at a time; yields its number before each report of a milestone."""
    number, begun = None, 0
    for value in fates:
        if number is None:
            place = scheduler.promote(drained=False) or scheduler.begin(begun)
            number, begun = place.number, max(begun, place.number + 1)
        yield number
        if value is None:
            scheduler.fail(number)
            number = None
            continue
        step = scheduler.bar(number).milestone
        if scheduler.report(number, step, value).decision is not Decision.CONTINUE:
            number = None


def near(value):
    """Values around one, which lie on no rung themselves."""
    return (-1e6, 1e6) if math.isinf(value) else (value - 1e6, value - EIGHTH, value + EIGHTH)


def judged(scheduler, number, value):
    """The answer that a trial would get if it came to its milestone now."""
    copied = copy.deepcopy(scheduler)
    return copied.report(number, copied.bar(number).milestone, value)


def run(scheduler, values):
    """Begin one trial per value and report it at its first milestone."""
    for number, value in enumerate(values):
        stop = scheduler.begin(number).stop
        scheduler.report(number, stop, value)
    return len(values)


@settings(max_examples=200, deadline=None)
@given(ladders("stop"), fates)
def test_the_stopping_form_lets_those_pass_that_are_not_above_the_bar(scheduler, fates):
    for number in arrivals(scheduler, fates):
        bar = scheduler.bar(number)
        if bar.after is None:
            continue
        for value in {bar.value, *near(bar.value)} - {math.inf}:
            passes = judged(scheduler, number, value).decision is Decision.CONTINUE
            assert passes == (value <= bar.value), (value, bar)


@settings(max_examples=200, deadline=None)
@given(ladders("promote"), fates)
def test_with_a_value_below_the_bar_a_trial_could_be_promoted_at_once(scheduler, fates):
    for number in arrivals(scheduler, fates):
        bar = scheduler.bar(number)
        if bar.after is None:
            continue
        for value in near(bar.value):
            evidence = judged(scheduler, number, value).evidence
            if evidence["within"]:
                assert (evidence["rank"] <= evidence["within"]) == (value < bar.value), (value, bar)
            else:
                assert bar.value == math.inf  # no value is good enough as yet, and none too bad


@settings(max_examples=100, deadline=None)
@given(ladders("promote") | ladders("stop"), fates)
def test_the_last_milestone_is_for_who_would_be_the_best(scheduler, fates):
    for number in arrivals(scheduler, fates):
        bar = scheduler.bar(number)
        if bar.after is None:
            assert bar.milestone == scheduler.max_step
            for value in near(bar.value):
                rank = judged(scheduler, number, value).evidence["rank"]
                assert (rank == 1) == (value < bar.value)


@settings(max_examples=100, deadline=None)
@given(ladders("promote") | ladders("stop"), fates)
def test_stretches_follow_one_another(scheduler, fates):
    before = {}
    for number in arrivals(scheduler, fates):
        bar = scheduler.bar(number)
        assert bar.since == before.get(number, 0) < bar.milestone
        assert bar.after is None or bar.after > bar.milestone
        before[number] = bar.milestone


def test_the_failed_do_not_lower_the_bar_of_the_stopping_form():
    scheduler = ASHA(max_step=9, eta=2, mode="stop")
    number = run(scheduler, [1.0, 2.0, 3.0])
    for each in range(number, number + 5):
        scheduler.begin(each)
        scheduler.fail(each)
    scheduler.begin(99)
    assert scheduler.bar(99).value == 2.0


def test_nobody_is_above_the_bar_of_an_audited_trial():
    scheduler = ASHA(max_step=9, eta=3, audit=0.5)
    run(scheduler, [0.1] * 20)
    bars = {number: scheduler.bar(scheduler.begin(number).number) for number in range(20, 60)}
    for number, bar in bars.items():
        assert (bar.value == math.inf) == scheduler.audits(number)
    assert len({bar.value for bar in bars.values()}) == 2


def test_a_trial_of_fifo_has_to_beat_the_best_that_is_complete():
    scheduler = Fifo(9)
    scheduler.begin(0)
    assert scheduler.bar(0).value == math.inf
    scheduler.report(0, 8, 0.1)
    assert scheduler.bar(0).value == math.inf
    for number, value in enumerate([0.5, 0.4, 0.6]):
        scheduler.report(number, 9, value)
    bar = scheduler.bar(3)
    assert (bar.since, bar.milestone, bar.value, bar.after) == (0, 9, 0.4, None)


# ---------------------------------------------------------------------- learned ladders


steps = st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
values = st.floats(-1e6, 1e6)


@settings(max_examples=200, deadline=None)
@given(steps, values, values)
def test_the_value_for_a_rank_is_ranked_by_it(steps, half, ranked):
    before, step, end = sorted(steps)
    assume(2 * before <= step)
    trend = Trend(max_step=end)
    trend.note(0, before, half, milestone=step)
    value = trend.value_for(0, step, ranked)
    assert copy.deepcopy(trend).rank_by(0, step, value) == pytest.approx(ranked, abs=1e-6)
    assert trend.value_for(0, step, ranked) == value, "to ask must change nothing"
    assert trend.value_for(0, step, math.inf) == math.inf


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(values, values), min_size=3, max_size=40), values)
def test_the_bar_of_a_learned_ladder_is_the_value_that_is_ranked_like_the_worst_to_go_on(
    curves, half
):
    scheduler = ASHA(max_step=32, min_step=4)
    for number, (before, value) in enumerate(curves):
        scheduler.begin(number)
        scheduler.report(number, 2, before)
        scheduler.report(number, 4, value)
    scheduler.begin(99)
    scheduler.report(99, 2, half)
    bar = scheduler.bar(99)
    better, _ = divmod((len(curves) + 1) * 45, 100)  # of which 45 % go on, at first
    if not better:
        assert bar.value == math.inf
        return
    worst = scheduler._ladders.standing(99).ranking[better - 1][0]
    ranked = copy.deepcopy(scheduler).report(99, 4, bar.value).evidence["forecast"]
    assert ranked == pytest.approx(worst, rel=1e-6, abs=1e-6)


# ---------------------------------------------------------------------- cut


@settings(max_examples=200, deadline=None)
@given(ladders("stop") | ladders("promote"), fates, st.integers(1, 20))
def test_a_forecast_leaves_the_bar_for_others_where_the_value_would_have(scheduler, fates, above):
    for _ in arrivals(scheduler, fates):
        pass
    scheduler.begin(99)
    bar = scheduler.bar(99)
    if math.isinf(bar.value):
        return
    value = bar.value + above / 8
    reported, cut = copy.deepcopy(scheduler), copy.deepcopy(scheduler)
    reported.report(99, bar.milestone, value)
    assert cut.cut(99, bar.milestone - 1, value).decision is not Decision.CONTINUE
    for each in (reported, cut):
        each.begin(100)
    assert cut.bar(100) == reported.bar(100)
    assert cut.table() == reported.table()


def test_who_is_cut_waits_where_it_may_be_promoted_and_ends_where_nobody_is():
    for mode, decision in (("promote", Decision.PAUSE), ("stop", Decision.STOP)):
        scheduler = ASHA(max_step=64, min_step=4, eta=4, mode=mode)
        number = run(scheduler, [0.1, 0.2, 0.3])
        scheduler.begin(number)
        answer = scheduler.cut(number, 2, 0.9)
        assert (answer.decision, answer.stop) == (decision, 2)
        place = {"rung": 0, "milestone": 4, "rank": 4, "of": 4, "within": 1}
        assert answer.evidence == place | {"forecast": 0.9, "advice": True}


def test_who_was_cut_is_promoted_when_its_forecast_has_become_good_enough():
    scheduler = ASHA(max_step=64, min_step=4, eta=2)
    run(scheduler, [0.1, 0.2])
    assert scheduler.promote(drained=False).number == 0
    scheduler.begin(2)
    assert scheduler.cut(2, 2, 0.15).decision is Decision.PAUSE
    assert scheduler.promote(drained=False) is None  # one of three goes on
    scheduler.report(3, scheduler.begin(3).stop, 0.9)
    promotion = scheduler.promote(drained=False)
    assert (promotion.number, promotion.stop) == (2, 8)
    bar = scheduler.bar(2)
    assert (bar.since, bar.milestone) == (4, 8)


def test_nobody_is_complete_by_a_forecast():
    scheduler = ASHA(max_step=4, min_step=2, eta=2)
    run(scheduler, [0.3, 0.1])  # trial 1 goes on in place
    answer = scheduler.cut(1, 3, 0.9)
    assert answer.decision is Decision.STOP
    promotion = scheduler.promote(drained=True)
    assert (promotion.number, promotion.stop) == (0, 4), "the tail rule sends another one"


def test_a_learned_ladder_ranks_who_was_cut_by_where_it_would_have_been_heading():
    reported, cut = ASHA(max_step=32, min_step=4), ASHA(max_step=32, min_step=4)
    for scheduler in (reported, cut):
        scheduler.begin(0)
        scheduler.report(0, 2, 0.9)
        scheduler.report(0, 3, 0.7)
    ranked = reported.report(0, 4, 0.6).evidence["forecast"]
    answer = cut.cut(0, 3, 0.6)
    assert answer.evidence["forecast"] == ranked != 0.6
    assert cut._ladders.standing(0).ranking == reported._ladders.standing(0).ranking


# ---------------------------------------------------------------------- lean


def test_only_a_promoting_ladder_with_a_fixed_eta_lets_forecasts_move_ranks():
    assert ASHA(max_step=9, eta=3).leans
    assert not ASHA(max_step=9, eta=3, mode="stop").leans
    assert not ASHA(max_step=9).leans
    assert not Fifo(9).leans


def test_a_shift_moves_a_trial_on_its_rung_once():
    scheduler = ASHA(max_step=9, eta=3)
    run(scheduler, [0.1, 0.3])
    scheduler.begin(2)
    scheduler.lean(2, -0.5)
    answer = scheduler.report(2, 1, 0.4)
    assert answer.decision is Decision.CONTINUE  # 0.4 - 0.5 is the best of three
    assert answer.evidence["shift"] == -0.5
    assert "shift" not in scheduler.report(2, 3, 0.2).evidence
