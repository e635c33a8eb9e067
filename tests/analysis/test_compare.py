"""A comparison says the same for any number of processes, and refuses a bad plan at once."""

from __future__ import annotations

import csv
import json
import math
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from daskhpo.analysis.compare import compare
from daskhpo.analysis.compare_entries import Entry, Hindsight
from daskhpo.analysis.compare_plan import Plan
from daskhpo.analysis.compare_rows import best_ladder, row_of
from daskhpo.analysis.figure_data import scaling, scaling_caption
from daskhpo.analysis.figures import check_matplotlib, draw
from daskhpo.exceptions import CampaignError, DataError, SchedulerError
from daskhpo.simulate.problem import Problem


def problem(name="made up", *, rows=24, steps=9, crossing=False, direction="min"):
    """Curves that never cross; with ``crossing``, those that end best are the worst at step 1."""
    sign = 1 if direction == "min" else -1
    order = np.arange(rows) / rows
    curves = order[:, None] + np.linspace(1.0, 0.1, steps)
    if crossing:
        curves[:, 0] = 2.0 - order
    params = [{"x": i / rows, "n": 1 + i} for i in range(rows)]
    return Problem(name, "loss", params, sign * curves, direction=direction)


TINY = {
    "schedulers": ["fifo", "asha(eta=3)"],
    "workers": [1, 4],
    "seeds": 3,
    "trials": 24,
    "scaling": [1, 2],
}


def plan(**settings):
    return Plan.from_mapping(TINY | settings)


# ---------------------------------------------------------------------- tables


def test_a_table_is_printed_for_each_set_and_number_of_workers():
    found = compare([problem("one"), problem("two")], plan())
    assert [(t.problem.name, t.workers) for t in found.tables] == [
        *(("one", 1), ("one", 4)),
        *(("two", 1), ("two", 4)),
    ]
    text = found.to_text()
    assert text.count("asha(eta=3)") == 4
    assert "one: 24 curves of loss (min), 9 epochs; 24 trials, 3 seeds" in text


def test_where_early_ranks_hold_asha_finds_the_best_for_a_part_of_the_price():
    fifo, asha = compare([problem()], plan()).tables[0].rows
    assert (fifo.epochs, fifo.share) == (24 * 9, 1.0)
    assert asha.epochs < fifo.epochs / 2
    assert asha.rank_median == 0
    assert (asha.found_best, asha.regret) == (1.0, 0.0)
    assert asha.faster > fifo.faster == 1.0


def test_where_early_ranks_mislead_the_table_says_what_was_lost():
    fifo, asha = compare([problem(crossing=True)], plan()).tables[1].rows
    assert fifo.rank_median == 0
    assert asha.rank_median > 5
    assert asha.regret > 0.2
    assert asha.found_best == 0.0
    assert math.isinf(asha.reached)


def test_maximising_is_minimising_the_negative():
    low = compare([problem()], plan()).tables
    high = compare([problem(direction="max")], plan()).tables
    for one, other in zip(low, high, strict=True):
        for left, right in zip(one.rows, other.rows, strict=True):
            assert (left.epochs, left.rank_mean, left.regret, left.reached) == (
                *(right.epochs, right.rank_mean, right.regret, right.reached),
            )
            assert left.value == -right.value


def test_all_schedulers_draw_the_same_configurations_at_one_seed():
    found = compare([problem(rows=100)], plan(trials=10))
    for seed in range(3):
        assert len({r.best for r in found.records if r.seed == seed}) == 1
    assert len({r.best for r in found.records}) > 1


def test_the_result_does_not_depend_on_the_number_of_processes():
    sets = [problem("one"), problem("two", crossing=True)]
    asked = plan(hindsight={"like": "fifo", "min_step": [1, 2], "eta": 3})
    alone, together = (compare(sets, asked, jobs=jobs, figures=True) for jobs in (1, 2))
    assert alone.to_dict() == together.to_dict()
    assert [(r.task, r.seed, r.trained, r.reached) for r in alone.records] == [
        (r.task, r.seed, r.trained, r.reached) for r in together.records
    ]


