"""Densities made of kernels round known configurations: of numbers, choices and conditions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from daskhpo.samplers.features import Array, Features

__all__ = ["Kernels", "rule_of_thumb"]


class Kernels:
    """A density over the unit cube: the mean of one product kernel round each of some points.

    A number has a Gaussian kernel. A choice of c values keeps its value with probability
    ``1 - width`` and takes each other one with ``width / (c - 1)`` (Aitchison and Aitken). What a
    point does not know, because it is inactive there, counts as spread evenly.

    Parameters
    ----------
    features : Features
        Of the space, with d dimensions.
    centres : array of shape (n, d)
        The points.
    known : bool array of shape (n, d)
        Which of their coordinates mean something.
    widths : array of shape (d,)
        Standard deviation of numbers in the unit interval; for choices at most ``(c - 1) / c``.

    References
    ----------
    Aitchison and Aitken, Multivariate binary discrimination by the kernel method, Biometrika 63,
    413 (1976).

    Examples
    --------
    >>> from daskhpo.space import Float, Space
    >>> features = Features(Space(x=Float(0.0, 1.0)))
    >>> density = Kernels(features, np.array([[0.5]]), np.array([[True]]), np.array([0.1]))
    >>> density.log_density(np.array([[0.5], [0.7]])).round(2)
    array([ 1.38, -0.62])
    """

    def __init__(
        self, features: Features, centres: Array, known: npt.NDArray[np.bool_], widths: Array
    ) -> None:
        self._features, self._centres, self._known = features, centres, known
        pairs = zip(features.sizes, features.unordered, strict=True)
        self._values = np.array([int(size) if choice else 2 for size, choice in pairs], int)
        widest = np.where(features.unordered, 1 - 1 / self._values, np.inf)
        self._widths = np.minimum(widths, widest)

    def draw(self, many: int, rng: np.random.Generator, stretch: float = 1.0) -> Array:
        """Draw points, of shape (many, d).

        Parameters
        ----------
        many : int
            How many.
        rng : numpy.random.Generator
            Source of randomness.
        stretch : float
            Factor on the widths of numbers, whose Gaussians end at the faces of the cube.
        """
        from scipy.special import ndtr, ndtri

        chosen = rng.integers(len(self._centres), size=many)
        centres, known = self._centres[chosen], self._known[chosen]
        widths = np.maximum(self._widths * stretch, 1e-12)
        low, high = ndtr(-centres / widths), ndtr((1 - centres) / widths)
        moved = centres + widths * ndtri(low + rng.random(centres.shape) * (high - low))
        kept = rng.random(centres.shape) >= self._widths
        other = (centres + rng.integers(1, self._values, centres.shape) / self._values) % 1
        drawn = np.where(self._features.unordered, np.where(kept, centres, other), moved)
        return np.where(known, drawn, rng.random(centres.shape)).clip(0.0, 1.0)

    def log_density(self, units: Array) -> Array:
        """Logarithm of the density at points of shape (m, d); returns the shape (m,)."""
        snapped, active = self._features.snap(units)
        from scipy.special import logsumexp

        each = np.zeros((len(units), len(self._centres)))
        for column, (width, values) in enumerate(zip(self._widths, self._values, strict=True)):
            gap = snapped[:, [column]] - self._centres[:, column]
            if self._features.unordered[column]:
                same, other, even = 1 - width, width / (values - 1), 1 / values
                kernel = np.where(np.abs(gap) < 0.5 / values, math.log(same), math.log(other))
            else:
                kernel = -0.5 * (gap / width) ** 2 - math.log(width * math.sqrt(2 * math.pi))
                even = 1.0
            kernel = np.where(self._known[:, column], kernel, math.log(even))
            each += np.where(active[:, [column]], kernel, 0.0)
        total: Array = logsumexp(each, axis=1) - math.log(len(self._centres))
        return total


def rule_of_thumb(
    features: Features, units: Array, known: npt.NDArray[np.bool_], least: float
) -> Array:
    r"""Widths of kernels round points: the normal reference rule, at least ``least``.

    Parameters
    ----------
    features : Features
        Of the space, with d dimensions.
    units : array of shape (n, d)
        The points.
    known : bool array of shape (n, d)
        Which of their coordinates mean something; the others are left out.
    least : float
        The smallest width.

    Returns
    -------
    array of shape (d,)

    Notes
    -----
    :math:`1.06\, \sigma\, n^{-1/(4 + d)}` (Silverman 1986, chapter 4). In place of the
    standard deviation, choices have the root of the probability that two of them differ, which
    does not depend on the order in which their values were written down.
    """
    n, d = units.shape
    spread = np.full(d, math.sqrt(1 / 12))  # what is known of fewer than two: as if even
    for column in np.flatnonzero(known.sum(axis=0) > 1):
        values = units[known[:, column], column]
        spread[column] = values.std()
        if features.unordered[column]:
            _, counts = np.unique(values.round(9), return_counts=True)
            spread[column] = math.sqrt(max(0.0, 1 - ((counts / len(values)) ** 2).sum()))
    widths: Array = np.maximum(1.06 * spread * n ** (-1 / (4 + d)), least)
    return widths
