"""The scale on which results are compared: as if all had trained equally long, without outliers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median_low

import numpy as np

from daskhpo.samplers.features import Array

__all__ = ["comparable", "prolonged", "scalarised", "winsorised"]


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


def scalarised(values: Array, rng: np.random.Generator) -> Array:
    r"""Trade several metrics off against one another, with weights that are drawn anew each time.

    Whoever minimises the result finds one point of the Pareto front, a different one for other
    weights; so a campaign that weighs anew for each suggestion explores the whole front.

    Parameters
    ----------
    values : array of shape (n, m)
        Metrics, all to be small; rows that are not finite are failed trials.
    rng : numpy.random.Generator
        Draws the weights, evenly over all that add up to 1.

    Returns
    -------
    array of shape (n,)
        The metric itself where there is only one; inf for failed trials.

    Notes
    -----
    The augmented Tchebycheff function :math:`\max_j w_j f_j + 0.05 \sum_j w_j f_j` of Knowles,
    ParEGO, IEEE Trans. Evolutionary Computation 10, 50 (2006), of metrics that go from 0 (the
    best seen) to 1 (the worst). Before, bad outliers are cut off as :func:`winsorised`
    does: one trial of 1 TB would otherwise make all others equal.

    Examples
    --------
    >>> values = np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 9.0]])
    >>> int(scalarised(values, np.random.default_rng(0)).argmax())
    2
    """
    result = np.full(len(values), np.inf)
    fine = np.isfinite(values).all(axis=1)
    if values.shape[1] == 1:
        result[fine] = values[fine, 0]
    elif fine.any():
        weights = rng.dirichlet(np.ones(values.shape[1]))
        scores = np.column_stack([winsorised(column) for column in values[fine].T])
        spread = np.maximum(np.ptp(scores, axis=0), 1e-14)
        weighed = weights * (scores - scores.min(axis=0)) / spread
        result[fine] = weighed.max(axis=1) + 0.05 * weighed.sum(axis=1)
    return result


def comparable(
    values: Array,
    steps: Array,
    gains: Mapping[tuple[int, int], Sequence[Array]],
    rng: np.random.Generator,
) -> Array:
    """Bring results of different steps and metrics to one scale: what surrogates are fitted to.

    Parameters
    ----------
    values : array of shape (n, m)
        Last values of each trial; rows that are not finite are failed trials.
    steps : array of shape (n,)
        Their steps.
    gains : mapping
        ``{(step, later step): changes, an array of shape (m,) for each trial seen at both}``.
    rng : numpy.random.Generator
        Weighs the metrics where there are several.

    Returns
    -------
    array of shape (n,)
        Mean 0 and standard deviation 1 among the trials that did not fail; a failed one is as
        bad as the worst.
    """
    columns = [
        prolonged(
            column, steps, {pair: [float(g[j]) for g in many] for pair, many in gains.items()}
        )
        for j, column in enumerate(values.T)
    ]
    merged = scalarised(np.column_stack(columns), rng)
    fine = np.isfinite(merged)
    scores = np.zeros(len(merged))
    if fine.any():
        scores[fine] = winsorised(merged[fine])
        scores[~fine] = scores[fine].max()
    return scores
