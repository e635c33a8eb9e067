"""Advice is read out as it was given; whoever was cut by it has not come to the milestone."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from daskhpo.analysis.counsel import forecaster
from daskhpo.analysis.explain import explain
from daskhpo.analysis.reliability import reliability
from daskhpo.analysis.rungwatch import RungWatch, ladder_of, reliability_of
from daskhpo.analysis.summary import summary
from daskhpo.predictors.annealers import Backend

STOPPING = {"type": "asha", "max_step": 8, "min_step": 4, "eta": 2, "mode": "stop"}
PAUSING = STOPPING | {"mode": "promote"}
OBEY = {"mode": "obey", "labels": 4, "delta": 0.2, "looks": 1, "confirm": 1, "audit": 0.0}


def falling(start, *, by=0.1, steps=8):
    """A curve that falls steadily."""
    return [start - by * step for step in range(1, steps + 1)]


WORSE = [falling(start, by=0.1 + 0.01 * (start % 2)) for start in (1, 2, 3, 10, 5)]
BAD = falling(9)


@pytest.fixture
def advised(make):
    """A campaign in which four curves are enough; five trials have been trained."""

    def build(scheduler=STOPPING, advice=OBEY, mode="min", **more):
        made = make(
            scheduler=scheduler,
            predictor="last_drop",
            advice=advice,
            mode=mode,
            sampler="sobol",
            **more,
        )
        sign = 1 if mode == "min" else -1
        made.train(*([sign * value for value in curve] for curve in WORSE))
        return made

    return build


def told(made, number):
    """What is told of a trial, in one text."""
    return "\n".join(moment.text for moment in explain(made.path, number).moments)


# ---------------------------------------------------------------------- trials that were cut


def test_a_trial_that_was_stopped_by_advice_was_never_compared_at_the_milestone(advised):
    made = advised()
    made.train(BAD)
    assert made.study.trials[5].step == 2
    text = told(made, 5)
    assert "epoch 2: loss 8.8; it stopped on the way to milestone 4 by the forecast of" in text
    assert "last_drop: 8.59 there" in text
    assert "recorded there by then" not in text
    assert "only the best" not in text
    assert "The forecast stands in for its value there, as rank 5 of 6" in text


def test_the_forecast_is_told_with_its_margin_the_bar_and_what_it_rests_on(advised):
    made = advised()
    made.train(BAD)
    fact = [f for f in made.directory.facts() if f.get("advice", {}).get("heard") == "obeyed"][-1]
    advice, text = fact["advice"], told(made, 5)
    assert fact["number"] == 5
    assert advice["margin"] > 0
    assert f"at best {advice['value'] - advice['worst']:.6g} by the largest error so far" in text
    assert f"where {advice['bar']:.6g} is needed" in text
    assert f"from {advice['labels']} curves" in text
    errors = f"mean error out of fold {advice['error']:.3g}, of the median drop "
    assert errors + f"{advice['baseline']:.3g}" in text


def forecasting(made, change):
    """Let ``change`` make another forecast of each that the models of a campaign make."""
    forecaster = made.study.adviser.forecaster

    def forecast(*asked, **wish):
        said = type(forecaster).forecast(forecaster, *asked, **wish)
        return None if said is None else change(said)

    forecaster.forecast = forecast


def test_where_doubts_are_counted_the_margin_is_told_with_the_share_that_exceeds_it(advised):
    made = advised()
    forecasting(made, lambda said: replace(said, margin=2.0, worst=20.0))
    made.train(BAD)
    text = told(made, 5)
    assert "8.59 there, at best 6.59 but for 20% of such forecasts, where 2.56 is needed" in text


def led(advised, margins, **advice):
    """A campaign in which one leads who was so many margins of 1 above the bar of 2.56."""
    made = advised(advice=OBEY | advice)
    wrong = {"margin": 1.0 if margins < math.inf else 0.0, "worst": 20.0}
    forecasting(made, lambda said: replace(said, value=2.56 + min(margins, 1.0), **wrong))
    made.train(falling(0.5))
    assert made.study.trials[5].step == 8
    return made


@pytest.mark.parametrize(
    ("margin", "worst", "words"),
    [
        (1.0, 2.0, "at best 4.99 by 1.8 times the largest error so far since those that lead"),
        (
            1.0,
            4.0,
            "at best 6.79 but for 20% of such forecasts, with margins 1.8 times as wide since",
        ),
        (
            4.0,
            20.0,
            "2.56 is needed: it would be doubted, but those that lead today came near to being "
            "stopped, so that margins are 1.8 times as wide",
        ),
        (7.0, 20.0, "2.56 is needed: no objection"),
    ],
)
def test_what_those_that_lead_today_changed_is_told(advised, margin, worst, words):
    made = led(advised, 0.4)
    forecasting(made, lambda said: replace(said, margin=margin, worst=worst))
    made.train(BAD)
    assert words in told(made, 6)
    assert (made.study.trials[6].step == 2) == ("at best" in words)


def test_where_one_that_leads_would_have_been_stopped_that_is_told(advised):
    made = led(advised, math.inf, confirm=2)
    made.train(BAD, falling(1.5))
    assert "no advice, since one that leads today would have been stopped by it" in told(made, 6)
    assert made.study.trials[6].step == 4


def test_that_it_would_have_been_doubted_but_for_those_that_lead_is_told_once(advised):
    made = led(advised, 0.4, looks=3)
    assert "no objection" in told(made, 5)
    values = {1: 0.1, 2: 2.56 + 1.5, 3: 2.56 + 1.6}
    forecasting(made, lambda said: replace(said, value=values[said.step], margin=1.0, worst=20.0))
    made.train(BAD)
    text = told(made, 6)
    assert text.count("no objection") == text.count("it would be doubted, but") == 1
    assert text.index("no objection") < text.index("forecasts 4.06") < text.index("would be")


def test_its_place_shows_the_forecast_as_one(advised):
    made = advised()
    made.train(BAD)
    found = explain(made.path, 5)
    place = found.places[0]
    assert (place.milestone, place.rank, place.recorded) == (4, 5, 6)
    assert math.isnan(place.value)
    assert place.forecast == pytest.approx(8.59)
    assert "forecast 8.59, rank 5 of 6" in found.to_text()
    assert "failed" not in found.to_text()
    assert found.to_dict()["milestones"][0]["value"] is None


def test_where_trials_are_called_back_it_pauses_and_waits_by_its_forecast(advised):
    made = advised(PAUSING)
    made.train(BAD)
    text = told(made, 5)
    assert "it paused with a checkpoint on the way to milestone 4 by the forecast of" in text
    found = explain(made.path, 5)
    assert found.outlook.startswith("It is rank 5 of 6 at epoch 4 by its forecast. One in 2 goes")


def test_others_that_were_cut_are_counted_as_forecasts(advised):
    made = advised(PAUSING)
    made.train(*[BAD] * 4, falling(2))
    promoted = [told(made, number) for number in range(5)]
    assert any("recorded at epoch 4 (" in text and "by forecasts)" in text for text in promoted)


def test_without_rungs_a_cut_trial_is_not_called_complete(advised):
    made = advised({"type": "fifo", "max_step": 8})
    made.train(BAD)
    assert made.study.trials[5].step == 4
    text = told(made, 5)
    assert "it stopped on the way to epoch 8 by the forecast of last_drop: " in text
    assert "that is the end" not in text
    assert "stands in" not in text
    assert explain(made.path, 5).headline.startswith("Trial 5 is stopped at epoch 4 of 8.")


def test_maximised_values_keep_their_sign(advised):
    made = advised(mode="max")
    made.train([-value for value in BAD])
    text = told(made, 5)
    assert "last_drop: -8.59 there, at best -8.5" in text
    assert explain(made.path, 5).places[0].forecast == pytest.approx(-8.59)


# ---------------------------------------------------------------------- trials that went on


@pytest.mark.parametrize(
    ("advice", "told_as"),
    [
        (OBEY | {"mode": "log"}, "which is only logged"),
        (OBEY | {"audit": 1.0}, "which is not followed, to see if it is right"),
    ],
)
def test_advice_that_was_not_followed_turns_out_right_or_wrong(advised, advice, told_as):
    made = advised(advice=advice)
    made.train(BAD, [8.9, 8.8, 8.7, 0.1, 0.1, 0.1, 0.1, 0.1])
    for number, outcome in ((5, "right"), (6, "wrong, it is good enough")):
        *_, look, arrival = [m.text for m in explain(made.path, number).moments if m.step <= 4]
        assert f"it advises to stop, {told_as}" in (
            look if "advises" in look else told(made, number)
        )
        assert f"the advice of epoch 2 to stop it has turned out {outcome}" in arrival
        assert "recorded there by then" in arrival


def test_a_forecast_without_objection_is_told_in_short(advised):
    made = advised()
    made.train(falling(0.5))
    text = told(made, 5)
    assert "last_drop forecasts 0.09 for epoch 4, where 2.56 is needed: no objection" in text
    assert "turned out" not in text


def test_a_closed_gate_is_told_with_both_errors(advised):
    made = advised()
    forecasting(made, lambda said: replace(said, error=2.0, baseline=1.0))
    made.train(BAD)
    assert made.study.trials[5].step == 4
    text = told(made, 5)
    assert "no advice, since its mean error out of fold, 2, is above that of the median" in text
    assert "drop, 1" in text


def test_a_lesson_that_failed_says_why_nothing_is_forecast(make):
    made = make(scheduler=STOPPING, predictor="last_drop", advice=OBEY)
    made.study.set_limit(9)
    why = "targets: all 4 are equal"
    lesson = {"step": 2, "target": 4, "labels": 4, "seconds": 0.1}
    made.study.note("lesson", **lesson, failed=why)
    made.train(falling(3))
    text = told(made, 0)
    assert f"epoch 2: loss 2.8; nothing is forecast for epoch 4: {why}" in text
    assert text.count(why) == 1
    made.study.note("lesson", **lesson, error=0.1, baseline=0.2)
    made.train(falling(4))
    assert why not in told(made, 1)


def test_a_rank_that_a_forecast_moved_is_told(make):
    advice = OBEY | {"mode": "log", "order": "forecast"}
    made = make(scheduler=PAUSING | {"min_step": 2}, predictor="linear", advice=advice)
    rng = np.random.default_rng(0)
    made.train(*(falling(3 + rng.uniform(), by=rng.uniform(0.05, 0.3)) for _ in range(40)))
    moved = [f for f in made.directory.facts() if "shift" in f.get("evidence", {})]
    assert moved
    fact = moved[-1]
    ranked = fact["metrics"]["loss"] + fact["evidence"]["shift"]
    assert f"so it is ranked as if it had {ranked:.6g}" in told(made, fact["number"])
    places = {place.milestone: place for place in explain(made.path, fact["number"]).places}
    assert places[fact["step"]].forecast == pytest.approx(ranked)


# ---------------------------------------------------------------------- whose forecast


@pytest.mark.parametrize("used", list(Backend))
def test_only_what_a_qpu_answered_is_called_quantum(used):
    record = {"backend_requested": "qpu", "backend_used": str(used)}
    said = forecaster("qubo_svr(annealer=qpu)", record)
    assert said.startswith("QUBO-SVR (")
    assert ("quantum" in said.lower()) == (used is Backend.QPU)
    assert ("qpu was asked" in said) == (used is not Backend.QPU)


def test_several_that_answered_are_named_and_plain_predictors_have_their_name():
    both = {"backend_requested": "qpu", "backend_used": "qubo-sa, svr"}
    assert "simulated annealing and solved exactly; qpu was asked" in forecaster("ensemble", both)
    assert forecaster("svr(C=1.75)", {"members": 3}) == "svr"
    assert forecaster("svr", {"errors_of": 8}) == "the median drop"


# ---------------------------------------------------------------------- everything at once


@pytest.fixture(params=["stop", "promote", "learned", "fifo"])
def grown(make, request):
    """A campaign of 60 trials in which some are cut, and their curves."""
    ladder = {"max_step": 16, "min_step": 1}
    scheduler = {
        "stop": {"type": "asha", "mode": "stop", "eta": 2, **ladder},
        "promote": {"type": "asha", "mode": "promote", "eta": 2, **ladder},
        "learned": {"type": "asha", **ladder},
        "fifo": {"type": "fifo", "max_step": 16},
    }[request.param]
    advice = OBEY | {"looks": 3, "confirm": 1, "labels": 10, "audit": 0.3}
    made = make(scheduler=scheduler, predictor="last_drop", advice=advice)
    rng = np.random.default_rng(1)
    falls = 3 / np.arange(1, 17)
    curves = [rng.uniform(0, 5) + falls + rng.normal(0, 0.01, 16) for _ in range(60)]
    made.train(*(curve.tolist() for curve in curves))
    return made, curves


def test_every_story_fits_is_json_and_never_takes_a_forecast_for_an_arrival(grown):
    made, _ = grown
    facts = [f for f in made.directory.facts() if f["kind"] == "reported" and "advice" in f]
    cut = {(f["number"], f["step"]) for f in facts if f["advice"]["heard"] == "obeyed"}
    assert cut
    rows = {row.milestone: row for row in made.study.scheduler.table()}
    for number in made.study.trials:
        found = explain(made.path, number)
        json.dumps(found.to_dict(), allow_nan=False)
        assert max(map(len, found.to_text().splitlines())) <= 100
        assert "quantum" not in found.to_text()
        for place in found.places:
            row = rows[place.milestone]
            assert (place.recorded, place.went_on) == (row.recorded, row.promoted)
            if math.isfinite(place.value):
                assert place.value == value_of(made, number, place.milestone)
        texts = [m.text for m in found.moments if (number, m.step) in cut and "way to" in m.text]
        assert len(texts) == sum(trial == number for trial, _ in cut)
        assert not any("recorded there" in text or "complete" in text for text in texts)


def value_of(made, number, step):
    """What a trial reported at a step."""
    (value,) = [
        fact["metrics"]["loss"]
        for fact in made.directory.facts()
        if fact["kind"] == "reported" and (fact["number"], fact["step"]) == (number, step)
    ]
    return value


def test_margins_of_an_earlier_stretch_are_told_as_such(grown):
    made, _ = grown
    for fact in made.directory.facts():
        advice = fact.get("advice", {})
        if advice.get("heard") in ("obeyed", "audited") and "errors_of" in advice:
            text = told(made, fact["number"])
            lender = f"that of the way to epoch {advice['errors_of']}, mean error "
            assert f"too few to judge it: its margin is {lender}{advice['error']:.3g}" in text
            assert "the median drop" in text


def test_rungs_are_judged_by_values_alone(grown):
    made, curves = grown
    study = made.study
    ladder, eta, learned = ladder_of(study)
    reached = np.full((60, 16), np.nan)
    for number, trial in study.trials.items():
        reached[number, : trial.step] = curves[number][: trial.step]
    expected = reliability(reached, milestones=ladder, eta=eta, learned=learned)
    assert reliability_of(made.path).to_dict() == expected.to_dict()
    watch = RungWatch(study, made.campaign)
    for fact in made.directory.facts():
        watch.record({**fact, "evidence": {}})
    assert watch.judge().to_dict() == expected.to_dict()


def test_a_cut_trial_that_comes_after_all_is_judged_by_what_it_had_there(advised):
    made = advised(PAUSING | {"max_step": 5})  # with no point to look at between 4 and 5
    turning = [*BAD[:3], 0.3, 0.25, 0.2, 0.15, 0.1]
    made.train(turning, *(falling(start) for start in range(20, 32)))
    assert "on the way to milestone 4" in told(made, 5)
    assert made.study.trials[5].state == "completed"
    found = reliability_of(made.path)
    assert found.basis == "finalists"
    assert found.rungs[0].spearman.value == 1.0  # 0.3 leads at epoch 4, its forecast was the last


def test_the_best_of_a_rung_is_a_value_that_was_reported(grown):
    made, curves = grown
    values = {value for curve in curves for value in curve}
    for row in summary(made.study, made.campaign).rungs:
        assert math.isnan(row.best) or row.best in values


def test_looks_without_objection_are_told_once_a_stretch_and_doubts_each_time(make):
    made = make(
        scheduler=STOPPING | {"max_step": 64, "min_step": 32},
        predictor="last_drop",
        advice=OBEY | {"looks": 3, "confirm": 2},
    )
    made.train(*([value] * 64 for value in (0.1, 0.2, 0.3)))
    made.train([9.5] * 31 + [0.4] * 33, [0.5] * 64)  # so late may it come
    made.train([0.05] * 64)
    made.train([0.05] * 8 + [9.0] * 56)
    quiet, cut = (told(made, number) for number in (5, 6))
    assert quiet.count("no objection") == 1  # of three looks; nobody has learned of the end yet
    assert "would stop the trial if the next look says so too" in cut
    assert "but for 40% of such forecasts" in cut  # two looks at delta=0.2
    assert made.study.trials[6].step == 24
