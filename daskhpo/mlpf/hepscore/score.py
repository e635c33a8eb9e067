"""From throughputs to a score, by the formula of hep-score.

A workload is run several times; each run gives one throughput or more. A run is worth the geometric
mean of its throughputs over those of a reference machine, a workload the median of its runs, and a
set of workloads the weighted geometric mean of theirs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from daskhpo.exceptions import DataError

__all__ = ["hepscore", "run_score", "workload_score"]

DIGITS = 4  # hep-score rounds the score of each run, and the final one


def run_score(throughputs: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Compare one run with the reference machine.

    Parameters
    ----------
    throughputs : mapping of str to float
        The `wl-scores` of a run's summary.
    reference : mapping of str to float
        The same of the reference machine; throughputs without one do not count.

    Returns
    -------
    float
        Geometric mean of their ratios, rounded to four digits.

    Raises
    ------
    DataError
        If a throughput is missing or not positive.

    Examples
    --------
    >>> run_score({"mlpf": 2.4248}, {"mlpf": 15.4})
    0.1575
    """
    for name in reference:
        if name not in throughputs:
            raise DataError(f"the run has no throughput {name!r}; it has {sorted(throughputs)}")
    values = {name: throughputs[name] for name in reference}
    _check_positive("throughput", values)
    _check_positive("reference", reference)
    ratios = [values[name] / reference[name] for name in reference]
    return round(statistics.geometric_mean(ratios), DIGITS)


def workload_score(runs: Sequence[Mapping[str, float]], reference: Mapping[str, float]) -> float:
    """Take the median over the repetitions of a workload.

    Examples
    --------
    >>> round(workload_score([{"mlpf": 2.4248}, {"mlpf": 2.4916}], {"mlpf": 15.4}), 5)
    0.15965
    """
    if not runs:
        raise DataError("runs=[]: a score needs at least one run")
    return statistics.median(run_score(run, reference) for run in runs)


def hepscore(
    scores: Mapping[str, float],
    weights: Mapping[str, float] | None = None,
    *,
    scaling: float = 1.0,
) -> float:
    """Combine the scores of workloads into the machine's.

    Parameters
    ----------
    scores : mapping of str to float
        From `workload_score`, by workload.
    weights : mapping of str to float, optional
        Of the workloads; equal by default.
    scaling : float
        Score of the reference machine.

    Returns
    -------
    float
        `scaling` times the weighted geometric mean, rounded to four digits.

    Raises
    ------
    DataError
        If a score, a weight or the scaling is not positive, or a weight is missing.

    Examples
    --------
    >>> hepscore({"mlpf": 0.15965}, scaling=10.0)
    1.5965
    """
    if not scores:
        raise DataError("scores={}: a score needs at least one workload")
    chosen = dict.fromkeys(scores, 1.0) if weights is None else dict(weights)
    if set(chosen) != set(scores):
        raise DataError(
            f"weights of {sorted(chosen)}: must be given for each of {sorted(scores)} alone"
        )
    _check_positive("score", scores)
    _check_positive("weight", chosen)
    _check_positive("scaling", {"all": scaling})
    logs = sum(chosen[name] * math.log(scores[name]) for name in scores)
    return round(scaling * math.exp(logs / sum(chosen.values())), DIGITS)


def _check_positive(what: str, values: Mapping[str, float]) -> None:
    if not values:
        raise DataError(f"no {what} is given: at least one is needed")
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise DataError(f"{what} of {name}={value!r}: must be a number above 0")
