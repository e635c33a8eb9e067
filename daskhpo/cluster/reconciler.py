"""How many batch jobs to submit, and which to let go: decisions only, no batch system, no clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from daskhpo.cluster.batch import BatchJob, Blame, Phase, SubmitError

__all__ = ["Plan", "Reconciler"]

YOUNG = 60.0  # seconds: a batch job that lived for less has given nothing
STRIKES = 3  # batch jobs in a row that end before their worker connects, after which we give up
PATIENCE = 300.0  # seconds in which the worker of a running batch job may still connect
ROUND = 50  # batch jobs that one plan submits at the most
SETTLE = 30.0  # seconds in which a batch system may not list yet what it has accepted
REPEAT = 30.0  # seconds after which what should have gone, and has not, is cancelled (again)

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0  # seconds
BUSY_PAUSE = 15.0  # seconds; the longest one in a storm whose batch jobs do get to work
WINDOW, STORM = 900.0, 4  # seconds of the past that tell of a storm; young deaths in it at least


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done now.

    Parameters
    ----------
    submit : int
        Batch jobs to submit.
    cancel : tuple of str
        Ids of batch jobs to cancel.
    hopeless : str
        Why no more workers can be had; empty while there is hope. Once said, it stays.
    wait_until : float
        Seconds since 1970: without any news, the plan stays as it is until then.
    why : str
        Why fewer batch jobs are submitted than are wanted; empty if they are not.
    culprit : str
        The id of the batch job whose error log explains ``hopeless``, or empty.
    """

    submit: int = 0
    cancel: tuple[str, ...] = ()
    hopeless: str = ""
    wait_until: float = math.inf
    why: str = ""
    culprit: str = ""


class _Pause:
    """A pause that doubles for as long as what causes it goes on."""

    until = -math.inf
    _seconds = 0.0

    def grow(self, now: float, longest: float = LONGEST_PAUSE) -> None:
        """Begin the next one; what happens within a pause has the same cause and adds nothing."""
        if now >= self.until:
            self._seconds = min(max(2 * self._seconds, FIRST_PAUSE), longest)
            self.until = now + self._seconds

    def clear(self) -> None:
        """Its cause has gone."""
        self._seconds, self.until = 0.0, -math.inf


@dataclass(slots=True)
class _Member:
    """A batch job of ours that is not over, as far as we know."""

    job: BatchJob
    waited: float  # when it was last known to be waiting: it has not begun before
    witnessed: bool  # alive while we looked, so that its end says something about the present
    settles: float = -math.inf  # until when it need not be listed yet
    missed: float = math.inf  # since when it is missing in answers; inf if it is not
    leave: float = math.inf  # when it is cancelled if it has not ended by itself
    cancelled: float = -math.inf  # when we cancelled it last

    @property
    def leaving(self) -> bool:
        """Whether it is to end because we want it to."""
        return self.leave < math.inf or self.cancelled > -math.inf

    @property
    def due(self) -> float:
        """When it is to be cancelled, or cancelled again; inf if it may stay."""
        return self.leave if self.cancelled == -math.inf else self.cancelled + REPEAT

    @property
    def began(self) -> float:
        """When it began at the earliest."""
        return self.waited if math.isnan(self.job.began) else self.job.began