def test_samplers_are_measured_against_the_same_random_configurations():
    found = compare(
        [problem()],
        plan(source="nearest", samplers=["random", "sobol"], schedulers="fifo", workers=2),
    )
    rows = found.tables[0].rows
    assert [row.label for row in rows] == ["fifo + random", "fifo + sobol"]
    assert len({record.best for record in found.records}) == 1


def test_progress_is_told_task_by_task():
    told = []
    compare([problem()], plan(), watch=lambda done, of: told.append((done, of)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


# ---------------------------------------------------------------------- hindsight


def test_the_best_ladder_in_hindsight_is_the_cheapest_that_is_good_enough():
    asked = plan(hindsight={"like": "fifo", "min_step": [1, 3], "eta": [3]}, workers=4)
    found = compare([problem()], asked)
    (table,) = found.tables
    assert table.best.label == "asha(min_step=1, eta=3)"
    assert table.best.wanted == 0
    fifo, asha = table.rows
    assert asha.hindsight == pytest.approx(1.0)
    assert fifo.hindsight == pytest.approx(fifo.epochs / table.best.epochs)
    assert "asha(min_step=1, eta=3)" in found.to_text()


def test_a_ladder_that_is_cheap_and_loses_the_best_is_passed_over():
    asked = plan(hindsight={"like": "fifo", "min_step": [1, 3], "eta": [3]}, workers=4)
    found = compare([problem(crossing=True)], asked)
    (table,) = found.tables
    assert table.best.label == "asha(min_step=3, eta=3)"
    cheap, dear = table.rows[1], table.best
    assert cheap.epochs < dear.epochs
    assert not cheap.attained
    assert f"{cheap.hindsight:.2f}x*" in found.to_text()


def test_where_no_ladder_is_good_enough_that_is_said():
    asked = plan(hindsight={"like": "fifo", "min_step": [1], "eta": [3]}, workers=4)
    found = compare([problem(crossing=True)], asked)
    assert "no fixed ladder of the grid attains a median rank of 0" in found.to_text()
    assert all(math.isnan(row.hindsight) for row in found.tables[0].rows)
    json.dumps(found.to_dict(), allow_nan=False)


def test_hindsight_compares_with_the_plan_s_hyperband_unless_it_is_told_otherwise():
    asked = plan(schedulers=["fifo", "hyperband(eta=2)"], hindsight={})
    assert asked.hindsight.like == "hyperband(eta=2)"
    with pytest.raises(CampaignError, match="hindsight.like: name the scheduler"):
        plan(hindsight={})
    assert best_ladder([], "fifo", 0.0).label == ""


# ---------------------------------------------------------------------- plans


def test_a_plan_survives_being_written_and_read():
    asked = plan(
        schedulers=[{"random": "fifo"}, {"type": "asha", "eta": 4}],
        costs={"save": 1.0},
        hindsight={"like": "random"},
        source="surrogate(trees=10)",
        speeds="size(parameter=n)",
    )
    assert Plan.from_mapping(asked.to_mapping()) == asked


def test_an_entry_is_named_by_its_settings_unless_it_has_a_name():
    assert Entry.parse("schedulers", "asha(eta=4)").name == "asha(eta=4)"
    assert Entry.parse("schedulers", {"type": "asha", "eta": 4}).name == "asha(eta=4)"
    named = Entry.parse("schedulers", {"wide": {"type": "asha", "eta": 4}})
    assert named == Entry("wide", {"type": "asha", "eta": 4})


def test_ladders_that_begin_at_the_end_or_beyond_are_left_out():
    assert [e.name for e in Hindsight(min_step=(8, 9, 16), eta=(2,)).entries(9)] == [
        "asha(min_step=8, eta=2)"
    ]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"shedulers": ["fifo"]}, "unknown key 'shedulers'; did you mean 'schedulers'"),
        ({"schedulers": []}, "schedulers: none given"),
        ({"schedulers": ["fifo", "fifo"]}, "schedulers: 'fifo' is given twice"),
        ({"schedulers": [3]}, "schedulers: 3: must be settings"),
        ({"schedulers": [{"a": "fifo", "b": "fifo"}]}, "must be 'name: settings'"),
        ({"schedulers": ["asha(4)"]}, "every argument needs its name"),
        ({"workers": [0]}, "workers=0: must be integers of at least 1"),
        ({"workers": []}, "workers: none given"),
        ({"seeds": 0}, "seeds=0: must be an integer of at least 1"),
        ({"trials": "many"}, "trials='many': must be an integer of at least 1 or 'hyperband'"),
        ({"scaling": ["all"]}, "scaling='all'"),
        ({"baseline": "fif"}, "baseline='fif': did you mean 'fifo'"),
        ({"costs": {"safe": 1}}, "costs: unknown key 'safe'; did you mean 'save'"),
        ({"costs": {"save": -1}}, "costs.save=-1"),
        ({"costs": 3}, "costs=3: must be a mapping, or free"),
        ({"walltime": {"queue": 2}}, "walltime: incomplete; it can have also length"),
        ({"hindsight": {"like": "fif"}}, "hindsight.like='fif': did you mean 'fifo'"),
        ({"hindsight": {"eta": [1], "like": "fifo"}}, "hindsight.eta=1"),
        ({"core_hours": 0}, "core_hours=0: must be a number above 0"),
        ({"source": ["rows"]}, r"source=\['rows'\]: must be settings"),
    ],
)
def test_a_bad_plan_is_refused_with_the_key_and_what_is_allowed(settings, named):
    with pytest.raises((CampaignError, SchedulerError), match=named):
        plan(**settings)


