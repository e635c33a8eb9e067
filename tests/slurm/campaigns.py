"""A small campaign on the test Slurm, and what must hold of it however it was disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import objectives

from daskhpo import ASHA, Float, Space, Tuner
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.journal import JournalReader

TESTS = Path(__file__).parents[1]
TRIALS = 6

DRIVER = """
import json, sys
import objectives
from campaigns import tuner_at

path, settings = sys.argv[1], json.loads(sys.argv[2])
budget = settings.pop("budget")
keep = settings.pop("keep", False)
tuner = tuner_at(path, getattr(objectives, settings.pop("objective")), **settings)
with tuner.pool() as pool:
    tuner.run(pool, keep=keep, **budget)
print("done", flush=True)
"""


def tuner_at(path, objective, *, jobs=2, max_step=9, scheduler=None, workers=None, **pool):
    """A tuner whose workers are batch jobs of the test Slurm."""
    pool = {"kind": "slurm", "site": "test-slurm", "jobs": jobs, "margin": 2.0} | pool
    return Tuner(
        objective,
        Space(x=Float(0.0, 1.0)),
        metric="loss",
        path=path,
        scheduler=scheduler or ASHA(max_step=max_step, eta=3, min_step=3),
        sampler="random",
        pool=pool,
        workers=workers or {},
    )


@contextlib.contextmanager
def running(tuner, **budget):
    """Start a tuner in this process; afterwards it has come to its end by itself."""
    budget = budget or {"trials": TRIALS}
    with tuner.pool() as pool:
        tuner.start(pool, **budget)
        try:
            yield tuner
            assert tuner.wait(240), f"the campaign does not end: {tuner!r}"
        finally:
            tuner.stop()
            tuner.stop()
            tuner.wait(60)


class Driver:
    """A driver in a process of its own, to be killed."""

    def __init__(self, path, objective, *, budget=None, **settings):
        settings |= {"objective": objective, "budget": budget or {"trials": TRIALS}}
        paths = [TESTS, TESTS / "slurm", TESTS.parent, os.environ.get("PYTHONPATH", "")]
        self.log = Path(f"{path}.log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(path), json.dumps(settings)],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
                cwd=TESTS,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self):
        """SIGKILL, and nothing else."""
        self.process.kill()
        self.process.wait()

    def end(self, timeout=240):
        """Wait for its own end; returns the code."""
        try:
            return self.process.wait(timeout)
        finally:
            self.kill()


def wait_until(condition, seconds=90):
    """Wait for something to be true; gives it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)
    return found


def facts_of(path):
    """What the journal says so far; it may be written right now."""
    path = Path(path)
    return list(JournalReader(path / "journal.jsonl")) if (path / "journal.jsonl").exists() else []


def reports_of(facts):
    """[(trial, step)] in order."""
    return [(fact["number"], fact["step"]) for fact in facts if fact["kind"] == "reported"]


def batches_of(facts):
    """{id: the last that is known of each batch job}"""
    return {fact["id"]: fact for fact in facts if fact["kind"] == "noted" and fact["of"] == "batch"}


def states_of(slurm, path):
    """The states of the campaign's batch jobs, as Slurm says."""
    states = slurm.states()
    return [states[id] for id in batches_of(facts_of(path)) if id in states]


def endings_of(facts):
    """[(trial, outcome, error)]"""
    return [
        (fact["number"], fact["outcome"], fact.get("error", ""))
        for fact in facts
        if fact["kind"] == "ended"
    ]


def outcomes_of(facts):
    """{outcome: how often}"""
    return Counter(outcome for _, outcome, _ in endings_of(facts))


def place_of(facts, number):
    """The batch job that trains a trial now; None if there is none."""
    place = None
    for fact in facts:
        if fact.get("number") == number:
            if fact["kind"] == "noted" and fact["of"] == "placed":
                place = fact["batches"][0]
            elif fact["kind"] == "ended":
                place = None
    return place


def training(path, *, at_least=1):
    """(trial, batch job) of one that is in the middle of an epoch and has reported, if any is."""
    facts = facts_of(path)
    for number, step in reversed(reports_of(facts)):
        batch = place_of(facts, number)
        if batch is not None and step >= at_least:
            return number, batch
    return None


def assert_whole(path, *, trials=TRIALS, states=("paused", "completed")):
    """Nothing is lost or doubled, every decision is that of the replay, the campaign is over."""
    facts = list(CampaignDirectory(path).facts())
    reports = reports_of(facts)
    assert len(reports) == len(set(reports)), "a report was counted twice"
    told = {
        (number, step) for number in range(trials) for _, step in objectives.trained(path, number)
    }
    study = tuner_like(path).study  # replays, and compares every decision
    begun = study.trials.values()
    assert len(begun) == trials
    assert {str(trial.state) for trial in begun} <= set(states)
    assert any(str(trial.state) == "completed" for trial in begun)
    for number, step in reports:
        assert any(n == number and s >= step for n, s in told) or not told
    steps = defaultdict(list)
    for number, step in reports:
        steps[number].append(step)
    for number, seen in steps.items():
        assert seen == sorted(seen), f"trial {number} went back: {seen}"
    for trial in begun:
        assert trial.step == max(steps[trial.number]), "the study and the journal differ"
    return facts


def tuner_like(path):
    """The tuner of a campaign that exists, whatever its settings."""
    from daskhpo.campaign import Campaign

    config = CampaignDirectory(path).config()
    return Tuner.from_campaign(objectives.quick, Campaign.from_mapping(config), path)
