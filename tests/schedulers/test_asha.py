"""Successive halving: the paper's promotions, the others' stopping, brackets, the tail."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers import Random
from daskhpo.schedulers import ASHA
from daskhpo.space import Float, Space
from daskhpo.testing import SchedulerSuite
from daskhpo.trial import Decision


class TestPromotion(SchedulerSuite):
    def make(self):
        return ASHA(max_step=27, eta=3)


class TestStopping(SchedulerSuite):
    def make(self):
        return ASHA(max_step=27, eta=3, mode="stop")


class TestBrackets(SchedulerSuite):
    def make(self):
        return ASHA(max_step=20, min_step=2, eta=2, brackets=3, seed=4)


class TestOneRung(SchedulerSuite):
    def make(self):
        return ASHA(max_step=5, min_step=5)


def record(scheduler, values, step=1):
    """Begin one trial per value and report it at its first milestone."""
    answers = []
    for number, value in enumerate(values):
        scheduler.begin(number)
        answers.append(scheduler.report(number, step, value))
    return answers


def test_below_its_milestone_a_trial_trains_on_and_is_not_compared():
    scheduler = ASHA(max_step=9, min_step=3, eta=3)
    scheduler.begin(0)
    for step in (1, 2):
        answer = scheduler.report(0, step, 0.5)
        assert (answer.decision, answer.stop, answer.evidence) == (Decision.CONTINUE, 3, {})
    assert scheduler.table()[0].recorded == 0


def test_nobody_is_promoted_before_there_are_eta_trials():
    scheduler = ASHA(max_step=9, eta=3)
    assert {answer.decision for answer in record(scheduler, [0.3, 0.2])} == {Decision.PAUSE}
    assert scheduler.promote(drained=False) is None


def test_the_one_that_reports_goes_on_in_place_if_it_is_the_one_to_promote():
    scheduler = ASHA(max_step=9, eta=3)
    answer = record(scheduler, [0.3, 0.2, 0.1])[-1]
    assert (answer.decision, answer.stop) == (Decision.CONTINUE, 3)
    assert answer.evidence == {"rung": 0, "milestone": 1, "rank": 1, "of": 3, "within": 1}
    assert scheduler.promote(drained=False) is None
    assert [row.promoted for row in scheduler.table()] == [1, 0, 0]


def test_the_one_that_reports_pauses_if_another_is_to_be_promoted():
    scheduler = ASHA(max_step=9, eta=3)
    assert record(scheduler, [0.1, 0.2, 0.3])[-1].decision is Decision.PAUSE
    promotion = scheduler.promote(drained=False)
    assert (promotion.number, promotion.rung, promotion.stop) == (0, 1, 3)
    assert scheduler.promote(drained=False) is None


def test_the_highest_rung_goes_first():
    scheduler = ASHA(max_step=8, eta=2)
    record(scheduler, [0.1, 0.2, 0.3, 0.4])
    for _ in range(2):
        scheduler.promote(drained=False)
    assert [row.promoted for row in scheduler.table()] == [2, 0, 0, 0]
    scheduler.report(0, 2, 0.5)
    assert scheduler.report(1, 2, 0.6).decision is Decision.PAUSE
    for number in (4, 5):
        scheduler.begin(number)
        scheduler.report(number, 1, 0.01 * number)
    assert scheduler.promote(drained=False).number == 0  # of rung 1, though 4 is better in rung 0
    assert scheduler.promote(drained=False).number == 4


def test_equal_values_rank_by_number():
    scheduler = ASHA(max_step=9, eta=3)
    record(scheduler, [0.5, 0.5, 0.5])
    assert scheduler.promote(drained=False).number == 0


def test_a_failed_trial_counts_as_one_of_its_rung_and_is_never_promoted():
    scheduler = ASHA(max_step=9, eta=3)
    record(scheduler, [0.1, 0.2])
    scheduler.begin(2)
    scheduler.fail(2)
    assert scheduler.table()[0].recorded == 3
    assert scheduler.promote(drained=False).number == 0
    scheduler.fail(1)
    assert scheduler.promote(drained=True) is None


def test_the_tail_sends_the_best_of_the_highest_rung_until_one_is_complete():
    scheduler = ASHA(max_step=9, eta=4)
    record(scheduler, [0.3, 0.1, 0.2])
    promotion = scheduler.promote(drained=True)
    assert (promotion.number, promotion.stop) == (1, 4)
    assert promotion.evidence["tail"]
    assert scheduler.promote(drained=False) is None  # one is on the way, and one is enough
    answer = scheduler.report(1, 4, 0.5)
    assert (answer.decision, answer.stop) == (Decision.CONTINUE, 9)  # without a pause in between
    assert scheduler.report(1, 9, 0.1).decision is Decision.STOP
    assert scheduler.promote(drained=True) is None


def test_the_tail_of_a_learned_ladder_sends_others_at_the_same_time():
    scheduler = ASHA(max_step=8)
    record(scheduler, [0.3, 0.1])  # 45 % of two are nobody
    assert scheduler.promote(drained=False) is None
    assert scheduler.promote(drained=True).number == 1
    assert scheduler.promote(drained=False).number == 0
    assert scheduler.promote(drained=False) is None


def test_the_tail_does_not_wait_for_one_that_passed_a_milestone_by_and_failed_to_go_on():
    scheduler = ASHA(max_step=27, min_step=1, eta=3)
    record(scheduler, [0.1, 0.2, 0.3])
    scheduler.promote(drained=False)
    assert scheduler.report(0, 10, 0.1).decision is Decision.PAUSE  # milestone 3 it never saw
    assert scheduler.promote(drained=True).number == 0


def test_the_tail_goes_to_the_next_when_the_best_fails():
    scheduler = ASHA(max_step=4, eta=4)
    record(scheduler, [0.3, 0.1])
    assert scheduler.promote(drained=True).number == 1
    scheduler.fail(1)
    assert scheduler.promote(drained=True).number == 0


def test_a_trial_that_reports_rarely_is_compared_where_it_is():
    scheduler = ASHA(max_step=27, eta=3)
    answers = record(scheduler, [0.3, 0.2, 0.1], step=10)
    assert [row.recorded for row in scheduler.table()] == [0, 0, 3, 0]
    assert (answers[-1].decision, answers[-1].stop) == (Decision.CONTINUE, 27)
    assert scheduler.report(2, 27, 0.1).decision is Decision.STOP
    assert scheduler.table()[-1].recorded == 1


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_stopping_cuts_at_the_quantile_of_those_before(eta):
    rng = np.random.default_rng(3)
    scheduler = ASHA(max_step=eta**2, eta=eta, mode="stop")
    seen = []
    for number in range(60):
        value = float(rng.normal())
        seen.append(value)
        scheduler.begin(number)
        answer = scheduler.report(number, 1, value)
        threshold = np.quantile(seen, 1 / eta)
        assert answer.evidence["threshold"] == pytest.approx(threshold)
        assert (answer.decision is Decision.CONTINUE) == (value <= threshold)
    assert scheduler.promote(drained=True) is None


def test_stopping_does_not_count_the_failed():
    scheduler = ASHA(max_step=9, eta=3, mode="stop")
    for number in range(5):
        scheduler.begin(number)
        scheduler.fail(number)
    scheduler.begin(5)
    assert scheduler.report(5, 1, 0.5).decision is Decision.CONTINUE


def test_brackets_are_drawn_with_hyperbands_shares_by_seed_and_number_alone():
    scheduler = ASHA(max_step=27, eta=3, brackets=4, seed=1)
    stops = [scheduler.begin(number).stop for number in range(4000)]
    shares = np.array([27, 27 * 4 / 3 / 3, 27 * 2 / 9, 27 * 4 / 27]) / 27
    expected = shares / shares.sum()
    counts = Counter(stops)
    for step, share in zip((1, 3, 9, 27), expected, strict=True):
        assert counts[step] / 4000 == pytest.approx(share, abs=0.03)
    again = ASHA(max_step=27, eta=3, brackets=4, seed=1)
    assert [again.begin(number).stop for number in reversed(range(4000))] == stops[::-1]


def test_a_rung_has_the_same_index_in_every_bracket():
    scheduler = ASHA(max_step=9, eta=3, brackets=3)
    assert {(row.bracket, row.rung, row.milestone) for row in scheduler.table()} == {
        *((0, 0, 1), (0, 1, 3), (0, 2, 9)),
        *((1, 1, 3), (1, 2, 9)),
        (2, 2, 9),
    }


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"mode": "halve"}, "mode='halve'.*promote"),
        ({"brackets": 0}, "brackets=0.*between 1 and 3"),
        ({"brackets": 4}, "brackets=4"),
        ({"brackets": 1.5}, "brackets=1.5"),
        ({"seed": -1}, "seed=-1"),
        ({"eta": 1}, "eta=1"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, word):
    with pytest.raises(SchedulerError, match=word):
        ASHA(9, **{"eta": 3} | settings)


def test_brackets_have_nothing_to_do_with_what_is_tried_in_them():
    space = Space(x=Float(0.0, 1.0))
    scheduler, sampler = ASHA(max_step=27, min_step=1, eta=3, brackets=4), Random(space)
    brackets = [scheduler.begin(number).rung for number in range(400)]
    values = [sampler.suggest(number)["x"] for number in range(400)]
    assert abs(np.corrcoef(brackets, values)[0, 1]) < 0.2
