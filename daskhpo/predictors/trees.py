"""Ensembles of decision trees: references that need no scaling and cannot extrapolate."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.base import Array, Configured
from daskhpo.predictors.features import Features, check_curves, check_known

__all__ = ["Boosting", "ExtraTrees"]

_FEATURES = Features(["prefix", "static"])
_HUGE = 1e30  # scikit-learn's trees keep features in single precision


class ExtraTrees(Configured):
    """Extremely randomised trees on the curve and what is static.

    Use it as a reference, or where hundreds of curves are known and hyperparameters matter. A
    forecast lies within the targets that were learned from.

    Parameters
    ----------
    trees : int
        How many are averaged.
    seed : int
        Draws their splits.

    Examples
    --------
    >>> curves = np.array([[9.0, 3.0], [8.0, 2.0], [5.0, 1.0]])
    >>> predictor = ExtraTrees(trees=10).fit(curves, np.array([1.7, 1.2, 0.7]))
    >>> predictor.predict(np.array([[8.0, 2.0]])).round(6)
    array([1.2])
    """

    def __init__(self, trees: int = 200, *, seed: int = 0) -> None:
        self.trees = trees
        self.seed = seed
        _check(trees, seed)

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn from ``curves`` (n, d), ``targets`` (n,) and ``static`` (n, p)."""
        from sklearn.ensemble import ExtraTreesRegressor

        estimator = ExtraTreesRegressor(self.trees, random_state=self.seed, n_jobs=1)
        self._fitted = _fit(estimator, curves, targets, static)
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d) and ``static`` (m, p)."""
        return _predict(self._fitted, curves, static)


class Boosting(Configured):
    """Gradient boosting of small trees on the curve and what is static.

    Use it as :class:`ExtraTrees`; it follows few curves more closely.

    Parameters
    ----------
    trees : int
        How many follow one another.
    seed : int
        Breaks ties between splits.

    Examples
    --------
    >>> curves = np.array([[9.0, 3.0], [8.0, 2.0], [5.0, 1.0]])
    >>> predictor = Boosting().fit(curves, np.array([1.7, 1.2, 0.7]))
    >>> predictor.predict(np.array([[8.0, 2.0]])).round(3)
    array([1.2])
    """

    def __init__(self, trees: int = 100, *, seed: int = 0) -> None:
        self.trees = trees
        self.seed = seed
        _check(trees, seed)

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn from ``curves`` (n, d), ``targets`` (n,) and ``static`` (n, p)."""
        from sklearn.ensemble import GradientBoostingRegressor

        estimator = GradientBoostingRegressor(n_estimators=self.trees, random_state=self.seed)
        self._fitted = _fit(estimator, curves, targets, static)
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d) and ``static`` (m, p)."""
        return _predict(self._fitted, curves, static)


def _check(trees: object, seed: object) -> None:
    for name, value, least in (("trees", trees, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise PredictorError(f"{name}={value!r}: must be a whole number from {least} on")


def _fit(estimator: Any, curves: Array, targets: Array, static: Array | None) -> Any:
    curves, targets, static = check_known(curves, targets, static)
    return estimator.fit(_features(curves, static), targets)


def _features(curves: Array, static: Array | None) -> Array:
    return np.clip(_FEATURES(curves, static), -_HUGE, _HUGE)


def _predict(fitted: Any, curves: Array, static: Array | None) -> Array:
    X = _features(*check_curves(curves, static))
    if X.shape[1] != fitted.n_features_in_:
        raise PredictorError(
            f"curves and static make {X.shape[1]} features: must be {fitted.n_features_in_}, as "
            "learned"
        )
    forecast: Array = fitted.predict(X) if len(X) else np.empty(0)
    return forecast
