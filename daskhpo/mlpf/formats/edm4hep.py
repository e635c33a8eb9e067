"""Reading EDM4HEP files of the CLIC and CLD simulations: tracks, clusters and what they stand for.

A file has a tree `events` with one entry per collision: generated particles, refitted tracks,
Pandora's clusters with their calorimeter hits, Pandora's candidates, and links of tracks and hits
to the truth. `edm4hep_layout` names the branches, `edm4hep_elements` says how columns follow
from them, and `edm4hep_truth` which particle a track or a cluster stands for. All follow the
software that made the public parquet files (`clic_parquet`), so that both can be used together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Events, Float32
from daskhpo.mlpf.formats.edm4hep_elements import FIELD, Calorimeters, build
from daskhpo.mlpf.formats.edm4hep_layout import HIT, Layout, layout_of
from daskhpo.mlpf.schema import CLIC

__all__ = ["read_edm4hep"]

EVENTS_PER_PART = 200
# What a reconstruction may leave undefined; it is 0 then, as in the public parquet files.
MAY_BE_UNDEFINED = (
    *("chi2", "ndf", "dEdx", "dEdxError", "dQdx.value", "dQdx.error"),
    *("radiusOfInnermostHit", "time"),
)


WHOLE = ("PDG", "type", "generatorStatus", "location", "index", "collectionID", "begin", "end")


def read_edm4hep(
    path: str | os.PathLike[str], *, magnetic_field: float = FIELD
) -> Iterator[Events]:
    """Read the events of an EDM4HEP file, part by part.

    Use it for full simulations with the CLIC detector or CLD; needs uproot and awkward.

    Parameters
    ----------
    path : path
        A ROOT file with a tree `events`.
    magnetic_field : float
        In tesla; gives tracks their pT. The public files were made with 4 T, those of CLD too,
        although CLD has 2 T.

    Yields
    ------
    Events
        At most 200 at a time, schema `CLIC`; no event is left out.

    Raises
    ------
    DataError
        If the file is missing or damaged, a branch is missing, a value is not finite, or a link
        points to where nothing is. The message names the file, the event and the branch.
    ImportError
        If uproot or awkward is not installed.

    Examples
    --------
    >>> next(read_edm4hep("events.root"))
    Traceback (most recent call last):
    ...
    daskhpo.exceptions.DataError: events.root: no such file
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        import awkward  # noqa: F401
        import uproot
    except ImportError as error:
        raise ImportError(f"{error}: install daskhpo[clic] to read EDM4HEP files") from error
    try:
        with _Opened(uproot, file) as root:
            source = _Source.of(root)
            for start in range(0, source.events, EVENTS_PER_PART):
                yield _part(source, start, magnetic_field)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _part(source: _Source, start: int, magnetic_field: float) -> Events:
    stop = min(start + EVENTS_PER_PART, source.events)
    branches = {name: source.read(name, start, stop) for name in source.branches}
    elements, targets, candidates = [], [], []
    for number in range(start, stop):
        event = {name: branch[number - start] for name, branch in branches.items()}
        try:
            _same_lengths(event)
            rows = build(event, source.layout, source.calorimeters, magnetic_field)
            x, ygen, ycand = (_single(part) for part in rows)
        except DataError as error:
            raise DataError(f"event {number}: {error}") from error
        elements.append(x)
        targets.append(ygen)
        candidates.append(ycand)
    return Events(
        X=np.concatenate(elements),
        ygen=np.concatenate(targets),
        ycand=np.concatenate(candidates),
        counts=np.array([len(x) for x in elements], dtype=np.int64),
        schema=CLIC,
    )


def _single(rows: npt.NDArray[np.float64]) -> Float32:
    with np.errstate(over="ignore"):
        single = rows.astype(np.float32)
    if not np.isfinite(single).all():
        raise DataError(f"{np.max(np.abs(rows)):g} is too large a value for single precision")
    return single


