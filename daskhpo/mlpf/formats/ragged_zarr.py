"""Event stores: ragged events as one Zarr group, written in parts and read in parts.

    events.zarr/   attributes: format, version, schema, provenance
      X            (M, F) float32, rows of all events one after the other
      ygen, ycand  (M, 7) float32
      counts       (N,) int64 elements of each event; they add up to M
      particles    (N,) int64 true particles of each event

Rows are compressed in chunks, column after column, and checked by a checksum; many chunks share a
file. Use a store rather than an npz file where events are more than memory holds, or come slowly.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, TransposeCodec, ZstdCodec

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Events, Float32, Int64
from daskhpo.mlpf.schema import DELPHES, SCHEMAS, Schema, Target
from daskhpo.store.disk import disk_error

__all__ = ["EventStore", "EventWriter", "open_events"]

FORMAT = "daskhpo-events"
VERSION = 1
CHUNK_ROWS = 16_384  # some 0.7 MB of X: read in milliseconds, 80 events without pile-up
SHARD_ROWS = 16 * CHUNK_ROWS  # in a file; an array's shard is what the writer holds back
CHUNK_EVENTS = 65_536  # of counts and particles, which are read whole
ROWS = ("X", "ygen", "ycand")
PER_EVENT = ("counts", "particles")


class EventWriter:
    """Write a store of events, part by part; it appears under its name once it is complete.

    Use it where events are made or read in parts: memory holds one part and a few tens of MB,
    however many follow. Leaving the `with` block by an exception leaves nothing behind, and a
    store that was there before as it was.

    Parameters
    ----------
    path : path ending in `.zarr`
        An event store that is there is replaced at the end; anything else is left alone.
    schema : Schema
        What the columns of `X` mean.
    provenance : mapping, optional
        Where the events come from (process, seed, versions), as JSON data.

    Raises
    ------
    DataError
        If the name is not allowed, or events of another schema are appended.
    StoreError
        If the file system refuses.

    Examples
    --------
    >>> import tempfile
    >>> from daskhpo.mlpf.events import load_sample
    >>> sample = load_sample()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with EventWriter(Path(folder, "some.zarr"), provenance={"seed": 1}) as writer:
    ...         writer.append(sample[:10])
    ...         writer.append(sample[10:15])
    ...     store = open_events(writer.path)
    ...     len(store), store.provenance, len(store.read(9, 12))
    (15, {'seed': 1}, 3)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        schema: Schema = DELPHES,
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.schema = schema
        self.provenance = dict(provenance or {})
        self._columns: dict[str, _Column] = {}
        self._partial = self._beside("tmp")
        if self.path.suffix != ".zarr":
            raise DataError(f"{self.path}: the name of an event store must end in .zarr")
        if not self.path.parent.is_dir():
            raise DataError(f"{self.path}: there is no directory {self.path.parent}")
        if self.path.exists():
            _open_group(self.path)  # whatever else has this name is not ours to replace

    def __enter__(self) -> EventWriter:
        """Begin the store, beside the place where it will be."""
        with self._explained():
            attributes = {
                "format": FORMAT,
                "version": VERSION,
                "schema": self.schema.name,
                "provenance": self.provenance,
            }
            group = zarr.create_group(self._partial, overwrite=True, attributes=attributes)
            for name, width in _widths(self.schema).items():
                self._columns[name] = _Column(_create_rows(group, name, width), SHARD_ROWS)
            for name in PER_EVENT:
                self._columns[name] = _Column(_create_per_event(group, name), CHUNK_EVENTS)
        return self

    def append(self, events: Events) -> None:
        """Add events behind those that are there."""
        if events.schema.name != self.schema.name:
            raise DataError(
                f"{self.path}: events of {events.schema.name} do not fit a store of "
                f"{self.schema.name}"
            )
        real = events.event_of_row[events.ygen[:, Target.CLASS] != 0]
        particles = np.bincount(real, minlength=len(events))
        with self._explained():
            for name in (*ROWS, "counts"):
                self._columns[name].append(getattr(events, name))
            self._columns["particles"].append(particles)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish the store, or remove it if the block was left by an exception."""
        try:
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _publish(self) -> None:
        with self._explained():
            for column in self._columns.values():
                column.flush()
            replaced = self._beside("old")
            if self.path.exists():
                self.path.rename(replaced)
            self._partial.rename(self.path)
            shutil.rmtree(replaced, ignore_errors=True)

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{os.getpid()}.{ending}")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            shutil.rmtree(self._partial, ignore_errors=True)
            raise disk_error("write", self.path, error) from error


class _Column:
    """One array of a store that is being written, always in whole shards but for the last."""

    def __init__(self, array: zarr.Array[Any], rows: int) -> None:
        self._array = array
        self._shard = np.empty((rows, *array.shape[1:]), array.dtype)
        self._filled = 0  # rows of the shard that wait to be written

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add rows."""
        while len(rows):
            part = rows[: len(self._shard) - self._filled]
            self._shard[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            rows = rows[len(part) :]
            if self._filled == len(self._shard):
                self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._filled:
            written = self._array.shape[0]
            self._array.resize((written + self._filled, *self._array.shape[1:]))
            self._array[written:] = self._shard[: self._filled]
            self._filled = 0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EventStore:
    """A store of events, open for reading; make it with `open_events`.

    Attributes
    ----------
    path, schema
        The store, and what the columns of its `X` mean.
    counts, particles : (N,) int64
        Elements and true particles of each event.
    provenance : dict
        Where the events come from, as their maker said.
    """

    path: Path
    schema: Schema
    counts: Int64
    particles: Int64
    provenance: dict[str, Any]
    _group: zarr.Group

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.counts)

    def __repr__(self) -> str:
        """Name the file and the numbers of events and elements."""
        elements = int(self.counts.sum())
        return f"EventStore({self.path.name}: {len(self)} events, {elements} elements)"

    @property
    def offsets(self) -> Int64:
        """Row where each event begins, and the end: (N + 1,)."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts)])

    @property
    def chunk_rows(self) -> int:
        """Rows that are decoded together."""
        return int(_array(self._group, "X").chunks[0])

    def read(self, start: int = 0, stop: int | None = None) -> Events:
        """Read the events from `start` up to and without `stop`; all of them by default.

        Raises
        ------
        DataError
            If there are no such events, or the store is damaged there: the message names the
            file, the array and the event.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise DataError(
                f"{self.path}: start={start}, stop={stop} must lie in order between 0 and "
                f"{len(self)}"
            )
        counts = self.counts[start:stop]
        first = int(self.counts[:start].sum())
        last = first + int(counts.sum())
        x, ygen, ycand = (self._rows(name, first, last, start) for name in ROWS)
        try:
            return Events(x, ygen, ycand, counts, self.schema)
        except DataError:
            pass
        try:  # once more, behind `start` empty events: the message then counts as the store does
            counts = np.concatenate([np.zeros(start, np.int64), counts])
            return Events(x, ygen, ycand, counts, self.schema)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error

    def _rows(self, name: str, first: int, last: int, event: int) -> Float32:
        try:
            return np.ascontiguousarray(_array(self._group, name)[first:last], np.float32)
        except Exception as error:  # damaged chunks fail in any way they like
            raise DataError(
                f"{self.path}: {name} is damaged at event {event} or a later one ({error})"
            ) from error


