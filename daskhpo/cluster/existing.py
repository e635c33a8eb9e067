"""A cluster that exists already: connect to it, and make sure that it knows the objective."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from distributed import Client, Worker
from distributed.diagnostics.plugin import WorkerPlugin

from daskhpo.exceptions import CampaignError

__all__ = ["Modules", "existing_client"]

PATIENCE = 30.0  # seconds to wait for the scheduler to answer


class Modules(WorkerPlugin):
    """A worker plugin: look for modules in a directory too, and import one at once.

    A worker that cannot import the objective then says so before any trial begins. The workers
    have to see the directory; they have to see the campaign's as well.

    Parameters
    ----------
    path : str
        The directory.
    module : str
        What every worker has to be able to import; empty for nothing.

    Examples
    --------
    >>> Modules("/project/first", "objectives").module
    'objectives'
    """

    idempotent = True

    def __init__(self, path: str, module: str) -> None:
        self.path = path
        self.module = module
        self.name = f"daskhpo-modules-{path}-{module}"

    def setup(self, worker: Worker) -> None:
        """Called by Dask on every worker, also on those that come later."""
        if self.path not in sys.path:
            sys.path.insert(0, self.path)
        if self.module:
            importlib.import_module(self.module)

    def teardown(self, worker: Worker) -> None:
        """Nothing to undo: what was imported stays."""


@contextlib.contextmanager
def existing_client(
    address: str | None = None,
    *,
    scheduler_file: str | os.PathLike[str] | None = None,
    module: str = "",
) -> Iterator[Client]:
    """A client of a cluster that somebody else started; the cluster outlives it.

    Parameters
    ----------
    address : str, optional
        Of the scheduler, such as ``"tcp://10.0.0.1:8786"``.
    scheduler_file : path, optional
        What ``dask scheduler --scheduler-file`` wrote, instead of an address.
    module : str
        The module of the objective: workers import it, from this process's working directory
        if need be.

    Yields
    ------
    distributed.Client
        Synchronous.

    Raises
    ------
    CampaignError
        If the scheduler does not answer, or a worker cannot import the module.

    Examples
    --------
    >>> with existing_client("tcp://10.0.0.1:8786") as client:  # doctest: +SKIP
    ...     tuner.run(client, trials=100)
    """
    where = address if address is not None else str(scheduler_file)
    if address is None and not Path(where).is_file():
        raise CampaignError(f"scheduler file {where!r}: there is none; check the path")
    try:
        client = Client(address, scheduler_file=scheduler_file, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise CampaignError(f"no Dask scheduler answers at {where}: {error}") from error
    with client:
        modules = Modules(os.getcwd(), module)
        try:
            client.register_plugin(modules)
        except ImportError as error:
            raise CampaignError(
                f"the workers at {where} cannot import the objective's module {module!r} "
                f"({error}): install it there, or start them with its directory in PYTHONPATH"
            ) from error
        yield client
        if client.status == "running":
            client.unregister_worker_plugin(modules.name)
