"""``daskhpo predict`` as a user sees it."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from daskhpo.cli import main
from daskhpo.store.importer import import_table


def call(*arguments, code=0):
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    assert result.exit_code == code, result.output + repr(result.exception)
    assert code or not result.stderr
    assert "Traceback" not in result.output
    return result


def imported(folder, name, curves):
    lines = ["x," + ",".join(f"loss_{step}" for step in range(curves.shape[1]))]
    for row, curve in enumerate(curves.tolist()):
        cells = ("" if np.isnan(value) else repr(value) for value in curve)
        lines.append(f"{row}," + ",".join(cells))
    table = folder / f"{name}.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    return import_table(table, params=["x"], metric="loss_{step}", out=folder / f"{name}.zarr")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("curves")


@pytest.fixture(scope="module")
def curves():
    rng = np.random.default_rng(0)
    drop = 1 + 0.2 * rng.random((60, 1))
    return rng.random((60, 1)) + np.linspace(1.0, 0.0, 12) * drop


@pytest.fixture(scope="module")
def store(folder, curves):
    return imported(folder, "made", curves)


# ---------------------------------------------------------------------- evaluate


def test_a_table_is_printed(store):
    output = call("evaluate", store, "--models", "last_value,last_drop*5", "--splits", 8).output
    assert "made: 60 curves of loss (min), 12 steps" in output
    rows = {line.split()[0]: line.split() for line in output.splitlines() if line}
    assert rows["last_value"][1:3] == ["20", "8"]
    assert rows["last_drop"][1:3] == ["20", "5"]
    assert float(rows["last_drop"][5]) > float(rows["last_value"][5])


def test_the_protocol_is_said_in_words(store):
    options = ("--models", "last_value*2", "--train", 5)
    paper = call("evaluate", store, "--protocol", "paper", *options).output
    assert "protocol paper: 2 values are known, every second step of the first 25%" in paper
    honest = call("evaluate", store, "--fraction", 0.5, *options).output
    assert "protocol honest: the first 6 steps (50%) are known" in honest


def test_json_holds_the_rows(store):
    output = call("evaluate", store, "--models", "last_value*3", "--json").stdout
    (found,) = json.loads(output)["sets"]
    (row,) = found["rows"]
    assert (row["model"], row["trainings"], found["known"]) == ("last_value", 3, 3)
    assert set(row["r2"]) == {"best", "worst", "mean", "std", "trainings"}


@pytest.mark.parametrize(
    ("given", "columns"),
    [("0.1,0.5", ["10%", "25%", "50%"]), ("0.7..0.9", ["25%", "70%", "80%", "90%"])],
)
def test_several_fractions_give_a_second_table(store, given, columns):
    options = ("--models", "last_value*10", "--fractions", given)
    lines = call("evaluate", store, *options).output.splitlines()
    assert next(line for line in lines if "when known" in line).split()[4:] == columns


def test_numbers_and_figures_are_written_where_it_was_asked_for(store, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "prediction"
    models = ("--models", "last_value*3,last_drop*2")
    output = call("evaluate", store, *models, "--fractions", "0.5", "--out", out).output
    names = {path.name for path in out.iterdir()}
    figures = {
        f"made-{name}.{kind}" for name in ("forecasts", "fractions") for kind in ("png", "svg")
    }
    assert names == {"scores.csv", "results.json", "forecasts.md"} | figures
    assert all(str(out / name) in output for name in names)
    with open(out / "scores.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 + 2 + 3 + 2
    assert {row["set"] for row in rows} == {"made"}


def test_figures_are_the_same_to_the_byte(store, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("one", "two"):
        call("evaluate", store, "--models", "last_drop*2", "--out", tmp_path / name)
    one, two = (
        {
            p.name: p.read_bytes()
            for p in (tmp_path / name).iterdir()
            if p.suffix in (".png", ".svg")
        }
        for name in ("one", "two")
    )
    assert one == two


def test_without_matplotlib_the_extra_is_named_before_anything_runs(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = call("evaluate", store, "--out", tmp_path / "out", code=2)
    assert "daskhpo[figures]" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "svm"], "did you mean 'svr'"),
        (["--models", "last_value(x=1)"], "unknown key 'x'"),
        (["--models", "last_value", "--train", 55], "at most 50, not from 55"),
        (["--models", "last_value", "--train", 30, "--protocol", "paper"], "at most 29"),
        (["--fraction", 1.5], "'--fraction'"),
        (["--fractions", "0.5,2"], "between 0 and 1"),
        (["--fractions", "some"], "between 0 and 1"),
        (["--fractions", "0.9..0.1"], "between 0 and 1"),
        (["--protocol", "fair"], "'--protocol'"),
        (["--splits", 0], "'--splits'"),
        (["--models", "last_value", "--fraction", 0.99], "nothing is left"),
    ],
)
def test_a_wrong_call_is_told_what_is_allowed(store, options, message):
    assert message in call("evaluate", store, *options, code=2).stderr


def test_curves_that_cannot_be_forecast_are_refused(folder, curves):
    flat = imported(folder, "flat", np.ones((40, 8)))
    result = call("evaluate", flat, "--models", "last_value", code=2)
    assert "all curves end at the same value" in result.stderr
    gaps = curves.copy()
    gaps[3, 5:] = np.nan
    ragged = imported(folder, "ragged", gaps)
    result = call("evaluate", ragged, "--models", "last_value", code=2)
    assert "1 of 60 curves are not whole" in result.stderr
    assert "--drop-incomplete" in result.stderr
    output = call("evaluate", ragged, "--models", "last_value*2", "--drop-incomplete").output
    assert "59 curves" in output


def test_two_sets_of_one_name_are_refused(store):
    result = call("evaluate", store, store, "--models", "last_value", code=2)
    assert "two sets are called 'made'" in result.stderr


# ---------------------------------------------------------------------- hyperband


def test_hyperband_stands_above_what_predictors_make_of_it(store):
    output = call("hyperband", store, "--models", "last_drop", "--seeds", 2).output
    names = [line.partition("  ")[0] for line in output.splitlines()]
    assert names[2:5] == ["hyperband", "swift: last_drop", "fast: last_drop"]
    assert "wrong" in output


def test_campaigns_are_written_and_drawn(store, tmp_path):
    pytest.importorskip("matplotlib")
    options = ("--models", "last_drop", "--algorithms", "swift", "--seeds", 2)
    content = json.loads(call("hyperband", store, *options, "--out", tmp_path, "--json").stdout)
    names = {path.name for path in tmp_path.iterdir()}
    tables = {"hyperband.csv", "hyperband.json", "hyperband.md"}
    assert names == tables | {"made-hyperband.png", "made-hyperband.svg"}
    rows = content["sets"][0]["rows"]
    assert [row["name"] for row in rows] == ["hyperband", "swift: last_drop"]
    assert rows[0]["stops"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "svm"], "did you mean 'svr'"),
        (["--algorithms", "swfit"], "did you mean 'swift'"),
        (["--seeds", 0], "'--seeds'"),
    ],
)
def test_a_wrong_campaign_is_told_what_is_allowed(store, options, message):
    assert message in call("hyperband", store, *options, code=2).stderr


@pytest.mark.parametrize("command", ["evaluate", "hyperband"])
def test_without_annealers_the_default_list_says_what_it_leaves_out(store, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "dwave", None)
    monkeypatch.setitem(sys.modules, "dwave.samplers", None)
    few = ("--splits", 2) if command == "evaluate" else ("--seeds", 1, "--algorithms", "swift")
    done = CliRunner().invoke(main, ["predict", command, str(store), *map(str, few)])
    assert done.exit_code == 0, done.output
    assert "left out: qubo_svr, which needs pip install 'daskhpo[annealing]'" in done.stderr
    assert "qubo_svr" not in done.stdout
    assert "svr" in done.stdout
