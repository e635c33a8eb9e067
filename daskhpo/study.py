"""The state machine: a study is a pure function of the facts of its campaign.

Events come in through :meth:`Study.offer`, :meth:`Study.ask`, :meth:`Study.report` and
:meth:`Study.tell`; each emits one fact. Replaying the facts into a fresh study calls the same
methods and checks that they decide the same. There is no clock, no I/O and no randomness here.

Life of a trial::

    ask ─► RUNNING ─report─► CONTINUE ─┐          tell(paused)      ─► PAUSED  ─ask (promotion)─┐
              ▲                 │      │          tell(stopped)     ─► STOPPED                  │
              │                 └──────┘          tell(completed)   ─► COMPLETED                │
              │                                   tell(lost, interrupted, first failures)       │
              └──────────── ask (retry) ◄──────────────────────────── WAITING                   │
              └─────────────────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from daskhpo import facts, samplers, schedulers
from daskhpo.advice import Advice, Adviser
from daskhpo.advice.dialogue import Dialogue, Said
from daskhpo.exceptions import SchedulerError
from daskhpo.goal import Goal
from daskhpo.nursery import Nursery
from daskhpo.samplers.base import Sampler
from daskhpo.schedulers.base import Promotion, Scheduler
from daskhpo.settling import diverge, follow, note, settle, standing
from daskhpo.space import Space
from daskhpo.trial import (
    Answer,
    Decision,
    Direction,
    Evidence,
    Fact,
    Job,
    Outcome,
    Params,
    Trial,
    TrialState,
    Value,
)

__all__ = ["Study"]


class Study:
    """All state and all decisions of one campaign.

    People who own their training loop use it directly (ask, report, tell); the Dask tuner, the
    simulator and the web service drive the same object.

    Parameters
    ----------
    space : Space
        What can be tried.
    scheduler : Scheduler
        How long a trial trains.
    sampler : Sampler
        What to try next.
    metric : str
        Which of the reported metrics decides.
    direction : Direction or str
        ``"min"`` or ``"max"``.
    also : mapping, optional
        Further metrics to be traded off, ``{metric: direction}``, see
        :class:`~daskhpo.goal.Goal`.
    retries : int
        How often a trial may fail by its own fault before it is given up.
    adviser : Adviser, optional
        Forecasts what trials will reach, and may have them stopped on their way to a milestone.
    emit : callable, optional
        Receives every fact, in order; by default they are dropped.

    Examples
    --------
    >>> from daskhpo.samplers.random import Random
    >>> from daskhpo.schedulers import ASHA
    >>> from daskhpo.space import Float, Space
    >>> space = Space(lr=Float(1e-4, 1e-1, log=True))
    >>> study = Study(space, ASHA(max_step=9, eta=3), Random(space, seed=1), metric="loss")
    >>> job = study.ask()
    >>> job.number, job.start, job.stop
    (0, 0, 1)
    >>> study.report(0, job.attempt, 1, {"loss": 0.5}).decision
    <Decision.PAUSE: 'pause'>
    >>> study.tell(0, job.attempt, Outcome.PAUSED)
    <TrialState.PAUSED: 'paused'>
    """

    def __init__(
        self,
        space: Space,
        scheduler: Scheduler,
        sampler: Sampler,
        *,
        metric: str,
        direction: Direction | str = Direction.MIN,
        also: Mapping[str, Direction | str] | None = None,
        retries: int = 1,
        adviser: Adviser | None = None,
        emit: Callable[[Fact], object] | None = None,
    ) -> None:
        self.space = space
        self.scheduler = scheduler
        self.sampler = sampler
        if also and not scheduler.several:
            raise SchedulerError(
                f"{scheduler!r} compares one metric, and {metric!r} is to be traded off against "
                f"{', '.join(map(repr, also))}; take ASHA, SHA, Hyperband or Fifo"
            )
        self.trials: dict[int, Trial] = {}
        self._nursery = Nursery(scheduler, space, self.trials)
        self.adviser = adviser
        self._dialogue = Dialogue(adviser, scheduler, space, several=bool(also))
        self.goal = Goal(metric, direction, also or {})
        self.metric = metric
        self.direction = Direction(direction)
        self.retries = retries
        self.emit: Callable[[Fact], object] = emit if emit is not None else _drop
        self.best: Trial | None = None  # the one with the best value at any step, not failed
        self.limit: int | None = None  # how many trials may begin
        self.closed: str | None = None  # why nothing may start or go on
        self.exhausted = False  # the sampler has nothing left to propose
        self.running: set[int] = set()
        self.offers: deque[tuple[int, Params]] = deque()  # suggestions that wait for a worker
        self.reports = 0  # accepted ones
        self.steps = 0  # trained and reported, summed over trials
        self.seconds = 0.0  # that jobs have held workers, summed over trials
        self.known = 0  # trials of earlier campaigns that it has learned from
        self._waiting: deque[int] = deque()  # interrupted trials, first come first served
        self._next = 0  # number of the next suggestion

    # ------------------------------------------------------------------ what may happen next

    @property
    def may_begin(self) -> bool:
        """Whether a new trial may begin, as far as limit, sampler and scheduler go."""
        # The limit is not for those that take the place of others.
        begun = len(self.trials) + len(self._nursery) - self._nursery.bred
        within = self.limit is None or begun < self.limit
        something = bool(self.offers) or not self.exhausted
        return self.closed is None and within and something and self.scheduler.admits()

    @property
    def wanted(self) -> int | None:
        """How many suggestions could still be used beyond those offered; None for no limit."""
        if self.exhausted or self.closed is not None or not self.scheduler.admits():
            return 0
        return None if self.limit is None else max(0, self.limit - self._next + self._nursery.bred)

    @property
    def waiting(self) -> int:
        """How many interrupted trials wait for a worker."""
        return len(self._waiting)

    @property
    def next_number(self) -> int:
        """The number that the next suggestion will have."""
        return self._next

    @property
    def front(self) -> list[Trial]:
        """The Pareto front: trials that no other beats in every metric, by what they said last."""
        return self.goal.front(self.trials.values())

    # ------------------------------------------------------------------ events

    def set_limit(self, trials: int | None) -> None:
        """Let at most ``trials`` trials begin in all; None lifts the limit."""
        self.limit = trials
        self.emit({"kind": "limited", "trials": trials})

    def close(self, reason: str) -> None:
        """Start nothing any more, and pause whatever reports next."""
        self.closed = reason
        self.emit({"kind": "closed", "reason": reason})

    def reopen(self) -> None:
        """Undo :meth:`close`."""
        self.closed = None
        self.emit({"kind": "reopened"})

    def exhaust(self) -> None:
        """Note that the sampler has nothing left to propose."""
        self.exhausted = True
        self.emit({"kind": "exhausted"})

    def note(self, of: str, **content: Any) -> None:
        """Put into the log what happened around the study; it decides nothing."""
        self.emit({"kind": "noted", "of": of, **content})

    def offer(self, params: Params, *, origin: str = "sampler") -> int:
        """Put a configuration into the buffer; returns the number of its trial.

        Raises
        ------
        SpaceError
            If ``params`` is not a point of the space.
        """
        params = self.space.validate(params)
        number = self._next
        self._next += 1
        self.offers.append((number, params))
        self.sampler.pend(number, params)
        self.emit({"kind": "offered", "number": number, "params": params, "origin": origin})
        return number

    def learn(self, params: Params, steps: Sequence[int], metrics: Sequence[Any]) -> None:
        """Learn from a trial of an earlier campaign on the problem, before any of this one.

        The sampler learns from where it has come to, the scheduler from its curve, if they can.
        For the adviser it counts as a curve of this campaign that came to its milestones; one
        with a report that is not finite is kept from it.

        Parameters
        ----------
        params : mapping
            A point of the space.
        steps, metrics : sequences of the same length
            The trial's curve: what it reported at which step, ``{metric: value}`` each. Forecasts
            take a step without a report for one at which nothing had changed: for them the steps
            should be as dense as the reports of this campaign.

        Raises
        ------
        SpaceError
            If ``params`` is not a point of the space.
        """
        params = self.space.validate(params)
        seen, values = self.goal.curve(steps, metrics)
        if seen and isinstance(self.sampler, samplers.base.Learner):
            self.sampler.learn(params, seen[-1], values[-1])
        if seen and self.goal.single:
            curve = [schedulers.base.single(value) for value in values]
            if isinstance(self.scheduler, schedulers.base.Learner):
                self.scheduler.learn(seen, curve)
            if len(seen) == len(steps):
                self._dialogue.learn(params, seen, curve)
        self.known += 1
        self.emit({"kind": "known", "params": params, "steps": steps, "metrics": metrics})

    def ask(self, *, inline: bool = True) -> Job | None:
        """What a free worker should do: a retry, a child, a promotion, a new trial, or None.

        ``inline=False`` takes new trials only from the buffer of offers, for samplers that are
        too slow to be called here.
        """
        if self.closed is not None:
            return None
        child = self._nursery.leave()
        if child is None and self._waiting:
            return self._again(self.trials[self._waiting.popleft()], "retry")
        if child is None and not len(self._nursery):  # one at a time, as a replay breeds them
            self._breed()
            child = self._nursery.leave()
        if child is not None:
            return self._begin(child, "bred")
        while (promotion := self.scheduler.promote(drained=False)) is not None:
            if (job := self._promote(promotion)) is not None:
                return job
        if self.may_begin:
            if not self.offers and inline:
                self._suggest()
            if self.offers:
                return self._begin(self._admit(*self.offers.popleft()), "new")
        if self.running or self.may_begin:
            return None
        return self._promote(self.scheduler.promote(drained=True))

    def report(self, number: int, attempt: int, step: int, metrics: Mapping[str, float]) -> Answer:
        """Judge what a trial reached at ``step``.

        Idempotent per (trial, step): a repeated step is not recorded again and gets the standing
        decision, and so does a step beyond a pause or stop that was already decided (it is
        reported again when the trial comes back). A report of an older attempt, or of a trial
        that is not running, leaves no trace: it is told to pause, so that it leaves a checkpoint
        to the attempt that counts, or to stop if the trial is over.
        """
        return self._report(number, attempt, step, metrics, ...)

    def _report(
        self, number: int, attempt: int, step: int, metrics: Mapping[str, float], said: Said
    ) -> Answer:
        trial = self.trials.get(number)
        if trial is None or attempt != trial.attempt or trial.state is not TrialState.RUNNING:
            over = trial is None or trial.state.final
            return Answer(Decision.STOP if over else Decision.PAUSE, step, {"why": "superseded"})
        if step <= trial.step or trial.decision is not Decision.CONTINUE:
            return standing(trial, step, self.closed)
        signed, advice = self.goal.signed(metrics), None
        if signed is None:
            answer = diverge(trial, step, self.goal.fault(metrics))
        else:
            answer, advice = self._judge(trial, step, metrics, signed, said)
        self.reports += 1
        self.steps += step - trial.step
        trial.step = step
        self.emit(facts.reported(trial, metrics, answer, advice))
        return answer

    def tell(
        self,
        number: int,
        attempt: int,
        outcome: Outcome,
        *,
        seconds: float = 0.0,
        error: str = "",
        retry: bool = True,
    ) -> TrialState:
        """Note how a job ended; returns where that leaves the trial.

        Parameters
        ----------
        number, attempt : int
            The job. Late news of an older attempt is ignored.
        outcome : Outcome
            How the job left its worker.
        seconds : float
            How long it held its worker.
        error : str
            What went wrong, for people.
        retry : bool
            False when a failure would only repeat itself (out of memory, nothing reported).
        """
        trial = self.trials[number]
        if attempt != trial.attempt or trial.state is not TrialState.RUNNING:
            return trial.state
        outcome = Outcome(outcome)
        trial.seconds += seconds
        self.seconds += seconds
        trial.state = settle(
            trial,
            outcome,
            error,
            retry=retry and trial.failures < self.retries,
            done=trial.step >= self.scheduler.max_step,
            metric=self.metric,
        )
        self.running.discard(number)
        if trial.state is TrialState.WAITING:
            self._waiting.append(number)
        elif trial.state is TrialState.FAILED:
            self._fail(trial)
        elif trial.state is TrialState.COMPLETED:
            self._complete(trial)
        self.emit(facts.ended(trial, outcome, seconds=seconds, error=error, retry=retry))
        return trial.state

    # ------------------------------------------------------------------ replay

    def replay(self, log: Iterable[Fact]) -> Study:
        """Bring a fresh study to where its facts lead; returns itself.

        Raises
        ------
        ReplayError
            If a fact is not what this study would have decided: the journal belongs to other
            settings, or was changed.
        """
        events: dict[str, Callable[[Fact], object]] = {
            "asked": lambda f: self.ask(inline=False),
            "bred": lambda f: self._breed(),
            "closed": lambda f: self.close(f["reason"]),
            "ended": lambda f: self.tell(**facts.ending(f)),
            "exhausted": lambda f: self.exhaust(),
            "known": lambda f: self.learn(f["params"], f["steps"], f["metrics"]),
            "limited": lambda f: self.set_limit(f["trials"]),
            "noted": lambda f: self.emit(f),
            "offered": lambda f: self.offer(f["params"], origin=f["origin"]),
            "promoted": lambda f: self._promote(self.scheduler.promote(drained=False)),
            "reopened": lambda f: self.reopen(),
            "reported": lambda f: self._report(
                f["number"], f["attempt"], f["step"], f["metrics"], facts.forecasts(f)
            ),
        }
        emitted: list[Fact] = []
        emit, self.emit = self.emit, emitted.append
        try:
            facts.retrace(log, events, emitted)
        finally:
            self.emit = emit
        return self

    # ------------------------------------------------------------------ asking

    def _suggest(self) -> None:
        params = self.sampler.suggest(self._next)
        if params is None:
            self.exhaust()
        else:
            self.offer(params)

    def _admit(self, number: int, params: Params) -> Trial:
        place = self.scheduler.begin(number)
        self._dialogue.begin(number, params)
        return Trial(number, params, rung=place.rung, stop=place.stop)

    def _breed(self) -> None:
        """Let a population fill a place that has become free; the fact says with what."""
        number = self._next
        child = self._nursery.breed(number)
        if child is not None:
            self._next += 1
            self.sampler.pend(number, child.params)
            self.emit(facts.bred(number, child))

    def _promote(self, promotion: Promotion | None) -> Job | None:
        """Let a trial go on: now or, while it is saving its checkpoint, once it has left."""
        if promotion is None:
            return None
        trial = self.trials[promotion.number]
        trial.rung, trial.stop = promotion.rung, promotion.stop
        trial.decision = Decision.CONTINUE
        if trial.number not in self.running:
            return self._again(trial, "promotion", promotion.evidence)
        self.emit(facts.promoted(trial, promotion.evidence))
        return None

    def _begin(self, trial: Trial, why: str) -> Job:
        self.trials[trial.number] = trial
        return self._leave(trial, why)

    def _again(self, trial: Trial, why: str, evidence: Evidence | None = None) -> Job:
        trial.attempt += 1
        return self._leave(trial, why, evidence)

    def _leave(self, trial: Trial, why: str, evidence: Evidence | None = None) -> Job:
        """Send a trial to a worker."""
        trial.state = TrialState.RUNNING
        trial.start = trial.step
        self.running.add(trial.number)
        self.emit(facts.asked(trial.job, why, evidence))
        return trial.job

    # ------------------------------------------------------------------ judging

    def _judge(
        self, trial: Trial, step: int, metrics: Mapping[str, float], signed: Value, said: Said
    ) -> tuple[Answer, Advice | None]:
        better = note(trial, step, metrics, metric=self.metric, sign=self.goal.sign)
        if better and self.goal.leads(trial, self.best):
            self.best = trial
        answer, advice = self._dialogue.report(trial.number, step, signed, said)
        follow(trial, answer)
        if answer.evidence or answer.decision is not Decision.CONTINUE:
            self.sampler.tell(trial.number, step, signed)
        if answer.decision is Decision.CONTINUE and self.closed is not None:
            answer = Answer(Decision.PAUSE, step, {**answer.evidence, "why": self.closed})
        return answer, advice

    # ------------------------------------------------------------------ settling

    def _complete(self, trial: Trial) -> None:
        signed = self.goal.signed(trial.metrics)
        assert signed is not None  # a report that is not finite ends its trial as failed
        if trial.decision is Decision.CONTINUE:
            # It ended by itself, without a report of the last step: the last one it gave stands
            # in, so that the scheduler knows of a complete trial.
            self.scheduler.report(trial.number, self.scheduler.max_step, signed)
            self._dialogue.forget(trial.number)
        self.sampler.tell(trial.number, trial.step, signed)

    def _fail(self, trial: Trial) -> None:
        self.scheduler.fail(trial.number)
        self._dialogue.forget(trial.number)
        self.sampler.tell(trial.number, trial.step, math.inf)
        if self.best is trial:
            self.best = self.goal.leader(self.trials.values())

    def __repr__(self) -> str:
        best = self.best
        counts = f"{len(self.trials)} trials, {len(self.running)} running"
        incumbent = f", best {best.best_value:.6g} @ trial {best.number}" if best else ""
        return f"<Study {self.metric!r}: {counts}{incumbent}>"


def _drop(fact: Fact) -> None:
    """Where facts go when nobody keeps them."""
