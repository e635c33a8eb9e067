"""One rank of a trial: ``python -m daskhpo.worker.rank FD RANK``, started by its supervisor.

Protocol over the inherited socket, as pickled tuples. From the supervisor: ``("work", bytes)``,
``("store", port)``, ``("answer", decision, stop)``, ``("leave",)``. To it: ``("store", port)`` and
``("report", step, metrics, urgent)`` from rank 0, ``("ended", when, Ending)`` from every rank.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from daskhpo.trial import Answer, Decision
from daskhpo.worker.devices import backend
from daskhpo.worker.mailbox import Mailbox
from daskhpo.worker.perform import perform
from daskhpo.worker.session import Alone, Ranks, Session

__all__ = ["main"]


class _Pipe(Mailbox):
    """The rank's end: a :class:`daskhpo.worker.session.Channel` over the socket."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._sending = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, step: int, metrics: dict[str, float], *, urgent: bool) -> None:
        self.put("report", step, metrics, urgent)

    def put(self, *message: Any) -> None:
        with self._sending:
            self.connection.send(message)

    def _read(self) -> None:
        while True:
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                # The supervisor is gone, and with it everybody who would listen. A rank leads a
                # session of its own: this ends it with all that it forked.
                os.killpg(0, signal.SIGKILL)
            if message[0] == "answer":
                self.deliver(Answer(Decision(message[1]), message[2]))
            elif message[0] == "leave":
                self.interrupt()
            else:
                self.inbox.put(message)


class _Group:
    """Ranks that agree over gloo, whatever the model's gradients travel on."""

    def __init__(self, rank: int, size: int, pipe: _Pipe) -> None:
        import torch
        import torch.distributed as dist

        self.rank = rank
        self.size = size
        store: Any  # torch does not export the type
        if rank == 0:
            store = dist.TCPStore("127.0.0.1", 0, size, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
            pipe.put("store", store.port)
        else:
            _, port = pipe.inbox.get()
            store = dist.TCPStore("127.0.0.1", port, size, is_master=False)  # type: ignore[attr-defined]
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        if torch.cuda.is_available():
            torch.cuda.set_device(rank % torch.cuda.device_count())
        dist.init_process_group(backend(size), store=store, rank=rank, world_size=size)
        self._dist = dist
        self._torch = torch
        self._control = dist.new_group(backend="gloo")

    def agree(self, code: int) -> int:
        flag = self._torch.tensor([code])
        self._dist.broadcast(flag, src=0, group=self._control)
        return int(flag.item())

    def gather(self, thing: Any) -> list[Any]:
        things: list[Any] = [None] * self.size
        self._dist.all_gather_object(things, thing, group=self._control)
        return things

    def close(self) -> None:
        self._dist.destroy_process_group()


def main(descriptor: int, rank: int) -> int:
    """Train, and tell the supervisor how it ended; returns the exit code."""
    pipe = _Pipe(Connection(descriptor))
    work, job = cloudpickle.loads(pipe.inbox.get()[1])
    group: _Group | None = _Group(rank, work.ranks, pipe) if work.ranks > 1 else None
    ranks: Ranks = group if group is not None else Alone()
    ending = perform(work.objective, Session(work, job, pipe, ranks))
    pipe.put("ended", time.monotonic(), ending)
    if group is not None and not ending.error:
        group.close()
    return 0


if __name__ == "__main__":
    code = main(int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.flush()
    # Threads that the objective left behind must not keep the worker waiting.
    os._exit(code)
