"""A new campaign begins with what earlier ones know; after that it needs them no more."""

from __future__ import annotations

import logging
import shutil

import objectives
import pytest

from daskhpo import ASHA, Choice, Float, Space, Tuner
from daskhpo.analysis.reading import Reading
from daskhpo.analysis.summary import summary
from daskhpo.exceptions import CampaignError
from daskhpo.samplers.random import Random
from daskhpo.testing import standing

TRIALS = 9


@pytest.fixture
def told(monkeypatch):
    """What samplers are told of earlier campaigns: [(params, step, value)]."""
    heard = []

    class Attentive(Random):
        def learn(self, params, step, value):
            heard.append((dict(params), step, value))

    def make(settings, space, seed):
        return Attentive(space, seed=seed)

    monkeypatch.setattr("daskhpo.campaign.make_sampler", make)
    return heard


@pytest.fixture
def first(tuner_of, tmp_path):
    """A finished campaign."""
    tuner = tuner_of(objectives.quick, path=tmp_path / "first")
    tuner.debug(trials=TRIALS)
    return tuner


@pytest.fixture
def second_of(tuner_of, tmp_path, first):
    """Make a tuner that learns from the first campaign."""

    def make(name="second", **settings):
        given = {"seed": 5, "warm_start": [first.directory.path]} | settings
        return tuner_of(objectives.quick, path=tmp_path / name, **given)

    return make


def kinds(tuner):
    return [fact["kind"] for fact in tuner.directory.facts()]


def text_of(tuner):
    reading = Reading(tuner.directory.path).catch_up()
    return summary(reading.study, reading.campaign).to_text()


def test_the_sampler_is_told_of_every_earlier_trial_before_it_is_asked(first, second_of, told):
    second = second_of()
    second.debug(trials=3)
    trials = list(first.study.trials.values())
    assert told[:TRIALS] == [(dict(t.params), t.step, t.value) for t in trials]
    assert kinds(second)[: TRIALS + 2] == ["known"] * TRIALS + ["limited", "offered"]
    assert second.study.known == TRIALS
    assert len(second.study.trials) == 3


def test_a_maximised_metric_is_told_with_its_sign(tuner_of, tmp_path, told):
    def objective(trial):
        for step in trial.steps():
            trial.report(score=step * trial.params["x"])

    settings = {"metric": "score", "mode": "max"}
    first = tuner_of(objective, path=tmp_path / "first", **settings)
    first.debug(trials=2)
    tuner_of(objective, warm_start=[tmp_path / "first"], **settings).debug(trials=1)
    assert [value for _, _, value in told[:2]] == [-t.value for t in first.study.trials.values()]


def test_points_to_try_first_still_come_first(second_of):
    second = second_of(points=[{"x": 0.25}, {"x": 0.75}])
    second.debug(trials=4)
    assert list(second.trials.param_x)[:2] == [0.25, 0.75]
    assert kinds(second)[: TRIALS + 1] == ["known"] * TRIALS + ["limited"]


def test_a_resumed_campaign_decides_the_same_without_the_earlier_one(first, second_of, told):
    undisturbed = second_of("undisturbed")
    undisturbed.debug(trials=4)
    undisturbed.debug(trials=8)
    second_of().debug(trials=4)
    shutil.rmtree(first.directory.path)
    again = second_of()
    again.debug(trials=8)
    assert timeless(again) == timeless(undisturbed)
    assert again.study.known == TRIALS


def timeless(tuner):
    """Everything that decides what happens next, but not how long trials took."""
    for trial in (study := tuner.study).trials.values():
        trial.seconds = 0.0
    return standing(study)


def test_the_second_run_tells_the_sampler_the_same_from_the_journal(first, second_of, told):
    second_of().debug(trials=2)
    heard = list(told)
    shutil.rmtree(first.directory.path)
    told.clear()
    second_of().debug(trials=4)
    assert told[:TRIALS] == heard[:TRIALS]


