"""Quantiles of results by boosted trees, corrected so that they hold what they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daskhpo.samplers.features import Array

__all__ = ["LEVELS", "Quantiles"]

LEVELS = np.arange(1, 6) / 6  # an odd number: pairs round the median
HELD_OUT = 0.1  # share of the results that corrects the others
ENOUGH = 32  # results from which on some are held out


class Quantiles:
    r"""The quantiles 1/6, 2/6, ... 5/6 of the result at any configuration.

    Parameters
    ----------
    rows : array of shape (n, f)
        Configurations.
    scores : array of shape (n,)
        Their results.
    rng : numpy.random.Generator
        Draws who is held out, and the trees.

    Notes
    -----
    Each pair of quantiles round the median is widened (or narrowed) by the offset that would have
    made it hold as many of the held-out results as it claims: with the scores
    :math:`E_i = \max(q_{lo}(x_i) - y_i, y_i - q_{hi}(x_i))`, their quantile of level
    :math:`(1 - \alpha)(1 + 1/k)` for k held out (Romano, Patterson and Candès, Conformalized
    quantile regression, NeurIPS 2019).

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> rows = rng.random((200, 1))
    >>> model = Quantiles(rows, 3 * rows[:, 0] + rng.normal(size=200), rng)
    >>> low, _, middle, _, high = model.predict(np.array([[0.5]]))[:, 0]
    >>> bool(low < middle < high)
    True
    """

    def __init__(self, rows: Array, scores: Array, rng: np.random.Generator) -> None:
        kept = np.ones(len(rows), bool)
        if len(rows) >= ENOUGH:
            kept[rng.permutation(len(rows))[: math.ceil(HELD_OUT * len(rows))]] = False
        self._models = [_grow(level, rows[kept], scores[kept], rng) for level in LEVELS]
        self._offsets = np.zeros((len(LEVELS), 1))
        if not kept.all():
            self._correct(self.predict(rows[~kept]), scores[~kept])

    def predict(self, rows: Array) -> Array:
        """Quantiles of rows of shape (m, f): the shape (5, m), rising along the first axis."""
        raw = np.array([model.predict(rows) for model in self._models])
        return np.sort(np.sort(raw, axis=0) + self._offsets, axis=0)

    def draw(self, rows: Array, rng: np.random.Generator) -> Array:
        """Draw one of the quantiles for each row: the shape (m,)."""
        quantiles = self.predict(rows)
        return np.asarray(quantiles[rng.integers(len(LEVELS), size=len(rows)), range(len(rows))])

    def _correct(self, quantiles: Array, scores: Array) -> None:
        for place in range(len(LEVELS) // 2):
            low, high = quantiles[place], quantiles[-1 - place]
            misses = np.maximum(low - scores, scores - high)
            inside = LEVELS[-1 - place] - LEVELS[place]
            offset = np.quantile(misses, min(1.0, inside * (1 + 1 / len(misses))))
            self._offsets[place], self._offsets[-1 - place] = -offset, offset


def _grow(level: float, rows: Array, scores: Array, rng: np.random.Generator) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss="quantile",
        quantile=level,
        max_iter=50,
        max_leaf_nodes=8,
        min_samples_leaf=2,  # few results are all there are in the beginning
        early_stopping=False,
        random_state=int(rng.integers(2**31)),
    )
    return model.fit(rows, scores)
