"""The forecasts that others have to beat: where the curve is now, and what curves still drop."""

from __future__ import annotations

from typing import Self

import numpy as np

from daskhpo.predictors.base import Array, Configured

__all__ = ["LastDrop", "LastValue"]


class LastValue(Configured):
    """Every curve stays where it is.

    The simplest statement about a curve, and the one that a table of predictors begins with: it
    knows nothing, so that what another one knows can be seen. Its ranks are hard to beat, its
    values are too large as long as curves still fall.

    Examples
    --------
    >>> predictor = LastValue().fit(np.array([[3.0, 2.0], [4.0, 2.5]]), np.array([1.0, 1.7]))
    >>> predictor.predict(np.array([[5.0, 3.0]]))
    array([3.])
    """

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn nothing."""
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d): their last column."""
        return curves[:, -1].copy()


class LastDrop(Configured):
    """Every curve goes on from its last value by the median drop of those it has learned from.

    Use it where there is no reason to trust a larger model: it orders trials as their last values
    do, cannot extrapolate wildly, and needs a single curve. Inside Swift-Hyperband it is as good
    as a support vector machine on the sets it was compared on.

    Examples
    --------
    >>> predictor = LastDrop().fit(np.array([[3.0, 2.0], [4.0, 2.5]]), np.array([1.0, 1.7]))
    >>> predictor.predict(np.array([[5.0, 3.0]])).round(6)
    array([2.1])
    """

    def __init__(self) -> None:
        self.drop = 0.0  # from the last known value to the target, median over the curves

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn the median drop from ``curves`` (n, d) to ``targets`` (n,)."""
        self.drop = float(np.median(curves[:, -1] - targets))
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d)."""
        forecast: Array = curves[:, -1] - self.drop
        return forecast
