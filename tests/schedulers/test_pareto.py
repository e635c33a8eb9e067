"""Rungs that trade several metrics off: fronts, an order within each, promotions of the moment."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.goal import dominates
from daskhpo.samplers import Random
from daskhpo.schedulers import ASHA, SHA, Hyperband, OneCut
from daskhpo.schedulers.pareto import ParetoRung, enter
from daskhpo.schedulers.rungs import Rung
from daskhpo.study import Study
from daskhpo.testing import SPACES, SchedulerSuite
from daskhpo.trial import Decision

# Few different values, so that there are ties; some trials fail.
coordinate = st.integers(0, 6).map(float) | st.floats(-1e300, 1e300)
vectors = st.integers(2, 3).flatmap(
    lambda metrics: st.lists(
        st.just(math.inf) | st.tuples(*[coordinate] * metrics), min_size=1, max_size=30
    )
)


def fronts_of(values):
    """{number: front}, peeled off one after another as the textbook does it."""
    left = {n: value for n, value in values.items() if value != math.inf}
    found, front = {}, 0
    while left:
        best = [n for n in left if not any(dominates(v, left[n]) for v in left.values())]
        found |= dict.fromkeys(best, front)
        left = {n: value for n, value in left.items() if n not in best}
        front += 1
    return found


def recorded(values):
    rung = ParetoRung(milestone=1)
    for number, value in enumerate(values):
        rung.record(number, value)
    return rung


def order(rung):
    return [number for _, number in rung.ranking]


@given(vectors)
def test_the_fronts_are_those_of_the_textbook_and_the_failed_come_last(values):
    rung, seen = ParetoRung(milestone=1), {}
    for number, value in enumerate(values):
        seen[number] = value
        rank = rung.record(number, value)
        ranked = order(rung)
        assert sorted(ranked) == sorted(seen) == sorted(rung.recorded)
        assert ranked.index(number) + 1 == rank
        expected = fronts_of(seen)
        places = [expected.get(n, math.inf) for n in ranked]
        assert places == sorted(places)
    finite = [value[0] for value in values if value != math.inf]
    assert rung.best == min(finite, default=math.inf)


@given(vectors, st.randoms())
def test_the_order_of_arrival_does_not_change_the_fronts(values, random):
    shuffled = list(enumerate(values))
    random.shuffle(shuffled)
    rung = ParetoRung(milestone=1)
    for number, value in shuffled:
        rung.record(number, value)
    assert order(rung) == order(recorded(values))


@given(vectors, st.integers(2, 4), st.data())
def test_each_promotion_is_of_the_best_that_waits_among_the_best_nth(values, eta, data):
    rung, seen = ParetoRung(milestone=1), {}
    for number, value in enumerate(values):
        seen[number] = value
        rung.record(number, value)
        if data.draw(st.booleans()):
            rung.withdrawn.add(data.draw(st.sampled_from(sorted(seen))))
        ranked = order(rung)
        free = [n for n in ranked if n not in rung.promoted and n not in rung.withdrawn]
        best = rung.best_waiting()
        assert (best[1] if best else None) == (free[0] if free else None)
        found = rung.promotable(eta)
        within = ranked[: len(ranked) // eta]
        if free and free[0] in within and seen[free[0]] != math.inf:
            assert found == (free[0], ranked.index(free[0]) + 1)
            if data.draw(st.booleans()):
                rung.promoted.add(found[0])
        else:
            assert found is None


@given(vectors)
def test_whoever_is_first_is_dominated_by_nobody(values):
    found = recorded(values).promotable(1)
    if found:
        number, rank = found
        assert rank == 1
        assert not any(dominates(v, values[number]) for v in values if v != math.inf)


@given(vectors)
def test_the_same_trials_have_the_same_order_each_time(values):
    def played():
        rung, promoted = ParetoRung(milestone=1), []
        for number, value in enumerate(values):
            rung.record(number, value)
            if found := rung.promotable(2):
                rung.promoted.add(found[0])
                promoted.append(found)
        return promoted, rung.ranking

    assert played() == played()


@given(vectors, st.data())
def test_the_order_follows_from_who_is_there_and_who_was_promoted(values, data):
    rung, again = ParetoRung(milestone=1), ParetoRung(milestone=1)
    for number, value in enumerate(values):
        rung.record(number, value)
        found = rung.promotable(2)
        if found and data.draw(st.booleans()):
            rung.promoted.add(found[0])
    again.promoted |= rung.promoted
    for number, value in enumerate(values):
        again.record(number, value)
    assert rung.ranking == again.ranking


def test_more_trials_than_are_lined_up_have_an_order_too():
    rng = np.random.default_rng(3)
    rung = ParetoRung(milestone=1)
    for number, x in enumerate(rng.random(100).tolist()):
        rank = rung.record(number, (x, 1 - x))
        assert order(rung)[rank - 1] == number
        if found := rung.promotable(3):
            assert order(rung)[found[1] - 1] == found[0]
            rung.promoted.add(found[0])
    assert sorted(order(rung)) == list(range(100))
    assert set(order(rung)[: len(rung.promoted)]) == rung.promoted
    assert len(rung.promoted) == 100 // 3


@given(st.lists(st.integers(0, 9).map(float) | st.just(math.inf), min_size=1, max_size=20))
def test_with_one_metric_it_ranks_as_a_plain_rung_does_except_among_equals(values):
    plain, rung = Rung(milestone=1), ParetoRung(milestone=1)
    for number, value in enumerate(values):
        plain.record(number, value)
        rung.record(number, value if value == math.inf else (value,))
    assert [values[n] for n in order(rung)] == [value for value, _ in plain.ranking]


def test_promotions_spread_over_the_trade_off_and_stay_one_in_eta():
    rng = np.random.default_rng(0)
    loss = rng.random(120)
    rung = ParetoRung(milestone=1)
    for number, value in enumerate(loss.tolist()):
        rung.record(number, (value, 1 - value))  # all on one front
        while found := rung.promotable(4):
            rung.promoted.add(found[0])
    assert len(rung.promoted) == 120 // 4
    gaps = np.diff(sorted([0.0, *loss[sorted(rung.promoted)], 1.0]))
    assert gaps.max() < 4 / 30


def test_units_do_not_matter():
    rng = np.random.default_rng(1)
    values = rng.random((40, 2))
    values[:, 1] = 1 - values[:, 0] + 0.1 * values[:, 1]
    scaled = values * [1.0, 2.0**20]
    assert order(recorded(map(tuple, values.tolist()))) == order(
        recorded(map(tuple, scaled.tolist()))
    )


def test_twins_come_last_on_their_front():
    rung = recorded([(0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.4, 0.4)])
    assert order(rung) == [0, 2, 3, 1]


def test_values_at_the_end_of_the_floats_are_ordered_without_a_warning():
    low, high = -1.7e308, 1.7e308
    rung = recorded([(low, high), (high, low), (0.0, 0.0), (5e-324, 0.0)])
    assert order(rung) == [0, 1, 2, 3]


def test_an_empty_rung_has_nobody():
    rung = ParetoRung(milestone=1)
    assert rung.promotable(3) is rung.best_waiting() is None
    assert rung.best == math.inf
    assert rung.ranking == []


def test_a_rung_becomes_one_of_fronts_with_its_first_tuple_and_keeps_those_who_failed():
    rungs = [Rung(1), Rung(3)]
    enter(rungs, 0, 7, math.inf)
    rungs[0].withdrawn.add(7)
    assert type(rungs[0]) is Rung
    assert enter(rungs, 0, 8, (0.5, 1.0)) == 1
    assert order(rungs[0]) == [8, 7]
    assert rungs[0].withdrawn == {7}
    assert type(rungs[1]) is Rung


# ---------------------------------------------------------------------- in schedulers


class _TwoMetrics(Study):
    """Adds a second metric to what a rehearsal reports."""

    def report(self, number, attempt, step, metrics):
        size = {"size": float(-number * 7 % 13)} if "loss" in metrics else {}
        return super().report(number, attempt, step, metrics | size)


class _Suite(SchedulerSuite):
    def study(self, emit=None):
        space = SPACES["mixed"]
        return _TwoMetrics(
            space,
            self.make(),
            Random(space, seed=0),
            metric="loss",
            also={"size": "max"},
            emit=emit,
        )


class TestASHA(_Suite):
    def make(self):
        return ASHA(max_step=27, eta=3)


class TestLearnedLadder(_Suite):
    def make(self):
        return ASHA(max_step=16)


class TestBrackets(_Suite):
    def make(self):
        return ASHA(max_step=20, min_step=2, eta=2, brackets=3, seed=4)


class TestStopping(_Suite):
    def make(self):
        return ASHA(max_step=27, eta=3, mode="stop")


class TestSHA(_Suite):
    def make(self):
        return SHA(max_step=9, trials=9, eta=3)


class TestHyperband(_Suite):
    def make(self):
        return Hyperband(max_step=9, eta=3)


class TestOneCut(_Suite):
    def make(self):
        return OneCut(max_step=9, cut=2, keep=0.3)


def begin_and_report(scheduler, values):
    answers = []
    for number, value in enumerate(values):
        scheduler.begin(number)
        answers.append(scheduler.report(number, 1, value))
    return answers


def test_asha_promotes_who_is_not_dominated():
    scheduler = ASHA(max_step=4, eta=2)
    begin_and_report(scheduler, [(0.5, 5.0), (0.4, 4.0), (0.3, 6.0), (0.9, 9.0)])
    promoted = []
    while promotion := scheduler.promote(drained=False):
        promoted.append(promotion.number)
    assert promoted == [2]  # trial 1 was promoted in place when it arrived
    assert scheduler.table()[0].promoted == 2
    assert scheduler.table()[0].best == 0.3


def test_the_stopping_form_goes_by_rank():
    scheduler = ASHA(max_step=4, eta=2, mode="stop")
    worse = [(float(n), float(n)) for n in range(5)]
    decisions = [answer.decision for answer in begin_and_report(scheduler, worse)]
    assert decisions == [Decision.CONTINUE, *[Decision.STOP] * 4]
    scheduler = ASHA(max_step=4, eta=2, mode="stop")
    better = [(-float(n), float(n)) for n in range(5)]  # nobody dominates anybody
    answers = begin_and_report(scheduler, better)
    for n, answer in enumerate(answers, 1):
        within = 1 + (n - 1) // 2
        assert answer.evidence["within"] == within
        assert (answer.decision is Decision.CONTINUE) == (answer.evidence["rank"] <= within)


def test_a_barrier_sends_on_the_first_front():
    scheduler = SHA(max_step=2, trials=4, eta=2)
    for number in range(4):
        scheduler.begin(number)
    values = [(0.5, 5.0), (0.4, 6.0), (0.6, 7.0), (0.7, 8.0)]
    answers = [scheduler.report(number, 1, value) for number, value in enumerate(values)]
    assert {answer.decision for answer in answers} == {Decision.PAUSE}
    assert [scheduler.promote(drained=False).number for _ in range(2)] == [1, 0]
    assert scheduler.promote(drained=False) is None
