"""What scheduler and adviser are told by a study, and what an earlier campaign is worth to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.advice import Adviser, Forecast
from daskhpo.advice.dialogue import Dialogue
from daskhpo.samplers import Random
from daskhpo.schedulers import ASHA, Fifo, Median
from daskhpo.schedulers.base import Bar
from daskhpo.simulate.prompt import Prompt
from daskhpo.space import Float, Space
from daskhpo.store.lines import decode_line, encode_line
from daskhpo.study import Study
from daskhpo.testing import Rehearsal, standing
from daskhpo.trial import Answer, Decision

LINE = Space(x=Float(0.0, 1.0))


class Scribe:
    """A scheduler and an adviser's forecaster that write down what they are asked and told."""

    several, leans, max_step = False, True, 16

    def __init__(self, value=0.9):
        self.value = value
        self.log = []

    def bar(self, number):
        return Bar(4, 8, 0.5, 16)

    def report(self, number, step, value):
        self.log.append(("report", step, value))
        return Answer(Decision.CONTINUE, 8)

    def cut(self, number, step, value):
        self.log.append(("cut", step, value))
        return Answer(Decision.STOP, step)

    def lean(self, number, shift):
        self.log.append(("lean", round(shift, 9)))

    def begin(self, number, static):
        self.log.append(("begin", static.tolist()))

    def observe(self, number, step, value):
        self.log.append(("observe", step, value))

    def forecast(self, number, step, *, target, since, delta):
        self.log.append(("forecast", step, target))
        return Forecast(step, target, self.value, 1.0, 0.1, 0.2, 20, 0.0, 1.0)


def talk(value=0.9, **advice):
    """A dialogue of one who writes everything down with itself."""
    scribe = Scribe(value)
    form = {"mode": "obey", "audit": 0.0, "looks": 3, "confirm": 1} | advice
    adviser = Adviser("last_drop", **form)
    adviser.forecaster = scribe
    dialogue = Dialogue(adviser, scribe, LINE)
    # It has only those methods of a scheduler that a dialogue calls.
    dialogue._advised = scribe
    return dialogue, scribe.log


def test_without_an_adviser_the_scheduler_decides_alone():
    dialogue = Dialogue(None, Fifo(9), LINE, several=True)
    dialogue.learn({"x": 0.5}, [1], [0.3])
    dialogue.begin(0, {"x": 0.5})
    assert dialogue.report(0, 1, (0.3, 2.0)) == (Answer(Decision.CONTINUE, 9), None)
    assert dialogue.report(0, 9, (0.3, 2.0))[0].decision is Decision.STOP
    dialogue.forget(0)


def test_between_milestones_the_scheduler_is_asked_before_the_models_are():
    dialogue, log = talk()
    dialogue.begin(0, {"x": 0.25})
    answer, advice = dialogue.report(0, 6, 0.7)
    assert (answer.decision, advice.heard) == (Decision.STOP, "obeyed")
    assert log == [
        ("begin", [0.25]),
        ("observe", 6, 0.7),
        ("report", 6, 0.7),
        ("forecast", 6, 8),
        ("forecast", 6, 16),
        ("cut", 6, 0.9),
    ]


def test_at_a_milestone_its_rank_is_moved_before_the_scheduler_ranks():
    dialogue, log = talk(order="forecast")
    answer, advice = dialogue.report(0, 8, 0.7)
    assert (answer.decision, advice.heard) == (Decision.CONTINUE, "ranked")
    assert log == [("observe", 8, 0.7), ("forecast", 8, 16), ("lean", -0.1), ("report", 8, 0.7)]


def test_nobody_is_cut_whom_the_scheduler_has_sent_away():
    dialogue, log = talk()
    dialogue._scheduler = Median(16, min_step=1, min_trials=1)
    dialogue._scheduler.report = lambda *report: Answer(Decision.STOP, 6)
    assert dialogue.report(0, 6, 0.7) == (Answer(Decision.STOP, 6), None)
    assert [kind for kind, *_ in log] == ["observe"]


