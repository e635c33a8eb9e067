"""How a worker of a local cluster behaves: Dask runs this module in every worker as it starts."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Worker

__all__ = ["dask_setup"]


def dask_setup(worker: Worker) -> None:
    """Make a worker deaf to Ctrl-C, and quiet once it is closing.

    Ctrl-C in a terminal reaches every process that belongs to it, but only the tuner may act on
    it: the workers have checkpoints to write first. And the last heartbeat of a worker that is
    closing finds nobody: that is no news.

    Parameters
    ----------
    worker : distributed.Worker
        The worker of this process.
    """
    from distributed.core import Status

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ending = frozenset({Status.closing, Status.closing_gracefully, Status.closed, Status.failed})
    for handler in logging.getLogger("distributed").handlers:
        handler.addFilter(lambda record: worker.status not in ending)
