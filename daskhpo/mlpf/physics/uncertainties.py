"""How sure a number is: the bootstrap over events, and binomial intervals.

Particles and jets of one event are not independent, events are: whole events are drawn again, with
replacement, and every number is computed from each of the resamples (Efron, Ann. Statist. 7 (1979)
1). Model and rule-based flow are judged on the same resamples, so their difference has an
uncertainty of its own, usually far smaller than that of either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError

__all__ = ["Estimate", "Quantity", "Resamples", "divide", "wilson"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its uncertainty, one standard deviation; NaN where there is none."""

    value: float
    error: float

    @classmethod
    def of(cls, samples: Float) -> Estimate:
        """Read what `Resamples` gave: the value itself, then those of the resamples.

        Examples
        --------
        >>> Estimate.of(np.array([2.0, 1.0, 3.0]))
        Estimate(value=2.0, error=1.4142135623730951)
        """
        again = samples[1:][np.isfinite(samples[1:])]
        error = float(again.std(ddof=1)) if len(again) > 1 else float("nan")
        return cls(float(samples[0]), error)


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """A number that says how good a reconstruction is.

    Parameters
    ----------
    group, name, unit : str
        "jets", "response median", "".
    ideal : float
        What a perfect reconstruction has.
    samples : (B + 1,) float64
        The value, then those of B resamples.
    """

    group: str
    name: str
    unit: str
    ideal: float
    samples: Float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Resamples:
    """How often each of N events is in each of B resamples.

    All methods compute a number from the events themselves (entry 0) and from each resample
    (entries 1 to B), exactly as if the drawn events lay in memory as often as they were drawn.

    Parameters
    ----------
    weights : (B + 1, N) int64
        Row 0 is one everywhere.

    Examples
    --------
    >>> resamples = Resamples.draw(100, 50, np.random.default_rng(1))
    >>> value = np.arange(100.0)  # one number for each event
    >>> resamples.percentiles(value, np.arange(100), [25, 50])[0]
    array([24.75, 49.5 ])
    """

    weights: Int

    @classmethod
    def draw(cls, events: int, resamples: int, rng: np.random.Generator) -> Resamples:
        """Draw `resamples` times as many events as there are.

        Raises
        ------
        DataError
            If there are fewer than two events, or no resamples to be drawn.
        """
        if events < 2:
            raise DataError(f"events is {events}; uncertainties need at least 2")
        if resamples < 2:
            raise DataError(f"resamples is {resamples}; it must be at least 2")
        drawn = rng.multinomial(events, np.full(events, 1 / events), size=resamples)
        return cls(np.concatenate([np.ones((1, events), np.int64), drawn]))

    def totals(self, event: Int) -> Float:
        """Count things, each of which belongs to an event: (B + 1,)."""
        counts: Int = self.weights @ np.bincount(event, minlength=self.weights.shape[1])
        return counts.astype(np.float64)

    def percentiles(self, values: Float, event: Int, q: npt.ArrayLike) -> Float:
        """Compute percentiles, linear between values as `numpy.percentile`: (B + 1, Q).

        Parameters
        ----------
        values : (n,) float64
        event : (n,) int64
            To which event each value belongs.
        q : (Q,)
            From 0 to 100.
        """
        fraction = np.asarray(q, np.float64) / 100
        order = np.argsort(values)
        values, event = values[order], event[order]
        return np.stack([_percentiles(values, weight[event], fraction) for weight in self.weights])

    def wasserstein(self, a: Float, of_a: Int, b: Float, of_b: Int) -> Float:
        """Compute the first Wasserstein distance of two distributions: (B + 1,).

        The area between their cumulative distributions, in the unit of the values (as
        `scipy.stats.wasserstein_distance`); NaN where one has no value.

        Parameters
        ----------
        a, b : (n,) and (m,) float64
        of_a, of_b : (n,) and (m,) int64
            To which event each value belongs.
        """
        order = np.argsort(np.concatenate([a, b]))
        step = np.diff(np.concatenate([a, b])[order])
        event = np.concatenate([of_a, of_b])[order]
        is_a = order < len(a)
        found = np.empty(len(self.weights))
        for row, weight in enumerate(self.weights):
            drawn = weight[event]
            below_a, below_b = np.cumsum(drawn * is_a), np.cumsum(drawn * ~is_a)
            some = len(drawn) and below_a[-1] and below_b[-1]
            apart = below_a[:-1] / below_a[-1] - below_b[:-1] / below_b[-1] if some else np.nan
            found[row] = (np.abs(apart) * step).sum() if some else np.nan
        return found


def divide(a: Float, b: Float) -> Float:
    """Divide; NaN where there is nothing to divide by."""
    quotient: Float = np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b != 0)
    return quotient


def wilson(passed: npt.ArrayLike, total: npt.ArrayLike, *, z: float = 1.0) -> tuple[Float, Float]:
    """Interval of a fraction by Wilson's score (J. Amer. Statist. Assoc. 22 (1927) 209).

    Unlike sqrt(passed) / total, which the papers' code draws, it stays within 0 and 1 and is not
    empty where all or none have passed.

    Parameters
    ----------
    passed, total : (K,)
        Numbers of independent trials.
    z : float
        Half-width in standard deviations.

    Returns
    -------
    low, high : (K,) float64
        NaN where there was no trial.

    Examples
    --------
    >>> low, high = wilson([0, 5], [10, 10])
    >>> low.round(3), high.round(3)
    (array([0.   , 0.349]), array([0.091, 0.651]))
    """
    k, n = np.asarray(passed, np.float64), np.asarray(total, np.float64)
    fraction, share = divide(k, n), divide(np.full(n.shape, z**2), n)
    middle = (fraction + share / 2) / (1 + share)
    half = np.sqrt(fraction * (1 - fraction) * share + share**2 / 4) / (1 + share)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def _percentiles(values: Float, weight: Int, fraction: Float) -> Float:
    """Percentiles of sorted values of which `values[i]` is there `weight[i]` times."""
    there = np.cumsum(weight)  # number of values up to and including i
    if not len(values) or there[-1] == 0:
        return np.full(fraction.shape, np.nan)
    at = fraction * (there[-1] - 1)
    below = np.floor(at)
    above = np.minimum(below + 1, there[-1] - 1)
    low = values[np.searchsorted(there, below, side="right")]
    high = values[np.searchsorted(there, above, side="right")]
    between: Float = low + (at - below) * (high - low)
    return between
