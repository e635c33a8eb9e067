"""``doctor``: can campaigns run here, and if not, what is to be done?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from daskhpo.cli import options
from daskhpo.cluster.settings import SYSTEMS, PoolSettings

__all__ = ["doctor"]


@click.command()
@click.option("--site", metavar="NAME", help="Preset of a site, or the path of a file like those.")
@click.option(
    "--pool-kind",
    type=click.Choice(("local", *SYSTEMS)),
    help="Batch system; by default the site's.",
)
@click.option("--queue", metavar="NAME", help="Partition.")
@click.option("--account", metavar="NAME", help="Who pays.")
@click.option("--walltime", metavar="HH:MM:SS", help="Of the batch job of a worker.")
@click.option("--gpus", type=click.IntRange(min=0), metavar="N", help="Of a batch job.")
@click.option(
    "--directive", multiple=True, metavar="TEXT", help="Of a batch job; may be given again."
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("."),
    help="Where campaigns are to lie; by default here.",
)
@click.option("--no-job", is_flag=True, help="Look at this machine only.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the probe job may wait in the queue.",
)
@options.as_json
def doctor(directory: Path, no_job: bool, wait: float, as_json: bool, **given: Any) -> None:
    """Look at this machine, ask a node, and say what would keep campaigns from running.

    One small batch job is submitted. It connects back and tells what a node is like: network,
    GPUs, PyTorch, file systems, clock, walltime. It is cancelled when this command ends, however
    it ends. Without a site the node is this machine.

    Exit code 1 if anything failed; each failure comes with a cure.

    \b
    Example:
      daskhpo doctor --site juwels-booster --account hep --dir $SCRATCH
      daskhpo doctor --site juwels-booster --queue develbooster --wait 60
      daskhpo doctor --no-job
    """
    from daskhpo.cluster.doctor import Case, diagnose
    from daskhpo.cluster.findings import Level
    from daskhpo.cluster.site import load_site

    settings = _settings(given)
    site = None if settings.kind == "local" else load_site(settings.site, kind=settings.kind)
    case = Case(settings, site, directory, patience=wait, say=_say)
    findings = []
    for finding in diagnose(case, job=not no_job):
        findings.append(finding)
        if not as_json:
            click.echo(str(finding))
    counts = Counter(finding.level for finding in findings)
    if as_json:
        content = {"findings": [finding.to_dict() for finding in findings]}
        options.print_json({"failures": counts[Level.FAILURE], **content})
    else:
        failed, warned = counts[Level.FAILURE], counts[Level.WARNING]
        click.echo(f"\n{failed} failed, {warned} to think about, {counts[Level.OK]} fine")
    if counts[Level.FAILURE]:
        raise SystemExit(1)


def _settings(given: Mapping[str, Any]) -> PoolSettings:
    """What the options ask for; without a site or a kind, processes of this machine."""
    from daskhpo.cluster.site import load_site

    names = ("site", "queue", "account", "walltime", "gpus")
    changes = {name: given[name] for name in names if given[name] is not None}
    kind = given["pool_kind"] or (load_site(given["site"]).kind if given["site"] else "local")
    return PoolSettings(kind=kind, directives=given["directive"], **changes)


def _say(line: str) -> None:
    click.echo(line, err=True)
