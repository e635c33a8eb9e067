"""Efficiency, fake rate, resolution and confusion, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from daskhpo.mlpf.physics import efficiency, resolution
from daskhpo.mlpf.physics.curves import ETA_EDGES, MOMENTUM_EDGES, Curve, bin_of
from daskhpo.mlpf.physics.particles import CLASSES, Particles
from daskhpo.mlpf.physics.uncertainties import Resamples
from daskhpo.mlpf.schema import ParticleClass

HADRON, PHOTON = ParticleClass.CHARGED_HADRON, ParticleClass.PHOTON
NOTHING = (0, 0.0, 0.0, 0.0)


def particles(*given, counts=None):
    """Particles as (class, pT, eta, phi), massless."""
    rows = [[k, 0, pt, eta, np.sin(phi), np.cos(phi), 0] for k, pt, eta, phi in given]
    return Particles.from_rows(np.array(rows), counts or [len(given)])


TRUE = particles((1, 10, 0, 0), (1, 20, 0, 0), (3, 5, 1, 0), NOTHING, counts=[2, 2])
SAID = particles((1, 11, 0, 0), (3, 20, 0, 0), NOTHING, (3, 4, 1, 0), counts=[2, 2])
PLAIN = Resamples(np.array([[1, 1], [2, 0], [0, 2]]))


def test_efficiency_counts_those_of_the_class_that_are_found():
    assert efficiency.efficiency(TRUE, SAID, HADRON, PLAIN).tolist()[:2] == [0.5, 0.5]
    assert efficiency.efficiency(TRUE, SAID, PHOTON, PLAIN).tolist()[0] == 0


def test_fake_rate_counts_those_said_that_are_something_else_or_nothing():
    assert efficiency.fake_rate(TRUE, SAID, HADRON, PLAIN)[0] == 0
    assert efficiency.fake_rate(TRUE, SAID, PHOTON, PLAIN).tolist() == [1, 1, 1]


def test_a_resample_without_such_particles_has_no_efficiency():
    np.testing.assert_array_equal(
        efficiency.efficiency(TRUE, SAID, HADRON, PLAIN), [0.5, 0.5, np.nan]
    )


def test_confusion_has_true_classes_as_rows():
    found = efficiency.confusion(TRUE, SAID)
    expected = np.zeros((6, 6), int)
    expected[1, 1] = expected[1, 3] = expected[3, 0] = expected[0, 3] = 1
    np.testing.assert_array_equal(found, expected)


def test_efficiency_is_binned_by_truth_and_fake_rate_by_what_is_said():
    true = particles((1, 10, 0.2, 0), (1, 1, -3.2, 0), (3, 1, 0, 0))
    said = particles((1, 1, -3.2, 0), NOTHING, (1, 100, 2.2, 0))
    curves = efficiency.efficiency_curves(true, said, HADRON)
    at = {name: dict(zip(*filled(curve), strict=True)) for name, curve in curves.items()}
    momentum = lambda pt: int(bin_of(np.array([pt]), MOMENTUM_EDGES)[0])  # noqa: E731
    eta = lambda value: int(bin_of(np.array([value]), ETA_EDGES)[0])  # noqa: E731
    assert at["efficiency"] == {momentum(10.0): 1.0, momentum(1.0): 0.0}
    assert at["fake rate"] == {momentum(1.0): 0.0, momentum(100.0): 1.0}
    assert at["efficiency in eta"] == {eta(0.2): 1.0, eta(-3.2): 0.0}
    assert at["fake rate in eta"] == {eta(-3.2): 0.0, eta(2.2): 1.0}


def filled(curve):
    bins = np.flatnonzero(np.isfinite(curve.value))
    return bins.tolist(), curve.value[bins].tolist()


def test_intervals_of_a_curve_hold_its_value():
    rng = np.random.default_rng(1)
    curve = Curve.of_fraction(ETA_EDGES, rng.normal(0, 2, 500), rng.random(500) < 0.7)
    some = np.isfinite(curve.value)
    assert (curve.low[some] <= curve.value[some]).all()
    assert (curve.high[some] >= curve.value[some]).all()


def test_what_lies_outside_of_the_bins_is_left_out():
    curve = Curve.of_fraction(np.array([1.0, 2.0]), np.array([1.0, 2.0, 2.1]), np.ones(3, bool))
    assert curve.value.tolist() == [1.0]
    assert curve.low[0] == pytest.approx(0.5)  # of a single entry: 1 / (1 + z^2)


def test_residuals_are_relative_in_momentum_and_differences_in_angles():
    true = particles((1, 10, 0.5, 3.1), (1, 20, 0, 0), (3, 4, 0, 0))
    said = particles((1, 11, 0.4, -3.1), (3, 20, 0, 0), (1, 4, 0, 0))
    found = resolution.residuals(true, said, HADRON)
    assert {name: values.round(6).tolist() for name, values in found.items()} == {
        "pT": [0.1],
        "eta": [-0.1],
        "phi": [round(2 * np.pi - 6.2, 6)],
    }


def test_neutral_classes_are_compared_by_energy():
    true, said = particles((3, 10, 1.0, 0)), particles((3, 10, 0.0, 0))
    found = resolution.residuals(true, said, PHOTON)
    assert found["energy"][0] == pytest.approx(1 / np.cosh(1.0) - 1)


def test_bias_is_the_median_and_resolution_the_interquartile_range():
    true = particles(*[(5, 10, 0, 0)] * 5, counts=[3, 2])
    said = particles(*[(5, pt, 0, 0) for pt in (8, 9, 10, 12, 15)], counts=[3, 2])
    found = {
        q.name: q.samples[0] for q in resolution.quantities(true, said, PLAIN) if q.group == "muon"
    }
    assert found["pT bias"] == pytest.approx(0)
    assert found["pT resolution"] == pytest.approx(0.3)  # 1.2 - 0.9


def test_resolution_curves_need_enough_entries():
    true = particles(*[(1, 10, 0, 0)] * 12, *[(1, 100, 0, 0)] * 9, counts=[10, 11])
    said = particles(
        *[(1, 10 + n / 11, 0, 0) for n in range(12)], *[(1, 100, 0, 0)] * 9, counts=[10, 11]
    )
    bins, values = filled(resolution.resolution_curves(true, said, HADRON, PLAIN)["resolution"])
    assert bins == [int(bin_of(np.array([10.0]), MOMENTUM_EDGES)[0])]
    assert values == [pytest.approx(0.05)]


def test_the_truth_itself_is_found_in_full_and_without_error():
    for of in (efficiency.quantities, resolution.quantities):
        for quantity in of(TRUE, TRUE, PLAIN):
            if quantity.group in ("charged hadron", "photon"):
                assert quantity.samples[0] == quantity.ideal


def test_a_class_that_is_not_there_has_no_numbers():
    curves = efficiency.efficiency_curves(TRUE, TRUE, ParticleClass.MUON)
    assert np.isnan(curves["efficiency"].value).all()
    for of in (efficiency.quantities, resolution.quantities):
        found = {q.name: q.samples for q in of(TRUE, TRUE, PLAIN) if q.group == "muon"}
        assert all(np.isnan(samples).all() for samples in found.values())
    assert len(CLASSES) == 5
