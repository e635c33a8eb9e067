"""Jet and MET responses, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from daskhpo.mlpf.physics import missing, responses
from daskhpo.mlpf.physics.curves import JET_PT_EDGES, bin_of
from daskhpo.mlpf.physics.jets import Jets
from daskhpo.mlpf.physics.particles import Particles
from daskhpo.mlpf.physics.responses import JetResponses
from daskhpo.mlpf.physics.uncertainties import Resamples


def jets(*events):
    """Events as lists of (pT, phi), at eta 0."""
    momenta = [[pt * np.cos(p), pt * np.sin(p), 0, pt] for event in events for pt, p in event]
    return Jets(np.array(momenta, float).reshape(-1, 4), np.array([len(e) for e in events]))


REFERENCE = jets([(40, 0), (20, 1), (10, 2)], [(50, 0), (30, 2)])
OTHER = jets([(44, 0.01), (18, 1.05), (9, -2), (8, -1)], [(50, 0)])  # responses 1.1, 0.9, 1.0
PLAIN = Resamples(np.array([[1, 1], [2, 0], [0, 2]]))


@pytest.fixture
def numbers():
    found = responses.quantities(JetResponses.of(REFERENCE, OTHER), PLAIN)
    return {quantity.name: quantity.samples for quantity in found}


def test_matched_fraction_is_of_the_reference_jets(numbers):
    np.testing.assert_allclose(numbers["matched fraction"], [3 / 5, 2 / 3, 1 / 2])


def test_unmatched_fraction_is_of_the_other_jets(numbers):
    np.testing.assert_allclose(numbers["unmatched fraction"], [2 / 5, 1 / 2, 0])
    np.testing.assert_allclose(numbers["number / reference"], [1, 4 / 3, 1 / 2])


def test_response_is_by_median_and_quartiles(numbers):
    assert numbers["response median"][0] == pytest.approx(1.0)
    assert numbers["response IQR"][0] == pytest.approx(0.1)  # 1.05 - 0.95
    assert numbers["response width"][0] == pytest.approx(0.1)
    assert numbers["response median"][1] == pytest.approx(1.0)  # of 0.9, 0.9, 1.1, 1.1


def test_width_is_relative_to_the_median():
    for scale in (1.0, 0.5):
        other = Jets(scale * OTHER.momenta, OTHER.counts)
        found = responses.quantities(JetResponses.of(REFERENCE, other), PLAIN)
        width = {q.name: q.samples[0] for q in found}["response width"]
        assert width == pytest.approx(0.1)


def test_distance_is_between_the_spectra(numbers):
    # Sorted: 50 40 30 20 10 and 50 44 18 9 8.
    assert numbers["pT distance"][0] == pytest.approx((0 + 4 + 12 + 11 + 2) / 5)


def test_responses_are_binned_by_the_reference():
    n = 24
    reference = jets(*[[(50, 0)], [(15, 0)]] * (n // 2))
    other = jets(
        *[
            [(50 * r, 0)] if i % 2 == 0 else [(5.5, 0)]
            for i, r in enumerate(np.linspace(0.9, 1.13, n))
        ]
    )
    resamples = Resamples.draw(n, 20, np.random.default_rng(1))
    curves = responses.response_curves(JetResponses.of(reference, other), resamples)
    at = int(bin_of(np.array([50.0]), JET_PT_EDGES)[0])
    even = np.linspace(0.9, 1.13, n)[::2]
    low, median, high = np.percentile(even, (25, 50, 75))
    assert curves["jet response median"].value[at] == pytest.approx(median)
    assert curves["jet response width"].value[at] == pytest.approx((high - low) / median)
    assert curves["jet response width"].low[at] < curves["jet response width"].value[at]
    soft = int(bin_of(np.array([15.0]), JET_PT_EDGES)[0])
    assert curves["jet response median"].value[soft] == pytest.approx(5.5 / 15)
    assert curves["jet matched fraction"].value[[at, soft]].tolist() == [1, 1]


def test_the_same_jets_are_perfect():
    for quantity in responses.quantities(JetResponses.of(REFERENCE, REFERENCE), PLAIN):
        assert quantity.samples[0] == pytest.approx(quantity.ideal, abs=1e-12)


def test_no_jets_give_no_numbers_and_no_warning():
    found = {
        q.name: q.samples[0]
        for q in responses.quantities(JetResponses.of(REFERENCE, jets([], [])), PLAIN)
    }
    assert found["matched fraction"] == 0
    assert found["number / reference"] == 0
    assert np.isnan(
        [found["response median"], found["unmatched fraction"], found["pT distance"]]
    ).all()


def particles(*given, counts):
    rows = [[3, 0, pt, 0, np.sin(phi), np.cos(phi), pt] for pt, phi in given]
    return Particles.from_rows(np.array(rows), counts)


def test_missing_momentum_is_the_size_of_the_vector_sum():
    found = missing.missing_pt(
        particles((3, 0), (4, np.pi / 2), (7, 0), (7, np.pi), counts=[2, 2, 0])
    )
    np.testing.assert_allclose(found, [5, 0, 0], atol=1e-12)


def test_met_response_leaves_out_events_that_miss_nothing():
    found = missing.met_response(np.array([10.0, 0.0, 20.0]), np.array([9.0, 3.0, 30.0]))
    assert found.tolist() == [0.9, 1.5]


def test_met_is_judged_by_ratio_and_by_difference():
    reference, other = np.array([10.0, 20, 40]), np.array([11.0, 18, 40])
    resamples = Resamples(np.array([[1, 1, 1], [3, 0, 0]]))
    found = {q.name: q.samples for q in missing.quantities(reference, other, resamples)}
    assert found["response median"].tolist() == pytest.approx([1.0, 1.1])
    assert found["response IQR"].tolist() == pytest.approx([0.1, 0.0])
    assert found["response width"][0] == pytest.approx(0.1)
    assert found["difference median"].tolist() == pytest.approx([0.0, 1.0])
    assert found["difference IQR"][0] == pytest.approx(1.5)  # 0.5 - (-1)
    assert found["distance"][0] == pytest.approx(1.0)
