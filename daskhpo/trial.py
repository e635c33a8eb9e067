"""The vocabulary: what a trial, a job, a decision and a fact are.

Everything here is plain data. The same words are used by the journal, the command line, the
dashboard and the documentation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = [
    "Answer",
    "Decision",
    "Direction",
    "Evidence",
    "Fact",
    "Job",
    "Outcome",
    "ParamValue",
    "Params",
    "Trial",
    "TrialState",
    "Value",
]

ParamValue = bool | int | float | str | None
Params = Mapping[str, ParamValue]
Value = float | tuple[float, ...]  # what is minimised; a tuple where metrics are traded off
Evidence = Mapping[str, Any]  # what a decision rested on: rung, rank, threshold, ...
Fact = dict[str, Any]  # {"kind": "asked" | "reported" | ..., ...}: one line of the journal


class Direction(StrEnum):
    """Whether the metric is to be small (``MIN``) or large (``MAX``).

    Schedulers and samplers always minimise: the study multiplies by :attr:`sign` once, when a
    report comes in.

    Examples
    --------
    >>> Direction("max").sign
    -1.0
    """

    MIN = "min"
    MAX = "max"

    @property
    def sign(self) -> float:
        """+1 for ``MIN``, -1 for ``MAX``."""
        return 1.0 if self is Direction.MIN else -1.0


class Decision(StrEnum):
    """The answer to a report.

    ``CONTINUE`` train on; ``PAUSE`` save a checkpoint and leave the worker, the trial may come
    back; ``STOP`` leave the worker for ever.
    """

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


class TrialState(StrEnum):
    """Where a trial stands.

    ``RUNNING`` on a worker; ``WAITING`` for a worker, to go on where it was interrupted;
    ``PAUSED`` at a milestone, until it is promoted; the other three are final.
    """

    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether the trial can never train again."""
        return self in _FINAL


_FINAL = frozenset({TrialState.STOPPED, TrialState.COMPLETED, TrialState.FAILED})


class Outcome(StrEnum):
    """How a job left its worker.

    ``EVICTED`` is the batch system's doing, and it said so (preempted, out of walltime, a dead
    node): the retry is free, however often. ``LOST`` is a worker that is gone for a reason nobody
    knows: free too, but a trial that is there every time is given up. ``FAILED`` is the trial's
    own and is counted; ``INTERRUPTED`` is a pause that nobody decided on the trial's merit (a
    deadline, a budget, a driver that went away).
    """

    COMPLETED = "completed"
    PAUSED = "paused"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    LOST = "lost"
    EVICTED = "evicted"


@dataclass(frozen=True, slots=True)
class Job:
    """One continuous stay of a trial on workers: one Dask future.

    Parameters
    ----------
    number : int
        The trial, counted from 0.
    attempt : int
        How many jobs of this trial came before; reports of older attempts are fenced out.
    rung : int
        The rung that the job trains towards.
    start, stop : int
        Steps: the trial has been seen at ``start`` (its checkpoint may be older), and waits for
        an answer when it has reported ``stop``.
    params : mapping
        The configuration.
    parent : int, optional
        The trial from whose checkpoint this one begins, until it has one of its own.

    Examples
    --------
    >>> Job(number=12, attempt=1, rung=1, start=3, stop=9, params={"lr": 0.1}).name
    'rung1-00012-a1'
    """

    number: int
    attempt: int
    rung: int
    start: int
    stop: int
    params: Params
    parent: int | None = None

    @property
    def name(self) -> str:
        """Readable key: Dask's dashboard groups futures by the part before the first number."""
        return f"rung{self.rung}-{self.number:05d}-a{self.attempt}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision, the step up to which it holds, and what it rested on.

    ``stop`` is the next step at which the trial has to wait for an answer.
    """

    decision: Decision
    stop: int
    evidence: Evidence = field(default_factory=dict)


@dataclass(slots=True)
class Trial:
    """One configuration's life as the study knows it.

    Values are as the user reported them (not negated for ``max`` metrics). ``value`` is the last
    one seen, ``best_value`` the best one and ``best_step`` its step. ``seconds`` adds up the time
    its jobs have held a worker; ``failures`` counts its own faults and ``losses`` the jobs that
    the infrastructure took since its last new step. ``parent`` is the trial whose checkpoint it
    began from, at step ``origin``; None where it began at step 0.
    """

    number: int
    params: Params
    state: TrialState = TrialState.RUNNING
    attempt: int = 0
    rung: int = 0
    step: int = 0
    start: int = 0
    stop: int = 0
    value: float = math.nan
    best_value: float = math.nan
    best_step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    failures: int = 0
    losses: int = 0
    error: str = ""
    decision: Decision = Decision.CONTINUE
    parent: int | None = None
    origin: int = 0

    @property
    def job(self) -> Job:
        """Its stay on workers, while it is on one."""
        place = (self.rung, self.start, self.stop)
        return Job(self.number, self.attempt, *place, self.params, self.parent)
