"""The core without a cluster: reports, replay, and opening the curves."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from row import Row

from daskhpo import ASHA, Fifo, Float, Int, Outcome, Space, Study
from daskhpo.samplers import Random
from daskhpo.store.curves import CurveWriter, open_curves
from daskhpo.store.journal import Journal

__all__ = ["rows"]

SPACE = Space(lr=Float(0, 1), width=Int(1, 8))
STEPS = 97  # with offered, asked and ended, a trial then makes 100 facts

REPLAY = f"""
import resource, sys, time
from daskhpo import Fifo, Float, Int, Space, Study
from daskhpo.samplers import Random
from daskhpo.store.journal import read
space = Space(lr=Float(0, 1), width=Int(1, 8))
study = Study(space, Fifo(max_step={STEPS}), Random(space, seed=1), metric="loss")
study.replay(read(sys.argv[1]))
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(time.process_time(), memory, study.reports)
"""


def rows(*, quick: bool) -> list[Row]:
    """Measure all three."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            *reporting(),
            replaying(Path(folder, "journal.jsonl"), facts=50_000 if quick else 1_000_000),
            opening(Path(folder, "curves.zarr"), trials=1_000 if quick else 10_000),
        ]


def reporting() -> list[Row]:
    """Time single calls of ``Study.report``, 20,000 for each number of live trials."""
    few, few_at_rung = _report_times(100)
    many, many_at_rung = _report_times(10_000)
    text = f"{many:.1f} us median ({few:.1f} with 100 trials)"
    at_rung = f"{many_at_rung:.1f} us median ({few_at_rung:.1f} with 100 trials)"
    flat = many < 1.5 * few
    return [
        Row("Study.report, 10,000 live trials", text, "< 20 us, flat", many < 20 and flat),
        Row("Study.report at a milestone, the same", at_rung, "< 20 us", many_at_rung < 20),
    ]


def _report_times(trials: int) -> tuple[float, float]:
    """Medians in microseconds: below a milestone, and at one."""
    below, at = [], []
    for _ in range(10_000 // trials):
        scheduler = ASHA(max_step=100, min_step=3, eta=4)
        study = Study(SPACE, scheduler, Random(SPACE, seed=1), metric="loss")
        for _ in range(trials):
            study.ask()
        for step, times in ((1, below), (2, below), (3, at)):
            for number in range(trials):
                metrics = {"loss": (number * 7919 % trials) / trials + 1 / step}
                begin = time.perf_counter()
                study.report(number, 0, step, metrics)
                times.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(below), 1e6 * statistics.median(at)


def replaying(path: Path, *, facts: int) -> Row:
    """Write a campaign's journal, then bring a study in a new process to its end."""
    with Journal(path) as journal:
        scheduler, sampler = Fifo(max_step=STEPS), Random(SPACE, seed=1)
        study = Study(SPACE, scheduler, sampler, metric="loss", emit=journal.append)
        while journal.seq < facts:
            job = study.ask()
            assert job is not None
            for step in range(1, STEPS + 1):
                study.report(job.number, job.attempt, step, {"loss": 1 / step + job.number % 7})
            study.tell(job.number, job.attempt, Outcome.COMPLETED, seconds=1.0)
            journal.commit(durable=False)
    done = subprocess.run(
        [sys.executable, "-c", REPLAY, path], check=True, capture_output=True, text=True
    )
    seconds, memory, reports = map(float, done.stdout.split())
    text = f"{seconds:.1f} s CPU, {memory:.0f} MB, {reports:,.0f} reports, start-up included"
    good = seconds < 10 * facts / 1e6 + 1 and memory < 1000
    return Row(f"replay of a {facts:,}-fact journal", text, "< 10 s, < 1 GB", good)


def opening(path: Path, *, trials: int) -> Row:
    """Open the curves of a finished campaign as xarray."""
    writer = CurveWriter(path, metric="loss", max_step=100)
    for number in range(trials):
        params = {"lr": number / trials, "width": 32, "opt": ("adam", "sgd")[number % 2]}
        writer.put_trial(number, params, state="completed", attempt=0)
        for step in range(1, 101):
            writer.put(number, step, {"loss": number + 1 / step})
    writer.flush(1)
    open_curves(path)  # imports xarray
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        shape = open_curves(path).loss.shape
        times.append(time.perf_counter() - begin)
    assert shape == (trials, 100)
    seconds = statistics.median(times)
    return Row(f"open {trials:,} x 100 as xarray", f"{seconds:.3f} s", "< 1 s", seconds < 1)


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(row.what, row.measured, row.target, row.verdict, sep=" | ")
