"""The Dask scheduler of a pool of batch jobs: in the driver's process, where batch jobs find it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config
from distributed import Client

import daskhpo.config  # noqa: F401 (makes the defaults known)
from daskhpo.cluster.local import quiet_scheduler
from daskhpo.cluster.script import CONFIG, cluster_class
from daskhpo.cluster.site import Site
from daskhpo.store.disk import write_atomic

if TYPE_CHECKING:
    from distributed import Security

__all__ = ["announced", "scheduler_of"]

# Dask gives a worker up whose event loop is silent for 5 minutes, and compiling a model in a
# thread takes that long. Whether the node is dead the batch system knows, and sockets do.
SILENCE = "30 minutes"


@contextlib.contextmanager
def scheduler_of(
    site: Site, options: Mapping[str, Any], security: Security | None
) -> Iterator[Client]:
    """A scheduler in this process, as dask-jobqueue starts it; its ``scale`` is never called."""
    configuration = {
        f"jobqueue.{CONFIG}": dict(options),
        "distributed.scheduler.worker-ttl": SILENCE,
    }
    scheduler = {
        "dashboard": dask.config.get("daskhpo.local-dashboard"),
        "dashboard_address": "127.0.0.1:0",
        **(options["scheduler-options"] or {}),
    }
    with (
        dask.config.set(configuration),
        cluster_class(site.kind)(
            config_name=CONFIG,
            security=security,
            scheduler_options=scheduler,
            silence_logs=logging.ERROR,
        ) as cluster,
        quiet_scheduler(),
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def announced(path: Path, client: Client) -> Iterator[None]:
    """Batch jobs find the scheduler while this lasts, and not while it closes."""
    identity = client.scheduler_info(n_workers=0)
    write_atomic(path, json.dumps({**identity, "workers": {}}, default=str))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
