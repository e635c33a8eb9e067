"""How good the forecasts of one split are, in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from daskhpo.analysis.agreement import rank_correlation
from daskhpo.simulate.problem import Array

__all__ = ["Score", "lost", "r2", "score"]

_BEST = 0.05  # share of the curves that end best: the ones not to be lost
_KEPT = 0.25  # share that Swift-Hyperband's rule would keep


@dataclass(frozen=True, slots=True)
class Score:
    """One fit of a predictor, and its forecasts of the curves that it did not see.

    Parameters
    ----------
    r2 : float
        Share of the targets' variance that is explained.
    exchanged : float
        The same with the arguments of the function exchanged, as the papers have it: the error
        relative to the variance of the forecasts.
    spearman : float
        Rank correlation of forecasts and targets; nan where all forecasts are equal.
    lost : float
        Share of the best 5 % that are forecast to end outside the best quarter.
    error : float
        Median absolute error.
    seconds : float
        That the fit took.
    backend : str
        What answered, of predictors that ask an annealer; else empty.
    """

    r2: float
    exchanged: float
    spearman: float
    lost: float
    error: float
    seconds: float
    backend: str = ""


def score(forecasts: Array, targets: Array, *, seconds: float, backend: str = "") -> Score:
    """Compare forecasts (m,) with what became of the curves (m,); values are minimised."""
    agreement = rank_correlation(forecasts, targets) if len(targets) >= 4 else None
    return Score(
        r2=r2(targets, forecasts),
        exchanged=r2(forecasts, targets),
        spearman=agreement.value if agreement else math.nan,
        lost=lost(forecasts, targets),
        error=float(np.median(np.abs(forecasts - targets))),
        seconds=seconds,
        backend=backend,
    )


def r2(targets: Array, forecasts: Array) -> float:
    """1 less the squared errors as a share of the targets' variance; 0 if they have none.

    Examples
    --------
    >>> targets = np.array([1.0, 2.0, 3.0])
    >>> r2(targets, targets), r2(targets, targets[::-1]), r2(targets, np.full(3, 2.0))
    (1.0, -3.0, 0.0)
    """
    variance = float(np.square(targets - targets.mean()).sum())
    errors = float(np.square(targets - forecasts).sum())
    return 1.0 - errors / variance if variance else 0.0


def lost(forecasts: Array, targets: Array) -> float:
    """Share of the best 5 % (at least one) that are forecast to end outside the best quarter.

    Examples
    --------
    >>> targets = np.arange(40.0)
    >>> forecasts = targets.copy()
    >>> forecasts[1] = 30.0
    >>> lost(targets, targets), lost(forecasts, targets)
    (0.0, 0.5)
    """
    best = np.argsort(targets, kind="stable")[: max(1, round(_BEST * len(targets)))]
    return float((forecasts[best] > np.quantile(targets, _KEPT)).mean())
