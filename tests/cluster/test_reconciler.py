"""Which batch jobs are submitted and let go, whatever becomes of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daskhpo.cluster import reconciler as constants
from daskhpo.cluster.batch import BatchJob, Blame, Phase, SubmitError
from daskhpo.cluster.reconciler import Plan, Reconciler


class Stage:
    """A reconciler, the batch jobs as the batch system knows them, and a clock."""

    def __init__(self, *, known=(), **settings):
        self.now = 1000.0
        self.jobs = {job.id: job for job in known}
        self.pool = Reconciler(**({"most": 3} | settings))
        self.pool.adopt(known)
        self.submissions = 0
        self.cancelled = []

    def look(self, *, without=()):
        listed = {id: job for id, job in self.jobs.items() if id not in without}
        return self.pool.observe(self.now, listed)

    def act(self):
        """Carry out the plan; a cancelled batch job is over when the next answer comes."""
        plan = self.pool.plan(self.now)
        for id in plan.cancel:
            self.cancelled.append(id)
            if id in self.jobs:
                self.end(id, "CANCELLED", Blame.SYSTEM)
        self.pool.cancelled(self.now, plan.cancel)
        for _ in range(plan.submit):
            self.submissions += 1
            job = self.pool.submitted(self.now, f"{self.submissions:03d}")
            self.jobs[job.id] = job
        return plan

    def live(self, seconds=1.0):
        """A while later, after an answer."""
        self.now += seconds
        self.look()
        return self.act()

    def begin(self, *ids, connect=False):
        for id in ids or [id for id, job in self.jobs.items() if job.phase is Phase.PENDING]:
            job = replace(self.jobs[id], phase=Phase.RUNNING, state="RUNNING", began=self.now)
            self.jobs[id] = job
            if connect:
                self.pool.connected(id)

    def end(self, id, state="FAILED", blame=Blame.UNKNOWN):
        self.jobs[id] = replace(
            self.jobs[id], phase=Phase.ENDED, state=state, blame=blame, ended=self.now
        )

    @property
    def alive(self):
        return [id for id, job in self.jobs.items() if job.phase is not Phase.ENDED]


@pytest.fixture
def working():
    """Make a stage on which as many as are allowed run, with workers that have connected."""

    def make(*, want=3, **settings):
        stage = Stage(**settings)
        stage.pool.want(want)
        stage.look()
        stage.act()
        stage.begin(connect=True)
        stage.live()
        return stage

    return make


def test_nothing_is_submitted_before_the_first_answer():
    stage = Stage()
    stage.pool.want(3)
    assert stage.act().submit == 0
    stage.look()
    assert stage.act().submit == 3
    assert stage.act().submit == 0


def test_as_many_as_are_wanted_but_never_more_than_the_most():
    stage = Stage(most=5)
    stage.look()
    assert stage.act() == Plan()
    stage.pool.want(2)
    assert stage.act().submit == 2
    stage.pool.want(9)
    assert stage.act().submit == 3


def test_one_plan_submits_a_limited_number():
    stage = Stage(most=200)
    stage.pool.want(200)
    stage.look()
    assert [stage.act().submit for _ in range(5)] == [50, 50, 50, 50, 0]


def test_a_batch_job_that_died_is_replaced_at_once(working):
    stage = working()
    stage.now += 100
    stage.end("002", "PREEMPTED", Blame.SYSTEM)
    assert [job.id for job in stage.look()] == ["002"]
    assert stage.act().submit == 1


def test_only_what_has_changed_is_news(working):
    stage = working()
    assert stage.look() == []
    stage.jobs = {id: replace(job, ends=math.nan) for id, job in stage.jobs.items()}
    assert stage.look() == []
    stage.jobs["001"] = replace(stage.jobs["001"], reason="something else")
    assert [job.reason for job in stage.look()] == ["something else"]


def test_a_batch_job_that_nobody_wrote_down_is_adopted_and_counts_as_submitted():
    stage = Stage(submissions=4, submitted=2)
    stage.pool.want(3)
    stage.jobs["99"] = BatchJob("99", Phase.PENDING)
    assert [job.id for job in stage.look()] == ["99"]
    assert stage.act().submit == 1


def test_batch_jobs_of_an_earlier_run_are_kept():
    known = [BatchJob("7", Phase.PENDING), BatchJob("8", Phase.RUNNING, began=900.0)]
    stage = Stage(known=known, submissions=3, submitted=2)
    stage.pool.want(3)
    assert stage.pool.alive == ("7", "8")
    assert stage.look() == []
    assert stage.act().submit == 1


def test_how_batch_jobs_ended_while_no_driver_was_there_is_no_strike():
    stage = Stage(known=[BatchJob(str(n), Phase.RUNNING, began=900.0) for n in range(5)], most=5)
    stage.pool.want(5)
    for id in list(stage.jobs):
        stage.end(id)
    assert len(stage.look()) == 5
    assert stage.act().submit == 5


def test_a_requeued_batch_job_stays_the_same_one(working):
    stage = working()
    stage.pool.idle("001", stage.now)
    job = stage.jobs["001"]
    stage.jobs["001"] = replace(job, phase=Phase.PENDING, restarts=1, began=math.nan)
    assert [job.restarts for job in stage.look()] == [1]
    assert stage.act().submit == 0
    stage.begin("001")
    stage.pool.want(2)
    stage.live()
    assert [stage.live(100).cancel for _ in range(3)] == [()] * 3  # its new worker is not idle


def test_one_that_is_put_back_after_its_end_counts_again_and_costs_no_submission(working):
    stage = working(submissions=4)
    stage.end("001", "NODE_FAIL", Blame.SYSTEM)
    stage.look()
    stage.jobs["001"] = replace(stage.jobs["001"], phase=Phase.PENDING, restarts=1)
    stage.look()
    assert stage.act().submit == 0
    stage.end("002", "NODE_FAIL", Blame.SYSTEM)
    assert stage.live(100).submit == 1


# ------------------------------------------------------------------ letting go


def test_waiting_batch_jobs_are_let_go_newest_first_when_nothing_is_left_for_a_while():
    stage = Stage(most=5, idle=60.0)
    stage.pool.want(5)
    stage.look()
    stage.act()
    stage.begin("001", "002")
    stage.pool.want(3)
    plan = stage.live()
    assert plan.cancel == ()
    assert plan.wait_until == stage.now + 60
    assert stage.live(59).cancel == ()
    assert stage.live(1).cancel == ("005", "004")
    stage.pool.want(0)
    stage.live()
    assert stage.live(60).cancel == ("003",)
    assert [stage.live(100).cancel for _ in range(3)] == [()] * 3  # running, and not idle


def test_a_need_that_comes_back_saves_those_that_wait():
    stage = Stage(idle=60.0)
    stage.pool.want(3)
    stage.look()
    stage.act()
    for _ in range(5):
        stage.pool.want(0)
        stage.live(50)
        stage.pool.want(3)
        assert stage.live(50).cancel == ()
    stage.pool.want(0)
    stage.live(1)
    stage.live(50)
    stage.pool.want(3)  # if only for a moment
    stage.pool.want(0)
    assert stage.live(50).cancel == ()


def test_running_batch_jobs_are_let_go_only_once_they_have_been_idle(working):
    stage = working(idle=60.0)
    stage.pool.want(1)
    stage.live()
    assert stage.live(1000).cancel == ()
    stage.pool.idle("002", stage.now)
    stage.pool.idle("003", stage.now)
    stage.pool.busy("003")
    plan = stage.live(59)
    assert (plan.cancel, plan.wait_until) == ((), stage.now + 1)
    assert stage.live(1).cancel == ("002",)
    assert stage.live(1000).cancel == ()


def test_a_worker_that_is_idle_before_its_batch_job_is_known_is_not_forgotten():
    stage = Stage(idle=60.0)
    stage.pool.connected("7")
    stage.pool.idle("7", stage.now)
    stage.jobs["7"] = BatchJob("7", Phase.RUNNING, began=900.0)
    stage.look()
    stage.act()
    assert stage.live(60).cancel == ("7",)


def test_as_many_as_are_wanted_stay_also_when_all_are_idle(working):
    stage = working(idle=60.0)
    for id in ("001", "002", "003"):
        stage.pool.idle(id, stage.now)
    assert stage.live(1000).cancel == ()
    stage.pool.want(2)
    stage.live()
    assert len(stage.live(60).cancel) == 1


def test_one_that_was_released_is_cancelled_if_it_does_not_end_and_replaced_when_it_has(working):
    stage = working()
    stage.pool.release(stage.now, "001")
    stage.pool.release(stage.now, "002")
    stage.end("001", "COMPLETED")
    assert stage.live().submit == 1  # and no strike or storm comes of it
    assert stage.live(20).cancel == ()
    assert stage.live(9).cancel == ("002",)
    assert stage.live().submit == 1


def test_how_those_end_that_were_let_go_is_held_against_nobody():
    stage = Stage(most=6)
    stage.pool.want(6)
    stage.look()
    stage.act()
    stage.begin()
    for id in stage.alive:
        stage.pool.release(stage.now, id)
        stage.end(id)
    assert stage.live().submit == 6


def test_what_does_not_go_is_cancelled_again(working):
    stage = working()
    stage.pool.release(stage.now, "001")
    stage.now += 30
    assert stage.pool.plan(stage.now).cancel == ("001",)
    stage.pool.cancelled(stage.now, ["001"])
    plan = stage.pool.plan(stage.now)
    assert (plan.cancel, plan.submit, plan.wait_until) == ((), 0, stage.now + 30)
    assert stage.pool.plan(stage.now + 30).cancel == ("001",)


# ------------------------------------------------------------------ silence


def test_silence_leads_to_nothing_but_longer_waits(working):
    stage = working()
    stage.end("001")
    stage.pool.want(0)
    waits = []
    for _ in range(10):
        until = stage.pool.unreachable(stage.now)
        assert stage.act() == Plan(wait_until=until)
        waits.append(until - stage.now)
        stage.now = until
    assert waits[:4] == [2, 4, 8, 16]
    assert max(waits) == 300
    assert len(stage.pool.alive) == 3
    assert [job.id for job in stage.look()] == ["001"]
    assert stage.pool.unreachable(stage.now) == stage.now + 2


def test_a_forgotten_batch_job_has_ended_when_two_answers_lack_it(working):
    stage = working()
    stage.now += 100
    assert stage.look(without=["001"]) == []
    assert stage.look() == []
    assert stage.look(without=["001"]) == []
    missed = stage.now
    stage.now += 1
    (job,) = stage.look(without=["001"])
    assert (job.phase, job.blame, job.ended) == (Phase.ENDED, Blame.UNKNOWN, missed)
    assert stage.pool.job("001") == job
    assert stage.act().submit == 1


def test_a_new_batch_job_need_not_be_listed_at_once():
    stage = Stage()
    stage.pool.want(1)
    stage.look()
    stage.act()
    for _ in range(10):
        assert stage.look(without=["001"]) == []
    stage.now += 30
    stage.look(without=["001"])
    assert [job.id for job in stage.look(without=["001"])] == ["001"]


# ------------------------------------------------------------------ when it goes wrong


def test_three_batch_jobs_in_a_row_that_give_no_worker_are_hopeless():
    stage = Stage(most=1)
    stage.pool.want(1)
    stage.look()
    stage.act()
    pauses = []
    while not (plan := stage.pool.plan(stage.now)).hopeless:
        if stage.alive:
            stage.begin()
            stage.end(stage.alive[0])
            stage.live()
        else:
            pauses.append(plan.wait_until - stage.now)
            stage.now = plan.wait_until
            stage.act()
    assert stage.submissions == 3
    assert pauses == [2, 4]
    assert "3 batch jobs in a row" in plan.hopeless
    assert "batch job 003: FAILED" in plan.hopeless
    assert plan.culprit == "003"
    stage.live(1000)
    assert stage.submissions == 3


def test_a_worker_that_connects_takes_the_strikes_back():
    stage = Stage(most=1)
    stage.pool.want(1)
    stage.look()
    for _ in range(20):
        plan = stage.act()
        if not stage.alive:
            stage.now = plan.wait_until
            stage.act()
        lucky = len(stage.jobs) % 3 == 0
        stage.begin(connect=lucky)
        stage.now += 100
        stage.end(stage.alive[0])
        stage.look()
    assert not stage.pool.plan(stage.now).hopeless


def test_while_others_work_batch_jobs_that_give_no_worker_only_make_longer_pauses(working):
    stage = working(want=2)
    stage.pool.want(3)
    stage.act()
    began = stage.now
    for _ in range(60):
        if len(stage.alive) == 3:
            stage.begin()
            stage.end(stage.alive[-1])
            stage.live()
        stage.now = max(stage.now, stage.pool.plan(stage.now).wait_until)
        plan = stage.act()
        assert not plan.hopeless
    assert (stage.now - began) / stage.submissions > 150  # so every few minutes at the most
    for id in ("001", "002"):
        stage.end(id, "TIMEOUT", Blame.SYSTEM)
    stage.end(stage.alive[0])
    assert "batch jobs in a row" in stage.live().hopeless


def test_hope_lasts_as_long_as_a_running_batch_job_may_still_give_its_worker():
    stage = Stage(most=4)
    stage.pool.want(4)
    stage.look()
    stage.act()
    stage.begin()
    for id in ("001", "002", "003"):
        stage.end(id)
    plan = stage.live()
    assert (plan.submit, plan.hopeless) == (0, "")
    assert plan.wait_until == stage.now - 1 + 300
    assert "gave no worker" in plan.why
    assert stage.pool.plan(plan.wait_until).hopeless
    stage = Stage(most=4)
    stage.pool.want(4)
    stage.look()
    stage.act()
    stage.begin()
    for id in ("001", "002", "003"):
        stage.end(id)
    stage.look()
    stage.pool.connected("004")
    assert stage.act().submit == 3


def test_the_systems_doing_is_no_strike():
    stage = Stage(most=1)
    stage.pool.want(1)
    stage.look()
    stage.act()
    for _ in range(30):
        stage.begin()
        stage.end(stage.alive[0], "NODE_FAIL", Blame.SYSTEM)
        plan = stage.live()
        if not stage.alive:
            stage.now = plan.wait_until
            stage.act()
        assert not plan.hopeless


@pytest.mark.parametrize(("connect", "longest"), [(True, 15), (False, 300)])
def test_in_a_storm_of_preemptions_the_pauses_grow(connect, longest):
    stage = Stage(most=4)
    stage.pool.want(4)
    stage.look()
    stage.act()
    pauses = []
    for _ in range(12):
        stage.begin(connect=connect)
        stage.now += 5
        for id in stage.alive:
            stage.end(id, "PREEMPTED", Blame.SYSTEM)
        stage.look()
        plan = stage.act()
        if not plan.submit:
            assert "within a minute" in plan.why
            pauses.append(plan.wait_until - stage.now)
            stage.now = plan.wait_until
            assert stage.act().submit == 4
    # The first replacements come at once, and the next ones find that pause over.
    assert all(0 < pause <= longest for pause in pauses)
    assert pauses == sorted(pauses)
    assert pauses[-1] == longest - 5


def test_a_few_that_die_young_beside_many_that_live_are_no_storm(working):
    stage = working(want=50, most=50)
    for _ in range(20):
        stage.begin(connect=True)
        stage.now += 2
        stage.end(stage.alive[-1], "PREEMPTED", Blame.SYSTEM)
        stage.look()
        assert stage.act().submit == 1


def test_a_storm_is_forgotten_when_it_is_over():
    stage = Stage(most=2)
    stage.pool.want(2)
    stage.look()
    for _ in range(2):  # storms, of which the second one begins like the first
        pauses = []
        while len(pauses) < 3:
            plan = stage.act()
            if not stage.alive:
                pauses.append(plan.wait_until - stage.now)
                stage.now = plan.wait_until
                stage.act()
            stage.begin()
            for id in stage.alive:
                stage.end(id, "PREEMPTED", Blame.SYSTEM)
            stage.look()
        assert pauses == [2, 4, 8]
        stage.now = stage.pool.plan(stage.now).wait_until
        stage.act()
        stage.begin()
        stage.live(901)
        for _ in range(3):
            stage.end(stage.alive[0], "PREEMPTED", Blame.SYSTEM)
            assert stage.live().submit == 1
            stage.begin()
        stage.live(901)
        for id in stage.alive:
            stage.end(id, "TIMEOUT", Blame.SYSTEM)
        stage.look()
        stage.now += 901
        stage.look()


def test_those_that_die_at_the_same_time_make_one_pause():
    stage = Stage(most=2)
    stage.pool.want(2)
    stage.look()
    stage.act()
    stage.begin()
    for id in stage.alive:
        stage.end(id)
    stage.look()
    assert stage.act().wait_until == stage.now + 2


def test_a_final_refusal_is_hopeless_when_nothing_is_alive():
    stage = Stage()
    stage.pool.want(3)
    stage.look()
    stage.pool.refused(stage.now, SubmitError("pool.queue='gpus': no such partition", final=True))
    assert stage.act() == Plan(hopeless="pool.queue='gpus': no such partition")
    assert stage.live(1000).hopeless


@pytest.mark.parametrize("final", [True, False])
def test_refusals_make_longer_pauses(working, final):
    stage = working()
    stage.now += 100
    stage.end("001")
    stage.look()
    pauses = []
    for _ in range(10):
        assert stage.pool.plan(stage.now).submit == 1
        stage.pool.refused(stage.now, SubmitError("not now", final=final))
        plan = stage.act()
        assert (plan.submit, plan.hopeless) == (0, "")
        assert "refused" in plan.why
        pauses.append(plan.wait_until - stage.now)
        stage.now = plan.wait_until
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert stage.act().submit == 1
    stage.now += 100
    stage.end("002", "TIMEOUT", Blame.SYSTEM)
    stage.look()
    stage.pool.refused(stage.now, SubmitError("not now", final=final))
    assert stage.act().wait_until == stage.now + 2


def test_passing_refusals_are_never_hopeless():
    stage = Stage()
    stage.pool.want(3)
    stage.look()
    for _ in range(50):
        stage.pool.refused(stage.now, SubmitError("limit on submitted jobs", final=False))
        plan = stage.act()
        assert not plan.hopeless
        stage.now = plan.wait_until


def test_no_more_are_submitted_than_the_campaign_may(working):
    stage = working(submissions=5, submitted=1)
    stage.now += 100
    for id in ("001", "002"):
        stage.end(id, "TIMEOUT", Blame.SYSTEM)
    stage.look()
    assert stage.act().submit == 1
    plan = stage.act()
    assert (plan.submit, plan.hopeless) == (0, "")
    assert "pool.submissions" in plan.why
    for id in stage.alive:
        stage.end(id, "TIMEOUT", Blame.SYSTEM)
    assert stage.live().hopeless.startswith("pool.submissions=5: all are used up")


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_when_all_end_without_a_worker_it_is_hopeless_after_few_submissions(most, seed):
    rng = np.random.default_rng(seed)
    stage = Stage(most=most)
    stage.pool.want(most)
    stage.look()
    plan = stage.act()
    while not plan.hopeless:
        if stage.alive and rng.random() < 0.5:
            id = rng.choice(stage.alive)
            if stage.jobs[id].phase is Phase.PENDING:
                stage.begin(id)
            else:
                stage.end(id, blame=rng.choice([Blame.TRIAL, Blame.UNKNOWN]))
        plan = stage.live(100 * rng.random())
    assert stage.submissions <= most + 2


# ------------------------------------------------------------------ any order of events

WAITS = st.sampled_from([0.0, 1.0, 5.0, 31.0, 61.0, 301.0])
MOST = 4
IDLE = 60.0


class AnyOrder(RuleBasedStateMachine):
    """A batch system, a campaign and a clock that do what they like."""

    @initialize(budget=st.integers(1, 60), used=st.integers(0, 10), known=st.integers(0, MOST))
    def start(self, budget, used, known):
        self.jobs = [BatchJob(f"old{n}", Phase.PENDING) for n in range(known)]
        self.stage = Stage(
            known=self.jobs, most=MOST, submissions=used + budget, submitted=used, idle=IDLE
        )
        self.budget = budget
        self.want = 0
        self.excess_since = math.inf
        self.connected = set()
        self.idle = {}  # {id: since}
        self.silent = True

    @rule(want=st.integers(0, 2 * MOST))
    def wants(self, want):
        self.want = want
        self.stage.pool.want(want)
        self.act()  # as the keeper does after every word

    @rule(seconds=WAITS)
    def waits(self, seconds):
        self.stage.now += seconds
        self.act()

    @rule(seconds=WAITS)
    def the_batch_system_answers(self, seconds):
        self.stage.now += seconds
        self.stage.look()
        self.silent = False
        self.act()

    @rule()
    def the_batch_system_is_silent(self):
        before = self.stage.pool.alive
        self.stage.pool.unreachable(self.stage.now)
        self.silent = True
        plan = self.act()
        assert (plan.submit, plan.cancel) == (0, ())
        assert self.stage.pool.alive == before

    @precondition(lambda self: self.of(Phase.PENDING))
    @rule(data=st.data(), connect=st.booleans())
    def one_begins(self, data, connect):
        id = data.draw(st.sampled_from(self.of(Phase.PENDING)))
        self.stage.begin(id, connect=connect)
        if connect:
            self.connected.add(id)

    @precondition(lambda self: self.of(Phase.RUNNING))
    @rule(data=st.data())
    def one_is_requeued(self, data):
        id = data.draw(st.sampled_from(self.of(Phase.RUNNING)))
        job = self.stage.jobs[id]
        self.stage.jobs[id] = replace(
            job, phase=Phase.PENDING, restarts=job.restarts + 1, began=math.nan
        )
        self.idle.pop(id, None)
        self.stage.look()

    @precondition(lambda self: self.stage.alive)
    @rule(data=st.data(), blame=st.sampled_from(Blame), forgotten=st.booleans())
    def one_dies(self, data, blame, forgotten):
        id = data.draw(st.sampled_from(self.stage.alive))
        self.stage.end(id, blame=blame)
        if forgotten:
            del self.stage.jobs[id]

    @precondition(lambda self: self.of(Phase.RUNNING))
    @rule(data=st.data(), rest=st.booleans())
    def a_worker_rests_or_works(self, data, rest):
        id = data.draw(st.sampled_from(self.of(Phase.RUNNING)))
        if rest:
            self.idle[id] = self.stage.now
            self.stage.pool.idle(id, self.stage.now)
        else:
            self.idle.pop(id, None)
            self.stage.pool.busy(id)

    @rule(final=st.booleans())
    def the_batch_system_refuses(self, final):
        if self.stage.pool.plan(self.stage.now).submit:
            self.stage.pool.refused(self.stage.now, SubmitError("no", final=final))

    def of(self, phase):
        """Those in this phase, and known to be in it."""
        pool = self.stage.pool
        return [
            id
            for id, job in self.stage.jobs.items()
            if job.phase is phase and (pool.job(id) or job).phase is phase
        ]

    def act(self):
        stage = self.stage
        views = {id: stage.pool.job(id) for id in stage.pool.alive}
        excess = len(views) - min(self.want, MOST)
        plan = stage.pool.plan(stage.now)
        assert len(plan.cancel) == len(set(plan.cancel))
        if excess <= 0:
            assert set(plan.cancel) <= set(stage.cancelled)  # only what should be gone already
        for id in set(plan.cancel) - set(stage.cancelled):
            assert stage.now >= self.excess_since + IDLE
            assert views[id].phase is Phase.PENDING or stage.now >= self.idle[id] + IDLE
        assert plan.submit + len(views) <= MOST
        stage.act()
        return plan

    @invariant()
    def the_excess_has_lasted_since(self):
        if not hasattr(self, "stage") or self.silent:
            return
        staying = set(self.stage.pool.alive) - set(self.stage.cancelled)
        excess = len(staying) - min(self.want, MOST)
        self.excess_since = min(self.excess_since, self.stage.now) if excess > 0 else math.inf

    @invariant()
    def the_budget_holds(self):
        if hasattr(self, "stage"):
            assert self.stage.submissions <= self.budget

    @invariant()
    def what_is_lacking_is_submitted_in_time(self):
        if not hasattr(self, "stage") or self.silent:
            return
        pool, now = self.stage.pool, self.stage.now
        plan = pool.plan(now)
        staying = set(pool.alive) - set(self.stage.cancelled)
        lacking = min(min(self.want, MOST) - len(staying), MOST - len(pool.alive))
        if plan.hopeless or lacking <= 0 or self.stage.submissions == self.budget:
            return
        if plan.submit == 0:
            assert plan.why
            assert now < plan.wait_until <= now + constants.LONGEST_PAUSE
            plan = pool.plan(plan.wait_until)
        assert plan.submit == min(lacking, self.budget - self.stage.submissions) or plan.hopeless


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
