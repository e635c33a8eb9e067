"""Dask's semi-private names do what the wires need; the wires bring everything where it belongs."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import secrets
import signal
import time

import objectives
import pytest
from distributed import Client, LocalCluster, SchedulerPlugin, get_worker
from distributed.batched import BatchedSend
from distributed.scheduler import TaskState

from daskhpo.trial import Decision, Job
from daskhpo.worker.desk import PLUGIN, Desk
from daskhpo.worker.ranks import Barracks
from daskhpo.worker.switchboard import (
    Line,
    Switchboard,
    key_of,
    place_of,
)
from daskhpo.worker.work import Work

JOB = Job(12, 1, 2, 3, 9, {"x": 0.5})


def test_the_key_of_a_job_reads_well_and_leads_back_to_it():
    key = key_of("abc", JOB)
    assert key.startswith("rung2-00012-a1-")
    assert place_of(key) == (12, 1, 0)
    assert place_of(key_of("abc", JOB, node=3)) == (12, 1, 3)
    for other in ("sum-0123", "x", "", "rung2-x-a1", "rung2-1-a1", "('sum', 3)"):
        assert place_of(other) is None


# ---------------------------------------------------------------------- the contract with Dask


class _Echo(SchedulerPlugin):
    """Passes what a worker's stream brings on to a client, and back."""

    name = "test-echo"
    idempotent = True

    async def start(self, scheduler):
        self.scheduler = scheduler
        scheduler.stream_handlers["test-up"] = self.up
        scheduler.stream_handlers["test-down"] = self.down

    def up(self, text, worker):
        for comm in self.scheduler.client_comms.values():
            comm.send({"op": "test-up-client", "text": text, "worker": worker})

    def down(self, text, client):
        for comm in self.scheduler.stream_comms.values():
            comm.send({"op": "test-down-worker", "text": f"{text} of {bool(client)}"})


def test_streams_between_client_scheduler_and_workers_can_be_joined(client):
    assert isinstance(client.cluster.scheduler.stream_comms, dict)
    assert isinstance(client.cluster.scheduler.client_comms, dict)
    client.register_plugin(_Echo())
    heard: queue.Queue = queue.Queue()
    client._stream_handlers["test-up-client"] = lambda text, worker: heard.put((text, worker))

    def join(dask_worker):
        worker = dask_worker
        assert isinstance(worker.batched_stream, BatchedSend)
        got = worker.test_got = queue.Queue()
        worker.stream_handlers["test-down-worker"] = lambda text, **_: got.put(text)

    def say(text, dask_worker):
        worker = dask_worker
        worker.loop.add_callback(worker.batched_stream.send, {"op": "test-up", "text": text})

    workers = list(client.scheduler_info()["workers"])
    client.run(join)
    client.run(say, "hello", workers=workers[:1])
    assert heard.get(timeout=10) == ("hello", workers[0])
    client.loop.add_callback(client._send_to_scheduler, {"op": "test-down", "text": "word"})
    heard_there = client.submit(lambda: get_worker().test_got.get(timeout=10), pure=False)
    assert heard_there.result() == "word of True"
    del client._stream_handlers["test-up-client"]
    client.unregister_scheduler_plugin("test-echo")


def test_what_is_set_on_tasks_exists():
    assert {"suspicious", "has_lost_dependencies"} <= set(TaskState.__slots__)


def test_the_scheduler_says_how_often_a_task_may_lose_its_worker(client):
    assert client.cluster.scheduler.allowed_failures >= 0


class _Marker(SchedulerPlugin):
    """Does to every task what the switchboard does to its jobs."""

    name = "test-marker"

    async def start(self, scheduler):
        self.scheduler = scheduler
        self.seen = []

    def transition(self, key, start, finish, *args, **kwargs):
        self.seen.append((key, start, finish, kwargs.get("exception_text")))
        if finish == "processing":
            self.scheduler.tasks[key].suspicious = self.scheduler.allowed_failures
            self.scheduler.tasks[key].has_lost_dependencies = True