@pytest.mark.parametrize("left", [0, 1, 4, TRIALS])
@pytest.mark.parametrize("torn", [b"", b'{"crc":"0000'])
def test_a_driver_that_died_while_it_learned_is_made_up_for(first, second_of, left, torn):
    undisturbed = second_of("undisturbed")
    undisturbed.debug(trials=4)
    second = second_of()
    second.debug(trials=1)
    journal = second.directory.journal_path
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:left]) + torn)
    again = second_of()
    again.debug(trials=4)
    assert kinds(again) == kinds(undisturbed)
    expected = [f["params"] for f in undisturbed.directory.facts() if f["kind"] == "known"]
    assert [f["params"] for f in again.directory.facts() if f["kind"] == "known"] == expected
    assert again.trials.param_x.tolist() == undisturbed.trials.param_x.tolist()


@pytest.mark.parametrize("left", [1, TRIALS])
def test_what_was_learned_has_to_do_if_the_rest_is_gone(first, second_of, left, caplog):
    second = second_of()
    second.debug(trials=1)
    journal = second.directory.journal_path
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:left]))
    shutil.rmtree(first.directory.path)
    again = second_of()
    with caplog.at_level(logging.WARNING, "daskhpo"):
        again.debug(trials=2)
    assert again.study.known == left
    assert f"goes on with the {left} trial" in caplog.text
    assert len(again.study.trials) == 2


def test_a_campaign_without_a_limit_of_trials_learns_once_too(second_of):
    second = second_of()
    second.debug(steps=3)
    second.debug(steps=6)
    assert kinds(second).count("known") == TRIALS


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"warm_start": ["nowhere"]}, "warm_start: nowhere does not exist"),
        ({"metric": "accuracy"}, "has no metric 'accuracy'"),
        ({"mode": "max"}, "direction of 'loss' is min"),
        ({"also": {"memory": "min"}}, "has no metric 'memory'"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_before_anything_is_written(
    second_of, settings, words
):
    second = second_of(**settings)
    with pytest.raises(CampaignError, match=words):
        second.check()
    with pytest.raises(CampaignError, match=words):
        second.debug(trials=1)
    assert not second.directory.path.exists()


def test_another_space_takes_what_fits(first, tmp_path, caplog):
    second = Tuner(
        objectives.quick,
        Space(x=Float(0.0, 0.5), data=Choice(["sample"])),
        metric="loss",
        sampler="random",
        scheduler=ASHA(9, eta=3),
        path=tmp_path / "second",
        warm_start=[str(first.directory.path)],
    )
    inside = sum(x <= 0.5 for x in first.trials.param_x)
    assert 0 < inside < TRIALS
    with caplog.at_level(logging.INFO, "daskhpo"):
        second.debug(trials=1)
    assert second.study.known == inside
    path = first.directory.path
    said = f"taken {inside} of {TRIALS} trials of {path}: {TRIALS - inside} outside x"
    assert f"warm start: {said}" in caplog.text
    assert f"learned from {inside} trials of {path}" in text_of(second)


def test_nothing_fits(first, tmp_path, tuner_of):
    second = Tuner(
        objectives.quick,
        Space(x=Float(2.0, 3.0)),
        metric="loss",
        sampler="random",
        scheduler=ASHA(9, eta=3),
        path=tmp_path / "second",
        warm_start=[first.directory.path],
    )
    with pytest.raises(CampaignError, match=f"nothing to learn; taken 0 of {TRIALS} trials"):
        second.check()


def test_what_was_learned_is_shown(first, second_of):
    second = second_of()
    second.debug(trials=1)
    assert f"learned from {TRIALS} trials of {first.directory.path}" in text_of(second)
    assert f"{TRIALS} trials of earlier campaigns" in second._repr_html_()
    assert "learned" not in text_of(first)
    assert "Learned" not in first._repr_html_()


def test_a_campaign_that_has_begun_learns_from_no_other(tuner_of, first, second_of, caplog):
    second_of(warm_start=[]).debug(trials=1)
    late = second_of()
    with caplog.at_level(logging.WARNING, "daskhpo"):
        late.debug(trials=2)
    assert "has begun: it learns from no other campaign" in caplog.text
    assert late.study.known == 0


def test_warm_start_is_recorded_but_decides_nothing(first, second_of):
    second = second_of()
    second.debug(trials=1)
    assert second.directory.config()["warm_start"] == [str(first.directory.path)]
    assert "warm_start" not in second.campaign.decisive
    second_of(warm_start=[]).debug(trials=2)  # the same campaign all the same
