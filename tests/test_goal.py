"""What a campaign is after: values to minimise, and the trials that nobody beats."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import CampaignError
from daskhpo.goal import Goal, dominates
from daskhpo.trial import Trial, TrialState

values = st.integers(0, 5).map(float)


def trials_of(*metrics):
    return [Trial(number, {}, metrics=given) for number, given in enumerate(metrics)]


def numbers(trials):
    return [trial.number for trial in trials]


@given(st.lists(st.tuples(values, values, values), max_size=25))
def test_the_front_is_who_is_dominated_by_nobody(entries):
    goal = Goal("loss", "min", {"time": "min", "score": "max"})
    trials = trials_of(*({"loss": a, "time": b, "score": -c} for a, b, c in entries))
    assert numbers(goal.front(trials)) == [
        number
        for number, entry in enumerate(entries)
        if not any(dominates(other, entry) for other in entries)
    ]


def test_with_one_metric_the_front_is_the_smallest_value():
    trials = trials_of({"loss": 0.2}, {"loss": 0.1}, {"loss": 0.1}, {})
    assert numbers(Goal("loss").front(trials)) == [1, 2]
    assert numbers(Goal("loss", "max").front(trials)) == [0]


def test_who_has_failed_or_not_reported_everything_is_not_on_the_front():
    trials = trials_of(
        {"loss": 0.1, "time": 1.0}, {"loss": 0.2, "time": 2.0}, {"loss": 0.0}, {}, {}
    )
    trials[0].state = TrialState.FAILED
    assert numbers(Goal("loss", also={"time": "min"}).front(trials)) == [1]
    trials[1].error = "loss is nan at step 3"
    assert Goal("loss", also={"time": "min"}).front(trials) == []


@pytest.mark.parametrize(
    ("also", "words"),
    [
        ({"loss": "min"}, "'loss' is the metric that decides already"),
        ({"time": "small"}, "direction of 'time' is 'small': must be 'min' or 'max'"),
        ({"": "min"}, "'' is no name of a metric"),
        ({True: "min"}, "True is no name of a metric"),
        (["time"], "must map metrics"),
    ],
)
def test_what_makes_no_goal_is_named(also, words):
    with pytest.raises(CampaignError, match=words):
        Goal("loss", also=also)


def test_a_fault_names_the_metric():
    goal = Goal("loss", also={"time": "min"})
    assert goal.fault({"time": 1.0}) == "loss is missing from the report"
    assert goal.fault({"loss": 1.0}) == "time is missing from the report"
    assert goal.fault({"loss": 1.0, "time": math.nan}) == "time is nan"
    assert goal.fault({"loss": 1.0, "time": 2.0}) == ""
