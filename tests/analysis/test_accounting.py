"""Every second that a batch job holds is somebody's, and told once."""

from __future__ import annotations

import csv
import json

import hypothesis.strategies as st
import pytest
from batched import START, Batched, preempted
from hypothesis import given, settings

from daskhpo.analysis.accounting import Record, accounts
from daskhpo.analysis.accounting_text import short_lines, to_csv, to_dict, to_text
from daskhpo.analysis.reconciling import reconcile, reconciled_lines
from daskhpo.cluster.batch import BatchJob, Blame, Phase


def account_of(made, **how):
    """The account of a campaign as far as it was told."""
    return accounts(made.facts, **how)


def kinds(account, unit="gpu"):
    """Idle time by kind."""
    return {kind.value: amount.of(unit) for kind, amount in account.idle_by_kind.items()}


# ---------------------------------------------------------------------- one batch job


def test_start_up_gaps_and_the_end_are_told_apart():
    made = Batched()
    made.at(0).starts("17")
    made.at(10).begins("17")
    made.at(40).leaves(0, "interrupted", 30.0)
    made.at(45).begins("17")
    made.at(75).leaves(0, "interrupted", 30.0)
    made.at(95).ends("17", began=0)
    found = account_of(made)
    assert found.unit == "gpu"
    assert found.allocated.gpu == 4 * 95
    assert found.used.gpu == 4 * 60
    assert kinds(found) == {
        "start-up": 4 * 10,
        "between trials": 4 * 5,
        "at the end": 4 * 20,
        "never used": 0,
    }
    assert found.allocated.core == 8 * 95
    assert found.used.core == 8 * 60


def test_a_batch_job_that_no_trial_reached_is_idle_throughout():
    made = Batched()
    made.at(0).starts("17")
    made.at(30).ends("17", "CANCELLED", began=0)
    found = account_of(made)
    assert kinds(found)["never used"] == found.allocated.gpu == 4 * 30
    assert found.used.gpu == 0
    assert found.rungs[-1].key is None
    assert found.rungs[-1].idle.gpu == 4 * 30


def test_one_that_was_cancelled_in_the_queue_has_held_nothing():
    made = Batched()
    made.at(0).waits("17", began=START + 500)  # an estimate of Slurm's
    made.at(30).study.note("batch", **BatchJob("17", Phase.ENDED, "CANCELLED").to_fact())
    assert account_of(made).allocated.gpu == 0


def test_what_runs_is_counted_until_now():
    made = Batched()
    made.at(0).starts("17")
    made.at(10).begins("17")
    made.at(30).reports(0, 1, 0.5)
    assert account_of(made).used.gpu == 4 * 20
    found = account_of(made, now=START + 60)
    assert (found.allocated.gpu, found.used.gpu) == (4 * 60, 4 * 50)
    assert found.stays[0].outcome == "running"
    assert found.interruptions == ()


def test_the_time_before_a_stay_begins_by_its_own_word_is_idle():
    made = Batched()
    made.at(0).starts("17")
    made.at(10).begins("17")
    made.at(40).leaves(0, "interrupted", 25.0)  # the worker had it for five seconds first
    found = account_of(made)
    assert found.used.gpu == 4 * 25
    assert kinds(found)["start-up"] == 4 * 15


# ---------------------------------------------------------------------- several at a time


def test_slots_share_a_batch_job_and_what_is_free_beside_them_is_idle():
    made = Batched()
    made.at(0).starts("17")
    for _ in range(2):
        made.begins("17", gpus=1)
    made.at(10).leaves(0, "interrupted", 10.0)
    made.at(30).leaves(1, "interrupted", 30.0)
    found = account_of(made)
    assert [stay.gpu_seconds for stay in found.stays] == [10, 30]
    assert [stay.core_seconds for stay in found.stays] == [20, 60]  # a quarter of the cores each
    assert kinds(found)["between trials"] == 4 * 30 - 40


