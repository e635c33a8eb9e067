"""One stay of a trial on a worker, without any worker: a session and the tape of its channel."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from daskhpo.trial import Answer, Decision, Job
from daskhpo.worker.mailbox import Mailbox
from daskhpo.worker.session import Session
from daskhpo.worker.work import Work


class Tape(Mailbox):
    """A channel that keeps what is sent, and gives the answers that were written for it."""

    def __init__(self, answers):
        super().__init__()
        self.sent = []  # [(step, metrics, urgent)]
        self.answers = answers  # {step: answer to its report, or a function to call then}

    def send(self, step, metrics, *, urgent):
        self.sent.append((step, metrics, urgent))
        answer = self.answers.get(step)
        if callable(answer):
            answer()
        elif answer is not None:
            self.deliver(answer if isinstance(answer, Answer) else Answer(answer, step))

    @property
    def steps(self):
        return [step for step, _, _ in self.sent]

    @property
    def metrics(self):
        return [metrics for _, metrics, _ in self.sent]


@dataclass
class Stay:
    work: Work
    job: Job
    tape: Tape

    def __post_init__(self):
        self.session = Session(self.work, self.job, self.tape)


@pytest.fixture
def stay(tmp_path, monkeypatch):
    """Make a stay: ``stay(objective, answers={3: Decision.PAUSE})``."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def make(
        objective=None,
        *,
        answers=None,
        params=None,
        number=0,
        attempt=0,
        start=0,
        stop=None,
        **settings,
    ):
        settings = {"metric": "loss", "max_step": 5, "seed": 1, "path": str(tmp_path)} | settings
        work = Work("test", objective, **settings)
        stop = work.max_step if stop is None else stop
        job = Job(number, attempt, 0, start, stop, params if params is not None else {"x": 0.5})
        return Stay(work, job, Tape(answers if answers is not None else {}))

    return make


@pytest.fixture
def go_on():
    """The answer that lets a trial train up to a step."""
    return lambda stop: Answer(Decision.CONTINUE, stop)
