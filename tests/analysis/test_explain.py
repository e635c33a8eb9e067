"""An explanation gives the reasons that the journal holds, and nobody else's."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from batched import Batched, preempted
from hypothesis import HealthCheck, given, settings

from daskhpo.analysis.explain import explain
from daskhpo.cluster.batch import Blame
from daskhpo.exceptions import CampaignError


def texts(made, number):
    """What is told of a trial, moment by moment."""
    return [moment.text for moment in explain(made.path, number).moments]


def test_a_trial_that_waits_is_told_its_rank_and_what_it_would_take(make):
    made = make()
    made.pause_at(0.5, 0.6)
    found = explain(made.path, 1)
    assert "loss 0.6 is rank 2 of the 2 recorded there by then" in found.moments[-1].text
    assert "until there are enough to compare with" in found.moments[-1].text
    assert "called back once 6 trials were compared there" in found.outlook
    assert found.headline.startswith("Trial 1 is paused at epoch 1 of 9.")
    assert "The best of all is 0.5, of trial 0." in found.headline


def test_a_promotion_says_how_many_came_in_between(make):
    made = make()
    made.pause_at(0.1, 0.6, 0.7)
    job = made.study.ask()
    assert job.number == 0
    told = texts(made, 0)[-1]
    assert told.startswith("promoted after 2 others had been recorded at epoch 1: rank 1 of 3")
    assert "among the best 1 (one in 3)" in told
    assert "towards epoch 3" in told


def test_going_on_in_place_is_told_apart_from_a_pause(make):
    made = make()
    made.pause_at(0.5, 0.6)
    job = made.study.ask()
    assert made.report(job.number, 1, 0.1).decision == "continue"
    assert "so it may go on, without waiting" in texts(made, 2)[-1]


def test_a_good_trial_that_another_came_before_is_told_so(make):
    made = make()
    jobs = [made.study.ask() for _ in range(6)]
    for job, value in zip(jobs, (0.1, 0.6, 0.7, 0.8, 0.9, 0.2), strict=True):
        assert made.report(job.number, 1, value).decision == "pause"
    told = texts(made, 5)[-1]
    assert "is rank 2 of the 6 recorded there by then; that is among the best 2" in told
    assert "but another trial came before it" in told


def test_the_milestones_show_the_bar_and_the_trial_s_place(make):
    made = make()
    made.pause_at(0.5, 0.6, 0.7)
    places = explain(made.path, 1).places
    assert [place.milestone for place in places] == [1, 3, 9]
    assert (places[0].recorded, places[0].bar, places[0].value, places[0].rank) == (3, 0.5, 0.6, 2)
    assert places[1].rank == 0


def test_maximised_values_and_bars_keep_their_sign(make):
    made = make(mode="max")
    made.pause_at(0.9, 0.6, 0.7)
    found = explain(made.path, 2)
    assert found.places[0].bar == 0.9
    assert found.places[0].rank == 2
    assert "loss 0.7 is rank 2" in found.moments[-1].text
    assert "-0." not in found.to_text()


def test_the_stopping_form_tells_the_bar(make):
    made = make(mode="max", scheduler={"type": "asha", "max_step": 9, "eta": 3, "mode": "stop"})
    for value in (0.9, 0.2):
        made.report(made.study.ask().number, 1, value)
    made.tell(1, "stopped")
    assert "and so is it: it may go on" in texts(made, 0)[-1]
    found = explain(made.path, 1)
    assert "the best 33% of them are at 0.666667 or better, it is not" in found.moments[-1].text
    assert found.outlook == "It is stopped for good."


def test_the_median_rule_is_told_with_both_numbers(make):
    rule = {"type": "median", "max_step": 5, "min_trials": 2}
    made = make(mode="max", scheduler=rule)
    for value in (0.8, 0.6, 0.1):
        made.report(made.study.ask().number, 1, value)
    found = explain(made.path, 2)
    assert "its best loss so far, 0.1, is worse than 0.7, the median" in found.moments[-1].text
    assert found.places == ()


def test_reports_that_nobody_judges_are_told_in_one_line(make):
    made = make(scheduler={"type": "fifo", "max_step": 5})
    job = made.study.ask()
    for step in range(1, 6):
        made.report(job.number, step, 1 / step)
    made.tell(job.number, "completed")
    told = texts(made, 0)
    assert told[1:] == [
        "epochs 1 to 4: loss went from 1 to 0.25",
        "epoch 5: loss 0.2; that is the end: complete",
    ]


def test_a_failure_is_told_with_its_error_and_its_consequence(make):
    made = make()
    made.study.ask()
    made.tell(0, "failed", error="Traceback ...\nValueError: no such file")
    made.study.ask()
    made.tell(0, "failed", error="ValueError: no such file")
    told = texts(made, 0)
    assert told[1].startswith("failed: ValueError: no such file. That was failure 1 of its own")
    assert told[2].startswith("went back to a worker (attempt 2)")
    assert told[3].endswith("it is given up")
    found = explain(made.path, 0)
    assert "ValueError: no such file" in found.to_text()
    assert found.places[0].rank == 1
    assert "failed, rank 1 of 1" in found.to_text()


def test_an_error_that_would_repeat_itself_is_not_tried_again(make):
    made = make()
    made.study.ask()
    made.tell(0, "failed", error="out of memory", retry=False)
    assert "only fail the same way again" in texts(made, 0)[-1]


def test_a_lost_worker_is_not_the_trial_s_fault(make):
    made = make()
    made.study.ask()
    for _ in range(2):
        made.tell(0, "lost", error="worker tcp://a died")
        made.study.ask()
    made.tell(0, "lost", error="worker tcp://a died")
    told = texts(made, 0)
    assert "That is not its fault" in told[1]
    assert "it has now lost 3 workers without a new epoch in between" in told[-1]


def test_a_diverged_trial_is_told_what_was_reported(make):
    made = make()
    made.study.ask()
    made.report(0, 1, float("nan"))
    made.tell(0, "stopped")
    assert "loss is nan at step 1: it cannot be judged and has failed" in texts(made, 0)[-1]


def test_the_tail_rule_is_told_as_such(make):
    made = make()
    made.study.set_limit(2)
    made.pause_at(0.5, 0.6)
    assert made.study.ask().number == 0
    assert texts(made, 0)[-1].startswith("promoted by the tail rule")
    assert made.report(0, 3, 0.4).decision == "continue"
    assert "too few trials were complete, so it goes on" in texts(made, 0)[-1]


def test_a_spent_budget_is_told_to_whom_it_met(make):
    made = make(scheduler={"type": "fifo", "max_step": 5})
    made.study.ask()
    made.report(0, 1, 0.5)
    made.study.close("the budget of 1 steps is spent")
    made.report(0, 2, 0.4)
    made.tell(0, "interrupted")
    made.study.reopen()
    made.study.ask()
    told = texts(made, 0)
    assert "the campaign ended: the budget of 1 steps is spent" in told
    assert any("so it paused with a checkpoint" in text for text in told)
    assert told[-2:] == [
        "the campaign was resumed",
        "went back to a worker (attempt 2, last seen at epoch 2), towards epoch 5, the end",
    ]


def test_times_count_from_the_campaign_s_first_fact(make):
    made = make()
    made.pause_at(0.5, 0.6)
    assert [moment.time for moment in explain(made.path, 0).moments] == [1.0, 2.0]


def test_a_trial_that_runs_without_a_driver_says_so(make):
    made = make()
    made.study.ask()
    assert "It is training towards epoch 1." in explain(made.path, 0).outlook
    made.close()
    assert "Its driver has gone" in explain(made.path, 0).outlook


def test_trials_that_are_not_there_are_named(make):
    made = make()
    with pytest.raises(CampaignError, match="trial 0: no trial has begun yet"):
        explain(made.path, 0)
    made.pause_at(0.5)
    made.study.offer({"x": 0.5})
    with pytest.raises(CampaignError, match="trial 1: it was proposed, but has not begun"):
        explain(made.path, 1)
    with pytest.raises(CampaignError, match="trial 7: there is none; trials 0 to 0 have begun"):
        explain(made.path, 7)


# What one free worker does next: report a value, fail, or lose its worker.
EVENTS = st.one_of(st.floats(0, 1), st.sampled_from(["failed", "lost"]))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None
)
@given(
    events=st.lists(EVENTS, min_size=1, max_size=30),
    mode=st.sampled_from(["promote", "stop"]),
    brackets=st.integers(1, 2),
)
def test_the_milestones_agree_with_the_scheduler_s_own_table(make, events, mode, brackets):
    scheduler = {"type": "asha", "max_step": 9, "eta": 3, "mode": mode, "brackets": brackets}
    made = make(scheduler=scheduler)
    outcomes = {"pause": "paused", "stop": "stopped", "continue": "interrupted"}
    for event in events:
        job = made.study.ask()
        if isinstance(event, str):
            made.tell(job.number, event, error="so it goes")
        else:
            decision = made.report(job.number, job.stop, event).decision
            made.tell(job.number, outcomes[decision])
    brackets_of = {}  # {number: the rung at which it began}
    for fact in made.directory.facts():
        if fact["kind"] == "asked":
            brackets_of.setdefault(fact["number"], fact["rung"])
    for number in made.study.trials:
        found = explain(made.path, number)
        places = {place.milestone: place for place in found.places}
        bracket = brackets_of[number]
        for row in made.study.scheduler.table():
            if row.bracket == bracket:
                place = places[row.milestone]
                assert (place.recorded, place.went_on) == (row.recorded, row.promoted)
        json.dumps(found.to_dict(), allow_nan=False)
        assert max(map(len, found.to_text().splitlines())) <= 100


LEARNED = {"type": "asha", "max_step": 16}


def test_a_learned_ladder_is_told_by_forecasts_and_shares(make):
    made = make(scheduler=LEARNED)
    made.pause_at(0.5, 0.6)
    job = made.study.ask()
    assert made.report(job.number, 1, 0.4).decision == "continue"
    assert made.report(job.number, 2, 0.3).decision == "pause"
    told = texts(made, 2)
    assert any("(33%), so it may go on" in text for text in told)
    assert "loss 0.3 (heading for 0.24) is the first value recorded there" in told[-1]
    found = explain(made.path, 2)
    assert found.places[1].forecast == pytest.approx(0.24)
    assert found.places[1].value == 0.3
    assert "0.3 -> 0.24, rank 1 of 1" in found.to_text()
    assert "the share that goes on is learned" in found.to_text()
    assert "the best 1 go on at present" in explain(made.path, 1).outlook
    json.dumps(found.to_dict(), allow_nan=False)


def test_an_audited_trial_is_told_that_it_was_drawn(make):
    made = make(scheduler={"type": "asha", "max_step": 9, "min_step": 1, "eta": 3, "audit": 1.0})
    made.study.ask()
    made.report(0, 1, 0.9)
    assert "drawn to train to the end wherever it ranks" in texts(made, 0)[-1]


def test_who_waits_for_a_whole_rung_is_told_so(make):
    made = make(scheduler={"type": "sha", "max_step": 9, "eta": 3, "trials": 9})
    made.pause_at(0.5, 0.6)
    assert "until all 9 of this rung are there: then the best 3 go on" in texts(made, 1)[-1]
    assert explain(made.path, 1).outlook.endswith("among the best once its rung is full.")


def test_where_metrics_are_traded_off_no_values_are_ranked(make):
    made = make(also={"memory": "min"})
    job = made.study.ask()
    made.report(job.number, 1, 0.5, memory=3.0)
    made.tell(job.number, "paused")
    found = explain(made.path, 0)
    assert found.places == ()
    assert found.outlook == "It may be called back."
    stopping = {"type": "asha", "max_step": 9, "min_step": 1, "eta": 3, "mode": "stop"}
    made = make(also={"memory": "min"}, scheduler=stopping)
    for value in (0.1, 0.5):
        job = made.study.ask()
        made.report(job.number, 1, value, memory=value)
    assert "may go on, so it stopped" in texts(made, 1)[-1]


def test_an_evicted_trial_is_told_its_batch_job_s_fate_and_where_it_went_on(tmp_path):
    made = preempted(Batched(tmp_path / "first")).close()
    told = texts(made, 0)
    assert told[0].startswith("began in batch job 17 on node3 with a configuration")
    assert "It goes on from its checkpoint in batch job 17 on node3, towards epoch 3" in told[2]
    assert told[4] == (
        "its batch job 17 on node3 was preempted after 2 min. That is not its fault, however "
        "often: it goes on from its last checkpoint on another worker"
    )
    assert told[5] == (
        "went on in batch job 21 on node1 (attempt 3, last seen at epoch 2), towards epoch 3, "
        "the next milestone"
    )


def test_a_trial_over_several_nodes_is_told_which_of_them_died(tmp_path):
    made = Batched(tmp_path / "first")
    made.at(0).starts("17", "node1")
    made.starts("18", "node2")
    made.begins("17", "18")
    made.at(60).ends("18", "NODE_FAIL", began=0, node="node2")
    made.leaves(0, "evicted", error="batch job 18 on node2: NODE_FAIL")
    told = texts(made.close(), 0)
    assert told[0].startswith("began in batch jobs 17 on node1 and 18 on node2 with")
    assert told[1].startswith("its batch job 18 on node2 lost its node after 1 min.")


def test_a_trial_whose_batch_job_ran_out_of_memory_is_told_so(tmp_path):
    made = Batched(tmp_path / "first")
    made.at(0).starts("17", "node1")
    made.begins("17")
    made.at(30).ends("17", "OUT_OF_MEMORY", began=0, node="node1", blame=Blame.TRIAL)
    made.leaves(0, "failed", error="batch job 17 on node1: OUT_OF_MEMORY")
    told = texts(made.close(), 0)[1]
    assert told.startswith("failed: its batch job 17 on node1 ran out of memory after 30 s.")
    assert "That was failure 1 of its own" in told


def test_what_became_of_a_worker_nobody_knows_about_is_told_as_it_was_heard(tmp_path):
    made = Batched(tmp_path / "first")
    made.at(0).starts("17", "node1")
    made.begins("17")
    made.at(30).leaves(0, "lost", error="its worker died (17-0)")
    assert texts(made.close(), 0)[1].startswith("lost its worker (its worker died (17-0)).")
