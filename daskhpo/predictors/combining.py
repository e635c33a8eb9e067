"""What is made of an annealer's solutions: the weight of each, and the offset of a machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.base import Array
from daskhpo.scalars import nearest

__all__ = ["COMBINATIONS", "OFFSETS", "offset", "papers_top", "weigh"]

_PERFECT = 1e-12  # an error this small is none: solutions that fit perfectly share the weight
_SUPPORT = 1e-8  # a coefficient above this is one


def papers_top(reads: int) -> int:
    """How many solutions the papers combine after so many reads: 4 of a thousand, at least 2."""
    return max(int(0.004 * reads), 2)


def weigh(combine: str, residuals: Array, energies: Array, targets: Array) -> Array:
    r"""Weights (r,), of sum 1, with which the coefficients of solutions are averaged.

    Parameters
    ----------
    combine : str
        ``"mean"`` all alike; ``"best"`` only the one with the least squared error on the curves
        that it was trained on; ``"min_energy"`` only the one with the least energy; ``"mse"`` and
        ``"logcosh"`` in proportion to the inverse of the error; ``"softmax_mse"`` and
        ``"softmax_logcosh"`` the softmax of that inverse; ``"softmax_r2"`` the softmax of R².
    residuals : array of shape (r, N)
        Targets less the forecasts of each solution.
    energies : array of shape (r,)
        Of each solution.
    targets : array of shape (N,)
        On the scale on which the machine is trained, of order 1.

    Raises
    ------
    PredictorError
        If ``combine`` is none of these; the nearest one is named.

    Notes
    -----
    After Pasetto et al., Quantum SVR for chlorophyll concentration estimation in water with remote
    sensing, IEEE Geoscience and Remote Sensing Letters 19 (2022). On what simulated annealing
    finds all are equal within a hundredth of R²; hardware returns outliers, which a plain mean
    lets in. A softmax is not indifferent to the scale of the errors, which is theirs: the squared
    error is a mean over the curves, log cosh the sum of :math:`\log_2((2^e + 2^{-e})/2)` of
    their residuals e.

    Examples
    --------
    >>> residuals = np.array([[0.1, -0.1], [0.3, 0.1]])
    >>> weigh("mse", residuals, np.array([-2.0, -1.0]), np.array([1.0, 0.0])).round(3)
    array([0.833, 0.167])
    """
    if combine not in COMBINATIONS:
        raise PredictorError(f"combine={combine!r}: {nearest(combine, COMBINATIONS)}")
    weights: Array = COMBINATIONS[combine](residuals, energies, targets)
    return weights


def offset(rule: str, residuals: Array, a: Array, A: Array, epsilon: float) -> Array:
    """b (r,) of machines, from what they leave of the targets without it.

    Parameters
    ----------
    rule : str
        ``"mean_residual"``: always defined, and at least as good. ``"authors"``: the mean over
        the support vectors, those with coefficients above 0, of their residuals less epsilon;
        where there are none the mean residual.
    residuals : array of shape (r, N)
        Targets less the forecasts without b.
    a, A : arrays of shape (r, N)
        The coefficients.
    epsilon : float
        Half-width of the tube.

    Raises
    ------
    PredictorError
        If ``rule`` is none of these; the nearest one is named.

    Notes
    -----
    A support vector of A lies epsilon below the machine, so its residual plus epsilon is b. The
    authors subtract epsilon there too, and so does ``"authors"``, for the sake of their figures.
    They also leave out coefficients of 67.61 and more, which their bits cannot say.
    """
    if rule not in OFFSETS:
        raise PredictorError(f"offset={rule!r}: {nearest(rule, OFFSETS)}")
    return OFFSETS[rule](residuals, a, A, epsilon)


def _authors(residuals: Array, a: Array, A: Array, epsilon: float) -> Array:
    supports = (a > _SUPPORT).astype(int) + (A > _SUPPORT)  # one that is in both counts twice
    count = supports.sum(axis=1)
    support_mean = (supports * (residuals - epsilon)).sum(axis=1) / np.maximum(count, 1)
    return np.asarray(np.where(count > 0, support_mean, residuals.mean(axis=1)))


def _squared(residuals: Array) -> Array:
    return np.asarray((residuals**2).mean(axis=1))


def _logcosh(residuals: Array) -> Array:
    return np.asarray((np.logaddexp2(residuals, -residuals) - 1).sum(axis=1))


def _r2(residuals: Array, targets: Array) -> Array:
    return np.asarray(1 - _squared(residuals) / max(float(targets.var()), _PERFECT))


def _inverse(errors: Array) -> Array:
    return np.asarray(1 / np.maximum(errors, _PERFECT))


def _share(scores: Array) -> Array:
    return np.asarray(scores / scores.sum())


def _softmax(scores: Array) -> Array:
    return _share(np.exp(scores - scores.max()))  # the largest is exp(0): nothing overflows


def _least(errors: Array) -> Array:
    return np.asarray(np.eye(len(errors))[errors.argmin()])


# {name: weights (r,) of residuals (r, N), energies (r,), targets (N,)}
COMBINATIONS: Mapping[str, Callable[[Array, Array, Array], Array]] = {
    "mean": lambda residuals, energies, targets: _share(np.ones_like(energies)),
    "best": lambda residuals, energies, targets: _least(_squared(residuals)),
    "min_energy": lambda residuals, energies, targets: _least(energies),
    "mse": lambda residuals, energies, targets: _share(_inverse(_squared(residuals))),
    "softmax_mse": lambda residuals, energies, targets: _softmax(_inverse(_squared(residuals))),
    "logcosh": lambda residuals, energies, targets: _share(_inverse(_logcosh(residuals))),
    "softmax_logcosh": lambda residuals, energies, targets: _softmax(_inverse(_logcosh(residuals))),
    "softmax_r2": lambda residuals, energies, targets: _softmax(_r2(residuals, targets)),
}
# {name: b (r,) of residuals (r, N), a (r, N), A (r, N), epsilon}
OFFSETS: Mapping[str, Callable[[Array, Array, Array, float], Array]] = {
    "authors": _authors,
    "mean_residual": lambda residuals, a, A, epsilon: np.asarray(residuals.mean(axis=1)),
}
