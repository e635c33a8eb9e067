"""A cluster of this machine that leaves nothing behind, and listens to nobody else."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dask.config
from dask.utils import parse_bytes

import daskhpo.config  # noqa: F401 (makes the defaults known)
from daskhpo.campaign import Workers
from daskhpo.exceptions import CampaignError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["local_client"]

# Ctrl-C in a terminal reaches every process that belongs to it. Only the tuner may act on it: the
# workers have checkpoints to write first.
_DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


@contextlib.contextmanager
def local_client(workers: Workers) -> Iterator[Client]:
    """A client of a new cluster on this machine; both end with the context.

    Use it where there is no cluster: every worker is a process of its own, so that trials train
    side by side and one that crashes takes nothing else with it.

    Parameters
    ----------
    workers : Workers
        ``count`` processes with ``threads`` trials each, ``memory`` as the limit of each (an
        even share of the machine if None), and ``resources`` for every thread.

    Yields
    ------
    distributed.Client
        Synchronous. Its ``dashboard_link`` is empty where there is no dashboard
        (``daskhpo.local-dashboard``, or bokeh is not installed).

    Raises
    ------
    CampaignError
        If ``workers.memory`` is no amount of memory.

    Examples
    --------
    >>> with local_client(Workers(count=1)) as client:  # doctest: +SKIP
    ...     tuner.run(client, trials=100)
    """
    from distributed import Client, LocalCluster

    with (
        tempfile.TemporaryDirectory(prefix="daskhpo-", ignore_cleanup_errors=True) as folder,
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers.count,
            threads_per_worker=workers.threads,
            memory_limit=_memory(workers),
            resources={
                name: amount * workers.threads for name, amount in workers.resources.items()
            },
            local_directory=folder,
            dashboard_address=_dashboard(),
            silence_logs=logging.ERROR,
            preload=[_DEAF],
        ) as cluster,
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        yield client


def _memory(workers: Workers) -> Any:
    if workers.memory is None:
        return "auto"
    try:
        return parse_bytes(workers.memory)
    except (ValueError, TypeError) as error:
        raise CampaignError(
            f"workers.memory={workers.memory!r}: must be an amount such as '4 GiB'"
        ) from error


def _dashboard() -> str | None:
    with contextlib.suppress(ImportError):
        import bokeh  # noqa: F401

        if dask.config.get("daskhpo.local-dashboard"):
            return "127.0.0.1:0"
    return None
