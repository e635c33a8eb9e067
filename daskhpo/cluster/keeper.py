"""Keep the wanted number of batch jobs: a thread between a campaign and a batch system."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable

from daskhpo.cluster.batch import BatchJob, BatchSystem, Phase, SubmitError, Unreachable
from daskhpo.cluster.pool import Tell
from daskhpo.cluster.reconciler import Plan, Reconciler

__all__ = ["Keeper"]

logger = logging.getLogger(__name__)

TICK = 0.01  # seconds that are waited for a word at least
GAP = 1.0  # seconds between two queries at least: sites throw out who asks more often
HURRY = 10.0  # seconds after an event in which the batch system is asked that often
DELAY = 5.0  # seconds after the death of a worker in which its batch job's end should be known
SILENCE = 30.0  # the same where the batch system gives no answer at all
FAREWELL = 20.0  # seconds in which cancelled batch jobs are watched, or an answer is waited for

_Word = Callable[[], None]


class Keeper:
    """Submit, watch and cancel the batch jobs of one campaign, in a thread of its own.

    What is to be done is decided by a :class:`daskhpo.cluster.reconciler.Reconciler`; here are
    the clock and the batch system. No method blocks, apart from :meth:`close`, and all may be
    called from any thread.

    Parameters
    ----------
    system : BatchSystem
        Used by this thread only.
    script : str or callable
        The batch script, or what makes it anew for every submission.
    most, submissions, submitted, idle
        See :class:`daskhpo.cluster.reconciler.Reconciler`.
    poll : float
        Seconds between two queries while nothing happens; they are a second apart for a while
        after something has, and never closer.
    tell : callable
        Takes ``["batch", BatchJob]`` whenever one has changed, ``["fate", name, BatchJob or
        None]`` and ``["hopeless", text]``.
    log : callable
        Gives the end of the error log of a batch job, by its id.

    Examples
    --------
    >>> import pathlib, queue, tempfile
    >>> from daskhpo.cluster.processes import Processes
    >>> told = queue.SimpleQueue()
    >>> with tempfile.TemporaryDirectory() as folder, Processes(pathlib.Path(folder)) as system:
    ...     keeper = Keeper(system, "sleep 60", most=2, tell=told.put, log=system.log)
    ...     keeper.start([])
    ...     keeper.want(1)
    ...     first = told.get()
    ...     keeper.close()
    >>> first[0], str(first[1])
    ('batch', 'batch job 1: pending')
    """

    def __init__(
        self,
        system: BatchSystem,
        script: str | Callable[[], str],
        *,
        most: int,
        submissions: int | None = None,
        submitted: int = 0,
        idle: float = 60.0,
        poll: float = 10.0,
        tell: Tell,
        log: Callable[[str], str],
    ) -> None:
        self._system = system
        self._script = script
        self._poll = poll
        self._tell = tell
        self._log = log
        self._pool = Reconciler(most=most, submissions=submissions, submitted=submitted, idle=idle)
        self._words: queue.SimpleQueue[_Word] = queue.SimpleQueue()  # what the thread is to do
        self._closing = threading.Event()
        self._keep = False
        self._thread = threading.Thread(target=self._run, name="daskhpo-keeper", daemon=True)
        self._inquiries: list[tuple[str, str, float]] = []  # (batch id, worker, asked when)
        # All on the monotonic clock:
        self._asked = -math.inf  # when the last query ended
        self._hurry = -math.inf  # until when the next ones come quickly
        self._quiet = -math.inf  # while the batch system is silent: when to try again
        self._said = ""  # the last reason for submitting fewer than are wanted
        self._given_up = False

    # ---------------------------------------------------------------- from any thread

    def start(self, known: Iterable[BatchJob]) -> None:
        """Begin; ``known`` are batch jobs of earlier runs that were not over.

        What the batch system lists under the campaign's name is adopted too, though nobody has
        written it down: the driver may have died just after it had submitted.
        """
        self._pool.adopt(known)
        self._thread.start()

    def want(self, workers: int) -> None:
        """How many workers the campaign could use now."""
        self._words.put(lambda: self._pool.want(workers))

    def connected(self, id: str) -> None:
        """A worker of this batch job has connected."""
        self._words.put(lambda: self._pool.connected(id))

    def idle(self, id: str) -> None:
        """The worker of this batch job has nothing to do from now on."""
        since = time.time()
        self._words.put(lambda: self._pool.idle(id, since))

    def busy(self, id: str) -> None:
        """The worker of this batch job has something to do."""
        self._words.put(lambda: self._pool.busy(id))

    def release(self, id: str) -> None:
        """This batch job will end by itself; it is cancelled if it has not within 30 s."""
        self._words.put(lambda: self._pool.release(time.time(), id))
        self._words.put(self._hasten)

    def inquire(self, id: str, name: str) -> None:
        """Find out what became of the batch job ``id`` behind the worker ``name``.

        ``["fate", name, BatchJob]`` is told as soon as the batch system knows of its end, which
        may be seconds after Dask has missed the worker; a batch job that has not ended 5 s later
        lives on without that worker, and is told as it is. None: nobody can say.
        """
        asked = time.monotonic()
        self._words.put(lambda: self._inquiries.append((id, name, asked)))
        self._words.put(self._hasten)

    def close(self, *, keep: bool = False) -> None:
        """Cancel all batch jobs, see them end, and stop; with ``keep`` just stop.

        Takes 20 s at the most, beyond what a query of the batch system takes.
        """
        self._keep = keep
        self._closing.set()
        self._words.put(_nothing)
        if self._thread.ident is not None:
            self._thread.join()

    # ---------------------------------------------------------------- the thread

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._turn()
        except Exception as error:  # noqa: BLE001 (whatever it is, the campaign must hear of it)
            self._despair(error)
        if not self._keep:
            try:
                self._part()
            except Exception:
                logger.exception("Batch jobs may be left in the queue: %s", self._pool.alive)

    def _despair(self, error: Exception) -> None:
        """Nobody keeps batch jobs any more: say so, and wait for the end."""
        logger.error("The keeper of batch jobs has failed", exc_info=error)
        try:
            self._tell(["hopeless", f"the keeper of batch jobs failed: {error!r} (see the log)"])
        except Exception:
            logger.exception("and nobody can be told")
        self._closing.wait()

    def _turn(self) -> None:
        """Hear what has happened, ask if it is time to, do what is to be done."""
        wait = min(self._next_query() - time.monotonic(), self._plan().wait_until - time.time())
        self._hear(min(max(wait, TICK), self._poll))
        if self._closing.is_set():
            return
        if time.monotonic() >= self._next_query():
            self._query()
        self._act(self._plan())

    def _hear(self, seconds: float) -> None:
        """Take all words that have come, and wait for the first one."""
        try:
            self._words.get(timeout=seconds)()
            while True:
                self._words.get_nowait()()
        except queue.Empty:
            pass

    def _plan(self) -> Plan:
        return self._pool.plan(time.time())

    # ---------------------------------------------------------------- asking

    def _next_query(self) -> float:
        """When the batch system is to be asked again, on the monotonic clock."""
        if self._quiet > -math.inf:
            return self._quiet
        hurried = self._inquiries or time.monotonic() < self._hurry
        return self._asked + (GAP if hurried else max(GAP, self._poll))

    def _hasten(self) -> None:
        """Something happens: ask more often for a while."""
        self._hurry = time.monotonic() + HURRY

    def _query(self) -> None:
        """Ask what became of our batch jobs, and tell what is new."""
        inquired = [id for id, _, _ in self._inquiries if id]
        ids = dict.fromkeys([*self._pool.alive, *inquired])
        self._asked = time.monotonic()
        try:
            jobs = self._system.jobs(list(ids))
        except Unreachable as error:
            self._fall_silent(error)
            return
        finally:
            self._asked = time.monotonic()  # a slow answer is no reason to ask at once again
        if self._quiet > -math.inf:
            logger.info("The batch system answers again")
            self._quiet = -math.inf
        for job in self._pool.observe(time.time(), jobs):
            self._tell(["batch", job])
            if job.phase is Phase.ENDED:
                self._hasten()
        self._settle(lambda id, asked: self._fate(jobs.get(id), id, asked))

    def _fall_silent(self, error: Unreachable) -> None:
        if self._quiet == -math.inf:
            logger.warning("%s; until it answers, batch jobs are left as they are", error)
        now = time.time()
        self._quiet = time.monotonic() + self._pool.unreachable(now) - now
        self._settle(lambda _, asked: (time.monotonic() >= asked + SILENCE, None))

    def _fate(self, job: BatchJob | None, id: str, asked: float) -> tuple[bool, BatchJob | None]:
        """Whether it is clear by now what became of a batch job, and what."""
        # One that is completing is over, but why it ended is not said before its epilog has run.
        completing = job is not None and job.state == "COMPLETING"
        late = time.monotonic() >= asked + (SILENCE if completing else DELAY)
        if job is None:  # forgotten: the reconciler wants to hear that twice
            job = self._pool.job(id)
            return job is None or job.phase is Phase.ENDED or late, job
        return job.phase is not Phase.RUNNING or late, job

    def _settle(self, verdict: Callable[[str, float], tuple[bool, BatchJob | None]]) -> None:
        """Answer those inquiries that can be."""
        open_ones = []
        for id, name, asked in self._inquiries:
            clear, job = verdict(id, asked)
            if clear:
                self._tell(["fate", name, job])
            else:
                open_ones.append((id, name, asked))
        self._inquiries = open_ones

    # ---------------------------------------------------------------- acting

    def _act(self, plan: Plan) -> None:
        if plan.cancel:
            self._cancel(plan.cancel)
        for _ in range(plan.submit):
            if not self._submit() or not self._words.empty():
                break
        if plan.why and plan.why != self._said:
            logger.warning("No batch job is submitted for now: %s", plan.why)
        self._said = plan.why
        if plan.hopeless and not self._given_up:
            self._given_up = True
            self._tell(["hopeless", self._explained(plan)])

    def _cancel(self, ids: Iterable[str]) -> None:
        try:
            self._system.cancel(list(ids))
        except Unreachable as error:
            self._fall_silent(error)
        else:
            self._pool.cancelled(time.time(), ids)
            self._hasten()

    def _submit(self) -> bool:
        """Submit one; returns whether the next one may be tried."""
        script = self._script if isinstance(self._script, str) else self._script()
        try:
            id = self._system.submit(script)
        except SubmitError as error:
            logger.warning("%s", error)
            self._pool.refused(time.time(), error)
        except Unreachable as error:
            # It may have been submitted all the same: the next answer lists it then.
            self._fall_silent(error)
        else:
            self._tell(["batch", self._pool.submitted(time.time(), id)])
            self._hasten()
            return True
        return False

    def _explained(self, plan: Plan) -> str:
        if not plan.culprit:
            return plan.hopeless
        try:
            tail = self._log(plan.culprit).strip()
        except Exception as error:  # noqa: BLE001 (no log must hide the message)
            tail = f"(its error log cannot be read: {error})"
        return f"{plan.hopeless}\nThe end of its error log:\n{tail or '(it is empty)'}"

    # ---------------------------------------------------------------- the end

    def _part(self) -> None:
        """Cancel what is ours, also what comes to light only now, and see it end."""
        deadline = time.monotonic() + FAREWELL
        cancelled: set[str] = set()
        seen = False  # whether there was an answer since the last order to cancel
        while time.monotonic() < deadline and not (seen and not self._pool.alive):
            if new := [id for id in self._pool.alive if id not in cancelled]:
                try:
                    self._system.cancel(new)
                    cancelled.update(new)
                except Unreachable as error:
                    self._fall_silent(error)
            time.sleep(max(0.0, self._asked + GAP - time.monotonic()))
            self._query()
            seen = self._quiet == -math.inf
        if left := [id for id in self._pool.alive if id not in cancelled]:
            logger.warning("Batch jobs left in the queue, to be cancelled by hand: %s", left)


def _nothing() -> None:
    """A word that only wakes the thread."""
