"""Pictures of events: every schema, every format, and what cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daskhpo.exceptions import DataError, StoreError
from daskhpo.mlpf import pictures
from daskhpo.mlpf.events import Events, load_sample
from daskhpo.mlpf.pictures import draw_event
from daskhpo.mlpf.schema import CLIC

pytest.importorskip("matplotlib", reason="needs the extra figures")


def clic_event() -> Events:
    """Two clusters and a track of the CLIC detector; the track is a particle."""
    x = np.zeros((3, CLIC.width), np.float32)
    x[:, :6] = [[1, 5, 0.1, 0, 1, 5.1], [2, 3, 1.0, 1, 0, 4.6], [2, 2, -1.0, 0, 1, 3.1]]
    x[1, CLIC_ECAL], x[2, CLIC_HCAL] = 4.6, 3.1
    y = np.zeros((3, 7), np.float32)
    y[0] = [1, 1, 5, 0.1, 0, 1, 5.1]
    return Events(x, y, y, np.array([3]), CLIC)


CLIC_ECAL, CLIC_HCAL = pictures.ENERGY_COLUMNS["clic"]


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_an_event_is_drawn_in_the_format_of_its_name(tmp_path: Path, ending: str) -> None:
    path = draw_event(load_sample()[3:4], tmp_path / f"event{ending}", title="one")
    head = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(head)


def test_every_element_and_particle_is_in_its_panel() -> None:
    event = load_sample()[3:4]
    elements = {name: len(pt) for name, _, _, _, pt in pictures._elements(event)}
    assert sum(elements.values()) == len(event.X)
    assert elements["track"] == np.sum(event.X[:, 0] == 2)
    assert elements["HCAL tower"] == np.sum((event.X[:, 0] == 1) & (event.X[:, 7] > 0))
    for rows in (event.ygen, event.ycand):
        particles = {name: pt for name, _, _, _, pt in pictures._particles(rows, event.counts)}
        assert sum(map(len, particles.values())) == np.sum(rows[:, 0] > 0)
        # Neutral candidates have no pT in the file, and one in the picture.
        assert np.all(particles["photon"] > 0)


def test_clusters_are_named_by_the_calorimeter_with_most_of_their_energy(tmp_path: Path) -> None:
    event = clic_event()
    assert [name for name, *_ in pictures._elements(event)] == [
        "ECAL cluster",
        "HCAL cluster",
        "track",
    ]
    assert draw_event(event, tmp_path / "clic.png").is_file()


def test_an_event_without_elements_is_an_empty_picture(tmp_path: Path) -> None:
    none = Events.empty()
    empty = Events(none.X, none.ygen, none.ycand, np.zeros(1, np.int64))
    assert draw_event(empty, tmp_path / "empty.png").is_file()


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 events given; a picture shows one"):
        draw_event(load_sample()[:2], tmp_path / "event.png")
    with pytest.raises(DataError, match=r"must end in \.png, \.svg, \.pdf"):
        draw_event(load_sample()[:1], tmp_path / "event.gif")
    with pytest.raises(StoreError, match="absent"):
        draw_event(load_sample()[:1], tmp_path / "absent" / "event.png")
