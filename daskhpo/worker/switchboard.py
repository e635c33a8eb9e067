"""The wires: reports from workers to the tuner, answers back, over Dask's own streams.

It decides nothing. This is the only module that touches Dask's semi-private names
(``batched_stream``, ``stream_handlers``, ``stream_comms``, ``_send_to_scheduler``,
``_stream_handlers``); ``tests/worker/test_switchboard.py`` holds them to what is needed here.

::

    Session ─report─► Desk (worker plugin) ──batched stream──► Switchboard (scheduler plugin)
                                                                   │ ▲
                                                          "daskhpo-events" "daskhpo-answers"
                                                                   ▼ │
    Session ◄─answer── Desk ◄────stream_comms────────────────── Line (client half, the tuner)

Where the scheduler lives on the tuner's own event loop (``LocalCluster``, ``SLURMCluster``), the
two lower arrows are plain calls: neither serialisation nor a socket lies between them.

An item is a list whose first entry names it:

``["report", number, attempt, step, metrics]``, ``["ended", number, attempt, outcome, seconds,
error, retry]`` and ``["started", number, attempt]`` come from workers; ``["lost", key, text]`` (an
empty text: its worker died) and ``["workers", {address: [threads, resources]}]`` from the
scheduler; ``[number, attempt, decision, stop]`` is an answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from distributed import Client, Scheduler, Worker, get_worker
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from daskhpo.trial import Answer, Decision, Job, Outcome
from daskhpo.worker.mailbox import Mailbox
from daskhpo.worker.perform import Ending, perform
from daskhpo.worker.ranks import perform_in_ranks
from daskhpo.worker.session import Session
from daskhpo.worker.work import Work

__all__ = ["Desk", "Line", "Switchboard", "job_of", "key_of", "run_job"]

EVENTS = "daskhpo-events"  # worker -> scheduler -> client, there with the campaign's name added
ANSWERS = "daskhpo-answers"  # client -> scheduler -> worker
HELLO = "daskhpo-hello"  # client -> scheduler: this client drives this campaign
GOODBYE = "daskhpo-goodbye"  # client -> scheduler: and now it does not
PLUGIN = "daskhpo-switchboard"

COMPANY = 0.02  # seconds that a report which nobody waits for is held back, to travel with others
FAREWELL = 30.0  # seconds that a closing worker gives its trials to save a checkpoint

Receive = Callable[[str, list[list[Any]]], None]  # takes (worker address or "", items)


def key_of(campaign: str, job: Job) -> str:
    """The Dask key of a job. The dashboard groups by what stands before the first number."""
    return f"{job.name}-{PLUGIN}-{campaign}"


def job_of(key: str) -> tuple[int, int] | None:
    """(number, attempt) of a key that :func:`key_of` made.

    Examples
    --------
    >>> job_of(key_of("abc", Job(12, 1, 0, 0, 3, {})))
    (12, 1)
    """
    parts = key.split("-")
    try:
        return int(parts[1]), int(parts[2][1:])
    except (IndexError, ValueError):
        return None


# ---------------------------------------------------------------------- scheduler


class Switchboard(SchedulerPlugin):
    """The scheduler's part: passes items on, and tells trials to pause when their tuner is gone."""

    idempotent = True
    name = PLUGIN

    def __init__(self, grace: float = 10.0) -> None:
        self.grace = grace  # seconds without a tuner before its trials are told to pause
        self.clients: dict[str, str] = {}  # {campaign: client that drives it}
        self.near: dict[str, Receive] = {}  # {campaign: its tuner, if it shares our event loop}

    async def start(self, scheduler: Scheduler) -> None:
        """Join the scheduler's streams."""
        self.scheduler = scheduler
        scheduler.stream_handlers[EVENTS] = self.on_events
        scheduler.stream_handlers[ANSWERS] = self.on_answers
        scheduler.stream_handlers[HELLO] = self.on_hello
        scheduler.stream_handlers[GOODBYE] = self.on_goodbye

    def on_hello(self, campaign: str, client: str, near: Receive | None = None) -> None:
        """A tuner takes over a campaign; ``near`` if it can be called."""
        self.clients[campaign] = client
        self.near.pop(campaign, None)
        if near is not None:
            self.near[campaign] = near
        self._tell_workers(campaign)

    def on_goodbye(self, campaign: str, client: str) -> None:
        """A tuner is done with its campaign: whatever still trains for it pauses."""
        if self.clients.get(campaign) == client:
            del self.clients[campaign]
            self.near.pop(campaign, None)
            for worker in list(self.scheduler.workers):
                self._to_worker(worker, {"op": ANSWERS, "campaign": campaign, "answers": None})

    def on_events(self, campaign: str, items: list[list[Any]], worker: str) -> None:
        """Pass a worker's items on to the campaign's tuner."""
        self._to_client(campaign, items, worker)

    def on_answers(self, campaign: str, answers: list[Any], client: str) -> None:
        """Pass a tuner's answers on, each to its worker."""
        if self.clients.get(campaign) != client:
            return  # an older tuner: fenced out
        for worker, batch in _by_worker(answers).items():
            self._to_worker(worker, {"op": ANSWERS, "campaign": campaign, "answers": batch})

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """A job's task: never let Dask run it again by itself, and say when it is lost."""
        campaign = _campaign_of(key)
        if campaign is None:
            return
        if finish == "processing":
            # One more lost worker and the scheduler gives the task up; the tuner decides on
            # retries, from the checkpoint and under a new attempt number. The second line keeps
            # it from running again where its worker retires, or dies with the (empty) result.
            self.scheduler.tasks[key].suspicious = self.scheduler.allowed_failures
            self.scheduler.tasks[key].has_lost_dependencies = True
        elif finish == "erred":
            # A task that failed by itself comes with a text, one that lost its worker without.
            self._to_client(campaign, [["lost", key, str(kwargs.get("exception_text") or "")]], "")
        elif start == "processing" and finish != "memory":
            # Its worker is retired: it will still say how the job ended.
            self._to_client(campaign, [["retired", key]], "")

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Tell every tuner who is there."""
        for campaign in self.clients:
            self._tell_workers(campaign)

    def remove_worker(self, scheduler: Scheduler, worker: str, **kwargs: Any) -> None:
        """Tell every tuner who is left."""
        self.add_worker(scheduler, worker)

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """A tuner is gone: unless it comes back in time, its trials pause with a checkpoint."""
        for campaign in [name for name, owner in self.clients.items() if owner == client]:
            self.scheduler.loop.call_later(self.grace, self.on_goodbye, campaign, client)

    def _tell_workers(self, campaign: str) -> None:
        workers = {
            address: [state.nthreads, dict(state.resources)]
            for address, state in self.scheduler.workers.items()
        }
        self._to_client(campaign, [["workers", workers]], "")

    def _to_client(self, campaign: str, items: list[list[Any]], worker: str) -> None:
        client = self.clients.get(campaign)
        comm = self.scheduler.client_comms.get(client) if client else None
        if campaign in self.near:
            self.near[campaign](worker, items)
        elif comm is not None and not comm.closed():
            comm.send({"op": f"{EVENTS}-{campaign}", "items": items, "worker": worker})
        elif worker and client is None:
            # Nobody drives this campaign: whoever still trains for it is to pause.
            self._to_worker(worker, {"op": ANSWERS, "campaign": campaign, "answers": None})

    def _to_worker(self, worker: str, message: dict[str, Any]) -> None:
        comm = self.scheduler.stream_comms.get(worker)
        if comm is not None and not comm.closed():
            comm.send(message)


def _campaign_of(key: Any) -> str | None:
    if not isinstance(key, str):
        return None
    _, found, campaign = key.partition(f"-{PLUGIN}-")
    return campaign if found else None


def _by_worker(answers: list[Any]) -> dict[str, list[Any]]:
    batches: dict[str, list[Any]] = defaultdict(list)
    for worker, *answer in answers:
        batches[worker].append(answer)
    return batches


# ---------------------------------------------------------------------- worker


class Wire(Mailbox):
    """One trial's channel on a Dask worker (see :class:`daskhpo.worker.session.Channel`)."""

    def __init__(self, desk: Desk, job: Job) -> None:
        super().__init__()
        self._desk = desk
        self._place = (job.number, job.attempt)

    def send(self, step: int, metrics: dict[str, float], *, urgent: bool) -> None:
        """Hand a report to the desk."""
        self._desk.post(["report", *self._place, step, metrics], urgent=urgent)


