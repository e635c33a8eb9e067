"""Schedulers from campaign files, and back."""

from __future__ import annotations

import json

import pytest

import daskhpo.schedulers
from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers import ASHA, Fifo, Median, Scheduler, async_hyperband, make_scheduler


@pytest.mark.parametrize(
    "scheduler",
    [
        Fifo(7),
        Median(20, min_step=3, min_trials=2),
        ASHA(81, min_step=2, eta=3, mode="stop", brackets=2, seed=5),
        async_hyperband(81, min_step=2, eta=3, seed=5),
    ],
)
def test_settings_make_the_same_scheduler_again(scheduler):
    assert isinstance(scheduler, Scheduler)
    again = make_scheduler(json.loads(json.dumps(scheduler.settings())))
    assert type(again) is type(scheduler)
    assert again.settings() == scheduler.settings()
    assert repr(again) == repr(scheduler)


def test_without_a_type_it_is_halving():
    assert isinstance(make_scheduler({"max_step": 9}), ASHA)


def test_every_scheduler_can_be_had_by_name():
    for name in daskhpo.schedulers.__all__:
        assert getattr(daskhpo.schedulers, name).__doc__
    with pytest.raises(AttributeError, match="Hyperbund"):
        daskhpo.schedulers.Hyperbund  # noqa: B018


def test_asynchronous_hyperband_is_halving_with_all_brackets():
    made = make_scheduler({"type": "async_hyperband", "max_step": 81, "eta": 3})
    assert repr(made) == repr(ASHA(81, min_step=1, eta=3, brackets=5))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"type": "ahsa", "max_step": 9}, "type='ahsa'.*did you mean 'asha'"),
        ({"type": "asha", "max_stp": 9}, "did you mean 'max_step'"),
        ({"type": "async_hyperband", "max_step": 9, "eta": 1}, "eta=1"),
        ({"type": "asha", "max_step": 9, "etta": 3}, "'etta'.*eta"),
        ({"type": "fifo", "max_step": 9, "eta": 3}, "'fifo'.*'eta'.*max_step"),
        ({"type": "asha"}, "max_step is missing"),
        ({"type": "asha", "max_step": "many"}, "max_step='many'"),
    ],
)
def test_errors_name_the_key_and_what_is_allowed(settings, words):
    with pytest.raises(SchedulerError, match=words):
        make_scheduler(settings)
