"""Train one trial in processes of its own: n ranks of DDP, or one for isolation.

The supervisor (a thread of the Dask worker) takes ranks from the worker's
:class:`~daskhpo.worker.barracks.Barracks`, passes rank 0's reports on and the answers back, and
ends all of them as soon as one fails. Ranks meet at a store that rank 0 opens on a port the kernel
picks, so trials on one node never collide. A trial on several workers has a supervisor on each:
the first one publishes where to meet, and when one fails the channels of the others are aborted.
A rank whose supervisor dies ends itself.
"""

from __future__ import annotations

import math
import os
import re
import signal
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol

from daskhpo.trial import Answer, Job, Outcome
from daskhpo.worker.barracks import Barracks
from daskhpo.worker.crew import Crew
from daskhpo.worker.group import Place
from daskhpo.worker.perform import ERROR_CHARACTERS, Ending
from daskhpo.worker.session import Channel
from daskhpo.worker.work import Seat, Work

__all__ = ["ABORTED", "Barracks", "perform_in_ranks"]

ABORTED = "another worker of the trial failed"
RENDEZVOUS = 600.0  # seconds that ranks wait for each other: imports can be slow on a busy machine
PULSE = 1.0  # seconds between two looks at whether the ranks live
AFTERSHOCK = 0.5  # seconds after a first failure in which others may turn out to be its cause
LINGER = 10.0  # seconds in which the cause may turn out to be on another worker
_KILLED = {-signal.SIGKILL, -signal.SIGTERM}  # somebody else's doing, as far as we can know
_HERE = Seat()

# What a rank says that has lost another one.
_HEARSAY = re.compile(
    "Connection (?:closed|reset|refused)|Broken pipe|Socket (?:Timeout|closed)|recvValue failed"
    "|DistNetworkError|DistBackendError|DistStoreError|NCCL|gloo"
)


class ListeningChannel(Channel, Protocol):
    """A channel that also calls back, and knows of the trial's other workers."""

    aborted: bool
    ends: float

    def listen(self, listener: Any) -> None:
        """Call ``listener(answer)`` from now on."""

    def publish(self, endpoint: str) -> None:
        """Tell the trial's other workers where its ranks meet."""

    def meet(self, timeout: float) -> str:
        """Where the trial's ranks meet; empty if nobody has said so in time."""


def perform_in_ranks(
    work: Work,
    job: Job,
    channel: ListeningChannel,
    seat: Seat = _HERE,
    barracks: Barracks | None = None,
) -> Ending:
    """Run a worker's part of a job, ``work.local_ranks`` processes.

    Parameters
    ----------
    work : Work
        What the campaign asks of a worker.
    job : Job
        What to train.
    channel : ListeningChannel
        The way to the tuner. On a seat beyond the first it only brings news.
    seat : Seat
        The worker's place among those that train the trial, and its devices.
    barracks : Barracks, optional
        Where ranks stay between jobs; by default they end with this one.

    Returns
    -------
    Ending
        As the ranks of this worker saw it. On several workers, one that failed says why, and the
        others end with :data:`ABORTED` once they are told.

    Raises
    ------
    BrokenNode
        If the devices of this worker do not work, before or after: no trial's fault.
    """
    if barracks is None:
        with Barracks() as own:
            return perform_in_ranks(work, job, channel, seat, own)
    barracks.checkup.assure(seat.devices, work.gpus)
    folder = Path(work.path) / "trials" / f"{job.number:05d}" / f"a{job.attempt}"
    first = seat.node * work.local_ranks
    logs = [folder / f"rank{first + local}.log" for local in range(work.local_ranks)]
    folder.mkdir(parents=True, exist_ok=True)
    with barracks.crew(work, seat.devices, logs) as crew:
        watch = _Watch(crew, channel, seat, logs)
        try:
            watch.begin(work, job)
            ending = watch.until_over()
        finally:
            channel.listen(_ignore)
            watch.over = True
        crew.fit = not _failed(ending)
    if _failed(ending):
        barracks.checkup.doubt(seat.devices, work.gpus, ending.error)
    return ending


