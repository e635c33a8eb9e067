"""The trials of ``peers/bare.py`` under daskhpo, with a report per step.

``python benchmarks/ours.py --scheduler promote`` prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from typing import Any

from distributed import Client, LocalCluster

from daskhpo import ASHA, Fifo, Float, Int, Space, Tuner


def objective(trial: Any) -> None:
    """Train one trial, at no cost."""
    lr, width = trial.params["lr"], trial.params["width"]
    for step in trial.steps():
        trial.report(loss=(lr - 0.3) ** 2 + 1 / (width * step))


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--scheduler", choices=["fifo", "promote", "stop"], default="fifo")
    options = parser.parse_args()
    scheduler = (
        Fifo(max_step=options.steps)
        if options.scheduler == "fifo"
        else ASHA(max_step=options.steps, eta=3, mode=options.scheduler)
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        begin = time.perf_counter()
        tuner = Tuner(
            objective,
            Space(lr=Float(0, 1), width=Int(1, 8)),
            metric="loss",
            scheduler=scheduler,
            sampler="random",
            path=f"{folder}/campaign",
        )
        tuner.run(client, trials=options.trials)
        seconds = time.perf_counter() - begin
        study = tuner.study
    answer = {"trials": len(study.trials), "reports": study.reports, "seconds": seconds}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
