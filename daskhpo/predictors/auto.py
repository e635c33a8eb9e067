"""The predictor to use unless there is a reason: several, weighed by what they have shown."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from daskhpo.exceptions import PredictorError
from daskhpo.predictors import make_predictor, predictor_name
from daskhpo.predictors.base import Array, Configured, Predictor
from daskhpo.predictors.cleaning import mend
from daskhpo.predictors.features import check_curves, check_known
from daskhpo.predictors.folds import out_of_fold

__all__ = ["Auto"]

_CANDIDATES = (
    "last_drop",
    "linear",
    "nu_svr",
    "nu_svr(features=[prefix])",
    "nu_svr(target=extended)",
)
_LEAST = 0.01  # weights below are not worth the time of a forecast


class Auto(Configured):
    """Weighs several predictors by how well they forecast curves that they did not learn from.

    Use it unless there is a reason for another one. Which predictor is best changes from problem
    to problem and with the share of the curve that is known, and twenty curves do not say for
    sure; an average of those that seem good is safer than the one that seems best. The mean of
    the targets is always among them, for problems where the beginning of a curve says little.
    Curves that restarted are mended first, see :func:`~daskhpo.predictors.cleaning.mend`.

    Parameters
    ----------
    candidates : sequence of str, mapping or Predictor
        As :func:`~daskhpo.predictors.make_predictor` takes them.
    folds : int
        Into how many parts the curves are dealt; each candidate is fitted once more per part.
    seed : int
        Deals them.

    Attributes
    ----------
    errors_ : dict of str to float
        Mean absolute error of each candidate out of fold; infinite for one that could not learn
        from so few curves.
    weights_ : dict of str to float
        Of each candidate's forecast; they sum to 1.
    chosen_ : str
        The candidate with the largest weight.
    record : dict
        The three, as JSON data.

    Raises
    ------
    PredictorError
        If a candidate is unknown or named twice, or there are fewer than two folds.

    Notes
    -----
    Weights are in proportion to ``error ** -sqrt(n)`` for n curves: the more there are, the more
    the errors out of fold are believed.

    Examples
    --------
    >>> curves = np.linspace(1.0, 2.0, 20)[:, None] * np.array([3.0, 2.0, 1.5])
    >>> predictor = Auto().fit(curves, 1.0 + 0.2 * curves[:, -1])
    >>> predictor.predict(np.array([[4.5, 3.0, 2.25]])).round(2), predictor.chosen_
    (array([1.45]), 'linear')
    """

    def __init__(
        self,
        candidates: Sequence[str | Mapping[str, Any] | Predictor] = _CANDIDATES,
        folds: int = 5,
        *,
        seed: int = 0,
    ) -> None:
        self.candidates = candidates
        self.folds = folds
        self.seed = seed
        if not isinstance(folds, int) or folds < 2:
            raise PredictorError(f"folds={folds!r}: must be a whole number from 2 on")
        self._models()

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn from ``curves`` (n, d), ``targets`` (n,) and, where it is known, ``static``.

        Raises
        ------
        PredictorError
            If there are fewer than two curves, shapes differ or a number is not finite.
        """
        curves, targets, static = check_known(curves, targets, static)
        curves = mend(curves)
        models = self._models()
        self.errors_ = {
            name: self._error(model, curves, targets, static) for name, model in models.items()
        }
        shares = _weigh(np.array(list(self.errors_.values())), len(targets))
        self.weights_ = dict(zip(models, shares.tolist(), strict=True))
        self.chosen_ = max(self.weights_, key=self.weights_.__getitem__)
        self.record = {
            "chosen": self.chosen_,
            "weights": self.weights_,
            "errors": {k: e if np.isfinite(e) else None for k, e in self.errors_.items()},
        }
        self._fitted = [
            (weight, models[name].fit(curves, targets, static))
            for name, weight in self.weights_.items()
            if weight > 0
        ]
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d) and ``static`` (m, p): the weighted mean."""
        curves, static = check_curves(curves, static)
        curves = mend(curves)
        forecasts = [weight * model.predict(curves, static) for weight, model in self._fitted]
        forecast: Array = np.sum(forecasts, axis=0)
        return forecast

    def _models(self) -> dict[str, Predictor]:
        """New candidates by name, the mean before all."""
        if isinstance(self.candidates, str):
            raise PredictorError(f"candidates={self.candidates!r}: must be a list of predictors")
        models: dict[str, Predictor] = {"mean": _Mean()}
        for candidate in self.candidates:
            model = _made(candidate)
            name = predictor_name(model)
            if name in models:
                raise PredictorError(f"candidates: {name!r} is named twice")
            models[name] = model
        return models

    def _error(
        self, model: Predictor, curves: Array, targets: Array, static: Array | None
    ) -> float:
        try:
            forecasts = out_of_fold(
                model, curves, targets, static, folds=self.folds, seed=self.seed
            )
        except PredictorError:
            return np.inf
        return float(np.abs(forecasts - targets).mean())


def _made(candidate: str | Mapping[str, Any] | Predictor) -> Predictor:
    if isinstance(candidate, str | Mapping):
        return make_predictor(candidate)
    if not isinstance(candidate, Predictor):
        raise PredictorError(f"candidates: {candidate!r} has no methods fit and predict")
    return copy.deepcopy(candidate)


def _weigh(errors: Array, n: int) -> Array:
    """Weights (k,) of candidates with these errors over n curves."""
    best = errors.min()
    weights = np.zeros_like(errors)
    if best > 0:
        weights = (best / errors) ** np.sqrt(n)
        weights[weights < _LEAST * weights.sum()] = 0.0
    else:
        weights[errors == 0] = 1.0
    shares: Array = weights / weights.sum()
    return shares


class _Mean(Configured):
    """Forecasts the mean of the targets."""

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        self._mean = float(targets.mean())
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        return np.full(len(curves), self._mean)
