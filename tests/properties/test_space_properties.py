"""Whatever the space: what is decoded is valid, and encoding brings it back."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.samplers.features import Features
from daskhpo.space import Choice, Constant, Float, Int, Space

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
reals = st.floats(-1e6, 1e6, allow_nan=False)


@st.composite
def floats(draw, **when):
    log = draw(st.booleans())
    numbers = st.floats(1e-8, 1e6) if log else reals
    low, high = sorted((draw(numbers), draw(numbers)))
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
        assert space.grid_point(index - 1, 3) != params


@given(spaces(), seeds)
def test_vectorised_snapping_is_encoding(space, seed):
    units = np.random.default_rng(seed).random((5, space.dimension))
    snapped, _ = Features(space).snap(units)
    encoded = [space.encode(space.decode(unit)) for unit in units]
    assert np.allclose(snapped, np.reshape(encoded, snapped.shape), rtol=0, atol=1e-9)
    assert np.isfinite(Features(space).columns(units)).all()
