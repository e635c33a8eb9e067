"""How much a candidate promises."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from daskhpo.samplers.features import Array

__all__ = ["ACQUISITIONS", "log_expected_improvement", "lower_bound"]


def log_expected_improvement(mean: Array, std: Array, best: float) -> Array:
    r"""Logarithm of the expected improvement below ``best``.

    The logarithm ranks candidates as the expected improvement itself does, but does not
    underflow far from the optimum, where the latter is 0 everywhere.

    Parameters
    ----------
    mean, std : arrays of shape (m,)
        What the surrogate believes of each candidate.
    best : float
        The smallest value known.

    Returns
    -------
    array of shape (m,)
        The larger, the more promising.

    Notes
    -----
    With :math:`z = (best - \mu) / \sigma`, :math:`EI = \sigma (\phi(z) + z \Phi(z))`, written
    with the scaled complementary error function for negative z; Ament et al., Unexpected
    improvements to expected improvement, NeurIPS 2023, eq. 9.

    Examples
    --------
    >>> scores = log_expected_improvement(np.array([0.0, 1.0]), np.array([0.1, 0.1]), 0.0)
    >>> bool(scores[0] > scores[1])
    True
    """
    from scipy.special import erfcx, log_ndtr

    z = (best - mean) / std
    log_density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    negative = np.minimum(z, -1e-12)
    ratio = math.sqrt(math.pi / 2) * erfcx(-negative / math.sqrt(2)) * -negative  # in (0, 1)
    # Beyond z = -1e4 the ratio is 1 - 1/z**2 to within rounding.
    tail = np.where(z > -1e4, np.log1p(-np.minimum(ratio, 1 - 1e-16)), -2 * np.log(-negative))
    positive = np.maximum(z, 0.0)
    body = np.log(
        np.exp(-0.5 * positive**2) / math.sqrt(2 * math.pi) + positive * np.exp(log_ndtr(positive))
    )
    return np.log(std) + np.where(z < 0, log_density + tail, body)


def lower_bound(mean: Array, std: Array, best: float) -> Array:
    """Negative lower confidence bound, ``1.96 std - mean``.

    Parameters
    ----------
    mean, std : arrays of shape (m,)
        What the surrogate believes of each candidate.
    best : float
        Not needed.

    Returns
    -------
    array of shape (m,)
        The larger, the more promising.
    """
    return 1.96 * std - mean


ACQUISITIONS: dict[str, Callable[[Array, Array, float], Array]] = {
    "ei": log_expected_improvement,
    "lcb": lower_bound,
}
