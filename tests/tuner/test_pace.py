"""How long jobs will take is learned from the trials' own steps."""

from __future__ import annotations

from daskhpo.trial import Job
from daskhpo.tuner.pace import Pace


def job(number, start, stop):
    return Job(number, 0, 0, start, stop, {})


def trained(pace, number, times, *, wait=0.0, start=0.0):
    """A stay whose steps take ``times`` seconds."""
    pace.began(number, start)
    now = start + wait
    for step, seconds in enumerate(times, 1):
        now += seconds
        pace.reported(number, step, now)
    return now


def test_nothing_is_known_at_first():
    assert Pace().seconds(job(0, 0, 27)) == 0.0


def test_the_slowest_recent_step_counts():
    pace = Pace()
    trained(pace, 0, [1.0, 1.0, 5.0, 1.0])
    assert pace.step(0) == 5.0
    trained(pace, 0, [1.0] * 7)
    assert pace.step(0) == 1.0


def test_waiting_for_the_first_step_is_counted_once():
    pace = Pace()
    trained(pace, 0, [2.0, 2.0], wait=30.0)
    assert pace.seconds(job(0, 2, 6)) == 30.0 + 4 * 2.0


def test_a_new_trial_is_taken_for_the_median_of_the_others():
    pace = Pace()
    for number, seconds in enumerate([1.0, 3.0, 50.0]):
        trained(pace, number, [seconds] * 3)
    assert pace.step(99) == 3.0


def test_the_time_between_two_stays_is_no_step():
    pace = Pace()
    end = trained(pace, 0, [2.0, 2.0])
    pace.began(0, end + 500.0)
    pace.reported(0, 3, end + 502.0)
    pace.reported(0, 4, end + 504.0)
    assert pace.step(0) == 2.0


def test_steps_that_were_left_out_share_the_time():
    pace = Pace()
    pace.began(0, 0.0)
    pace.reported(0, 2, 10.0)
    pace.reported(0, 7, 20.0)
    assert pace.step(0) == 2.0


def test_trials_that_are_over_do_not_pile_up():
    pace = Pace()
    for number in range(1000):
        trained(pace, number, [1.0, 1.0])
        pace.forget(number)
    assert len(pace._times) <= 65
