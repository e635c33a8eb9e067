"""``attach``: look over the shoulder of a driver that runs elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import click

from daskhpo.cli import options
from daskhpo.store.directory import CampaignDirectory

if TYPE_CHECKING:
    from daskhpo.analysis.attach import Attached
    from daskhpo.study import Study
    from daskhpo.tuner.driver import Driver
    from daskhpo.tuner.progress import Progress

__all__ = ["attach"]

LOOK = 1.0  # seconds between two looks at the journal
CALM = 10.0  # seconds between two lines on the incumbent


@click.command()
@options.campaign
@options.as_json
def attach(directory: CampaignDirectory, as_json: bool) -> None:
    """Follow a campaign that another process drives, until it ends.

    Shows how it goes on, and says when there is a new incumbent, a trial goes on to the end, or
    one is interrupted, and why. Works wherever the campaign directory can be read. Ctrl-C leaves
    it; the campaign goes on.

    With --json, one line of JSON for each piece of news.

    \b
    Example:
      daskhpo attach runs/sweep
    """
    from daskhpo.analysis.attach import Attached
    from daskhpo.tuner.progress import Progress

    attached = Attached(directory.path)
    with Progress(attached.unit) as progress:

        def say(line: str) -> None:
            if as_json:
                click.echo(json.dumps({"t": round(time.time(), 3), "news": line}))
            else:
                progress.say(line)

        try:
            if not as_json:
                _introduce(attached, say)
            _follow(attached, progress, say)
        except KeyboardInterrupt:
            say("left; the campaign goes on")
            return
    if not as_json:
        click.echo(attached.status().to_text())


@dataclass(frozen=True, slots=True)
class _Watched:
    """What :class:`~daskhpo.tuner.progress.Progress` looks at."""

    study: Study
    seconds: float


def _introduce(attached: Attached, say: Callable[[str], None]) -> None:
    say(repr(attached)[1:-1])
    say(f"driver: {attached.driver or 'none at work'}")
    if attached.dashboard is not None:
        say(f"dashboard: {attached.dashboard}")


def _follow(attached: Attached, progress: Progress, say: Callable[[str], None]) -> None:
    """Until nobody drives the campaign and nobody is going to."""
    from daskhpo.analysis.news import BEST

    began, told = time.monotonic(), ""
    best, due = "", 0.0  # the line on the incumbent that waits, and when it may be said
    while True:
        # A driver that has left has written everything before: look for it first.
        driver, coming = attached.driver, attached.coming
        for line in attached.news():
            if line.startswith(BEST):
                best = line
            else:
                say(line)
        over = driver is None and not coming
        if best and (over or time.monotonic() >= due):
            say(best)
            best, due = "", time.monotonic() + CALM
        if over:
            return
        if driver is None and coming != told:
            say(f"waiting for the driver: batch job {coming}")
        told = "" if driver is not None else coming
        if driver is not None and sys.stderr.isatty():
            watched = _Watched(attached.study, time.monotonic() - began)
            progress(cast("Driver", watched), 0, 1)
        time.sleep(LOOK)
