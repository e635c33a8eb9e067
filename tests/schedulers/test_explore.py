"""How parameters change from parent to child."""

from __future__ import annotations

import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from daskhpo.schedulers.explore import Explorer
from daskhpo.space import Choice, Float, Int, Space
from daskhpo.testing import SPACES

RNG = np.random.default_rng


def values_of(domain, value, *, factors=(0.8, 1.2), resample=0.0, draws=40):
    """What a value of a domain may turn into."""
    space = Space(x=domain)
    explorer = Explorer(["x"], factors, resample)
    return {explorer.explore(space, {"x": value}, RNG(seed))["x"] for seed in range(draws)}


def rounded(values):
    return {round(value, 9) for value in values}


def test_on_a_log_scale_a_factor_multiplies():
    assert rounded(values_of(Float(1e-5, 1.0, log=True), 0.1)) == {0.08, 0.12}


def test_on_a_linear_scale_it_does_so_too():
    assert rounded(values_of(Float(0.0, 0.5), 0.1)) == {0.08, 0.12}


def test_in_a_narrow_domain_a_number_moves_by_its_width():
    assert rounded(values_of(Float(0.9, 1.0), 0.95)) == {0.93, 0.97}


def test_a_negative_number_grows_away_from_zero():
    assert rounded(values_of(Float(-1.0, 1.0), -0.5)) == {-0.4, -0.6}


def test_zero_moves_by_the_width_of_the_domain():
    assert rounded(values_of(Float(-1.0, 1.0), 0.0)) == {-0.4, 0.4}
    assert rounded(values_of(Float(0.0, 1.0), 0.0)) == {0.0, 0.2}


def test_values_stay_within_their_bounds():
    assert rounded(values_of(Float(0.01, 1.0, log=True), 0.95)) == {0.76, 1.0}


def test_whole_numbers_move_by_one_at_least():
    assert values_of(Int(1, 9), 2) == {1, 3}
    assert values_of(Int(1, 9), 1) == {1, 2}
    assert values_of(Int(16, 1024, log=True), 100) == {80, 120}
    assert values_of(Int(2, 20, step=3), 11) == {8, 14}
    assert all(type(value) is int for value in values_of(Int(1, 9), 5))


def test_numbers_with_a_step_stay_on_it():
    assert values_of(Float(0.0, 0.5, step=0.05), 0.1) == {0.05, 0.15}


def test_a_choice_moves_to_a_neighbour():
    domain = Choice([16, 32, 64, 128])
    assert values_of(domain, 64) == {32, 128}
    assert values_of(domain, 16) == {32}
    assert {type(value) for value in values_of(Choice([True, 1]), True)} == {int}


def test_some_are_drawn_anew_from_all_of_the_domain():
    assert len(values_of(Float(0.0, 1.0), 0.5, resample=1.0)) == 40
    some = values_of(Float(0.0, 1.0), 0.5, resample=0.25, draws=200) - {0.4, 0.6}
    assert 20 < len(some) < 80
    assert min(some) < 0.3
    assert max(some) > 0.7


def test_a_factor_of_one_leaves_a_number_as_it_is():
    assert values_of(Int(1, 9), 5, factors=(1, 2)) == {5, 9}


def test_what_is_not_named_stays():
    space = SPACES["mixed"]
    before = space.sample(RNG(0))
    after = Explorer(["lr", "dropout"], (0.5, 2.0), 0.5).explore(space, before, RNG(1))
    assert {name for name in space if after.get(name) != before.get(name)} <= {"lr", "dropout"}


def test_a_parameter_with_a_condition_changes_where_it_is_active():
    space = Space(opt=Choice(["adam", "sgd"]), momentum=Float(0.0, 1.0, when={"opt": "sgd"}))
    explorer = Explorer(["momentum"], (0.5,), 0.0)
    assert explorer.explore(space, {"opt": "adam"}, RNG(0)) == {"opt": "adam"}
    changed = explorer.explore(space, {"opt": "sgd", "momentum": 0.5}, RNG(0))
    assert changed == {"opt": "sgd", "momentum": 0.25}


def test_what_a_space_forbids_is_not_proposed():
    space = Space(lr=Float(0.0, 1.0), batch=Choice([16, 32, 64]))
    space = space.forbid({"batch": 64, "lr": {"low": 0.5}})
    explorer = Explorer(["batch"], (0.8,), 0.0)
    for seed in range(20):
        assert explorer.explore(space, {"lr": 0.7, "batch": 32}, RNG(seed))["batch"] == 16
    alone = Space(lr=Float(0.0, 1.0), batch=Choice([32, 64])).forbid(
        {"batch": 64, "lr": {"low": 0.5}}
    )
    assert explorer.explore(alone, {"lr": 0.7, "batch": 32}, RNG(0)) == {"lr": 0.7, "batch": 32}


@given(seed=st.integers(0, 2**32), resample=st.floats(0, 1), factor=st.floats(0.01, 100))
def test_every_child_is_a_plain_point_of_the_space(seed, resample, factor):
    space = SPACES["mixed"]
    rng = RNG(seed)
    names = ["lr", "width", "layers", "dropout", "momentum"]
    explorer = Explorer(names, (factor, 1 / factor if factor != 1 else 2.0), resample)
    params = space.sample(rng)
    for _ in range(5):
        params = explorer.explore(space, params, rng)
        space.validate(params)
        assert json.loads(json.dumps(params)) == params
        assert {type(value).__module__ for value in params.values()} <= {"builtins"}
        assert all(math.isfinite(v) for v in params.values() if isinstance(v, float))


def test_one_parameter_more_does_not_change_the_lot_of_those_before():
    space = SPACES["mixed"]
    params = space.sample(RNG(3)) | {"opt": "adam"}
    params.pop("momentum", None)
    one, more = (Explorer(names, (0.8, 1.2), 0.5) for names in (["lr"], ["lr", "width"]))
    assert one.explore(space, params, RNG(9))["lr"] == more.explore(space, params, RNG(9))["lr"]


@pytest.mark.parametrize("resample", [0.0, 1.0])
def test_the_same_generator_gives_the_same_child(resample):
    space = SPACES["mixed"]
    explorer = Explorer(["lr", "width"], (0.8, 1.2), resample)
    params = space.sample(RNG(0))
    assert explorer.explore(space, params, RNG(5)) == explorer.explore(space, params, RNG(5))
