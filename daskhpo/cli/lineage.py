"""``schedule``: the parameters over time that led to a trial."""

from __future__ import annotations

from pathlib import Path

import click

from daskhpo.cli import options
from daskhpo.store.directory import CampaignDirectory

__all__ = ["schedule"]


@click.command()
@options.campaign
@click.argument("trial", metavar="[TRIAL]", type=click.IntRange(min=0), required=False)
@click.option(
    "--csv",
    "table",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to a file instead, for other programs.",
)
@options.as_json
def schedule(
    directory: CampaignDirectory, trial: int | None, table: Path | None, as_json: bool
) -> None:
    """Which parameters led to a trial, step by step; to the best one by default.

    After population based training that is a schedule: a trial goes on from the checkpoint of
    another, which trained with other parameters.

    \b
    Example:
      daskhpo schedule runs/pbt
      daskhpo schedule runs/pbt 12 --csv learning-rate.csv
    """
    from daskhpo.analysis import lineage
    from daskhpo.analysis.reading import Reading

    reading = Reading(directory.path).catch_up()
    if trial is None and reading.study.best is None:
        raise options.Failed(f"{directory.path}: no trial has reported yet")
    rows = lineage.schedule(reading, trial)
    if not rows:
        raise options.Failed(f"{directory.path}: trial {trial} has reported nothing yet")
    if table is not None:
        lineage.to_csv(rows, table)
    if as_json:
        options.print_json([row.to_dict() for row in rows])
    elif table is not None:
        click.echo(f"{table}: {len(rows)} rows")
    else:
        campaign = reading.campaign
        click.echo(lineage.to_table(rows, metric=campaign.metric, unit=campaign.unit))
