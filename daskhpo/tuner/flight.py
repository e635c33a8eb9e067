"""Jobs that have left: who trains them, and how each of their workers ended."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from daskhpo.trial import Job, Outcome
from daskhpo.tuner.fleet import Worker

__all__ = ["Flight", "Verdict"]

_BAD = frozenset({Outcome.FAILED, Outcome.LOST, Outcome.EVICTED})


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a job ended: :meth:`daskhpo.study.Study.tell`'s arguments."""

    outcome: Outcome
    seconds: float
    error: str = ""
    retry: bool = True

    @property
    def bad(self) -> bool:
        """Whether it is no end that the trial was meant to have."""
        return self.outcome in _BAD


@dataclass(slots=True, eq=False)
class Flight:
    """A job on its workers, all or nothing: where one of them fails, the others give up.

    Parameters
    ----------
    job : Job
        What they train.
    crew : sequence of Worker
        Who trains it; rank 0 is on the first.
    stop : int
        The step at which the trial waits for an answer.
    """

    job: Job
    crew: Sequence[Worker]
    stop: int
    futures: list[Any] = field(default_factory=list)
    heard: float = field(default_factory=time.monotonic)
    began: float = field(default_factory=time.monotonic)
    started: set[str] = field(default_factory=set)  # addresses of workers that have begun
    moved: bool = False  # whether it has reported anything
    out: dict[str, Worker] = field(default_factory=dict)  # by address: those that have not ended
    inquests: set[str] = field(default_factory=set)  # workers whose fate is being looked into
    farewell: dict[str, float] = field(default_factory=dict)  # closing ones: how long to wait
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        self.out = {worker.address: worker for worker in self.crew}

    @property
    def landed(self) -> bool:
        """Whether all that can be known of its end is known."""
        return not self.out and not self.inquests

    @property
    def silent(self) -> float:
        """Seconds since anything was heard of it."""
        return time.monotonic() - self.heard

    def leave(self, address: str) -> Worker | None:
        """A worker has nothing to do with it any more; None if it had nothing before."""
        self.farewell.pop(address, None)
        worker = self.out.pop(address, None)
        if worker is not None:
            worker.busy -= 1
        return worker

    def judge(self, verdict: Verdict, *, first: bool) -> bool:
        """Note how one worker ended; True if the others have to give up.

        The first bad end is the trial's; without any it is that of rank 0's worker (``first``).
        While a worker's death is being looked into, what the others complain of follows from it.
        """
        before = self.verdict
        if verdict.bad and self.inquests:
            return False
        if before is None or (not before.bad and (verdict.bad or first)):
            self.verdict = verdict
        return verdict.bad and not (before and before.bad) and bool(self.out)

    def overdue(self, now: float) -> list[str]:
        """Addresses of closing workers that were given long enough."""
        return [address for address, until in self.farewell.items() if now > until]

    def start(self, address: str) -> None:
        """A worker has begun, whatever Dask said of it before."""
        if address not in self.started and address in self.out:
            self.started.add(address)
            self.farewell.pop(address, None)

    def miss(self, address: str, seconds: float) -> None:
        """Dask does not find a worker that the job is for."""
        if address not in self.started:
            self.wait_for(address, seconds)

    def wait_for(self, address: str, seconds: float) -> None:
        """Give a worker some time to say how it ended."""
        if address in self.out:
            until = time.monotonic() + seconds
            self.farewell[address] = min(self.farewell.get(address, math.inf), until)
