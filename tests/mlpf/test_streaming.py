"""Streamed events: the same events as in memory, few blocks a batch, bounded memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from daskhpo.exceptions import DataError, SpaceError
from daskhpo.mlpf import batches, streaming
from daskhpo.mlpf.batches import EventBatches, load_dataset, prefetched, share
from daskhpo.mlpf.events import Events, load_events, load_sample
from daskhpo.mlpf.formats import ragged_zarr
from daskhpo.mlpf.formats.ragged_zarr import EventStore, open_events
from daskhpo.mlpf.streaming import StoredEvents

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[3] / "shared"))
EVENTS = 80
CHUNK_ROWS = 512  # three or four events: some twenty blocks
WINDOW = 4


@pytest.fixture(autouse=True)
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WINDOW", WINDOW)


@pytest.fixture(scope="module")
def sample() -> Events:
    return load_sample()[:EVENTS]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, sample: Events) -> Path:
    """The first events of the sample as a store of many blocks."""
    file = tmp_path_factory.mktemp("events") / "sample.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragged_zarr, "CHUNK_ROWS", CHUNK_ROWS)
        patch.setattr(ragged_zarr, "SHARD_ROWS", 16 * CHUNK_ROWS)
        sample.save(file)
    return file


@pytest.fixture(scope="module")
def in_memory(sample: Events) -> EventBatches:
    counts = torch.from_numpy(sample.counts)
    return EventBatches.of(torch.from_numpy(sample.X), torch.from_numpy(sample.ygen), counts)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first event of every block that is read from a store, in order."""
    starts: list[int] = []
    read = EventStore.read

    def counting(self: EventStore, start: int = 0, stop: int | None = None) -> Events:
        starts.append(start)
        return read(self, start, stop)

    monkeypatch.setattr(EventStore, "read", counting)
    return starts


def assert_same(a: EventBatches, b: EventBatches) -> None:
    assert a.schema is b.schema
    for name in ("x", "y", "counts", "starts", "particles"):
        ours, theirs = getattr(a, name), getattr(b, name)
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs), name


numbers = st.lists(st.integers(0, EVENTS - 1), max_size=40)


@settings(deadline=None, max_examples=15)
@given(events=numbers, kept_blocks=st.integers(0, 5))
def test_any_events_are_taken_as_from_memory(
    path: Path, in_memory: EventBatches, events: list[int], kept_blocks: int
) -> None:
    source = StoredEvents.open(path, cache_bytes=kept_blocks * CHUNK_ROWS * 19 * 4)
    chosen = torch.tensor(events, dtype=torch.int64)
    assert_same(source.take(chosen), in_memory.take(chosen))


@settings(deadline=None, max_examples=8)
@given(events=st.lists(st.integers(0, EVENTS - 1), min_size=1, max_size=40))
def test_a_subset_is_a_source_of_its_own(
    path: Path, in_memory: EventBatches, events: list[int]
) -> None:
    chosen = torch.tensor(events)
    opened = StoredEvents.open(path, chosen)
    part = in_memory.take(chosen)
    for source in (opened, StoredEvents.open(path).subset(chosen)):
        assert torch.equal(source.counts, part.counts)
        assert torch.equal(source.particles, part.particles)
        every = torch.arange(len(events)).flip(0)
        assert_same(source.take(every), part.take(every))


def test_events_without_elements_are_events_too(tmp_path: Path) -> None:
    counts = np.array([0, 3, 0, 0, 2, 0])
    x = np.ones((5, 12), np.float32)
    Events(x, np.zeros((5, 7)), np.zeros((5, 7)), counts).save(tmp_path / "e.zarr")
    source = StoredEvents.open(tmp_path / "e.zarr")
    assert source.take(torch.tensor([5, 4, 0, 1])).counts.tolist() == [0, 2, 0, 3]
    Events.empty().save(tmp_path / "none.zarr")
    assert StoredEvents.open(tmp_path / "none.zarr").shuffled(8, seed=0, epoch=1) == []


@pytest.mark.parametrize("batch_elements", [0, 1500])
def test_an_epoch_holds_every_event_once_and_is_a_pure_function(
    path: Path, batch_elements: int
) -> None:
    source = StoredEvents.open(path, torch.arange(5, EVENTS))

    def order(seed: int, epoch: int) -> list[int]:
        parts = source.shuffled(8, seed=seed, epoch=epoch, batch_elements=batch_elements)
        return torch.cat(parts).tolist()

    first = order(1, 1)
    assert sorted(first) == list(range(EVENTS - 5))
    assert order(1, 1) == first
    assert order(1, 2) != first
    assert order(2, 1) != first


def test_batches_mix_many_blocks_but_an_epoch_decodes_each_once(
    path: Path, decoded: list[int]
) -> None:
    source = StoredEvents.open(path)
    of_event = torch.from_numpy(source.blocks.of_event)
    n_blocks = int(of_event[-1]) + 1
    assert n_blocks > 4 * WINDOW
    epoch = source.shuffled(8, seed=3, epoch=1)
    assert all(len(events) <= 8 for events in epoch)
    spread = [len(of_event[events].unique()) for events in epoch]
    assert np.mean(spread) > WINDOW - 1
    for events in epoch:
        source.take(events)
    assert len(decoded) == len(set(decoded)) == n_blocks


