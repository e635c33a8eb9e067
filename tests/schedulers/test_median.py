"""Whoever is worse than the median of the others stops, and nobody else."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers import Median
from daskhpo.testing import SchedulerSuite
from daskhpo.trial import Decision


class TestMedian(SchedulerSuite):
    def make(self):
        return Median(max_step=12, min_step=2, min_trials=2)


@given(
    st.lists(st.lists(st.floats(-100, 100), min_size=5, max_size=5), min_size=2, max_size=12),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_a_trial_stops_where_its_best_is_worse_than_the_median_of_running_averages(
    curves, min_step, min_trials
):
    scheduler = Median(max_step=5, min_step=min_step, min_trials=min_trials)
    reached = {step: [] for step in range(1, 6)}  # running averages of those who got there
    for number, curve in enumerate(curves):
        scheduler.begin(number)
        for step in range(1, 6):
            answer = scheduler.report(number, step, curve[step - 1])
            others = list(reached[step])
            reached[step].append(sum(curve[:step]) / step)
            judged = min_step <= step < 5 and len(others) >= min_trials
            worse = judged and min(curve[:step]) > statistics.median(others)
            assert (answer.decision is Decision.STOP) == (worse or step == 5)
            if worse:
                assert answer.evidence["median"] == pytest.approx(statistics.median(others))
            if answer.decision is Decision.STOP:
                break


def test_worse_than_the_median_means_worse():
    scheduler = Median(10, min_trials=3)
    for number, curve in enumerate([(4, 2), (5, 3), (6, 4)]):
        for step, loss in enumerate(curve, start=1):
            scheduler.report(number, step, loss)
    # Averages at step 2: 3, 4, 5. A best value of 4 is not worse than their median, 4.6 is.
    assert scheduler.report(3, 2, 4.0).decision is Decision.CONTINUE
    answer = scheduler.report(4, 2, 4.6)
    assert (answer.decision, answer.evidence["of"]) == (Decision.STOP, 4)


def test_a_failed_trial_leaves_its_averages():
    scheduler = Median(max_step=9, min_trials=1)
    scheduler.report(0, 1, 0.1)
    scheduler.fail(0)
    assert scheduler.report(1, 1, 0.9).decision is Decision.STOP


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"max_step": 0}, "max_step=0"),
        ({"max_step": 9, "min_step": 10}, "min_step=10.*max_step=9"),
        ({"max_step": 9, "min_trials": 0}, "min_trials=0"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, word):
    with pytest.raises(SchedulerError, match=word):
        Median(**settings)
