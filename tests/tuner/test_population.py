"""Population based training for real: weights go from trial to trial, also when drivers die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import objectives
import pytest

from daskhpo import Fifo, Float, Space, Tuner
from daskhpo.campaign import Budget
from daskhpo.schedulers import PBT
from daskhpo.trial import Answer, Decision, Outcome
from daskhpo.tuner.driver import Driver
from daskhpo.worker.mailbox import Mailbox
from daskhpo.worker.perform import perform
from daskhpo.worker.session import Session

SPACE = Space(h0=Float(0.0, 1.0), h1=Float(0.0, 1.0))
POINTS = [{"h0": float(n % 2), "h1": float(1 - n % 2)} for n in range(6)]
TESTS = Path(__file__).parent.parent


def population(**settings):
    settings = {"interval": 10, "population": 6, "quantile": 0.34} | settings
    return PBT(100, perturb=["h0", "h1"], **settings)


def tuner_of(path, scheduler, **workers):
    return Tuner(
        objectives.surrogate,
        SPACE,
        metric="q",
        mode="max",
        path=path,
        scheduler=scheduler,
        sampler="random",
        points=POINTS,
        workers=workers,
    )


def decisions(directory):
    """What was reported, decided and bred, in order."""
    keys = ("kind", "number", "step", "decision", "metrics", "parent", "params")
    return [
        {key: fact.get(key) for key in keys}
        for fact in directory.facts()
        if fact["kind"] in ("reported", "bred")
    ]


def checkpoints(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*.ckpt"))


def assert_weights_went_on(tuner):
    """Every step began with the weights of the step before, its parent's where it was the first."""
    seen = {
        (fact["number"], fact["step"]): fact["metrics"]
        for fact in tuner.directory.facts()
        if fact["kind"] == "reported"
    }
    for (number, step), metrics in seen.items():
        trial = tuner.study.trials[number]
        before = seen.get((number if step > trial.origin + 1 else trial.parent, step - 1))
        before = before or {"theta0": 0.9, "theta1": 0.8}
        for theta, h in (("theta0", "h0"), ("theta1", "h1")):
            assert metrics[theta] == pytest.approx(before[theta] * (1 - 0.02 * trial.params[h]))
        assert metrics["age"] == step


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """The best of the same population without any change on the way."""
    tuner = tuner_of(tmp_path_factory.mktemp("fixed") / "campaign", Fifo(100))
    tuner.debug(trials=6)
    return tuner.best.best_value


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    tuner = tuner_of(tmp_path_factory.mktemp("undisturbed") / "campaign", population())
    tuner.debug(trials=6)
    return tuner


def test_it_finds_what_no_fixed_member_can(undisturbed, fixed):
    best = undisturbed.best
    assert fixed < 0.6
    assert best.best_value > fixed + 0.4
    assert best.parent is not None
    assert_weights_went_on(undisturbed)
    begun = [trial for trial in undisturbed.study.trials.values() if trial.parent is None]
    assert len(begun) == 6
    assert {
        trial.step for trial in undisturbed.study.trials.values() if trial.state == "completed"
    } == {100}


def test_whoever_is_over_leaves_no_checkpoint_and_nobody_keeps_what_was_inherited(undisturbed):
    completed = [t.number for t in undisturbed.study.trials.values() if t.state == "completed"]
    left = checkpoints(undisturbed.directory.trials_path)
    assert [int(name[:5]) for name in left] == completed
    assert not list(undisturbed.directory.trials_path.rglob("inherited"))


def test_trials_and_curves_know_the_parents(undisturbed):
    trials, curves = undisturbed.trials, undisturbed.curves
    bred = {n: t for n, t in undisturbed.study.trials.items() if t.parent is not None}
    assert trials.parent.dropna().to_dict() == {n: t.parent for n, t in bred.items()}
    assert curves.parent.values.tolist() == [
        trials.parent.fillna(-1)[n] for n in curves.trial.values
    ]
    for number, trial in bred.items():
        assert float(curves.param_h0[number]) == trial.params["h0"]
        steps = curves.step[curves.q[number].notnull().values]
        assert steps[0] == trial.origin + 1
        assert trials.origin[number] == trial.origin
    assert curves.age.values[curves.age.notnull().values].min() == 1


