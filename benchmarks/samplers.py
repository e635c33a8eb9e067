"""Which sampler finds most, and what its suggestions cost.

``python benchmarks/samplers.py`` takes about two minutes. The first table has the best value
after 60 evaluations, 8 of them pending at any time, on the functions of ``ask.py``: mean and
standard error over ``--seeds`` seeds, and the regret (distance to the best value known) as a
share of that of random search. The second has the CPU time of ``suggest`` after each new result,
in 8 mixed dimensions with 8 pending trials: the median, and the worst, which holds a fit.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
from ask import MIXED, PROBLEMS, run_async, training

from daskhpo.samplers import KDE, Bayes, Quantile, Random, Sampler, Sobol
from daskhpo.space import Space

TRIALS, PENDING = 60, 8
KNOWN = {"branin, mixed": 0.3979, "hartmann 6": -3.3224, "training, 8 mixed": 0.0}  # lower bounds
SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "random": Random,
    "sobol": Sobol,
    "bayes": Bayes,
    "kde": KDE,
    "quantile": Quantile,
}


def found(make: Callable[..., Sampler], problem: str, seeds: int) -> np.ndarray:
    """Best values, one per seed."""
    space, objective = PROBLEMS[problem]
    chosen = range(100, 100 + seeds)  # not those that the samplers were designed with
    return np.array([run_async(make(space, seed=s), objective, TRIALS, PENDING, s) for s in chosen])


def quality(seeds: int) -> None:
    """Print the best values, problem by problem."""
    print(f"| best of {TRIALS} | " + " | ".join(PROBLEMS) + " |")
    print("|---" * (1 + len(PROBLEMS)) + "|")
    random: dict[str, float] = {}  # {problem: mean regret}
    for name, make in SAMPLERS.items():
        cells = []
        for problem in PROBLEMS:
            values = found(make, problem, seeds)
            regret = float(values.mean()) - KNOWN[problem]
            error = values.std(ddof=1) / math.sqrt(seeds) if seeds > 1 else math.nan
            share = regret / random.setdefault(problem, regret)
            cells.append(f"{values.mean():.3f} ± {error:.3f} ({share:.2f} of random)")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def latency(make: Callable[..., Sampler], results: int, asks: int = 45) -> tuple[float, float]:
    """Median and largest CPU seconds of a suggestion after each of some new results."""
    space: Space = MIXED
    sampler, source = make(space, seed=1), Random(space, seed=2)
    for number in range(results + PENDING):
        params = source.suggest(number) or {}
        sampler.pend(number, params)
        if number < results:
            sampler.tell(number, 1, training(params))
    first = results + PENDING
    sampler.suggest(first)  # imports, and the first fit
    seconds = []
    for index in range(asks):
        sampler.tell(results + index, 1, 1.0 + 0.1 * math.sin(index))
        begin = time.process_time()
        sampler.suggest(first + 1 + index)
        seconds.append(time.process_time() - begin)
    return float(np.median(seconds)), max(seconds)


def costs(sizes: tuple[int, ...] = (50, 200, 800)) -> None:
    """Print what a suggestion costs after so many results."""
    print("| ms a suggestion: median (worst) | " + " | ".join(f"n = {n}" for n in sizes) + " |")
    print("|---" * (1 + len(sizes)) + "|")
    for name, make in SAMPLERS.items():
        pairs = [latency(make, n) for n in sizes]
        cells = [f"{1e3 * median:.2f} ({1e3 * worst:.0f})" for median, worst in pairs]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    quality(options.seeds)
    print()
    costs()


if __name__ == "__main__":
    main()
