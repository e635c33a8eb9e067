"""A number in bins of another: the bins, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.physics.uncertainties import Estimate, Resamples, divide, wilson

__all__ = ["ETA_EDGES", "JET_PT_EDGES", "MOMENTUM_EDGES", "Curve", "bin_of", "quartiles_in_bins"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool]

MOMENTUM_EDGES = np.geomspace(0.5, 500.0, 13)  # GeV, pT or energy of particles
ETA_EDGES = np.linspace(-5.0, 5.0, 21)
JET_PT_EDGES = np.array([5.0, 7.5, 10, 15, 20, 30, 40, 60, 80, 120, 200, 400])  # GeV

MIN_ENTRIES = 10  # quartiles of fewer values mean nothing


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A number in bins of another.

    Parameters
    ----------
    edges : (K + 1,) float64
        Bin k holds what is above edge k, up to and including edge k + 1.
    value, low, high : (K,) float64
        The number and the ends of its interval of one standard deviation; NaN where a bin does
        not give them.
    """

    edges: Float
    value: Float
    low: Float
    high: Float

    @classmethod
    def of_samples(cls, edges: Float, samples: list[Float]) -> Curve:
        """Make a curve of one array of samples (see `Resamples`) for each bin."""
        estimates = [Estimate.of(of_bin) for of_bin in samples]
        value = np.array([estimate.value for estimate in estimates])
        error = np.array([estimate.error for estimate in estimates])
        return cls(edges, value, value - error, value + error)

    @classmethod
    def of_fraction(cls, edges: Float, values: Float, passed: Mask) -> Curve:
        """Make a curve of the fractions that have passed, with Wilson's intervals.

        Examples
        --------
        >>> curve = Curve.of_fraction(np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.0, 1.5]),
        ...                           np.array([True, False, True]))
        >>> curve.value
        array([0.5, 1. ])
        """
        total, k = len(edges) - 1, bin_of(values, edges)
        inside = (k >= 0) & (k < total)
        n = np.bincount(k[inside], minlength=total)
        n_passed = np.bincount(k[inside & passed], minlength=total)
        value = divide(n_passed.astype(np.float64), n.astype(np.float64))
        return cls(edges, value, *wilson(n_passed, n))


def bin_of(values: Float, edges: Float) -> Int:
    """Number the bin of each value; -1 below the first, K above the last.

    Examples
    --------
    >>> bin_of(np.array([5.0, 5.1, 10.0, 21.0]), np.array([5.0, 10.0, 20.0]))
    array([-1,  0,  0,  2])
    """
    return np.searchsorted(edges, values, side="left") - 1


def quartiles_in_bins(
    edges: Float, at: Float, values: Float, event: Int, resamples: Resamples
) -> list[Float]:
    """Compute p25, p50 and p75 of values in bins of something else.

    Parameters
    ----------
    edges : (K + 1,) float64
    at, values : (n,) float64
        What decides the bin; what the quartiles are of.
    event : (n,) int64
        To which event each value belongs.
    resamples : Resamples

    Returns
    -------
    list of K arrays (B + 1, 3)
        NaN in bins of fewer than ten values.

    Examples
    --------
    >>> resamples, event = Resamples.draw(40, 9, np.random.default_rng(1)), np.arange(40)
    >>> at = np.arange(40.0)
    >>> low, high = quartiles_in_bins(np.array([-1.0, 30.0, 40.0]), at, 2 * at, event, resamples)
    >>> low[0], high[0]
    (array([15., 30., 45.]), array([nan, nan, nan]))
    """
    bins, found = bin_of(at, edges), []
    for k in range(len(edges) - 1):
        inside = bins == k
        if inside.sum() < MIN_ENTRIES:
            found.append(np.full((len(resamples.weights), 3), np.nan))
        else:
            found.append(resamples.percentiles(values[inside], event[inside], (25, 50, 75)))
    return found