def test_a_window_of_blocks_and_no_more_is_shuffled_at_a_time(path: Path) -> None:
    source = StoredEvents.open(path)
    order = torch.cat(source.shuffled(8, seed=3, epoch=1)).numpy()
    block, place = source.blocks.of_event[order], np.arange(len(order))
    spans = [(place[block == b].min(), place[block == b].max()) for b in np.unique(block)]
    begun = [sum(first <= now <= last for first, last in spans) for now in place]
    assert max(begun) == WINDOW


def test_what_is_kept_in_memory_stays_within_its_budget(path: Path) -> None:
    budget = 5 * CHUNK_ROWS * 19 * 4
    source = StoredEvents.open(path, cache_bytes=budget)
    for events in source.shuffled(8, seed=0, epoch=1):
        source.take(events)
        assert 0 < source.blocks.held_bytes <= budget


def test_taking_everything_in_any_order_decodes_each_block_once(
    path: Path, in_memory: EventBatches, decoded: list[int]
) -> None:
    order = torch.from_numpy(np.random.default_rng(0).permutation(EVENTS))
    source = StoredEvents.open(path, cache_bytes=0)
    assert_same(source.take(order), in_memory.take(order))
    assert len(decoded) == len(set(decoded))


def test_reading_ahead_changes_nothing(path: Path, in_memory: EventBatches) -> None:
    source = StoredEvents.open(path)
    epoch = source.shuffled(8, seed=0, epoch=1)
    mine = [share(source, events, rank=1, world_size=2) for events in epoch]
    for events, batch in zip(mine, prefetched(source, mine), strict=True):
        assert_same(batch, in_memory.take(events))


def test_damage_is_raised_where_the_batch_is_used(tmp_path: Path, sample: Events) -> None:
    sample.save(tmp_path / "bad.zarr")
    (chunk,) = (file for file in (tmp_path / "bad.zarr/X/c").rglob("*") if file.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 10] ^= 1
    chunk.write_bytes(content)
    source = StoredEvents.open(tmp_path / "bad.zarr")
    with pytest.raises(DataError, match=r"bad\.zarr: X is damaged"):
        list(prefetched(source, [torch.tensor([0])]))


def test_events_that_are_not_there_are_refused(path: Path) -> None:
    with pytest.raises(DataError, match=rf"events -1 to 3; it has {EVENTS}"):
        StoredEvents.open(path, torch.tensor([3, -1]))


def chosen_events(source: EventBatches | StoredEvents) -> set[bytes]:
    """The events of a source, whatever their order."""
    every: Tensor = torch.arange(len(source.counts))
    whole = source.take(every)
    return {rows.numpy().tobytes() for rows in torch.split(whole.x, whole.counts.tolist())}


@pytest.mark.parametrize("events", [0, 30])
def test_a_store_that_fits_in_memory_gives_what_its_npz_gives(
    path: Path, tmp_path: Path, sample: Events, events: int
) -> None:
    sample.save(tmp_path / "sample.npz")
    ours = load_dataset(str(path), events, 0.25, 3)
    theirs = load_dataset(str(tmp_path / "sample.npz"), events, 0.25, 3)
    for part in ("train", "validation"):
        assert isinstance(getattr(ours, part), EventBatches)
        assert_same(getattr(ours, part), getattr(theirs, part))


def test_a_larger_store_is_streamed_and_split_alike(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_dataset(str(path), 60, 0.25, 4)
    in_bytes = 4 * 19 * int(open_events(path).counts.sum())
    monkeypatch.setattr(batches, "MEMORY_BYTES", in_bytes // 2)
    streamed = load_dataset.__wrapped__(str(path), 60, 0.25, 4)
    for part in ("train", "validation"):
        source = getattr(streamed, part)
        assert isinstance(source, StoredEvents)
        assert source.chosen.tolist() == sorted(source.chosen.tolist())
        assert chosen_events(source) == chosen_events(getattr(whole, part))
    # 20 of 80 events take less than half of the memory of all
    assert isinstance(load_dataset.__wrapped__(str(path), 20, 0.25, 4).train, EventBatches)
    with pytest.raises(SpaceError, match=f"events=81 must be 0 .* and {EVENTS}"):
        load_dataset(str(path), 81, 0.25, 4)


@pytest.mark.skipif(not (SHARED / "events").is_dir(), reason="needs ../shared/events")
def test_real_events_with_pileup_stream_as_they_are(tmp_path: Path) -> None:
    events = load_events(SHARED / "events" / "ttbar_pu200.npz")
    events.save(tmp_path / "pu200.zarr")
    source = StoredEvents.open(tmp_path / "pu200.zarr", cache_bytes=0)
    epoch = source.shuffled(4, seed=0, epoch=1, batch_elements=12_000)
    for batch, taken in zip(epoch, prefetched(source, epoch), strict=True):
        assert len(batch) == 1 or len(taken.x) <= 12_000
        assert np.array_equal(taken.x.numpy(), events[batch.numpy()].X)
        assert np.array_equal(taken.y.numpy(), events[batch.numpy()].ygen)
