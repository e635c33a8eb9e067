"""Workers that are batch jobs: a Dask scheduler in this process, and a keeper of its batch jobs.

::

    campaign/pool/  scheduler.json  where the scheduler of the moment is; batch jobs follow it
                    tls/            keys (see :mod:`daskhpo.cluster.tls`)
                    logs/           what batch jobs write
                    closed          the campaign has ended: batch jobs that still begin go at once
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import dask.config
from distributed import Client, Scheduler
from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin

from daskhpo.cluster.batch import BatchJob
from daskhpo.cluster.keeper import Keeper
from daskhpo.cluster.logs import log_tail
from daskhpo.cluster.pool import Tell
from daskhpo.cluster.prepare import prepare
from daskhpo.cluster.script import WorkerNeeds, job_options, lifetime_of
from daskhpo.cluster.serving import announced, scheduler_of
from daskhpo.cluster.settings import PoolSettings
from daskhpo.cluster.site import Site
from daskhpo.cluster.steps import Steps

__all__ = ["BatchPool", "batch_of", "batch_pool"]

LOOK = 0.2  # seconds until a worker that starts, or has ended a task, is looked at again
POLL = 5.0  # seconds between two questions to the batch system while nothing happens


class BatchPool:
    """A :class:`~daskhpo.cluster.pool.Pool` of batch jobs, one worker each.

    Made by :func:`batch_pool`.

    Parameters
    ----------
    client : distributed.Client
        Of a cluster whose scheduler lives in this process.
    closed : path
        The file that says that the campaign has ended.
    lifetime : float
        Seconds that a batch job lasts; inf where nothing limits it.
    make_keeper : callable
        Given where to send items, makes the keeper of the batch jobs.
    """

    def __init__(
        self,
        client: Client,
        *,
        closed: Path,
        lifetime: float,
        make_keeper: Callable[[Tell], Keeper],
    ) -> None:
        self.client = client
        self.lifetime = lifetime
        self._closed = closed
        self._make_keeper = make_keeper
        self._keeper: Keeper | None = None
        self._over = False

    def begin(self, tell: Tell, known: Iterable[BatchJob]) -> None:
        """Start to keep workers; ``known`` are batch jobs of earlier runs that were not over."""
        self._keeper = self._make_keeper(tell)
        self._keeper.start(known)
        watch = _Watch(self._keeper, self._scheduler)
        # From here on, so that it sees workers which came before as well.
        self._later(self._scheduler.add_plugin, watch)
        self._later(watch.look)

    def want(self, workers: int) -> None:
        """How many workers the campaign could use now."""
        if self._keeper is not None:
            self._keeper.want(workers)

    def batch_of(self, worker: str) -> str:
        """The id of the batch job behind a worker, by its Dask name."""
        return batch_of(worker)

    def inquire(self, worker: str) -> None:
        """Ask at once what became of the batch job behind a worker; ``fate`` answers."""
        if self._keeper is not None:
            self._keeper.inquire(batch_of(worker), worker)

    def release(self, workers: Sequence[str]) -> None:
        """Let idle workers go: each is told to close, and its batch job ends with it."""
        if not workers or self._keeper is None:
            return
        for worker in workers:
            self._keeper.release(batch_of(worker))
        self._later(self._retire, list(workers))

    def close(self, *, keep: bool = False) -> None:
        """Let all workers go; ``keep`` leaves batch jobs to the next driver of the campaign."""
        if self._over:
            return
        self._over = True
        if not keep:
            self._closed.touch()
        if self._keeper is not None:
            self._keeper.close(keep=keep)

    @property
    def _scheduler(self) -> Scheduler:
        scheduler: Scheduler = self.client.cluster.scheduler  # type: ignore[union-attr]
        return scheduler

    async def _retire(self, workers: list[str]) -> None:
        # Dask's own way keeps a worker as long as it has results that somebody may still want;
        # those of trials are empty.
        for address in [self._scheduler.aliases.get(name) for name in workers]:
            if address is not None:
                await self._scheduler.remove_worker(
                    address, stimulus_id="daskhpo-release", expected=True
                )

    def _later(self, function: Callable[..., Any], *args: Any) -> None:
        loop: Any = self.client.loop
        loop.add_callback(function, *args)


class _Watch(SchedulerPlugin):
    """Tells the keeper whose batch job has given a worker, and which workers have nothing to do."""

    name = "daskhpo-pool"

    def __init__(self, keeper: _Listener, scheduler: Scheduler) -> None:
        self._keeper = keeper
        self._scheduler = scheduler
        self._busy: dict[str, bool] = {}  # {name of a worker: as the keeper was told}
        self._looks_again = False

    def look(self) -> None:
        """Tell what has changed since the last look."""
        workers = list(self._scheduler.workers.values())
        # A worker is listed before its plugins have started; only then has it come to work.
        ready = [state for state in workers if state.status is not Status.init]
        names = {str(state.name): bool(state.processing) for state in ready}
        for name in names.keys() - self._busy.keys():
            self._keeper.connected(batch_of(name))
        for name, busy in names.items():
            if self._busy.get(name) is not busy:
                (self._keeper.busy if busy else self._keeper.idle)(batch_of(name))
        self._busy = names
        if len(ready) < len(workers):
            self._look_again()

    def _look_again(self) -> None:
        def look() -> None:
            self._looks_again = False
            self.look()

        if not self._looks_again:
            self._looks_again = True
            self._scheduler.loop.call_later(LOOK, look)

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Called by Dask."""
        self.look()

    def remove_worker(self, scheduler: Scheduler, worker: str, **kwargs: Any) -> None:
        """Called by Dask."""
        self.look()

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Called by Dask; a worker has been given a task or is rid of one."""
        if finish == "processing":
            self.look()
        elif start == "processing":
            # It may get its next one in the same moment.
            self._look_again()


class _Listener(Protocol):
    """What of a keeper is told about workers."""

    def connected(self, id: str) -> None: ...
    def idle(self, id: str) -> None: ...
    def busy(self, id: str) -> None: ...


def batch_of(worker: str) -> str:
    """The batch job of a worker, which is named after it.

    Examples
    --------
    >>> batch_of("17-0"), batch_of("4711.pbs-server-2")
    ('17', '4711.pbs-server')
    """
    return worker.rpartition("-")[0]


@contextlib.contextmanager
def batch_pool(
    settings: PoolSettings,
    site: Site,
    *,
    directory: str | os.PathLike[str],
    token: str,
    threads: int = 1,
    gpus: int = 0,
    memory: str | None = None,
    resources: Mapping[str, float] | None = None,
    module: str = "",
    submitted: int = 0,
) -> Iterator[BatchPool]:
    """A pool of batch jobs for one campaign; the scheduler ends with the context.

    Parameters
    ----------
    settings : PoolSettings
        How many batch jobs, where and for how long.
    site : Site
        Where this is.
    directory : path
        The campaign's.
    token : str
        Of the campaign.
    threads : int
        Trials that a worker trains at the same time.
    gpus : int
        GPUs that each of them needs.
    memory : str, optional
        Of a batch job; by default as the site says.
    resources : mapping, optional
        Dask resources that one trial takes.
    module : str
        The module of the objective: workers import it, from this process's working directory
        if need be.
    submitted : int
        How many batch jobs earlier runs of the campaign have submitted.

    Yields
    ------
    BatchPool
        Nothing is submitted before its ``begin`` and ``want``.

    Raises
    ------
    CampaignError, StoreError
        As :func:`daskhpo.cluster.prepare.prepare`, before the scheduler is started.

    Examples
    --------
    >>> with batch_pool(settings, site, directory="first", token="a1b2") as pool: # doctest: +SKIP
    ...     pool.begin(print, ())
    ...     pool.want(4)
    """
    patience = float(dask.config.get("daskhpo.pool-patience", 600.0))
    folder = Path(directory).resolve()
    needs = WorkerNeeds(
        folder,
        token,
        threads=threads,
        gpus=gpus,
        memory=memory,
        resources=resources or {},
        path=os.getcwd(),
        module=module,
        patience=patience,
    )
    system, script, security = prepare(settings, site, needs)
    closed = folder / "pool" / "closed"
    closed.unlink(missing_ok=True)
    options = job_options(site, settings, needs)

    def make_keeper(tell: Tell) -> Keeper:
        return Keeper(
            system,
            script,
            most=len(system.nodes) if isinstance(system, Steps) else settings.jobs,
            submissions=settings.submissions,
            submitted=submitted,
            idle=settings.idle,
            poll=POLL,
            tell=tell,
            log=lambda id: log_tail(needs.log_directory, id, needs.job_name),
        )

    with scheduler_of(site, options, security) as client:
        pool = BatchPool(
            client,
            closed=closed,
            # All workers of an allocation end with it: no fresh one has more time.
            lifetime=0.0 if isinstance(system, Steps) else lifetime_of(site, settings),
            make_keeper=make_keeper,
        )
        with announced(needs.scheduler_file, client):
            try:
                yield pool
            finally:
                pool.close()