@pytest.mark.parametrize("given", [None, [], "fifo"])
def test_a_plan_that_is_no_mapping_is_refused(given):
    with pytest.raises(CampaignError, match="a plan must be a mapping"):
        Plan.from_mapping(given)
    with pytest.raises(CampaignError, match="schedulers: missing"):
        Plan.from_mapping({"seeds": 3})


@pytest.mark.parametrize(
    ("settings", "kind", "named"),
    [
        (
            {"schedulers": ["asah"]},
            SchedulerError,
            "made up: asah: .*did you mean 'asha'",
        ),
        ({"schedulers": ["asha(min_stp=2)"]}, SchedulerError, "unknown key 'min_stp'"),
        ({"schedulers": ["asha(min_step=10)"]}, SchedulerError, "min_step=10"),
        ({"schedulers": ["asha(eta=1)"]}, SchedulerError, "eta=1"),
        ({"schedulers": ["fifo(max_step=10)"]}, CampaignError, "max_step=10: the curves have 9"),
        (
            {"schedulers": ["pbt(interval=2, population=9, perturb=[x])"]},
            CampaignError,
            "cannot be simulated",
        ),
        ({"schedulers": ["pbt"]}, SchedulerError, "made up: pbt: .*interval is missing"),
        ({"source": "row"}, CampaignError, "source='row': did you mean 'rows'"),
        ({"samplers": ["random"]}, CampaignError, "draws stored rows by itself"),
        ({"samplers": ["byes"], "source": "nearest"}, SchedulerError, "did you mean 'bayes'"),
        ({"speeds": -1}, CampaignError, "speeds=-1"),
        ({"speeds": "size(parameter=width)"}, CampaignError, "parameter='width'"),
    ],
)
def test_what_does_not_fit_a_set_is_refused_before_anything_runs(settings, kind, named):
    ran = []
    with pytest.raises(kind, match=named):
        compare([problem()], plan(**settings), watch=lambda *done: ran.append(done))
    assert ran == []


def test_sets_of_the_same_name_and_bad_numbers_of_processes_are_refused():
    with pytest.raises(CampaignError, match="two sets are called 'made up'"):
        compare([problem(), problem()], plan())
    with pytest.raises(CampaignError, match="jobs=0"):
        compare([problem()], plan(), jobs=0)
    with pytest.raises(CampaignError, match="curves: none given"):
        compare([], plan())


