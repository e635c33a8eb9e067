"""What came out of a simulated campaign."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo.simulate.problem import Array, Problem
from daskhpo.study import Study
from daskhpo.trial import Params

__all__ = ["History", "Run"]

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """How a campaign went on: a row whenever a trial began or the incumbent changed.

    Parameters
    ----------
    time : array of shape (n,)
        In units of one median step, rising.
    trained : array of shape (n,)
        Steps trained until then, repeated ones included.
    begun : array of shape (n,)
        Trials begun until then.
    value : array of shape (n,)
        The stored final value of the trial that was the incumbent then (the best value at any
        step), as reported; nan before there was one.
    """

    time: Array
    trained: Counts
    begun: Counts
    value: Array

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A simulated campaign: what it found and what that cost.

    Times are in units of one median step.

    Parameters
    ----------
    study : Study
        As the campaign left it.
    problem : Problem
        The stored curves.
    workers : int
        How many there were.
    trained : int
        Steps that workers trained; those that were lost and trained again count twice.
    makespan : float
        When the last job ended.
    busy, overhead : float
        Time that jobs held workers, summed over workers; and how much of it went into start-ups
        and checkpoints.
    idle : float
        Time that workers were there without a job, summed over workers.
    checkpoints : int
        How many were written.
    found : int or None
        The trial that a user would take: of the completed ones that with the best last value; if
        none is complete, the incumbent. None if nobody ever reported.
    found_value : float
        Its stored final value, as reported; nan if there is none.
    rank : int or None
        How many of the different configurations that were begun have a better stored final
        value: 0 is the best.
    regret : float
        How much worse ``found_value`` is than the best of these, at least 0; nan if there is none.
    history : History
        The way there.
    params : mapping or None
        The configuration found, in the problem's own parameters.
    stopped, wrong : int or None
        Trials that an adviser had stopped on their way to a milestone, and how many of these had
        to be kept by what is stored of them, see :class:`~daskhpo.simulate.stops.Stops`. None
        without an adviser.

    Examples
    --------
    >>> from daskhpo.simulate import Rows, simulate
    >>> problem = Problem("made up", "loss", [{"x": 1}, {"x": 2}], [[3.0, 2.0], [4.0, 1.0]])
    >>> run = simulate(Rows(problem), "fifo", workers=2, speeds=0.0)
    >>> run.found_value, run.trained, run.makespan, run.busy, run.idle
    (1.0, 4, 2.1, 4.2, 0.0)
    """

    study: Study
    problem: Problem
    workers: int
    trained: int
    makespan: float
    busy: float
    overhead: float
    idle: float
    checkpoints: int
    found: int | None
    found_value: float
    rank: int | None
    regret: float
    history: History = field(repr=False)
    params: Params | None = None
    stopped: int | None = None
    wrong: int | None = None

    @property
    def steps(self) -> int:
        """Steps that trials have advanced: :attr:`trained` without repetitions."""
        return self.study.steps

    @property
    def begun(self) -> int:
        """Trials begun."""
        return len(self.study.trials)

    @property
    def share(self) -> float:
        """Steps trained, as a share of training every trial that has begun to its end."""
        full = self.begun * self.study.scheduler.max_step
        return self.trained / full if full else math.nan

    @property
    def wrong_share(self) -> float:
        """Share of :attr:`wrong` among those that were stopped by advice; nan if nobody was."""
        return (self.wrong or 0) / self.stopped if self.stopped else math.nan

    def reached(self, value: float) -> float:
        """When the incumbent was first one whose stored final value is as good as ``value``.

        Returns
        -------
        float
            The time; inf if that never happened.

        Examples
        --------
        >>> from daskhpo.simulate import Rows, simulate
        >>> problem = Problem("made up", "loss", [{"x": 1}, {"x": 2}], [[3.0, 2.0], [4.0, 1.0]])
        >>> run = simulate(Rows(problem), "fifo", workers=2, speeds=0.0)
        >>> run.reached(1.0), run.reached(0.5)
        (2.1, inf)
        """
        sign = self.problem.sign
        good = np.flatnonzero(sign * self.history.value <= sign * value)  # nan compares False
        return float(self.history.time[good[0]]) if len(good) else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, history included; what has no value is None."""
        history = self.history
        advised = {"stopped": self.stopped, "wrong": self.wrong}
        return {
            "problem": self.problem.name,
            "metric": self.problem.metric,
            "direction": str(self.problem.direction),
            "unit": self.problem.unit,
            "scheduler": dict(self.study.scheduler.settings()),
            "workers": self.workers,
            "trials": self.begun,
            "trained": self.trained,
            "steps": self.steps,
            "share": _plain(self.share),
            "makespan": self.makespan,
            "busy": self.busy,
            "overhead": self.overhead,
            "idle": self.idle,
            "checkpoints": self.checkpoints,
            **(advised if self.study.adviser is not None else {}),
            "found": self.found,
            "params": None if self.params is None else dict(self.params),
            "found_value": _plain(self.found_value),
            "rank": self.rank,
            "regret": _plain(self.regret),
            "history": {
                "time": history.time.tolist(),
                "trained": history.trained.tolist(),
                "begun": history.begun.tolist(),
                "value": [_plain(value) for value in history.value.tolist()],
            },
        }

    def __repr__(self) -> str:
        found = "nothing found" if self.found is None else f"rank {self.rank}"
        return (
            f"<Run {self.problem.name!r}, {self.study.scheduler!r}: {self.begun:,} trials, "
            f"{self.trained:,} {self.problem.unit}s, {found}>"
        )


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
