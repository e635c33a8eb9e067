"""How soon a batch job that Slurm has ended is noticed and replaced, and its trial goes on.

Counted from the moment at which Slurm knows: ``scancel`` or ``scontrol update ... state=down`` has
returned, or ``squeue`` does not call the preempted job running any more.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from row import Row
from slurm_here import GPUS, SITE, facts_of, missing, slurm, test_slurm, wait_for

from daskhpo import Fifo, Float, Space, Tuner

__all__ = ["rows"]

STEPS = 100_000  # of the one trial, which is not meant to end
MAX_WAIT = 10.0  # seconds until the replacement is submitted
PARTS = ("known", "replaced", "goes on")


def objective(trial: Any) -> None:
    """Report five times a second."""
    for _ in trial.steps():
        time.sleep(0.2)
        trial.report(loss=0.0)


def cancel(batch: str) -> Callable[[], object]:
    """Cancel a batch job; returns what mends it."""
    slurm("scancel", batch)
    return lambda: None


def preempt(batch: str) -> Callable[[], object]:
    """Take its node for more urgent work, until that is cancelled."""
    node = slurm("squeue", "-h", "-j", batch, "-o", "%N")
    urgent = slurm(
        "sbatch", "--parsable", "--partition=urgent", f"--nodelist={node}", "--exclusive",
        f"--gpus-per-node={GPUS}", "--output=/dev/null", "--wrap=sleep 600",
    )  # fmt: skip
    state = ("squeue", "-h", "-j", batch, "--states=all", "-o", "%T")
    wait_for(lambda: None if slurm(*state) == "RUNNING" else True)
    return lambda: slurm("scancel", urgent)


def fail_node(batch: str) -> Callable[[], object]:
    """Declare its node dead; it comes back by itself, and there are others."""
    node = slurm("squeue", "-h", "-j", batch, "-o", "%N")
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=benchmark")
    return lambda: None


FAULTS = {"scancel": cancel, "preemption": preempt, "node down": fail_node}


def rows(*, quick: bool) -> list[Row]:
    """Three batch jobs of one campaign die of each fault; after more of them pauses would grow."""
    if reason := missing():
        return [Row("replacement of a batch job", reason)]
    found = []
    for name, fault in FAULTS.items():
        with test_slurm() as folder:
            waits = measure(folder / "campaign", fault, rounds=1 if quick else 3)
        texts = []
        for part, seconds in zip(PARTS, zip(*waits, strict=True), strict=True):
            texts.append(f"{part} {statistics.median(seconds):.1f} s (worst {max(seconds):.1f})")
        good = max(wait[1] for wait in waits) < MAX_WAIT
        found.append(Row(f"{name}, {len(waits)} times", ", ".join(texts), "replaced < 10 s", good))
    return found


def measure(
    path: Path, fault: Callable[[str], Callable[[], object]], *, rounds: int
) -> list[tuple[float, float, float]]:
    """Seconds until the trial's end is noted, a new batch job submitted, and the next report."""
    tuner = Tuner(
        objective, Space(x=Float(0, 1)), metric="loss", path=path, scheduler=Fifo(max_step=STEPS),
        sampler="random", pool={"kind": "slurm", "site": SITE, "jobs": 2},
    )  # fmt: skip
    waits = []
    with tuner.pool() as pool:
        tuner.start(pool, trials=1)
        try:
            for _ in range(rounds):
                batch = wait_for(functools.partial(_trains, path))
                mend = fault(batch)
                known = time.time()
                wait_for(functools.partial(_trains, path, after=batch))
                waits.append(_waits(facts_of(path), batch, known))
                mend()
        finally:
            tuner.stop()
            tuner.stop()
            tuner.wait(60)
    return waits


def _trains(path: Path, after: str = "") -> str | None:
    """The batch job, not ``after``, on which the trial trains now, once it has reported there."""
    place = told = None
    for fact in facts_of(path):
        if fact["kind"] == "noted" and fact["of"] == "placed":
            place, told = fact["batches"][0], None
        elif fact["kind"] == "reported":
            told = place
        elif fact["kind"] == "ended":
            place = told = None
    return told if told != after else None


def _waits(facts: list[dict[str, Any]], batch: str, known: float) -> tuple[float, float, float]:
    placed = [n for n, fact in enumerate(facts) if batch in fact.get("batches", ())]
    after = facts[placed[-1] :]
    end = next(fact for fact in after if fact["kind"] == "ended")
    if end["outcome"] != "evicted":
        raise RuntimeError(f"batch job {batch}: its trial is {end['outcome']}, {end.get('error')}")
    fresh = next(fact for fact in after if fact.get("phase") == "pending" and fact["id"] != batch)
    told = next(
        fact for fact in after if fact["kind"] == "reported" and fact["attempt"] > end["attempt"]
    )
    return end["t"] - known, fresh["t"] - known, told["t"] - known


if __name__ == "__main__":
    for row in rows(quick=False):
        print(row.what, row.measured, row.target, row.verdict, sep=" | ")
