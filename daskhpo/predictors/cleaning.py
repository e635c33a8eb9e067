"""Restarts from scratch in the middle of a curve, and rows of a table that say nothing new."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from daskhpo.predictors.base import Array
from daskhpo.trial import ParamValue

__all__ = ["Cleaning", "clean", "mend", "restarts", "setbacks"]

_EARLIEST = 3  # points before a restart: with fewer, nothing was learned that could be lost
_WINDOW = 5  # points after it that must look like the beginning
_JUMP = 0.25  # of the range: how far the curve falls back, and may differ from the beginning
_START = 0.1  # of the range: how near to its first value it comes


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Rows to keep, in their order, and how many went: each row is counted under one reason."""

    keep: list[int]
    incomplete: int
    restarted: int
    repeated: int

    @property
    def dropped(self) -> dict[str, int]:
        """``{reason: rows}``."""
        return {
            "incomplete": self.incomplete,
            "restarted": self.restarted,
            "repeated": self.repeated,
        }


def restarts(curve: Sequence[float]) -> list[int]:
    """Find the steps at which a training began again from scratch.

    Such a curve is what a job leaves that was resumed without its checkpoint: in the middle it
    jumps back to its first value and falls once more.

    Parameters
    ----------
    curve : sequence of float
        Values to be minimised, at steps 1, 2, ...

    Returns
    -------
    list of int
        Steps e of 4 or more where ``l[e] - l[e-1] > .25 range``, ``|l[e] - l[1]| < .1 range`` and
        the up to five points from e on each differ from those at the beginning by less than
        ``.25 range``; the range is ``l[1] - min(l)``.

    Examples
    --------
    >>> restarts([9.0, 6.0, 5.0, 4.5, 9.1, 6.2, 5.1])
    [5]
    >>> restarts([9.0, 6.0, 5.0, 8.8, 4.0])  # one bad value is no restart
    []
    """
    if not len(curve):
        return []
    extent = curve[0] - min(curve)
    return [
        e + 1
        for e in range(_EARLIEST, len(curve))
        if curve[e] - curve[e - 1] > _JUMP * extent
        and abs(curve[e] - curve[0]) < _START * extent
        and all(
            abs(later - first) < _JUMP * extent
            for later, first in zip(curve[e : e + _WINDOW], curve, strict=False)
        )
    ]


def mend(curves: Array) -> Array:
    """Take the climb out of curves that began again from scratch.

    A training that lost its checkpoint will come back to where it was. For a forecast, what it
    had reached says more than where it is on the way back: from a restart on, a curve stays at
    the value before it until it falls below that. There may not be the time to come back: see
    :func:`setbacks`.

    Parameters
    ----------
    curves : array of shape (n, d)
        Values to be minimised, up to any step.

    Returns
    -------
    array of shape (n, d)
        A copy; curves without a restart are unchanged.

    Examples
    --------
    >>> mend(np.array([[9.0, 6.0, 5.0, 4.5, 9.1, 6.2, 4.0]]))
    array([[9. , 6. , 5. , 4.5, 4.5, 4.5, 4. ]])
    """
    mended = curves.copy()
    first = curves[:, :1]
    extent = first - curves.min(axis=1, keepdims=True)
    back = (np.abs(curves - first) < _START * extent)[:, _EARLIEST:]
    for row in np.flatnonzero(back.any(axis=1)):  # few curves ever come near their first value
        for step in restarts(curves[row].tolist()):
            np.minimum(mended[row, step - 1 :], mended[row, step - 2], out=mended[row, step - 1 :])
    return mended


def setbacks(curves: Array, mended: Array) -> Array:
    """Expect how far above its mended value a curve will still be because it restarted.

    Use it with :func:`mend`, on whose values forecasts rest as if what was lost came back.

    Parameters
    ----------
    curves : array of shape (n, d)
        Values to be minimised, up to any step.
    mended : array of shape (n, d)
        What :func:`mend` makes of them.

    Returns
    -------
    array of shape (n,)
        What a curve lacks now, times ``sqrt(s / (s + d))`` for s steps since its last restart:
        it falls with the root of the steps, and as many are taken to be ahead as are known. 0
        for curves that did not restart or are back.

    Examples
    --------
    >>> curves = np.array([[9.0, 5.0, 4.0, 3.5, 9.1, 5.5], [9.0, 5.0, 4.0, 3.5, 3.1, 3.0]])
    >>> setbacks(curves, mend(curves))
    array([1., 0.])
    """
    lacks = curves[:, -1] - mended[:, -1]
    steps = curves.shape[1]
    for row in np.flatnonzero(lacks > 0):
        since = steps - restarts(curves[row].tolist())[-1] + 1
        lacks[row] *= math.sqrt(since / (since + steps))
    return lacks


def clean(
    params: Mapping[str, Sequence[ParamValue]], curves: Sequence[Sequence[float]], *, sign: float
) -> Cleaning:
    """Sort out rows whose curve has gaps or a restart, or whose configuration came before.

    Parameters
    ----------
    params : mapping
        ``{parameter: n values}``.
    curves : sequence of n sequences
        One per row.
    sign : float
        +1 if the metric is minimised, -1 if it is maximised.

    Returns
    -------
    Cleaning
        Of rows with the same configuration the first clean one is kept.

    Examples
    --------
    >>> clean({"lr": [1, 1, 2]}, [[3.0, 2.0], [4.0, 1.0], [5.0, math.nan]], sign=1)
    Cleaning(keep=[0], incomplete=1, restarted=0, repeated=1)
    """
    keep: list[int] = []
    counts = {"incomplete": 0, "restarted": 0, "repeated": 0}
    seen: set[tuple[tuple[bool, ParamValue], ...]] = set()
    for row, curve in enumerate(curves):
        # True equals 1 for a set, but is another configuration.
        point = tuple((isinstance(column[row], bool), column[row]) for column in params.values())
        if not all(map(math.isfinite, curve)):
            counts["incomplete"] += 1
        elif restarts([sign * value for value in curve]):
            counts["restarted"] += 1
        elif point in seen:
            counts["repeated"] += 1
        else:
            seen.add(point)
            keep.append(row)
    return Cleaning(keep, **counts)
