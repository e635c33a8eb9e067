"""How a trial's state reaches the disk and comes back: whole, or not at all.

A checkpoint is one file, ``trials/00012/a<attempt>/step-000009.ckpt``: a line that names the
format, the CRC-32 and the length of what follows, then the pickled payload (by ``torch.save``
where torch is loaded). It is written beside its place, synced and renamed, so a killed writer
leaves the previous one intact; superseded ones are removed afterwards.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import random
import re
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daskhpo.exceptions import CheckpointError

__all__ = [
    "HEIRLOOM",
    "Checkpoint",
    "Checkpoints",
    "capture",
    "capture_rng",
    "places_in",
    "read",
    "restore",
    "restore_rng",
]

HEIRLOOM = "inherited"  # the directory of a checkpoint that a child has of its parent

logger = logging.getLogger(__name__)

_MAGIC = b"daskhpo-checkpoint 1"
_NAME = re.compile(rf"^(?:a(\d+)|{HEIRLOOM})/step-(\d+)\.ckpt$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is needed to go on as if nothing had happened.

    Parameters
    ----------
    step : int
        The last step that was trained.
    reports : tuple of (int, dict)
        Every report so far, so that those the tuner has not seen can be sent again.
    states : mapping
        ``{name: what capture() took of the object of that name}``.
    rng : tuple
        One :func:`capture_rng` per rank.
    pace : tuple of float
        Seconds that steps took (see :attr:`daskhpo.worker.deadline.Deadline.pace`); empty in
        checkpoints of versions that did not keep it.
    """

    step: int
    reports: tuple[tuple[int, dict[str, float]], ...]
    states: Mapping[str, Any]
    rng: tuple[Any, ...]
    pace: tuple[float, ...] = ()


