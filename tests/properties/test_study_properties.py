"""Whatever happens in whatever order: executions end, promotions are earned, replays agree."""

from __future__ import annotations

import bisect
import json
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.exceptions import ReplayError
from daskhpo.samplers.grid import Grid
from daskhpo.samplers.random import Random
from daskhpo.schedulers import make_scheduler
from daskhpo.space import Choice, Constant, Float, Space
from daskhpo.study import Study
from daskhpo.testing import Rehearsal, standing
from daskhpo.trial import TrialState

LINE = Space(x=Float(0.0, 1.0))
POINT = Space(x=Constant(1))
FEW = Space(x=Choice(["a", "b", "c"]))


@st.composite
def ashas(draw, *, modes=("promote", "stop"), brackets=True):
    max_step = draw(st.integers(1, 40))
    form = {
        "type": "asha",
        "max_step": max_step,
        "min_step": draw(st.integers(1, max_step)),
        "eta": draw(st.integers(2, 6)),
        "mode": draw(st.sampled_from(modes)),
    }
    if brackets:
        rungs = len({row.milestone for row in make_scheduler(form).table()})
        form |= {"brackets": draw(st.integers(1, rungs)), "seed": draw(st.integers(0, 9))}
    return form


def medians():
    return st.builds(
        lambda max_step, share, least: {
            "type": "median",
            "max_step": max_step,
            "min_step": 1 + int(share * (max_step - 1)),
            "min_trials": least,
        },
        st.integers(1, 40),
        st.floats(0, 1),
        st.integers(1, 6),
    )


def fifos():
    return st.builds(lambda max_step: {"type": "fifo", "max_step": max_step}, st.integers(1, 40))


