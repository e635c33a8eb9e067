"""What an objective may do and what becomes of it, without a cluster."""

from __future__ import annotations

import math
import pickle
import shutil

import numpy as np
import objectives
import pytest

from daskhpo.exceptions import CheckpointError, ObjectiveError
from daskhpo.trial import Answer, Decision, Job, Outcome
from daskhpo.worker import checkpoint as checkpoint_module
from daskhpo.worker import session as session_module
from daskhpo.worker.checkpoint import Checkpoint
from daskhpo.worker.session import Alone, Session
from daskhpo.worker.work import Work

CONTINUE, PAUSE, STOP = Decision


class Script:
    """A channel that answers as it was told: {step: (decision, stop)}."""

    interrupted = False
    ends = math.inf

    def __init__(self, answers=None):
        self.answers = answers or {}
        self.sent = []  # (step, metrics, urgent)
        self.waited = []

    def send(self, step, metrics, *, urgent):
        self.sent.append((step, metrics, urgent))

    def wait(self, step):
        self.waited.append(step)
        assert step in {sent for sent, _, _ in self.sent}, f"waits for an answer to {step} for ever"
        decision, stop = self.answers[step]
        return Answer(decision, stop)

    def poll(self):
        return None

    @property
    def steps(self):
        return [step for step, _, _ in self.sent]


@pytest.fixture
def make(tmp_path):
    def make(
        channel,
        *,
        attempt=0,
        start=0,
        stop=9,
        max_step=9,
        objective=None,
        ranks=None,
        parent=None,
        **more,
    ):
        work = Work("token", objective, "loss", max_step, 0, str(tmp_path), **more)
        job = Job(0, attempt, 0, start, stop, {"x": 0.5}, parent)
        return Session(work, job, channel, ranks)

    return make


def run(objective, session):
    return session.finish(objective(session))


def test_without_an_answer_a_trial_trains_to_the_end(make):
    channel = Script()
    assert run(objectives.quick, make(channel)) is Outcome.COMPLETED
    assert channel.steps == list(range(1, 10))
    assert channel.waited == []


def test_it_waits_at_its_milestones_only_and_those_reports_are_urgent(make):
    channel = Script({1: (CONTINUE, 3), 3: (CONTINUE, 9)})
    assert run(objectives.quick, make(channel, stop=1)) is Outcome.COMPLETED
    assert channel.waited == [1, 3]
    assert [step for step, _, urgent in channel.sent if urgent] == [1, 3]


@pytest.mark.parametrize(
    ("decision", "outcome"), [(PAUSE, Outcome.PAUSED), (STOP, Outcome.STOPPED)]
)
def test_a_decision_ends_the_loop_and_the_code_after_it_runs(make, decision, outcome):
    after = []

    def objective(trial):
        for _ in trial.steps():
            trial.report(loss=1.0)
        after.append(trial.step)

    channel = Script({3: (decision, 3)})
    assert run(objective, make(channel, stop=3)) is outcome
    assert after == [3]


def test_a_pause_leaves_a_checkpoint_and_a_stop_leaves_none(make, tmp_path):
    for decision, left in ((PAUSE, 1), (STOP, 0)):
        channel = Script({3: (decision, 3)})
        run(lambda trial: objectives.noted(trial), make(channel, stop=3))
        assert len(list(tmp_path.rglob("*.ckpt"))) == left


def test_pausing_and_resuming_gives_the_curve_of_an_undisturbed_run(make, tmp_path):
    def restart():  # as another process would begin
        np.random.seed(4)  # noqa: NPY002

    restart()
    straight = Script()
    run(objectives.noisy, make(straight, stop=9))
    shutil.rmtree(tmp_path / "trials")
    reports = []
    restart()
    for attempt, (start, stop) in enumerate([(0, 2), (2, 5), (5, 9)]):
        channel = Script({stop: (PAUSE, stop)})
        run(objectives.noisy, make(channel, attempt=attempt, start=start, stop=stop))
        reports += channel.sent
        np.random.seed(attempt)  # noqa: NPY002 (somebody else drew meanwhile)
    assert [(s, m) for s, m, _ in reports] == [(s, m) for s, m, _ in straight.sent]


