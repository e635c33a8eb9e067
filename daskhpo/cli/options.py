"""What several commands have in common: the campaign argument, ``--json``, budgets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from daskhpo.exceptions import StoreError
from daskhpo.store.directory import CampaignDirectory

__all__ = ["Failed", "as_json", "budget", "campaign", "cluster", "print_json", "warm_start"]

Command = TypeVar("Command", bound=Callable[..., Any])


class Failed(click.ClickException):
    """A command that did not succeed; ``code`` 1 says that it was called in the right way."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]


class _Campaign(click.ParamType):  # type: ignore[type-arg]
    """A directory that holds a campaign."""

    name = "directory"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> CampaignDirectory:
        """Refuse what is no campaign, before anything is read."""
        directory = CampaignDirectory(Path(value))
        try:
            directory.config()
        except StoreError as error:
            self.fail(str(error), param, ctx)
        return directory


def campaign(function: Command) -> Command:
    """Give a command the argument DIR."""
    return click.argument("directory", metavar="DIR", type=_Campaign())(function)


def as_json(function: Command) -> Command:
    """Give a command the option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def print_json(content: Any) -> None:
    """Print JSON data that any program reads: no nan, no infinity."""
    click.echo(json.dumps(content, indent=2, allow_nan=False))


def budget(function: Command) -> Command:
    """Give a command the options of a budget, under the names of :class:`daskhpo.Budget`."""
    whole, above_zero = click.IntRange(min=1), click.FloatRange(min=0, min_open=True)
    kinds: tuple[tuple[str, click.ParamType[Any], str], ...] = (
        ("device-hours", above_zero, "Hours that trials may hold workers, all runs together."),
        ("hours", above_zero, "Hours that this run may take."),
        ("steps", whole, "Steps that may be trained, all runs together."),
        ("trials", whole, "Trials that may begin, all runs together."),
    )
    for name, kind, text in kinds:
        function = click.option(f"--{name}", type=kind, metavar="N", help=text)(function)
    return function


def warm_start(function: Command) -> Command:
    """Give a command the option ``--warm-start``."""
    return click.option(
        "--warm-start",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="DIR",
        help="Earlier campaign, or its curves.zarr, to learn from first; may be given again.",
    )(function)


def cluster(function: Command) -> Command:
    """Give a command the options that say where trials run."""
    options = (
        click.option("--debug", is_flag=True, help="Run in this process: for a debugger."),
        click.option(
            "--scheduler-file",
            type=click.Path(path_type=Path),
            help="Use the Dask cluster that wrote this file.",
        ),
        click.option("--address", metavar="URL", help="Use the Dask cluster at tcp://HOST:PORT."),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            metavar="N",
            help="Worker processes or batch jobs at the most; by default as the campaign says.",
        ),
        click.option(
            "--site",
            metavar="NAME",
            help="Let batch jobs of this site (a name in jobqueue/, or a file) be the workers.",
        ),
        click.option(
            "--keep-workers",
            is_flag=True,
            help="At the end of --hours, or on a signal, leave batch jobs to the next driver.",
        ),
    )
    for option in options:
        function = option(function)
    return function
