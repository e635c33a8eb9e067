"""Reading the public Delphes pickles without running any code that they might carry.

A pickle may call any function its author likes. This reader lends it none: the four names that a
pickled numpy array needs are answered by small stand-ins that accept plain float arrays only, and
numpy itself never sees the file's instructions.
"""

from __future__ import annotations

import bz2
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError

__all__ = ["read_delphes_pickle"]

FLOATS = {"f4", "f8"}


def read_delphes_pickle(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read one file of the public set into the arrays of `Events`.

    Use `daskhpo.mlpf.events.load_events`, which checks the values as well.

    Parameters
    ----------
    path : path
        A bz2 pickle of `{"X": [...], "ygen": [...], "ycand": [...]}` with one float array per
        event in each list.

    Returns
    -------
    dict
        `X`, `ygen`, `ycand` with the rows of all events one after the other, and `counts`.

    Raises
    ------
    DataError
        If the file is damaged, asks for anything but float arrays, or its lists do not fit.
    """
    try:
        with bz2.open(path, "rb") as stream:
            content = _Unpickler(stream).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle fails in any way it likes
        raise DataError(f"not a readable bz2 pickle ({type(error).__name__}: {error})") from error
    return _flatten(content)


def _flatten(content: Any) -> dict[str, npt.NDArray[Any]]:
    widths = {"X": 12, "ygen": 7, "ycand": 7}
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in widths):
        raise DataError("the pickle must be a dict with the lists X, ygen and ycand")
    lists = {name: [_array(a, name, i) for i, a in enumerate(content[name])] for name in widths}
    lengths = {name: len(parts) for name, parts in lists.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the lists hold different numbers of events: {lengths}")
    for event, parts in enumerate(zip(*lists.values(), strict=True)):
        for (name, width), part in zip(widths.items(), parts, strict=True):
            if part.ndim != 2 or part.shape[1] != width:
                raise DataError(f"event {event}: {name} has shape {part.shape}, not (n, {width})")
            if len(part) != len(parts[0]):
                raise DataError(f"event {event}: X has {len(parts[0])} rows, {name} {len(part)}")
    flat: dict[str, npt.NDArray[Any]] = {
        name: np.concatenate([np.zeros((0, width)), *lists[name]]) for name, width in widths.items()
    }
    flat["counts"] = np.array([len(part) for part in lists["X"]], dtype=np.int64)
    return flat


def _array(value: Any, name: str, event: int) -> npt.NDArray[Any]:
    if isinstance(value, _Array) and value.array is not None:
        return value.array
    if isinstance(value, np.ndarray):
        return value
    raise DataError(f"event {event}: {name} is {type(value).__name__}; allowed are float arrays")


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows float arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Dtype,
            ("_codecs", "encode"): _encode,
        }
        for core in ("numpy.core", "numpy._core"):
            known[f"{core}.multiarray", "_reconstruct"] = _reconstruct
            known[f"{core}.numeric", "_frombuffer"] = _frombuffer
        if (module, name) not in known:
            raise DataError(f"the pickle asks for {module}.{name}; allowed are float arrays only")
        return known[module, name]


class _Dtype:
    """Stands in for `numpy.dtype`: little- or big-endian f4 or f8."""

    def __init__(self, code: str, *_: Any) -> None:
        kind = str(code).lstrip("<>=")
        if kind not in FLOATS:
            raise DataError(f"the pickle holds arrays of {code!r}; allowed are f4 and f8")
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(">" if state[1] == ">" else "<")


class _Array:
    """Stands in for `numpy.ndarray`: filled from the plain bytes of its state."""

    def __init__(self, *_: Any) -> None:
        self.array: npt.NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        self.array = _frombuffer(content, kind, shape, "F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(content: Any, kind: Any, shape: Any, order: str, *_: Any) -> npt.NDArray[Any]:
    shape = tuple(int(n) for n in shape)
    if not isinstance(kind, _Dtype) or not isinstance(content, (bytes, bytearray)):
        raise DataError("the pickle holds an array that is not of plain floats")
    if min(shape, default=0) < 0 or math.prod(shape) * kind.dtype.itemsize != len(content):
        raise DataError(f"the pickle holds {len(content)} bytes for an array of shape {shape}")
    flat = np.frombuffer(content, dtype=kind.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _encode(text: str, encoding: str) -> bytes:
    """Undo what protocol 2 does to bytes; no other codec is lent."""
    if encoding != "latin1":
        raise DataError(f"the pickle asks for the codec {encoding!r}; allowed is latin1")
    return text.encode("latin1")
