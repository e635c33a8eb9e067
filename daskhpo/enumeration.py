"""How many configurations a space or its grid has, which one is number ``index``, where they lie.

Values that no condition and no clause tells apart lead to equally many configurations, so a
parameter is cut into few pieces and one value stands for each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from daskhpo.clauses import Entry, level
from daskhpo.domains import Domain
from daskhpo.exceptions import SpaceError
from daskhpo.intervals import Int
from daskhpo.trial import Params, ParamValue

if TYPE_CHECKING:
    from daskhpo.space import Space

__all__ = ["Census", "Piece", "Tally", "cut"]

Alive = frozenset[int]  # clauses that the parameters so far do not contradict, by their index


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring values of one parameter that all entries treat alike.

    ``value`` is one of them, ``many`` their number, ``first`` the index of the first one where
    they can be counted; they lie between ``low`` and ``high`` of the unit interval.
    """

    value: ParamValue
    many: float
    low: float
    high: float
    first: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """How many configurations there are, and their share of the unit cube."""

    many: float
    share: float


class Census:
    """Counts the configurations of a space that are not forbidden.

    Parameters
    ----------
    space : Space
        The space.
    resolution : int, optional
        Count the points of a grid with so many values for each infinite domain.

    Attributes
    ----------
    many : int or float
        Number of configurations, ``math.inf`` for infinitely many.

    Raises
    ------
    SpaceError
        When ``resolution`` is no whole number of 1 or more.

    Notes
    -----
    Parameters that conditions or clauses link are counted together, the groups multiply; so the
    cost grows with the largest group only. Within one, what is below a value depends only on the
    clauses that are still open there and on the parents, and is counted once.
    """

    def __init__(self, space: Space, resolution: int | None = None) -> None:
        whole = isinstance(resolution, int) and not isinstance(resolution, bool)
        if resolution is not None and (not whole or resolution < 1):
            raise SpaceError(f"resolution of a grid is {resolution!r}; it must be 1 or more")
        self._names = list(space)
        self._branches = [Branch(space, group, resolution) for group in space.groups]
        self._sizes = [branch.begin.many for branch in self._branches]
        self.many: float = 0 if 0 in self._sizes else math.prod(self._sizes)

    def point(self, index: int) -> dict[str, ParamValue]:
        """Configuration ``index`` of a grid: mixed radix, the last group and parameter fastest."""
        found: dict[str, ParamValue] = {}
        for at, branch in enumerate(self._branches):
            digit, index = divmod(index, int(math.prod(self._sizes[at + 1 :])))
            found |= branch.point(digit)
        return {name: found[name] for name in self._names if name in found}

    def evade(self, unit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Move a point of the unit cube, of shape (d,), into the part that is not forbidden.

        The map is piecewise linear in each coordinate and rises with it: points that are spread
        evenly over the cube are spread evenly over that part.
        """
        moved = np.array(unit, float)
        for branch in self._branches:
            if branch.clauses:
                branch.evade(moved)
        return moved


class Branch:
    """The parameters of one group, parents first: a tree with a decision at each level.

    ``clauses`` are those of the space that name them, ``begin`` is the tally of the whole group.
    """

    def __init__(self, space: Space, names: Sequence[str], resolution: int | None) -> None:
        self._space, self._names, self._resolution = space, names, resolution
        self.clauses = [c.entries for c in space.forbidden if not set(c.entries).isdisjoint(names)]
        # {parameter: entries that treat its values differently}, where there are any
        self._marks = {name: marks for name in names if (marks := self._entries(name))}
        self._pieces = {name: cut(space[name], m, resolution) for name, m in self._marks.items()}
        # Per level: the parents on which something from there on depends.
        self._needed = [
            {parent for name in names[place:] for parent in space[name].when}
            for place in range(len(names))
        ]
        self._known: dict[Any, Tally] = {}  # {(level, open clauses, parents): what is below}
        self._all: Alive = frozenset(range(len(self.clauses)))
        self.begin = self._below(0, {}, self._all)

    def point(self, index: int) -> dict[str, ParamValue]:
        """Configuration ``index`` of the group."""
        found: dict[str, ParamValue] = {}
        alive = self._all
        for place, name in enumerate(self._names):
            if not self._space.active(name, found):
                alive = self._without(name, alive)
                continue
            for piece, left in self._options(name, alive):
                below = self._below(place + 1, {**found, name: piece.value}, left).many
                if index < piece.many * below:
                    digit, index = divmod(index, int(below))
                    found[name], alive = self._level(name, piece.first + digit), left
                    break
                index -= int(piece.many * below)
        return found

    def evade(self, unit: npt.NDArray[np.float64]) -> None:
        """Move the coordinates of the group, in place."""
        found: dict[str, ParamValue] = {}
        alive = self._all
        for place, name in enumerate(self._names):
            if not self._space.active(name, found):
                alive = self._without(name, alive)
                continue
            if name not in self._pieces:
                continue  # nothing depends on it
            options = self._options(name, alive)
            below = [self._below(place + 1, {**found, name: p.value}, left) for p, left in options]
            weights = [
                (piece.high - piece.low) * tally.share
                for (piece, _), tally in zip(options, below, strict=True)
            ]
            if not any(weights):  # so little is left that its share is lost to rounding
                weights = [float(tally.many > 0) for tally in below]
            column = self._space.dimensions.get(name)
            chosen, within = _choose(weights, 0.5 if column is None else float(unit[column]))
            piece, alive = options[chosen]
            found[name] = piece.value
            if column is not None:
                unit[column], found[name] = self._inside(name, piece, within)

    def _inside(self, name: str, piece: Piece, within: float) -> tuple[float, ParamValue]:
        """Coordinate and value at a share of a piece; at its middle where rounding leaves it."""
        domain, marks = self._space[name], self._marks[name]
        place = piece.low + within * (piece.high - piece.low)
        value = domain.decode(place)
        if any(mark.holds(value) != mark.holds(piece.value) for mark in marks):
            return domain.encode(piece.value), piece.value
        return place, value

    def _below(self, place: int, found: Params, alive: Alive) -> Tally:
        """Tally the parameters from ``place`` on, given those before."""
        if place == len(self._names):
            return Tally(1, 1.0)
        needed = self._needed[place]
        key = (place, alive, *((n, type(v), v) for n, v in found.items() if n in needed))
        if key not in self._known:
            name = self._names[place]
            if not self._space.active(name, found):
                self._known[key] = self._below(place + 1, found, self._without(name, alive))
            else:
                self._known[key] = self._sum(place, found, alive)
        return self._known[key]

    def _sum(self, place: int, found: Params, alive: Alive) -> Tally:
        name, share = self._names[place], 0.0
        many: float = 0  # stays an exact int where there are finitely many
        for piece, left in self._options(name, alive):
            below = self._below(place + 1, {**found, name: piece.value}, left)
            if below.many:
                many += piece.many * below.many
                share += (piece.high - piece.low) * below.share
        return Tally(many, share)

    def _options(self, name: str, alive: Alive) -> list[tuple[Piece, Alive]]:
        """The pieces of a parameter that complete no clause, and the clauses open after each."""
        if name not in self._pieces:
            size = self._space[name].size
            if math.isinf(size) and self._resolution is not None:
                size = self._resolution
            return [(Piece(self._space[name].decode(0.5), size, 0.0, 1.0), alive)]
        options = []
        for piece in self._pieces[name]:
            met = {k for k in alive if name in self.clauses[k]}
            met -= (held := {k for k in met if self.clauses[k][name].holds(piece.value)})
            if not any(self._last(k) == name for k in held):
                options.append((piece, alive - met))
        return options

    def _last(self, clause: int) -> str:
        """The parameter at which a clause is complete."""
        return max(self.clauses[clause], key=self._names.index)

    def _without(self, name: str, alive: Alive) -> Alive:
        """The clauses that stay open where a parameter is not active."""
        return frozenset(k for k in alive if name not in self.clauses[k])

    def _entries(self, name: str) -> list[Entry]:
        """What clauses and conditions say of the values of a parameter."""
        domain, named = self._space[name], self._space.parents.get(name, ())
        said = [entries[name] for entries in self.clauses if name in entries]
        return said + [Entry.read(name, value, domain) for value in named]

    def _level(self, name: str, index: int) -> ParamValue:
        domain = self._space[name]
        if math.isinf(domain.size):
            assert self._resolution is not None
            return domain.levels(self._resolution)[index]
        return level(domain, index)


def cut(domain: Domain, marks: Sequence[Entry], resolution: int | None) -> list[Piece]:
    """Cut a domain into pieces that each of the entries ``marks`` holds either wholly or not.

    Examples
    --------
    >>> whole = Int(1, 100)
    >>> tens = Entry.read("n", {"low": 11, "high": 20}, whole)
    >>> [piece.many for piece in cut(whole, [tens], None)]
    [10, 10, 80]
    """
    if math.isinf(domain.size):
        if resolution is None:
            return _cut_interval(domain, marks)
        levels = domain.levels(resolution)
        runs = [run for mark in marks for run in mark.runs_among(levels)]
        return [
            Piece(levels[a], b - a, a / len(levels), b / len(levels), a)
            for a, b in _stretches(runs, len(levels))
        ]
    runs = [run for mark in marks for run in mark.runs]
    return [
        Piece(level(domain, a), b - a, _edge(domain, a), _edge(domain, b), a)
        for a, b in _stretches(runs, int(domain.size))
    ]


def _cut_interval(domain: Domain, marks: Sequence[Entry]) -> list[Piece]:
    """Bounds of entries are points of their own, since ranges include them."""
    least, most = domain.decode(0.0), domain.decode(1.0)
    bounds: list[Any] = sorted({least, most, *(b for mark in marks for b in (mark.low, mark.high))})
    places = [domain.encode(bound) for bound in bounds]
    pieces = [Piece(bound, 1, at, at) for bound, at in zip(bounds, places, strict=True)]
    for (low, high), (a, b) in zip(
        itertools.pairwise(bounds), itertools.pairwise(places), strict=True
    ):
        middle: Any = domain.decode((a + b) / 2)
        if low < middle < high:
            pieces.append(Piece(middle, math.inf, a, b))
    return sorted(pieces, key=lambda piece: (piece.low, piece.high))


def _stretches(runs: Sequence[tuple[int, int]], size: int) -> itertools.pairwise[tuple[int, int]]:
    """Cut ``range(size)`` where runs begin and behind where they end."""
    cuts = {0, size}.union(*({first, last + 1} for first, last in runs))
    return itertools.pairwise(sorted(cuts))


def _edge(domain: Domain, index: int) -> float:
    """Where the cell of value ``index`` begins in the unit interval."""
    if isinstance(domain, Int) and domain.log and domain.size > 1:
        low, high = domain.log_bounds
        return (math.log(domain.low + index - 0.5) - low) / (high - low)
    return index / domain.size


def _choose(weights: Sequence[float], unit: float) -> tuple[int, float]:
    """Turn a number of [0, 1] into a choice by weights, and a number of (0, 1) for what follows."""
    ends = np.cumsum(weights)
    at = unit * ends[-1]
    chosen = min(int(np.searchsorted(ends, at, side="right")), len(weights) - 1)
    while not weights[chosen]:  # the end of [0, 1] belongs to the last one that has a weight
        chosen -= 1
    within = (at - (ends[chosen] - weights[chosen])) / weights[chosen]
    return chosen, min(max(float(within), 1e-9), 1 - 1e-9)