@pytest.mark.kills
@pytest.mark.parametrize("gracefully", [False, True])
def test_a_task_that_was_marked_never_runs_again(tmp_path, gracefully):
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        marker = _Marker()
        client.register_plugin(marker)
        marker = cluster.scheduler.plugins["test-marker"]

        def note(name, seconds):
            with open(tmp_path / name, "a") as file:
                file.write("ran\n")
            time.sleep(seconds)

        first = next(iter(client.scheduler_info()["workers"]))
        done = client.submit(note, "done", 0, workers=[first], allow_other_workers=True)
        done.result()
        running = client.submit(note, "running", 600, workers=[first], allow_other_workers=True)
        while not (tmp_path / "running").exists():
            time.sleep(0.02)
        keys = client.processing()
        (holder,) = [address for address, tasks in keys.items() if running.key in tasks]
        if gracefully:
            client.sync(
                client.scheduler.retire_workers, workers=[holder], remove=True, close_workers=False
            )
        else:
            os.kill(client.run(os.getpid, workers=[holder])[holder], signal.SIGKILL)
        while not any(
            key == running.key and start == "processing" for key, start, *_ in marker.seen
        ):
            time.sleep(0.02)
        time.sleep(1.0)
        assert (tmp_path / "running").read_text() == "ran\n"
        assert (tmp_path / "done").read_text() == "ran\n"
        (end,) = [
            (finish, text)
            for key, start, finish, text in marker.seen
            if key == running.key and start == "processing"
        ]
        assert end == (("released" if gracefully else "erred"), None)


# ---------------------------------------------------------------------- the wires


def far(client):
    """A client that does not share the scheduler's event loop."""
    return Client(client.scheduler.address)


class Lines:
    """Makes lines that put what they receive into queues, each with a campaign of its own."""

    def __init__(self, client, path, near):
        self.client, self.path, self.near = client, path, near
        self.open = []
        self.futures = []

    def __call__(self, objective, *, campaign=None, on=None, grace=10.0):
        mine = on or (self.client if self.near else far(self.client))
        heard: queue.Queue = queue.Queue()
        campaign = campaign or secrets.token_hex(4)
        work = Work(campaign, objective, "loss", 9, 0, str(self.path))
        line = Line(mine, work, lambda worker, items: heard.put((worker, items)), grace=grace)
        self.open.append(line)
        assert (line._switchboard is not None) == (mine is self.client)
        return line, heard

    def submit(self, line, number=0, stop=9):
        """Start a job of a trial, and hold on to its future: Dask drops what nobody wants."""
        job = Job(number, 0, 0, 0, stop, {"x": 0.3})
        self.futures += line.submit(job)
        return self.futures[-1]

    def close(self, line):
        self.open.remove(line)
        line.close()
        if line.client is not self.client:
            line.client.close()

    def drop(self, line):
        """As if the tuner's process had died."""
        self.open.remove(line)
        line.client.close()


@pytest.fixture(params=["near", "far"])
def line_of(request, client, tmp_path):
    lines = Lines(client, tmp_path, request.param == "near")
    yield lines
    for line in reversed(lines.open.copy()):
        lines.close(line)


def items_until(heard, kind, timeout=20):
    """[(worker, item)] up to the first of a kind."""
    items = []
    while True:
        worker, batch = heard.get(timeout=timeout)
        items += [(worker, item) for item in batch]
        if any(item[0] == kind for item in batch):
            return items


def test_a_job_goes_out_and_its_reports_and_its_end_come_back_in_order(line_of):
    line, heard = line_of(objectives.quick)
    workers = dict(item for _, item in items_until(heard, "workers"))["workers"]
    assert sorted(threads for _, threads, _ in workers.values()) == [1, 1]
    future = line_of.submit(line, 0, 9)
    items = items_until(heard, "ended")
    assert {worker for worker, _ in items} <= set(workers)
    kinds = [item[0] for _, item in items]
    assert kinds == ["started", *["report"] * 9, "ended"]
    assert [item[3] for _, item in items if item[0] == "report"] == list(range(1, 10))
    assert list(items[-1][1][1:4]) == [0, 0, "completed"]
    assert future.result() is None


def test_a_trial_waits_for_its_answer_and_does_what_it_says(line_of):
    line, heard = line_of(objectives.quick)
    line_of.submit(line, 0, 3)
    items = items_until(heard, "report")
    while items[-1][1][3] < 3:
        items += items_until(heard, "report")
    worker = items[-1][0]
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.3)
    line.order(
        [
            [worker, "answer", 0, 0, Decision.CONTINUE.value, 5],
            [worker, "answer", 9, 9, "stop", 5],
        ]
    )
    while items[-1][1][3] < 5:
        items += items_until(heard, "report")
    line.order([[worker, "answer", 0, 0, Decision.STOP.value, 5]])
    (ended,) = [item for _, item in items_until(heard, "ended") if item[0] == "ended"]
    assert ended[3] == "stopped"


