"""The words between a pool and a batch system: a batch job, and what became of it.

A *batch job* is what the queue of a site knows: one worker, for a while. A *job* (see
:class:`daskhpo.trial.Job`) is a trial's stay on workers. Both are called jobs by those who use
them; here the former always has "batch" in its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from daskhpo.exceptions import DaskhpoError

__all__ = ["BatchJob", "BatchSystem", "Blame", "Phase", "SubmitError", "Unreachable"]


class Phase(StrEnum):
    """Where a batch job stands: in the queue, on its nodes, or over."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


class Blame(StrEnum):
    """Whose doing the end of a batch job was.

    ``SYSTEM``: preempted, out of walltime, cancelled, its node died: what trained there goes on
    elsewhere, for free. ``TRIAL``: out of memory, so most likely what trained there.
    ``UNKNOWN``: it ended by itself, or nobody can say.
    """

    SYSTEM = "system"
    TRIAL = "trial"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class BatchJob:
    """What a batch system says of one batch job; all times in seconds since 1970.

    Parameters
    ----------
    id : str
        The batch system's.
    phase : Phase
        Where it stands.
    state : str
        The batch system's own word: ``"RUNNING"``, ``"PREEMPTED"``, ``"TIMEOUT"``.
    reason : str
        Why it waits, or more about how it ended; may be empty.
    blame : Blame
        Whose doing its end was; ``UNKNOWN`` before.
    nodes : str
        Where it runs or ran, as the batch system writes it: ``"node[3-4]"``.
    began, ended : float
        nan until then.
    ends : float
        When it is killed at the latest; inf where nobody says.
    cpus, gpus : int
        Allocated in all.
    restarts : int
        How often the batch system has put it back into the queue and started it again.

    Examples
    --------
    >>> job = BatchJob("17", Phase.ENDED, "PREEMPTED", blame=Blame.SYSTEM, nodes="node3",
    ...                began=100.0, ended=160.0, gpus=4)
    >>> job.seconds, str(job)
    (60.0, 'batch job 17 on node3: PREEMPTED')
    """

    id: str
    phase: Phase
    state: str = ""
    reason: str = ""
    blame: Blame = Blame.UNKNOWN
    nodes: str = ""
    began: float = math.nan
    ended: float = math.nan
    ends: float = math.inf
    cpus: int = 0
    gpus: int = 0
    restarts: int = 0

    @property
    def seconds(self) -> float:
        """How long it has held its nodes; nan before its end is known."""
        return self.ended - self.began

    def only_waits_like(self, other: BatchJob) -> bool:
        """Whether both wait in the queue, if for another reason: that changes all the time.

        Examples
        --------
        >>> waiting = BatchJob("17", Phase.PENDING, "PENDING", "Priority")
        >>> waiting.only_waits_like(BatchJob("17", Phase.PENDING, "PENDING", "Resources"))
        True
        """
        said = self.reason not in ("", "None")
        return said and self.phase is Phase.PENDING and replace(self, reason=other.reason) == other

    def to_fact(self) -> dict[str, Any]:
        """Plain JSON data of what is known, for the journal."""
        plain = {name: getattr(self, name) for name in BatchJob.__slots__}
        return {
            name: str(value) if isinstance(value, StrEnum) else value
            for name, value in plain.items()
            if value not in ("", 0) and not (isinstance(value, float) and not math.isfinite(value))
        }

    @classmethod
    def from_fact(cls, plain: Mapping[str, Any]) -> BatchJob:
        """The inverse of :meth:`to_fact`; other keys are ignored.

        Examples
        --------
        >>> job = BatchJob("17", Phase.RUNNING, "RUNNING", began=100.0)
        >>> BatchJob.from_fact(job.to_fact()).began
        100.0
        """
        known = {name: plain[name] for name in cls.__slots__ if name in plain}
        known["phase"] = Phase(known["phase"])
        known["blame"] = Blame(known.get("blame", Blame.UNKNOWN))
        return cls(**known)

    def __str__(self) -> str:
        where = f" on {self.nodes}" if self.nodes else ""
        more = f" ({self.reason})" if self.reason and self.reason != "None" else ""
        return f"batch job {self.id}{where}: {self.state or self.phase.value}{more}"


class SubmitError(DaskhpoError, RuntimeError):
    """The batch system refuses a batch job.

    Parameters
    ----------
    message : str
        Which setting, what the batch system said, and the cure.
    final : bool
        Whether the same batch job would be refused again later (a partition that does not exist);
        False for what passes (a limit on submitted jobs, a controller that does not answer).
    """

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class Unreachable(DaskhpoError, RuntimeError):
    """The batch system does not answer: nothing can be said about any batch job."""


class BatchSystem(Protocol):
    """What a pool needs of a batch system; every method may block for seconds.

    All batch jobs of a campaign share a name, so that the batch system itself is the list of
    what was submitted, whoever died when.
    """

    def submit(self, script: str) -> str:
        """Submit a batch script; returns the id of the batch job.

        Raises
        ------
        SubmitError
            If it is refused.
        """

    def jobs(self, ids: Sequence[str] = ()) -> dict[str, BatchJob]:
        """All batch jobs of this campaign that are queued or running, and those of ``ids``.

        One of ``ids`` that the batch system has forgotten is missing from the answer.

        Raises
        ------
        Unreachable
            If the batch system does not answer.
        """

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel batch jobs; those that are over already are no error."""

    def check(self, script: str) -> None:
        """Make sure, as far as can be told, that ``script`` would be accepted and could start.

        Raises
        ------
        CampaignError
            Naming the setting, its value and what is allowed.
        """
