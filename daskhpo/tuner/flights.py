"""All jobs that have left, and how each of them ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from daskhpo.cluster.batch import BatchJob, Blame, Phase
from daskhpo.cluster.pool import Pool
from daskhpo.trial import Job, Outcome
from daskhpo.tuner.driver import Driver
from daskhpo.tuner.fleet import Worker
from daskhpo.tuner.flight import Flight, Verdict
from daskhpo.tuner.pace import Pace
from daskhpo.worker.desk import FAREWELL
from daskhpo.worker.switchboard import place_of

__all__ = ["Flights"]

logger = logging.getLogger(__name__)

INQUEST = 40.0  # seconds after which a worker's death is taken for unexplained

_BLAMED = {
    Blame.SYSTEM: Outcome.EVICTED,
    Blame.TRIAL: Outcome.FAILED,
    Blame.UNKNOWN: Outcome.LOST,
}


class Flights:
    """The jobs that are out: from the choice of their workers to the word to the study.

    What became of a worker that is gone is asked of the pool before anybody is blamed; a trial
    over several workers ends once all of them have.

    Parameters
    ----------
    driver : Driver
        Told how every job ended.
    pool : Pool
        Asked about workers that are gone.
    pace : Pace
        Told when jobs begin and are over.

    Attributes
    ----------
    orders : list
        What workers are to be told, see :mod:`daskhpo.worker.switchboard`.
    ended : list
        Dask futures of jobs that have ended, to be released.
    """

    def __init__(self, driver: Driver, pool: Pool, pace: Pace) -> None:
        self.driver = driver
        self.pool = pool
        self.pace = pace
        self.orders: list[list[Any]] = []
        self.ended: list[Any] = []
        self._out: dict[tuple[int, int], Flight] = {}

    def __len__(self) -> int:
        return len(self._out)

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._out.values()))

    # ------------------------------------------------------------------ on the way

    def add(self, job: Job, crew: Sequence[Worker]) -> Flight:
        """A job is handed to its workers; the log says to which batch jobs."""
        for worker in crew:
            worker.busy += 1
        flight = Flight(job, crew, job.stop)
        self._out[job.number, job.attempt] = flight
        self.pace.began(job.number, time.monotonic())
        self._note_place(flight)
        return flight

    def of(self, number: int, attempt: int) -> Flight | None:
        """The flight of a job that has just been heard of."""
        flight = self._out.get((number, attempt))
        if flight is not None:
            flight.heard = time.monotonic()
        return flight

    def find(self, key: str) -> tuple[Flight, Worker] | None:
        """The flight and the worker that a task's key stands for, if it is still out."""
        place = place_of(key)
        flight = self._out.get(place[:2]) if place else None
        if place is None or flight is None or place[2] >= len(flight.crew):
            return None
        worker = flight.crew[place[2]]
        return (flight, worker) if worker.address in flight.out else None

    def of_worker(self, address: str) -> list[Flight]:
        """The jobs that a worker trains."""
        return [flight for flight in self if address in flight.out]

    # ------------------------------------------------------------------ how they end

    def judge(self, flight: Flight, address: str, verdict: Verdict) -> None:
        """A job has ended on one of its workers."""
        worker = flight.leave(address)
        if worker is not None:
            self._settle(flight, verdict, first=worker is flight.crew[0])

    def lose(self, flight: Flight, worker: Worker) -> None:
        """A worker of a job is gone: find out why, then judge."""
        flight.leave(worker.address)
        if not worker.batch:
            self._settle(flight, _verdict(flight, None, worker.name), first=False)
            return
        flight.inquests.add(worker.name)
        flight.heard = time.monotonic()
        self.pool.inquire(worker.name)
        self._abort(flight)

    def fate(self, name: str, job: BatchJob | None) -> None:
        """What became of the batch job behind a worker that is gone."""
        for flight in [each for each in self if name in each.inquests]:
            flight.inquests.clear()  # of several deaths, the first that is explained counts
            self._settle(flight, _verdict(flight, job, name), first=False)

    def haunt(self, ghost: Worker, job: BatchJob) -> None:
        """A worker's batch job is over, whatever the worker itself still says."""
        for flight in self.of_worker(ghost.address):
            self.judge(flight, ghost.address, _verdict(flight, job, ghost.name))

    def check(self) -> None:
        """What is due by the clock: closing workers, and questions that nobody answers."""
        now = time.monotonic()
        for flight in self:
            for address in flight.overdue(now):
                if address in flight.started:
                    self.lose(flight, flight.out[address])
                else:  # it was never there
                    self.judge(flight, address, Verdict(Outcome.EVICTED, 0.0))
            if flight.inquests and flight.silent > INQUEST:
                for name in list(flight.inquests):
                    self.fate(name, None)

    # ------------------------------------------------------------------ inside

    def _settle(self, flight: Flight, verdict: Verdict, *, first: bool) -> None:
        if flight.judge(verdict, first=first):
            self._abort(flight)
        if flight.landed:
            self._land(flight)

    def _abort(self, flight: Flight) -> None:
        """Let the other workers of a trial give it up."""
        job = flight.job
        for address in flight.out:
            self.orders.append([address, "abort", job.number, job.attempt])
            flight.wait_for(address, FAREWELL)

    def _land(self, flight: Flight) -> None:
        job, verdict = flight.job, flight.verdict
        assert verdict is not None  # the last to leave has been judged
        del self._out[job.number, job.attempt]
        self.ended += flight.futures
        state = self.driver.tell(
            job.number, job.attempt, verdict.outcome, verdict.seconds, verdict.error, verdict.retry
        )
        if state.final:
            self.pace.forget(job.number)
        if verdict.error:
            lines = verdict.error.strip().splitlines() or [""]
            logger.warning("trial %d, now %s: %s", job.number, state.value, lines[-1])

    def _note_place(self, flight: Flight) -> None:
        batches = [worker.batch for worker in flight.crew if worker.batch]
        if not batches:
            return
        workers, known = self.driver.campaign.workers, self.driver.ledger.jobs
        held = [known[each.batch].gpus // each.room for each in flight.crew if each.batch in known]
        self.driver.study.note(
            "placed",
            number=flight.job.number,
            attempt=flight.job.attempt,
            workers=[worker.name for worker in flight.crew],
            batches=batches,
            gpus=workers.gpus * len(flight.crew) or sum(held),
            ranks=workers.ranks,
        )


def _verdict(flight: Flight, job: BatchJob | None, name: str) -> Verdict:
    """What a worker's death means for its trial, given what became of its batch job."""
    seconds = time.monotonic() - flight.began
    if job is None:
        return Verdict(Outcome.LOST, seconds, f"its worker died ({name})")
    if job.phase is Phase.PENDING:  # the batch system took its node, and will start it again
        return Verdict(Outcome.EVICTED, seconds, str(job))
    if job.phase is not Phase.ENDED:
        return Verdict(Outcome.LOST, seconds, f"its worker {name} died, {job} goes on")
    if job.state == "TIMEOUT" and not flight.moved:
        # Not for free: a step that is longer than the walltime would be begun for ever.
        error = f"{job}, before it had trained a step; a longer pool.walltime may help"
        return Verdict(Outcome.LOST, seconds, error)
    return Verdict(_BLAMED[job.blame], seconds, str(job))
