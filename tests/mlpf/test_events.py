"""Events: slicing, files, and what is refused."""

from __future__ import annotations

import bz2
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Element, Events, Tower, Track, load_events, load_sample
from daskhpo.mlpf.schema import ParticleClass, Target

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[3] / "shared"))


def ragged(counts: list[int]) -> Events:
    """Events of which every number tells the row it stands in."""
    rows = sum(counts)
    x, ygen = np.zeros((rows, 12)), np.zeros((rows, 7))
    x[:, Track.TYPE], x[:, Track.PT] = Element.TRACK, np.arange(rows)
    ygen[:, Target.CLASS], ygen[:, Target.PT] = ParticleClass.CHARGED_HADRON, np.arange(rows)
    return Events(x, ygen, ygen, np.array(counts, dtype=np.int64))


def same(a: Events, b: Events) -> bool:
    theirs = arrays_of(b)
    same_rows = all(np.array_equal(array, theirs[name]) for name, array in arrays_of(a).items())
    return same_rows and a.schema is b.schema


def arrays_of(events: Events) -> dict[str, Any]:
    return {name: getattr(events, name) for name in ("X", "ygen", "ycand", "counts")}


def as_lists(events: Events) -> dict[str, list[Any]]:
    cuts = events.offsets[1:-1]
    return {
        name: [part.astype(np.float64) for part in np.split(getattr(events, name), cuts)]
        for name in ("X", "ygen", "ycand")
    }


def write_pickle(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(bz2.compress(pickle.dumps(content, protocol=protocol)))
    return path


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.data())
def test_a_selection_holds_the_rows_of_the_chosen_events(
    counts: list[int], data: st.DataObject
) -> None:
    events = ragged(counts)
    chosen = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=12))
    selected = events[chosen]
    expected = [row for i in chosen for row in range(*events.offsets[i : i + 2])]
    assert selected.X[:, Track.PT].tolist() == expected
    assert selected.ygen[:, Target.PT].tolist() == expected
    assert selected.counts.tolist() == [counts[i] for i in chosen]


def test_slices_masks_and_numbers_select_the_same_event() -> None:
    events = ragged([2, 0, 3])
    for index in (2, -1, slice(2, 3), [2], np.array([False, False, True])):
        assert events[index].X[:, Track.PT].tolist() == [2, 3, 4]


def test_concatenating_the_single_events_gives_all_of_them_back() -> None:
    events = ragged([2, 0, 3, 1])
    assert same(Events.concatenate(events), events)
    assert len(Events.concatenate([])) == 0
    assert events.event_of_row.tolist() == [0, 0, 2, 2, 2, 3]


def test_npz_files_come_back_as_they_were_written(tmp_path: Path) -> None:
    events = load_sample()[:20]
    events.save_npz(tmp_path / "some.npz")
    assert same(load_events(tmp_path / "some.npz"), events)
    assert [file.name for file in tmp_path.iterdir()] == ["some.npz"]
    with pytest.raises(DataError, match=r"must end in \.npz"):
        events.save_npz(tmp_path / "some.h5")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_the_public_layout_are_read(tmp_path: Path, protocol: int) -> None:
    events = load_sample()[:5]
    path = write_pickle(tmp_path / "events.pkl.bz2", as_lists(events), protocol)
    assert same(load_events(path), events)


def test_fortran_ordered_and_big_endian_pickles_are_read(tmp_path: Path) -> None:
    events = load_sample()[:3]
    lists = as_lists(events)
    lists["X"] = [np.asfortranarray(a) for a in lists["X"]]
    lists["ygen"] = [a.astype(">f4") for a in lists["ygen"]]
    path = write_pickle(tmp_path / "events.pkl.bz2", lists)
    assert same(load_events(path), events)