def test_stays_never_hold_more_than_there_is():
    made = Batched()
    made.at(0).starts("17")
    for _ in range(3):
        made.begins("17", gpus=4)
    made.at(12).ends("17", began=0)
    for number in range(3):
        made.leaves(number, "lost", 12.0)
    found = account_of(made)
    assert found.used.gpu == pytest.approx(found.allocated.gpu)
    assert [stay.gpu_seconds for stay in found.stays] == pytest.approx([16, 16, 16])


def test_without_gpus_cores_are_counted_and_slots_are_learned():
    made = Batched(gpus=0, cpus=8)
    made.at(0).starts("17")
    made.begins("17", gpus=0)
    made.begins("17", gpus=0)
    made.at(10).leaves(0, "interrupted", 10.0)
    made.at(20).leaves(1, "interrupted", 20.0)
    found = account_of(made)
    assert found.unit == "core"
    assert [stay.core_seconds for stay in found.stays] == [4 * 10, 4 * 20]
    assert found.idle.core == 4 * 10
    assert found.used.gpu == found.allocated.gpu == 0


def test_a_stay_that_names_no_gpus_takes_those_that_are_there():
    made = Batched(gpus=4)
    made.at(0).starts("17")
    made.begins("17", gpus=0)
    made.at(10).leaves(0, "interrupted", 10.0)
    assert account_of(made).used.gpu == 40


def test_gpus_that_the_batch_system_does_not_tell_are_those_that_stays_held():
    made = Batched(gpus=0)
    made.at(0).starts("17")
    made.at(5).begins("17", gpus=2)
    made.at(10).leaves(0, "interrupted", 5.0)
    found = account_of(made)
    assert found.batches[0].gpus == 2
    assert (found.allocated.gpu, found.used.gpu) == (20, 10)


def test_a_trial_over_two_nodes_ends_on_each_with_its_batch_job():
    made = Batched()
    made.at(0).starts("17", "node1")
    made.starts("18", "node2")
    made.at(10).begins("17", "18", ranks=8)
    made.at(40).ends("18", "NODE_FAIL", began=0, node="node2")
    made.at(50).leaves(0, "evicted", 3.0)
    made.at(60).ends("17", began=0, node="node1")
    found = account_of(made)
    [stay] = found.stays
    assert (stay.gpus, stay.ranks, stay.seconds) == (8, 8, 40)
    assert [each.booked.gpu for each in found.batches] == [4 * 40, 4 * 30]
    assert stay.gpu_seconds == 4 * 70
    assert stay.cause == "batch job 18 on node2 lost its node after 40 s"
    assert stay.nodes == "node1,node2"


# ---------------------------------------------------------------------- ends


def test_an_evicted_stay_lasts_until_its_batch_job_is_over_and_wastes_what_it_had_not_reported():
    found = account_of(preempted(Batched()))
    evicted = next(stay for stay in found.stays if stay.outcome == "evicted")
    assert evicted.seconds == 40  # it says 10 itself: since its last sign of life
    assert (evicted.used.gpu, evicted.wasted.gpu) == (4 * 40, 4 * 10)
    assert evicted.cause == "batch job 17 on node3 was preempted after 2 min"
    assert found.wasted.gpu == 4 * 10


def test_a_stay_that_never_reported_and_failed_is_wasted_throughout():
    made = Batched()
    made.at(0).starts("17")
    made.begins("17")
    made.at(30).leaves(0, "failed", 25.0, error="Traceback\nValueError: no such file")
    found = account_of(made)
    assert found.wasted.gpu == found.used.gpu == 4 * 30
    assert found.interruptions[0].cause == "ValueError: no such file"


def test_a_trial_that_ran_out_of_memory_with_its_batch_job_is_told_so():
    made = Batched()
    made.at(0).starts("17", "node1")
    made.begins("17")
    made.at(30).ends("17", "OUT_OF_MEMORY", began=0, node="node1", blame=Blame.TRIAL)
    made.leaves(0, "failed", 25.0, error="killed")
    cause = account_of(made).stays[0].cause
    assert cause == "batch job 17 on node1 ran out of memory after 30 s"


