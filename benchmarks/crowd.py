"""What 256 workers that report every second cost the scheduler and the tuner.

The scheduler is a process of its own, as ``dask scheduler`` starts it; so is the tuner (this one).
The workers are real ones, many of them in one process: they train nothing and have no machine to
watch, so that what they cost themselves does not hide the rest. ``python benchmarks/crowd.py
--workers 64`` measures fewer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from row import Row

from daskhpo import Fifo, Float, Space, Tuner

__all__ = ["rows"]

WORKERS, PROCESSES = 256, 2
STEPS = 100_000  # of a trial, which is not meant to end
MAX_SHARE = 0.05  # of a core
BESIDE = {  # what every worker would otherwise do about the one process that they share
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.system-monitor.interval": "1h",
}


def objective(trial: Any) -> None:
    """Report once a second, each trial at moments of its own."""
    due = time.monotonic() + trial.params["x"]
    for _ in trial.steps():
        time.sleep(max(0.0, due - time.monotonic()))
        due += 1.0
        trial.report(loss=0.0)


def rows(*, quick: bool, workers: int = WORKERS) -> list[Row]:
    """Measure processor time: with workers that have nothing to do, and with all reporting."""
    workers, seconds = (16, 5.0) if quick else (workers, 60.0)
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), workers) as scheduler:
        time.sleep(5.0)
        resting = share_of(scheduler, seconds / 2)
        busy, tuner, rate = report(Path(folder), workers, scheduler, seconds)
    what = f"{workers} workers, a report a second each"
    text = f"{busy:.1%} of a core ({resting:.1%} with no campaign), {rate:.0f} reports a second"
    good = busy < MAX_SHARE and rate > 0.97 * workers
    return [
        Row(f"scheduler, {what}", text, f"< {MAX_SHARE:.0%} of a core", good),
        Row(f"tuner, {what}", f"{tuner:.1%} of a core"),
    ]


def report(
    folder: Path, workers: int, scheduler: psutil.Process, seconds: float
) -> tuple[float, float, float]:
    """Run a campaign: shares of the scheduler and of this process, and reports a second."""
    from distributed import Client

    tuner = Tuner(
        objective, Space(x=Float(0, 1)), metric="loss", path=folder / "campaign",
        scheduler=Fifo(max_step=STEPS), sampler="random",
    )  # fmt: skip
    with Client(scheduler_file=str(folder / "scheduler.json")) as client:
        tuner.start(client, trials=workers)
        try:
            while tuner.study.reports < 10 * workers:
                time.sleep(0.5)
            mine, before = psutil.Process(), tuner.study.reports
            began, used = time.monotonic(), _used(mine)
            busy = share_of(scheduler, seconds)
            lasted = time.monotonic() - began
            return (
                busy,
                (_used(mine) - used) / lasted,
                (tuner.study.reports - before) / lasted,
            )
        finally:
            tuner.stop()
            tuner.stop()
            tuner.wait(60)


def share_of(process: psutil.Process, seconds: float) -> float:
    """Processor time of a process over wall time."""
    began, used = time.monotonic(), _used(process)
    time.sleep(seconds)
    return (_used(process) - used) / (time.monotonic() - began)


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def cluster(folder: Path, workers: int) -> Iterator[psutil.Process]:
    """A scheduler and its workers; yields the scheduler's process."""
    file = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    commands = [["-m", "distributed.cli.dask_scheduler", *options]]
    shares = [len(range(first, workers, PROCESSES)) for first in range(PROCESSES)]
    commands += [[__file__, "--host", file, "--workers", str(share)] for share in shares]
    with contextlib.ExitStack() as stack:
        running = []
        for command in commands:
            process = subprocess.Popen(
                [sys.executable, *map(str, command)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append(process)
        for host in running[1:]:
            if host.stdout is None or host.stdout.readline() != "ready\n":
                raise RuntimeError("the workers do not start")
        yield psutil.Process(running[0].pid)


async def host(file: Path, count: int) -> None:
    """Hold so many workers until the end of standard input."""
    import dask.config
    from distributed import Worker

    while not file.exists():
        await asyncio.sleep(0.1)
    with dask.config.set(BESIDE), tempfile.TemporaryDirectory() as folder:
        workers = [
            Worker(
                scheduler_file=str(file), nthreads=1, memory_limit=0, dashboard=False,
                local_directory=f"{folder}/{number}",
            )
            for number in range(count)
        ]  # fmt: skip
        for worker in workers:
            await worker
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Print the rows, or hold workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--host", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host is not None:
        asyncio.run(host(options.host, options.workers))
        return
    for row in rows(quick=False, workers=options.workers):
        print(row.what, row.measured, row.target, row.verdict, sep=" | ")


if __name__ == "__main__":
    main()
