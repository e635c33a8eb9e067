"""Those that lead today, and how near they once came to being stopped."""

from __future__ import annotations

import bisect

__all__ = ["Leaders"]

MOST = 4  # trials that are taken for leaders
RIPE = 8  # trials that a milestone has to have compared before its best are taken for them
ALLOWANCE = 2.0  # times as near as a leader came, another one may come


class Leaders:
    """Makes the adviser as careful as those that lead today would have needed it to be.

    An error rate counts all trials alike, but only one stop matters in the end: that of the trial
    that would have won. Where curves keep their order, those that lead were never in doubt. Where
    a drop comes late, they were: what was forecast for them lay above the bar once, even if not by
    a whole margin. The next winner may come nearer, so margins are taken that many times wider.

    The leaders on the way to a milestone are the best of the highest later one that has compared
    enough trials; as long as there is none, those that were the best when they came to the
    milestone itself.

    Examples
    --------
    >>> leaders = Leaders()
    >>> leaders.look(0, 16, 0.5)      # above the bar by half a margin,
    >>> leaders.arrive(0, 16, 0.3)    # and yet the best in the end
    >>> leaders.caution(16)
    2.0
    """

    def __init__(self) -> None:
        self._nearest: dict[int, dict[int, float]] = {}  # {milestone: {trial: largest excess}}
        self._arrived: dict[int, list[tuple[float, int]]] = {}  # {milestone: (value, trial) sorted}
        self._records: dict[int, list[int]] = {}  # {milestone: trials that were the best there}

    def look(self, number: int, milestone: int, excess: float) -> None:
        """Note how far above the bar a trial's forecast for a milestone is, in margins."""
        if excess > 0.0:
            nearest = self._nearest.setdefault(milestone, {})
            nearest[number] = max(excess, nearest.get(number, 0.0))

    def arrive(self, number: int, milestone: int, value: float) -> None:
        """Note what a trial has come to a milestone with; minimised."""
        arrived = self._arrived.setdefault(milestone, [])
        bisect.insort(arrived, (value, number))
        if arrived[0][1] == number:
            self._records.setdefault(milestone, []).append(number)

    def caution(self, milestone: int) -> float:
        """How many margins above the bar a forecast has to be; at least 1, inf for never."""
        nearest = self._nearest.get(milestone, {})
        most = max((nearest.get(number, 0.0) for number in self._of(milestone)), default=0.0)
        return 1.0 + ALLOWANCE * most

    def _of(self, milestone: int) -> list[int]:
        top = max((at for at, those in self._arrived.items() if len(those) >= RIPE), default=0)
        if milestone < top:
            return [number for _, number in self._arrived[top][:MOST]]
        return self._records.get(milestone, [])
