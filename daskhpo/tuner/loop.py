"""The Dask loop: hand jobs to workers, bring their reports to the study, take its answers back.

One thread owns the study. Everything that happens elsewhere (Dask's event loop, the sampler's
thread, signals) reaches it through one queue, in order. A cycle is: judge what has come, fill
the free slots, commit, and only then let answers and jobs leave.
"""

from __future__ import annotations

import logging
import math
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future as LocalFuture
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from distributed import Client

from daskhpo.exceptions import DaskhpoError
from daskhpo.trial import Decision, Job, Outcome, Params
from daskhpo.tuner.driver import Driver
from daskhpo.worker.switchboard import FAREWELL, Line, job_of, key_of
from daskhpo.worker.work import Work

__all__ = ["DaskLoop"]

logger = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds without news after which the clock is looked at
HELD = 64  # finished futures that are kept, to be released in one message
SLOW_CYCLE = 120.0  # seconds without any worker after which the log says so


@dataclass(slots=True)
class _Flight:
    """A job that has left: the worker that has it, and the step at which it waits."""

    job: Job
    future: Any
    stop: int
    worker: str = ""
    heard: float = field(default_factory=time.monotonic)
    deadline: float = math.inf  # when a retired worker has been waited for long enough


class DaskLoop:
    """Run one campaign on one Dask client until nothing is left or its budget is spent.

    Parameters
    ----------
    driver : Driver
        The open campaign; the loop is its only user.
    client : distributed.Client
        A synchronous client of the cluster.
    work : Work
        What every worker is to do.
    watch : callable, optional
        Called with the driver and the numbers of free and of all slots after every cycle, so at
        least twice a second.
    """

    def __init__(
        self,
        driver: Driver,
        client: Client,
        work: Work,
        *,
        watch: Callable[[Driver, int, int], None] | None = None,
    ) -> None:
        self.driver = driver
        self.client = client
        self.work = work
        self.slots = 0
        self._watch = watch
        self._resources = dict(driver.campaign.workers.resources) or None
        self._timeout = driver.campaign.workers.timeout
        self._queue: queue.SimpleQueue[tuple[str, list[list[Any]]]] = queue.SimpleQueue()
        self._flights: dict[tuple[int, int], _Flight] = {}
        self._answers: list[list[Any]] = []
        self._landed: list[Any] = []  # futures of jobs that have ended, to be released
        self._suggester = ThreadPoolExecutor(1, thread_name_prefix="daskhpo-sampler")
        self._suggesting = False
        self._stopping = False
        self._cancelled = False

    def run(self) -> None:
        """Block until the campaign ends.

        Raises
        ------
        StoreError
            If the campaign directory can no longer be written.
        DaskhpoError
            If the scheduler is gone.
        """
        grace = _grace()
        self._line = Line(self.client, self.work, self._receive, grace=grace)
        try:
            self._cycle(first=True)
            while not self._finished():
                self._cycle()
        finally:
            self._suggester.shutdown(wait=False, cancel_futures=True)
            if self.client.status == "running":
                for flight in self._flights.values():
                    if flight.future is not None:  # its job could not be written down
                        flight.future.cancel()
                self._release(0)
            self._line.close(wait=not self._cancelled)

    def stop(self, reason: str) -> None:
        """Ask for the end; from any thread. A second call does not wait for running trials."""
        self._cancelled = self._stopping
        self._stopping = True
        self._queue.put(("", [["stop", reason]]))

    # ------------------------------------------------------------------ one cycle

    def _cycle(self, *, first: bool = False) -> None:
        for worker, items in [] if first else self._collect():
            for item in items:
                self._handle(worker, item)
        self.driver.tick()
        self._check_health()
        jobs = self._fill()
        self.driver.commit(durable=bool(jobs or self._answers))
        answers, self._answers = self._answers, []
        self._line.answer(answers)
        for job in jobs:
            future = self._line.submit(job, resources=self._resources, priority=job.rung)
            self._flights[job.number, job.attempt].future = future
        self._release(HELD)
        self._suggest_ahead()
        if self._watch is not None:
            self._watch(self.driver, self.slots - len(self._flights), self.slots)

    def _collect(self) -> list[tuple[str, list[list[Any]]]]:
        try:
            batch = [self._queue.get(timeout=PATIENCE)]
        except queue.Empty:
            return []
        while True:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                return batch

    def _fill(self) -> list[Job]:
        """Jobs for the free slots; each is in flight from here on."""
        jobs: list[Job] = []
        inline = not self.driver.study.sampler.slow
        while len(self._flights) < self.slots:
            job = self.driver.ask(inline=inline)
            if job is None:
                break
            self._flights[job.number, job.attempt] = _Flight(job, None, job.stop)
            jobs.append(job)
        return jobs

    def _release(self, most: int) -> None:
        """Let go of finished futures once there are more than ``most``.

        Dask sends what a client says at most every 10 ms: a job that is submitted right after a
        future was released waits for that long.
        """
        if len(self._landed) > most:
            for future in self._landed:
                future.release()
            self._landed.clear()

    def _finished(self) -> bool:
        if self._cancelled:
            return True
        if self._flights:
            return False
        study = self.driver.study
        if study.closed is not None:
            return True
        if self.slots == 0:
            return False
        # Every slot is free and nothing was started: only a suggestion can still change that.
        return not (study.may_begin or study.running)

    # ------------------------------------------------------------------ what has come

    def _receive(self, worker: str, items: list[list[Any]]) -> None:
        """Called on Dask's event loop."""
        self._queue.put((worker, items))

    def _handle(self, worker: str, item: list[Any]) -> None:
        kind, *content = item
        if kind == "report":
            self._on_report(worker, *content)
        elif kind == "ended":
            self._on_ended(*content)
        elif kind == "started":
            self._heard(worker, *content)
        elif kind == "lost":
            self._on_lost(*content)
        elif kind == "retired":
            self._on_retired(*content)
        elif kind == "workers":
            self._on_workers(*content)
        elif kind == "suggested":
            self._on_suggested(*content)
        elif kind == "stop" and self.driver.study.closed is None:
            self.driver.study.close(content[0])

    def _on_report(
        self, worker: str, number: int, attempt: int, step: int, metrics: dict[str, float]
    ) -> None:
        flight = self._heard(worker, number, attempt)
        answer = self.driver.report(number, attempt, step, metrics)
        complete = step >= self.work.max_step
        waits = flight is None or step >= flight.stop or answer.decision is not Decision.CONTINUE
        if waits and not complete:
            self._answers.append([worker, number, attempt, answer.decision.value, answer.stop])
        if flight is not None and answer.decision is Decision.CONTINUE:
            flight.stop = answer.stop

    def _on_ended(
        self, number: int, attempt: int, outcome: str, seconds: float, error: str, retry: bool
    ) -> None:
        flight = self._flights.pop((number, attempt), None)
        if flight is None:
            return
        self._landed.append(flight.future)
        self._tell(flight.job, Outcome(outcome), seconds, error, retry)

    def _on_lost(self, key: str, text: str) -> None:
        place = job_of(key)
        flight = self._flights.pop(place, None) if place else None
        if flight is None:
            return
        # Whatever else fails in the task itself (the objective cannot be unpickled, say) is an
        # error of the campaign's and would come back on every worker.
        outcome = Outcome.FAILED if text else Outcome.LOST
        error = text or f"its worker died {flight.worker and f'({flight.worker})'}".rstrip()
        self._tell(flight.job, outcome, time.monotonic() - flight.heard, error, True)

    def _on_retired(self, key: str) -> None:
        """The worker of a job is closing: it has some time to say how the job ended."""
        place = job_of(key)
        flight = self._flights.get(place) if place else None
        if flight is not None:
            flight.future.release()
            flight.deadline = time.monotonic() + FAREWELL

    def _on_workers(self, workers: dict[str, list[Any]]) -> None:
        slots = sum(self._room(threads, resources) for threads, resources in workers.values())
        if slots != self.slots:
            logger.info("%d workers with room for %d trials", len(workers), slots)
        self.slots = slots

    def _room(self, threads: int, resources: dict[str, float]) -> int:
        room = threads
        for name, amount in (self._resources or {}).items():
            room = min(room, int(resources.get(name, 0) // amount))
        return room

    def _heard(self, worker: str, number: int, attempt: int) -> _Flight | None:
        flight = self._flights.get((number, attempt))
        if flight is not None:
            flight.worker = worker
            flight.heard = time.monotonic()
        return flight

    def _tell(self, job: Job, outcome: Outcome, seconds: float, error: str, retry: bool) -> None:
        state = self.driver.tell(job.number, job.attempt, outcome, seconds, error, retry)
        if error:
            lines = error.strip().splitlines() or [""]
            logger.warning("trial %d, now %s: %s", job.number, state.value, lines[-1])

    # ------------------------------------------------------------------ suggestions

    def _suggest_ahead(self) -> None:
        """Keep suggestions of a slow sampler ready; one at a time, in its own thread."""
        study = self.driver.study
        if self._suggesting or not study.sampler.slow or self._stopping:
            return
        target = 1 + self.slots // 4
        wanted = study.wanted
        if len(study.offers) >= target or wanted == 0 or study.exhausted:
            return
        self._suggesting = True
        number = study.next_number
        task = self._suggester.submit(study.sampler.suggest, number)
        task.add_done_callback(lambda done: self._queue.put(("", [["suggested", number, done]])))

    def _on_suggested(self, number: int, task: LocalFuture[Params | None]) -> None:
        self._suggesting = False
        if task.cancelled() or number != self.driver.study.next_number:
            return
        params = task.result()
        if params is None:
            self.driver.study.exhaust()
        else:
            self.driver.study.offer(params)

    # ------------------------------------------------------------------ health

    def _check_health(self) -> None:
        if self.client.status != "running":
            raise DaskhpoError(
                f"the connection to the scheduler is {self.client.status}: every report so far is "
                f"kept; resume the campaign in {self.driver.directory.path} on a new cluster"
            )
        now = time.monotonic()
        for flight in [each for each in self._flights.values() if now > each.deadline]:
            self._on_lost(key_of(self.work.campaign, flight.job), "")
        if self._timeout is None:
            return
        for flight in list(self._flights.values()):
            if flight.worker and now - flight.heard > self._timeout:
                self._give_up(flight)

    def _give_up(self, flight: _Flight) -> None:
        """A trial that is silent for too long holds a worker that only a restart can free."""
        del self._flights[flight.job.number, flight.job.attempt]
        flight.future.release()
        error = f"no report for {self._timeout:g} seconds"
        self._tell(flight.job, Outcome.FAILED, time.monotonic() - flight.heard, error, False)
        try:
            self.client.restart_workers([flight.worker], timeout=60, raise_for_error=False)
        except ValueError as cause:  # it has no nanny that could
            logger.warning("worker %s stays busy with a silent trial: %s", flight.worker, cause)


def _grace() -> float:
    import dask

    return float(dask.config.get("daskhpo.tuner-grace", 10.0))
