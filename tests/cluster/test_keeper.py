"""The thread that keeps batch jobs: what it asks, submits, cancels and tells."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from dataclasses import replace

import pytest

from daskhpo.cluster import keeper as constants
from daskhpo.cluster.batch import BatchJob, Blame, Phase, SubmitError, Unreachable
from daskhpo.cluster.keeper import Keeper
from daskhpo.cluster.processes import Processes

GAP = 0.05


class Scripted:
    """A batch system that does what a test says, and remembers what it was asked."""

    def __init__(self):
        self.lock = threading.Lock()
        self.listed = {}
        self.ended = {}
        self.cancelled = []
        self.scripts = []
        self.refusal = None
        self.silent = threading.Event()
        self.stubborn = False  # whether cancelled batch jobs take their time
        self.slow = 0.0
        self.asked = []  # when queries began and ended
        self.named = []  # the ids that they named

    def submit(self, script):
        if self.refusal is not None:
            raise self.refusal
        with self.lock:
            self.scripts.append(script)
            id = str(len(self.scripts))
            self.listed[id] = BatchJob(id, Phase.PENDING, "PENDING")
        return id

    def jobs(self, ids=()):
        began = time.monotonic()
        time.sleep(self.slow)
        try:
            if self.silent.is_set():
                raise Unreachable("squeue does not answer")
            with self.lock:
                return self.listed | {id: self.ended[id] for id in ids if id in self.ended}
        finally:
            self.named.append(list(ids))
            self.asked.append((began, time.monotonic()))

    def cancel(self, ids):
        if self.silent.is_set():
            raise Unreachable("scancel does not answer")
        self.cancelled += ids
        for id in () if self.stubborn else ids:
            self.end(id, "CANCELLED", Blame.SYSTEM)

    def begin(self, *ids):
        with self.lock:
            for id in ids:
                job = replace(self.listed[id], phase=Phase.RUNNING, state="RUNNING")
                self.listed[id] = replace(job, began=time.time())

    def end(self, id, state="FAILED", blame=Blame.UNKNOWN):
        with self.lock:
            if id in self.listed:
                self.ended[id] = replace(
                    self.listed.pop(id),
                    phase=Phase.ENDED,
                    state=state,
                    blame=blame,
                    ended=time.time(),
                )


class Ear:
    """What a keeper has told."""

    def __init__(self):
        self.heard = []
        self._queue = queue.SimpleQueue()
        self.tell = self._queue.put

    def until(self, wanted, timeout=60):
        """The first wanted item, which may have come already."""
        while not (found := [item for item in self.heard if wanted(item)]):
            self.heard.append(self._queue.get(timeout=timeout))
        return found[0]

    def until_job(self, id, phase):
        return self.until(lambda it: it[0] == "batch" and (it[1].id, it[1].phase) == (id, phase))[1]

    def until_word(self, word):
        return self.until(lambda item: item[0] == word)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(constants, "GAP", GAP)
    monkeypatch.setattr(constants, "FAREWELL", 2.0)
    monkeypatch.setattr("daskhpo.cluster.reconciler.FIRST_PAUSE", GAP)


@pytest.fixture
def scripted():
    return Scripted()


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def keep(ear):
    """Start a keeper; it is closed after the test."""
    made = []

    def make(system, *, known=(), want=None, log=lambda id: "", **settings):
        settings = {"most": 3, "poll": 2 * GAP} | settings
        script = settings.pop("script", "the script")
        keeper = Keeper(system, script, tell=ear.tell, log=log, **settings)
        keeper.start(known)
        if want is not None:
            keeper.want(want)
        made.append(keeper)
        return keeper

    yield make
    for keeper in made:
        keeper.close()


def wait(happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ------------------------------------------------------------------ the number


def test_as_many_as_wanted_are_submitted_and_told(keep, scripted, ear):
    keep(scripted, want=2)
    assert ear.until_job("1", Phase.PENDING).state == ""
    ear.until_job("2", Phase.PENDING)
    scripted.begin("1")
    assert ear.until_job("1", Phase.RUNNING).state == "RUNNING"
    assert scripted.scripts == ["the script"] * 2


def test_the_script_may_be_made_anew_for_every_submission(keep, scripted, ear):
    numbers = iter(range(9))
    keep(scripted, want=2, script=lambda: f"script {next(numbers)}")
    ear.until_job("2", Phase.PENDING)
    assert scripted.scripts == ["script 0", "script 1"]


def test_nothing_is_submitted_before_the_batch_system_has_said_what_there_is(keep, scripted, ear):
    scripted.silent.set()
    keeper = keep(scripted, want=2)
    wait(lambda: scripted.asked)
    scripted.listed["99"] = BatchJob("99", Phase.PENDING)
    assert scripted.scripts == []
    scripted.silent.clear()
    ear.until_job("99", Phase.PENDING)
    ear.until_job("1", Phase.PENDING)
    keeper.close()
    assert len(scripted.scripts) == 1
    assert set(scripted.cancelled) == {"99", "1"}


def test_batch_jobs_of_earlier_runs_are_asked_for_and_kept(keep, scripted, ear):
    known = [BatchJob("7", Phase.RUNNING, began=1.0), BatchJob("8", Phase.PENDING)]
    scripted.listed["7"] = known[0]
    scripted.ended["8"] = replace(known[1], phase=Phase.ENDED, state="TIMEOUT", blame=Blame.SYSTEM)
    keep(scripted, known=known, want=2)
    ear.until_job("8", Phase.ENDED)
    ear.until_job("1", Phase.PENDING)
    assert scripted.named[0] == ["7", "8"]
    assert len(scripted.scripts) == 1


def test_one_that_dies_is_replaced(keep, scripted, ear):
    keep(scripted, want=1)
    ear.until_job("1", Phase.PENDING)
    scripted.begin("1")
    ear.until_job("1", Phase.RUNNING)
    scripted.end("1", "PREEMPTED", Blame.SYSTEM)
    assert ear.until_job("1", Phase.ENDED).blame is Blame.SYSTEM
    ear.until_job("2", Phase.PENDING)


def test_what_waits_is_cancelled_when_nothing_is_left_for_it(keep, scripted, ear):
    keeper = keep(scripted, want=3, idle=0.2)
    ear.until_job("3", Phase.PENDING)
    scripted.begin("1")
    ear.until_job("1", Phase.RUNNING)
    keeper.want(0)
    ear.until_job("2", Phase.ENDED)
    assert scripted.cancelled == ["3", "2"]


def test_a_running_one_is_let_go_when_its_worker_is_idle(keep, scripted, ear):
    keeper = keep(scripted, want=2, idle=0.2)
    ear.until_job("2", Phase.PENDING)
    scripted.begin("1", "2")
    ear.until_job("2", Phase.RUNNING)
    for id in ("1", "2"):
        keeper.connected(id)
        keeper.idle(id)
    keeper.busy("1")
    keeper.want(0)
    ear.until_job("2", Phase.ENDED)
    keeper.want(2)
    ear.until_job("3", Phase.PENDING)
    assert scripted.cancelled == ["2"]


def test_what_is_cancelled_and_takes_its_time_is_not_cancelled_again_at_once(keep, scripted, ear):
    keeper = keep(scripted, want=1, idle=0.1)
    ear.until_job("1", Phase.PENDING)
    scripted.stubborn = True
    keeper.want(0)
    wait(lambda: scripted.cancelled)
    asked = len(scripted.asked)
    wait(lambda: len(scripted.asked) > asked + 5)
    assert scripted.cancelled == ["1"]
    scripted.stubborn = False
    scripted.end("1")


def test_a_need_that_changes_while_batch_jobs_are_submitted_is_heard(keep, scripted, ear):
    keepers = []

    def script():
        keepers[0].want(1)
        return "the script"

    keepers.append(keep(scripted, script=script))
    keepers[0].want(3)
    ear.until_job("1", Phase.PENDING)
    asked = len(scripted.asked)
    wait(lambda: len(scripted.asked) > asked + 3)
    assert len(scripted.scripts) == 1


def test_a_released_one_is_cancelled_if_it_does_not_go(keep, scripted, ear, monkeypatch):
    monkeypatch.setattr("daskhpo.cluster.reconciler.REPEAT", 0.2)
    keeper = keep(scripted, want=1)
    ear.until_job("1", Phase.PENDING)
    keeper.release("1")
    ear.until_job("2", Phase.PENDING)
    ear.until_job("1", Phase.ENDED)
    assert scripted.cancelled == ["1"]


# ------------------------------------------------------------------ inquiries


def running(keep, scripted, ear, **settings):
    keeper = keep(scripted, want=1, **settings)
    ear.until_job("1", Phase.PENDING)
    scripted.begin("1")
    ear.until_job("1", Phase.RUNNING)
    keeper.connected("1")
    return keeper


def test_an_inquiry_is_answered_once_the_batch_system_knows_of_the_end(keep, scripted, ear):
    keeper = running(keep, scripted, ear, poll=60.0)
    keeper.inquire("1", "1-0")
    asked = len(scripted.asked)
    wait(lambda: len(scripted.asked) > asked + 2)
    scripted.end("1", "PREEMPTED", Blame.SYSTEM)
    _, name, job = ear.until_word("fate")
    assert (name, job.id, job.state) == ("1-0", "1", "PREEMPTED")
    assert [item[0] for item in ear.heard[-2:]] == ["batch", "fate"]
    ear.until_job("2", Phase.PENDING)


def test_a_batch_job_that_lives_on_without_its_worker_is_told_as_it_is(
    keep, scripted, ear, monkeypatch
):
    monkeypatch.setattr(constants, "DELAY", 0.3)
    keeper = running(keep, scripted, ear, poll=60.0)
    keeper.inquire("1", "1-0")
    _, name, job = ear.until_word("fate")
    assert (name, job.phase) == ("1-0", Phase.RUNNING)


def test_one_that_is_completing_is_waited_for_until_its_end_has_a_name(
    keep, scripted, ear, monkeypatch
):
    monkeypatch.setattr(constants, "DELAY", 0.0)
    keeper = running(keep, scripted, ear, poll=60.0)
    scripted.listed["1"] = replace(scripted.listed["1"], state="COMPLETING")
    keeper.inquire("1", "1-0")
    asked = len(scripted.asked)
    wait(lambda: len(scripted.asked) > asked + 1)
    scripted.end("1", "PREEMPTED", Blame.SYSTEM)
    assert ear.until_word("fate")[2].state == "PREEMPTED"


def test_one_that_is_back_in_the_queue_is_told_at_once(keep, scripted, ear, monkeypatch):
    monkeypatch.setattr(constants, "DELAY", 3600.0)
    keeper = running(keep, scripted, ear)
    job = scripted.listed["1"]
    scripted.listed["1"] = replace(job, phase=Phase.PENDING, restarts=1, began=float("nan"))
    keeper.inquire("1", "1-0")
    assert ear.until_word("fate")[2].restarts == 1


def test_one_that_is_forgotten_is_told_as_such(keep, scripted, ear):
    keeper = running(keep, scripted, ear, poll=60.0)
    wait(lambda: len(scripted.asked) > 2)
    del scripted.listed["1"]
    keeper.inquire("1", "1-0")
    job = ear.until_word("fate")[2]
    assert (job.phase, job.blame) == (Phase.ENDED, Blame.UNKNOWN)
    assert "forgotten" in job.reason


def test_also_what_was_over_long_ago_can_be_asked_for(keep, scripted, ear):
    scripted.ended["7"] = BatchJob("7", Phase.ENDED, "TIMEOUT", blame=Blame.SYSTEM)
    keeper = keep(scripted)
    keeper.inquire("7", "7-0")
    assert ear.until_word("fate")[2].state == "TIMEOUT"


@pytest.mark.parametrize("id", ["", "77"])
def test_nobody_can_say_what_became_of_what_is_not_ours(keep, scripted, ear, id):
    keeper = keep(scripted)
    keeper.inquire(id, "stranger")
    assert ear.until_word("fate") == ["fate", "stranger", None]


def test_where_the_batch_system_is_silent_an_inquiry_ends_all_the_same(
    keep, scripted, ear, monkeypatch
):
    monkeypatch.setattr(constants, "SILENCE", 0.3)
    keeper = running(keep, scripted, ear)
    scripted.silent.set()
    keeper.inquire("1", "1-0")
    assert ear.until_word("fate") == ["fate", "1-0", None]
    scripted.silent.clear()


# ------------------------------------------------------------------ manners


def test_whatever_happens_the_batch_system_is_not_asked_more_often_than_allowed(
    keep, scripted, ear
):
    keeper = running(keep, scripted, ear, poll=0.0)
    scripted.slow = 1.5 * GAP
    for number in range(60):
        keeper.inquire("1", f"1-{number}")
        keeper.want(1 + number % 3)
        keeper.idle("1")
        keeper.busy("1")
        if number == 30:
            scripted.silent.set()
        if number == 40:
            scripted.silent.clear()
        time.sleep(GAP / 5)
    keeper.close()
    gaps = [
        later[0] - earlier[1]
        for earlier, later in zip(scripted.asked, scripted.asked[1:], strict=False)
    ]
    assert len(gaps) > 3
    assert min(gaps) >= 0.9 * GAP
    scripted.slow = 0.0


def test_while_nothing_happens_it_is_asked_seldom_and_after_something_often(
    keep, scripted, ear, monkeypatch
):
    monkeypatch.setattr(constants, "HURRY", 0.5)
    keeper = running(keep, scripted, ear, poll=3600.0)
    wait(lambda: scripted.asked[-1][1] + 1.0 < time.monotonic())
    calm = len(scripted.asked)
    keeper.connected("1")
    keeper.want(1)
    keeper.release("unknown")
    wait(lambda: len(scripted.asked) >= calm + 3)


def test_silence_is_told_once_in_the_log_and_changes_nothing(keep, scripted, ear, caplog):
    caplog.set_level(logging.INFO, logger="daskhpo")
    keeper = running(keep, scripted, ear)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daskhpo.cluster.reconciler.LONGEST_PAUSE", GAP)
        scripted.silent.set()
        asked = len(scripted.asked)
        keeper.want(3)
        wait(lambda: len(scripted.asked) > asked + 4)
        scripted.end("1")
        scripted.silent.clear()
        ear.until_job("1", Phase.ENDED)
    words = [record.message for record in caplog.records]
    assert sum("squeue does not answer" in each for each in words) == 1
    assert sum("answers again" in each for each in words) == 1


def test_a_submission_that_nobody_answered_is_adopted_when_it_is_listed(keep, scripted, ear):
    submit = scripted.submit

    def unanswered(script):
        submit(script)
        scripted.submit = submit
        scripted.silent.set()
        raise Unreachable("sbatch does not answer")

    scripted.submit = unanswered
    keeper = keep(scripted, want=1)
    wait(scripted.silent.is_set)
    asked = len(scripted.asked)
    keeper.want(2)
    keeper.want(1)
    wait(lambda: len(scripted.asked) > asked)
    scripted.silent.clear()
    assert ear.until_job("1", Phase.PENDING).state == "PENDING"
    keeper.close()
    assert len(scripted.scripts) == 1


# ------------------------------------------------------------------ when it goes wrong


def test_batch_jobs_that_give_no_worker_end_in_words_with_their_log(keep, scripted, ear):
    keep(scripted, want=1, log=lambda id: f"no module named torch in {id}\n")
    for id in ("1", "2", "3"):
        ear.until_job(id, Phase.PENDING)
        scripted.begin(id)
        scripted.end(id)
    text = ear.until_word("hopeless")[1]
    assert text.startswith("3 batch jobs in a row")
    assert text.endswith("The end of its error log:\nno module named torch in 3")
    asked = len(scripted.asked)
    wait(lambda: len(scripted.asked) > asked + 2)
    assert len(scripted.scripts) == 3
    with pytest.raises(queue.Empty):
        ear.until(lambda item: item[0] == "hopeless" and item[1] is not text, timeout=3 * GAP)


def test_a_log_that_cannot_be_read_hides_nothing(keep, scripted, ear):
    def log(id):
        raise FileNotFoundError("3.err")

    keep(scripted, want=3, log=log)
    for id in ("1", "2", "3"):
        ear.until_job(id, Phase.PENDING)
    for id in ("1", "2", "3"):
        scripted.begin(id)
        scripted.end(id)
    text = ear.until_word("hopeless")[1]
    assert text.startswith("3 batch jobs in a row")
    assert "cannot be read: 3.err" in text


def test_a_final_refusal_is_told(keep, scripted, ear):
    scripted.refusal = SubmitError("pool.queue='gpus': there is no such partition", final=True)
    keep(scripted, want=2)
    assert ear.until_word("hopeless")[1] == "pool.queue='gpus': there is no such partition"


def test_a_refusal_that_passes_is_tried_again(keep, scripted, ear, monkeypatch):
    scripted.refusal = SubmitError("limit on submitted jobs", final=False)
    keep(scripted, want=1)
    wait(lambda: len(scripted.asked) > 2)
    scripted.refusal = None
    ear.until_job("1", Phase.PENDING)


@pytest.mark.parametrize("where", ["jobs", "submit"])
def test_a_mistake_in_the_batch_system_is_told_and_the_rest_is_cancelled(
    keep, scripted, ear, where, caplog
):
    keeper = running(keep, scripted, ear)
    before = getattr(scripted, where)

    def broken(*args):
        raise ZeroDivisionError("a bug")

    setattr(scripted, where, broken)
    keeper.want(2)
    assert "ZeroDivisionError('a bug')" in ear.until_word("hopeless")[1]
    setattr(scripted, where, before)
    keeper.close()
    assert set(scripted.cancelled) >= {"1"}
    assert not scripted.listed
    assert "has failed" in caplog.text


# ------------------------------------------------------------------ the end


def test_closing_cancels_everything_and_tells_how_it_ended(keep, scripted, ear):
    keeper = running(keep, scripted, ear)
    keeper.want(3)
    ear.until_job("3", Phase.PENDING)
    keeper.close()
    keeper.close()
    assert sorted(scripted.cancelled) == ["1", "2", "3"]
    for id in ("1", "2", "3"):
        assert ear.until_job(id, Phase.ENDED).state == "CANCELLED"


def test_closing_leaves_everything_to_the_next_driver_if_told_so(keep, scripted, ear):
    keeper = running(keep, scripted, ear)
    keeper.close(keep=True)
    assert scripted.cancelled == []
    assert list(scripted.listed) == ["1"]


def test_closing_cancels_also_what_comes_to_light_late(keep, scripted, ear):
    keeper = running(keep, scripted, ear, poll=3600.0)
    scripted.listed["99"] = BatchJob("99", Phase.PENDING)
    keeper.close()
    assert set(scripted.cancelled) == {"1", "99"}


def test_closing_waits_for_a_silent_batch_system_for_some_seconds(keep, scripted, ear, caplog):
    keeper = running(keep, scripted, ear)
    scripted.silent.set()
    timer = threading.Timer(0.5, scripted.silent.clear)
    timer.start()
    keeper.close()
    assert scripted.cancelled == ["1"]
    assert "by hand" not in caplog.text


def test_closing_wants_an_answer_also_where_nothing_is_known(keep, scripted):
    scripted.silent.set()
    scripted.listed["99"] = BatchJob("99", Phase.PENDING)
    keeper = keep(scripted)
    wait(lambda: scripted.asked)
    timer = threading.Timer(0.5, scripted.silent.clear)
    timer.start()
    keeper.close()
    assert scripted.cancelled == ["99"]


def test_after_a_mistake_batch_jobs_are_left_to_the_next_driver_if_told_so(keep, scripted, ear):
    scripted.refusal = ZeroDivisionError("a bug")
    scripted.listed["99"] = BatchJob("99", Phase.PENDING)
    keeper = keep(scripted, want=2)
    ear.until_word("hopeless")
    asked = len(scripted.asked)
    time.sleep(5 * GAP)
    keeper.close(keep=True)
    assert len(scripted.asked) == asked
    assert scripted.cancelled == []


def test_closing_names_what_it_could_not_cancel(keep, scripted, ear, caplog):
    keeper = running(keep, scripted, ear)
    scripted.silent.set()
    keeper.close()
    assert "to be cancelled by hand: ['1']" in caplog.text


def test_a_keeper_that_was_never_started_closes(scripted, ear):
    Keeper(scripted, "", most=1, tell=ear.tell, log=str).close()
    assert scripted.asked == []


# ------------------------------------------------------------------ with processes


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path / "batch", slots=2) as system:
        yield system


def test_processes_are_kept_whatever_kills_them(processes, keep, ear):
    keeper = keep(processes, script="sleep 600", want=3, most=3)
    ear.until_job("2", Phase.RUNNING)
    assert processes.jobs()["3"].phase is Phase.PENDING
    for id in ("1", "2"):
        keeper.connected(id)
    os.kill(processes.pid("1"), signal.SIGKILL)
    keeper.inquire("1", "1-0")
    assert ear.until_word("fate")[2].state == "KILLED"
    ear.until_job("4", Phase.PENDING)
    ear.until_job("3", Phase.RUNNING)
    keeper.close()
    assert processes.jobs() == {}


def test_a_script_that_cannot_work_is_given_up_with_what_it_said(processes, keep, ear):
    keep(processes, script="echo nothing to run >&2; exit 127", want=3, log=processes.log)
    text = ear.until_word("hopeless")[1]
    assert "FAILED (exit code 127)" in text
    assert text.endswith("nothing to run")
