"""BOHB's sampler: it resembles the good ones, and learns at the largest step that it can."""

from __future__ import annotations

import math

import numpy as np
import pytest

from daskhpo.samplers.kde import KDE
from daskhpo.space import Choice, Float, Space
from daskhpo.testing import SPACES, SamplerSuite

PLANE = Space(x=Float(0.0, 1.0), y=Float(0.0, 1.0))


class TestKDE(SamplerSuite):
    def make(self, space, seed):
        return KDE(space, seed=seed)


class TestGreedyKDE(SamplerSuite):
    def make(self, space, seed):
        return KDE(space, seed=seed, random_fraction=0.0, min_points=2)


def taught(space, objective, trials, **settings):
    """Return a sampler that knows random configurations and their values at step 1."""
    sampler, rng = KDE(space, seed=1, **settings), np.random.default_rng(7)
    for number in range(trials):
        params = space.sample(rng)
        sampler.pend(number, params)
        sampler.tell(number, 1, objective(params))
    return sampler


def bowl(params):
    return (params["x"] - 0.3) ** 2 + (params["y"] - 0.7) ** 2


class TestLearning:
    def test_proposes_where_it_is_good(self):
        sampler = taught(PLANE, bowl, 60, random_fraction=0.0)
        values = [bowl(sampler.suggest(number)) for number in range(60, 90)]
        assert np.median(values) < 0.02  # a point anywhere has 0.2

    def test_draws_a_third_anywhere(self):
        sampler = taught(PLANE, bowl, 60)
        values = np.array([bowl(sampler.suggest(number)) for number in range(60, 180)])
        assert 0.15 < (values > 0.1).mean() < 0.4

    def test_learns_which_choice_is_best(self):
        space = Space(kind=Choice(list("abcdefgh")), x=Float(0.0, 1.0))
        sampler = taught(space, lambda p: (p["kind"] != "f") + p["x"] / 10, 80, random_fraction=0.0)
        kinds = [sampler.suggest(number)["kind"] for number in range(80, 100)]
        assert kinds.count("f") >= 15

    def test_learns_where_a_condition_holds(self):
        space = Space(opt=["adam", "sgd"], m=Float(0.0, 1.0, when={"opt": "sgd"}))
        sampler = taught(space, lambda p: abs(p.get("m", 9.0) - 0.8), 60, random_fraction=0.0)
        values = [sampler.suggest(number).get("m", 9.0) for number in range(60, 80)]
        assert np.median(np.abs(np.array(values) - 0.8)) < 0.1

    def test_waits_for_two_more_than_it_needs(self):
        for trials, ready in ((4, False), (5, True)):
            sampler = taught(PLANE, bowl, trials, min_points=3)
            model = sampler._densities(np.random.default_rng(0))
            assert (model is not None) is ready

    def test_the_largest_step_with_enough_trials_decides(self):
        # At step 1 a small x looks good, at step 9 a large one.
        sampler = taught(PLANE, lambda p: p["x"], 60, random_fraction=0.0)
        rng = np.random.default_rng(3)
        for number in range(60, 80):
            params = PLANE.sample(rng)
            sampler.pend(number, params)
            sampler.tell(number, 1, params["x"])
            sampler.tell(number, 9, 1 - params["x"])
            middle = np.median([sampler.suggest(1000 * number + k)["x"] for k in range(9)])
            assert middle < 0.35 if number < 64 else True
        assert middle > 0.65

    def test_keeps_away_from_where_trials_fail(self):
        sampler = taught(
            PLANE, lambda p: math.inf if p["x"] < 0.5 else p["x"], 80, random_fraction=0.0
        )
        drawn = [sampler.suggest(number)["x"] for number in range(80, 110)]
        assert np.mean(np.array(drawn) < 0.5) < 0.2

    def test_the_good_ones_are_none_that_failed(self):
        sampler = taught(PLANE, lambda p: math.inf if p["x"] < 0.9 else 1.0, 200)
        good, _ = sampler._densities(np.random.default_rng(0))
        assert (good._centres[:, 0] >= 0.9).all()

    def test_several_metrics_are_weighed_anew_for_each_suggestion(self):
        sampler = taught(PLANE, lambda p: (p["x"], 1 - p["x"]), 100, random_fraction=0.0)
        drawn = np.array([sampler.suggest(number)["x"] for number in range(100, 130)])
        assert drawn.min() < 0.3
        assert drawn.max() > 0.7


def test_nothing_repeats_before_everything_was_tried():
    space = SPACES["choices only"]
    sampler = KDE(space, seed=1, min_points=2, random_fraction=0.0)
    seen = []
    for number in range(9):
        params = sampler.suggest(number)
        sampler.tell(number, 1, float(len(str(params))))
        seen.append(tuple(params.values()))
    assert len(set(seen)) == space.size == 9
    assert space.contains(sampler.suggest(9))


@pytest.mark.parametrize("value", [1.0, 1e308, -1e308])
def test_equal_values_are_no_trouble(value):
    assert PLANE.contains(taught(PLANE, lambda p: value, 20, random_fraction=0.0).suggest(20))
