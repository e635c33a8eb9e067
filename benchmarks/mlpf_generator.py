"""Speed of the event generator: Pythia, pile-up and the detector simulation.

Run as `OMP_NUM_THREADS=1 python benchmarks/mlpf_generator.py`; it prints, in events a second on
one core,

- the detector simulation of top-quark pairs alone, without pile-up and with a mean of 50 and 200
  (target without pile-up: at least 500),
- laying the pile-up over the events,
- Pythia's collisions, with its record taken over by `nextBatch` and by a loop in Python.

All figures are from the CPU time of this process, medians of some repeats, so that other work on
the machine changes them little. It takes about a minute.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from daskhpo.mlpf.simulation import collisions, generator
from daskhpo.mlpf.simulation.detector import simulate
from daskhpo.mlpf.simulation.particles import Particles
from daskhpo.mlpf.simulation.pileup import mix_pileup
from daskhpo.mlpf.simulation.processes import MINIMUM_BIAS, PROCESSES

REPEATS = 5
EVENTS = {0: 600, 50: 40, 200: 10}  # {mean pile-up: events at once}
COLLISIONS = 100


def rate(events: int, work: Callable[[], Any]) -> float:
    """Events a second: median over repeats, after one call to warm up."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return events / statistics.median(times)


def detector(hard: Particles, pool: Particles) -> None:
    """Print the rates of pile-up and detector."""
    print("mean pile-up  particles/event  elements/event  mixing/s  detector/s")
    for mean, events in EVENTS.items():
        rng = np.random.default_rng(1)
        some = hard.between(0, events)

        def mixed(some: Particles = some, mean: int = mean) -> Particles:
            return mix_pileup(some, pool, mean=mean, rng=np.random.default_rng(1))

        seen = mixed() if mean else some
        mixing = f"{rate(events, mixed):8.0f}" if mean else f"{'-':>8}"
        simulating = rate(events, lambda seen=seen, rng=rng: simulate(seen, rng))  # type: ignore[misc]
        elements = simulate(seen, rng).counts.mean()
        print(
            f"{mean:12d} {len(seen) / events:16.0f} {elements:15.0f}  {mixing} {simulating:11.0f}"
        )


def take(p: Any) -> tuple[float, ...]:
    """Take one particle from Pythia's record."""
    return (p.id(), p.charge(), p.px(), p.py(), p.pz(), p.e(), p.xProd(), p.yProd(), p.zProd())


def pythia() -> None:
    """Print the rates of Pythia with both ways to take its record over."""
    print("\nprocess     nextBatch/s  loop/s  Pythia alone/s")
    for name, process in PROCESSES.items():
        started = collisions._start(process, np.random.SeedSequence(1))

        def batch(started: Any = started) -> None:
            made = started.nextBatch(COLLISIONS, "skip")
            collisions._particles(made, started.particleData)

        def loop(started: Any = started) -> None:
            for _ in range(COLLISIONS):
                started.next()
                [take(p) for p in started.event if p.isFinal()]

        def alone(started: Any = started) -> None:
            for _ in range(COLLISIONS):
                started.next()

        rates = [rate(COLLISIONS, work) for work in (batch, loop, alone)]
        print(f"{name:10s} {rates[0]:12.0f} {rates[1]:7.0f} {rates[2]:15.0f}")


def main() -> None:
    """Print the two tables."""
    hard = generator.generate_particles("ttbar", max(EVENTS.values()), seed=1)
    pool = collisions.collide(MINIMUM_BIAS, generator.POOL, np.random.SeedSequence(2))
    detector(hard, pool)
    pythia()


if __name__ == "__main__":
    main()
