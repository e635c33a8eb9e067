"""Training on more events than memory holds: they are read from their store block by block.

A block is what one chunk of the store holds: the events that begin in it, some 80 without pile-up.
An epoch visits the blocks in random order and shuffles the events of `WINDOW` blocks at a time,
hence a batch needs few blocks, each is decoded once an epoch, and neighbours in the store still
part company.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from daskhpo.exceptions import DataError
from daskhpo.mlpf.batches import EventBatches, cut
from daskhpo.mlpf.events import Float32, Int64
from daskhpo.mlpf.formats.ragged_zarr import EventStore, open_events
from daskhpo.mlpf.schema import Schema, Target

__all__ = ["CACHE_BYTES", "WINDOW", "Blocks", "StoredEvents"]

WINDOW = 16  # blocks that are shuffled together, some 20 MB when decoded
CACHE_BYTES = 256 * 2**20  # decoded blocks kept: more than two windows, for batches span two


class Blocks:
    """The decoded blocks of a store, of which those longest unused are forgotten.

    Parameters
    ----------
    store : EventStore
    cache_bytes : int
        What the kept blocks may take; the latest is kept, however large. Threads may share them.
    """

    def __init__(self, store: EventStore, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.store = store
        self.offsets = store.offsets  # (N + 1,)
        chunk = self.offsets[:-1] // store.chunk_rows
        first = np.flatnonzero(np.diff(chunk, prepend=-1))
        self._bounds = np.append(first, len(store))  # (B + 1,) first event of each block, the end
        self.of_event: Int64 = np.repeat(np.arange(len(first)), np.diff(self._bounds))  # (N,)
        self._cache_bytes = cache_bytes
        self._held: OrderedDict[int, tuple[Float32, Float32]] = OrderedDict()  # {block: (X, ygen)}
        self._lock = Lock()

    @property
    def held_bytes(self) -> int:
        """What the kept blocks take now."""
        return sum(x.nbytes + y.nbytes for x, y in self._held.values())

    def rows(self, event: int) -> tuple[Float32, Float32]:
        """Return the rows of `X` and `ygen` of an event, as views of its block."""
        block = int(self.of_event[event])
        with self._lock:
            if block not in self._held:
                self._decode(block)
            self._held.move_to_end(block)
            x, y = self._held[block]
        start, stop = self.offsets[event : event + 2] - self.offsets[self._bounds[block]]
        return x[start:stop], y[start:stop]

    def _decode(self, block: int) -> None:
        events = self.store.read(int(self._bounds[block]), int(self._bounds[block + 1]))
        self._held[block] = events.X, events.ygen
        while len(self._held) > 1 and self.held_bytes > self._cache_bytes:
            self._held.popitem(last=False)


@dataclass(frozen=True, slots=True, eq=False)
class StoredEvents:
    """Events of a store as an `EventSource`: only what is used lately is in memory.

    Use `load_dataset`, which reads what is small as a whole. Make it with `StoredEvents.open`.

    Parameters
    ----------
    blocks : Blocks
        Of the store.
    chosen : (E,) int64
        The events of the store that these are. Batches in the order of the store are read
        fastest, so let it be sorted unless the order matters.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from daskhpo.mlpf.events import load_sample
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_sample().save(Path(folder, "some.zarr"))
    ...     events = StoredEvents.open(Path(folder, "some.zarr"))
    ...     batches = events.shuffled(8, seed=1, epoch=1)
    ...     batch = events.take(batches[0])
    >>> len(batches), len(batch.counts), len(batch.x) == int(batch.counts.sum())
    (75, 8, True)
    """

    blocks: Blocks
    chosen: Tensor
    counts: Tensor = field(init=False)  # (E,) int64 elements of each event
    particles: Tensor = field(init=False)  # (E,) int64 true particles of each event

    def __post_init__(self) -> None:
        """Look up the sizes of the chosen events."""
        store = self.blocks.store
        for name, sizes in (("counts", store.counts), ("particles", store.particles)):
            object.__setattr__(self, name, torch.from_numpy(sizes)[self.chosen])

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        chosen: Tensor | None = None,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> StoredEvents:
        """Open a store, of which all events or the `chosen` ones (int64 indices) are used.

        Raises
        ------
        DataError
            If it is no event store, is damaged, or has no such events.
        """
        store = open_events(path)
        events = torch.arange(len(store)) if chosen is None else chosen
        if len(events) and not 0 <= int(events.min()) <= int(events.max()) < len(store):
            raise DataError(
                f"{store.path}: chosen are events {int(events.min())} to {int(events.max())}; "
                f"it has {len(store)}, counted from 0"
            )
        return cls(Blocks(store, cache_bytes=cache_bytes), events)

    def subset(self, events: Tensor) -> StoredEvents:
        """Return the given of these events, as a source that shares the blocks in memory."""
        return StoredEvents(self.blocks, self.chosen[events])

    @property
    def schema(self) -> Schema:
        """What the columns of the elements mean."""
        return self.blocks.store.schema

    def take(self, events: Tensor) -> EventBatches:
        """Take the given events (int64 indices), in that order; each block is decoded once."""
        stored = self.chosen[events].numpy()
        counts = self.counts[events]
        stops = counts.cumsum(0)
        x = np.empty((int(counts.sum()), self.schema.width), np.float32)
        y = np.empty((len(x), len(Target)), np.float32)
        starts = stops - counts
        spans = list(zip(starts.tolist(), stops.tolist(), strict=True))
        for position in np.argsort(stored, kind="stable"):
            start, stop = spans[position]
            x[start:stop], y[start:stop] = self.blocks.rows(stored[position])
        tensors = torch.from_numpy(x), torch.from_numpy(y)
        return EventBatches(self.schema, *tensors, counts, starts, self.particles[events])

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int, batch_elements: int = 0
    ) -> list[Tensor]:
        """List the batches of an epoch: blocks in random order, events at random in a window."""
        rng = np.random.default_rng([seed, epoch])
        used, block = np.unique(self.blocks.of_event[self.chosen.numpy()], return_inverse=True)
        window = rng.permutation(len(used))[block] // WINDOW  # of each event
        order = np.lexsort((rng.random(len(window)), window))
        return cut(
            torch.from_numpy(order),
            self.counts,
            batch_size=batch_size,
            batch_elements=batch_elements,
        )
