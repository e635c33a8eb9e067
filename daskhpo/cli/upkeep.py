"""``verify``, ``rebuild`` and ``config``: what keeps a campaign and a machine in order."""

from __future__ import annotations

from dataclasses import asdict

import click

from daskhpo.cli import options
from daskhpo.store.directory import CampaignDirectory

__all__ = ["config", "rebuild", "verify"]


@click.command()
@options.campaign
@options.as_json
def verify(directory: CampaignDirectory, as_json: bool) -> None:
    """Check the journal line by line, and the curves against it.

    Changes nothing, and may be used while the campaign runs. Ends with 1 where something needs
    mending.

    \b
    Example:
      daskhpo verify runs/first
    """
    from daskhpo.store.rebuild import verify as verify_campaign

    report = verify_campaign(directory)
    if as_json:
        options.print_json({"ok": report.ok, **asdict(report)})
    else:
        click.echo(report)
    if not report.ok:
        cure = "restore the journal from a backup" if report.damage else "daskhpo rebuild mends it"
        raise options.Failed(f"{directory.path} needs mending: {cure}")


@click.command()
@options.campaign
@options.as_json
def rebuild(directory: CampaignDirectory, as_json: bool) -> None:
    """Make curves.zarr anew from the journal.

    The old curves stay until the new ones are whole. Nobody may be running the campaign.

    \b
    Example:
      daskhpo rebuild runs/first
    """
    from daskhpo.store.rebuild import rebuild as rebuild_curves

    path = rebuild_curves(directory)
    if as_json:
        options.print_json({"curves": str(path)})
    else:
        click.echo(path)


@click.command()
@options.as_json
def config(as_json: bool) -> None:
    """Print the settings of this machine, with what they mean.

    They are Dask settings: put changed ones into a file in ~/.config/dask, or set
    DASK_DASKHPO__TUNER_GRACE and the like. With --json: what holds now.

    \b
    Example:
      daskhpo config > ~/.config/dask/daskhpo.yaml
    """
    import dask.config

    from daskhpo.config import defaults

    if as_json:
        options.print_json(dask.config.get("daskhpo"))
    else:
        click.echo(defaults(), nl=False)