def test_reports_that_nobody_has_seen_are_sent_again_with_the_checkpoint(make):
    channel = Script({5: (PAUSE, 5)})
    run(objectives.noted, make(channel, stop=5))
    # The tuner died before it could write reports 4 and 5 down.
    again = Script({5: (CONTINUE, 9)})
    assert run(objectives.noted, make(again, attempt=1, start=3, stop=5)) is Outcome.COMPLETED
    assert again.steps == [4, 5, 6, 7, 8, 9]
    assert again.waited == [5]


def test_an_unseen_report_may_be_answered_with_a_pause_before_anything_is_trained(make, tmp_path):
    run(objectives.noted, make(Script({5: (PAUSE, 5)}), stop=5))
    again = Script({5: (PAUSE, 5)})
    assert run(objectives.noted, make(again, attempt=1, start=3, stop=5)) is Outcome.PAUSED
    assert [step for _, step in objectives.trained(tmp_path, 0)] == [1, 2, 3, 4, 5]
    third = Script()
    assert run(objectives.noted, make(third, attempt=2, start=5)) is Outcome.COMPLETED


def test_an_answer_that_went_to_an_earlier_attempt_is_asked_for_again(make):
    run(objectives.noted, make(Script({5: (PAUSE, 5)}), stop=5))
    # All was seen, but the pause did not count: the trial stands at its milestone.
    again = Script({5: (PAUSE, 5)})
    assert run(objectives.noted, make(again, attempt=1, start=5, stop=5)) is Outcome.PAUSED
    assert again.steps == [5]


def test_steps_that_were_seen_are_trained_again_if_their_checkpoint_is_gone(make):
    channel = Script()
    assert run(objectives.quick, make(channel, attempt=3, start=7)) is Outcome.COMPLETED
    assert channel.steps == list(range(1, 10))


def test_an_interruption_pauses_without_a_decision(make):
    channel = Script()

    def objective(trial):
        for step in trial.steps(kept=[]):
            trial.report(loss=1.0)
            channel.interrupted = step == 4

    assert run(objective, make(channel)) is Outcome.INTERRUPTED
    assert channel.steps == [1, 2, 3, 4]


def test_a_checkpoint_of_other_objects_is_an_error_of_its_own(make):
    def small(trial):
        for _ in trial.steps(w=np.zeros(3)):
            trial.report(loss=1.0)

    def large(trial):
        for _ in trial.steps(w=np.zeros(4)):
            trial.report(loss=1.0)

    run(small, make(Script({3: (PAUSE, 3)}), stop=3))
    with pytest.raises(CheckpointError, match="'w' does not fit"):
        run(large, make(Script(), attempt=1, start=3))


def test_what_cannot_be_kept_is_refused_before_anything_is_trained(make):
    channel = Script()

    def objective(trial):
        for _ in trial.steps(count=3):
            trial.report(loss=1.0)

    with pytest.raises(CheckpointError, match=r"trial.steps\(count=...\): a int"):
        run(objective, make(channel))
    assert channel.sent == []


# ---------------------------------------------------------------------- the deadline


class Clock:
    """Both clocks of a session: they go when a step is trained."""

    def __init__(self, monkeypatch):
        self.now = 1_800_000_000.0
        monkeypatch.setattr(session_module.time, "time", lambda: self.now)
        monkeypatch.setattr(session_module.time, "monotonic", lambda: self.now)

    def trains(self, seconds=100.0, **state):
        """An objective whose steps take so long; it says how far it has come, and when."""
        done = []  # [(step, when it had ended)]

        def objective(trial):
            counts = {"steps": 0}
            for step in trial.steps(counts=counts, **state):
                self.now += seconds
                counts["steps"] += 1
                trial.report(loss=1.0 / step, trained=counts["steps"])
                done.append((step, self.now))

        objective.done = done
        return objective


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def worker(monkeypatch, clock):
    """The channel of a worker whose batch job was given so many seconds, ``age`` of them ago."""

    def worker(seconds, answers=None, *, age=0.0):
        channel = Script(answers)
        channel.ends = clock.now - age + seconds
        monkeypatch.setenv("DASKHPO_BEGAN", str(clock.now - age))
        return channel

    return worker


