"""What every predictor is: a forecaster of where a learning curve will be at a later step."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Predictor"]

Array = npt.NDArray[np.float64]


@runtime_checkable
class Predictor(Protocol):
    """Learns from complete curves what becomes of the beginning of one.

    It knows nothing of trials, rungs or steps: who uses it cuts all curves at the same step and
    says what each reached at the later one. Values are minimised and finite.
    """

    def fit(self, curves: Array, targets: Array) -> Self:
        """Learn from ``curves`` (n, d), values at the first d steps, and ``targets`` (n,)."""

    def predict(self, curves: Array) -> Array:
        """Forecast the targets (m,) of ``curves`` (m, d)."""
