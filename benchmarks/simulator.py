"""The simulator: reports a second, from 8 to 10,000 workers.

``python benchmarks/simulator.py`` simulates 100,000 trials under ASHA, 20,000 under the median
rule; ``--quick`` a tenth. ``--profile`` says where the time of the first row goes.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time

import numpy as np
from row import Row, table

from daskhpo.simulate import Problem, Rows, simulate

__all__ = ["rows"]

WORKERS = (8, 64, 10_000)
TRIALS = {  # a trial reports 4, 3, 8 and 39 times on average
    "asha": 100_000,
    "asha(eta=4)": 100_000,
    "asha(eta=2, min_step=2)": 100_000,
    "median(min_step=10)": 20_000,
}
TARGET = 100_000  # reports a second
MANY, PATIENCE = 10_000, 300  # workers, and the seconds that a simulation of them may take


def problem(configurations: int = 5000, steps: int = 100) -> Problem:
    """Curves such as those of MLPF: power laws on a plateau of their own, a quarter fails."""
    rng = np.random.default_rng(1)
    shape = (configurations, 1)
    plateau = 442 + rng.gamma(2.0, 4.0, shape)
    drop = rng.uniform(20, 60, shape)
    falls = rng.random(shape) > 0.25
    curves = plateau + drop * np.arange(1, steps + 1) ** -rng.uniform(0.3, 1.5, shape)
    curves = np.where(falls, curves, 534.0) + rng.normal(0, 0.2, (configurations, steps))
    params = [{"index": index} for index in range(configurations)]
    return Problem("synthetic", "loss", params, curves)


def rows(*, quick: bool) -> list[Row]:
    """Simulate every scheduler under every number of workers."""
    source, share = Rows(problem()), 10 if quick else 1
    return [
        measure(source, text, workers, trials // share)
        for text, trials in TRIALS.items()
        for workers in WORKERS
    ]


def measure(source: Rows, scheduler: str, workers: int, trials: int) -> Row:
    """Time one simulation, processor time of this process."""
    begin = time.process_time()
    run = simulate(source, scheduler, workers=workers, trials=trials)
    seconds = time.process_time() - begin
    rate = run.trained / seconds
    text = f"{rate:,.0f} reports/s: {run.trained:,} reports of {trials:,} trials in {seconds:.1f} s"
    what = f"simulator, {scheduler}, {workers:,} workers"
    if workers >= MANY:
        return Row(what, text, f"< {PATIENCE} s", seconds < PATIENCE)
    return Row(what, text, ">= 100,000 / s", rate >= TARGET)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials")
    parser.add_argument("--profile", action="store_true", help="profile the first row instead")
    options = parser.parse_args()
    if not options.profile:
        print(table(rows(quick=options.quick)))
        return
    profile = cProfile.Profile()
    source = Rows(problem())
    text, trials = next(iter(TRIALS.items()))
    profile.runcall(measure, source, text, WORKERS[0], trials // 10 if options.quick else trials)
    pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
