"""The batch script of a pool: dask-jobqueue's, with our launcher where its worker would be.

Everything a site or a user says in dask-jobqueue's configuration means here what it means there.
What is added: one name for all batch jobs of a campaign (so that the queue itself is the list of
what was submitted), logs in the campaign directory, no second start by the batch system (the pool
decides on that), and the objective's directory in ``PYTHONPATH``.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config

from daskhpo.cluster.settings import PoolSettings, walltime_seconds
from daskhpo.cluster.site import Site
from daskhpo.cluster.systems import import_jobqueue
from daskhpo.exceptions import CampaignError

if TYPE_CHECKING:
    from distributed import Security

__all__ = ["CONFIG", "WorkerNeeds", "batch_script", "cluster_class", "job_options", "lifetime_of"]

CONFIG = "daskhpo-pool"  # the section of dask-jobqueue's configuration that holds while we use it
START = 300  # seconds that a worker may take to start: its imports are slow on a busy file system

_CLASSES = {
    "slurm": "SLURM",
    "pbs": "PBS",
    "lsf": "LSF",
    "sge": "SGE",
    "htcondor": "HTCondor",
    "oar": "OAR",
}
_ONCE = {  # never start again by yourself; append to logs
    "slurm": ("--no-requeue", "--open-mode=append"),
    "pbs": ("-r n",),
    "sge": ("-r n",),
    "lsf": ("-rn",),
}
_NO_BATCH_PATH = re.compile(r"[\s%$\\'\"`;&|<>*?]")  # no directive can be trusted to quote these


@dataclass(frozen=True, slots=True)
class WorkerNeeds:
    """What every worker of a campaign must bring, whatever the site.

    Parameters
    ----------
    directory : path
        The campaign's, absolute.
    token : str
        Names the campaign on the cluster.
    threads : int
        Trials that a worker trains at the same time.
    gpus : int
        GPUs that each of them needs for itself.
    memory : str, optional
        Of a batch job; by default as the site says.
    resources : mapping
        Dask resources that one trial takes.
    path : str
        Where the objective's module lies, if it is not installed.
    module : str
        The objective's: a worker that cannot import it fails before any trial does.
    patience : float
        Seconds that a batch job waits for a driver.
    """

    directory: Path
    token: str
    threads: int = 1
    gpus: int = 0
    memory: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    path: str = ""
    module: str = ""
    patience: float = 600.0

    @property
    def job_name(self) -> str:
        """Of all batch jobs of the campaign."""
        return f"hpo-{self.token}"

    @property
    def scheduler_file(self) -> Path:
        """Where workers find the scheduler of the moment."""
        return self.directory / "pool" / "scheduler.json"

    @property
    def log_directory(self) -> Path:
        """Where batch jobs write."""
        return self.directory / "pool" / "logs"


def batch_script(
    site: Site, settings: PoolSettings, needs: WorkerNeeds, *, security: Security | None = None
) -> str:
    """Make the script that all batch jobs of a campaign share.

    It names no address: which scheduler to serve, a batch job finds out when it begins. The
    directory of logs is made, since no batch system would.

    Raises
    ------
    CampaignError
        If something that a batch job needs is not said anywhere, or cannot be said.

    Examples
    --------
    >>> from daskhpo.cluster.site import load_site
    >>> site = Site("ours", "slurm", {**load_site(kind="slurm").options, "memory": "4GB"})
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     needs = WorkerNeeds(Path(folder), "a1b2")
    ...     print(batch_script(site, PoolSettings(kind="slurm"), needs).splitlines()[2])
    #SBATCH -J hpo-a1b2
    """
    options = job_options(site, settings, needs)
    with dask.config.set({f"jobqueue.{CONFIG}": options}):
        try:
            job = cluster_class(site.kind).job_cls(
                shlex.quote(str(needs.scheduler_file)),
                name=needs.job_name,
                config_name=CONFIG,
                protocol="tls://" if security is not None else None,
                security=security,
            )
        except ValueError as error:  # dask-jobqueue's own, such as a missing disk for HTCondor
            raise CampaignError(f"site {site.name!r}: {error}") from error
    script: str = job.job_script()
    return script


def cluster_class(kind: str) -> Any:
    """dask-jobqueue's cluster class of a kind of batch system; its ``job_cls`` makes scripts."""
    return getattr(import_jobqueue(), f"{_CLASSES[kind]}Cluster")


def job_options(site: Site, settings: PoolSettings, needs: WorkerNeeds) -> dict[str, Any]:
    """dask-jobqueue's configuration for the batch jobs of one campaign.

    Raises
    ------
    CampaignError
        As :func:`batch_script`.
    """
    if _NO_BATCH_PATH.search(str(needs.directory)):
        raise CampaignError(
            f"campaign directory {str(needs.directory)!r}: batch systems take no paths with "
            "spaces or any of % $ \\ ' \" ` ; & | < > * ?: choose another"
        )
    options = dict(site.options)
    owner = "account" if "account" in options else "project"
    options |= {
        "name": needs.job_name,
        "processes": 1,
        "cores": options["cores"] or needs.threads,
        "memory": needs.memory or options["memory"],
        "queue": settings.queue or options.get("queue"),
        "python": f"exec {options['python'] or shlex.quote(sys.executable)}",
        "worker-command": "daskhpo.cluster.launcher",
        "worker-extra-args": [*options["worker-extra-args"], *_launcher_arguments(site, needs)],
        "job-script-prologue": [*options["job-script-prologue"], *_prologue(site, needs)],
        "log-directory": str(needs.log_directory),
        "death-timeout": max(options["death-timeout"] or 0, START),
        # The shell of the node knows where that node's own disk is.
        "local-directory": options["local-directory"] or '"${TMPDIR:-/tmp}"',
    }
    if settings.account:
        options[owner] = settings.account
    if options["memory"] is None:
        raise CampaignError(
            f"memory of a batch job: neither workers.memory nor site {site.name!r} (jobqueue."
            f"{site.name}.memory in ~/.config/dask/jobqueue.yaml) says it"
        )
    lifetime = lifetime_of(site, settings)
    if math.isfinite(lifetime):
        options["worker-extra-args"] += ["--walltime", f"{lifetime:.0f}"]
    _request_gpus(options, site, settings, needs)
    _add_directives(options, site.kind, [*_ONCE.get(site.kind, ()), *settings.directives])
    if settings.walltime:
        _set_walltime(options, site.kind, settings.walltime)
    return options


