"""How long a suggestion takes, and how good suggestions are.

``python benchmarks/ask.py`` prints the latency of ``Bayes.suggest`` with up to 1,000 results and
64 pending trials in 8 mixed dimensions, and how long a free worker waits when suggestions are
made ahead in a thread.

``--quality SEEDS`` adds the best values found in 60 evaluations, 8 of them pending, next to those
of random search; ``--skopt`` those of ``skopt.Optimizer``, which blocks: it sees every result
before it has to propose, as no parallel sampler can, and so marks what is to be had.
"""

from __future__ import annotations

import argparse
import math
import queue
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from daskhpo.samplers import Bayes, Random, Sampler
from daskhpo.space import Choice, Float, Int, Space
from daskhpo.trial import Params

Objective = Callable[[Params], float]

MIXED = Space(
    lr=Float(1e-5, 1e-1, log=True),
    decay=Float(1e-6, 1e-2, log=True),
    dropout=Float(0.0, 0.5),
    layers=Int(1, 8),
    width=Int(16, 1024, log=True),
    opt=Choice(["adam", "sgd", "lamb"]),
    batch=Choice([16, 32, 64, 128]),
    norm=Choice([True, False]),
)


def training(params: Any) -> float:
    """Return a loss shaped like a training's: valleys in the logarithms, worth of choices."""
    lr, width = math.log10(params["lr"]), math.log2(params["width"])
    ideal = {"adam": -3.0, "sgd": -1.7, "lamb": -2.4}[params["opt"]]
    return float(
        0.2 * (lr - ideal) ** 2 + 0.03 * (width - 8) ** 2 + 0.02 * (params["layers"] - 5) ** 2
        + 0.5 * (params["dropout"] - 0.1) ** 2 + 0.01 * (math.log10(params["decay"]) + 4) ** 2
        + {"adam": 0.0, "sgd": 0.1, "lamb": 0.05}[params["opt"]]
        + 0.02 * abs(math.log2(params["batch"]) - 5) + (0.0 if params["norm"] else 0.15)
    )  # fmt: skip


BRANIN = Space(x=Float(-5.0, 10.0), y=Int(0, 15), kind=Choice(["plain", "raised", "tilted"]))


def branin(params: Any) -> float:
    """Return Branin's function with a whole-numbered second argument, one of three variants."""
    x, y = params["x"], params["y"]
    value = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    value += 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10
    return float(value + {"plain": 0.0, "raised": 5.0, "tilted": 0.5 * abs(x)}[params["kind"]])


HARTMANN = Space({f"x{index}": Float(0.0, 1.0) for index in range(6)})
_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(params: Any) -> float:
    """Return Hartmann's function of six variables; its minimum is -3.322."""
    x = np.array([params[f"x{index}"] for index in range(6)])
    return -float(np.array([1.0, 1.2, 3.0, 3.2]) @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))


PROBLEMS: dict[str, tuple[Space, Objective]] = {
    "branin, mixed": (BRANIN, branin),
    "hartmann 6": (HARTMANN, hartmann),
    "training, 8 mixed": (MIXED, training),
}


def run_async(
    sampler: Sampler, objective: Objective, trials: int, pending: int, seed: int
) -> float:
    """Return the best value of ``trials`` evaluations that end in random order."""
    rng = np.random.default_rng([seed, 99])
    running: list[tuple[float, int, Params]] = []  # (end, number, params)
    now, best = 0.0, math.inf
    for number in range(trials + pending):
        if len(running) == pending or number >= trials:
            now, done, params = min(running, key=lambda job: job[:2])
            running.remove((now, done, params))
            value = objective(params)
            best = min(best, value)
            sampler.tell(done, 1, value)
        if number < trials:
            params = sampler.suggest(number) or {}
            sampler.pend(number, params)
            running.append((now + rng.uniform(0.5, 1.5), number, params))
    return best


