"""Batch jobs that are processes of this machine."""

from __future__ import annotations

import os
import signal
import time

import pytest

from daskhpo.cluster.batch import Blame, Phase, SubmitError
from daskhpo.cluster.processes import Processes
from daskhpo.exceptions import CampaignError
from daskhpo.testing.batch import BatchSuite


class TestProcesses(BatchSuite):
    crowd = 2

    @pytest.fixture(autouse=True)
    def _make(self, tmp_path):
        with Processes(tmp_path / "batch", slots=self.crowd, grace=0.2) as self.processes:
            yield

    def make(self):
        return self.processes


@pytest.fixture
def processes(tmp_path):
    """Make a batch system in this test's directory."""
    made = []

    def make(**settings):
        made.append(Processes(tmp_path / "batch", **settings))
        return made[-1]

    yield make
    for system in made:
        system.close()


def wait(system, id, phase=Phase.ENDED):
    while (job := system.jobs([id])[id]).phase is not phase:
        time.sleep(0.01)
    return job


def wait_for(path):
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    return path.read_text()


def gone(pid):
    """Whether a process is dead, though nobody may have buried it."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_what_is_written_goes_to_its_logs(processes):
    system = processes()
    id = system.submit("echo fine; echo not >&2")
    wait(system, id)
    assert (system.directory / f"{id}.out").read_text() == "fine\n"
    assert system.log(id) == "not\n"


def test_a_script_knows_its_id_and_when_it_ends(processes):
    system = processes(walltime=600.0)
    id = system.submit("echo $PROCESSES_JOB_ID $PROCESSES_JOB_END_TIME")
    job = wait(system, id)
    told, ends = (system.directory / f"{id}.out").read_text().split()
    assert told == id
    assert int(ends) == round(job.ends)
    assert job.ends == job.began + 600


def test_one_that_runs_beyond_its_walltime_is_ended_by_the_system(processes):
    system = processes(walltime=0.2)
    job = wait(system, system.submit("sleep 600"))
    assert (job.state, job.blame) == ("TIMEOUT", Blame.SYSTEM)
    assert job.ended >= job.ends


def test_one_that_somebody_kills_is_nobodys_doing(processes):
    system = processes()
    id = system.submit("sleep 600")
    wait(system, id, Phase.RUNNING)
    os.kill(system.pid(id), signal.SIGKILL)
    job = wait(system, id)
    assert (job.state, job.reason, job.blame) == ("KILLED", "SIGKILL", Blame.UNKNOWN)
    with pytest.raises(KeyError):
        system.pid(id)


def test_one_that_is_cancelled_has_time_to_clean_up(processes):
    system = processes(grace=60.0)
    id = system.submit("trap 'echo saved; exit 0' TERM; echo ready\nwhile :; do sleep 0.01; done")
    out = system.directory / f"{id}.out"
    wait(system, id, Phase.RUNNING)
    wait_for(out)
    system.cancel([id])
    job = wait(system, id)
    assert (job.state, job.blame) == ("CANCELLED", Blame.SYSTEM)
    assert out.read_text() == "ready\nsaved\n"


def test_also_what_the_script_has_started_has_that_time(processes):
    system = processes(grace=60.0)
    child = "trap 'sleep 0.3; echo saved; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    id = system.submit(f'bash -c "{child}"; true')
    out = system.directory / f"{id}.out"
    wait(system, id, Phase.RUNNING)
    wait_for(out)
    system.cancel([id])
    wait(system, id)
    assert out.read_text() == "ready\nsaved\n"


def test_one_that_does_not_listen_is_killed(processes):
    system = processes(grace=0.1)
    id = system.submit("trap '' TERM; echo ready; sleep 600 & wait; sleep 600")
    wait(system, id, Phase.RUNNING)
    wait_for(system.directory / f"{id}.out")
    pid = system.pid(id)
    system.cancel([id])
    assert wait(system, id).state == "CANCELLED"
    assert gone(pid)


def test_what_a_script_leaves_running_is_killed_when_it_ends(processes):
    system = processes()
    id = system.submit("sleep 600 & echo $!")
    wait(system, id)
    pid = (system.directory / f"{id}.out").read_text().strip()
    while not gone(pid):
        time.sleep(0.01)


def test_first_come_first_served(processes):
    system = processes(slots=1)
    ids = [system.submit("sleep 0.1") for _ in range(4)]
    jobs = [wait(system, id) for id in ids]
    assert [job.began for job in jobs] == sorted(job.began for job in jobs)
    for one, other in zip(jobs, jobs[1:], strict=False):
        assert one.ended <= other.began


def test_nothing_is_left_when_it_is_closed(processes):
    system = processes(slots=1)
    ids = [system.submit("sleep 600") for _ in range(3)]
    wait(system, ids[0], Phase.RUNNING)
    pid = system.pid(ids[0])
    system.close()
    assert gone(pid)
    assert {job.state for job in system.jobs(ids).values()} == {"CANCELLED"}
    with pytest.raises(SubmitError, match="closed"):
        system.submit("true")


def test_a_second_one_in_the_same_directory_goes_on_counting(processes):
    first = processes()
    wait(first, first.submit("true"))
    second = processes()
    assert second.submit("true") == "2"


def test_a_directory_that_cannot_be_written_is_named(processes):
    system = processes()
    os.rename(system.directory, system.directory.with_name("elsewhere"))
    with pytest.raises(SubmitError, match=r"directory='.*batch': must be writable") as refusal:
        system.submit("true")
    assert refusal.value.final


def test_a_script_with_a_mistake_does_not_pass_the_check(processes):
    with pytest.raises(CampaignError, match="no bash script"):
        processes().check("for x in")
