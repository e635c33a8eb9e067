"""What a batch job's GPUs and cores did at every moment that it held them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

__all__ = ["Amount", "Entry", "Kind", "Visit", "peak", "sweep"]

_DUST = 1e-12  # a free part of a batch job that is only rounding


@dataclass(frozen=True, slots=True)
class Amount:
    """Seconds of GPUs, of cores and of workers (batch jobs).

    Examples
    --------
    >>> Amount(gpu=8.0, core=16.0, worker=2.0) + Amount(core=4.0)
    Amount(gpu=8.0, core=20.0, worker=2.0)
    """

    gpu: float = 0.0
    core: float = 0.0
    worker: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.gpu + other.gpu, self.core + other.core, self.worker + other.worker)

    def of(self, unit: str) -> float:
        """Seconds of ``"gpu"``, ``"core"`` or ``"worker"``."""
        return float(getattr(self, unit))

    @classmethod
    def total(cls, amounts: Iterable[Amount]) -> Amount:
        """The sum.

        Examples
        --------
        >>> Amount.total([Amount(gpu=1.0), Amount(gpu=2.0)]).gpu
        3.0
        """
        gpu = core = worker = 0.0
        for amount in amounts:
            gpu, core, worker = gpu + amount.gpu, core + amount.core, worker + amount.worker
        return cls(gpu, core, worker)


class Kind(StrEnum):
    """What something that was held was good for.

    ``USED`` and ``WASTED`` by a stay of a trial; the others are idle: before the first stay,
    between stays (also what is free beside one), after the last stay, and on batch jobs that
    never had any.
    """

    USED = "used"
    WASTED = "wasted"
    STARTUP = "start-up"
    BETWEEN = "between trials"
    AT_END = "at the end"
    UNUSED = "never used"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the book.

    Parameters
    ----------
    batch : str
        The batch job; empty for a stay on none.
    stay : int
        Index of the stay; -1 where idle.
    rung : int or None
        That was trained towards; where idle, of the stay that ended the wait, if one did.
    kind : Kind
        What for.
    amount : Amount
        How much.
    """

    batch: str
    stay: int
    rung: int | None
    kind: Kind
    amount: Amount


@dataclass(frozen=True, slots=True)
class Visit:
    """A stay as one of its batch jobs sees it; times in seconds since 1970.

    Parameters
    ----------
    stay : int
        Its index.
    began, ended : float
        When it held the batch job.
    turns : tuple of (float, int)
        From when on it trained towards which rung; the first begins with the stay.
    told : float
        From when on what it did came to nothing; inf if all of it was kept.
    gpus : float
        That it holds here; 0 if it takes what is there.
    """

    stay: int
    began: float
    ended: float
    turns: tuple[tuple[float, int], ...]
    told: float
    gpus: float = 0.0

    def rung(self, time: float) -> int:
        """Towards which rung it trained at ``time``."""
        found = self.turns[0][1]
        for since, rung in self.turns:
            if since > time:
                break
            found = rung
        return found

    @property
    def cuts(self) -> list[float]:
        """Moments at which something about it changes."""
        return [self.began, self.ended, self.told, *(since for since, _ in self.turns)]


def peak(visits: Iterable[Visit], *, gpus: bool) -> float:
    """The most visits, or GPUs held by visits, at any moment.

    Examples
    --------
    >>> visits = [Visit(n, n, n + 1.5, ((n, 0),), 9.0, gpus=2) for n in range(3)]
    >>> peak(visits, gpus=False), peak(visits, gpus=True)
    (2.0, 4.0)
    """
    changes: list[tuple[float, float]] = []
    for visit in visits:
        if visit.ended > visit.began:
            weight = visit.gpus if gpus else 1
            # At the same moment, those that leave do so before others come.
            changes += [(visit.began, weight), (visit.ended, -weight)]
    most = held = 0.0
    for _, change in sorted(changes):
        held += change
        most = max(most, held)
    return most


def sweep(
    batch: str,
    span: tuple[float, float],
    visits: Sequence[Visit],
    *,
    gpus: float,
    cpus: float,
    slots: float = 1.0,
) -> Iterator[Entry]:
    """Book every moment of a batch job: to the stays on it, and the rest as idle.

    Parameters
    ----------
    batch : str
        Its id.
    span : (float, float)
        When it held its nodes. Where it was requeued, call this for every time on nodes.
    visits : sequence of Visit
        The stays on it; what is outside of the span is cut off.
    gpus, cpus : float
        Allocated.
    slots : float
        Stays that fit on a batch job at the same time: a stay that names no GPUs takes its share
        of what is there.

    Yields
    ------
    Entry
        Their amounts add up to all that was allocated.

    Examples
    --------
    >>> stay = Visit(0, 2.0, 6.0, ((2.0, 0),), told=5.0, gpus=4)
    >>> for entry in sweep("17", (0.0, 8.0), [stay], gpus=4, cpus=8):
    ...     print(entry.kind, entry.rung, entry.amount.gpu)
    start-up 0 8.0
    used 0 12.0
    wasted 0 4.0
    at the end None 8.0
    """
    began, ended = span
    whole = Amount(gpus, cpus, 1.0)
    some = (visit for visit in visits if visit.ended > visit.began)
    here = sorted(some, key=lambda visit: (visit.began, visit.stay))
    first = min((visit.began for visit in here), default=began)
    last = max((visit.ended for visit in here), default=began)
    cuts = {began, ended} | {cut for visit in here for cut in visit.cuts if began < cut < ended}
    moments = sorted(cuts)
    present: list[Visit] = []
    coming = 0  # index of the first visit that has not begun
    for since, until in pairwise(moments):
        while coming < len(here) and here[coming].began <= since:
            present.append(here[coming])
            coming += 1
        present = [visit for visit in present if visit.ended > since]
        free = 1.0
        for visit, share in zip(present, _shares(present, gpus, slots), strict=True):
            kind = Kind.WASTED if since >= visit.told else Kind.USED
            free -= share
            held = _times(whole, share * (until - since))
            yield Entry(batch, visit.stay, visit.rung(since), kind, held)
        kind, rung = Kind.BETWEEN, here[coming].turns[0][1] if coming < len(here) else None
        if not here:
            kind = Kind.UNUSED
        elif until <= first:
            kind = Kind.STARTUP
        elif since >= last:
            kind = Kind.AT_END
        if free > _DUST:
            yield Entry(batch, -1, rung, kind, _times(whole, free * (until - since)))


def _shares(present: Sequence[Visit], gpus: float, slots: float) -> list[float]:
    """Which part of the batch job each visit holds; together never more than all of it."""
    parts = [visit.gpus / gpus if visit.gpus and gpus else 1.0 / slots for visit in present]
    scale = 1.0 / max(1.0, sum(parts))
    return [part * scale for part in parts]


def _times(amount: Amount, factor: float) -> Amount:
    return Amount(amount.gpu * factor, amount.core * factor, amount.worker * factor)
