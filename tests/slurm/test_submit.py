"""Campaigns whose driver is a batch job go from one driver to the next, and end clean."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from campaigns import batches_of, facts_of, reports_of, wait_until
from click.testing import CliRunner

from daskhpo.analysis.attach import attach
from daskhpo.cli import main
from daskhpo.cluster.driverjob import Relay, driver_name
from daskhpo.store.directory import CampaignDirectory
from daskhpo.trial import TrialState

MODULE = """
import time

def slow(trial):
    for epoch in trial.steps(state={}):
        time.sleep(0.3)
        trial.report(loss=trial.params["x"] + 1 / epoch)
"""
SITE = Path(__file__).parents[2] / "jobqueue" / "test-slurm.yaml"


@pytest.fixture
def project(slurm, tmp_path, monkeypatch):
    """A user's directory, with a campaign file that a test may change."""
    (tmp_path / "objectives_of_submit.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(**settings):
        campaign = {
            "objective": "objectives_of_submit:slow",
            "metric": "loss",
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "scheduler": {"type": "asha", "max_step": 9, "eta": 3, "min_step": 3},
            "sampler": "random",
            "budget": {"trials": 6},
            "pool": {"jobs": 2, "margin": 2.0},
        }
        (tmp_path / "first.yaml").write_text(yaml.safe_dump(campaign | settings))

    write()
    yield write
    sys.modules.pop("objectives_of_submit", None)


def call(*arguments):
    """Run a command that has to succeed; returns what it printed."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def submit(*arguments):
    """Submit a campaign; returns the batch job and the campaign's directory."""
    content = json.loads(call("submit", *arguments, "--json"))
    return content["batch"], Path(content["directory"])


def alive(slurm):
    """Batch jobs that are queued or running."""
    return [job for job, state in slurm.states().items() if state in ("PENDING", "RUNNING")]


def logs(path):
    return "".join(file.read_text() for file in sorted((path / "pool" / "logs").glob("*driver*")))


def ended(slurm, path, seconds=240):
    """Wait until nothing of the campaign is queued or runs."""
    try:
        wait_until(lambda: not alive(slurm), seconds)
    except AssertionError:
        raise AssertionError(logs(path)) from None


def test_workers_are_handed_from_driver_to_driver_and_nothing_is_left(slurm, project, tmp_path):
    settings = yaml.safe_load(SITE.read_text())
    settings["daskhpo"]["site"]["driver"]["walltime"] = "00:01:00"
    (tmp_path / "brief.yaml").write_text(yaml.safe_dump(settings))
    # More work for two workers than one driver has time for: it leaves after half a minute.
    project(budget={"trials": 24}, scheduler={"type": "fifo", "max_step": 12})
    first, path = submit("first.yaml", "--site", "./brief.yaml")
    ended(slurm, path)
    facts = facts_of(path)
    assert slurm.state(first) == "COMPLETED"  # it left by the clock, not by Slurm's
    assert any(fact["kind"] == "reopened" for fact in facts)
    assert len(batches_of(facts)) == 2  # workers, over all drivers
    study = attach(path).study
    assert {trial.state for trial in study.trials.values()} == {TrialState.COMPLETED}
    reports = reports_of(facts)
    assert len(reports) == len({*reports}) == 24 * 12
    assert "nothing is left to train" in logs(path)
    assert Relay.read(path).successor == ""


def test_a_driver_that_is_killed_is_followed_by_its_successor(slurm, project):
    batch, path = submit("first.yaml", "--site", "test-slurm")
    wait_until(lambda: len(reports_of(facts_of(path))) > 3)
    successor = Relay.read(path).successor
    slurm.run("scancel", "--signal=KILL", "--full", batch)
    slurm.wait(successor, "RUNNING")
    ended(slurm, path)
    reports = reports_of(facts_of(path))
    assert len(reports) == len({*reports})
    assert len(attach(path).study.trials) == 6
    assert slurm.state(successor) == "COMPLETED"


def test_stop_reaches_the_driver_and_those_that_wait(slurm, project):
    project(budget={"trials": 1000})
    _, path = submit("first.yaml", "--site", "test-slurm")
    wait_until(lambda: len(reports_of(facts_of(path))) > 3)
    assert "asked process" in call("stop", path)
    ended(slurm, path)
    assert any(fact["kind"] == "closed" for fact in facts_of(path))
    assert "asked to stop by" in logs(path)
    # And it goes on where it was, when somebody wants it to.
    before = len(reports_of(facts_of(path)))
    batch, _ = submit(path, "--trials", len(attach(path).study.trials))
    ended(slurm, path)
    assert slurm.state(batch) == "COMPLETED"
    assert len(reports_of(facts_of(path))) > before


def test_stop_before_the_driver_has_begun(slurm, project):
    blocker = slurm.block()
    slurm.wait(blocker, "RUNNING")
    batch, path = submit("first.yaml", "--site", "test-slurm")
    assert f"cancelled batch jobs {batch}" in call("stop", path)
    assert slurm.wait(batch, "CANCELLED")
    slurm.cancel_all()
    assert not facts_of(path)
    assert not alive(slurm)


def test_drivers_bear_another_name_than_workers(slurm, project):
    _, path = submit("first.yaml", "--site", "test-slurm")
    token = CampaignDirectory(path).config()["token"]
    wait_until(lambda: len(alive(slurm)) == 4)  # a driver, its successor, two workers
    names = slurm.run("squeue", "-h", "-o", "%j").split()
    assert sorted(names) == sorted([driver_name(token)] * 2 + [f"hpo-{token}"] * 2)


def test_what_slurm_refuses_is_said_before_anything_is_written(slurm, project):
    project(pool={"queue": "nowhere"})
    result = CliRunner().invoke(main, ["submit", "first.yaml", "--site", "test-slurm"])
    assert result.exit_code == 2
    assert "nowhere" in result.output
    assert not Path("runs").exists()
    assert not alive(slurm)


def test_attach_follows_a_batch_job_and_talks_to_its_scheduler(slurm, project):
    project(budget={"trials": 30})
    _, path = submit("first.yaml", "--site", "test-slurm")
    attached = attach(path)
    wait_until(lambda: len(attached.refresh().study.trials) > 1)
    with attached.client() as client:
        assert client.scheduler_info()["address"].startswith("tls://")
        assert len(client.nthreads()) >= 1
    assert attached.dashboard.port > 0
    thread = threading.Thread(target=lambda: (time.sleep(2), attached.stop("enough")))
    thread.start()
    output = call("attach", path, "--json")
    thread.join()
    news = [json.loads(line)["news"] for line in output.splitlines()]
    assert "closed: enough" in news


def test_one_allocation_holds_driver_scheduler_and_workers(slurm, project):
    batch, path = submit("first.yaml", "--site", SITE, "--allocation", "3")
    wait_until(lambda: len(reports_of(facts_of(path))) > 3)
    at_work = [job for job, state in slurm.states().items() if state == "RUNNING"]
    assert at_work == [batch], "its workers are steps, no batch jobs"
    assert {fact["nodes"] for fact in batches_of(facts_of(path)).values() if "nodes" in fact} <= {
        "node1",
        "node2",
        "node3",
    }
    slurm.wait(batch, "COMPLETED")
    facts = facts_of(path)
    assert len({fact["number"] for fact in facts if fact["kind"] == "asked"}) == 6
    assert all(each["phase"] == "ended" for each in batches_of(facts).values())
    assert len(batches_of(facts)) == 3
