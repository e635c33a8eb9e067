"""How a job ends on one worker or several, and who is blamed when a worker is gone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from daskhpo.cluster.batch import BatchJob, Blame, Phase
from daskhpo.trial import Job, Outcome, TrialState
from daskhpo.tuner.fleet import Worker
from daskhpo.tuner.flight import Verdict
from daskhpo.tuner.flights import Flights
from daskhpo.tuner.ledger import Ledger
from daskhpo.tuner.pace import Pace
from daskhpo.worker.switchboard import key_of

JOB = Job(3, 1, 0, 0, 9, {})


class Stage:
    """A driver and a pool that only remember what they were told."""

    def __init__(self):
        self.told, self.notes, self.asked = [], [], []
        self.ledger = Ledger()
        self.campaign = SimpleNamespace(workers=SimpleNamespace(gpus=0, ranks=2))
        self.study = SimpleNamespace(note=lambda of, **content: self.notes.append((of, content)))
        self.flights = Flights(self, self, Pace())

    def tell(self, number, attempt, outcome, seconds, error, retry):
        self.told.append((number, attempt, outcome, error))
        return TrialState.WAITING

    def inquire(self, worker):
        self.asked.append(worker)


@pytest.fixture
def stage():
    return Stage()


def crew_of(*names, batch=True):
    return [
        Worker(f"tcp://{name}", name, 1, batch=name.partition("-")[0] if batch else "")
        for name in names
    ]


def ended(id="17", state="PREEMPTED", blame=Blame.SYSTEM):
    return BatchJob(id, Phase.ENDED, state, blame=blame, nodes="node3")


def test_a_job_on_one_worker_ends_as_that_says(stage):
    crew = crew_of("17-0")
    flight = stage.flights.add(JOB, crew)
    assert crew[0].busy == 1
    stage.flights.judge(flight, "tcp://17-0", Verdict(Outcome.PAUSED, 5.0))
    assert stage.told == [(3, 1, Outcome.PAUSED, "")]
    assert crew[0].busy == 0
    assert len(stage.flights) == 0


def test_a_job_on_two_workers_ends_when_both_have_and_as_rank_0_says(stage):
    flight = stage.flights.add(JOB, crew_of("17-0", "18-0"))
    stage.flights.judge(flight, "tcp://18-0", Verdict(Outcome.COMPLETED, 5.0))
    assert stage.told == []
    stage.flights.judge(flight, "tcp://17-0", Verdict(Outcome.PAUSED, 5.0))
    assert stage.told == [(3, 1, Outcome.PAUSED, "")]
    assert stage.flights.orders == []


def test_where_one_worker_fails_the_other_gives_up_and_the_first_reason_counts(stage):
    flight = stage.flights.add(JOB, crew_of("17-0", "18-0"))
    stage.flights.judge(flight, "tcp://18-0", Verdict(Outcome.FAILED, 5.0, "a division by zero"))
    assert stage.flights.orders == [["tcp://17-0", "abort", 3, 1]]
    stage.flights.judge(flight, "tcp://17-0", Verdict(Outcome.LOST, 5.0, "the other one failed"))
    assert stage.told == [(3, 1, Outcome.FAILED, "a division by zero")]


@pytest.mark.parametrize(
    ("blame", "outcome"),
    [
        (Blame.SYSTEM, Outcome.EVICTED),
        (Blame.TRIAL, Outcome.FAILED),
        (Blame.UNKNOWN, Outcome.LOST),
    ],
)
def test_a_lost_worker_is_asked_after_before_anybody_is_blamed(stage, blame, outcome):
    flight = stage.flights.add(JOB, crew_of("17-0"))
    stage.flights.lose(flight, flight.crew[0])
    assert (stage.asked, stage.told) == (["17-0"], [])
    stage.flights.fate("17-0", ended(blame=blame))
    ((*_, told, error),) = stage.told
    assert told is outcome
    assert "batch job 17 on node3: PREEMPTED" in error


def test_a_walltime_that_is_too_short_for_a_step_is_not_for_free(stage):
    for moved, outcome in ((True, Outcome.EVICTED), (False, Outcome.LOST)):
        flight = stage.flights.add(JOB, crew_of("17-0"))
        flight.moved = moved
        stage.flights.lose(flight, flight.crew[0])
        stage.flights.fate("17-0", ended(state="TIMEOUT"))
        assert stage.told[-1][2] is outcome
    assert "pool.walltime" in stage.told[-1][3]


def test_a_worker_process_that_died_in_a_living_batch_job_is_lost(stage):
    flight = stage.flights.add(JOB, crew_of("17-0"))
    stage.flights.lose(flight, flight.crew[0])
    stage.flights.fate("17-0", BatchJob("17", Phase.RUNNING, "RUNNING"))
    assert stage.told[0][2] is Outcome.LOST


def test_a_batch_job_that_is_put_back_into_the_queue_is_not_its_trial_s_fault(stage):
    flight = stage.flights.add(JOB, crew_of("17-0"))
    stage.flights.lose(flight, flight.crew[0])
    stage.flights.fate("17-0", BatchJob("17", Phase.PENDING, "PENDING", "BeginTime", restarts=1))
    assert stage.told[0][2] is Outcome.EVICTED


def test_without_batch_jobs_nobody_is_asked(stage):
    flight = stage.flights.add(JOB, crew_of("0", batch=False))
    stage.flights.lose(flight, flight.crew[0])
    assert stage.asked == []
    assert stage.told[0][2] is Outcome.LOST
    assert stage.notes == []


def test_the_death_of_one_of_two_workers_waits_for_the_reason_and_the_other(stage):
    flight = stage.flights.add(JOB, crew_of("17-0", "18-0"))
    stage.flights.lose(flight, flight.crew[0])
    assert stage.flights.orders == [["tcp://18-0", "abort", 3, 1]]
    stage.flights.judge(flight, "tcp://18-0", Verdict(Outcome.LOST, 5.0, "another worker failed"))
    assert stage.told == []
    stage.flights.fate("17-0", ended())
    ((*_, outcome, error),) = stage.told
    assert outcome is Outcome.EVICTED, "what the other one says follows from the death"
    assert "PREEMPTED" in error


def test_a_ghost_loses_its_trial_at_once(stage):
    flight = stage.flights.add(JOB, crew_of("17-0"))
    stage.flights.haunt(flight.crew[0], ended(state="NODE_FAIL"))
    assert stage.told == [(3, 1, Outcome.EVICTED, "batch job 17 on node3: NODE_FAIL")]
    stage.flights.judge(flight, "tcp://17-0", Verdict(Outcome.COMPLETED, 9.0))
    assert len(stage.told) == 1, "what it says later does not count"


def test_a_task_that_never_found_its_worker_is_a_free_retry(stage, monkeypatch):
    flight = stage.flights.add(JOB, crew_of("17-0"))
    flight.miss("tcp://17-0", seconds=-1.0)
    stage.flights.check()
    assert stage.told == [(3, 1, Outcome.EVICTED, "")]


def test_a_task_that_finds_its_worker_after_all_is_not_given_up(stage):
    flight = stage.flights.add(JOB, crew_of("17-0"))
    flight.miss("tcp://17-0", seconds=-1.0)
    flight.start("tcp://17-0")
    stage.flights.check()
    assert stage.told == []


def test_a_closing_worker_has_its_time_and_no_more(stage):
    flight = stage.flights.add(JOB, crew_of("0", batch=False))
    flight.start("tcp://0")
    flight.wait_for("tcp://0", 60.0)
    stage.flights.check()
    assert stage.told == []
    flight.wait_for("tcp://0", -1.0)
    stage.flights.check()
    assert stage.told[0][2] is Outcome.LOST


def test_an_inquest_without_an_answer_ends_some_time(stage):
    flight = stage.flights.add(JOB, crew_of("17-0"))
    stage.flights.lose(flight, flight.crew[0])
    stage.flights.check()
    assert stage.told == []
    flight.heard -= 60.0
    stage.flights.check()
    assert stage.told[0][2] is Outcome.LOST


def test_the_log_says_which_batch_jobs_a_trial_was_given(stage):
    stage.ledger.jobs["17"] = BatchJob("17", Phase.RUNNING, gpus=4)
    stage.flights.add(JOB, crew_of("17-0", "18-0"))
    assert stage.notes == [
        (
            "placed",
            {
                "number": 3,
                "attempt": 1,
                "workers": ["17-0", "18-0"],
                "batches": ["17", "18"],
                "gpus": 4,
                "ranks": 2,
            },
        )
    ]


def test_keys_lead_to_the_worker_that_they_are_for(stage):
    flight = stage.flights.add(JOB, crew_of("17-0", "18-0"))
    assert stage.flights.find(key_of("abc", JOB, 1)) == (flight, flight.crew[1])
    for key in (key_of("abc", JOB, 2), key_of("abc", Job(4, 0, 0, 0, 9, {})), "sum-0123"):
        assert stage.flights.find(key) is None
    flight.leave("tcp://18-0")
    assert stage.flights.find(key_of("abc", JOB, 1)) is None
