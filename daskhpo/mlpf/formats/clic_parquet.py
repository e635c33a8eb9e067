"""Reading the public CLIC and CLD events: parquet files with one list of elements per event.

The sets are Zenodo 8260741, 8414225 and 8409592 (Pata et al., Commun. Phys. 7 (2024) 124), and
those of the versions after. An event has

    X_track, X_cluster              16 and 17 columns, those of the schema `CLIC`
    ytarget_track, ytarget_cluster  the target of each element; `ygen_...` in version 1
    ycand_track, ycand_cluster      the candidate of Pandora at each element

Of the 7 to 14 columns of targets and candidates (by version) the first seven are read: PDG,
charge, pt, eta, sin_phi, cos_phi, energy. The others (pile-up flag, statuses, shares, jet and
particle numbers) and the fields `genmet`, `genjet` and `targetjet` are not: jets and missing
energy are computed from the particles.

The ids were made without a sign and reduced to six: 0, 211, 130, 22, 11 and 13 are the classes in
their order, and any other id is refused, as upstream. Undefined values were set to 0 when the
files were made; one that is not finite is therefore refused. Unlike in the Delphes set, candidates
have both pT and energy, and charges are true ones, 0 for whatever is at a cluster.

A file holds one row per event, or, where an awkward record was written as it was, a single row
with all events; both are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Events, Float32, Int64
from daskhpo.mlpf.schema import CLIC, ParticleClass, Target

__all__ = ["iterate_clic_parquet", "read_clic_parquet"]

Float64 = npt.NDArray[np.float64]

CLASS_OF_ID = {
    0: ParticleClass.NONE,
    211: ParticleClass.CHARGED_HADRON,
    130: ParticleClass.NEUTRAL_HADRON,
    22: ParticleClass.PHOTON,
    11: ParticleClass.ELECTRON,
    13: ParticleClass.MUON,
}
COLUMNS = ("PDG", "charge", "pt", "eta", "sin_phi", "cos_phi", "energy")
KINDS = ("track", "cluster")
WIDTHS = {"X_track": (16,), "X_cluster": (17,)}
PARTICLE_WIDTHS = (7, 8, 13, 14)  # versions 1, 1 with jets, 2.0 to 2.5, and 3.2


@dataclass(frozen=True, slots=True)
class _Rows:
    """One field of some events: the rows of all of them, and how many each has."""

    name: str
    values: Float64  # (rows, columns)
    counts: Int64  # (events,)
    first: int  # number of the first of the events in the file

    def refuse(self, wrong: npt.NDArray[np.bool_], column: int, allowed: str) -> None:
        """Refuse the first row that is wrong, if there is one, for its value in a column."""
        if not wrong.any():
            return
        row, ends = int(np.argmax(wrong)), np.cumsum(self.counts)
        event = int(np.searchsorted(ends, row, side="right"))
        label = f" ({COLUMNS[column]})" if self.name[0] == "y" and column < len(COLUMNS) else ""
        raise DataError(
            f"event {self.first + event}, row {row - int(ends[event] - self.counts[event])}: "
            f"{self.name} column {column}{label} is {self.values[row, column]:g}; "
            f"it must be {allowed}"
        )


def read_clic_parquet(path: str | os.PathLike[str]) -> Events:
    """Read all events of one file of the public CLIC and CLD sets.

    Use `iterate_clic_parquet` for files that do not fit into memory.

    Parameters
    ----------
    path : path
        A parquet file; needs pyarrow.

    Returns
    -------
    Events
        Schema `CLIC`; the tracks of an event come before its clusters.

    Raises
    ------
    DataError, ImportError
        As `iterate_clic_parquet`.
    """
    return Events.concatenate([Events.empty(CLIC), *iterate_clic_parquet(path)])


def iterate_clic_parquet(path: str | os.PathLike[str]) -> Iterator[Events]:
    """Read one file of the public CLIC and CLD sets, row group by row group.

    Parameters
    ----------
    path : path
        A parquet file; needs pyarrow.

    Yields
    ------
    Events
        Those of one row group; no event is left out, also if it has neither tracks nor clusters.

    Raises
    ------
    DataError
        If the file is missing or damaged, lacks a field, has a wrong number of columns or rows
        that do not fit, or a value that cannot be. The message names file, event and field.
    ImportError
        If pyarrow is not installed.

    Examples
    --------
    >>> next(iterate_clic_parquet("ttbar.parquet"))
    Traceback (most recent call last):
    ...
    daskhpo.exceptions.DataError: ttbar.parquet: no such file
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"{error}: install daskhpo[clic] to read parquet files") from error
    first = 0
    try:
        with _Opened(parquet, file) as source:
            target = _target_name(source.names)
            for table in source.groups([f"{n}_{k}" for n in ("X", target, "ycand") for k in KINDS]):
                part = _part(table, target, first)
                first += len(part)
                yield part
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


