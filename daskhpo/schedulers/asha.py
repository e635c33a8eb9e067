"""Asynchronous successive halving: who goes on is decided whenever a worker is free.

The rungs of ``ASHA(max_step=27, min_step=1, eta=3)`` after 27 trials::

    rung  milestone  recorded  promoted
       3         27         1         -      complete
       2          9         3         1      best floor(3/3)
       1          3         9         3      best floor(9/3)
       0          1        27         9      best floor(27/3)

Those of ``ASHA(max_step=16)``, which learns its ladder, after 27 trials on a problem whose first
ranks turned out to mislead::

    rung  milestone  recorded  promoted
       4         16         3         -      complete
       3          8         5         3      best 45 %, and the tail rule
       2          4        11         5      best 45 %
       1          2        19        11      best 61 %, learned
       0          1        27        19      best 72 %, learned
"""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers.base import Bar, Promotion, RungRow
from daskhpo.schedulers.calibration import Calibration
from daskhpo.schedulers.ladders import Candidate, Ladders
from daskhpo.schedulers.pareto import AnyRung
from daskhpo.schedulers.rungs import check_integer, milestones
from daskhpo.schedulers.trend import Trend
from daskhpo.trial import Answer, Decision, Value

__all__ = ["ASHA", "async_hyperband"]

FINEST = 128  # the first milestone of a learned ladder is not below max_step divided by this
BRACKETS, AUDITS = 1, 2  # what random numbers are for: no two of them may be related
FINALISTS = 3  # trials that a learned ladder trains to the end, at least


