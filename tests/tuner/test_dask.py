"""A campaign on a real cluster: the same decisions, whatever the objectives do."""

from __future__ import annotations

import logging
import sys
import time

import objectives
import pytest
from distributed import Client, LocalCluster

from daskhpo import ASHA, CommandObjective, Fifo, Workers
from daskhpo.exceptions import CampaignError


def states_of(tuner):
    return {str(trial.state) for trial in tuner.study.trials.values()}


def assert_trained_once(tuner):
    for number in tuner.study.trials:
        steps = [step for _, step in objectives.trained(tuner.directory.path, number)]
        assert len(steps) == len(set(steps)), f"trial {number} was trained twice: {steps}"


@pytest.mark.parametrize("sampler", ["random", "bayes"])
def test_a_campaign_runs_and_resumes(client, tuner_of, sampler):
    tuner = tuner_of(objectives.noted, sampler=sampler)
    tuner.run(client, trials=5)
    assert len(tuner.trials) == 5
    again = tuner_of(objectives.noted, sampler=sampler)
    again.run(client, trials=12)
    assert len(again.trials) == 12
    assert states_of(again) == {"paused", "completed"}
    assert_trained_once(again)
    facts = list(again.directory.facts())
    reports = [(f["number"], f["step"]) for f in facts if f["kind"] == "reported"]
    assert len(reports) == len(set(reports)) == again.study.reports


def test_one_worker_decides_as_this_process_does(tuner_of, tmp_path):
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        on_dask = tuner_of(objectives.noted, path=tmp_path / "dask")
        on_dask.run(client, trials=12)
    here = tuner_of(objectives.noted, path=tmp_path / "here")
    here.debug(trials=12)
    keys = ("kind", "number", "step", "decision", "state", "stop")
    told = [
        [{k: fact.get(k) for k in keys} for fact in tuner.directory.facts()]
        for tuner in (on_dask, here)
    ]
    assert told[0] == told[1]


def test_more_workers_than_trials_and_several_trials_on_a_worker(client, tuner_of):
    tuner = tuner_of(objectives.noted)
    tuner.run(client, trials=1)
    assert states_of(tuner) == {"completed"}
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=4,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as wide,
    ):
        tuner.run(wide, trials=12)
    assert len(tuner.trials) == 12
    assert_trained_once(tuner)


def test_resources_limit_how_many_train_at_the_same_time(tuner_of):
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=4,
            resources={"GPU": 2},
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        seen = []
        tuner = tuner_of(objectives.steady, workers={"resources": {"GPU": 1}})
        tuner.run(client, trials=6, watch=lambda driver, free, slots: seen.append((free, slots)))
    assert {slots for _, slots in seen if slots} == {2}
    assert len(tuner.trials) == 6


@pytest.mark.parametrize(
    ("objective", "states", "error"),
    [
        (objectives.raises_in_some, {"failed", "paused", "completed"}, "on purpose"),
        (objectives.diverges, {"failed", "paused", "completed"}, "loss is nan at step 1"),
        (objectives.forks, {"paused", "completed"}, None),
        (objectives.forks_and_goes_on, {"paused", "completed"}, None),
        (objectives.prints_rubbish, {"paused", "completed"}, None),
        (objectives.sparse, {"paused", "completed"}, None),
    ],
)
@pytest.mark.parametrize("isolate", [False, True])
def test_whatever_objectives_do_the_campaign_comes_to_its_end(
    client, tuner_of, objective, states, error, isolate
):
    tuner = tuner_of(objective, scheduler=ASHA(27, eta=3), workers=Workers(isolate=isolate))
    tuner.run(client, trials=6)
    assert states_of(tuner) == states
    errors = [trial.error for trial in tuner.study.trials.values() if trial.error]
    assert all(error in each for each in errors) if error else not errors


@pytest.mark.parametrize("objective", [objectives.never_reports, objectives.misnames])
def test_a_campaign_in_which_nothing_works_gives_up_early(client, tuner_of, objective):
    tuner = tuner_of(objective)
    tuner.run(client, trials=100)
    assert len(tuner.trials) < 10
    assert "failed and none ever reported" in tuner.study.closed


def test_memory_that_runs_out_fails_the_trial_and_harms_no_worker(client, tuner_of):
    before = set(client.scheduler_info()["workers"])
    tuner = tuner_of(objectives.eats_memory, workers={"isolate": True})
    tuner.run(client, trials=2)
    assert states_of(tuner) == {"failed"}
    assert {trial.failures for trial in tuner.study.trials.values()} == {1}
    assert {trial.error for trial in tuner.study.trials.values()} == {"out of memory"}
    assert set(client.scheduler_info()["workers"]) == before


