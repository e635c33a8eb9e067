"""What a driver's batch job runs: one stretch of a campaign, and whoever comes after it.

``python -m daskhpo.cli.driving DIR`` submits its successor first, to begin when this batch job is
over, however it ends: of a driver that is killed nothing has to be saved. Then it resumes the
campaign until shortly before its own walltime. If the campaign is over then, it cancels the
successor. Where it fails it tries again some times, slower and slower; then it gives up, and
leaves no successor either.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import click

from daskhpo.campaign import Campaign
from daskhpo.cli import options
from daskhpo.cluster.driverjob import (
    Relay,
    driver_system,
    following,
    script_path,
    wind_up,
)
from daskhpo.cluster.site import Site, load_site
from daskhpo.cluster.within import batch_id, end_of
from daskhpo.exceptions import DaskhpoError
from daskhpo.store.directory import CampaignDirectory

__all__ = ["Stretch", "drive", "main"]

FALLS = 5  # drivers in a row that do not come to a regular end
WHILE = 900.0  # seconds of work that make up for having fallen before
REST = 15.0  # seconds before the second try; twice as long before each further one
MARGIN = 600.0  # seconds before the walltime that trials get to pause, or a tenth of it,
START = 30.0  # but no fewer than these: a driver needs some to begin
LEAST = 10.0  # seconds that are worth a start

INVALID = 2  # exit code of a command that would fail again

Resume = Callable[[list[str]], int]

logger = logging.getLogger("daskhpo.driving")


@dataclass(frozen=True, slots=True)
class Stretch:
    """One driver's part of a campaign.

    Parameters
    ----------
    directory : CampaignDirectory
        The campaign's.
    site : Site or None
        Where the successor is submitted; None for nowhere (other batch systems than Slurm).
    token : str
        Of the campaign.
    batch : str
        The batch job that this process runs in.
    ends : float
        When that is killed, in seconds since 1970; inf if nobody knows.
    limits : mapping
        The budget as given to ``daskhpo submit``.
    arguments : tuple of str
        Further arguments of ``daskhpo resume``.
    """

    directory: CampaignDirectory
    site: Site | None
    token: str
    batch: str
    ends: float
    limits: Mapping[str, Any]
    arguments: tuple[str, ...] = ()

    def over(self, relay: Relay, now: float) -> str:
        """Why nobody has to go on; empty while there is something to do."""
        from daskhpo.analysis.conclusion import why_over

        total = self.limits.get("hours")
        if total is not None and relay.began and now > relay.began + total * 3600 - LEAST:
            return f"the budget of {total:g} hours is spent"
        return why_over(self.directory.path, **self.limits)

    def hours(self, relay: Relay, now: float) -> float:
        """How long the campaign may run from now on, in this batch job."""
        left = self.ends - now
        left -= min(MARGIN, max(left / 10, START))
        if (total := self.limits.get("hours")) is not None:
            left = min(left, relay.began + total * 3600 - now)
        return left / 3600

    def resume_arguments(self, hours: float) -> list[str]:
        """Of ``daskhpo resume`` for that long."""
        words = [str(self.directory.path), *self.arguments, "--keep-workers"]
        for name, value in self.limits.items():
            if value is not None and name != "hours":
                words += [f"--{name.replace('_', '-')}", str(value)]
        return [*words, "--hours", f"{hours:.6f}"] if math.isfinite(hours) else words

    def progressed(self, relay: Relay) -> bool:
        """Whether the last driver has worked for a while before it ended, however it did."""
        try:
            written = self.directory.journal_path.stat().st_mtime
        except OSError:
            return False
        return written - relay.since > WHILE


def drive(
    stretch: Stretch,
    *,
    resume: Resume,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Drive a campaign for as long as this batch job lasts; returns its exit code.

    Parameters
    ----------
    stretch : Stretch
        What to do.
    resume : callable
        Runs ``daskhpo resume`` with these arguments, and returns its exit code.
    now, sleep : callable
        The clock, in seconds since 1970.
    """
    relay = Relay.read(stretch.directory.path)
    if why := stretch.over(relay, now()):
        return _leave(stretch, relay, f"the campaign is over: {why}")
    if relay.batch != stretch.batch:
        falls = 0 if stretch.progressed(relay) else relay.falls
        relay = replace(relay, began=relay.began or now(), batch=stretch.batch, falls=falls)
        relay = _with_successor(stretch, replace(relay, successor=""))
    while (hours := stretch.hours(relay, now())) * 3600 >= LEAST:
        if relay.falls >= FALLS:
            text = f"given up: {relay.falls} drivers in a row did not come to a regular end"
            return _leave(stretch, relay, text, code=1)
        relay = replace(relay, falls=relay.falls + 1, since=now())
        relay.write(stretch.directory.path)
        code = resume(stretch.resume_arguments(hours))
        if code == INVALID:
            return _leave(stretch, relay, "given up: the campaign cannot be resumed", code=1)
        if why := stretch.over(relay, now()):
            return _leave(stretch, relay, f"the campaign is over: {why}", code=code)
        if code == 0:
            break
        rest = REST * 2.0 ** (relay.falls - 1) if relay.falls < FALLS else 0.0
        _say(f"the driver failed with exit code {code}, {relay.falls} in a row")
        sleep(rest)
    relay = replace(_with_successor(stretch, relay), falls=0, batch="")
    relay.write(stretch.directory.path)
    _say(f"handed over to {f'batch job {relay.successor}' if relay.successor else 'nobody'}")
    return 0