executions = st.fixed_dictionaries(
    {
        "direction": st.sampled_from(["min", "max"]),
        "retries": st.integers(0, 2),
        "workers": st.integers(1, 12),
        "trials": st.integers(1, 25),
        "mishaps": st.integers(0, 25),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def new_study(form, execution, emit=None, space=LINE):
    sampler = Grid(space) if space is FEW else Random(space, seed=5)
    return Study(
        space,
        make_scheduler(form),
        sampler,
        metric="loss",
        direction=execution["direction"],
        retries=execution["retries"],
        emit=emit,
    )


def rehearse(form, execution, space=LINE, watch=lambda fact, study: None):
    """Run an execution; returns its study and its facts as a journal would give them back."""
    facts = []

    def emit(fact):
        facts.append(json.loads(json.dumps(fact)))
        watch(facts[-1], study)

    study = new_study(form, execution, emit, space)
    rng = np.random.default_rng(execution["seed"])
    rehearsal = Rehearsal(
        study, workers=execution["workers"], rng=rng, mishaps=execution["mishaps"]
    )
    rehearsal.run(execution["trials"])
    return study, facts.copy()


@settings(max_examples=150, deadline=None)
@given(ashas() | medians() | fifos(), executions, st.sampled_from([LINE, POINT, FEW]))
def test_every_execution_starts_what_it_may_and_ends(form, execution, space):
    study, _ = rehearse(form, execution, space)
    trials = list(study.trials.values())
    assert len(trials) == (min(3, execution["trials"]) if space is FEW else execution["trials"])
    assert all(trial.state.final or trial.state is TrialState.PAUSED for trial in trials)
    assert all(trial.step <= study.scheduler.max_step for trial in trials)


@settings(max_examples=100, deadline=None)
@given(ashas(modes=["promote"]), executions)
def test_halving_by_promotion_completes_a_trial_unless_every_trial_failed(form, execution):
    study, _ = rehearse(form, execution)
    states = {trial.state for trial in study.trials.values()}
    assert TrialState.COMPLETED in states or states == {TrialState.FAILED}


class Rungs:
    """Keeps its own books of who was compared where, from the facts alone."""

    def __init__(self, form, sign):
        self.eta = form["eta"]
        self.sign = sign
        self.ranking = defaultdict(list)  # {rung: sorted [(value, number)]}
        self.went_on = defaultdict(set)  # {rung: numbers}
        self.towards = {}  # {number: rung}

    def watch(self, fact, study):
        evidence = fact.get("evidence", {})
        if fact["kind"] == "asked" and fact["why"] == "new":
            self.towards[fact["number"]] = 0
        elif fact["kind"] == "reported" and "rung" in evidence:
            value = self.sign * fact["metrics"]["loss"]
            bisect.insort(self.ranking[evidence["rung"]], (value, fact["number"]))
            self.towards[fact["number"]] = evidence["rung"]
            if study.trials[fact["number"]].decision.value == "continue":
                self.promote(fact["number"], evidence, tail="tail" in evidence)
        elif fact["kind"] in ("asked", "promoted") and "rung" in evidence:
            if fact["kind"] == "asked":
                assert study.trials[fact["number"]].step >= evidence["milestone"]
            self.promote(fact["number"], evidence, tail="tail" in evidence)
        elif fact["kind"] == "ended" and fact["state"] == "failed":
            rung = self.towards[fact["number"]]
            if fact["number"] not in {number for _, number in self.ranking[rung]}:
                bisect.insort(self.ranking[rung], (math.inf, fact["number"]))

    def promote(self, number, evidence, *, tail=False):
        rung = evidence["rung"]
        numbers = [member for _, member in self.ranking[rung]]
        assert number in numbers
        assert number not in self.went_on[rung], "promoted twice"
        if not tail:
            assert numbers.index(number) + 1 <= len(numbers) // self.eta, "not among the best"
        self.went_on[rung].add(number)
        self.towards[number] = rung + 1


@settings(max_examples=200, deadline=None)
@given(ashas(modes=["promote"], brackets=False), executions)
def test_who_is_promoted_is_among_the_best_of_the_rung_at_that_moment_and_only_once(
    form, execution
):
    books = Rungs(form, 1 if execution["direction"] == "min" else -1)
    study, _ = rehearse(form, execution, watch=books.watch)
    for row in study.scheduler.table():
        assert row.recorded == len(books.ranking[row.rung])
        assert row.promoted == len(books.went_on[row.rung])


@settings(max_examples=100, deadline=None)
@given(ashas(modes=["stop"]), executions)
def test_halving_by_stopping_never_pauses(form, execution):
    study, facts = rehearse(form, execution)
    assert not any(fact.get("why") == "promotion" for fact in facts)
    assert all(trial.state.final for trial in study.trials.values())


@settings(max_examples=150, deadline=None)
@given(ashas() | medians() | fifos(), executions, st.sampled_from([LINE, POINT, FEW]), st.data())
def test_the_facts_of_any_execution_lead_a_new_study_to_the_same_place(
    form, execution, space, data
):
    study, facts = rehearse(form, execution, space)
    replayed = new_study(form, execution, space=space).replay(facts)
    assert standing(replayed) == standing(study)
    for each in (study, replayed):
        each.set_limit(execution["trials"] + 3)
    assert replayed.ask() == study.ask()
    # And so do the facts up to any moment, followed by the rest.
    cut = data.draw(st.integers(0, len(facts)))
    in_two = new_study(form, execution, space=space).replay(facts[:cut]).replay(facts[cut:])
    in_two.set_limit(execution["trials"] + 3)
    in_two.ask()
    assert standing(in_two) == standing(study)


ALTERED = {  # {kind: {key: another value}}
    "asked": {
        "number": lambda old: old + 1,
        "attempt": lambda old: old + 1,
        "rung": lambda old: old + 1,
        "start": lambda old: old + 1,
        "stop": lambda old: old + 1,
    },
    "reported": {
        "attempt": lambda old: old - 1,
        "decision": lambda old: "stop" if old != "stop" else "pause",
        "number": lambda old: 10_000,
    },
    "ended": {
        "attempt": lambda old: old + 1,
        "state": lambda old: "running",
        "number": lambda old: 10_000,
        "outcome": lambda old: "gone",
    },
    "offered": {"number": lambda old: old + 1, "params": lambda old: {"y": 1}},
}


@settings(max_examples=150, deadline=None)
@given(ashas() | medians() | fifos(), executions, st.data())
def test_a_journal_in_which_a_decision_was_altered_is_refused(form, execution, data):
    _, facts = rehearse(form, execution)
    which = data.draw(st.integers(0, len(facts) - 1).filter(lambda i: facts[i]["kind"] in ALTERED))
    changes = ALTERED[facts[which]["kind"]]
    key = data.draw(st.sampled_from(sorted(changes)))
    altered = {**facts[which], key: changes[key](facts[which].get(key))}
    with pytest.raises(ReplayError, match=r"fact .*\(\w+, trial"):
        new_study(form, execution).replay([*facts[:which], altered, *facts[which + 1 :]])


@settings(max_examples=100, deadline=None)
@given(ashas() | fifos(), executions, st.data())
def test_a_journal_that_lacks_an_offer_or_a_start_is_refused(form, execution, data):
    _, facts = rehearse(form, execution)
    needed = [i for i, fact in enumerate(facts) if fact["kind"] in ("offered", "asked")]
    which = data.draw(st.sampled_from(needed))
    with pytest.raises(ReplayError):
        new_study(form, execution).replay(facts[:which] + facts[which + 1 :])


@given(st.integers(1, 8), st.integers(2, 9), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_with_fewer_trials_than_eta_the_best_of_all_is_sent_on_to_the_end(trials, eta, workers):
    eta = max(eta, trials + 1)
    form = {"type": "asha", "max_step": eta**2, "eta": eta}
    execution = {"direction": "min", "retries": 1, "workers": workers, "trials": trials}
    study, _ = rehearse(form, execution | {"mishaps": 0, "seed": 1})
    complete = [t for t in study.trials.values() if t.state is TrialState.COMPLETED]
    assert len(complete) == 1
    assert study.scheduler.table()[0].recorded == trials


def test_one_worker_and_more_workers_than_trials_both_come_to_an_end():
    form = {"type": "asha", "max_step": 27, "eta": 3}
    for workers, trials in ((1, 12), (50, 3)):
        execution = {"direction": "min", "retries": 1, "workers": workers, "trials": trials}
        study, _ = rehearse(form, execution | {"mishaps": 0, "seed": 3})
        assert any(trial.state is TrialState.COMPLETED for trial in study.trials.values())
