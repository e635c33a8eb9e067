"""``submit`` and ``stop``: campaigns whose driver is a batch job."""

from __future__ import annotations

import dataclasses
import getpass
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskhpo.campaign import Campaign
from daskhpo.cli import options
from daskhpo.cli.objective import find_objective
from daskhpo.exceptions import CampaignError
from daskhpo.store.directory import CampaignDirectory

if TYPE_CHECKING:
    from daskhpo.cluster.site import Site
    from daskhpo.tuner import Tuner

__all__ = ["stop", "submit"]


@click.command()
@click.argument("target", metavar="CAMPAIGN", type=click.Path(exists=True, path_type=Path))
@click.option("--site", metavar="NAME", help="Preset of a site, or the path of a file like those.")
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    help="Campaign directory; by default what the file says, else runs/NAME.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Batch jobs of workers at the same time; by default as the campaign says.",
)
@click.option(
    "--allocation",
    type=click.IntRange(min=1),
    metavar="NODES",
    help="One batch job of so many nodes holds the driver and all workers.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, print the script, submit nothing.")
@options.budget
@options.as_json
def submit(
    target: Path,
    site: str | None,
    path: Path | None,
    workers: int | None,
    allocation: int | None,
    dry_run: bool,
    as_json: bool,
    **limits: Any,
) -> None:
    """Let a campaign be driven by a batch job that submits its own successor.

    CAMPAIGN is a campaign file, or the directory of a campaign that is to go on. Everything is
    checked before anything is written or submitted. The driver is a small batch job without
    GPUs; it leaves before its walltime, the next one takes over, and the last one cleans up.
    Nothing has to run on the login node meanwhile. --hours are those of all drivers together.

    \b
    Example:
      daskhpo submit sweep.yaml --site juwels-booster --workers 16
      daskhpo submit sweep.yaml --site juwels-booster --dry-run
      daskhpo submit sweep.yaml --site juwels-booster --allocation 8
      daskhpo submit runs/sweep --trials 400
    """
    given = {name: value for name, value in limits.items() if value is not None}
    plan = _plan(target, path, site, workers, allocation, given)
    if dry_run:
        script = plan.script()
        if as_json:
            options.print_json({"script": script, "directory": str(plan.path)})
        else:
            click.echo(script)
        return
    batch = plan.carry_out()
    if as_json:
        content = {"batch": batch, "directory": str(plan.path), "name": plan.name}
        options.print_json(content)
    else:
        click.echo(plan.epilogue(batch))


@click.command()
@options.campaign
@options.as_json
def stop(directory: CampaignDirectory, as_json: bool) -> None:
    """Ask the driver of a campaign, wherever it runs, to end.

    Trials pause with a checkpoint at their next report, and workers are let go. Where nobody
    drives it now, batch jobs that wait for a driver are cancelled. To go on later: daskhpo submit
    DIR, or daskhpo resume DIR.

    \b
    Example:
      daskhpo stop runs/sweep
    """
    from daskhpo.analysis.reading import Reading
    from daskhpo.store.requests import request_stop

    request_stop(directory.path, f"asked to stop by {_user()}")
    driver = Reading(directory.path).driver
    cancelled = _wind_up(directory) if driver is None else []
    if as_json:
        found = {"driver": None if driver is None else str(driver), "cancelled": cancelled}
        options.print_json(found)
    elif driver is None:
        gone = f"; cancelled batch jobs {', '.join(cancelled)}" if cancelled else ""
        click.echo(f"nobody drives this campaign now{gone}")
    else:
        click.echo(f"asked {driver}; to watch it end: daskhpo attach {_quoted(directory.path)}")


