"""Rungs are judged by trials that reached the end, and only by such as nobody chose."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from daskhpo.analysis.agreement import Estimate, implied_share, rank_correlation, share_kept
from daskhpo.analysis.reliability import reliability
from daskhpo.analysis.rungwatch import RungWatch, reliability_of
from daskhpo.analysis.verdict import reliability_lines
from daskhpo.exceptions import DataError, SchedulerError, StoreError
from daskhpo.store.importer import import_table

SHARED = Path(os.environ.get("DASKHPO_SHARED", Path(__file__).parents[3] / "shared"), "curves")


def crossing(trials=200, seed=0):
    """Curves of 8 steps: at 1 and 2 the ranks say nothing of the end, from 4 on everything."""
    rng = np.random.default_rng(seed)
    end = rng.permutation(trials).astype(float)
    noise = rng.permutation(trials).astype(float)
    return np.stack([noise, noise, noise, end, end, end, end, end], axis=1)


def judge(curves, **settings):
    return reliability(curves, **{"milestones": (1, 2, 4), "eta": 2} | settings)


# ---------------------------------------------------------------------- all trials complete


@settings(deadline=None)  # the first call imports scipy
@given(
    st.integers(5, 80),
    st.integers(2, 9),
    st.sampled_from(["min", "max"]),
    st.integers(0, 2**32 - 1),
)
def test_curves_that_never_cross_agree_in_full(trials, eta, direction, seed):
    order = np.random.default_rng(seed).permutation(trials)
    curves = order[:, None] + np.linspace(100.0, 0.0, 8)
    found = judge(curves, eta=eta, direction=direction)
    for rung in found.rungs:
        assert rung.spearman.value == 1.0
        assert rung.inside == found.best
        assert rung.kept.value == 1.0 or not found.measured
        assert rung.verdict != "unreliable"
    assert not found.unreliable


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_shuffled_ranks_agree_by_chance_alone(seed):
    found = judge(crossing(400, seed))
    early, _, late = found.rungs
    assert abs(early.spearman.value) < 0.25
    assert abs(early.kept.value - 0.5) < 0.4
    assert late.spearman.value == 1.0


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_maximising_is_minimising_the_negative(seed, eta):
    curves = np.random.default_rng(seed).normal(size=(60, 8)).cumsum(axis=1)
    low, high = judge(curves, eta=eta), judge(-curves, eta=eta, direction="max")
    assert low.rungs == high.rungs


def test_a_rung_that_loses_the_best_is_called_unreliable_with_a_cure():
    found = judge(crossing())
    assert [rung.verdict for rung in found.rungs] == ["unreliable", "unreliable", "reliable"]
    assert found.min_step == found.sure_step == 4
    said = found.sentence(found.rungs[0])
    assert "rung at epoch 1: of the 20 trials that end in the best tenth, only" in said
    assert "among the best half here" in said
    assert said.endswith("raise min_step to 4")


def test_without_any_reliable_rung_the_cure_is_another_ladder():
    curves = np.stack([np.random.default_rng(k).permutation(200) for k in range(4)], axis=1)
    found = judge(curves, milestones=(1, 2))
    assert found.min_step is None
    assert "train every trial to the end" in found.sentence(found.rungs[0])


def test_the_cure_need_not_be_a_milestone():
    found = judge(crossing(), milestones=(1,), eta=4)
    assert found.min_step == 4


def test_the_end_itself_is_no_rung():
    assert [rung.step for rung in judge(crossing(), milestones=(4, 8, 100)).rungs] == [4]


def test_ties_count_as_what_drawing_among_them_would_give():
    early = np.zeros(100)
    found = judge(np.stack([early, early, early, np.arange(100.0)], axis=1), milestones=(1,))
    rung = found.rungs[0]
    assert rung.inside == pytest.approx(5.0)
    assert math.isnan(rung.spearman.value)
    assert rung.verdict == "unreliable"


def test_a_step_that_was_skipped_is_judged_by_the_next_report():
    curves = crossing()
    skipped = curves.copy()
    skipped[:, 2] = math.nan
    assert judge(skipped, milestones=(3,)).rungs[0].spearman.value == 1.0


def test_one_trial_in_twenty_that_failed_selects_nothing():
    curves = crossing()
    curves[::20, 5:] = math.nan
    found = judge(curves)
    assert (found.basis, found.used, found.trials) == ("all", 190, 200)
    assert "10 that ended early are left out" in found.to_text()


# ---------------------------------------------------------------------- few, chosen or audited


@pytest.mark.parametrize("complete", [0, 1, 4])
def test_of_fewer_than_five_complete_trials_no_number_is_given(complete):
    curves = crossing(20)
    curves[complete:, 4:] = math.nan
    found = judge(curves)
    assert found.basis == "few"
    assert found.rungs == ()
    assert found.min_step is None
    assert f"{complete} complete trial" in found.to_text()
    assert "5 are needed" in found.to_text()
    assert reliability_lines(found) == []


def chosen():
    """Only those that lead at step 2 reach the end."""
    curves = crossing()
    curves[curves[:, 1] >= 50, 2:] = math.nan
    return curves


def test_of_trials_that_the_scheduler_chose_no_verdict_is_given():
    found = judge(chosen())
    assert found.basis == "finalists"
    assert {rung.verdict for rung in found.rungs} == {"unknown"}
    assert all(math.isnan(rung.kept.value) for rung in found.rungs)
    assert found.min_step is None
    assert "a selection" in found.to_text()
    assert reliability_lines(found) == []


def test_audits_speak_for_all_and_the_chosen_do_not():
    whole, curves = crossing(400), crossing(400)
    audit = np.random.default_rng(1).random(400) < 0.25
    curves[(curves[:, 1] >= 100) & ~audit, 2:] = math.nan
    found = judge(curves, audit=audit)
    assert found.basis == "audit"
    assert found.used == audit.sum()
    assert found.rungs == judge(whole[audit]).rungs
    assert found.rungs[0].verdict == "unreliable"
    assert "audit trials" in found.to_text()


def test_with_few_best_trials_the_rank_correlation_speaks():
    found = judge(crossing(30))
    assert not found.measured
    assert found.rungs[2].verdict == "reliable"
    assert found.rungs[0].verdict != "reliable"
    assert "agree with those at the end by" in found.sentence(found.rungs[0])


def test_five_trials_in_the_same_order_prove_nothing():
    found = judge(np.arange(5.0)[:, None] + np.zeros(8))
    assert {rung.verdict for rung in found.rungs} == {"undecided"}


# ---------------------------------------------------------------------- numbers


def test_intervals_hold_the_number_and_shrink_with_more_trials():
    rng = np.random.default_rng(3)
    widths = []
    for n in (10, 40, 160):
        x = rng.normal(size=n)
        found = rank_correlation(x, x + rng.normal(size=n))
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)


@settings(deadline=None)
@given(st.floats(-1, 1), st.integers(2, 8))
def test_more_correlation_keeps_more_of_the_best(rho, eta):
    found = implied_share(Estimate(rho, -1.0, 1.0), eta=eta, top=0.1)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_implied_share_is_that_of_normal_variables():
    rng = np.random.default_rng(5)
    end = rng.normal(size=200_000)
    early = 0.7 * end + math.sqrt(1 - 0.49) * rng.normal(size=200_000)
    rho = 6 / math.pi * math.asin(0.7 / 2)
    _, counted = share_kept(early, end, eta=4, best=20_000)
    implied = implied_share(Estimate(rho, rho, rho), eta=4, top=0.1)
    assert implied.value == pytest.approx(counted.value, abs=0.01)


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"eta": 1}, "eta=1"),
        ({"eta": 2.5}, "eta=2.5"),
        ({"milestones": (0, 2)}, "milestone=0"),
        ({"top": 0.6}, "top=0.6: must be above 0 and at most 1/eta, which is 0.5"),
        ({"top": 0.0}, "top=0.0"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused(settings, named):
    with pytest.raises(SchedulerError, match=named):
        judge(crossing(), **settings)


def test_curves_that_are_no_table_are_refused():
    with pytest.raises(DataError, match=r"\(trials, steps\)"):
        judge(np.zeros(5))
    with pytest.raises(DataError, match=r"must be \(200,\) bool"):
        judge(crossing(), audit=np.zeros(3, bool))


def test_what_is_printed_as_json_has_no_nan():
    for curves in (crossing(), chosen(), crossing(4)):
        json.dumps(judge(curves).to_dict(), allow_nan=False)


def test_every_line_fits_a_terminal():
    for curves in (crossing(), chosen(), crossing(4), crossing(30)):
        found = judge(curves)
        lines = [*found.to_text().splitlines(), *reliability_lines(found)]
        assert max(map(len, lines)) <= 100


# ---------------------------------------------------------------------- campaigns and stores


def watched(made, *, audits=()):
    """A watch that has seen a campaign's facts; the evidence of ``audits`` says so."""
    study = made.campaign.study()
    watch = RungWatch(study, made.campaign)
    made.close()
    for fact in made.directory.facts():
        study.replay((fact,))
        if fact["kind"] == "asked" and fact["number"] in audits:
            fact |= {"evidence": {"audit": True}}
        watch.record(fact)
    return watch