class _Watch:
    """Over one job of the ranks of one worker."""

    def __init__(self, crew: Crew, channel: ListeningChannel, seat: Seat, logs: list[Path]) -> None:
        self.over = False
        self._crew = crew
        self._channel = channel
        self._seat = seat
        self._logs = logs
        self._first = seat.node * len(logs)  # rank of the first process here
        self._ends = channel.ends
        self._unmet = False
        self._began = time.monotonic()

    def begin(self, work: Work, job: Job) -> None:
        """Hand every rank its job."""
        seat = self._seat
        for local, log in enumerate(self._logs):
            place = Place(
                rank=self._first + local,
                size=work.ranks,
                local_rank=local,
                local_size=work.local_ranks,
                node=seat.node,
                nodes=seat.nodes,
                host=seat.host,
                log=str(log),
                ends=self._ends,
                patience=RENDEZVOUS,
            )
            self._crew.send(local, ("job", place, job))
        self._channel.listen(self.forward)
        if seat.node > 0:
            threading.Thread(target=self._meet, daemon=True).start()

    def forward(self, answer: Answer) -> None:
        """Pass an answer to the first rank, which agrees with the others."""
        if self._channel.aborted:
            self._crew.kill()
        elif self._channel.interrupted:
            self._crew.send(0, ("leave",))
        else:
            self._crew.send(0, ("answer", answer.decision.value, answer.stop))

    def until_over(self) -> Ending:
        """Until all ranks have ended, or one has failed."""
        pipes = self._crew.pipes
        open_pipes = dict(zip(pipes, range(len(pipes)), strict=True))
        endings: dict[int, tuple[float, Ending]] = {}  # {local rank: when and how it ended}
        deadline = math.inf
        # A rank that may stay keeps its pipe open: it is over when it has said how it ended.
        while len(endings) < len(pipes) and (left := deadline - time.monotonic()) > 0:
            ready = wait(list(open_pipes), timeout=min(PULSE, left))
            for pipe in [
                p for p, local in open_pipes.items() if p in ready or self._crew.gone(local)
            ]:
                local = open_pipes[pipe]
                message = self._crew.receive(local) if pipe in ready else None
                if message is None:
                    del open_pipes[pipe]
                    endings.setdefault(local, (0.0, self._died(local)))
                elif message[0] == "ended":
                    endings[local] = message[1:]
                else:
                    self._pass_on(message)
            self._update_end()
            if deadline == math.inf and any(_failed(how) for _, how in endings.values()):
                deadline = time.monotonic() + AFTERSHOCK
        return self._judge(*_cause(endings))

    def _pass_on(self, message: tuple[Any, ...]) -> None:
        if message[0] == "store":
            endpoint = f"{self._seat.host}:{message[1]}"
            for other in range(1, len(self._logs)):
                self._crew.send(other, ("store", endpoint))
            if self._seat.nodes > 1:
                self._channel.publish(endpoint)
        elif message[0] == "report":
            _, step, metrics, urgent = message
            self._channel.send(step, metrics, urgent=urgent)

    def _meet(self) -> None:
        """Tell the ranks where the first one is, once its supervisor has said so."""
        endpoint = self._channel.meet(RENDEZVOUS)
        if self.over:
            return
        self._unmet = not endpoint
        if self._unmet:
            self._crew.kill()
        for local in range(len(self._logs)):
            self._crew.send(local, ("store", endpoint))

    def _update_end(self) -> None:
        """The batch job's end may have been moved."""
        if self._channel.ends != self._ends:
            self._ends = self._channel.ends
            self._crew.send(0, ("ends", self._ends))

    def _judge(self, when: float, cause: Ending) -> Ending:
        """What a failure here is worth where the trial has other workers."""
        if self._seat.nodes == 1 or not _failed(cause):
            return cause
        hearsay = when > 0 and bool(_HEARSAY.search(cause.error))
        deadline = time.monotonic() + LINGER
        while hearsay and not self._channel.aborted and time.monotonic() < deadline:
            time.sleep(0.05)
        if hearsay and self._channel.aborted:
            return Ending(Outcome.LOST, cause.seconds, ABORTED)
        return cause

    def _died(self, local: int) -> Ending:
        """How a rank ended that has not said so."""
        code = self._crew.code(local)
        seconds = time.monotonic() - self._began
        rank, tail = self._first + local, _tail(self._logs[local])
        if code in _KILLED and self._channel.aborted:
            return Ending(Outcome.LOST, seconds, ABORTED)
        if code in _KILLED and self._unmet:
            text = f"the trial's first worker did not say within {RENDEZVOUS:g} s where to meet"
            return Ending(Outcome.LOST, seconds, text)
        if code in _KILLED:
            name = signal.Signals(-code).name
            error = f"rank {rank} was killed by {name} (memory?)\n{tail}"
            return Ending(Outcome.LOST, seconds, error)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return Ending(Outcome.FAILED, seconds, f"rank {rank} ended {how}\n{tail}")


def _failed(ending: Ending) -> bool:
    return ending.outcome in (Outcome.FAILED, Outcome.LOST)


def _cause(endings: dict[int, tuple[float, Ending]]) -> tuple[float, Ending]:
    """How the trial ended here: as its first failure says, else as its first rank does.

    A rank that loses another one fails too, a moment later. So a kill comes first, then whoever
    died without a word (at time 0), then the oldest word; ranks that were killed for another
    worker's sake come last.
    """
    failures = [
        (how.error == ABORTED, how.outcome is Outcome.FAILED, when, local)
        for local, (when, how) in endings.items()
        if _failed(how)
    ]
    return endings[min(failures)[-1] if failures else 0]


def _tail(log: Path) -> str:
    """The end of a log, whatever bytes it holds."""
    try:
        with open(log, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - ERROR_CHARACTERS))
            return file.read().decode(errors="replace")
    except OSError as error:
        return f"(its log cannot be read: {error})"


def _ignore(answer: Answer) -> None:
    """Nobody is left to tell."""
