"""Synchronous rounds: whatever the order of arrival, the best of the whole rung go on."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from daskhpo.schedulers.rounds import Rounds
from daskhpo.trial import Decision

PLAN = (2, ((1, 9), (3, 3), (9, 1)))
STEPS = [1, 3, 9]


def expected_rounds(values, failures, sizes, eta):
    """Who is a member of each rung, worked out on paper.

    ``values[number][rung]`` is what a trial reaches, ``failures[number]`` the rung towards which
    it fails.
    """
    members = list(range(len(values)))
    found = []
    for rung in range(len(sizes)):
        found.append(set(members))
        arrived = [n for n in members if failures.get(n) != rung]
        most = sizes[min(rung + 1, len(sizes) - 1)]
        keep = most if len(members) == sizes[rung] else max(len(members) // eta, 1)
        members = sorted(arrived, key=lambda n: (values[n][rung], n))[:keep]
    return found


def play(rounds, values, failures, draw):
    """Train along ``values`` in an order that ``draw`` decides, until nothing is left to do.

    Returns {rung: members that trained towards it}.
    """
    running, waiting = {}, list(range(len(values)))  # {number: rung that it trains towards}
    reached = {}

    def start(number, rung):
        running[number] = rung
        reached.setdefault(rung, set()).add(number)

    while True:
        promotion = rounds.promote(drained=False)
        if promotion is not None:
            start(promotion.number, promotion.rung)
        elif waiting and rounds.admits():
            number = waiting.pop(0)
            assert rounds.begin(number).number == number
            start(number, 0)
        elif running:
            number = draw(sorted(running))
            rung = running.pop(number)
            if failures.get(number) == rung:
                rounds.fail(number)
                continue
            answer = rounds.report(number, STEPS[rung], values[number][rung])
            if answer.decision is Decision.CONTINUE:
                start(number, answer.evidence["rung"] + 1)
        else:
            promotion = rounds.promote(drained=True)
            if promotion is None or promotion.evidence.get("tail"):
                return reached
            start(promotion.number, promotion.rung)
    return reached


losses = st.integers(0, 5).map(float)  # few values, so that there are ties


@given(st.data(), st.integers(1, 9))
def test_the_best_of_a_rung_go_on_in_any_order_of_arrival_and_with_any_failures(data, count):
    values = [data.draw(st.tuples(losses, losses, losses)) for _ in range(count)]
    failures = data.draw(st.dictionaries(st.integers(0, count - 1), st.integers(0, 2)))
    rounds = Rounds([PLAN], eta=3)
    reached = play(rounds, values, failures, lambda some: data.draw(st.sampled_from(some)))
    expected = expected_rounds(values, failures, [9, 3, 1], eta=3)
    assert [reached.get(rung, set()) for rung in range(3)] == expected


def test_nobody_goes_on_before_all_have_arrived_and_nobody_begins_meanwhile():
    rounds = Rounds([PLAN], eta=3)
    for number in range(9):
        assert rounds.admits()
        rounds.begin(number)
    for number in range(8):
        assert not rounds.admits()
        assert rounds.report(number, 1, float(number)).decision is Decision.PAUSE
        assert rounds.promote(drained=False) is None
    assert rounds.report(8, 1, 8.0).decision is Decision.PAUSE
    assert [rounds.promote(drained=False).number for _ in range(3)] == [0, 1, 2]
    assert rounds.promote(drained=False) is None


def test_a_failed_trial_that_had_arrived_makes_room_for_the_next():
    rounds = Rounds([PLAN], eta=3)
    for number in range(9):
        rounds.begin(number)
    for number in range(8):
        rounds.report(number, 1, float(number))
    rounds.fail(0)  # while it saved its checkpoint
    rounds.report(8, 1, 8.0)
    assert [rounds.promote(drained=False).number for _ in range(3)] == [1, 2, 3]


def test_a_promoted_trial_that_fails_before_it_left_counts_in_the_next_rung():
    rounds = Rounds([PLAN], eta=3)
    for number in range(9):
        rounds.begin(number)
        rounds.report(number, 1, float(number))
    rounds.fail(1)
    assert [rounds.promote(drained=False).number for _ in range(2)] == [0, 2]
    assert rounds.promote(drained=False) is None
    rounds.report(0, 3, 0.5)
    rounds.report(2, 3, 0.6)
    assert [(row.recorded, row.promoted) for row in rounds.rows()] == [(9, 3), (3, 1), (0, 0)]


def test_who_has_passed_the_next_milestone_already_is_compared_there_without_training():
    rounds = Rounds([PLAN], eta=3)
    for number in range(9):
        rounds.begin(number)
    assert rounds.report(0, 5, 0.0).decision is Decision.PAUSE
    assert rounds.report(1, 9, 0.1).decision is Decision.STOP
    for number in range(2, 9):
        answer = rounds.report(number, 1, 0.9 - number / 10)
    assert answer.decision is Decision.CONTINUE  # trial 8, the third of the best three
    assert [row.recorded for row in rounds.rows()] == [9, 2, 0]
    assert rounds.report(8, 3, 0.9).decision is Decision.PAUSE
    promotion = rounds.promote(drained=False)
    assert (promotion.number, promotion.stop) == (0, 9)


def test_a_bracket_without_enough_trials_makes_do_with_those_it_has():
    rounds = Rounds([PLAN], eta=3)
    for number in range(7):
        rounds.begin(number)
        rounds.report(number, 1, float(number))
    assert rounds.promote(drained=False) is None
    assert rounds.promote(drained=True).number == 0
    assert rounds.promote(drained=True).number == 1  # floor(7 / 3)
    assert rounds.promote(drained=False) is None
    assert not rounds.admits()


def test_a_bracket_whose_trials_all_failed_is_over():
    rounds = Rounds([PLAN], eta=3)
    for number in range(9):
        rounds.begin(number)
        rounds.fail(number)
    assert rounds.promote(drained=True) is None
    assert rounds.admits()
    assert rounds.begin(9).stop == 1


def test_the_tail_sends_the_best_of_the_highest_rung_to_the_end_until_one_is_complete():
    rounds = Rounds([PLAN], eta=3)
    for number in range(9):
        rounds.begin(number)
        rounds.report(number, 1, float(number))
    while (promotion := rounds.promote(drained=False)) is not None:
        rounds.report(promotion.number, 3, float(promotion.number))
    rounds.promote(drained=False)
    rounds.fail(0)  # on its way to the end, as the only one
    promotion = rounds.promote(drained=True)
    assert (promotion.number, promotion.stop, promotion.evidence["tail"]) == (1, 9, True)
    assert rounds.report(1, 5, 0.3).decision is Decision.CONTINUE
    assert rounds.report(1, 5, 0.3).stop == 9
    assert rounds.report(1, 9, 0.2).decision is Decision.STOP
    assert rounds.promote(drained=True) is None


def test_brackets_follow_one_another_over_and_over():
    plans = [(1, ((1, 2), (4, 1))), (0, ((4, 1),))]
    rounds = Rounds(plans, eta=2)
    stops = []
    for number in range(9):
        assert rounds.admits()
        stops.append(rounds.begin(number).stop)
        rounds.report(number, 4, 0.5)
    assert stops == [1, 1, 4] * 3


def test_with_overlap_the_next_bracket_begins_at_a_barrier_and_the_older_one_goes_first():
    rounds = Rounds([(1, ((1, 2), (4, 1)))], eta=2, overlap=True)
    for number in range(4):
        assert rounds.admits()
        rounds.begin(number)
    rounds.report(2, 1, 0.1)
    rounds.report(3, 1, 0.2)
    rounds.report(0, 1, 0.3)
    rounds.report(1, 1, 0.4)
    assert [rounds.promote(drained=False).number for _ in range(2)] == [0, 2]


def test_rows_add_up_over_brackets_of_the_same_s():
    rounds = Rounds([(1, ((1, 2), (4, 1))), (0, ((4, 1),))], eta=2)
    assert [(row.bracket, row.rung, row.best) for row in rounds.rows()] == [
        (0, 0, math.inf),
        (0, 1, math.inf),
        (1, 1, math.inf),
    ]
    for number in range(6):
        rounds.begin(number)
        rounds.report(number, 4, 1.0 / (number + 1))
    rows = rounds.rows()
    assert [(row.milestone, row.recorded, row.promoted) for row in rows] == [
        (1, 4, 2),
        (4, 2, 0),
        (4, 2, 0),
    ]
    assert [row.best for row in rows] == [1 / 5, 1 / 5, 1 / 6]