class Desk(WorkerPlugin):
    """The worker's part, one per campaign: runs its jobs and keeps their channels."""

    idempotent = False

    def __init__(self, work: Work) -> None:
        self.work = work
        self.name = f"{PLUGIN}-{work.campaign}"

    def setup(self, worker: Worker) -> None:
        """Join the worker's streams."""
        self.worker = worker
        self.wires: dict[tuple[int, int], Wire] = {}  # {(number, attempt): its channel}
        self._outbox: list[list[Any]] = []
        self._lock = threading.Lock()
        self._due = ""  # "", "soon" or "now": when the outbox will be emptied
        worker.stream_handlers[ANSWERS] = _deliver_on(worker)

    async def teardown(self, worker: Worker) -> None:
        """Let running trials save a checkpoint before the worker goes."""
        for wire in list(self.wires.values()):
            wire.interrupt()
        deadline = time.monotonic() + FAREWELL
        while self.wires and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    def post(self, item: list[Any], *, urgent: bool) -> None:
        """Send an item: at once if somebody waits for it, else together with the next ones."""
        with self._lock:
            self._outbox.append(item)
            due, wanted = self._due, "now" if urgent else "soon"
            if due == "now" or due == wanted:
                return
            self._due = wanted
        if urgent:
            self.worker.loop.add_callback(self._flush)
        else:
            self.worker.loop.add_callback(self.worker.loop.call_later, COMPANY, self._flush)

    def answer(self, answers: list[list[Any]] | None) -> None:
        """Deliver the tuner's answers; None means that the tuner is gone."""
        if answers is None:
            for wire in list(self.wires.values()):
                wire.interrupt()
            return
        for number, attempt, decision, stop in answers:
            addressee = self.wires.get((number, attempt))
            if addressee is not None:
                addressee.deliver(Answer(Decision(decision), stop))

    def run(self, job: Job) -> None:
        """Train one job to its end, and post how it ended."""
        wire = Wire(self, job)
        place = (job.number, job.attempt)
        self.wires[place] = wire
        self.post(["started", *place], urgent=False)
        try:
            ending = self._perform(job, wire)
        except BaseException as error:  # noqa: BLE001 (whatever it is, the tuner must hear of it)
            ending = Ending(Outcome.FAILED, 0.0, f"{type(error).__name__}: {error}")
        item = ["ended", *place, ending.outcome.value, ending.seconds, ending.error, ending.retry]
        self.post(item, urgent=True)
        del self.wires[place]  # only now: a closing worker waits until there are none

    def _perform(self, job: Job, wire: Wire) -> Ending:
        if self.work.ranks > 1 or self.work.isolate:
            return perform_in_ranks(self.work, job, wire)
        return perform(self.work.objective, Session(self.work, job, wire))

    def _flush(self) -> None:
        with self._lock:
            items, self._outbox, self._due = self._outbox, [], ""
        if items and not self.worker.batched_stream.closed():
            self.worker.batched_stream.send(
                {"op": EVENTS, "campaign": self.work.campaign, "items": items}
            )


