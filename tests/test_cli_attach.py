"""``daskhpo attach`` tells what happens elsewhere, until it ends; the object shows the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import daskhpo
from daskhpo import ASHA, Float, Space, Tuner
from daskhpo.analysis.attach import Dashboard, attach
from daskhpo.analysis.news import News
from daskhpo.campaign import Campaign
from daskhpo.cli import main
from daskhpo.cluster.driverjob import Relay
from daskhpo.exceptions import DaskhpoError, StoreError
from daskhpo.store.requests import stop_requested
from daskhpo.trial import Outcome

DRIVER = """
import sys, time
from daskhpo import Fifo, Float, Space, Tuner

def objective(trial):
    for epoch in trial.steps():
        time.sleep(0.05)
        trial.report(loss=(trial.params["x"] - 0.3) ** 2 + 1 / epoch)

Tuner(objective, Space(x=Float(0, 1)), metric="loss", sampler="random",
      scheduler=Fifo(max_step=20), path=sys.argv[1]).debug(trials=3)
"""


def objective(trial):
    for epoch in trial.steps():
        trial.report(loss=(trial.params["x"] - 0.3) ** 2 + 1 / epoch)


@pytest.fixture
def finished(tmp_path):
    """A finished campaign and its tuner."""
    scheduler = ASHA(max_step=9, eta=3)
    settings = {"metric": "loss", "scheduler": scheduler, "sampler": "random"}
    tuner = Tuner(objective, Space(x=Float(0, 1)), path=tmp_path / "first", **settings)
    tuner.debug(trials=9)
    return tuner


def call(*arguments, code=0):
    """Run a command and insist on its exit code; returns what click recorded."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def drive(path):
    """Start a driver in a process of its own; it has written something when this returns."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(path)])
    journal = path / "journal.jsonl"
    while not (journal.is_file() and journal.stat().st_size):
        assert process.poll() is None
        time.sleep(0.02)
    return process


# ---------------------------------------------------------------------- the command


def test_a_campaign_that_nobody_drives_is_shown_and_left(finished):
    output = call("attach", finished.directory.path).output
    assert "driver: none at work" in output
    assert "best" in output


def test_a_campaign_elsewhere_is_followed_to_its_end(tmp_path):
    path = tmp_path / "first"
    process = drive(path)
    output = call("attach", path).output
    assert process.wait(20) == 0
    assert "driver: process" in output
    assert "new best: loss" in output
    assert output.rstrip().splitlines()[-1]
    reading = attach(path)
    assert len(reading.trials) == 3
    assert f"trial {reading.best.number}" in output


def test_news_are_lines_of_json_where_they_are_wanted(tmp_path):
    path = tmp_path / "first"
    process = drive(path)
    output = call("attach", path, "--json").stdout
    assert process.wait(20) == 0
    lines = [json.loads(line) for line in output.splitlines()]
    assert {"t", "news"} == set(lines[0])


def test_between_two_drivers_attach_waits_for_the_next(finished, monkeypatch):
    path = finished.directory.path
    (path / "pool").mkdir()
    Relay(successor="18").write(path)
    monkeypatch.setattr("daskhpo.cli.attaching.LOOK", 0.05)
    threading.Timer(0.5, lambda: Relay().write(path)).start()
    output = call("attach", path).output
    assert output.count("waiting for the driver: batch job 18") == 1


def test_ctrl_c_leaves_and_changes_nothing(finished, monkeypatch):
    path = finished.directory.path
    (path / "pool").mkdir()
    Relay(successor="18").write(path)
    before = finished.directory.journal_path.read_bytes()

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("daskhpo.cli.attaching.time.sleep", interrupt)
    assert "the campaign goes on" in call("attach", path).output
    assert finished.directory.journal_path.read_bytes() == before
    assert stop_requested(path) == ""


def test_what_is_no_campaign_is_a_wrong_call(tmp_path):
    call("attach", tmp_path, code=2)


# ---------------------------------------------------------------------- stop


def test_stop_leaves_a_request_with_a_name_in_it(finished):
    path = finished.directory.path
    assert "nobody drives" in call("stop", path).output
    assert stop_requested(path).startswith("asked to stop by ")
    assert json.loads(call("stop", path, "--json").stdout) == {
        "driver": None,
        "cancelled": [],
    }


def test_stop_names_the_driver_that_it_asks(finished):
    path = finished.directory.path
    with finished.directory.writer():
        assert f"process {os.getpid()}" in call("stop", path).output


# ---------------------------------------------------------------------- the object


def test_attach_is_offered_at_the_top(finished):
    assert daskhpo.attach is attach
    with pytest.raises(StoreError):
        attach(finished.directory.path / "nowhere")


def test_an_attached_campaign_knows_what_its_tuner_knows(finished):
    attached = attach(finished.directory.path)
    assert attached.best.number == finished.best.number
    assert attached.trials.equals(finished.trials)
    assert attached.status().incumbent.number == finished.best.number
    assert attached.driver is None
    assert "9 trials" in repr(attached)
    assert "<table>" in attached._repr_html_()


def test_refresh_reads_what_was_written_since(finished):
    attached = attach(finished.directory.path)
    finished.debug(trials=12)
    assert len(attached.trials) == 9
    assert len(attached.refresh().trials) == 12


def test_stop_of_an_attached_campaign_asks_its_driver(finished):
    attach(finished.directory.path).stop("enough")
    assert stop_requested(finished.directory.path) == "enough"


def test_without_a_scheduler_there_is_no_client_and_no_dashboard(finished):
    attached = attach(finished.directory.path)
    assert attached.dashboard is None
    with pytest.raises(DaskhpoError, match="no scheduler now"):
        attached.client()


def announce(path, address, **services):
    (path / "pool").mkdir(exist_ok=True)
    content = json.dumps({"address": address, "services": services})
    (path / "pool" / "scheduler.json").write_text(content, encoding="utf-8")


def test_a_scheduler_that_is_gone_is_an_error_that_says_so(finished, monkeypatch):
    monkeypatch.setattr("daskhpo.analysis.attach.PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    announce(finished.directory.path, f"tcp://127.0.0.1:{port}")
    with pytest.raises(DaskhpoError, match="does not answer"):
        attach(finished.directory.path).client()


def test_a_client_is_connected_with_the_keys_of_the_campaign(finished):
    from distributed import LocalCluster

    from daskhpo.cluster.tls import campaign_security

    security = campaign_security(finished.directory.path)
    with LocalCluster(
        n_workers=0, protocol="tls://", security=security, dashboard_address=None
    ) as cluster:
        announce(finished.directory.path, cluster.scheduler_address)
        with attach(finished.directory.path).client() as client:
            assert client.scheduler_info()["address"] == cluster.scheduler_address


def test_the_dashboard_of_another_machine_comes_with_its_tunnel(finished):
    announce(finished.directory.path, "tls://10.1.0.9:4711", dashboard=8787)
    dashboard = attach(finished.directory.path).dashboard
    assert dashboard == Dashboard("10.1.0.9", 8787)
    assert dashboard.tunnel == "ssh -N -L 8787:127.0.0.1:8787 10.1.0.9"
    assert dashboard.tunnel in str(dashboard)
    assert Dashboard(socket.gethostname(), 8787).tunnel == ""


# ---------------------------------------------------------------------- news


@pytest.fixture
def study():
    """A study of two rungs, and what it says of its own facts."""
    campaign = Campaign.from_mapping(
        {
            "name": "first",
            "metric": "loss",
            "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
            "sampler": "random",
            "scheduler": {"type": "asha", "min_step": 1, "max_step": 3, "eta": 3},
        }
    )
    lines = []
    study = campaign.study(lambda fact: lines.extend(news.read(fact)))
    news = News(campaign, study)

    def said():
        told = list(lines)
        lines.clear()
        return told

    return study, said


def test_only_a_better_trial_is_a_new_best(study):
    study, said = study
    for number, loss in enumerate((0.5, 0.7, 0.4)):
        study.ask()
        study.report(number, 0, 1, {"loss": loss})
        told = [line for line in said() if line.startswith("new best")]
        assert told == ([] if loss == 0.7 else [f"new best: loss {loss} (trial {number}, epoch 1)"])


def test_whoever_goes_on_to_the_end_is_told_once(study):
    study, said = study
    for number, loss in enumerate((0.5, 0.7, 0.4)):
        study.ask()
        study.report(number, 0, 1, {"loss": loss})
        study.tell(number, 0, Outcome.PAUSED)
    while (job := study.ask()) is not None and job.attempt == 0:
        study.report(job.number, 0, 1, {"loss": 0.9})
        study.tell(job.number, 0, Outcome.PAUSED)
    promoted = f"trial {job.number} goes on to the end (epoch 3)"
    study.tell(job.number, job.attempt, Outcome.EVICTED, error="batch job 17: PREEMPTED")
    study.ask()
    assert said().count(promoted) == 1


def test_interruptions_come_with_their_reasons(study):
    study, said = study
    study.ask()
    study.tell(0, 0, Outcome.EVICTED, error="batch job 17 on node3: PREEMPTED")
    said_now = said()
    assert said_now == [
        "trial 0 was evicted at epoch 0: batch job 17 on node3: PREEMPTED; now waiting"
    ]


def test_batch_jobs_that_end_well_are_no_news(study):
    study, said = study
    batch = {"id": "17", "phase": "ended", "nodes": "node3"}
    study.note("batch", **batch, state="COMPLETED")
    study.note("batch", **batch, state="CANCELLED")
    study.note("batch", **batch, state="NODE_FAIL", blame="system")
    study.note("placed", number=0, attempt=0)
    assert said() == ["batch job 17 on node3: NODE_FAIL"]


def test_the_end_and_its_undoing_are_news(study):
    study, said = study
    study.close("the budget of 2 hours is spent")
    study.reopen()
    assert said() == ["closed: the budget of 2 hours is spent", "a driver goes on"]


def test_the_directory_may_be_given_as_text(finished):
    assert attach(str(finished.directory.path)).path == Path(finished.directory.path)
