"""Particle-flow events in the papers' format: what they hold, how they are read and kept.

An event is a variable number of detector elements, tracks first and then calorimeter towers. Row
`i` of `ygen` is the generated particle that element `i` stands for (all zeros: none), row `i` of
`ycand` what the rule-based particle flow of the detector simulation made of it. The rows of all
events lie one after the other, without padding; `counts` says where one ends.

The format is that of the public Delphes set (Pata et al., Eur. Phys. J. C 81 (2021) 381, data
Zenodo 4559324), with its quirks:

* electrons and muons carry in `ygen` the sign of their PDG id as charge, so an electron has +1;
  towers whose particles are charged have charge +1 whatever those particles' charges are;
  `ycand` has the true charge;
* in `ycand` a charged candidate has energy 0 and a neutral one pT 0;
* ECAL and HCAL towers are rows of their own: one of `ENERGY_ECAL` and `ENERGY_HCAL` is 0.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError
from daskhpo.mlpf.formats.delphes_pickle import read_delphes_pickle
from daskhpo.mlpf.schema import DELPHES, SCHEMAS, ParticleClass, Schema, Target

__all__ = [
    "Element",
    "Events",
    "Tower",
    "Track",
    "load_events",
    "load_sample",
]

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

SAMPLE_NAME = "sample_ttbar.npz"


class Element(IntEnum):
    """What a row of a Delphes `X` is: the value of its first column."""

    TOWER = 1
    TRACK = 2


class Tower(IntEnum):
    """Columns of `X` where the row is a tower; energies in GeV, columns 8 to 11 are 0."""

    TYPE = 0
    ET = 1
    ETA = 2
    SIN_PHI = 3
    COS_PHI = 4
    ENERGY = 5
    ENERGY_ECAL = 6
    ENERGY_HCAL = 7


class Track(IntEnum):
    """Columns of `X` where the row is a track; momenta in GeV.

    `ETA_OUTER` and the outer angle are those of the point where the track meets the calorimeter.
    """

    TYPE = 0
    PT = 1
    ETA = 2
    SIN_PHI = 3
    COS_PHI = 4
    MOMENTUM = 5
    ETA_OUTER = 6
    SIN_PHI_OUTER = 7
    COS_PHI_OUTER = 8
    CHARGE = 9
    IS_GEN_MUON = 10
    IS_GEN_ELECTRON = 11


ELEMENT_COLUMNS = DELPHES.width
TARGET_COLUMNS = len(Target)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Events:
    """Ragged particle-flow events: the elements of all events, one event after the other.

    Parameters
    ----------
    X : (M, F) float32
        The elements; `schema` names the columns, `Tower` and `Track` those of Delphes (F = 12).
    ygen : (M, 7) float32
        The generated particle of each element; see `Target`.
    ycand : (M, 7) float32
        The rule-based candidate of each element; see `Target`.
    counts : (N,) int64
        Elements of each event; they add up to `M`.
    schema : Schema
        What the columns of `X` mean; the public Delphes set's by default.

    Raises
    ------
    DataError
        If the shapes do not fit one another, or a value cannot be (see `load_events`).

    Examples
    --------
    >>> events = load_sample()
    >>> first, rest = events[:10], events[10:]
    >>> len(first) + len(rest) == len(events)
    True
    >>> int(first.counts.sum()) == len(first.X)
    True
    """

    X: Float32
    ygen: Float32
    ycand: Float32
    counts: Int64
    schema: Schema = DELPHES

    def __post_init__(self) -> None:
        for name, columns in (
            ("X", self.schema.width),
            ("ygen", TARGET_COLUMNS),
            ("ycand", TARGET_COLUMNS),
        ):
            with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
                array = np.ascontiguousarray(_numbers(getattr(self, name), name), dtype=np.float32)
            if array.ndim != 2 or array.shape[1] != columns:
                raise DataError(f"{name} has shape {array.shape}; allowed is (M, {columns})")
            object.__setattr__(self, name, array)
        object.__setattr__(self, "counts", _whole_counts(self.counts))
        rows = {name: len(getattr(self, name)) for name in ("X", "ygen", "ycand")}
        rows["the sum of counts"] = int(self.counts.sum())
        if len(set(rows.values())) > 1:
            said = ", ".join(f"{name}: {n}" for name, n in rows.items())
            raise DataError(f"the number of elements differs ({said}); it must be the same")
        _check_values(self)

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.counts)

    def __repr__(self) -> str:
        """Name the numbers of events and elements."""
        return f"Events({len(self)} events, {len(self.X)} elements)"

    def __iter__(self) -> Iterator[Events]:
        """Iterate over the events, each as `Events` of length 1."""
        return (self[i : i + 1] for i in range(len(self)))

    def __getitem__(self, index: int | slice | npt.ArrayLike) -> Events:
        """Select events by number, slice, list of numbers or boolean mask."""
        if not isinstance(index, slice):
            index = np.asarray(index)
            index = index.astype(np.int64) if index.size == 0 else index
        chosen = np.atleast_1d(np.arange(len(self))[index])
        counts = self.counts[chosen]
        starts = self.offsets[:-1][chosen]
        # Row r of the selection is row r - (rows before its event there) + (start here).
        before = np.cumsum(counts) - counts
        rows = np.arange(counts.sum()) + np.repeat(starts - before, counts)
        return Events(self.X[rows], self.ygen[rows], self.ycand[rows], counts, self.schema)

    @property
    def offsets(self) -> Int64:
        """Row where each event begins, and the end: (N + 1,)."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts)])

    @property
    def event_of_row(self) -> Int64:
        """Number of the event to which each row belongs: (M,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    @classmethod
    def concatenate(cls, parts: Iterable[Events]) -> Events:
        """Put sets of events one after the other.

        Examples
        --------
        >>> events = load_sample()[:3]
        >>> Events.concatenate([events, events])  # doctest: +ELLIPSIS
        Events(6 events, ... elements)
        """
        parts = list(parts)
        if not parts:
            return cls.empty()
        if len(names := {part.schema.name for part in parts}) > 1:
            raise DataError(f"events of {' and '.join(sorted(names))} cannot be put together")
        return cls(
            np.concatenate([part.X for part in parts]),
            np.concatenate([part.ygen for part in parts]),
            np.concatenate([part.ycand for part in parts]),
            np.concatenate([part.counts for part in parts]),
            parts[0].schema,
        )

    @classmethod
    def empty(cls, schema: Schema = DELPHES) -> Events:
        """Return no events at all."""
        none = np.zeros((0, TARGET_COLUMNS), np.float32)
        elements = np.zeros((0, schema.width), np.float32)
        return cls(elements, none, none, np.zeros(0, np.int64), schema)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what `load_events` reads: an `.npz` file, or a `.zarr` store for very many events.

        Parameters
        ----------
        path : path
            The ending decides. One that is there is replaced only once the new one is complete.

        Raises
        ------
        DataError
            If the name ends in anything else, or is that of something else.
        """
        if Path(path).suffix == ".npz":
            self.save_npz(path)
            return
        if Path(path).suffix != ".zarr":
            raise DataError(f"{path}: an event file to write must end in .npz or .zarr")
        from daskhpo.mlpf.formats.ragged_zarr import EventWriter  # zarr is heavy

        with EventWriter(path, self.schema) as writer:
            writer.append(self)

    def save_npz(self, path: str | os.PathLike[str]) -> None:
        """Write a compressed file that `load_events` reads; like `save`, for names in `.npz`."""
        target = Path(path)
        if target.suffix != ".npz":
            raise DataError(f"{target}: the name of an npz file to write must end in .npz")
        whole = io.BytesIO()
        # Column after column, values of one kind lie together: a tenth smaller than row by row.
        columns = {name: np.asfortranarray(getattr(self, name)) for name in ("X", "ygen", "ycand")}
        name = np.array(self.schema.name)
        np.savez_compressed(whole, allow_pickle=False, **columns, counts=self.counts, schema=name)
        partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        partial.write_bytes(whole.getvalue())
        partial.replace(target)


