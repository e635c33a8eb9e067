"""Everybody to one step, the best few to the end: what other schedulers have to beat.

The rungs of ``OneCut(max_step=100, cut=4, keep=0.1)`` after 60 trials::

    rung  milestone  recorded  promoted
       1        100         6         -      complete
       0          4        60         6      best floor(60 * 0.1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers.base import Promotion, RungRow
from daskhpo.schedulers.ladders import Ladders
from daskhpo.schedulers.rungs import check_integer, check_share
from daskhpo.trial import Answer, Decision, Value

__all__ = ["OneCut"]


class OneCut:
    """One comparison at step ``cut``; the best share ``keep`` trains on to the end.

    Use it as the baseline: where it does as well as a ladder of rungs, the rungs earn nothing,
    and it has only one number to guess. Egele et al., *The Unreasonable Effectiveness of Early
    Discarding After One Epoch in Neural Network Hyperparameter Optimization*, 2404.04111, train
    all to epoch i and then the best in full; here nobody waits for all: whenever a worker is
    free, the best paused trial that is among the best ``floor(n * keep)`` of the ``n`` recorded
    so far goes on. If that leaves a campaign without a complete trial, the best one goes on.

    Parameters
    ----------
    max_step : int
        R, the step at which a trial is complete.
    cut : int
        The step at which trials are compared, below ``max_step``.
    keep : float
        Share that goes on, between 0 and 1.

    Raises
    ------
    SchedulerError
        If ``cut`` or ``keep`` is out of bounds.

    Examples
    --------
    >>> scheduler = OneCut(max_step=50, cut=2, keep=0.25)
    >>> for number, loss in enumerate([0.2, 0.1, 0.3, 0.4]):
    ...     _ = scheduler.begin(number)
    ...     _ = scheduler.report(number, 2, loss)
    >>> promotion = scheduler.promote(drained=False)
    >>> promotion.number, promotion.stop
    (1, 50)
    """

    several = True

    def __init__(self, max_step: int, *, cut: int, keep: float = 0.1) -> None:
        check_integer("max_step", max_step)
        check_integer("cut", cut)
        check_share("keep", keep)
        if cut >= max_step:
            raise SchedulerError(f"cut={cut}: must be below max_step={max_step}")
        self.max_step = max_step
        self.cut = cut
        self.keep = keep
        # As a fraction, because floor(100 * 0.29) is 28.
        self._ladder = Ladders((cut, max_step), eta=1 / Fraction(str(keep)))

    def begin(self, number: int) -> Promotion:
        """Admit a trial: it trains to the cut."""
        return self._ladder.enter(number)

    def admits(self) -> bool:
        """Everybody, at any time."""
        return True

    def promote(self, *, drained: bool) -> Promotion | None:
        """The best paused trial, if it is good enough; the tail rule when ``drained``."""
        found = self._ladder.promotable() or (self._ladder.finalist() if drained else None)
        return None if found is None else self._ladder.advance(found)

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Judge a trial at the cut; elsewhere, train on."""
        milestone = self._ladder.milestone(number)
        if step < milestone:
            return Answer(Decision.CONTINUE, milestone)
        evidence = self._ladder.record(number, step, value)
        if self._ladder.tops_out(number):
            return Answer(Decision.STOP, step, evidence)
        return self._ladder.judge(number, evidence)

    def fail(self, number: int) -> None:
        """Rank the trial last; never promote it."""
        self._ladder.fail(number)

    def table(self) -> Sequence[RungRow]:
        """The cut and the end."""
        return self._ladder.rows()

    def settings(self) -> Mapping[str, Any]:
        """``type`` and the constructor's arguments."""
        return {"type": "one_cut", "max_step": self.max_step, "cut": self.cut, "keep": self.keep}

    def __repr__(self) -> str:
        return f"OneCut(max_step={self.max_step}, cut={self.cut}, keep={self.keep})"