def run_skopt(space: Space, objective: Objective, trials: int, seed: int) -> float:
    """Return the best value of skopt's own optimiser, one evaluation at a time."""
    from skopt import Optimizer
    from skopt.space import Categorical, Integer, Real

    dimensions: list[Any] = []
    for domain in space.values():
        if isinstance(domain, Choice):
            dimensions.append(Categorical(list(domain.choices)))
            continue
        assert isinstance(domain, Float | Int)
        kind, prior = (Integer, Real)[isinstance(domain, Float)], ("uniform", "log-uniform")
        dimensions.append(kind(domain.low, domain.high, prior=prior[domain.log]))
    optimizer = Optimizer(
        dimensions, "GP", n_initial_points=max(10, 2 * len(space)), random_state=seed,
        initial_point_generator="sobol", model_queue_size=1,
    )  # fmt: skip
    best = math.inf
    for _ in range(trials):
        point = optimizer.ask()
        value = objective(space.validate(dict(zip(space, point, strict=True))))
        best = min(best, value)
        optimizer.tell(point, value)
    return best


def latency(results: int, pending: int = 64, asks: int = 300) -> None:
    """Print how long ``suggest`` takes while results come in one by one."""
    sampler = Bayes(MIXED, seed=1)
    source = Random(MIXED, seed=2)
    for number in range(results + pending):
        params = source.suggest(number) or {}
        sampler.pend(number, params)
        if number < results:
            sampler.tell(number, 1, training(params))
    begin = time.perf_counter()
    sampler.suggest(results + pending)
    first = time.perf_counter() - begin
    seconds = []
    for index in range(asks):
        sampler.tell(results + index, 1, 1.0 + 0.1 * math.sin(index))
        begin = time.perf_counter()
        sampler.suggest(results + pending + 1 + index)
        seconds.append(time.perf_counter() - begin)
    waits = prefetched(sampler, results + asks, results + pending + 1 + asks, asks)
    print(f"{results} results, {pending} pending, {asks} asks: first {first:.2f} s; "
          f"suggest {_spread(seconds)}; a free worker waits {_spread(waits)}")  # fmt: skip


def prefetched(sampler: Sampler, done: int, number: int, asks: int) -> list[float]:
    """Return how long a worker waits when a thread keeps 16 suggestions ready, 10 asks a second."""
    ready: queue.Queue[Params | None] = queue.Queue(maxsize=16)

    def produce() -> None:
        for index in range(asks + 16):
            ready.put(sampler.suggest(number + index))

    thread = threading.Thread(target=produce)
    thread.start()
    time.sleep(2.0)
    waits = []
    for index in range(asks):
        sampler.tell(done + index, 1, 1.0 + 0.1 * math.sin(index))
        begin = time.perf_counter()
        ready.get()
        waits.append(time.perf_counter() - begin)
        time.sleep(0.1)
    thread.join()
    return waits


def _spread(seconds: list[float]) -> str:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return f"p50 {p50:.2f} ms, p99 {p99:.1f} ms, mean {np.mean(seconds) * 1e3:.1f} ms"


def quality(seeds: int, skopt: bool, trials: int = 60, pending: int = 8) -> None:
    """Print mean and standard error of the best values found."""
    samplers: dict[str, Callable[[Space, int], Sampler]] = {
        "random": lambda space, seed: Random(space, seed=seed),
        "bayes gp": lambda space, seed: Bayes(space, seed=seed),
        "bayes et": lambda space, seed: Bayes(space, seed=seed, surrogate="et"),
    }
    chosen = range(100, 100 + seeds)  # not those that the sampler was designed with
    for name, (space, objective) in PROBLEMS.items():
        for label, make in samplers.items():
            found = [run_async(make(space, s), objective, trials, pending, s) for s in chosen]
            _line(name, label, found)
        if skopt:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about hyperparameters, numbers of Sobol points
                found = [run_skopt(space, objective, trials, s) for s in chosen]
            _line(name, "skopt, blocking", found)


def _line(problem: str, label: str, found: list[float]) -> None:
    error = np.std(found, ddof=1) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    print(f"{problem:18} {label:16} {np.mean(found):9.4f} ± {error:.4f}   "
          f"median {np.median(found):9.4f}   worst {max(found):9.4f}", flush=True)  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quality", type=int, default=0, metavar="SEEDS")
    parser.add_argument("--skopt", action="store_true", help="add the blocking reference (slow)")
    options = parser.parse_args()
    for results in (300, 700, 1000):
        latency(results)
    if options.quality:
        quality(options.quality, options.skopt)


if __name__ == "__main__":
    main()
