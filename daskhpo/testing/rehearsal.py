"""A campaign on workers that are made up, and slow, and fail."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskhpo.study import Study
from daskhpo.trial import Decision, Job, Outcome

__all__ = ["Rehearsal", "standing"]


@dataclass(slots=True)
class _Stay:
    """A job on a simulated worker: what it has trained, and how it will end once it has left."""

    job: Job
    step: int
    stop: int
    outcome: Outcome | None = None
    error: str = ""


class Rehearsal:
    """Run a study on simulated workers that are slow, fail, die and repeat themselves.

    Who is served next is drawn at random. Mishaps, while ``mishaps`` of them are left: the trial
    fails, is lost or interrupted, fails while it saves its checkpoint, reports NaN or nothing,
    repeats a report, an old one comes late, the study is closed. Each step's loss is a function
    of trial and step, and takes few values, so that there are ties.

    Parameters
    ----------
    study : Study
        To be run; its limit is set.
    workers : int
        How many jobs run at the same time.
    rng : numpy.random.Generator
        Draws everything.
    mishaps : int
        How many things go wrong.

    Attributes
    ----------
    begun : list of (int, int)
        (number, attempt) of every job, in order.

    Examples
    --------
    >>> from daskhpo import ASHA, Float, Space, TrialState
    >>> from daskhpo.samplers import Random
    >>> space = Space(x=Float(0.0, 1.0))
    >>> study = Study(space, ASHA(max_step=9, eta=3), Random(space), metric="loss")
    >>> Rehearsal(study, workers=3, rng=np.random.default_rng(1)).run(trials=9)
    >>> any(trial.state is TrialState.COMPLETED for trial in study.trials.values())
    True
    """

    def __init__(
        self, study: Study, *, workers: int, rng: np.random.Generator, mishaps: int = 0
    ) -> None:
        self.study = study
        self.rng = rng
        self.mishaps = mishaps
        self.begun: list[tuple[int, int]] = []
        self._idle = workers
        self._stays: list[_Stay] = []
        self._kept: dict[int, int] = {}  # {number: step of its checkpoint}
        self._said: list[tuple[int, int, int, dict[str, float]]] = []  # reports, to be repeated

    def run(self, trials: int) -> None:
        """Until nothing runs and nothing is left to start.

        Raises
        ------
        AssertionError
            If the study starts a trial that is still on a worker, or does not come to an end.
        """
        self.study.set_limit(trials)
        patience = 100 * (trials + self.mishaps + 1) * (self.study.scheduler.max_step + 5)
        while self._ask() or self._stays:
            patience -= 1
            assert patience, "the study does not come to an end"
            if self._stays:
                self._serve(self._stays[self.rng.integers(len(self._stays))])
            self._meddle()
        assert not self.study.running

    def _chance(self, odds: float) -> bool:
        """Whether one of the mishaps that are left happens now."""
        happens = self.mishaps > 0 and bool(self.rng.random() < odds)
        self.mishaps -= happens
        return happens

    def _ask(self) -> bool:
        """Give an idle worker a job; False if there is none."""
        if not self._idle or (self.rng.random() < 0.3 and self._stays):
            return bool(self._stays)
        if not self._stays and self.study.closed is not None:
            self.study.reopen()
        job = self.study.ask()
        if job is None:
            return False
        held = [stay.job.attempt for stay in self._stays if stay.job.number == job.number]
        assert not held, f"trial {job.number} starts while its attempts {held} are on a worker"
        again = self.study.trials[job.number].decision is Decision.PAUSE  # for its checkpoint
        assert job.stop > job.start or again, f"{job} has nothing to train"
        self.begun.append((job.number, job.attempt))
        self._idle -= 1
        if job.parent is not None and job.attempt == 0:
            self._kept[job.number] = self._kept.get(job.parent, 0)
        step = min(self._kept.get(job.number, 0), job.start)
        self._stays.append(_Stay(job, step, job.stop))
        return True

    def _serve(self, stay: _Stay) -> None:
        if stay.outcome is not None:
            self._leave(stay)
        elif self._chance(0.1):
            stay.outcome = list(Outcome)[self.rng.integers(3, 6)]
            stay.error = "a mishap"
        else:
            self._train(stay)

    def _train(self, stay: _Stay) -> None:
        job, limit = stay.job, self.study.scheduler.max_step
        stay.step = min(limit, stay.step + 1 + self._chance(0.1) * int(self.rng.integers(4)))
        metrics = {"loss": (hash((job.number, stay.step)) % 13) / 13 + 1 / stay.step}
        if self._chance(0.05):
            metrics = [{"loss": math.nan}, {"loss": -math.inf}, {}][self.rng.integers(3)]
        report = (job.number, job.attempt, stay.step, metrics)
        self._said.append(report)
        answer = self.study.report(*report)
        if self._chance(0.1):
            again = self.study.report(*report)
            assert again.decision is answer.decision, "a repeated report got another answer"
        if answer.decision is Decision.PAUSE:
            stay.outcome = Outcome.FAILED if self._chance(0.1) else Outcome.PAUSED
        elif answer.decision is Decision.STOP or stay.step >= limit:
            stay.outcome = Outcome.COMPLETED if stay.step >= limit else Outcome.STOPPED
        elif stay.step >= stay.stop:
            assert answer.stop > stay.step, f"a trial at {stay.step} waits for ever: {answer}"
        stay.stop = answer.stop

    def _leave(self, stay: _Stay) -> None:
        assert stay.outcome is not None
        job = stay.job
        if stay.outcome in (Outcome.PAUSED, Outcome.INTERRUPTED):
            self._kept[job.number] = stay.step
        retry = bool(self.rng.random() < 0.8)
        for _ in range(2 if self._chance(0.1) else 1):
            self.study.tell(
                job.number, job.attempt, stay.outcome, seconds=1.0, error=stay.error, retry=retry
            )
        self._stays.remove(stay)
        self._idle += 1

    def _meddle(self) -> None:
        if self._said and self._chance(0.05):
            self.study.report(*self._said[self.rng.integers(len(self._said))])
        if self._chance(0.01):
            self.study.close("a mishap")
        elif self.study.closed is not None and self.rng.random() < 0.2:
            self.study.reopen()


def standing(study: Study) -> Any:
    """All that decides what a study does next, as plain data: equal for equal studies.

    Examples
    --------
    >>> from daskhpo import Fifo, Float, Space
    >>> from daskhpo.samplers import Random
    >>> space = Space(x=Float(0.0, 1.0))
    >>> study = Study(space, Fifo(3), Random(space), metric="loss")
    >>> standing(study)["trials"]
    []
    """
    adviser = study.adviser
    return {
        "trials": [repr(trial) for trial in study.trials.values()],
        "rungs": list(study.scheduler.table()),
        "running": sorted(study.running),
        "offers": list(study.offers),
        "limit": study.limit,
        "closed": study.closed,
        "exhausted": study.exhausted,
        "counts": (study.reports, study.steps, study.next_number),
        "best": None if study.best is None else study.best.number,
        "advice": None if adviser is None else (repr(adviser.tally), dict(adviser._looked)),
    }
