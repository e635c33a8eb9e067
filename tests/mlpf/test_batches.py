"""Batches: how they are cut, and how they are read ahead."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from daskhpo.mlpf.batches import EventBatches, cut, prefetched
from daskhpo.mlpf.schema import DELPHES

counts = st.lists(st.integers(0, 60), min_size=1, max_size=30)


def events_of(sizes: list[int]) -> EventBatches:
    rows = torch.arange(sum(sizes), dtype=torch.float32)[:, None]
    return EventBatches.of(rows.expand(-1, 12), rows.expand(-1, 7), torch.tensor(sizes))


def readers() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("daskhpo-events")]


class Slow:
    """A source that is not in memory: it notes what is asked of it, and may fail."""

    schema = DELPHES

    def __init__(self, sizes: list[int], *, fails_at: int = -1) -> None:
        self.held = events_of(sizes)
        self.counts, self.particles = self.held.counts, self.held.particles
        self.fails_at = fails_at
        self.taken: list[int] = []
        self.threads: set[str] = set()

    def take(self, events: Tensor) -> EventBatches:
        self.threads.add(threading.current_thread().name)
        if self.fails_at == events[0]:
            raise OSError("the disk has gone")
        self.taken.append(int(events[0]))
        return self.held.take(events)

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int, batch_elements: int = 0
    ) -> list[Tensor]:
        raise NotImplementedError


@settings(deadline=None)
@given(counts, st.integers(1, 40))
def test_batches_of_events_are_nearly_equal_and_none_is_too_large(
    sizes: list[int], batch_size: int
) -> None:
    order = torch.arange(len(sizes)).flip(0)
    parts = cut(order, torch.tensor(sizes), batch_size=batch_size)
    assert torch.equal(torch.cat(parts), order)
    lengths = [len(part) for part in parts]
    assert max(lengths) <= batch_size
    assert max(lengths) - min(lengths) <= 1


@settings(deadline=None)
@given(counts, st.integers(1, 100), st.integers(0, 5))
def test_batches_of_elements_stay_within_the_limit_and_are_filled(
    sizes: list[int], limit: int, seed: int
) -> None:
    events = events_of(sizes)
    parts = events.shuffled(8, seed=seed, epoch=1, batch_elements=limit)
    whole = torch.cat(events.shuffled(8, seed=seed, epoch=1))
    assert torch.equal(torch.cat(parts), whole)  # the same order, otherwise cut
    loads = [events.counts[part] for part in parts]
    for load in loads:
        # an event beyond the limit is alone but for events without elements
        assert int(load.sum()) <= limit or int((load > 0).sum()) == 1
    for load, following in pairwise(loads):
        assert int(load.sum() + following[0]) > limit


def test_nothing_to_cut_gives_no_batches() -> None:
    none = torch.arange(0)
    assert cut(none, none, batch_size=3) == cut(none, none, batch_size=3, batch_elements=9) == []


def test_without_torch_geometric_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "daskhpo.mlpf.graphs", raising=False)
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    with pytest.raises(ImportError, match=r"batch_elements need.*daskhpo\[mlpf\]"):
        events_of([1, 2]).shuffled(8, seed=0, epoch=1, batch_elements=5)
    assert len(events_of([1, 2]).shuffled(1, seed=0, epoch=1)) == 2


def test_events_in_memory_are_taken_in_no_other_thread() -> None:
    events = events_of([3, 1, 2])
    batches = prefetched(events, [torch.tensor([2, 0]), torch.tensor([1])])
    assert next(batches).counts.tolist() == [2, 3]
    assert readers() == []
    assert next(batches).counts.tolist() == [1]


@pytest.mark.parametrize("ahead", [1, 2, 50])
def test_reading_ahead_keeps_order_and_content(ahead: int) -> None:
    source = Slow([1, 2, 3, 4, 5, 6])
    order = [torch.tensor([i, (i + 1) % 6]) for i in (5, 0, 3, 1, 4, 2)]
    batches = list(prefetched(source, order, ahead=ahead))
    assert [batch.counts.tolist() for batch in batches] == [
        source.counts[events].tolist() for events in order
    ]
    assert torch.equal(batches[0].x, source.held.take(order[0]).x)
    assert source.taken == [5, 0, 3, 1, 4, 2]
    assert source.threads != {threading.current_thread().name}
    assert len(source.threads) == 1
    assert readers() == []


def test_no_more_is_asked_for_than_may_wait() -> None:
    asked: list[int] = []

    def order() -> Iterator[Tensor]:
        for number in range(10):
            asked.append(number)
            yield torch.tensor([number])

    batches = prefetched(Slow([1] * 10), order(), ahead=3)
    assert asked == []
    for number in range(4):
        next(batches)
        assert asked[-1] == number + 3
    batches.close()  # type: ignore[attr-defined]
    assert readers() == []


def test_an_error_reaches_the_consumer_in_its_turn() -> None:
    source = Slow([1] * 6, fails_at=2)
    batches = prefetched(source, list(torch.arange(6)[:, None]), ahead=3)
    assert [next(batches).counts.tolist() for _ in range(2)] == [[1], [1]]
    with pytest.raises(OSError, match="the disk has gone"):
        next(batches)
    assert readers() == []


def test_the_thread_ends_when_the_iterator_is_forgotten() -> None:
    batches = prefetched(Slow([1] * 6), list(torch.arange(6)[:, None]))
    next(batches)
    assert len(readers()) == 1
    del batches
    gc.collect()
    assert readers() == []
