"""The lines of a campaign's account: stays, batch jobs, and their sums."""

from __future__ import annotations

from dataclasses import dataclass, field

from daskhpo.analysis.accounting_sweep import Amount, Kind
from daskhpo.cluster.batch import BatchJob
from daskhpo.trial import Outcome

__all__ = ["IDLE", "RUNNING", "Accounts", "BatchAccount", "Part", "Stay"]

RUNNING = "running"  # in place of an outcome, for a stay that goes on
IDLE = (Kind.STARTUP, Kind.BETWEEN, Kind.AT_END, Kind.UNUSED)

_BROKEN = (Outcome.EVICTED, Outcome.FAILED, Outcome.INTERRUPTED, Outcome.LOST)


@dataclass(frozen=True, slots=True)
class Stay:
    """One job of a trial, and what it held.

    Parameters
    ----------
    number, attempt, rung : int
        The trial, how many jobs of it came before, and the rung that it began towards.
    batches, workers : tuple of str
        Ids of its batch jobs and names of its workers; empty where there are no batch jobs.
    nodes : str
        Where those batch jobs were.
    gpus, ranks : int
        Of the trial, over all its workers.
    began : float
        When it was handed to its workers, in seconds since 1970.
    ended : float
        When it left them; nan while it runs.
    seconds : float
        How long it held them.
    step : int
        The last one that was reported.
    outcome : str
        A value of :class:`daskhpo.trial.Outcome`, or ``"running"``.
    cause : str
        Why it did not end as it was meant to; empty if it did.
    used, wasted : Amount
        Booked; wasted is a part of used.
    """

    number: int
    attempt: int
    rung: int
    batches: tuple[str, ...]
    workers: tuple[str, ...]
    nodes: str
    gpus: int
    ranks: int
    began: float
    ended: float
    seconds: float
    step: int
    outcome: str
    cause: str
    used: Amount
    wasted: Amount

    @property
    def gpu_seconds(self) -> float:
        """Booked."""
        return self.used.gpu

    @property
    def core_seconds(self) -> float:
        """Booked."""
        return self.used.core


@dataclass(frozen=True, slots=True)
class BatchAccount:
    """A batch job, and what became of what it held.

    Parameters
    ----------
    job : BatchJob
        As it was last seen.
    seconds : float
        How long it has had its nodes, over all its starts.
    last_seconds : float
        Of the last start.
    cpus, gpus : float
        Allocated. Where the batch system says nothing of GPUs: the most that stays had at once.
    allocated, booked : Amount
        In all, and by stays.
    idle : mapping
        ``{kind: Amount}`` of the rest.
    stays : int
        How many it has had.
    """

    job: BatchJob
    seconds: float
    last_seconds: float
    cpus: float
    gpus: float
    allocated: Amount
    booked: Amount
    idle: dict[Kind, Amount]
    stays: int

    @property
    def id(self) -> str:
        """The batch system's."""
        return self.job.id


@dataclass(frozen=True, slots=True)
class Part:
    """What a rung, an outcome or a trial has held; ``key`` says which.

    ``stays`` counts those that had to do with it, ``idle`` is zero where idle time is nobody's.
    """

    key: int | str | None
    stays: int
    used: Amount
    wasted: Amount
    idle: Amount = field(default_factory=Amount)


@dataclass(frozen=True, slots=True)
class Accounts:
    """The account of a campaign.

    Parameters
    ----------
    unit : str
        What is counted: ``"gpu"``; ``"core"`` where there are no GPUs; ``"worker"`` where nobody
        says how many cores there are, or where there are no batch jobs.
    began, now : float
        Of the account, in seconds since 1970.
    stays : tuple of Stay
        In the order in which they were asked for.
    batches : tuple of BatchAccount
        In the order in which they were seen first.
    rungs : tuple of Part
        Lowest first; the last, with key None, is idle time that no stay ended.
    outcomes, trials : tuple of Part
        What cost most first.
    milestones : mapping
        ``{rung: step}`` at which it compares.
    outside : Amount
        Used by stays on no batch job; not a part of what was allocated.
    """

    unit: str
    began: float
    now: float
    stays: tuple[Stay, ...]
    batches: tuple[BatchAccount, ...]
    rungs: tuple[Part, ...]
    outcomes: tuple[Part, ...]
    trials: tuple[Part, ...]
    milestones: dict[int, int]
    outside: Amount

    @property
    def allocated(self) -> Amount | None:
        """What batch jobs have held in all; None where there were none, so that nobody knows."""
        return Amount.total(each.allocated for each in self.batches) if self.batches else None

    @property
    def used(self) -> Amount:
        """By stays: on batch jobs if there are any."""
        if not self.batches:
            return self.outside
        return Amount.total(each.booked for each in self.batches)

    @property
    def wasted(self) -> Amount:
        """Of what was used."""
        return Amount.total(stay.wasted for stay in self.stays)

    @property
    def idle(self) -> Amount:
        """Allocated and not used."""
        return Amount.total(self.idle_by_kind.values())

    @property
    def idle_by_kind(self) -> dict[Kind, Amount]:
        """``{kind: Amount}``: when nothing was done."""
        return {k: Amount.total(each.idle[k] for each in self.batches) for k in IDLE}

    @property
    def interruptions(self) -> tuple[Stay, ...]:
        """Stays that did not end as they were meant to, in the order in which they ended."""
        broken = [stay for stay in self.stays if stay.outcome in _BROKEN]
        return tuple(sorted(broken, key=lambda stay: (stay.ended, stay.number)))