def test_a_trial_leaves_with_a_checkpoint_before_its_batch_job_ends(make, clock, worker):
    channel, objective = worker(450.0), clock.trains(100.0)
    assert run(objective, make(channel)) is Outcome.INTERRUPTED
    assert channel.steps == [1, 2, 3]
    assert objective.done[-1][1] <= channel.ends - 45.0  # a tenth of so short a life
    assert make(channel, attempt=1)._checkpoints.load().step == 3


def test_what_leaves_goes_on_elsewhere_and_no_report_is_lost_or_doubled(make, clock, worker):
    sent, outcome, attempt, objective = [], Outcome.INTERRUPTED, 0, clock.trains(100.0)
    while outcome is Outcome.INTERRUPTED:
        channel = worker(450.0)
        start = sent[-1][0] if sent else 0
        outcome = run(objective, make(channel, attempt=attempt, start=start))
        sent += channel.sent
        attempt += 1
    assert outcome is Outcome.COMPLETED
    assert [(step, metrics["trained"]) for step, metrics, _ in sent] == [
        (step, step) for step in range(1, 10)
    ]
    assert attempt == 3


def test_reports_that_got_lost_as_the_batch_job_ended_are_sent_again(make, clock, worker):
    run(clock.trains(), make(worker(450.0)))
    channel = worker(3600.0)
    assert run(clock.trains(), make(channel, attempt=1, start=1)) is Outcome.COMPLETED
    assert channel.steps == [2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((PAUSE, 3), Outcome.PAUSED),
        ((STOP, 3), Outcome.STOPPED),
        ((CONTINUE, 9), Outcome.INTERRUPTED),
    ],
)
def test_a_decision_counts_more_than_the_clock(make, clock, worker, answer, outcome):
    channel = worker(450.0, {3: answer})
    assert run(clock.trains(), make(channel, stop=3)) is outcome
    assert channel.steps == [1, 2, 3]


def test_a_trial_that_is_complete_has_no_need_of_another_step(make, clock, worker):
    channel = worker(450.0)
    assert run(clock.trains(), make(channel, max_step=4, stop=4)) is not Outcome.COMPLETED
    channel = worker(450.0)
    assert run(clock.trains(), make(channel, max_step=3, stop=3)) is Outcome.COMPLETED


def test_a_slow_checkpoint_is_allowed_for(make, clock, worker, monkeypatch):
    fsync = session_module.os.fsync

    def slowly(descriptor):
        clock.now += 50.0
        fsync(descriptor)

    monkeypatch.setattr(session_module.os, "fsync", slowly)
    channel = worker(3600.0)
    # A copy is due after every step: each takes 100 s, the file's and the folder's fsync.
    session = make(channel, max_step=100, stop=100, mtbf=1e-3)
    assert run(clock.trains(), session) is Outcome.INTERRUPTED
    assert clock.now <= channel.ends
    assert clock.now >= channel.ends - 60.0 - 3 * 100.0 - 2 * 100.0


def test_who_knows_that_no_step_fits_leaves_at_once_and_keeps_what_there_is(
    make, clock, worker, tmp_path
):
    run(clock.trains(), make(worker(450.0)))
    before = {place: place.read_bytes() for place in tmp_path.rglob("*.ckpt")}
    channel, objective = worker(3600.0, age=3450.0), clock.trains()
    assert run(objective, make(channel, attempt=1, start=3)) is Outcome.INTERRUPTED
    assert objective.done == channel.sent == []
    assert {place: place.read_bytes() for place in tmp_path.rglob("*.ckpt")} == before
    third = worker(3600.0)
    assert run(clock.trains(), make(third, attempt=2, start=3)) is Outcome.COMPLETED
    assert third.steps == [4, 5, 6, 7, 8, 9]


def test_a_first_step_of_which_nothing_is_known_is_begun(make, clock, worker):
    channel = worker(3600.0, age=3450.0)
    assert run(clock.trains(), make(channel)) is Outcome.INTERRUPTED
    assert channel.steps == [1]


def test_but_not_by_a_batch_job_that_is_as_good_as_over(make, clock, worker):
    channel = worker(3600.0, age=3595.0)
    assert run(clock.trains(), make(channel)) is Outcome.INTERRUPTED
    assert channel.steps == []