def _same_lengths(event: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse a collection whose columns do not have the same number of rows."""
    first: dict[str, str] = {}  # {collection: its first branch}
    for name in event:
        collection = name.split(".")[0]
        other = first.setdefault(collection, name)
        if len(event[name]) != len(event[other]):
            raise DataError(
                f"{name} has {len(event[name])} rows, {other} has {len(event[other])}; "
                "they must be the same"
            )


class _Opened:
    """A ROOT file, opened; what is no ROOT file is refused."""

    def __init__(self, uproot: Any, file: Path) -> None:
        try:
            self.root = uproot.open(file, handler=uproot.MultithreadedFileSource, num_workers=1)
        except Exception as error:  # a damaged file fails in any way it likes
            raise DataError(f"not a readable ROOT file ({_said(error)})") from error

    def __enter__(self) -> Any:
        return self.root

    def __exit__(self, *_: object) -> None:
        self.root.close()


@dataclass(frozen=True, slots=True)
class _Ragged:
    """A branch: the values of all events, and where each event begins."""

    values: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    def __getitem__(self, event: int) -> npt.NDArray[Any]:
        return self.values[self.offsets[event] : self.offsets[event + 1]]


@dataclass(frozen=True, slots=True)
class _Source:
    """The tree of events and what is known of it."""

    branches: dict[str, Any]  # {name: uproot's branch}
    events: int
    layout: Layout
    calorimeters: Calorimeters

    @classmethod
    def of(cls, root: Any) -> _Source:
        """Find the branches and the numbers of the calorimeters."""
        tree = _tree(root, "events")
        # Files written by ROOT have branches within branches; the inner names are full names.
        found = {branch.name: branch for branch in tree.itervalues(recursive=True)}
        layout, present = layout_of(found)
        ids = _collection_ids(root, layout)
        for name in present:
            if name not in ids:
                raise DataError(f"the table of collections has no {name}, but the events have")
        hits = [f"{calorimeter}.{name}" for calorimeter in present for name in HIT]
        needed = {name: found[name] for name in (*layout.branches(), *hits)}
        return cls(needed, int(tree.num_entries), layout, {name: ids[name] for name in present})

    def read(self, name: str, start: int, stop: int) -> _Ragged:
        """Read a branch; its numbers come as float64 or int64."""
        import awkward

        try:
            array = self.branches[name].array(entry_start=start, entry_stop=stop, library="ak")
            counts = awkward.to_numpy(awkward.num(array, axis=1))
            values = awkward.to_numpy(awkward.flatten(array, axis=1))
        except Exception as error:  # a damaged file fails in any way it likes
            raise DataError(
                f"events {start} to {stop - 1}: {name} cannot be read ({_said(error)})"
            ) from error
        if values.ndim != 1 or values.dtype.kind not in "fiu":
            raise DataError(f"{name} holds {array.type}; allowed are lists of numbers")
        if name.endswith(WHOLE) and values.dtype.kind == "f":
            raise DataError(f"{name} holds {array.type}; allowed are lists of whole numbers")
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        if values.dtype.kind in "iu":
            return _Ragged(values.astype(np.int64), offsets)
        values = values.astype(np.float64)
        finite = np.isfinite(values)
        if name.split(".", 1)[1] in MAY_BE_UNDEFINED:
            values[~finite] = 0
        elif not finite.all():
            row = int(np.argmin(finite))
            event = int(np.searchsorted(offsets, row, side="right")) - 1
            raise DataError(
                f"event {start + event}: {name} of row {row - int(offsets[event])} is "
                f"{values[row]}; it must be a finite number"
            )
        return _Ragged(values, offsets)


def _tree(root: Any, name: str) -> Any:
    try:
        tree = root[name]
    except Exception as error:
        raise DataError(f"holds no readable tree {name!r} ({_said(error)})") from error
    if not tree.classname.startswith("TTree"):
        raise DataError(f"holds {name!r} as {tree.classname}; only trees are read")
    return tree


def _collection_ids(root: Any, layout: Layout) -> dict[str, int]:
    """Read which number stands for which collection: {name: number}."""
    tree, branch = layout.table
    table = _tree(root, tree)
    try:
        written = table[branch].array(library="ak")[0]
        names, numbers = written["m_names"].to_list(), written["m_collectionIDs"].to_list()
        return {str(name): int(number) for name, number in zip(names, numbers, strict=True)}
    except Exception as error:
        raise DataError(
            f"the tree {tree!r} holds no readable table {branch!r} ({_said(error)})"
        ) from error


def _said(error: Exception) -> str:
    """Return what an error says, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
