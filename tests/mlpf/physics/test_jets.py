"""Jets of ragged events are the same, whoever finds them, event by event."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import load_sample
from daskhpo.mlpf.physics import jets as jets_module
from daskhpo.mlpf.physics.jets import ANTIKT, EE_GENKT, JetDefinition, Jets, cluster, definition_of
from daskhpo.mlpf.physics.particles import Particles
from daskhpo.mlpf.schema import CLIC, DELPHES, Target


def particles_of(pt, counts, *, kind=3):
    """Massless particles, 0.01 apart in azimuth, at eta 0."""
    pt = np.asarray(pt, float)
    rows = np.zeros((len(pt), len(Target)))
    phi = 0.01 * np.arange(len(pt))
    rows[:, Target.CLASS], rows[:, Target.PT], rows[:, Target.ENERGY] = kind, pt, pt
    rows[:, Target.SIN_PHI], rows[:, Target.COS_PHI] = np.sin(phi), np.cos(phi)
    return Particles.from_rows(rows, counts)


@pytest.fixture(scope="module")
def sample():
    return load_sample()[:25]


@pytest.mark.parametrize("definition", [ANTIKT, EE_GENKT, JetDefinition("ee_genkt", 0.4)], ids=str)
@pytest.mark.parametrize("rows", ["ygen", "ycand"])
def test_fastjet_and_our_own_code_find_the_same_jets(sample, definition, rows):
    pytest.importorskip("fastjet")
    particles = Particles.from_rows(getattr(sample, rows), sample.counts)
    theirs = cluster(particles, definition, by="fastjet")
    ours = cluster(particles, definition, by="numpy")
    np.testing.assert_array_equal(ours.counts, theirs.counts)
    np.testing.assert_allclose(ours.momenta, theirs.momenta, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("by", ["fastjet", "numpy"])
def test_events_do_not_see_one_another(by):
    if by == "fastjet":
        pytest.importorskip("fastjet")
    found = cluster(particles_of([20, 10, 7, 3, 30], [2, 0, 1, 1, 1]), ANTIKT, by=by)
    assert found.counts.tolist() == [1, 0, 1, 0, 1]  # 3 GeV are too soft
    np.testing.assert_allclose(found.pt, [30, 7, 30], rtol=1e-4)


@pytest.mark.parametrize("by", ["fastjet", "numpy"])
def test_events_without_a_particle_have_no_jets(by):
    if by == "fastjet":
        pytest.importorskip("fastjet")
    found = cluster(particles_of([20.0], [1], kind=0), ANTIKT, by=by)
    assert (len(found), found.counts.tolist()) == (0, [0])
    assert found.eta.shape == (0,)
    assert len(cluster(particles_of([], []), ANTIKT, by=by).counts) == 0


def test_jets_of_an_event_come_hardest_first(sample):
    jets = cluster(Particles.from_rows(sample.ygen, sample.counts), ANTIKT, by="numpy")
    for event in range(len(sample)):
        pt = jets.pt[jets.event == event]
        assert (np.diff(pt) <= 0).all()
        assert (pt >= 5).all()


def test_coordinates_are_those_of_the_momentum():
    jets = Jets(np.array([[3.0, 4.0, 5 * np.sinh(1.2), 20.0]]), np.array([1]))
    np.testing.assert_allclose([jets.pt[0], jets.eta[0]], [5.0, 1.2])
    np.testing.assert_allclose(jets.phi, np.arctan2(4, 3))


def test_each_detector_has_the_jets_of_its_paper():
    assert definition_of(DELPHES) == JetDefinition("antikt", 0.4, 5.0)
    assert definition_of(CLIC) == JetDefinition("ee_genkt", 0.7, 5.0)


def test_without_fastjet_our_own_code_is_used(monkeypatch, sample):
    found = jets_module.importlib.util.find_spec
    monkeypatch.setattr(
        jets_module.importlib.util, "find_spec", lambda n: None if n == "fastjet" else found(n)
    )
    monkeypatch.setitem(sys.modules, "fastjet", None)
    assert jets_module.engine() == "numpy"
    assert len(cluster(Particles.from_rows(sample.ygen, sample.counts), ANTIKT)) > 50


def test_fastjet_prints_no_banner(capfd):
    pytest.importorskip("fastjet")
    cluster(particles_of([20.0], [1]), ANTIKT, by="fastjet")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"algorithm": "cone"}, "algorithm is 'cone'; allowed are antikt and ee_genkt"),
        ({"radius": 0.0}, "radius is 0.0"),
        ({"radius": 4.0}, "between 0 and pi"),
        ({"min_pt": -1.0}, "min_pt is -1.0"),
    ],
)
def test_impossible_jets_are_refused(settings, said):
    with pytest.raises(DataError, match=said):
        JetDefinition(**settings)
