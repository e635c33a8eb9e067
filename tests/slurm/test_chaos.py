"""A campaign on eight batch jobs to which everything happens at once, again and again.

The faults are drawn from one seed; ``CHAOS_SEED=7 pytest tests/slurm/test_chaos.py`` draws others.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import objectives
import pytest
from campaigns import (
    TESTS,
    Driver,
    assert_whole,
    facts_of,
    outcomes_of,
    place_of,
    reports_of,
    tuner_like,
    wait_until,
)

pytestmark = [pytest.mark.kills, pytest.mark.slurm, pytest.mark.timeout(600)]

SEED = int(os.environ.get("CHAOS_SEED", "0"))
TRIALS = 60
SHAPE = {"jobs": 8, "gpus": 2, "max_step": 27, "budget": {"trials": TRIALS}}
PAUSE = (1.5, 4.0)  # seconds between two faults
BUSY = 0.8  # of all faults of one batch job strike one that is at work, if any is
ENOUGH = 15  # reports after which the next fault does not wait: a quick machine has as many
FAULTS = (
    "batch job cancelled",
    "batch job killed",
    "batch job requeued",
    "worker killed",
    "worker stopped",
    "node down",
    "node preempted",
    "slurmd killed",
    "controller stopped",
    "driver killed",
)


class Chaos:
    """Whatever can happen to a campaign, from a seed, until the campaign is over.

    Parameters
    ----------
    slurm : RealSlurm
        Where all batch jobs of the partition ``batch`` are the campaign's.
    path : pathlib.Path
        The campaign directory.
    """

    def __init__(self, slurm, path, seed):
        self.slurm = slurm
        self.path = path
        self.rng = random.Random(seed)
        self.driver = Driver(path, "slow", **SHAPE)
        self.counts = Counter()
        self.acknowledged = []  # what the journal said when a driver was killed, each time
        self._mends = []  # [(when it is due, what is to be done)]
        self._spoilt = set()  # nodes to which something has been done

    def rage(self):
        """One fault after the other, of every kind once before any comes again."""
        wait_until(lambda: reports_of(facts_of(self.path)) or not self.goes_on)
        deck = []
        while self.goes_on:
            if not deck:
                deck = [*FAULTS, "driver killed"]
                self.rng.shuffle(deck)
            fault = deck.pop()
            if victim := getattr(self, fault.replace(" ", "_"))():
                self.counts[fault] += 1
                print(f"{time.time():.1f} {fault}: {victim}")  # seen if the test fails
                self._rest(self.rng.uniform(*PAUSE))
            else:  # there is nobody whom it could strike
                deck.insert(self.rng.randrange(len(deck) + 1), fault)
                self._rest(0.5)
        self.mend(math.inf)

    @property
    def goes_on(self):
        return self.driver.process.poll() is None

    def mend(self, now):
        """Undo what has lasted for long enough."""
        due = [each for each in self._mends if each[0] <= now]
        self._mends = [each for each in self._mends if each[0] > now]
        for _, mend in due:
            mend()

    def _rest(self, seconds):
        until = time.monotonic() + seconds
        enough = len(reports_of(facts_of(self.path))) + ENOUGH
        while time.monotonic() < until and self.goes_on:
            self.mend(time.monotonic())
            time.sleep(0.2)
            if len(reports_of(facts_of(self.path))) >= enough:
                break

    def _later(self, seconds, mend):
        self._mends.append((time.monotonic() + seconds, mend))

    # Whom it strikes.

    def _batch_job(self, *states):
        """Mostly one that trains something."""
        rows = self.slurm.run("squeue", "-h", "--partition=batch", "-o", "%i %T")
        found = [row.split()[0] for row in rows.splitlines() if row.split()[1] in states]
        facts = facts_of(self.path)
        places = {place_of(facts, number) for number in range(TRIALS)}
        busy = [job for job in found if job in places]
        if busy and self.rng.random() < BUSY:
            return self.rng.choice(busy)
        return self.rng.choice(found) if found else None

    def _worker(self):
        job = self._batch_job("RUNNING")
        pids = self.slurm.processes(job) if job else []
        found = [pid for pid in pids if _is(_parent(pid), b"daskhpo.cluster.launcher")]
        return self.rng.choice(found) if found else None

    def _node(self):
        found = [each for each in self.slurm.nodes if each not in self._spoilt]
        node = self.rng.choice(found) if found else None
        self._spoilt.add(node)
        return node

    def _cured(self, node):
        self.slurm.node_up(node)
        self._spoilt.discard(node)

    # What strikes; each says whom it struck.

    def batch_job_cancelled(self):
        job = self._batch_job("RUNNING", "PENDING")
        if job:
            self.slurm.run("scancel", job, check=False)
        return job

    def batch_job_killed(self):
        job = self._batch_job("RUNNING")
        launchers = [
            pid
            for pid in (self.slurm.processes(job) if job else [])
            if _is(pid, b"daskhpo.cluster.launcher")
        ]
        for pid in launchers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(os.getpgid(pid), signal.SIGKILL)
        return launchers and job

    def batch_job_requeued(self):
        job = self._batch_job("RUNNING")
        if job:
            self.slurm.run("scontrol", "update", f"JobId={job}", "Requeue=1", check=False)
            self.slurm.run("scontrol", "requeue", job, check=False)
        return job

    def worker_killed(self):
        return self._signal(self._worker(), signal.SIGKILL)

    def worker_stopped(self):
        pid = self._worker()
        self._later(3.0, lambda: self._signal(pid, signal.SIGCONT))
        return self._signal(pid, signal.SIGSTOP)

    def _signal(self, pid, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or 1 << 30, number)
            return pid
        return None

    def node_down(self):
        node = self._node()
        if node:
            self.slurm.node_down(node)
            self._later(self.rng.uniform(3, 8), lambda: self._cured(node))
        return node

    def node_preempted(self):
        node = self._node()
        if node:
            urgent = self.slurm.urgent(node)

            def give_back():
                self.slurm.run("scancel", urgent, check=False)
                self._cured(node)

            self._later(self.rng.uniform(3, 8), give_back)
        return node

    def slurmd_killed(self):
        node = self._node()
        if node:
            self.slurm.kill_slurmd(node)
            # Slurm gives the node up after some 26 s; what runs there goes on as a ghost.
            self._later(self.rng.choice([5.0, 35.0]), lambda: self._cured(node))
        return node

    def controller_stopped(self):
        self.slurm.stop_controller()
        time.sleep(3)
        self.slurm.start_controller()
        return "slurmctld"

    def driver_killed(self):
        self.acknowledged.append(facts_of(self.path))
        self.driver.kill()
        self.driver = Driver(self.path, "slow", **SHAPE)
        return f"after {len(self.acknowledged[-1])} facts"


def _is(pid, word):
    return word in _command(pid)


def _command(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    return b""


def _parent(pid):
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def undisturbed(path):
    """The same campaign, in peace; gives the seconds that it took."""
    began = time.monotonic()
    driver = Driver(path, "slow", **SHAPE)
    assert driver.end() == 0, driver.log.read_text()[-2000:]
    assert_whole(path, trials=TRIALS)
    return time.monotonic() - began


def test_nothing_is_lost_or_doubled_when_everything_fails(slurm, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(TESTS)  # workers import the objectives from where the driver runs
    peace = undisturbed(tmp_path / "peace")
    path = tmp_path / "chaos"
    began = time.monotonic()
    chaos = Chaos(slurm, path, SEED)
    try:
        chaos.rage()
    finally:
        chaos.mend(math.inf)
        code = chaos.driver.end()
    seconds = time.monotonic() - began
    assert code == 0, chaos.driver.log.read_text()[-3000:]

    facts = assert_whole(path, trials=TRIALS)
    for known in chaos.acknowledged:
        assert facts[: len(known)] == known, "the journal has lost what it had acknowledged"
    reports = reports_of(facts)
    trials = tuner_like(path).study.trials
    for trial in trials.values():
        seen = [step for number, step in reports if number == trial.number]
        assert seen == list(range(1, trial.step + 1)), f"{trial.number} skipped a step: {seen}"
        assert trial.failures == 0, f"{trial.number} was blamed"
    assert all(
        fact["metrics"]["steps"] == fact["step"] for fact in facts if fact["kind"] == "reported"
    )
    wait_until(lambda: not slurm.run("squeue", "-h"), seconds=30)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not slurm.processes(), seconds=30)
    assert [_command(pid) for pid in slurm.processes()] == []

    trained = sum(len(objectives.trained(path, number)) for number in trials)
    with capsys.disabled():
        struck = ", ".join(f"{chaos.counts[each]} {each}" for each in FAULTS)
        print(f"\nseed {SEED}: {sum(chaos.counts.values())} faults: {struck}")
        print(f"jobs ended: {dict(outcomes_of(facts))}")
        print(f"steps trained / that count: {trained} / {len(reports)}", end="; ")
        print(f"{seconds:.0f} s, undisturbed {peace:.0f} s")
    assert chaos.counts["driver killed"] >= 2
    assert {*FAULTS} == {*chaos.counts}
