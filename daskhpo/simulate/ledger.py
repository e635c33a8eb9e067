"""What a simulation writes down on its way: costs, incumbents, and what would have been best."""

from __future__ import annotations

import math
from array import array
from collections.abc import Hashable

import numpy as np

from daskhpo.simulate.costs import Walltime
from daskhpo.simulate.problem import Array
from daskhpo.simulate.run import History, Run
from daskhpo.simulate.sources import Source
from daskhpo.study import Study
from daskhpo.trial import Job, Params, TrialState

__all__ = ["Ledger"]


class Ledger:
    """Keeps the books of one simulation.

    Parameters
    ----------
    study : Study
        Whose incumbent is followed.
    source : Source
        Says which trials are the same configuration.

    Attributes
    ----------
    trained : int
        Steps trained, repeated ones included.
    best : float
        The incumbent's best value, signed; inf before there is one.
    checkpoints : int
        How many were written.
    overhead : float
        Time that went into start-ups and checkpoints.
    """

    def __init__(self, study: Study, source: Source) -> None:
        self.trained = 0
        self.best = math.inf
        self.checkpoints = 0
        self.overhead = 0.0
        self._study = study
        self._source = source
        self._sign = source.problem.sign
        self._incumbent: int | None = None
        self._finals = array("d")  # stored final value of trial 0, 1, 2, ..., as reported
        self._identities: list[Hashable] = []
        self._rows: list[tuple[float, int, int, float]] = []  # of the history
        self._now = 0.0  # when the last job ended

    def begin(self, job: Job, curve: Array, now: float) -> None:
        """Note that a job begins; ``curve`` is that of its trial."""
        if job.number < len(self._finals):
            return  # it was here before
        self._finals.append(curve[-1])
        self._identities.append(self._source.identity(job.params, job.number))
        self._note(now)

    def challenge(self, now: float) -> None:
        """Note that the incumbent may have changed."""
        best = self._study.best
        self.best = math.inf if best is None else self._sign * best.best_value
        number = None if best is None else best.number
        if number != self._incumbent:
            self._incumbent = number
            self._note(now)

    def end(self, number: int, now: float) -> None:
        """Note that a job of a trial has ended."""
        self._now = now
        if number == self._incumbent and self._study.trials[number].state is TrialState.FAILED:
            self.challenge(now)

    def close(self, workers: int, walltime: Walltime | None) -> Run:
        """Draw the balance."""
        until = self._now
        alive = workers * (until if walltime is None else walltime.alive(until))
        found = self._found()
        value = math.nan if found is None else self._finals[found]
        drawn = self._sign * np.array(
            list(dict(zip(self._identities, self._finals, strict=True)).values())
        )
        better = drawn < self._sign * value
        return Run(
            study=self._study,
            problem=self._source.problem,
            workers=workers,
            trained=self.trained,
            makespan=until,
            busy=self._study.seconds,
            overhead=self.overhead,
            idle=max(0.0, alive - self._study.seconds),
            checkpoints=self.checkpoints,
            found=found,
            found_value=value,
            rank=None if found is None else int(better.sum()),
            regret=math.nan if found is None else float(self._sign * value - drawn.min()),
            history=self._history(),
            params=None if found is None else self._configuration(found),
        )

    def _configuration(self, number: int) -> Params:
        return self._source.configuration(self._study.trials[number].params, number)

    def _found(self) -> int | None:
        complete = [
            (self._sign * trial.value, trial.number)
            for trial in self._study.trials.values()
            if trial.state is TrialState.COMPLETED
        ]
        if complete:
            return min(complete)[1]
        best = self._study.best
        return None if best is None else best.number

    def _note(self, now: float) -> None:
        value = math.nan if self._incumbent is None else self._finals[self._incumbent]
        row = (now, self.trained, len(self._finals), value)
        if self._rows and self._rows[-1][:2] == row[:2]:
            self._rows[-1] = row  # several workers at the same moment
        else:
            self._rows.append(row)

    def _history(self) -> History:
        time, trained, begun, value = zip(*self._rows, strict=True) if self._rows else [()] * 4
        return History(
            time=np.array(time, np.float64),
            trained=np.array(trained, np.int64),
            begun=np.array(begun, np.int64),
            value=np.array(value, np.float64),
        )
