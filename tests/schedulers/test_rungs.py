"""Milestones and rungs."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers.rungs import Rung, milestones


def test_no_rung_is_lost_where_logarithms_lose_one() -> None:
    assert int(math.log(243) / math.log(3)) == 4
    assert milestones(1, 243, 3) == (1, 3, 9, 27, 81, 243)


@given(st.integers(1, 50), st.integers(0, 2000), st.integers(2, 6))
def test_milestones_rise_from_the_first_to_the_last_step_by_the_reduction_factor(low, more, eta):
    steps = milestones(low, low + more, eta)
    assert steps[0] == low
    assert steps[-1] == low + more
    assert all(later == eta * earlier for earlier, later in itertools.pairwise(steps[:-1]))
    assert len(steps) == 1 or steps[-2] < steps[-1] <= eta * steps[-2]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0, 9, 3), "min_step=0"),
        ((1, 9, 1), "eta=1"),
        ((5, 4, 2), "min_step=5"),
        ((1, 9.0, 3), "max_step=9.0"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused_by_name(arguments, named) -> None:
    with pytest.raises(SchedulerError, match=named):
        milestones(*arguments)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.integers(2, 5))
def test_the_promotable_trial_is_the_best_that_waits_and_among_the_best(values, eta) -> None:
    rung = Rung(1)
    for number, value in enumerate(values):
        rung.record(number, value)
    order = sorted(range(len(values)), key=lambda number: (values[number], number))
    for place in range(len(values) // eta):
        assert rung.promotable(eta) == (order[place], place + 1)
        rung.promoted.add(order[place])
    assert rung.promotable(eta) is None


def test_a_failed_trial_is_counted_but_never_promoted() -> None:
    rung = Rung(1)
    for number in range(4):
        rung.record(number, math.inf)
    assert rung.promotable(2) is None
    rung.record(4, 1.0)
    assert rung.promotable(2) == (4, 1)


def test_equal_values_rank_by_number() -> None:
    rung = Rung(1)
    assert rung.record(7, 0.5) == 1
    assert rung.record(3, 0.5) == 1
    assert rung.record(9, 0.5) == 3
