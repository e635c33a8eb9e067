"""Batches of ragged events: which events form them, whose they are, and their tensors.

Which events form a batch is a pure function of (seed, epoch), known to every rank: so are the
numbers of elements and particles by which the loss of the whole batch is divided.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from daskhpo.exceptions import SpaceError
from daskhpo.mlpf.events import load_events, load_sample
from daskhpo.mlpf.schema import DELPHES, Schema, Target

if TYPE_CHECKING:
    from daskhpo.mlpf.streaming import StoredEvents

__all__ = [
    "MEMORY_BYTES",
    "Dataset",
    "EventBatches",
    "EventSource",
    "cut",
    "load_dataset",
    "prefetched",
    "share",
    "split_events",
]

MEMORY_BYTES = 2**30  # larger stores are streamed; some 65,000 events without pile-up


class EventSource(Protocol):
    """Events of which any can be taken: all in memory, or streamed from a store."""

    @property
    def schema(self) -> Schema:
        """What the columns of the elements mean."""

    @property
    def counts(self) -> Tensor:
        """Elements of each event, (E,) int64 on the CPU."""

    @property
    def particles(self) -> Tensor:
        """True particles of each event, (E,) int64 on the CPU."""

    def take(self, events: Tensor) -> EventBatches:
        """Take the given events (int64 indices), in that order."""

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int, batch_elements: int = 0
    ) -> list[Tensor]:
        """List the batches of an epoch: every event once, a pure function of its arguments.

        They hold `batch_size` events each, or as many as `batch_elements` allows; see `cut`.
        """


@dataclass(frozen=True, slots=True)
class EventBatches:
    """Events one after the other, from which any batch of events can be taken."""

    schema: Schema
    x: Tensor  # (M, F) elements
    y: Tensor  # (M, 7) true particles
    counts: Tensor  # (E,) int64 elements of each event
    starts: Tensor  # (E,) int64 first element of each event
    particles: Tensor  # (E,) int64 true particles of each event

    @classmethod
    def of(cls, x: Tensor, y: Tensor, counts: Tensor, schema: Schema = DELPHES) -> EventBatches:
        """Index the events of x (M, F) and y (M, 7)."""
        event = torch.arange(len(counts)).repeat_interleave(counts)
        particles = torch.bincount(event[y[:, Target.CLASS] != 0], minlength=len(counts))
        return cls(schema, x, y, counts, counts.cumsum(0) - counts, particles)

    def take(self, events: Tensor) -> EventBatches:
        """Take the given events (int64 indices), in that order."""
        counts = self.counts[events]
        shift = self.starts[events] - (counts.cumsum(0) - counts)
        rows = torch.arange(int(counts.sum())) + shift.repeat_interleave(counts)
        return EventBatches.of(self.x[rows], self.y[rows], counts, self.schema)

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int, batch_elements: int = 0
    ) -> list[Tensor]:
        """List the batches of an epoch: all events in random order, cut by `cut`."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self.counts))
        return cut(
            torch.from_numpy(order),
            self.counts,
            batch_size=batch_size,
            batch_elements=batch_elements,
        )


def cut(order: Tensor, counts: Tensor, *, batch_size: int, batch_elements: int = 0) -> list[Tensor]:
    """Cut events into batches, in their order.

    Use `batch_elements` where events differ much in size (pile-up): memory and time of a step
    follow the elements, not the events.

    Parameters
    ----------
    order : (E,) int64
        The events.
    counts : int64
        Elements of each event that `order` may name.
    batch_size : int
        Events in a batch, where `batch_elements` is 0: parts of nearly one size, none larger.
    batch_elements : int
        When greater than 0, in place of `batch_size`: batches take events as long as their
        elements together stay within it. An event that is larger makes a batch of its own.

    Returns
    -------
    list of int64 tensors
        Together they are `order`.

    Raises
    ------
    ImportError
        If `batch_elements` is asked for and torch-geometric is not installed.

    Examples
    --------
    >>> cut(torch.arange(5), torch.full((5,), 10), batch_size=2)
    [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    >>> cut(torch.arange(4), torch.tensor([10, 25, 5, 50]), batch_size=2, batch_elements=40)
    [tensor([0, 1, 2]), tensor([3])]
    """
    if not len(order):
        return []
    if not batch_elements:
        return list(order.tensor_split(math.ceil(len(order) / batch_size)))
    from daskhpo.mlpf.graphs import lengths_within  # torch-geometric takes seconds to import

    return list(torch.split(order, lengths_within(counts[order], batch_elements)))


