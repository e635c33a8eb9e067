"""What batch jobs have cost, and which of them are not over: read from the log of facts."""

from __future__ import annotations

import math

from daskhpo.cluster.batch import BatchJob, Phase
from daskhpo.trial import Fact

__all__ = ["Ledger"]


class Ledger:
    """The newest word on every batch job of a campaign, over all its drivers.

    Examples
    --------
    >>> ledger = Ledger()
    >>> job = BatchJob("17", Phase.RUNNING, began=200.0, gpus=4)
    >>> ledger.read({"kind": "noted", "of": "batch", **job.to_fact()})
    >>> ledger.gpu_hours(now=2000.0), [job.id for job in ledger.alive]
    (2.0, ['17'])
    """

    def __init__(self) -> None:
        self.jobs: dict[str, BatchJob] = {}

    def read(self, fact: Fact) -> None:
        """Take note of a fact, whatever its kind."""
        if fact["kind"] == "noted" and fact["of"] == "batch":
            job = BatchJob.from_fact(fact)
            self.jobs[job.id] = job

    @property
    def alive(self) -> list[BatchJob]:
        """Batch jobs whose end nobody has seen."""
        return [job for job in self.jobs.values() if job.phase is not Phase.ENDED]

    def gpu_hours(self, now: float) -> float:
        """GPU-hours that batch jobs have held their nodes for, used or idle."""
        seconds = 0.0
        for job in self.jobs.values():
            until = job.ended if job.phase is Phase.ENDED else now
            held = until - job.began
            if math.isfinite(held):
                seconds += max(0.0, held) * job.gpus
        return seconds / 3600