def open_events(path: str | os.PathLike[str]) -> EventStore:
    """Open a store of events, of which any part can be read.

    Use it for events that are too many for memory; `load_events` reads all of a store.

    Parameters
    ----------
    path : path
        What `EventWriter` made.

    Returns
    -------
    EventStore

    Raises
    ------
    DataError
        If there is no such store, it is damaged, or its arrays do not fit one another. The
        message names the file and the array.

    Examples
    --------
    >>> open_events("absent.zarr")
    Traceback (most recent call last):
    ...
    daskhpo.exceptions.DataError: absent.zarr: no such event store
    """
    file = Path(path)
    if not file.exists():
        raise DataError(f"{file}: no such event store")
    group = _open_group(file)
    try:
        attributes = group.attrs.asdict()
        schema = _schema(attributes.get("schema"))
        lengths = {name: _length(group, name, width) for name, width in _widths(schema).items()}
        per_event = {name: _whole(group, name) for name in PER_EVENT}
        lengths["the sum of counts"] = int(per_event["counts"].sum())
        if len(set(lengths.values())) > 1 or len({len(a) for a in per_event.values()}) > 1:
            lengths |= {f"events in {name}": len(array) for name, array in per_event.items()}
            said = ", ".join(f"{name}: {n}" for name, n in lengths.items())
            raise DataError(f"the arrays do not fit one another ({said})")
        provenance = cast("dict[str, Any]", attributes.get("provenance", {}))
        return EventStore(file, schema, **per_event, provenance=provenance, _group=group)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    except Exception as error:  # a damaged store fails in any way it likes
        raise DataError(f"{file}: not a readable event store ({error})") from error