@pytest.mark.parametrize("known", [True, False])
def test_a_walltime_shorter_than_a_step_sends_no_trial_round_for_ever(
    make, clock, worker, monkeypatch, caplog, known
):
    run(clock.trains(100.0), make(worker(450.0)))
    channel = worker(110.0, age=10.0)
    if not known:  # when it began: then for all we know no other one would last longer
        monkeypatch.delenv("DASKHPO_BEGAN")
    caplog.clear()
    assert run(clock.trains(100.0), make(channel, attempt=1, start=3)) is Outcome.INTERRUPTED
    assert channel.steps == [4]
    assert caplog.text.count("give batch jobs a longer walltime") == 1
    assert "trial 0: another step and its checkpoint may take 127 s" in caplog.text


def test_who_has_trained_a_step_leaves_even_a_young_batch_job(make, clock, worker):
    run(clock.trains(900.0), make(worker(4200.0), max_step=20, stop=20))
    channel = worker(1100.0)
    late = make(channel, attempt=1, start=4, max_step=20, stop=20)
    assert run(clock.trains(100.0), late) is Outcome.INTERRUPTED
    assert channel.steps == [5]


def test_who_is_turned_away_before_it_began_still_inherits(make, clock, worker, tmp_path):
    parent = session_module.Checkpoints(tmp_path / "trials" / "00003", attempt=0)
    parent.save(Checkpoint(2, (), {"counts": {"steps": 2}}, (), (100.0, 100.0)))
    late = make(worker(3600.0, age=3450.0), start=2, parent=3)
    assert run(clock.trains(), late) is Outcome.INTERRUPTED
    channel = worker(3600.0)
    assert run(clock.trains(), make(channel, attempt=1, start=2, parent=3)) is Outcome.COMPLETED
    assert [(step, metrics["trained"]) for step, metrics, _ in channel.sent] == [
        (step, step) for step in range(3, 10)
    ]


def test_checkpoints_that_know_no_pace_are_good_ones(make, clock, worker, tmp_path):
    run(clock.trains(), make(worker(450.0)))
    (place,) = tmp_path.rglob("*.ckpt")
    content = checkpoint_module._undump(place.read_bytes().split(b"\n", 1)[1])
    assert content.pop("pace") == (100.0, 100.0, 100.0)
    payload = pickle.dumps(content)
    place.write_bytes(checkpoint_module._header(payload) + payload)
    channel = worker(3600.0)
    assert run(clock.trains(), make(channel, attempt=1, start=3)) is Outcome.COMPLETED
    assert channel.steps == [4, 5, 6, 7, 8, 9]


def test_a_batch_job_that_is_granted_more_time_is_used(make, clock, worker):
    channel, objective = worker(450.0), clock.trains()
    send = channel.send

    def grant(step, metrics, *, urgent):
        send(step, metrics, urgent=urgent)
        if step == 2:
            channel.ends += 3600.0

    channel.send = grant
    assert run(objective, make(channel)) is Outcome.COMPLETED


def test_a_worker_that_has_to_go_already_trains_no_step(make):
    channel = Script()
    channel.interrupted = True
    assert run(objectives.quick, make(channel)) is Outcome.INTERRUPTED
    assert channel.sent == []


def test_whoever_owns_the_loop_is_told_to_leave_in_time(make, clock, worker):
    channel = worker(450.0)
    session, decisions = make(channel), []
    for step in (1, 2, 3):
        clock.now += 100.0
        decisions.append(session.report_step(step, {"loss": 0.5}))
    assert decisions == [CONTINUE, CONTINUE, PAUSE]
    assert session.finish(None) is Outcome.INTERRUPTED


def test_the_time_that_is_spent_waiting_for_decisions_is_none_of_the_steps(make, clock, worker):
    channel = worker(3600.0, {1: (CONTINUE, 2), 2: (CONTINUE, 9)})
    wait = channel.wait

    def slowly(step):
        clock.now += 1000.0
        return wait(step)

    channel.wait = slowly
    # 2,000 s of waiting, and seven steps in what is left of an hour.
    assert run(clock.trains(), make(channel, stop=1)) is Outcome.COMPLETED


