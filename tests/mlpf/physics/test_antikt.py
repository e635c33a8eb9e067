"""Our own anti-kT: by hand, by FastJet, and by what any such algorithm must obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpo.mlpf.physics.antikt import antikt, ee_genkt, find_jets

GEOMETRIES = {"antikt": antikt(0.4), "ee_genkt": ee_genkt(0.7)}


def momenta(pt, eta, phi, mass=0.0):
    pt, eta, phi = (np.asarray(a, float) for a in (pt, eta, phi))
    pz = pt * np.sinh(eta)
    energy = np.sqrt(pt**2 + pz**2 + mass**2)
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pz, energy], axis=1)


def by_pt(jets):
    return jets[np.argsort(-np.hypot(jets[:, 0], jets[:, 1]))]


@st.composite
def events(draw, most=25):
    n = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.5, 3.0]))  # crowded, sparse
    return momenta(
        rng.exponential(10, n) + 0.1, rng.normal(0, spread, n), rng.uniform(-np.pi, np.pi, n), 0.1
    )


def naive(p, dij, di):
    """The definition itself: all pairs, at every step."""
    p, jets = list(p), []
    while p:
        candidates = [(di(a), i, None) for i, a in enumerate(p)]
        candidates += [(dij(a, b), i, j) for i, a in enumerate(p) for j, b in enumerate(p[:i])]
        _, i, j = min(candidates, key=lambda entry: entry[0])
        one = p.pop(i)
        if j is None:
            jets.append(one)
        else:
            p[j] = p[j] + one
    return np.array(jets)


def di_pp(a):
    return 1 / (a[0] ** 2 + a[1] ** 2)


def dij_pp(a, b):
    y = [0.5 * np.log((p[3] + p[2]) / (p[3] - p[2])) for p in (a, b)]
    phi = np.angle(complex(a[0], a[1]) * complex(b[0], -b[1]))
    return min(di_pp(a), di_pp(b)) * ((y[0] - y[1]) ** 2 + phi**2) / 0.4**2


def di_ee(a):
    return 1 / a[3] ** 2


def dij_ee(a, b):
    cosine = a[:3] @ b[:3] / np.linalg.norm(a[:3]) / np.linalg.norm(b[:3])
    return min(di_ee(a), di_ee(b)) * (1 - cosine) / (1 - np.cos(0.7))


def test_a_soft_particle_joins_the_hard_one_that_is_within_r():
    event = momenta([50, 2, 20], [0, 0.2, 0], [0, 0.3, 1.0])  # Delta R = 0.36 and 1.0
    jets = by_pt(find_jets(event, antikt(0.4)))
    np.testing.assert_allclose(jets, [event[0] + event[1], event[2]])


def test_what_is_farther_than_r_stays_alone():
    event = momenta([50, 2], [0, 0.3], [0, 0.3])  # Delta R = 0.42
    assert len(find_jets(event, antikt(0.4))) == 2
    assert len(find_jets(event, antikt(0.45))) == 1


def test_the_harder_of_two_takes_the_particle_between_them():
    event = momenta([50, 30, 1], [0, 0, 0], [0, 0.6, 0.31])  # nearer to the second
    jets = by_pt(find_jets(event, antikt(0.4)))
    np.testing.assert_allclose(jets, [event[0] + event[2], event[1]])


def test_azimuth_goes_round():
    event = momenta([50, 30], [0, 0], [3.1, -3.1])  # 0.083 apart
    assert len(find_jets(event, antikt(0.4))) == 1


def test_e_plus_e_minus_jets_are_made_by_angles_and_energies():
    event = momenta([10, 10], [2.0, 2.0], [0, 0.8])  # near the beam 0.8 in azimuth is 0.21 rad
    assert len(find_jets(event, antikt(0.4))) == 2
    assert len(find_jets(event, ee_genkt(0.4))) == 1


@pytest.mark.parametrize("name", GEOMETRIES)
def test_no_particles_are_no_jets_and_one_is_one(name):
    assert find_jets(np.zeros((0, 4)), GEOMETRIES[name]).shape == (0, 4)
    np.testing.assert_array_equal(
        find_jets(momenta([3], [1], [2]), GEOMETRIES[name])[0], momenta([3], [1], [2])[0]
    )


@pytest.mark.parametrize("name", GEOMETRIES)
def test_odd_momenta_are_clustered_without_a_warning(name):
    odd = [[0, 0, 0, 0], [0, 0, 5, 5], [0, 0, -5, 5], [3, 0, 4, 4.9], [1, 0, 0, 0.5], [1, 0, 0, 1]]
    jets = find_jets(np.array(odd, float), GEOMETRIES[name])
    np.testing.assert_allclose(jets.sum(axis=0), np.sum(odd, axis=0), atol=1e-12)


def test_rows_looked_at_in_portions_are_all_looked_at():
    rng = np.random.default_rng(4)
    event = momenta(rng.exponential(5, 600), rng.normal(0, 2, 600), rng.uniform(-3, 3, 600))
    pytest.importorskip("fastjet")
    assert_same_as_fastjet(event, "antikt", 0.4)


@settings(max_examples=30, deadline=None)
@given(event=events())
def test_jets_are_those_of_the_definition(event):
    for geometry, dij, di in ((antikt(0.4), dij_pp, di_pp), (ee_genkt(0.7), dij_ee, di_ee)):
        expected = naive(event, dij, di)
        np.testing.assert_allclose(
            by_pt(find_jets(event, geometry)), by_pt(expected), rtol=1e-9, atol=1e-9
        )


@settings(max_examples=40, deadline=None)
@given(event=events())
def test_jets_hold_all_of_the_momentum(event):
    for geometry in GEOMETRIES.values():
        jets = find_jets(event, geometry)
        np.testing.assert_allclose(jets.sum(axis=0), event.sum(axis=0), rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(event=events(), seed=st.integers(0, 1000))
def test_the_order_of_particles_does_not_matter(event, seed):
    shuffled = np.random.default_rng(seed).permutation(event)
    for geometry in GEOMETRIES.values():
        one, other = find_jets(event, geometry), find_jets(shuffled, geometry)
        np.testing.assert_allclose(by_pt(one), by_pt(other), rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(event=events(), share=st.floats(0.05, 0.95), data=st.data())
def test_splitting_a_particle_along_its_direction_changes_no_jet(event, share, data):
    i = data.draw(st.integers(0, len(event) - 1))
    split = np.concatenate([event, event[i : i + 1] * (1 - share)])
    split[i] *= share
    for geometry in GEOMETRIES.values():
        one, other = find_jets(event, geometry), find_jets(split, geometry)
        np.testing.assert_allclose(by_pt(one), by_pt(other), rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(event=events())
def test_an_infinitely_soft_particle_moves_no_jet(event):
    with_ghost = np.concatenate([event, momenta([1e-30], [0.3], [0.2])])
    jets, others = (by_pt(find_jets(e, antikt(0.4))) for e in (event, with_ghost))
    np.testing.assert_allclose(others[: len(jets)], jets, rtol=1e-9, atol=1e-9)
    assert len(others) <= len(jets) + 1


def assert_same_as_fastjet(event, name, radius):
    import fastjet

    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    algorithm = {
        "antikt": (fastjet.antikt_algorithm, radius),
        "ee_genkt": (fastjet.ee_genkt_algorithm, radius, -1.0),
    }[name]
    particles = [fastjet.PseudoJet(*map(float, p)) for p in event]
    sequence = fastjet._swig.ClusterSequence(particles, fastjet.JetDefinition(*algorithm))
    theirs = np.array([[j.px(), j.py(), j.pz(), j.E()] for j in sequence.inclusive_jets(0.0)])
    geometry = {"antikt": antikt, "ee_genkt": ee_genkt}[name](radius)
    np.testing.assert_allclose(
        by_pt(find_jets(event, geometry)), by_pt(theirs), rtol=1e-9, atol=1e-9
    )


@settings(max_examples=40, deadline=None)
@given(event=events(most=60), radius=st.sampled_from([0.4, 0.7, 1.0]))
def test_jets_are_those_of_fastjet(event, radius):
    pytest.importorskip("fastjet")
    assert_same_as_fastjet(event, "antikt", radius)
    assert_same_as_fastjet(event, "ee_genkt", radius)
