"""``daskhpo compare`` and ``daskhpo reliability`` as a user sees them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from daskhpo import Fifo, Float, Space, Tuner
from daskhpo.cli import main
from daskhpo.store.importer import import_table

PLAN = {
    "schedulers": ["fifo", {"halving": "asha(eta=3)"}],
    "workers": 4,
    "seeds": 2,
    "trials": 40,
    "scaling": [1, 4],
}


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    assert code or not result.stderr
    return result


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Curves in which the ranks at step 1 say nothing of the end."""
    path = tmp_path_factory.mktemp("curves")
    rng = np.random.default_rng(0)
    end = rng.permutation(120) / 120
    curves = end[:, None] + np.linspace(1.0, 0.1, 9)
    curves[:, 0] = 2.0 + rng.random(120)
    lines = ["x," + ",".join(f"loss_{step}" for step in range(9))]
    lines += [f"{row}," + ",".join(map(str, curve)) for row, curve in enumerate(curves.tolist())]
    (path / "slow.csv").write_text("\n".join(lines), encoding="utf-8")
    return import_table(
        path / "slow.csv", params=["x"], metric="loss_{step}", out=path / "slow.zarr"
    )


@pytest.fixture
def plan(tmp_path):
    """Write a plan file; settings replace those of a small one."""

    def write(**settings):
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(PLAN | settings), encoding="utf-8")
        return path

    return write


# ---------------------------------------------------------------------- compare


def test_a_table_is_printed(store, plan):
    output = call("compare", store, "--plan", plan()).output
    assert "slow: 120 curves of loss (min), 9 steps; 40 trials, 2 seeds" in output
    assert "4 workers" in output
    assert "halving" in output


def test_everything_is_written_where_it_was_asked_for(store, plan, tmp_path):
    out = tmp_path / "new" / "tables"
    output = call("compare", store, "--plan", plan(), "--out", out).output
    names = {path.name for path in out.iterdir()}
    assert {"results.csv", "results.json", "figures.md", "slow-loss.svg", "slow-rank.png"} <= names
    assert str(out / "results.csv") in output


def test_json_holds_the_tables_and_what_was_written(store, plan):
    content = json.loads(call("compare", store, "--plan", plan(), "--json").stdout)
    (found,) = content["sets"]
    assert [row["label"] for row in found["tables"][0]["rows"]] == ["fifo", "halving"]
    assert content["plan"]["seeds"] == 2
    assert content["written"] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 3}, "unknown key 'seed'; did you mean 'seeds'"),
        ({"schedulers": ["asah"]}, "did you mean 'asha'"),
        ({"trials": 0}, "trials=0"),
    ],
)
def test_a_bad_plan_is_a_wrong_call(store, plan, tmp_path, settings, message):
    out = tmp_path / "tables"
    result = call("compare", store, "--plan", plan(**settings), "--out", out, code=2)
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not list(out.glob("*"))


def test_a_plan_that_is_no_yaml_is_named(store, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("a: [", encoding="utf-8")
    assert "is no YAML file" in call("compare", store, "--plan", path, code=2).stderr


def test_an_output_that_cannot_be_is_refused_before_anything_runs(store, plan, tmp_path):
    (tmp_path / "file").touch()
    result = call("compare", store, "--plan", plan(), "--out", tmp_path / "file" / "x", code=1)
    assert "file" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["small", "full", "samplers"])
def test_the_plans_that_come_with_the_project_are_valid(name, request):
    from daskhpo.analysis.compare_plan import Plan
    from daskhpo.simulate.problem import Problem

    file = request.config.rootpath / "data" / "plans" / f"{name}.yaml"
    plan = Plan.from_mapping(yaml.safe_load(file.read_text(encoding="utf-8")))
    curves = np.linspace(1.0, 0.1, 60) + np.arange(20)[:, None]
    plan.check(Problem("made up", "loss", [{"x": i / 20} for i in range(20)], curves))


# ---------------------------------------------------------------------- reliability


def test_unreliable_rungs_of_stored_curves_are_warned_of_in_words(store):
    output = call("reliability", store, "--eta", 3).output
    assert "WARNING: rung at step 1: of the 12 trials that end in the best tenth" in output
    assert "raise min_step to 2" in output
    content = json.loads(call("reliability", store, "--eta", 3, "--json").stdout)
    assert [rung["verdict"] for rung in content["rungs"]] == ["unreliable", "reliable"]
    assert content["min_step"] == 2


def test_a_ladder_that_begins_later_is_not_warned_of(store):
    output = call("reliability", store, "--min-step", 2).output
    assert "WARNING" not in output
    assert "Every rung is reliable." in output


def test_a_campaign_is_judged_by_its_own_ladder(tmp_path):
    def objective(trial):
        for epoch in trial.steps():
            trial.report(loss=trial.params["x"] / epoch)

    path = tmp_path / "first"
    space = Space(x=Float(0, 1))
    tuner = Tuner(
        objective, space, metric="loss", scheduler=Fifo(max_step=4), sampler="random", path=path
    )
    tuner.debug(trials=12)
    output = call("reliability", path).output
    assert output.startswith("12 complete trials; nobody was stopped early.")
    assert "   epoch  rank correlation" in output


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--eta", 1], "'--eta'", 2),
        (["--min-step", 9], "There is no rung before the end.", 0),
        (["--min-step", 10], "min_step=10: must not be above max_step=9", 2),
        (["--top", 0.9], "top=0.9: must be above 0 and at most 1/eta", 2),
    ],
)
def test_what_makes_no_ladder_is_refused(store, options, message, code):
    result = call("reliability", store, *options, code=code)
    assert message in result.output + result.stderr


def test_what_is_neither_campaign_nor_store_is_refused(tmp_path):
    assert "no curve store" in call("reliability", tmp_path, code=1).stderr
    assert "does not exist" in call("reliability", tmp_path / "nowhere", code=2).stderr
