"""A campaign that trades metrics off: its rungs, its front, and what it does without a metric."""

from __future__ import annotations

import json

import pytest

from daskhpo import ASHA, Float, Median, Space, Tuner
from daskhpo.analysis.export import export
from daskhpo.analysis.summary import summary
from daskhpo.exceptions import CampaignError, SchedulerError
from daskhpo.goal import dominates
from daskhpo.schedulers import SHA, Fifo, Hyperband, OneCut
from daskhpo.store.curves import open_curves
from daskhpo.store.rebuild import rebuild, verify
from daskhpo.testing import standing


def objective(trial):
    """Larger nets are better and slower."""
    x = trial.params["x"]
    for step in trial.steps():
        trial.report(loss=1 - x + 1 / step, speed=1 - x * x, other=x)


def forgetful(trial):
    for step in trial.steps():
        if trial.params["x"] > 0.5:
            trial.report(loss=1.0 / step)
        else:
            trial.report(loss=1.0 / step, speed=1.0)


@pytest.fixture
def tuner(tuner_of):
    return tuner_of(objective, also={"speed": "max"}, scheduler=ASHA(max_step=9, eta=3))


def test_the_front_is_what_no_other_trial_beats(tuner):
    tuner.debug(trials=15)
    trials = tuner.study.trials
    values = {n: (t.metrics["loss"], -t.metrics["speed"]) for n, t in trials.items()}
    front = [trial.number for trial in tuner.front]
    assert front == [
        number
        for number, value in values.items()
        if not any(dominates(other, value) for other in values.values())
    ]
    assert len(front) > 1
    assert tuner.best.number == min(values, key=lambda n: values[n][0])


def test_the_decisions_are_reached_again_from_the_journal(tuner):
    tuner.debug(trials=15)
    facts = [json.loads(json.dumps(fact)) for fact in tuner.directory.facts()]
    assert standing(tuner.campaign.study().replay(facts)) == standing(tuner.study)


def test_promotions_are_not_those_of_the_first_metric_alone(tuner, tuner_of, tmp_path):
    tuner.debug(trials=15)
    single = tuner_of(objective, path=tmp_path / "single", scheduler=ASHA(max_step=9, eta=3))
    single.debug(trials=15)
    assert single.front == [single.best]
    assert tuner.trials.rung.tolist() != single.trials.rung.tolist()
    both = tuner.trials.query("rung > 0").param_x
    assert both.min() < single.trials.query("rung > 0").param_x.min()


@pytest.mark.parametrize(
    "scheduler",
    [
        ASHA(9),
        ASHA(9, eta=3, mode="stop"),
        ASHA(9, eta=3, brackets=2),
        SHA(9, trials=6),
        Hyperband(4),
        OneCut(9, cut=2, keep=0.3),
        Fifo(3),
    ],
    ids=repr,
)
def test_schedulers_that_rank_fronts_bring_trials_to_the_end(tuner_of, scheduler):
    tuner = tuner_of(objective, also={"speed": "max", "other": "min"}, scheduler=scheduler)
    tuner.debug(trials=12)
    assert (tuner.trials.state == "completed").any()
    assert tuner.front


def test_a_scheduler_of_one_metric_is_refused_before_anything_is_written(tuner_of, tmp_path):
    with pytest.raises(SchedulerError, match=r"Median.* compares one metric.*'speed'"):
        tuner_of(objective, also={"speed": "max"}, scheduler=Median(9))
    assert not list(tmp_path.iterdir())


def test_a_trial_that_does_not_report_all_fails_and_names_what_is_missing(tuner_of):
    tuner = tuner_of(forgetful, also={"speed": "max"}, scheduler=Fifo(3))
    tuner.debug(trials=6, catch=True)
    failed = tuner.trials.query("state == 'failed'")
    assert set(failed.error) == {"report() got loss; the study's metric 'speed' is missing"}
    assert (failed.param_x > 0.5).all()
    assert (tuner.trials.query("state == 'completed'").param_x <= 0.5).all()
    assert not {trial.number for trial in tuner.front} & set(failed.index)


