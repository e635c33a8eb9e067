"""``status``, ``best``, ``explain`` and ``export``: look at a campaign, also while it runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskhpo.cli import options
from daskhpo.store.directory import CampaignDirectory
from daskhpo.wording import listing, number, value

if TYPE_CHECKING:
    from daskhpo.analysis.reading import Reading

__all__ = ["best", "explain", "export", "status"]

WATCH = 2.0  # seconds between two looks


@click.command()
@options.campaign
@click.option("--watch", is_flag=True, help="Look again and again, until the campaign ends.")
@options.as_json
def status(directory: CampaignDirectory, watch: bool, as_json: bool) -> None:
    """How a campaign stands: trials, incumbent, rungs, compute.

    \b
    Example:
      daskhpo status runs/first --watch
    """
    from daskhpo.analysis.reading import Reading

    reading = Reading(directory.path).catch_up()
    _show(reading, as_json)
    while watch and reading.driver is not None:
        time.sleep(WATCH)
        seen = reading.study.reports, len(reading.study.trials), len(reading.study.running)
        reading.catch_up()
        if seen != (reading.study.reports, len(reading.study.trials), len(reading.study.running)):
            _show(reading, as_json)


@click.command()
@options.campaign
@options.as_json
def best(directory: CampaignDirectory, as_json: bool) -> None:
    """The best trial so far, and its configuration.

    \b
    Example:
      daskhpo best runs/first --json
    """
    from daskhpo.analysis.reading import Reading
    from daskhpo.analysis.summary import summary

    reading = Reading(directory.path).catch_up()
    found = summary(reading.study, reading.campaign)
    if found.incumbent is None:
        raise options.Failed(f"{directory.path}: no trial has reported yet")
    if as_json:
        options.print_json(found.to_dict()["incumbent"])
        return
    incumbent = found.incumbent
    click.echo(
        f"trial {incumbent.number} ({incumbent.state}): {found.metric} {number(incumbent.value)} "
        f"at {found.unit} {incumbent.step}"
    )
    for line in listing(
        [(name, value(given)) for name, given in incumbent.params.items()], indent=2
    ):
        click.echo(line)


@click.command()
@options.campaign
@click.argument("trial", metavar="TRIAL", type=click.IntRange(min=0))
@options.as_json
def explain(directory: CampaignDirectory, trial: int, as_json: bool) -> None:
    """Why a trial went as far as it did, in words.

    \b
    Example:
      daskhpo explain runs/first 12
    """
    from daskhpo.analysis.explain import explain as explain_trial

    found = explain_trial(directory.path, trial)
    if as_json:
        options.print_json(found.to_dict())
    else:
        click.echo(found.to_text())


@click.command()
@options.campaign
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=click.Choice(["csv", "zarr"]),
    default="csv",
    show_default=True,
    help="csv: OUT/trials.csv and OUT/curves.csv; zarr: one store, for xarray.",
)
@options.as_json
def export(directory: CampaignDirectory, out: Path, format: str, as_json: bool) -> None:
    """Write trials and curves for other programs.

    Works on a copied directory too, on a machine without the objective's code.

    \b
    Example:
      daskhpo export runs/first tables
      daskhpo export runs/first first.zarr --format zarr
    """
    from daskhpo.analysis.export import export as export_campaign

    written = [str(path) for path in export_campaign(directory.path, out, format=format)]
    if as_json:
        options.print_json({"format": format, "written": written})
    else:
        click.echo("\n".join(written))


def _show(reading: Reading, as_json: bool) -> None:
    from daskhpo.analysis.summary import summary

    found = summary(reading.study, reading.campaign)
    driver = reading.driver
    if as_json:
        content: dict[str, Any] = found.to_dict()
        content |= {"driver": str(driver) if driver else None, "torn": reading.torn or None}
        options.print_json(content)
        return
    if sys.stdout.isatty() and driver is not None:
        click.clear()
    click.echo(found.to_text())
    click.echo(f"driver    {_driver(reading)}")
    if reading.torn and driver is None:
        click.echo(f"note      {reading.torn}; it counts as never written", err=True)


def _driver(reading: Reading) -> str:
    if reading.driver is not None:
        return str(reading.driver)
    if reading.study.running or (reading.study.closed and not _complete(reading)):
        return f"none at work; to go on: daskhpo resume {reading.directory.path}"
    return "none at work"


def _complete(reading: Reading) -> bool:
    """Whether every trial has come to its end."""
    return all(trial.state.final for trial in reading.study.trials.values())
