"""One cut: everybody to it, the best share to the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers import OneCut, make_scheduler
from daskhpo.testing import SchedulerSuite
from daskhpo.trial import Decision


class TestTenth(SchedulerSuite):
    def make(self):
        return OneCut(max_step=9, cut=1)


class TestThird(SchedulerSuite):
    def make(self):
        return OneCut(max_step=9, cut=4, keep=0.34)


@given(
    st.lists(st.integers(0, 20).map(float), min_size=1, max_size=60),
    st.integers(1, 99),
)
def test_who_goes_on_is_among_the_best_share_at_that_moment(values, percent):
    keep = percent / 100
    scheduler = OneCut(max_step=10, cut=3, keep=keep)
    gone = set()
    for number, value in enumerate(values):
        scheduler.begin(number)
        answer = scheduler.report(number, 3, value)
        moved = {number} if answer.decision is Decision.CONTINUE else set()
        while (promotion := scheduler.promote(drained=False)) is not None:
            moved.add(promotion.number)
        order = sorted(range(number + 1), key=lambda n: (values[n], n))
        best = order[: percent * (number + 1) // 100]
        assert moved <= set(best)
        gone |= moved
        assert set(best) <= gone  # nobody who may go on waits
    assert scheduler.table()[0].promoted == len(gone)


def test_no_trial_is_lost_to_rounding():
    assert int(100 * 0.29) == 28
    scheduler = OneCut(max_step=2, cut=1, keep=0.29)
    for number in range(100):
        scheduler.begin(number)
        scheduler.report(number, 1, float(number))
    while scheduler.promote(drained=False):
        pass
    assert scheduler.table()[0].promoted == 29


def test_below_the_cut_nobody_is_compared_and_beyond_it_nobody_waits():
    scheduler = OneCut(max_step=9, cut=3, keep=0.5)
    for number in range(2):
        scheduler.begin(number)
        assert scheduler.report(number, 2, 0.5).stop == 3
    scheduler.report(0, 3, 0.5)
    answer = scheduler.report(1, 3, 0.4)
    assert (answer.decision, answer.stop) == (Decision.CONTINUE, 9)
    assert scheduler.report(1, 8, 99.0).decision is Decision.CONTINUE
    assert scheduler.report(1, 9, 99.0).decision is Decision.STOP


def test_the_tail_sends_the_best_when_there_were_too_few():
    scheduler = OneCut(max_step=9, cut=1)
    for number, value in enumerate([0.3, 0.1, 0.2]):
        scheduler.begin(number)
        scheduler.report(number, 1, value)
    assert scheduler.promote(drained=False) is None
    assert scheduler.promote(drained=True).number == 1


def test_mlpf_is_cut_at_the_first_epoch_for_little(mlpf, race):
    run = race(OneCut(100, cut=4), mlpf, trials=163, workers=8)
    complete = sum(t.state.value == "completed" for t in run.study.trials.values())
    assert run.study.steps == 163 * 4 + 96 * complete
    assert complete >= 16
    assert run.rank == 0


def test_it_comes_back_from_a_campaign_file():
    scheduler = OneCut(50, cut=3, keep=0.25)
    assert repr(make_scheduler(scheduler.settings())) == repr(scheduler)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"keep": 0}, "keep=0"),
        ({"keep": 1.0}, "keep=1.0"),
        ({"keep": float("nan")}, "keep=nan"),
        ({"keep": "a tenth"}, "keep='a tenth'"),
        ({"cut": 0}, "cut=0"),
        ({"cut": 9}, "cut=9.*max_step=9"),
        ({"cut": 1.5}, "cut=1.5"),
        ({"max_step": 0}, "max_step=0"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, word):
    with pytest.raises(SchedulerError, match=word):
        OneCut(**{"max_step": 9, "cut": 1} | settings)


def test_a_campaign_file_must_say_where():
    with pytest.raises(SchedulerError, match="'one_cut': cut is missing"):
        make_scheduler({"type": "one_cut", "max_step": 9})
