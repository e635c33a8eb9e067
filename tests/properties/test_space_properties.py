"""Whatever the space: what is decoded is valid, and encoding brings it back."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import SpaceError
from daskhpo.samplers.features import Features
from daskhpo.space import Choice, Constant, Float, Int, Space

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
reals = st.floats(-1e6, 1e6, allow_nan=False)


@st.composite
def floats(draw, **when):
    log = draw(st.booleans())
    numbers = st.floats(1e-8, 1e6) if log else reals
    low, high = sorted((draw(numbers), draw(numbers)))
    if high - low < 1e-5 * max(abs(low), abs(high)):
        high = low  # rounding would show
    step = None
    if not log and high - low > 1e-3:
        step = draw(st.none() | st.floats((high - low) / 50, high - low))
    return Float(low, high, log=log, step=step, **when)


@st.composite
def ints(draw, **when):
    log = draw(st.booleans())
    numbers = st.integers(1, 2**40) if log else st.integers(-(2**40), 2**40)
    low, high = sorted((draw(numbers), draw(numbers)))
    return Int(low, high, log=log, step=1 if log else draw(st.integers(1, 9)), **when)


def choices(**when):
    distinct = st.lists(scalars, min_size=1, max_size=5, unique_by=lambda v: (type(v), v))
    return distinct.map(lambda values: Choice(values, **when))


def domains(**when):
    constants = scalars.map(lambda value: Constant(value, **when))
    return floats(**when) | ints(**when) | choices(**when) | constants


@st.composite
def spaces(draw):
    """Up to six parameters; some hang on a choice before them."""
    made = {}
    for index in range(draw(st.integers(1, 6))):
        parents = [name for name, domain in made.items() if isinstance(domain, Choice)]
        when = {}
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            values = st.lists(st.sampled_from(made[parent].choices), min_size=1, max_size=2)
            when = {"when": {parent: draw(values)}}
        made[f"p{index}"] = draw(domains(**when))
    return Space(draw(st.permutations(list(made.items()))) and made)


seeds = st.integers(0, 2**32 - 1)


def agree(space, one, other):
    """Whether two configurations are the same, floats to within rounding."""
    if list(one) != list(other):
        return False
    for name, value in one.items():
        domain = space[name]
        if isinstance(domain, Float) and domain.step is None:
            slack = 1e-9 * (abs(value) if domain.log else domain.high - domain.low)
            if abs(value - other[name]) > slack:
                return False
        elif (type(value), value) != (type(other[name]), other[name]):
            return False
    return True


@given(spaces(), seeds)
def test_encoding_and_decoding_brings_every_point_back(space, seed):
    params = space.sample(np.random.default_rng(seed))
    assert space.validate(params) == params
    unit = space.encode(params)
    assert unit.shape == (space.dimension,)
    assert ((unit >= 0) & (unit <= 1)).all()
    assert agree(space, space.decode(unit), params)


@given(spaces(), seeds)
def test_points_and_forms_go_through_json(space, seed):
    params = space.sample(np.random.default_rng(seed))
    assert json.loads(json.dumps(params)) == params
    again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again == space
    assert again.decode(space.encode(params)) == space.decode(space.encode(params))


@given(spaces(), st.integers(0, 10**6))
def test_every_point_of_a_grid_is_valid_and_only_there_once(space, index):
    size = space.grid_size(3)
    if math.isfinite(space.size):
        assert size == space.size
    index %= size
    params = space.grid_point(index, 3)
    assert space.validate(params) == params
    assert space.grid_point(size, 3) is None
    if index:
        assert json.dumps(space.grid_point(index - 1, 3)) != json.dumps(params)  # True is not 1


@given(spaces(), seeds)
def test_vectorised_snapping_is_encoding(space, seed):
    units = np.random.default_rng(seed).random((5, space.dimension))
    snapped, _ = Features(space).snap(units)
    encoded = [space.encode(space.decode(unit)) for unit in units]
    assert np.allclose(snapped, np.reshape(encoded, snapped.shape), rtol=0, atol=1e-9)
    assert np.isfinite(Features(space).columns(units)).all()


@st.composite
def restricted(draw):
    """A space, and the same one with clauses; None where they leave nothing."""
    space = draw(spaces())
    rng = np.random.default_rng(draw(seeds))
    clauses = []
    for _ in range(draw(st.integers(1, 4))):
        names = draw(st.lists(st.sampled_from(list(space)), min_size=1, max_size=3, unique=True))
        clauses.append({name: named(space[name], rng) for name in names})
    try:
        return space, space.forbid(*clauses)
    except SpaceError:
        return space, None


def named(domain, rng):
    """Some values of a domain as a clause names them."""
    one, other = domain.decode(rng.random()), domain.decode(rng.random())
    if isinstance(domain, Float | Int) and (math.isinf(domain.size) or rng.random() < 0.5):
        return dict(zip(("low", "high"), sorted((one, other)), strict=True))
    return [one, other] if rng.random() < 0.5 else one


@given(restricted(), st.integers(0, 10**6), seeds)
def test_what_is_forbidden_is_neither_drawn_nor_counted(pair, index, seed):
    plain, space = pair
    if space is None:
        return
    params = space.sample(np.random.default_rng(seed))
    assert space.validate(params) == plain.validate(params) == params
    assert Space.from_dict(json.loads(json.dumps(space.to_dict()))) == space
    if space.grid_size(3):
        point = space.grid_point(index % space.grid_size(3), 3)
        assert space.validate(point) == point
    if plain.grid_size(3) <= 500:
        allowed = [point for point in plain.grid(3) if space.contains(point)]
        assert sorted(map(json.dumps, space.grid(3))) == sorted(map(json.dumps, allowed))
        if math.isfinite(plain.size):
            assert space.size == len(allowed)


@given(restricted(), seeds)
def test_what_is_left_is_reached_from_everywhere(pair, seed):
    _, space = pair
    if space is None:
        return
    for corner in (0.0, 1.0, np.random.default_rng(seed).random()):
        unit = space.evade(np.full(space.dimension, corner))
        assert ((unit >= 0) & (unit <= 1)).all()
        assert space.contains(space.decode(unit))


@given(restricted(), seeds)
def test_candidates_are_refused_whenever_their_configuration_is(pair, seed):
    _, space = pair
    if space is None:
        return
    units = np.random.default_rng(seed).random((20, space.dimension))
    refused = Features(space).forbidden(units)
    for unit, given_up in zip(units, refused, strict=True):
        assert given_up or space.contains(space.decode(unit))
