"""Which steps are milestones, and who ranks where at one of them."""

from __future__ import annotations

import bisect
import heapq
import math
from dataclasses import dataclass, field
from fractions import Fraction

from daskhpo.exceptions import SchedulerError

__all__ = ["Rung", "check_integer", "check_share", "milestones"]


def check_integer(name: str, value: object, *, least: int = 1) -> None:
    """Refuse what is not an integer of at least ``least``.

    Raises
    ------
    SchedulerError
        Naming the argument.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SchedulerError(f"{name}={value!r}: must be an integer of at least {least}")


def check_share(name: str, value: object) -> None:
    """Refuse what is not a number strictly between 0 and 1.

    Raises
    ------
    SchedulerError
        Naming the argument.
    """
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise SchedulerError(f"{name}={value!r}: must be a number between 0 and 1, both excluded")


def milestones(min_step: int, max_step: int, eta: int) -> tuple[int, ...]:
    """The steps at which trials are compared: ``min_step * eta**k`` up to, and then, ``max_step``.

    Built by integer multiplication: ``int(log(R / r) / log(eta))`` loses a rung at r=1, R=243,
    eta=3, because ``log(243) / log(3)`` is 4.999999999999999.

    Parameters
    ----------
    min_step : int
        r, the grace period: the first milestone.
    max_step : int
        R, the last milestone, whether or not it is ``min_step`` times a power of ``eta``.
    eta : int
        Reduction factor, at least 2.

    Raises
    ------
    SchedulerError
        If the numbers do not make a ladder.

    Examples
    --------
    >>> milestones(1, 243, 3)
    (1, 3, 9, 27, 81, 243)
    >>> milestones(4, 100, 4)
    (4, 16, 64, 100)
    >>> milestones(10, 10, 2)
    (10,)
    """
    check_integer("min_step", min_step)
    check_integer("max_step", max_step)
    check_integer("eta", eta, least=2)
    if min_step > max_step:
        raise SchedulerError(f"min_step={min_step}: must not be above max_step={max_step}")
    steps = []
    step = min_step
    while step < max_step:
        steps.append(step)
        step *= eta
    return (*steps, max_step)


@dataclass(slots=True)
class Rung:
    """The trials that were compared at one milestone, best first.

    Invariants: ``ranking`` is sorted; a trial is recorded once; ``promoted`` only grows;
    ``waiting`` holds every trial that is recorded and neither promoted nor withdrawn (and, until
    they surface, some that are).
    """

    milestone: int
    ranking: list[tuple[float, int]] = field(default_factory=list)  # sorted (value, number)
    recorded: set[int] = field(default_factory=set)
    promoted: set[int] = field(default_factory=set)
    withdrawn: set[int] = field(default_factory=set)
    waiting: list[tuple[float, int]] = field(default_factory=list)  # heap of (value, number)

    def record(self, number: int, value: float) -> int:
        """Enter a trial; returns its rank, 1 for the best. Equal values rank by number."""
        entry = (value, number)
        position = bisect.bisect_left(self.ranking, entry)
        self.ranking.insert(position, entry)
        self.recorded.add(number)
        heapq.heappush(self.waiting, entry)
        return position + 1

    def best_waiting(self) -> tuple[float, int] | None:
        """The best (value, number) that is paused here, or None."""
        while self.waiting:
            _, number = self.waiting[0]
            if number not in self.promoted and number not in self.withdrawn:
                return self.waiting[0]
            heapq.heappop(self.waiting)
        return None

    def promotable(self, eta: int | Fraction) -> tuple[int, int] | None:
        """(number, rank) of the best paused trial within the best ``floor(n / eta)``, or None.

        Only the best paused trial needs a look: if it is not among the best, none is. A value of
        inf (a failed trial) is never promotable.
        """
        entry = self.best_waiting()
        if entry is None or math.isinf(entry[0]):
            return None
        rank = bisect.bisect_left(self.ranking, entry) + 1
        return (entry[1], rank) if rank <= len(self.ranking) // eta else None

    @property
    def best(self) -> float:
        """The smallest value recorded; inf when there is none."""
        return self.ranking[0][0] if self.ranking else math.inf
