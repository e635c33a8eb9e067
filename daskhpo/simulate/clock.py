"""The virtual clock: a study, its workers, and a heap of what happens next."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from daskhpo.exceptions import CampaignError
from daskhpo.simulate.costs import Costs, Walltime
from daskhpo.simulate.ledger import Ledger
from daskhpo.simulate.mishaps import Doom, Dooms
from daskhpo.simulate.problem import Array
from daskhpo.simulate.run import Run
from daskhpo.simulate.sources import Source
from daskhpo.simulate.speeds import Pace
from daskhpo.study import Study
from daskhpo.trial import Answer, Decision, Job, Outcome

__all__ = ["Clock", "Conditions"]


# (time, order, stay); None in its place is the birth of a worker. Orders are unique.
_Event = tuple[float, int, "_Stay | None"]


class _Stay:
    """A job on its worker.

    ``value`` is the ``item`` of its curve: a float without a numpy scalar around it, and without
    a list of floats for the many stays that last a step or two. Step s ends at
    ``zero + s * pace``. ``fits`` is the last one before the worker ends; up to ``quiet`` nothing
    but training happens. ``leaving`` is how the job will end, once that is decided.
    """

    __slots__ = (
        *("job", "number", "attempt", "value", "base", "step", "zero", "pace", "quiet"),
        *("fits", "leaving", "began", "born", "doom"),
    )

    def __init__(self, job: Job, curve: Array, base: int, began: float, born: float) -> None:
        self.job = job
        self.number = job.number
        self.attempt = job.attempt
        self.value: Callable[[int], float] = curve.item
        self.base = base  # step of the checkpoint it goes on from
        self.step = base  # last one trained
        self.began = began
        self.born = born  # when its worker began
        self.zero = 0.0
        self.pace = 1.0
        self.fits = len(curve)
        self.quiet = len(curve)
        self.leaving: Outcome | None = None
        self.doom: Doom | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which a campaign runs; see :func:`daskhpo.simulate.simulation.simulate`."""

    workers: int
    costs: Costs
    pace: Pace
    dooms: Dooms | None
    walltime: Walltime | None

    @property
    def least(self) -> float:
        """The time that a job needs at the least: start-up, one median step, checkpoints."""
        return self.costs.startup + self.costs.load + 1 + self.costs.save


