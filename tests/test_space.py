"""A space: what is in it, how it is written, and what is refused with which words."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest

from daskhpo.exceptions import SpaceError
from daskhpo.space import Choice, Constant, Float, Int, Space

CONDITIONAL = Space(
    momentum=Float(0.0, 1.0, when={"opt": "sgd"}),  # before its parent on purpose
    opt=Choice(["adam", "sgd", "lamb"]),
    nesterov=Choice([True, False], when={"opt": ["sgd"]}),
    damp=Int(1, 4, when={"nesterov": False}),
)


def test_lists_and_scalars_are_choices_and_constants():
    assert Space(opt=["adam", "sgd"], data="sample") == Space(
        opt=Choice(["adam", "sgd"]), data=Constant("sample")
    )


def test_a_space_is_a_mapping():
    space = Space({"opt.lr": Float(0, 1), "n": Int(1, 3)})
    assert list(space) == ["opt.lr", "n"]
    assert len(space) == 2
    assert space["n"] == Int(1, 3)
    assert repr(space) == "Space({'opt.lr': Float(0.0, 1.0), 'n': Int(1, 3)})"


def test_only_parameters_that_can_vary_take_a_dimension():
    space = Space(a=Constant(1), b=Float(0.5, 0.5), c=Choice(["x"]), d=Int(1, 2))
    assert space.dimension == 1
    assert space.decode([0.9]) == {"a": 1, "b": 0.5, "c": "x", "d": 2}


def test_a_space_of_one_point_is_legal():
    space = Space(data="sample")
    assert space.sample(np.random.default_rng(0)) == {"data": "sample"}
    assert space.encode({"data": "sample"}).shape == (0,)
    assert (space.size, list(space.grid())) == (1, [{"data": "sample"}])


def test_an_empty_space_has_one_point():
    assert list(Space().grid()) == [{}]


def test_decoding_gives_the_bounds_exactly():
    for domain in (Float(1e-5, 0.3, log=True), Float(-0.1, 0.7), Int(3, 77, log=True), Int(0, 6)):
        assert (domain.decode(0.0), domain.decode(1.0)) == (domain.low, domain.high)


def test_steps_give_the_decimals_that_were_meant():
    assert list(Float(0, 1, step=0.1).levels(5)) == [k / 10 for k in range(11)]
    assert list(Float(0, 0.3, step=0.1).levels(5)) == [0.0, 0.1, 0.2, 0.3]
    assert list(Float(0.05, 0.5, step=0.2).levels(5)) == [0.05, 0.25, 0.45]
    assert Float(0, 1, step=0.1).contains(0.1 + 0.2)


def test_integers_are_equally_likely_and_a_log_scale_halves_them():
    rng = np.random.default_rng(1)
    linear = [Int(1, 4).decode(u) for u in rng.random(4000)]
    assert np.allclose(np.bincount(linear)[1:] / 4000, 0.25, atol=0.03)
    log = [Int(1, 100, log=True).decode(u) for u in rng.random(4000)]
    assert abs(np.mean(np.array(log) <= 10) - math.log(10.5 / 0.5) / math.log(100.5 / 0.5)) < 0.03


def test_true_and_one_are_different_choices():
    choice = Choice([True, 1, "1"])
    assert [choice.decode(choice.encode(value)) for value in (True, 1, "1")] == [True, 1, "1"]
    assert not Choice([1, 2]).contains(True)
    assert not Int(0, 1).contains(True)


def test_numpy_scalars_come_in_and_python_scalars_come_out():
    space = Space(n=Choice(np.array([8, 16])), lr=Float(np.float64(0.1), np.float32(0.5)))
    params = space.validate({"n": np.int64(8), "lr": np.float64(0.2)})
    assert json.dumps(params) == '{"n": 8, "lr": 0.2}'
    assert json.dumps(space.to_dict())


class TestConditions:
    def test_inactive_parameters_are_absent(self):
        assert CONDITIONAL.decode([0.5, 0.1, 0.5, 0.5]) == {"opt": "adam"}
        params = CONDITIONAL.decode([0.5, 0.5, 0.9, 0.9])
        assert params == {"momentum": 0.5, "opt": "sgd", "nesterov": False, "damp": 4}
        assert list(params) == list(CONDITIONAL)

    def test_inactive_dimensions_are_in_the_middle(self):
        assert CONDITIONAL.encode({"opt": "adam"}).tolist() == [0.5, 1 / 6, 0.5, 0.5]

    def test_a_parameter_that_is_not_active_is_refused(self):
        with pytest.raises(SpaceError, match=r"'momentum' is 0.1, but .* needs opt = 'sgd'"):
            CONDITIONAL.validate({"opt": "adam", "momentum": 0.1})

    def test_the_size_counts_what_is_active(self):
        space = Space(a=Int(1, 10), b=Int(1, 3, when={"a": [2, 4]}), c=[1, 2])
        assert space.size == (8 + 2 * 3) * 2
        assert space.size == len({json.dumps(params) for params in space.grid()})
        assert CONDITIONAL.size == math.inf

    def test_a_float_that_can_never_be_active_next_to_a_value_does_not_count_there(self):
        space = Space(on=[True], x=Float(0, 1, when={"on": True}))
        assert space.size == math.inf

    def test_many_independent_conditions_are_counted_quickly(self):
        flags = {f"on{k}": Choice([True, False]) for k in range(40)}
        values = {f"n{k}": Int(1, 2, when={f"on{k}": True}) for k in range(40)}
        assert Space(flags | values).size == 3**40

    def test_large_integers_as_parents_do_not_hang(self):
        space = Space(n=Int(1, 2**40), deep=[1, 2], x=Int(1, 2, when={"n": 7}))
        assert space.size == (2**40 + 1) * 2

    @pytest.mark.parametrize(
        ("domains", "message"),
        [
            ({"a": Int(1, 2, when={"opr": 1}), "opt": [1, 2]}, "'opr'; did you mean 'opt'"),
            ({"a": Int(1, 2, when={"opt": 3}), "opt": [1, 2]}, "has 3 for 'opt'; .* one of 1, 2"),
            ({"a": Int(1, 2, when={"x": 0.5}), "x": Float(0, 1)}, "infinitely many values"),
            ({"a": Int(1, 2, when={"a": 1})}, "a leads back to itself"),
            (
                {"a": Int(1, 2, when={"b": 1}), "b": Int(1, 2, when={"a": 1})},
                "a, b leads back to itself",
            ),
        ],
    )
    def test_impossible_conditions_are_refused(self, domains, message):
        with pytest.raises(SpaceError, match=message):
            Space(domains)


class TestGrid:
    def test_goes_through_all_combinations_the_last_fastest(self):
        space = Space(n=Int(1, 2), x=Float(0, 1), opt=["a", "b"])
        points = [tuple(params.values()) for params in space.grid(3)]
        assert points[:3] == [(1, 0.0, "a"), (1, 0.0, "b"), (1, 0.5, "a")]
        assert len(set(points)) == space.grid_size(3) == 12

    def test_never_repeats_a_point_with_conditions(self):
        points = [json.dumps(params) for params in CONDITIONAL.grid(3)]
        assert len(set(points)) == len(points) == CONDITIONAL.grid_size(3) == 1 + 3 * (1 + 4) + 1
        assert all(CONDITIONAL.contains(json.loads(point)) for point in points)

    def test_ends(self):
        assert Space(n=Int(1, 2)).grid_point(2) is None

    def test_a_resolution_of_one_is_the_middle(self):
        assert list(Space(x=Float(1e-4, 1e-2, log=True)).grid(1)) == [{"x": pytest.approx(1e-3)}]

    def test_a_bad_resolution_is_refused(self):
        with pytest.raises(SpaceError, match="resolution of a grid is 0"):
            list(Space(n=Int(1, 2)).grid(0))


class TestForm:
    FORM = {
        "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
        "drop": {"type": "float", "low": 0.0, "high": 0.5, "step": 0.1},
        "layers": {"type": "int", "low": 1, "high": 8, "when": {"opt": ["adam"]}},
        "opt": {"type": "choice", "choices": ["adam", "sgd"]},
        "data": {"type": "constant", "value": "sample"},
    }

    def test_goes_through_json(self):
        space = Space.from_dict(json.loads(json.dumps(self.FORM)))
        assert space.to_dict() == self.FORM
        assert Space.from_dict(space.to_dict()) == space

    def test_bare_values_and_lists_are_short_forms(self):
        assert Space.from_dict({"opt": ["a", "b"], "n": 3}) == Space(opt=["a", "b"], n=3)

    @pytest.mark.parametrize(
        ("form", "message"),
        [
            ({"type": "flaot", "low": 0, "high": 1}, "type 'flaot'; did you mean 'float'"),
            ({"low": 0, "high": 1}, "'lr' has type None"),
            ({"type": "float", "lo": 0, "high": 1}, "key 'lo'; did you mean 'low'"),
            ({"type": "float", "low": 0}, "lacks the key 'high'"),
            ({"type": "float", "low": "1e-5", "high": 1}, "'lr': low .* write 1.0e-5"),
            ({"type": "choice", "choices": "adam"}, "'lr': choices .* must be a list"),
            ({"type": "choice", "choices": [1, 1.0]}, "1.0 twice"),
            ({"type": "int", "low": 1, "high": 2, "log": "yes"}, "'lr': log is 'yes'"),
            ([], "at least one value"),
            ([[1], [2]], "values must be bool, int, finite float, str or None"),
        ],
    )
    def test_mistakes_are_named(self, form, message):
        with pytest.raises(SpaceError, match=message):
            Space.from_dict({"lr": form})

    def test_the_form_itself_must_be_a_mapping(self):
        with pytest.raises(SpaceError, match="must be a mapping"):
            Space.from_dict(["lr"])


class TestFingerprint:
    def test_stays_the_same_from_version_to_version(self):
        assert Space(lr=Float(1e-5, 0.1, log=True), n=Int(1, 3)).fingerprint() == FINGERPRINT

    def test_tells_orders_domains_and_names_apart(self):
        spaces = [
            Space(a=Int(1, 2), b=Int(1, 2)),
            Space(b=Int(1, 2), a=Int(1, 2)),
            Space(a=Int(1, 2), b=Int(1, 3)),
            Space(a=Int(1, 2), b=Float(1, 2)),
            Space(a=Int(1, 2), c=Int(1, 2)),
        ]
        assert len({space.fingerprint() for space in spaces}) == len(set(spaces)) == 5

    def test_survives_pickling(self):
        assert pickle.loads(pickle.dumps(CONDITIONAL)) == CONDITIONAL


FINGERPRINT = "2bdb6b028a6e9f24"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(2, 1), "low must not be above high"),
        (lambda: Float(0, 1, log=True), "low of a Float with log=True is 0.0; it must be above 0"),
        (lambda: Float(1, 2, log=True, step=0.1), "log allows no step"),
        (lambda: Float(0, math.nan), "high of a Float is nan"),
        (lambda: Float(-1.7e308, 1.7e308), "high - low must be a finite number"),
        (lambda: Float(0, 1, step=0), "step of a Float is 0.0; it must be above 0"),
        (lambda: Float(0, 1, step=1e-300), "more than"),
        (lambda: Int(0, 4, log=True), "low of an Int with log=True is 0; it must be 1 or more"),
        (lambda: Int(1, 4, log=True, step=2), "log allows no step"),
        (lambda: Int(1, 4.5), "high of an Int is 4.5; it must be a whole number"),
        (lambda: Int(1, 4, step=0), "step of an Int is 0"),
        (lambda: Int(0, 2**41), "must lie within -2\\*\\*40 and 2\\*\\*40"),
        (lambda: Choice([math.nan]), "choices has nan"),
        (lambda: Constant([1]), r"value has \[1\]"),
        (lambda: Int(1, 2, when={"a": []}), r"when\['a'\] is empty"),
        (lambda: Int(1, 2, when=["a"]), "must be a mapping"),
        (lambda: Space({"a": 1}, a=2), "'a' is given twice"),
        (lambda: Space({"": 1}), "not empty"),
        (lambda: Space(a=object()), "parameter 'a': value has"),
    ],
)
def test_bad_domains_are_refused_with_the_bound(make, message):
    with pytest.raises(SpaceError, match=message):
        make()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lr": 2.0, "n": 1}, "'lr' is 2.0; it must be a number between 0.0 and 1.0"),
        ({"lr": "fast", "n": 1}, "'lr' is 'fast'"),
        ({"lr": math.nan, "n": 1}, "'lr' is nan"),
        ({"lr": 0.5, "n": 1.0}, "'n' is 1.0; it must be a whole number between 1 and 3"),
        ({"lr": 0.5}, "'n' is missing"),
        ({"lr": 0.5, "n": 1, "nn": 1}, "unknown parameter 'nn'; did you mean 'n'"),
    ],
)
def test_bad_points_are_refused_with_what_is_allowed(params, message):
    space = Space(lr=Float(0, 1), n=Int(1, 3))
    assert not space.contains(params)
    with pytest.raises(SpaceError, match=message):
        space.encode(params)


def test_a_point_of_the_wrong_length_is_refused():
    with pytest.raises(SpaceError, match="1 coordinates; it needs 2"):
        Space(lr=Float(0, 1), n=Int(1, 3)).decode([0.5])


def test_a_notebook_shows_a_table_with_escaped_names():
    shown = Space({"<b>": Float(0.1, 1, log=True), "n": Int(1, 2, when={"o": 1}), "o": [1, 2]})
    text = shown._repr_html_()
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "log scale" in text
    assert "o = 1" in text
