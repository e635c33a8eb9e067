"""Optuna on its Dask storage: the trials of ``bare.py``, with a report per step.

``python benchmarks/peers/optuna_dask.py --pruner asha`` prints one line of JSON. Two tasks run
``study.optimize`` until the trials are used up, as its documentation shows: the cheapest way it
has. Without a pruner the objective reports and does not ask.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import optuna
from distributed import Client, LocalCluster, wait
from optuna_integration import DaskStorage


class Objective:
    """Train one trial, at no cost."""

    def __init__(self, steps: int, asks: bool) -> None:
        self.steps = steps
        self.asks = asks

    def __call__(self, trial: Any) -> float:
        """Report every step; ask whether to stop, if that is wanted."""
        lr, width = trial.suggest_float("lr", 0, 1), trial.suggest_int("width", 1, 8)
        loss = 0.0
        for step in range(1, self.steps + 1):
            loss = (lr - 0.3) ** 2 + 1 / (width * step)
            trial.report(loss, step)
            if self.asks and trial.should_prune():
                raise optuna.TrialPruned()
        return loss


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pruner", choices=["none", "asha"], default="none")
    options = parser.parse_args()
    pruner = (
        optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        if options.pruner == "asha"
        else optuna.pruners.NopPruner()
    )
    objective = Objective(options.steps, options.pruner == "asha")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(optuna.logging.set_verbosity, optuna.logging.ERROR)  # a line per trial costs
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        begin = time.perf_counter()
        study = optuna.create_study(
            storage=DaskStorage(client=client),
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=pruner,
        )
        share = options.trials // 2
        wait([client.submit(study.optimize, objective, n_trials=share, pure=False) for _ in "ab"])
        seconds = time.perf_counter() - begin
        trials = study.get_trials(deepcopy=False)
        reports = sum(len(trial.intermediate_values) for trial in trials)
    print(json.dumps({"trials": len(trials), "reports": reports, "seconds": seconds}))


if __name__ == "__main__":
    main()
