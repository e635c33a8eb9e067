"""The parametric detector: flights, tracks, cells, thresholds, targets and candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daskhpo.mlpf.events import Element, Events, Tower, Track
from daskhpo.mlpf.schema import ParticleClass, Target
from daskhpo.mlpf.simulation.calorimeter import ECAL, HCAL
from daskhpo.mlpf.simulation.detector import simulate
from daskhpo.mlpf.simulation.particles import Particles
from daskhpo.mlpf.simulation.propagation import HALF_LENGTH, RADIUS, propagate
from daskhpo.mlpf.simulation.tracking import efficiency, log_normal

MASS = {22: 0.0, 11: 0.000511, 13: 0.10566, 211: 0.13957, 130: 0.49761, 310: 0.49761, 12: 0.0}
CHARGE = {11: -1, 13: -1, 211: 1}


def particles(*rows: tuple[int, float, float, float], n_events: int | None = None) -> Particles:
    """One event for each (pdg, pt, eta, phi), from the detector's centre."""
    pdg, pt, eta, phi = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    momentum = np.column_stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    mass = np.array([MASS[abs(int(n))] for n in pdg])
    return Particles(
        pdg=pdg.astype(np.int64),
        charge=np.array([CHARGE.get(abs(int(n)), 0) * np.sign(n) for n in pdg]),
        momentum=momentum,
        energy=np.hypot(pt * np.cosh(eta), mass),
        vertex=np.zeros((len(pdg), 3)),
        event=np.arange(len(pdg)) if n_events is None else np.zeros(len(pdg), dtype=np.int64),
        n_events=len(pdg) if n_events is None else n_events,
    )


def many(pdg: int, pt: float, eta: float, n: int = 4000) -> Events:
    """Simulate the same particle in many events, at random azimuths."""
    phi = np.random.default_rng(3).uniform(-np.pi, np.pi, n)
    return simulate(particles(*[(pdg, pt, eta, f) for f in phi]), np.random.default_rng(4))


def walk(row: Particles, step: float = 0.002) -> np.ndarray[Any, Any]:
    """Follow one charged particle in steps of 2 mm until it leaves the cylinder."""
    q_b = float(row.charge[0]) * 3.8 * 0.299792458  # GeV/m
    position, momentum = row.vertex[0] / 1e3, row.momentum[0].copy()
    while np.hypot(*position[:2]) < RADIUS and abs(position[2]) < HALF_LENGTH:
        direction = momentum / np.linalg.norm(momentum)
        position = position + step * direction
        angle = -q_b * step / np.linalg.norm(momentum)
        cos, sin = np.cos(angle), np.sin(angle)
        momentum[:2] = cos * momentum[0] - sin * momentum[1], sin * momentum[0] + cos * momentum[1]
    return np.asarray(position)


@settings(deadline=None, max_examples=30)
@given(
    pt=st.floats(0.3, 50.0),
    eta=st.floats(-2.3, 2.3),
    phi=st.floats(-3.0, 3.0),
    pdg=st.sampled_from([211, -211]),
    z=st.floats(-200.0, 200.0),
)
def test_the_helix_ends_where_small_steps_end(
    pt: float, eta: float, phi: float, pdg: int, z: float
) -> None:
    row = particles((pdg, pt, eta, phi))
    row.vertex[0] = [0.3, -0.2, z]  # mm
    # Soft particles across the beam turn for very long before they reach an end cap.
    assume(pt > 1.0 or abs(eta) > 0.3)
    _, surface = propagate(row)
    end = walk(row)
    polar = np.array([np.cos(surface.phi[0]), np.sin(surface.phi[0]), np.sinh(surface.eta[0])])
    assert polar / np.linalg.norm(polar) == pytest.approx(end / np.linalg.norm(end), abs=0.01)


@settings(deadline=None)
@given(pt=st.floats(0.01, 99.0), eta=st.floats(-4.9, 4.9), phi=st.floats(-3.1, 3.1))
def test_neutral_particles_from_the_centre_keep_their_direction(
    pt: float, eta: float, phi: float
) -> None:
    _, surface = propagate(particles((22, pt, eta, phi)))
    assert surface.eta[0] == pytest.approx(eta, abs=1e-9)
    assert surface.phi[0] == pytest.approx(phi, abs=1e-9)


