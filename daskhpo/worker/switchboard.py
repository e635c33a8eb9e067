"""The wires: reports from workers to the tuner, orders back, over Dask's own streams.

It decides nothing. This module and :mod:`daskhpo.worker.desk` are the only ones that touch Dask's
semi-private names (``batched_stream``, ``stream_handlers``, ``stream_comms``,
``_send_to_scheduler``, ``_stream_handlers``); ``tests/worker/test_switchboard.py`` holds them to
what is needed here.

::

    Session ─report─► Desk (worker plugin) ──batched stream──► Switchboard (scheduler plugin)
                                                                   │ ▲
                                                          "daskhpo-events" "daskhpo-orders"
                                                                   ▼ │
    Session ◄─answer── Desk ◄────stream_comms────────────────── Line (client half, the tuner)

Where the scheduler lives on the tuner's own event loop (``LocalCluster``, ``SLURMCluster``), the
two lower arrows are plain calls: neither serialisation nor a socket lies between them.

An item is a list whose first entry names it. From workers come ``["started", number, attempt]``,
``["report", number, attempt, step, metrics]``, ``["endpoint", number, attempt, "host:port"]``
(where the ranks of a trial meet), ``["ended", number, attempt, outcome, seconds, error, retry]``
and ``["broken", text]`` (the worker's devices do not work); from the scheduler ``["lost", key,
text]`` (an empty text: its worker died), ``["retired", key]``, ``["homeless", key]`` (its worker
was gone before it arrived) and ``["workers", {address: [name, threads, resources]}]``.

An order is ``[worker, kind, ...]``: ``"answer", number, attempt, decision, stop``; ``"endpoint",
number, attempt, "host:port"``; ``"abort", number, attempt``; ``"ends", seconds since 1970``.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from distributed import Client, Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin

from daskhpo.trial import Job
from daskhpo.worker.desk import EVENTS, ORDERS, PLUGIN, Desk, run_job
from daskhpo.worker.work import Work

__all__ = ["Line", "Switchboard", "key_of", "place_of"]

HELLO = "daskhpo-hello"  # client -> scheduler: this client drives this campaign
GOODBYE = "daskhpo-goodbye"  # client -> scheduler: and now it does not
DISMISS = "daskhpo-dismiss"  # client -> scheduler: let these workers go

Receive = Callable[[str, list[list[Any]]], None]  # takes (worker address or "", items)


def key_of(campaign: str, job: Job, node: int = 0) -> str:
    """The Dask key of a job on the ``node``-th of its workers.

    The dashboard groups by what stands before the first number.

    Examples
    --------
    >>> key_of("abc", Job(12, 1, 0, 0, 3, {}), node=2)
    'rung0-00012-a1-n2-daskhpo-switchboard-abc'
    """
    return f"{job.name}-n{node}-{PLUGIN}-{campaign}"


def place_of(key: str) -> tuple[int, int, int] | None:
    """(number, attempt, node) of a key that :func:`key_of` made.

    Examples
    --------
    >>> place_of(key_of("abc", Job(12, 1, 0, 0, 3, {})))
    (12, 1, 0)
    """
    parts = key.split("-")
    try:
        return int(parts[1]), int(parts[2][1:]), int(parts[3][1:])
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
        scheduler.stream_handlers[ORDERS] = self.on_orders
        scheduler.stream_handlers[HELLO] = self.on_hello
        scheduler.stream_handlers[GOODBYE] = self.on_goodbye
        scheduler.stream_handlers[DISMISS] = self.on_dismiss

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
                self._to_worker(worker, {"op": ORDERS, "campaign": campaign, "orders": None})

    def on_events(self, campaign: str, items: list[list[Any]], worker: str) -> None:
        """Pass a worker's items on to the campaign's tuner."""
        self._to_client(campaign, items, worker)

    def on_orders(self, campaign: str, orders: list[Any], client: str) -> None:
        """Pass a tuner's orders on, each to its worker."""
        if self.clients.get(campaign) != client:
            return  # an older tuner: fenced out
        for worker, batch in _by_worker(orders).items():
            self._to_worker(worker, {"op": ORDERS, "campaign": campaign, "orders": batch})

    def on_dismiss(self, campaign: str, workers: list[str], client: str) -> None:
        """Let workers go, each with the time that its trials need to save a checkpoint."""
        if self.clients.get(campaign) != client:
            return
        for worker in workers:
            # Not retired: that would be refused where the result of a task cannot be moved.
            self.scheduler.loop.add_callback(
                self.scheduler.remove_worker, worker, stimulus_id="daskhpo-dismiss", expected=True
            )

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
        elif finish == "no-worker":
            # It is for one worker alone, and that one was gone before it arrived.
            self._to_client(campaign, [["homeless", key]], "")
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
            address: [str(state.name), state.nthreads, dict(state.resources)]
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
            self._to_worker(worker, {"op": ORDERS, "campaign": campaign, "orders": None})

    def _to_worker(self, worker: str, message: dict[str, Any]) -> None:
        comm = self.scheduler.stream_comms.get(worker)
        if comm is not None and not comm.closed():
            comm.send(message)


