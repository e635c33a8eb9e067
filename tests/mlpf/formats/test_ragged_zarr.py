"""Event stores: written in parts, read in parts, published whole, refused when damaged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Events, Track, load_events, load_sample
from daskhpo.mlpf.formats import ragged_zarr
from daskhpo.mlpf.formats.ragged_zarr import EventWriter, open_events
from daskhpo.mlpf.schema import CLIC, ParticleClass, Target

CHUNK, SHARD = 32, 128


@pytest.fixture(scope="module", autouse=True)
def small_chunks():
    """Let a few events fill many chunks and some shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragged_zarr, "CHUNK_ROWS", CHUNK)
        patch.setattr(ragged_zarr, "SHARD_ROWS", SHARD)
        patch.setattr(ragged_zarr, "CHUNK_EVENTS", 7)
        yield


def ragged(counts: list[int]) -> Events:
    """Events of which every number tells its place, and every third row has no particle."""
    rows = np.arange(sum(counts))
    x, ygen, ycand = (np.outer(rows, np.arange(width)) for width in (12, 7, 7))
    x[:, Track.TYPE], ycand[:, Target.CLASS] = 2, ParticleClass.PHOTON
    ygen[:, Target.CLASS] = np.where(rows % 3, ParticleClass.MUON, ParticleClass.NONE)
    return Events(x, ygen, ycand, np.array(counts, dtype=np.int64))


def same(a: Events, b: Events) -> bool:
    names = ("X", "ygen", "ycand", "counts")
    return a.schema is b.schema and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in names
    )


def write_and_fail(writer: EventWriter) -> None:
    writer.append(ragged([3] * 100))
    writer.append(Events.empty(CLIC))


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.integers(0, 90), max_size=20),
    st.sets(st.integers(0, 20)),
    st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
def test_what_was_written_in_any_parts_is_read_in_any_parts(
    counts: list[int], cuts: set[int], part: tuple[int, int]
) -> None:
    events = ragged(counts)
    with tempfile.TemporaryDirectory() as folder:
        with EventWriter(Path(folder, "e.zarr")) as writer:
            for start, stop in pairwise([0, *sorted(cuts), len(counts)]):
                writer.append(events[start:stop])
        store = open_events(Path(folder, "e.zarr"))
        start, stop = sorted(min(end, len(counts)) for end in part)
        assert same(store.read(), events)
        assert same(store.read(start, stop), events[start:stop])
    assert store.counts.tolist() == counts
    real = [int((event.ygen[:, Target.CLASS] != 0).sum()) for event in events]
    assert store.particles.tolist() == real


def test_a_store_is_the_same_to_load_events_as_an_npz_file(tmp_path: Path) -> None:
    events = load_sample()[:20]
    for name in ("e.npz", "e.zarr"):
        events.save(tmp_path / name)
        assert same(load_events(tmp_path / name), events)
    assert names_in(tmp_path) == ["e.npz", "e.zarr"]
    with pytest.raises(DataError, match=r"e\.h5: .*must end in \.npz or \.zarr"):
        events.save(tmp_path / "e.h5")


def test_schema_and_provenance_are_kept(tmp_path: Path) -> None:
    x = np.zeros((3, CLIC.width))
    x[:, 0] = 1
    events = Events(x, np.zeros((3, 7)), np.zeros((3, 7)), np.array([2, 1]), CLIC)
    with EventWriter(tmp_path / "clic.zarr", CLIC, provenance={"seed": 3, "by": "test"}) as writer:
        writer.append(events)
        with pytest.raises(DataError, match=r"clic\.zarr: events of delphes do not fit .* clic"):
            writer.append(ragged([1]))
    store = open_events(tmp_path / "clic.zarr")
    assert store.provenance == {"seed": 3, "by": "test"}
    assert same(load_events(tmp_path / "clic.zarr"), events)
    assert repr(store) == "EventStore(clic.zarr: 2 events, 3 elements)"


def test_a_store_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "e.zarr"
    with EventWriter(path) as writer:
        writer.append(ragged([500]))
        assert not path.exists()
    assert names_in(tmp_path) == ["e.zarr"]
    writer = EventWriter(path)
    with pytest.raises(DataError, match="do not fit"), writer:
        write_and_fail(writer)
    assert names_in(tmp_path) == ["e.zarr"]
    assert open_events(path).counts.tolist() == [500]
    ragged([1, 2]).save(path)
    assert names_in(tmp_path) == ["e.zarr"]
    assert open_events(path).counts.tolist() == [1, 2]


def test_provenance_that_is_no_json_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(TypeError, match="JSON"),
        EventWriter(tmp_path / "e.zarr", provenance={"seed": object()}),
    ):
        pass
    assert names_in(tmp_path) == []