def test_a_soft_particle_that_turns_for_ever_is_left_out() -> None:
    kept, surface = propagate(particles((211, 0.3, 0.0, 0.0), (211, 30.0, 0.0, 0.0)))
    assert kept.pt.tolist() == [30.0]
    assert len(surface.eta) == 1


def test_particles_outside_the_tracker_or_along_the_beam_are_left_out() -> None:
    rows = particles((22, 1.0, 0.0, 0.0), (22, 1.0, 0.0, 0.0), (22, 1e-6, 0.0, 0.0))
    rows.vertex[0] = [1300.0, 0.0, 0.0]
    rows.vertex[1] = [0.0, 0.0, 3100.0]
    kept, surface = propagate(rows)
    assert len(kept) == len(surface.eta) == 0


@pytest.mark.parametrize("calorimeter", [ECAL, HCAL], ids=["ECAL", "HCAL"])
@settings(deadline=None)
@given(eta=st.floats(-4.99, 4.99), phi=st.floats(-np.pi, np.pi))
def test_every_direction_meets_the_cell_whose_edges_hold_it(
    calorimeter: Any, eta: float, phi: float
) -> None:
    cell = calorimeter.cells.find(np.array([eta]), np.array([phi]))
    assert 0 <= cell[0] < calorimeter.cells.size
    eta_low, eta_high, phi_low, phi_high = (edge[0] for edge in calorimeter.cells.edges(cell))
    assert eta_low <= eta <= eta_high
    assert phi_low - 1e-9 <= phi <= phi_high + 1e-9


def test_the_cells_are_those_of_the_card() -> None:
    for calorimeter, rings in ((ECAL, 340 + 22), (HCAL, 2 * (18 + 22))):
        edges, counts = calorimeter.cells.eta_edges, calorimeter.cells.phi_counts
        assert (edges[0], edges[-1]) == (-5.0, 5.0)
        assert len(counts) == rings
        assert np.all(np.diff(edges) > 0.01)
        assert np.array_equal(counts, counts[::-1])
    for calorimeter, eta, degrees in (
        (ECAL, 0.5, 1), (ECAL, -2.9, 1), (ECAL, 3.0, 10),
        (HCAL, 1.6, 5), (HCAL, -1.7, 10), (HCAL, 4.5, 10), (HCAL, -4.6, 20), (HCAL, 4.9, 20),
    ):  # fmt: skip
        cell = calorimeter.cells.find(np.array([eta]), np.array([0.01]))
        _, _, low, high = calorimeter.cells.edges(cell)
        assert np.degrees(high - low) == pytest.approx(degrees)
    assert np.all(ECAL.cells.find(np.array([-5.1, 5.1]), np.zeros(2)) == -1)


@pytest.mark.parametrize(
    ("pdg", "pt", "eta", "expected"),
    [(211, 20.0, 1.0, 0.95), (211, 20.0, 2.0, 0.85), (11, 200.0, 0.5, 0.99), (13, 20.0, 2.2, 0.98)],
)
def test_tracks_are_found_as_often_as_the_card_says(
    pdg: int, pt: float, eta: float, expected: float
) -> None:
    events = many(pdg, pt, eta)
    found = np.mean(events.X[:, Track.TYPE] == Element.TRACK) * len(events.X) / len(events)
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000))


def test_no_track_is_found_beyond_the_tracker_or_when_too_soft() -> None:
    kind = np.full(3, int(ParticleClass.CHARGED_HADRON))
    found = efficiency(kind, np.array([0.1, 5.0, 5.0]), np.array([1.0, 2.51, 2.5]))
    assert found.tolist() == [0.0, 0.0, 0.85]


