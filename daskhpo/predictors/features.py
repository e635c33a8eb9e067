"""What a regressor sees of a curve: which numbers, and on which scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self, get_args

import numpy as np

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.base import Array, Configured
from daskhpo.scalars import nearest

__all__ = ["Features", "Kind", "Part", "Scaling", "check_curves", "check_known"]

Part = Literal["prefix", "differences", "second", "last", "static"]
Kind = Literal["quantile", "minmax", "standard"]

_HUGE = 1e100  # what is beyond is read as this: squares and sums of it are still finite
_TINY = 1e-100  # what is below is read as 0: squares of other numbers are not
_EQUAL = 1e-13  # relative difference of numbers that are the same but for rounding


class Features(Configured):
    """Lay out what is known of curves as columns for a regressor.

    Parameters
    ----------
    parts : sequence of str
        ``"prefix"`` the values of the curve, ``"differences"`` and ``"second"`` the first and
        second differences from step to step (Baker et al., arXiv:1705.10823), ``"last"`` the last
        value alone, ``"static"`` what does not change while a trial trains, where it is given.

    Raises
    ------
    PredictorError
        If a part is unknown or there is none.

    Examples
    --------
    >>> Features(["last", "differences"])(np.array([[5.0, 3.0, 2.0]]))
    array([[ 2., -2., -1.]])
    """

    def __init__(self, parts: Sequence[Part] = ("prefix",)) -> None:
        self.parts = parts
        if isinstance(parts, str) or not parts:
            raise PredictorError(f"features={parts!r}: must be a list of {get_args(Part)}")
        for part in parts:
            if part not in get_args(Part):
                raise PredictorError(f"features: {part!r}: {nearest(str(part), get_args(Part))}")

    def __call__(self, curves: Array, static: Array | None = None) -> Array:
        """Columns (n, p) of ``curves`` (n, d) and ``static`` (n, q).

        Curves that are too short for any of the parts give their last value.
        """
        columns = [self._part(part, curves, static) for part in self.parts]
        found = np.hstack(columns)
        return found if found.shape[1] else curves[:, -1:]

    def _part(self, part: Part, curves: Array, static: Array | None) -> Array:
        match part:
            case "prefix":
                return curves
            case "differences":
                return np.diff(curves)
            case "second":
                return np.diff(curves, n=2)
            case "last":
                return curves[:, -1:]
            case "static":
                return np.empty((len(curves), 0)) if static is None else static


class Scaling(Configured):
    """Bring columns to a common scale that is learned from some rows and holds for all.

    A value that was never seen becomes the nearest one that was: a regressor on top of it cannot
    extrapolate, forward or back.

    Parameters
    ----------
    kind : str, optional
        ``"quantile"`` ranks, from 0 for the smallest to 1 for the largest value, what
        :class:`sklearn.preprocessing.QuantileTransformer` does; ``"minmax"`` from 0 to 1, in
        proportion; ``"standard"`` mean 0 and deviation 1; None leaves numbers as they are.
    quantiles : int, optional
        Of ``"quantile"``: how many points of the distribution are kept; by default, and at most,
        as many as there are rows.

    Raises
    ------
    PredictorError
        If the kind is unknown or there are fewer than two quantiles.

    Examples
    --------
    >>> scaling = Scaling("minmax").fit(np.array([2.0, 6.0]))
    >>> scaling.transform(np.array([1.0, 3.0])), scaling.inverse(np.array([0.25, 7.0]))
    (array([0.  , 0.25]), array([3., 6.]))
    """

    def __init__(self, kind: Kind | None = "quantile", *, quantiles: int | None = None) -> None:
        self.kind = kind
        self.quantiles = quantiles
        if kind is not None and kind not in get_args(Kind):
            raise PredictorError(f"scaling={kind!r}: {nearest(str(kind), get_args(Kind))}")
        if quantiles is not None and quantiles < 2:
            raise PredictorError(f"quantiles={quantiles!r}: must be at least 2")

    def fit(self, X: Array) -> Self:
        """Learn from ``X``: (n, p), or (n,) for a single column."""
        columns = _columns(X)
        levels = min(self.quantiles or len(columns), len(columns))
        self.levels_: Array = np.linspace(0.0, 1.0, levels)
        # (levels, p): the values at these shares of the rows; the first and last are the range
        self.knots_: Array = np.sort(columns, axis=0)
        if levels < len(columns):
            self.knots_ = np.maximum.accumulate(np.quantile(columns, self.levels_, axis=0))
        low, high = self.knots_[0], self.knots_[-1]
        self.centre_: Array = columns.mean(axis=0) if self.kind == "standard" else low
        self.width_: Array = columns.std(axis=0) if self.kind == "standard" else high - low
        size = np.maximum(np.abs(self.knots_).max(axis=0), _TINY)
        self.width_[high - low <= _EQUAL * size] = 0.0
        return self

    def transform(self, X: Array) -> Array:
        """Scale ``X``, shaped as in :meth:`fit`; a column that was constant becomes 0."""
        if self.kind is None:
            return X
        columns = np.clip(_columns(X), self.knots_[0], self.knots_[-1])
        scaled = np.zeros_like(columns)
        if self.kind == "quantile":
            for j in np.flatnonzero(self.width_):
                scaled[:, j] = _ranks(columns[:, j], self.knots_[:, j], self.levels_)
        else:
            np.divide(columns - self.centre_, self.width_, out=scaled, where=self.width_ > 0)
        return scaled.reshape(np.shape(X))

    def inverse(self, y: Array) -> Array:
        """Undo :meth:`transform` of one column, ``y`` (n,), within the range that was learned."""
        if self.kind is None:
            return y
        knots = self.knots_[:, 0]
        found: Array
        if self.kind == "quantile":
            found = np.interp(y, self.levels_, knots)
            return found
        found = np.clip(y * self.width_[0] + self.centre_[0], knots[0], knots[-1])
        return found


def check_curves(curves: Array, static: Array | None = None) -> tuple[Array, Array | None]:
    """Return curves (n, d) and static (n, q) as finite arrays of floats.

    Values beyond 1e100 become that and those below 1e-100 become 0, so that arithmetic with them
    is safe.

    Raises
    ------
    PredictorError
        If the shapes do not agree or a value is not finite; the row is named.
    """
    found = _finite("curves", curves, 2)
    if not found.shape[1]:
        raise PredictorError("curves have no step: a forecast needs at least one value of each")
    if static is None:
        return found, None
    facts = _finite("static", static, 2)
    if len(facts) != len(found):
        raise PredictorError(f"static has {len(facts)} rows and curves {len(found)}: must agree")
    return found, facts


def check_known(
    curves: Array, targets: Array, static: Array | None = None, *, least: int = 2
) -> tuple[Array, Array, Array | None]:
    """Return what is to be learned from, checked as in :func:`check_curves`.

    Raises
    ------
    PredictorError
        If there are fewer than ``least`` curves, or targets are not one finite value for each.
    """
    found, facts = check_curves(curves, static)
    values = _finite("targets", targets, 1)
    if len(values) != len(found):
        raise PredictorError(f"targets has {len(values)} rows and curves {len(found)}: must agree")
    if len(found) < least:
        raise PredictorError(f"{len(found)} curves to learn from: must be at least {least}")
    return found, values, facts


def _finite(name: str, given: Array, dimensions: int) -> Array:
    try:
        found = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise PredictorError(
            f"{name} cannot be read as an array of numbers: all rows must have the same length"
        ) from None
    if found.ndim != dimensions:
        shape = "(curves, steps)" if dimensions == 2 else "(curves,)"
        raise PredictorError(f"{name} has the shape {found.shape}: must be {shape}")
    bad = ~np.isfinite(found).all(axis=tuple(range(1, dimensions)))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise PredictorError(f"{name}: row {row} has a value that is not finite: {found[row]}")
    return np.where(np.abs(found) < _TINY, 0.0, np.clip(found, -_HUGE, _HUGE))


def _columns(X: Array) -> Array:
    return X[:, None] if X.ndim == 1 else X


def _ranks(column: Array, knots: Array, levels: Array) -> Array:
    # Of equal knots one direction takes the last and the other the first: their mean.
    up = np.interp(column, knots, levels)
    down = 1.0 - np.interp(-column, -knots[::-1], 1.0 - levels[::-1])
    ranks: Array = (up + down) / 2
    ranks[column == knots[-1]] = 1.0
    ranks[column == knots[0]] = 0.0
    return ranks