def train(made, values):
    """Begin one trial per value; everyone trains as long as it may."""
    for _ in values:
        made.study.ask()
    while made.study.running:
        for number in sorted(made.study.running):
            trial = made.study.trials[number]
            answer = made.report(number, trial.step + 1, values[number] / (trial.step + 1))
            if answer.decision != "continue":
                done = {"pause": "paused", "stop": "completed"}[answer.decision]
                made.tell(number, done)
        while (job := made.study.ask()) is not None and job.number < len(values):
            pass


def test_a_campaign_that_stops_nobody_is_judged_by_every_trial(make):
    made = make(scheduler={"type": "fifo", "max_step": 8})
    made.study.set_limit(30)
    train(made, np.linspace(0.1, 1.0, 30))
    found = watched(made).judge()
    assert (found.basis, found.used, found.max_step) == ("all", 30, 8)
    assert [rung.step for rung in found.rungs] == [1, 2, 4]
    assert not found.unreliable


def test_a_campaign_of_asha_is_judged_by_its_audits_alone(make):
    made = make(scheduler={"type": "asha", "max_step": 9, "eta": 3})
    made.study.set_limit(60)
    train(made, np.linspace(0.1, 1.0, 60))
    complete = [t.number for t in made.study.trials.values() if t.state == "completed"]
    assert len(complete) >= 5
    watch = watched(made)
    assert watch.judge().basis == "finalists"
    assert [rung.step for rung in watch.judge().rungs] == [1, 3]
    watch = watched(made, audits=complete[:5])
    assert (watch.judge().basis, watch.judge().used) == ("audit", 5)


