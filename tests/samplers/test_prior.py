"""A prior: at home from the first trial, and given up where results speak against it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers.prior import RANDOM, Prior
from daskhpo.space import Choice, Float, Int, Space
from daskhpo.testing import SamplerSuite

PLANE = Space(x=Float(0.0, 1.0), y=Float(0.0, 1.0))
NETWORK = Space(
    opt=Choice(["adam", "sgd", "lamb"]),
    lr=Float(1e-5, 1e-1, log=True),
    layers=Int(1, 9),
    momentum=Float(0.0, 1.0, when={"opt": "sgd"}),
)


class TestPrior(SamplerSuite):
    def make(self, space, seed):
        known = space.sample(np.random.default_rng(8))
        return Prior(space, around=[known], seed=seed)


class TestIncompletePrior(SamplerSuite):
    def make(self, space, seed):
        known = space.sample(np.random.default_rng(8))
        name = next(iter(known))
        return Prior(space, around=[{name: known[name]}], spread=0.05, seed=seed)


def shares(sampler):
    return sampler.shares(np.random.default_rng(0))


def taught(objective, trials=10, space=PLANE, around=({"x": 0.8, "y": 0.8},), **settings):
    sampler, rng = Prior(space, around=around, seed=1, **settings), np.random.default_rng(4)
    for number in range(trials):
        params = space.sample(rng)
        sampler.pend(number, params)
        sampler.tell(number, 1, objective(params))
    return sampler


class TestBeginning:
    def test_two_thirds_lie_near_what_is_known(self):
        sampler = Prior(PLANE, around=[{"x": 0.2, "y": 0.9}], spread=0.02, seed=1)
        near = [abs(sampler.suggest(number)["x"] - 0.2) < 0.1 for number in range(300)]
        even = RANDOM * 0.2
        assert np.mean(near) == pytest.approx(1 - RANDOM + even, abs=0.07)

    def test_every_known_configuration_is_visited(self):
        around = [{"x": 0.1, "y": 0.1}, {"x": 0.9, "y": 0.9}]
        sampler = Prior(PLANE, around=around, spread=0.01, seed=1)
        drawn = np.array([list(sampler.suggest(number).values()) for number in range(60)])
        for centre in (0.1, 0.9):
            assert (np.abs(drawn - centre).max(axis=1) < 0.05).sum() > 10

    def test_what_it_does_not_say_is_drawn_evenly(self):
        sampler = Prior(NETWORK, around=[{"lr": 1e-3}], spread=0.02, seed=1)
        drawn = [sampler.suggest(number) for number in range(200)]
        near = [params for params in drawn if abs(math.log10(params["lr"]) + 3) < 0.3]
        assert len(near) > 100
        assert {params["opt"] for params in near} == {"adam", "sgd", "lamb"}
        assert {params["layers"] for params in near} == set(range(1, 10))
        assert len({params["momentum"] for params in near if "momentum" in params}) > 20

    def test_choices_are_mostly_kept(self):
        sampler = Prior(NETWORK, around=[{"opt": "sgd", "momentum": 0.9}], spread=0.1, seed=1)
        drawn = [sampler.suggest(number) for number in range(200)]
        assert 0.6 < np.mean([params["opt"] == "sgd" for params in drawn]) < 0.85
        moments = [params["momentum"] for params in drawn if "momentum" in params]
        assert np.median(moments) == pytest.approx(0.9, abs=0.08)


class TestEvidence:
    def test_three_results_bring_the_incumbent_in(self):
        def bowl(params):
            return (params["x"] - 0.2) ** 2

        assert shares(taught(bowl, 2)) == (RANDOM, 1 - RANDOM, 0)
        even, prior, near = shares(taught(bowl, 3))
        assert even == RANDOM
        assert prior + near == pytest.approx(1 - RANDOM)
        assert near > 0

    def test_a_wrong_prior_is_given_up(self):
        _, prior, near = shares(taught(lambda p: math.dist(p.values(), (0.1, 0.1)), 20))
        assert prior < 0.02 < near

    def test_a_right_prior_counts_less_and_less(self):
        counts = [
            shares(taught(lambda p: math.dist(p.values(), (0.8, 0.8)), n))[1] for n in (10, 40, 160)
        ]
        assert counts[0] > counts[1] > counts[2] > 0

    def test_a_stronger_one_lasts_longer(self):
        def right(params):
            return math.dist(params.values(), (0.8, 0.8))

        assert shares(taught(right, 30, strength=100))[1] > shares(taught(right, 30, strength=3))[1]

    def test_failed_trials_are_no_evidence(self):
        assert shares(taught(lambda p: math.inf, 20)) == (RANDOM, 1 - RANDOM, 0)

    def test_earlier_campaigns_are_evidence(self):
        sampler, rng = Prior(PLANE, around=[{"x": 0.9}], seed=1), np.random.default_rng(0)
        for _ in range(30):
            params = PLANE.sample(rng)
            sampler.learn(params, 1, math.dist(params.values(), (0.1, 0.1)))
        assert shares(sampler)[1] < 0.02
        assert np.median([sampler.suggest(n)["x"] for n in range(40)]) < 0.45

    def test_finds_its_way_from_a_wrong_prior(self):
        sampler = Prior(PLANE, around=[{"x": 0.9, "y": 0.9}], spread=0.1, seed=1)
        values = []
        for number in range(80):
            params = sampler.suggest(number)
            values.append(math.dist(params.values(), (0.2, 0.2)))
            sampler.tell(number, 1, values[-1])
        assert min(values) < 0.03


@pytest.mark.parametrize(
    ("around", "message"),
    [
        ("lr", "around of Prior is 'lr'; it must be a list"),
        ([["lr", 0.1]], r"around of Prior has \['lr', 0.1\]; it must be a mapping"),
        ([{"lr": 1e-3}, {"opt": "sdg"}], "parameter 'opt' is 'sdg'; it must be one of"),
        ([{"opt": "adam", "momentum": 0.9}], "'momentum' is 0.9, but it can never be active"),
        ([{"opt": "lamb", "lr": 0.05}], "around of Prior: forbidden: opt = 'lamb'"),
    ],
)
def test_mistakes_are_named(around, message):
    space = NETWORK.forbid({"opt": "lamb", "lr": {"low": 0.01}})
    with pytest.raises(SchedulerError, match=message):
        Prior(space, around=around)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "wide", None])
def test_widths_and_strengths_must_be_numbers(value):
    for key in ("spread", "strength"):
        with pytest.raises(SchedulerError, match=f"{key} of Prior is"):
            Prior(PLANE, around=[{"x": 0.5}], **{key: value})
