"""Whatever is forecast, learned and obeyed, and whenever: replays agree, and nobody is harmed."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import replace
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.advice import Adviser, Forecast, Forecaster, learn
from daskhpo.predictors import LastDrop
from daskhpo.samplers import Random
from daskhpo.schedulers import make_scheduler
from daskhpo.space import Float, Space
from daskhpo.store.lines import decode_line, encode_line
from daskhpo.study import Study
from daskhpo.testing import Guesses, Rehearsal, standing
from daskhpo.trial import Decision, Outcome, TrialState

LINE = Space(x=Float(0.0, 1.0))


@st.composite
def fixed(draw, modes=("promote", "stop")):
    max_step = draw(st.integers(1, 40))
    form = {"type": "asha", "max_step": max_step, "eta": draw(st.integers(2, 4))}
    form |= {"mode": draw(st.sampled_from(modes)), "min_step": draw(st.integers(1, max_step))}
    rungs = len(make_scheduler(form).table())
    return form | {"brackets": draw(st.integers(1, min(rungs, 3)))}


learned = st.builds(
    lambda most, audit: {"type": "asha", "max_step": most, "audit": audit},
    st.integers(1, 40),
    st.sampled_from([0.0, 0.2]),
)
fifos = st.builds(lambda most: {"type": "fifo", "max_step": most}, st.integers(1, 40))
forms = fixed() | learned | fifos

advices = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["obey", "log"]),
        "delta": st.sampled_from([0.05, 0.2, 0.5]),
        "audit": st.sampled_from([0.0, 0.3, 1.0]),
        "looks": st.integers(1, 5),
        "grace": st.integers(0, 10),
        "labels": st.sampled_from([4, 6]),
        "seed": st.integers(0, 9),
    }
)
executions = st.fixed_dictionaries(
    {
        "direction": st.sampled_from(["min", "max"]),
        "workers": st.integers(1, 8),
        "trials": st.integers(1, 25),
        "mishaps": st.integers(0, 20),
        "seed": st.integers(0, 2**32 - 1),
    }
)


class Mute(Forecaster):
    """Must not be asked."""

    def forecast(self, number, step, *, target, since, delta):
        raise AssertionError("a replay asked for a forecast")


class Closed(Guesses):
    """Its gate is."""

    def forecast(self, number, step, **wish):
        guess = super().forecast(number, step, **wish)
        return guess and replace(guess, margin=0.01, worst=0.01, error=2.0)


class Oracle(Forecaster):
    """Knows every curve."""

    def __init__(self, curves):
        super().__init__(LastDrop())
        self.curves = curves

    def forecast(self, number, step, *, target, since, delta):
        value = float(self.curves[number, target - 1])
        return Forecast(step, target, value, value, 0.0, 0.0, labels=99, error=0.0, baseline=1.0)


def new_study(form, advice, execution, emit=None):
    """A study whose adviser is told nothing by anybody as yet; None: it has no adviser."""
    leans = form.get("mode") == "promote"
    adviser = None
    if advice is not None:
        adviser = Adviser("last_drop", order="forecast" if leans else "value", **advice)
        adviser.forecaster = Forecaster(LastDrop(), labels=advice["labels"])
    return Study(
        LINE,
        make_scheduler(form),
        Random(LINE, seed=5),
        metric="loss",
        direction=execution["direction"],
        adviser=adviser,
        emit=emit,
    )


def guesses(study, execution, kind=Guesses):
    """Values of a rehearsal lie between 0 and 2; for ``max`` it is their negatives that count."""
    return kind(largest=2.0 if execution["direction"] == "min" else -2.0)


class Lessons:
    """Lessons that are handed out, learned and taken whenever it pleases, in any order."""

    def __init__(self, forecaster, rng, diligence):
        self.forecaster = forecaster
        self.rng = rng
        self.diligence = diligence
        self.open = []

    def go_on(self):
        if self.rng.random() < self.diligence:
            self.open += self.forecaster.due()
        if self.open and self.rng.random() < self.diligence:
            lesson = self.open.pop(self.rng.integers(len(self.open)))
            self.forecaster.take(learn(lesson))


def rehearse(form, advice, execution, *, diligence=None, kind=Guesses):
    """Run an execution; returns its study, and its facts as a journal gives them back.

    Forecasts are guessed, unless ``diligence`` says how often there is time for a lesson.
    """
    facts = []

    def emit(fact):
        line = encode_line(fact, seq=len(facts) + 1, t=0.0)
        facts.append(decode_line(line[:-1]))
        if lessons is not None:
            lessons.go_on()

    study, lessons = new_study(form, advice, execution, emit), None
    rng = np.random.default_rng(execution["seed"])
    if diligence is not None:
        lessons = Lessons(study.adviser.forecaster, rng.spawn(1)[0], diligence)
    elif advice is not None:
        study.adviser.forecaster = guesses(study, execution, kind)
    more = {name: execution[name] for name in ("workers", "mishaps")}
    Rehearsal(study, rng=rng, **more).run(execution["trials"])
    return study, facts.copy()


def plain(facts, *, without=()):
    """Facts as texts, which are equal where they hold nan, too."""
    dropped = {"seq", "t", *without}
    return [json.dumps({k: v for k, v in f.items() if k not in dropped}) for f in facts]


def replayed(form, advice, execution, facts):
    """A study after a replay in which every fact has led to itself, whole."""
    study = new_study(form, advice, execution)
    study.adviser.forecaster = Mute(LastDrop())

    def compare(fact, emitted):
        assert plain(emitted) == plain([fact])

    with mock.patch("daskhpo.facts.compare", compare):
        return study.replay(facts)


# ---------------------------------------------------------------------- replay


@settings(max_examples=150, deadline=None)
@given(forms, advices, executions, st.none() | st.sampled_from([0.0, 0.2, 0.7]), st.data())
def test_the_facts_lead_to_the_same_place_and_the_same_facts_without_any_model(
    form, advice, execution, diligence, data
):
    study, facts = rehearse(form, advice, execution, diligence=diligence)
    again = replayed(form, advice, execution, facts)
    assert standing(again) == standing(study)
    assert again.adviser.delta_now == study.adviser.delta_now
    assert cautions(again) == cautions(study)
    told = []
    for each in (study, again):
        told.append([])
        each.emit = told[-1].append
        each.adviser.forecaster = guesses(each, execution)
        rng = np.random.default_rng(execution["seed"])
        Rehearsal(each, workers=2, rng=rng, mishaps=3).run(execution["trials"] + 5)
    assert plain(told[0]) == plain(told[1])
    assert standing(again) == standing(study)


def test_executions_are_such_that_trials_are_cut_audited_and_ranked_by_what_was_learned():
    heard = defaultdict(int)
    for seed in range(20):
        for form in ({"min_step": 4, "eta": 2, "mode": "promote"}, {"min_step": 4}):
            form = {"type": "asha", "max_step": 32, **form}
            advice = {"mode": "obey", "delta": 0.5, "audit": 0.3, "looks": 3, "labels": 4}
            execution = {"direction": "min", "workers": 4, "trials": 25, "mishaps": 5}
            _, facts = rehearse(form, advice, execution | {"seed": seed}, diligence=0.7)
            for fact in facts:
                heard[fact.get("advice", {}).get("heard")] += 1
    assert min(heard[word] for word in ("", "obeyed", "audited", "ranked")) >= 10, heard


def cautions(study):
    """How many margins above the bar a forecast for each milestone has to be."""
    caution = study.adviser.leaders.caution
    return [caution(milestone) for milestone in range(1, study.scheduler.max_step + 1)]


def test_executions_are_such_that_those_that_lead_make_the_adviser_careful():
    cautious = defaultdict(int)
    form = {"type": "asha", "max_step": 32, "min_step": 4, "eta": 2, "mode": "stop"}
    advice = {"mode": "obey", "delta": 0.5, "audit": 0.3, "looks": 3, "labels": 4}
    for seed in range(10):
        execution = {"direction": "min", "workers": 4, "trials": 25, "mishaps": 5, "seed": seed}
        for diligence in (None, 0.7):
            _, facts = rehearse(form, advice, execution, diligence=diligence)
            said = [fact["advice"] for fact in facts if "advice" in fact]
            cautious[diligence] += sum(1 < each["caution"] < math.inf for each in said)
    assert min(cautious.values()) >= 10, cautious


# ---------------------------------------------------------------------- never more than without


@settings(max_examples=100, deadline=None)
@given(
    fixed(modes=["stop"]) | learned | fifos,
    advices,
    executions,
    st.sampled_from(["gate", "log", "few"]),
)
def test_where_it_may_not_act_the_facts_are_those_of_a_study_without_it(
    form, advice, execution, why
):
    advice = advice | {"mode": "log" if why == "log" else "obey"}
    if why == "few":
        _, facts = rehearse(form, advice | {"labels": 1000}, execution, diligence=0.7)
        assert not any("advice" in fact for fact in facts)
    else:
        kind = Closed if why == "gate" else Guesses
        _, facts = rehearse(form, advice, execution, kind=kind)
    _, alone = rehearse(form, None, execution)
    assert plain(facts, without=["advice"]) == plain(alone)


# ---------------------------------------------------------------------- decision points


@settings(max_examples=150, deadline=None)
@given(forms, advices, executions)
def test_a_stretch_has_as_many_looks_as_were_asked_for_and_none_in_the_grace_period(
    form, advice, execution
):
    _, facts = rehearse(form, advice, execution)
    points = defaultdict(list)  # {(trial, target): decision points}
    for fact in facts:
        said = fact.get("advice")
        if said is not None and said["heard"] != "ranked":
            points[fact["number"], said["target"]].append(said["step"])
            assert advice["grace"] <= said["step"] <= fact["step"] < said["target"]
    for used in points.values():
        assert len(used) <= advice["looks"]
        assert used == sorted(set(used))


# ---------------------------------------------------------------------- stand-ins


def campaign(form, curves, adviser=None):
    """One worker, which trains one trial at a time along its curve."""
    scheduler = make_scheduler(form)
    study = Study(LINE, scheduler, Random(LINE), metric="loss", adviser=adviser)
    study.set_limit(len(curves))
    while (job := study.ask()) is not None:
        decision, step = Decision.CONTINUE, job.start
        while decision is Decision.CONTINUE:
            step += 1
            loss = {"loss": float(curves[job.number, step - 1])}
            decision = study.report(job.number, job.attempt, step, loss).decision
        paused = decision is Decision.PAUSE
        study.tell(job.number, job.attempt, Outcome.PAUSED if paused else Outcome.STOPPED)
    return study


def rungs(study):
    """Who was compared where, with which value, and who went on."""
    ladders = study.scheduler._ladders.rungs
    return [[(rung.ranking, rung.promoted) for rung in ladder] for ladder in ladders]


@settings(max_examples=150, deadline=None)
@given(
    fixed() | st.sampled_from([{"type": "asha", "max_step": m, "min_step": 4} for m in (16, 32)]),
    st.integers(1, 5),
    st.sampled_from([3, 20, 60, 100]),
    st.integers(0, 2**32 - 1),
)
def test_who_knows_the_future_saves_steps_and_changes_nothing_else(form, looks, trials, seed):
    # A learned ladder also ranks by what there was half way, which a look before does not know.
    looks = looks if "eta" in form else 1
    rng = np.random.default_rng(seed)
    steps = np.arange(1, form["max_step"] + 1)
    curves = rng.random((trials, 1)) + rng.exponential(1.0, (trials, 1)) / steps
    curves += 0.05 * rng.random(curves.shape)
    adviser = Adviser("last_drop", mode="obey", audit=0.0, looks=looks, confirm=1)
    adviser.forecaster = Oracle(curves)
    alone, advised = campaign(form, curves), campaign(form, curves, adviser)
    assert rungs(advised) == rungs(alone)
    assert advised.steps <= alone.steps
    assert found(advised) == found(alone)


def found(study):
    """The best that a complete trial has come to."""
    return min(
        (t.value for t in study.trials.values() if t.state is TrialState.COMPLETED), default=None
    )


def test_who_knows_the_future_really_saves_some():
    rng = np.random.default_rng(1)
    curves = rng.random((60, 1)) + 1 / np.arange(1, 33)
    for form in ({"eta": 2, "mode": "stop"}, {"eta": 2}, {}):
        form = {"type": "asha", "max_step": 32, "min_step": 4, **form}
        adviser = Adviser("last_drop", mode="obey", audit=0.0, looks=3, confirm=1)
        adviser.forecaster = Oracle(curves)
        advised, alone = campaign(form, curves, adviser), campaign(form, curves)
        assert advised.steps < 0.9 * alone.steps, form
        assert found(advised) == min(curves[:, -1])
