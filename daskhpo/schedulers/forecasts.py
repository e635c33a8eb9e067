"""Curves that reached a milestone, and predictors that learn from them what becomes of others."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from daskhpo.exceptions import SchedulerError
from daskhpo.predictors import Predictor, make_predictor, predictor_name
from daskhpo.predictors.base import Array

__all__ = ["Forecasts", "unroll"]


class Forecasts:
    """What is known of whole curves, milestone by milestone.

    Parameters
    ----------
    predictor : str or Predictor
        What forecasts: a name for :func:`~daskhpo.predictors.make_predictor`, or an object; each
        fit is of a new copy of it.

    Attributes
    ----------
    name : str
        The predictor's name in a campaign file.

    Raises
    ------
    SchedulerError
        If there is no predictor of that name, or the object is not one.

    Examples
    --------
    >>> forecasts = Forecasts("last_drop")
    >>> forecasts.keep(4, [(1, 0.9), (2, 0.7), (4, 0.4)])
    >>> forecasts.keep(4, [(1, 0.8), (2, 0.6), (4, 0.4)])
    >>> forecasts.fit(2, 4).predict(np.array([[1.0, 0.5]])).round(6)
    array([0.25])
    """

    def __init__(self, predictor: str | Predictor) -> None:
        if isinstance(predictor, str):
            predictor = make_predictor(predictor)
        elif isinstance(predictor, type) or not isinstance(predictor, Predictor):
            raise SchedulerError(
                f"predictor={predictor!r}: must be a name or have the methods fit and predict"
            )
        self._predictor = predictor
        self._curves: dict[int, list[Array]] = defaultdict(list)  # {milestone: curves up to it}
        self.name = predictor_name(predictor)

    def keep(self, milestone: int, points: Sequence[tuple[int, float]]) -> None:
        """Learn from a curve, (step, value) by (step, value), that ends at the milestone or after.

        Its last value is the one that counts at the milestone.
        """
        curve = unroll(points, milestone)
        curve[-1] = points[-1][1]
        self._curves[milestone].append(curve)

    def count(self, milestone: int) -> int:
        """How many curves reached the milestone."""
        return len(self._curves[milestone])

    def fit(self, step: int, milestone: int) -> Predictor:
        """Return a new predictor, from the first ``step`` values to the one at ``milestone``."""
        curves = np.array(self._curves[milestone])
        return copy.deepcopy(self._predictor).fit(curves[:, :step], curves[:, -1])

    def spread(self, step: int, milestone: int) -> float:
        """Standard deviation of the errors when each curve is forecast from all others."""
        curves = np.array(self._curves[milestone])
        errors = []
        for i, curve in enumerate(curves):
            others = np.delete(curves, i, axis=0)
            fitted = copy.deepcopy(self._predictor).fit(others[:, :step], others[:, -1])
            errors.append(fitted.predict(curve[None, :step])[0] - curve[-1])
        return float(np.std(errors, ddof=1))


def unroll(points: Sequence[tuple[int, float]], steps: int) -> Array:
    """The value at each of the first ``steps`` steps of a curve.

    A step without a report has the value of the last report before it; before the first report,
    that of the first.

    Examples
    --------
    >>> unroll([(2, 0.9), (4, 0.5)], 5)
    array([0.9, 0.9, 0.9, 0.5, 0.5])
    """
    reported = [step for step, _ in points]
    last = np.searchsorted(reported, np.arange(1, steps + 1), side="right") - 1
    curve: Array = np.array([value for _, value in points])[np.maximum(last, 0)]
    return curve
