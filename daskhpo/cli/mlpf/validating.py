"""``mlpf validate-detector``: our detector simulation over that of a reference."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskhpo.cli import options
from daskhpo.exceptions import DataError

if TYPE_CHECKING:
    from daskhpo.mlpf.events import Events
    from daskhpo.mlpf.simulation.validation import Comparison

__all__ = ["validate_detector"]

SHARED = "../shared"  # where DASKHPO_SHARED does not say otherwise
REFERENCE = "events/ttbar_pu0.npz"  # in that directory


@click.command("validate-detector")
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Events of another simulation; by default $DASKHPO_SHARED/events/ttbar_pu0.npz.",
)
@click.option("--events", type=click.IntRange(min=1), default=2000, show_default=True)
@click.option("--process", default="ttbar", show_default=True, help="That of the reference.")
@click.option("--pileup", type=float, default=0.0, show_default=True, help="That of the reference.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="validation",
    show_default=True,
    help="Directory of the figures.",
)
@options.as_json
def validate_detector(
    reference: Path | None,
    events: int,
    process: str,
    pileup: float,
    seed: int,
    jobs: int,
    out: Path,
    as_json: bool,
) -> None:
    """Hold our detector simulation against another, distribution by distribution.

    Makes events, prints mean, median and Kolmogorov-Smirnov distance of every quantity with a
    star where the distance exceeds what chance makes of it in 1 % of cases, and draws the
    distributions with their ratios. Elements of one event share its vertex and its jets, so that
    more stars than 1 % are to be expected.

    \b
    Example:
      daskhpo mlpf validate-detector --reference ttbar_pu0.npz --events 2000
    """
    from daskhpo.mlpf.physics.plots import check_matplotlib
    from daskhpo.mlpf.simulation.validation import compare, format_table
    from daskhpo.mlpf.simulation.validation_figures import draw_comparison

    check_matplotlib()
    file, theirs = _read(reference)
    ours = _make(process, events, pileup, seed, jobs)
    rows = compare(ours, theirs)
    drawn = draw_comparison(ours, theirs, out)
    if as_json:
        options.print_json(_as_data(file, ours, theirs, rows, drawn))
        return
    click.echo(f"{len(ours):,} events of ours, {len(theirs):,} of {file} (ref)")
    click.echo(format_table(rows))
    stand_out = sum(row.stands_out for row in rows)
    click.echo(
        f"{stand_out} of {len(rows)} quantities stand out (*); by chance 1 % would if all values "
        "were independent, more as those of one event are not"
    )
    for path in drawn:
        click.echo(f"drawn: {path}")


def _read(given: Path | None) -> tuple[Path, Events]:
    """Read the reference before anything is made."""
    from daskhpo.mlpf.events import load_events
    from daskhpo.mlpf.schema import DELPHES

    file = given or Path(os.environ.get("DASKHPO_SHARED", SHARED), REFERENCE)
    if not file.exists():
        raise DataError(f"there is no reference {file}; name a file of events with --reference")
    events = load_events(file)
    if events.schema != DELPHES:
        raise DataError(
            f"{file}: its events are of {events.schema.name}; our detector's are of {DELPHES.name}"
        )
    return file, events


def _make(process: str, events: int, pileup: float, seed: int, jobs: int) -> Events:
    from daskhpo.mlpf.simulation.generator import generate_events

    try:
        return generate_events(process, events, seed=seed, pileup=pileup, jobs=jobs)
    except ImportError as error:
        raise options.Failed(str(error)) from error


def _as_data(
    file: Path, ours: Events, theirs: Events, rows: list[Comparison], drawn: list[Path]
) -> dict[str, Any]:
    """JSON data: null where a quantity has no values."""
    quantities = [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in dataclasses.asdict(row).items()
        }
        | {"stands_out": row.stands_out}
        for row in rows
    ]
    return {
        "reference": str(file),
        "events": len(ours),
        "reference_events": len(theirs),
        "stand_out": sum(row.stands_out for row in rows),
        "quantities": quantities,
        "figures": [str(path) for path in drawn],
    }
