"""Forecasts of curves by predictors that have not learned from them."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.base import Array, Predictor
from daskhpo.predictors.features import check_known

__all__ = ["deal", "out_of_fold"]

Rows = npt.NDArray[np.intp]


def out_of_fold(
    predictor: Predictor,
    curves: Array,
    targets: Array,
    static: Array | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Array:
    """Forecast every curve by a predictor that was fitted on the others alone.

    Use it to learn how good a predictor is from the curves that there are: what it says of those
    that it has learned from means little.

    Parameters
    ----------
    predictor : Predictor
        Copies are fitted; it stays as it is.
    curves : array of shape (n, d)
        Values at the first d steps.
    targets : array of shape (n,)
        What they came to.
    static : array of shape (n, p), optional
        See :class:`~daskhpo.predictors.base.Predictor`.
    folds : int
        How many copies, each fitted without one part of the curves; with fewer curves than that,
        one without each.
    seed : int
        Draws the parts.

    Returns
    -------
    array of shape (n,)
        Forecasts, in the order of the curves.

    Raises
    ------
    PredictorError
        If there are fewer than two folds or curves, or the predictor cannot learn from a part.

    Examples
    --------
    >>> from daskhpo.predictors import LastDrop
    >>> curves, targets = np.array([[5.0], [4.0], [3.0]]), np.array([4.0, 3.0, 1.0])
    >>> out_of_fold(LastDrop(), curves, targets)  # each less the median drop of the other two
    array([3.5, 2.5, 2. ])
    """
    curves, targets, static = check_known(curves, targets, static)
    forecasts = np.empty_like(targets)
    for known, others in deal(len(targets), folds, seed=seed):
        facts = (None, None) if static is None else (static[known], static[others])
        fitted = copy.deepcopy(predictor).fit(curves[known], targets[known], facts[0])
        forecasts[others] = fitted.predict(curves[others], facts[1])
    return forecasts


def deal(n: int, folds: int, *, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Deal n rows out: for each part the rows of all others, and its own, both in order.

    Raises
    ------
    PredictorError
        If there are fewer than two folds.

    Examples
    --------
    >>> [others.tolist() for _, others in deal(5, 2, seed=0)]
    [[1, 2, 3], [0, 4]]
    """
    if folds < 2:
        raise PredictorError(f"folds={folds!r}: must be at least 2")
    order = np.random.default_rng(seed).permutation(n)
    for part in range(min(folds, n)):
        own = order[part::folds]
        yield np.delete(np.arange(n), own), np.sort(own)
