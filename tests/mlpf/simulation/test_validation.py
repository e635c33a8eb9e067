"""Comparing events, and how close ours come to those of Delphes itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from daskhpo.mlpf.events import Events, Tower, load_events, load_sample
from daskhpo.mlpf.simulation import validation_figures
from daskhpo.mlpf.simulation.generator import generate_events
from daskhpo.mlpf.simulation.validation import (
    Comparison,
    compare,
    format_table,
    grouped_quantities,
    ks_distance,
)
from daskhpo.mlpf.simulation.validation_figures import bin_edges, draw_comparison

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[4] / "shared"))

samples = st.lists(st.integers(-5, 5), min_size=2, max_size=30)


@settings(deadline=None)
@given(samples, samples)
def test_the_distance_is_that_of_the_two_sample_test(a: list[int], b: list[int]) -> None:
    assert ks_distance(a, b) == pytest.approx(ks_2samp(a, b, method="asymp").statistic)


def test_no_distance_can_be_told_from_nothing() -> None:
    assert np.isnan(ks_distance([], [1.0]))
    assert np.isnan(compare(Events.empty(), load_sample())[0].ours_mean)


def test_events_do_not_differ_from_themselves() -> None:
    rows = compare(load_sample(), load_sample())
    assert len(rows) > 50
    assert len({row.quantity for row in rows}) == len(rows)
    assert all(row.ks == 0 and row.ours_mean == row.reference_mean for row in rows)


def test_a_wrong_scale_of_the_towers_shows() -> None:
    sample = load_sample()
    x = sample.X.copy()
    x[x[:, 0] == 1, Tower.ENERGY] *= 1.2
    wrong = Events(x, sample.ygen, sample.ycand, sample.counts)
    found = {row.quantity for row in compare(wrong, sample) if row.ks > 2 * row.noise}
    assert found >= {"ECAL tower / target energy", "HCAL tower energy [GeV]"}
    assert "track pT [GeV]" not in found


def test_what_differs_more_than_by_chance_is_starred() -> None:
    sample = load_sample()
    x = sample.X.copy()
    x[x[:, 0] == 1, Tower.ENERGY] *= 1.2
    rows = compare(Events(x, sample.ygen, sample.ycand, sample.counts), sample)
    lines = format_table(rows).splitlines()[1:]
    starred = {row.quantity for row, line in zip(rows, lines, strict=True) if line.endswith("*")}
    assert starred == {row.quantity for row in rows if row.ks > row.noise}
    assert "ECAL tower energy [GeV]" in starred
    assert "track pT [GeV]" not in starred


def test_all_quantities_belong_to_a_group() -> None:
    sample = load_sample()[:20]
    groups = grouped_quantities(sample)
    assert list(groups) == ["numbers", "elements", "targets", "responses"]
    named = [name for group in groups.values() for name in group]
    assert named == [row.quantity for row in compare(sample, sample)]


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), max_size=60), st.booleans())
def test_bins_ascend_whatever_the_values(values: list[float], logarithmic: bool) -> None:
    edges = bin_edges(np.array(values), logarithmic=logarithmic)
    assert len(edges) >= 2
    assert np.all(np.isfinite(edges))
    assert np.all(np.diff(edges) >= 0)


def test_whole_numbers_are_in_bins_of_whole_numbers() -> None:
    edges = bin_edges(np.arange(200.0), logarithmic=False)
    assert set(np.diff(edges)) == {5.0}
    assert edges[0] % 1 == 0.5


def test_each_group_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra figures")

    def few(events: Events) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
        groups = grouped_quantities(events)
        return {name: dict(list(group.items())[:1]) for name, group in groups.items()}

    monkeypatch.setattr(validation_figures, "grouped_quantities", few)
    # One event, and nothing: quantities without any value are drawn too.
    for ours in (load_sample()[:1], Events.empty()):
        drawn = draw_comparison(ours, load_sample()[5:25], tmp_path / "figures")
        assert [path.stem for path in drawn] == ["numbers", "elements", "targets", "responses"]
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_the_table_has_a_line_for_each_quantity() -> None:
    rows = compare(load_sample()[:20], load_sample()[20:40])
    assert len(format_table(rows).splitlines()) == len(rows) + 1


def assert_alike(rows: list[Comparison], *, numbers: float, shape: float) -> None:
    """Hold means per event to a relative and distributions of elements to a KS tolerance."""
    per_event = [row for row in rows if row.quantity.endswith("per event")]
    shares = [row for row in rows if "share" in row.quantity]
    shapes = [row for row in rows if row not in per_event and row not in shares]
    for row in per_event:
        assert row.ours_mean == pytest.approx(row.reference_mean, rel=numbers), row
    for row in shares:
        close = pytest.approx(row.reference_mean, rel=numbers, abs=0.003)
        assert row.ours_mean == close, row
    for row in shapes:
        assert row.ks < shape + 1.3 * row.noise, row


@pytest.fixture(scope="module")
def delphes() -> Events:
    if not (SHARED / "events").is_dir():
        pytest.skip("needs the events of Delphes itself in ../shared/events")
    return load_events(SHARED / "events" / "ttbar_pu0.npz")


def test_the_shipped_sample_is_like_delphes(delphes: Events) -> None:
    assert_alike(compare(load_sample(), delphes), numbers=0.08, shape=0.005)


def test_events_made_now_are_like_delphes(delphes: Events) -> None:
    pytest.importorskip("pythia8mc", reason="needs the extra mlpf")
    made = generate_events("ttbar", 300, seed=42)
    assert_alike(compare(made, delphes), numbers=0.10, shape=0.005)
