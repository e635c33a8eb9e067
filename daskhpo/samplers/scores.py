"""The scale on which results are compared: as if all had trained equally long, without outliers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median_low

import numpy as np

from daskhpo.samplers.features import Array

__all__ = ["prolonged", "winsorised"]


def prolonged(
    values: Array, steps: Array, gains: Mapping[tuple[int, int], Sequence[float]]
) -> Array:
    """Estimate what trials would have reached at the largest step.

    A trial that was stopped early looks bad for that alone. To its value is added the
    median change that other trials showed from its step to the next one, and so on up.

    Parameters
    ----------
    values, steps : arrays of shape (n,)
        Last value of each trial and its step; values that are not finite stay as they are.
    gains : mapping
        ``{(step, later step): changes of the value, one for each trial seen at both}``.

    Returns
    -------
    array of shape (n,)

    Examples
    --------
    >>> prolonged(np.array([3.0, 2.5, 1.0]), np.array([1, 1, 9]), {(1, 9): [-2.0, -1.0, -1.5]})
    array([1.5, 1. , 1. ])
    """
    seen = sorted({int(step) for step in steps} | {step for pair in gains for step in pair})
    medians = {pair: (len(many), median_low(many)) for pair, many in gains.items()}
    shift: dict[int, float] = {}  # {step: what is missing to the largest one}
    for step, following in zip(reversed(seen), [None, *reversed(seen)], strict=False):
        known = [(n, -later, gain) for (at, later), (n, gain) in medians.items() if at == step]
        if known:
            _, later, gain = max(known)  # the step that most trials went on to
            shift[step] = gain + shift[-later]
        else:
            shift[step] = 0.0 if following is None else shift[following]
    with np.errstate(over="ignore", invalid="ignore"):
        moved: Array = values + np.array([shift[int(step)] for step in steps])
    return np.where(np.isfinite(moved), moved, values)


def winsorised(values: Array) -> Array:
    """Bring results to mean 0 and standard deviation 1 after cutting off the bad ones.

    Values farther above the median than the best one is below it are cut to that distance:
    where to look next does not depend on how bad the bad ones are, and one loss of 1e9 would
    otherwise flatten all others. Below the median nothing is changed, so the surrogate
    sees the true shape of the valley.

    Parameters
    ----------
    values : array of shape (n,)
        Finite values.

    Returns
    -------
    array of shape (n,)
        Scores; 0 when all values are equal.

    Examples
    --------
    >>> winsorised(np.array([3.0, 1e9, 2.0])).round(2)
    array([ 0.  ,  1.22, -1.22])
    """
    middle, lowest = median_low(values.tolist()), float(values.min())
    if middle == lowest:  # more than half are equal to the best: keep who is worse
        cut = (values > lowest).astype(float)
    else:
        scale = max(abs(middle), abs(lowest))  # differences of scaled values cannot overflow
        highest = 2 * (middle / scale) - lowest / scale
        with np.errstate(over="ignore"):
            cut = np.minimum(values / scale, highest)
    spread = cut.std()
    scores: Array = (cut - cut.mean()) / spread if spread > 1e-14 else np.zeros(len(values))
    return scores
