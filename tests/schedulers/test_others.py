"""First come first served, the median rule, and building schedulers from campaign files."""

from __future__ import annotations

import json

import pytest

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers import ASHA, Fifo, Median, Scheduler, make_scheduler
from daskhpo.trial import Decision

ALL = [Fifo(9), Median(9, min_step=2, min_trials=3), ASHA(9, eta=3), ASHA(9, mode="stop", seed=3)]


@pytest.mark.parametrize("scheduler", ALL, ids=repr)
def test_settings_survive_a_campaign_file(scheduler) -> None:
    assert isinstance(scheduler, Scheduler)
    form = json.loads(json.dumps(scheduler.settings()))
    assert repr(make_scheduler(form)) == repr(scheduler)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"type": "ahsa", "max_step": 9}, "did you mean 'asha'"),
        ({"type": "asha", "max_stp": 9}, "did you mean 'max_step'"),
        ({"type": "fifo"}, "max_step is missing"),
        ({"type": "median", "max_step": 9, "min_step": 10}, "min_step=10"),
    ],
)
def test_a_wrong_form_is_answered_with_what_is_right(form, told) -> None:
    with pytest.raises(SchedulerError, match=told):
        make_scheduler(form)


def test_fifo_stops_nobody_before_the_end() -> None:
    scheduler = Fifo(5)
    scheduler.begin(0)
    decisions = [scheduler.report(0, step, 1e9).decision for step in range(1, 6)]
    assert decisions == [Decision.CONTINUE] * 4 + [Decision.STOP]
    assert scheduler.promote(drained=True) is None


def test_the_median_rule_stops_who_is_worse_than_the_median_of_running_averages() -> None:
    scheduler = Median(10, min_trials=3)
    for number, curve in enumerate([(4, 2), (5, 3), (6, 4)]):
        for step, loss in enumerate(curve, start=1):
            scheduler.report(number, step, loss)
    # Averages at step 2: 3, 4, 5. A best value of 4 is not worse than their median, 4.1 is.
    assert scheduler.report(3, 2, 4.0).decision is Decision.CONTINUE
    answer = scheduler.report(4, 2, 4.6)
    assert answer.decision is Decision.STOP
    assert answer.evidence["of"] == 4


def test_the_median_rule_spares_the_first_and_the_early() -> None:
    scheduler = Median(10, min_step=2, min_trials=2)
    assert scheduler.report(0, 1, 1.0).decision is Decision.CONTINUE
    assert scheduler.report(1, 1, 2.0).decision is Decision.CONTINUE
    assert scheduler.report(2, 1, 99.0).decision is Decision.CONTINUE
    scheduler.report(0, 2, 1.0)
    assert scheduler.report(2, 2, 99.0).decision is Decision.CONTINUE
    assert scheduler.report(1, 2, 98.0).decision is Decision.CONTINUE
