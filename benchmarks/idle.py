"""How long a worker stands idle between two jobs, as the objective sees it.

From the end of one call of the objective to the beginning of the next on the same worker, once
everything is warm; beside it the same for a bare ``client.submit`` loop.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster, as_completed, get_worker
from row import Row

from daskhpo import Fifo, Float, Space, Tuner

__all__ = ["rows"]

WORK = 0.02  # seconds that a trial takes


def objective(trial: Any) -> float:
    """Train for a moment; the worker keeps how long it has waited for this."""
    worker = get_worker()
    waits, ended = getattr(worker, "benchmark", ([], None))
    if ended is not None:
        waits.append(time.perf_counter() - ended)
    time.sleep(WORK)
    worker.benchmark = (waits, time.perf_counter())
    return 0.0


def collect(client: Client) -> list[float]:
    """All workers' waits, forgotten there; the first ones were warming up."""

    def take(dask_worker: Any) -> list[float]:
        waits, _ = dask_worker.benchmark
        del dask_worker.benchmark
        return list(waits[5:])

    return [wait for waits in client.run(take).values() for wait in waits]


def rows(*, quick: bool) -> list[Row]:
    """Measure both on one cluster."""
    trials = 40 if quick else 300
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        bare = _bare(client, trials)
        path = Path(folder, "campaign")
        space, scheduler = Space(x=Float(0, 1)), Fifo(max_step=1)
        tuner = Tuner(
            objective, space, metric="loss", path=path, scheduler=scheduler, sampler="random"
        )
        tuner.run(client, trials=trials)
        ours = collect(client)
    median = statistics.median(ours)
    return [
        Row("idle between two jobs: daskhpo", _text(ours), "< 50 ms median", median < 0.05),
        Row("idle between two jobs: bare client.submit loop", _text(bare)),
    ]


def _bare(client: Client, trials: int) -> list[float]:
    flying = as_completed([client.submit(objective, None, pure=False) for _ in range(2)])
    for _ in range(trials - 2):
        next(flying)
        flying.add(client.submit(objective, None, pure=False))
    for _ in flying:
        pass
    return collect(client)


def _text(waits: list[float]) -> str:
    tail = sorted(waits)[int(0.9 * len(waits))]
    return f"{1e3 * statistics.median(waits):.1f} ms median, {1e3 * tail:.1f} ms p90"


if __name__ == "__main__":
    for row in rows(quick=True):
        print(row.what, row.measured, row.target, row.verdict, sep=" | ")
