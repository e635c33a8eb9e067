"""Predictors on stored curves: the papers' figures, and that nothing depends on how it is run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daskhpo.analysis.prediction import Protocol
from daskhpo.analysis.prediction_models import parse_models
from daskhpo.analysis.prediction_runs import Plan, evaluate
from daskhpo.analysis.prediction_table import Spread, is_papers, to_dict, to_text
from daskhpo.exceptions import CampaignError, DataError
from daskhpo.simulate.problem import Problem

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[3] / "shared"))
HONEST, PAPER = Protocol.HONEST, Protocol.PAPER


@pytest.fixture(scope="module")
def mlpf():
    """The curves of the papers, before cleaning."""
    path = SHARED / "curves" / "mlpf_delphes.csv"
    if not path.is_file():
        pytest.skip(f"{path} is missing (set DASKHPO_SHARED)")
    table = np.genfromtxt(path, delimiter=",", names=True)
    names = table.dtype.names
    curves = np.stack([table[name] for name in names if name.startswith("loss_")], axis=1)
    params = [dict(zip(names[:7], row, strict=False)) for row in table.tolist()]
    return Problem("mlpf", "loss", params, curves)


def made(curves=60, steps=12):
    rng = np.random.default_rng(1)
    ends = rng.random((curves, 1))
    values = ends + np.linspace(1.0, 0.0, steps) * (1 + 0.1 * rng.random((curves, 1)))
    return Problem("made up", "loss", [{"x": i} for i in range(curves)], values)


def plan_of(text, protocol=HONEST, **settings):
    return Plan(parse_models(text, protocol=protocol, splits=20), protocol, **settings)


def run(problem, text, protocol=HONEST, *, splits=1000):
    plan = Plan(parse_models(text, protocol=protocol, splits=splits), protocol)
    results = evaluate([problem], plan).results
    return {result.model.name: result.scores for result in results}


# ---------------------------------------------------------------------- the papers' figures


def test_the_svr_of_the_papers_table_is_reproduced(mlpf):
    (scores,) = run(mlpf, "svr", PAPER).values()
    exchanged = Spread.of([one.exchanged for one in scores])
    assert exchanged.trainings == 1000
    assert (exchanged.best, exchanged.worst) == pytest.approx((0.957, 0.437), abs=5e-4)
    assert (exchanged.mean, exchanged.std) == pytest.approx((0.890, 0.048), abs=5e-4)
    assert Spread.of([one.r2 for one in scores]).mean == pytest.approx(0.892, abs=5e-4)


def test_the_bound_that_an_annealer_implies_is_what_makes_the_difference(mlpf):
    found = run(mlpf, "svr,svr(C=1.75)", PAPER, splits=300)
    free, bound = (Spread.of([one.r2 for one in scores]) for scores in found.values())
    assert bound.mean > free.mean + 0.01
    assert bound.std < free.std


def test_an_annealed_machine_is_as_good_as_the_papers(mlpf):
    scores = run(mlpf, "qubo_svr*6", PAPER)["qubo_svr"]
    assert Spread.of([one.exchanged for one in scores]).mean > 0.88
    assert {one.backend for one in scores} == {"qubo-sa"}


def test_under_the_honest_protocol_a_machine_beats_the_last_value_but_not_its_ranks(mlpf):
    found = run(mlpf, "nu_svr,last_value", splits=50)
    machine, last = found["nu_svr"], found["last_value"]
    assert Spread.of([one.r2 for one in machine]).mean >= 0.84
    assert Spread.of([one.r2 for one in last]).mean < 0.75
    rank, rank_of_last = (np.mean([one.spearman for one in s]) for s in (machine, last))
    assert rank < rank_of_last


def test_the_papers_set_is_known_by_its_values(mlpf):
    assert is_papers(mlpf)
    assert not is_papers(replace(mlpf, curves=mlpf.curves * 1.01))
    assert not is_papers(made())


# ---------------------------------------------------------------------- how it is run


def test_the_result_does_not_depend_on_the_processes():
    plan = plan_of("last_drop,last_value@30", fractions=(0.5,))
    one, two = (evaluate([made()], plan, jobs=jobs) for jobs in (1, 2))
    for first, second in zip(one.results, two.results, strict=True):
        assert (first.model, first.fraction) == (second.model, second.fraction)
        pairs = zip(first.scores, second.scores, strict=True)
        assert all(replace(a, seconds=0) == replace(b, seconds=0) for a, b in pairs)


def test_the_same_seed_gives_the_same_scores_and_another_one_others():
    scores = [
        [one.r2 for one in evaluate([made()], plan_of("last_drop", seed=seed)).results[0].scores]
        for seed in (3, 3, 4)
    ]
    assert scores[0] == scores[1] != scores[2]


def test_more_of_a_curve_gives_better_forecasts_on_fewer_splits():
    found = evaluate([made()], plan_of("last_drop*100", fractions=(0.1, 0.9)))
    early, late = (found.at(0, fraction)[0].scores for fraction in (0.1, 0.9))
    assert len(early) == len(late) == 10
    assert np.mean([s.r2 for s in early]) < np.mean([s.r2 for s in late])
    assert len(found.at(0)[0].scores) == 100


@pytest.mark.parametrize("protocol", list(Protocol))
def test_a_model_that_asks_for_too_many_curves_is_left_out_and_that_is_said(protocol):
    plan = plan_of("last_value,last_drop@70", protocol)
    found = evaluate([made()], plan)
    assert [result.model.name for result in found.results] == ["last_value"]
    assert "left out: last_drop@70" in to_text(found)
    assert to_dict(found)["sets"][0]["left_out"] == ["last_drop@70"]


@pytest.mark.parametrize(("protocol", "most"), [(PAPER, 11), (HONEST, 14)])
def test_a_set_with_too_few_curves_is_refused(protocol, most):
    with pytest.raises(DataError, match=f"24 curves.*at most {most}, not from 20"):
        evaluate([made(24)], plan_of("last_value,last_drop@70", protocol))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_a_share_is_between_0_and_1(fraction):
    models = parse_models("last_value", protocol=HONEST)
    with pytest.raises(CampaignError, match="must be between 0 and 1"):
        Plan(models, fraction=fraction)
    with pytest.raises(CampaignError, match="must be between 0 and 1"):
        Plan(models, fractions=(0.5, fraction))


# ---------------------------------------------------------------------- the tables


def test_the_papers_rows_stand_below_ours_on_its_own_curves_only(mlpf):
    models = "svr*10,last_value*10,ensemble(predictor=last_drop)*10"
    text = to_text(evaluate([mlpf], plan_of(models, PAPER)))
    lines = [line.split() for line in text.splitlines() if line]
    at = next(i for i, line in enumerate(lines) if line[0] == "svr(C=67.61)")
    assert lines[at][:3] == ["svr(C=67.61)", "20", "10"]
    assert lines[at + 1] == ["paper:", "SVR", "1000", ".959", ".318", ".889", ".050"]
    assert text.count("  paper: ") == 4
    assert "  paper: " not in to_text(evaluate([made()], plan_of("svr", PAPER)))
    assert "  paper: " not in to_text(evaluate([mlpf], plan_of("last_value")))


def test_what_has_no_value_is_a_dash_and_none():
    flat = Problem(
        "flat", "loss", [{"x": i} for i in range(40)], np.c_[np.ones((40, 7)), np.arange(40.0)]
    )
    found = evaluate([flat], plan_of("last_value"))
    (row,) = to_dict(found)["sets"][0]["rows"]
    assert row["spearman"] is None
    assert " - " in to_text(found)
