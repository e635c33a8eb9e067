"""How soon a batch job that Slurm has ended is noticed and replaced, and its trial goes on.

Counted from the last moment at which Slurm cannot have known: just before ``scancel`` or ``scontrol
update ... state=down``, or when ``squeue`` was asked for the last time that it called the preempted
job running. There is one batch job at a time, as a second one would be at hand when the first dies.
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


Fault = Callable[[str], tuple[float, Callable[[], object]]]  # batch job -> since when, mend


def cancel(batch: str) -> tuple[float, Callable[[], object]]:
    """Cancel a batch job; returns since when Slurm may know, and what mends it."""
    known = time.time()
    slurm("scancel", batch)
    return known, lambda: None


def preempt(batch: str) -> tuple[float, Callable[[], object]]:
    """Take its node for more urgent work, until that is cancelled."""
    node = slurm("squeue", "-h", "-j", batch, "-o", "%N")
    known = asked = time.time()
    urgent = slurm(
        "sbatch", "--parsable", "--partition=urgent", f"--nodelist={node}", "--exclusive",
        f"--gpus-per-node={GPUS}", "--output=/dev/null", "--wrap=sleep 600",
    )  # fmt: skip
    while slurm("squeue", "-h", "-j", batch, "--states=all", "-o", "%T") == "RUNNING":
        known, asked = asked, time.time()  # the question that this answered was put at ``known``
    return known, lambda: slurm("scancel", urgent)


def fail_node(batch: str) -> tuple[float, Callable[[], object]]:
    """Declare its node dead; it comes back by itself, and there are others."""
    node = slurm("squeue", "-h", "-j", batch, "-o", "%N")
    known = time.time()
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=benchmark")
    return known, lambda: None


FAULTS: dict[str, Fault] = {"scancel": cancel, "preemption": preempt, "node down": fail_node}


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


def measure(path: Path, fault: Fault, *, rounds: int) -> list[tuple[float, float, float]]:
    """Seconds until the trial's end is noted, a new batch job submitted, and the next report."""
    tuner = Tuner(
        objective, Space(x=Float(0, 1)), metric="loss", path=path, scheduler=Fifo(max_step=STEPS),
        sampler="random", pool={"kind": "slurm", "site": SITE, "jobs": 1},
    )  # fmt: skip
    waits = []
    with tuner.pool() as pool:
        tuner.start(pool, trials=1)
        try:
            for _ in range(rounds):
                batch = wait_for(functools.partial(_trains, path))
                known, mend = fault(batch)
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
    old = {fact["id"] for fact in facts if fact.get("of") == "batch" and fact["t"] < known}
    fresh = next(fact for fact in after if fact.get("phase") and fact["id"] not in old)
    told = next(
        fact for fact in after if fact["kind"] == "reported" and fact["attempt"] > end["attempt"]
    )
    waits = end["t"] - known, fresh["t"] - known, told["t"] - known
    if min(waits) < 0 or _place_of(after, told) != fresh["id"]:
        raise RuntimeError(f"batch job {batch}: that was not its replacement: {waits}")
    return waits


def _place_of(facts: list[dict[str, Any]], told: dict[str, Any]) -> str:
    """The batch job from which a report came."""
    placed = [fact for fact in facts if fact.get("of") == "placed"]
    return str(next(f["batches"][0] for f in placed if f["attempt"] == told["attempt"]))


if __name__ == "__main__":
    for row in rows(quick=False):
        print(row.what, row.measured, row.target, row.verdict, sep=" | ")
