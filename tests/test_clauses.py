"""Forbidden combinations and pinned parameters: what is left of a space, and what is refused."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
import yaml

from daskhpo.campaign import Campaign
from daskhpo.exceptions import SpaceError
from daskhpo.samplers.features import Features
from daskhpo.space import Choice, Constant, Float, Int, Space

PLAIN = Space(
    opt=Choice(["adam", "sgd", "lamb"]),
    lr=Float(1e-4, 1.0, log=True),
    batch=Int(16, 64, step=16),
    drop=Float(0.0, 0.5, step=0.1),
    momentum=Float(0.0, 1.0, when={"opt": "sgd"}),
)
SPACE = PLAIN.forbid(
    {"opt": "sgd", "lr": {"low": 0.01, "high": 1.0}},
    {"batch": [48, 64], "drop": {"low": 0.3}},
    {"momentum": {"high": 0.5}, "lr": {"high": 0.001}},
)
GOOD = {"opt": "sgd", "lr": 0.005, "batch": 16, "drop": 0.1, "momentum": 0.9}


class TestMeaning:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"lr": 0.01}, "opt = 'sgd' and lr is between 0.01 and 1.0"),
            ({"lr": 1.0}, "opt = 'sgd' and lr is between 0.01 and 1.0"),
            ({"batch": 48, "drop": 0.3}, "batch = 48 or 64 and drop is 0.3 or above"),
            ({"batch": 64, "drop": 0.1 + 0.2}, "drop is 0.3 or above"),
            ({"momentum": 0.5, "lr": 0.001}, "momentum is 0.5 or below and lr is 0.001 or below"),
        ],
    )
    def test_a_forbidden_point_is_refused_with_the_clause(self, change, message):
        assert SPACE.contains(GOOD)
        assert PLAIN.contains(GOOD | change)
        assert not SPACE.contains(GOOD | change)
        with pytest.raises(SpaceError, match=f"is forbidden: .*{message}"):
            SPACE.validate(GOOD | change)

    def test_what_is_not_active_matches_no_clause(self):
        adam = {"opt": "adam", "lr": 0.0005, "batch": 16, "drop": 0.1}
        assert SPACE.contains(adam)

    def test_true_and_one_are_told_apart(self):
        space = Space(a=Choice([True, 1]), b=Int(1, 2)).forbid({"a": True, "b": 1})
        assert [p["a"] for p in space.grid() if p["b"] == 1] == [1]

    def test_a_space_is_never_changed(self):
        before = PLAIN.fingerprint()
        PLAIN.forbid({"opt": "sgd"})
        PLAIN.fix(opt="sgd")
        assert PLAIN.fingerprint() == before
        assert PLAIN.forbidden == ()

    def test_clauses_add_up(self):
        twice = PLAIN.forbid({"opt": "sgd"}).forbid({"opt": "lamb"})
        assert twice == PLAIN.forbid({"opt": "sgd"}, {"opt": "lamb"})
        assert {twice.sample(np.random.default_rng(k))["opt"] for k in range(20)} == {"adam"}


class TestCounting:
    def test_the_size_is_that_of_what_is_allowed(self):
        space = Space(a=Int(1, 10), b=["x", "y", "z"], c=[True, False])
        space = space.forbid({"a": {"low": 3, "high": 7}, "b": ["x", "y"]}, {"c": True, "b": "z"})
        assert space.size == len(list(space.grid())) == 20 * 3 - 5 * 2 * 2 - 10
        assert space.grid_point(space.size) is None

    def test_a_grid_skips_what_is_forbidden(self):
        points = sorted(json.dumps(point) for point in SPACE.grid(5))
        allowed = [json.dumps(point) for point in PLAIN.grid(5) if SPACE.contains(point)]
        assert points == sorted(allowed)
        assert SPACE.grid_size(5) == len(set(points)) == len(points)

    def test_a_range_of_a_large_domain_is_counted_without_a_list(self):
        space = Space(n=Int(0, 2**40 - 1), x=Float(0.0, 2.0**30, step=0.5))
        assert space.forbid({"n": {"low": 10}}).size == 10 * (2**31 + 1)
        assert space.forbid({"x": {"high": 2.0**30 - 1}}).size == 2 * 2**40

    def test_many_independent_clauses_are_counted_quickly(self):
        space = Space({f"{name}{k}": Int(1, 3) for k in range(30) for name in "ab"})
        space = space.forbid(*({f"a{k}": 1, f"b{k}": 1} for k in range(30)))
        assert space.size == 8**30

    def test_a_chain_of_clauses_is_counted_quickly(self):
        space = Space({f"a{k}": [0, 1] for k in range(60)})
        space = space.forbid(*({f"a{k}": 1, f"a{k + 1}": 1} for k in range(59)))
        fibonacci = [1, 2]
        while len(fibonacci) <= 60:
            fibonacci.append(sum(fibonacci[-2:]))
        assert space.size == fibonacci[60]

    def test_infinitely_many_stay_infinitely_many(self):
        assert SPACE.size == math.inf
        assert (
            Space(x=Float(0, 1), n=Int(1, 2)).forbid({"n": 1, "x": {"low": 0.5}}).size == math.inf
        )

    def test_a_space_can_become_finite(self):
        space = Space(n=Int(1, 3), x=Float(0, 1, when={"n": 3})).forbid({"n": 3})
        assert space.size == 2


class TestDrawing:
    def test_nothing_forbidden_is_drawn(self):
        rng = np.random.default_rng(1)
        for _ in range(500):
            SPACE.validate(SPACE.sample(rng))

    def test_what_is_allowed_is_drawn_evenly(self):
        rng = np.random.default_rng(1)
        space = Space(x=Float(0.0, 1.0), kind=["a", "b"]).forbid({"kind": "a", "x": {"low": 0.5}})
        drawn = [space.sample(rng) for _ in range(6000)]
        # Allowed are (a, below 0.5), (b, below 0.5), (b, above 0.5): a third of the draws each.
        share = np.mean([params["kind"] == "a" for params in drawn])
        assert abs(share - 1 / 3) < 0.02
        above = np.mean([params["x"] > 0.5 for params in drawn])
        assert abs(above - 1 / 3) < 0.02

    def test_a_tiny_rest_is_found_at_once(self):
        space = Space(x=Float(0.0, 1.0), n=Int(1, 10**6)).forbid(
            {"x": {"low": 1e-9}}, {"n": {"high": 10**6 - 1}}
        )
        params = space.sample(np.random.default_rng(0))
        assert params["n"] == 10**6
        assert params["x"] < 1e-9

    def test_rounding_does_not_lead_onto_a_bound(self):
        space = Space(x=Float(1e6, 1e6 + 1e-4)).forbid({"x": {"low": 1e6 + 5e-5}})
        for unit in (0.0, 1.0 - 1e-12, 1.0):
            assert space.contains(space.decode(space.evade(np.array([unit]))))

    def test_spaces_without_clauses_draw_as_they_always_did(self):
        unit = np.random.default_rng(3).random(PLAIN.dimension)
        assert PLAIN.evade(unit) is unit
        assert PLAIN.sample(np.random.default_rng(3)) == PLAIN.decode(unit)

    def test_candidates_are_judged_as_points_are(self):
        units = np.random.default_rng(1).random((400, SPACE.dimension))
        found = Features(SPACE).forbidden(units)
        assert found.tolist() == [not SPACE.contains(SPACE.decode(unit)) for unit in units]
        assert 40 < found.sum() < 360


class TestForm:
    FORM = """
        lr: {type: float, low: 0.0, high: 1.0}
        opt: [adam, sgd]
        n: {type: int, low: 1, high: 4}
        forbidden:
          - {opt: sgd, lr: {low: 0.5}}
          - {n: [1, 2]}
    """

    def test_goes_through_a_campaign_file(self):
        settings = {
            "metric": "loss",
            "space": yaml.safe_load(self.FORM),
            "scheduler": {"type": "fifo", "max_step": 3},
            "sampler": "random",
        }
        campaign = Campaign.from_mapping(settings)
        again = Campaign.from_mapping(
            yaml.safe_load(yaml.safe_dump(campaign.to_mapping(), sort_keys=False))
        )
        assert again.fingerprint == campaign.fingerprint
        assert again.space == campaign.space
        assert len(again.space.forbidden) == 2

    def test_goes_through_pickle_and_repr(self):
        assert pickle.loads(pickle.dumps(SPACE)) == SPACE
        assert repr(Space(n=Int(1, 3)).forbid({"n": [1, 2]})) == (
            "Space(n=Int(1, 3)).forbid({'n': [1, 2]})"
        )

    def test_is_part_of_the_fingerprint(self):
        assert SPACE != PLAIN
        assert SPACE.fingerprint() != PLAIN.fingerprint()

    def test_a_parameter_may_be_called_forbidden(self):
        space = Space.from_dict({"forbidden": [True, False], "n": 3})
        assert space == Space(forbidden=[True, False], n=3)
        assert Space.from_dict(space.to_dict()) == space
        assert Space(forbidden=Float(0, 1)).to_dict()["forbidden"]["type"] == "float"
        with pytest.raises(SpaceError, match="called 'forbidden' cannot forbid"):
            space.forbid({"n": 3})

    def test_an_empty_list_forbids_nothing(self):
        assert Space.from_dict({"n": [1, 2], "forbidden": []}) == Space(n=[1, 2])

    def test_a_notebook_shows_the_clauses(self):
        text = Space(a=["<b>", "c"]).forbid({"a": "<b>"})._repr_html_()
        assert "forbidden" in text
        assert "a = &#x27;&lt;b&gt;&#x27;" in text


class TestFixing:
    def test_pins_parameters(self):
        space = PLAIN.fix(lr=0.1, opt="adam")
        assert list(space) == ["opt", "lr", "batch", "drop"]  # momentum can never be active
        assert space["lr"] == Constant(0.1)
        assert space.dimension == 2

    def test_keeps_what_hangs_on_a_pinned_parent(self):
        space = PLAIN.fix({"opt": "sgd", "momentum": 0.9})
        assert space.sample(np.random.default_rng(0))["momentum"] == 0.9

    def test_clauses_follow(self):
        fixed = SPACE.fix(opt="sgd")
        assert not fixed.contains(GOOD | {"lr": 0.1})
        assert len(SPACE.fix(opt="adam").forbidden) == 1  # the two others need sgd
        assert SPACE.fix(lr=0.005).sample(np.random.default_rng(0))["lr"] == 0.005

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"lrr": 0.1}, "unknown parameter 'lrr'; did you mean 'lr'"),
            ({"lr": 7.0}, "parameter 'lr' is 7.0; it must be a number between 0.0001 and 1.0"),
            ({"opt": "adam", "momentum": 0.5}, "'momentum' is 0.5, but it can never be active"),
            ({"opt": "sgd", "lr": 0.5}, "forbidden: opt = 'sgd' and lr = 0.5; nothing is left"),
        ],
    )
    def test_mistakes_are_named(self, values, message):
        with pytest.raises(SpaceError, match=message):
            SPACE.fix(values)


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ({}, "must be a mapping of parameters"),
        (["opt", "sgd"], "must be a mapping of parameters"),
        ({"opr": "sgd"}, "forbidden: unknown parameter 'opr'; did you mean 'opt'"),
        ({"opt": "sdg"}, "'opt' has 'sdg'; it must be one of 'adam', 'sgd', 'lamb'"),
        ({"opt": []}, "'opt' has no values"),
        ({"opt": {"low": 1}}, "its values have no order; .*one of 'adam'"),
        ({"lr": 0.1}, "infinitely many values, of which none is ever hit; give a range"),
        ({"lr": [0.1, 0.2]}, "infinitely many values"),
        ({"lr": {"low": 0.1, "hi": 0.2}}, "range of 'lr' has the key 'hi'; did you mean 'high'"),
        ({"lr": {"low": "1e-3"}}, "low of 'lr' is '1e-3'; it must be a number .*write 1.0e-5"),
        ({"lr": {"high": 2.0}}, "high of 'lr' is 2.0; it must be a number between 0.0001 and 1.0"),
        ({"lr": {"low": 0.2, "high": 0.1}}, "holds no value"),
        ({"batch": {"low": 17, "high": 31}}, "holds no value"),
        ({"lr": {}}, "holds no value"),
        ({"batch": 20}, "'batch' has 20; it must be a whole number between 16 and 64 in steps"),
        ({"lr": {"low": 0.0001}}, "forbidden: lr is 0.0001 or above; nothing is left"),
        ({"batch": [16, 32, 48, 64]}, "nothing is left of the space"),
    ],
)
def test_bad_clauses_are_refused(clause, message):
    with pytest.raises(SpaceError, match=message):
        PLAIN.forbid(clause)


def test_clauses_that_leave_nothing_together_name_the_last_straw():
    with pytest.raises(SpaceError, match="batch = 48 or 64; nothing is left"):
        PLAIN.forbid({"batch": [16, 32]}, {"batch": [48, 64]}, {"opt": "sgd"})
    with pytest.raises(SpaceError, match="lr is 0.1 or above; nothing is left"):
        PLAIN.forbid({"lr": {"high": 0.1}}, {"lr": {"low": 0.1}})


def test_a_clause_without_its_dash_is_explained():
    with pytest.raises(SpaceError, match="must be a list of combinations"):
        Space.from_dict({"opt": ["adam", "sgd"], "forbidden": {"opt": "sgd"}})
