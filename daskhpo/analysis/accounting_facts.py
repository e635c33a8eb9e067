"""Who was where, and when: the stays and batch jobs that a campaign's facts tell of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from daskhpo.analysis.accounting_sweep import Visit
from daskhpo.analysis.endings import cause
from daskhpo.cluster.batch import BatchJob, Blame, Phase
from daskhpo.trial import Decision, Fact, Outcome

__all__ = ["Held", "Record", "Span", "Tenant", "span_at"]

GONE = (Outcome.EVICTED, Outcome.FAILED, Outcome.LOST)  # ends after which work has to be redone


@dataclass(slots=True)
class Span:
    """A time that a batch job had its nodes: ``ended`` is nan while it has them."""

    job: BatchJob
    began: float
    ended: float = math.nan


@dataclass(slots=True)
class Held:
    """A batch job while facts about it come in; more than one span if it was requeued."""

    job: BatchJob
    spans: list[Span] = field(default_factory=list)

    def record(self, job: BatchJob, time: float) -> None:
        """Take in what was said of it at ``time``."""
        nodes, old = job.nodes or self.job.nodes, self.job
        job = replace(job, nodes=nodes, cpus=job.cpus or old.cpus, gpus=job.gpus or old.gpus)
        self.job = job
        last = self.spans[-1] if self.spans else None
        again = last is not None and job.restarts > last.job.restarts
        if last is not None and math.isnan(last.ended) and (again or job.phase is Phase.PENDING):
            self._requeued(last, job, time)
        fresh = last is None or again or (math.isfinite(last.ended) and job.phase is Phase.RUNNING)
        ran = job.phase is Phase.RUNNING or math.isfinite(job.began)
        if job.phase is Phase.PENDING or (fresh and not ran):
            return
        if fresh:
            self.spans.append(Span(job, math.nan))
        self._update(self.spans[-1], job, time)

    def _requeued(self, span: Span, job: BatchJob, time: float) -> None:
        """When it lost its nodes nobody says: when that was seen, or it began again, at the latest.

        A begin that a pending batch job has is an estimate.
        """
        known = job.phase is not Phase.PENDING and math.isfinite(job.began)
        span.ended = max(span.began, min(time, job.began) if known else time)
        over = replace(span.job, phase=Phase.ENDED, state="REQUEUED", ended=span.ended)
        span.job = replace(over, blame=Blame.SYSTEM)

    def _update(self, span: Span, job: BatchJob, time: float) -> None:
        earlier = self.spans[-2].ended if len(self.spans) > 1 else -math.inf
        if math.isfinite(job.began):
            span.began = max(job.began, earlier)
        elif math.isnan(span.began):
            span.began = max(time, earlier)
        span.job = replace(job, began=span.began)
        if job.phase is Phase.ENDED:
            span.ended = max(span.began, job.ended if math.isfinite(job.ended) else time)
            span.job = replace(span.job, ended=span.ended)


def span_at(spans: Sequence[Span], time: float) -> int:
    """Which one a stay that began at ``time`` was in.

    Clocks of two machines may differ a little: before the first one there is nothing else.
    """
    return max(0, sum(span.began <= time for span in spans) - 1)


@dataclass(slots=True)
class Tenant:
    """A stay while facts about it come in; see :class:`daskhpo.analysis.accounting.Stay`."""

    number: int
    attempt: int
    rung: int
    start: int  # the step at which the trial had been seen before
    began: float
    turns: list[tuple[float, int]]
    workers: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()  # one per worker
    gpus: int = 0
    ranks: int = 1
    told: float = math.nan  # of its last report
    step: int = 0
    ended: float = math.nan
    seconds: float = 0.0  # as its ``ended`` fact says
    replaced: float = math.inf  # when one of its batch jobs had another worker
    outcome: Outcome | None = None  # None: it goes on
    error: str = ""

    def interval(self, now: float) -> tuple[float, float]:
        """When it held its workers."""
        began = self.began
        if not self.batches:
            if self.outcome is None:
                return began, max(began, now)
            return self.ended - self.seconds, self.ended
        if self.outcome is None:
            ended = now
        elif not self.seconds:
            # It was never there, or its driver went away: as far as anybody has heard of it.
            ended = self.told if self.told > began else began
        else:
            ended = self.ended
            # Of one that broke off, others say since when they have missed it.
            began = began if self.outcome in GONE else max(began, ended - self.seconds)
        return began, max(began, min(ended, self.replaced))

    @property
    def kept(self) -> float:
        """From when on what it did came to nothing; inf if nothing did."""
        if self.outcome not in GONE:
            return math.inf
        return self.told if math.isfinite(self.told) else -math.inf

    def visit(self, index: int, batch: str, span: Span, now: float) -> Visit:
        """The stay as a batch job sees it that has its nodes for a span."""
        began, ended = self.interval(now)
        closed = span.ended if math.isfinite(span.ended) else max(now, span.began)
        began = min(max(began, span.began), closed)
        ended = max(began, min(ended, closed))
        share = self.gpus * self.batches.count(batch) / len(self.batches)
        return Visit(index, began, ended, tuple(self.turns), self.kept, share)


class Record:
    """Gathers stays and batch jobs from facts, in their order.

    Use it where facts go by anyhow; :func:`daskhpo.analysis.accounting.accounts` makes an account
    of it at any time.

    Attributes
    ----------
    tenants : dict
        ``{(trial, attempt): Tenant}`` in the order in which they were asked.
    held : dict
        ``{id: Held}`` of the batch jobs.
    milestones : dict
        ``{rung: step}`` at which it compares.
    began, last : float
        Times of the first and of the newest fact; nan before.

    Examples
    --------
    >>> record = Record()
    >>> record.add({"kind": "asked", "t": 5.0, "number": 0, "attempt": 0, "rung": 0, "start": 0,
    ...             "stop": 9, "why": "new"})
    >>> list(record.tenants), record.milestones
    ([(0, 0)], {0: 9})
    """

    def __init__(self) -> None:
        self.tenants: dict[tuple[int, int], Tenant] = {}
        self.held: dict[str, Held] = {}
        self.milestones: dict[int, int] = {}
        self.began = self.last = math.nan
        self._there: dict[str, dict[tuple[int, int], str]] = {}  # {batch job: {stay: its worker}}
        self._ending = ""  # why the campaign ends, while it does

    def add(self, fact: Fact) -> None:
        """Take a fact in; what says nothing of time on workers is passed over."""
        time = float(fact.get("t", self.last))
        self.began = time if math.isnan(self.began) else self.began
        self.last = time
        kind = fact["kind"]
        if kind == "asked":
            self._on_asked(fact, time)
        elif kind == "reported":
            self._on_reported(fact, time)
        elif kind == "ended":
            self._on_ended(fact, time)
        elif kind == "noted":
            self._on_noted(fact, time)
        elif kind in ("closed", "reopened"):
            self._ending = fact.get("reason", "")

    def cause(self, tenant: Tenant) -> str:
        """Why a stay did not end as it was meant to; empty if it did, or goes on."""
        if tenant.outcome is None:
            return ""
        return cause(tenant.outcome, tenant.error, self._jobs(tenant))

    def nodes(self, tenant: Tenant) -> str:
        """Where its batch jobs were."""
        return ",".join(job.nodes for job in self._jobs(tenant) if job.nodes)

    def _jobs(self, tenant: Tenant) -> list[BatchJob]:
        """Its batch jobs, each as it ended that time."""
        held = [self.held[batch] for batch in dict.fromkeys(tenant.batches)]
        return [h.spans[span_at(h.spans, tenant.began)].job if h.spans else h.job for h in held]

    def _on_asked(self, fact: Fact, time: float) -> None:
        number, attempt, rung = fact["number"], fact["attempt"], fact["rung"]
        tenant = Tenant(number, attempt, rung, fact["start"], time, [(time, rung)])
        tenant.step = tenant.start
        self.tenants[number, attempt] = tenant
        self.milestones.setdefault(rung, fact["stop"])

    def _on_reported(self, fact: Fact, time: float) -> None:
        tenant = self.tenants.get((fact["number"], fact["attempt"]))
        if tenant is None:
            return
        tenant.told, tenant.step = time, fact["step"]
        evidence = fact.get("evidence", {})
        if "rung" in evidence and "milestone" in evidence:
            self.milestones.setdefault(evidence["rung"], evidence["milestone"])
        if "rung" in evidence and fact.get("decision", Decision.CONTINUE) == Decision.CONTINUE:
            tenant.turns.append((time, evidence["rung"] + 1))

    def _on_ended(self, fact: Fact, time: float) -> None:
        tenant = self.tenants.get((fact["number"], fact["attempt"]))
        if tenant is None:
            return
        for batch in tenant.batches:
            self._there[batch].pop((tenant.number, tenant.attempt), None)
        tenant.outcome, tenant.ended = Outcome(fact["outcome"]), time
        tenant.seconds, tenant.error = float(fact.get("seconds", 0.0)), fact.get("error", "")
        if tenant.outcome is Outcome.INTERRUPTED and not tenant.error and self._ending:
            tenant.error = f"the campaign was ending: {self._ending}"

    def _on_noted(self, fact: Fact, time: float) -> None:
        if fact.get("of") == "batch":
            job = BatchJob.from_fact(fact)
            self.held.setdefault(job.id, Held(job)).record(job, time)
        elif fact.get("of") == "placed":
            tenant = self.tenants.get((fact["number"], fact["attempt"]))
            if tenant is not None:
                tenant.began, tenant.turns[0] = time, (time, tenant.rung)
                tenant.workers, tenant.batches = tuple(fact["workers"]), _ids(fact)
                tenant.gpus, tenant.ranks = int(fact.get("gpus", 0)), int(fact.get("ranks", 1))
                self._move_in(tenant, time)

    def _move_in(self, tenant: Tenant, time: float) -> None:
        """A batch job has one worker at a time: who was on an earlier one is there no more."""
        names = dict(zip(tenant.batches, tenant.workers, strict=False))
        for batch in tenant.batches:
            worker = names.get(batch, "")
            self.held.setdefault(batch, Held(BatchJob(batch, Phase.RUNNING)))
            there = self._there.setdefault(batch, {})
            for key in [key for key, other in there.items() if other != worker]:
                self.tenants[key].replaced = time
                del there[key]
            there[tenant.number, tenant.attempt] = worker


def _ids(fact: Fact) -> tuple[str, ...]:
    given: Sequence[str] = fact.get("batches", ())
    return tuple(str(batch) for batch in given if batch)