def _open_group(file: Path) -> zarr.Group:
    try:
        group = zarr.open_group(file, mode="r", zarr_format=3)
        made, version = group.attrs.get("format"), group.attrs.get("version")
    except Exception as error:  # anything may be found under a name
        raise DataError(f"{file}: is there and is no event store ({error})") from error
    if made != FORMAT:
        raise DataError(f"{file}: is there and is no event store (its format is {made!r})")
    if version != VERSION:
        raise DataError(f"{file}: its version is {version!r}; this daskhpo reads {VERSION}")
    return group


def _schema(name: Any) -> Schema:
    if name not in SCHEMAS:
        raise DataError(f"its schema is {name!r}; known are {', '.join(SCHEMAS)}")
    return SCHEMAS[name]


def _widths(schema: Schema) -> dict[str, int]:
    return {"X": schema.width, "ygen": len(Target), "ycand": len(Target)}


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    found = group.get(name)
    if not isinstance(found, zarr.Array):
        raise DataError(f"holds no array {name!r}; needed are {', '.join((*ROWS, *PER_EVENT))}")
    return found


def _length(group: zarr.Group, name: str, width: int) -> int:
    array = _array(group, name)
    if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] != width:
        raise DataError(
            f"{name} has shape {array.shape} of {array.dtype}; allowed is (M, {width}) of float32"
        )
    return int(array.shape[0])


def _whole(group: zarr.Group, name: str) -> Int64:
    array = _array(group, name)
    if array.dtype != np.int64 or array.ndim != 1:
        raise DataError(f"{name} has shape {array.shape} of {array.dtype}; allowed: (N,) int64")
    try:
        numbers = np.asarray(array[:], np.int64)
    except Exception as error:  # damaged chunks fail in any way they like
        raise DataError(f"{name} is damaged ({error})") from error
    if np.any(numbers < 0):
        event = int(np.argmax(numbers < 0))
        raise DataError(f"event {event}: {name} is {numbers[event]}; it must not be negative")
    return numbers


def _create_rows(group: zarr.Group, name: str, width: int) -> zarr.Array[Any]:
    return group.create_array(
        name,
        shape=(0, width),
        chunks=(CHUNK_ROWS, width),
        shards=(SHARD_ROWS, width),
        dtype="float32",
        fill_value=math.nan,  # a chunk that is lost is refused as not finite
        dimension_names=["element", "column" if name == "X" else "target"],
        filters=TransposeCodec(order=(1, 0)),  # values of one kind lie together
        # against zstd: decoded in half the time, 6 % larger
        compressors=[BloscCodec(cname="lz4", shuffle="shuffle", typesize=4), Crc32cCodec()],
    )


def _create_per_event(group: zarr.Group, name: str) -> zarr.Array[Any]:
    return group.create_array(
        name,
        shape=(0,),
        chunks=(CHUNK_EVENTS,),
        dtype="int64",
        fill_value=-1,  # a chunk that is lost is refused as negative
        dimension_names=["event"],
        compressors=ZstdCodec(level=0, checksum=True),
    )
