"""Who ranks where at a milestone when several metrics are traded off."""

from __future__ import annotations

import bisect
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from daskhpo.schedulers.rungs import Rung
from daskhpo.trial import Value

__all__ = ["AnyRung", "ParetoRung", "enter"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

NEXT = 16  # trials of a front that are lined up one by one


class ParetoRung:
    """The trials that were compared at one milestone, ranked by several metrics at once.

    It stands in for a :class:`~daskhpo.schedulers.rungs.Rung` where a study has more than one
    metric. Trials are sorted into fronts: the first holds those that no other dominates (nowhere
    worse and somewhere better), the second those that only the first dominates, and so on. A
    trial of an earlier front ranks before one of a later front. Within a front those that were
    promoted come first; after them, one by one, the trial that is farthest from all before it,
    so that promotions spread over the whole trade-off. Where nobody was promoted, the best one
    in the deciding metric begins.

    Parameters
    ----------
    milestone : int
        The step at which it compares.

    Attributes
    ----------
    recorded, promoted, withdrawn : set of int
        Trials, as in a :class:`~daskhpo.schedulers.rungs.Rung`; a scheduler adds to the last two.

    Notes
    -----
    Fronts are those of non-dominated sorting (Deb et al., NSGA-II, 2002), the order within a
    front is the epsilon-net of Schmucker et al., *Multi-objective Asynchronous Successive
    Halving*, 2106.12639, with three choices of ours. Distances are Euclidean after each metric is
    scaled to its range on the front, so that units do not matter. The net begins with those that
    were promoted: built anew each time, every arrival can bring others to its head, and where
    most trials are on one front more than twice as many as one in eta go on. And it is worked
    out for the 16 that are next; those behind them stand in the order of their distance.

    A trial is ranked last, and never promotable, if its value is inf: it has failed. Ranks change
    as others arrive; a rank holds for the moment at which it was asked for. An arrival costs some
    numpy passes over the rung.

    Examples
    --------
    >>> rung = ParetoRung(milestone=1)
    >>> for number, (loss, memory) in enumerate([(0.5, 3.0), (0.1, 9.0), (0.6, 4.0), (0.3, 4.0)]):
    ...     _ = rung.record(number, (loss, memory))
    >>> [number for _, number in rung.ranking]   # trial 2 is worse than 0 in both
    [1, 0, 3, 2]
    >>> rung.promotable(eta=2)
    (1, 1)
    """

    def __init__(self, milestone: int) -> None:
        self.milestone = milestone
        self.recorded: set[int] = set()
        self.promoted: set[int] = set()
        self.withdrawn: set[int] = set()
        self._failed: list[int] = []  # sorted numbers of those with an infinite value
        self._fronts = _Fronts()  # a row for each of the others, in the order of arrival
        self._numbers: list[int] = []  # of the rows
        self._waiting = bytearray()  # of the rows: 1 if neither promoted nor withdrawn
        self._nets: dict[int, _Net] = {}  # {front: its order}, of fronts that are as they were
        self._noticed = (0, 0)  # how many promoted and withdrawn are taken into account

    @classmethod
    def of(cls, rung: Rung) -> ParetoRung:
        """The same rung for several metrics, before any was recorded: only failures are there."""
        new = cls(rung.milestone)
        new.promoted, new.withdrawn = rung.promoted, rung.withdrawn
        for value, number in rung.ranking:
            new.record(number, value)
        return new

    def record(self, number: int, value: Value) -> int:
        """Enter a trial; returns its rank, 1 for the best. A value of inf is a failed trial."""
        self.recorded.add(number)
        values = value if isinstance(value, tuple) else (value,)
        if math.isinf(values[0]):
            bisect.insort(self._failed, number)
            return len(self._numbers) + bisect.bisect_left(self._failed, number) + 1
        self._numbers.append(number)
        self._waiting.append(number not in self.promoted and number not in self.withdrawn)
        front, moved = self._fronts.add(values)
        if moved or number in self.promoted:
            self._nets = {key: net for key, net in self._nets.items() if key < front}
        elif front in self._nets and not self._nets[front].add(number, values):
            del self._nets[front]
        self._notice()
        before = int(self._fronts.sizes[:front].sum())
        return before + self._net(front).order.index(number) + 1

    def best_waiting(self) -> tuple[float, int] | None:
        """(share, number) of the best trial that is paused here, or None.

        ``share`` is its rank as a share of those recorded, which compares between rungs where
        values do not; inf for a trial that has failed.
        """
        found = self._first_waiting(len(self._numbers))
        if found is not None:
            number, rank = found
            return rank / len(self.recorded), number
        gone = self.promoted | self.withdrawn
        return next(((math.inf, number) for number in self._failed if number not in gone), None)

    def promotable(self, eta: int | Fraction) -> tuple[int, int] | None:
        """(number, rank) of the best paused trial within the best ``floor(n / eta)``, or None."""
        return self._first_waiting(len(self.recorded) // eta)

    @property
    def ranking(self) -> list[tuple[float, int]]:
        """Everybody, best first, as (share, number): see :meth:`best_waiting`."""
        self._notice()
        fronts, of = range(len(self._fronts.sizes)), len(self.recorded)
        order = [number for front in fronts for number in self._net(front).order]
        shares = [(rank / of, number) for rank, number in enumerate(order, 1)]
        return [*shares, *((math.inf, number) for number in self._failed)]

    @property
    def best(self) -> float:
        """The smallest value recorded of the deciding metric; inf when there is none."""
        return float(self._fronts.values[:, 0].min()) if self._numbers else math.inf

    def _first_waiting(self, most: int) -> tuple[int, int] | None:
        """(number, rank) of the best one that waits among the ``most`` best, or None."""
        self._notice()
        rows = np.flatnonzero(np.frombuffer(self._waiting, dtype=np.bool_))
        if not rows.size:
            return None
        front = int(self._fronts.index[rows].min())
        before = int(self._fronts.sizes[:front].sum())
        net = self._net(front)
        for place in range(net.promoted, min(len(net.order), most - before)):
            number = net.order[place]
            if number not in self.withdrawn:
                return number, before + place + 1
        return None

    def _net(self, front: int) -> _Net:
        """The order of a front."""
        if front not in self._nets:
            rows = np.flatnonzero(self._fronts.index == front).tolist()
            rows.sort(key=self._numbers.__getitem__)
            numbers = [self._numbers[row] for row in rows]
            self._nets[front] = _Net(numbers, self._fronts.values[rows], self.promoted)
        return self._nets[front]

    def _notice(self) -> None:
        """Take in who was promoted or withdrawn since the last time; both sets only grow."""
        now = len(self.promoted), len(self.withdrawn)
        if now == self._noticed:
            return
        self._noticed = now
        for row in np.flatnonzero(np.frombuffer(self._waiting, dtype=np.bool_)).tolist():
            number, front = self._numbers[row], int(self._fronts.index[row])
            self._waiting[row] = number not in self.promoted and number not in self.withdrawn
            if number in self.promoted and front in self._nets:
                self._nets[front].promote(number)


AnyRung = Rung | ParetoRung


def enter(rungs: list[AnyRung], index: int, number: int, value: Value) -> int:
    """Record a trial on one of several rungs; returns its rank.

    A rung that is given a tuple ranks by several metrics from then on: the first report tells
    what a study is after, so that schedulers need not be told.

    Examples
    --------
    >>> rungs = [Rung(1), Rung(3)]
    >>> enter(rungs, 0, 0, (0.5, 3.0)), type(rungs[0]).__name__, type(rungs[1]).__name__
    (1, 'ParetoRung', 'Rung')
    """
    rung = rungs[index]
    if not isinstance(value, tuple):
        return rung.record(number, value)
    if isinstance(rung, Rung):
        rung = rungs[index] = ParetoRung.of(rung)
    return rung.record(number, value)


class _Fronts:
    """Non-dominated sorting of rows that arrive one at a time.

    Attributes
    ----------
    values : array of shape (rows, metrics)
        Minimised.
    index : array of shape (rows,)
        The front of each row, 0 for the best one.
    """

    def __init__(self) -> None:
        self._count = 0
        self._values: Floats = np.empty((0, 0))  # both have room for more rows than there are
        self._index: Rows = np.empty(0, dtype=np.intp)

    @property
    def values(self) -> Floats:
        return self._values[: self._count]

    @property
    def index(self) -> Rows:
        return self._index[: self._count]

    @property
    def sizes(self) -> Rows:
        """How many rows are on each front."""
        return np.bincount(self.index)

    def add(self, value: tuple[float, ...]) -> tuple[int, bool]:
        """Add a row; returns its front, and whether it moved others from there to later fronts.

        The front of a row is the length of the longest chain of rows, each dominating the next,
        that leads to it. So a new row moves others by at most one front: those that it dominates
        on its own front, those that they dominate on the next one, and so on.
        """
        new = np.array(value)
        self._append(new)
        row, values, index = self._count - 1, self.values[:-1], self.index[:-1]
        above = (values <= new).all(axis=1) & (values < new).any(axis=1)
        below = np.flatnonzero((values >= new).all(axis=1) & (values > new).any(axis=1))
        first = int(index[above].max()) + 1 if above.any() else 0
        moving, front, moved = np.array([row]), first, False
        while moving.size:
            there = below[index[below] == front]
            pushed = there[self._dominated(there, moving)]
            moved = moved or bool(pushed.size)
            if pushed.size == np.count_nonzero(index == front):  # so all that follow move, too
                index[index >= front] += 1
                pushed = pushed[:0]
            self._index[moving] = front
            moving, front = pushed, front + 1
        return first, moved

    def _dominated(self, rows: Rows, others: Rows) -> npt.NDArray[np.bool_]:
        """Which of ``rows`` are dominated by any of ``others``."""
        one, other = self._values[rows][:, None], self._values[others][None]
        worse = np.all(one >= other, axis=2) & np.any(one > other, axis=2)
        return np.asarray(worse.any(axis=1))

    def _append(self, value: Floats) -> None:
        if self._count == len(self._values):
            more = max(64, self._count)
            room = np.empty((more, len(value)))
            self._values = np.vstack([self._values, room]) if self._count else room
            self._index = np.append(self._index, np.zeros(more, dtype=np.intp))
        self._values[self._count] = value
        self._count += 1


class _Net:
    """The order of one front: those that were promoted, then always the farthest from all before.

    Parameters
    ----------
    numbers : list of int
        Its m trials, rising: of two that are equally far, the older one is next.
    values : array of shape (m, metrics)
        Theirs.
    promoted : set of int
        Trials that come first, and others that are not on the front.
    """

    def __init__(self, numbers: list[int], values: Floats, promoted: set[int]) -> None:
        self._numbers = numbers
        self._low, self._high = values.min(axis=0), values.max(axis=0)
        self._points = self._scaled(values)
        self._chosen = np.empty((0, values.shape[1]))  # points of the promoted ones
        # (m,) squared distance to the nearest promoted one, -1 for these themselves
        self._distance: Floats = np.full(len(numbers), np.inf)
        self._order: list[int] = []  # empty when it has to be worked out
        for number in numbers:
            if number in promoted:
                self.promote(number)

    @property
    def promoted(self) -> int:
        """How many come first because they were promoted."""
        return len(self._chosen)

    @property
    def order(self) -> list[int]:
        """The numbers of all trials, best first."""
        if not self._order:
            self._order = [self._numbers[index] for index in self._line_up()]
        return self._order

    def promote(self, number: int) -> None:
        """Let a trial come before those that were not promoted."""
        index = bisect.bisect_left(self._numbers, number)
        self._chosen = np.vstack([self._chosen, self._points[index]])
        self._distance = self._from(index, self._distance)
        self._order = []

    def add(self, number: int, value: tuple[float, ...]) -> bool:
        """Take in one more trial; False if it changes the scale, so that all is to be made anew."""
        new = np.array(value)
        if (new < self._low).any() or (new > self._high).any():
            return False
        index = bisect.bisect_left(self._numbers, number)
        point = self._scaled(new)
        away = _squares(self._chosen - point).min(initial=np.inf)
        self._numbers.insert(index, number)
        self._points = np.insert(self._points, index, point, axis=0)
        self._distance = np.insert(self._distance, index, away)
        self._order = []
        return True

    def _scaled(self, values: Floats) -> Floats:
        span = self._high / 2 - self._low / 2  # halved, so that no difference overflows
        scaled: Floats = (values / 2 - self._low / 2) / np.where(span > 0, span, 1.0)
        return scaled

    def _from(self, index: int, distance: Floats) -> Floats:
        """The distances once a trial is among those that come before."""
        nearer: Floats = np.minimum(distance, _squares(self._points - self._points[index]))
        nearer[index] = -1.0
        return nearer

    def _line_up(self) -> list[int]:
        """The order, as indices."""
        line, distance = np.flatnonzero(self._distance < 0).tolist(), self._distance
        for _ in range(min(NEXT, len(self._numbers) - len(line))):
            # Where nobody comes before, all are equally far, and the first metric decides.
            index = int(distance.argmax() if line else self._points[:, 0].argmin())
            line.append(index)
            distance = self._from(index, distance)
        rest = np.argsort(-distance, kind="stable")
        return [*line, *rest[: len(self._numbers) - len(line)].tolist()]


def _squares(away: Floats) -> Floats:
    """The squared length of each row; without fused operations, so the same on any processor."""
    return np.asarray((away * away).sum(axis=1))
