"""A pool of batch jobs on a real Slurm of virtual nodes: they come, are replaced, stay, and go."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from daskhpo.cluster.batch import Blame, Phase
from daskhpo.cluster.batchpool import batch_pool
from daskhpo.cluster.settings import PoolSettings
from daskhpo.cluster.site import load_site
from daskhpo.exceptions import CampaignError

TOKEN = "5eedf00d"
REPOSITORY = Path(__file__).resolve().parents[2]

# A driver that is killed as soon as it has a worker.
DOOMED = """
import os, signal, sys
from tests.slurm.test_pool import Bench
with Bench(sys.argv[1]).pool(jobs=1) as pool:
    pool.want(1)
    pool.client.wait_for_workers(1, timeout=100)
    os.kill(os.getpid(), signal.SIGKILL)
"""
# A driver that is a batch job itself, of another shape than those it submits.
WITHIN = """
import sys
from tests.slurm.test_pool import Bench, names_of
with Bench(sys.argv[1]).pool(jobs=1) as pool:
    pool.want(1)
    pool.client.wait_for_workers(1, timeout=100)
    print("worker", *names_of(pool.client))
"""


class Bench:
    """A campaign directory on the test Slurm."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.told = queue.SimpleQueue()
        self.site = load_site(REPOSITORY / "jobqueue" / "test-slurm.yaml")

    def create(self):
        self.directory.mkdir()
        (self.directory / "campaign.yaml").write_text(f"token: {TOKEN}\n")
        return self

    @contextlib.contextmanager
    def pool(self, *, known=(), site=None, resources=None, **settings):
        settings = PoolSettings(kind="slurm", **{"idle": 2.0, **settings})
        where = {"directory": self.directory, "token": TOKEN, "resources": resources}
        with batch_pool(settings, site or self.site, **where) as pool:
            pool.begin(self.told.put, known)
            yield pool

    def next(self, what):
        """The next item that is so."""
        while not what(item := self.told.get(timeout=100)):
            pass
        return item

    def queued(self):
        """Ids that Slurm lists under the campaign's name."""
        command = ["squeue", "--noheader", "--name", f"hpo-{TOKEN}", "--format", "%i"]
        return subprocess.check_output(command, text=True).split()

    def start(self, code):
        """A driver in a process of its own."""
        environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.Popen([sys.executable, "-c", code, self.directory], env=environ)


@pytest.fixture
def bench(slurm, tmp_path):
    bench = Bench(tmp_path / "first").create()
    yield bench
    if left := bench.queued():
        subprocess.run(["scancel", *left], check=True)


def names_of(client):
    return sorted(each["name"] for each in client.scheduler_info(-1)["workers"].values())