@pytest.mark.parametrize(("interval", "isolate"), [(10, False), (50, True)])
def test_on_a_cluster_too(client, tmp_path, fixed, interval, isolate):
    tuner = tuner_of(tmp_path / "campaign", population(interval=interval), isolate=isolate)
    tuner.run(client, trials=6)
    study = tuner.study
    assert any(trial.parent is not None for trial in study.trials.values())
    assert not any(trial.error for trial in study.trials.values())
    assert study.best.best_value > fixed
    assert_weights_went_on(tuner)


# ---------------------------------------------------------------------- what may come in between

DRIVER = """
import os, signal, sys
from pathlib import Path
from daskhpo.tuner.driver import Driver
from test_population import population, tuner_of

when, path = sys.argv[1:]
ask, report, commit = Driver.ask, Driver.report, Driver.commit

def die(driver, durable):
    if durable:
        commit(driver, durable=True)
    os.kill(os.getpid(), signal.SIGKILL)

def dying_report(driver, *arguments):
    answer = report(driver, *arguments)
    if when == "stopped" and answer.decision == "stop":
        die(driver, durable=True)
    return answer

def dying_ask(driver, *, inline):
    job = ask(driver, inline=inline)
    if job is not None and job.parent is not None and when in ("bred", "handed out"):
        die(driver, durable=when == "handed out")
    return job

Driver.report, Driver.ask = dying_report, dying_ask
tuner_of(Path(path), population()).debug(trials=6)
"""


@pytest.mark.kills
@pytest.mark.parametrize("when", ["stopped", "bred", "handed out"])
def test_a_driver_killed_between_the_end_of_a_trial_and_its_child_changes_nothing(
    tmp_path, undisturbed, when
):
    path = tmp_path / "campaign"
    paths = os.pathsep.join([str(TESTS), str(TESTS / "tuner"), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", DRIVER, when, str(path)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    tuner = tuner_of(path, population())
    before = decisions(tuner.directory)
    assert any(fact["decision"] == "stop" for fact in before)
    assert any(fact["kind"] == "bred" for fact in before) is (when == "handed out")
    tuner.debug(trials=6)
    assert decisions(tuner.directory) == decisions(undisturbed.directory)


class _Told(Mailbox):
    """A channel whose tuner says stop at the first milestone."""

    def send(self, step, metrics, *, urgent):
        self.deliver(Answer(Decision.STOP if urgent else Decision.CONTINUE, step + 1))


class _Wired(Mailbox):
    def __init__(self, driver, job):
        super().__init__()
        self.driver, self.job = driver, job

    def send(self, step, metrics, *, urgent):
        self.deliver(self.driver.report(self.job.number, self.job.attempt, step, metrics))


def test_a_parent_that_is_stopped_before_its_child_begins_has_left_it_the_checkpoint(tmp_path):
    tuner = tuner_of(tmp_path / "campaign", population())
    tuner.directory.create(tuner.campaign.to_mapping())
    driver = Driver(tuner.campaign, tuner.directory, Budget(trials=6))
    work = tuner._work()

    def train(job, channel=None):
        session = Session(work, job, channel or _Wired(driver, job))
        ending = perform(work.objective, session)
        assert not ending.error
        driver.tell(job.number, job.attempt, ending.outcome, 1.0, "", True)
        return session

    jobs = [driver.ask(inline=True) for _ in range(6)]
    for job in jobs:
        train(job)
    child = driver.ask(inline=True)
    assert (child.parent, child.start) == (jobs[1].number, 10)
    while (job := driver.ask(inline=True)).number != child.parent:
        pass  # others may go on, too
    parent = Session(work, job, _Told())
    assert perform(work.objective, parent).outcome is Outcome.STOPPED
    assert checkpoints(parent.path) == []
    assert checkpoints(tuner.directory.trial_path(child.number)) == ["inherited/step-000010.ckpt"]
    assert train(child).step == 20
    assert driver.study.trials[child.number].metrics["age"] == 20
    driver.abandon()