def test_an_objective_may_ask_how_long_it_may_stay(make, clock, worker):
    assert make(Script()).seconds_left == make(Script()).ends == math.inf
    channel = worker(3600.0, age=600.0)
    session = make(channel)
    assert (session.ends, session.seconds_left) == (channel.ends, 3600.0 - 600.0 - 60.0)
    clock.now = channel.ends
    assert session.seconds_left == 0.0


class Crew(Alone):
    """Rank 0 of two, whose other one lives in a batch job of its own."""

    size = 2

    def __init__(self, other):
        super().__init__()
        self.other = other  # (when it ends, when it began)
        self.agreed = []

    def agree(self, code):
        self.agreed.append(code)
        return code

    def gather(self, thing):
        return [thing, self.other if isinstance(thing, tuple) else thing]


def test_of_several_batch_jobs_the_first_to_end_is_the_end_of_the_stay(make, clock, worker):
    channel, crew = worker(36_000.0), Crew((clock.now + 450.0, clock.now))
    session = make(channel, ranks=crew)
    assert run(clock.trains(), session) is Outcome.INTERRUPTED
    assert channel.steps == [1, 2, 3]
    assert session.ends == crew.other[0]


def test_ranks_in_the_same_batch_job_are_granted_more_time_together(make, clock, worker):
    channel = worker(450.0)
    session = make(channel, ranks=Crew((channel.ends, clock.now)))
    assert session.report_step(1, {"loss": 0.5}) is CONTINUE
    channel.ends += 3600.0
    assert session.ends == channel.ends


def test_the_other_ranks_leave_when_rank_0_says_so(make, clock):
    class Second(Crew):
        rank = local_rank = 1
        codes = iter([0, 0, 0, session_module._LEAVE])

        def agree(self, code):
            return next(self.codes)

        def gather(self, thing):
            return []

    channel, second = Script(), Second(None)
    session = make(channel, ranks=second)
    assert session.local_rank == 1
    # The start, then step 1, the question whether a copy is due, and step 2.
    assert run(clock.trains(), session) is Outcome.INTERRUPTED
    assert session.step == 2
    assert channel.sent == []


def test_every_rank_knows_where_the_trial_waits_next(make):
    stops = {}

    class Leader(Alone):
        size = 2

        def agree(self, code):
            sent.append(code)
            return code

    class Follower(Leader):
        rank = 1

        def agree(self, code):
            return sent.pop(0)

    def objective(trial):
        for step in trial.steps():
            stops[trial.rank, step] = trial.stop
            trial.report(loss=1.0)

    sent = []
    for ranks in (Leader(), Follower()):
        run(objective, make(Script({3: (CONTINUE, 99)}), stop=3, ranks=ranks))
    assert [stops[0, step] for step in range(1, 10)] == [3] * 3 + [9] * 6
    assert [stops[1, step] for step in range(1, 10)] == [3] * 3 + [9] * 6


@pytest.mark.parametrize("device", ["cuda:2", "cpu"])
def test_several_trials_in_a_process_have_a_device_each(make, device):
    session = make(Script(), ranks=Alone(device))
    assert (session.device, session.local_rank) == (device, 0)
    assert make(Script()).device in ("cpu", "cuda:0")


# ---------------------------------------------------------------------- reports


def test_a_second_loop_is_refused(make):
    def objective(trial):
        list(trial.steps())
        list(trial.steps())

    with pytest.raises(ObjectiveError, match=r"steps\(\) was called twice"):
        run(objective, make(Script()))


def test_a_second_report_of_a_step_is_refused(make):
    def objective(trial):
        for _ in trial.steps():
            trial.report(loss=1.0)
            trial.report(loss=1.0)

    with pytest.raises(ObjectiveError, match="step 1 was reported already"):
        run(objective, make(Script()))


def test_a_report_without_the_metric_names_what_it_got(make):
    with pytest.raises(ObjectiveError, match="got los; the study's metric 'loss' is missing"):
        run(objectives.misnames, make(Script()))


def test_a_report_without_a_metric_that_is_traded_off_names_that_one(make):
    def objective(trial):
        for _ in trial.steps():
            trial.report(loss=1.0, time=2.0)

    run(objective, make(Script(), also=("time",)))
    with pytest.raises(ObjectiveError, match="got loss, time; .* metric 'memory' is missing"):
        run(objective, make(Script(), also=("time", "memory")))


