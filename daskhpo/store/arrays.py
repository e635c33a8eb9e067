"""The arrays of a curve store: made, enlarged, and rewritten chunk by chunk.

A new array is always in place before the group's attributes speak of it, and a list of choices
before the codes that point into it, so that a reader of a live store finds all it needs.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from daskhpo.exceptions import StoreError
from daskhpo.store.columns import BRED, FIXED, Choices, column_name, is_number
from daskhpo.store.disk import disk_error
from daskhpo.trial import ParamValue

__all__ = ["SCHEMA_VERSION", "CurveArrays", "array_of", "explained", "open_group"]

SCHEMA_VERSION = 1

_TRIALS = 64  # trials in a chunk of curves: what is rewritten around one changed cell
_STEPS = 1024  # at most so many steps in a chunk of curves
_COLUMN = 4096  # trials in a chunk of a column
_GROW = 1024  # trials by which the arrays grow
_ZSTD = ZstdCodec(level=0, checksum=True)
_REBUILD = "make it anew from the journal (daskhpo rebuild)"

Cell = tuple[int, int, int]  # metric, trial and step, as indices


@contextlib.contextmanager
def explained(doing: str, path: Path) -> Iterator[None]:
    """Turn whatever zarr raises into an error that says what to do.

    Examples
    --------
    >>> with explained("read", Path("curves.zarr")):
    ...     raise ValueError("zstd")
    Traceback (most recent call last):
    daskhpo.exceptions.StoreError: curves.zarr is damaged (zstd): make it anew from the journal \
(daskhpo rebuild)
    """
    try:
        yield
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise StoreError(f"{path} is no curve store ({error}): {_REBUILD}") from error
    except OSError as error:
        raise disk_error(doing, path, error) from error
    except (ValueError, TypeError, LookupError, RuntimeError) as error:
        raise StoreError(f"{path} is damaged ({error}): {_REBUILD}") from error


def open_group(path: Path, *, mode: Literal["r", "a"]) -> zarr.Group:
    """Open a store; mode ``"a"`` makes it if it is missing.

    Raises
    ------
    StoreError
        If it has another version.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     open_group(Path(folder, "curves.zarr"), mode="a").attrs.asdict()
    {}
    """
    group = zarr.open_group(path, mode=mode, zarr_format=3)
    version = group.attrs.get("schema_version", SCHEMA_VERSION if mode == "a" else None)
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema_version {version!r}, this daskhpo reads {SCHEMA_VERSION}: "
            f"use the version that made it, or {_REBUILD}"
        )
    return group


def array_of(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Open an array of a group.

    Raises
    ------
    KeyError
        If there is none of that name.

    Examples
    --------
    >>> group = zarr.create_group(zarr.storage.MemoryStore())
    >>> CurveArrays(group, usual_steps=20).fit(metrics=1, trials=5, steps=7)
    >>> array_of(group, "curves").shape
    (1, 1024, 20)
    """
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise KeyError(f"{name} is no array")
    return found


