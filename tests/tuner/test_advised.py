"""A campaign with a predictor, in this process: what it says, what is obeyed, what is kept."""

from __future__ import annotations

import json

import objectives
import pytest
from pupils import Pupil

from daskhpo import ASHA, PBT, SHA, Fifo, Hyperband, Median
from daskhpo.advice import Adviser
from daskhpo.exceptions import CampaignError, ReplayError, SchedulerError
from daskhpo.predictors import SVR
from daskhpo.store.rebuild import verify
from daskhpo.testing import standing

# First the good ones, so that the others have something to be compared with.
POINTS = [{"x": 0.3 + 0.02 * n} for n in range(8)] + [{"x": 0.7 + 0.01 * n} for n in range(12)]
STOPPING = ASHA(max_step=16, min_step=4, eta=2, mode="stop")
PROMOTING = ASHA(max_step=16, min_step=4, eta=2)
KEEN = {"mode": "obey", "labels": 5, "delta": 0.2, "audit": 0.0, "looks": 3, "confirm": 1}


@pytest.fixture
def advised(tuner_of):
    """Make a tuner of a campaign with a predictor."""

    def make(objective=objectives.noted, **settings):
        given = {"scheduler": STOPPING, "points": POINTS, "predictor": "last_drop", "advice": KEEN}
        return tuner_of(objective, **given | settings)

    return make


def heard(tuner, *kinds):
    """The reports whose advice was heard so."""
    facts = tuner.directory.facts()
    return [fact for fact in facts if fact.get("advice", {}).get("heard") in kinds]


def decided(tuner):
    keys = ("number", "step", "metrics", "decision")
    facts = tuner.directory.facts()
    return [[fact.get(key) for key in keys] for fact in facts if fact["kind"] == "reported"]


@pytest.mark.parametrize("scheduler", [STOPPING, PROMOTING, Fifo(16)], ids=repr)
def test_trials_that_are_forecast_not_to_pass_leave_before_their_milestone(advised, scheduler):
    tuner = advised(scheduler=scheduler)
    tuner.debug(trials=20)
    stops = heard(tuner, "obeyed")
    assert stops
    for fact in stops:
        advice = fact["advice"]
        assert fact["step"] < advice["target"]
        assert advice["value"] - advice["margin"] > advice["bar"]
        assert advice["labels"] >= 3
        assert fact["decision"] in ("stop", "pause")
        assert fact["evidence"]["advice"]
    lessons = [f for f in tuner.directory.facts() if f.get("of") == "lesson"]
    assert lessons
    assert tuner.best.state == "completed"
    assert verify(tuner.directory).ok


def test_curves_of_trials_that_were_cut_end_where_they_were_cut(advised):
    tuner = advised()
    tuner.debug(trials=20)
    (first, *_) = heard(tuner, "obeyed")
    curve = tuner.curves.sel(trial=first["number"])
    assert int(curve.last_step) == first["step"]
    assert int(curve.loss.notnull().sum()) == first["step"]
    assert str(curve.state.values) == "stopped"


def test_a_paused_trial_that_was_cut_goes_on_where_it_left(advised):
    tuner = advised(scheduler=PROMOTING)
    tuner.debug(trials=20)
    cut = {fact["number"] for fact in heard(tuner, "obeyed")}
    assert any(tuner.study.trials[number].attempt for number in cut), "none came back"
    for number in tuner.study.trials:
        steps = [step for _, step in objectives.trained(tuner.directory.path, number)]
        assert steps == list(range(1, len(steps) + 1))


@pytest.mark.parametrize(
    "scheduler",
    [STOPPING, PROMOTING, ASHA(9), SHA(9, trials=6), Hyperband(4), Median(9), Fifo(4)],
    ids=repr,
)
def test_what_is_only_logged_changes_nothing(advised, tuner_of, tmp_path, scheduler):
    tuner = advised(scheduler=scheduler, advice=KEEN | {"mode": "log"})
    tuner.debug(trials=20)
    plain = tuner_of(
        objectives.noted, scheduler=scheduler, points=POINTS, path=tmp_path / "without"
    )
    plain.debug(trials=20)
    assert decided(tuner) == decided(plain)
    if scheduler is STOPPING:
        assert heard(tuner, "logged")
        assert not heard(tuner, "obeyed", "audited")


