"""Hyperband: the paper's brackets, with and without the idle time of the paper."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers import Hyperband, make_scheduler
from daskhpo.schedulers.brackets import brackets
from daskhpo.testing import SchedulerSuite
from daskhpo.trial import Decision


class TestOverlapping(SchedulerSuite):
    def make(self):
        return Hyperband(max_step=8)


class TestOneAfterTheOther(SchedulerSuite):
    def make(self):
        return Hyperband(max_step=9, eta=3, overlap=False)


class TestRoundedRungs(SchedulerSuite):
    def make(self):
        return Hyperband(max_step=20, min_step=2)


class TestOwnBrackets(SchedulerSuite):
    def make(self):
        return Hyperband(max_step=9, brackets=[(1, ((3, 5), (9, 2))), (0, ((9, 1),))])


class TestOneStep(SchedulerSuite):
    def make(self):
        return Hyperband(max_step=1)


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("workers", [1, 8, 200])
def test_mlpf_takes_3213_epochs_for_163_trials_and_finds_the_best(mlpf, race, overlap, workers):
    run = race(Hyperband(100, overlap=overlap), mlpf, trials=163, workers=workers)
    assert run.study.steps == 3213
    assert len(run.study.trials) == 163
    assert run.rank == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(2, 4), st.integers(1, 12), st.booleans(), st.data())
def test_every_worker_count_trains_what_the_brackets_say(
    race, max_step, eta, workers, overlap, data
):
    plans = list(brackets(max_step, eta))
    trials = sum(rungs[0][1] for _, rungs in plans)
    seed = data.draw(st.integers(0, 99))
    curves = [[(7 * n + 3 * step) % 11 for step in range(max_step)] for n in range(trials)]
    scheduler = Hyperband(max_step, eta=eta, overlap=overlap)
    run = race(scheduler, curves, trials=trials, workers=workers, seed=seed)
    expected = [size for _, rungs in reversed(plans) for _, size in rungs]
    by_s = sorted(scheduler.table(), key=lambda row: (-row.bracket, row.rung))
    assert [row.recorded for row in by_s] == expected
    assert len(run.study.trials) == trials


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(0, 30))
def test_each_promotion_is_within_the_best_of_its_rung(seed, workers, mishaps):
    _, facts = TestOverlapping().rehearse(seed, workers=workers, mishaps=mishaps)
    for fact in facts:
        evidence = fact.get("evidence", {})
        went_on = fact.get("why") == "promotion" or fact["kind"] == "promoted"
        if went_on and "tail" not in evidence:
            assert 1 <= evidence["rank"] <= evidence["within"] <= max(evidence["of"] // 2, 1)


def test_brackets_come_in_the_papers_order_over_and_over():
    scheduler = Hyperband(max_step=4)
    stops = [scheduler.begin(number).stop for number in range(20)]
    assert stops == [1, 1, 1, 1, 2, 2, 2, 4, 4, 4] * 2


def test_without_overlap_a_bracket_waits_for_the_one_before():
    scheduler = Hyperband(max_step=2, overlap=False)
    for number in range(2):
        assert scheduler.admits()
        assert scheduler.begin(number).stop == 1
    assert not scheduler.admits()
    scheduler.report(0, 1, 0.5)
    assert scheduler.report(1, 1, 0.1).decision is Decision.CONTINUE
    assert not scheduler.admits()
    assert scheduler.report(1, 2, 0.1).decision is Decision.STOP
    assert scheduler.begin(2).stop == 2


def test_brackets_may_come_from_a_generator():
    one = Hyperband(27, eta=3, brackets=brackets(27, 3))
    other = Hyperband(27, eta=3)
    for scheduler in (one, other):
        stops = [scheduler.begin(number).stop for number in range(100)]
        assert stops[:49] == [1] * 27 + [3] * 12 + [9] * 6 + [27] * 4
    assert one.table() == other.table()


def test_a_rung_has_the_same_index_in_every_bracket_and_a_bracket_that_of_its_first_rung():
    rows = Hyperband(max_step=4).table()
    assert [(row.bracket, row.rung, row.milestone) for row in rows] == [
        *((0, 0, 1), (0, 1, 2), (0, 2, 4)),
        *((1, 1, 2), (1, 2, 4)),
        (2, 2, 4),
    ]


@pytest.mark.parametrize(
    "scheduler",
    [
        Hyperband(81, eta=3, min_step=3, overlap=False),
        Hyperband(9, brackets=[(1, ((3, 5), (9, 2))), (0, ((9, 1),))]),
    ],
)
def test_it_comes_back_from_a_campaign_file(scheduler):
    again = make_scheduler(json.loads(json.dumps(scheduler.settings())))
    assert repr(again) == repr(scheduler)
    assert again.settings() == scheduler.settings()
    assert again.table() == scheduler.table()


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"eta": 1}, "eta=1"),
        ({"eta": 2.7}, "eta=2.7"),
        ({"min_step": 10}, "min_step=10.*max_step=9"),
        ({"brackets": []}, "at least one"),
        ({"brackets": [(0, ((8, 1),))]}, "max_step=9"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, word):
    with pytest.raises(SchedulerError, match=word):
        Hyperband(9, **settings)