@pytest.mark.parametrize(
    ("pdg", "pt", "eta", "sigma"), [(211, 20.0, 0.3, 0.065), (13, 50.0, 1.0, 0.0168)]
)
def test_tracks_are_smeared_as_the_card_says(pdg: int, pt: float, eta: float, sigma: float) -> None:
    events = many(pdg, pt, eta)
    track = events.X[:, Track.TYPE] == Element.TRACK
    x, ygen = events.X[track], events.ygen[track]
    response = x[:, Track.PT] / pt
    assert response.mean() == pytest.approx(1.0, abs=4 * sigma / np.sqrt(len(x)))
    assert response.std() == pytest.approx(sigma, rel=0.06)
    assert (x[:, Track.ETA] - ygen[:, Target.ETA]).std() == pytest.approx(0.01, rel=0.06)


@settings(deadline=None, max_examples=30)
@given(mean=st.floats(0.5, 100.0), relative=st.floats(0.01, 1.0))
def test_log_normal_draws_have_the_asked_mean_and_width(mean: float, relative: float) -> None:
    drawn = log_normal(np.full(40_000, mean), mean * relative, np.random.default_rng(1))  # type: ignore[arg-type]
    assert drawn.mean() == pytest.approx(mean, rel=0.03)
    assert drawn.std() == pytest.approx(mean * relative, rel=0.15)
    assert np.all(log_normal(np.zeros(5), np.ones(5), np.random.default_rng(1)) == 0)


def test_a_photon_is_one_ecal_tower_with_the_resolution_of_the_card() -> None:
    events = many(22, 50.0, 0.0005)
    assert np.all(events.counts == 1)
    assert np.all(events.X[:, Tower.ENERGY_HCAL] == 0)
    sigma = np.sqrt((0.008 * 50) ** 2 + 0.11**2 * 50 + 0.4**2)
    assert events.X[:, Tower.ENERGY].std() == pytest.approx(sigma, rel=0.06)
    assert np.all(events.ygen[:, Target.CLASS] == ParticleClass.PHOTON)
    assert np.all(events.ycand[:, Target.CLASS] == ParticleClass.PHOTON)
    assert np.allclose(events.ycand[:, Target.ENERGY], events.X[:, Tower.ENERGY])


def test_neutrinos_and_soft_particles_leave_nothing() -> None:
    events = simulate(
        particles((12, 50.0, 0.0, 0.0), (22, 0.05, 0.0, 0.0), (130, 0.3, 0.0, 0.0)),
        np.random.default_rng(1),
    )
    assert events.counts.tolist() == [0, 0, 0]


def test_a_short_kaon_shares_its_energy_and_is_one_target_of_full_energy() -> None:
    events = many(310, 100.0, 0.5, n=300)
    energy = np.hypot(100 * np.cosh(0.5), MASS[310])
    for column, share in ((Tower.ENERGY_ECAL, 0.3), (Tower.ENERGY_HCAL, 0.7)):
        seen = events.X[:, column] > 0
        assert events.X[seen, column].mean() == pytest.approx(share * energy, rel=0.05)
        assert np.allclose(events.ygen[seen, Target.ENERGY], energy)
    assert np.all(events.ygen[:, Target.CLASS] == ParticleClass.NEUTRAL_HADRON)


def test_no_tower_is_below_two_sigma() -> None:
    events = many(130, 6.0, 1.0)
    energy = events.X[:, Tower.ENERGY]
    assert 0 < len(events.X) < len(events)
    assert energy.min() > 9.09  # where 2 sqrt((.05 E)^2 + 1.5^2 E) = E


def test_soft_neutral_hadrons_are_no_targets() -> None:
    soft, hard = many(130, 8.9, 0.0), many(130, 9.1, 0.0)
    assert len(soft.X) > 100
    assert np.all(soft.ygen == 0)
    assert np.all(hard.ygen[:, Target.CLASS] == ParticleClass.NEUTRAL_HADRON)


def test_charged_hadrons_are_neutral_targets_beyond_the_tracker_only() -> None:
    for eta, kind in ((2.45, ParticleClass.CHARGED_HADRON), (2.6, ParticleClass.NEUTRAL_HADRON)):
        events = many(-211, 30.0, eta)
        tower = events.X[:, Tower.TYPE] == Element.TOWER
        targets = events.ygen[tower & (events.ygen[:, Target.CLASS] > 0)]
        assert len(targets) > 100
        assert np.all(targets[:, Target.CLASS] == kind)
        # The quirk of the format: towers with charged particles have charge +1.
        assert np.all(targets[:, Target.CHARGE] == (kind == ParticleClass.CHARGED_HADRON))


