"""``mlpf generate`` and ``mlpf inspect``: particle-flow events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskhpo.cli import options
from daskhpo.exceptions import DataError
from daskhpo.wording import listing

if TYPE_CHECKING:
    from daskhpo.mlpf.events import Events

__all__ = ["mlpf"]


@click.group()
def mlpf() -> None:
    """Particle-flow events.

    \b
    Example:
      daskhpo mlpf generate events.npz --process ttbar --events 500
      daskhpo mlpf inspect events.npz
    """


@mlpf.command()
@click.argument("out", metavar="OUT.npz", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--process", default="ttbar", show_default=True, help="ttbar, qcd or ee_ttbar.")
@click.option("--events", type=click.IntRange(min=1), default=500, show_default=True)
@click.option("--pileup", type=float, default=0.0, show_default=True, help="Mean collisions added.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@options.as_json
def generate(out: Path, process: str, events: int, pileup: float, seed: int, as_json: bool) -> None:
    """Make events: Pythia collisions, pile-up and a detector simulation.

    Needs Pythia 8 (pip install daskhpo[mlpf]).

    \b
    Example:
      daskhpo mlpf generate ttbar.npz --process ttbar --events 500 --pileup 0 --seed 1
    """
    from daskhpo.mlpf.generator import generate_events

    if out.suffix != ".npz":
        raise DataError(f"{out}: the name of an event file to write must end in .npz")
    if not out.parent.is_dir():
        raise DataError(f"{out}: there is no directory {out.parent}")
    try:
        made = generate_events(process, events, seed=seed, pileup=pileup)
    except ImportError as error:
        raise options.Failed(str(error)) from error
    made.save_npz(out)
    _print(str(out), made, as_json)


@mlpf.command()
@click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@options.as_json
def inspect(file: Path, as_json: bool) -> None:
    """Say what an event file holds: how many events, elements and particles of which kinds.

    \b
    Example:
      daskhpo mlpf inspect ttbar.npz
    """
    from daskhpo.mlpf.events import load_events

    _print(str(file), load_events(file), as_json)


def _print(name: str, events: Events, as_json: bool) -> None:
    content = _contents(events)
    if as_json:
        options.print_json({"file": name, **content})
        return
    click.echo(f"{name}: {content['events']:,} events, {content['elements']:,} elements")
    per_event = content["elements_per_event"]
    click.echo("elements per event: {min} to {max}, {mean:.1f} on average".format(**per_event))
    for title in ("elements", "targets", "candidates"):
        shares = content[f"share_of_{title}"]
        click.echo(f"share of {title}")
        for line in listing([(kind, f"{share:7.2%}") for kind, share in shares.items()], indent=2):
            click.echo(line)


def _contents(events: Events) -> dict[str, Any]:
    """Counts and shares; the share "none" of targets is that of elements without a particle."""
    from daskhpo.mlpf.events import Element, ParticleClass, Target

    counts, some = events.counts, len(events) > 0
    content: dict[str, Any] = {"events": len(events), "elements": len(events.X)}
    content["elements_per_event"] = {
        "min": int(counts.min()) if some else 0,
        "max": int(counts.max()) if some else 0,
        "mean": float(counts.mean()) if some else 0.0,
    }
    for title, column, kinds in (
        ("elements", events.X[:, 0], list(Element)),
        ("targets", events.ygen[:, Target.CLASS], list(ParticleClass)),
        ("candidates", events.ycand[:, Target.CLASS], list(ParticleClass)),
    ):
        content[f"share_of_{title}"] = {
            kind.name.lower().replace("_", " "): float((column == kind).mean())
            if len(column)
            else 0.0
            for kind in kinds
        }
    return content
