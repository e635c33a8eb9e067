"""``hours``: what a campaign has cost in GPU- and core-hours, and what was lost on the way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daskhpo.cli import options
from daskhpo.exceptions import CampaignError
from daskhpo.store.directory import CampaignDirectory

if TYPE_CHECKING:
    from daskhpo.analysis.accounting import Accounts
    from daskhpo.analysis.reading import Reading
    from daskhpo.analysis.reconciling import Check
    from daskhpo.campaign import Campaign

__all__ = ["hours"]

SLURM = ("slurm", "allocation")  # kinds of pools whose batch jobs are Slurm's


@click.command()
@options.campaign
@click.option("--reconcile", "check", is_flag=True, help="Compare with what Slurm has booked.")
@click.option("--all", "full", is_flag=True, help="Show every trial and every interruption.")
@click.option(
    "--csv",
    "table",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a row per stay of a trial, for other programs.",
)
@options.as_json
def hours(
    directory: CampaignDirectory, check: bool, full: bool, table: Path | None, as_json: bool
) -> None:
    """GPU-hours: allocated, used and idle, by rung and outcome; and every interruption.

    Core-hours where there are no GPUs. Without batch jobs nobody knows what was allocated; what
    trials used is shown all the same. JSON is in seconds.

    \b
    Example:
      daskhpo hours runs/first
      daskhpo hours runs/first --reconcile
      daskhpo hours runs/first --csv stays.csv
    """
    from daskhpo.analysis import accounting_text
    from daskhpo.analysis.reading import Reading
    from daskhpo.analysis.reconciling import reconciled_lines

    reading = Reading(directory.path)
    account = _account(reading)
    checks = _checked(account, reading.campaign) if check else []
    if table is not None:
        accounting_text.to_csv(account, table)
    if as_json:
        content = accounting_text.to_dict(account)
        options.print_json(content | ({"checks": [c.to_dict() for c in checks]} if check else {}))
        return
    name, step = reading.campaign.name, reading.campaign.unit
    click.echo(accounting_text.to_text(account, name=name, step=step, full=full))
    if check:
        click.echo("\n".join(["", *reconciled_lines(checks)]))
    if table is not None:
        click.echo(f"\n{table}: {len(account.stays)} rows")


def _account(reading: Reading) -> Accounts:
    """What its journal tells; a campaign with a driver at work is counted until now."""
    from daskhpo.analysis.accounting import accounts

    now = time.time() if reading.driver is not None else None
    ranks = reading.campaign.workers.ranks
    return accounts(reading.directory.reader(), now=now, ranks=ranks)


def _checked(account: Accounts, campaign: Campaign) -> list[Check]:
    from daskhpo.analysis.reconciling import reconcile

    if not account.batches:
        raise options.Failed("--reconcile: the campaign has had no batch jobs")
    kind = campaign.pool.kind
    if kind not in SLURM:
        allowed = " or ".join(map(repr, SLURM))
        raise CampaignError(f"--reconcile: pool.kind={kind!r}: must be {allowed}")
    return reconcile(account, _look_up)


def _look_up(batch: str) -> Mapping[str, str]:
    """All that Slurm says of a batch job; nothing if it has forgotten it."""
    from daskhpo.cluster.slurm import sacct_job, show_job

    job = batch.partition(".")[0]  # a step's is its allocation
    return {**(show_job(job) or {}), **(sacct_job(job) or {})}
