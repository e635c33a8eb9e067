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
from types import EllipsisType
from typing import Any

from daskhpo import samplers, schedulers
from daskhpo.advice import Advice, Adviser, Forecasts
from daskhpo.exceptions import ReplayError, SchedulerError
from daskhpo.facts import compare, name
from daskhpo.goal import Goal
from daskhpo.samplers.base import Sampler
from daskhpo.schedulers.base import Advised, Bar, Breeder, Child, Promotion, Scheduler
from daskhpo.settling import settle
from daskhpo.space import Space
from daskhpo.trial import (
    Answer,
    Decision,
    Direction,
    Fact,
    Job,
    Outcome,
    Params,
    Trial,
    TrialState,
    Value,
)

__all__ = ["Study"]

Said = Forecasts | EllipsisType | None  # what the models say; ...: they are to be asked


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
        self._breeder = scheduler if isinstance(scheduler, Breeder) else None
        if self._breeder is not None:
            self._breeder.check(space)
        if adviser is not None:
            _check_adviser(adviser, scheduler, several=bool(also))
        self.adviser = adviser
        self._advised = scheduler if isinstance(scheduler, Advised) else None
        self.goal = Goal(metric, direction, also or {})
        self.metric = metric
        self.direction = Direction(direction)
        self.retries = retries
        self.emit: Callable[[Fact], object] = emit if emit is not None else _drop
        self.trials: dict[int, Trial] = {}
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
        self._bred = 0  # trials that took the place of others; the limit is not for them
        self._children: deque[tuple[int, Child]] = deque()  # bred, not yet begun
        self._best: int | None = None

    # ------------------------------------------------------------------ what may happen next

    @property
    def may_begin(self) -> bool:
        """Whether a new trial may begin, as far as limit, sampler and scheduler go."""
        begun = len(self.trials) + len(self._children) - self._bred
        within = self.limit is None or begun < self.limit
        something = bool(self.offers) or not self.exhausted
        return self.closed is None and within and something and self.scheduler.admits()

    @property
    def wanted(self) -> int | None:
        """How many suggestions could still be used beyond those offered; None for no limit."""
        if self.exhausted or self.closed is not None or not self.scheduler.admits():
            return 0
        return None if self.limit is None else max(0, self.limit - self._next + self._bred)

    @property
    def waiting(self) -> int:
        """How many interrupted trials wait for a worker."""
        return len(self._waiting)

    @property
    def next_number(self) -> int:
        """The number that the next suggestion will have."""
        return self._next

    @property
    def best(self) -> Trial | None:
        """The incumbent: the trial with the best value at any step; failed ones do not count."""
        return None if self._best is None else self.trials[self._best]

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
        """Let sampler and scheduler learn from a trial of an earlier campaign on the problem.

        Parameters
        ----------
        params : mapping
            A point of the space.
        steps, metrics : sequences of the same length
            The trial's curve: what it reported at which step, ``{metric: value}`` each.

        Raises
        ------
        SpaceError
            If ``params`` is not a point of the space.
        """
        params = self.space.validate(params)
        seen = [
            (step, value)
            for step, reported in zip(steps, metrics, strict=True)
            if (value := self.goal.signed(reported)) is not None
        ]
        if seen:
            if isinstance(self.sampler, samplers.base.Learner):
                self.sampler.learn(params, *seen[-1])
            if isinstance(self.scheduler, schedulers.base.Learner) and self.goal.single:
                self.scheduler.learn(*zip(*seen, strict=True))
        self.known += 1
        self.emit({"kind": "known", "params": params, "steps": steps, "metrics": metrics})

    def ask(self, *, inline: bool = True) -> Job | None:
        """What a free worker should do: a retry, a child, a promotion, a new trial, or None.

        ``inline=False`` takes new trials only from the buffer of offers, for samplers that are
        too slow to be called here.
        """
        if self.closed is not None:
            return None
        if self._children and self._at_rest(self._children[0][1]):
            return self._begin_child(*self._children.popleft())
        if self._waiting:
            return self._retry(self.trials[self._waiting.popleft()])
        if not self._children:  # one at a time, so that a replay breeds when this did
            self._breed()
            if self._children and self._at_rest(self._children[0][1]):
                return self._begin_child(*self._children.popleft())
        while (promotion := self.scheduler.promote(drained=False)) is not None:
            if promotion.number not in self.running:
                return self._promote(promotion)
            self._promote_early(promotion)
        if self.may_begin:
            if not self.offers and inline:
                self._suggest()
            if self.offers:
                return self._begin()
        if self.running or self.may_begin:
            return None
        promotion = self.scheduler.promote(drained=True)
        return None if promotion is None else self._promote(promotion)

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
            return self._standing(trial, step)
        signed, advice = self.goal.signed(metrics), None
        if signed is None:
            answer = self._diverged(trial, step, metrics)
        else:
            answer, advice = self._judge(trial, step, metrics, signed, said)
        self.reports += 1
        self.steps += step - trial.step
        trial.step = step
        fact: Fact = {"kind": "reported", "number": number, "attempt": attempt, "step": step}
        fact["metrics"] = metrics
        if answer.decision is not Decision.CONTINUE:
            fact["decision"] = answer.decision.value
        if answer.evidence:
            fact["evidence"] = answer.evidence
        if advice is not None:
            fact["advice"] = advice.to_dict()
        self.emit(fact)
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
        trial.seconds += seconds
        self.seconds += seconds
        trial.state = settle(
            trial,
            Outcome(outcome),
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
            signed = self.goal.signed(trial.metrics)
            assert signed is not None  # a report that is not finite ends its trial as failed
            if trial.decision is Decision.CONTINUE:
                # It ended by itself, without a report of the last step: the last one it gave
                # stands in, so that the scheduler knows of a complete trial.
                self.scheduler.report(number, self.scheduler.max_step, signed)
                if self.adviser is not None:
                    self.adviser.forget(number)
            self.sampler.tell(number, trial.step, signed)
        fact: Fact = {"kind": "ended", "number": number, "attempt": attempt}
        fact |= {"outcome": Outcome(outcome).value, "state": trial.state.value, "seconds": seconds}
        if error:
            fact["error"] = error
        if not retry:
            fact["retry"] = False
        self.emit(fact)
        return trial.state

    # ------------------------------------------------------------------ replay

    def replay(self, facts: Iterable[Fact]) -> Study:
        """Bring a fresh study to where its facts lead; returns itself.

        Raises
        ------
        ReplayError
            If a fact is not what this study would have decided: the journal belongs to other
            settings, or was changed.
        """
        emitted: list[Fact] = []
        emit, self.emit = self.emit, emitted.append
        try:
            for fact in facts:
                try:
                    self._apply(fact)
                except (KeyError, TypeError, ValueError) as error:
                    raise ReplayError(f"{name(fact)} cannot be: {error!r}") from error
                compare(fact, emitted)
                emitted.clear()
        finally:
            self.emit = emit
        return self

    def _apply(self, fact: Fact) -> None:
        kind = fact["kind"]
        if kind == "reported":
            advice = fact.get("advice")
            said = None if advice is None else Forecasts.from_dict(advice)
            self._report(fact["number"], fact["attempt"], fact["step"], fact["metrics"], said)
        elif kind == "asked":
            self.ask(inline=False)
        elif kind == "promoted":
            promotion = self.scheduler.promote(drained=False)
            if promotion is not None:
                self._promote_early(promotion)
        elif kind == "bred":
            self._breed()
        elif kind == "known":
            self.learn(fact["params"], fact["steps"], fact["metrics"])
        elif kind == "offered":
            self.offer(fact["params"], origin=fact["origin"])
        elif kind == "ended":
            outcome, error = Outcome(fact["outcome"]), fact.get("error", "")
            seconds, retry = fact["seconds"], fact.get("retry", True)
            self.tell(
                fact["number"], fact["attempt"], outcome, seconds=seconds, error=error, retry=retry
            )
        elif kind == "limited":
            self.set_limit(fact["trials"])
        elif kind == "closed":
            self.close(fact["reason"])
        elif kind == "reopened":
            self.reopen()
        elif kind == "exhausted":
            self.exhaust()
        elif kind == "noted":
            self.emit(fact)

    # ------------------------------------------------------------------ asking

    def _suggest(self) -> None:
        params = self.sampler.suggest(self._next)
        if params is None:
            self.exhaust()
        else:
            self.offer(params)

    def _begin(self) -> Job:
        number, params = self.offers.popleft()
        place = self.scheduler.begin(number)
        trial = Trial(number, params, rung=place.rung, stop=place.stop)
        self.trials[number] = trial
        if self.adviser is not None:
            self.adviser.begin(number, self.space.encode(params))
        return self._job(trial, {"why": "new"})

    def _breed(self) -> None:
        """Let a population fill a place that has become free; the fact says with what."""
        if self._breeder is None:
            return
        number = self._next
        child = self._breeder.breed(number, self.space, lambda n: self.trials[n].params)
        if child is None:
            return
        self._next += 1
        self._bred += 1
        self._children.append((number, child))
        self.sampler.pend(number, child.params)
        fact: Fact = {"kind": "bred", "number": number, "parent": child.parent}
        fact |= {"step": child.start, "params": child.params, "evidence": child.evidence}
        self.emit(fact)

    def _at_rest(self, child: Child) -> bool:
        """Whether the checkpoint that a child begins from is there: its parent may be saving it.

        Children that wait for it come before everything else, so that no parent trains on, or is
        stopped, before they have been handed out.
        """
        parent = self.trials[child.parent]
        return parent.state is not TrialState.RUNNING or parent.start >= child.start

    def _begin_child(self, number: int, child: Child) -> Job:
        trial = Trial(number, child.params, rung=child.rung, stop=child.stop)
        trial.parent, trial.origin, trial.step = child.parent, child.start, child.start
        self.trials[number] = trial
        return self._job(trial, {"why": "bred"})

    def _promote(self, promotion: Promotion) -> Job:
        trial = self._advance(promotion)
        trial.attempt += 1
        return self._job(trial, {"why": "promotion", "evidence": promotion.evidence})

    def _promote_early(self, promotion: Promotion) -> None:
        """Promote a trial that is still saving its checkpoint: it goes on once it has left."""
        trial = self._advance(promotion)
        fact: Fact = {"kind": "promoted", "number": trial.number, "rung": trial.rung}
        self.emit(fact | {"stop": trial.stop, "evidence": promotion.evidence})

    def _advance(self, promotion: Promotion) -> Trial:
        trial = self.trials[promotion.number]
        trial.rung, trial.stop = promotion.rung, promotion.stop
        trial.decision = Decision.CONTINUE
        return trial

    def _retry(self, trial: Trial) -> Job:
        trial.attempt += 1
        return self._job(trial, {"why": "retry"})

    def _job(self, trial: Trial, reason: dict[str, Any]) -> Job:
        trial.state = TrialState.RUNNING
        trial.start = trial.step
        self.running.add(trial.number)
        job = Job(
            trial.number,
            trial.attempt,
            trial.rung,
            trial.start,
            trial.stop,
            trial.params,
            trial.parent,
        )
        fact: Fact = {"kind": "asked", "number": job.number, "attempt": job.attempt}
        self.emit(fact | {"rung": job.rung, "start": job.start, "stop": job.stop} | reason)
        return job

    # ------------------------------------------------------------------ judging

    def _standing(self, trial: Trial, step: int) -> Answer:
        if step >= trial.step and trial.decision is not Decision.CONTINUE:
            return Answer(trial.decision, step)
        if self.closed is not None:
            return Answer(Decision.PAUSE, step, {"why": self.closed})
        # A pause may stand at a step beyond its milestone: it is given there, not before.
        return Answer(Decision.CONTINUE, max(trial.stop, trial.step))

    def _judge(
        self, trial: Trial, step: int, metrics: Mapping[str, float], signed: Value, said: Said
    ) -> tuple[Answer, Advice | None]:
        value, sign = metrics[self.metric], self.goal.sign
        trial.value, trial.metrics = value, metrics
        trial.losses = 0
        # The first report compares with nan, which is below nothing.
        if not sign * trial.best_value <= sign * value:
            trial.best_value, trial.best_step = value, step
            self._challenge(trial)
        answer, advice = self._weigh(trial.number, step, signed, said)
        trial.decision = answer.decision
        if answer.decision is Decision.CONTINUE:
            trial.stop = answer.stop
            if "rung" in answer.evidence:
                trial.rung = answer.evidence["rung"] + 1
        if answer.evidence or answer.decision is not Decision.CONTINUE:
            self.sampler.tell(trial.number, step, signed)
        if answer.decision is Decision.CONTINUE and self.closed is not None:
            answer = Answer(Decision.PAUSE, step, {**answer.evidence, "why": self.closed})
        return answer, advice

    def _weigh(
        self, number: int, step: int, signed: Value, said: Said
    ) -> tuple[Answer, Advice | None]:
        """The scheduler's answer, and what the adviser makes of it."""
        adviser, advised = self.adviser, self._advised
        if adviser is None:
            return self.scheduler.report(number, step, signed), None
        value = schedulers.base.single(signed)
        adviser.observe(number, step, value)
        max_step, advice = self.scheduler.max_step, None
        # Who takes no advice is told of the end, and nobody is below a bar.
        bar = Bar(0, max_step, math.inf) if advised is None else advised.bar(number)
        arrives = step >= bar.milestone
        if arrives and advised is not None and advised.leans and adviser.order == "forecast":
            said = adviser.outlook(number, step, bar) if said is ... else said
            if isinstance(said, Forecasts):
                advice = adviser.rank(said)
                advised.lean(number, said.next.lean)
        answer = self.scheduler.report(number, step, value)
        adviser.settle(number, step, value, bar)
        if not arrives and answer.decision is Decision.CONTINUE:
            said = adviser.forecasts(number, step, bar, max_step) if said is ... else said
            if isinstance(said, Forecasts):
                advice = adviser.advise(number, said, bar)
                if advice.heard == "obeyed" and advised is not None:
                    answer = advised.cut(number, step, said.next.value)
        return answer, advice

    def _diverged(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Answer:
        trial.error = f"{self.goal.fault(metrics)} at step {step}"
        trial.decision = Decision.STOP
        return Answer(Decision.STOP, step, {"why": "diverged", "error": trial.error})

    def _challenge(self, trial: Trial) -> None:
        best, sign = self.best, self.goal.sign
        if best is None or sign * trial.best_value < sign * best.best_value:
            self._best = trial.number

    # ------------------------------------------------------------------ settling

    def _fail(self, trial: Trial) -> None:
        self.scheduler.fail(trial.number)
        if self.adviser is not None:
            self.adviser.forget(trial.number)
        self.sampler.tell(trial.number, trial.step, math.inf)
        if self._best == trial.number:
            lost = TrialState.FAILED
            alive = [
                t
                for t in self.trials.values()
                if t.best_step and not t.error and t.state is not lost
            ]
            sign = self.direction.sign
            self._best = (
                min(alive, key=lambda t: (sign * t.best_value, t.number)).number if alive else None
            )

    def __repr__(self) -> str:
        best = self.best
        counts = f"{len(self.trials)} trials, {len(self.running)} running"
        incumbent = f", best {best.best_value:.6g} @ trial {best.number}" if best else ""
        return f"<Study {self.metric!r}: {counts}{incumbent}>"


def _check_adviser(adviser: Adviser, scheduler: Scheduler, *, several: bool) -> None:
    if several:
        raise SchedulerError(f"{adviser!r} forecasts one metric; several are traded off here")
    if adviser.mode == "obey" and not isinstance(scheduler, Advised):
        raise SchedulerError(
            f"advice mode='obey': {scheduler!r} does not take advice; ASHA and Fifo do"
        )
    if adviser.order == "forecast" and not (isinstance(scheduler, Advised) and scheduler.leans):
        raise SchedulerError(
            f"advice order='forecast': {scheduler!r} does not rank by last values of those that "
            "wait; ASHA with a fixed eta does, in mode='promote'"
        )


def _drop(fact: Fact) -> None:
    """Where facts go when nobody keeps them."""
