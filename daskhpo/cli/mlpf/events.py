"""``mlpf generate`` and ``mlpf inspect``: particle-flow events."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from daskhpo.cli import options
from daskhpo.exceptions import DataError
from daskhpo.wording import count, listing

if TYPE_CHECKING:
    from daskhpo.mlpf.events import Events

__all__ = ["generate", "inspect"]

ENDINGS = (".zarr", ".npz")
READ_AT_ONCE = 500  # events of a store

_path = click.Path(path_type=Path)


@click.command()
@click.argument("out", metavar="[OUT]", default="mlpf-events.zarr", type=_path)
@click.option(
    "--process",
    default="ttbar",
    show_default=True,
    help="pp at 14 TeV: ttbar, qcd; e+e- at 380 GeV: ee_ttbar, ee_zh, ee_ww, ee_qq.",
)
@click.option("--events", type=click.IntRange(min=1), default=2000, show_default=True)
@click.option(
    "--pileup", type=float, default=0.0, show_default=True, help="Mean collisions added; pp only."
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes; the events do not depend on it.",
)
@click.option("--force", is_flag=True, help="Replace an event file that is there.")
@options.as_json
def generate(
    out: Path,
    process: str,
    events: int,
    pileup: float,
    seed: int,
    jobs: int,
    force: bool,
    as_json: bool,
) -> None:
    """Make events: Pythia collisions, pile-up and a detector simulation.

    OUT is a .zarr store (mlpf-events.zarr by default), written as the events come, or an .npz
    file. Needs Pythia 8 (pip install daskhpo[mlpf]).

    \b
    Example:
      daskhpo mlpf generate --process ttbar --events 2000 --seed 1
      daskhpo mlpf generate busy.zarr --events 1000 --pileup 200 --jobs 16
    """
    from daskhpo.mlpf.simulation.generator import generate_events_in_parts, provenance

    try:
        parts = generate_events_in_parts(process, events, seed=seed, pileup=pileup, jobs=jobs)
    except ImportError as error:
        raise options.Failed(str(error)) from error
    _check_out(out, force)
    tally = _Tally()
    made = tally.watch(_progress(parts, events))
    if out.suffix == ".npz":
        _save_npz(out, made)
    else:
        _write_store(out, made, provenance(process, seed=seed, pileup=pileup))
    _print(out, tally, as_json)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--event", type=click.IntRange(min=0), metavar="N", help="Draw this event, counted from 0."
)
@click.option(
    "--out",
    type=_path,
    metavar="PICTURE",
    help="Where to draw it: .png, .svg or .pdf; by default event-N.png.",
)
@options.as_json
def inspect(file: Path, event: int | None, out: Path | None, as_json: bool) -> None:
    """Say what an event file holds: how many events, elements and particles of which kinds.

    With --event it also draws one of them: tracks, towers or clusters, true particles and
    rule-based candidates in pseudorapidity and azimuth. FILE ends in .zarr, .npz or .pkl.bz2.

    \b
    Example:
      daskhpo mlpf inspect mlpf-events.zarr
      daskhpo mlpf inspect mlpf-events.zarr --event 3 --out event.png
    """
    if out is not None and event is None:
        raise click.UsageError("--out needs --event, the number of the event to draw")
    tally = _Tally(wanted=event)
    for _ in tally.watch(_read(file)):
        pass
    picture = None if event is None else _draw(file, tally, event, out)
    _print(file, tally, as_json, picture)


def _check_out(out: Path, force: bool) -> None:
    if out.suffix not in ENDINGS:
        raise DataError(f"{out}: the name of an event file to write must end in .npz or .zarr")
    if not out.parent.is_dir():
        raise DataError(f"{out}: there is no directory {out.parent}")
    if out.exists() and not force:
        raise DataError(f"{out} exists already; --force replaces it")


def _save_npz(out: Path, parts: Iterator[Events]) -> None:
    from daskhpo.mlpf.events import Events
    from daskhpo.store.disk import disk_error

    try:
        Events.concatenate(parts).save_npz(out)
    except OSError as error:
        raise disk_error("write", out, error) from error


def _write_store(out: Path, parts: Iterator[Events], origin: dict[str, Any]) -> None:
    from daskhpo.mlpf.formats.ragged_zarr import EventWriter

    with EventWriter(out, provenance=origin) as writer:
        for part in parts:
            writer.append(part)


def _read(file: Path) -> Iterator[Events]:
    """Read a file, of a store some events at a time."""
    from daskhpo.mlpf.events import load_events

    if file.suffix != ".zarr":
        yield load_events(file)
        return
    from daskhpo.mlpf.formats.ragged_zarr import open_events

    store = open_events(file)
    for start in range(0, max(1, len(store)), READ_AT_ONCE):
        yield store.read(start, min(start + READ_AT_ONCE, len(store)))


def _progress(parts: Iterator[Events], total: int) -> Iterator[Events]:
    """Pass events on; on a terminal, say in one line how many there are."""
    begun, done = time.monotonic(), 0
    for part in parts:
        done += len(part)
        if sys.stderr.isatty():
            rate = done / (time.monotonic() - begun)
            line = f"\r\x1b[K{done:,} of {count(total, 'event')}, {rate:,.0f} events/s"
            click.echo(line, err=True, nl=done == total)
        yield part


def _draw(file: Path, tally: _Tally, event: int, out: Path | None) -> Path:
    from daskhpo.mlpf.pictures import draw_event

    if tally.found is None:
        raise DataError(f"{file}: event is {event}; it has {count(tally.events, 'event')}, from 0")
    picture = Path(f"event-{event}.png") if out is None else out
    return draw_event(tally.found, picture, title=f"{file.name}, event {event}")


class _Tally:
    """Counts what events hold while they pass, and keeps the one that is wanted."""

    def __init__(self, wanted: int | None = None) -> None:
        self.wanted = wanted
        self.found: Events | None = None
        self.events = 0
        self.sizes: list[np.ndarray[Any, Any]] = []  # elements of each event
        self.kinds: dict[str, dict[str, int]] = {}  # {what is counted: {its kind: how many}}

    def watch(self, parts: Iterator[Events]) -> Iterator[Events]:
        """Pass events on, counted."""
        for part in parts:
            if self.wanted is not None and self.events <= self.wanted < self.events + len(part):
                place = self.wanted - self.events
                self.found = part[place : place + 1]
            self.events += len(part)
            self.sizes.append(part.counts)
            for title, numbers in _kinds(part).items():
                so_far = self.kinds.setdefault(title, dict.fromkeys(numbers, 0))
                for kind, number in numbers.items():
                    so_far[kind] += number
            yield part

    def contents(self) -> dict[str, Any]:
        """Counts and shares; the share "none" of targets is of elements without a particle."""
        sizes = np.concatenate([*self.sizes, np.zeros(0, np.int64)])
        content: dict[str, Any] = {"events": self.events, "elements": int(sizes.sum())}
        content["elements_per_event"] = {
            "min": int(sizes.min()) if len(sizes) else 0,
            "max": int(sizes.max(initial=0)),
            "mean": float(sizes.mean()) if len(sizes) else 0.0,
        }
        for title, numbers in self.kinds.items():
            total = max(1, sum(numbers.values()))
            content[f"share_of_{title}"] = {kind: n / total for kind, n in numbers.items()}
        return content


def _kinds(events: Events) -> dict[str, dict[str, int]]:
    from daskhpo.mlpf.schema import ParticleClass, Target

    classes = {int(kind): kind.name.lower().replace("_", " ") for kind in ParticleClass}
    elements = {value: events.schema.kind(value) for value in events.schema.types}
    return {
        title: {name: int((column == value).sum()) for value, name in kinds.items()}
        for title, column, kinds in (
            ("elements", events.X[:, 0], elements),
            ("targets", events.ygen[:, Target.CLASS], classes),
            ("candidates", events.ycand[:, Target.CLASS], classes),
        )
    }


def _print(file: Path, tally: _Tally, as_json: bool, picture: Path | None = None) -> None:
    content = tally.contents()
    if as_json:
        drawn = {} if picture is None else {"picture": str(picture)}
        options.print_json({"file": str(file), **content, **drawn})
        return
    click.echo(f"{file}: {content['events']:,} events, {content['elements']:,} elements")
    per_event = content["elements_per_event"]
    click.echo("elements per event: {min} to {max}, {mean:.1f} on average".format(**per_event))
    for title in tally.kinds:
        shares = content[f"share_of_{title}"]
        click.echo(f"share of {title}")
        for line in listing([(kind, f"{share:7.2%}") for kind, share in shares.items()], indent=2):
            click.echo(line)
    if picture is not None:
        click.echo(f"drawn: {picture}")
