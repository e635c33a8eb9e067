"""Ladders by integer multiplication; rankings that say at once who may go on."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers.rungs import Rung, milestones


def test_no_rung_is_lost_to_rounding():
    assert int(math.log(243) / math.log(3)) == 4  # what others count with
    assert milestones(1, 243, 3) == (1, 3, 9, 27, 81, 243)


@given(st.integers(1, 9), st.integers(0, 12), st.integers(2, 6))
def test_a_power_of_eta_has_one_rung_more_than_its_exponent(min_step, exponent, eta):
    steps = milestones(min_step, min_step * eta**exponent, eta)
    assert len(steps) == exponent + 1
    assert all(after == eta * before for before, after in itertools.pairwise(steps))


@given(st.integers(1, 1000), st.integers(0, 100_000), st.integers(2, 9))
def test_a_ladder_climbs_from_the_grace_period_to_the_end(min_step, more, eta):
    steps = milestones(min_step, min_step + more, eta)
    assert steps[0] == min_step
    assert steps[-1] == min_step + more
    assert list(steps) == sorted(set(steps))
    assert all(after <= eta * before for before, after in itertools.pairwise(steps))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0, 9, 3), "min_step=0"),
        ((1, 0, 3), "max_step=0"),
        ((1, 9, 1), "eta=1"),
        ((1, 9, 2.5), "eta=2.5"),
        ((True, 9, 3), "min_step=True"),
        ((10, 9, 3), "min_step=10.*max_step=9"),
    ],
)
def test_what_makes_no_ladder_is_named(arguments, word):
    with pytest.raises(SchedulerError, match=word):
        milestones(*arguments)


values = st.floats(allow_nan=False, width=16)


@given(st.lists(values, min_size=1, max_size=40), st.integers(2, 5), st.data())
def test_the_promotable_one_is_the_best_that_waits_among_the_best_nth(entries, eta, data):
    rung = Rung(milestone=1)
    recorded = {}
    for number, value in enumerate(entries):
        rank = rung.record(number, value)
        recorded[number] = value
        order = sorted(recorded, key=lambda n: (recorded[n], n))
        assert order.index(number) + 1 == rank
        if data.draw(st.booleans()):
            rung.withdrawn.add(data.draw(st.sampled_from(order)))
        best = order[: len(order) // eta]
        free = [n for n in order if n not in rung.promoted and n not in rung.withdrawn]
        expected = [n for n in free[:1] if n in best and math.isfinite(recorded[n])]
        found = rung.promotable(eta)
        if expected and recorded[expected[0]] > -math.inf:
            assert found == (expected[0], order.index(expected[0]) + 1)
        elif not expected:
            assert found is None
        if found and data.draw(st.booleans()):
            rung.promoted.add(found[0])
    assert rung.best == min(recorded.values())


def test_an_empty_rung_has_nobody():
    rung = Rung(milestone=1)
    assert rung.promotable(3) is None
    assert rung.best_waiting() is None
    assert rung.best == math.inf
