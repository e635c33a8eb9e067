"""Hyperband: brackets of successive halving that begin with many short trials, or few long ones.

The trials at each rung of ``Hyperband(max_step=27, eta=3)``, one column per bracket::

    rung  milestone   s=3   s=2   s=1   s=0
       3         27     1     1     2     4      complete
       2          9     3     4     6
       1          3     9    12
       0          1    27
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from daskhpo.schedulers.base import Promotion, RungRow
from daskhpo.schedulers.brackets import Plan, check_brackets
from daskhpo.schedulers.brackets import brackets as papers_brackets
from daskhpo.schedulers.rounds import Rounds
from daskhpo.trial import Answer, Value

__all__ = ["Hyperband"]


class Hyperband:
    """Synchronous Hyperband: a hedge against rungs that come too early.

    Use it when it is not known after how many steps a comparison means something: some brackets
    compare early and often, the last one trains everybody in full, and none costs much more than
    another. It spends more than :class:`~daskhpo.schedulers.ASHA` with a good ``min_step``, and
    loses less than ASHA with a bad one.

    Each bracket is successive halving as in :class:`~daskhpo.schedulers.SHA`: nobody goes on from
    a rung before all its trials have arrived or failed, then the best ``max(floor(n / eta), 1)``
    of them resume. The brackets are those of the paper (Li et al., *Hyperband*, 1603.06560,
    algorithm 1), see :func:`~daskhpo.schedulers.brackets.brackets`; after the last comes the
    first, for as long as trials are wanted. ``max_step=100, eta=2`` gives 163 trials and 3,213
    steps a round of brackets.

    Parameters
    ----------
    max_step : int
        R, the step at which a trial is complete.
    min_step : int
        Nobody is compared before this step.
    eta : int
        Reduction factor: one in ``eta`` goes on.
    overlap : bool
        Whether a worker that would stand idle at a barrier begins the next bracket, as in BOHB
        (Falkner et al., 1807.01774, section 4.2). Without it brackets come one after the other,
        as in the paper. Who goes on is the same, unless the sampler learns from the results.
    brackets : iterable of (s, ((milestone, trials), ...)), optional
        Other brackets than the paper's (``min_step`` is not used then), see
        :func:`~daskhpo.schedulers.brackets.check_brackets`; it must end.

    Raises
    ------
    SchedulerError
        If the numbers do not make a ladder, or a bracket is not one.

    Examples
    --------
    >>> scheduler = Hyperband(max_step=4, eta=2)
    >>> [scheduler.begin(number).stop for number in range(8)]   # s = 2, 1, 0: 4, 3 and 3 trials
    [1, 1, 1, 1, 2, 2, 2, 4]
    >>> [scheduler.report(number, 1, loss).decision.value
    ...  for number, loss in enumerate([0.3, 0.1, 0.4, 0.2])]
    ['pause', 'pause', 'pause', 'continue']
    >>> scheduler.promote(drained=False).number
    1
    """

    several = True

    def __init__(
        self,
        max_step: int,
        *,
        min_step: int = 1,
        eta: int = 2,
        overlap: bool = True,
        brackets: Iterable[Plan] | None = None,
    ) -> None:
        plans = tuple(papers_brackets(max_step, eta, min_step=min_step))
        if brackets is not None:
            plans = check_brackets(brackets, max_step)
        self.max_step = max_step
        self.min_step = min_step
        self.eta = eta
        self.overlap = bool(overlap)
        self.brackets = None if brackets is None else plans
        self._rounds = Rounds(plans, eta=eta, overlap=self.overlap)

    def begin(self, number: int) -> Promotion:
        """Admit a trial to the bracket that has room, or to the next one."""
        return self._rounds.begin(number)

    def admits(self) -> bool:
        """With ``overlap`` always; else while the bracket is not full, or once it is over."""
        return self._rounds.admits()

    def promote(self, *, drained: bool) -> Promotion | None:
        """The best one left of the oldest bracket that was judged; the tail when ``drained``."""
        return self._rounds.promote(drained=drained)

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Pause a trial at its milestone, unless it is the last one and among the best."""
        return self._rounds.report(number, step, value)

    def fail(self, number: int) -> None:
        """Count the trial as the worst of its rung."""
        self._rounds.fail(number)

    def table(self) -> Sequence[RungRow]:
        """One row per s and rung, added up over all brackets of that s.

        A rung has the same index wherever its milestone is the same, counted from the lowest; the
        bracket of a row is the index of its first rung.
        """
        return self._rounds.rows()

    def settings(self) -> Mapping[str, Any]:
        """``type`` and the constructor's arguments; ``brackets`` only where they were given."""
        names = ("max_step", "min_step", "eta", "overlap")
        settings = {"type": "hyperband", **{name: getattr(self, name) for name in names}}
        if self.brackets is not None:
            settings["brackets"] = [
                [s, [list(rung) for rung in rungs]] for s, rungs in self.brackets
            ]
        return settings

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.settings().items() if k != "type")
        return f"Hyperband({arguments})"
