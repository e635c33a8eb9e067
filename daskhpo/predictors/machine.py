"""What support vector machines share: a regressor of scikit-learn between two scalings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Self, get_args

import numpy as np

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.base import Array
from daskhpo.predictors.cleaning import mend as mended
from daskhpo.predictors.features import Features, Kind, Part, Scaling, check_curves, check_known
from daskhpo.predictors.linear import LinearOnLast
from daskhpo.scalars import nearest

__all__ = ["Machine", "Target", "check_number"]

Target = Literal["drop", "value", "extended"]


class Machine:
    """An estimator between a scaling of features and one of targets.

    Parameters
    ----------
    scaling : str or None
        Of both, see :class:`~daskhpo.predictors.features.Scaling`.
    features : sequence of str
        See :class:`~daskhpo.predictors.features.Features`.
    target : {"drop", "value", "extended"}
        What the estimator learns: the drop from the last value on, or the value. Extended, what
        a last value exceeds those learned from by is added, times the slope of the line through
        them, between 0 and 1.
    mend : bool
        Whether to take restarts out of curves first.

    Raises
    ------
    PredictorError
        If an argument is not allowed; it is named.
    """

    def __init__(
        self, scaling: Kind | None, features: Sequence[Part], *, target: Target, mend: bool
    ) -> None:
        self.inputs, self.outputs = Scaling(scaling), Scaling(scaling)
        self.features = Features(features)
        self.target, self.mend = target, mend
        if target not in get_args(Target):
            raise PredictorError(f"target={target!r}: {nearest(str(target), get_args(Target))}")
        if not isinstance(mend, bool):
            raise PredictorError(f"mend={mend!r}: must be true or false")

    def fit(self, estimator: Any, curves: Array, targets: Array, static: Array | None) -> Self:
        """Fit ``estimator``, one of scikit-learn's, to what is checked, mended and scaled."""
        curves, targets, static = check_known(curves, targets, static)
        curves = mended(curves) if self.mend else curves
        self.range = (curves[:, -1].min(), curves[:, -1].max())
        self.slope = min(max(LinearOnLast().fit(curves, targets).slope, 0.0), 1.0)
        X = self.features(curves, static)
        y = targets - self._base(curves)
        self.width = X.shape[1]
        X, y = self.inputs.fit(X).transform(X), self.outputs.fit(y).transform(y)
        self.estimator = estimator.fit(X, y)
        return self

    def predict(self, curves: Array, static: Array | None) -> Array:
        """Forecast (m,) from ``curves`` (m, d) and ``static`` (m, p)."""
        curves, static = check_curves(curves, static)
        curves = mended(curves) if self.mend else curves
        X = self.features(curves, static)
        if X.shape[1] != self.width:
            raise PredictorError(
                f"curves and static make {X.shape[1]} features: must be {self.width}, as learned"
            )
        learned = self.estimator.predict(self.inputs.transform(X)) if len(X) else np.empty(0)
        forecast: Array = self._base(curves) + self.outputs.inverse(learned)
        return forecast

    def _base(self, curves: Array) -> Array:
        """What a forecast (n,) is before the estimator adds its part."""
        last = curves[:, -1]
        match self.target:
            case "drop":
                return last
            case "value":
                return np.zeros(len(last))
            case "extended":
                return self.slope * (last - np.clip(last, *self.range))


def check_number(
    name: str, value: object, *, above: float = -math.inf, least: float = -math.inf
) -> None:
    """Refuse a value that is not a number above ``above`` and at least ``least``.

    Raises
    ------
    PredictorError
        If it is not; ``name`` is named.
    """
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and above < value < math.inf and value >= least):  # type: ignore[operator]
        bound = f"above {above:g}" if above > least else f"at least {least:g}"
        raise PredictorError(f"{name}={value!r}: must be a number {bound}")
