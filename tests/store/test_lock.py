"""One writer: the living are never robbed, and of many thieves one wins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from daskhpo.exceptions import LockedError, StoreError
from daskhpo.store import lock as lock_module
from daskhpo.store.lock import Holder, Lock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def gone():
    """A process number that was in use and is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(path, *, age=0.0, **changes):
    """Leave a lock behind as another holder would."""
    holder = replace(Holder.myself(name="feedbeef"), **changes)
    path.write_text(json.dumps(asdict(holder)))
    os.utime(path, (time.time() - age,) * 2)
    return holder


def test_the_second_is_told_who_holds_it_and_what_to_do(path):
    holder = f"process {os.getpid()} on .*remove {path}"
    with Lock(path), pytest.raises(LockedError, match=holder):
        Lock(path).acquire()
    assert not path.exists()


def test_a_released_lock_leaves_nothing_behind_and_can_be_taken_again(path):
    for _ in range(2):
        with Lock(path):
            pass
    assert list(path.parent.iterdir()) == []


def test_the_lock_of_a_process_that_is_gone_is_taken_at_once(path, gone):
    leave(path, pid=gone)
    with Lock(path) as lock:
        lock.held()
    assert list(path.parent.iterdir()) == []


def test_the_lock_of_a_process_number_that_was_given_anew_is_taken_at_once(path):
    leave(path, started=1)
    with Lock(path) as lock:
        lock.held()


def test_the_lock_of_a_killed_process_nobody_waited_for_is_taken(path):
    zombie = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    leave(path, pid=zombie.pid, started=lock_module._start_of(zombie.pid))
    with pytest.raises(LockedError):
        Lock(path).acquire()
    zombie.stdin.write(b"\n")
    zombie.stdin.close()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it ended, and stays a corpse
    with Lock(path) as lock:
        lock.held()
    zombie.wait()


def test_a_living_process_on_this_machine_is_never_robbed(path):
    leave(path, age=1e6)
    with pytest.raises(LockedError):
        Lock(path, stale_after=1.0).acquire()


@pytest.mark.parametrize("elsewhere", ["host", "boot_id", "pid_namespace"])
def test_a_holder_elsewhere_is_robbed_by_age_alone(path, gone, elsewhere):
    leave(path, age=30, pid=gone, **{elsewhere: "elsewhere"})
    with pytest.raises(LockedError):
        Lock(path, stale_after=60.0).acquire()
    leave(path, age=90, pid=os.getpid(), **{elsewhere: "elsewhere"})
    with Lock(path, stale_after=60.0) as lock:
        lock.held()


def test_age_is_measured_on_the_file_systems_clock(path, monkeypatch):
    leave(path, age=30, host="elsewhere")
    monkeypatch.setattr(time, "time", lambda: 1e12)  # this host's clock is far ahead
    with pytest.raises(LockedError):
        Lock(path, stale_after=60.0).acquire()


def test_refreshing_keeps_a_lock_young(path):
    with Lock(path) as lock:
        os.utime(path, (0, 0))
        lock.refresh()
        assert time.time() - path.stat().st_mtime < 60


def test_the_robbed_notice_and_do_not_release_what_is_not_theirs(path):
    lock = Lock(path)
    lock.acquire()
    thief = leave(path, host="elsewhere", pid=7)
    for notice in (lock.held, lock.refresh):
        with pytest.raises(LockedError, match=r"taken over by process 7 on elsewhere"):
            notice()
    lock.release()
    assert json.loads(path.read_text())["uuid"] == thief.uuid


def test_a_removed_lock_is_noticed(path):
    lock = Lock(path)
    lock.acquire()
    path.unlink()
    with pytest.raises(LockedError, match="was removed"):
        lock.held()


def test_a_lock_that_was_not_acquired_is_not_held(path):
    with pytest.raises(LockedError, match="acquire it first"):
        Lock(path).held()


@pytest.mark.parametrize("text", ["", '{"uuid": "ab', "[]", '{"other": 1}'])
def test_a_half_written_lock_is_stale_by_age_alone(path, text):
    path.write_text(text)
    with pytest.raises(LockedError):
        Lock(path).acquire()
    os.utime(path, (0, 0))
    with Lock(path) as lock:
        lock.held()


def test_a_thief_that_died_on_the_way_is_no_obstacle(path, gone):
    victim = leave(path, pid=gone)
    leave(path.with_name(f"lock.{victim.uuid}"), pid=gone, uuid="cafe")
    with Lock(path) as lock:
        lock.held()
    assert list(path.parent.iterdir()) == []


def test_a_thief_at_work_comes_first(path, gone):
    victim = leave(path, pid=gone)
    leave(path.with_name(f"lock.{victim.uuid}"), uuid="cafe")
    with pytest.raises(LockedError):
        Lock(path).acquire()


def test_who_judged_before_a_theft_does_not_rob_the_thief(path, gone):
    late = Lock(path)
    victim = leave(path, pid=gone)
    with Lock(path) as winner:
        late._remove(victim)  # it had read the victim's lock when that was still there
        winner.held()


def test_a_forked_child_does_not_release_its_parents_lock(path):
    with Lock(path) as lock:
        child = os.fork()
        if child == 0:
            lock.release()
            os._exit(0)
        os.waitpid(child, 0)
        lock.held()


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"cannot lock .*nowhere/lock.*check the path"):
        Lock(tmp_path / "nowhere" / "lock").acquire()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_stale_after_must_be_positive(path, seconds):
    with pytest.raises(StoreError, match="stale_after must be more than 0"):
        Lock(path, stale_after=seconds)


RACER = """
import os, sys, time
from daskhpo.exceptions import LockedError
from daskhpo.store.lock import Lock
for line in sys.stdin:                      # one round a line: the path of its lock
    path, start = line.split()
    lock = Lock(path, stale_after=5.0)
    time.sleep(max(0.0, float(start) - time.time()))
    try:
        lock.acquire()
        answer = "won"
    except LockedError:
        answer = "lost"
    print(answer, flush=True)
"""


@pytest.mark.parametrize("why_stale", ["gone", "age", "half-written"])
def test_of_twenty_processes_racing_for_a_stale_lock_exactly_one_wins(tmp_path, gone, why_stale):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(20)
    ]
    try:
        for number in range(6):
            path = tmp_path / f"lock{number}"
            if why_stale == "gone":
                leave(path, pid=gone)
            elif why_stale == "age":
                leave(path, host="elsewhere", age=100)
            else:
                path.write_text("")
                os.utime(path, (0, 0))
            start = time.time() + 0.1
            for racer in racers:
                racer.stdin.write(f"{path} {start}\n")
                racer.stdin.flush()
            answers = [racer.stdout.readline().strip() for racer in racers]
            assert sorted(answers) == ["lost"] * 19 + ["won"]
            assert json.loads(path.read_text())["pid"] == racers[answers.index("won")].pid
        assert sorted(p.name for p in tmp_path.iterdir()) == [f"lock{n}" for n in range(6)]
    finally:
        for racer in racers:
            racer.stdin.close()
            racer.wait()
            racer.stdout.close()
