"""Ranks stay between jobs, and no job finds a trace of the one before."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest
import rank_objectives as objectives
import worker_objectives
from conftest import Tape
from test_ranks import gone, ranks_left

from daskhpo.trial import Job, Outcome
from daskhpo.worker.barracks import Barracks
from daskhpo.worker.ranks import perform_in_ranks
from daskhpo.worker.work import Seat


@pytest.fixture
def barracks():
    with Barracks() as made:
        yield made
    assert not ranks_left()


@pytest.fixture
def worker(stay, tmp_path, barracks):
    """A worker: ``worker(objective)`` gives what trains a job of that objective."""

    def settle(objective, barracks=barracks, **settings):
        work = stay(objective, isolate=True, **settings).work

        def train(number, *, devices=(), **params):
            job = Job(number, 0, 0, 0, 5, params)
            seat = Seat(devices=devices)
            return perform_in_ranks(work, job, Tape({}), seat, barracks)

        return train

    return settle


@pytest.fixture
def noted(tmp_path):
    return lambda number, name: (tmp_path / "trials" / f"{number:05d}" / name).read_text()


def test_the_next_job_finds_its_ranks_waiting(worker, noted, barracks):
    train = worker(objectives.pids)
    for number in (0, 1, 2):
        assert train(number).outcome is Outcome.COMPLETED
        assert barracks.resting == 1
    assert noted(0, "pid0") == noted(1, "pid0") == noted(2, "pid0")
    assert noted(1, "a0/rank0.log") == "trial 1 speaks\n"


def test_two_ranks_find_each_other_anew_for_every_job(worker, noted):
    train = worker(objectives.sums, ranks=2)
    for number in (1, 2):
        ending = train(number)
        assert ending.outcome is Outcome.COMPLETED, ending.error
    assert noted(1, "pid0") == noted(2, "pid0") != noted(2, "pid1") == noted(1, "pid1")


def test_cold_ranks_end_with_their_job(worker, noted, barracks):
    train = worker(objectives.pids, warm=False)
    train(0)
    assert barracks.resting == 0
    assert not ranks_left()
    train(1)
    assert noted(0, "pid0") != noted(1, "pid0")


def test_a_job_finds_everything_as_in_a_process_of_its_own(worker, noted, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    train = worker(objectives.looks_around)
    for number in (0, 1, 2):
        ending = train(number)
        assert ending.outcome is Outcome.COMPLETED, ending.error
    assert noted(0, "pid0") == noted(1, "pid0") == noted(2, "pid0")
    found = [json.loads(noted(number, "found")) for number in (0, 1, 2)]
    assert found[0] == found[1] == found[2]
    drawn = [json.loads(noted(number, "numbers")) for number in (0, 1, 2)]
    assert all(len(set(numbers)) == 3 for numbers in zip(*drawn, strict=True))


@pytest.mark.parametrize("left", ["thread", "child", "limit", "error"])
def test_ranks_that_cannot_be_as_new_are_replaced(worker, noted, left):
    train = worker(objectives.leaves)
    train(0, left=left)
    assert train(1).outcome is Outcome.COMPLETED
    assert noted(0, "pid0") != noted(1, "pid0")
    assert gone(int(noted(0, "pid0")))


def test_ranks_that_died_at_rest_are_replaced(worker, noted):
    train = worker(objectives.pids)
    train(0)
    os.kill(int(noted(0, "pid0")), signal.SIGKILL)
    assert gone(int(noted(0, "pid0")))
    assert train(1).outcome is Outcome.COMPLETED


def test_a_rank_at_rest_obeys_sigterm_at_once(worker, noted):
    train = worker(objectives.pids)
    train(0)
    os.kill(int(noted(0, "pid0")), signal.SIGTERM)
    assert gone(int(noted(0, "pid0")))
    assert train(1).outcome is Outcome.COMPLETED


def test_ranks_are_ended_when_nobody_has_wanted_them_for_long(worker, noted):
    with Barracks(idle=0.0) as barracks:
        train = worker(objectives.pids, barracks)
        train(0)
        assert gone(int(noted(0, "pid0")))
        assert barracks.resting == 0


def test_ranks_are_replaced_after_so_many_jobs(worker, noted):
    with Barracks(jobs=2) as barracks:
        train = worker(objectives.pids, barracks)
        for number in (0, 1, 2):
            train(number)
    assert noted(0, "pid0") == noted(1, "pid0") != noted(2, "pid0")


def test_ranks_of_other_work_are_not_asked(worker, noted, barracks):
    worker(objectives.pids)(0)
    worker(objectives.pids)(1)
    assert noted(0, "pid0") != noted(1, "pid0")
    assert barracks.resting == 1


def test_every_share_of_the_devices_has_ranks_of_its_own(worker, noted, monkeypatch):
    names = ("GPU-5d3a", "MIG-7c1e/1/0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(names))
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    train = worker(objectives.tells_where)
    for number, name in enumerate(names + names):
        train(number, devices=(name,))
        found = json.loads(noted(number, "where0"))
        assert found["CUDA_VISIBLE_DEVICES"] == name
        assert (found["SLURM_PROCID"], found["SLURM_JOB_ID"]) == (None, "17")
    assert noted(0, "pid0") == noted(2, "pid0") != noted(1, "pid0") == noted(3, "pid0")


def test_closing_ends_what_is_still_at_work(stay, barracks):
    long = stay(worker_objectives.sleeps_with_a_child, isolate=True)
    long.tape.answers = {1: barracks.close}
    ending = perform_in_ranks(long.work, long.job, long.tape, Seat(), barracks)
    assert ending.outcome is Outcome.LOST
    assert not ranks_left()
    assert barracks.resting == 0


def test_many_trials_at_once_meet_only_themselves(worker, noted):
    train = worker(objectives.sums, ranks=2)
    endings = {}

    def some(first):
        for number in (first, first + 3):
            endings[number] = train(number)

    threads = [threading.Thread(target=some, args=(first,)) for first in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: how.outcome for number, how in endings.items()} == dict.fromkeys(
        range(1, 7), Outcome.COMPLETED
    )
    assert len({noted(number, f"pid{rank}") for number in range(1, 7) for rank in (0, 1)}) == 6
