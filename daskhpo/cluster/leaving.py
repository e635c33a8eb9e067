"""How the worker of a batch job leaves: Dask runs this module in every one of them as it starts.

SIGTERM announces the end of a batch job: it was cancelled or preempted, or its time is over. Dask
would drop everything; here the worker closes in order, and its trials have until SIGKILL (30 s
later at most sites) to save a checkpoint. A bonus: where no signal comes, or none in time, the
trial goes on from the checkpoint before.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

from distributed.core import Status

if TYPE_CHECKING:
    from distributed import Worker

__all__ = ["dask_setup"]


def dask_setup(worker: Worker) -> None:
    """Let SIGTERM close a worker in order, however often it comes.

    Parameters
    ----------
    worker : distributed.Worker
        The worker of this process, whose event loop runs in the main thread.
    """
    loop: Any = asyncio.get_running_loop()
    closing: list[asyncio.Task[Any]] = []  # a task that nobody holds may be collected

    def close() -> None:
        if worker.status is Status.init:
            # There is nothing to close yet, and Dask would go on looking for its scheduler.
            os._exit(128 + signal.SIGTERM)
        if not closing:
            closing.append(loop.create_task(worker.close(reason="SIGTERM")))

    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(close))
