"""The public CLIC and CLD files: what is read of each version, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.exceptions import DataError
from daskhpo.mlpf.formats.clic_parquet import iterate_clic_parquet, read_clic_parquet
from daskhpo.mlpf.schema import CLIC, ParticleClass

ak = pytest.importorskip("awkward", reason="CLIC files are written with awkward")
pytest.importorskip("pyarrow", reason="CLIC files need pyarrow")

Event = dict[str, Any]  # {field: array of its rows}
IDS = (0, 211, 130, 22, 11, 13)


def an_event(tracks: int, clusters: int, columns: int = 14, seed: int = 0) -> Event:
    """Elements with particles of all ids; every number tells where it was written."""
    rng = np.random.default_rng(seed)
    event: Event = {}
    for kind, rows, width, value in (("track", tracks, 16, 1), ("cluster", clusters, 17, 2)):
        event[f"X_{kind}"] = rng.normal(size=(rows, width))
        event[f"X_{kind}"][:, 0] = value
        for name in ("ytarget", "ycand"):
            y = rng.uniform(0, 50, (rows, columns))
            y[:, 0], y[:, 1] = rng.choice(IDS, rows), rng.choice([-1, 0, 1], rows)
            event[f"{name}_{kind}"] = y
    jets = rng.uniform(5, 50, (2, 4))
    return event | {"genmet": 3.5, "genjet": jets, "targetjet": jets[:1]}


def fields(events: list[Event]) -> dict[str, Any]:
    return {name: ak.from_iter([event[name] for event in events]) for name in events[0]}


def write(path: Path, events: list[Event], **options: Any) -> Path:
    """One row for each event."""
    ak.to_parquet(ak.Array(fields(events)), path, **options)
    return path


def as_read(event: Event, name: str, width: int) -> np.ndarray:
    """What the reader should make of an event's tracks and clusters."""
    parts = [event[f"{name}_{kind}"][:, :width] for kind in ("track", "cluster")]
    rows = np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]))) for p in parts])
    if name != "X":
        rows[:, 0] = [IDS.index(number) for number in rows[:, 0]]
    return rows.astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6),
    columns=st.sampled_from([7, 8, 13, 14]),
    per_group=st.integers(1, 4),
)
def test_every_event_comes_back_with_tracks_before_clusters(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[tuple[int, int]],
    columns: int,
    per_group: int,
) -> None:
    written = [an_event(*size, columns, seed) for seed, size in enumerate(sizes)]
    path = tmp_path_factory.mktemp("clic") / "some.parquet"
    write(path, written, row_group_size=per_group)
    parts = list(iterate_clic_parquet(path))
    assert [len(part) for part in parts] == [
        len(sizes[first : first + per_group]) for first in range(0, len(sizes), per_group)
    ]
    events = read_clic_parquet(path)
    assert events.schema is CLIC
    assert events.counts.tolist() == [sum(size) for size in sizes]
    for one, event in zip(events, written, strict=True):
        assert np.array_equal(one.X, as_read(event, "X", 17))
        assert np.array_equal(one.ygen, as_read(event, "ytarget", 7))
        assert np.array_equal(one.ycand, as_read(event, "ycand", 7))


def test_a_file_whose_only_row_holds_all_events_is_read_alike(tmp_path: Path) -> None:
    written = [an_event(2, 3, seed=1), an_event(0, 2, seed=2), an_event(4, 0, seed=3)]
    ak.to_parquet(ak.Record(fields(written)), tmp_path / "record.parquet")
    whole = read_clic_parquet(tmp_path / "record.parquet")
    usual = read_clic_parquet(write(tmp_path / "rows.parquet", written))
    assert whole.counts.tolist() == [5, 2, 4]
    for name in ("X", "ygen", "ycand", "counts"):
        assert np.array_equal(getattr(whole, name), getattr(usual, name))


def test_the_first_version_calls_its_targets_ygen(tmp_path: Path) -> None:
    event = an_event(2, 1, columns=8)
    old = {name.replace("ytarget", "ygen"): rows for name, rows in event.items()}
    for extra in ("genmet", "genjet", "targetjet"):
        del old[extra]
    events = read_clic_parquet(write(tmp_path / "v1.parquet", [old]))
    assert np.array_equal(events.ygen, as_read(event, "ytarget", 7))


