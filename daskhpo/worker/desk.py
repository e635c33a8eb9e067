"""The worker's end of the wires: runs the jobs of one campaign and keeps their channels."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from distributed import Worker, get_worker
from distributed.comm.addressing import get_address_host
from distributed.diagnostics.plugin import WorkerPlugin

from daskhpo.exceptions import BrokenNode
from daskhpo.trial import Answer, Decision, Job, Outcome
from daskhpo.worker.deadline import deadline_from_environment
from daskhpo.worker.devices import Slots, visible_devices
from daskhpo.worker.mailbox import Mailbox
from daskhpo.worker.perform import Ending, perform
from daskhpo.worker.ranks import Barracks, perform_in_ranks
from daskhpo.worker.session import Alone, Session
from daskhpo.worker.work import Seat, Work

__all__ = ["EVENTS", "ORDERS", "PLUGIN", "Desk", "Wire", "run_job"]

EVENTS = "daskhpo-events"  # worker -> scheduler -> client, there with the campaign's name added
ORDERS = "daskhpo-orders"  # client -> scheduler -> worker
PLUGIN = "daskhpo-switchboard"

COMPANY = 0.02  # seconds that a report which nobody waits for is held back, to travel with others
FAREWELL = 30.0  # seconds that a closing worker gives its trials to save a checkpoint


class Wire(Mailbox):
    """One trial's channel on a Dask worker (see :class:`daskhpo.worker.session.Channel`)."""

    def __init__(self, desk: Desk, job: Job) -> None:
        super().__init__()
        self._desk = desk
        self._place = (job.number, job.attempt)

    def send(self, step: int, metrics: dict[str, float], *, urgent: bool) -> None:
        """Hand a report to the desk."""
        self._desk.post(["report", *self._place, step, metrics], urgent=urgent)

    def publish(self, endpoint: str) -> None:
        """Tell the trial's other workers where its ranks meet."""
        self._desk.post(["endpoint", *self._place, endpoint], urgent=True)


class Desk(WorkerPlugin):
    """The worker's part, one per campaign: runs its jobs and keeps their channels.

    A worker whose devices do not work says so and leaves: that is no trial's fault.

    Parameters
    ----------
    work : Work
        What the campaign asks of every worker.
    """

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
        self.ends = deadline_from_environment()
        self._slots = Slots(visible_devices(os.environ), self.work.gpus, worker.state.nthreads)
        self._barracks = Barracks(trials=worker.state.nthreads)
        worker.stream_handlers[ORDERS] = _deliver_on(worker)

    async def teardown(self, worker: Worker) -> None:
        """Let running trials save a checkpoint before the worker goes."""
        for wire in list(self.wires.values()):
            wire.interrupt()
        deadline = time.monotonic() + FAREWELL
        while self.wires and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self._barracks.close()

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

    def obey(self, orders: list[list[Any]] | None) -> None:
        """Do what the tuner says; None means that the tuner is gone."""
        if orders is None:
            for wire in list(self.wires.values()):
                wire.interrupt()
            return
        for kind, *content in orders:
            if kind == "ends":
                self._set_end(*content)
                continue
            number, attempt, *rest = content
            addressee = self.wires.get((number, attempt))
            if addressee is not None:
                _pass_on(addressee, kind, *rest)

    def run(self, job: Job, node: int = 0, nodes: int = 1) -> None:
        """Train one job to its end, as its ``node``-th worker, and post how it ended."""
        wire = Wire(self, job)
        wire.ends = self.ends
        place = (job.number, job.attempt)
        self.wires[place] = wire
        self.post(["started", *place], urgent=False)
        try:
            ending = self._perform(job, wire, node, nodes)
        except BrokenNode as error:
            ending = Ending(Outcome.EVICTED, 0.0, str(error))
            self.post(["broken", str(error)], urgent=False)
            self.worker.loop.add_callback(self.worker.close_gracefully)
        except BaseException as error:  # noqa: BLE001 (whatever it is, the tuner must hear of it)
            ending = Ending(Outcome.FAILED, 0.0, f"{type(error).__name__}: {error}")
        item = ["ended", *place, ending.outcome.value, ending.seconds, ending.error, ending.retry]
        self.post(item, urgent=True)
        del self.wires[place]  # only now: a closing worker waits until there are none

    def _perform(self, job: Job, wire: Wire, node: int, nodes: int) -> Ending:
        devices = self._slots.take()
        try:
            if self.work.ranks > 1 or self.work.isolate:
                seat = Seat(node, nodes, get_address_host(self.worker.address), devices)
                return perform_in_ranks(self.work, job, wire, seat, self._barracks)
            self._barracks.checkup.assure(devices, self.work.gpus)
            ranks = Alone(self._slots.device(devices))
            return perform(self.work.objective, Session(self.work, job, wire, ranks))
        finally:
            self._slots.give(devices)

    def _set_end(self, ends: float) -> None:
        self.ends = ends
        for wire in list(self.wires.values()):
            wire.ends = ends

    def _flush(self) -> None:
        with self._lock:
            items, self._outbox, self._due = self._outbox, [], ""
        if items and not self.worker.batched_stream.closed():
            self.worker.batched_stream.send(
                {"op": EVENTS, "campaign": self.work.campaign, "items": items}
            )


def _pass_on(wire: Wire, kind: str, *content: Any) -> None:
    if kind == "answer":
        decision, stop = content
        wire.deliver(Answer(Decision(decision), stop))
    elif kind == "endpoint":
        wire.introduce(*content)
    elif kind == "abort":
        wire.abort()


def _deliver_on(worker: Worker) -> Callable[..., None]:
    def deliver(campaign: str, orders: list[list[Any]] | None, **kwargs: Any) -> None:
        desk = worker.plugins.get(f"{PLUGIN}-{campaign}")
        if isinstance(desk, Desk):
            desk.obey(orders)

    return deliver


def run_job(campaign: str, node: int, nodes: int, *job: Any) -> None:
    """The Dask task: one job of one trial, given as :class:`~daskhpo.trial.Job`'s fields.

    Its result is nothing; everything travels by wire.
    """
    desk = get_worker().plugins[f"{PLUGIN}-{campaign}"]
    assert isinstance(desk, Desk)
    desk.run(Job(*job), node, nodes)
