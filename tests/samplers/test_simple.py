"""Samplers that do not learn: random, grid, Sobol; and how samplers are made by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers import KDE, Grid, Random, Sobol, make_sampler
from daskhpo.space import Choice, Float, Int, Space
from daskhpo.testing import SamplerSuite

SPACE = Space(lr=Float(1e-5, 1e-1, log=True), opt=Choice(["adam", "sgd"]))
PRIOR = {"type": "prior", "around": [{"lr": 1e-3}]}


class TestRandom(SamplerSuite):
    def make(self, space, seed):
        return Random(space, seed=seed)

    def test_seeds_and_numbers_draw_different_points(self):
        drawn = [Random(SPACE, seed=s).suggest(n)["lr"] for s in range(5) for n in range(5)]
        assert len(set(drawn)) == 25


class TestGrid(SamplerSuite):
    def make(self, space, seed):
        return Grid(space, seed=seed, resolution=3)

    def test_ends_after_the_last_combination(self):
        grid = Grid(SPACE, resolution=3)
        proposals = [grid.suggest(number) for number in range(7)]
        assert proposals[-1] is None
        assert len({tuple(params.values()) for params in proposals[:-1]}) == 6

    @pytest.mark.parametrize("resolution", [0, 2.0, True, "5"])
    def test_a_bad_resolution_is_refused(self, resolution):
        with pytest.raises(SchedulerError, match="resolution of Grid"):
            Grid(SPACE, resolution=resolution)


class TestSobol(SamplerSuite):
    def make(self, space, seed):
        return Sobol(space, seed=seed)

    def test_covers_every_cell_of_a_fine_raster(self):
        sampler = Sobol(Space(x=Float(0, 1), y=Float(0, 1)), seed=5)
        points = np.array([sampler.point(number) for number in range(256)])
        cells = np.floor(points * 16).astype(int)
        assert len({tuple(cell) for cell in cells}) == 256

    def test_covers_evenly_what_is_not_forbidden(self):
        space = Space(x=Float(0, 1), kind=["a", "b"]).forbid({"kind": "a", "x": {"low": 0.5}})
        sampler = Sobol(space, seed=5)
        proposals = [sampler.suggest(number) for number in range(256)]
        counts = Counter((int(8 * params["x"]), params["kind"]) for params in proposals)
        assert len(counts) == 12  # of 16 cells, a quarter is forbidden
        assert max(counts.values()) - min(counts.values()) <= 6

    def test_a_long_sequence_begins_as_a_short_one(self):
        short, long = Sobol(SPACE, seed=2), Sobol(SPACE, seed=2)
        long.suggest(1000)
        assert [short.suggest(n) for n in range(9)] == [long.suggest(n) for n in range(9)]


class TestMaking:
    @pytest.mark.parametrize(
        "kind", ["random", "grid", "sobol", "bayes", "kde", "quantile", "prior"]
    )
    def test_settings_make_the_sampler_again(self, kind):
        sampler = make_sampler(PRIOR if kind == "prior" else {"type": kind}, SPACE, 4)
        again = make_sampler(json.loads(json.dumps(sampler.settings())), SPACE, 4)
        assert sampler.settings()["type"] == kind
        assert type(again) is type(sampler)
        assert again.settings() == sampler.settings()
        assert again.suggest(3) == sampler.suggest(3)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"type": "bayse"}, "'bayse'; did you mean 'bayes'"),
            ({}, "type of the sampler is None; known: bayes, grid, kde, prior, quantile, random"),
            ({"type": "grid", "resolutoin": 3}, "'resolutoin'; did you mean 'resolution'"),
            ({"type": "random", "seed": 3}, "no setting 'seed'"),
            ({"type": "bayes", "surrogate": "pg"}, "surrogate of Bayes is 'pg'"),
            ({"type": "bayes", "acquisition": "pi"}, "acquisition of Bayes is 'pi'"),
            ({"type": "bayes", "startup": 1}, "startup of Bayes is 1"),
            ({"type": "kde", "min_points": 0}, "min_points of KDE is 0; it must be an int >= 1"),
            ({"type": "bohb", "candidates": 1.5}, "candidates of KDE is 1.5"),
            ({"type": "kde", "random_fraction": 2}, "random_fraction of KDE is 2; .* from 0 to 1"),
            ({"type": "quantile", "startup": True}, "startup of Quantile is True"),
            ({"type": "prior"}, r"around of Prior is \(\); it must be a list of configurations"),
            ({"type": "prior", "around": {"lr": 0.1}}, "around of Prior is {'lr': 0.1}"),
            ({"type": "prior", "around": [{}]}, "around of Prior has {}"),
            ({"type": "prior", "around": [{"lrr": 1}]}, "'lrr'; did you mean 'lr'"),
            ({"type": "prior", "around": [{"lr": 5}]}, "around of Prior: parameter 'lr' is 5"),
            (PRIOR | {"spread": 0}, "spread of Prior is 0; .* above 0 and at most 1"),
            (PRIOR | {"spread": 1.5}, "spread of Prior is 1.5"),
            (PRIOR | {"strength": -1}, "strength of Prior is -1; it must be a number above 0"),
        ],
    )
    def test_mistakes_are_named(self, settings, message):
        with pytest.raises(SchedulerError, match=message):
            make_sampler(settings, SPACE)

    @pytest.mark.parametrize("seed", [-1, 1.5, None, True])
    def test_a_bad_seed_is_refused(self, seed):
        with pytest.raises(SchedulerError, match="seed of a sampler"):
            make_sampler({"type": "random"}, SPACE, seed)

    def test_bohb_is_another_name(self):
        assert type(make_sampler({"type": "bohb"}, SPACE)) is KDE

    def test_importing_samplers_loads_nothing_heavy(self):
        code = (
            "import sys, daskhpo.samplers, daskhpo.space; "
            "sys.exit(bool({'skopt', 'sklearn', 'scipy'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_an_unknown_name_is_an_attribute_error(self):
        import daskhpo.samplers

        with pytest.raises(AttributeError, match="Byaes"):
            daskhpo.samplers.Byaes  # noqa: B018


def test_the_grid_shows_all_values_of_finite_domains():
    assert [Grid(Space(n=Int(1, 7, step=3))).suggest(k) for k in range(4)] == [
        {"n": 1},
        {"n": 4},
        {"n": 7},
        None,
    ]
