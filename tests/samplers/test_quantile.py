"""Conformal quantiles: they hold what they say, and sampling from them finds what is good."""

from __future__ import annotations

import math

import numpy as np
import pytest

from daskhpo.samplers import quantile as module
from daskhpo.samplers.quantile import Quantile
from daskhpo.samplers.quantiles import LEVELS, Quantiles
from daskhpo.space import Choice, Float, Space
from daskhpo.testing import SPACES, SamplerSuite

PLANE = Space(x=Float(0.0, 1.0), y=Float(0.0, 1.0))


class TestQuantile(SamplerSuite):
    trials = 12

    def make(self, space, seed):
        return Quantile(space, seed=seed, startup=6)


def run(sampler, objective, trials):
    values = []
    for number in range(trials):
        params = sampler.suggest(number)
        sampler.pend(number, params)
        values.append(objective(params))
        sampler.tell(number, 1, values[-1])
    return values


class TestQuantiles:
    @pytest.fixture
    def noisy(self):
        rng = np.random.default_rng(1)
        rows = rng.random((600, 2))
        return rows, 3 * rows[:, 0] + (0.1 + rows[:, 1]) * rng.standard_exponential(600)

    def test_hold_as_many_results_as_they_say(self, noisy):
        rows, scores = noisy
        model = Quantiles(rows[:300], scores[:300], np.random.default_rng(2))
        below = (scores[300:] < model.predict(rows[300:])).mean(axis=1)
        assert np.abs(below - LEVELS).max() < 0.12

    def test_held_out_results_widen_what_is_too_narrow(self):
        model = object.__new__(Quantiles)
        model._offsets = np.zeros((5, 1))
        narrow = np.repeat(np.array([-0.2, -0.1, 0.0, 0.1, 0.2])[:, None], 99, axis=1)
        model._correct(narrow, np.linspace(-3, 3, 99))
        # Two thirds of the results lie within -2 and 2, a third within -1 and 1.
        outer, inner = model._offsets[[4, 3], 0] + [0.2, 0.1]
        assert outer == pytest.approx(2, abs=0.1)
        assert inner == pytest.approx(1, abs=0.1)
        assert model._offsets[:2].tolist() == (-model._offsets[[4, 3]]).tolist()

    def test_rise(self, noisy):
        model = Quantiles(*noisy, np.random.default_rng(2))
        assert (np.diff(model.predict(noisy[0]), axis=0) >= 0).all()

    def test_draws_are_among_them(self, noisy):
        model = Quantiles(*noisy, np.random.default_rng(2))
        drawn, all_of_them = model.draw(noisy[0], np.random.default_rng(3)), model.predict(noisy[0])
        assert (drawn == all_of_them).any(axis=0).all()
        assert len(set((drawn == all_of_them).argmax(axis=0))) == len(LEVELS)


class TestLearning:
    def test_asks_mostly_where_it_is_good(self):
        values = run(Quantile(PLANE, seed=1), lambda p: (p["x"] - 0.3) ** 2 + p["y"], 40)
        assert np.median(values[25:]) < 0.5 * np.median(values[:10])

    def test_learns_which_choice_is_best(self):
        space = Space(kind=Choice(list("abcdefgh")), x=Float(0.0, 1.0))
        sampler = Quantile(space, seed=2)
        run(sampler, lambda p: (p["kind"] != "f") + (p["x"] - 0.5) ** 2, 40)
        later = [sampler.suggest(number)["kind"] for number in range(40, 48)]
        assert later.count("f") >= 4

    @pytest.mark.parametrize("bad", [math.inf, math.nan])
    def test_keeps_away_from_where_trials_fail(self, bad):
        sampler = Quantile(PLANE, seed=5)
        run(sampler, lambda p: bad if p["x"] < 0.5 else p["x"] + p["y"], 30)
        later = [sampler.suggest(number)["x"] for number in range(30, 40)]
        assert sum(x < 0.45 for x in later) <= 3

    def test_suggestions_of_one_moment_differ(self):
        sampler = Quantile(PLANE, seed=1)
        run(sampler, lambda p: p["x"], 20)
        points = {tuple(sampler.suggest(number).values()) for number in range(20, 40)}
        assert len(points) == 20

    def test_begins_where_earlier_campaigns_ended(self):
        sampler, rng = Quantile(PLANE, seed=2), np.random.default_rng(0)
        for _ in range(40):
            params = PLANE.sample(rng)
            sampler.learn(params, 1, params["x"] + params["y"])
        assert np.median([sum(sampler.suggest(n).values()) for n in range(8)]) < 0.6

    def test_fits_see_a_bounded_number_of_results(self, monkeypatch):
        seen = []
        monkeypatch.setattr(module, "ROWS", 30)
        monkeypatch.setattr(module, "Quantiles", lambda rows, scores, rng: seen.append(len(rows)))
        sampler = Quantile(PLANE, seed=1)
        run(sampler, lambda p: p["x"], 50)
        assert max(seen) == 30

    def test_telling_never_fits(self, monkeypatch):
        monkeypatch.setattr(module, "Quantiles", lambda *_: pytest.fail("tell fitted a model"))
        sampler = Quantile(PLANE, seed=1, startup=4)
        for number in range(30):
            sampler.pend(number, {"x": number / 50, "y": 0.5})
            sampler.tell(number, 1, float(number))


def test_nothing_repeats_before_everything_was_tried():
    space = SPACES["choices only"]
    sampler = Quantile(space, seed=1, startup=2)
    seen = [tuple(sampler.suggest(number).values()) for number in range(3)]
    for number in range(3):
        sampler.tell(number, 1, float(number))
    seen += [tuple(sampler.suggest(number).values()) for number in range(3, 9)]
    assert len(set(seen)) == space.size == 9