@pytest.mark.parametrize("heard", [None, 0.2])
def test_where_it_is_known_what_models_said_they_are_not_asked(heard):
    dialogue, log = talk()
    said = None if heard is None else talk(heard)[0].report(0, 6, 0.7)[1]
    dialogue.report(0, 6, 0.7, said)
    assert [kind for kind, *_ in log] == ["observe", "report"]


# ---------------------------------------------------------------------- earlier campaigns


def study(emit=None, direction="min", **advice):
    """A study whose models are fitted when they are asked."""
    settings = {"mode": "obey", "labels": 5, "delta": 0.3, "looks": 3, "audit": 0.2} | advice
    adviser = Adviser("last_drop", **settings)
    adviser.forecaster = Prompt(adviser.forecaster)
    scheduler = ASHA(max_step=16, min_step=4, eta=2, mode="stop")
    more = {"metric": "loss", "direction": direction, "adviser": adviser, "emit": emit}
    return Study(LINE, scheduler, Random(LINE, seed=3), **more)


def teach(told, curves, sign=1.0):
    for curve in curves:
        steps = range(1, len(curve) + 1)
        told.learn({"x": 0.5}, list(steps), [{"loss": sign * value} for value in curve])


def falling(height, length=8):
    return [height + 1 / step for step in range(1, length + 1)]


@pytest.mark.parametrize(("direction", "sign"), [("min", 1.0), ("max", -1.0)])
def test_a_second_campaign_forecasts_at_its_first_look(direction, sign):
    facts = []
    told = study(facts.append, direction)
    teach(told, [falling(height) for height in range(9)], sign)
    job = told.ask()
    told.report(job.number, job.attempt, 1, {"loss": sign * 3.0})
    advice = facts[-1]["advice"]
    assert (advice["step"], advice["target"], advice["labels"]) == (1, 4, 9)
    assert advice["value"] == pytest.approx(3.0 - 0.75)
    assert advice["heard"] == "", "there is no bar as yet"


@pytest.mark.parametrize("flaw", [{}, {"loss": math.nan}, {"loss": math.inf}])
def test_a_curve_that_is_not_finite_is_left_out(flaw):
    facts = []
    told = study(facts.append)
    teach(told, [falling(height) for height in range(4)])
    metrics = [{"loss": value} for value in falling(9)]
    metrics[5] = flaw
    told.learn({"x": 0.5}, list(range(1, 9)), metrics)
    teach(told, [[]])
    job = told.ask()
    told.report(job.number, job.attempt, 1, {"loss": 3.0})
    assert "advice" not in facts[-1]
    assert told.known == 6
    teach(told, [falling(7)])
    told.report(job.number, job.attempt, 2, {"loss": 3.0})
    assert facts[-1]["advice"]["labels"] == 5


def test_with_several_metrics_there_is_nobody_to_forecast():
    told = Study(LINE, Fifo(9), Random(LINE), metric="loss", also={"memory": "min"})
    told.learn({"x": 0.5}, [1, 2], [{"loss": 0.5, "memory": 3.0}] * 2)
    assert told.known == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_a_replay_knows_what_was_learned(known, seed):
    facts, rng = [], np.random.default_rng(seed)

    def emit(fact):
        facts.append(decode_line(encode_line(fact, seq=len(facts) + 1, t=0.0)[:-1]))

    first = study(emit)
    lengths = rng.integers(1, 17, known).tolist()
    teach(first, [np.cumsum(rng.random(length))[::-1].tolist() for length in lengths])
    Rehearsal(first, workers=3, rng=rng, mishaps=3).run(trials=10)
    again = study().replay(facts)
    assert standing(again) == standing(first)
    assert curves(again) == curves(first)
    assert sum(number < 0 for number in curves(again)) == known


def curves(told):
    """All that its models could learn from: ``{number: (steps, values, static)}``."""
    forecaster = told.adviser.forecaster
    return {
        number: (list(steps), list(values), forecaster._static[number].tolist())
        for number, (steps, values) in forecaster._curves.items()
    }
