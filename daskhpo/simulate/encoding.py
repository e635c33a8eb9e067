"""Configurations as points between which a distance makes sense."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from daskhpo.simulate.problem import Array
from daskhpo.space import Choice, Space
from daskhpo.trial import Params

__all__ = ["Encoding"]


class Encoding:
    """Columns of numbers: those of the unit cube, with choices spread out.

    A number is its place in the unit interval (on its own scale). A choice among numbers is
    ordered by them: its values sit evenly between 0 and 1. Any other choice takes a column per
    value, so that two different values are at distance 1. What is inactive sits in the middle.

    Parameters
    ----------
    space : Space
        The space.

    Examples
    --------
    >>> from daskhpo.space import Float
    >>> encoding = Encoding(Space(x=Float(0.0, 1.0), bins=[16, 64, 32], opt=["adam", "sgd"]))
    >>> encoding({"x": 0.25, "bins": 32, "opt": "sgd"}).round(2).tolist()
    [0.25, 0.5, 0.0, 0.71]
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._places: dict[str, dict[object, tuple[float, ...]]] = {}  # {choice: {value: columns}}
        self._middle: dict[str, tuple[float, ...]] = {}  # {parameter: columns when inactive}
        for name in space.dimensions:
            domain = space[name]
            self._middle[name] = (0.5,)
            if isinstance(domain, Choice):
                self._places[name] = _places(domain)
                columns = np.array(list(self._places[name].values()))
                self._middle[name] = tuple(columns.mean(axis=0))

    def __call__(self, params: Params) -> Array:
        """The point of one configuration, of shape (columns,)."""
        found: list[float] = []
        for name, middle in self._middle.items():
            if name not in params:
                found += middle
            elif name in self._places:
                found += self._places[name][_key(params[name])]
            else:
                found.append(self.space[name].encode(params[name]))
        return np.array(found)

    def many(self, params: Sequence[Params]) -> Array:
        """The points of many configurations, of shape (n, columns)."""
        return np.array([self(point) for point in params])


def _places(domain: Choice) -> dict[object, tuple[float, ...]]:
    values = list(domain.choices)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        ordered = sorted(values)  # type: ignore[type-var]
        return {_key(v): (i / (len(values) - 1),) for i, v in enumerate(ordered)}
    hot = np.eye(len(values)) / math.sqrt(2)
    return {_key(value): tuple(hot[index]) for index, value in enumerate(values)}


def _key(value: object) -> object:
    return isinstance(value, bool), value  # True is 1 for a dict
