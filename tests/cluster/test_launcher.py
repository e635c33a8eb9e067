"""What runs in a batch job, with a stand-in for Dask's worker, so that each takes a moment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from daskhpo.cluster.launcher import BLIND, BROKEN, _catches
from daskhpo.cluster.within import end_of

REPOSITORY = Path(__file__).resolve().parents[2]

# As `dask worker` to the launcher: it writes down how it was started, then does as WORKER says.
WORKER = """
import json, os, pathlib, signal, sys, time
log = pathlib.Path(os.environ["WORKER_LOG"])
def tell(what):
    with open(log, "a") as file: file.write(json.dumps(what) + "\\n")
def handle(number, frame):
    signal.signal(number, signal.SIG_DFL)  # as Dask: a second one kills
    tell("asked to end")
    global asked
    asked = True
asked = False
signal.signal(signal.SIGTERM, handle)
ours = {k: os.environ[k] for k in ("DASKHPO_BATCH", "DASKHPO_ENDS") if k in os.environ}
tell({"arguments": sys.argv[1:], "environ": ours, "pid": os.getpid()})
exec(os.environ["WORKER"])
"""
LINGER = "while not asked: time.sleep(0.01)\ntime.sleep(1.5); tell('closed')"


class Scheduler:
    """Something that lives at an address and, as Dask's servers, speaks first."""

    def __init__(self, file, greeting=b"hello"):
        self.greeting = greeting
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()
        file.write_text(json.dumps({"address": self.address, "type": "Scheduler"}))

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                connection.sendall(self.greeting)
                connection.close()

    def die(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


class Bench:
    """A campaign directory, and a launcher in it."""

    def __init__(self, folder):
        self.campaign = folder / "first"
        (self.campaign / "pool").mkdir(parents=True)
        (self.campaign / "campaign.yaml").write_text("schema_version: 1\ntoken: '12345678'\n")
        self.file = self.campaign / "pool" / "scheduler.json"
        self.log = folder / "worker.log"
        fake = folder / "fake" / "distributed" / "cli"
        fake.mkdir(parents=True)
        (fake / "__init__.py").touch()
        (fake.parent / "__init__.py").touch()
        (fake / "dask_worker.py").write_text(WORKER)
        self.path = f"{folder / 'fake'}:{REPOSITORY}"

    def start(self, worker="", *arguments, token="12345678", **environ):
        code = "import sys, daskhpo.cluster.launcher as l; l.PAUSE = 0.05; sys.exit(l.main())"
        known = {name: value for name, value in os.environ.items() if "JOB" not in name}
        known |= {"PYTHONPATH": self.path, "WORKER_LOG": str(self.log), "WORKER": worker}
        arguments = ["--name", "hpo", "--nthreads", "8", "--nthreads", "2", *arguments]
        arguments = [self.file, "--campaign", self.campaign, "--token", token, *arguments]
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**known, "SLURM_JOB_ID": "17", "SLURM_JOB_END_TIME": "1800000000", **environ},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments, **environ):
        """Exit code and messages of a launcher that ends by itself."""
        with self.start(*arguments, **environ) as process:
            _, messages = process.communicate(timeout=60)
        return process.returncode, messages

    @property
    def told(self):
        """What workers have written down so far."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def names(self):
        return [each["arguments"][-1] for each in self.told if "arguments" in each]

    def wait_for(self, count):
        while len(self.told) < count:
            time.sleep(0.01)
        return self.told[count - 1]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_dismissed_worker_ends_the_batch_job(bench):
    Scheduler(bench.file)
    code, messages = bench.run("", "--memory-limit", "4GiB", "--resources", "gpu=1")
    assert (code, bench.names) == (0, ["17-0"])
    assert "dismissed" in messages
    arguments = bench.told[0]["arguments"]
    assert arguments[:3] == ["--no-nanny", "--scheduler-file", str(bench.file)]
    assert arguments[3:5] == ["--preload", "daskhpo.cluster.leaving"]
    assert arguments[5:-2] == ["--nthreads", "2", "--memory-limit", "4GiB", "--resources", "gpu=1"]
    assert bench.told[0]["environ"] == {"DASKHPO_BATCH": "17", "DASKHPO_ENDS": "1800000000"}


def test_a_node_that_does_not_see_the_campaign_says_so(bench, tmp_path):
    code, messages = bench.run(token="87654321")
    assert code == BLIND
    assert f"sees no campaign 87654321 in {bench.campaign}: it must lie on a file sy" in messages
    (bench.campaign / "campaign.yaml").unlink()
    assert bench.run()[0] == BLIND
    assert not bench.told


def test_a_broken_node_says_so_and_starts_nothing(bench):
    Scheduler(bench.file)
    code, messages = bench.run("", "--check", "echo no device >&2; exit 3")
    assert (code, bench.told) == (BROKEN, [])
    assert "no device" in messages
    assert "is broken: the site's check (echo no device >&2; exit 3) gave 3" in messages


def test_a_node_that_passes_its_check_is_checked_once(bench, tmp_path):
    Scheduler(bench.file)
    code, _ = bench.run("sys.exit(len(tell('x') or []))", "--check", f"echo x >> {tmp_path}/n")
    assert code == 0
    assert (tmp_path / "n").read_text() == "x\n"


def test_a_campaign_that_is_over_needs_no_worker(bench):
    Scheduler(bench.file)
    (bench.campaign / "pool" / "closed").touch()
    code, messages = bench.run()
    assert (code, bench.told) == (0, [])
    assert "the campaign is over" in messages


@pytest.mark.parametrize("gone", [True, False])
def test_a_node_is_given_back_when_no_driver_comes(bench, gone):
    scheduler = Scheduler(bench.file)
    scheduler.die()
    if gone:
        bench.file.unlink()
    code, messages = bench.run("", "--patience", "0.2")
    assert (code, bench.told) == (0, [])
    assert "no driver for 0.2 seconds" in messages


def test_nobody_is_waited_for_beyond_the_end_of_the_batch_job(bench):
    code, _ = bench.run("", "--patience", "1e9", SLURM_JOB_END_TIME=f"{time.time():.0f}")
    assert code == 0


def test_a_worker_that_keeps_failing_ends_the_batch_job_with_its_code(bench):
    Scheduler(bench.file)
    code, messages = bench.run("sys.exit(3)")
    assert (code, bench.names) == (3, ["17-0", "17-1", "17-2"])
    assert "failed with exit code 3, 3 in a row" in messages


def test_a_killed_worker_gives_the_code_of_its_signal(bench):
    Scheduler(bench.file)
    assert bench.run("os.kill(os.getpid(), 9)")[0] == 128 + 9


def test_the_next_driver_is_served_by_a_new_worker(bench):
    """Its scheduler died, so that the worker failed; that is not the worker's fault."""
    first = Scheduler(bench.file)
    waiting = f"import pathlib; end = pathlib.Path({str(bench.log) + '.end'!r})\n"
    waiting += "while not end.exists(): time.sleep(0.01)\nend.unlink(); sys.exit(1)"
    end = Path(f"{bench.log}.end")
    with bench.start(waiting) as process:
        for launch in range(4):  # more often than a worker may fail
            assert bench.wait_for(launch + 1)["arguments"][-1] == f"17-{launch}"
            first.die()
            end.touch()
            while end.exists():
                time.sleep(0.01)
            first = Scheduler(bench.file)
        bench.wait_for(5)
        (bench.campaign / "pool" / "closed").touch()
        first.die()
        end.touch()
        _, messages = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "waiting for the campaign's driver" in messages or messages.count("over") == 1


