"""What a list of models means: names, curves, splits, and the machine that belongs to another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.analysis.prediction import Protocol
from daskhpo.analysis.prediction_models import DEFAULTS, lines_of, parse_models, usual_splits
from daskhpo.exceptions import CampaignError, PredictorError, SchedulerError
from daskhpo.predictors import make_predictor

HONEST, PAPER = Protocol.HONEST, Protocol.PAPER


def parse(text, protocol=HONEST, **settings):
    return {model.name: model for model in parse_models(text, protocol=protocol, **settings)}


def test_curves_and_splits_stand_behind_a_model():
    models = parse("last_value, last_drop@80*7, last_drop*9", train=15, splits=50)
    found = {name: (model.curves, model.splits) for name, model in models.items()}
    assert found == {"last_value": (15, 50), "last_drop@80": (80, 7), "last_drop": (15, 9)}


def test_an_ensemble_learns_from_a_full_set_for_each_member():
    models = parse("ensemble(predictor=last_drop),ensemble(predictor=last_drop, members=2)@30")
    assert [model.curves for model in models.values()] == [80, 30]
    assert [name.rpartition("@")[2] for name in models] == ["80", "30"]
    assert [model.curves for model in parse("ensemble", train=100).values()] == [100]


def test_what_is_slow_has_as_many_splits_as_in_the_paper():
    models = parse("svr,qubo_svr,ensemble(predictor=qubo_svr)", PAPER)
    assert [model.splits for model in models.values()] == [1000, 100, 1000, 10]
    assert [m.splits for m in parse("qubo_svr*400", splits=30).values()] == [400, 30]
    assert [m.splits for m in parse("qubo_svr", splits=30).values()] == [30, 30]
    assert [m.splits for m in parse("qubo_svr").values()] == [100, 1000]
    embedded = make_predictor("qubo_svr(annealer='embedded(graph=zephyr)')")
    assert usual_splits(embedded) < usual_splits(make_predictor("qubo_svr"))


def test_the_same_machine_solved_exactly_stands_next_to_an_annealed_one():
    models = parse("last_value,qubo_svr(bits=2)@30*5,last_drop", splits=50)
    exact = "qubo_svr(bits=2, annealer=svr)@30"
    assert list(models) == ["last_value", "qubo_svr(bits=2)@30", exact, "last_drop"]
    assert (models[exact].curves, models[exact].splits) == (30, 50)
    annealed, solved = (models[name].make() for name in ("qubo_svr(bits=2)@30", exact))
    assert annealed.get_params() | {"annealer": "svr"} == solved.get_params()


def test_one_that_is_named_already_is_not_added():
    assert list(parse("qubo_svr(annealer=svr),qubo_svr")) == ["qubo_svr(annealer=svr)", "qubo_svr"]
    assert list(parse("qubo_svr,qubo_svr(annealer=svr)")) == ["qubo_svr", "qubo_svr(annealer=svr)"]


def test_under_the_papers_protocol_a_name_means_what_its_authors_set():
    (paper,) = parse("svr", PAPER).values()
    assert paper.name == "svr(C=67.61)"
    predictor = paper.make()
    assert (predictor.C, predictor.epsilon, predictor.gamma) == (67.61, 0.02, 0.1)
    assert (predictor.scaling, predictor.target, predictor.mend) == (None, "value", False)
    (other,) = parse("svr(C=2, epsilon=0.5)", PAPER).values()
    assert (other.name, other.make().epsilon, other.make().gamma) == (
        "svr(C=2, epsilon=0.5)",
        0.5,
        0.1,
    )
    (honest,) = parse("svr").values()
    assert honest.make().get_params() == make_predictor("svr").get_params()


def test_scaling_is_left_to_the_papers_protocol_also_inside_an_ensemble():
    (model,) = parse("ensemble(predictor=qubo_svr)", PAPER).values()
    assert make_predictor(model.make().predictor).scaling is None
    (model,) = parse("ensemble(predictor='qubo_svr(scaling=minmax)')", PAPER).values()
    assert make_predictor(model.make().predictor).scaling == "minmax"
    (model, _) = parse("qubo_svr", HONEST).values()
    assert model.make().scaling == "quantile"


@pytest.mark.parametrize("protocol", list(Protocol))
def test_no_other_machine_answers_in_the_place_of_an_annealer(protocol):
    for model in parse("qubo_svr,ensemble(predictor=qubo_svr)", protocol).values():
        made = model.make()
        inner = made if model.name.startswith(("qubo", "svr")) else make_predictor(made.predictor)
        assert getattr(inner, "fallback", False) is False


@pytest.mark.parametrize("protocol", list(Protocol))
def test_there_is_something_to_compare_by_default(protocol):
    assert len(parse(None, protocol)) >= len(list(lines_of(DEFAULTS[protocol])))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("svm", PredictorError, "did you mean 'svr'"),
        ("qubo_svr(bit=2)", PredictorError, "did you mean 'bits'"),
        ("last_value,last_value", CampaignError, "'last_value' is named twice"),
        ("last_value@0", CampaignError, "curves must be at least 1"),
        ("last_value*0", CampaignError, "splits must be at least 1"),
        (" , ", CampaignError, "none given"),
        ("svr(C=", SchedulerError, "svr\\(C="),
        ("last_value@many", SchedulerError, "last_value@many"),
    ],
)
def test_what_cannot_be_read_is_named(text, error, message):
    with pytest.raises(error, match=message):
        parse(text)


@given(st.lists(st.sampled_from(["a", "b(x=1, y=[2, 3])", "c(p='q, (r')*3", "d@80"]), max_size=5))
def test_a_list_is_split_where_no_bracket_and_no_quote_is_open(lines):
    assert list(lines_of(", ".join(lines))) == lines
