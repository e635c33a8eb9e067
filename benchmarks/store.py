"""How fast the store is: journal in and out, opening ten thousand curves.

Run it alone on the machine: ``python benchmarks/store.py [folder]``; the folder decides which
file system is measured.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from daskhpo.store.journal import Journal, read
from daskhpo.trial import Params

FACTS = 1_000_000
TRIALS, STEPS = 10_000, 100

READER = """
import resource, sys, time
from daskhpo.store.journal import read
start = time.perf_counter()
count = sum(1 for _ in read(sys.argv[1]))
used = time.perf_counter() - start
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{count:,} facts read and checked in {used:.2f} s, {memory:.0f} MB resident at most")
"""


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(index: int, loss: float) -> dict[str, object]:
    """A fact as most facts are."""
    number, step = index % TRIALS, 1 + index // TRIALS
    return {
        "kind": "reported",
        "number": number,
        "attempt": 0,
        "step": step,
        "metrics": {"loss": loss, "accuracy": 1.0 - loss},
    }


def measure_append(path: Path) -> str:
    """Appending with a commit after every fact, after every hundredth, and durable commits."""
    lines = []
    for facts, every, durable in ((100_000, 1, False), (200_000, 100, False), (200, 1, True)):
        with Journal(path, sync_every=1.0) as journal:

            def work(
                journal: Journal = journal,
                facts: int = facts,
                every: int = every,
                durable: bool = durable,
            ) -> None:
                for index in range(facts):
                    journal.append(report(index, 0.5))
                    if index % every == 0:
                        journal.commit(durable=durable)

            used = timed(work)
        kind = "durable" if durable else "plain"
        lines.append(
            f"{kind} commit after every {every}: {facts / used:,.0f} facts/s, "
            f"{used / facts * 1e6:.1f} us each"
        )
        path.unlink()
    return "\n".join(lines)


def measure_read(path: Path) -> str:
    """Reading a long journal in a process of its own; then reopening it for writing."""
    rng = random.Random(0)
    with Journal(path) as journal:
        for index in range(FACTS):
            journal.append(report(index, rng.random()))
            if index % 1000 == 0:
                journal.commit(durable=False)
    size = path.stat().st_size / 1e6
    done = subprocess.run(
        [sys.executable, "-c", READER, path], check=True, capture_output=True, text=True
    )
    reopened = timed(lambda: Journal(path).close())
    return f"{done.stdout.strip()} ({size:.0f} MB)\nreopened for writing in {reopened * 1e3:.1f} ms"


def measure_curves(path: Path, facts: Iterator[dict[str, object]]) -> str:
    """Writing the curves of that journal, flushing a second's worth, opening all."""
    from daskhpo.store.curves import CurveWriter, apply_fact, open_curves

    writer = CurveWriter(path, metric="loss", max_step=STEPS)
    for number in range(TRIALS):
        params: Params = {"lr": number / TRIALS, "width": 32, "opt": ["adam", "sgd"][number % 2]}
        writer.put_trial(number, params, state="completed", attempt=0)

    def apply() -> None:
        for index, fact in enumerate(facts, 1):
            apply_fact(writer, fact)
            if index % 100_000 == 0:
                writer.flush(index)
        writer.flush(FACTS)

    applied = timed(apply)
    for index in range(2000):
        writer.put(TRIALS - 256 + index % 256, 1 + index // 256, {"loss": 0.5, "accuracy": 0.5})
    flushed = timed(lambda: writer.flush(FACTS))
    opened = min(timed(lambda: open_curves(path)) for _ in range(3))
    files = sum(1 for item in path.rglob("*") if item.is_file())
    return (
        f"all facts applied and flushed in {applied:.1f} s\n"
        f"2,000 reports of 256 neighbouring trials flushed in {flushed * 1e3:.0f} ms\n"
        f"{TRIALS:,} trials x {STEPS} steps opened in {opened:.3f} s ({files} files)"
    )


def main() -> None:
    """Print every measurement."""
    parent = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, in {folder}")
        path = Path(folder, "journal.jsonl")
        print(measure_append(path))
        print(measure_read(path))
        print(measure_curves(Path(folder, "curves.zarr"), read(path)))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{memory:.0f} MB resident at most in this process")


if __name__ == "__main__":
    main()
