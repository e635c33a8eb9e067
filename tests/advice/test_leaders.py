"""Who leads, and how careful that makes the adviser."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.advice.leaders import Leaders

MILESTONES = (4, 8, 16)
MOST, RIPE = 4, 8  # trials that lead; trials that a milestone has to have compared


def led_by(looks, arrivals):
    """Leaders after looks ``(trial, milestone, excess)`` and arrivals ``(trial, ..., value)``."""
    leaders = Leaders()
    for look in looks:
        leaders.look(*look)
    for arrival in arrivals:
        leaders.arrive(*arrival)
    return leaders


def ripe(milestone, first=100):
    """Arrivals of as many trials as it takes, one worse than the other."""
    return [(first + rank, milestone, 0.1 * rank) for rank in range(RIPE)]


def test_as_long_as_nobody_leads_a_margin_is_a_margin():
    assert led_by([(0, 8, 3.0)], []).caution(8) == 1.0
    assert led_by([], [(0, 8, 0.1)]).caution(8) == 1.0


@pytest.mark.parametrize(("excess", "caution"), [(0.0, 1.0), (0.4, 1.8), (2.0, 5.0)])
def test_caution_grows_with_how_near_a_leader_came_to_being_stopped(excess, caution):
    leaders = led_by([(0, 8, excess), (1, 8, 0.7 * excess)], [(1, 8, 0.2), (0, 8, 0.1)])
    assert leaders.caution(8) == pytest.approx(caution)


def test_one_that_would_have_been_stopped_for_sure_ends_all_stops_of_that_stretch():
    leaders = led_by([(0, 8, math.inf)], [(0, 8, 0.1)])
    assert (leaders.caution(8), leaders.caution(16)) == (math.inf, 1.0)


def test_the_nearest_of_all_looks_counts_whatever_comes_after():
    leaders = led_by([(0, 8, 0.5), (0, 8, 0.2), (0, 8, 0.0), (0, 16, 3.0)], [(0, 8, 0.1)])
    assert leaders.caution(8) == 2.0


def test_who_is_no_leader_does_not_count():
    arrivals = [(0, 8, 0.1), (1, 8, 0.2), *ripe(16), (1, 16, 0.9)]
    assert led_by([(1, 8, 3.0)], arrivals[:2]).caution(8) == 1.0
    assert led_by([(1, 8, 3.0)], arrivals).caution(8) == 1.0


def test_as_long_as_no_later_milestone_has_compared_enough_those_lead_that_were_the_best():
    looks = [(0, 8, 0.5), (1, 8, 0.4), (2, 8, 0.1)]
    arrivals = [(0, 8, 0.3), (1, 8, 0.5), (2, 8, 0.2)]
    assert led_by(looks, arrivals).caution(8) == 2.0, "trial 0 was the best when it came"
    assert led_by(looks, arrivals[1:]).caution(8) == 1.8
    assert led_by(looks, [*arrivals, *ripe(16)[1:]]).caution(8) == 2.0, "one too few"
    assert led_by(looks, [*arrivals, *ripe(16)]).caution(8) == 1.0
    assert led_by(looks, [*arrivals, *ripe(4)]).caution(8) == 2.0, "that is an earlier one"


def test_the_leaders_are_the_best_of_the_highest_milestone_that_has_compared_enough():
    arrivals = [*ripe(16, first=0), *ripe(32, first=100)]
    for trial in range(RIPE):
        leads = led_by([(trial, 8, 0.5)], arrivals[:RIPE]).caution(8) > 1.0
        assert leads == (trial < MOST)
        assert led_by([(trial, 8, 0.5)], arrivals).caution(8) == 1.0
        above = led_by([(100 + trial, 8, 0.5), (100 + trial, 16, 0.5)], arrivals)
        assert (above.caution(8) > 1.0) == (above.caution(16) > 1.0) == (trial < MOST)


def test_on_the_way_to_that_milestone_itself_those_lead_that_were_the_best():
    arrivals = ripe(16)[::-1]  # each the best as yet
    assert led_by([(arrivals[0][0], 16, 0.5)], arrivals).caution(16) == 2.0
    assert led_by([(arrivals[1][0], 16, 0.5)], arrivals[::-1]).caution(16) == 1.0


def test_of_equals_the_one_that_began_first_leads():
    assert led_by([(1, 8, 0.5)], [(0, 8, 0.1), (1, 8, 0.1)]).caution(8) == 1.0
    assert led_by([(0, 8, 0.5)], [(1, 8, 0.1), (0, 8, 0.1)]).caution(8) == 2.0


# ---------------------------------------------------------------------- whatever happens

trials = st.integers(0, 30)
excesses = st.floats(0.0, 50.0) | st.just(math.inf)
looked = st.lists(st.tuples(trials, st.sampled_from(MILESTONES), excesses), max_size=40)
values = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])
arrived = st.lists(
    st.tuples(trials, st.sampled_from(MILESTONES), values),
    max_size=60,
    unique_by=lambda arrival: arrival[:2],
)


def cautions(leaders):
    return [leaders.caution(milestone) for milestone in MILESTONES]


@settings(deadline=None)
@given(looked, arrived)
def test_caution_is_never_below_one(looks, arrivals):
    assert min(cautions(led_by(looks, arrivals))) >= 1.0


@settings(deadline=None)
@given(looked, arrived, trials, st.sampled_from(MILESTONES), excesses)
def test_caution_never_falls_when_somebody_comes_nearer(looks, arrivals, number, milestone, excess):
    leaders = led_by(looks, arrivals)
    before = cautions(leaders)
    leaders.look(number, milestone, excess)
    assert all(now >= then for now, then in zip(cautions(leaders), before, strict=True))
    assert sum(now > then for now, then in zip(cautions(leaders), before, strict=True)) <= 1


@settings(deadline=None)
@given(looked, arrived, st.randoms(use_true_random=False))
def test_the_order_of_looks_does_not_matter(looks, arrivals, random):
    shuffled = random.sample(looks, len(looks))
    assert cautions(led_by(shuffled, arrivals)) == cautions(led_by(looks, arrivals))


@settings(deadline=None)
@given(looked, arrived, st.randoms(use_true_random=False))
def test_once_a_later_milestone_has_compared_enough_the_order_of_arrival_does_not_matter(
    looks, arrivals, random
):
    arrivals = arrivals + ripe(32)
    shuffled = random.sample(arrivals, len(arrivals))
    assert cautions(led_by(looks, shuffled)) == cautions(led_by(looks, arrivals))


@settings(deadline=None)
@given(looked, arrived, st.sampled_from(MILESTONES))
def test_caution_is_that_of_those_that_lead_alone(looks, arrivals, milestone):
    """Worked out from all that is known."""
    at = {m: [(v, n) for n, reached, v in arrivals if reached == m] for m in MILESTONES}
    top = max((m for m in MILESTONES if len(at[m]) >= RIPE), default=0)
    if milestone < top:
        leaders = {number for _, number in sorted(at[top])[:MOST]}
    else:
        there = at[milestone]
        leaders = {here[1] for i, here in enumerate(there) if here == min(there[: i + 1])}
    nearest = [excess for number, m, excess in looks if m == milestone and number in leaders]
    assert led_by(looks, arrivals).caution(milestone) == 1.0 + 2.0 * max(nearest, default=0.0)
