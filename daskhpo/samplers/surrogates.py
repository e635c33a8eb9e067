"""Scikit-optimize's surrogates, made to answer for many candidates and pending trials at once."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from daskhpo.samplers.features import Array

__all__ = ["Belief", "Forest", "GaussianProcess", "Pool", "Surrogate"]


class Pool(Protocol):
    """Candidates and what is believed of them: ``mean`` and ``std`` have the shape (m,)."""

    mean: Array
    std: Array

    def condition(self, index: int) -> None:
        """Believe that candidate ``index`` is being tried: it and its like get less uncertain."""


class Belief(Protocol):
    """A surrogate that knows the results and the pending trials."""

    def pool(self, candidates: Array) -> Pool:
        """Apply the belief to candidates of shape (m, f)."""


class Surrogate(Protocol):
    """What :class:`~daskhpo.samplers.bayes.Bayes` asks of a model."""

    def fit(self, rows: Array, scores: Array, rng: np.random.Generator) -> None:
        """Fit what is expensive (hyperparameters) to rows of shape (n, f)."""

    def believe(
        self, rows: Array, scores: Array, pending: Array, rng: np.random.Generator
    ) -> Belief:
        """Condition on all rows, of shape (n, f), and on pending ones, of shape (p, f)."""


class GaussianProcess:
    """Scikit-optimize's Gaussian process with its Matern kernel and a posterior by Cholesky.

    The kernel and the marginal likelihood are those of ``skopt.learning``; its ``predict`` takes
    20 s for 10,000 candidates and 1,000 results, the triangular solve used here 1 s. A weak
    prior on the logarithms of the hyperparameters keeps fits to few results sensible; each fit
    starts where the last one ended.

    References
    ----------
    Rasmussen and Williams, Gaussian processes for machine learning, 2006, algorithm 2.1;
    Ginsbourger, Le Riche and Carraro, Kriging is well-suited to parallelize optimization, 2010
    (pending trials are believed to give their posterior mean); Hvarfner, Hellsten and Nardi,
    Vanilla Bayesian optimization performs great in high dimensions, ICML 2024 (lengths that
    grow with the dimension).
    """

    def __init__(self) -> None:
        self._theta: Array | None = None  # log hyperparameters of the last fit
        self._kernel: Any = None

    def fit(self, rows: Array, scores: Array, rng: np.random.Generator) -> None:
        """Maximise the posterior density of the kernel's hyperparameters."""
        from scipy.optimize import fmin_l_bfgs_b
        from skopt.learning import GaussianProcessRegressor

        kernel = self._new_kernel(rows.shape[1])
        model = GaussianProcessRegressor(kernel=kernel, noise="gaussian", optimizer=None)
        model.fit(rows, scores)

        centre, width = _prior(rows.shape[1])

        def loss(theta: Array) -> tuple[float, Array]:
            value, slope = model.log_marginal_likelihood(theta, eval_gradient=True)
            if not math.isfinite(value):  # the covariance is not positive definite here
                return 1e10, np.zeros_like(theta)
            z = (theta - centre) / width
            return 0.5 * float(z @ z) - value, z / width - slope

        # Calling the optimiser here, not in skopt, avoids its warnings about hyperparameters
        # at their bounds, which cannot be silenced in one thread alone.
        start = centre if self._theta is None else self._theta
        most = 100 if self._theta is None else 20  # later fits only follow
        theta, _, _ = fmin_l_bfgs_b(loss, start, bounds=kernel.bounds, maxiter=most)
        self._theta = np.clip(theta, *kernel.bounds.T)
        self._kernel = kernel.clone_with_theta(self._theta)

    def believe(
        self, rows: Array, scores: Array, pending: Array, rng: np.random.Generator
    ) -> GaussianBelief:
        """Factorise the covariance of all results and pending trials, with the kernel fitted."""
        return GaussianBelief(self._kernel, rows, scores, pending)

    @staticmethod
    def _new_kernel(columns: int) -> Any:
        from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        lengths = Matern(np.ones(columns), [(0.01, 100.0)] * columns, nu=2.5)
        return ConstantKernel(1.0, (0.01, 1000.0)) * lengths + WhiteKernel(1e-2, (1e-6, 1.0))


def _prior(columns: int) -> tuple[Array, Array]:
    """Mean and standard deviation of log amplitude, log length of each column, log noise."""
    length = math.log(0.5 * columns**0.25)
    centre = np.array([0.0] + [length] * columns + [math.log(1e-3)])
    return centre, np.array([1.0] * (columns + 1) + [2.0])


