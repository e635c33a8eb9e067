"""What tests of schedulers need: real curves, and workers that train along them."""

from __future__ import annotations

import csv
import heapq
import os
from pathlib import Path

import numpy as np
import pytest

from daskhpo.samplers import Random
from daskhpo.space import Float, Space
from daskhpo.study import Study
from daskhpo.trial import Decision, Outcome, TrialState

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.fixture(scope="session")
def mlpf():
    """The 136 distinct MLPF curves without a restart, (curves, epochs): see SOURCES.md there."""
    source = SHARED / "curves" / "mlpf_delphes.csv"
    if not source.exists():
        pytest.skip(f"{source} is missing (set DASKHPO_SHARED)")
    curves = {}
    with open(source, newline="") as file:
        for row in csv.DictReader(file):
            loss = np.array([float(row.pop(f"loss_{epoch}")) for epoch in range(100)])
            if not restarts(loss):
                curves.setdefault(tuple(row.values()), loss)
    return np.array(list(curves.values()))


def restarts(loss):
    span = loss[0] - loss.min()
    for epoch in range(3, len(loss)):
        again = loss[epoch : epoch + 5]
        if (
            again[0] - loss[epoch - 1] > 0.25 * span
            and abs(again[0] - loss[0]) < 0.1 * span
            and (abs(again - loss[: len(again)]) < 0.25 * span).all()
        ):
            return True
    return False


class Race:
    """A study after workers of different speeds have trained along stored curves.

    Attributes
    ----------
    study : Study
    facts : list of dict
    curves : array of shape (trials, steps)
        The one that each trial follows.
    final : list of float
        What each trial would reach, or has reached, in the end.
    """

    def __init__(self, scheduler, curves, *, trials, workers, seed=0, spread=0.3):
        rng = np.random.default_rng(seed)
        rows = np.concatenate(
            [rng.permutation(len(curves)) for _ in range(-(-trials // len(curves)))]
        )
        self.curves = np.asarray(curves)[rows[:trials]]
        self._pace = rng.lognormal(0, spread, trials)  # time that a step of each trial takes
        self.final = self.curves[:, -1].tolist()
        self.facts = []
        space = Space(x=Float(0.0, 1.0))
        self.study = Study(space, scheduler, Random(space), metric="loss", emit=self.facts.append)
        self.study.set_limit(trials)
        self._run(workers)

    def _run(self, workers):
        now, events, idle = 0.0, [], workers  # (time, number, attempt, step)
        while True:
            while idle and (job := self.study.ask()) is not None:
                idle -= 1
                end = now + self._pace[job.number]
                heapq.heappush(events, (end, job.number, job.attempt, job.start + 1))
            if not events:
                return
            now, number, attempt, step = heapq.heappop(events)
            loss = float(self.curves[number, step - 1])
            decision = self.study.report(number, attempt, step, {"loss": loss}).decision
            if decision is Decision.CONTINUE:
                heapq.heappush(events, (now + self._pace[number], number, attempt, step + 1))
                continue
            idle += 1
            outcome = Outcome.PAUSED if decision is Decision.PAUSE else Outcome.STOPPED
            self.study.tell(number, attempt, outcome)

    @property
    def rank(self):
        """How many trials would have ended better than the best complete one."""
        complete = [
            self.final[n] for n, t in self.study.trials.items() if t.state is TrialState.COMPLETED
        ]
        return sum(value < min(complete) for value in self.final)


@pytest.fixture(scope="session")
def race():
    """Let a scheduler decide over stored curves; see :class:`Race`."""
    return Race
