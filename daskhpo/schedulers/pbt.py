"""Population based training: the worst copy the best, and change their parameters on the way."""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers.base import Child, Promotion, RungRow, single
from daskhpo.schedulers.explore import Explorer, fraction
from daskhpo.schedulers.rungs import Rung, check_integer
from daskhpo.space import Space
from daskhpo.trial import Answer, Decision, Evidence, Params, Value

__all__ = ["PBT"]


@dataclass(slots=True)
class _Member:
    """One of the population: ``done`` and ``step`` say where its newest checkpoint was taken."""

    done: int  # the milestone that it has passed last, as an index; -1 before the first
    step: int  # its step then
    heir: bool = False  # a child that was not compared yet
    seen: list[tuple[int, float]] = field(default_factory=list)  # (milestone, value) of its own


@dataclass(frozen=True, slots=True)
class _Vacancy:
    """A place in the population that a child of somebody better at milestone ``at`` will take."""

    number: int
    at: int
    value: float
    why: str


class PBT:
    """Train a population together: who falls behind goes on from a copy of who leads.

    Use it where the best value of a parameter changes while a model trains (learning rate,
    dropout, weights of a loss) and there are workers for ten to forty trials at once. It finds a
    schedule, not a configuration: ``daskhpo schedule DIR`` prints the one that led to the best
    trial. It needs checkpoints that work (:meth:`trial.steps
    <daskhpo.worker.session.Session.steps>` with all of the training's state).

    A trial is one configuration's life. Every ``interval`` steps a member of the population
    pauses and is compared with all that were recorded there so far (Jaderberg et al., *Population
    Based Training of Neural Networks*, 1711.09846, truncation selection, asynchronous); where too
    few have come yet, the comparison of the milestone before counts, at which more are by now::

        step            trial  0    1    2    3    4
                               │    │    │    │    │
          10  worst of five: 2 │    │    ╳    │    │
                               │    │    ┌────┤    │    best of five: 3; trial 5 begins from its
          20                   0    1    5    3    4    checkpoint with other parameters

    Parameters
    ----------
    max_step : int
        R, the step at which a trial is complete.
    interval : int
        Steps between two comparisons. Long enough that a change of parameters shows.
    population : int
        How many train; a campaign that lets fewer begin goes on with those it has. Children take
        the places of others and do not count.
    perturb : sequence of str
        The parameters that children change. Only those that leave the shape of every tensor as it
        is, of the model and of the optimiser, for the child loads its parent's: learning rates,
        momenta, dropout, weights of losses, batch size; not widths, depths or the optimiser.
    quantile : float
        The worst ``floor(quantile * n)`` of n recorded are replaced, by children of the best
        ``floor(quantile * n)``; so nobody is before there are ``1 / quantile``.
    factors : sequence of float
        What a number is multiplied by; drawn for every parameter.
    resample : float
        The probability that a parameter is drawn anew from its domain instead.
    seed : int
        Draws parents and parameters, together with the child's number.

    Raises
    ------
    SchedulerError
        If an argument is not valid; in :meth:`check`, if ``perturb`` does not fit the space.

    Notes
    -----
    *The objective* gets its own parameters in ``trial.params``, but ``trial.steps`` restores what
    the parent had, the optimiser's learning rate included. Set what changes inside the loop::

        def objective(trial):
            model = Net()
            opt = torch.optim.SGD(model.parameters(), lr=trial.params["lr"])
            for epoch in trial.steps(model=model, opt=opt):
                for group in opt.param_groups:
                    group["lr"] = trial.params["lr"]
                trial.report(loss=train_one_epoch(model, opt))

    *Explore* is said by :class:`~daskhpo.schedulers.explore.Explorer`: factors, resampling,
    steps and bounds, choices, conditions.

    *With fewer workers than members* those that are furthest behind go first, and nobody goes
    beyond the first milestone before all have begun.

    *Failed members* are replaced too, unless they are children that failed before they were ever
    compared: what these copied does not train, and a campaign has to end.

    Examples
    --------
    >>> from daskhpo.space import Float
    >>> space = Space(lr=Float(1e-4, 1.0, log=True))
    >>> scheduler = PBT(20, interval=10, population=5, perturb=["lr"], resample=0)
    >>> for number, loss in enumerate([0.5, 0.4, 0.6, 0.1, 0.9]):
    ...     _ = scheduler.begin(number)
    ...     answer = scheduler.report(number, 10, loss)
    >>> answer.decision                     # trial 4 is the worst of five
    <Decision.STOP: 'stop'>
    >>> child = scheduler.breed(5, space, lambda number: {"lr": 0.01})
    >>> child.parent, child.start, child.stop, round(child.params["lr"], 6)
    (3, 10, 20, 0.008)
    """

    several = False

    def __init__(
        self,
        max_step: int,
        *,
        interval: int,
        population: int,
        perturb: Sequence[str],
        quantile: float = 0.2,
        factors: Sequence[float] = (0.8, 1.2),
        resample: float = 0.25,
        seed: int = 0,
    ) -> None:
        check_integer("max_step", max_step)
        check_integer("interval", interval)
        check_integer("population", population, least=2)
        check_integer("seed", seed, least=0)
        if interval >= max_step:
            raise SchedulerError(f"interval={interval}: must be below max_step={max_step}")
        self.max_step = max_step
        self.interval = interval
        self.population = population
        self.quantile = fraction("quantile", quantile, most=0.5)
        self.seed = seed
        if not self._share(population):
            raise SchedulerError(
                f"quantile={quantile}: of a population of {population} that is nobody; "
                f"must be at least 1/{population}"
            )
        self._explorer = Explorer(perturb, factors, resample)
        steps = [*range(interval, max_step, interval), max_step]
        self._rungs = [Rung(step) for step in steps]
        self._members: dict[int, _Member] = {}  # {number: the member}, all that ever were
        self._alive: set[int] = set()  # those that train, wait or are paused
        self._queue: list[tuple[int, int, int]] = []  # heap of (milestone, order, number): paused
        self._vacancies: list[_Vacancy] = []
        self._begun = 0  # members that were no child
        self._gathered = False  # all that will ever begin have
        self._paused = 0  # how often somebody did: the order in the queue

    # ------------------------------------------------------------------ the scheduler

    def check(self, space: Space) -> None:
        """Make sure that every name in ``perturb`` is a parameter that can change in training."""
        self._explorer.check(space)

    def begin(self, number: int) -> Promotion:
        """Admit a trial; it trains towards the first milestone."""
        self._members[number] = _Member(done=-1, step=0)
        self._alive.add(number)
        self._begun += 1
        self._gathered = self._gathered or self._begun >= self.population
        return Promotion(number, 0, self._rungs[0].milestone)

    def admits(self) -> bool:
        """Until the population is complete."""
        return self._begun < self.population

    def promote(self, *, drained: bool) -> Promotion | None:
        """Whoever is furthest behind and waits; nobody before the population is there."""
        while self._queue and self._queue[0][2] not in self._alive:
            heapq.heappop(self._queue)
        if not self._queue or not (self._gathered or drained):
            return None
        self._gathered = True  # who has not begun by now never will
        done, _, number = heapq.heappop(self._queue)
        self._rungs[done].promoted.add(number)
        evidence = {"rung": done, "milestone": self._rungs[done].milestone, "turn": True}
        return Promotion(number, done + 1, self._rungs[done + 1].milestone, evidence)

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Compare a member at its milestone: it stops, or pauses until its turn comes."""
        value = single(value)
        member = self._members[number]
        done, last = member.done + 1, len(self._rungs) - 1
        if step < self._rungs[done].milestone:
            return Answer(Decision.CONTINUE, self._rungs[done].milestone)
        # A trial that does not report every step is compared at the last milestone it has passed.
        while done < last and step >= self._rungs[done + 1].milestone:
            done += 1
        member.done, member.step, member.heir = done, step, False
        member.seen.append((done, value))
        rung = self._rungs[done]
        evidence = {"rung": done, "milestone": rung.milestone, "rank": rung.record(number, value)}
        evidence |= {"of": len(rung.ranking), "worst": self._share(len(rung.ranking))}
        if done == last:
            self._alive.discard(number)
            return Answer(Decision.STOP, step, evidence)
        return self._judge(number, member, evidence)

    def fail(self, number: int) -> None:
        """Rank the trial last where it trained towards; a child takes its place, if it may."""
        member = self._members[number]
        self._alive.discard(number)
        paused = member.done >= 0 and number not in self._rungs[member.done].promoted
        if member.heir or not paused:
            self._rungs[member.done + 1].record(number, math.inf)
        if not member.heir:
            self._vacancies.append(_Vacancy(number, max(member.done, 0), math.inf, "failed"))

    def breed(self, number: int, space: Space, params: Callable[[int], Params]) -> Child | None:
        """A child of one of the best, for the first place that has become free.

        None while there is nobody to copy: a place stays free until somebody has come to the
        milestone, or for ever.
        """
        if not self._gathered:
            return None
        for vacancy in self._vacancies:
            leaders = self._leaders(vacancy.at, below=vacancy.value)
            if leaders:
                self._vacancies.remove(vacancy)
                rng = np.random.default_rng([self.seed, number])
                rank, parent = leaders[rng.integers(len(leaders))]
                rung = self._rungs[vacancy.at]
                evidence = {"replaces": vacancy.number, "why": vacancy.why, "rank": rank}
                evidence |= {"of": len(rung.ranking), "milestone": rung.milestone}
                changed = self._explorer.explore(space, params(parent), rng)
                return self._child(number, parent, changed, evidence)
        return None

    def table(self) -> Sequence[RungRow]:
        """One row per milestone."""
        return [
            RungRow(0, k, rung.milestone, len(rung.ranking), len(rung.promoted), rung.best)
            for k, rung in enumerate(self._rungs)
        ]

    def settings(self) -> Mapping[str, Any]:
        """``type`` and the constructor's arguments."""
        return {
            "type": "pbt",
            "max_step": self.max_step,
            "interval": self.interval,
            "population": self.population,
            "perturb": list(self._explorer.perturb),
            "quantile": self.quantile,
            "factors": list(self._explorer.factors),
            "resample": self._explorer.resample,
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.settings().items() if k != "type")
        return f"PBT({arguments})"

    # ------------------------------------------------------------------ exploit

    def _share(self, n: int) -> int:
        """``floor(quantile * n)``, spared from the rounding of products such as 0.29 * 100."""
        return int(self.quantile * n + 1e-9)

    def _judge(self, number: int, member: _Member, evidence: dict[str, Any]) -> Answer:
        at, value, rank = self._comparison(number, member)
        of = len(self._rungs[at].ranking)
        worst = self._share(of)
        if at < member.done:
            milestone = self._rungs[at].milestone
            evidence["back"] = {"milestone": milestone, "rank": rank, "of": of, "worst": worst}
        if rank > of - worst and self._leaders(at, below=value):
            self._alive.discard(number)
            self._vacancies.append(_Vacancy(number, at, value, "stopped"))
            return Answer(Decision.STOP, member.step, evidence)
        self._paused += 1
        heapq.heappush(self._queue, (member.done, self._paused, number))
        return Answer(Decision.PAUSE, self._rungs[member.done].milestone, evidence)

    def _comparison(self, number: int, member: _Member) -> tuple[int, float, int]:
        """(milestone, value, rank) that decide on a member: the last at which enough have come.

        Whoever is ahead of the others finds nobody at its milestone. Without a look back to the
        one before, where they have come by now, the fastest would never be compared at all.
        """
        for at, value in reversed(member.seen):
            ranking = self._rungs[at].ranking
            if self._share(len(ranking)):
                return at, value, bisect.bisect_left(ranking, (value, number)) + 1
        at, value = member.seen[-1]
        return at, value, 0

    def _leaders(self, at: int, *, below: float) -> list[tuple[int, int]]:
        """(rank, number) of those to copy at a milestone, all better than ``below``.

        The best share of those recorded there that are still in the population; where none of
        these is, the best one who is.
        """
        ranking = self._rungs[at].ranking
        found = [
            (rank, number)
            for rank, (value, number) in enumerate(ranking, 1)
            if value < below and number in self._alive
        ]
        share = max(1, self._share(len(ranking)))
        return [entry for entry in found if entry[0] <= share] or found[:1]

    def _child(self, number: int, parent: int, params: Params, evidence: Evidence) -> Child:
        origin = self._members[parent]
        self._members[number] = _Member(origin.done, origin.step, heir=True)
        self._alive.add(number)
        rung = origin.done + 1
        return Child(parent, params, rung, origin.step, self._rungs[rung].milestone, evidence)
