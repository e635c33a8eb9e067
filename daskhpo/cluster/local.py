"""A cluster of this machine that leaves nothing behind, and listens to nobody else."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dask.config
from dask.utils import parse_bytes

import daskhpo.config  # noqa: F401 (makes the defaults known)
from daskhpo.exceptions import CampaignError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["local_client", "quiet_scheduler"]


@contextlib.contextmanager
def local_client(
    *,
    count: int = 2,
    threads: int = 1,
    memory: str | None = None,
    resources: Mapping[str, float] | None = None,
) -> Iterator[Client]:
    """A client of a new cluster on this machine; both end with the context.

    Use it where there is no cluster: every worker is a process of its own, so that trials train
    side by side and one that crashes takes nothing else with it.

    Parameters
    ----------
    count : int
        Worker processes.
    threads : int
        Trials that a worker trains at the same time.
    memory : str, optional
        Memory limit of a worker, such as ``"4 GiB"``; an even share of the machine by default.
    resources : mapping, optional
        Dask resources that a trial takes; every worker has them once per thread.

    Yields
    ------
    distributed.Client
        Synchronous. Its ``dashboard_link`` is empty where there is no dashboard
        (``daskhpo.local-dashboard``, or bokeh is not installed).

    Raises
    ------
    CampaignError
        If ``memory`` is no amount of memory.

    Examples
    --------
    >>> with local_client(count=1) as client:  # doctest: +SKIP
    ...     tuner.run(client, trials=100)
    """
    from distributed import Client, LocalCluster

    with (
        tempfile.TemporaryDirectory(prefix="daskhpo-", ignore_cleanup_errors=True) as folder,
        LocalCluster(
            n_workers=count,
            threads_per_worker=threads,
            memory_limit=_bytes(memory),
            resources={name: amount * threads for name, amount in (resources or {}).items()},
            local_directory=folder,
            # Without an address Dask would listen on every interface, dashboard or not.
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": dask.config.get("daskhpo.local-dashboard")},
            silence_logs=logging.ERROR,
            preload=["daskhpo.cluster.manners"],
        ) as cluster,
        quiet_scheduler(),
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def quiet_scheduler() -> Iterator[None]:
    """Leave it to the tuner to say what became of a trial that lost its worker."""
    logger = logging.getLogger("distributed.scheduler")
    noise = ("marked as failed because", "lose already computed task")
    drop = lambda record: not any(each in record.getMessage() for each in noise)  # noqa: E731
    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


def _bytes(memory: str | None) -> Any:
    if memory is None:
        return "auto"
    try:
        return parse_bytes(memory)
    except (ValueError, TypeError) as error:
        raise CampaignError(
            f"workers.memory={memory!r}: must be an amount such as '4 GiB'"
        ) from error
