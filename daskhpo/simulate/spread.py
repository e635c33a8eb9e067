"""What several runs with different seeds have in common: medians and spreads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from daskhpo.simulate.run import Run

__all__ = ["ADVISED", "QUANTITIES", "spread"]

QUANTITIES: Mapping[str, Callable[[Run], float]] = {
    "trials": lambda run: run.begun,
    "steps": lambda run: run.trained,
    "share": lambda run: run.share,
    "rank": lambda run: math.nan if run.rank is None else run.rank,
    "value": lambda run: run.found_value,
    "regret": lambda run: run.regret,
    "makespan": lambda run: run.makespan,
    "idle": lambda run: run.idle / (run.idle + run.busy) if run.busy else math.nan,
    "overhead": lambda run: run.overhead / run.busy if run.busy else math.nan,
    "checkpoints": lambda run: run.checkpoints,
}
"""``share`` is of training every trial in full, ``idle`` of the time that workers were there,
``overhead`` of the time that they were busy."""

ADVISED: Mapping[str, Callable[[Run], float]] = {
    "stopped": lambda run: math.nan if run.stopped is None else run.stopped,
    "wrong": lambda run: run.wrong_share,
}
"""What there is beside that where an adviser was heard: trials that it stopped on their way to a
milestone, and the share of these that would have been kept there."""


def spread(runs: Sequence[Run]) -> dict[str, dict[str, float | None]]:
    """Median, 10 % and 90 % quantile of each of :data:`QUANTITIES`, and of :data:`ADVISED`.

    Parameters
    ----------
    runs : sequence of Run
        The same campaign with different seeds. Runs without a value (nothing was found) do not
        count.

    Returns
    -------
    dict
        ``{quantity: {"median": ..., "low": ..., "high": ...}}``, as JSON data: None for what no
        run has.

    Examples
    --------
    >>> from daskhpo.simulate import Problem, Rows, simulate
    >>> source = Rows(Problem("made up", "loss", [{"x": 1}, {"x": 2}], [[3.0, 2.0], [4.0, 1.0]]))
    >>> spread([simulate(source, "fifo", seed=seed) for seed in range(3)])["steps"]
    {'median': 4.0, 'low': 4.0, 'high': 4.0}
    """
    found: dict[str, dict[str, float | None]] = {}
    advised = any(run.stopped is not None for run in runs)
    quantities = {**QUANTITIES, **ADVISED} if advised else QUANTITIES
    for name, quantity in quantities.items():
        values = [value for run in runs if math.isfinite(value := quantity(run))]
        low, median, high = np.quantile(values, [0.1, 0.5, 0.9]).tolist() if values else [None] * 3
        found[name] = {"median": median, "low": low, "high": high}
    return found
