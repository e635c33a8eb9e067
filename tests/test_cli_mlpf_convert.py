"""``mlpf convert``: other people's files become one of ours, whole or not at all."""

from __future__ import annotations

import bz2
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from daskhpo.cli.mlpf.convert import convert
from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Events, load_sample
from daskhpo.mlpf.formats.ragged_zarr import open_events
from daskhpo.mlpf.schema import CLIC

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command in an empty directory; errors come as they are raised."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(
        convert, [str(word) for word in words], catch_exceptions=False
    )


def some(first: int, last: int) -> Events:
    return load_sample()[first:last]


def pickled(path: Path, events: Events) -> Path:
    parts = {
        name: [row.astype(float) for row in np.split(getattr(events, name), events.offsets[1:-1])]
        for name in ("X", "ygen", "ycand")
    }
    path.write_bytes(bz2.compress(pickle.dumps(parts)))
    return path


def of_clic(path: Path, events: int = 3) -> Path:
    """Write events of one track and two clusters."""
    ak = pytest.importorskip("awkward", reason="CLIC files are written with awkward")
    pytest.importorskip("pyarrow", reason="CLIC files need pyarrow")
    rows = {"X_track": (1, 16), "X_cluster": (2, 17)}
    rows |= {f"{y}_track": (1, 14) for y in ("ytarget", "ycand")}
    rows |= {f"{y}_cluster": (2, 14) for y in ("ytarget", "ycand")}
    content = {name: np.zeros((events, *shape)) for name, shape in rows.items()}
    content["X_track"][:, :, 0], content["X_cluster"][:, :, 0] = 1, 2
    content["ytarget_cluster"][:, 0, 0] = 22
    ak.to_parquet(ak.Array({name: ak.from_iter(held) for name, held in content.items()}), path)
    return path


def same(a: Events, b: Events) -> bool:
    return all(
        np.array_equal(getattr(a, n), getattr(b, n)) for n in ("X", "ygen", "ycand", "counts")
    )


def test_many_files_become_one_store_in_their_order(call: Call) -> None:
    files = [pickled(Path("a.pkl.bz2"), some(0, 3)), pickled(Path("b.pkl.bz2"), some(3, 5))]
    some(5, 9).save_npz("c.npz")
    output = call(*files, "c.npz").output
    assert output.startswith("mlpf-events.zarr, from 3 files: 9 events, ")
    store = open_events("mlpf-events.zarr")
    assert same(store.read(0, len(store)), some(0, 9))
    assert store.provenance == {"converted_from": ["a.pkl.bz2", "b.pkl.bz2", "c.npz"]}
    assert "9 events" in call("mlpf-events.zarr", "--out", "again.npz").output


def test_what_was_converted_is_counted_over_all_files(call: Call) -> None:
    some(0, 3).save_npz("a.npz")
    some(3, 9).save_npz("b.npz")
    said = json.loads(call("a.npz", "b.npz", "--out", "all.npz", "--json").output)
    events = some(0, 9)
    assert (said["file"], said["from"]) == ("all.npz", ["a.npz", "b.npz"])
    assert (said["events"], said["elements"]) == (9, len(events.X))
    assert said["elements_per_event"]["min"] == events.counts.min()
    assert said["elements_per_event"]["max"] == events.counts.max()
    assert said["share_of_elements"]["track"] == pytest.approx((events.X[:, 0] == 2).mean())
    assert said["share_of_targets"]["photon"] == pytest.approx((events.ygen[:, 0] == 3).mean())
    assert sum(said["share_of_candidates"].values()) == pytest.approx(1)


@pytest.mark.parametrize("out", ["clic.zarr", "clic.npz"])
def test_clic_files_keep_their_schema(call: Call, out: str) -> None:
    from daskhpo.mlpf.events import load_events

    said = json.loads(call(of_clic(Path("a.parquet")), "--out", out, "--json").output)
    assert said["share_of_elements"] == {
        "track": pytest.approx(1 / 3),
        "cluster": pytest.approx(2 / 3),
    }
    if out.endswith(".zarr"):
        assert open_events(out).read(0, 3).schema is CLIC
    else:
        assert load_events(out).schema is CLIC


def test_the_format_can_be_told_where_the_name_does_not(call: Call) -> None:
    of_clic(Path("a.data"))
    with pytest.raises(DataError, match="a.data: what it is cannot be told by its name"):
        call("a.data")
    assert "3 events" in call("a.data", "--format", "clic").output
    pickled(Path("b.data"), some(0, 2))
    assert "2 events" in call("b.data", "--format", "delphes").output


@pytest.mark.parametrize("out", ["all.zarr", "all.npz"])
def test_events_of_two_detectors_are_not_mixed_and_nothing_is_left_behind(
    call: Call, out: str
) -> None:
    some(0, 2).save_npz("a.npz")
    of_clic(Path("b.parquet"))
    with pytest.raises(DataError, match=r"b.parquet: holds events of clic, but a.npz of delphes"):
        call("a.npz", "b.parquet", "--out", out)
    assert sorted(path.name for path in Path().iterdir()) == ["a.npz", "b.parquet"]


@pytest.mark.parametrize("out", ["all.zarr", "all.npz"])
def test_a_bad_file_leaves_the_earlier_result_as_it_was(call: Call, out: str) -> None:
    some(0, 2).save_npz("a.npz")
    call("a.npz", "--out", out)
    before = sorted(path for path in Path().rglob("*"))
    Path("bad.pkl.bz2").write_bytes(b"no pickle")
    with pytest.raises(DataError, match="bad.pkl.bz2: not a readable bz2 pickle"):
        call("a.npz", "bad.pkl.bz2", "--out", out)
    Path("bad.pkl.bz2").unlink()
    assert sorted(path for path in Path().rglob("*")) == before
    assert "2 events" in call(out, "--out", "copy.npz").output


def test_what_cannot_be_written_is_refused_before_anything_is_read(call: Call) -> None:
    Path("a.npz").write_text("never read")
    for out, said in (
        ("all.txt", "must end in .zarr or .npz"),
        ("none/all.zarr", "there is no directory none"),
        ("a.npz", "is to be read as well as written"),
    ):
        with pytest.raises(DataError, match=said):
            call("a.npz", "--out", out)


def test_files_without_events_give_no_file(call: Call) -> None:
    Events.empty().save_npz("none.npz")
    result = call("none.npz", "--out", "all.zarr")
    assert result.exit_code == 1
    assert "no events to convert" in result.output
    assert [path.name for path in Path().iterdir()] == ["none.npz"]


@pytest.mark.parametrize(("name", "needs"), [("a.parquet", "pyarrow"), ("a.root", "uproot")])
def test_a_package_that_is_missing_is_named_with_the_extra(
    call: Call, monkeypatch: pytest.MonkeyPatch, name: str, needs: str
) -> None:
    monkeypatch.setitem(sys.modules, needs, None)
    Path(name).write_text("never read")
    result = call(name)
    assert result.exit_code == 1
    assert needs in result.output
    assert "daskhpo[clic]" in result.output
