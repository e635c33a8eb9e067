"""The Dask loop: hand jobs to workers, bring their reports to the study, take its answers back.

One thread owns the study. Everything that happens elsewhere (Dask's event loop, the pool, the
threads of sampler and predictor, signals) reaches it through one queue, in order. A cycle is:
judge what has come, fill the free slots, commit, and only then let answers and jobs leave.

It alone decides which worker trains what, and hands every task to the one worker that it is for:
so a trial over several nodes gets all of them or none, and a rung is begun where it fits before
the batch job ends. What became of a worker that is gone is asked of the pool before the trial is
blamed.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as LocalFuture
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from daskhpo.cluster.batch import BatchJob, Phase
from daskhpo.cluster.pool import Pool
from daskhpo.exceptions import DaskhpoError, StoreError
from daskhpo.trial import Decision, Job, Outcome, Params, TrialState
from daskhpo.tuner.driver import Driver
from daskhpo.tuner.fleet import Fleet
from daskhpo.tuner.flight import Flight, Verdict
from daskhpo.tuner.flights import Flights
from daskhpo.tuner.pace import Pace
from daskhpo.tuner.school import School
from daskhpo.worker.desk import FAREWELL
from daskhpo.worker.switchboard import Line
from daskhpo.worker.work import Work

__all__ = ["DaskLoop"]

logger = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds without news after which the clock is looked at
HELD = 64  # finished futures that are kept, to be released in one message
DOUBT = 600.0  # seconds for which nobody waits for promotions that may never come
STARTING = 10.0  # seconds that a task waits for a worker that has only just come
MANY = 1_000_000  # workers that a campaign without a limit on trials could use


class DaskLoop:
    """Run one campaign on one pool until nothing is left or its budget is spent.

    Parameters
    ----------
    driver : Driver
        The open campaign; the loop is its only user.
    pool : Pool
        Where trials run.
    work : Work
        What every worker is to do.
    watch : callable, optional
        Called with the driver and the numbers of free and of all slots after every cycle, so at
        least twice a second.
    keep : bool
        Leave batch jobs to the next driver where this one has to go before the campaign is over.
    """

    def __init__(
        self,
        driver: Driver,
        pool: Pool,
        work: Work,
        *,
        watch: Callable[[Driver, int, int], None] | None = None,
        keep: bool = False,
    ) -> None:
        self.driver = driver
        self.pool = pool
        self.client = pool.client
        self.work = work
        self.fleet = Fleet(work.nodes, driver.campaign.workers.resources, pool.batch_of)
        self.flights = Flights(driver, pool, Pace())
        self._watch = watch
        self._timeout = driver.campaign.workers.timeout
        self._queue: queue.SimpleQueue[tuple[str, list[list[Any]]]] = queue.SimpleQueue()
        self._in_hand: deque[Job] = deque()  # asked for, but no worker lives long enough yet
        self._suggester = ThreadPoolExecutor(1, thread_name_prefix="daskhpo-sampler")
        self._suggesting = False
        self._school = School(
            driver.study, self._tell_item, client=self.client, campaign=work.campaign
        )
        self._starved = False  # the last question for a job was answered with None
        self._in_vain = -math.inf  # and when that was
        self._stopping = False
        self._cancelled = False
        self._hopeless = ""
        self._keep = keep
        self._left = False  # whether it is this driver that ends, not the campaign

    @property
    def slots(self) -> int:
        """How many trials can train at the same time."""
        return self.fleet.slots

    def run(self) -> None:
        """Block until the campaign ends.

        Raises
        ------
        StoreError
            If the campaign directory can no longer be written.
        DaskhpoError
            If the scheduler is gone, or no worker can be had any more.
        """
        self._line = Line(self.client, self.work, self._receive, grace=_grace())
        try:
            self.pool.begin(self._tell_item, self.driver.ledger.alive)
            self._cycle(first=True)
            while not self._finished():
                self._cycle()
        finally:
            self._suggester.shutdown(wait=False, cancel_futures=True)
            self._school.close()
            if self.client.status == "running":
                for flight in self.flights:
                    for future in flight.futures:
                        future.cancel()
                self._release(0)
            self._line.close(wait=not self._cancelled)
            self.pool.close(keep=self._keep and (self._left or self.driver.out_of_time))
            self._note_the_end()
        if self._hopeless:
            raise DaskhpoError(self._hopeless)

    def stop(self, reason: str, *, leave: bool = False) -> None:
        """Ask for the end; from any thread. A second call does not wait for running trials.

        ``leave`` says that the next driver goes on.
        """
        self._cancelled = self._stopping
        self._stopping = True
        self._left = leave
        self._tell_item(["stop", reason])

    def _note_the_end(self) -> None:
        """What became of batch jobs that were let go."""
        for _, items in self._collect(patience=0.0):
            for kind, *content in items:
                if kind == "batch":
                    with contextlib.suppress(StoreError):  # that is what ended it, then
                        self.driver.study.note("batch", **content[0].to_fact())

    # ------------------------------------------------------------------ one cycle

    def _cycle(self, *, first: bool = False) -> None:
        for worker, items in [] if first else self._collect():
            for item in items:
                self._handle(worker, item)
        self.driver.tick()
        self._check_health()
        flights = self._fill()
        orders = self.flights.orders
        self.driver.commit(durable=bool(flights or orders))
        self._line.order(orders.copy())
        orders.clear()
        for flight in flights:
            crew = [worker.address for worker in flight.crew]
            flight.futures = self._line.submit(flight.job, crew, priority=flight.job.rung)
        self._release(HELD)
        self._ask_for_workers()
        self._suggest_ahead()
        self._school.tick()
        if self._watch is not None:
            self._watch(self.driver, self.slots - len(self.flights), self.slots)

    def _collect(self, patience: float = PATIENCE) -> list[tuple[str, list[list[Any]]]]:
        try:
            batch = [self._queue.get(timeout=patience)]
        except queue.Empty:
            return []
        while True:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                return batch

    def _fill(self) -> list[Flight]:
        """Jobs for the free slots; each is in flight from here on."""
        flights: list[Flight] = []
        inline = not self.driver.study.sampler.slow
        self._starved = False
        for _ in range(len(self._in_hand)):
            self._board(self._in_hand.popleft(), flights)
        while len(self.flights) + len(self._in_hand) < self.slots:
            job = self.driver.ask(inline=inline)
            if job is None:
                self._starved = True
                self._in_vain = time.monotonic()
                break
            self._board(job, flights)
        self._let_go()
        return flights

    def _board(self, job: Job, flights: list[Flight]) -> None:
        """Give a job its workers, or keep it until there are some that live long enough."""
        if self.driver.study.closed is not None:
            self.driver.tell(job.number, job.attempt, Outcome.INTERRUPTED, 0.0, "", True)
            return
        margin = self.work.margin
        seconds = self.flights.pace.seconds(job) + margin
        fresh = self.pool.lifetime - margin
        crew = self.fleet.choose(seconds, now=time.time(), fresh=fresh)
        if crew:
            flights.append(self.flights.add(job, crew))
        else:
            self._in_hand.append(job)

    def _let_go(self) -> None:
        """Release idle workers whose batch jobs end too soon for what there is to do."""
        for worker in self.fleet.idle:
            worker.leaving |= bool(self._in_hand) and self.pool.lifetime < math.inf
        gone = [each for each in self.fleet.idle if each.leaving and not each.released]
        for worker in gone:
            worker.released = True
        if gone:
            self.pool.release([worker.name for worker in gone])

    def _release(self, most: int) -> None:
        """Let go of finished futures once there are more than ``most``.

        Dask sends what a client says at most every 10 ms: a job that is submitted right after a
        future was released waits for that long.
        """
        ended = self.flights.ended
        if len(ended) > most:
            for future in ended:
                future.release()
            ended.clear()

    def _ask_for_workers(self) -> None:
        """Tell the pool how many workers could be used now."""
        study = self.driver.study
        trials = len(self.flights) + len(self._in_hand)
        if study.closed is None and not self._starved:
            wanted = study.wanted
            more = MANY if wanted is None else wanted + len(study.offers)
            trials += more + study.waiting + self._spare()
        workers = math.ceil(trials * self.fleet.nodes / self.fleet.per_worker)
        self.pool.want(workers)

    def _spare(self) -> int:
        """One more worker where paused trials might be promoted if there was a free one.

        Only a free worker can tell; where one was there in vain, the next is long in coming.
        """
        if not self.flights:
            return 1  # nobody is there who could ask
        lately = time.monotonic() - self._in_vain < DOUBT
        states = (trial.state for trial in self.driver.study.trials.values())
        return int(not lately and TrialState.PAUSED in states)

    def _finished(self) -> bool:
        if self._cancelled:
            return True
        if self.flights or self._in_hand:
            return False
        study = self.driver.study
        if study.closed is not None:
            return True
        # Nothing was there to be started: only a suggestion can still change that.
        return self._starved and not (study.may_begin or study.running)

    # ------------------------------------------------------------------ what has come

    def _receive(self, worker: str, items: list[list[Any]]) -> None:
        """Called on Dask's event loop."""
        self._queue.put((worker, items))

    def _tell_item(self, item: list[Any]) -> None:
        """Called from any thread."""
        self._queue.put(("", [item]))

    def _handle(self, worker: str, item: list[Any]) -> None:
        kind, *content = item
        if kind in ("started", "report", "ended", "endpoint", "broken", "stop"):
            getattr(self, f"_on_{kind}")(worker, *content)
        else:
            getattr(self, f"_on_{kind}")(*content)

    def _on_started(self, worker: str, number: int, attempt: int) -> None:
        flight = self.flights.of(number, attempt)
        if flight is not None:
            flight.start(worker)

    def _on_report(
        self, worker: str, number: int, attempt: int, step: int, metrics: dict[str, float]
    ) -> None:
        flight = self.flights.of(number, attempt)
        answer = self.driver.report(number, attempt, step, metrics)
        complete = step >= self.work.max_step
        waits = flight is None or step >= flight.stop or answer.decision is not Decision.CONTINUE
        if waits and not complete:
            order = [worker, "answer", number, attempt, answer.decision.value, answer.stop]
            self.flights.orders.append(order)
        if flight is not None:
            flight.moved = True
            self.flights.pace.reported(number, step, flight.heard)
            if answer.decision is Decision.CONTINUE:
                flight.stop = answer.stop

    def _on_endpoint(self, worker: str, number: int, attempt: int, endpoint: str) -> None:
        flight = self.flights.of(number, attempt)
        for address in flight.out if flight is not None else ():
            if address != worker:
                self.flights.orders.append([address, "endpoint", number, attempt, endpoint])

    def _on_ended(
        self,
        worker: str,
        number: int,
        attempt: int,
        outcome: str,
        seconds: float,
        error: str,
        retry: bool,
    ) -> None:
        flight = self.flights.of(number, attempt)
        if flight is None:
            return
        verdict = Verdict(Outcome(outcome), seconds, error, retry)
        self.flights.judge(flight, worker, verdict)
        if verdict.outcome is Outcome.INTERRUPTED and self.driver.study.closed is None:
            # Its batch job ends too soon for another step: it must not come back there.
            near = self.fleet.workers.get(worker)
            if near is not None and near.ends < math.inf:
                near.leaving = True

    def _on_broken(self, worker: str, text: str) -> None:
        """A worker's devices do not work: it is leaving already."""
        known = self.fleet.workers.get(worker)
        if known is not None:
            known.leaving = True
            logger.warning("worker %s leaves: %s", known.name, text)
            self.driver.study.note("broken", worker=known.name, batch=known.batch, error=text)

    def _on_lost(self, key: str, text: str) -> None:
        found = self.flights.find(key)
        if found is None:
            return
        flight, worker = found
        if text:
            # Whatever else fails in the task itself (the objective cannot be unpickled, say) is
            # an error of the campaign's and would come back on every worker.
            verdict = Verdict(Outcome.FAILED, flight.silent, text)
            self.flights.judge(flight, worker.address, verdict)
        else:
            self.flights.lose(flight, worker)

    def _on_retired(self, key: str) -> None:
        """The worker of a job is closing: it has some time to say how the job ended."""
        found = self.flights.find(key)
        if found is not None:
            flight, worker = found
            flight.futures[flight.crew.index(worker)].release()
            flight.wait_for(worker.address, FAREWELL)

    def _on_homeless(self, key: str) -> None:
        """A task came too late for its worker, or too early: it may still be starting."""
        found = self.flights.find(key)
        if found is not None:
            found[0].miss(found[1].address, STARTING)

    def _on_workers(self, workers: dict[str, list[Any]]) -> None:
        before = self.slots
        self._line.dismiss(self.fleet.update(workers))
        self._school.staff(workers)
        for worker in self.fleet.workers.values():
            job = self.driver.ledger.jobs.get(worker.batch)
            if job is not None and worker.ends == math.inf and job.ends < math.inf:
                worker.ends = job.ends
        if self.slots != before:
            logger.info("%d workers with room for %d trials", len(workers), self.slots)

    def _on_suggested(self, number: int, task: LocalFuture[Params | None]) -> None:
        self._suggesting = False
        if task.cancelled() or number != self.driver.study.next_number:
            return
        params = task.result()
        if params is None:
            self.driver.study.exhaust()
        else:
            self.driver.study.offer(params)

    def _on_learned(self, *content: Any) -> None:
        self._school.take(*content)

    def _on_stop(self, worker: str, reason: str) -> None:
        if self.driver.study.closed is None:
            self.driver.study.close(reason)

    # ------------------------------------------------------------------ what the pool says

    def _on_batch(self, job: BatchJob) -> None:
        """Something about a batch job has changed."""
        known = self.driver.ledger.jobs.get(job.id)
        if known is None or not known.only_waits_like(job):
            self.driver.study.note("batch", **job.to_fact())
        if job.phase is not Phase.ENDED:
            for worker in self.fleet.set_end(job.id, job.ends):
                self.flights.orders.append([worker.address, "ends", job.ends])
            return
        ghosts = self.fleet.ban(job.id)  # their node is down for the batch system, yet they talk
        for ghost in ghosts:
            self.flights.haunt(ghost, job)
        self._line.dismiss([ghost.address for ghost in ghosts])

    def _on_fate(self, name: str, job: BatchJob | None) -> None:
        """What became of the batch job behind a worker that is gone."""
        self.flights.fate(name, job)

    def _on_hopeless(self, text: str) -> None:
        """No worker can be had any more."""
        self._hopeless = text
        self._on_stop("", text.splitlines()[0])

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
        task.add_done_callback(lambda done: self._tell_item(["suggested", number, done]))

    # ------------------------------------------------------------------ health

    def _check_health(self) -> None:
        if self.client.status != "running":
            raise DaskhpoError(
                f"the connection to the scheduler is {self.client.status}: every report so far is "
                f"kept; resume the campaign in {self.driver.directory.path} on a new cluster"
            )
        self.flights.check()
        if self._timeout is None:
            return
        for flight in self.flights:
            if flight.started and flight.silent > self._timeout:
                self._give_up(flight)

    def _give_up(self, flight: Flight) -> None:
        """A trial that is silent for too long holds workers that only a restart can free."""
        error = f"no report for {self._timeout:g} seconds"
        addresses = list(flight.out)
        for future in flight.futures:
            future.release()
        flight.futures = []
        for address in addresses:
            verdict = Verdict(Outcome.FAILED, flight.silent, error, retry=False)
            self.flights.judge(flight, address, verdict)
        try:
            self.client.restart_workers(addresses, timeout=60, raise_for_error=False)
        except ValueError as cause:  # they have no nanny that could
            names = ", ".join(addresses)
            logger.warning("worker %s stays busy with a silent trial: %s", names, cause)


def _grace() -> float:
    import dask

    return float(dask.config.get("daskhpo.tuner-grace", 10.0))
