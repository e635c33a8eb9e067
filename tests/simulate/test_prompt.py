"""Under a virtual clock a forecast has its model at once."""

from __future__ import annotations

import numpy as np
import pytest

from daskhpo.advice import Adviser, Forecaster
from daskhpo.predictors import LastDrop
from daskhpo.simulate import Costs, Problem, Rows, simulate
from daskhpo.simulate.prompt import Prompt


def observe(forecaster, numbers, steps):
    for number in numbers:
        for step in range(1, steps + 1):
            forecaster.observe(number, step, number + 1 / step)


def test_whoever_asks_has_an_answer_as_soon_as_there_are_enough_curves():
    prompt = Prompt(Forecaster(LastDrop(), labels=4))
    observe(prompt, [2], 2)
    for number in (0, 1, 3, 4):
        assert prompt.forecast(2, 2, target=4, since=0, delta=0.2) is None
        observe(prompt, [number], 4)
    assert prompt.forecast(2, 2, target=4, since=0, delta=0.2).value == 2.25


def test_it_learns_again_when_curves_have_come():
    prompt = Prompt(Forecaster(LastDrop(), labels=4))
    observe(prompt, range(4), 4)
    assert prompt.forecast(0, 2, target=4, since=0, delta=0.2).labels == 4
    observe(prompt, [4], 4)
    assert prompt.forecast(0, 2, target=4, since=0, delta=0.2).labels == 5
    observe(prompt, [5], 4)
    assert prompt.forecast(0, 2, target=4, since=0, delta=0.2).labels == 5


@pytest.mark.parametrize(("since", "largest"), [(8, 1 / 8), (0, 1 - 1 / 5)])
def test_what_a_curve_may_still_do_is_learned_from_the_way_that_the_trial_is_on(since, largest):
    prompt = Prompt(Forecaster(LastDrop(), labels=4))
    observe(prompt, range(4), 8)
    assert prompt.forecast(0, 6, target=8, since=4, delta=0.2).labels == 4
    for number in range(3):
        for step in range(9, 17):
            prompt.observe(number, step, number)
    said = prompt.forecast(0, 12, target=16, since=since, delta=0.2)
    assert (said.labels, said.worst) == (3, pytest.approx(largest))  # within four steps


def problem():
    """Sixty curves that fall alike, to sixty ends."""
    steps = np.arange(1, 33)
    curves = np.linspace(1, 2, 60)[:, None] + 1 / steps
    return Problem("made up", "loss", [{"x": i / 60} for i in range(60)], curves)


def run(adviser=None, scheduler="asha(eta=2, min_step=4, mode=stop)"):
    facts = []
    found = simulate(
        Rows(problem()),
        scheduler,
        workers=4,
        costs=Costs.free(),
        adviser=adviser,
        emit=facts.append,
    )
    return found, facts


def test_a_simulated_campaign_that_obeys_saves_steps_and_finds_the_same():
    alone, _ = run()
    advised, facts = run(Adviser("last_drop", mode="obey", audit=0.0, looks=3, confirm=1))
    assert advised.trained < 0.9 * alone.trained
    assert advised.rank == alone.rank == 0
    assert any(fact.get("advice", {}).get("heard") == "obeyed" for fact in facts)


def test_the_same_arguments_give_the_same_facts():
    first, second = (
        run(Adviser("last_drop", mode="obey", audit=0.3, looks=3, confirm=1))[1] for _ in range(2)
    )
    assert first == second


def test_advice_that_is_only_logged_costs_nothing():
    alone, plain = run()
    logged, facts = run(Adviser("last_drop", mode="log"))
    assert logged.trained == alone.trained
    assert [{k: v for k, v in fact.items() if k != "advice"} for fact in facts] == plain
    assert any("advice" in fact for fact in facts)