def _wind_up(directory: CampaignDirectory) -> list[str]:
    """Cancel what is left of a campaign that has no driver; returns the batch jobs."""
    from daskhpo.cluster.driverjob import Relay, wind_up
    from daskhpo.cluster.site import load_site

    campaign = Campaign.from_mapping(directory.config())
    pool = campaign.pool
    if pool.kind == "local":
        return []
    kind = "slurm" if pool.kind == "allocation" else pool.kind
    cancelled = wind_up(load_site(pool.site, kind=kind), campaign.token, directory.path)
    Relay().write(directory.path)
    return cancelled


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """All that is to be submitted, valid; nothing is written yet.

    ``arguments`` are those of :mod:`daskhpo.cli.driving`.
    """

    tuner: Tuner
    site: Site
    arguments: tuple[str, ...]
    nodes: int

    @property
    def path(self) -> Path:
        return self.tuner.directory.path

    @property
    def name(self) -> str:
        """Of the drivers' batch jobs."""
        from daskhpo.cluster.driverjob import driver_name

        return driver_name(self.tuner.campaign.token)

    def script(self, logs: Path | None = None) -> str:
        """The batch script; ``logs`` is where their directory is made while this is a trial."""
        from daskhpo.cluster.driverjob import driver_script

        if logs is None:
            with tempfile.TemporaryDirectory() as folder:
                return self.script(Path(folder)).replace(folder, str(self.path))
        campaign = self.tuner.campaign
        return driver_script(
            self.site,
            campaign.pool,
            directory=self.path,
            token=campaign.token,
            arguments=self.arguments,
            logs=logs,
            nodes=self.nodes,
        )

    def check(self) -> None:
        """Make sure that all batch jobs would be accepted, and that no driver is queued."""
        from daskhpo.cluster.driverjob import driver_system
        from daskhpo.cluster.script import WorkerNeeds, batch_script
        from daskhpo.cluster.shared import check_shared

        campaign, pool = self.tuner.campaign, self.tuner.campaign.pool
        check_shared(self.site, self.path)
        with tempfile.TemporaryDirectory() as folder:
            system = driver_system(self.site, campaign.token, Path(folder))
            system.check(self.script(Path(folder)))
            if not self.nodes:
                workers = campaign.workers
                needs = WorkerNeeds(
                    Path(folder), campaign.token, workers.threads, workers.gpus, workers.memory
                )
                system.check(batch_script(self.site, pool, needs))
            if waiting := system.jobs():
                job = next(iter(waiting.values()))
                raise CampaignError(
                    f"{self.path} has a driver already: {job}; look at it with "
                    f"`daskhpo attach {_quoted(self.path)}`, or end it with `daskhpo stop`"
                )

    def carry_out(self) -> str:
        """Create the campaign if need be, and submit its driver; returns the batch job."""
        from daskhpo.cluster.driverjob import Relay, driver_system, script_path
        from daskhpo.store.disk import write_atomic
        from daskhpo.store.requests import clear_stop
        from daskhpo.tuner.record import record

        directory, campaign = self.tuner.directory, self.tuner.campaign
        if not directory.exists():
            directory.create(record(campaign))
        folder = self.path / "pool"
        script = self.script(self.path)  # makes the directory of the logs, and so the folder
        clear_stop(self.path)
        (folder / "closed").unlink(missing_ok=True)
        write_atomic(script_path(self.path), script)
        batch = driver_system(self.site, campaign.token, folder).submit(script)
        Relay(successor=batch).write(self.path)
        return batch

    def epilogue(self, batch: str) -> str:
        """What was done, and how to look."""
        quoted = _quoted(self.path)
        program = "daskhpo"
        queue = {"slurm": f"squeue --name={self.name},hpo-{self.tuner.campaign.token}"}
        lines = [
            f"submitted batch job {batch}, which drives the campaign in {self.path}",
            "",
            "look closer",
            f"  {program} attach {quoted}",
            f"  {program} status {quoted}",
            *([f"  {queue[self.site.kind]}"] if self.site.kind in queue else []),
            f"  {program} stop {quoted}",
        ]
        if self.site.kind != "slurm":
            lines.append(f"it has no successor: when it is over, daskhpo submit {quoted}")
        return "\n".join(lines)


def _plan(
    target: Path,
    path: Path | None,
    site: str | None,
    workers: int | None,
    allocation: int | None,
    limits: Mapping[str, Any],
) -> _Plan:
    """Read and check everything; touches nothing."""
    from daskhpo.cluster.site import load_site
    from daskhpo.tuner import Tuner

    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in limits.items()]
    if target.is_dir():
        if path is not None:
            raise click.UsageError("--path is for campaign files; this campaign has its directory")
        campaign = Campaign.from_mapping(CampaignDirectory(target).config())
        path = target
        arguments += [f"--site={site}"] if site else []
        arguments += [f"--workers={workers}"] if workers else []
        if allocation and campaign.pool.kind != "allocation":
            raise CampaignError(
                f"--allocation={allocation}: {target} was begun with pool.kind="
                f"{campaign.pool.kind!r}; begin a new campaign with it (--warm-start {target})"
            )
    else:
        campaign, path = _new_campaign(target, path)
    place = site or campaign.pool.site
    if not place and campaign.pool.kind == "local":
        raise CampaignError("pool.site: none given; say where the driver is to run: --site NAME")
    found = load_site(place, kind="" if place else "slurm")
    kind = "allocation" if allocation else found.kind
    if campaign.pool.kind == "allocation" and not allocation:
        raise CampaignError("pool.kind='allocation': say how many nodes: --allocation NODES")
    pool = dataclasses.replace(campaign.pool, kind=kind, site=place)
    if workers:
        pool = dataclasses.replace(pool, jobs=workers)
    budget = dataclasses.replace(campaign.budget, **limits)
    if not budget.given:
        raise CampaignError(
            "budget: none given; add 'budget: {trials: 30}' to the campaign file, or use --trials, "
            "--steps, --hours or --device-hours"
        )
    campaign = dataclasses.replace(campaign, pool=pool, budget=budget)
    if budget.hours is not None and "hours" not in limits:
        arguments.append(f"--hours={budget.hours}")
    tuner = Tuner.from_campaign(find_objective(campaign), campaign, path)
    tuner.check()
    plan = _Plan(tuner, found, tuple(arguments), allocation or 0)
    plan.check()
    return plan


def _new_campaign(file: Path, path: Path | None) -> tuple[Campaign, Path]:
    from daskhpo.cli.running import read_settings

    settings = read_settings(file)
    chosen = settings.get("path")
    campaign = Campaign.from_mapping(settings)
    return campaign, path or Path(chosen or Path("runs", campaign.name))


def _quoted(path: Path) -> str:
    return shlex.quote(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name
        return "somebody"
