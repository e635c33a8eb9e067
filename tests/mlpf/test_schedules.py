"""Learning-rate schedules: their shapes, and the stretch of a trial that they span."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.mlpf.schedules import SCHEDULES, Stretch, rate_factor


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(st.integers(1, 100), st.floats(0.0, 1.0))
def test_no_schedule_leaves_the_range_from_zero_to_the_highest_rate(
    schedule: str, length: int, part: float
) -> None:
    assert 0 <= rate_factor(schedule, part * length, length, decay_rate=0.9) <= 1


@pytest.mark.parametrize("schedule", ["cosine", "exponential"])
@given(st.floats(0.0, 9.0), st.floats(0.0, 9.0))
def test_what_falls_never_rises(schedule: str, one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert rate_factor(schedule, late, 9, decay_rate=0.5) <= rate_factor(
        schedule, early, 9, decay_rate=0.5
    )


def test_the_cosine_passes_its_quarters() -> None:
    factors = [rate_factor("cosine", x, 8) for x in (0, 2, 4, 6, 8)]
    assert factors == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0])


def test_the_one_cycle_warms_up_for_three_tenths_and_ends_near_zero() -> None:
    factors = [rate_factor("onecycle", x, 100) for x in (0, 15, 30, 65, 100)]
    middle = (1 / 25 + 1) / 2
    assert factors == pytest.approx([1 / 25, middle, 1, (1 + 1e-5) / 2, 1e-5])


def test_the_exponential_decays_by_its_rate_per_unit_whatever_the_length() -> None:
    for length in (1, 10):
        assert rate_factor("exponential", 2.5, length, decay_rate=0.9) == pytest.approx(0.9**2.5)


def test_the_constant_schedule_is_one() -> None:
    assert {rate_factor("constant", x, 3) for x in (0, 1.5, 3)} == {1.0}


def stretches(span: str, milestones: list[int], length: int) -> list[tuple[int, int]]:
    """Where a trial's stretch begins and ends in each step, judged at its milestones."""
    stretch = Stretch(span, length)
    found = []
    for step in range(1, length + 1):
        stretch.enter(step, milestone=next((m for m in milestones if m >= step), 10**9))
        found.append((stretch.begin, stretch.end))
    return found


def test_a_stretch_of_a_campaign_is_the_whole_trial() -> None:
    assert stretches("campaign", [1, 3], 9) == [(0, 9)] * 9


def test_a_stretch_of_a_rung_ends_where_the_trial_is_judged() -> None:
    expected = [(0, 1), (1, 3), (1, 3), *[(3, 9)] * 6]
    assert stretches("rung", [1, 3], 9) == expected


def test_without_milestones_both_spans_are_the_same() -> None:
    assert stretches("rung", [], 9) == stretches("campaign", [], 9)


def test_a_stretch_once_begun_is_kept_though_the_trial_is_judged_elsewhere_by_now() -> None:
    before = Stretch("rung", 9)
    before.enter(1, milestone=4)
    after = Stretch("rung", 9)
    after.load_state_dict(before.state_dict())
    for step in (2, 3, 4):
        after.enter(step, milestone=6)
        assert after.state_dict() == {"begin": 0, "end": 4}
    after.enter(5, milestone=6)
    assert after.state_dict() == {"begin": 4, "end": 6}


def test_a_step_beyond_its_milestone_is_a_stretch_of_its_own() -> None:
    stretch = Stretch("rung", 9)
    stretch.enter(5, milestone=3)
    assert stretch.state_dict() == {"begin": 4, "end": 5}


def test_a_checkpoint_of_a_later_stretch_is_left_when_an_earlier_step_is_trained() -> None:
    stretch = Stretch("rung", 9)
    stretch.load_state_dict({"begin": 5, "end": 9})
    stretch.enter(2, milestone=3)
    assert stretch.state_dict() == {"begin": 1, "end": 3}


def test_the_factor_counts_from_the_begin_of_the_stretch() -> None:
    stretch = Stretch("rung", 9)
    stretch.enter(4, milestone=9)
    assert stretch.factor("cosine", 3.0) == 1.0
    assert stretch.factor("cosine", 6.0) == pytest.approx(0.5)
    assert stretch.factor("exponential", 5.0, decay_rate=0.5) == 0.25