def test_curves_with_a_gap_never_become_a_set():
    curves = np.ones((3, 4))
    curves[1, 2] = math.nan
    with pytest.raises(DataError, match="not whole"):
        Problem("gap", "loss", [{"x": i} for i in range(3)], curves)


# ---------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A comparison, written and drawn."""
    out = tmp_path_factory.mktemp("tables")
    sets = [problem("two (long)", crossing=True, direction="max")]
    found = compare(sets, plan(core_hours=20.0, seeds=2, workers=4), figures=True)
    return found, out, [*found.write(out), *draw(found, out)]


def test_results_hold_a_row_per_campaign_and_the_tables(drawn):
    found, out, _ = drawn
    with open(out / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.records)
    table = [row for row in rows if row["role"] == "table"]
    assert len(table) == 2 * 2  # schedulers, seeds
    assert {row["set"] for row in rows} == {"two (long)"}
    assert json.loads((out / "results.json").read_text()) == found.to_dict()


def test_five_figures_are_drawn_for_each_set_with_captions(drawn):
    _, out, written = drawn
    kinds = ("samples", "loss", "regret", "scaling", "rank")
    files = {f"two-long-{kind}.{form}" for kind in kinds for form in ("svg", "png")}
    assert {path.name for path in written} == files | {"results.csv", "results.json", "figures.md"}
    captions = (out / "figures.md").read_text(encoding="utf-8")
    assert captions.count("![") == 5
    svg = (out / "two-long-loss.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(svg)
    for shown in ("asha(eta=3)", "core-hours", "epochs trained", "final loss of the incumbent"):
        assert shown in svg


def test_figures_are_the_same_to_the_byte(drawn, tmp_path):
    found, out, _ = drawn
    for path in draw(found, tmp_path):
        assert path.read_bytes() == (out / path.name).read_bytes()


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CampaignError, match=r"pip install daskhpo\[figures\]"):
        check_matplotlib()


def test_a_plan_without_scaling_has_no_scaling_figure(tmp_path):
    found = compare([problem()], plan(scaling=[], workers=2, seeds=1), figures=True)
    assert not [path for path in draw(found, tmp_path) if "scaling" in path.name]


# ---------------------------------------------------------------------- scaling


def test_speed_up_is_measured_against_the_fewest_workers():
    asked = plan(schedulers="fifo", scaling=[1, 2, 4], workers=1, speeds=0.0, costs="free")
    found = compare([problem()], asked, figures=True)
    (records,) = found.of(found.problems[0], "table", "scaling").values()
    curve = scaling(records)
    assert curve.campaign.x.tolist() == [1, 2, 4]
    assert curve.campaign.middle.tolist() == [1, 2, 4]  # 24 equal trials: no worker waits
    assert curve.work.middle.tolist() == [1, 1, 1]
    assert curve.busy.tolist() == [1, 1, 1]


def test_the_caption_explains_superlinear_scaling_where_there_is_any():
    found = compare([problem()], plan(schedulers="fifo", workers=1, seeds=4), figures=True)
    (records,) = found.of(found.problems[0], "table", "scaling").values()
    curve = scaling(records)
    assert "Nothing is superlinear" in scaling_caption({"fifo": curve}, "epoch", 4)
    curve.campaign.low[:] *= 3
    curve.campaign.middle[:] *= 3
    said = scaling_caption({"fifo": curve}, "epoch", 4)
    assert "Superlinear in three of four seeds: fifo" in said
    assert "fewer epochs are needed" in said


def test_rows_of_campaigns_that_never_got_there_have_no_speed_up():
    found = compare([problem(crossing=True)], plan(workers=4))
    by_name = found.of(found.problems[0], "table")
    lost = by_name["asha(eta=3)"]
    assert row_of(lost, by_name["fifo"], None).faster == 0.0
    assert math.isnan(row_of(lost, lost, None).faster)
