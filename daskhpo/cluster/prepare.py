"""All that can be wrong with a pool of batch jobs, found before anything is queued."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskhpo.cluster.batch import BatchSystem
from daskhpo.cluster.script import WorkerNeeds, batch_script
from daskhpo.cluster.settings import PoolSettings
from daskhpo.cluster.shared import check_interface, check_shared
from daskhpo.cluster.site import Site
from daskhpo.cluster.steps import Steps
from daskhpo.cluster.systems import make_system
from daskhpo.cluster.tls import campaign_security
from daskhpo.exceptions import CampaignError
from daskhpo.store.disk import disk_error

if TYPE_CHECKING:
    from distributed import Security

__all__ = ["prepare"]


def prepare(
    settings: PoolSettings, site: Site, needs: WorkerNeeds
) -> tuple[BatchSystem, str, Security | None]:
    """Make what batch jobs need, and make sure as far as can be told that they would start.

    Use it alone to check a campaign before it is begun: nothing is queued.

    Returns
    -------
    tuple of (BatchSystem, str, Security or None)
        The batch system, the script and the keys.

    Raises
    ------
    CampaignError
        Naming the setting, its value and what is allowed.
    StoreError
        If the campaign directory cannot be written.
    """
    inside = settings.kind == "allocation"
    if site.kind != ("slurm" if inside else settings.kind):
        raise CampaignError(f"pool.kind={settings.kind!r}: site {site.name!r} is a {site.kind}")
    check_shared(site, needs.directory)
    check_interface(site)
    folder = needs.directory / "pool"
    try:
        needs.log_directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error("create", needs.log_directory, error) from error
    security = campaign_security(needs.directory) if settings.tls else None
    script = batch_script(site, settings, needs, security=security)
    system: BatchSystem = (
        Steps(needs.job_name, directory=folder, logs=needs.log_directory)
        if inside
        else make_system(site.kind, needs.job_name, directory=folder)
    )
    system.check(script)
    return system, script, security