def test_a_worker_that_is_lost_in_a_batch_job_that_lives_on_is_not_put_down_to_that():
    made = Batched()
    made.at(0).starts("17", "node1")
    made.begins("17")
    made.at(30).leaves(0, "lost", 30.0, error="its worker died (17-0)")
    assert account_of(made).stays[0].cause == "its worker died (17-0)"


def test_a_worker_whose_successor_is_at_work_holds_nothing_more():
    made = Batched(gpus=0)
    made.at(0).starts("17")
    made.begins("17", worker="17-0")
    made.at(20).begins("17", worker="17-1")
    made.at(35).leaves(0, "lost", 35.0, error="its worker died (17-0)")  # after some asking
    made.at(50).leaves(1, "interrupted", 30.0)
    found = account_of(made)
    assert [stay.seconds for stay in found.stays] == [20, 30]
    assert [stay.core_seconds for stay in found.stays] == [8 * 20, 8 * 30]  # no two slots


def test_a_stay_that_never_found_its_worker_has_held_nothing():
    made = Batched()
    made.at(0).starts("17")
    made.begins("17")
    made.at(10).leaves(0, "evicted")
    found = account_of(made)
    assert found.used.gpu == found.stays[0].seconds == 0
    assert kinds(found)["never used"] == 4 * 10


def test_a_stay_whose_driver_died_is_counted_up_to_its_last_report():
    made = Batched()
    made.at(0).starts("17")
    made.at(10).begins("17")
    made.at(50).reports(0, 1, 0.5)
    made.at(500).leaves(0, "interrupted", error="its driver went away")
    made.at(510).ends("17", began=0)
    found = account_of(made)
    assert found.used.gpu == 4 * 40
    assert found.wasted.gpu == 0
    assert found.interruptions[0].cause == "its driver went away"


def test_a_campaign_that_ends_is_the_cause_of_what_it_interrupts():
    made = Batched()
    made.at(0).starts("17")
    made.begins("17")
    made.study.close("the budget of 1 hours is spent")
    made.at(50).leaves(0, "interrupted", 50.0)
    cause = account_of(made).interruptions[0].cause
    assert cause == "the campaign was ending: the budget of 1 hours is spent"


def test_a_requeued_batch_job_holds_its_nodes_twice():
    made = Batched()
    made.at(0).starts("17", "node1")
    made.at(10).begins("17")
    made.at(40).waits("17", restarts=1)
    made.at(45).leaves(0, "evicted", 35.0, error="batch job 17: PENDING")
    made.at(60).starts("17", "node2", restarts=1)
    made.at(65).begins("17")
    made.at(85).leaves(0, "interrupted", 20.0)
    made.at(90).ends("17", began=60, node="node2", restarts=1)
    found = account_of(made)
    [batch] = found.batches
    assert (batch.seconds, batch.last_seconds) == (70, 30)
    assert [stay.seconds for stay in found.stays] == [30, 20]
    assert found.stays[0].nodes == "node1"
    assert found.stays[0].cause.startswith("batch job 17 on node1 was put back into the queue")
    assert kinds(found)["start-up"] == 4 * (10 + 5)


def test_a_requeue_that_nobody_saw_is_known_by_the_count_of_starts():
    made = Batched()
    made.at(0).starts("17", "node1")
    made.at(60).starts("17", "node2", began=50, restarts=1)
    made.at(90).ends("17", began=50, node="node2", restarts=1)
    [batch] = account_of(made).batches
    assert (batch.seconds, batch.last_seconds) == (90, 40)


def test_the_batch_job_that_somebody_ended_is_the_cause_not_the_one_that_left_before():
    made = Batched()
    made.at(0).starts("17", "node1")
    made.starts("18", "node2")
    made.begins("17", "18")
    made.at(30).ends("17", "COMPLETED", began=0, node="node1")
    made.at(31).ends("18", "PREEMPTED", began=0, node="node2")
    made.leaves(0, "evicted", 31.0)
    cause = account_of(made).stays[0].cause
    assert cause == "batch job 18 on node2 was preempted after 31 s"


