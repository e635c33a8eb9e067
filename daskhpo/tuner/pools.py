"""The pool that a campaign's settings ask for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from daskhpo.campaign import Campaign
from daskhpo.cluster.pool import ClientPool, Pool
from daskhpo.store.directory import CampaignDirectory
from daskhpo.tuner.ledger import Ledger

__all__ = ["pool_of"]


@contextlib.contextmanager
def pool_of(campaign: Campaign, path: Path, *, module: str = "") -> Iterator[Pool]:
    """Make the pool of a campaign; it ends with the context.

    Parameters
    ----------
    campaign : Campaign
        Its ``pool`` and ``workers`` say what is wanted.
    path : path
        The campaign directory.
    module : str
        The module of the objective, which workers have to be able to import.

    Yields
    ------
    Pool

    Raises
    ------
    CampaignError
        If the settings cannot work here; nothing has been queued then.
    """
    workers = campaign.workers
    if campaign.pool.kind == "local":
        from daskhpo.cluster.local import local_client

        with local_client(
            count=workers.count,
            threads=workers.threads,
            memory=workers.memory,
            resources=workers.resources,
        ) as client:
            yield ClientPool(client)
        return
    from daskhpo.cluster.batchpool import batch_pool
    from daskhpo.cluster.site import load_site

    ledger = Ledger()
    directory = CampaignDirectory(path)
    for fact in directory.facts() if directory.exists() else ():
        ledger.read(fact)
    with batch_pool(
        campaign.pool,
        load_site(campaign.pool.site, kind=campaign.pool.kind),
        directory=path,
        token=campaign.token,
        threads=workers.threads,
        gpus=workers.gpus,
        memory=workers.memory,
        resources=workers.resources,
        module=module,
        submitted=len(ledger.jobs),
    ) as pool:
        yield pool
