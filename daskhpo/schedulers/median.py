"""Stop whoever is worse than the median of the others at the same step."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers.base import Promotion, RungRow, single
from daskhpo.schedulers.rungs import check_integer
from daskhpo.trial import Answer, Decision, Value

__all__ = ["Median"]


class Median:
    """The median stopping rule: cautious, without rungs, never waits.

    Use it where curves are noisy or the right grace period is unknown: it saves less than ASHA
    and loses less. A trial stops at step s when its best value so far is worse than the median
    of the running averages, up to s, of all other trials that have reached s (Golovin et al.,
    Google Vizier, KDD 2017, section 3.2.2).

    Parameters
    ----------
    max_step : int
        R, the step at which a trial is complete.
    min_step : int
        Grace period: nobody is stopped before this step.
    min_trials : int
        How many other trials must have reached the step before anybody is stopped there.

    Examples
    --------
    >>> scheduler = Median(max_step=10, min_trials=2)
    >>> for number, loss in enumerate([0.2, 0.4, 0.9]):
    ...     answer = scheduler.report(number, 1, loss)
    >>> answer.decision, answer.evidence["median"]
    (<Decision.STOP: 'stop'>, 0.30000000000000004)
    """

    several = False

    def __init__(self, max_step: int, *, min_step: int = 1, min_trials: int = 4) -> None:
        check_integer("max_step", max_step)
        check_integer("min_step", min_step)
        check_integer("min_trials", min_trials)
        if min_step > max_step:
            raise SchedulerError(f"min_step={min_step}: must not be above max_step={max_step}")
        self.max_step = max_step
        self.min_step = min_step
        self.min_trials = min_trials
        self._averages: dict[int, list[float]] = {}  # {step: sorted running averages there}
        self._curves: dict[int, tuple[int, float, float]] = {}  # {number: (reports, sum, best)}

    def begin(self, number: int) -> Promotion:
        """Admit a trial: it trains to ``max_step`` unless it is stopped on the way."""
        return Promotion(number, 0, self.max_step)

    def admits(self) -> bool:
        """Everybody, at any time."""
        return True

    def promote(self, *, drained: bool) -> Promotion | None:
        """Nobody pauses, so nobody is promoted."""
        return None

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Compare the trial's best value with the median of the others' running averages."""
        value = single(value)
        count, total, best = self._curves.get(number, (0, 0.0, value))
        count, total, best = count + 1, total + value, min(best, value)
        self._curves[number] = (count, total, best)
        others = self._averages.setdefault(step, [])
        median = _median(others)
        seen = len(others)
        bisect.insort(others, total / count)
        if step >= self.max_step:
            return Answer(Decision.STOP, step)
        if step < self.min_step or seen < self.min_trials or best <= median:
            return Answer(Decision.CONTINUE, self.max_step)
        return Answer(
            Decision.STOP, step, {"rule": "median", "median": median, "of": seen, "best": best}
        )

    def fail(self, number: int) -> None:
        """Forget the trial's curve; what it contributed to the averages stays."""
        self._curves.pop(number, None)

    def table(self) -> Sequence[RungRow]:
        """No rungs."""
        return ()

    def settings(self) -> Mapping[str, Any]:
        """``type`` and the constructor's arguments."""
        return {
            "type": "median",
            "max_step": self.max_step,
            "min_step": self.min_step,
            "min_trials": self.min_trials,
        }

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.settings().items() if k != "type")
        return f"Median({arguments})"


def _median(ordered: list[float]) -> float:
    middle = len(ordered) // 2
    if not ordered:
        return float("inf")
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