def test_a_batch_job_of_which_only_its_stays_tell_has_held_what_they_used():
    made = Batched()
    made.at(10).begins("17")
    made.at(40).leaves(0, "interrupted", 30.0)
    found = account_of(made)
    assert found.used.gpu == found.allocated.gpu == 4 * 30


# ---------------------------------------------------------------------- rungs


def test_time_is_put_down_to_the_rung_that_was_trained_towards_also_in_place():
    made = Batched()
    made.at(0).starts("17")
    for number, value in enumerate((0.5, 0.6, 0.1)):
        made.at(100 * number).begins("17")
        decision = made.at(100 * number + 40).reports(number, 1, value)
        if decision == "pause":
            made.leaves(number, "paused", 40.0)
    assert decision == "continue"
    made.at(310).reports(2, 3, 0.05)
    made.at(320).leaves(2, "paused", 120.0)
    found = account_of(made)
    assert [(part.key, part.stays) for part in found.rungs] == [(0, 3), (1, 1)]
    assert [part.used.gpu for part in found.rungs] == [4 * 120, 4 * 80]
    assert found.milestones == {0: 1, 1: 3}


def test_idle_time_is_put_down_to_the_rung_of_the_stay_that_ended_it():
    made = Batched()
    made.at(0).starts("17")
    made.at(10).begins("17")
    for number, value in enumerate((0.5, 0.6, 0.7)):
        made.at(12 + 2 * number).reports(number, 1, value)
        made.leaves(number, "paused", 2.0)
        if number < 2:
            made.begins("17")
    made.at(30).begins("17")  # promoted
    made.at(40).ends("17", began=0)
    made.leaves(0, "evicted", 10.0)
    idle = {part.key: part.idle.gpu for part in account_of(made).rungs}
    assert idle == {0: 4 * 10, 1: 4 * 14}


# ---------------------------------------------------------------------- without batch jobs


def test_without_batch_jobs_workers_time_is_told_as_in_the_summary():
    made = Batched(workers={"ranks": 4}, pool={"kind": "local"})
    made.at(0).study.ask()
    made.at(7).leaves(0, "interrupted", 6.5)
    found = account_of(made, ranks=4)
    assert found.unit == "worker"
    assert found.allocated is None
    assert found.used.worker == 6.5 * 4 == made.study.seconds * 4
    assert short_lines(found) == []
    assert "allocated unknown" in to_text(found, name="first", step="epoch")


def test_stays_on_no_batch_job_are_kept_apart_from_those_that_are():
    made = preempted(Batched())
    before = account_of(made)
    made.at(300).study.ask()
    made.at(310).leaves(3, "interrupted", 10.0)
    found = account_of(made)
    assert found.outside.worker == 10
    assert found.allocated == before.allocated
    assert found.used == before.used


# ---------------------------------------------------------------------- whatever happens

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["batch", "ask", "report", "end"]),
        st.floats(0, 50),  # seconds that pass before it
        st.integers(0, 5),
        st.integers(0, 5),
        st.sampled_from(["completed", "evicted", "lost", "failed", "interrupted", "paused"]),
    ),
    max_size=40,
)
PHASES = [Phase.PENDING, Phase.RUNNING, Phase.RUNNING, Phase.ENDED]


