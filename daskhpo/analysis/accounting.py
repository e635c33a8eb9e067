"""What a campaign has held, what that was good for, and what it cost: GPU- and core-hours.

Everything follows from the facts of its journal. How time is counted:

==============  ==================================================================================
allocated       a batch job's GPUs (and cores), from its begin to its end, as the batch system says;
                if it was requeued, every time that it had its nodes; if it runs, until now
used            a stay's GPUs, from when it began by its own word (from when it was handed to its
                workers, if it broke off) to its end. A stay whose batch job died, or has another
                worker since, ended with that. One whose driver went away is counted up to its last
                report; one that never found its workers is not counted
wasted          of that: what stays that failed, or lost their workers, did after their last report
                (all of it, if there was none). A trial that goes on from an older checkpoint
                repeats steps that had been reported: the journal cannot tell, so those are not in
                it
idle            allocated, but not used: before the first stay of a batch job, between stays (or
                beside one that leaves GPUs free), after the last one; and batch jobs that never
                had any. It is put down to the rung of the stay that ended the wait
==============  ==================================================================================

A stay holds as many GPUs as it was given, and that share of the cores. One that was given none by
number takes what is there: as large a part of its batch job as fits on one of them at a time, going
by the most that were ever seen there together. Where there are no batch jobs, nobody knows what was
allocated: used is then the time that stays have held their workers, times their ranks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from daskhpo.analysis.accounting_facts import Held, Record, Span, Tenant, span_at
from daskhpo.analysis.accounting_parts import IDLE, RUNNING, Accounts, BatchAccount, Part, Stay
from daskhpo.analysis.accounting_sweep import Amount, Entry, Kind, Visit, peak, sweep
from daskhpo.trial import Fact

__all__ = ["Accounts", "BatchAccount", "Part", "Record", "Stay", "accounts"]


def accounts(
    facts: Iterable[Fact] | Record, *, now: float | None = None, ranks: int = 1
) -> Accounts:
    """Make the account of a campaign.

    Parameters
    ----------
    facts : iterable of dict, or Record
        Of its journal, from the first one on.
    now : float, optional
        Until when stays and batch jobs that have not ended are counted, in seconds since 1970; by
        default the time of the newest fact.
    ranks : int
        Of a trial, for stays on no batch job.

    Returns
    -------
    Accounts

    Examples
    --------
    >>> from daskhpo.cluster.batch import BatchJob, Phase
    >>> job = BatchJob("17", Phase.ENDED, "COMPLETED", began=5.0, ended=105.0, gpus=4)
    >>> trial = {"number": 0, "attempt": 0}
    >>> found = accounts([
    ...     {"kind": "asked", "t": 9.0, **trial, "rung": 0, "start": 0, "stop": 9, "why": "new"},
    ...     {"kind": "noted", "t": 15.0, "of": "placed", **trial, "workers": ["17-0"],
    ...      "batches": ["17"], "gpus": 4, "ranks": 4},
    ...     {"kind": "ended", "t": 95.0, **trial, "outcome": "completed", "seconds": 80.0},
    ...     {"kind": "noted", "t": 106.0, "of": "batch", **job.to_fact()},
    ... ])
    >>> found.allocated.gpu, found.used.gpu, found.idle.gpu, found.idle_by_kind["start-up"].gpu
    (400.0, 320.0, 80.0, 40.0)
    """
    record = facts if isinstance(facts, Record) else Record()
    if not isinstance(facts, Record):
        for fact in facts:
            record.add(fact)
    return _Book(record, record.last if now is None else now, ranks).close()


class _Book:
    """Entries, and their sums."""

    def __init__(self, record: Record, now: float, ranks: int) -> None:
        self._record = record
        self._now = now
        self._ranks = ranks
        self._tenants = list(record.tenants.values())
        self._guests: dict[str, list[int]] = defaultdict(list)  # {batch job: indices of its stays}
        for index, tenant in enumerate(self._tenants):
            for batch in dict.fromkeys(tenant.batches):
                self._guests[batch].append(index)
        self._spans = {batch: self._spans_of(held) for batch, held in record.held.items()}
        self._visits = {batch: self._visits_of(batch) for batch in record.held}
        together = [peak(chain(*each), gpus=False) for each in self._visits.values()]
        self._slots = max(1.0, *together, 1.0)  # stays that fit on a batch job
        self._entries: list[Entry] = []

    def close(self) -> Accounts:
        """Book everything, and add up."""
        batches = tuple(self._batch(held) for held in self._record.held.values())
        outside = [entry for n, each in enumerate(self._tenants) for entry in self._alone(n, each)]
        self._entries += outside
        stays = self._stays()
        return Accounts(
            unit=_unit(batches),
            began=self._record.began,
            now=self._now,
            stays=stays,
            batches=batches,
            rungs=self._rungs(stays),
            outcomes=_parts((stay.outcome, stay) for stay in stays),
            trials=_parts((stay.number, stay) for stay in stays),
            milestones=dict(sorted(self._record.milestones.items())),
            outside=Amount.total(entry.amount for entry in outside),
        )

    # ------------------------------------------------------------------ who was where

    def _spans_of(self, held: Held) -> list[Span]:
        """When a batch job had its nodes; as long as stays say, if nobody else does."""
        guests = [self._tenants[index] for index in self._guests[held.job.id]]
        if held.spans or not guests:
            return held.spans
        began, ended = zip(*(each.interval(self._now) for each in guests), strict=True)
        return [Span(held.job, min(began), max(ended))]

    def _visits_of(self, batch: str) -> list[list[Visit]]:
        """The visits to a batch job, for each of its spans."""
        spans = self._spans[batch]
        visits: list[list[Visit]] = [[] for _ in spans]
        for index in self._guests[batch]:
            tenant = self._tenants[index]
            which = span_at(spans, tenant.began)
            visits[which].append(tenant.visit(index, batch, spans[which], self._now))
        return visits

    # ------------------------------------------------------------------ booking

    def _batch(self, held: Held) -> BatchAccount:
        """Book a batch job."""
        job, spans, visits = held.job, self._spans[held.job.id], self._visits[held.job.id]
        gpus = float(job.gpus) or peak(chain(*visits), gpus=True)
        entries: list[Entry] = []
        seconds = [0.0]
        for span, here in zip(spans, visits, strict=True):
            until = span.ended if math.isfinite(span.ended) else max(self._now, span.began)
            seconds.append(until - span.began)
            entries += sweep(
                job.id, (span.began, until), here, gpus=gpus, cpus=job.cpus, slots=self._slots
            )
        self._entries += entries
        total = sum(seconds)
        return BatchAccount(
            job=job,
            seconds=total,
            last_seconds=seconds[-1],
            cpus=job.cpus,
            gpus=gpus,
            allocated=Amount(gpus * total, job.cpus * total, total),
            booked=Amount.total(each.amount for each in entries if each.stay >= 0),
            idle={k: Amount.total(e.amount for e in entries if e.kind is k) for k in IDLE},
            stays=sum(map(len, visits)),
        )

    def _alone(self, index: int, tenant: Tenant) -> Iterator[Entry]:
        """Book a stay on no batch job; where there are any, one that runs has just no place yet."""
        if tenant.batches or (tenant.outcome is None and self._record.held):
            return
        began, ended = tenant.interval(self._now)
        visit = Visit(index, began, ended, tuple(tenant.turns), tenant.kept)
        for entry in sweep("", (began, ended), [visit], gpus=0.0, cpus=0.0):
            yield replace(entry, amount=Amount(worker=entry.amount.worker * self._ranks))

    # ------------------------------------------------------------------ adding up

    def _stays(self) -> tuple[Stay, ...]:
        used, wasted = [Amount()] * len(self._tenants), [Amount()] * len(self._tenants)
        for entry in self._entries:
            if entry.stay >= 0:
                used[entry.stay] += entry.amount
                if entry.kind is Kind.WASTED:
                    wasted[entry.stay] += entry.amount
        seconds = self._seconds()
        return tuple(
            Stay(
                number=each.number,
                attempt=each.attempt,
                rung=each.rung,
                batches=each.batches,
                workers=each.workers,
                nodes=self._record.nodes(each),
                gpus=each.gpus,
                ranks=each.ranks if each.batches else self._ranks,
                began=each.began,
                ended=each.ended,
                seconds=seconds[n],
                step=each.step,
                outcome=RUNNING if each.outcome is None else each.outcome.value,
                cause=self._record.cause(each),
                used=used[n],
                wasted=wasted[n],
            )
            for n, each in enumerate(self._tenants)
        )

    def _seconds(self) -> list[float]:
        """How long each stay held workers."""
        found = [0.0] * len(self._tenants)
        for visits in self._visits.values():
            for visit in chain(*visits):
                found[visit.stay] = max(found[visit.stay], visit.ended - visit.began)
        for n, tenant in enumerate(self._tenants):
            if not tenant.batches and (tenant.outcome is not None or not self._record.held):
                began, ended = tenant.interval(self._now)
                found[n] = ended - began
        return found

    def _rungs(self, stays: Sequence[Stay]) -> tuple[Part, ...]:
        of: dict[int | None, list[Entry]] = defaultdict(list)
        for entry in self._entries:
            of[entry.rung].append(entry)
        for stay in stays:
            of.setdefault(stay.rung, [])  # also one that held nothing
        ordered = sorted(of, key=lambda rung: math.inf if rung is None else rung)
        return tuple(_part(rung, of[rung]) for rung in ordered)


def _part(rung: int | None, entries: Sequence[Entry]) -> Part:
    held = [entry for entry in entries if entry.stay >= 0]
    return Part(
        key=rung,
        stays=len({entry.stay for entry in held}),
        used=Amount.total(entry.amount for entry in held),
        wasted=Amount.total(entry.amount for entry in held if entry.kind is Kind.WASTED),
        idle=Amount.total(entry.amount for entry in entries if entry.stay < 0),
    )


def _parts(stays: Iterable[tuple[int | str, Stay]]) -> tuple[Part, ...]:
    """Group stays; what cost most comes first."""
    of: dict[int | str, list[Stay]] = defaultdict(list)
    for key, stay in stays:
        of[key].append(stay)
    parts = [
        Part(
            key,
            len(found),
            Amount.total(stay.used for stay in found),
            Amount.total(stay.wasted for stay in found),
        )
        for key, found in of.items()
    ]
    cost = [(-p.used.gpu, -p.used.core, -p.used.worker) for p in parts]
    return tuple(
        part for _, part in sorted(zip(cost, parts, strict=True), key=lambda pair: pair[0])
    )


def _unit(batches: Sequence[BatchAccount]) -> str:
    if any(each.gpus for each in batches):
        return "gpu"
    return "core" if any(each.cpus for each in batches) else "worker"