def test_a_returned_number_is_not_enough_but_a_mapping_is(tuner_of, tmp_path):
    settings = {"also": {"speed": "max"}, "scheduler": Fifo(3)}
    one = tuner_of(lambda trial: 0.5, **settings)
    one.debug(trials=1, catch=True)
    assert "'speed' is missing" in one.study.trials[0].error
    two = tuner_of(lambda trial: {"loss": 0.5, "speed": 2.0}, path=tmp_path / "two", **settings)
    two.debug(trials=1, catch=True)
    assert [t.metrics for t in two.front] == [{"loss": 0.5, "speed": 2.0}]


def test_a_campaign_goes_on_with_the_same_metrics_only(tuner, tuner_of):
    tuner.debug(trials=3)
    tuner_of(objective, also={"speed": "max"}).check()
    for also in ({}, {"speed": "min"}, {"speed": "max", "other": "min"}):
        with pytest.raises(CampaignError, match="also="):
            tuner_of(objective, also=also)


def test_all_metrics_are_stored_exported_and_rebuilt(tuner, tmp_path):
    tuner.debug(trials=5)
    assert tuner.curves.attrs["also"] == {"speed": "max"}
    reports = tuner.study.reports
    assert tuner.curves.speed.notnull().sum() == tuner.curves.other.notnull().sum() == reports
    assert verify(tuner.directory).ok
    assert open_curves(rebuild(tuner.directory)).attrs["also"] == {"speed": "max"}
    _, curves = export(tuner.directory.path, tmp_path / "tables")
    assert curves.read_text().count("speed") == reports
    (store,) = export(tuner.directory.path, tmp_path / "store", format="zarr")
    assert open_curves(store).attrs["also"] == {"speed": "max"}


def test_the_table_of_trials_has_a_column_for_each_metric(tuner):
    tuner.debug(trials=4)
    front = [trial.number for trial in tuner.front]
    assert tuner.trials.loc[front, "value_speed"].tolist() == [
        trial.metrics["speed"] for trial in tuner.front
    ]


def test_a_campaign_learns_the_metrics_that_are_traded_off(tuner, tuner_of, tmp_path):
    tuner.debug(trials=4)
    second = tuner_of(
        objective,
        path=tmp_path / "second",
        also={"speed": "max"},
        warm_start=[tuner.directory.path],
    )
    second.debug(trials=1)
    known = [fact for fact in second.directory.facts() if fact["kind"] == "known"]
    assert {tuple(metrics) for fact in known for metrics in fact["metrics"]} == {("loss", "speed")}


def test_the_front_is_shown(tuner):
    tuner.debug(trials=15)
    leaders = tuner.front
    found = summary(tuner.study, tuner.campaign)
    assert [leader.number for leader in found.front] == [
        trial.number for trial in sorted(leaders, key=lambda trial: trial.value)
    ]
    text = found.to_text()
    assert "minimise loss, maximise speed" in text
    assert f"front     {len(leaders)} trials that no other beats in every metric" in text
    assert max(map(len, text.splitlines())) <= 100
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["also"] == {"speed": "max"}
    least = min(leaders, key=lambda trial: trial.value)
    assert plain["front"][0] == {
        "number": least.number,
        "values": {name: least.metrics[name] for name in ("loss", "speed")},
        "step": least.step,
        "state": least.state,
        "params": least.params,
    }
    assert "Pareto front" in tuner._repr_html_()


def test_a_long_front_is_shown_in_part(tmp_path):
    def opposed(trial):
        for _ in trial.steps():
            trial.report(loss=trial.params["x"], size=-trial.params["x"])

    tuner = Tuner(
        opposed,
        Space(x=Float(0, 1)),
        metric="loss",
        also={"size": "min"},
        sampler="sobol",
        scheduler=Fifo(1),
        path=tmp_path / "campaign",
    )
    tuner.debug(trials=32)
    text = summary(tuner.study, tuner.campaign).to_text()
    assert "front     32 trials that no other beats in every metric; 10 of them:" in text
    rows = [line for line in text.splitlines() if " x=" in line]
    assert len(rows) == 10
    best, worst = (f(tuner.front, key=lambda t: t.value).number for f in (min, max))
    assert rows[0].split()[0] == str(best)
    assert rows[-1].split()[0] == str(worst)
    assert "and 22 more" in tuner._repr_html_()
