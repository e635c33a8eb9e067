"""The predictor to use unless there is a reason: several, weighed by what they have shown."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import PredictorError
from daskhpo.predictors import make_predictor, predictor_name
from daskhpo.predictors.base import Array, Configured, Predictor
from daskhpo.predictors.cleaning import mend, setbacks
from daskhpo.predictors.features import check_curves, check_known
from daskhpo.predictors.folds import out_of_fold
from daskhpo.predictors.last_value import LastDrop, LastValue
from daskhpo.predictors.linear import LinearOnLast

__all__ = ["Auto"]

_CANDIDATES = (
    "last_value",
    "last_drop",
    "linear",
    "nu_svr",
    "nu_svr(features=[prefix])",
    "nu_svr(target=extended)",
)
_LEAST = 0.01  # weights below are not worth the time of a forecast
_DOUBT = 2.0  # times the noise of drops: a setback of as much counts as half a curve


class Auto(Configured):
    """Weighs several predictors by how well they forecast curves that they did not learn from.

    Use it unless there is a reason for another one. Which predictor is best changes from problem
    to problem and with the share of the curve that is known, and twenty curves do not say for
    sure; an average of those that seem good is safer than the one that seems best. The mean of
    the targets is always among them, for problems where the beginning of a curve says little.

    Curves that restarted are mended first, see :func:`~daskhpo.predictors.cleaning.mend`. To
    their last value is added what they will not have made good again: what
    :func:`~daskhpo.predictors.cleaning.setbacks` expects, times a factor that is learned.

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
    setback_ : float
        That factor: from 0, all curves that restarted came back, to 2; 1 as long as none of them
        says otherwise.
    record : dict
        The four, as JSON data.

    Raises
    ------
    PredictorError
        If a candidate is unknown or named twice, or there are fewer than two folds.

    Notes
    -----
    Weights are in proportion to ``error ** -sqrt(n)`` for n curves: the more there are, the more
    the errors out of fold are believed. To the error of a candidate that sees more of a curve
    than its last value is added the standard error of its difference from the best one that does
    not (the rule of one standard error, Breiman et al., Classification and Regression Trees):
    what may be luck earns it no weight.

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
        mended = mend(curves)
        lost = setbacks(curves, mended)
        self.setback_ = _learned(lost, targets - mended[:, -1])
        mended[:, -1] += self.setback_ * lost
        models = self._models()
        misses = np.array([self._misses(m, mended, targets, static) for m in models.values()])
        self.errors_ = dict(zip(models, misses.mean(axis=1).tolist(), strict=True))
        shares = _weigh(misses, np.array([isinstance(m, _SIMPLE) for m in models.values()]))
        self.weights_ = dict(zip(models, shares.tolist(), strict=True))
        self.chosen_ = max(self.weights_, key=self.weights_.__getitem__)
        self.record = {
            "chosen": self.chosen_,
            "weights": self.weights_,
            "errors": {k: e if np.isfinite(e) else None for k, e in self.errors_.items()},
            "setback": self.setback_,
        }
        self._fitted = [
            (weight, models[name].fit(mended, targets, static))
            for name, weight in self.weights_.items()
            if weight > 0
        ]
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d) and ``static`` (m, p): the weighted mean."""
        curves, static = check_curves(curves, static)
        mended = mend(curves)
        mended[:, -1] += self.setback_ * setbacks(curves, mended)
        forecasts = [weight * model.predict(mended, static) for weight, model in self._fitted]
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

    def _misses(
        self, model: Predictor, curves: Array, targets: Array, static: Array | None
    ) -> Array:
        """Absolute errors (n,) out of fold; infinite if the model cannot learn from so few."""
        try:
            forecasts = out_of_fold(
                model, curves, targets, static, folds=self.folds, seed=self.seed
            )
        except PredictorError:
            return np.full(len(targets), np.inf)
        return np.abs(forecasts - targets)


def _made(candidate: str | Mapping[str, Any] | Predictor) -> Predictor:
    if isinstance(candidate, str | Mapping):
        return make_predictor(candidate)
    if not isinstance(candidate, Predictor):
        raise PredictorError(f"candidates: {candidate!r} has no methods fit and predict")
    return copy.deepcopy(candidate)


def _learned(lost: Array, rises: Array) -> float:
    """By what factor expected setbacks (n,) came true, given what curves rose by (n,) in the end.

    A curve counts for as much as its setback stands out of the noise of those without one; that
    they come true as expected counts for one curve.
    """
    set_back = lost > 0
    if not set_back.any():
        return 1.0
    noise = 0.0
    if not set_back.all():
        rises = rises - np.median(rises[~set_back])
        noise = float(np.median(np.abs(rises[~set_back])))
    lost, rises = lost[set_back], rises[set_back]
    counts = (lost / np.hypot(lost, _DOUBT * noise)) ** 2
    return float((1.0 + counts @ np.clip(rises / lost, 0.0, 2.0)) / (1.0 + counts.sum()))


def _weigh(misses: Array, simple: npt.NDArray[np.bool_]) -> Array:
    """Weights (k,) of candidates with these absolute errors (k, n), some of them simple."""
    n = misses.shape[1]
    errors = misses.mean(axis=1)
    if simple.any():
        best = misses[simple][errors[simple].argmin()]
        charged = ~simple & np.isfinite(errors)
        errors[charged] += (misses[charged] - best).std(axis=1, ddof=1) / np.sqrt(n)
    least = errors.min()
    weights = np.zeros_like(errors)
    if least > 0:
        weights = (least / errors) ** np.sqrt(n)
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


_SIMPLE = (_Mean, LastValue, LastDrop, LinearOnLast)  # they have the benefit of the doubt