def test_a_new_scheduler_file_means_that_the_worker_was_not_dismissed(bench):
    Scheduler(bench.file)
    other = bench.file.with_suffix(".other")
    Scheduler(other)
    move = f"os.path.exists({str(other)!r}) and os.replace({str(other)!r}, {str(bench.file)!r})"
    code, _ = bench.run(move)
    assert (code, bench.names) == (0, ["17-0", "17-1"])


def test_another_server_on_the_port_of_a_scheduler_is_none(bench):
    """It says nothing before it hangs up."""
    Scheduler(bench.file, greeting=b"")
    code, messages = bench.run("", "--patience", "0.1")
    assert (code, bench.told) == (0, [])
    assert "no driver for 0.1 seconds" in messages


def test_a_signal_for_the_launcher_alone_reaches_the_worker(bench):
    Scheduler(bench.file)
    with bench.start(LINGER) as process:
        bench.wait_for(1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert bench.told[1:] == ["asked to end", "closed"]


def test_a_signal_for_the_whole_batch_job_cuts_no_worker_short(bench):
    """The second one would kill it; Slurm has sent it the first."""
    Scheduler(bench.file)
    with bench.start(LINGER) as process:
        bench.wait_for(1)
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
    assert bench.told[1:] == ["asked to end", "closed"]


def test_a_warning_signal_ends_nothing(bench):
    Scheduler(bench.file)
    with bench.start(LINGER) as process:
        worker = bench.wait_for(1)["pid"]
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGUSR2)
        os.kill(worker, signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert bench.told[1:] == ["asked to end", "closed"]


def test_a_killed_launcher_takes_its_worker_along(bench):
    Scheduler(bench.file)
    with bench.start(LINGER) as process:
        bench.wait_for(1)
        process.kill()
    assert bench.wait_for(2) == "asked to end"


def test_whether_a_process_hears_sigterm_is_read_from_the_kernel():
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert _catches(os.getpid())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert not _catches(os.getpid())
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Make a squeue that answers as told."""

    def make(script):
        path = tmp_path / "bin" / "squeue"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")

    return make


def test_where_slurm_sets_no_end_time_it_is_asked(squeue):
    squeue(
        '[ "$*" = "--noheader --jobs 17 --format %e" ] && date -d @1800000000 "+$SLURM_TIME_FORMAT"'
    )
    assert end_of({"SLURM_JOB_ID": "17"}) == 1800000000.0


@pytest.mark.parametrize("answer", ["echo NONE", "echo Unknown", "echo; exit 1", "exit 1"])
def test_a_slurm_that_does_not_know_leaves_the_walltime(squeue, answer):
    squeue(answer)
    environ = {"SLURM_JOB_ID": "17", "DASKHPO_BEGAN": "1000"}
    assert end_of(environ, 60.0) == 1060.0
    assert end_of(environ) is None


def test_nothing_heavy_is_imported():
    code = "import sys, daskhpo.cluster.launcher; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=REPOSITORY)
    assert not {"dask", "distributed", "yaml", "asyncio", "zarr", "ssl"} & set(loaded.split())
