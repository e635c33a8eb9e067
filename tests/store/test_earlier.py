"""What earlier campaigns know comes over as points of the present space, or is left out by name."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import CampaignError
from daskhpo.goal import Goal
from daskhpo.samplers import Random
from daskhpo.space import Choice, Constant, Float, Int, Space
from daskhpo.store import earlier
from daskhpo.store.curves import CurveWriter
from daskhpo.store.earlier import read_earlier

LOSS = Goal("loss")


@pytest.fixture
def store(tmp_path):
    """Make a curve store of (params, values of the metric at steps 1, 2, ...)."""

    def make(*trials, name="curves.zarr", metric="loss", direction="min", also=None):
        attrs = {"also": also} if also else None
        path = tmp_path / name
        writer = CurveWriter(path, metric=metric, direction=direction, attrs=attrs)
        for number, (params, curve) in enumerate(trials):
            writer.put_trial(number, params, state="stopped", attempt=0)
            for step, value in enumerate(curve, 1):
                if value is not None:
                    metrics = value if isinstance(value, dict) else {metric: value}
                    writer.put(number, step, metrics)
        writer.flush(1)
        return path

    return make


def curves(n=1, **params):
    return [(params, [0.5, 0.4])] * n


def test_a_trial_comes_over_with_its_curve(store):
    path = store(({"lr": 0.1}, [0.5, None, 0.3]))
    (found,) = read_earlier([path], Space(lr=Float(0, 1)), LOSS)
    (known,) = found.known
    assert known.params == {"lr": 0.1}
    assert known.steps == [1, 3]
    assert known.metrics == [{"loss": 0.5}, {"loss": 0.3}]
    assert str(found) == f"taken 1 of 1 trial of {path}"


def test_values_come_over_in_the_types_of_the_space(store):
    given = {"width": 64, "lr": 1.0, "layers": 3, "opt": "adam", "norm": True, "scale": 2.5}
    space = Space(
        width=Choice([32, 64]),
        lr=Float(0, 1),
        layers=Int(1, 9),
        opt=Choice(["adam", "sgd"]),
        norm=Choice([True, False]),
        scale=Constant(2.5),
    )
    (found,) = read_earlier([store((given, [0.5]))], space, LOSS)
    (known,) = found.known
    assert dict(known.params) == given
    types = [type(known.params[name]) for name in space]
    assert types == [int, float, int, str, bool, float]


def test_every_point_of_a_space_survives_the_way_through_a_store(store):
    space = Space(
        lr=Float(1e-5, 1e-1, log=True),
        width=Int(16, 1024, log=True),
        dropout=Float(0.0, 0.5, step=0.05),
        opt=Choice(["adam", "sgd", None]),
        momentum=Float(0.0, 1.0, when={"opt": "sgd"}),
        batch=Choice([32, 64.5, "all"]),
        data=Constant(None),
    )
    sampler = Random(space, seed=1)
    points = [sampler.suggest(number) for number in range(40)]
    (found,) = read_earlier([store(*((point, [0.5]) for point in points))], space, LOSS)
    assert [dict(known.params) for known in found.known] == points
    types = [[type(value) for value in point.values()] for point in points]
    assert [[type(v) for v in known.params.values()] for known in found.known] == types


def test_what_does_not_fit_is_left_out_and_said(store):
    space = Space(
        lr=Float(0.0, 1.0),
        opt=Choice(["adam", "sgd"]),
        momentum=Float(0.0, 1.0, when={"opt": "sgd"}),
    ).forbid({"opt": "sgd", "momentum": {"low": 0.9}})
    path = store(
        ({"lr": 0.1, "opt": "adam"}, [0.5]),
        ({"lr": 0.2, "opt": "adam"}, [0.4]),
        ({"lr": 0.1, "opt": "adam"}, [0.5]),
        ({"lr": 9.0, "opt": "adam"}, [0.5]),
        ({"lr": 8.0, "opt": "adam"}, [0.5]),
        ({"opt": "adam"}, [0.5]),
        ({"lr": 0.1, "opt": "adam", "momentum": 0.1}, [0.5]),
        ({"lr": 0.1, "opt": "sgd", "momentum": 0.95}, [0.5]),
        ({"lr": 0.1, "opt": "adam", "wd": 0.1}, [0.5]),
        ({"lr": 0.1, "opt": "adam", "wd": 0.2}, [0.5]),
        ({"lr": 0.1, "opt": "sgd", "momentum": 0.5}, [math.nan, math.inf, None]),
    )
    (found,) = read_earlier([path], space, LOSS)
    assert [known.params["lr"] for known in found.known] == [0.1, 0.2]
    assert found.left_out == {
        "outside lr": 2,
        "with wd, which varies there and is unknown here": 2,
        "known twice": 1,
        "without lr": 1,
        "with momentum where it is inactive here": 1,
        "of a forbidden combination": 1,
        "without a finite loss": 1,
    }
    assert str(found).startswith(f"taken 2 of 11 trials of {path}: 2 outside lr, 2 with wd, ")


def test_parameters_that_say_nothing_may_be_missing_on_either_side(store):
    space = Space(lr=Float(0, 1), data=Constant("sample"), norm=Choice(["batch"]))
    path = store(*(({"lr": lr, "epochs": 100}, [0.5]) for lr in (0.1, 0.2)))
    (found,) = read_earlier([path], space, LOSS)
    points = [dict(known.params) for known in found.known]
    assert points == [{"lr": lr, "data": "sample", "norm": "batch"} for lr in (0.1, 0.2)]


def test_another_constant_is_another_problem(store):
    space = Space(lr=Float(0, 1), data=Constant("new"))
    with pytest.raises(CampaignError, match="2 outside data"):
        read_earlier([store(*curves(2, lr=0.1, data="old"))], space, LOSS)


@given(st.sets(st.integers(1, 2000), min_size=1), st.sets(st.integers(1, 2000), max_size=6))
def test_curves_are_thinned_to_some_steps_the_milestones_and_the_ends(steps, milestones):
    import numpy as np

    kept = earlier._thinned(np.array(sorted(steps)), milestones)
    assert kept == sorted(set(kept))
    assert {min(steps), max(steps), *(steps & milestones)} <= set(kept) <= steps
    assert len(kept) <= 20
    if len(steps) <= 3:
        assert set(kept) >= {min(steps), max(steps)}


def test_long_curves_keep_their_shape(store):
    path = store(({"lr": 0.1}, [1 / step for step in range(1, 1001)]))
    found = read_earlier([path], Space(lr=Float(0, 1)), LOSS, milestones=[9, 81, 5000])
    (known,) = found[0].known
    assert {1, 9, 81, 1000} <= set(known.steps)
    assert len(known.steps) <= 15
    assert [m["loss"] for m in known.metrics] == [1 / step for step in known.steps]


def test_of_too_many_trials_the_most_recent_are_taken(store, monkeypatch):
    monkeypatch.setattr(earlier, "MOST", 5)
    space = Space(x=Float(0, 9))
    first = store(*(({"x": float(x)}, [0.5]) for x in range(3)), name="first.zarr")
    second = store(*(({"x": x + 0.5}, [0.5]) for x in range(4)), name="second.zarr")
    one, two = read_earlier([first, second], space, LOSS)
    assert [known.params["x"] for known in one.known] == [2.0]
    assert [known.params["x"] for known in two.known] == [0.5, 1.5, 2.5, 3.5]
    assert "2 older than the 5 most recent" in str(one)


def test_the_same_store_given_twice_is_learned_once(store):
    path = store(({"x": 0.1}, [0.5]), ({"x": 0.2}, [0.5]))
    one, two = read_earlier([path, path], Space(x=Float(0, 1)), LOSS)
    assert len(one.known) == 2
    assert two.known == ()
    assert two.left_out == {"known twice": 2}


def test_several_metrics_count_where_all_were_reported(store):
    both = [{"loss": 0.5, "time": 3.0}, {"loss": 0.4}, {"loss": 0.3, "time": 2.0}]
    path = store(({"x": 0.1}, both), ({"x": 0.2}, [{"loss": 0.1}]), also={"time": "min"})
    goal = Goal("loss", also={"time": "min"})
    (found,) = read_earlier([path], Space(x=Float(0, 1)), goal)
    (known,) = found.known
    assert known.steps == [1, 3]
    assert known.metrics == [{"loss": 0.5, "time": 3.0}, {"loss": 0.3, "time": 2.0}]
    assert found.left_out == {"without a finite loss and time": 1}


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (Goal("los"), "has no metric 'los'; did you mean 'loss'"),
        (Goal("loss", "max"), "direction of 'loss' is min in .*, here it is max"),
        (Goal("time", "max"), "direction of 'time' is min in .*, here it is max"),
        (Goal("loss", also={"memory": "min"}), "has no metric 'memory'"),
    ],
)
def test_a_store_that_is_after_something_else_is_refused_by_name(store, goal, words):
    path = store(({"x": 0.1}, [{"loss": 0.5, "time": 3.0}]), also={"time": "min"})
    with pytest.raises(CampaignError, match=f"warm_start: .*{words}"):
        read_earlier([path], Space(x=Float(0, 1)), goal)


def test_a_path_without_curves_is_refused_by_name(tmp_path, store):
    space = Space(x=Float(0, 1))
    with pytest.raises(CampaignError, match="warm_start: .*nowhere does not exist"):
        read_earlier([tmp_path / "nowhere"], space, LOSS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CampaignError, match="warm_start: .*empty"):
        read_earlier([tmp_path / "empty"], space, LOSS)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CampaignError, match="warm_start: .*text"):
        read_earlier([tmp_path / "text"], space, LOSS)


def test_a_store_of_which_nothing_fits_is_refused(store):
    path = store(({"x": 5.0}, [0.5]), ({"y": 0.1}, [0.5]))
    with pytest.raises(CampaignError, match="nothing to learn; taken 0 of 2 trials of .*outside x"):
        read_earlier([path], Space(x=Float(0, 1)), LOSS)
    with pytest.raises(CampaignError, match="nothing to learn; taken 0 of 0 trials"):
        read_earlier([store(name="empty.zarr")], Space(x=Float(0, 1)), LOSS)
