"""Drivers, workers and disks are taken away for real, and the campaign comes to its end."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import objectives
import pytest

from daskhpo import ASHA, Float, Space, Tuner
from daskhpo.exceptions import DaskhpoError, LockedError, StoreError
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.journal import JournalReader

pytestmark = pytest.mark.kills

TESTS = Path(__file__).parent.parent

DRIVER = """
import contextlib, logging, os, sys
import objectives
from daskhpo import ASHA, Float, Space, Tuner
from daskhpo.cluster.local import local_client
from distributed import Client

def watch(driver, free, slots):
    if slots:
        os.write(1, b"%d\\n" % driver._writer.journal.seq)  # all of these are acknowledged

path, objective, max_step, trials, cluster = sys.argv[1:]
logging.basicConfig(level="INFO")
tuner = Tuner(
    getattr(objectives, objective), Space(x=Float(0.0, 1.0)), metric="loss", path=path,
    scheduler=ASHA(max_step=int(max_step), eta=3), sampler="random",
)
cluster = Client(scheduler_file=cluster) if cluster else local_client(count=2)
with cluster as client:
    tuner.run(client, trials=int(trials), watch=watch)
os.write(1, b"done\\n")
"""


class DriverProcess:
    """A driver in a process of its own, which can be killed."""

    def __init__(self, path, *, objective, max_step, trials, cluster="", grace=1.0):
        arguments = [str(path), objective, str(max_step), str(trials), str(cluster)]
        self.errors = open(path.parent / "driver.log", "ab")  # noqa: SIM115 (closed in end)
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *arguments],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment(grace),
            start_new_session=True,
        )

    def begun(self):
        """Wait until jobs are handed out; returns the first acknowledged sequence number."""
        line = self.process.stdout.readline()
        assert line, "the driver has ended before it began"
        return line

    def end(self, timeout=120):
        """Wait for the end; returns the lines it has still printed."""
        try:
            rest, _ = self.process.communicate(timeout=timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.errors.close()
        return rest.split(b"\n")

    def kill(self):
        """SIGKILL to the driver alone; returns the last acknowledged sequence number."""
        self.process.kill()
        lines, _ = self.process.communicate()
        self.errors.close()
        whole = lines.split(b"\n")[:-1]
        return whole[-1] if whole else None


def environment(grace=1.0):
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "DASK_DASKHPO__TUNER_GRACE": str(grace)}


def tuner_at(path, objective, max_step, **settings):
    return Tuner(
        objective,
        Space(x=Float(0.0, 1.0)),
        metric="loss",
        path=path,
        scheduler=ASHA(max_step=max_step, eta=3),
        sampler="random",
        **settings,
    )


def reports_of(facts):
    return [(fact["number"], fact["step"]) for fact in facts if fact["kind"] == "reported"]


def first_steps(path, number):
    """{attempt: the first step that it has trained}"""
    first = {}
    for attempt, step in objectives.trained(path, number):
        first.setdefault(attempt, step)
    return first


def checkpoints_of(facts):
    """{number: {attempt: step at which it has paused, with a checkpoint}}"""
    reached, kept = {}, defaultdict(dict)
    for fact in facts:
        if fact["kind"] == "reported":
            reached[fact["number"]] = fact["step"]
        elif fact["kind"] == "ended" and fact["outcome"] == "paused":
            kept[fact["number"]][fact["attempt"]] = reached[fact["number"]]
    return kept


def assert_trained_behind_checkpoints(path, facts):
    """What a checkpoint holds was not trained again, and every step that counts was trained."""
    kept = checkpoints_of(facts)
    for number in {number for number, _ in reports_of(facts)}:
        for attempt, first in first_steps(path, number).items():
            before = [step for other, step in kept[number].items() if other < attempt]
            assert first > max(before, default=0), f"trial {number} began again at step {first}"
    for number, step in reports_of(facts):
        assert step in {each for _, each in objectives.trained(path, number)}


def test_a_campaign_survives_twenty_kills_of_its_driver(tmp_path):
    path, rng = tmp_path / "campaign", random.Random(11)
    journal = path / "journal.jsonl"
    shape = {"objective": "steady", "max_step": 81, "trials": 120}
    known = []
    for _ in range(20):
        driver = DriverProcess(path, **shape)
        first = driver.begun()
        time.sleep(rng.uniform(0.0, 1.0))
        acknowledged = int(driver.kill() or first)
        facts = list(JournalReader(journal))
        assert facts[: len(known)] == known, "an earlier life's facts have changed"
        assert len(facts) >= acknowledged, "an acknowledged fact is lost"
        known = facts
    assert len(reports_of(known)) > 50, "the driver never lived long enough to do anything"
    driver = DriverProcess(path, **shape)
    assert driver.end()[-2] == b"done"
    facts = list(CampaignDirectory(path).facts())
    assert facts[: len(known)] == known
    reports = reports_of(facts)
    assert len(reports) == len(set(reports)), "a report was counted twice"
    assert_trained_behind_checkpoints(path, facts)
    tuner = tuner_at(path, objectives.steady, 81)
    states = tuner.trials.state.value_counts()
    assert set(states.index) <= {"paused", "completed"}
    assert states.sum() == 120
    assert states["completed"] >= 1
    # The curves that the killed drivers left half written are the journal's.
    curves = tuner.curves
    for number, step in reports:
        value = float(curves.loss.sel(trial=number, step=step))
        assert value == pytest.approx((float(curves.param_x[number]) - 0.3) ** 2 + 1 / step)


@contextlib.contextmanager
def separate_cluster(tmp_path, workers=2):
    """A scheduler and workers that do not belong to any driver."""
    file = tmp_path / "scheduler.json"
    common = ["--no-dashboard", "--scheduler-file", str(file)]
    commands = [["dask_scheduler", "--host", "127.0.0.1", "--port", "0"]]
    commands += [["dask_worker", "--nthreads", "1", "--local-directory", str(tmp_path)]] * workers
    processes = []
    with open(tmp_path / "cluster.log", "ab") as log:
        for module, *arguments in commands:
            command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *common]
            processes.append(
                subprocess.Popen(
                    command, stdout=log, stderr=log, env=environment(), start_new_session=True
                )
            )
            while not file.exists():
                time.sleep(0.05)
    try:
        yield file
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def all_trained(path, numbers=range(20)):
    return {number: objectives.trained(path, number) for number in numbers}


@pytest.mark.parametrize("at_once", [False, True])
def test_trials_outlive_their_driver_with_a_checkpoint_and_the_next_driver_takes_over(
    tmp_path, at_once
):
    path = tmp_path / "campaign"
    shape = {"objective": "slow", "max_step": 9, "trials": 4}
    with separate_cluster(tmp_path) as cluster:
        driver = DriverProcess(path, cluster=cluster, **shape)
        driver.begun()
        wait_until(lambda: any(len(steps) > 3 for steps in all_trained(path).values()))
        driver.kill()
        if not at_once:
            # Within the grace and one step they have stopped, each with a checkpoint.
            before = {}
            while before != (before := all_trained(path)):
                time.sleep(2.5)
        driver = DriverProcess(path, cluster=cluster, **shape)
        assert driver.end()[-2] == b"done"
    facts = list(CampaignDirectory(path).facts())
    assert len(reports_of(facts)) == len(set(reports_of(facts)))
    assert_trained_behind_checkpoints(path, facts)
    for number, steps in all_trained(path).items():
        done = [step for _, step in steps]
        assert len(done) == len(set(done)), f"trial {number} was trained twice: {steps}"
    trials = tuner_at(path, objectives.slow, 9).study.trials.values()
    assert any(trial.state == "completed" for trial in trials)
    assert not any(trial.failures or trial.losses for trial in trials)


def local_cluster(workers=2):
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=None,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )


def test_a_trial_whose_worker_is_killed_goes_on_under_a_new_attempt(client, tuner_of):
    tuner = tuner_of(objectives.dies_once, scheduler=ASHA(max_step=9, eta=3, min_step=3))
    tuner.run(client, trials=4)
    path = tuner.directory.path
    trials = tuner.study.trials.values()
    assert {str(trial.state) for trial in trials} == {"paused", "completed"}
    facts = list(tuner.directory.facts())
    lost = [fact for fact in facts if fact.get("outcome") == "lost"]
    assert lost
    for fact in lost:
        attempts = {attempt for attempt, _ in objectives.trained(path, fact["number"])}
        assert any(attempt > fact["attempt"] for attempt in attempts)
    assert_trained_behind_checkpoints(path, facts)
    for number in range(4):  # Dask itself has run nothing again
        steps = objectives.trained(path, number)
        assert len(steps) == len(set(steps))


def test_workers_may_come_and_go(tmp_path):
    from distributed import Client

    path = tmp_path / "campaign"
    with local_cluster(1) as cluster, Client(cluster) as client:
        tuner = tuner_at(path, objectives.slow, 9)
        tuner.start(client, trials=9)
        wait_until(lambda: len(all_trained(path)[0]) > 0)
        cluster.scale(3)
        wait_until(lambda: sum(len(steps) > 0 for steps in all_trained(path).values()) > 4)
        cluster.scale(1)
        assert tuner.wait(60)
    facts = list(tuner.directory.facts())
    assert_trained_behind_checkpoints(path, facts)
    trials = tuner.study.trials.values()
    assert len(trials) == 9
    assert any(trial.state == "completed" for trial in trials)
    assert not any(trial.failures for trial in trials)
    for number in range(9):  # Dask itself has run nothing again
        steps = objectives.trained(path, number)
        assert len(steps) == len(set(steps)), f"trial {number}: {steps}"


def test_a_trial_whose_worker_is_retired_goes_on_elsewhere_from_its_checkpoint(tmp_path):
    from distributed import Client

    path = tmp_path / "campaign"
    with local_cluster(2) as cluster, Client(cluster) as client:
        tuner = tuner_at(path, objectives.slow, 9)
        tuner.start(client, trials=4)
        wait_until(lambda: len(reports_of(tuner.directory.facts())) > 4)
        busy = [worker for worker, keys in client.processing().items() if keys]
        client.retire_workers(busy[:1])
        assert tuner.wait(60)
    facts = list(tuner.directory.facts())
    assert_trained_behind_checkpoints(path, facts)
    assert not any(trial.losses or trial.failures for trial in tuner.study.trials.values())
    for number in range(4):
        steps = [step for _, step in objectives.trained(path, number)]
        assert len(steps) == len(set(steps)), f"trial {number} was trained twice"


def test_a_full_disk_ends_the_run_with_its_cure_and_the_campaign_goes_on_when_there_is_room(
    client, small_disk
):
    ballast = small_disk / "ballast"

    def fill(driver, free, slots):
        if driver.study.reports >= 10 and not ballast.exists():
            with contextlib.suppress(OSError), open(ballast, "wb") as file:
                while True:
                    file.write(bytes(512))
                    file.flush()

    tuner = tuner_at(small_disk / "campaign", objectives.quick, 9)
    with pytest.raises(StoreError, match="free some space"):
        tuner.run(client, trials=40, watch=fill)
    ballast.unlink()
    acknowledged = list(tuner.directory.facts())
    tuner.run(client, trials=40)
    facts = list(tuner.directory.facts())
    assert facts[: len(acknowledged)] == acknowledged
    assert len(reports_of(facts)) == len(set(reports_of(facts)))
    assert any(trial.state == "completed" for trial in tuner.study.trials.values())


def test_a_read_only_disk_is_named_and_the_campaign_goes_on_when_it_can_be_written(
    client, small_disk
):
    tuner = tuner_at(small_disk / "campaign", objectives.quick, 9)
    tuner.run(client, trials=3)
    for option, outcome in (
        ("ro", pytest.raises(StoreError, match="mounted read-only")),
        ("rw", contextlib.nullcontext()),
    ):
        subprocess.run(["mount", "-o", f"remount,{option}", str(small_disk)], check=True)
        with outcome:
            tuner.run(client, trials=9)
    assert len(tuner.trials) == 9


def test_the_second_driver_on_a_directory_is_told_who_is_there(client, tmp_path):
    path = tmp_path / "campaign"
    tuner = tuner_at(path, objectives.slow, 729)  # trains for as long as we need it
    tuner.start(client, trials=2)
    try:
        wait_until(lambda: tuner.directory.lock_path.exists())
        with pytest.raises(LockedError, match=f"process {os.getpid()} on"):
            tuner_at(path, objectives.slow, 729).run(client, trials=2)
        driver = DriverProcess(path, objective="slow", max_step=729, trials=2)
        driver.end()
        assert driver.process.returncode == 1
        assert f"process {os.getpid()} on" in (tmp_path / "driver.log").read_text()
    finally:
        tuner.stop()
        tuner.wait(30)


def test_an_interrupt_lets_trials_pause_and_a_second_run_finishes(tmp_path):
    path = tmp_path / "campaign"
    shape = {"objective": "slow", "max_step": 9, "trials": 3}
    driver = DriverProcess(path, **shape)
    driver.begun()
    wait_until(lambda: any(len(steps) > 3 for steps in all_trained(path).values()))
    os.killpg(driver.process.pid, signal.SIGINT)  # as a terminal does
    assert driver.end()[-2] == b"done"
    assert driver.process.returncode == 0
    study = tuner_at(path, objectives.slow, 9).study
    assert study.closed == "stopped by SIGINT"
    assert not study.running
    assert any(str(trial.state) == "waiting" for trial in study.trials.values())
    driver = DriverProcess(path, **shape)
    assert driver.end()[-2] == b"done"
    for number, steps in all_trained(path).items():
        done = [step for _, step in steps]
        assert len(done) == len(set(done)), f"trial {number} was trained twice: {steps}"


def test_a_second_interrupt_leaves_running_trials_behind(tmp_path):
    path = tmp_path / "campaign"
    driver = DriverProcess(path, objective="sleeps", max_step=9, trials=3)
    driver.begun()
    wait_until(lambda: (path / "trials" / "00000" / "begun").exists())
    os.killpg(driver.process.pid, signal.SIGINT)
    time.sleep(1.0)
    assert driver.process.poll() is None, "a trial that has not paused was left behind at once"
    os.killpg(driver.process.pid, signal.SIGINT)
    assert driver.end(timeout=60)[-2] == b"done"
    assert CampaignDirectory(path).writer().close() is None, "the lock was not given back"


def test_a_scheduler_that_goes_away_ends_the_run_with_a_word_on_how_to_go_on(tmp_path):
    from distributed import Client

    path = tmp_path / "campaign"
    tuner = tuner_at(path, objectives.slow, 9)
    with separate_cluster(tmp_path) as cluster:
        client = Client(scheduler_file=str(cluster))
        tuner.start(client, trials=4)
        wait_until(lambda: len(reports_of(tuner.directory.facts())) > 2)
    with pytest.raises(DaskhpoError, match="resume the campaign"):
        tuner.wait(60)
    client.close()
    tuner.debug(trials=4)
    assert any(trial.state == "completed" for trial in tuner.study.trials.values())