class ASHA:
    """The default: aggressive early stopping without a barrier, and without numbers to guess.

    Use it when trials are many and their early ranks say something about the end; how much they
    say it finds out. With an integer ``eta`` it is the algorithm of the paper (Li et al., *A
    System for Massively Parallel Hyperparameter Tuning*, 1810.05934, algorithm 2): a trial that
    reaches a milestone pauses, and a free worker takes the best paused trial, from the highest
    rung down, that is among the best ``floor(n / eta)`` of the ``n`` recorded at its rung.

    Which first milestone and which ``eta`` are right depends on the problem, and a wrong guess
    quietly loses the best trial. With ``eta="auto"`` rungs double from ``min_step`` on and

    * rank trials by a forecast, see :func:`~daskhpo.schedulers.trend.forecast`: who catches up
      stands above who has flattened;
    * let 45 % go on at first, and more where those that lead today nearly fell through, see
      :func:`~daskhpo.schedulers.calibration.needed_share`: nobody is lost, those that were left
      behind go on then, and all of it costs at most three times a ladder that trusts every rank;
    * train at least three trials to the end.

    Parameters
    ----------
    max_step : int
        R, the step at which a trial is complete.
    min_step : int or "auto"
        r, the grace period: the first milestone. ``"auto"`` is ``max(1, max_step // 128)``.
    eta : int or "auto"
        Reduction factor: one in ``eta`` is promoted.
    mode : {"promote", "stop"}
        ``stop`` is what most libraries call ASHA: a trial at a milestone goes on at once if its
        value is not above the ``1/eta`` quantile of those recorded there so far, else it ends. It
        needs no checkpoints, but the first to arrive always pass. Wants a fixed ``eta``.
    brackets : int
        Ladders that start at ``min_step * eta**s`` for s = 0 .. brackets-1. More than one hedges
        against a grace period that is too short. Wants a fixed ``eta``.
    audit : float
        Share of trials, drawn at random, that train to the end wherever they rank. They are what
        an unbiased ``daskhpo reliability`` rests on, and are dear: one in fifty is a start.
    seed : int
        Draws brackets and audits, together with a trial's number.

    Raises
    ------
    SchedulerError
        Naming the argument, its value and what is allowed.

    Notes
    -----
    In the promotion form a trial that reports a milestone is answered as if its worker had just
    become free: when the best next promotion is this very trial it continues in place, with
    nothing saved. That is the paper's algorithm without its checkpoint traffic. Where the paper
    never ends, a campaign does: once nothing runs and nothing is left to start, the best paused
    trial of the highest occupied rung goes on, so that in each bracket a trial is complete.

    Trials draw their bracket with the share of configurations that Hyperband gives it
    (``eta**-s * (K + 1) / (K - s + 1)`` for a ladder of K + 1 rungs, normalised).

    Several metrics are traded off by rungs that rank Pareto fronts, see
    :class:`~daskhpo.schedulers.pareto.ParetoRung`. The stopping form then lets a trial go on if
    its rank is not beyond ``1 + floor((n - 1) / eta)`` of the ``n`` recorded there so far: the
    same rule, without values to take a quantile of.

    Examples
    --------
    >>> scheduler = ASHA(max_step=9, min_step=1, eta=3)
    >>> for number, loss in enumerate([0.5, 0.1, 0.9]):
    ...     _ = scheduler.begin(number)
    ...     answer = scheduler.report(number, 1, loss)
    >>> answer.decision                     # trial 2 is the worst of three
    <Decision.PAUSE: 'pause'>
    >>> scheduler.promote(drained=False).number
    1
    """

    several = True

    def __init__(
        self,
        max_step: int,
        *,
        min_step: int | Literal["auto"] = "auto",
        eta: int | Literal["auto"] = "auto",
        mode: Literal["promote", "stop"] = "promote",
        brackets: int = 1,
        audit: float = 0.0,
        seed: int = 0,
    ) -> None:
        check_integer("max_step", max_step)
        for name, given in (("min_step", min_step), ("eta", eta)):
            if isinstance(given, str) and given != "auto":
                raise SchedulerError(f"{name}={given!r}: must be 'auto' or an integer")
        self.min_step = max(1, max_step // FINEST) if min_step == "auto" else min_step
        calibrated = eta == "auto"
        steps = (
            _doubling(self.min_step, max_step)
            if eta == "auto"
            else milestones(self.min_step, max_step, eta)
        )
        _check(mode, brackets, audit, calibrated=calibrated, rungs=len(steps))
        check_integer("seed", seed, least=0)
        self.max_step = max_step
        self.eta = eta
        self.mode = mode
        self.brackets = brackets
        self.audit = audit
        self.seed = seed
        factor = 2 if eta == "auto" else eta
        self._ladders = Ladders(
            steps,
            eta=factor,
            brackets=brackets,
            rationed=calibrated,
            finalists=FINALISTS if calibrated else 1,
        )
        self._given = min_step
        self._calibration = Calibration(steps) if calibrated else None
        self._trend = Trend(max_step)
        self._audited: dict[int, bool] = {}  # {number: what was drawn for it}, once asked for
        self._best: dict[int, float] = {}  # {milestone: smallest value there}, where ranks forecast
        self._shifts: dict[int, float] = {}  # {number: what forecasts add to its value in its rank}
        if self._calibration is not None:
            self._ladders.etas = list(self._calibration.etas)
        shares = np.array([factor**-s * len(steps) / (len(steps) - s) for s in range(brackets)])
        self._thresholds = np.cumsum(shares / shares.sum()).tolist()

    def begin(self, number: int) -> Promotion:
        """Admit a trial at the bottom of the bracket it draws."""
        return self._ladders.enter(number, self._draw_bracket(number))

    def admits(self) -> bool:
        """Everybody, at any time."""
        return True

    def promote(self, *, drained: bool) -> Promotion | None:
        """The best promotable trial of the highest rung; the tail rule when ``drained``."""
        if self.mode == "stop":
            return None
        found = self._ladders.promotable()
        if found is None and drained:
            found = self._last_chance() or self._ladders.finalist()
        return None if found is None else self._ladders.advance(found)

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Judge a trial at its milestone; below it, train on."""
        milestone = self._ladders.milestone(number)
        if self._calibration is not None:
            self._trend.note(number, step, value, milestone=milestone)
        if step < milestone:
            return Answer(Decision.CONTINUE, milestone)
        evidence = self._record(number, step, value)
        if self._ladders.tops_out(number):
            return Answer(Decision.STOP, step, evidence)
        if self.audits(number):
            return self._ladders.pass_on(number, evidence | {"audit": True})
        if self.mode == "promote":
            return self._ladders.judge(number, evidence)
        if self._passes(number, value, evidence):
            return self._ladders.pass_on(number, evidence)
        return Answer(Decision.STOP, self._ladders.milestone(number), evidence)

    @property
    def leans(self) -> bool:
        """Whether forecasts may move ranks: not those of a learned ladder, which has its own."""
        return self.mode == "promote" and self._calibration is None

    def bar(self, number: int) -> Bar:
        """The worst value with which the trial would go on, if it came to its milestone now.

        Where trials wait to be promoted it could do so later with a worse one.
        """
        within = _better_of_promoted if self.mode == "promote" else _better_of_passed
        bar = self._ladders.bar(number, within)
        if self.audits(number):
            return replace(bar, value=math.inf)
        if self._calibration is None:
            return bar
        return replace(bar, value=self._trend.value_for(number, bar.milestone, bar.value))

    def cut(self, number: int, step: int, value: float) -> Answer:
        """Enter the forecast on the trial's rung; it waits there, or ends."""
        ranked = self._rank(number, self._ladders.milestone(number), value)
        assert not isinstance(ranked, tuple)
        evidence = self._ladders.stand_in(number, ranked) | {"forecast": ranked, "advice": True}
        waits = self.mode == "promote" and not self._ladders.tops_out(number)
        return Answer(Decision.PAUSE if waits else Decision.STOP, step, evidence)

    def lean(self, number: int, shift: float) -> None:
        """Rank the trial at its milestone as if its value were ``shift`` larger."""
        self._shifts[number] = shift

    def audits(self, number: int) -> bool:
        """Whether a trial is one of the random ones that train to the end wherever they rank."""
        if not self.audit:
            return False
        if number not in self._audited:
            self._audited[number] = self._draw(number, AUDITS) < self.audit
        return self._audited[number]

    def learn(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Take in a curve of an earlier campaign; a fixed ladder has nothing to learn."""
        if self._calibration is not None:
            self._calibration.learn(steps, values)

    def fail(self, number: int) -> None:
        """Rank the trial last at the rung it was training towards; never promote it again."""
        self._ladders.fail(number)

    def table(self) -> Sequence[RungRow]:
        """One row per bracket and rung; a rung's index counts from the lowest ladder's bottom."""
        rows = self._ladders.rows()
        if self._calibration is None:
            return rows
        shares = [*self._calibration.shares, math.nan]
        return [
            replace(row, best=self._best.get(row.milestone, math.inf), share=share)
            for row, share in zip(rows, shares, strict=True)
        ]

    def settings(self) -> Mapping[str, Any]:
        """``type`` and the constructor's arguments."""
        names = ("eta", "mode", "brackets", "audit", "seed")
        arguments = {name: getattr(self, name) for name in names}
        return {"type": "asha", "max_step": self.max_step, "min_step": self._given, **arguments}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.settings().items() if k != "type")
        return f"ASHA({arguments})"

    def _record(self, number: int, step: int, value: Value) -> dict[str, Any]:
        """Enter a trial on its rung, by its forecast where the ladder is learned."""
        if self._calibration is None:
            shift = self._shifts.pop(number, 0.0)
            if not shift:
                return self._ladders.record(number, step, value)
            assert not isinstance(value, tuple)
            return self._ladders.record(number, step, value + shift) | {"shift": shift}
        ranked = self._rank(number, step, value)
        evidence = self._ladders.record(number, step, ranked)
        first = value[0] if isinstance(value, tuple) else value
        milestone = evidence["milestone"]
        self._best[milestone] = min(first, self._best.get(milestone, math.inf))
        if step < self.max_step:
            evidence |= {"forecast": ranked, "share": self._calibration.shares[evidence["rung"]]}
        return evidence

    def _rank(self, number: int, step: int, value: Value) -> Value:
        """What a rung ranks a trial by; a learned ladder looks at its shares again before."""
        if self._calibration is None:
            return value
        if self._calibration.update(self._ladders.rungs[0]):
            self._ladders.etas = list(self._calibration.etas)
        return self._trend.rank_by(number, step, value)

    def _last_chance(self) -> Candidate | None:
        """Who may go on by all that is known, when little news was not looked at before.

        If nobody may, nothing has changed: a question that leads to no fact leaves no trace.
        """
        if self._calibration is None:
            return None
        learned = copy.copy(self._calibration)
        learned.shares = list(learned.shares)
        before = self._ladders.etas
        learned.update(self._ladders.rungs[0], anyway=True)
        self._ladders.etas = list(learned.etas)
        found = self._ladders.promotable()
        if found is None:
            self._ladders.etas = before
        else:
            self._calibration = learned
        return found

    def _passes(self, number: int, value: Value, evidence: dict[str, Any]) -> bool:
        """Whether the stopping form lets a trial go on; the evidence is told what decides."""
        assert self.eta != "auto"
        if isinstance(value, tuple):
            evidence["within"] = 1 + (evidence["of"] - 1) // self.eta
            return bool(evidence["rank"] <= evidence["within"])
        threshold = _quantile(self._ladders.standing(number).ranking, 1 / self.eta)
        evidence["threshold"] = threshold
        return value <= threshold

    def _draw_bracket(self, number: int) -> int:
        if self.brackets == 1:
            return 0
        place = bisect.bisect_right(self._thresholds, self._draw(number, BRACKETS))
        return min(place, self.brackets - 1)

    def _draw(self, number: int, purpose: int) -> float:
        """A number of the trial's own between 0 and 1, independent of what samplers draw."""
        return float(np.random.default_rng([self.seed, number, purpose]).random())


def _doubling(min_step: int, max_step: int) -> tuple[int, ...]:
    """Milestones that double, without one so near the end that it could as well be the end."""
    return tuple(
        s for s in milestones(min_step, max_step, 2) if 4 * s <= 3 * max_step or s == max_step
    )


def _check(mode: object, brackets: object, audit: object, *, calibrated: bool, rungs: int) -> None:
    if mode not in ("promote", "stop"):
        raise SchedulerError(f"mode={mode!r}: must be 'promote' or 'stop'")
    if calibrated and mode == "stop":
        raise SchedulerError("mode='stop' needs a fixed eta, an integer of at least 2")
    if not isinstance(brackets, int) or not 1 <= brackets <= rungs:
        raise SchedulerError(
            f"brackets={brackets!r}: must be between 1 and {rungs}, the number of rungs"
        )
    if calibrated and brackets > 1:
        raise SchedulerError(f"brackets={brackets} need a fixed eta, an integer of at least 2")
    if isinstance(audit, bool) or not isinstance(audit, int | float) or not 0 <= audit <= 1:
        raise SchedulerError(f"audit={audit!r}: must be a share between 0 and 1")


def async_hyperband(max_step: int, *, min_step: int = 1, eta: int = 4, seed: int = 0) -> ASHA:
    """Asynchronous Hyperband: :class:`ASHA` with every bracket that its ladder allows.

    Use it when it is not known how early ranks can be trusted and nobody is to wait at a barrier:
    it hedges as :class:`~daskhpo.schedulers.Hyperband` does, from the grace period ``min_step``
    up to training in full, and keeps every worker busy (Li et al., 1810.05934, section 3.2).

    Parameters
    ----------
    max_step, min_step, eta, seed
        As in :class:`ASHA`.

    Examples
    --------
    >>> async_hyperband(max_step=27, eta=3)
    ASHA(max_step=27, min_step=1, eta=3, mode='promote', brackets=4, audit=0.0, seed=0)
    """
    brackets = len(milestones(min_step, max_step, eta))
    return ASHA(max_step, min_step=min_step, eta=eta, brackets=brackets, seed=seed)


def _better_of_passed(rung: AnyRung, eta: int | Fraction) -> int:
    """How many recorded on a rung may be better than a trial that the stopping form lets go on.

    It is not above the 1/eta quantile of theirs, which the failed have no part in, and its own.
    """
    return int(_finite(rung.ranking) // eta)


def _better_of_promoted(rung: AnyRung, eta: int | Fraction) -> int:
    """The same where the best ``floor(n / eta)`` are promoted; -1 while that is nobody."""
    return int((len(rung.recorded) + 1) // eta) - 1


def _quantile(ranking: list[tuple[float, int]], q: float) -> float:
    """Linear-interpolation quantile of a sorted ranking's finite part, as numpy defines it."""
    finite = _finite(ranking)
    position = q * (finite - 1)
    low = int(position)
    high = min(low + 1, finite - 1)
    return ranking[low][0] + (position - low) * (ranking[high][0] - ranking[low][0])


def _finite(ranking: list[tuple[float, int]]) -> int:
    """How many of a sorted ranking have not failed."""
    return bisect.bisect_left(ranking, (float("inf"), -1))
