"""The ladder that is learned: shares widen where leaders nearly fell through; nobody is lost."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers import Random
from daskhpo.schedulers import ASHA
from daskhpo.schedulers.calibration import (
    FLOOR,
    LIMIT,
    START,
    Calibration,
    Places,
    affordable,
    needed_share,
)
from daskhpo.schedulers.rungs import Rung
from daskhpo.space import Float, Space
from daskhpo.study import Study
from daskhpo.testing import Rehearsal, SchedulerSuite, standing
from daskhpo.trial import Decision, TrialState

SHARED = Path(os.environ.get("DASKHPO_SHARED", "../shared"))
SPACE = Space(x=Float(0.0, 1.0))


class TestLearned(SchedulerSuite):
    def make(self):
        return ASHA(max_step=27)


class TestLearnedFromAGracePeriodOn(SchedulerSuite):
    def make(self):
        return ASHA(max_step=50, min_step=3)


class TestAudited(SchedulerSuite):
    def make(self):
        return ASHA(max_step=16, min_step=1, eta=4, audit=0.3, seed=5)


# ---------------------------------------------------------------------------- shares

places = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=8)


@given(places, st.floats(0.05, 1.0))
def test_a_share_is_a_hundredth_between_two_and_a_hundred_percent(seen, share):
    needed = needed_share([Places(tuple(seen), share)])
    assert 0.02 <= needed <= 1.0
    assert math.isclose(100 * needed, round(100 * needed))


@given(places, st.floats(0.05, 0.9), st.floats(0.0, 0.1))
def test_leaders_that_stood_lower_ask_for_no_smaller_share(seen, share, down):
    lower = [min(1.0, place + down) for place in seen]
    share = max(share, *seen, *lower)
    before = needed_share([Places(tuple(seen), share)])
    assert needed_share([Places(tuple(lower), share)]) >= before


@given(places, st.floats(0.5, 0.8))
def test_more_confidence_asks_for_no_smaller_share(seen, confidence):
    evidence = [Places(tuple(seen), 1.0)]
    more = needed_share(evidence, confidence=confidence + 0.15)
    assert more >= needed_share(evidence, confidence=confidence)


def test_leaders_that_fill_the_share_evenly_ask_for_more_than_it():
    evenly = tuple(0.45 * (i + 0.5) / 8 for i in range(8))
    assert needed_share([Places(evenly, 0.45)]) > 0.6
    assert needed_share([Places(tuple(place / 10 for place in evenly), 0.45)]) < 0.3


@given(
    st.integers(2, 400),
    st.lists(st.floats(0.33, 1.0), min_size=12, max_size=12),
)
def test_no_ladder_costs_more_than_is_allowed(max_step, shares):
    steps = [row.milestone for row in ASHA(max_step).table()]
    wanted = shares[: len(steps) - 1]
    found = affordable(steps, wanted)

    def cost(shares):
        reached = np.cumprod([1.0, *shares])
        return float(np.sum(np.diff([0, *steps]) * reached))

    assert cost(found) <= LIMIT * cost([START] * len(wanted)) + 1e-9
    assert all(a <= b + 1e-9 for a, b in zip(found, wanted, strict=True))
    assert all(a >= min(b, START) - 0.01 for a, b in zip(found, wanted, strict=True))


# ---------------------------------------------------------------------------- evidence


def ladder(orders):
    """Rungs on which trials stand in the given orders; those of the next rung were promoted."""
    rungs = [Rung(2**k) for k in range(len(orders))]
    for k, order in enumerate(orders):
        for value, number in enumerate(order):
            rungs[k].record(number, float(value))
        if k + 1 < len(orders):
            rungs[k].promoted.update(orders[k + 1])
    return rungs


def test_before_somebody_has_come_half_way_nothing_changes():
    calibration = Calibration((1, 2, 4, 8))
    rungs = [*ladder([list(range(40)), list(range(17, -1, -1))]), Rung(4), Rung(8)]
    calibration.update(rungs)
    assert calibration.shares == [START] * 3
    assert calibration.own == {}


def test_a_rung_that_nearly_lost_the_leaders_is_widened_and_one_that_had_them_ahead_is_not():
    misleading = ladder([list(range(40)), list(range(17, -1, -1)), list(range(17, 9, -1)), [17]])
    calibration = Calibration((1, 2, 4, 8))
    assert calibration.update(misleading)
    assert calibration.shares[0] > 0.7
    assert calibration.shares[2] == START
    assert float(1 / calibration.etas[0]) == pytest.approx(calibration.shares[0])
    reliable = ladder([list(range(40)), list(range(18)), list(range(8)), [0]])
    calibration = Calibration((1, 2, 4, 8))
    calibration.update(reliable)
    assert calibration.shares[0] == START
    assert calibration.shares[1] < 0.6  # four among the first of eighteen prove less


def test_what_became_of_leaders_above_their_rung_counts():
    """The best four of rung 1, after those who met again above have changed places."""
    kept = ladder([list(range(20)), list(range(9)), [3, 2, 1, 0], [3]])
    turned = ladder([list(range(20)), list(range(9)), [8, 0, 1, 2], [8]])
    for rungs, leaders in ((kept, (0, 1, 2, 3)), (turned, (0, 1, 3, 8))):
        calibration = Calibration((1, 2, 4, 8))
        calibration.update(rungs)
        assert calibration.own[0].share == 9 / 20
        assert calibration.own[0].places == pytest.approx([(n + 0.5) / 20 for n in leaders])


def test_little_news_is_not_looked_at_and_any_is_when_nothing_else_is_left():
    rungs = ladder([list(range(100)), list(range(45)), list(range(20)), [0]])
    calibration = Calibration((1, 2, 4, 8))
    assert calibration.update(rungs)
    rungs[0].record(100, 100.0)
    assert not calibration.update(rungs)
    assert calibration.update(rungs, anyway=True)


def test_earlier_campaigns_lower_shares_at_once_and_widen_them_only_with_own_evidence():
    steps = (1, 2, 4, 8)
    calibration = Calibration(steps)
    for number in range(64):  # ranks hold from the beginning
        reach = 4 - sum(number >= n for n in (30, 14, 8))
        calibration.learn(steps[:reach], [number] * reach)
    empty = [Rung(step) for step in steps]
    assert calibration.update(empty)
    assert FLOOR <= calibration.shares[0] < START
    misled = Calibration(steps)
    for number in range(64):  # the worst of those that went on lead
        reach = 4 if 20 <= number < 30 else 1 + (number < 30)
        misled.learn(steps[:reach], [number, -number, -number, -number][:reach])
    misled.update(empty)
    assert misled.inherited[0].places
    assert max(misled.shares) == START


# ---------------------------------------------------------------------------- the scheduler


def test_the_ladder_doubles_and_its_last_rung_is_worth_climbing():
    def climbs(max_step, **more):
        return [row.milestone for row in ASHA(max_step, **more).table()]

    assert climbs(100) == [1, 2, 4, 8, 16, 32, 64, 100]
    assert climbs(81) == [1, 2, 4, 8, 16, 32, 81]
    assert climbs(1) == [1]
    assert climbs(1000)[0] == 7
    assert climbs(60, min_step=7) == [7, 14, 28, 60]


def test_who_catches_up_ranks_above_who_has_flattened():
    scheduler = ASHA(max_step=64)
    for number, (first, second) in enumerate([(0.5, 0.49), (1.0, 0.52)]):
        scheduler.begin(number)
        scheduler.report(number, 1, first)
        scheduler.promote(drained=True)
        answer = scheduler.report(number, 2, second)
    assert answer.evidence["rank"] == 1
    assert answer.evidence["forecast"] < 0.49
    row = scheduler.table()[1]
    assert row.best == 0.49  # a value that was reported, not a forecast
    assert row.share == START


def test_no_more_than_the_share_goes_on_where_later_trials_are_always_better():
    """A sampler that learns makes every trial the best of its moment: a fixed ladder passes all."""

    def passed(scheduler):
        for number in range(100):
            scheduler.begin(number)
            scheduler.report(number, 1, -float(number))
        return scheduler.table()[0].promoted

    assert passed(ASHA(max_step=64)) == 45
    assert passed(ASHA(max_step=64, min_step=1, eta=2)) > 90


def test_three_trials_are_complete_at_the_end_where_there_are_three():
    study = Study(SPACE, ASHA(max_step=32), Random(SPACE), metric="loss")
    Rehearsal(study, workers=3, rng=np.random.default_rng(2)).run(trials=12)
    states = [trial.state for trial in study.trials.values()]
    assert states.count(TrialState.COMPLETED) >= 3


def test_audited_trials_train_to_the_end_wherever_they_rank():
    scheduler = ASHA(max_step=4, min_step=1, eta=2, audit=0.5, seed=1)
    audited = [number for number in range(20) if scheduler.audits(number)]
    assert 4 < len(audited) < 16
    for number in range(20):
        scheduler.begin(number)
        answer = scheduler.report(number, 1, float(number))
        if number in audited:
            assert answer.decision is Decision.CONTINUE
            assert answer.evidence["audit"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"min_step": "soon"}, "min_step='soon': must be 'auto' or an integer"),
        ({"eta": "fast"}, "eta='fast': must be 'auto' or an integer"),
        ({"eta": 1}, "eta=1: must be"),
        ({"mode": "stop"}, "mode='stop' needs a fixed eta"),
        ({"brackets": 2}, "brackets=2 need a fixed eta"),
        ({"audit": 1.5}, "audit=1.5: must be a share"),
        ({"min_step": 28}, "must not be above max_step=27"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(SchedulerError, match=words.replace("(", r"\(")):
        ASHA(27, **arguments)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 60), st.integers(1, 90))
def test_each_promotion_is_within_the_share_of_its_moment(seed, workers, trials, max_step):
    facts = []
    study = Study(
        SPACE,
        ASHA(max_step),
        Random(SPACE),
        metric="loss",
        emit=lambda fact: facts.append(json.loads(json.dumps(fact))),
    )
    rng = np.random.default_rng(seed)
    Rehearsal(study, workers=workers, rng=rng, mishaps=int(rng.integers(6))).run(trials)
    for fact in facts:
        evidence = fact.get("evidence", {})
        went_on = fact["kind"] in ("asked", "promoted") and "rank" in evidence
        if went_on:
            assert evidence["rank"] <= evidence["within"]
    again = Study(SPACE, ASHA(max_step), Random(SPACE), metric="loss").replay(facts)
    assert standing(again) == standing(study)


def test_what_was_learned_is_replayed_too():
    facts = []

    def study(emit=None):
        return Study(SPACE, ASHA(max_step=8), Random(SPACE), metric="loss", emit=emit)

    first = study(lambda fact: facts.append(json.loads(json.dumps(fact))))
    for number in range(40):
        steps = [1, 2, 4, 8][: 1 + sum(number < n for n in (18, 8, 4))]
        first.learn({"x": 0.5}, steps, [{"loss": number / step} for step in steps])
    Rehearsal(first, workers=4, rng=np.random.default_rng(0)).run(trials=20)
    again = study().replay(facts)
    assert standing(again) == standing(first)
    assert again.scheduler.table()[0].share < START


# ---------------------------------------------------------------------------- real curves


@pytest.mark.skipif(not (SHARED / "curves").is_dir(), reason="the shared curves are not here")
@pytest.mark.parametrize("workers", [8, 64])
def test_it_finds_what_a_fixed_first_rung_loses_on_curves_that_cross_slowly(workers):
    """LSTM on Penn Treebank: ASHA from epoch 1 on never finds the best, this does."""
    from daskhpo.simulate import Costs, Problem, Rows, simulate

    table = np.genfromtxt(SHARED / "curves/lstm_ptb.csv", delimiter=",", skip_header=1)[:, 6:]
    problem = Problem("lstm", "perplexity", [{"row": i} for i in range(len(table))], table)

    def ranks(scheduler):
        runs = [
            simulate(
                Rows(problem), scheduler, workers=workers, trials=84, seed=s, costs=Costs.free()
            )
            for s in range(8)
        ]
        return np.median([run.rank for run in runs]), np.median([run.trained for run in runs])

    rank, trained = ranks("asha")
    assert rank == 0
    assert trained < 1100  # Hyperband: 1514, all trials to the end: 5040
    assert ranks("asha(min_step=1, eta=3)")[0] > 5
