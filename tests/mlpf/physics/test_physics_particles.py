"""Particles of target, candidates and network are read alike, and the candidates' gaps filled."""

from __future__ import annotations

import numpy as np
import pytest

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import load_sample
from daskhpo.mlpf.physics.particles import CLASSES, MAX_ETA, Particles, delta_phi
from daskhpo.mlpf.schema import ParticleClass

NOTHING = [0, 0, 0, 0, 0, 0, 0]


def rows(*given):
    return np.array(given, np.float32)


def test_a_charged_candidate_gets_the_energy_of_its_momentum():
    found = Particles.from_rows(rows([1, 1, 3, 1.2, 0, 1, 0]), [1])
    assert (found.pt[0], found.energy[0]) == (3, pytest.approx(3 * np.cosh(1.2)))


def test_a_neutral_candidate_gets_the_momentum_of_its_energy():
    found = Particles.from_rows(rows([3, 0, 0, 1.2, 0, 1, 7]), [1])
    assert (found.pt[0], found.energy[0]) == (pytest.approx(7 / np.cosh(1.2)), 7)


def test_what_is_there_is_not_filled():
    found = Particles.from_rows(rows([2, 0, 3, 0, 0, 1, 5]), [1])  # a massive one
    assert (found.pt[0], found.energy[0]) == (3, 5)


def test_momenta_have_the_direction_of_the_row():
    found = Particles.from_rows(rows([2, 0, 3, -0.7, 0.6, 0.8, 5]), [1])
    np.testing.assert_allclose(found.momenta[0], [2.4, 1.8, 3 * np.sinh(-0.7), 5], rtol=1e-6)


def test_rows_without_a_particle_stay_until_only_the_present_are_asked_for():
    photon = [3, 0, 4, 0, 0, 1, 4]
    found = Particles.from_rows(rows(NOTHING, photon, photon, NOTHING), [1, 2, 0, 1])
    assert len(found) == 4
    present = found.present()
    assert present.counts.tolist() == [0, 2, 0, 0]
    assert present.event.tolist() == [1, 1]


def test_filled_candidates_have_as_much_energy_as_momentum():
    events = load_sample()
    found = Particles.from_rows(events.ycand, events.counts).present()
    p = found.momenta
    np.testing.assert_allclose(np.sqrt((p[:, :3] ** 2).sum(axis=1)), p[:, 3], rtol=1e-6)
    assert (found.pt > 0).all()


def test_charged_classes_are_measured_by_pt_and_neutral_ones_by_energy():
    found = Particles.from_rows(rows([1, 1, 3, 1, 0, 1, 8]), [1])
    by = {kind.name: float(found.momentum(kind)[0]) for kind in CLASSES}
    assert by == {"CHARGED_HADRON": 3, "NEUTRAL_HADRON": 8, "PHOTON": 8, "ELECTRON": 3, "MUON": 3}
    assert ParticleClass.NONE not in CLASSES


def test_a_network_that_points_along_the_beam_does_not_overflow():
    found = Particles.from_rows(rows([3, 0, 4, 1e9, 0, 1, 4]), [1])
    assert found.eta[0] == MAX_ETA
    assert np.isfinite(found.momenta).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_by_name(value):
    with pytest.raises(DataError, match="particle 1: energy is"):
        Particles.from_rows(rows(NOTHING, [3, 0, 4, 0, 0, 1, value]), [2])


def test_rows_that_do_not_fit_the_events_are_refused():
    with pytest.raises(DataError, match=r"shape \(1, 7\); allowed is \(2, 7\)"):
        Particles.from_rows(rows(NOTHING), [2])


def test_angles_differ_by_half_a_turn_at_most():
    np.testing.assert_allclose(
        delta_phi([3.1, -3.1, 1, 0], [-3.1, 3.1, 0.5, 0]),
        [6.2 - 2 * np.pi, 2 * np.pi - 6.2, 0.5, 0],
        atol=1e-12,
    )
