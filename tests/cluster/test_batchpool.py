"""A pool of batch jobs, here processes of this machine; on a real Slurm in ``tests/slurm``."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import stat
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed.core import Status

from daskhpo.cluster import prepare as prepare_module
from daskhpo.cluster import shared
from daskhpo.cluster.batch import Phase
from daskhpo.cluster.batchpool import _Watch, batch_of, batch_pool
from daskhpo.cluster.logs import log_tail
from daskhpo.cluster.prepare import prepare
from daskhpo.cluster.processes import Processes
from daskhpo.cluster.script import WorkerNeeds
from daskhpo.cluster.settings import PoolSettings
from daskhpo.cluster.site import Site, load_site
from daskhpo.exceptions import CampaignError

TOKEN = "a1b2c3d4"


def site_of(**options):
    enough = {"cores": 1, "memory": "1GB", "interface": "lo", **options}
    return Site("ours", "slurm", {**load_site(kind="slurm").options, **enough}, node_local=())


class Bench:
    """A campaign directory, and a batch system that runs its batch jobs here."""

    def __init__(self, folder, system):
        self.system = system
        self.directory = folder / "first"
        self.directory.mkdir()
        (self.directory / "campaign.yaml").write_text(f"token: {TOKEN}\n")
        self.told = queue.SimpleQueue()

    @contextlib.contextmanager
    def pool(self, **settings):
        module = settings.pop("module", "")
        settings = PoolSettings(kind="slurm", **{"jobs": 1, **settings})
        with batch_pool(
            settings, site_of(), directory=self.directory, token=TOKEN, module=module
        ) as pool:
            pool.begin(self.told.put, ())
            yield pool

    def ended(self):
        """The first batch job that ends from now on."""
        while True:
            item = self.told.get(timeout=60)
            if item[0] == "batch" and item[1].phase is Phase.ENDED:
                return item[1]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    with Processes(tmp_path / "processes", slots=2) as system:
        monkeypatch.setattr(system, "log", lambda id: "", raising=False)
        monkeypatch.setattr(prepare_module, "make_system", lambda *_, **__: system)
        yield Bench(tmp_path, system)


def names_of(client):
    return sorted(each["name"] for each in client.scheduler_info(-1)["workers"].values())


def test_a_pool_gives_workers_with_keys_and_lets_them_go(bench):
    with bench.pool() as pool:
        client = pool.client
        assert client.cluster.scheduler.loop is client.loop  # the tuner can be called directly
        pool.want(1)
        client.wait_for_workers(1, timeout=60)
        [name] = names_of(client)
        assert (name, pool.batch_of(name)) == ("1-0", "1")
        file = bench.directory / "pool" / "scheduler.json"
        assert json.loads(file.read_text())["address"].startswith("tls://")
        future = client.submit(lambda: None)  # held: an idle worker may have results
        future.result()
        assert client.submit(lambda: os.environ["DASKHPO_BATCH"], pure=False).result() == "1"
        pool.release([name])
        assert bench.ended().state == "COMPLETED"  # by itself
        assert (bench.directory / "pool" / "closed").exists() is False
    assert not file.exists()
    assert (bench.directory / "pool" / "closed").exists()
    jobs = bench.system.jobs(["1", "2"]).values()
    assert all(job.phase is Phase.ENDED for job in jobs)


def test_batch_jobs_that_are_kept_serve_the_next_driver(bench):
    with bench.pool() as pool:
        pool.want(1)
        pool.client.wait_for_workers(1, timeout=60)
        pool.close(keep=True)
    with bench.pool(tls=True) as pool:
        pool.want(1)
        pool.client.wait_for_workers(1, timeout=60)
        assert names_of(pool.client) == ["1-1"]


def test_an_objective_that_workers_cannot_import_is_hopeless_not_endless(bench, monkeypatch):
    monkeypatch.setattr("daskhpo.cluster.keeper.GAP", 0.1)
    with bench.pool(jobs=2, module="no_such_module") as pool:
        pool.want(2)
        while (item := bench.told.get(timeout=120))[0] != "hopeless":
            pass
    assert "have ended before a worker of them connected" in item[1]


def scheduler_with(**workers):
    """Just enough of a scheduler: {name: (status, tasks)}."""
    later = []
    states = {
        name: SimpleNamespace(name=name.replace("_", "-")[1:], status=status, processing=tasks)
        for name, (status, tasks) in workers.items()
    }
    loop = SimpleNamespace(call_later=lambda _, look: later.append(look))
    return SimpleNamespace(workers=states, loop=loop, later=later)


class Heard:
    """A keeper that writes down what it is told."""

    def __init__(self):
        self.words = []

    def __getattr__(self, word):
        return lambda id: self.words.append((word, id))


def test_the_keeper_hears_of_workers_when_they_are_ready_and_of_changes_only():
    heard = Heard()
    scheduler = scheduler_with(w17_0=(Status.init, ()), w18_0=(Status.running, {"task"}))
    watch = _Watch(heard, scheduler)
    watch.look()
    assert heard.words == [("connected", "18"), ("busy", "18")]
    watch.look()
    [look] = scheduler.later  # once, however often it was looked
    scheduler.workers["w17_0"].status = Status.running
    scheduler.workers["w18_0"].processing = ()
    look()
    assert heard.words[2:] == [("connected", "17"), ("idle", "17"), ("idle", "18")]
    watch.look()
    assert len(heard.words) == 5


def test_batch_jobs_are_read_from_worker_names():
    assert [batch_of(name) for name in ("17-3", "12.host-1.site-0", "x")] == [
        "17",
        "12.host-1.site",
        "",
    ]


# ---------------------------------------------------------------------- before anything is queued


@pytest.fixture
def refused(bench, monkeypatch):
    """Why a pool is not prepared; nothing may be submitted for that."""
    monkeypatch.setattr(bench.system, "submit", None, raising=False)

    def why(site, directory=bench.directory, **settings):
        needs = WorkerNeeds(directory, TOKEN)
        with pytest.raises(CampaignError) as caught:
            prepare(PoolSettings(**{"kind": "slurm"} | settings), site, needs)
        return str(caught.value)

    return why


def test_a_campaign_on_a_disk_of_one_node_is_refused(refused, tmp_path):
    site = replace(site_of(), node_local=(str(tmp_path),))
    message = refused(site)
    assert message.startswith(f"campaign directory {tmp_path}/first: every node has its own")
    assert "choose a path on a file system that all nodes share" in message
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    assert "every node has its own" in refused(site, link / "first")


def test_a_campaign_in_memory_is_refused(refused, monkeypatch):
    monkeypatch.setattr(shared, "_file_system", lambda path: "tmpfs")
    site = replace(site_of(), node_local=("/nowhere",))
    assert "it lies in the memory of this machine (tmpfs)" in refused(site)


def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(small_disk):
    assert shared._file_system(small_disk / "not" / "there") == "tmpfs"
    assert shared._file_system(Path("/proc/self")) == "proc"


def test_a_python_on_a_disk_of_one_node_is_refused(refused):
    site = replace(site_of(), node_local=(sys.prefix,))
    message = refused(site)
    assert message.startswith(f"Python {sys.executable}: every node has its own {sys.prefix}")
    assert "jobqueue.ours.python" in message


def test_an_interface_that_the_driver_does_not_have_is_refused(refused, bench):
    assert "interface='ib7': this machine has" in refused(site_of(interface="ib7"))
    fine = site_of(interface="ib7", scheduler_options={"interface": "lo"})
    fine.options["scheduler-options"] = {"interface": "lo"}
    shared.check_interface(fine)


def test_a_site_of_another_kind_is_refused(refused):
    assert "pool.kind='pbs': site 'ours' is a slurm" in refused(site_of(), kind="pbs")


def test_preparing_makes_keys_unless_told_not_to(bench):
    needs = WorkerNeeds(bench.directory, TOKEN)
    _, script, security = prepare(PoolSettings(kind="slurm", tls=False), site_of(), needs)
    assert security is None
    assert "tls" not in script
    _, script, security = prepare(PoolSettings(kind="slurm"), site_of(), needs)
    assert "--protocol tls://" in script
    key = Path(security.tls_worker_key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


# ---------------------------------------------------------------------- logs


def test_the_end_of_a_log_is_found_by_the_number_of_the_batch_job(tmp_path):
    name = "hpo-17171717"
    for other in ("170", "117"):
        (tmp_path / f"{name}-{other}.err").write_text("another one's")
    (tmp_path / f"{name}-17.out").write_text("")
    (tmp_path / f"{name}-17.err").write_text("\n".join(f"line {i}" for i in range(1000)))
    tail = log_tail(tmp_path, "17.pbs", name)
    assert tail.startswith(f"{tmp_path}/{name}-17.err:\nline 980\n")
    assert tail.endswith("line 999")
    assert log_tail(tmp_path, "18", name) == log_tail(tmp_path / "none", "17", name) == ""