def test_the_tower_of_a_tracked_particle_is_no_target() -> None:
    events = many(211, 30.0, 1.0)
    row = events.event_of_row
    tracked = np.isin(row, row[events.X[:, Track.TYPE] == Element.TRACK])
    tower = events.X[:, Tower.TYPE] == Element.TOWER
    assert np.all(events.ygen[tower & tracked] == 0)
    assert np.all(events.ygen[tower & ~tracked, Target.CLASS] == ParticleClass.CHARGED_HADRON)


def test_a_tower_of_several_particles_is_their_sum_and_the_kind_with_most_energy() -> None:
    together = particles((22, 30.0, 0.5, 0.500), (22, 20.0, 0.5, 0.501), n_events=1)
    photon = simulate(together, np.random.default_rng(1))
    assert len(photon.X) == 1
    assert photon.ygen[0, Target.ENERGY] == pytest.approx(50 * np.cosh(0.5), rel=1e-6)
    assert photon.ygen[0, Target.PT] == pytest.approx(50.0, rel=1e-4)
    mixed = particles((22, 30.0, 0.5, 0.5), (310, 100.0, 0.5, 0.5), n_events=1)
    seen = simulate(mixed, np.random.default_rng(1))
    ecal = seen.X[:, Tower.ENERGY_ECAL] > 0
    assert seen.ygen[ecal, Target.CLASS].tolist() == [ParticleClass.NEUTRAL_HADRON]


def test_charges_follow_the_format_with_its_quirk() -> None:
    for pdg, kind, true, quirk in ((11, 4, -1, 1), (-13, 5, 1, -1), (-211, 1, -1, -1)):
        events = many(pdg, 20.0, 0.5, n=50)
        track = events.X[:, Track.TYPE] == Element.TRACK
        assert np.all(events.X[track, Track.CHARGE] == true)
        assert np.all(events.ygen[track][:, [Target.CLASS, Target.CHARGE]] == [kind, quirk])
        assert np.all(events.ycand[track][:, [Target.CLASS, Target.CHARGE]] == [kind, true])
        assert np.all(events.X[track, Track.IS_GEN_MUON] == (kind == ParticleClass.MUON))
        assert np.all(events.X[track, Track.IS_GEN_ELECTRON] == (kind == ParticleClass.ELECTRON))


def test_candidates_of_tracks_average_track_and_calorimeter() -> None:
    electrons = many(11, 100.0, 1.0)
    track = electrons.X[:, Track.TYPE] == Element.TRACK
    # Quartiles: where the track fluctuates low, the excess is a photon and the track stays.
    measured = np.ptp(np.percentile(electrons.X[track, Track.PT], [25, 75]))
    candidate = np.ptp(np.percentile(electrons.ycand[track, Target.PT], [25, 75]))
    assert candidate < 0.2 * measured
    muons = many(13, 100.0, 1.0, n=200)
    assert np.array_equal(muons.ycand[:, Target.PT], muons.X[:, Track.PT])


def test_an_excess_over_the_tracks_is_a_neutral_candidate() -> None:
    rows = [(211, 5.0, 0.0, 0.0), (130, 200.0, 0.0, -0.135)]  # the field turns the pion by -0.135
    one = particles(*rows, n_events=1)
    events = Events.concatenate(simulate(one, np.random.default_rng(i)) for i in range(40))
    tracked = events.X[:, Track.TYPE] == Element.TRACK
    tower = events.ycand[:, Target.CLASS] == ParticleClass.NEUTRAL_HADRON
    assert len(np.unique(events.event_of_row[tower])) == 40
    excess = events.X[tower, Tower.ENERGY] - events.ycand[tower, Target.ENERGY]
    with_track = np.isin(events.event_of_row[tower], events.event_of_row[tracked])
    assert excess[with_track] == pytest.approx(5.0, rel=0.3)
    assert np.allclose(excess[~with_track], 0.0)


def test_the_same_seed_gives_the_same_events() -> None:
    first, second = many(211, 5.0, 1.0, n=100), many(211, 5.0, 1.0, n=100)
    assert np.array_equal(first.X, second.X)