def test_trials_that_still_run_are_not_counted(make):
    made = make(scheduler={"type": "fifo", "max_step": 8})
    for _ in range(20):
        made.study.ask()
    for number in range(6):
        for step in range(1, 9):
            made.report(number, step, number / step)
        made.tell(number, "completed")
    found = watched(made).judge()
    assert (found.basis, found.trials) == ("all", 6)


def test_another_ladder_can_be_judged_than_the_campaign_has(make):
    made = make(scheduler={"type": "fifo", "max_step": 8})
    made.study.set_limit(6)
    train(made, np.linspace(0.1, 1.0, 6))
    made.close()
    found = reliability_of(made.path, eta=4, min_step=2)
    assert ([rung.step for rung in found.rungs], found.eta) == ([2], 4)


def test_a_ladder_that_is_learned_is_not_to_be_changed(make):
    made = make(scheduler={"type": "asha", "max_step": 8})
    made.study.set_limit(10)
    train(made, np.linspace(0.1, 1.0, 10))
    found = watched(made).judge()
    assert found.learned
    assert not watched(made).judge(eta=2).learned
    loses = judge(crossing(), learned=True)
    assert "the scheduler learns that" in loses.sentence(loses.rungs[0])
    assert "raise min_step" not in loses.to_text()


def test_a_watch_keeps_few_values_of_a_long_curve(make):
    made = make(scheduler={"type": "fifo", "max_step": 1000})
    watch = RungWatch(made.study, made.campaign)
    for step in range(1, 1001):
        fact = {"kind": "reported", "number": 0, "step": step, "metrics": {"loss": 1 / step}}
        watch.record(fact)
    (curve,) = watch._curves.values()
    assert len(curve) < 30
    assert curve[0] == 1.0
    assert curve[-1] == 1 / 1000


def test_columns_may_be_any_steps_that_rise():
    curves = crossing()
    whole = judge(curves, milestones=(1, 4))
    some = judge(curves[:, [0, 3, 7]], milestones=(1, 4), steps=(1, 4, 8))
    assert some.rungs == whole.rungs
    assert some.max_step == 8
    with pytest.raises(DataError, match="must rise, one for each of 3 columns"):
        judge(curves[:, :3], steps=(1, 4, 4))


def test_a_table_that_was_not_imported_is_refused_with_a_hint(tmp_path):
    table = tmp_path / "curves.csv"
    table.write_text("a\n", encoding="utf-8")
    with pytest.raises(DataError, match="daskhpo curves import"):
        reliability_of(table)
    with pytest.raises(StoreError, match="there are no curves at"):
        reliability_of(tmp_path / "nowhere")


def shared(tmp_path, name, pattern, *params):
    table = SHARED / name
    if not table.is_file():
        pytest.skip(f"the shared curves are not here: {table}")
    with open(table, newline="", encoding="utf-8") as file:
        assert set(params) <= set(next(csv.reader(file)))
    return import_table(table, params=params, metric=pattern, out=tmp_path / "curves.zarr")


def test_on_lstm_ptb_the_first_rungs_are_warned_of(tmp_path):
    store = shared(tmp_path, "lstm_ptb.csv", "ep_{step}", "n_layer", "n_inputs")
    found = reliability_of(store)
    assert [rung.step for rung in found.unreliable] == [1, 2, 4]
    assert found.rungs[-1].verdict == "reliable"
    assert "WARNING: rung at step 1: of the 28 trials" in found.to_text()
    strict = reliability_of(store, eta=4)
    assert strict.rungs[0].inside == 0.0
    assert "nearly every time" in strict.sentence(strict.rungs[0])


@pytest.mark.parametrize("eta", [2, 4])
def test_on_mlpf_nothing_is_warned_of_from_step_4_on(tmp_path, eta):
    store = shared(tmp_path, "mlpf_delphes.csv", "loss_{step}", "lr", "dropout")
    assert not reliability_of(store, eta=eta, min_step=4).unreliable