def _deliver_on(worker: Worker) -> Callable[..., None]:
    def deliver(campaign: str, answers: list[list[Any]] | None, **kwargs: Any) -> None:
        desk = worker.plugins.get(f"{PLUGIN}-{campaign}")
        if isinstance(desk, Desk):
            desk.answer(answers)

    return deliver


def run_job(campaign: str, *job: Any) -> None:
    """The Dask task: one job of one trial, given as :class:`~daskhpo.trial.Job`'s fields.

    Its result is nothing; everything travels by wire.
    """
    desk = get_worker().plugins[f"{PLUGIN}-{campaign}"]
    assert isinstance(desk, Desk)
    desk.run(Job(*job))


# ---------------------------------------------------------------------- client


class Line:
    """The tuner's part: a client's end of the switchboard.

    Parameters
    ----------
    client : distributed.Client
        A connected, synchronous client.
    work : Work
        Sent to every worker, present and future.
    receive : callable
        Called on the client's event loop with (worker address or "", items).
    grace : float
        Seconds without a tuner after which its trials pause.
    """

    def __init__(
        self,
        client: Client,
        work: Work,
        receive: Receive,
        *,
        grace: float = 10.0,
    ) -> None:
        self.client = client
        self.work = work
        self._receive = receive
        client.register_plugin(Switchboard(grace))
        scheduler = _scheduler_beside(client)
        self._switchboard: Any = scheduler.plugins[PLUGIN] if scheduler is not None else None
        self._desk = Desk(work)
        client._stream_handlers[f"{EVENTS}-{work.campaign}"] = self._on_events
        client.register_plugin(self._desk)
        self._send(HELLO, **({"near": receive} if self._switchboard is not None else {}))

    def submit(self, job: Job, *, resources: dict[str, float] | None, priority: int) -> Any:
        """Hand a job to the cluster; returns its future."""
        return self.client.submit(
            run_job,
            self.work.campaign,
            job.number,
            job.attempt,
            job.rung,
            job.start,
            job.stop,
            dict(job.params),
            job.parent,
            key=key_of(self.work.campaign, job),
            pure=False,
            retries=0,
            resources=resources,
            priority=priority,
        )

    def answer(self, answers: list[list[Any]]) -> None:
        """Send ``[worker, number, attempt, decision, stop]`` lists on their way."""
        if answers:
            self._send(ANSWERS, answers=answers)

    def close(self, *, wait: bool = True) -> None:
        """Leave the cluster as it was found; ``wait`` for trials that still have to pause."""
        if self.client.status == "running":
            self._send(GOODBYE)
            if wait:
                self.client.unregister_worker_plugin(self._desk.name)
        self.client._stream_handlers.pop(f"{EVENTS}-{self.work.campaign}", None)

    def _send(self, op: str, **content: Any) -> None:
        content["campaign"] = self.work.campaign
        loop: Any = self.client.loop
        if self._switchboard is None:
            loop.add_callback(self.client._send_to_scheduler, {"op": op, **content})
        else:
            handler = self._switchboard.scheduler.stream_handlers[op]
            loop.add_callback(handler, client=self.client.id, **content)

    def _on_events(self, items: list[list[Any]], worker: str) -> None:
        self._receive(worker, items)


def _scheduler_beside(client: Client) -> Scheduler | None:
    """The client's scheduler, if it lives on the client's own event loop."""
    scheduler = getattr(client.cluster, "scheduler", None)
    near = isinstance(scheduler, Scheduler) and scheduler.loop is client.loop
    return scheduler if near else None
