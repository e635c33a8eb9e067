"""Successive halving with a barrier at each rung.

The rungs of ``SHA(max_step=27, eta=3, trials=27)``, once per bracket::

    rung  milestone  trials  go on
       3         27       1      -      complete
       2          9       3      1      the best, once all 3 have arrived
       1          3       9      3
       0          1      27      9
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daskhpo.schedulers.base import Promotion, RungRow
from daskhpo.schedulers.rounds import Rounds
from daskhpo.schedulers.rungs import check_integer, milestones
from daskhpo.trial import Answer, Value

__all__ = ["SHA"]


class SHA:
    """Synchronous successive halving: the best of a rung go on once all of it has arrived.

    Use it when there are few workers and equal trials, or to reproduce the paper: every decision
    sees the whole rung, so none is made too early, but workers stand idle at each barrier, and
    the slowest trial sets the pace. :class:`~daskhpo.schedulers.ASHA` does not wait.

    Of the ``n`` trials of a rung the best ``max(floor(n / eta), 1)`` train to the next milestone,
    from where they are (Jamieson and Talwalkar, *Non-stochastic Best Arm Identification and
    Hyperparameter Optimization*, 1502.07943). A failed trial counts as the worst. When a bracket
    has ended and more trials are wanted, the next one begins; a bracket for which there are not
    enough trials left makes do with those it has.

    Parameters
    ----------
    max_step : int
        R, the step at which a trial is complete.
    trials : int
        n, how many trials begin in a bracket.
    min_step : int
        r, the first milestone.
    eta : int
        Reduction factor: one in ``eta`` goes on.

    Raises
    ------
    SchedulerError
        If the numbers do not make a ladder.

    Examples
    --------
    >>> scheduler = SHA(max_step=4, trials=3, eta=2)
    >>> for number in range(3):
    ...     _ = scheduler.begin(number)
    >>> [scheduler.report(number, 1, loss).decision.value
    ...  for number, loss in enumerate([0.2, 0.9, 0.1])]
    ['pause', 'pause', 'continue']
    >>> scheduler.admits()                # it is trial 2's turn now: the best floor(3/2)
    False
    """

    several = True

    def __init__(self, max_step: int, *, trials: int, min_step: int = 1, eta: int = 2) -> None:
        steps = milestones(min_step, max_step, eta)
        check_integer("trials", trials)
        self.max_step = max_step
        self.trials = trials
        self.min_step = min_step
        self.eta = eta
        rungs = tuple((step, max(trials // eta**k, 1)) for k, step in enumerate(steps))
        self._rounds = Rounds([(len(rungs) - 1, rungs)], eta=eta)

    def begin(self, number: int) -> Promotion:
        """Admit a trial to the bracket."""
        return self._rounds.begin(number)

    def admits(self) -> bool:
        """While the bracket is not full, or once it is over."""
        return self._rounds.admits()

    def promote(self, *, drained: bool) -> Promotion | None:
        """The best one left of the rung that was judged last; the tail rule when ``drained``."""
        return self._rounds.promote(drained=drained)

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Pause a trial at its milestone, unless it is the last one and among the best."""
        return self._rounds.report(number, step, value)

    def fail(self, number: int) -> None:
        """Count the trial as the worst of its rung."""
        self._rounds.fail(number)

    def table(self) -> Sequence[RungRow]:
        """One row per rung, added up over all brackets."""
        return self._rounds.rows()

    def settings(self) -> Mapping[str, Any]:
        """``type`` and the constructor's arguments."""
        names = ("max_step", "trials", "min_step", "eta")
        return {"type": "sha", **{name: getattr(self, name) for name in names}}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.settings().items() if k != "type")
        return f"SHA({arguments})"
