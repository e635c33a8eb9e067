"""Protocols: what is forecast from what, and that nobody is forecast who was learned from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import QuantileTransformer

from daskhpo.analysis.prediction import Protocol, known_steps, set_exercise
from daskhpo.exceptions import DataError
from daskhpo.simulate.problem import Problem


def made(curves=40, steps=20, *, repeats=1, **settings):
    """Curves that fall by different amounts; each configuration ``repeats`` times."""
    rng = np.random.default_rng(0)
    values = rng.random((curves, 1)) + np.linspace(1.0, 0.0, steps) * rng.random((curves, 1))
    params = [{"x": row // repeats} for row in range(curves)]
    return Problem("made up", "loss", params, values, **settings)


def test_the_papers_curves_have_every_second_step_and_lack_the_worst_one():
    problem = made()
    exercise = set_exercise(problem, Protocol.PAPER, 0.25)
    thinned = problem.curves[:, ::2]
    kept = np.delete(thinned, np.argmax(thinned[:, -1]), axis=0)
    ranks = QuantileTransformer(n_quantiles=len(kept)).fit_transform
    assert exercise.known.shape == (39, 3)  # a quarter of 10, rounded up
    np.testing.assert_allclose(exercise.known, ranks(kept[:, :3]))
    np.testing.assert_allclose(exercise.targets, ranks(kept[:, -1:])[:, 0])


def test_the_papers_splits_are_those_of_its_authors():
    exercise = set_exercise(made(), Protocol.PAPER, 0.25)
    half, rest = train_test_split(np.arange(39), test_size=0.5, random_state=123 + 7)
    train, test = exercise.split(7, 5)
    assert train.tolist() == half[:5].tolist()
    assert test.tolist() == rest.tolist()
    assert exercise.split(7, 5, seed=1)[0].tolist() != train.tolist()


def test_the_honest_protocol_leaves_curves_as_they_are():
    problem = made()
    exercise = set_exercise(problem, Protocol.HONEST, 0.25)
    assert np.array_equal(exercise.known, problem.curves[:, :5])
    assert np.array_equal(exercise.targets, problem.curves[:, -1])


@pytest.mark.parametrize("protocol", list(Protocol))
def test_what_is_maximised_is_turned_round(protocol):
    problem = made()
    other = Problem("other", "acc", problem.params, -problem.curves, direction="max")
    one, two = (set_exercise(p, protocol, 0.3) for p in (problem, other))
    assert np.array_equal(one.known, two.known)
    assert np.array_equal(one.targets, two.targets)


@given(
    number=st.integers(0, 200),
    train=st.integers(2, 30),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 3),
)
def test_no_configuration_is_learned_from_and_forecast(number, train, repeats, seed):
    exercise = set_exercise(made(60, repeats=repeats), Protocol.HONEST, 0.25)
    learned, forecast = exercise.split(number, train, seed=seed)
    both = np.isin(exercise.configurations[forecast], exercise.configurations[learned])
    assert len(learned) == train
    assert len(np.unique(learned)) == train
    assert not both.any()
    others = np.isin(exercise.configurations, exercise.configurations[learned], invert=True)
    assert len(forecast) == others.sum()
    if train <= exercise.most:
        assert len(np.unique(exercise.configurations[forecast])) >= 10


@pytest.mark.parametrize("protocol", list(Protocol))
def test_fewer_training_curves_are_the_first_of_more(protocol):
    exercise = set_exercise(made(), protocol, 0.25)
    few, many = (exercise.split(3, train)[0].tolist() for train in (5, 15))
    assert many[:5] == few
    assert exercise.split(4, 5)[0].tolist() != few


@given(st.integers(1, 99), st.integers(1, 400))
def test_a_share_of_steps_is_rounded_up_without_the_errors_of_floats(percent, steps):
    assert known_steps(percent / 100, steps) == -(-percent * steps // 100)


def test_a_curve_of_which_everything_is_known_leaves_nothing_to_forecast():
    with pytest.raises(DataError, match="fraction=0.95.*nothing is left"):
        set_exercise(made(steps=4), Protocol.HONEST, 0.95)
    with pytest.raises(DataError, match="nothing is left"):
        set_exercise(made(steps=2), Protocol.PAPER, 0.5)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_curves_that_all_end_at_one_value_are_refused(protocol):
    problem = Problem("flat", "loss", [{"x": i} for i in range(30)], np.ones((30, 8)))
    with pytest.raises(DataError, match="'flat': all curves end at the same value"):
        set_exercise(problem, protocol, 0.25)