def load_events(path: str | os.PathLike[str]) -> Events:
    """Read events from a file, refusing whatever is not in the format.

    Use it for our own files and for those of the public Delphes set; of a store that is larger
    than memory, `daskhpo.mlpf.formats.ragged_zarr.open_events` reads parts.

    Parameters
    ----------
    path : path
        An `.npz` with `X`, `ygen`, `ycand` and `counts`, a `.zarr` store with the same, or a
        `.pkl.bz2` with lists `X`, `ygen` and `ycand` of one array per event. Pickles are read
        without running any of their code.

    Returns
    -------
    Events

    Raises
    ------
    DataError
        If the file is missing, of another kind or damaged, has a wrong number of columns or rows
        that do not fit, or a value that is not finite or no known type or class. The message
        names the file, the event and the column.

    Examples
    --------
    >>> load_events("events.csv")
    Traceback (most recent call last):
    ...
    daskhpo.exceptions.DataError: events.csv: no such file
    """
    file = Path(path)
    if not file.exists():
        raise DataError(f"{file}: no such file")
    if file.suffix == ".zarr":
        from daskhpo.mlpf.formats.ragged_zarr import open_events  # zarr is heavy

        return open_events(file).read()
    try:
        if file.suffix == ".npz":
            return Events(**_read_npz(file))
        if file.name.endswith(".pkl.bz2"):
            flat: dict[str, Any] = dict(read_delphes_pickle(file))
            return Events(**flat)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    raise DataError(f"{file}: an event file must end in .npz, .zarr or .pkl.bz2")