class Intruder:
    """Something whose unpickling would run a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_that_brings_code_is_refused_before_it_runs(tmp_path: Path) -> None:
    lists = as_lists(load_sample()[:2])
    lists["X"].append(Intruder(tmp_path / "mark"))
    path = write_pickle(tmp_path / "evil.pkl.bz2", lists)
    with pytest.raises(DataError, match=r"evil\.pkl\.bz2: .*system"):
        load_events(path)
    assert not (tmp_path / "mark").exists()


def test_a_pickle_of_objects_is_refused(tmp_path: Path) -> None:
    lists = as_lists(load_sample()[:1])
    lists["ygen"][0] = np.array([[None] * 7], dtype=object)
    path = write_pickle(tmp_path / "objects.pkl.bz2", lists)
    with pytest.raises(DataError, match="allowed are f4 and f8"):
        load_events(path)


def test_pickles_whose_parts_do_not_fit_name_the_event(tmp_path: Path) -> None:
    lists = as_lists(load_sample()[:3])
    lists["ygen"][1] = lists["ygen"][1][:-1]
    with pytest.raises(DataError, match=r"event 1: X has \d+ rows, ygen \d+"):
        load_events(write_pickle(tmp_path / "rows.pkl.bz2", lists))
    lists = as_lists(load_sample()[:3])
    lists["ycand"][2] = lists["ycand"][2][:, :6]
    with pytest.raises(DataError, match=r"event 2: ycand has shape"):
        load_events(write_pickle(tmp_path / "columns.pkl.bz2", lists))
    lists = as_lists(load_sample()[:3])
    del lists["X"][0]
    with pytest.raises(DataError, match="different numbers of events"):
        load_events(write_pickle(tmp_path / "events.pkl.bz2", lists))
    with pytest.raises(DataError, match="dict with the lists"):
        load_events(write_pickle(tmp_path / "none.pkl.bz2", [1, 2]))


@pytest.mark.parametrize(
    ("array", "column", "value", "message"),
    [
        ("X", Track.TYPE, 3, r"event 1, row 0: X column 0 \(type\) is 3.0; .*2 \(track\)"),
        ("X", Track.ETA_OUTER, np.nan, r"event 1, row 0: X column 6 \(eta_outer\) is nan"),
        ("X", Track.PT, 1e300, r"event 1, row 0: X column 1 \(pt\) is inf"),
        ("ygen", Target.CLASS, 6, r"event 1, row 0: ygen column 0 \(class\) is 6.0"),
        ("ygen", Target.CLASS, 1.5, r"event 1, row 0: ygen column 0 \(class\) is 1.5"),
        ("ycand", Target.ENERGY, -np.inf, r"event 1, row 0: ycand column 6 \(energy\) is -inf"),
    ],
)
def test_a_bad_value_is_refused_with_file_event_and_column(
    tmp_path: Path, array: str, column: int, value: float, message: str
) -> None:
    lists = as_lists(load_sample()[:3])
    lists[array][1][0, column] = value
    path = write_pickle(tmp_path / "bad.pkl.bz2", lists)
    with pytest.raises(DataError, match=r"bad\.pkl\.bz2: " + message):
        load_events(path)


def test_a_bad_tower_value_is_named_by_the_column_of_towers() -> None:
    x = np.zeros((1, 12))
    x[0, Tower.TYPE], x[0, Tower.ENERGY_HCAL] = Element.TOWER, np.nan
    with pytest.raises(DataError, match="energy_hcal"):
        Events(x, np.zeros((1, 7)), np.zeros((1, 7)), np.array([1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((4, 11))}, r"X has shape \(4, 11\); allowed is \(M, 12\)"),
        ({"ygen": np.zeros((3, 7))}, r"ygen: 3, .*must be the same"),
        ({"counts": np.array([1, 1])}, r"sum of counts: 2"),
        ({"counts": np.array([5, -1])}, r"event 1: counts is -1"),
        ({"counts": np.array([1.0, 3.0])}, r"whole numbers"),
        ({"ycand": np.zeros((4, 7), dtype=complex)}, r"ycand holds complex128"),
    ],
)
def test_npz_files_of_wrong_shape_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "bad.npz", **(arrays_of(ragged([1, 3])) | change))
    with pytest.raises(DataError, match=r"bad\.npz: .*" + message):
        load_events(tmp_path / "bad.npz")


def test_files_that_are_no_event_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "part.npz", X=np.zeros((0, 12)))
    with pytest.raises(DataError, match=r"part\.npz: holds no array 'ygen'"):
        load_events(tmp_path / "part.npz")
    whole = load_sample()[:2]
    whole.save_npz(tmp_path / "torn.npz")
    content = bytearray((tmp_path / "torn.npz").read_bytes())
    content[len(content) // 3] ^= 0xFF
    (tmp_path / "torn.npz").write_bytes(content)
    write_pickle(tmp_path / "torn.pkl.bz2", as_lists(whole))
    torn = (tmp_path / "torn.pkl.bz2").read_bytes()
    (tmp_path / "torn.pkl.bz2").write_bytes(torn[: len(torn) // 2])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "events.root").write_text("hello")
    for name in ("torn.npz", "torn.pkl.bz2", "text.npz", "events.root", "absent.npz"):
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            load_events(tmp_path / name)


def test_the_shipped_sample_keeps_the_promises_of_the_format() -> None:
    events = load_sample()
    x, ygen, ycand = events.X, events.ygen, events.ycand
    assert len(events) == 600
    track = x[:, Track.TYPE] == Element.TRACK
    # Tracks come first in each event: the type falls only where an event begins.
    starts_again = np.flatnonzero(np.diff(track.astype(int)) > 0) + 1
    assert np.isin(starts_again, events.offsets).all()
    assert np.all(x[~track][:, 8:] == 0)
    assert np.all((x[~track, Tower.ENERGY_ECAL] > 0) != (x[~track, Tower.ENERGY_HCAL] > 0))
    assert np.all(ygen[track, Target.CLASS] > 0)
    charged = np.isin(ycand[:, Target.CLASS], [1, 4, 5])
    assert np.array_equal(charged, track)
    assert np.all(ycand[charged, Target.ENERGY] == 0)
    assert np.all(ycand[~charged, Target.PT] == 0)
    for rows in (ygen, ycand):
        assert np.all(rows[rows[:, Target.CLASS] == ParticleClass.NONE] == 0)


@pytest.mark.skipif(not (SHARED / "events").is_dir(), reason="needs ../shared/events")
def test_a_file_of_the_public_layout_holds_the_first_events_of_its_npz() -> None:
    public = load_events(SHARED / "events" / "tev14_pythia8_ttbar_0_0.pkl.bz2")
    kept = load_events(SHARED / "events" / "ttbar_pu0.npz")
    assert same(public, kept[: len(public)])
