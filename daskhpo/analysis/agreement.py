"""How well two rankings of the same trials agree, with the uncertainty of few trials."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NOTHING", "Estimate", "implied_share", "rank_correlation", "share_kept", "share_of"]

Array = npt.NDArray[np.float64]

_Z = 1.959963984540054  # two-sided 95 %
_NODES = 256  # of the quadrature over the best trials


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % confidence interval; nan where nothing can be said."""

    value: float
    low: float
    high: float


NOTHING = Estimate(math.nan, math.nan, math.nan)


def rank_correlation(one: Array, other: Array) -> Estimate:
    """Spearman's rank correlation, ties sharing their mean rank.

    Parameters
    ----------
    one, other : array (n,)
        Values of the same n trials, finite; n at least 4.

    Returns
    -------
    Estimate
        Nan where all values of one side are equal.

    Notes
    -----
    The interval is Fisher's, with the variance ``(1 + rho**2 / 2) / (n - 3)`` that Bonett and
    Wright (Psychometrika 65, 2000) give for ranks. A perfect agreement counts, for the interval,
    as one in which a neighbouring pair is half exchanged: even five trials in the same order
    prove no certainty.

    Examples
    --------
    >>> rank_correlation(np.arange(5.0), np.array([1.0, 2.0, 3.0, 5.0, 4.0])).value
    0.9
    """
    from scipy.stats import rankdata

    n = len(one)
    first, second = rankdata(one), rankdata(other)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return NOTHING
    rho = round(float(np.corrcoef(first, second)[0, 1]), 12)
    bound = 1 - 6 / (n * (n * n - 1))
    z = math.atanh(max(-bound, min(bound, rho)))
    spread = _Z * math.sqrt((1 + rho * rho / 2) / (n - 3))
    # Rounding may put a bound beyond a perfect agreement.
    return Estimate(rho, min(rho, math.tanh(z - spread)), max(rho, math.tanh(z + spread)))


def share_kept(early: Array, end: Array, *, eta: int, best: int) -> tuple[float, Estimate]:
    """How many of the best at the end are within the top ``floor(n / eta)`` early on.

    Parameters
    ----------
    early, end : array (n,)
        Minimised values of the same trials.
    eta : int
        One in ``eta`` goes on, at least one.
    best : int
        How many at the end are the best.

    Returns
    -------
    inside : float
        Their number; where trials tie at a border, the one to be expected of drawing among them.
    share : Estimate
        Of ``best``, with Wilson's score interval.

    Examples
    --------
    >>> early, end = np.array([3.0, 1, 2, 4]), np.array([1.0, 2, 3, 4])
    >>> inside, share = share_kept(early, end, eta=2, best=2)
    >>> inside, share.value
    (1.0, 0.5)
    """
    goes_on = _membership(early, max(1, len(early) // eta))
    inside = float(_membership(end, best) @ goes_on)
    return inside, share_of(inside, best)


def share_of(successes: float, n: int) -> Estimate:
    """A share of n with Wilson's score interval.

    Examples
    --------
    >>> found = share_of(1, 10)
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (0.1, 0.018, 0.404)
    """
    share = successes / n
    centre = (share + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z / (1 + _Z * _Z / n) * math.sqrt(share * (1 - share) / n + (_Z / (2 * n)) ** 2)
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def implied_share(correlation: Estimate, *, eta: int, top: float) -> Estimate:
    """The share kept that a rank correlation implies, if both rankings are of normal variables.

    For few trials, whose best one or two say too little by themselves.

    Parameters
    ----------
    correlation : Estimate
        Spearman's.
    eta : int
        The best 1/eta go on.
    top : float
        Which share at the end are the best.

    Examples
    --------
    >>> found = implied_share(Estimate(0.9, 0.0, 1.0), eta=4, top=0.1)
    >>> round(found.value, 2), round(found.low, 2), found.high
    (0.96, 0.25, 1.0)
    """
    from scipy.special import ndtr, ndtri

    end = ndtri((np.arange(_NODES) + 0.5) / _NODES * top)
    cut = ndtri(1 / eta)

    def share(rho: float) -> float:
        if math.isnan(rho):
            return math.nan
        pearson = 2 * math.sin(math.pi / 6 * rho)
        noise = math.sqrt(max(0.0, 1 - pearson * pearson))
        if noise < 1e-9:
            return float(np.mean(pearson * end <= cut))
        return float(np.mean(ndtr((cut - pearson * end) / noise)))

    return Estimate(share(correlation.value), share(correlation.low), share(correlation.high))


def _membership(values: Array, size: int) -> Array:
    """(n,) how much each belongs to the ``size`` smallest; ties at the border share it."""
    below = np.searchsorted(np.sort(values), values, side="left")
    equal = np.searchsorted(np.sort(values), values, side="right") - below
    return np.clip((size - below) / equal, 0.0, 1.0)