class Checkpoints:
    """The checkpoints of one trial, over all its attempts.

    Parameters
    ----------
    path : path
        The trial's directory; it is made at the first save.
    attempt : int
        The attempt that writes; it reads those of all earlier ones.

    Examples
    --------
    >>> import tempfile
    >>> store = Checkpoints(tempfile.mkdtemp(), attempt=0)
    >>> store.save(Checkpoint(3, (), {"weights": [1, 2]}, ()))
    >>> store.load().step
    3
    """

    def __init__(self, path: str | os.PathLike[str], *, attempt: int) -> None:
        self.path = Path(path)
        self.attempt = attempt

    def save(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoint`` durably, then remove those it supersedes.

        Raises
        ------
        CheckpointError
            If the state cannot be pickled or the file cannot be written; earlier checkpoints
            are then untouched.
        """
        payload = _dump(checkpoint)
        folder = self.path / f"a{self.attempt}"
        place = folder / f"step-{checkpoint.step:06d}.ckpt"
        draft = place.with_suffix(f".tmp-{os.getpid()}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with open(draft, "wb") as file:
                file.write(_header(payload))
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, place)
            _sync_folder(folder)
        except OSError as error:
            with contextlib.suppress(OSError):  # what hindered the writing may hinder this too
                draft.unlink(missing_ok=True)
            raise CheckpointError(f"checkpoint {place} cannot be written: {error}") from error
        self._prune(checkpoint.step)

    def load(self) -> Checkpoint | None:
        """The newest one of its own that is whole, or None; damaged ones are passed over."""
        for _, attempt, place in self._places():
            if attempt < 0:
                continue
            try:
                return read(place)
            except (OSError, CheckpointError) as error:
                logger.warning("checkpoint %s is passed over: %s", place, error)
        return None

    def clear(self) -> None:
        """Remove every checkpoint: the trial will never train again."""
        self._prune()

    def _places(self) -> list[tuple[int, int, Path]]:
        """(step, attempt, path) of every checkpoint up to this attempt's, newest first."""
        found = places_in(self.path, ("a*", HEIRLOOM))
        return [place for place in found if place[1] <= self.attempt]

    def _prune(self, saved: int | None = None) -> None:
        """Remove what a checkpoint of step ``saved`` supersedes; None: everything.

        One of a later step stays: it is worth more, whoever wrote it.
        """
        for step, attempt, place in self._places():
            if saved is None or (step, attempt) < (saved, self.attempt):
                place.unlink(missing_ok=True)
                if attempt < 0:
                    with contextlib.suppress(OSError):
                        place.parent.rmdir()
        for draft in self.path.glob("a*/step-*.tmp-*"):  # left by writers that were killed
            writer = draft.parent.name[1:]
            if writer.isdecimal() and int(writer) < self.attempt:
                draft.unlink(missing_ok=True)


def places_in(path: Path, folders: Iterable[str]) -> list[tuple[int, int, Path]]:
    """(step, attempt, path) of the checkpoints in a trial's directory, newest first.

    One that it has of its parent counts as of attempt -1.
    """
    found = []
    for folder in folders:
        for place in path.glob(f"{folder}/step-*.ckpt"):
            match = _NAME.match(f"{place.parent.name}/{place.name}")
            if match:
                found.append((int(match[2]), int(match[1] or -1), place))
    return sorted(found, reverse=True)


def read(place: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises
    ------
    CheckpointError
        If it is not whole, of another version, or needs code that is not here.
    OSError
        If the file cannot be read.
    """
    with open(place, "rb") as file:
        header = file.readline(200)
        payload = file.read()
    if not header.startswith(_MAGIC + b" "):
        raise CheckpointError("not a checkpoint of this version")
    if header != _header(payload):
        raise CheckpointError("its content does not match its checksum")
    try:
        return Checkpoint(**_undump(payload))
    except (pickle.UnpicklingError, ImportError, AttributeError, TypeError) as error:
        raise CheckpointError(f"it needs code that is not here: {error}") from error


def capture(name: str, thing: Any) -> Any:
    """Take the state of one object that was handed to ``trial.steps``.

    Objects with ``state_dict`` and ``load_state_dict`` (torch modules, optimisers, schedulers,
    samplers) are asked for it; random number generators of Python, numpy and torch, arrays,
    tensors, dicts, lists, sets, deques and plain Python objects are taken as they are.

    Raises
    ------
    CheckpointError
        If the object could not be restored in place.
    """
    if hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict"):
        return thing.state_dict()
    if isinstance(thing, np.random.Generator):
        return thing.bit_generator.state
    if isinstance(thing, random.Random):
        return thing.getstate()
    if isinstance(thing, _legacy_generators()):
        return thing.get_state()
    if isinstance(thing, (np.ndarray, *_COLLECTIONS, *_torch_types("Tensor"))):
        return thing
    if _is_plain(thing):
        return vars(thing)
    raise CheckpointError(
        f"trial.steps({name}=...): a {type(thing).__name__} cannot be restored in place; pass an "
        "object with state_dict and load_state_dict, a dict, a list, an array or a plain object"
    )


def restore(name: str, thing: Any, state: Any) -> None:
    """Put what :func:`capture` took back into an object, in place.

    Raises
    ------
    CheckpointError
        If the state does not fit the object.
    """
    try:
        if hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict"):
            thing.load_state_dict(state)
        elif isinstance(thing, np.random.Generator):
            thing.bit_generator.state = state
        elif isinstance(thing, random.Random):
            thing.setstate(state)
        elif isinstance(thing, _legacy_generators()):
            thing.set_state(state)
        elif isinstance(thing, _COLLECTIONS):
            _refill(thing, state)
        elif isinstance(thing, (np.ndarray, *_torch_types("Tensor"))):
            _overwrite(thing, state)
        else:
            vars(thing).update(state)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the checkpoint of {name!r} does not fit: {error}") from error


_COLLECTIONS = (dict, set, list, deque, bytearray)


def _torch_types(*names: str) -> tuple[type, ...]:
    """torch's types of these names; none where torch is not loaded, for nothing can be one then."""
    torch = sys.modules.get("torch")
    return tuple(getattr(torch, name) for name in names) if torch is not None else ()


def _legacy_generators() -> tuple[Any, ...]:
    return (np.random.RandomState, *_torch_types("Generator"))


def _is_plain(thing: Any) -> bool:
    """Whether ``__dict__`` is all there is of an object: nothing hides in slots or behind C."""
    if callable(thing) or not hasattr(thing, "__dict__"):
        return False
    try:
        _, _, state, *items = thing.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 (any object may raise anything here)
        return False
    return (state is None or isinstance(state, dict)) and not any(items)


def _refill(thing: Any, state: Any) -> None:
    kind: type = next(kind for kind in _COLLECTIONS if isinstance(thing, kind))
    if not isinstance(state, kind):
        raise TypeError(f"a {type(state).__name__} is no {kind.__name__}")
    thing.clear()
    if kind in (dict, set):
        thing.update(state)
    else:
        thing.extend(state)


def _overwrite(thing: Any, state: Any) -> None:
    """Copy into an array or a tensor; both would stretch what has another shape."""
    if np.shape(state) != tuple(thing.shape):
        raise ValueError(f"shape {np.shape(state)} is not {tuple(thing.shape)}")
    if isinstance(thing, np.ndarray):
        np.copyto(thing, state)
    else:
        thing.detach().copy_(state)


def capture_rng() -> dict[str, Any]:
    """The process-wide random number generators that training code commonly draws from."""
    state: dict[str, Any] = {"python": random.getstate()}
    state["numpy"] = np.random.get_state()  # noqa: NPY002 (the user's code may draw from it)
    torch = sys.modules.get("torch")
    if torch is not None:
        state["torch"] = torch.get_rng_state()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_rng(state: Mapping[str, Any]) -> None:
    """Put the generators back to what :func:`capture_rng` took."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002 (see capture_rng)
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if "torch" in state:
        torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def _header(payload: bytes) -> bytes:
    return b"%s %08x %d\n" % (_MAGIC, zlib.crc32(payload), len(payload))


def _dump(checkpoint: Checkpoint) -> bytes:
    content = {key: getattr(checkpoint, key) for key in Checkpoint.__slots__}
    buffer = io.BytesIO()
    torch = sys.modules.get("torch")
    try:
        if torch is not None:
            torch.save(content, buffer)
        else:
            pickle.dump(content, buffer, protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        names = ", ".join(_unpicklable(checkpoint.states)) or "the state"
        raise CheckpointError(f"{names} cannot be pickled: {error}") from error
    return buffer.getvalue()


def _unpicklable(states: Mapping[str, Any]) -> Iterable[str]:
    for name, state in states.items():
        try:
            pickle.dumps(state)
        except Exception:  # noqa: BLE001 (any object may raise anything here)
            yield repr(name)


def _undump(payload: bytes) -> dict[str, Any]:
    buffer = io.BytesIO(payload)
    content: dict[str, Any]
    if payload[:2] == b"PK":  # torch.save writes a zip archive
        import torch

        # weights_only would refuse the users' own state; the file is the campaign's own.
        content = torch.load(buffer, map_location="cpu", weights_only=False)
    else:
        content = pickle.load(buffer)  # noqa: S301 (the campaign's own file)
    return content


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
