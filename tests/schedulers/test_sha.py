"""Synchronous successive halving, one bracket after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers import SHA, make_scheduler
from daskhpo.schedulers.rungs import milestones
from daskhpo.testing import SchedulerSuite
from daskhpo.trial import Decision


class TestFullRungs(SchedulerSuite):
    def make(self):
        return SHA(max_step=9, trials=9, eta=3)


class TestOddRungs(SchedulerSuite):
    def make(self):
        return SHA(max_step=20, trials=7, min_step=2)


class TestOneTrial(SchedulerSuite):
    def make(self):
        return SHA(max_step=4, trials=1)


@given(st.integers(1, 200), st.integers(2, 5), st.integers(1, 3), st.integers(0, 100))
def test_a_bracket_halves_until_one_is_left(trials, eta, min_step, more):
    scheduler = SHA(min_step + more, trials=trials, min_step=min_step, eta=eta)
    members = [scheduler.begin(number).number for number in range(trials)]
    for step in milestones(min_step, min_step + more, eta)[:-1]:
        answers = {number: scheduler.report(number, step, float(number)) for number in members}
        going = {n for n, answer in answers.items() if answer.decision is Decision.CONTINUE}
        while (promotion := scheduler.promote(drained=False)) is not None:
            going.add(promotion.number)
        assert going == set(members[: max(len(members) // eta, 1)])
        assert not scheduler.admits()
        members = sorted(going)
    for number in members:
        assert scheduler.report(number, scheduler.max_step, 0.0).decision is Decision.STOP
    assert scheduler.admits()


def test_who_arrives_last_continues_in_place_if_it_is_among_the_best():
    scheduler = SHA(max_step=4, trials=4)
    for number in range(4):
        scheduler.begin(number)
    decisions = [scheduler.report(number, 1, loss) for number, loss in enumerate([3, 1, 4, 2])]
    assert [answer.decision.value for answer in decisions] == ["pause"] * 3 + ["continue"]
    assert decisions[-1].stop == 2
    assert decisions[-1].evidence == {"rung": 0, "milestone": 1, "rank": 2, "of": 4, "within": 2}
    assert scheduler.promote(drained=False).number == 1
    assert scheduler.promote(drained=False) is None


def test_the_next_bracket_begins_when_the_one_before_is_over():
    scheduler = SHA(max_step=2, trials=2)
    for number in range(2):
        scheduler.begin(number)
        scheduler.report(number, 1, float(number))
    assert not scheduler.admits()
    scheduler.promote(drained=False)
    assert scheduler.report(0, 2, 0.0).decision is Decision.STOP
    assert scheduler.admits()
    assert scheduler.begin(2).stop == 1


def test_it_comes_back_from_a_campaign_file():
    scheduler = SHA(max_step=27, trials=9, min_step=3, eta=3)
    assert repr(make_scheduler(scheduler.settings())) == repr(scheduler)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"trials": 0}, "trials=0"),
        ({"trials": 2.5}, "trials=2.5"),
        ({"eta": 1}, "eta=1"),
        ({"min_step": 10}, "min_step=10.*max_step=9"),
        ({"max_step": "9"}, "max_step='9'"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, word):
    with pytest.raises(SchedulerError, match=word):
        SHA(**{"max_step": 9, "trials": 9} | settings)


def test_a_campaign_file_must_say_how_many():
    with pytest.raises(SchedulerError, match="'sha': trials is missing"):
        make_scheduler({"type": "sha", "max_step": 9})
