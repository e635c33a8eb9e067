"""One interface for everything that gives a campaign its workers.

====================  ==========================================================================
pool                  workers
====================  ==========================================================================
:class:`ClientPool`   somebody else's: a ``LocalCluster``, any cluster that a client knows
``BatchPool``         batch jobs, one worker each, on Slurm or another batch system: submitted,
                      replaced and let go as the campaign needs them
====================  ==========================================================================

An *item* is a list whose first entry names it, as on the switchboard. Of a pool come
``["batch", BatchJob]`` whenever something about a batch job has changed, ``["fate", name,
BatchJob or None]`` as the answer to :meth:`Pool.inquire`, and ``["hopeless", text]`` when no
worker can be had any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from daskhpo.cluster.batch import BatchJob

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ClientPool", "Pool", "Tell"]

Tell = Callable[[list[Any]], None]  # takes one item; from any thread


@runtime_checkable
class Pool(Protocol):
    """Where trials run. No method blocks, apart from :meth:`close`, which may be called twice.

    Attributes
    ----------
    client : distributed.Client
        Connected and synchronous.
    lifetime : float
        Seconds that a fresh worker lives at the most; inf where nothing limits it.
    """

    client: Client
    lifetime: float

    def begin(self, tell: Tell, known: Iterable[BatchJob]) -> None:
        """Start to keep workers; ``known`` are batch jobs of earlier runs that were not over."""

    def want(self, workers: int) -> None:
        """How many workers the campaign could use now."""

    def batch_of(self, worker: str) -> str:
        """The id of the batch job behind a worker, by its Dask name; empty if there is none."""

    def inquire(self, worker: str) -> None:
        """Ask at once what became of the batch job behind a worker; ``fate`` answers."""

    def release(self, workers: Sequence[str]) -> None:
        """Let workers go, by their Dask names: too little time is left for what there is to do."""

    def close(self, *, keep: bool = False) -> None:
        """Let all workers go; ``keep`` leaves batch jobs to the next driver of the campaign."""


class ClientPool:
    """The workers that a client's cluster has; nobody here starts or ends any.

    Parameters
    ----------
    client : distributed.Client
        Connected and synchronous.
    """

    lifetime = math.inf

    def __init__(self, client: Client) -> None:
        self.client = client
        self._tell: Tell | None = None

    def begin(self, tell: Tell, known: Iterable[BatchJob]) -> None:
        """Nothing to keep."""
        self._tell = tell

    def want(self, workers: int) -> None:
        """Whoever made the cluster decides on its size."""

    def batch_of(self, worker: str) -> str:
        """There are no batch jobs."""
        return ""

    def inquire(self, worker: str) -> None:
        """Nobody knows."""
        if self._tell is not None:
            self._tell(["fate", worker, None])

    def release(self, workers: Sequence[str]) -> None:
        """They have time without end."""

    def close(self, *, keep: bool = False) -> None:
        """The cluster is not ours to close."""
