"""Hyperband's brackets, by integers alone."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers.brackets import brackets, check_brackets


def cost(max_step, eta):
    """(trials, steps) of one round of brackets in which trials resume."""
    trials = steps = 0
    for _, rungs in brackets(max_step, eta):
        trials += rungs[0][1]
        ends = [0, *(milestone for milestone, _ in rungs)]
        steps += sum(
            n * (end - begin)
            for (begin, end), (_, n) in zip(itertools.pairwise(ends), rungs, strict=True)
        )
    return trials, steps


@pytest.mark.parametrize(
    ("max_step", "eta", "trials", "steps"),
    [(100, 2, 163, 3213), (60, 2, 84, 1514), (20, 2, 43, 341), (12, 2, 22, 149)],
)
def test_they_cost_what_the_papers_count(max_step, eta, trials, steps):
    assert cost(max_step, eta) == (trials, steps)


def test_the_milestones_are_rounded_as_in_the_papers():
    found = dict(brackets(100, 2))
    assert [step for step, _ in found[6]] == [2, 3, 6, 12, 25, 50, 100]
    assert {s: rungs[0][1] for s, rungs in found.items()} == {
        6: 64,
        5: 38,
        4: 23,
        3: 14,
        2: 10,
        1: 7,
        0: 7,
    }


@pytest.mark.parametrize("eta", [2, 3, 4, 5])
def test_no_bracket_is_lost_to_floating_point(eta):
    for max_step in range(1, 1001):
        top = 0
        while eta ** (top + 1) <= max_step:
            top += 1
        found = list(brackets(max_step, eta))
        assert [s for s, _ in found] == list(range(top, -1, -1))
        assert all(len(rungs) == s + 1 for s, rungs in found)


@given(st.integers(1, 1000), st.integers(2, 5), st.data())
def test_they_are_those_of_the_formula(max_step, eta, data):
    min_step = data.draw(st.integers(1, max_step))
    found = list(brackets(max_step, eta, min_step=min_step))
    most = found[0][0]
    for s, rungs in found:
        trials = rungs[0][1]
        assert trials >= (most + 1) * eta**s / (s + 1) > trials - 1
        for i, (milestone, n) in enumerate(rungs):
            assert n == math.floor(trials / eta**i) >= 1
            assert abs(milestone - max_step / eta ** (s - i)) <= 0.5
            assert milestone >= min_step
        steps = [milestone for milestone, _ in rungs]
        assert steps == sorted(set(steps))
        assert steps[-1] == max_step
    # They are what a scheduler takes from anywhere else.
    assert list(check_brackets(iter(found), max_step)) == found


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"eta": 1}, "eta=1"),
        ({"eta": 2.5}, "eta=2.5"),
        ({"max_step": 0}, "max_step=0"),
        ({"max_step": 9.0}, "max_step=9.0"),
        ({"min_step": 0}, "min_step=0"),
        ({"min_step": 10}, "min_step=10.*max_step=9"),
    ],
)
def test_what_makes_no_ladder_is_named(settings, word):
    with pytest.raises(SchedulerError, match=word):
        list(brackets(**{"max_step": 9, "eta": 3} | settings))


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ([], "at least one"),
        ([9], "9 must be"),
        ([(1, ((3, 4), (9, 2), (1,)))], "must be"),
        ([(2, ((3, 4), (9, 2)))], "s=2 with 2 rungs"),
        ([(0, ())], "s=0 with 0 rungs"),
        ([(1, ((3, 4), (8, 2)))], r"\[3, 8\] must rise to max_step=9"),
        ([(1, ((9, 4), (9, 2)))], r"\[9, 9\] must rise"),
        ([(1, ((3, 2), (9, 4)))], r"\[2, 4\] must not grow"),
        ([(1, ((3, 0), (9, 0)))], "trials=0"),
        ([(1, ((3, 2.5), (9, 1)))], "trials=2.5"),
        ([(1, ((0, 2), (9, 1)))], "milestone=0"),
        ([(1, ((3, 4), (9, 2))), (1, ((4, 4), (9, 2)))], "s=1 comes with"),
    ],
)
def test_what_is_no_bracket_is_named(given, word):
    with pytest.raises(SchedulerError, match=word):
        check_brackets(given, max_step=9)
