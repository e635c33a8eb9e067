"""However an objective ends, the study hears of it in its own words."""

from __future__ import annotations

import math
import os

import objectives
import pytest

from daskhpo.exceptions import ObjectiveError
from daskhpo.trial import Job, Outcome
from daskhpo.worker.perform import ERROR_CHARACTERS, perform
from daskhpo.worker.session import Session
from daskhpo.worker.work import Work


class Deaf:
    """A channel that nobody listens to."""

    interrupted = False
    ends = math.inf

    def send(self, step, metrics, *, urgent):
        pass

    def wait(self, step):
        raise AssertionError("nobody answers")

    def poll(self):
        return None


@pytest.fixture
def session(tmp_path):
    work = Work("token", None, "loss", 3, 0, str(tmp_path))
    return Session(work, Job(0, 0, 0, 0, 3, {"x": 0.5}), Deaf())


def raising(error):
    def objective(trial):
        raise error

    return objective


def test_a_good_end(session):
    ending = perform(objectives.quick, session)
    assert (ending.outcome, ending.error, ending.retry) == (Outcome.COMPLETED, "", True)
    assert ending.seconds > 0


@pytest.mark.parametrize(
    ("error", "word", "retry"),
    [
        (RuntimeError("broken"), "RuntimeError: broken", True),
        (SystemExit(3), "SystemExit: 3", True),
        (KeyboardInterrupt(), "KeyboardInterrupt", True),
        (GeneratorExit(), "GeneratorExit", True),
        (MemoryError(), "out of memory", False),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out of memory: CUDA", False),
        (ObjectiveError("no metric"), "no metric", False),
    ],
)
def test_a_bad_end_has_its_reason_and_whether_another_try_makes_sense(session, error, word, retry):
    ending = perform(raising(error), session)
    assert ending.outcome is Outcome.FAILED
    assert word in ending.error
    assert ending.retry is retry


def test_an_error_has_its_traceback_within_bounds(session):
    def deep(trial, depth=200):
        if depth == 0:
            raise ValueError("x" * 100)
        return deep(trial, depth - 1) if depth % 2 else other(trial, depth - 1)

    def other(trial, depth):
        return deep(trial, depth)

    ending = perform(deep, session)
    assert len(ending.error) <= ERROR_CHARACTERS
    assert "in deep" in ending.error
    assert ending.error.endswith("x\n")


def test_a_child_that_falls_out_of_the_objective_ends_there(session, tmp_path):
    owner, note = os.getpid(), tmp_path / "child"

    def objective(trial):
        child = os.fork()
        if child == 0:
            note.touch()
            raise RuntimeError("in the child")
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 1
        for _ in trial.steps():
            trial.report(loss=1.0)

    ending = perform(objective, session)
    assert os.getpid() == owner, "the child has come out of perform()"
    assert note.exists()
    assert ending.outcome is Outcome.COMPLETED, ending.error


def test_a_child_that_goes_on_training_does_not_report(session):
    def objective(trial):
        owner = os.getpid()
        for step in trial.steps():
            child = os.fork() if step == 1 else 0
            if child:
                _, status = os.waitpid(child, 0)
                assert os.waitstatus_to_exitcode(status) == 1
            trial.report(loss=1.0)
        if os.getpid() != owner:  # it was not stopped
            os._exit(0)

    ending = perform(objective, session)
    assert ending.outcome is Outcome.COMPLETED, ending.error
