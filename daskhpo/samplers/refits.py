"""When a model is fitted again, and to which results: what keeps suggestions quick."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daskhpo.samplers.features import Array

__all__ = ["patience", "subset"]


def patience(fitted: int) -> int:
    """Further results to wait for before a model that saw ``fitted`` is fitted again.

    A quarter more, 25 more beyond 100, 5 % more beyond 500.

    Examples
    --------
    >>> [patience(n) for n in (2, 40, 200, 1000)]
    [1, 10, 25, 50]
    """
    return max(1, min(fitted // 4, max(25, fitted // 20)))


def subset(scores: Array, most: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Choose at most so many rows: a quarter the best, a quarter the latest, the rest by lot.

    Parameters
    ----------
    scores : array of shape (n,)
        The smaller, the better; the latest come last.
    most : int
        How many.
    rng : numpy.random.Generator
        Draws the lots.

    Returns
    -------
    int array
        Indices, rising.

    Examples
    --------
    >>> subset(np.array([3.0, 1.0, 2.0]), 5, np.random.default_rng(0)).tolist()
    [0, 1, 2]
    """
    n = len(scores)
    if n <= most:
        return np.arange(n)
    chosen = set(np.argsort(scores, kind="stable")[: most // 4].tolist())
    chosen |= set(range(n - most // 4, n))
    others = np.setdiff1d(np.arange(n), list(chosen))
    lot = rng.choice(others, most - len(chosen), replace=False)
    return np.sort(np.concatenate([list(chosen), lot])).astype(np.intp)