def facts_of(events, gpus):
    """Facts in any order that clocks, queues and drivers might bring about, and some more."""
    now, attempts, restarts = START, {}, {}
    for kind, passed, which, what, outcome in events:
        now += passed
        trial = {"number": which, "attempt": attempts.get(which, 0)}
        if kind == "batch":
            batch = str(which % 3)
            phase = PHASES[what % 4]
            restarts[batch] = restarts.get(batch, 0) + (what == 0)
            job = {"id": batch, "phase": phase.value, "gpus": gpus, "cpus": 8}
            job |= {"restarts": restarts[batch]}
            job |= {"began": now - what} if what != 1 else {}
            job |= {"ended": now} if phase is Phase.ENDED and what != 3 else {}
            yield {"t": now, "kind": "noted", "of": "batch", **job}
        elif kind == "ask":
            attempts[which] = trial["attempt"] = trial["attempt"] + 1
            place = {"rung": what % 3, "start": 0, "stop": 9, "why": "new"}
            yield {"t": now, "kind": "asked", **trial, **place}
            batches = [str(n) for n in range(what % 3)]
            if batches:
                on = {"workers": batches, "batches": batches, "gpus": what, "ranks": 1}
                yield {"t": now + 0.5, "kind": "noted", "of": "placed", **trial, **on}
        elif kind == "report":
            evidence = {"evidence": {"rung": what, "milestone": what + 1}} if what < 3 else {}
            yield {"t": now, "kind": "reported", **trial, "step": what, "metrics": {}, **evidence}
        else:
            end = {"outcome": outcome, "state": "waiting", "seconds": 10.0 * what}
            yield {"t": now, "kind": "ended", **trial, **end}


@settings(max_examples=200, deadline=None)
@given(EVENTS, st.sampled_from([0, 1, 4]), st.floats(0, 100))
def test_used_and_idle_are_all_that_was_allocated_and_every_sum_is_the_same(events, gpus, later):
    facts = list(facts_of(events, gpus))
    now = facts[-1]["t"] + later if facts else START
    found = accounts(facts, now=now)
    near = {"rel": 1e-9, "abs": 1e-5}
    for unit in ("gpu", "core", "worker"):
        for each in found.batches:
            parts = [each.booked, *each.idle.values()]
            assert min(part.of(unit) for part in parts) >= 0
            whole = pytest.approx(each.allocated.of(unit), **near)
            assert sum(part.of(unit) for part in parts) == whole
        stays = sum(stay.used.of(unit) for stay in found.stays)
        outside = found.outside.of(unit) if found.batches else 0
        assert stays == pytest.approx(found.used.of(unit) + outside, **near)
        for group in (found.rungs, found.outcomes, found.trials):
            assert sum(part.used.of(unit) for part in group) == pytest.approx(stays, **near)
            wasted = sum(part.wasted.of(unit) for part in group)
            assert wasted == pytest.approx(found.wasted.of(unit), **near)
        idle = sum(part.idle.of(unit) for part in found.rungs)
        assert idle == pytest.approx(found.idle.of(unit), **near)
    for stay in found.stays:
        assert 0 <= stay.wasted.worker <= stay.used.worker + 1e-6
        assert stay.seconds >= 0
        if stay.batches:
            assert stay.used.worker <= stay.seconds * len(set(stay.batches)) + 1e-6
    json.dumps(to_dict(found), allow_nan=False)
    text = to_text(found, name="first", step="epoch", full=True)
    assert max(map(len, [*text.splitlines(), *short_lines(found)])) <= 100


@settings(max_examples=30, deadline=None)
@given(EVENTS)
def test_an_account_made_on_the_way_disturbs_no_later_one(events):
    facts = list(facts_of(events, 4))
    record = Record()
    for fact in facts:
        record.add(fact)
        accounts(record)
    assert to_dict(accounts(record)) == to_dict(accounts(facts))


# ---------------------------------------------------------------------- for people


def test_the_text_tells_totals_interruptions_and_how_batch_jobs_ended():
    text = to_text(account_of(preempted(Batched())), name="first", step="epoch")
    assert "allocated 0.267 GPU-hours in 2 batch jobs, 0.533 core-hours" in text
    assert "of it 0.011 (4%) came to nothing" in text
    assert "1, towards epoch 3" in text
    assert "1 was preempted, 1 ended by itself" in text
    assert "00:02:10  trial 0, attempt 2: batch job 17 on node3 was preempted after 2 min" in text
    assert "0.011 GPU-hours to nothing" in " ".join(text.split())


