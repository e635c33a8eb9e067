"""A regressor in place of stored rows: curves everywhere in a space with structure."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import CampaignError, DataError
from daskhpo.simulate.draws import Draws
from daskhpo.simulate.encoding import Encoding
from daskhpo.simulate.problem import Array, Problem
from daskhpo.trial import Params

__all__ = ["Surrogate"]

_STREAM = 3  # of the noise, beside those of speeds and failures
_FOLDS = 5


class Surrogate:
    """Whole curves predicted by extra trees that were fitted on the stored ones.

    Use it to judge samplers: unlike a look-up table, it answers everywhere, and better where the
    stored configurations are better. It is smoother than what it was fitted on, so what a
    scheduler gains on it says less than on :class:`~daskhpo.simulate.Rows`.

    Parameters
    ----------
    problem : Problem
        The stored curves; its parameters must make a space, see :meth:`Problem.space`.
    trees : int
        How many to average.
    leaf : int
        Stored configurations in a leaf, at least.
    noise : float
        0 for none. Otherwise each trial gets the out-of-fold residual curve of a stored
        configuration drawn by its number, times this.
    seed : int
        Of the trees and of the noise.

    Raises
    ------
    DataError
        If the parameters do not make a space, or one of a single point.
    CampaignError
        If an argument is not allowed.

    Notes
    -----
    Curves are predicted as a whole (multi-output regression), so that a predicted curve is an
    average of real ones and keeps their shape. The residuals of noise come from five-fold
    cross-validation: those in the training set are too small, or zero.

    Examples
    --------
    >>> params = [{"x": x / 19} for x in range(20)]
    >>> curves = np.array([[2 + point["x"], 1 + point["x"]] for point in params])
    >>> source = Surrogate(Problem("made up", "loss", params, curves), trees=20)
    >>> bool(abs(source.curve({"x": 0.42}, number=0)[1] - 1.42) < 0.1)
    True
    """

    def __init__(
        self,
        problem: Problem,
        *,
        trees: int = 100,
        leaf: int = 2,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        for name, value in (("trees", trees), ("leaf", leaf)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CampaignError(f"surrogate: {name}={value!r}: an integer of at least 1")
        if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise < 1e9:
            raise CampaignError(f"surrogate: noise={noise!r}: a number of at least 0")
        if noise and len(problem) < _FOLDS:
            raise CampaignError(f"surrogate: noise={noise!r} needs at least {_FOLDS} stored curves")
        self.problem = problem
        self.space = problem.space()
        self.noise = noise
        self._encoding = Encoding(self.space)
        if not self.space.dimension:
            raise DataError(f"problem {problem.name!r}: all its parameters are constant")
        points = self._encoding.many(problem.params)
        curves = problem.curves if problem.max_step > 1 else problem.curves[:, 0]
        model = _regressor(trees, leaf, seed)
        self._forest = _Forest(model.fit(points, curves))
        self._draws = Draws(lambda rng, n: rng.random(n), seed, _STREAM)
        self._residuals = np.zeros((1, problem.max_step))
        if noise:
            self._residuals = noise * _residuals(model, points, curves, seed)

    def curve(self, params: Params, number: int) -> Array:
        """The predicted curve, with the noise of trial ``number``."""
        curve = self._forest(self._encoding(params))
        if self.noise:
            row = int(self._draws[number] * len(self._residuals))
            curve = curve + self._residuals[row]
        return curve

    def identity(self, params: Params, number: int) -> Hashable:
        """The configuration; with noise, every trial is one of its own."""
        return number if self.noise else tuple(params.items())

    def configuration(self, params: Params, number: int) -> Params:
        """The configuration itself."""
        return params

    def stream(self, seed: int) -> None:
        """None: any sampler will do."""
        return

    def __repr__(self) -> str:
        return f"Surrogate({self.problem!r})"


class _Forest:
    """One point through all fitted trees at once.

    scikit-learn takes milliseconds for a single point: it is made for many. Here the nodes of
    all trees lie in one array each, and a point descends all trees in step.
    """

    def __init__(self, model: Any) -> None:
        trees = [each.tree_ for each in model.estimators_]
        sizes = [tree.node_count for tree in trees]
        self._roots = np.cumsum([0, *sizes[:-1]])
        shift = np.repeat(self._roots, sizes)
        self._left = np.concatenate([tree.children_left for tree in trees]) + shift
        self._right = np.concatenate([tree.children_right for tree in trees]) + shift
        feature = np.concatenate([tree.feature for tree in trees])
        self._inner = feature >= 0
        self._feature = np.maximum(feature, 0)  # negative in leaves
        self._threshold = np.concatenate([tree.threshold for tree in trees])
        self._curves = np.concatenate([tree.value[:, :, 0] for tree in trees])  # (nodes, R)

    def __call__(self, point: Array) -> Array:
        nodes: npt.NDArray[np.intp] = self._roots
        single = point.astype(np.float32)  # what the trees were split on
        while True:
            inner = self._inner[nodes]
            if not inner.any():
                mean: Array = self._curves[nodes].mean(axis=0)
                return mean
            low = single[self._feature[nodes]] <= self._threshold[nodes]
            below = np.where(low, self._left[nodes], self._right[nodes])
            nodes = np.where(inner, below, nodes)


def _regressor(trees: int, leaf: int, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(trees, min_samples_leaf=leaf, random_state=seed % 2**32)


def _residuals(model: Any, points: Array, curves: Array, seed: int) -> Array:
    """Stored minus predicted curves, of shape (n, R), each predicted without itself."""
    from sklearn.base import clone
    from sklearn.model_selection import KFold, cross_val_predict

    folds = KFold(_FOLDS, shuffle=True, random_state=seed % 2**32)
    predicted = cross_val_predict(clone(model), points, curves, cv=folds)
    residuals: Array = (curves - predicted).reshape(len(curves), -1)
    return residuals
