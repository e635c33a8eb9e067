"""Rows are drawn once each, the nearest row answers, and the surrogate is what was fitted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import problem, random_problem

from daskhpo.exceptions import CampaignError, DataError
from daskhpo.samplers.random import Random
from daskhpo.simulate import BySize, Nearest, Problem, Rows, Source, Surrogate, simulate
from daskhpo.simulate.choosing import make_source, make_speeds
from daskhpo.simulate.encoding import Encoding
from daskhpo.space import Choice, Float, Int, Space


def mixed(n=40, seed=0):
    """Configurations of every kind of parameter; the curve depends on two of them."""
    rng = np.random.default_rng(seed)
    space = Space(
        lr=Float(1e-5, 1e-1, log=True), width=Choice([16, 32, 64]), opt=["adam", "sgd", "lamb"]
    )
    params = [space.sample(rng) for _ in range(n)]
    height = np.array([np.log10(p["lr"]) ** 2 + (p["opt"] == "sgd") for p in params])
    return Problem("mixed", "loss", params, height[:, None] + 1 / np.arange(1, 8))


# ------------------------------------------------------------------ rows


@given(st.integers(1, 30), st.integers(0, 1000), st.integers(1, 4))
def test_rows_are_drawn_without_replacement_in_each_round(rows, seed, rounds):
    sampler = Rows(problem(np.ones((rows, 2)))).stream(seed)
    drawn = [sampler.suggest(number)["row"] for number in range(rounds * rows)]
    for start in range(0, len(drawn), rows):
        assert sorted(drawn[start : start + rows]) == list(range(rows))
    late = Rows(problem(np.ones((rows, 2)))).stream(seed)
    assert late.suggest(len(drawn) - 1)["row"] == drawn[-1]


def test_rounds_come_in_different_orders():
    sampler = Rows(problem(np.ones((50, 2)))).stream(3)
    first, second = ([sampler.suggest(50 * r + i)["row"] for i in range(50)] for r in (0, 1))
    assert first != second


def test_a_trial_has_the_curve_and_the_configuration_of_its_row():
    source = Rows(random_problem())
    run = simulate(source, "fifo", workers=3)
    for trial in run.study.trials.values():
        assert trial.value == source.problem.curves[trial.params["row"], -1]
        assert source.configuration(trial.params, trial.number) == {"x": trial.params["row"]}


# ------------------------------------------------------------------ nearest


def test_a_stored_configuration_is_nearest_to_itself():
    source = Nearest(mixed())
    for row, point in enumerate(source.problem.params):
        assert source.row(point) == row


def test_distances_know_the_order_of_numbers_and_the_difference_of_names():
    encode = Encoding(Space(n=Choice([64, 16, 32]), opt=["a", "b", "c"]))

    def distance(one, other):
        return np.linalg.norm(encode(one) - encode(other))

    at = {"n": 16, "opt": "a"}
    assert distance(at, at | {"n": 32}) < distance(at, at | {"n": 64}) == pytest.approx(1.0)
    assert distance(at, at | {"opt": "b"}) == pytest.approx(distance(at, at | {"opt": "c"}))
    assert distance(at, at | {"opt": "b"}) == pytest.approx(1.0)


def test_what_is_inactive_sits_in_the_middle():
    space = Space(opt=["adam", "sgd"], m=Float(0.0, 1.0, when={"opt": "sgd"}))
    encode = Encoding(space)
    assert encode({"opt": "adam"}).tolist() == encode({"opt": "sgd", "m": 0.5})[[1, 0, 2]].tolist()


def test_the_first_of_equal_rows_answers():
    source = Nearest(
        Problem("twice", "loss", [{"x": 1}, {"x": 2}, {"x": 2}], [[1.0], [2.0], [3.0]])
    )
    assert source.curve({"x": 2}, 7).tolist() == [2.0]


# ------------------------------------------------------------------ the surrogate


@pytest.mark.parametrize("steps", [1, 7])
def test_the_surrogate_predicts_as_scikit_learn_does(steps):
    from sklearn.ensemble import ExtraTreesRegressor

    stored = mixed()
    stored = Problem("mixed", "loss", stored.params, stored.curves[:, :steps])
    source = Surrogate(stored, trees=15, leaf=2, seed=3)
    points = Encoding(source.space).many(stored.params)
    curves = stored.curves if steps > 1 else stored.curves[:, 0]
    model = ExtraTreesRegressor(15, min_samples_leaf=2, random_state=3).fit(points, curves)
    rng = np.random.default_rng(1)
    for number in range(30):
        params = source.space.sample(rng)
        expected = model.predict([Encoding(source.space)(params)]).reshape(-1)
        np.testing.assert_allclose(source.curve(params, number), expected, rtol=1e-12)


def test_noise_belongs_to_the_trial():
    source = Surrogate(mixed(), trees=10, noise=1.0)
    params = source.problem.params[0]
    curves = [source.curve(params, number).tolist() for number in (0, 1, 0)]
    assert curves[0] == curves[2] != curves[1]
    assert source.identity(params, 0) != source.identity(params, 1)
    silent = Surrogate(mixed(), trees=10)
    assert silent.curve(params, 0).tolist() == silent.curve(params, 1).tolist()
    assert silent.identity(params, 0) == silent.identity(dict(params), 1)


def test_the_surrogate_has_structure_that_a_sampler_can_find():
    source = Surrogate(mixed(200), trees=30)
    finals = [source.curve({"lr": lr, "width": 32, "opt": "adam"}, 0)[-1] for lr in (1e-5, 0.09)]
    assert finals[1] < finals[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trees": 0}, "trees=0"),
        ({"leaf": 1.5}, "leaf=1.5"),
        ({"noise": -1}, "noise=-1"),
    ],
)
def test_settings_of_the_surrogate_are_checked(settings, message):
    with pytest.raises(CampaignError, match=message):
        Surrogate(mixed(), **settings)


def test_a_surrogate_needs_something_to_vary():
    with pytest.raises(DataError, match="all its parameters are constant"):
        Surrogate(Problem("p", "loss", [{"x": 1}, {"x": 1}], [[1.0], [2.0]]))


# ------------------------------------------------------------------ all of them


@pytest.mark.parametrize("make", [Rows, Nearest, lambda p: Surrogate(p, trees=5)])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_every_source_gives_whole_curves_that_depend_on_nothing_else(make, seed):
    source = make(mixed())
    assert isinstance(source, Source)
    sampler = source.stream(seed) or Random(source.space, seed=seed)
    for number in (0, 7):
        params = source.space.validate(sampler.suggest(number))
        curve = source.curve(params, number)
        assert curve.shape == (source.problem.max_step,)
        assert np.isfinite(curve).all()
        assert curve.tolist() == source.curve(params, number).tolist()
        assert mixed().space().contains(source.configuration(params, number))


# ------------------------------------------------------------------ from settings


def test_sources_and_speeds_are_made_from_one_line():
    stored = mixed()
    assert isinstance(make_source("nearest", stored), Nearest)
    noisy = make_source("surrogate(noise=0.5, trees=5)", stored)
    assert isinstance(noisy, Surrogate)
    assert noisy.noise == 0.5
    assert make_speeds(0.5, stored, seed=1)({}, 3) == make_speeds("0.5", stored, seed=1)({}, 3)
    pace = make_speeds("size(parameter=width, power=2)", stored, seed=1)
    assert pace({"width": 64}, 0) == 4 * pace({"width": 32}, 0) == 16 * pace({"width": 16}, 0)


def test_speeds_by_size_have_median_one():
    stored = mixed()
    paces = [BySize(stored, "width")(point, 0) for point in stored.params]
    assert np.median(paces) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: make_source("row", p), "source='row': did you mean 'rows'"),
        (lambda p: make_source("rows(n=1)", p), "source 'rows' has no setting 'n'"),
        (lambda p: make_source("surrogate(tree=1)", p), "did you mean 'trees'"),
        (lambda p: make_speeds("fast", p, seed=0), "speeds='fast': must be a sigma"),
        (lambda p: make_speeds("size(name=lr)", p, seed=0), "no setting 'name'"),
        (lambda p: make_speeds("size", p, seed=0), "size needs the parameter"),
        (lambda p: make_speeds("size(parameter=widht)", p, seed=0), "did you mean 'width'"),
        (lambda p: make_speeds("size(parameter=opt)", p, seed=0), "speeds need numbers above 0"),
        (lambda p: make_speeds("size(parameter=lr, power=x)", p, seed=0), "power='x'"),
        (lambda p: make_speeds("-1", p, seed=0), "speeds=-1.0"),
    ],
)
def test_what_cannot_be_made_is_named(make, message):
    with pytest.raises(CampaignError, match=message):
        make(mixed())


def test_numbers_of_a_grid_keep_their_step():
    stored = Problem("grid", "loss", [{"k": k} for k in (2, 4, 6)], np.ones((3, 2)))
    assert Nearest(stored).space == Space(k=Int(2, 6, step=2))
