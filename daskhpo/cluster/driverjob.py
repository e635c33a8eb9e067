"""The batch job in which a campaign's driver runs, and the one that follows it.

For login nodes that kill processes, and campaigns that are longer than any walltime. The job runs
:mod:`daskhpo.cli.driving`, which submits its successor before it does anything else, to begin
whenever this one is over, however it ends. Who is at work stands in the campaign directory::

    campaign/pool/  driver.sh    the batch script
                    driver.json  the batch jobs of now and next, and what has gone wrong so far
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from daskhpo.cluster.batch import BatchSystem
from daskhpo.cluster.errand import as_driver, errand_script
from daskhpo.cluster.settings import PoolSettings
from daskhpo.cluster.site import Site
from daskhpo.cluster.systems import make_system
from daskhpo.exceptions import CampaignError
from daskhpo.store.disk import write_atomic

__all__ = [
    "Relay",
    "driver_name",
    "driver_script",
    "driver_system",
    "following",
    "script_path",
    "wind_up",
]

_DEPENDENCY = re.compile(r"^#SBATCH --dependency=.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Relay:
    """Who drives a campaign now, who does next, and how it went: ``pool/driver.json``.

    Parameters
    ----------
    began : float
        When the first driver began, in seconds since 1970; 0 before.
    batch, successor : str
        The batch jobs of this driver and of the next one.
    since : float
        When the driver of now began, or has begun again.
    falls : int
        How often in a row a driver has not come to a regular end.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "pool").mkdir()
    ...     Relay(batch="17", successor="18").write(folder)
    ...     Relay.read(folder).successor
    '18'
    """

    began: float = 0.0
    batch: str = ""
    successor: str = ""
    since: float = 0.0
    falls: int = 0

    @classmethod
    def read(cls, directory: str | os.PathLike[str]) -> Self:
        """As the last driver left it; a new one where there is none."""
        try:
            content = json.loads(_state_path(directory).read_text(encoding="utf-8"))
            return cls(**{name: content[name] for name in cls.__slots__ if name in content})
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, directory: str | os.PathLike[str]) -> None:
        """For whoever looks, and whoever comes next.

        Raises
        ------
        StoreError
            If the disk refuses.
        """
        write_atomic(_state_path(directory), json.dumps(asdict(self)) + "\n")


def script_path(directory: str | os.PathLike[str]) -> Path:
    """Where the batch script of a campaign's drivers lies."""
    return Path(directory, "pool", "driver.sh")


def driver_name(token: str) -> str:
    """Of the batch jobs of a campaign's drivers; those of its workers have another name.

    Examples
    --------
    >>> driver_name("a1b2")
    'hpo-a1b2-driver'
    """
    return f"hpo-{token}-driver"


def driver_system(site: Site, token: str, folder: Path) -> BatchSystem:
    """The batch system, for the batch jobs of a campaign's drivers.

    Parameters
    ----------
    site : Site
        Whose.
    token : str
        Of the campaign.
    folder : Path
        For scripts on their way.
    """
    return make_system(site.kind, driver_name(token), directory=folder)


def driver_script(
    site: Site,
    settings: PoolSettings,
    *,
    directory: Path,
    token: str,
    arguments: Sequence[str] = (),
    logs: Path | None = None,
    nodes: int = 0,
) -> str:
    """Make the batch script of a campaign's drivers.

    Parameters
    ----------
    site : Site
        Where; its ``driver`` section says how large the batch job is.
    settings : PoolSettings
        Of the campaign.
    directory : Path
        The campaign's, absolute.
    token : str
        Of the campaign.
    arguments : sequence of str
        Of :mod:`daskhpo.cli.driving`, beyond the directory.
    logs : Path, optional
        Where ``pool/logs`` is made; by default in the campaign's directory.
    nodes : int
        Nodes of an allocation that holds the workers too; 0 for a driver alone.

    Raises
    ------
    CampaignError
        If a batch job of this shape cannot be described.
    """
    python = shlex.split(str(site.options.get("python") or "")) or [sys.executable]
    command = [*python, "-m", "daskhpo.cli.driving", str(directory), *arguments]
    if nodes:
        site, settings = _as_allocation(site, settings, nodes)
    else:
        site, settings = as_driver(site, settings)
    here = os.getcwd()
    if re.search(r"[\s'\"$\\]", here):
        raise CampaignError(
            f"working directory {here!r}: batch scripts take no such path: start from another"
        )
    return errand_script(
        site,
        settings,
        command,
        name=driver_name(token),
        directory=logs if logs is not None else directory,
        prologue=[f"cd {here}"],  # where the objective's module is looked for
    )


def following(script: str, batch: str) -> str:
    """The same script, to begin as soon as a batch job is over, however it ends.

    Examples
    --------
    >>> print(following("#!/bin/bash\\n\\n#SBATCH -J first\\nexec true\\n", "17"))
    #!/bin/bash
    <BLANKLINE>
    #SBATCH --dependency=afterany:17
    #SBATCH -J first
    exec true
    <BLANKLINE>
    """
    script = _DEPENDENCY.sub("", script)
    return script.replace("#SBATCH ", f"#SBATCH --dependency=afterany:{batch}\n#SBATCH ", 1)


def wind_up(site: Site, token: str, directory: Path, *, own: str = "") -> list[str]:
    """Let everything go that waits or runs for a campaign that nobody goes on with.

    Parameters
    ----------
    site : Site
        Whose batch system it is.
    token : str
        Of the campaign.
    directory : Path
        The campaign's.
    own : str
        The batch job that this process runs in, which ends by itself.

    Returns
    -------
    list of str
        The batch jobs that were cancelled.

    Raises
    ------
    Unreachable
        If the batch system does not answer.
    """
    folder = directory / "pool"
    (folder / "closed").touch()  # for batch jobs that begin just now
    gone = []
    for name in (driver_name(token), f"hpo-{token}"):
        system = make_system(site.kind, name, directory=folder)
        ids = [batch for batch in system.jobs() if batch != own]
        system.cancel(ids)
        gone += ids
    return gone


def _as_allocation(site: Site, settings: PoolSettings, nodes: int) -> tuple[Site, PoolSettings]:
    """One batch job of several nodes that are the workers', and outlives the loss of some."""
    if site.kind != "slurm":
        raise CampaignError(f"--allocation={nodes}: site {site.name!r} is a {site.kind}, not Slurm")
    options: dict[str, Any] = dict(site.options)
    # dask-jobqueue asks for one task, with which Slurm gives one node.
    options["job-directives-skip"] = [*(options.get("job-directives-skip") or []), "-n 1"]
    directives = (f"--nodes={nodes}", "--ntasks-per-node=1", "--no-kill", *settings.directives)
    settings = replace(settings, directives=directives)
    return replace(site, options=options, check=""), settings


def _state_path(directory: str | os.PathLike[str]) -> Path:
    return Path(directory, "pool", "driver.json")
