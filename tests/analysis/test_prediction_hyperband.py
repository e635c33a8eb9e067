"""Swift- and Fast-Hyperband with predictors: who was stopped, whom of them wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.analysis.prediction_hyperband import contenders, run_campaigns, stops
from daskhpo.analysis.prediction_hyperband_table import summaries, to_text
from daskhpo.exceptions import CampaignError, PredictorError
from daskhpo.schedulers.brackets import brackets
from daskhpo.simulate.problem import Problem


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(2)
    ends = rng.random((90, 1))
    curves = ends + np.linspace(1.0, 0.0, 30) * rng.random((90, 1)) + 0.02 * rng.random((90, 30))
    return Problem("made up", "loss", [{"x": i} for i in range(90)], curves)


@pytest.fixture(scope="module")
def found(problem):
    return run_campaigns([problem], contenders("last_drop,last_value*2", seeds=3))


def test_hyperband_comes_first_and_stops_nobody_on_a_forecast(found):
    names = [one.contender.name for one in found]
    assert names == [
        "hyperband",
        "swift: last_drop",
        "swift: last_value",
        "fast: last_drop",
        "fast: last_value",
    ]
    assert [len(one.outcomes) for one in found] == [3, 3, 2, 3, 2]
    assert all(outcome.stops == outcome.wrong == 0 for outcome in found[0].outcomes)


def test_forecasts_save_steps_and_some_stops_are_wrong(found):
    steps = {one.contender.name: [o.trained for o in one.outcomes] for one in found}
    base = steps["hyperband"]
    assert all(a < b for a, b in zip(steps["swift: last_drop"], base, strict=True))
    assert all(a <= b for a, b in zip(steps["fast: last_drop"], base, strict=True))
    for one in found[1:]:
        assert all(0 <= o.wrong <= o.stops for o in one.outcomes)
    assert sum(o.stops for one in found[1:] for o in one.outcomes) > 0


def test_savings_are_relative_to_hyperband_with_the_same_seeds(problem, found):
    rows = {row.name: row for row in summaries(problem, found)}
    base, swift = found[0].outcomes, found[2].outcomes
    shares = [a.trained / b.trained for a, b in zip(swift, base, strict=False)]
    assert rows["swift: last_value"].saved == pytest.approx(1 - np.mean(shares))
    assert rows["hyperband"].saved == 0.0
    assert rows["hyperband"].wrong == 0.0
    assert "authors" not in to_text([problem], found)


def test_campaigns_do_not_depend_on_the_processes(problem):
    chosen = contenders("last_drop", ["swift"], seeds=2)
    one, two = (run_campaigns([problem], chosen, jobs=jobs) for jobs in (1, 2))
    assert one == two


def test_an_annealed_predictor_is_not_tried_where_it_would_be_trained_at_every_step():
    names = [contender.name for contender in contenders("last_drop,qubo_svr*2")]
    assert names == ["hyperband", "swift: last_drop", "swift: qubo_svr", "fast: last_drop"]


def test_slow_predictors_have_fewer_seeds_and_hyperband_as_many_as_any():
    seeds = {one.name: one.seeds for one in contenders("last_drop,qubo_svr", ["swift"], seeds=20)}
    assert seeds == {"hyperband": 20, "swift: last_drop": 20, "swift: qubo_svr": 5}
    assert contenders("last_drop*40", ["swift"], seeds=20)[0].seeds == 40


@pytest.mark.parametrize(
    ("models", "algorithms", "error", "message"),
    [
        ("svm", ["swift"], PredictorError, "did you mean 'svr'"),
        ("last_drop", ["swfit"], CampaignError, "did you mean 'swift'"),
        ("last_drop,last_drop", ["swift"], CampaignError, "named twice"),
    ],
)
def test_what_is_unknown_is_named(models, algorithms, error, message):
    with pytest.raises(error, match=message):
        contenders(models, algorithms)


# ---------------------------------------------------------------------- who was stopped wrongly


def complete(curves):
    """Where each trial ends when Hyperband stops nobody between two milestones."""
    steps = np.zeros(len(curves), dtype=int)
    first = 0
    for _, rungs in brackets(curves.shape[1], 2):
        here = np.arange(first, first + rungs[0][1])
        first += rungs[0][1]
        for rung, (milestone, _) in enumerate(rungs):
            steps[here] = milestone
            if rung + 1 < len(rungs):
                order = np.argsort(curves[here, milestone - 1], kind="stable")
                here = here[order[: rungs[rung + 1][1]]]
    return steps


@given(st.integers(0, 1000), st.integers(4, 12))
def test_who_ends_at_a_milestone_was_not_stopped_on_a_forecast(seed, max_step):
    trials = sum(rungs[0][1] for _, rungs in brackets(max_step, 2))
    curves = np.random.default_rng(seed).random((trials, max_step))
    assert stops(complete(curves), curves, 2) == (0, 0)


def test_a_stop_is_wrong_if_the_trial_was_among_the_best_at_the_next_milestone():
    trials = sum(rungs[0][1] for _, rungs in brackets(9, 2))
    curves = np.random.default_rng(0).random((trials, 9))
    steps = complete(curves)
    (_, first), *_ = brackets(9, 2)
    assert first[:2] == ((1, 8), (2, 4))
    went_on = np.flatnonzero(steps[:8] > 1)
    by_rank = went_on[np.argsort(curves[went_on, 3])]  # the rung after ends at step 4
    assert first[2][0] == 4
    members = [t for t in by_rank if steps[t] >= 4]
    best = members[0]
    steps[best] = 3
    assert stops(steps, curves, 2) == (1, 1)