class Reconciler:
    """Keep as many batch jobs as are wanted, whatever becomes of them.

    Tell it what happens, then ask for a :meth:`plan`, and again when its ``wait_until`` has come;
    carry it out and tell what came of it. All times are seconds since 1970.

    Parameters
    ----------
    most : int
        Batch jobs alive (queued or running) at the same time, at the most.
    submissions : int, optional
        How many may be submitted in all, over all runs.
    submitted : int
        How many of these earlier runs have used.
    idle : float
        Seconds of excess after which batch jobs are let go.

    Notes
    -----
    *A dead batch job is replaced at once.* Only when more are alive than are wanted for ``idle``
    seconds on end are some cancelled: those that wait, the newest first, then running ones whose
    worker has been idle for as long. One that starts or works is never cancelled.

    *Nothing is concluded from silence*: before the first answer, and from :meth:`unreachable` to
    the next one, the plan is to wait. What two successive answers lack has ended.

    *No thrashing.* A batch job that ends before a worker of it has connected, and not by the
    system's doing, is a strike: replacements pause for 2 s, then 4 s, up to 5 min, until a worker
    connects. Three strikes, no worker connected and none that may still do so: hopeless; while
    others work there are only the pauses. Refused submissions pause likewise; a final refusal
    while nothing is alive is hopeless. And when, whoever is to blame, four or more batch jobs of
    the last 15 min lived for less than a minute, more than half of those that ended or run, it is
    a storm (of preemptions, say): a growing pause follows every round of replacements, of up to
    15 s where most of those dead had a worker that connected, 5 min where not.

    Examples
    --------
    >>> pool = Reconciler(most=2)
    >>> pool.want(5)
    >>> pool.plan(0.0).submit                    # nobody knows yet what is there already
    0
    >>> pool.observe(0.0, {})
    []
    >>> pool.plan(0.0).submit
    2
    >>> _, job = pool.submitted(0.0, "17"), pool.submitted(0.0, "18")
    >>> dead = BatchJob("18", Phase.ENDED, "PREEMPTED", blame=Blame.SYSTEM, began=1.0, ended=9.0)
    >>> [str(job) for job in pool.observe(10.0, {"17": BatchJob("17", Phase.PENDING), "18": dead})]
    ['batch job 18: PREEMPTED']
    >>> pool.plan(10.0).submit
    1
    """

    def __init__(
        self, *, most: int, submissions: int | None = None, submitted: int = 0, idle: float = 60.0
    ) -> None:
        self._most = most
        self._submissions = math.inf if submissions is None else submissions
        self._used = submitted
        self._idle = idle
        self._want = 0
        self._members: dict[str, _Member] = {}  # those alive, oldest first
        self._ended: dict[str, BatchJob] = {}
        self._connected: set[str] = set()  # ids whose worker has been seen
        self._resting: dict[str, float] = {}  # {id: since when its worker has nothing to do}
        self._silent = True
        self._excess_since = math.inf
        self._strikes = 0
        self._last_strike: BatchJob | None = None
        self._deaths: deque[tuple[float, bool, bool]] = deque()  # (seen when, young, connected)
        self._hopeless = self._culprit = ""
        self._silence, self._refusal, self._failure, self._storm = (_Pause() for _ in range(4))

    @property
    def alive(self) -> tuple[str, ...]:
        """Ids of the batch jobs that are not over: those to ask the batch system for."""
        return tuple(self._members)

    def job(self, id: str) -> BatchJob | None:
        """What was last heard of a batch job, alive or ended; None if it is not ours."""
        member = self._members.get(id)
        return member.job if member is not None else self._ended.get(id)

    # ---------------------------------------------------------------- from the batch system

    def adopt(self, jobs: Iterable[BatchJob]) -> None:
        """Batch jobs of earlier runs; how they ended before the first answer teaches nothing."""
        for job in jobs:
            if job.phase is not Phase.ENDED:
                self._members[job.id] = _Member(job, -math.inf, witnessed=False)

    def observe(self, now: float, jobs: Mapping[str, BatchJob]) -> list[BatchJob]:
        """Take an answer that was asked for all of :attr:`alive`; returns those that changed.

        One that nobody has written down (its driver died too early) is adopted, as submitted.
        """
        self._silent = False
        self._silence.clear()
        changed = [job for job in jobs.values() if self._update(now, job)]
        for member in [each for id, each in self._members.items() if id not in jobs]:
            if (lost := self._miss(now, member)) is not None:
                changed.append(lost)
        return changed

    def unreachable(self, now: float) -> float:
        """The batch system did not answer; returns when to ask it again."""
        self._silent = True
        self._silence.grow(now)
        return self._silence.until

    def submitted(self, now: float, id: str) -> BatchJob:
        """A submission was accepted; returns the new batch job."""
        self._used += 1
        self._refusal.clear()
        if (longest := self._storm_pause(now)) > 0:
            self._storm.grow(now, longest)
        job = BatchJob(id, Phase.PENDING)
        self._members[id] = _Member(job, now, witnessed=True, settles=now + SETTLE)
        return job

    def refused(self, now: float, error: SubmitError) -> None:
        """A submission was refused."""
        if error.final and not self._members:
            self._hopeless = self._hopeless or str(error)
        self._refusal.grow(now)

    def cancelled(self, now: float, ids: Iterable[str]) -> None:
        """The batch system has taken the order to cancel these."""
        for id in ids:
            if id in self._members:
                self._members[id].cancelled = now
        self._recount()

    # ---------------------------------------------------------------- from the campaign

    def want(self, workers: int) -> None:
        """How many workers there is work for."""
        self._want = workers
        self._recount()

    def connected(self, id: str) -> None:
        """A worker of this batch job has connected: batch jobs do work here."""
        self._connected.add(id)
        self._strikes = 0
        self._failure.clear()

    def idle(self, id: str, since: float) -> None:
        """The worker of this batch job has nothing to do since then."""
        self._resting[id] = since

    def busy(self, id: str) -> None:
        """The worker of this batch job has been given something to do."""
        self._resting.pop(id, None)

    def release(self, now: float, id: str) -> None:
        """This batch job should end by itself now; it is cancelled if it does not."""
        if id in self._members and not self._members[id].leaving:
            self._members[id].leave = now + REPEAT

    # ---------------------------------------------------------------- decisions

    def plan(self, now: float) -> Plan:
        """What is to be done now; it stays so until told that it has been done."""
        if self._silent:
            return Plan(wait_until=self._silence.until)
        excess = self._recount()
        cancel, later = self._dismiss(now, excess)
        lacking = min(-excess, self._most - len(self._members))
        if lacking > 0 and not self._hopeless:
            self._hopeless = self._despair(now)
        if lacking <= 0 or self._hopeless:
            return Plan(0, cancel, self._hopeless, later, culprit=self._culprit)
        submit = max(0, int(min(lacking, ROUND, self._submissions - self._used)))
        until, why = self._hold(now)
        if now < until:
            return Plan(0, cancel, "", min(later, until), why)
        return Plan(submit, cancel, "", later, "" if submit else "pool.submissions are used up")

    def _recount(self) -> int:
        """How many batch jobs there are beyond those wanted; negative if some are lacking."""
        staying = sum(not each.leaving for each in self._members.values())
        excess = staying - min(self._want, self._most)
        if excess <= 0:
            self._excess_since = math.inf
        return excess

    def _dismiss(self, now: float, excess: int) -> tuple[tuple[str, ...], float]:
        """Whom to cancel, and when there may be more of them."""
        due = [each.job.id for each in self._members.values() if each.due <= now]
        later = min([each.due for each in self._members.values() if each.due > now] + [math.inf])
        if excess <= 0:
            return tuple(due), later
        self._excess_since = min(self._excess_since, now)
        if now < self._excess_since + self._idle:
            return tuple(due), min(later, self._excess_since + self._idle)
        staying = [each for each in self._members.values() if not each.leaving]
        waiting = [each.job.id for each in staying[::-1] if each.job.phase is Phase.PENDING]
        running = [each.job.id for each in staying if each.job.phase is Phase.RUNNING]
        resting = sorted((self._resting[id], id) for id in running if id in self._resting)
        ripe = [id for since, id in resting if now >= since + self._idle]
        later = min([later] + [since + self._idle for since, _ in resting[len(ripe) :]])
        return (*due, *(waiting + ripe)[:excess]), later

    def _despair(self, now: float) -> str:
        """Why batch jobs are wanted and cannot be had, if so."""
        if not self._members and self._used >= self._submissions:
            what = f"pool.submissions={self._submissions}: all are used up and no batch job is left"
            return f"{what}; allow more, then resume"
        if self._strikes < STRIKES or self._working() or now < self._hope():
            return ""
        self._culprit = self._last_strike.id if self._last_strike is not None else ""
        how = "batch jobs in a row have ended before a worker of them connected, the last one"
        return f"{self._strikes} {how}: {self._last_strike}"

    def _hold(self, now: float) -> tuple[float, str]:
        """Until when nothing is submitted, and why."""
        if self._strikes >= STRIKES and not self._working():
            return self._hope(), f"{self._strikes} batch jobs in a row gave no worker"
        if self._storm_pause(now) == 0:
            self._storm.clear()
        return max(
            (self._failure.until, f"batch jobs end before they give a worker: {self._last_strike}"),
            (self._refusal.until, "the batch system has refused a batch job"),
            (self._storm.until, "most batch jobs end within a minute"),
        )

    def _working(self) -> bool:
        """Whether some running batch job has given a worker."""
        running = [each for each in self._members.values() if each.job.phase is Phase.RUNNING]
        return any(each.job.id in self._connected for each in running)

    def _hope(self) -> float:
        """Until when some running batch job may still give its worker."""
        running = [each for each in self._members.values() if each.job.phase is Phase.RUNNING]
        return max((each.began for each in running), default=-math.inf) + PATIENCE

    def _storm_pause(self, now: float) -> float:
        """How long a pause may grow in the storm that there is; 0 if there is none."""
        while self._deaths and self._deaths[0][0] < now - WINDOW:
            self._deaths.popleft()
        young = [connected for _, young, connected in self._deaths if young]
        running = sum(each.job.phase is Phase.RUNNING for each in self._members.values())
        if len(young) < STORM or 2 * len(young) <= len(self._deaths) + running:
            return 0.0
        return BUSY_PAUSE if 2 * sum(young) > len(young) else LONGEST_PAUSE

    # ---------------------------------------------------------------- one batch job

    def _update(self, now: float, job: BatchJob) -> bool:
        """Take what is said of one batch job; returns whether it is news."""
        before = self.job(job.id)
        if job.phase is Phase.ENDED:
            if job.id in self._members:
                self._bury(now, self._members[job.id], job)
            elif before is not None:
                self._ended[job.id] = job
            return before is not None and before.to_fact() != job.to_fact()
        if job.id not in self._members:
            self._used += before is None
            self._ended.pop(job.id, None)
            self._members[job.id] = _Member(job, now, witnessed=True)
            return True
        member = self._members[job.id]
        if job.phase is Phase.PENDING or job.restarts > member.job.restarts:
            member.waited = now
            self._resting.pop(job.id, None)  # its worker is gone, or there was none yet
        member.job, member.witnessed = job, True
        member.missed, member.settles = math.inf, -math.inf
        return before is not None and before.to_fact() != job.to_fact()

    def _miss(self, now: float, member: _Member) -> BatchJob | None:
        """The batch system did not mention it; returns how it ended, once that is believed."""
        if now < member.settles:
            return None
        if member.missed == math.inf:
            member.missed = now
            return None
        lost = replace(
            member.job,
            phase=Phase.ENDED,
            state="UNKNOWN",
            reason="the batch system has forgotten it",
            blame=Blame.UNKNOWN,
            ended=member.missed,
        )
        self._bury(now, member, lost)
        return lost

    def _bury(self, now: float, member: _Member, job: BatchJob) -> None:
        """It has ended: what does that say about the next ones?"""
        del self._members[job.id]
        self._resting.pop(job.id, None)
        self._ended[job.id] = member.job = job
        if member.leaving or not member.witnessed:
            return
        ended = now if math.isnan(job.ended) else job.ended
        connected = job.id in self._connected
        self._deaths.append((now, ended - member.began < YOUNG, connected))
        if not connected and job.blame is not Blame.SYSTEM:
            self._strikes += 1
            self._last_strike = job
            self._failure.grow(now)
