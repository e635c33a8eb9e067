"""Schedulers with and without advice stand side by side, with the share of wrong stops."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from daskhpo.analysis.compare import compare
from daskhpo.analysis.compare_entries import Entry
from daskhpo.analysis.compare_plan import Plan
from daskhpo.exceptions import DaskhpoError
from daskhpo.simulate import Problem, Rows, simulate
from daskhpo.simulate.choosing import make_adviser, make_speeds

OBEY = {"mode": "obey", "labels": 6, "delta": 0.2, "audit": 0.0, "looks": 3, "confirm": 1}
ADVISED = {"type": "fifo", "predictor": "last_drop", "advice": OBEY}


@pytest.fixture(scope="module")
def problem():
    """Curves that fall from their beginning; every fifth begins badly and ends well."""
    rng = np.random.default_rng(0)
    start = np.arange(30)
    curves = start[:, None] / 10 + np.linspace(1.0, 0.1, 8) + rng.normal(0, 0.01, (30, 8))
    curves[::5, 5:] = rng.uniform(0, 0.1, (6, 3))
    return Problem("made up", "loss", [{"x": int(x)} for x in start], curves)


def plan(*schedulers, **settings):
    base = {"schedulers": list(schedulers), "workers": 2, "seeds": 4, "trials": 30, "scaling": []}
    return Plan.from_mapping(base | settings)


def test_the_table_shows_the_stops_and_the_share_of_wrong_ones_over_all_seeds(problem):
    found = compare([problem], plan("fifo", ADVISED))
    fifo, advised = found.tables[0].rows
    runs = [
        simulate(
            Rows(problem),
            "fifo",
            seed=seed,
            workers=2,
            trials=30,
            speeds=make_speeds(0.3, problem, seed=seed),
            adviser=make_adviser("last_drop", OBEY, seed=seed),
        )
        for seed in range(4)
    ]
    stopped, wrong = sum(r.stopped for r in runs), sum(r.wrong for r in runs)
    assert 0 < wrong < stopped
    assert advised.stopped == stopped / 4
    assert advised.wrong == pytest.approx(wrong / stopped)
    assert advised.epochs == np.median([r.trained for r in runs]) < fifo.epochs
    text = found.to_text()
    assert "predictor=last_drop" in text
    assert f"{wrong / stopped:.1%}" in text
    assert "wrong: share of them that would have gone on there" in " ".join(text.split())


def test_results_have_the_columns_only_where_there_is_advice(problem, tmp_path):
    for name, schedulers in (("with", ("fifo", ADVISED)), ("without", ("fifo",))):
        found = compare([problem], plan(*schedulers))
        runs, tables = found.write(tmp_path / name)
        with open(runs, encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        told = [key in rows[0] for key in ("stopped", "wrong")]
        assert told == [name == "with"] * 2
        (table,) = json.loads(tables.read_text(encoding="utf-8"))["sets"][0]["tables"]
        assert "wrong" not in table["rows"][0]
        if name == "with":
            assert [rows[0]["stopped"], rows[4]["stopped"]] == ["", str(found.records[4].stopped)]
            assert table["rows"][1]["wrong"] == found.tables[0].rows[1].wrong
        else:
            assert "stopped" not in found.to_text()


def test_a_plan_with_advice_survives_being_written_and_read():
    given = plan(ADVISED, {"named": "asha(eta=2, predictor='svr(C=2.0)', advice='log(looks=1)')"})
    again = Plan.from_mapping(given.to_mapping())
    assert again == given
    fifo, named = again.schedulers
    assert (fifo.alone, named.alone) == ({"type": "fifo"}, {"type": "asha", "eta": 2})
    assert fifo.adviser(seed=5).settings() == make_adviser("last_drop", OBEY, seed=5).settings()
    assert named.adviser(seed=0).looks == 1


def test_the_predictor_of_a_scheduler_that_has_one_stays_with_it():
    swift = Entry.parse("schedulers", "swift_hyperband(predictor=last_drop)")
    assert swift.alone == dict(swift.settings)
    assert swift.adviser(seed=0) is None


def test_two_processes_find_what_one_finds(problem):
    asked = plan("fifo", ADVISED, seeds=2)
    alone, together = (compare([problem], asked, jobs=jobs) for jobs in (1, 2))
    assert alone.to_dict() == together.to_dict()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "hyperband", "predictor": "last_drop", "advice": "obey"}, "does not take advice"),
        ({"type": "asha", "predictor": "lst_drop"}, "did you mean 'last_drop'"),
        ({"type": "asha", "predictor": "last_drop", "advice": "obey(dlta=1)"}, "unknown key"),
        ({"type": "asha", "predictor": "last_drop", "advice": 1}, "advice=1: must be settings"),
    ],
)
def test_advice_that_cannot_be_is_refused_before_anything_runs(problem, entry, message):
    with pytest.raises(DaskhpoError) as raised:
        compare([problem], plan("fifo", {"bad": entry}))
    assert message in str(raised.value)
    assert str(raised.value).startswith("made up: bad: ")
