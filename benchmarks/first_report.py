"""How long a campaign waits for its first batch job, next to bare dask-jobqueue on the same Slurm.

From the wish for one worker to the first report that the tuner has, and to the first result that
a bare client has; the clock starts once with the scheduler up, once before it is started. Both
alternate, so that other work on the machine meets them alike.
"""

from __future__ import annotations

import functools
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
from row import Row
from slurm_here import SITE, facts_of, missing, site_options, slurm, test_slurm, wait_for

from daskhpo import Fifo, Float, Space, Tuner

__all__ = ["rows"]

MAX_RATIO = 1.5
Wait = tuple[float, float]  # seconds with the scheduler up, and with its start


def objective(trial: Any) -> None:
    """Report once."""
    for _ in trial.steps():
        trial.report(loss=0.0)


def rows(*, quick: bool) -> list[Row]:
    """Measure both in turns."""
    if reason := missing():
        return [Row("first report of a batch job", reason)]
    rounds = 1 if quick else 10
    variants: dict[str, Callable[[Path], Wait]] = {
        "ours": measure,
        "bare": measure_bare,
        "lean": functools.partial(measure_bare, extra=("--no-dashboard",)),
    }
    waits: dict[str, list[Wait]] = {name: [] for name in variants}
    with test_slurm() as folder:
        for number in range(rounds + 1):  # the first one warms up the file system
            # Who comes second meets what the first one left behind: they change places.
            for name in sorted(variants, reverse=bool(number % 2)):
                wait_for(lambda: None if slurm("squeue", "-h") else True)
                waits[name].append(variants[name](folder / f"{name}{number}"))
    up, started = (
        {name: [wait[part] for wait in found[1:]] for name, found in waits.items()}
        for part in (0, 1)
    )
    # Our workers have no dashboards, which saves them an import.
    same = Row("the same, both without workers' dashboards", _text(up["ours"], up["lean"]))
    return [
        _row("scheduler up", up["ours"], up["bare"]),
        same,
        _row("with its start", started["ours"], started["bare"]),
    ]


def _row(what: str, ours: list[float], bare: list[float]) -> Row:
    good = _ratio(ours, bare) <= MAX_RATIO
    return Row(f"scale to first report, {what}", _text(ours, bare), f"<= {MAX_RATIO} x", good)


def _ratio(ours: list[float], bare: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, bare, strict=True))


def _text(ours: list[float], bare: list[float]) -> str:
    ratio = f"{_ratio(ours, bare):.2f} x bare dask-jobqueue (median of {len(ours)} pairs)"
    return f"{ratio}: {_spread(ours)} to {_spread(bare)}"


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} .. {max(seconds):.2f})"


def measure(path: Path) -> Wait:
    """Until the tuner has its first report, with all that a campaign does by default (TLS)."""
    begin = time.time()
    tuner = Tuner(
        objective, Space(x=Float(0, 1)), metric="loss", path=path, scheduler=Fifo(max_step=1),
        sampler="random", pool={"kind": "slurm", "site": SITE, "jobs": 1},
    )  # fmt: skip
    with tuner.pool() as pool:
        up = time.time()
        tuner.run(pool, trials=1)
    first: float = next(fact["t"] for fact in facts_of(path) if fact["kind"] == "reported")
    return first - up, first - begin


def measure_bare(folder: Path, *, extra: tuple[str, ...] = ()) -> Wait:
    """Until a bare client has the result of a trivial task, without TLS as by default."""
    from dask_jobqueue import SLURMCluster
    from distributed import Client

    begin = time.time()
    options = site_options() | {"log-directory": str(folder), "worker-extra-args": list(extra)}
    with (
        dask.config.set({f"jobqueue.{SITE}": options}),
        SLURMCluster(config_name=SITE, silence_logs=logging.ERROR) as cluster,
        Client(cluster) as client,
    ):
        up = time.time()
        cluster.scale(jobs=1)
        client.submit(abs, -1).result()
        first = time.time()
    return first - up, first - begin


if __name__ == "__main__":
    for row in rows(quick=False):
        print(row.what, row.measured, row.target, row.verdict, sep=" | ")
