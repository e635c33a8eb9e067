"""What a surrogate sees of a configuration: columns of numbers, many configurations at a time."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from daskhpo.clauses import Entry
from daskhpo.domains import Choice, Domain
from daskhpo.intervals import Float, Int
from daskhpo.space import Space

__all__ = ["Array", "Features"]

Array = npt.NDArray[np.float64]


class Features:
    """Vectorised companion of :meth:`Space.encode`, for pools of thousands of candidates.

    Parameters
    ----------
    space : Space
        The space, with d dimensions.

    Attributes
    ----------
    sizes : list of d numbers
        Values of each dimension, ``math.inf`` for real numbers.
    widths : array of shape (d,)
        Size of one cell of the unit interval in finite domains, 0 in others.
    unordered : bool array of shape (d,)
        Which dimensions are choices.

    Examples
    --------
    >>> from daskhpo.space import Float, Space
    >>> features = Features(Space(lr=Float(0.0, 1.0), opt=["adam", "sgd", "lamb"]))
    >>> features.columns(np.array([[0.25, 0.5]]))
    array([[0.25, 0.  , 1.  , 0.  ]])
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        domains = [space[name] for name in space.dimensions]
        self.sizes = [domain.size for domain in domains]
        self.widths = 1 / np.array(self.sizes)
        self.unordered = np.array([isinstance(domain, Choice) for domain in domains], bool)

    def snap(self, units: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Move points to where :meth:`Space.encode` puts the configuration they decode to.

        Parameters
        ----------
        units : array of shape (m, d)
            Points of the unit cube.

        Returns
        -------
        array of shape (m, d), bool array of shape (m, d)
            The points, 0.5 where inactive; and what is active.
        """
        snapped, active = self._walk(units)
        mask = np.zeros(units.shape, bool)
        for name, column in self.space.dimensions.items():
            mask[:, column] = active[name]
        return snapped, mask

    def forbidden(self, units: Array) -> npt.NDArray[np.bool_]:
        """Say which points decode to a forbidden configuration.

        On the bounds of ranges, where rounding matters, it may say so of an allowed one as well.

        Parameters
        ----------
        units : array of shape (m, d)
            Points of the unit cube.

        Returns
        -------
        bool array of shape (m,)
        """
        found = np.zeros(len(units), bool)
        if not self.space.forbidden:
            return found
        snapped, active = self._walk(units)
        for clause in self.space.forbidden:
            met = np.ones(len(units), bool)
            for name, entry in clause.entries.items():
                met &= active[name] & self._held(name, entry, snapped)
            found |= met
        return found

    def _walk(self, units: Array) -> tuple[Array, dict[str, npt.NDArray[np.bool_]]]:
        """Snap parameter by parameter; also return ``{parameter: where it is active}``."""
        snapped = np.full(units.shape, 0.5)
        active: dict[str, npt.NDArray[np.bool_]] = {}
        for name in (name for group in self.space.groups for name in group):  # parents first
            domain, column = self.space[name], self.space.dimensions.get(name)
            on = np.ones(len(units), bool)
            for parent in domain.when:
                on &= active[parent] & self._agrees(name, parent, snapped)
            active[name] = on
            if column is not None:
                snapped[on, column] = _snap(domain, units[on, column])
        return snapped, active

    def columns(self, units: Array) -> Array:
        """Turn points into columns: one per number, one per value of a choice of three or more.

        Inactive numbers are 0.5, the columns of an inactive choice of n values 1 / n.

        Returns
        -------
        array of shape (m, number of columns)
        """
        snapped, mask = self.snap(units)
        columns = [np.empty((len(units), 0))]
        for index, many in enumerate(self.sizes):
            size = int(many) if self.unordered[index] else 0
            if size == 2:
                columns.append(np.where(mask[:, index], np.rint(snapped[:, index]), 0.5)[:, None])
            elif size:
                hot = np.floor(snapped[:, index] * size)[:, None] == np.arange(size)
                columns.append(np.where(mask[:, [index]], hot, 1 / size))
            else:
                columns.append(snapped[:, [index]])
        return np.hstack(columns)

    def keys(self, units: Array) -> list[bytes]:
        """One key per point; points that decode to the same configuration share it."""
        return [row.tobytes() for row in self.snap(units)[0].round(12) + 0.0]

    def _agrees(self, name: str, parent: str, snapped: Array) -> npt.NDArray[np.bool_]:
        """Whether the parent has one of the values that activate ``name``, row by row."""
        column = self.space.dimensions.get(parent)
        if column is None:  # the parent has one value, and conditions name possible values only
            return np.ones(len(snapped), bool)
        places = [self.space[parent].encode(value) for value in self.space[name].when[parent]]
        close = np.abs(snapped[:, [column]] - np.array(places)) < 1e-13
        agrees: npt.NDArray[np.bool_] = close.any(axis=1)
        return agrees

    def _held(self, name: str, entry: Entry, snapped: Array) -> npt.NDArray[np.bool_]:
        """Whether the entry of a clause holds, row by row, where the parameter is active."""
        column, held = self.space.dimensions.get(name), np.zeros(len(snapped), bool)
        if column is None:  # the parameter has one value, and entries name possible values only
            return ~held
        slack = _rounding(self.space[name])
        for first, last in entry.spans:
            held |= (snapped[:, column] > first - slack) & (snapped[:, column] < last + slack)
        return held


def _rounding(domain: Domain) -> float:
    """How far decoding and encoding may move a coordinate."""
    if not isinstance(domain, Float) or domain.step is not None:
        return 1e-13  # less than half a cell
    low, high = domain.low, domain.high
    if domain.log:
        low, high = math.log(low), math.log(high)
    return 1e-15 * (1 + max(1.0, abs(low), abs(high)) / (high - low))


def _snap(domain: Domain, units: Array) -> Array:
    """Move coordinates to the middle of the cell of the value they decode to."""
    if isinstance(domain, Int) and domain.log:
        low, high = domain.log_bounds
        values = np.rint(np.exp(low + units * (high - low))).clip(domain.low, domain.high)
        places: Array = (np.log(values) - low) / (high - low)
    elif math.isinf(domain.size):
        places = units.clip(0.0, 1.0)
    else:
        places = (np.floor(units * domain.size).clip(0, domain.size - 1) + 0.5) / domain.size
    return places
