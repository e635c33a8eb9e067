"""Kernel densities are densities, of numbers, choices and conditions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.samplers.features import Features
from daskhpo.samplers.kernels import Kernels, rule_of_thumb
from daskhpo.space import Choice, Float, Int, Space

SPACE = Space(
    x=Float(0.0, 1.0),
    kind=Choice(list("abcd")),
    n=Int(1, 9),
    m=Float(0.0, 1.0, when={"kind": "b"}),
)


def kernels(space, configurations, widths, known=None):
    features = Features(space)
    units = np.array([space.encode(params) for params in configurations])
    snapped, active = features.snap(units)
    return Kernels(features, snapped, active if known is None else known, np.array(widths))


class TestDensity:
    @given(st.floats(0.3, 0.7), st.floats(0.01, 0.05), st.floats(0.01, 0.74))
    def test_adds_up_to_one(self, x, width, doubt):
        space = Space(x=Float(0.0, 1.0), kind=Choice(list("abcd")))
        density = kernels(space, [{"x": x, "kind": "b"}], [width, doubt])
        grid = (np.arange(2000) + 0.5) / 2000
        total = 0.0
        for middle in (0.125, 0.375, 0.625, 0.875):
            points = np.column_stack([grid, np.full(2000, middle)])
            total += np.exp(density.log_density(points)).mean()
        assert total == pytest.approx(1, abs=1e-6)

    def test_is_the_mean_over_its_points(self):
        both = kernels(Space(x=Float(0, 1)), [{"x": 0.2}, {"x": 0.7}], [0.1])
        one = kernels(Space(x=Float(0, 1)), [{"x": 0.2}], [0.1])
        other = kernels(Space(x=Float(0, 1)), [{"x": 0.7}], [0.1])
        points = np.linspace(0, 1, 7)[:, None]
        mean = (np.exp(one.log_density(points)) + np.exp(other.log_density(points))) / 2
        assert np.exp(both.log_density(points)) == pytest.approx(mean)

    def test_a_choice_is_kept_or_changed_to_any_other(self):
        density = kernels(Space(kind=Choice(list("abcd"))), [{"kind": "b"}], [0.3])
        shares = np.exp(density.log_density(np.array([[0.125], [0.375], [0.625], [0.875]])))
        assert shares == pytest.approx([0.1, 0.7, 0.1, 0.1])

    def test_a_choice_is_never_less_likely_than_the_others(self):
        density = kernels(Space(kind=Choice(list("abcd"))), [{"kind": "b"}], [5.0])
        shares = np.exp(density.log_density(np.array([[0.125], [0.375]])))
        assert shares == pytest.approx([0.25, 0.25])

    def test_what_is_not_active_says_nothing(self):
        centre = [{"x": 0.5, "kind": "a", "n": 3}]  # without m
        density = kernels(SPACE, centre, [0.1, 0.3, 0.1, 0.01])
        low, high = ([0.5, 0.375, 0.25, m] for m in (0.1, 0.9))  # with kind b, and so with m
        values = density.log_density(np.array([low, high]))
        assert values[0] == values[1]

    def test_what_a_candidate_lacks_does_not_count(self):
        centre = [{"x": 0.5, "kind": "b", "n": 3, "m": 0.5}]
        with_m = kernels(SPACE, centre, [0.1, 0.3, 0.1, 0.01])
        features = Features(SPACE.fix(m=0.5))
        units = features.snap(np.array([[0.5, 0.375, 0.25]]))
        without = Kernels(features, *units, np.array([0.1, 0.3, 0.1]))
        point = np.array([[0.5, 0.125, 0.25]])  # of kind a
        ours = with_m.log_density(np.hstack([point, [[0.9]]]))
        assert ours == pytest.approx(without.log_density(point))

    def test_far_points_have_a_finite_logarithm(self):
        density = kernels(Space(x=Float(0, 1)), [{"x": 0.0}], [1e-3])
        assert math.isfinite(density.log_density(np.array([[1.0]]))[0])


class TestDraws:
    def test_lie_round_the_points(self):
        density = kernels(
            SPACE, [{"x": 0.3, "kind": "b", "n": 5, "m": 0.8}], [0.02, 0.1, 0.02, 0.02]
        )
        drawn = density.draw(4000, np.random.default_rng(1))
        assert drawn.shape == (4000, 4)
        assert drawn[:, [0, 3]].mean(axis=0) == pytest.approx([0.3, 0.8], abs=0.002)
        assert drawn[:, [0, 3]].std(axis=0) == pytest.approx([0.02, 0.02], rel=0.05)
        kinds = np.floor(drawn[:, 1] * 4)
        assert (kinds == 1).mean() == pytest.approx(0.9, abs=0.02)
        assert set(kinds) == {0, 1, 2, 3}

    def test_end_at_the_faces_of_the_cube(self):
        density = kernels(Space(x=Float(0, 1)), [{"x": 0.0}, {"x": 1.0}], [0.3])
        drawn = density.draw(2000, np.random.default_rng(1), stretch=3.0)
        assert ((drawn >= 0) & (drawn <= 1)).all()
        assert 0.4 < drawn.mean() < 0.6
        assert (drawn == 0).mean() < 0.01  # cut off, not pushed onto the face

    def test_what_is_not_known_is_spread_evenly(self):
        known = np.array([[True, False, False, False]])
        centre = [{"x": 0.3, "kind": "a", "n": 5}]
        drawn = kernels(SPACE, centre, [0.01] * 4, known).draw(2000, np.random.default_rng(1))
        assert drawn[:, 0].std() < 0.02
        assert drawn[:, 1:].std(axis=0) == pytest.approx([0.29] * 3, abs=0.02)


class TestWidths:
    def test_follow_the_normal_reference_rule(self):
        features = Features(Space(x=Float(0, 1)))
        units = np.array([[0.2], [0.4], [0.6], [0.8]])
        widths = rule_of_thumb(features, units, np.ones_like(units, bool), 1e-3)
        assert widths == pytest.approx(1.06 * units.std() * 4 ** (-1 / 5))

    def test_have_a_least_value(self):
        features = Features(Space(x=Float(0, 1), kind=["a", "b"]))
        units = np.full((5, 2), 0.25)
        assert (
            rule_of_thumb(features, units, np.ones_like(units, bool), 1e-3).tolist() == [1e-3] * 2
        )

    def test_of_choices_do_not_depend_on_their_order(self):
        features = Features(Space(kind=Choice(list("abcd"))))
        near = np.array([[0.125], [0.125], [0.375], [0.375]])
        far = np.array([[0.125], [0.125], [0.875], [0.875]])
        known = np.ones_like(near, bool)
        assert rule_of_thumb(features, near, known, 0) == rule_of_thumb(features, far, known, 0)

    def test_leave_out_what_is_not_known(self):
        features = Features(Space(x=Float(0, 1)))
        units = np.array([[0.2], [0.4], [0.9], [0.9]])
        known = np.array([[True], [True], [False], [False]])
        assert rule_of_thumb(features, units, known, 0) == pytest.approx(1.06 * 0.1 * 4 ** (-1 / 5))