def test_a_population_is_not_disturbed(advised):
    tuner = advised(
        scheduler=PBT(12, perturb=["x"], interval=3, population=6),
        advice=KEEN | {"mode": "log"},
        points=(),
    )
    tuner.debug(trials=6)
    assert "completed" in {str(trial.state) for trial in tuner.study.trials.values()}


def test_the_decisions_are_reached_again_from_the_journal(advised):
    tuner = advised()
    tuner.debug(trials=20)
    assert heard(tuner, "obeyed")
    facts = [json.loads(json.dumps(fact)) for fact in tuner.directory.facts()]
    again = tuner.campaign.study().replay(facts)
    assert standing(again) == standing(tuner.study)
    assert again.adviser.tally == tuner.study.adviser.tally
    assert not list(again.adviser.forecaster.due()), "a replay asks for no model"


def test_a_journal_in_which_advice_was_changed_is_refused(advised):
    tuner = advised()
    tuner.debug(trials=20)
    facts = [json.loads(json.dumps(fact)) for fact in tuner.directory.facts()]
    (fact, *_) = [f for f in facts if f.get("advice", {}).get("heard") == "obeyed"]
    fact["advice"]["value"] = -1.0
    with pytest.raises(ReplayError, match=f"trial {fact['number']}"):
        tuner.campaign.study().replay(facts)


def test_a_second_run_learns_anew_from_the_curves_that_there_are(advised):
    advised().debug(trials=10)
    second = advised()
    before = list(second.directory.facts())
    assert heard(second, "obeyed")
    second.debug(trials=20)
    new = list(second.directory.facts())[len(before) :]
    lessons = [fact for fact in new if fact.get("of") == "lesson"]
    assert lessons[0]["labels"] >= 5, "the curves of the first run are known"
    assert [f for f in new if f.get("advice", {}).get("heard") == "obeyed"]
    assert verify(second.directory).ok


def test_a_predictor_that_always_fails_leaves_the_campaign_to_its_scheduler(
    advised, tuner_of, tmp_path, monkeypatch
):
    plain = tuner_of(objectives.noted, scheduler=STOPPING, points=POINTS, path=tmp_path / "without")
    plain.debug(trials=20)

    def make(predictor, advice, *, seed):
        return Adviser(Pupil("raises", "it never works"), **advice, seed=seed)

    monkeypatch.setattr("daskhpo.campaign.make_adviser", make)
    tuner = advised()
    tuner.debug(trials=20)
    assert decided(tuner) == decided(plain)
    lessons = [fact for fact in tuner.directory.facts() if fact.get("of") == "lesson"]
    assert lessons
    assert all("it never works" in fact["failed"] for fact in lessons)


# ---------------------------------------------------------------------- settings


def test_a_predictor_that_was_made_is_recorded_by_its_line(advised):
    tuner = advised(predictor=SVR(C=2.5), advice="log")
    tuner.debug(trials=1)
    assert tuner.directory.config()["predictor"] == "svr(C=2.5)"
    advised(predictor="svr(C=2.5)", advice={"mode": "log"}).debug(trials=2)


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({"predictor": "svr"}, "predictor='last_drop', not 'svr'"),
        ({"predictor": None, "advice": None}, "predictor='last_drop', not None"),
        ({"advice": KEEN | {"mode": "log"}}, "advice="),
        ({"advice": KEEN | {"labels": 6}}, "advice="),
    ],
)
def test_a_campaign_goes_on_with_the_same_predictor_and_advice_only(advised, other, key):
    advised().debug(trials=1)
    with pytest.raises(CampaignError, match=key):
        advised(**other)


def test_a_campaign_without_a_predictor_gets_none_later(advised, tuner_of):
    tuner_of(objectives.noted, scheduler=STOPPING, points=POINTS).debug(trials=1)
    with pytest.raises(CampaignError, match="predictor=None, not 'last_drop'"):
        advised()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"predictor": "svrr"}, "predictor='svrr'"),
        ({"predictor": Pupil()}, "predictor='Pupil': known: auto"),
        ({"scheduler": Median(9)}, "advice mode='obey': Median"),
        ({"also": {"steps": "min"}}, "predictor='last_drop' forecasts one metric"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(advised, tmp_path, settings, words):
    with pytest.raises((CampaignError, SchedulerError), match=words):
        advised(**settings)
    assert not list(tmp_path.iterdir())