def _with_successor(stretch: Stretch, relay: Relay) -> Relay:
    """Make sure that somebody comes after this batch job, if that can be had."""
    if relay.successor or stretch.site is None:
        return relay
    path = stretch.directory.path
    try:
        script = following(script_path(path).read_text(encoding="utf-8"), stretch.batch)
        system = driver_system(stretch.site, stretch.token, path / "pool")
        successor = system.submit(script)
    except (OSError, DaskhpoError) as error:
        _say(f"there is no successor yet: {error}")
        return relay
    _say(f"batch job {successor} goes on after this one")
    return replace(relay, successor=successor)


def _leave(stretch: Stretch, relay: Relay, why: str, *, code: int = 0) -> int:
    """Nobody is to go on: let the successor and all workers go."""
    _say(why)
    path = stretch.directory.path
    Relay(began=relay.began).write(path)
    if stretch.site is not None:
        wind_up(stretch.site, stretch.token, path, own=stretch.batch)
    return code


def _resume(arguments: list[str]) -> int:
    """Run ``daskhpo resume`` in this process; returns its exit code."""
    from daskhpo.cli import main as daskhpo

    try:
        daskhpo.main(["resume", *arguments], prog_name="daskhpo", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception:
        logger.exception("daskhpo resume")
        return 1
    return 0


def _say(text: str) -> None:
    click.echo(f"daskhpo driving: {text}", err=True)


@click.command()
@options.campaign
@options.budget
@click.option("--site", help="Where workers and successors are submitted.")
@click.option("--workers", type=int, help="Batch jobs at the same time.")
def main(
    directory: CampaignDirectory, site: str | None, workers: int | None, **limits: Any
) -> None:
    """Drive a campaign from within a batch job."""
    campaign = Campaign.from_mapping(directory.config())
    batch = batch_id(os.environ)
    if not batch:
        raise click.UsageError("this runs in no batch job: submit it with `daskhpo submit`")
    ends = end_of(os.environ, None)
    place = site or campaign.pool.site
    found = load_site(place, kind="" if place else "slurm")
    stretch = Stretch(
        CampaignDirectory(directory.path.absolute()),
        found if found.kind == "slurm" else None,
        campaign.token,
        batch,
        math.inf if ends is None else ends,
        limits,
        (*(("--site", site) if site else ()), *(("--workers", str(workers)) if workers else ())),
    )
    sys.exit(drive(stretch, resume=_resume))


if __name__ == "__main__":
    main()