class _Opened:
    """A parquet file, opened; whatever cannot be read of it is refused."""

    def __init__(self, parquet: Any, file: Path) -> None:
        try:
            self.source = parquet.ParquetFile(file)
        except Exception as error:  # a damaged file fails in any way it likes
            raise DataError(f"not a readable parquet file ({_said(error)})") from error
        self.names: list[str] = self.source.schema_arrow.names

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def groups(self, columns: list[str]) -> Iterator[Any]:
        """Yield the row groups as arrow tables."""
        for group in range(self.source.num_row_groups):
            try:
                table = self.source.read_row_group(group, columns=columns, use_threads=False)
            except Exception as error:
                raise DataError(f"row group {group} cannot be read ({_said(error)})") from error
            yield table


def _target_name(names: list[str]) -> str:
    target = "ygen" if "ygen_track" in names else "ytarget"
    needed = [f"{name}_{kind}" for name in ("X", target, "ycand") for kind in KINDS]
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataError(f"has no field {missing[0]!r}; needed are {', '.join(needed)}")
    return target


def _part(table: Any, target: str, first: int) -> Events:
    """Make events of a row group; the first of them is number `first` of the file."""
    names = [f"{name}_{kind}" for name in ("X", target, "ycand") for kind in KINDS]
    lists = _one_per_event({name: _lists(name, table.column(name), first) for name in names})
    rows = {name: _rows(name, lists[name], first) for name in names}
    for kind in KINDS:
        for name in (f"{target}_{kind}", f"ycand_{kind}"):
            _same_counts(rows[f"X_{kind}"], rows[name])
    for field in rows.values():
        _check_values(field)
    together = {
        name: _together(rows[f"{name}_track"], rows[f"{name}_cluster"], width)
        for name, width in (("X", CLIC.width), (target, len(Target)), ("ycand", len(Target)))
    }
    for name in (target, "ycand"):
        ids = together[name][:, Target.CLASS].copy()
        for number, particle in CLASS_OF_ID.items():
            together[name][ids == number, Target.CLASS] = particle
    return Events(
        X=together["X"],
        ygen=together[target],
        ycand=together["ycand"],
        counts=rows["X_track"].counts + rows["X_cluster"].counts,
        schema=CLIC,
    )


@dataclass(frozen=True, slots=True)
class _Lists:
    """Nested lists: the offsets of each level, from the outermost, and the numbers."""

    offsets: list[Int64]
    values: Float64


def _lists(name: str, column: Any, first: int) -> _Lists:
    """Take an arrow column apart; a value that is missing at any level is refused."""
    from pyarrow import types

    array = column.combine_chunks()
    offsets: list[Int64] = []
    while True:
        _all_there(name, array, offsets, first)
        kind = array.type
        if types.is_fixed_size_list(kind):
            offsets.append(np.arange(len(array) + 1) * kind.list_size)
        elif types.is_list(kind) or types.is_large_list(kind):
            ends = array.offsets.to_numpy().astype(np.int64)
            offsets.append(ends - ends[0])
        else:
            break
        array = array.flatten()
    # A field without any row has nothing that could tell the type of its numbers.
    if len(array) and not (types.is_floating(kind) or types.is_integer(kind)):
        raise DataError(f"{name} holds {column.type}; allowed are lists of lists of numbers")
    values = np.zeros(0) if not len(array) else array.to_numpy(zero_copy_only=False)
    return _Lists(offsets, values.astype(np.float64))