def _campaign_of(key: Any) -> str | None:
    if not isinstance(key, str):
        return None
    _, found, campaign = key.partition(f"-{PLUGIN}-")
    return campaign if found else None


def _by_worker(orders: list[Any]) -> dict[str, list[Any]]:
    batches: dict[str, list[Any]] = defaultdict(list)
    for worker, *order in orders:
        batches[worker].append(order)
    return batches


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
        with _heedless_of_the_dying():
            client.register_plugin(self._desk)
        self._send(HELLO, **({"near": receive} if self._switchboard is not None else {}))

    def submit(self, job: Job, crew: Sequence[str] = (), *, priority: int = 0) -> list[Any]:
        """Hand a job to its workers, by address; returns a future for each."""
        places: list[str | None] = list(crew) or [None]
        return [
            self.client.submit(
                run_job,
                self.work.campaign,
                node,
                len(places),
                job.number,
                job.attempt,
                job.rung,
                job.start,
                job.stop,
                dict(job.params),
                job.parent,
                key=key_of(self.work.campaign, job, node),
                pure=False,
                retries=0,
                workers=None if address is None else [address],
                allow_other_workers=False,
                priority=priority,
            )
            for node, address in enumerate(places)
        ]

    def order(self, orders: list[list[Any]]) -> None:
        """Send ``[worker, kind, ...]`` lists on their way."""
        if orders:
            self._send(ORDERS, orders=orders)

    def dismiss(self, workers: Sequence[str]) -> None:
        """Let workers go, by address; their trials pause first."""
        if workers:
            self._send(DISMISS, workers=list(workers))

    def close(self, *, wait: bool = True) -> None:
        """Leave the cluster as it was found; ``wait`` for trials that still have to pause."""
        if self.client.status == "running":
            self._send(GOODBYE)
            if wait:
                with _heedless_of_the_dying():
                    self.client.unregister_worker_plugin(self._desk.name)
        # Items may still be on their way.
        self.client._stream_handlers[f"{EVENTS}-{self.work.campaign}"] = _ignore

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


def _ignore(**content: Any) -> None:
    """What comes after a line is closed."""


def _heedless_of_the_dying() -> contextlib.suppress:
    """For what Dask sends to all workers: it fails if one of them dies meanwhile.

    The others hear it all the same, and whether the scheduler lives is looked at elsewhere.
    """
    return contextlib.suppress(OSError)


def _scheduler_beside(client: Client) -> Scheduler | None:
    """The client's scheduler, if it lives on the client's own event loop."""
    scheduler = getattr(client.cluster, "scheduler", None)
    near = isinstance(scheduler, Scheduler) and scheduler.loop is client.loop
    return scheduler if near else None