@pytest.mark.kills
def test_a_trial_that_kills_its_worker_is_given_up_after_three(client, tuner_of):
    tuner = tuner_of(objectives.dies_always)
    tuner.run(client, trials=1)
    (trial,) = tuner.study.trials.values()
    assert (str(trial.state), trial.losses, trial.failures) == ("failed", 3, 0)
    assert "its worker died" in trial.error


@pytest.mark.kills
def test_a_trial_that_sleeps_for_ever_is_given_up_and_its_worker_replaced(tuner_of):
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        tuner = tuner_of(
            objectives.sleeps_in_some,
            points=[{"x": 0.1}, {"x": 0.9}, {"x": 0.2}],
            workers={"timeout": 1.5},
        )
        tuner.run(client, trials=3)
    study = tuner.study
    assert str(study.trials[1].state) == "failed"
    assert study.trials[1].error == "no report for 1.5 seconds"
    # The silent one was the last to run: the tail still brings the best to the end.
    assert str(study.trials[0].state) in ("completed", "paused")
    assert "completed" in states_of(tuner)


def test_a_script_is_tuned_without_being_edited(client, tuner_of, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import json, os, sys\n"
        "x, epochs = float(sys.argv[1]), int(sys.argv[2])\n"
        "out = os.fdopen(int(os.environ['DASKHPO_METRICS_FD']), 'w')\n"
        "print('hello')\n"
        "for step in range(1, epochs + 1):\n"
        "    metrics = {'step': step, 'loss': (x - 0.3) ** 2 + 1 / step}\n"
        "    print(json.dumps(metrics), file=out, flush=True)\n"
    )
    command = CommandObjective(f"{sys.executable} {script} {{x}} {{max_step}}")
    tuner = tuner_of(command, scheduler=ASHA(9, eta=3))
    tuner.run(client, trials=4)
    assert states_of(tuner) == {"paused", "completed"}
    assert tuner.best.best_value == pytest.approx((tuner.best.params["x"] - 0.3) ** 2 + 1 / 9)


def test_start_returns_at_once_and_stop_lets_trials_pause(client, tuner_of):
    tuner = tuner_of(objectives.slow, scheduler=Fifo(50))
    assert tuner.start(client, trials=2) is tuner
    assert not tuner.wait(0.01)
    with pytest.raises(CampaignError, match="running already"):
        tuner.start(client, trials=2)
    while tuner.study.reports < 2:
        time.sleep(0.05)
    assert "running" in repr(tuner)
    tuner.stop("enough")
    assert tuner.wait(30)
    assert tuner.study.closed == "enough"
    assert states_of(tuner) == {"waiting"}
    assert len(list(tuner.directory.path.rglob("*.ckpt"))) == len(tuner.study.trials)


def test_two_campaigns_share_a_cluster(client, tuner_of, tmp_path):
    tuners = [tuner_of(objectives.noted, path=tmp_path / name) for name in ("one", "two")]
    for tuner in tuners:
        tuner.start(client, trials=6)
    for tuner in tuners:
        assert tuner.wait(60)
        assert len(tuner.trials) == 6
        assert_trained_once(tuner)


def test_a_budget_closes_a_run_that_is_under_way(client, tuner_of):
    tuner = tuner_of(objectives.steady, scheduler=Fifo(1000))
    tuner.run(client, hours=1.0 / 3600)
    assert tuner.study.closed == "the budget of 0.000277778 hours is spent"
    assert states_of(tuner) == {"waiting"}


def test_an_asynchronous_client_is_refused_before_anything_is_written(tuner_of):
    class Asynchronous:
        asynchronous = True

    tuner = tuner_of(objectives.quick)
    with pytest.raises(CampaignError, match="must be synchronous"):
        tuner.run(Asynchronous(), trials=1)
    assert not tuner.directory.path.exists()


def test_a_sampler_that_breaks_ends_the_run_with_its_error(client, tuner_of, monkeypatch):
    from daskhpo.samplers.bayes import Bayes

    def broken(self, number):
        raise ArithmeticError("the surrogate is singular")

    monkeypatch.setattr(Bayes, "suggest", broken)
    tuner = tuner_of(objectives.quick, sampler="bayes")
    with pytest.raises(ArithmeticError, match="singular"):
        tuner.run(client, trials=3)
    assert not tuner.directory.lock_path.exists()
