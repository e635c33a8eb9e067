"""The plots of an evaluation are all drawn, whatever is or is not in it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from daskhpo.exceptions import DataError, StoreError
from daskhpo.mlpf.events import load_sample
from daskhpo.mlpf.physics import plots
from daskhpo.mlpf.physics.report import evaluate

NAMES = [
    "jet-response",
    "jet-width",
    "met-response",
    "efficiency",
    "efficiency-eta",
    "resolution",
    "spectra",
    "confusion",
]


@pytest.fixture(scope="module")
def events():
    return load_sample()[:60]


def judged(events, predicted):
    return evaluate(events, predicted, rng=np.random.default_rng(1), resamples=10)


def test_every_plot_is_written_for_screen_and_paper(events, tmp_path):
    pytest.importorskip("matplotlib")
    written = plots.draw(judged(events, events.ycand), tmp_path / "new")
    assert [path.name for path in written] == [
        f"{n}.{kind}" for n in NAMES for kind in ("png", "pdf")
    ]
    for path in written:
        start = {".png": b"\x89PNG", ".pdf": b"%PDF"}[path.suffix]
        assert path.read_bytes().startswith(start)


def test_a_model_that_finds_nothing_is_drawn_too(events, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(plots, "_save", lambda figure, caption, stem: [stem])
    assert len(plots.draw(judged(events, np.zeros_like(events.ygen)), tmp_path)) == len(NAMES)


def test_points_of_the_width_are_those_of_the_table(events):
    pytest.importorskip("matplotlib")
    found = judged(events, events.ycand)
    figure, caption = plots._jet_width(found)
    line = figure.axes[0].lines[0]
    curve = found.model.curves["jets"]["jet response width"]
    np.testing.assert_array_equal(line.get_ydata(), curve.value[np.isfinite(curve.value)])
    assert "anti-kT R=0.4" in caption


def test_a_directory_that_cannot_be_made_is_said_so(events, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        plots.draw(judged(events, events.ycand), tmp_path / "file" / "plots")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DataError, match=r"pip install daskhpo\[figures\]"):
        plots.check_matplotlib()
