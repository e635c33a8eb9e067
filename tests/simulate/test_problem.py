"""Stored curves become a problem, or the error says which row is to blame and what to do."""

from __future__ import annotations

import numpy as np
import objectives
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import DataError, StoreError
from daskhpo.simulate import Problem
from daskhpo.simulate.inference import infer_space
from daskhpo.space import Choice, Constant, Float, Int
from daskhpo.store.importer import import_table


@pytest.fixture
def store(tmp_path):
    """Import a table; gives the path of its curve store."""

    def write(text, **settings):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        names = ["lr", "opt"] if text.startswith("lr") else []
        given = {"params": names, "metric": "loss_{step}"} | settings
        return import_table(path, out=tmp_path / "curves.zarr", **given)

    return write


def test_a_store_is_opened_with_its_configurations(store):
    path = store("lr,opt,loss_0,loss_1\n0.1,adam,3,2\n0.2,,5,4\n", mode="max", name="mine")
    problem = Problem.open(path)
    assert (problem.name, problem.metric, problem.direction) == ("mine", "loss", "max")
    assert (problem.max_step, problem.unit, len(problem)) == (2, "step", 2)
    assert problem.params == [{"lr": 0.1, "opt": "adam"}, {"lr": 0.2}]
    assert problem.curves.tolist() == [[3.0, 2.0], [5.0, 4.0]]
    assert problem.finals.tolist() == [-2.0, -4.0]


def test_whole_numbers_come_back_as_integers(store):
    problem = Problem.open(store("lr,opt,loss_0\n1,true,3\n2,false,4\n"))
    assert problem.params == [{"lr": 1, "opt": True}, {"lr": 2, "opt": False}]
    assert [type(value) for value in problem.params[0].values()] == [int, bool]


def test_a_curve_that_ends_early_is_named_and_can_be_dropped(store):
    path = store("loss_0,loss_1,loss_2\n3,2,1\n3,2,\n4,,1\n")
    with pytest.raises(
        DataError, match=r"2 of 3 curves .* row 1, .* ends after step 2; .*drop_inc"
    ):
        Problem.open(path)
    assert Problem.open(path, drop_incomplete=True).curves.tolist() == [[3.0, 2.0, 1.0]]


def test_a_gap_and_an_infinity_are_named(store):
    with pytest.raises(DataError, match=r"row 0, .* is nan at step 2"):
        Problem.open(store("loss_0,loss_1,loss_2\n4,,1\n3,2,1\n"))
    with pytest.raises(DataError, match=r"row 1, .* is inf at step 1"):
        Problem("p", "loss", [{}, {}], [[1.0], [np.inf]])


def test_a_store_without_a_complete_curve_is_refused(store):
    with pytest.raises(DataError, match="no complete curve among 2"):
        Problem.open(store("loss_0,loss_1\n4,\n,1\n"), drop_incomplete=True)


def test_a_path_without_curves_is_refused(tmp_path):
    with pytest.raises(StoreError, match="there are no curves at"):
        Problem.open(tmp_path / "nowhere.zarr")


@pytest.mark.parametrize(
    ("params", "curves", "message"),
    [
        ([], np.empty((0, 5)), "no complete curve"),
        ([{}], np.empty((1, 0)), "no complete curve"),
        ([{}], [1.0, 2.0], "no complete curve"),
        ([{}], [[1.0], [2.0]], "1 configurations and 2 curves"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(params, curves, message):
    with pytest.raises(DataError, match=message):
        Problem("p", "loss", params, curves)


def test_an_unknown_direction_is_refused():
    with pytest.raises(DataError, match="direction='up': must be 'min' or 'max'"):
        Problem("p", "loss", [{}], [[1.0]], direction="up")


def test_of_a_campaign_the_complete_trials_count(tuner_of):
    tuner = tuner_of(objectives.quick)
    tuner.debug(trials=9)
    problem = Problem.open(tuner.directory.path)
    complete = tuner.trials.query("state == 'completed'")
    assert len(problem) == len(complete) < 9
    assert problem.max_step == 9
    assert [point["x"] for point in problem.params] == list(complete.param_x)


# ------------------------------------------------------------------ spaces


@pytest.mark.parametrize(
    ("values", "domain"),
    [
        ([3, 3, 3], Constant(3)),
        (["adam", "sgd", "adam"], Choice(["adam", "sgd"])),
        ([True, False], Choice([True, False])),
        ([1, True], Choice([1, True])),
        ([4, 2, 6], Int(2, 6, step=2)),
        ([16, 64, 32], Choice([16, 32, 64])),
        ([0.1, 0.2, 0.3], Choice([0.1, 0.2, 0.3])),
        (list(range(20)), Int(0, 19)),
        (list(range(1, 1000, 7)), Int(1, 995, log=True)),
        ([i / 10 for i in range(20)], Float(0.0, 1.9)),
        ([10.0**-i for i in range(9)], Float(1e-8, 1.0, log=True)),
        ([-(10.0**i) for i in range(9)], Float(-1e8, -1.0)),
        ([2**45 + i for i in range(9)], Float(2.0**45, 2.0**45 + 8)),
    ],
)
def test_a_column_becomes_the_domain_that_it_looks_like(values, domain):
    assert infer_space([{"x": value} for value in values])["x"] == domain


def test_a_parameter_that_is_there_at_times_is_conditional():
    params = [{"opt": "sgd", "momentum": m / 20} for m in range(20)] + [{"opt": "adam"}]
    space = infer_space(params)
    assert space["momentum"] == Float(0.0, 0.95, when={"opt": ["sgd"]})
    assert all(space.contains(point) for point in params)


def test_a_parameter_that_is_missing_for_no_reason_is_named():
    params = [{"x": 1, "y": 1}, {"x": 1}, {"x": 2, "y": 2}]
    with pytest.raises(DataError, match=r"'y' is missing from 1 of 3 .* \(source 'rows'\)"):
        infer_space(params)
    with pytest.raises(DataError, match="have no parameters"):
        infer_space([{}, {}])


scalars = st.booleans() | st.integers(-(2**50), 2**50) | st.floats(-1e9, 1e9) | st.text(max_size=3)


@given(st.lists(st.fixed_dictionaries({"a": scalars, "b": scalars}), min_size=1, max_size=30))
def test_a_space_holds_every_configuration_that_it_was_made_of(params):
    space = infer_space(params)
    assert all(space.contains(point) for point in params)
