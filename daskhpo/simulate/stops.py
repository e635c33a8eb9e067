"""Trials that advice has stopped, and which of them would have been kept: known in simulations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from daskhpo.simulate.sources import Source
from daskhpo.trial import Fact, Params

__all__ = ["Stops"]


class Stops:
    """Listens to a study whose adviser may stop trials, and looks up what these would have become.

    A stop is wrong if the stored curve is not above, at the step that was forecast, what the trial
    had to reach there at that moment.

    Parameters
    ----------
    source : Source
        Of the curves.
    emit : callable, optional
        Receives every fact after this has.

    Attributes
    ----------
    stopped, wrong : int
        Trials that were stopped by advice, and how many of these would have been kept. A trial
        that was called back and is stopped again counts once.

    Examples
    --------
    >>> from daskhpo.advice import make_adviser
    >>> from daskhpo.simulate import Problem, Rows, simulate
    >>> curves = [[4.0 + x, 2.0 + x, 1.0 + x] for x in range(20)]
    >>> source = Rows(Problem("made up", "loss", [{"x": x} for x in range(20)], curves))
    >>> adviser = make_adviser("last_drop", {"mode": "obey", "labels": 4, "delta": 0.2, "looks": 2})
    >>> run = simulate(source, "fifo", adviser=adviser)
    >>> run.stopped > 5, run.wrong
    (True, 0)
    """

    def __init__(self, source: Source, emit: Callable[[Fact], object] | None = None) -> None:
        self._source = source
        self._emit = emit
        self._params: dict[int, Params] = {}  # {trial: its configuration}
        self._stops: dict[int, bool] = {}  # {trial: whether one of its stops was wrong}

    @property
    def stopped(self) -> int:
        """How many trials."""
        return len(self._stops)

    @property
    def wrong(self) -> int:
        """How many of these would have been kept."""
        return sum(self._stops.values())

    def __call__(self, fact: Fact) -> None:
        """Take a fact in."""
        if fact["kind"] == "offered":
            self._params[fact["number"]] = fact["params"]
        elif fact.get("advice", {}).get("heard") == "obeyed":
            self._look_up(fact["number"], fact["advice"])
        if self._emit is not None:
            self._emit(fact)

    def _look_up(self, number: int, advice: Mapping[str, Any]) -> None:
        curve = self._source.curve(self._params[number], number)
        bar = math.inf if advice["bar"] is None else advice["bar"]
        wrong = self._source.problem.sign * float(curve[advice["target"] - 1]) <= bar
        self._stops[number] = wrong or self._stops.get(number, False)
