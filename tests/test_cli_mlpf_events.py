"""``daskhpo mlpf generate``, ``inspect`` and ``validate-detector``."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from daskhpo.cli import main
from daskhpo.cli.mlpf import validating
from daskhpo.cli.mlpf.validating import validate_detector
from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Events, load_events, load_sample
from daskhpo.mlpf.formats.ragged_zarr import EventWriter, open_events
from daskhpo.mlpf.schema import CLIC


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["mlpf", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestGenerate:
    @pytest.fixture(autouse=True)
    def _pythia(self) -> None:
        pytest.importorskip("pythia8mc", reason="needs the extra mlpf")

    def test_events_are_the_same_in_a_store_and_in_an_npz_file(self) -> None:
        options = ("--process", "ee_qq", "--events", 5, "--seed", 3)
        told = json.loads(call("generate", *options, "--json").output)
        assert (told["file"], told["events"]) == ("mlpf-events.zarr", 5)
        assert "5 events" in call("generate", "few.npz", *options).output
        store, file = load_events("mlpf-events.zarr"), load_events("few.npz")
        assert np.array_equal(store.X, file.X)
        assert np.array_equal(store.counts, file.counts)
        assert told["elements"] == len(file.X)
        said = open_events("mlpf-events.zarr").provenance
        assert (said["process"], said["seed"], said["pileup"]) == ("ee_qq", 3, 0.0)

    @pytest.mark.parametrize("out", ["some.npz", "some.zarr"])
    def test_a_file_that_is_there_is_replaced_only_if_asked_for(self, out: str) -> None:
        options = ("generate", out, "--process", "ee_qq", "--events")
        call(*options, 2)
        assert "--force replaces it" in call(*options, 3, code=2).output
        assert len(load_events(out)) == 2
        call(*options, 3, "--force")
        assert len(load_events(out)) == 3

    def test_force_replaces_nothing_but_events(self, tmp_path: Path) -> None:
        (tmp_path / "precious.zarr").mkdir()
        (tmp_path / "precious.zarr" / "thesis.tex").write_text("x")
        options = ("--process", "ee_qq", "--events", 1, "--force")
        assert "no event store" in call("generate", "precious.zarr", *options, code=2).output
        assert (tmp_path / "precious.zarr" / "thesis.tex").read_text() == "x"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("new.txt",), "must end in .npz or .zarr"),
            (("absent/new.zarr",), "there is no directory absent"),
            (("--process", "higgs"), "allowed are ttbar, qcd, ee_ttbar, ee_zh, ee_ww, ee_qq"),
            (("--process", "ee_ww", "--pileup", 50), "ee_ww has none"),
            (("--jobs", 0), "--jobs"),
        ],
    )
    def test_what_cannot_be_made_is_refused_before_anything_is_made(
        self, words: tuple[object, ...], message: str, tmp_path: Path
    ) -> None:
        assert message in call("generate", *words, code=2).output
        assert not list(tmp_path.iterdir())


class TestInspect:
    def test_a_store_is_summed_up_as_the_same_events_in_a_file(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(import_module("daskhpo.cli.mlpf.events"), "READ_AT_ONCE", 7)
        sample = load_sample()[:20]
        sample.save_npz("few.npz")
        with EventWriter("few.zarr") as writer:
            writer.append(sample)
        file, store = (
            json.loads(call("inspect", name, "--json").output) for name in ("few.npz", "few.zarr")
        )
        assert {**file, "file": ""} == {**store, "file": ""}
        assert store["events"] == 20
        sizes = store["elements_per_event"]
        assert (sizes["min"], sizes["max"]) == (sample.counts.min(), sample.counts.max())
        assert sizes["mean"] == pytest.approx(sample.counts.mean())
        tracks = np.mean(sample.X[:, 0] == 2)
        assert store["share_of_elements"]["track"] == pytest.approx(tracks)

    def test_an_event_is_drawn(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("matplotlib", reason="needs the extra figures")
        drawn: list[Events] = []

        def draw(event: Events, out: Path, *, title: str) -> Path:
            drawn.append(event)
            assert title == "few.npz, event 3"
            return out

        load_sample()[:5].save_npz("few.npz")
        monkeypatch.setattr("daskhpo.mlpf.pictures.draw_event", draw)
        assert "drawn: event-3.png" in call("inspect", "few.npz", "--event", 3).output
        assert np.array_equal(drawn[0].X, load_sample()[3:4].X)
        monkeypatch.undo()
        told = call("inspect", tmp_path / "few.npz", "--event", 3, "--out", tmp_path / "e.svg")
        assert f"drawn: {tmp_path / 'e.svg'}" in told.output
        assert (tmp_path / "e.svg").is_file()

    def test_an_event_that_is_not_there_is_refused(self) -> None:
        load_sample()[:5].save_npz("few.npz")
        said = call("inspect", "few.npz", "--event", 5, code=2).output
        assert "event is 5; it has 5 events, from 0" in said
        assert "--out needs --event" in call("inspect", "few.npz", "--out", "a.png", code=2).output

    def test_other_detectors_are_inspected(self) -> None:
        Events.empty(CLIC).save_npz("none.npz")
        content = json.loads(call("inspect", "none.npz", "--json").output)
        assert content["events"] == 0
        assert set(content["share_of_elements"]) == {"track", "cluster"}


class TestValidateDetector:
    """The simulation is replaced by the shipped sample, which it made."""

    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def make(process: str, events: int, *given: Any) -> Events:
            return load_sample()[:events]

        def draw(ours: Events, reference: Events, out: Path) -> list[Path]:
            return [out / "numbers.png"]

        figures = "daskhpo.mlpf.simulation.validation_figures.draw_comparison"
        monkeypatch.setattr(validating, "_make", make)
        monkeypatch.setattr(figures, draw)

    def run(self, *words: object) -> Any:
        result = CliRunner().invoke(validate_detector, list(map(str, words)), standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return result.output

    def test_the_table_and_the_figures_are_named(self) -> None:
        load_sample()[300:].save_npz("reference.npz")
        told = self.run("--reference", "reference.npz", "--events", 200)
        assert "200 events of ours, 300 of reference.npz (ref)" in told
        assert "track pT [GeV]" in told
        assert "quantities stand out (*)" in told
        assert "drawn: validation/numbers.png" in told

    def test_the_data_say_the_same_and_have_no_nan(self) -> None:
        load_sample()[:1].save_npz("reference.npz")
        told = json.loads(self.run("--reference", "reference.npz", "--events", 1, "--json"))
        assert told["stand_out"] == sum(row["stands_out"] for row in told["quantities"]) == 0
        assert any(row["ks"] is None for row in told["quantities"])
        assert told["figures"] == ["validation/numbers.png"]

    def test_the_reference_is_looked_for_where_shared_data_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DASKHPO_SHARED", str(tmp_path / "shared"))
        with pytest.raises(DataError, match="there is no reference .*ttbar_pu0.npz; name a file"):
            self.run()
        (tmp_path / "shared" / "events").mkdir(parents=True)
        load_sample()[:30].save_npz(tmp_path / "shared" / "events" / "ttbar_pu0.npz")
        assert "30 of " in self.run("--events", 10)

    def test_a_reference_of_another_detector_is_refused(self) -> None:
        Events.empty(CLIC).save_npz("clic.npz")
        with pytest.raises(
            DataError, match="its events are of clic; our detector's are of delphes"
        ):
            self.run("--reference", "clic.npz")

    def test_it_is_made_by_the_generator(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        monkeypatch.setitem(sys.modules, "pythia8mc", None)
        with pytest.raises(click.ClickException, match=r"pip install daskhpo\[mlpf\]"):
            validating._make("ttbar", 1, 0.0, 1, 1)
