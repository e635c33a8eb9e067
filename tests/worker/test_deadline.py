"""No step is begun that would not end in time, and no trial is sent round for ever."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from daskhpo.worker.deadline import (
    MARGIN_SHARE,
    RECENT,
    Deadline,
    began_from_environment,
    deadline_from_environment,
)

NOW = 1_800_000_000.0
seconds = st.floats(0.0, 1e6)
lives = st.tuples(st.floats(0.0, 1e5), st.floats(0.0, 1e6)).map(
    lambda life: (NOW - life[0], NOW + life[1])  # when it began, when it ends
)


@st.composite
def deadlines(draw):
    """What a stay knows after some steps, or before the first one, with or without a past."""
    deadline = Deadline(draw(st.floats(0.0, 600.0)), began=draw(lives)[0])
    deadline.save = draw(st.floats(1e-3, 1e3))
    deadline.recall(draw(st.just(()) | st.lists(seconds, min_size=1, max_size=5)))
    for taken in draw(st.lists(seconds, max_size=40)):
        deadline.took(taken)
    return deadline


# ---------------------------------------------------------------------- what fits


@given(deadlines(), st.floats(-1e5, 1e6))
def test_what_is_said_to_fit_ends_in_time(deadline, left):
    ends = NOW + left
    if deadline.fits(NOW, ends):
        assert NOW + deadline.need <= ends


@given(deadlines(), st.floats(-1e5, 1e6), st.floats(0.0, 1e6))
def test_a_later_end_leaves_room_for_no_less(deadline, left, more):
    assert deadline.left(NOW, NOW + left + more) >= deadline.left(NOW, NOW + left)
    assert deadline.fits(NOW, NOW + left + more) >= deadline.fits(NOW, NOW + left)


@given(deadlines(), st.floats(-1e5, 1e6), st.floats(0.0, 1e6))
def test_waiting_makes_no_room(deadline, left, waited):
    assert deadline.fits(NOW + waited, NOW + left) <= deadline.fits(NOW, NOW + left)


@given(deadlines())
def test_without_an_end_everything_fits(deadline):
    assert deadline.fits(NOW, math.inf)
    assert deadline.left(NOW, math.inf) == math.inf


@given(deadlines(), st.floats(-1e5, 1e6))
def test_with_nothing_left_nothing_fits_even_if_nothing_is_known(deadline, late):
    assume(late >= 0)
    assert not deadline.fits(NOW + late, NOW)


# ---------------------------------------------------------------------- how long a step takes


@given(st.lists(seconds, min_size=1, max_size=RECENT), seconds)
def test_a_step_may_take_as_long_as_the_longest_so_far_and_its_checkpoint_comes_after(steps, save):
    deadline = Deadline(60.0, began=NOW)
    deadline.save = save
    deadline.took(1e6)  # the first one, which warms up
    for taken in steps:
        deadline.took(taken)
    assert deadline.need >= max(steps) + save
    assert deadline.need <= 2 * (max(steps) + save)


def test_a_validation_in_every_tenth_step_is_expected_again():
    deadline = Deadline(0.0, began=NOW)
    for step in range(1, 30):
        deadline.took(600.0 if step % 10 == 0 else 60.0)
    assert deadline.need > 600


def test_a_slow_step_is_forgotten_in_the_end():
    deadline = Deadline(0.0, began=NOW)
    for taken in (1.0, 600.0, *[1.0] * RECENT):
        deadline.took(taken)
    assert deadline.need < 10


def test_the_warm_up_counts_until_another_step_is_known():
    deadline = Deadline(0.0, began=NOW)
    deadline.took(600.0)
    assert deadline.need > 600
    deadline.took(1.0)
    assert deadline.need < 10


@given(st.lists(seconds, min_size=1, max_size=50))
def test_a_later_stay_knows_what_the_earlier_one_learned(steps):
    first, second = Deadline(60.0, began=NOW), Deadline(60.0, began=NOW)
    for taken in steps:
        first.took(taken)
    second.recall(first.pace)
    assert second.need >= first.need
    assert second.need >= steps[0]  # for it has to warm up too
    second.took(steps[0])
    assert second.need == pytest.approx(first.need)
    assert second.pace == first.pace


def test_before_the_first_step_ever_only_a_checkpoint_needs_time():
    deadline = Deadline(0.0, began=NOW)
    assert deadline.pace == ()
    assert 0 < deadline.need < 5


# ---------------------------------------------------------------------- the margin


@given(st.floats(0.0, 1e4), lives)
def test_the_margin_is_what_was_asked_for_but_a_small_part_of_a_life(margin, life):
    began, ends = life
    taken = ends - NOW - Deadline(margin, began=began).left(NOW, ends)
    assert taken == pytest.approx(min(margin, MARGIN_SHARE * (ends - began)), abs=1e-3)


def test_a_batch_job_of_a_minute_trains():
    deadline = Deadline(60.0, began=NOW)
    deadline.took(5.0)
    trained = 1
    while deadline.fits(NOW + 5.0 * trained, NOW + 60.0):
        trained += 1
        deadline.took(5.0)
    assert trained >= 9


@given(lives, seconds)
def test_young_is_who_has_most_of_its_life_before_it(life, need):
    began, ends = life
    assume(ends - began > 1)
    deadline = Deadline(60.0, began=began)
    assert deadline.is_young(began, ends)
    assert not deadline.is_young(began + 0.5 * (ends - began), ends)


# ---------------------------------------------------------------------- the environment


def test_nobody_says_when_it_ends(monkeypatch):
    monkeypatch.delenv("DASKHPO_ENDS", raising=False)
    monkeypatch.delenv("DASKHPO_BEGAN", raising=False)
    assert deadline_from_environment() == math.inf
    assert began_from_environment(NOW) == NOW


def test_the_environment_says_when_it_ends_and_began(monkeypatch):
    monkeypatch.setenv("DASKHPO_ENDS", "1800003600")
    monkeypatch.setenv("DASKHPO_BEGAN", " 1799999000.5\n")
    assert deadline_from_environment() == 1_800_003_600.0
    assert began_from_environment(NOW) == 1_799_999_000.5


@pytest.mark.parametrize(
    "text", ["N/A", "2026-11-21T10:00:00", "3600", "0", "-1", "nan", "inf", "1e400", "1,8e9"]
)
def test_an_end_that_is_no_time_is_taken_as_unknown_and_named(monkeypatch, caplog, text):
    monkeypatch.setenv("DASKHPO_ENDS", text)
    assert deadline_from_environment() == math.inf
    assert f"DASKHPO_ENDS={text!r}: must be seconds since 1970" in caplog.text


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_end_is_none(monkeypatch, caplog, text):
    monkeypatch.setenv("DASKHPO_ENDS", text)
    assert deadline_from_environment() == math.inf
    assert caplog.text == ""


def test_a_batch_job_cannot_have_begun_in_the_future(monkeypatch):
    monkeypatch.setenv("DASKHPO_BEGAN", str(NOW + 60))
    assert began_from_environment(NOW) == NOW
