"""A simulation knows which of the trials that advice stopped would have been kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
from simulated import InOrder, problem, random_problem

from daskhpo.exceptions import CampaignError, SchedulerError
from daskhpo.simulate import Costs, Rows, simulate
from daskhpo.simulate.choosing import make_adviser
from daskhpo.simulate.spread import ADVISED, QUANTITIES, spread

FALLING = np.linspace(1.0, 0.3, 8)
OBEY = "obey(labels=4, delta=0.2, audit=0, looks=1, confirm=1)"
STOPPING = "asha(mode=stop, min_step=4, eta=2)"


def made(turning=0, sign=1, after=3):
    """Ten curves that get worse by number, noise aside; the last few are good at one step."""
    rng = np.random.default_rng(0)
    curves = np.arange(10)[:, None] + FALLING + rng.normal(0, 0.01, (10, 8))
    if turning:
        curves[-turning:, after] = 0.01
    return problem(sign * curves, direction="min" if sign > 0 else "max")


def run(given, scheduler=STOPPING, advice=OBEY, **more):
    settings = {"workers": 1, "speeds": 0.0, "costs": Costs.free()} | more
    adviser = make_adviser("last_drop", advice, seed=0)
    return simulate(InOrder(given), scheduler, adviser=adviser, **settings)


@pytest.mark.parametrize("sign", [1, -1])
def test_who_would_have_been_kept_was_stopped_wrongly(sign):
    right, wrong = run(made(sign=sign)), run(made(turning=2, sign=sign))
    assert right.stopped == wrong.stopped == right.study.adviser.tally.obeyed > 3
    assert (right.wrong, wrong.wrong) == (0, 2)
    assert wrong.wrong_share == pytest.approx(2 / wrong.stopped)


def test_the_bar_is_that_of_the_moment_at_the_milestone_that_was_forecast():
    facts = []
    found = run(made(turning=2), emit=facts.append)
    stops = [f for f in facts if f.get("advice", {}).get("heard") == "obeyed"]
    assert len(stops) == found.stopped
    wrong = [
        fact["number"]
        for fact in stops
        if found.problem.curves[fact["number"], fact["advice"]["target"] - 1]
        <= fact["advice"]["bar"]
    ]
    assert wrong == [8, 9]
    assert {fact["advice"]["target"] for fact in stops} == {4}


def test_a_stop_before_the_end_is_measured_at_the_end():
    found = run(made(turning=2, after=7), "fifo")
    assert (found.stopped > 3, found.wrong) == (True, 2)


def test_a_trial_that_is_stopped_twice_counts_once():
    given = random_problem(rows=80, steps=16)
    adviser = make_adviser(
        "last_drop", "obey(labels=4, delta=0.4, audit=0, looks=3, confirm=1)", seed=0
    )
    facts = []
    found = simulate(Rows(given), "asha", adviser=adviser, emit=facts.append, seed=1)
    stopped = [f["number"] for f in facts if f.get("advice", {}).get("heard") == "obeyed"]
    assert found.stopped == len(set(stopped)) > 0
    assert len(stopped) > len(set(stopped))


def test_advice_that_is_only_logged_stops_nobody_and_changes_nothing():
    logged = run(made(turning=2), advice=OBEY.replace("obey", "log"))
    plain = simulate(InOrder(made(turning=2)), STOPPING, workers=1, speeds=0.0, costs=Costs.free())
    assert (logged.stopped, logged.wrong) == (0, 0)
    assert math.isnan(logged.wrong_share)
    assert logged.study.adviser.tally.logged > 3
    with_advice, without = logged.to_dict(), plain.to_dict()
    assert {key: with_advice[key] for key in without} == without


def test_obeyed_advice_saves_steps_and_finds_the_same():
    plain = simulate(InOrder(made()), "fifo", workers=1, speeds=0.0, costs=Costs.free())
    advised = run(made(), "fifo")
    assert advised.trained < plain.trained
    assert advised.rank == plain.rank == 0


def test_without_an_adviser_outputs_are_as_ever():
    plain = simulate(Rows(random_problem()), "asha(eta=2)")
    assert (plain.stopped, plain.wrong) == (None, None)
    assert not {"stopped", "wrong"} & set(plain.to_dict())
    assert list(spread([plain])) == list(QUANTITIES)


def test_with_one_the_spread_has_the_stops_and_the_wrong_share():
    runs = [run(made(turning=2)), run(made())]
    found = spread(runs)
    assert list(found) == [*QUANTITIES, *ADVISED]
    assert found["stopped"]["median"] == np.median([r.stopped for r in runs])
    assert found["wrong"]["median"] == pytest.approx(runs[0].wrong_share / 2)
    assert runs[0].to_dict()["wrong"] == 2
    assert spread([run(made(), advice="log")])["wrong"]["median"] is None


# ---------------------------------------------------------------------- settings


def test_an_adviser_is_made_from_two_lines():
    adviser = make_adviser("last_drop", "obey(delta=0.2, looks=1)", seed=3)
    settings = adviser.settings()
    assert {k: settings[k] for k in ("predictor", "mode", "delta", "looks", "seed")} == {
        "predictor": "last_drop",
        "mode": "obey",
        "delta": 0.2,
        "looks": 1,
        "seed": 3,
    }
    assert make_adviser("last_drop", None, seed=0).mode == "log"
    assert make_adviser("last_drop", {"mode": "obey", "grace": 4}, seed=0).grace == 4
    assert make_adviser(None, None, seed=0) is None


@pytest.mark.parametrize(
    ("predictor", "advice", "kind", "message"),
    [
        ("lst_drop", "obey", SchedulerError, "did you mean 'last_drop'"),
        ("last_drop", "obay", SchedulerError, "mode='obay': must be 'log' or 'obey'"),
        ("last_drop", "obey(dleta=1)", SchedulerError, "did you mean 'delta'"),
        ("last_drop", "obey(delta=2)", SchedulerError, "delta=2"),
        ("last_drop", "obey(mode=log)", CampaignError, "the mode stands before"),
        ("last_drop", True, CampaignError, "advice=True: must be settings such as 'obey(delta"),
        (3, "obey", CampaignError, "predictor=3: must be settings such as 'svr(C=1.75)'"),
    ],
)
def test_settings_that_make_none_are_refused(predictor, advice, kind, message):
    with pytest.raises(kind) as raised:
        make_adviser(predictor, advice, seed=0)
    assert message in str(raised.value)