def test_a_campaign_without_facts_has_an_account_too():
    found = accounts([])
    assert "worker-hours" in to_text(found, name="first", step="epoch")
    json.dumps(to_dict(found), allow_nan=False)


def test_two_lines_are_enough_for_a_summary():
    made = preempted(Batched())
    made.at(270).starts("22")
    lines = short_lines(account_of(made, now=START + 280))
    assert lines[0].startswith("batch     3 batch jobs (1 running) held 0.278 GPU-hours: ")
    assert lines[1].strip() == "1 interruption; 0.011 GPU-hours came to nothing"


def test_the_table_has_a_row_per_stay(tmp_path):
    found = account_of(preempted(Batched()))
    path = to_csv(found, tmp_path / "stays.csv")
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.stays) == 5
    assert {row["batch_jobs"] for row in rows} == {"17", "21"}
    assert sum(float(row["gpu_seconds"]) for row in rows) == pytest.approx(found.used.gpu)


# ---------------------------------------------------------------------- against Slurm

AGREES = {
    "17": {"RunTime": "00:02:00", "NumCPUs": "8", "JOB_GRES": "gpu:4"},
    "21": {"ElapsedRaw": "121", "AllocTRES": "billing=8,cpu=8,gres/gpu=4,mem=200M,node=1"},
}


def checks_of(said):
    return {c.batch: c for c in reconcile(account_of(preempted(Batched())), said.get)}


def test_what_slurm_says_too_is_no_difference():
    checks = checks_of(AGREES)
    assert {c.source for c in checks.values()} == {"scontrol", "sacct"}
    assert [c.differences for c in checks.values()] == [(), ()]
    assert reconciled_lines(list(checks.values())) == ["2 batch jobs agree with sacct and scontrol"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"RunTime": "00:02:03"}, "120 s here, 123 s there"),
        ({"RunTime": "1-00:02:00"}, "120 s here, 86520 s there"),
        ({"JOB_GRES": "gpu:a100:2(IDX:0-1)"}, "4 GPUs here, 2 GPUs there"),
        ({"NumCPUs": "16"}, "8 cores here, 16 cores there"),
        ({"JOB_GRES": ""}, "4 GPUs here, 0 GPUs there"),
    ],
)
def test_what_slurm_says_differently_is_named(fields, said):
    check = checks_of(AGREES | {"17": AGREES["17"] | fields})["17"]
    assert check.differences[0] == said
    assert said in "\n".join(reconciled_lines([check]))


@pytest.mark.parametrize(
    "fields",
    [
        {"TRES": "cpu=8,node=1,billing=8,gres/gpu=4,gres/gpu:a100=4"},
        {"TRES": "cpu=8,gres/gpu:a100=3,gres/gpu:v100=1"},
        {"JOB_GRES": "gpu:a100:4(IDX:0-3)"},
        {"TresPerNode": "gres:gpu:2", "NumNodes": "2"},
        {"TresPerJob": "gres:gpu:4"},
    ],
)
def test_gpus_are_found_wherever_slurm_puts_them(fields):
    said = {"17": {"RunTime": "00:02:00", "NumCPUs": "8"} | fields}
    assert checks_of(said)["17"].said_gpus == 4


def test_what_slurm_has_forgotten_is_said():
    checks = checks_of({"17": AGREES["17"]})
    assert checks["21"].source == ""
    lines = reconciled_lines(list(checks.values()))
    assert lines == ["1 batch job agrees with scontrol; 1 is forgotten there: 21"]
    json.dumps([c.to_dict() for c in checks.values()], allow_nan=False)


def test_a_batch_job_that_runs_is_not_measured_by_its_time():
    made = Batched()
    made.at(0).starts("17")
    account = account_of(made, now=START + 50)
    said = {"RunTime": "00:05:00", "NumCPUs": "8", "JOB_GRES": "gpu:4"}
    [check] = reconcile(account, lambda batch: said)
    assert check.differences == ()