def until(ready):
    deadline = time.monotonic() + 100
    while not (told := ready()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return told


def ended(item):
    return item[0] == "batch" and item[1].phase is Phase.ENDED


def test_workers_come_with_keys_gpus_and_an_end_and_leave_an_empty_queue(bench):
    with bench.pool(jobs=2, gpus=2, resources={"gpu": 1.0}) as pool:
        pool.want(5)  # more than there may be
        client = pool.client
        client.wait_for_workers(2, timeout=100)
        ids = bench.queued()
        assert len(ids) == 2
        assert names_of(client) == sorted(f"{id}-0" for id in ids)
        assert all(address.startswith("tls://") for address in client.scheduler_info()["workers"])
        environs = client.run(lambda: dict(os.environ))
        assert {each["DASKHPO_BATCH"] for each in environs.values()} == set(ids)
        assert all(each["CUDA_VISIBLE_DEVICES"].count(",") == 1 for each in environs.values())
        left = [float(each["DASKHPO_ENDS"]) - time.time() for each in environs.values()]
        assert all(0 < seconds <= pool.lifetime for seconds in left)
        assert client.submit(lambda: 1 + 1, resources={"gpu": 1}).result() == 2
        begun = {file.name for file in (bench.directory / "pool" / "logs").iterdir()}
        assert {f"hpo-{TOKEN}-{id}.err" for id in ids} <= begun
    assert bench.queued() == []


def test_a_cancelled_batch_job_is_explained_and_replaced(bench):
    with bench.pool(jobs=2) as pool:
        pool.want(2)
        pool.client.wait_for_workers(2, timeout=100)
        [victim, other] = names_of(pool.client)
        subprocess.run(["scancel", pool.batch_of(victim)], check=True)
        until(lambda: victim not in names_of(pool.client))
        pool.inquire(victim)
        *_, job = bench.next(lambda item: item[:2] == ["fate", victim])
        assert (job.state, job.blame) == ("CANCELLED", Blame.SYSTEM)
        new = until(lambda: len(names := names_of(pool.client)) == 2 and names)
        assert other in new
        assert victim not in new


def test_workers_that_nothing_is_left_for_are_let_go_and_come_back(bench):
    with bench.pool(jobs=1) as pool:
        pool.want(1)
        pool.client.wait_for_workers(1, timeout=100)
        finished = bench.directory / "finished"
        busy = pool.client.submit(lambda: (time.sleep(4), finished.touch()))
        pool.want(0)
        *_, job = bench.next(ended)
        assert finished.exists()  # one that works is never cancelled
        busy.cancel()
        assert bench.queued() == []
        pool.want(1)
        pool.client.wait_for_workers(1, timeout=100)
        assert pool.batch_of(*names_of(pool.client)) != job.id


def test_a_worker_that_is_released_ends_its_batch_job_itself(bench):
    with bench.pool(jobs=1, submissions=1) as pool:
        pool.want(1)
        pool.client.wait_for_workers(1, timeout=100)
        pool.release(names_of(pool.client))
        assert bench.next(ended)[1].state == "COMPLETED"


def test_batch_jobs_of_a_killed_driver_serve_the_next(bench):
    assert bench.start(DOOMED).wait(timeout=200) == -signal.SIGKILL
    [id] = bench.queued()
    with bench.pool(jobs=1) as pool:
        pool.want(1)
        pool.client.wait_for_workers(1, timeout=100)
        assert names_of(pool.client) == [f"{id}-1"]
        assert bench.queued() == [id]
        pool.close(keep=True)
    assert bench.queued() == [id]
    with bench.pool(jobs=1) as pool:
        pool.want(1)
        pool.client.wait_for_workers(1, timeout=100)
        assert names_of(pool.client) == [f"{id}-2"]
    assert bench.queued() == []


def test_a_driver_can_be_a_batch_job_itself(bench):
    log = bench.directory / "driver.log"
    script = bench.directory / "driver.sh"
    code = bench.directory / "driver.py"
    code.write_text(WITHIN)
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {code} {bench.directory}\n")
    command = ["sbatch", "--wait", "--gpus-per-node=1", "--mem=500", "--time=5", "--ntasks=2"]
    command += [f"--output={log}", f"--export=ALL,PYTHONPATH={REPOSITORY}", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, log.read_text()
    assert "worker" in log.read_text()
    assert bench.queued() == []


def test_nodes_that_fail_the_sites_check_are_hopeless_and_say_why(bench):
    broken = replace(bench.site, check="echo the GPU has fallen off the bus; exit 7")
    with bench.pool(jobs=2, site=broken) as pool:
        pool.want(2)
        text = bench.next(lambda item: item[0] == "hopeless")[1]
    assert "the GPU has fallen off the bus" in text
    assert "is broken: the site's check" in text


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"queue": "nowhere"}, "pool.queue"), ({"gpus": 64}, "pool.gpus")],
)
def test_what_slurm_would_refuse_is_refused_before_anything_is_queued(bench, settings, named):
    with pytest.raises(CampaignError, match=named), bench.pool(**settings):
        pass
    assert bench.queued() == []


def test_a_campaign_in_no_shared_directory_is_found_out_by_the_batch_job(bench):
    """The best that can be done where the site file does not say which disks are local."""
    hidden = f"mv {bench.directory}/campaign.yaml {bench.directory}/elsewhere"
    prologue = [*bench.site.options["job-script-prologue"], f"{hidden} || true"]
    site = replace(bench.site, options={**bench.site.options, "job-script-prologue": prologue})
    with bench.pool(jobs=1, site=site) as pool:
        pool.want(1)
        text = bench.next(lambda item: item[0] == "hopeless")[1]
    assert f"sees no campaign {TOKEN} in {bench.directory}" in text