def load_sample() -> Events:
    """Return the events that are shipped with the package.

    Use it for a first try, examples and tests: top-quark pairs at 14 TeV without pile-up, made
    with `daskhpo.mlpf.simulation.generator`; data/SOURCES.md says how.

    Examples
    --------
    >>> load_sample().X.shape[1]
    12
    """
    source = resources.files("daskhpo.mlpf").joinpath(SAMPLE_NAME)
    with resources.as_file(source) as path:
        return load_events(path)


def _read_npz(file: Path) -> dict[str, Any]:
    names = ("X", "ygen", "ycand", "counts")
    if not zipfile.is_zipfile(file):
        raise DataError("not an npz file")
    try:
        with np.load(file, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive]
            if missing:
                raise DataError(f"holds no array {missing[0]!r}; needed are {', '.join(names)}")
            held = {name: archive[name] for name in names}
            held["schema"] = _schema(str(archive["schema"]) if "schema" in archive else "delphes")
            return held
    except DataError:
        raise
    except Exception as error:  # a damaged archive fails in any way it likes
        raise DataError(f"not a readable npz file ({type(error).__name__}: {error})") from error


def _schema(name: str) -> Schema:
    if name not in SCHEMAS:
        raise DataError(f"its schema is {name!r}; known are {', '.join(SCHEMAS)}")
    return SCHEMAS[name]


def _numbers(values: Any, name: str) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{name} holds {array.dtype}; allowed are real numbers")
    return array


def _whole_counts(values: Any) -> Int64:
    counts = _numbers(values, "counts")
    if counts.ndim != 1 or counts.dtype.kind not in "iu":
        raise DataError(
            f"counts has shape {counts.shape} of {counts.dtype}; allowed is (N,) of whole numbers"
        )
    if np.any(counts < 0):
        event = int(np.argmax(counts < 0))
        raise DataError(f"event {event}: counts is {counts[event]}; it must not be negative")
    return counts.astype(np.int64)


def _check_values(events: Events) -> None:
    for name in ("X", "ygen", "ycand"):
        finite = np.isfinite(getattr(events, name))
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            _refuse(events, name, int(row), int(column), "a finite number")
    elements = {value: events.schema.kind(value) for value in events.schema.types}
    classes = {int(kind): kind.name.lower() for kind in ParticleClass}
    for name, kinds in (("X", elements), ("ygen", classes), ("ycand", classes)):
        known = np.isin(getattr(events, name)[:, 0], list(kinds))
        if not known.all():
            allowed = ", ".join(f"{value} ({kind})" for value, kind in kinds.items())
            _refuse(events, name, int(np.argmin(known)), 0, f"one of {allowed}")


def _refuse(events: Events, name: str, row: int, column: int, allowed: str) -> None:
    # Events without elements share their offset with the next one: the last such start counts.
    event = int(np.searchsorted(events.offsets, row, side="right")) - 1
    value = getattr(events, name)[row, column]
    kind = events.X[row, 0]
    if name != "X":
        label = Target(column).name.lower()
    elif column == 0 or kind not in events.schema.types:
        label = "type" if column == 0 else "of an unknown type"
    else:
        label = events.schema.column(int(kind), column)
    raise DataError(
        f"event {event}, row {row - int(events.offsets[event])}: {name} column {column} "
        f"({label}) is {value}; it must be {allowed}"
    )
