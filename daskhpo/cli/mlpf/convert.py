"""``mlpf convert``: events of other people's files as one file of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskhpo.cli import options
from daskhpo.exceptions import DataError
from daskhpo.wording import listing

if TYPE_CHECKING:
    from daskhpo.mlpf.events import Events
    from daskhpo.mlpf.schema import Schema

__all__ = ["convert"]

FORMATS = {
    ".zarr": "store",
    ".npz": "npz",
    ".pkl.bz2": "delphes",
    ".parquet": "clic",
    ".root": "edm4hep",
}
EVENTS_PER_PART = 1000


@click.command()
@click.argument(
    "files",
    metavar="IN...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("mlpf-events.zarr"),
    show_default=True,
    metavar="OUT",
    help="The file to write: .zarr, or .npz where all events fit into memory.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["auto", "delphes", "clic", "edm4hep"]),
    default="auto",
    show_default=True,
    help="What the files are; auto goes by their names.",
)
@click.option(
    "--magnetic-field",
    type=click.FloatRange(min=0, min_open=True),
    default=4.0,
    show_default=True,
    metavar="TESLA",
    help="Gives the tracks of EDM4HEP files their pT: 4 for CLIC, 2 for CLD.",
)
@options.as_json
def convert(
    files: tuple[Path, ...], out: Path, kind: str, magnetic_field: float, as_json: bool
) -> None:
    """Read public events and write them as one event file, which appears once it is complete.

    IN are Delphes pickles (.pkl.bz2), CLIC or CLD events (.parquet), EDM4HEP files (.root) or
    event files of ours (.npz, .zarr); all must be of one detector. What --out names is replaced if
    it is an event file. The formats of CLIC and CLD need more: pip install daskhpo[clic].

    \b
    Example:
      daskhpo mlpf convert tev14_pythia8_ttbar_0_*.pkl.bz2 --out ttbar.zarr
      daskhpo mlpf convert reco_p8_ee_tt_ecm380_1.parquet --out clic.npz
    """
    _check_names(files, out)
    tally = _Tally()
    try:
        parts = tally.over(_parts(files, kind, magnetic_field))
        first = next(parts, None)
        if first is None:
            raise options.Failed(f"{files[0]}: no events to convert, {out} was not written")
        _write(out, first.schema, chain([first], parts), [file.name for file in files])
    except ImportError as error:
        raise options.Failed(str(error)) from error
    if as_json:
        options.print_json(
            {"file": str(out), "from": [str(file) for file in files]} | tally.content()
        )
    else:
        tally.show(f"{out}, from {len(files)} file{'s' * (len(files) > 1)}")


def _check_names(files: Sequence[Path], out: Path) -> None:
    """Refuse, before anything is read, what cannot be written at the end."""
    if out.suffix not in (".zarr", ".npz"):
        raise DataError(f"{out}: the name of an event file to write must end in .zarr or .npz")
    if not out.parent.is_dir():
        raise DataError(f"{out}: there is no directory {out.parent}")
    if out.resolve() in [file.resolve() for file in files]:
        raise DataError(f"{out}: is to be read as well as written; give --out another name")


def _parts(files: Sequence[Path], kind: str, magnetic_field: float) -> Iterator[Events]:
    """Read the files one after the other, in parts; all must be of one schema."""
    schema: Schema | None = None
    for file in files:
        for part in _read(file, kind, magnetic_field):
            schema = schema or part.schema
            if part.schema.name != schema.name:
                raise DataError(
                    f"{file}: holds events of {part.schema.name}, but {files[0]} of "
                    f"{schema.name}; they cannot be put into one file"
                )
            if len(part):
                yield part


def _read(file: Path, kind: str, magnetic_field: float) -> Iterator[Events]:
    ending = next((ending for ending in FORMATS if file.name.endswith(ending)), None)
    if kind == "auto" and ending is None:
        raise DataError(
            f"{file}: what it is cannot be told by its name; known endings are "
            f"{', '.join(FORMATS)}, others need --format"
        )
    kind = FORMATS[ending] if kind == "auto" and ending else kind
    if kind == "clic":
        from daskhpo.mlpf.formats.clic_parquet import iterate_clic_parquet

        return iterate_clic_parquet(file)
    if kind == "edm4hep":
        from daskhpo.mlpf.formats.edm4hep import read_edm4hep

        return read_edm4hep(file, magnetic_field=magnetic_field)
    if kind == "store":
        from daskhpo.mlpf.formats.ragged_zarr import open_events

        store = open_events(file)
        starts = range(0, len(store), EVENTS_PER_PART)
        return (store.read(start, min(start + EVENTS_PER_PART, len(store))) for start in starts)
    from daskhpo.mlpf.events import load_events

    return iter([load_events(file) if kind == "npz" else _pickled(file)])


def _pickled(file: Path) -> Events:
    from daskhpo.mlpf.events import Events
    from daskhpo.mlpf.formats.delphes_pickle import read_delphes_pickle

    try:
        flat: dict[str, Any] = dict(read_delphes_pickle(file))
        return Events(**flat)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _write(out: Path, schema: Schema, parts: Iterator[Events], names: list[str]) -> None:
    from daskhpo.mlpf.events import Events
    from daskhpo.mlpf.formats.ragged_zarr import EventWriter

    if out.suffix == ".npz":
        Events.concatenate(parts).save_npz(out)
        return
    with EventWriter(out, schema, provenance={"converted_from": names}) as writer:
        for part in parts:
            writer.append(part)


@dataclass(slots=True)
class _Tally:
    """What has passed, counted while it streams by."""

    events: int = 0
    elements: int = 0
    fewest: int | None = None
    most: int = 0
    kinds: dict[str, Counter[str]] = field(
        default_factory=lambda: {t: Counter() for t in ("elements", "targets", "candidates")}
    )

    def over(self, parts: Iterator[Events]) -> Iterator[Events]:
        """Pass the parts on and count them."""
        for part in parts:
            self._count(part)
            yield part

    def _count(self, part: Events) -> None:
        from daskhpo.mlpf.schema import ParticleClass, Target

        self.events += len(part)
        self.elements += len(part.X)
        if len(part):
            lowest = int(part.counts.min())
            self.fewest = lowest if self.fewest is None else min(self.fewest, lowest)
            self.most = max(self.most, int(part.counts.max()))
        classes = [(int(c), c.name.lower().replace("_", " ")) for c in ParticleClass]
        for title, column, kinds in (
            ("elements", part.X[:, 0], [(value, name) for value, name, _ in part.schema.kinds]),
            ("targets", part.ygen[:, Target.CLASS], classes),
            ("candidates", part.ycand[:, Target.CLASS], classes),
        ):
            self.kinds[title].update({name: int((column == value).sum()) for value, name in kinds})

    def content(self) -> dict[str, Any]:
        """Return counts and shares, under the names that ``inspect`` gives them."""
        mean = self.elements / self.events if self.events else 0.0
        per_event = {"min": self.fewest or 0, "max": self.most, "mean": mean}
        return {
            "events": self.events,
            "elements": self.elements,
            "elements_per_event": per_event,
            **{
                f"share_of_{title}": {kind: n / max(self.elements, 1) for kind, n in found.items()}
                for title, found in self.kinds.items()
            },
        }

    def show(self, name: str) -> None:
        """Print counts and shares."""
        content = self.content()
        click.echo(f"{name}: {self.events:,} events, {self.elements:,} elements")
        per_event = content["elements_per_event"]
        click.echo("elements per event: {min} to {max}, {mean:.1f} on average".format(**per_event))
        for title in self.kinds:
            shares = content[f"share_of_{title}"].items()
            click.echo(f"share of {title}")
            for line in listing([(kind, f"{share:7.2%}") for kind, share in shares], indent=2):
                click.echo(line)
