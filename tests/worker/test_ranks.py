"""Ranks train as one trial, and leave together, however they leave."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
import rank_objectives
import worker_objectives as objectives

from daskhpo.trial import Answer, Decision, Outcome
from daskhpo.worker.ranks import perform_in_ranks


def train(stay):
    return perform_in_ranks(stay.work, stay.job, stay.tape)


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pid):
    """Wait until a process has ended; the test's own time limit is the only one."""
    while alive(pid):
        time.sleep(0.02)
    return True


def ranks_left():
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "daskhpo.worker.rank" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:  # a zombie too
            pass
    return found


def sleep_through_the_end():
    """A supervisor so slow that it finds all ranks dead at once, and has to sort out why."""
    while ranks_left():
        time.sleep(0.02)


@pytest.fixture(params=["watchful", "slow"])
def supervisor(request):
    return {} if request.param == "watchful" else {2: sleep_through_the_end}


def pid_in(path):
    while not path.exists() or not path.read_text():
        time.sleep(0.02)
    return int(path.read_text())


@pytest.fixture
def uninterrupted(stay, tmp_path):
    whole = stay(objectives.descends, ranks=2, path=str(tmp_path / "whole"))
    assert train(whole).outcome is Outcome.COMPLETED
    return whole.tape


def test_two_ranks_train_one_model_and_go_on_after_a_pause_as_if_nothing_had_happened(
    stay, uninterrupted
):
    assert uninterrupted.steps == [1, 2, 3, 4, 5]
    assert all(metrics["spread"] == 0 for metrics in uninterrupted.metrics)
    assert all(metrics["noise"] > 0 for metrics in uninterrupted.metrics)
    first = stay(objectives.descends, ranks=2, stop=2, answers={2: Decision.PAUSE})
    assert train(first).outcome is Outcome.PAUSED
    second = stay(objectives.descends, ranks=2, attempt=1, start=2)
    assert train(second).outcome is Outcome.COMPLETED
    assert first.tape.metrics + second.tape.metrics == uninterrupted.metrics


def test_a_killed_rank_is_a_loss_and_takes_the_others_with_it(stay, supervisor):
    left = stay(objectives.meets, ranks=2, params={"end": "kill"}, answers=supervisor)
    ending = train(left)
    assert ending.outcome is Outcome.LOST
    assert "rank 1 was killed by SIGKILL" in ending.error
    assert ending.seconds > 0
    assert not ranks_left()


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("raise", ["Traceback", "yield_to", "ValueError: on purpose"]),
        ("exit", ["rank 1 ended with exit code 3", "a last word"]),
    ],
)
def test_the_rank_that_failed_is_named_and_not_those_that_missed_it(stay, supervisor, end, words):
    ending = train(stay(objectives.meets, ranks=2, params={"end": end}, answers=supervisor))
    assert ending.outcome is Outcome.FAILED
    assert ending.retry
    assert [word for word in words if word not in ending.error] == []
    assert not ranks_left()


