"""``run`` and ``resume``: tune."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from daskhpo.campaign import Budget, Campaign
from daskhpo.cli import options
from daskhpo.cli.loading import load_yaml
from daskhpo.cli.objective import find_objective, module_of
from daskhpo.exceptions import CampaignError
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.requests import clear_stop

if TYPE_CHECKING:
    from daskhpo.cluster.pool import Pool
    from daskhpo.tuner import Tuner
    from daskhpo.tuner.progress import Progress

__all__ = ["read_settings", "resume", "run"]


@dataclasses.dataclass(frozen=True, slots=True)
class Where:
    """Where trials run: here, on workers of their own, or on a cluster that exists."""

    debug: bool = False
    workers: int | None = None
    address: str | None = None
    scheduler_file: Path | None = None
    site: str | None = None
    keep_workers: bool = False

    def __post_init__(self) -> None:
        for names in (
            ("debug", "workers", "address", "scheduler_file"),
            ("debug", "site", "address", "scheduler_file"),
        ):
            given = [name for name in names if getattr(self, name)]
            if len(given) > 1:
                one, other = (f"--{name.replace('_', '-')}" for name in given[:2])
                raise click.UsageError(f"{one} and {other} exclude each other: keep one of them")

    def settle(self, campaign: Campaign) -> Campaign:
        """The campaign with what was said here about its workers."""
        pool, workers = campaign.pool, campaign.workers
        if self.workers and pool.kind == "local":
            workers = dataclasses.replace(workers, count=self.workers)
        elif self.workers:
            pool = dataclasses.replace(pool, jobs=self.workers)
        if self.site:
            from daskhpo.cluster.site import load_site

            kind = pool.kind if pool.kind != "local" else ""
            kind = kind or load_site(self.site).kind
            pool = dataclasses.replace(pool, kind=kind, site=self.site)
        return dataclasses.replace(campaign, pool=pool, workers=workers)

    @contextlib.contextmanager
    def pool(self, tuner: Tuner) -> Iterator[Pool]:
        """The workers."""
        from daskhpo.cluster.existing import existing_client
        from daskhpo.cluster.pool import ClientPool

        if self.address or self.scheduler_file:
            module = module_of(tuner.campaign)
            with existing_client(
                self.address, scheduler_file=self.scheduler_file, module=module
            ) as client:
                yield ClientPool(client)
        else:
            with tuner.pool() as pool:
                yield pool


@click.command()
@click.argument(
    "file", metavar="CAMPAIGN.yaml", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    help="Campaign directory; by default what the file says, else runs/NAME.",
)
@options.warm_start
@options.budget
@options.cluster
@options.as_json
def run(
    file: Path, path: Path | None, warm_start: tuple[Path, ...], as_json: bool, **given: Any
) -> None:
    """Tune as a campaign file says.

    Everything in the file is checked before anything starts. Where the directory holds this
    campaign already, it goes on.

    Ctrl-C once: nothing new starts and running trials pause with a checkpoint at their next
    report. Twice: they are left behind. Either way the campaign can be resumed.

    \b
    Example:
      daskhpo run data/quickstart.yaml
      daskhpo run sweep.yaml --path runs/second --trials 100 --workers 8
      daskhpo run sweep.yaml --path runs/third --warm-start runs/first --warm-start runs/second
      daskhpo run sweep.yaml --site juwels-booster --workers 16
      daskhpo run sweep.yaml --scheduler-file scheduler.json --hours 23.5
    """
    where, limits = _sorted(given)
    settings = read_settings(file)
    chosen = settings.get("path")
    if chosen is not None and not (isinstance(chosen, str) and chosen):
        raise CampaignError(f"path={chosen!r}: must be the path of a directory")
    campaign = Campaign.from_mapping(settings)
    # What is recorded is what was asked for, here too: a resumed campaign has the same budget.
    campaign = dataclasses.replace(
        campaign,
        budget=_budget(campaign, limits),
        warm_start=[*campaign.warm_start, *map(os.fspath, warm_start)],
    )
    _tune(campaign, path or Path(chosen or Path("runs", campaign.name)), where, as_json)


@click.command()
@options.campaign
@options.budget
@options.cluster
@options.as_json
def resume(directory: CampaignDirectory, as_json: bool, **given: Any) -> None:
    """Go on with a campaign, however it ended.

    Budgets are those of the campaign, unless others are given here.

    \b
    Example:
      daskhpo resume runs/first
      daskhpo resume runs/first --trials 200
    """
    where, limits = _sorted(given)
    campaign = Campaign.from_mapping(directory.config())
    campaign = dataclasses.replace(campaign, budget=_budget(campaign, limits))
    _tune(campaign, directory.path, where, as_json)


def _sorted(given: Mapping[str, Any]) -> tuple[Where, dict[str, Any]]:
    """The options of :func:`options.cluster`, and those of :func:`options.budget` that were set."""
    names = [field.name for field in dataclasses.fields(Where)]
    limits = {name: v for name, v in given.items() if name not in names and v is not None}
    return Where(**{name: given[name] for name in names}), limits


def read_settings(file: Path) -> dict[str, Any]:
    """What a campaign file says; a copied ``campaign.yaml`` is the file of a new campaign."""
    try:
        settings = load_yaml(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CampaignError(f"{file} is no YAML file: {error}") from error
    if not isinstance(settings, dict):
        raise CampaignError(f"{file}: must hold keys such as metric, space and scheduler")
    if settings.pop("schema_version", None) is not None:
        settings.pop("token", None)  # a copied campaign.yaml: the new campaign is another one
    settings.setdefault("name", file.stem)
    return settings


def _budget(campaign: Campaign, limits: Mapping[str, Any]) -> Budget:
    budget = Budget(**{**campaign.budget.given, **limits})
    if not budget.given:
        raise CampaignError(
            "budget: none given; add 'budget: {trials: 30}' to the campaign file, or use --trials, "
            "--steps, --hours or --device-hours"
        )
    return budget


def _tune(campaign: Campaign, path: Path, where: Where, as_json: bool) -> None:
    import dask.config

    from daskhpo.tuner import Tuner
    from daskhpo.tuner.progress import Progress

    campaign = where.settle(campaign)
    tuner = Tuner.from_campaign(find_objective(campaign), campaign, path)
    tuner.check()
    if not where.keep_workers:  # a driver that only takes over is stopped like the one before it
        clear_stop(tuner.directory.path)
    limits: dict[str, Any] = campaign.budget.given
    with Progress(campaign.unit) as progress, _logged(tuner.directory.log_path, progress):
        _announce(progress, campaign, tuner, path)
        if where.debug:
            tuner.debug(**limits)
        else:
            with where.pool(tuner) as pool:
                if pool.client.cluster is None or dask.config.get("daskhpo.local-dashboard"):
                    progress.say(f"dashboard: {pool.client.dashboard_link}")
                tuner.run(pool, watch=progress, keep=where.keep_workers, **limits)
    _conclude(tuner, path, as_json)


def _announce(progress: Progress, campaign: Campaign, tuner: Tuner, path: Path) -> None:
    doing = "going on" if tuner.directory.exists() else "beginning"
    limits = [
        f"{value:g} {name.replace('_', '-')}" for name, value in campaign.budget.given.items()
    ]
    progress.say(f"{doing} with {campaign.name!r} in {path}: at most {', '.join(limits)}")
    for earlier in tuner.lessons():
        progress.say(f"learning from earlier trials: {earlier}")


def _conclude(tuner: Tuner, path: Path, as_json: bool) -> None:
    """Say how it ended; a campaign in which no trial ever reported has failed."""
    from daskhpo.analysis.summary import summary

    study = tuner.study
    result = summary(study, tuner.campaign)
    best = study.best
    if as_json:
        options.print_json(result.to_dict())
    else:
        click.echo(result.to_text())
        click.echo(_closer(path, 0 if best is None else best.number, bool(study.closed)))
    if best is None and study.trials:
        errors = [trial.error for trial in study.trials.values() if trial.error]
        raise options.Failed(
            "no trial succeeded. " + (f"The first error:\n{errors[0]}" if errors else "")
        )


def _closer(path: Path, number: int, closed: bool) -> str:
    """The commands to look closer."""
    context = click.get_current_context()
    program = context.parent.command_path if context.parent else "daskhpo"
    quoted = shlex.quote(os.fspath(path))
    lines = [
        f"  {program} status {quoted}",
        f"  {program} explain {quoted} {number}",
        f"  {program} export {quoted} OUT",
    ]
    if closed:
        lines.append(f"  {program} resume {quoted}")
    return "\n".join(["", "look closer", *lines])


@contextlib.contextmanager
def _logged(path: Path, progress: Progress) -> Iterator[None]:
    """Warnings go to people, everything to the campaign's own log."""
    logger = logging.getLogger("daskhpo")
    file = logging.FileHandler(path, delay=True, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    progress.handler.setLevel(logging.WARNING)
    before = logger.level
    logger.setLevel(logging.INFO)
    for handler in (file, progress.handler):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in (file, progress.handler):
            logger.removeHandler(handler)
        file.close()
        logger.setLevel(before)
