"""Asynchronous successive halving: who goes on is decided whenever a worker is free.

The rungs of ``ASHA(min_step=1, max_step=27, eta=3)`` after 27 trials::

    rung  milestone  recorded  promoted
       3         27         1         -      complete
       2          9         3         1      best floor(3/3)
       1          3         9         3      best floor(9/3)
       0          1        27         9      best floor(27/3)
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers.base import Promotion, RungRow, single
from daskhpo.schedulers.rungs import Rung, check_integer, milestones
from daskhpo.trial import Answer, Decision, Value

__all__ = ["ASHA"]


class ASHA:
    """The default: aggressive early stopping without a barrier.

    Use it when trials are many and their early ranks say something about the end. ``promote`` is
    the algorithm of the paper (Li et al., *A System for Massively Parallel Hyperparameter
    Tuning*, 1810.05934, algorithm 2): a trial that reaches a milestone pauses, and a free worker
    takes the best paused trial, from the highest rung down, that is among the best
    ``floor(n / eta)`` of the ``n`` recorded at its rung. ``stop`` is what most libraries call
    ASHA: a trial at a milestone goes on at once if its value is not above the ``1/eta`` quantile
    of those recorded there so far, else it ends; it needs no checkpoints, but the first to
    arrive always pass.

    Parameters
    ----------
    max_step : int
        R, the step at which a trial is complete.
    min_step : int
        r, the grace period: the first milestone.
    eta : int
        Reduction factor: one in ``eta`` is promoted.
    mode : {"promote", "stop"}
        See above.
    brackets : int
        Ladders that start at ``min_step * eta**s`` for s = 0 .. brackets-1. More than one hedges
        against a grace period that is too short.
    seed : int
        Draws the bracket of a trial, together with its number.

    Notes
    -----
    In the promotion form a trial that reports a milestone is answered as if its worker had just
    become free: when the best next promotion is this very trial it continues in place, with
    nothing saved. That is the paper's algorithm without its checkpoint traffic. Where the paper
    never ends, a campaign does: once nothing runs and nothing is left to start, the best paused
    trial of the highest occupied rung goes on, so that at least one trial is complete.

    Trials draw their bracket with the share of configurations that Hyperband gives it
    (``eta**-s * (K + 1) / (K - s + 1)`` for a ladder of K + 1 rungs, normalised).

    Examples
    --------
    >>> scheduler = ASHA(max_step=9, eta=3)
    >>> for number, loss in enumerate([0.5, 0.1, 0.9]):
    ...     _ = scheduler.begin(number)
    ...     answer = scheduler.report(number, 1, loss)
    >>> answer.decision                     # trial 2 is the worst of three
    <Decision.PAUSE: 'pause'>
    >>> scheduler.promote(drained=False).number
    1
    """

    several = False

    def __init__(
        self,
        max_step: int,
        *,
        min_step: int = 1,
        eta: int = 4,
        mode: Literal["promote", "stop"] = "promote",
        brackets: int = 1,
        seed: int = 0,
    ) -> None:
        steps = milestones(min_step, max_step, eta)
        if mode not in ("promote", "stop"):
            raise SchedulerError(f"mode={mode!r}: must be 'promote' or 'stop'")
        check_integer("seed", seed, least=0)
        if not isinstance(brackets, int) or not 1 <= brackets <= len(steps):
            raise SchedulerError(
                f"brackets={brackets!r}: must be between 1 and {len(steps)}, the number of rungs"
            )
        self.max_step = max_step
        self.min_step = min_step
        self.eta = eta
        self.mode = mode
        self.brackets = brackets
        self.seed = seed
        self._ladders = [[Rung(step) for step in steps[s:]] for s in range(brackets)]
        shares = np.array([eta**-s * len(steps) / (len(steps) - s) for s in range(brackets)])
        self._thresholds = np.cumsum(shares / shares.sum()).tolist()
        self._place: dict[int, tuple[int, int]] = {}  # {number: (bracket, rung it trains towards)}

    def begin(self, number: int) -> Promotion:
        """Admit a trial at the bottom of the bracket it draws."""
        bracket = self._draw_bracket(number)
        self._place[number] = (bracket, 0)
        return Promotion(number, bracket, self._ladders[bracket][0].milestone)

    def admits(self) -> bool:
        """Everybody, at any time."""
        return True

    def promote(self, *, drained: bool) -> Promotion | None:
        """The best promotable trial of the highest rung; the tail rule when ``drained``."""
        found = self._find_promotable() or (self._find_finalist() if drained else None)
        if found is None:
            return None
        bracket, rung, number, evidence = found
        return self._advance(bracket, rung, number, evidence)

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Judge a trial at its milestone; below it, train on."""
        value = single(value)
        bracket, rung = self._place[number]
        ladder = self._ladders[bracket]
        if step < ladder[rung].milestone:
            return Answer(Decision.CONTINUE, ladder[rung].milestone)
        # A trial that does not report every step is compared at the last milestone it has passed.
        while rung + 1 < len(ladder) and step >= ladder[rung + 1].milestone:
            rung += 1
        self._place[number] = (bracket, rung)
        rank = ladder[rung].record(number, value)
        evidence = {
            "rung": bracket + rung,
            "milestone": ladder[rung].milestone,
            "rank": rank,
            "of": len(ladder[rung].ranking),
            "within": len(ladder[rung].ranking) // self.eta,
        }
        if rung == len(ladder) - 1:
            return Answer(Decision.STOP, step, evidence)
        if self.mode == "stop":
            return self._judge_stopping(bracket, rung, number, value, evidence)
        return self._judge_promotion(bracket, rung, number, evidence)

    def fail(self, number: int) -> None:
        """Rank the trial last at the rung it was training towards; never promote it again."""
        bracket, rung = self._place[number]
        ladder = self._ladders[bracket]
        if number not in ladder[rung].recorded:
            ladder[rung].record(number, float("inf"))
        for step in ladder:
            step.withdrawn.add(number)

    def table(self) -> Sequence[RungRow]:
        """One row per bracket and rung; a rung's index counts from the lowest ladder's bottom."""
        return [
            RungRow(s, s + k, rung.milestone, len(rung.ranking), len(rung.promoted), rung.best)
            for s, ladder in enumerate(self._ladders)
            for k, rung in enumerate(ladder)
        ]

    def settings(self) -> Mapping[str, Any]:
        """``type`` and the constructor's arguments."""
        names = ("max_step", "min_step", "eta", "mode", "brackets", "seed")
        return {"type": "asha", **{name: getattr(self, name) for name in names}}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.settings().items() if k != "type")
        return f"ASHA({arguments})"

    def _draw_bracket(self, number: int) -> int:
        if self.brackets == 1:
            return 0
        draw = np.random.default_rng([self.seed, number]).random()
        return min(bisect.bisect_right(self._thresholds, draw), self.brackets - 1)

    def _find_promotable(self) -> tuple[int, int, int, dict[str, Any]] | None:
        """(bracket, rung, number, evidence), scanning milestones from the highest down."""
        if self.mode == "stop":
            return None
        for height in range(len(self._ladders[0]) - 2, -1, -1):
            for bracket in range(min(self.brackets, height + 1)):
                rung = self._ladders[bracket][height - bracket]
                found = rung.promotable(self.eta)
                if found is not None:
                    number, rank = found
                    size = len(rung.ranking)
                    evidence = {"rung": height, "milestone": rung.milestone, "rank": rank}
                    evidence |= {"of": size, "within": size // self.eta}
                    return bracket, height - bracket, number, evidence
        return None

    def _find_finalist(self) -> tuple[int, int, int, dict[str, Any]] | None:
        """The tail rule: unless a trial is complete, the best paused one of the highest rung."""
        if self.mode == "stop" or any(ladder[-1].best < float("inf") for ladder in self._ladders):
            return None
        for height in range(len(self._ladders[0]) - 2, -1, -1):
            paused = [
                (entry, bracket)
                for bracket in range(min(self.brackets, height + 1))
                if (entry := self._ladders[bracket][height - bracket].best_waiting()) is not None
                and entry[0] < float("inf")
            ]
            if paused:
                (_, number), bracket = min(paused)
                rung = self._ladders[bracket][height - bracket]
                evidence = {"rung": height, "milestone": rung.milestone, "tail": True}
                return bracket, height - bracket, number, evidence | {"of": len(rung.ranking)}
        return None

    def _advance(
        self, bracket: int, rung: int, number: int, evidence: Mapping[str, Any]
    ) -> Promotion:
        ladder = self._ladders[bracket]
        ladder[rung].promoted.add(number)
        self._place[number] = (bracket, rung + 1)
        return Promotion(number, bracket + rung + 1, ladder[rung + 1].milestone, evidence)

    def _judge_promotion(
        self, bracket: int, rung: int, number: int, evidence: dict[str, Any]
    ) -> Answer:
        found = self._find_promotable()
        if found is not None and found[2] == number:
            promotion = self._advance(bracket, rung, number, evidence)
            return Answer(Decision.CONTINUE, promotion.stop, evidence)
        return Answer(Decision.PAUSE, self._ladders[bracket][rung].milestone, evidence)

    def _judge_stopping(
        self, bracket: int, rung: int, number: int, value: float, evidence: dict[str, Any]
    ) -> Answer:
        step = self._ladders[bracket][rung]
        threshold = _quantile(step.ranking, 1 / self.eta)
        evidence["threshold"] = threshold
        if value <= threshold:
            promotion = self._advance(bracket, rung, number, evidence)
            return Answer(Decision.CONTINUE, promotion.stop, evidence)
        return Answer(Decision.STOP, step.milestone, evidence)


def _quantile(ranking: list[tuple[float, int]], q: float) -> float:
    """Linear-interpolation quantile of a sorted ranking's finite part, as numpy defines it."""
    finite = bisect.bisect_left(ranking, (float("inf"), -1))
    position = q * (finite - 1)
    low = int(position)
    high = min(low + 1, finite - 1)
    return ranking[low][0] + (position - low) * (ranking[high][0] - ranking[low][0])