def test_ids_are_the_classes_in_their_order(tmp_path: Path) -> None:
    event = an_event(len(IDS), 0)
    event["ytarget_track"][:, 0] = IDS
    events = read_clic_parquet(write(tmp_path / "a.parquet", [event]))
    assert events.ygen[:, 0].tolist() == [int(kind) for kind in ParticleClass]


def change(name: str, row: int, column: int, value: float) -> Callable[[Event], None]:
    def apply(event: Event) -> None:
        event[name][row, column] = value

    return apply


def resize(name: str, rows: int, columns: int) -> Callable[[Event], None]:
    def apply(event: Event) -> None:
        event[name] = np.resize(event[name], (rows, columns))

    return apply


BAD: list[tuple[Callable[[Event], None], str]] = [
    (change("X_track", 1, 6, math.nan), "row 1: X_track column 6 is nan; it must be a finite"),
    (change("X_cluster", 0, 16, math.inf), "row 0: X_cluster column 16 is inf"),
    (change("X_cluster", 0, 8, 1e200), "X_cluster column 8 is 1e+200"),
    (change("X_cluster", 2, 0, 1), "row 2: X_cluster column 0 is 1; it must be 2 (cluster)"),
    (change("ytarget_track", 0, 0, 2212), "ytarget_track column 0 (PDG) is 2212; it must be one"),
    (change("ycand_cluster", 1, 0, -211), "row 1: ycand_cluster column 0 (PDG) is -211"),
    (change("ytarget_track", 1, 1, 2), "ytarget_track column 1 (charge) is 2; it must be -1, 0"),
    (change("ytarget_cluster", 1, 2, -4), "column 2 (pt) is -4; it must be 0 or more"),
    (change("ycand_track", 0, 6, math.nan), "ycand_track column 6 (energy) is nan"),
    (resize("X_track", 2, 15), "X_track has 15 columns; allowed are 16"),
    (resize("X_cluster", 3, 16), "X_cluster has 16 columns; allowed are 17"),
    (resize("ytarget_cluster", 3, 12), "cluster has 12 columns; allowed are 7, 8, 13 or 14"),
    (resize("ycand_track", 1, 14), "X_track has 2 rows, ycand_track 1; they must be the same"),
    (resize("ytarget_cluster", 4, 14), "X_cluster has 3 rows, ytarget_cluster 4"),
]


@pytest.mark.parametrize(("spoil", "said"), BAD, ids=[said for _, said in BAD])
def test_a_bad_event_is_refused_by_file_event_and_field(
    tmp_path: Path, spoil: Callable[[Event], None], said: str
) -> None:
    events = [an_event(2, 3, seed=seed) for seed in range(4)]
    spoil(events[2])
    path = write(tmp_path / "bad.parquet", events, row_group_size=2)
    with pytest.raises(DataError) as refused:
        read_clic_parquet(path)
    assert str(refused.value).startswith(f"{path}: event 2")
    assert said in str(refused.value)


def test_missing_values_and_fields_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    event = an_event(1, 1)
    for value, said in (
        ([[1.0] * 15 + [None]], "event 0: X_track lacks a value"),
        ([None], "event 0: X_track lacks a value"),
        ([["a"] * 16], "X_track holds .*; allowed are lists of lists of numbers"),
        ([1.0], "event 0: X_track has no columns"),
    ):
        path = write(tmp_path / "bad.parquet", [event | {"X_track": value}])
        with pytest.raises(DataError, match=said):
            read_clic_parquet(path)


@pytest.mark.parametrize("name", ["X_cluster", "ytarget_track", "ycand_cluster"])
def test_a_missing_field_is_named(tmp_path: Path, name: str) -> None:
    event = an_event(2, 2)
    del event[name]
    with pytest.raises(DataError, match=f"has no field '{name}'; needed are X_track"):
        read_clic_parquet(write(tmp_path / "bad.parquet", [event]))


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.parquet", [an_event(5, 5)]).read_bytes()
    (tmp_path / "text.parquet").write_text("no parquet file")
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "cut"):
        with pytest.raises(DataError, match=f"{name}.parquet: not a readable parquet file"):
            read_clic_parquet(tmp_path / f"{name}.parquet")
    # The footer is whole, the rows are not.
    (tmp_path / "hole.parquet").write_bytes(whole[:4] + bytes(500) + whole[504:])
    with pytest.raises(DataError, match="row group 0 cannot be read"):
        read_clic_parquet(tmp_path / "hole.parquet")
    with pytest.raises(DataError, match="no such file"):
        read_clic_parquet(tmp_path / "none.parquet")