@pytest.mark.parametrize("how", ["goodbye", "gone"])
def test_without_a_tuner_trials_pause_after_the_grace(client, tmp_path, how):
    lines = Lines(client, tmp_path, near=False)
    line, heard = lines(objectives.slow)
    # The switchboard was registered by whoever came first; its grace is that of the cluster.
    client.cluster.scheduler.plugins[PLUGIN].grace = 0.1
    lines.submit(line, 0, 9)
    items_until(heard, "report")
    (lines.close if how == "goodbye" else lines.drop)(line)
    deadline = time.monotonic() + 20
    while not list(tmp_path.rglob("*.ckpt")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert 1 <= len(objectives.trained(tmp_path, 0)) < 9


def test_a_tuner_that_was_replaced_is_not_listened_to(client, tmp_path):
    lines = Lines(client, tmp_path, near=False)
    old, _ = lines(objectives.quick, campaign="same")
    new, heard = lines(objectives.quick, campaign="same")
    items_until(heard, "workers")
    lines.submit(new, 0, 3)
    items = items_until(heard, "report")
    while items[-1][1][3] < 3:
        items += items_until(heard, "report")
    old.order([[items[-1][0], "answer", 0, 0, "stop", 3]])
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.5)
    new.order([[items[-1][0], "answer", 0, 0, "continue", 9]])
    assert items_until(heard, "ended")[-1][1][3] == "completed"
    lines.close(new)
    lines.drop(old)


def test_two_campaigns_on_one_cluster_hear_only_their_own(line_of):
    first, heard_first = line_of(objectives.quick, campaign="one")
    second, heard_second = line_of(objectives.quick, campaign="two")
    line_of.submit(first, 1, 9)
    line_of.submit(second, 2, 9)
    for heard, number in ((heard_first, 1), (heard_second, 2)):
        items = [item for _, item in items_until(heard, "ended") if item[0] != "workers"]
        assert {item[1] for item in items} == {number}


def test_a_task_that_fails_before_the_objective_begins_is_lost_with_its_reason(line_of):
    line, heard = line_of(objectives.quick)
    line.client.unregister_worker_plugin(line._desk.name)
    line_of.submit(line, 0, 9)
    (lost,) = [item for _, item in items_until(heard, "lost") if item[0] == "lost"]
    assert place_of(lost[1]) == (0, 0, 0)
    assert PLUGIN in lost[2]
    line.client.register_plugin(line._desk)  # to be closed


@pytest.mark.kills
def test_a_job_whose_worker_dies_is_lost_at_once_and_without_a_reason(line_of):
    line, heard = line_of(objectives.dies_always)
    line_of.submit(line, 4)
    (lost,) = [item for _, item in items_until(heard, "lost") if item[0] == "lost"]
    assert (place_of(lost[1]), lost[2]) == ((4, 0, 0), "")


def test_closing_leaves_nothing_on_the_cluster(client, line_of):
    line, _ = line_of(objectives.quick, campaign="passing")
    line_of.close(line)
    names = client.run(lambda dask_worker: list(dask_worker.plugins))
    assert not any("passing" in name for each in names.values() for name in each)
    switchboard = client.cluster.scheduler.plugins[PLUGIN]
    deadline = time.monotonic() + 10
    while "passing" in switchboard.clients:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "passing" not in switchboard.near


def test_a_desk_lets_its_trials_leave_before_it_goes():
    class Wire:
        interrupted = False

        def interrupt(self):
            self.interrupted = True

    desk, wire = Desk(Work("t", None, "loss", 9, 0, ".")), Wire()
    desk.wires = {(0, 0): wire}
    desk._barracks = Barracks()

    async def leave():
        teardown = asyncio.create_task(desk.teardown(None))
        await asyncio.sleep(0.2)
        assert wire.interrupted
        assert not teardown.done()
        desk.wires.clear()
        await asyncio.wait_for(teardown, 5)

    asyncio.run(leave())


def test_the_switchboard_is_registered_once_whatever_comes_later(client):
    plugin = client.cluster.scheduler.plugins.get(PLUGIN)
    client.register_plugin(Switchboard(grace=99.0))
    after = client.cluster.scheduler.plugins[PLUGIN]
    assert plugin is None or after is plugin
