"""Every trial trains to the end, first come, first served."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from daskhpo.schedulers.base import Bar, Promotion, RungRow
from daskhpo.schedulers.rungs import check_integer
from daskhpo.trial import Answer, Decision, Value

__all__ = ["Fifo"]


class Fifo:
    """Stops nobody: the baseline, and the right choice when a training is cheap.

    Parameters
    ----------
    max_step : int
        R, the step at which a trial is complete.

    Examples
    --------
    >>> scheduler = Fifo(max_step=10)
    >>> scheduler.begin(0).stop
    10
    >>> scheduler.report(0, 3, 0.5).decision
    <Decision.CONTINUE: 'continue'>
    >>> scheduler.report(0, 10, 0.1).decision
    <Decision.STOP: 'stop'>
    """

    several = True
    leans = False

    def __init__(self, max_step: int) -> None:
        check_integer("max_step", max_step)
        self.max_step = max_step
        self._best = math.inf  # of the complete trials

    def begin(self, number: int) -> Promotion:
        """Admit a trial: it trains to ``max_step``."""
        return Promotion(number, 0, self.max_step)

    def admits(self) -> bool:
        """Everybody, at any time."""
        return True

    def promote(self, *, drained: bool) -> Promotion | None:
        """Nobody pauses, so nobody is promoted."""
        return None

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Train on until ``max_step``."""
        if step >= self.max_step:
            if not isinstance(value, tuple):
                self._best = min(self._best, value)
            return Answer(Decision.STOP, step)
        return Answer(Decision.CONTINUE, self.max_step)

    def bar(self, number: int) -> Bar:
        """A trial has to beat the best complete one."""
        return Bar(0, self.max_step, self._best)

    def cut(self, number: int, step: int, value: float) -> Answer:
        """End a trial that is forecast not to."""
        return Answer(Decision.STOP, step, {"forecast": value, "advice": True})

    def lean(self, number: int, shift: float) -> None:
        """Nobody is ranked."""

    def fail(self, number: int) -> None:
        """Nothing to forget."""

    def table(self) -> Sequence[RungRow]:
        """No rungs."""
        return ()

    def settings(self) -> Mapping[str, Any]:
        """``{"type": "fifo", "max_step": R}``."""
        return {"type": "fifo", "max_step": self.max_step}

    def __repr__(self) -> str:
        return f"Fifo(max_step={self.max_step})"