def _all_there(name: str, array: Any, offsets: list[Int64], first: int) -> None:
    if not array.null_count:
        return
    at = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
    for level in reversed(offsets):
        at = int(np.searchsorted(level, at, side="right")) - 1
    raise DataError(f"event {first + at}: {name} lacks a value")


def _one_per_event(lists: dict[str, _Lists]) -> dict[str, _Lists]:
    """Undo the outermost list where a single row holds all events."""
    depth = max(len(field.offsets) for field in lists.values())
    if depth == 3:
        if any(len(field.offsets[0]) != 2 for field in lists.values()):
            raise DataError("lists of lists of lists are allowed in files of a single row only")
        lists = {name: _Lists(field.offsets[1:], field.values) for name, field in lists.items()}
    events = {name: len(field.offsets[0]) - 1 for name, field in lists.items() if field.offsets}
    if len(set(events.values())) > 1 or len(events) < len(lists):
        raise DataError(f"the fields hold different numbers of events: {events}")
    return lists


def _rows(name: str, lists: _Lists, first: int) -> _Rows:
    """Make the matrix of a field of lists of rows."""
    allowed = WIDTHS.get(name, PARTICLE_WIDTHS)
    counts = np.diff(lists.offsets[0])
    widths = np.diff(lists.offsets[1]) if len(lists.offsets) > 1 else np.zeros(0, np.int64)
    width = int(widths[0]) if len(widths) else allowed[0]
    wrong = ~np.isin(widths, allowed) | (widths != width)
    if wrong.any() or (len(lists.offsets) < 2 and counts.any()):
        row = int(np.argmax(wrong)) if wrong.any() else 0
        event = int(np.searchsorted(np.cumsum(counts), row, side="right"))
        found = f"{widths[row]} columns" if len(widths) else "no columns"
        said = " or ".join(", ".join(map(str, allowed)).rsplit(", ", 1))
        raise DataError(
            f"event {first + event}: {name} has {found}; allowed are {said}, the same everywhere"
        )
    return _Rows(name, lists.values.reshape(-1, width), counts, first)


def _same_counts(elements: _Rows, particles: _Rows) -> None:
    wrong = elements.counts != particles.counts
    if wrong.any():
        event = int(np.argmax(wrong))
        raise DataError(
            f"event {elements.first + event}: {elements.name} has {elements.counts[event]} rows, "
            f"{particles.name} {particles.counts[event]}; they must be the same"
        )


def _check_values(field: _Rows) -> None:
    values = field.values
    for column in range(values.shape[1] if field.name[0] == "X" else len(Target)):
        finite = np.abs(values[:, column]) <= np.finfo(np.float32).max  # no nan either
        field.refuse(~finite, column, "a finite number")
    if field.name[0] == "X":
        kind = field.name.removeprefix("X_")
        value = next(value for value, name, _ in CLIC.kinds if name == kind)
        field.refuse(values[:, 0] != value, 0, f"{value} ({kind})")
        return
    ids = ", ".join(str(number) for number in CLASS_OF_ID)
    field.refuse(~np.isin(values[:, 0], list(CLASS_OF_ID)), Target.CLASS, f"one of {ids}")
    field.refuse(~np.isin(values[:, 1], (-1, 0, 1)), Target.CHARGE, "-1, 0 or 1")
    for column in (Target.PT, Target.ENERGY):
        field.refuse(values[:, column] < 0, column, "0 or more")


def _together(track: _Rows, cluster: _Rows, width: int) -> Float32:
    """Put the tracks of each event before its clusters; the first `width` columns, or zeros."""
    rows = np.zeros((len(track.values) + len(cluster.values), width), dtype=np.float32)
    clusters_before = np.cumsum(cluster.counts) - cluster.counts
    tracks_so_far = np.cumsum(track.counts)
    for field, shift in ((track, clusters_before), (cluster, tracks_so_far)):
        at = np.arange(len(field.values)) + np.repeat(shift, field.counts)
        rows[at, : field.values.shape[1]] = field.values[:, :width]
    return rows


def _said(error: Exception) -> str:
    """Return what an error says, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