def test_two_trials_at_once_meet_only_themselves(stay):
    trials = [stay(objectives.meets, ranks=2, number=n, params={"end": ""}) for n in (1, 2)]
    endings = {}
    threads = [
        threading.Thread(target=lambda one=one: endings.update({one.job.number: train(one)}))
        for one in trials
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [endings[n].outcome for n in (1, 2)] == [Outcome.COMPLETED] * 2
    assert [one.tape.metrics for one in trials] == [[{"loss": float(n)}] * 5 for n in (1, 2)]


def test_an_isolated_trial_pauses_and_resumes(stay):
    first = stay(objectives.alone, isolate=True, stop=3, answers={3: Decision.PAUSE})
    first.job.params["end"] = ""
    assert train(first).outcome is Outcome.PAUSED
    second = stay(objectives.alone, isolate=True, attempt=1, start=3, params={"end": ""})
    assert train(second).outcome is Outcome.COMPLETED
    assert first.tape.steps + second.tape.steps == [1, 2, 3, 4, 5]


def test_an_answer_that_comes_unasked_reaches_the_rank(stay):
    told = stay(objectives.alone, isolate=True, stop=2, params={"end": ""})
    told.tape.answers = {2: Answer(Decision.CONTINUE, 4), 4: Decision.STOP}
    assert train(told).outcome is Outcome.STOPPED
    assert told.tape.steps == [1, 2, 3, 4]
    assert [urgent for _, _, urgent in told.tape.sent] == [False, True, False, True]


def test_a_worker_that_has_to_go_interrupts_the_ranks_of_its_trial(stay, tmp_path):
    leaving = stay(objectives.alone, isolate=True, stop=3, params={"end": ""})
    leaving.tape.answers = {3: leaving.tape.interrupt}
    assert train(leaving).outcome is Outcome.INTERRUPTED
    assert [file.name for file in tmp_path.rglob("*.ckpt")] == ["step-000003.ckpt"]


def test_memory_exhaustion_fails_the_trial_for_good_and_spares_the_worker(stay):
    ending = train(stay(objectives.eats_memory, isolate=True))
    assert ending.outcome is Outcome.FAILED
    assert not ending.retry
    assert "out of memory" in ending.error


def test_a_killed_isolated_trial_is_a_loss(stay):
    ending = train(stay(objectives.alone, isolate=True, params={"end": "kill"}))
    assert ending.outcome is Outcome.LOST


def test_children_of_a_killed_rank_neither_hold_up_its_end_nor_outlive_it(stay):
    left = stay(objectives.leaves_children_and_dies, isolate=True)
    assert train(left).outcome is Outcome.LOST
    assert gone(pid_in(left.session.path / "forked"))
    assert gone(pid_in(left.session.path / "started"))


def test_a_child_that_goes_on_training_does_not_speak_for_its_rank(stay):
    forked = stay(objectives.forks_and_goes_on, isolate=True)
    assert train(forked).outcome is Outcome.COMPLETED
    assert forked.tape.steps == [1, 2, 3, 4, 5]


def test_rubbish_on_standard_output_harms_nobody(stay):
    noisy = stay(objectives.prints_rubbish, isolate=True)
    assert train(noisy).outcome is Outcome.COMPLETED
    assert noisy.tape.steps == [1, 2, 3, 4, 5]
    assert (noisy.session.path / "a0" / "rank0.log").stat().st_size > 5 * 256 * 300


def test_an_objective_that_cannot_be_unpickled_says_so_in_the_end_of_its_log(stay):
    ending = train(stay(Unreadable(), isolate=True))
    assert ending.outcome is Outcome.FAILED
    assert "no such thing here" in ending.error


class Unreadable:
    def __reduce__(self):
        return exec, ("raise ImportError('no such thing here')",)


@pytest.mark.parametrize("who", [0, 1])
def test_a_rank_that_gets_sigterm_lets_its_trial_pause(stay, tmp_path, who):
    left = stay(rank_objectives.is_terminated, ranks=2, params={"who": who}, max_step=100_000)
    assert train(left).outcome is Outcome.INTERRUPTED
    assert [file.stem for file in tmp_path.rglob("*.ckpt")] == [f"step-{left.tape.steps[-1]:06d}"]


@pytest.mark.parametrize(
    "objective", [rank_objectives.cannot_react, rank_objectives.is_killed_by_a_second_one]
)
def test_a_rank_that_cannot_react_to_sigterm_is_lost(stay, objective):
    ending = train(stay(objective, isolate=True))
    assert ending.outcome is Outcome.LOST
    assert "rank 0 was killed by SIGTERM" in ending.error


SUPERVISOR = """
import sys
import rank_objectives
import worker_objectives
from conftest import Tape
from daskhpo.trial import Job
from daskhpo.worker.ranks import perform_in_ranks
from daskhpo.worker.work import Work

objective = eval(sys.argv[2])
work = Work("test", objective, "loss", 5, 1, sys.argv[1], isolate=True)
perform_in_ranks(work, Job(0, 0, 0, 0, 5, {}), Tape({}))
"""


@pytest.fixture
def supervise(tmp_path):
    def start(objective):
        paths = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
        return subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(tmp_path), objective],
            env=os.environ | {"PYTHONPATH": paths},
        )

    return start


def test_ranks_end_with_their_supervisor(supervise, tmp_path):
    supervisor = supervise("worker_objectives.sleeps_with_a_child")
    trial = tmp_path / "trials" / "00000"
    rank, forked = pid_in(trial / "rank"), pid_in(trial / "forked")
    assert alive(rank)
    assert alive(forked)
    supervisor.kill()
    supervisor.wait()
    assert gone(rank)
    assert gone(forked)


def test_a_rank_that_got_sigterm_saves_what_it_has_though_its_supervisor_did_not_wait(
    supervise, tmp_path
):
    supervisor = supervise("rank_objectives.outlives_its_supervisor")
    rank = pid_in(tmp_path / "trials" / "00000" / "rank")
    supervisor.wait()
    assert gone(rank)
    assert [file.name for file in tmp_path.rglob("*.ckpt")] == ["step-000002.ckpt"]
