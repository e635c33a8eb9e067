"""A batch script that runs a command of ours once: the probe of the doctor, a campaign's driver.

Everything that a site says of the batch jobs of workers holds (account, modules, what must not be
asked for), apart from what is given here.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.config

from daskhpo.cluster.script import CONFIG, WorkerNeeds, job_options
from daskhpo.cluster.settings import PoolSettings
from daskhpo.cluster.site import DRIVER, Site
from daskhpo.cluster.systems import job_class

__all__ = ["as_driver", "errand_script"]


def errand_script(
    site: Site,
    settings: PoolSettings,
    command: Sequence[str],
    *,
    name: str,
    directory: Path,
    prologue: Sequence[str] = (),
) -> str:
    """Make a batch script that runs a command in place of a worker.

    Parameters
    ----------
    site : Site
        Where; see :func:`as_driver` for a job without GPUs.
    settings : PoolSettings
        Queue, account, walltime, GPUs and directives.
    command : sequence of str
        What to run, without a shell.
    name : str
        Of the batch job.
    directory : Path
        Absolute; logs go to ``pool/logs`` in it, which is made.
    prologue : sequence of str
        Shell lines before the command.

    Raises
    ------
    CampaignError
        As :func:`daskhpo.cluster.script.batch_script`.

    Examples
    --------
    >>> import tempfile
    >>> from daskhpo.cluster.site import load_site
    >>> site = Site("ours", "slurm", {**load_site(kind="slurm").options, "memory": "4GB"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     script = errand_script(site, PoolSettings(kind="slurm", queue="dev"), ["hostname"],
    ...                            name="hpo-errand", directory=Path(folder))
    >>> script.splitlines()[-1], "#SBATCH -p dev" in script
    ('exec hostname', True)
    """
    words = " ".join(shlex.quote(word) for word in command)
    options = job_options(site, settings, WorkerNeeds(directory, "errand"))
    options["name"] = name
    # dask-jobqueue puts the rest of a worker's command behind its python.
    options["python"] = f"exec {words} #"
    options["job-script-prologue"] = [*options["job-script-prologue"], *prologue]
    with dask.config.set({f"jobqueue.{CONFIG}": options}):
        job: Any = job_class(site.kind)(scheduler="-", name=name, config_name=CONFIG)
    if site.kind != "htcondor":  # which has put it into quotes already
        job._command_template = f"exec {words}"
    script: str = job.job_script()
    return script.rstrip() + "\n"


def as_driver(site: Site, settings: PoolSettings) -> tuple[Site, PoolSettings]:
    """The site and the settings of the batch job that a campaign's driver is: small, no GPUs.

    Examples
    --------
    >>> ours = Site("ours", "slurm", {"cores": 48, "memory": "500GB"}, gpus=4,
    ...             driver={"queue": "small", "walltime": "24:00:00", "cores": 2})
    >>> site, settings = as_driver(ours, PoolSettings(kind="slurm", queue="gpu", gpus=4))
    >>> site.options["cores"], site.gpus, settings.queue, settings.walltime
    (2, 0, 'small', '24:00:00')
    """
    wanted: Mapping[str, Any] = {**DRIVER, **site.driver}
    options = {
        **site.options,
        "cores": wanted["cores"],
        "memory": wanted["memory"],
        # Those of workers ask for their GPUs, their nodes, their constraints.
        "job-extra-directives": {} if site.kind == "htcondor" else [],
        "resource-spec": None,
        "job-cpu": None,
        "job-mem": None,
    }
    settings = replace(
        settings,
        queue=wanted["queue"] or settings.queue,
        walltime=wanted["walltime"] or settings.walltime,
        directives=tuple(wanted["directives"]),
        gpus=None,
    )
    return replace(site, options=options, gpus=0, check=""), settings