def lifetime_of(site: Site, settings: PoolSettings) -> float:
    """Seconds that a batch job gets; inf if nobody says.

    Raises
    ------
    CampaignError
        If the site's walltime is none.

    Examples
    --------
    >>> lifetime_of(Site("ours", "lsf", {"walltime": "01:30"}), PoolSettings(kind="lsf"))
    5400.0
    """
    if settings.walltime:
        return walltime_seconds("pool.walltime", settings.walltime)
    text = str(site.options.get("walltime") or "")
    if not text:
        return math.inf
    name = f"walltime of site {site.name!r}"
    if site.kind == "lsf" and text.count(":") == 1:  # hours and minutes
        text += ":00"
    if site.kind in ("pbs", "sge") and text.isdigit():
        return float(text)  # seconds
    return walltime_seconds(name, text)


def _launcher_arguments(site: Site, needs: WorkerNeeds) -> list[str]:
    arguments = ["--campaign", shlex.quote(str(needs.directory)), "--token", needs.token]
    arguments += ["--nthreads", str(needs.threads), "--patience", f"{needs.patience:g}"]
    # A worker listens to nobody who does not hold the keys.
    arguments += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    if needs.module:
        arguments += ["--preload", needs.module]
    if site.check:
        arguments += ["--check", shlex.quote(site.check)]
    if site.kind == "htcondor":  # it tells its batch jobs their ids in no other way
        arguments += ["--batch", "$(ClusterId).$(ProcId)"]
    if needs.resources:
        told = [f"{name}={amount * needs.threads:g}" for name, amount in needs.resources.items()]
        arguments += ["--resources", shlex.quote(" ".join(told))]
    return arguments


def _prologue(site: Site, needs: WorkerNeeds) -> list[str]:
    package = Path(__file__).resolve().parents[2]  # where daskhpo itself is imported from
    installed = package.is_relative_to(sys.prefix)
    paths = [path for path in (needs.path, "" if installed else str(package)) if path]
    lines = []
    if paths:
        told = shlex.quote(":".join(dict.fromkeys(paths)))
        lines.append(f"export PYTHONPATH={told}${{PYTHONPATH:+:$PYTHONPATH}}")
    if site.kind != "htcondor":  # whose macros look like this, and which knows no walltime
        lines.insert(0, "export DASKHPO_BEGAN=$(date +%s)")
    return lines


def _request_gpus(
    options: dict[str, Any], site: Site, settings: PoolSettings, needs: WorkerNeeds
) -> None:
    gpus = site.gpus if settings.gpus is None else settings.gpus
    if needs.gpus * needs.threads > gpus:
        raise CampaignError(
            f"workers.gpus={needs.gpus} for each of workers.threads={needs.threads} trials: a "
            f"batch job has {gpus} (pool.gpus, or gpus of site {site.name!r})"
        )
    spec = options.get("resource-spec") or ""
    if "{gpus}" in spec:
        options["resource-spec"] = spec.replace("{gpus}", str(gpus))
    elif gpus and site.gpu_directive:
        directive = site.gpu_directive.replace("{gpus}", str(gpus))
        _add_directives(options, site.kind, [directive])
    elif settings.gpus:
        raise CampaignError(
            f"pool.gpus={settings.gpus}: site {site.name!r} does not say how to ask for GPUs: add "
            "its directive to pool.directives, or write a site file with gpu-directive"
        )


def _add_directives(options: dict[str, Any], kind: str, directives: list[str]) -> None:
    given = options["job-extra-directives"]
    if kind != "htcondor":
        options["job-extra-directives"] = [*given, *directives]
        return
    pairs = [directive.partition("=") for directive in directives]
    if wrong := [each[0] for each in pairs if not each[1]]:
        raise CampaignError(f"pool.directives={wrong[0]!r}: HTCondor wants 'attribute = value'")
    told = {key.strip(): value.strip() for key, _, value in pairs}
    options["job-extra-directives"] = {**(given or {}), **told}


def _set_walltime(options: dict[str, Any], kind: str, text: str) -> None:
    """Say a walltime that was given as to Slurm in the words of another batch system."""
    seconds = math.ceil(walltime_seconds("pool.walltime", text))
    minutes = math.ceil(seconds / 60)
    if kind == "slurm":
        options["walltime"] = text
    elif kind == "lsf":
        options["walltime"] = f"{minutes // 60:02}:{minutes % 60:02}"
    elif kind == "htcondor":
        _add_directives(options, kind, [f"allowed_job_duration = {seconds}"])
    else:
        hours, rest = divmod(seconds, 3600)
        options["walltime"] = f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
