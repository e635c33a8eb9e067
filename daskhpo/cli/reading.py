"""``status``, ``best``, ``explain`` and ``export``: look at a campaign, also while it runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from daskhpo.cli import options
from daskhpo.store.directory import CampaignDirectory
from daskhpo.wording import count, listing, number, value

if TYPE_CHECKING:
    from daskhpo.analysis.accounting import Accounts, Record
    from daskhpo.analysis.advising import GateWatch
    from daskhpo.analysis.reading import Reading
    from daskhpo.analysis.rungwatch import RungWatch

__all__ = ["best", "explain", "export", "status"]

WATCH = 2.0  # seconds between two looks


@click.command()
@options.campaign
@click.option("--watch", is_flag=True, help="Look again and again, until the campaign ends.")
@options.as_json
def status(directory: CampaignDirectory, watch: bool, as_json: bool) -> None:
    """How a campaign stands: trials, incumbent, rungs and whether they can be trusted, compute.

    With a predictor also how its advice stands: stops that it advised and that were obeyed, and
    the share of wrong ones among those that were not, with its 95 % interval.

    \b
    Example:
      daskhpo status runs/first --watch
    """
    from daskhpo.analysis.accounting import Record
    from daskhpo.analysis.advising import GateWatch
    from daskhpo.analysis.reading import Reading
    from daskhpo.analysis.rungwatch import RungWatch

    reading = Reading(directory.path)
    watches = _Watches(RungWatch(reading.study, reading.campaign), Record(), GateWatch())
    _follow(reading, watches)
    _show(reading, watches, as_json)
    while watch and reading.driver is not None:
        time.sleep(WATCH)
        if _follow(reading, watches):
            _show(reading, watches, as_json)


@click.command()
@options.campaign
@options.as_json
def best(directory: CampaignDirectory, as_json: bool) -> None:
    """The best trial so far, and its configuration.

    Where several metrics are traded off, also the trials that no other beats in every one.

    \b
    Example:
      daskhpo best runs/first --json
    """
    from daskhpo.analysis.reading import Reading
    from daskhpo.analysis.summary import front_lines, summary

    reading = Reading(directory.path).catch_up()
    found = summary(reading.study, reading.campaign)
    if found.incumbent is None:
        raise options.Failed(f"{directory.path}: no trial has reported yet")
    if as_json:
        content = found.to_dict()
        front = {"front": content["front"]} if found.also else {}
        options.print_json(content["incumbent"] | front)
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
    if found.front:
        many = count(len(found.front), "trial")
        click.echo(f"\nthe Pareto front: {many} that no other beats in every metric")
        click.echo("\n".join(front_lines(found.front, found.unit)))


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


class _Watches(NamedTuple):
    """What gathers from the facts what a status shows beside the study."""

    rungs: RungWatch
    record: Record
    gates: GateWatch


def _follow(reading: Reading, watches: _Watches) -> bool:
    """Read what is new; returns whether there was anything."""
    news = False
    for fact in reading.facts():
        watches.rungs.record(fact)
        watches.record.add(fact)
        watches.gates.record(fact)
        news = True
    return news


def _show(reading: Reading, watches: _Watches, as_json: bool) -> None:
    from daskhpo.analysis.accounting_text import short_lines, totals
    from daskhpo.analysis.summary import summary
    from daskhpo.analysis.verdict import reliability_lines

    found = summary(reading.study, reading.campaign, watches.gates.gates)
    driver, judged = reading.driver, watches.rungs.judge()
    account = _account(reading, watches.record)
    if as_json:
        content: dict[str, Any] = found.to_dict()
        content |= {"driver": str(driver) if driver else None, "torn": reading.torn or None}
        content["batch"] = totals(account) if account is not None else None
        content["reliability"] = judged.to_dict()
        options.print_json(content)
        return
    if sys.stdout.isatty() and driver is not None:
        click.clear()
    held = short_lines(account) if account is not None else []
    click.echo("\n".join([found.to_text(), *held, *reliability_lines(judged)]))
    click.echo(f"driver    {_driver(reading)}")
    if reading.torn and driver is None:
        click.echo(f"note      {reading.torn}; it counts as never written", err=True)


def _account(reading: Reading, record: Record) -> Accounts | None:
    """What batch jobs have held; None where there were none."""
    from daskhpo.analysis.accounting import accounts

    if not record.held:
        return None
    now = time.time() if reading.driver is not None else None
    return accounts(record, now=now, ranks=reading.campaign.workers.ranks)


def _driver(reading: Reading) -> str:
    if reading.driver is not None:
        return str(reading.driver)
    if reading.study.running or (reading.study.closed and not _complete(reading)):
        return f"none at work; to go on: daskhpo resume {reading.directory.path}"
    return "none at work"


def _complete(reading: Reading) -> bool:
    """Whether every trial has come to its end."""
    return all(trial.state.final for trial in reading.study.trials.values())