class GaussianBelief:
    """Posterior of a Gaussian process: the Cholesky factor of the covariance of what it knows.

    ``rows`` (n, f) with their ``scores`` (n,), then ``pending`` (p, f) whose scores are their
    posterior means: that leaves the mean everywhere as it is and takes away uncertainty.
    """

    def __init__(self, kernel: Any, rows: Array, scores: Array, pending: Array) -> None:
        self.kernel = kernel
        self.variance = float(kernel.k1.k1.constant_value)
        self.noise = float(kernel.k2.noise_level)
        self.rows, self.factor, self.weights = rows, np.empty((0, 0)), np.empty(0)
        self._factorise(rows, scores)
        if len(pending):
            lies = GaussianPool(self, pending).mean
            self._factorise(np.vstack([rows, pending]), np.concatenate([scores, lies]))

    def _factorise(self, rows: Array, scores: Array) -> None:
        from scipy.linalg import cholesky, solve_triangular

        covariance = self.kernel(rows)  # with the noise on the diagonal
        covariance[np.diag_indices(len(rows))] += 1e-8 * self.variance  # against rounding
        self.rows = rows
        self.factor = cholesky(covariance, lower=True, check_finite=False)
        self.weights = solve_triangular(self.factor, scores, lower=True, check_finite=False)

    def pool(self, candidates: Array) -> GaussianPool:
        """Apply the posterior to candidates."""
        return GaussianPool(self, candidates)


class GaussianPool:
    """Candidates under a Gaussian posterior that can be conditioned on one after another.

    Conditioning appends a row to the Cholesky factor of (known, candidates): O((n + p) m) for
    each pick instead of O((n + p)^3).
    """

    def __init__(self, belief: GaussianBelief, candidates: Array) -> None:
        from scipy.linalg import solve_triangular

        cross = belief.kernel(belief.rows, candidates)
        self._belief, self._candidates = belief, candidates
        # (n + p + picks, m), rows beyond self._known are room for picks
        self._half = solve_triangular(belief.factor, cross, lower=True, check_finite=False)
        self._known = len(self._half)
        self.mean: Array = belief.weights @ self._half
        self._variance = belief.variance - np.einsum("km,km->m", self._half, self._half)
        self.std = self._deviation()

    def condition(self, index: int) -> None:
        """Believe that a candidate turns out as its mean says."""
        if self._known == len(self._half):
            room = np.empty((self._known // 4 + 16, len(self.mean)))
            self._half = np.vstack([self._half, room])
        known, belief = self._half[: self._known], self._belief
        cross = belief.kernel(self._candidates[[index]], self._candidates)[0]
        scale = math.sqrt(max(self._variance[index], 0.0) + belief.noise + 1e-8 * belief.variance)
        row = (cross - known[:, index] @ known) / scale
        self._half[self._known] = row
        self._known += 1
        self._variance -= row**2
        self.std = self._deviation()

    def _deviation(self) -> Array:
        deviation: Array = np.sqrt(np.maximum(self._variance, 1e-12 * self._belief.variance))
        return deviation


class Forest:
    """Scikit-optimize's extremely randomised trees.

    Their cost hardly grows with the number of results, and categories do not trouble them. A
    pending trial takes uncertainty from candidates in proportion to the share of trees that put
    both into the same leaf: the kernel of the forest itself.

    References
    ----------
    Geurts, Ernst and Wehenkel, Extremely randomized trees, Machine Learning 63, 3 (2006).
    """

    def fit(self, rows: Array, scores: Array, rng: np.random.Generator) -> None:
        """Do nothing: trees have no hyperparameters to fit, and are grown by :meth:`believe`."""

    def believe(
        self, rows: Array, scores: Array, pending: Array, rng: np.random.Generator
    ) -> ForestBelief:
        """Grow 100 trees."""
        from skopt.learning import ExtraTreesRegressor

        seed = int(rng.integers(2**31))
        model = ExtraTreesRegressor(100, min_samples_leaf=3, random_state=seed)
        return ForestBelief(model.fit(rows, scores), pending)


class ForestBelief:
    """A grown forest and the leaves of the pending trials, of shape (p, trees)."""

    def __init__(self, model: Any, pending: Array) -> None:
        self.model = model
        self.leaves = model.apply(pending) if len(pending) else ()

    def pool(self, candidates: Array) -> ForestPool:
        """Apply the forest to candidates."""
        pool = ForestPool(self.model, candidates)
        for leaves in self.leaves:
            pool.share(leaves)
        return pool


class ForestPool:
    """Candidates under a forest, with the mean and deviation of ``skopt.learning``.

    The law of total variance over the trees: the variance within the leaves, and between them.
    """

    def __init__(self, model: Any, candidates: Array) -> None:
        self._leaves = model.apply(candidates)  # (m, trees): the one pass that costs
        trees = [estimator.tree_ for estimator in model.estimators_]
        leaves = list(zip(trees, self._leaves.T, strict=True))
        means = np.array([tree.value[leaf, 0, 0] for tree, leaf in leaves])  # (trees, m)
        within = np.array([tree.impurity[leaf] for tree, leaf in leaves])
        self.mean: Array = means.mean(axis=0)
        self.std: Array = np.sqrt(np.maximum(within, 1e-4).mean(axis=0) + means.var(axis=0))

    def condition(self, index: int) -> None:
        """Believe that a candidate turns out as its mean says."""
        self.share(self._leaves[index])

    def share(self, leaves: Any) -> None:
        """Take uncertainty from the candidates that share ``leaves``, of shape (trees,)."""
        shared = (self._leaves == leaves).mean(axis=1)
        self.std = self.std * np.sqrt(np.maximum(1 - shared**2, 1e-6))
