"""Schedulers from campaign files, and back."""

from __future__ import annotations

import pytest

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers import ASHA, Fifo, Median, make_scheduler


@pytest.mark.parametrize(
    "scheduler",
    [
        Fifo(7),
        Median(20, min_step=3, min_trials=2),
        ASHA(81, min_step=2, eta=3, mode="stop", brackets=2, seed=5),
    ],
)
def test_settings_make_the_same_scheduler_again(scheduler):
    again = make_scheduler(scheduler.settings())
    assert type(again) is type(scheduler)
    assert again.settings() == scheduler.settings()
    assert repr(again) == repr(scheduler)


def test_without_a_type_it_is_halving():
    assert isinstance(make_scheduler({"max_step": 9}), ASHA)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"type": "ahsa", "max_step": 9}, "type='ahsa'.*asha"),
        ({"type": "asha", "max_step": 9, "etta": 3}, "'etta'.*eta"),
        ({"type": "fifo", "max_step": 9, "eta": 3}, "'fifo'.*'eta'.*max_step"),
        ({"type": "asha"}, "max_step is missing"),
        ({"type": "asha", "max_step": "many"}, "max_step='many'"),
    ],
)
def test_errors_name_the_key_and_what_is_allowed(settings, words):
    with pytest.raises(SchedulerError, match=words):
        make_scheduler(settings)
