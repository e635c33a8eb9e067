"""What would the curve of this configuration be? Answers from stored rows."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from daskhpo.samplers.base import Sampler
from daskhpo.samplers.seeding import check_seed, generator
from daskhpo.simulate.encoding import Encoding
from daskhpo.simulate.problem import Array, Problem
from daskhpo.space import Int, Space
from daskhpo.trial import Params, Value

__all__ = ["Nearest", "Rows", "Shuffled", "Source"]


@runtime_checkable
class Source(Protocol):
    """Where a simulated trial's curve comes from.

    Attributes
    ----------
    problem : Problem
        The stored curves behind it.
    space : Space
        What samplers search.
    """

    problem: Problem
    space: Space

    def curve(self, params: Params, number: int) -> Array:
        """The curve of trial ``number`` with this configuration, as reported; shape (R,)."""

    def identity(self, params: Params, number: int) -> Hashable:
        """Equal for trials that are the same configuration: they count once in a rank."""

    def configuration(self, params: Params, number: int) -> Params:
        """The configuration in the parameters of the problem, for speeds that depend on it."""

    def stream(self, seed: int) -> Sampler | None:
        """The only sampler that makes sense here, or None where any does."""


class Rows:
    """Draw stored rows without replacement: everybody sees the same finite set.

    Use it to compare schedulers: nothing stands between them and the real curves, and the rank
    of what was found is exact. The space is the index of a row, and the order in which rows come
    is drawn by the seed of the simulation; a campaign with more trials than rows goes on with a
    new permutation.

    Parameters
    ----------
    problem : Problem
        The stored curves.

    Examples
    --------
    >>> source = Rows(Problem("made up", "loss", [{"x": 1}, {"x": 2}], [[3.0, 2.0], [4.0, 1.0]]))
    >>> source.curve({"row": 1}, number=0).tolist()
    [4.0, 1.0]
    >>> sampler = source.stream(seed=0)
    >>> sorted(sampler.suggest(number)["row"] for number in range(2))
    [0, 1]
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.space = Space(row=Int(0, len(problem) - 1))

    def curve(self, params: Params, number: int) -> Array:
        """The row's curve."""
        curve: Array = self.problem.curves[_row(params)]
        return curve

    def identity(self, params: Params, number: int) -> Hashable:
        """The row."""
        return _row(params)

    def configuration(self, params: Params, number: int) -> Params:
        """The row's configuration."""
        return self.problem.params[_row(params)]

    def stream(self, seed: int) -> Sampler:
        """Rows in the order that ``seed`` draws."""
        return Shuffled(len(self.problem), seed=seed)

    def __repr__(self) -> str:
        return f"Rows({self.problem!r})"


class Shuffled:
    """The sampler of :class:`Rows`: permutations of the rows, one after another.

    Parameters
    ----------
    rows : int
        How many there are.
    seed : int
        Permutation k is a function of this and of k alone.

    Examples
    --------
    >>> sampler = Shuffled(3, seed=1)
    >>> [sampler.suggest(number)["row"] for number in range(6)]
    [0, 1, 2, 2, 0, 1]
    """

    slow = False

    def __init__(self, rows: int, *, seed: int = 0) -> None:
        self.rows = rows
        self.seed = check_seed(seed)
        self._orders: dict[int, list[int]] = {}  # {permutation: rows in its order}

    def suggest(self, number: int) -> Params | None:
        """The row of trial ``number``."""
        permutation, place = divmod(number, self.rows)
        if permutation not in self._orders:
            order = generator(self.seed, permutation).permutation(self.rows)
            self._orders[permutation] = order.tolist()
        return {"row": self._orders[permutation][place]}

    def pend(self, number: int, params: Params) -> None:
        """Ignore what was handed out."""

    def tell(self, number: int, step: int, value: Value) -> None:
        """Ignore results."""

    def settings(self) -> dict[str, Any]:
        """What it was made with."""
        return {"type": "rows"}

    def __repr__(self) -> str:
        return f"Shuffled({self.rows}, seed={self.seed})"


class Nearest:
    """Look the nearest stored configuration up: any sampler can search the problem's own space.

    Use it for finite sets that fill their space, such as grids. Distances are Euclidean in the
    unit cube (see :class:`~daskhpo.simulate.encoding.Encoding`); of several rows at the same
    distance the first one answers. Between stored points the answer is a step function: a
    sampler gains nothing from going closer, so prefer :class:`Surrogate` to judge samplers on
    sparse sets.

    Parameters
    ----------
    problem : Problem
        The stored curves; its parameters must make a space, see :meth:`Problem.space`.

    Raises
    ------
    DataError
        If they do not.

    Examples
    --------
    >>> params = [{"x": x / 9} for x in range(10)]
    >>> source = Nearest(Problem("made up", "loss", params, np.arange(20.0).reshape(10, 2)))
    >>> source.curve({"x": 0.4}, number=0).tolist()
    [8.0, 9.0]
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.space = problem.space()
        self._encoding = Encoding(self.space)
        self._points = self._encoding.many(problem.params)  # (n, columns)

    def row(self, params: Params) -> int:
        """The nearest stored row."""
        away = self._points - self._encoding(params)
        return int(np.argmin(np.einsum("ij,ij->i", away, away)))

    def curve(self, params: Params, number: int) -> Array:
        """The curve of the nearest stored row."""
        curve: Array = self.problem.curves[self.row(params)]
        return curve

    def identity(self, params: Params, number: int) -> Hashable:
        """The nearest stored row."""
        return self.row(params)

    def configuration(self, params: Params, number: int) -> Params:
        """The configuration itself."""
        return params

    def stream(self, seed: int) -> None:
        """None: any sampler will do."""
        return

    def __repr__(self) -> str:
        return f"Nearest({self.problem!r})"


def _row(params: Params) -> int:
    row = params["row"]
    assert isinstance(row, int)
    return row
