"""From a table that nobody has seen to simulated campaigns, on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from daskhpo.cli import main

ROWS, STEPS = 30, 16


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A made-up table in the working directory: accuracy rises, better for larger widths."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    lines = ["id,width,opt,val_acc_1," + ",".join(f"val_acc_{s}" for s in range(2, STEPS + 1))]
    for row in range(ROWS):
        width, opt = [16, 32, 64, 128][row % 4], ["adam", "sgd"][row % 2]
        end = 0.5 + 0.1 * (row % 4) + rng.normal(0, 0.05)
        curve = end * (1 - np.exp(-np.arange(1, STEPS + 1) / rng.uniform(1, 6)))
        lines.append(f"run{row},{width},{opt}," + ",".join(f"{value:.5f}" for value in curve))
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "table.csv"


@pytest.fixture
def curves(table):
    """Its curve store, imported on the command line."""
    done = call("curves", "import", table.name, "curves.zarr", *IMPORT)
    assert done.exit_code == 0, done.output
    return "curves.zarr"


IMPORT = ["--params", "id,width,opt", "--metric", "val_acc_{step}", "--mode", "max"]


def call(*arguments):
    """Call ``daskhpo``."""
    return CliRunner().invoke(main, list(arguments))


def simulated(*arguments):
    """Call ``daskhpo simulate ... --json``; gives what it prints."""
    done = call("simulate", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_new_table_is_simulated_in_two_commands(curves):
    done = call("simulate", curves, "--scheduler", "asha(min_step=2, eta=2)", "--seeds", "3")
    assert done.exit_code == 0
    assert "maximise val_acc, 30 curves of 16 steps, source rows" in done.output
    assert "ASHA(max_step=16, min_step=2, eta=2" in done.output
    assert "8 workers, 3 seeds" in done.output
    for quantity in ("rank", "regret", "makespan", "of full training", "idle workers"):
        assert quantity in done.output


def test_json_holds_every_run_and_the_spread_over_seeds(curves):
    found = simulated(curves, "--scheduler", "median", "--workers", "4", "--seeds", "5")
    assert len(found["runs"]) == found["seeds"] == 5
    trained = sorted(run["trained"] for run in found["runs"])
    assert found["summary"]["steps"]["median"] == trained[2]
    for run in found["runs"]:
        assert run["trials"] == ROWS
        assert run["workers"] == 4
        assert run["params"]["width"] in (16, 32, 64, 128)
        assert run["history"]["begun"][-1] == ROWS


def test_training_in_full_finds_the_best(curves):
    found = simulated(curves, "--scheduler", "fifo", "--seeds", "2")
    assert found["summary"]["share"]["median"] == 1.0
    assert [run["rank"] for run in found["runs"]] == [0, 0]
    assert [run["trained"] for run in found["runs"]] == [ROWS * STEPS] * 2


def test_the_same_command_prints_the_same(curves):
    asked = ("simulate", curves, "--seeds", "2", "--lost", "0.01", "--json")
    assert call(*asked).output == call(*asked).output


def test_costs_failures_and_walltimes_are_charged(curves):
    def makespan(*more):
        asked = (curves, "--scheduler", "fifo", "--seeds", "1", "--workers", "2")
        return simulated(*asked, *more)["runs"][0]["makespan"]

    free, charged = makespan("--free-costs"), makespan()
    assert free < charged < makespan("--lost", "0.05")
    assert charged < makespan("--walltime", "40", "--queue", "100")


def test_speeds_can_follow_a_parameter(curves):
    def busy(speeds):
        asked = (curves, "--scheduler", "fifo", "--seeds", "1", "--free-costs", "--speeds", speeds)
        return simulated(*asked)["runs"][0]["busy"]

    assert busy("0") == pytest.approx(ROWS * STEPS)
    widths = np.array([[16, 32, 64, 128][row % 4] for row in range(ROWS)])
    expected = STEPS * (widths / np.median(widths)).sum()
    assert busy("size(parameter=width)") == pytest.approx(expected)


@pytest.mark.parametrize("source", ["nearest", "surrogate(trees=10)"])
def test_samplers_search_the_space_of_the_table(curves, source):
    asked = ("--source", source, "--sampler", "sobol", "--trials", "12", "--seeds", "2")
    found = simulated(curves, *asked)
    assert [run["trials"] for run in found["runs"]] == [12, 12]


def test_incomplete_rows_are_refused_dropped_or_cleaned_away(table):
    text = table.read_text(encoding="utf-8").splitlines()
    text[3] = text[3].rsplit(",", 2)[0] + ",,"
    text.append(text[5])
    table.write_text("\n".join(text) + "\n", encoding="utf-8")
    assert call("curves", "import", table.name, "raw.zarr", *IMPORT).exit_code == 0
    refused = call("simulate", "raw.zarr")
    assert refused.exit_code == 2
    assert "1 of 31 curves" in refused.stderr
    assert "row 2, the first of them, ends after step 14" in refused.stderr
    dropped = simulated("raw.zarr", "--drop-incomplete", "--seeds", "1")
    assert dropped["runs"][0]["trials"] == ROWS
    cleaned = call("curves", "import", table.name, "clean.zarr", *IMPORT, "--clean")
    assert "29 trials, 16 steps" in cleaned.output
    assert "dropped: 2 rows (1 incomplete, 0 restarted, 1 repeated)" in cleaned.output
    assert simulated("clean.zarr", "--seeds", "1")["runs"][0]["trials"] == 29


def test_what_cleaning_dropped_is_in_the_json(table):
    done = call("curves", "import", table.name, "c.zarr", *IMPORT, "--clean", "--json")
    dropped = {"incomplete": 0, "restarted": 0, "repeated": 0}
    expected = {"curves": "c.zarr", "trials": ROWS, "steps": STEPS, "dropped": dropped}
    assert json.loads(done.stdout) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheduler", "ash"], "did you mean 'asha'"),
        (["--scheduler", "asha(eta"], "write a name, or name(key=value"),
        (["--scheduler", "asha(max_step=17)"], "the curves of 'table' have 16 steps"),
        (["--scheduler", "asha(eta=1)"], "eta=1"),
        (["--sampler", "bayes"], "draws stored rows by itself"),
        (["--source", "nearest", "--sampler", "bays"], "did you mean 'bayes'"),
        (["--source", "row"], "did you mean 'rows'"),
        (["--speeds", "size(parameter=wdth)"], "did you mean 'width'"),
        (["--speeds", "fast"], "speeds='fast'"),
        (["--lost", "2"], "failures.lost=2.0"),
        (["--walltime", "0.5"], "walltime.length=0.5"),
        (["--queue", "5"], "give --walltime"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_a_wrong_call_says_what_is_allowed_and_ends_with_2(curves, arguments, message):
    done = call("simulate", curves, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_the_help_shows_examples():
    assert "daskhpo simulate curves.zarr --scheduler" in call("simulate", "--help").output


ADVISED = ("--scheduler", "fifo", "--predictor", "last_drop")


def test_advice_is_obeyed_and_the_table_says_how_often_it_was_wrong(curves):
    done = call("simulate", curves, *ADVISED, "--advice", "obey(delta=0.2, labels=8)")
    assert done.exit_code == 0, done.output
    assert "predictor last_drop\n" in done.output
    told = "obey(delta=0.2, audit=0.05, looks=15, confirm=2, grace=0, order=value, labels=8)"
    assert f"advice {told}" in done.output
    rows = {line[:24].strip(): line[24:].split() for line in done.output.splitlines()}
    assert float(rows["stopped by advice"][0]) > 1
    assert rows["of these wrong"][0].endswith("%")
    assert rows["of full training"][0] != "100.0%"


def test_each_seed_has_an_adviser_of_its_own(curves):
    advice = ("--advice", "obey(delta=0.2, labels=8, audit=0.5)")
    found = simulated(curves, *ADVISED, *advice, "--seeds", "2")
    settings = found["adviser"]
    assert (settings["mode"], settings["predictor"], settings["labels"]) == ("obey", "last_drop", 8)
    assert {"stopped", "wrong"} <= set(found["summary"])
    from daskhpo.simulate import Lognormal, Problem, Rows, simulate
    from daskhpo.simulate.choosing import make_adviser

    adviser = make_adviser("last_drop", advice[1], seed=1)
    speeds = Lognormal(0.3, seed=1)
    alone = simulate(Rows(Problem.open(curves)), "fifo", seed=1, speeds=speeds, adviser=adviser)
    assert found["runs"][1] == alone.to_dict()


def test_without_a_predictor_no_word_is_said_of_advice(curves):
    asked = ("simulate", curves, "--seeds", "1")
    assert "advice" not in call(*asked).output
    found = simulated(curves, "--seeds", "1")
    assert not {"stopped", "wrong"} & {*found["summary"], *found["runs"][0]}
    assert "adviser" not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictor", "sv"], "did you mean 'svr'"),
        (["--predictor", "last_drop", "--advice", "obay"], "must be 'log' or 'obey'"),
        (["--predictor", "last_drop", "--advice", "obey(lok=1)"], "unknown key 'lok'"),
        (
            ["--predictor", "last_drop", "--advice", "obey", "--scheduler", "median"],
            "does not take advice; ASHA and Fifo do",
        ),
    ],
)
def test_advice_that_cannot_be_is_a_wrong_call(curves, arguments, message):
    done = call("simulate", curves, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