@pytest.mark.parametrize("value", ["0.5", None, [1.0], 1j])
def test_a_value_that_is_no_number_is_named(make, value):
    def objective(trial):
        for _ in trial.steps():
            trial.report(loss=value)

    with pytest.raises(ObjectiveError, match=r"report\(loss=.*must be a number"):
        run(objective, make(Script()))


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), np.int64(1), True, math.nan, 1])
def test_numbers_of_all_kinds_become_plain_ones(make, value):
    def objective(trial):
        for _ in trial.steps():
            trial.report(loss=value)

    channel = Script()
    run(objective, make(channel))
    assert {type(metrics["loss"]) for _, metrics, _ in channel.sent} == {float}


def test_steps_may_go_unreported_and_the_next_report_stands_in_at_the_milestone(make):
    def objective(trial):
        for step in trial.steps():
            if step % 2 == 0:
                trial.report(loss=1.0)

    channel = Script({4: (CONTINUE, 9)})
    assert run(objective, make(channel, stop=3)) is Outcome.COMPLETED
    assert channel.waited == [4]


@pytest.mark.parametrize(
    ("result", "metrics"),
    [(0.5, {"loss": 0.5}), ({"loss": 0.5, "more": 1}, {"loss": 0.5, "more": 1.0})],
)
def test_a_returned_value_counts_as_the_report_of_the_last_step(make, result, metrics):
    channel = Script()
    assert run(lambda trial: result, make(channel, stop=1)) is Outcome.COMPLETED
    assert channel.sent == [(9, metrics, False)]


def test_a_returned_value_beside_reports_is_not_looked_at(make):
    def objective(trial):
        objectives.quick(trial)
        return "whatever"

    assert run(objective, make(Script())) is Outcome.COMPLETED


def test_a_returned_value_that_is_no_number_is_refused(make):
    with pytest.raises(ObjectiveError, match="must be a number"):
        run(lambda trial: "good", make(Script()))


def test_reports_without_a_loop_count_themselves(make):
    def objective(trial):
        for _ in range(3):
            trial.report(loss=1.0)

    channel = Script()
    assert run(objective, make(channel)) is Outcome.COMPLETED
    assert channel.steps == [1, 2, 3]


def test_whoever_owns_the_loop_gets_the_decisions(make):
    channel = Script({3: (CONTINUE, 9), 9: (STOP, 9)})
    session = make(channel, stop=3)
    assert [session.milestone(step) for step in (2, 3, 9)] == [False, True, False]
    assert session.report_step(3, {"loss": 0.5}) is CONTINUE
    assert [session.milestone(step) for step in (3, 8, 9)] == [False, False, False]
    assert session.report_step(3, {"loss": 0.5}) is CONTINUE  # the same again: not sent twice
    assert channel.steps == [3]


# ---------------------------------------------------------------------- the rest


def test_seeds_are_the_trials_own_and_the_same_at_every_attempt(make, tmp_path):
    first, again = make(Script()), make(Script(), attempt=4)
    other = Session(first._work, Job(1, 0, 0, 0, 9, {}), Script())
    assert first.seed == again.seed != other.seed
    assert first.rng.random() == again.rng.random()


def test_a_long_trial_takes_safety_copies_at_the_young_daly_interval(make, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(session_module.time, "monotonic", lambda: clock[0])
    saved = []

    def objective(trial):
        for step in trial.steps(kept={}):
            clock[0] += 100.0
            saved.append(step) if list(tmp_path.rglob("*.ckpt")) else None
            trial.report(loss=1.0)

    # Before a save was measured it counts as 1 s: sqrt(2 * 1 * 20,000) = 200 s.
    session = make(Script(), stop=20, max_step=20, mtbf=20_000.0)
    run(objective, session)
    assert saved[0] == 4  # above 200 s, so after step 3
    # A save that took no time is counted as 1 ms: 6 s, so after every step from then on.
    assert session._checkpoints.load().step == 20


def test_a_short_trial_takes_none(make, tmp_path):
    copies = []

    def objective(trial):
        for _ in trial.steps(kept={}):
            copies.extend(tmp_path.rglob("*.ckpt"))
            trial.report(loss=1.0)

    run(objective, make(Script()))
    assert copies == []