def test_the_writer_holds_back_less_than_a_shard_of_rows(tmp_path: Path) -> None:
    with EventWriter(tmp_path / "e.zarr") as writer:
        for _ in range(30):
            writer.append(ragged([50, 11]))
        (partial,) = tmp_path.iterdir()
        on_disk = zarr.open_array(partial / "ygen", mode="r")
        assert 30 * 61 - SHARD < on_disk.shape[0] <= 30 * 61
        assert on_disk.shape[0] % SHARD == 0
    files = [file for file in (tmp_path / "e.zarr" / "X" / "c").rglob("*") if file.is_file()]
    assert len(files) == -(-30 * 61 // SHARD)


def test_what_is_no_event_store_is_never_replaced(tmp_path: Path) -> None:
    other = tmp_path / "curves.zarr"
    zarr.create_group(other).attrs["schema_version"] = 1
    (tmp_path / "notes.zarr").write_text("mine")
    for name in ("curves.zarr", "notes.zarr"):
        with pytest.raises(DataError, match=rf"{name}: is there and is no event store"):
            ragged([1]).save(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name}: is there and is no event store"):
            load_events(tmp_path / name)
    assert zarr.open_group(other, mode="r").attrs["schema_version"] == 1
    assert (tmp_path / "notes.zarr").read_text() == "mine"


def test_names_and_places_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must end in \.zarr"):
        EventWriter(tmp_path / "e.npz")
    with pytest.raises(DataError, match=r"there is no directory"):
        EventWriter(tmp_path / "absent" / "e.zarr")
    with pytest.raises(DataError, match=r"absent\.zarr: no such"):
        open_events(tmp_path / "absent.zarr")


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 4)])
def test_a_part_that_is_not_there_is_refused(tmp_path: Path, start: int, stop: int) -> None:
    ragged([1, 2, 3]).save(tmp_path / "e.zarr")
    with pytest.raises(DataError, match=rf"start={start}, stop={stop} .*between 0 and 3"):
        open_events(tmp_path / "e.zarr").read(start, stop)


def without(name: str) -> Callable[[zarr.Group], None]:
    def change(group: zarr.Group) -> None:
        del group[name]

    return change


def with_array(name: str, values: Any) -> Callable[[zarr.Group], None]:
    def change(group: zarr.Group) -> None:
        del group[name]
        group.create_array(name, data=values)

    return change


def with_attribute(name: str, value: Any) -> Callable[[zarr.Group], None]:
    def change(group: zarr.Group) -> None:
        group.attrs[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("ycand"), "holds no array 'ycand'; needed are X, ygen"),
        (with_array("X", np.zeros((6, 11), np.float32)), r"X has shape \(6, 11\) .*\(M, 12\)"),
        (with_array("ygen", np.zeros((6, 7))), "ygen has shape .* of float64; .*of float32"),
        (with_array("ycand", np.zeros((5, 7), np.float32)), "do not fit.*ycand: 5"),
        (with_array("counts", np.array([1, 2, 4])), "do not fit.*the sum of counts: 7"),
        (with_array("counts", np.array([7, -2, 1])), "event 1: counts is -2"),
        (with_array("counts", np.array([1.0, 2.0, 3.0])), "counts has shape .*of float64"),
        (with_array("particles", np.array([0, 0])), "do not fit.*events in particles: 2"),
        (with_attribute("schema", "cms"), "its schema is 'cms'; known are delphes, clic"),
        (with_attribute("version", 9), "its version is 9; this daskhpo reads 1"),
    ],
)
def test_a_store_whose_arrays_do_not_fit_is_refused(
    tmp_path: Path, change: Callable[[zarr.Group], None], message: str
) -> None:
    ragged([1, 2, 3]).save(tmp_path / "bad.zarr")
    change(zarr.open_group(tmp_path / "bad.zarr", mode="r+"))
    with pytest.raises(DataError, match=r"bad\.zarr: .*" + message):
        load_events(tmp_path / "bad.zarr")


def test_a_bad_value_is_named_by_the_number_of_its_event_in_the_store(tmp_path: Path) -> None:
    ragged([10] * 20).save(tmp_path / "bad.zarr")
    array = zarr.open_array(tmp_path / "bad.zarr" / "X", mode="r+")
    array[10 * 13 + 4, Track.ETA_OUTER] = np.inf
    store = open_events(tmp_path / "bad.zarr")
    assert len(store.read(0, 13)) == 13
    with pytest.raises(
        DataError, match=r"bad\.zarr: event 13, row 4: X column 6 \(eta_outer\) is inf"
    ):
        store.read(11, 15)


def test_a_file_that_is_lost_is_noticed(tmp_path: Path) -> None:
    ragged([40] * 10).save(tmp_path / "bad.zarr")
    (tmp_path / "bad.zarr" / "ygen" / "c" / "1" / "0").unlink()  # rows 128 to 255
    store = open_events(tmp_path / "bad.zarr")
    assert len(store.read(0, 3)) == 3
    with pytest.raises(DataError, match=r"bad\.zarr: event 3, row 8: ygen .* is nan"):
        store.read(2, 5)
    (tmp_path / "bad.zarr" / "counts" / "c" / "1").unlink()
    with pytest.raises(DataError, match=r"bad\.zarr: event 7: counts is -1"):
        open_events(tmp_path / "bad.zarr")


@pytest.mark.parametrize("array", ["X", "ygen", "ycand", "counts", "particles"])
def test_a_flipped_bit_is_noticed_and_the_array_named(tmp_path: Path, array: str) -> None:
    load_sample()[:5].save(tmp_path / "bad.zarr")
    chunk = next(
        file for file in (tmp_path / "bad.zarr" / array / "c").rglob("*") if file.is_file()
    )
    content = bytearray(chunk.read_bytes())
    content[20] ^= 0x10
    chunk.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.zarr: {array} is damaged"):
        load_events(tmp_path / "bad.zarr")


def test_metadata_that_is_torn_is_refused(tmp_path: Path) -> None:
    ragged([1, 2]).save(tmp_path / "bad.zarr")
    for torn in ("X/zarr.json", "zarr.json"):
        (tmp_path / "bad.zarr" / torn).write_text('{"zarr_format": 3, "node')
        with pytest.raises(DataError, match=r"bad\.zarr: .*no"):
            open_events(tmp_path / "bad.zarr")