class CurveArrays:
    """Write to the arrays of one group; remembers the open ones, so use one object per group.

    Parameters
    ----------
    group : zarr.Group
        The store.
    usual_steps : int
        How many steps the arrays have when they are made.

    Examples
    --------
    >>> group = zarr.create_group(zarr.storage.MemoryStore())
    >>> arrays = CurveArrays(group, usual_steps=3)
    >>> arrays.fit(metrics=1, trials=2, steps=3)
    >>> arrays.write_cells({(0, 1, 2): 0.5})
    >>> arrays.write_param("opt", {0: "adam", 1: "sgd"})
    >>> group["curves"][0, :2].tolist(), group["param_opt"][:2].tolist()
    ([[nan, nan, nan], [nan, nan, 0.5]], [0, 1])
    """

    def __init__(self, group: zarr.Group, *, usual_steps: int) -> None:
        self.group = group
        self._usual_steps = usual_steps
        self._open: dict[str, zarr.Array[Any]] = {}
        self._rows = 0  # length of the trial axis, padding included

    def fit(self, *, metrics: int, trials: int, steps: int) -> None:
        """Make the arrays that are missing and enlarge those that are too small."""
        rows = max(_GROW, math.ceil(trials / _GROW) * _GROW)
        curves = self._get("curves")
        if curves is None:
            curves = self._open["curves"] = self.group.create_array(
                "curves",
                shape=(metrics, rows, self._usual_steps),
                chunks=(metrics, _TRIALS, min(self._usual_steps, _STEPS)),
                dtype="float64",
                fill_value=math.nan,
                dimension_names=["metric", "trial", "step"],
                compressors=_ZSTD,
            )
        if steps > curves.shape[2]:  # by whole chunks: the next step must not resize again
            steps = math.ceil(steps / curves.chunks[2]) * curves.chunks[2]
        larger = tuple(map(max, (metrics, rows, steps), curves.shape))
        if larger != curves.shape:
            curves.resize(larger)
        self._rows = larger[1]
        for name, (dtype, fill) in FIXED.items():
            self._column(name, dtype, fill)
        for name in BRED:
            self._get(name)
        for array in list(self._open.values()):
            if array.ndim == 1 and array.shape[0] < self._rows:
                array.resize((self._rows,))

    def write_cells(self, cells: Mapping[Cell, float]) -> None:
        """Write cells of curves: each chunk around them is read, changed and replaced."""
        curves = array_of(self.group, "curves")
        blocks: dict[Cell, list[tuple[Cell, float]]] = defaultdict(list)
        sizes = curves.chunks
        for cell, value in cells.items():
            block = (cell[0] // sizes[0], cell[1] // sizes[1], cell[2] // sizes[2])
            blocks[block].append((cell, value))
        for block, changes in sorted(blocks.items()):
            start = tuple(i * size for i, size in zip(block, sizes, strict=True))
            where = tuple(
                slice(first, min(first + size, length))
                for first, size, length in zip(start, sizes, curves.shape, strict=True)
            )
            values = np.array(curves[where])
            for (metric, trial, column), value in changes:
                values[metric - start[0], trial - start[1], column - start[2]] = value
            curves[where] = values

    def write_rows(self, name: str, rows: Mapping[int, float]) -> None:
        """Write ``{trial: value}`` to a column that is there, or may come to be."""
        column = self._column(name, *BRED[name]) if name in BRED else self._get(name)
        if column is None:
            raise KeyError(f"{name} is no column")
        trials = np.fromiter(rows.keys(), dtype=np.int64, count=len(rows))
        values = np.array(list(rows.values()), dtype=column.dtype)
        for block in np.unique(trials // _COLUMN):
            start = int(block) * _COLUMN
            where = slice(start, min(start + _COLUMN, column.shape[0]))
            mine = trials // _COLUMN == block
            content = np.array(column[where])
            content[trials[mine] - start] = values[mine]
            column[where] = content

    def write_param(self, param: str, rows: Mapping[int, ParamValue]) -> None:
        """Write ``{trial: value}`` (no None) to the column of a parameter, made if missing."""
        name = column_name(param)
        only_numbers = all(map(is_number, rows.values()))
        column = self._get(name)
        if column is None and only_numbers:
            column = self._column(name, "float64", math.nan)
        elif column is None or (column.dtype == np.float64 and not only_numbers):
            column = self._recode(name, column)
        if column.dtype == np.float64:
            self.write_rows(name, {trial: float(value) for trial, value in rows.items()})  # type: ignore[arg-type]
            return
        choices = Choices(cast("list[ParamValue]", column.attrs["choices"]))
        known = len(choices.values)
        codes = {trial: choices.code(value) for trial, value in rows.items()}
        if len(choices.values) > known:
            column.update_attributes({"choices": choices.values})
        self.write_rows(name, codes)

    def _recode(self, name: str, numbers: zarr.Array[Any] | None) -> zarr.Array[Any]:
        """Make a column of codes, in place of one that held only numbers until now."""
        choices, codes = Choices(), None
        if numbers is not None:
            codes = choices.recode(np.asarray(numbers[:]))
            del self.group[name]
        column = self._create(name, "int32", -1, attributes={"choices": choices.values})
        if codes is not None:
            column[: len(codes)] = codes
        return column

    def _column(self, name: str, dtype: str, fill: float) -> zarr.Array[Any]:
        column = self._get(name)
        return self._create(name, dtype, fill) if column is None else column

    def _create(
        self, name: str, dtype: str, fill: float, *, attributes: dict[str, Any] | None = None
    ) -> zarr.Array[Any]:
        self._open[name] = self.group.create_array(
            name,
            shape=(self._rows,),
            chunks=(_COLUMN,),
            dtype=dtype,
            fill_value=fill,
            dimension_names=["trial"],
            compressors=_ZSTD,
            attributes=attributes,
        )
        return self._open[name]

    def _get(self, name: str) -> zarr.Array[Any] | None:
        """Open an array, None if there is none; a column is as long as the others then."""
        if name not in self._open:
            if name not in self.group:
                return None
            self._open[name] = array_of(self.group, name)
        array = self._open[name]
        if array.ndim == 1 and array.shape[0] < self._rows:
            array.resize((self._rows,))
        return array