class Clock:
    """Carries out what the study decides, one event after another.

    Parameters
    ----------
    study : Study
        New, with its limit set.
    source : Source
        Of the curves.
    conditions : Conditions
        Workers, costs and what goes wrong.
    """

    def __init__(self, study: Study, source: Source, conditions: Conditions) -> None:
        self.study = study
        self.source = source
        self.conditions = conditions
        self.costs = conditions.costs
        self.walltime = conditions.walltime
        self.ledger = Ledger(study, source)
        self._heap: list[_Event] = []
        self._order = 0
        self._idle: deque[float] = deque()  # when each idle worker was born
        self._active = 0  # jobs on workers
        self._kept: dict[int, int] = {}  # {trial: step of its checkpoint}
        for _ in range(conditions.workers):
            self._bear(0.0)

    def run(self) -> Run:
        """Until nothing runs and the study has nothing left."""
        heap, study, ledger = self._heap, self.study, self.ledger
        report, metric, sign = study.report, study.metric, study.direction.sign
        go_on, replace = Decision.CONTINUE, heapq.heapreplace
        exhausted = self._fill(0.0)
        while heap and not (exhausted and not self._active):
            now, _, stay = heap[0]
            if stay is None or stay.leaving is not None:
                heapq.heappop(heap)
                if stay is None:
                    self._bear(now)
                else:
                    self._leave(stay, now)
                exhausted = self._fill(now)
                continue
            step = stay.step = stay.step + 1
            value = stay.value(step - 1)
            answer = report(stay.number, stay.attempt, step, {metric: value})
            ledger.trained += 1
            if sign * value < ledger.best:
                ledger.challenge(now)
            decision = answer.decision
            if decision is go_on and step < stay.quiet:
                self._order += 1
                replace(heap, (stay.zero + (step + 1) * stay.pace, self._order, stay))
                if not answer.evidence:
                    continue
            else:
                heapq.heappop(heap)
                self._turn(stay, answer, now)
            exhausted = self._fill(now)
        return ledger.close(self.conditions.workers, self.walltime)

    # ------------------------------------------------------------------ workers

    def _bear(self, now: float) -> None:
        self._idle.append(now)
        if self.walltime is not None:
            self._push(now + self.walltime.length + self.walltime.queue, None)

    def _fill(self, now: float) -> bool:
        """Give idle workers jobs; whether the study had none for one of them."""
        while self._idle:
            if not self._useful(self._idle[0], now):
                self._idle.popleft()  # its successor is on its way
                continue
            job = self.study.ask()
            if job is None:
                return True
            self._begin(job, self._idle.popleft(), now)
        return False

    def _useful(self, born: float, now: float) -> bool:
        """Whether a worker has time left for start-up, one median step and a checkpoint."""
        if self.walltime is None:
            return True
        return now + self.conditions.least <= born + self.walltime.length

    # ------------------------------------------------------------------ jobs

    def _begin(self, job: Job, born: float, now: float) -> None:
        number, source = job.number, self.source
        curve = source.curve(job.params, number)
        self.ledger.begin(job, curve, now)
        base = self._kept.get(number, 0)
        stay = _Stay(job, curve, base, now, born)
        stay.pace = self.conditions.pace(source.configuration(job.params, number), number)
        if not 0 < stay.pace < math.inf:
            raise CampaignError(f"speeds: a step of trial {number} takes {stay.pace!r}")
        overhead = self.costs.startup + (self.costs.load if base else 0.0)
        self.ledger.overhead += overhead
        stay.zero = now + overhead - base * stay.pace
        stay.fits = stay.quiet = self.study.scheduler.max_step
        if self.walltime is not None:
            room = born + self.walltime.length - self.costs.save - stay.zero
            stay.fits = stay.quiet = min(stay.fits, int(room / stay.pace))
        if self.conditions.dooms is not None:
            stay.doom = self.conditions.dooms.of(job)
            stay.quiet = min(stay.fits, base + stay.doom.after)
        self._active += 1
        if stay.quiet > base:
            self._push(stay.zero + (base + 1) * stay.pace, stay)
        else:
            self._interrupt(stay, now + overhead)

    def _turn(self, stay: _Stay, answer: Answer, now: float) -> None:
        """Let a trial leave that was told to, has come to its end, or cannot train on."""
        complete = stay.step >= self.study.scheduler.max_step
        if answer.decision is Decision.PAUSE:
            self._save(stay, Outcome.PAUSED, now)
        elif answer.decision is Decision.STOP or complete:
            stay.leaving = Outcome.COMPLETED if complete else Outcome.STOPPED
            self._leave(stay, now)
        else:
            self._interrupt(stay, now)

    def _interrupt(self, stay: _Stay, now: float) -> None:
        """The next step will not be finished: its job dies during it, or its worker ends."""
        if stay.step < stay.fits:
            assert stay.doom is not None
            stay.leaving = stay.doom.outcome
            self._push(now + stay.doom.part * stay.pace, stay)
            return
        assert self.walltime is not None
        if stay.step > stay.base:
            self._save(stay, Outcome.INTERRUPTED, now)
            return
        # Only the first step tells how long a step takes: it was begun, and is lost.
        if stay.began == stay.born:
            raise CampaignError(
                f"walltime.length={self.walltime.length!r}: too short for a step of trial "
                f"{stay.number}, which takes {stay.pace:.6g} and start-up"
            )
        stay.leaving = Outcome.INTERRUPTED
        self._push(stay.born + self.walltime.length, stay)

    def _save(self, stay: _Stay, outcome: Outcome, now: float) -> None:
        stay.leaving = outcome
        self._kept[stay.number] = stay.step
        self.ledger.checkpoints += 1
        self.ledger.overhead += self.costs.save
        if self.costs.save:
            self._push(now + self.costs.save, stay)
        else:
            self._leave(stay, now)

    def _leave(self, stay: _Stay, now: float) -> None:
        assert stay.leaving is not None
        error = "simulated" if stay.leaving in (Outcome.LOST, Outcome.FAILED) else ""
        seconds = now - stay.began
        self.study.tell(stay.number, stay.attempt, stay.leaving, seconds=seconds, error=error)
        self.ledger.end(stay.number, now)
        self._active -= 1
        self._idle.append(stay.born)

    def _push(self, time: float, stay: _Stay | None) -> None:
        self._order += 1
        heapq.heappush(self._heap, (time, self._order, stay))
