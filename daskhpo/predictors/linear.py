"""A straight line through the last values of curves."""

from __future__ import annotations

from typing import Self

import numpy as np

from daskhpo.predictors.base import Array, Configured
from daskhpo.predictors.features import check_curves, check_known

__all__ = ["LinearOnLast"]

_EQUAL = 1e-13  # relative spread of last values that are the same but for rounding


class LinearOnLast(Configured):
    """Forecasts lie on the line that fits targets to last values with the least squares.

    Use it as the measure of what a whole curve says beyond its last value: learning from twenty
    curves, it is ahead of many larger models. A single curve far from the others decides where
    the line goes.

    Attributes
    ----------
    slope, intercept : float
        Of the line; the slope is 0 where all last values were equal. Before a fit, the line on
        which every curve stays where it is.

    Examples
    --------
    >>> curves = np.array([[9.0, 3.0], [8.0, 2.0], [5.0, 1.0]])
    >>> predictor = LinearOnLast().fit(curves, np.array([1.7, 1.2, 0.7]))
    >>> predictor.predict(np.array([[7.0, 4.0]])).round(6)
    array([2.2])
    """

    def __init__(self) -> None:
        self.slope = 1.0
        self.intercept = 0.0

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn from ``curves`` (n, d) and ``targets`` (n,).

        Raises
        ------
        PredictorError
            If there is no curve, shapes differ or a number is not finite.
        """
        curves, targets, _ = check_known(curves, targets, least=1)
        last = curves[:, -1]
        away = last - last.mean()
        flat = np.abs(away).max() <= _EQUAL * np.abs(last).max()
        self.slope = 0.0 if flat else float(away @ targets / (away @ away))
        self.intercept = float(targets.mean() - self.slope * last.mean())
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d)."""
        curves, _ = check_curves(curves)
        forecast: Array = self.intercept + self.slope * curves[:, -1]
        return forecast