def prefetched(
    source: EventSource, index_batches: Iterable[Tensor], *, ahead: int = 2
) -> Iterator[EventBatches]:
    """Take one batch after the other, reading ahead while the consumer computes.

    Order and content are those of `source.take`. What is in memory is simply taken; other sources
    are read in one thread that is at most `ahead` batches before the consumer, hands its errors
    to it, and ends with the iterator, be it exhausted, closed or forgotten.

    Parameters
    ----------
    source : EventSource
    index_batches : iterable of int64 tensors
        The events of each batch.
    ahead : int
        How many batches may wait, at least 1.

    Yields
    ------
    EventBatches

    Examples
    --------
    >>> x, y = torch.ones(3, 12), torch.zeros(3, 7)
    >>> source = EventBatches.of(x, y, torch.tensor([1, 2]))
    >>> [len(batch.x) for batch in prefetched(source, [torch.tensor([1]), torch.tensor([0])])]
    [2, 1]
    """
    if isinstance(source, EventBatches):
        yield from map(source.take, index_batches)
        return
    reader = ThreadPoolExecutor(1, thread_name_prefix="daskhpo-events")
    waiting: deque[Future[EventBatches]] = deque()
    try:
        for events in index_batches:
            waiting.append(reader.submit(source.take, events))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        reader.shutdown(cancel_futures=True)


def share(source: EventSource, events: Tensor, *, rank: int, world_size: int) -> Tensor:
    """Choose the part of `events` that is a rank's, so that all have about as many elements.

    The longest event goes first, each to the rank with least so far; a rank gets at least one
    event if there are enough.
    """
    if world_size == 1:
        return events
    load, mine = [0] * world_size, []
    order = torch.argsort(source.counts[events], descending=True, stable=True)
    for position in order.tolist():
        receiver = load.index(min(load))
        load[receiver] += int(source.counts[events[position]]) + 1  # an empty event counts too
        if receiver == rank:
            mine.append(position)
    return events[sorted(mine)]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Training and validation events."""

    train: EventSource
    validation: EventSource


def split_events(
    available: int, events: int, validation_fraction: float, data_seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Choose the events to train on and those to validate on, of `available` ones.

    Parameters
    ----------
    available : int
        Events that there are.
    events, validation_fraction, data_seed
        As in `load_dataset`.

    Returns
    -------
    train, validation : int64 arrays
        Numbers of events, in random order.

    Raises
    ------
    SpaceError
        If there are fewer events than are asked for.

    Examples
    --------
    >>> train, validation = split_events(10, 4, 0.25, data_seed=0)
    >>> len(train), len(validation)
    (3, 1)
    """
    if events > available or available < 2 or events == 1:
        raise SpaceError(f"events={events} must be 0 (all) or between 2 and {available}")
    chosen = np.random.default_rng(data_seed).permutation(available)[: events or available]
    n_validation = min(max(1, round(validation_fraction * len(chosen))), len(chosen) - 1)
    return chosen[n_validation:], chosen[:n_validation]


@lru_cache(maxsize=4)
def load_dataset(data: str, events: int, validation_fraction: float, data_seed: int) -> Dataset:
    """Read, choose and split the events, once per process.

    Events of a `.zarr` store that take more than `MEMORY_BYTES` are streamed: both parts then
    hold their events in the order of the store. All else is held in memory, and which format it
    came from makes no difference.

    Parameters
    ----------
    data : str
        "sample" for the shipped events or the path of what `load_events` reads.
    events : int
        Use this many, chosen at random; 0 takes all.
    validation_fraction : float
        Part of them that is set apart; at least one event is on either side.
    data_seed : int
        Chooses and splits.

    Raises
    ------
    SpaceError
        If there are fewer events than are asked for.
    DataError
        If the file is not in the format.

    Examples
    --------
    >>> data = load_dataset("sample", 20, 0.25, 0)
    >>> len(data.train.counts), len(data.validation.counts)
    (15, 5)
    """
    whole = _open(data)
    parts = split_events(len(whole.counts), events, validation_fraction, data_seed)
    train, validation = map(torch.from_numpy, parts)
    used = int(whole.counts[train].sum() + whole.counts[validation].sum())
    numbers = used * (whole.schema.width + len(Target))
    if isinstance(whole, EventBatches) or 4 * numbers <= MEMORY_BYTES:
        return Dataset(whole.take(train), whole.take(validation))
    return Dataset(whole.subset(train.sort().values), whole.subset(validation.sort().values))


def _open(data: str) -> EventBatches | StoredEvents:
    if data.endswith(".zarr"):
        from daskhpo.mlpf.streaming import StoredEvents  # zarr is heavy

        return StoredEvents.open(data)
    loaded = load_sample() if data == "sample" else load_events(data)
    return EventBatches.of(
        torch.as_tensor(loaded.X),
        torch.as_tensor(loaded.ygen),
        torch.as_tensor(loaded.counts),
        loaded.schema,
    )
