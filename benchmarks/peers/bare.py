"""The floor: one Dask task per trial, which trains and reports to nobody.

``python benchmarks/peers/bare.py --trials 500 --steps 20`` prints one line of JSON. As every
tuner has to, it hands a worker its next trial when one has ended, and so never has more trials
out than there are workers.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from distributed import Client, LocalCluster, as_completed


def train(lr: float, width: int, steps: int) -> float:
    """Train one trial, at no cost."""
    loss = 0.0
    for step in range(1, steps + 1):
        loss = (lr - 0.3) ** 2 + 1 / (width * step)
    return loss


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    points = [
        (rng.uniform(), int(rng.integers(1, 9)), options.steps) for _ in range(options.trials)
    ]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        begin = time.perf_counter()
        flying = as_completed([client.submit(train, *point, pure=False) for point in points[:2]])
        for point in points[2:]:
            next(flying).result()
            flying.add(client.submit(train, *point, pure=False))
        for future in flying:
            future.result()
        seconds = time.perf_counter() - begin
    print(json.dumps({"trials": options.trials, "reports": 0, "seconds": seconds}))


if __name__ == "__main__":
    main()
