"""Making particle-flow events: Pythia collisions, pile-up, and the detector of `detector.py`.

Events are made in parts that know nothing of one another: each has seeds of its own, so that a
set may be made part by part, by one process or by many, and is always the same. All of them draw
their pile-up from one pool of minimum-bias collisions.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from daskhpo.exceptions import DataError
from daskhpo.mlpf.events import Events
from daskhpo.mlpf.simulation.collisions import check_pythia, collide
from daskhpo.mlpf.simulation.detector import simulate
from daskhpo.mlpf.simulation.particles import Particles
from daskhpo.mlpf.simulation.pileup import mix_pileup, vertex_z
from daskhpo.mlpf.simulation.processes import MINIMUM_BIAS, PROCESSES, Process, process_named

__all__ = [
    "PROCESSES",
    "generate_events",
    "generate_events_in_parts",
    "generate_particles",
    "provenance",
]

EVENTS_PER_PART = 600  # without pile-up; starting Pythia costs as much as 40 events
EVENTS_PER_PART_WITH_PILEUP = 100
POOL = 1_000  # minimum-bias collisions, drawn with replacement and turned by a random angle
PARTICLES_AT_ONCE = 400_000  # of the detector simulation, about 200 MB


def generate_events(
    process: str, events: int, *, seed: int, pileup: float = 0.0, jobs: int = 1
) -> Events:
    """Make particle-flow events: collide, overlay pile-up, and simulate the detector.

    Use it where the public sets are out of reach or other processes are wanted; for more events
    than fit into memory take `generate_events_in_parts`. One core makes about 120 top-quark events
    a second without pile-up, nearly all of it Pythia's time, and about 25 with a mean pile-up of
    200. `benchmarks/mlpf_generator.py` measures it.

    Parameters
    ----------
    process : str
        A key of `PROCESSES`: "ttbar" and "qcd" (pp, 14 TeV); "ee_ttbar", "ee_zh", "ee_ww" and
        "ee_qq" (e+e-, 380 GeV). All are seen by the same detector, that of CMS.
    events : int
        Number of events.
    seed : int
        The same seed gives the same events with the same versions of Pythia and numpy.
    pileup : float
        Mean number of further collisions in each event; pp only.
    jobs : int
        Number of processes; the events do not depend on it. With more than one, a script must
        keep what it does under ``if __name__ == "__main__":``, as for `multiprocessing`.

    Returns
    -------
    Events

    Raises
    ------
    DataError
        If the process is unknown, a number is not allowed, or Pythia fails.
    ImportError
        If pythia8mc is not installed.

    Examples
    --------
    >>> generate_events("ee_ttbar", 10, seed=1, pileup=50)
    Traceback (most recent call last):
    ...
    daskhpo.exceptions.DataError: pileup is 50; ee_ttbar has none, electrons meet one at a time
    """
    return Events.concatenate(
        generate_events_in_parts(process, events, seed=seed, pileup=pileup, jobs=jobs)
    )


def generate_events_in_parts(
    process: str, events: int, *, seed: int, pileup: float = 0.0, jobs: int = 1
) -> Iterator[Events]:
    """Make the events of `generate_events`, some at a time.

    Use it to write them away as they come: no more than two parts for each process are in memory.

    Parameters
    ----------
    process, events, seed, pileup, jobs
        As in `generate_events`.

    Returns
    -------
    iterator of Events
        Up to 600 events in each, with pile-up up to 100; together those of `generate_events`.

    Raises
    ------
    DataError, ImportError
        As `generate_events`; what was asked for is looked at before the first part is made.
    """
    plan = _Plan(process, events, seed, pileup)
    if jobs < 1:
        raise DataError(f"jobs is {jobs}; it must be at least 1")
    check_pythia()
    return _in_order(plan, min(jobs, len(plan)))


def generate_particles(process: str, events: int, *, seed: int, pileup: float = 0.0) -> Particles:
    """Make collisions with Pythia, without a detector.

    Use it to study the generated truth, or with a detector of your own.

    Parameters
    ----------
    process, events, seed, pileup
        As in `generate_events`, which makes the same collisions; their pile-up is drawn anew.

    Returns
    -------
    Particles
        The stable particles, neutrinos included. The vertices of pp collisions are spread along
        the beam by a Gaussian of 53 mm cut at 250 mm; e+e- collide at the centre.

    Raises
    ------
    DataError, ImportError
        As `generate_events`.
    """
    plan = _Plan(process, events, seed, pileup)
    check_pythia()
    hard = Particles.concatenate([plan.collide(part) for part in range(len(plan))])
    pool = plan.pool()
    return hard if pool is None else mix_pileup(hard, pool, mean=pileup, rng=plan.rng(3, 0))


def provenance(process: str, *, seed: int, pileup: float = 0.0) -> dict[str, Any]:
    """Return what one has to know to make events again, as JSON data.

    Parameters
    ----------
    process, seed, pileup
        As in `generate_events`.

    Returns
    -------
    dict
        For `daskhpo.mlpf.formats.ragged_zarr.EventWriter`.

    Examples
    --------
    >>> provenance("ttbar", seed=1)["process"]
    'ttbar'
    """
    return {
        "process": process,
        "pileup": pileup,
        "seed": seed,
        "detector": "daskhpo.mlpf.simulation",
        "settings": list(process_named(process).settings),
        "versions": {name: _version(name) for name in ("daskhpo", "pythia8mc", "numpy")},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for; its length is the number of parts."""

    name: str
    events: int
    seed: int
    pileup: float

    def __post_init__(self) -> None:
        process = self.process
        if self.events < 0:
            raise DataError(f"events is {self.events}; it must not be negative")
        if not (np.isfinite(self.pileup) and self.pileup >= 0):
            raise DataError(f"pileup is {self.pileup}; it must be a mean number of at least 0")
        if self.pileup and not process.hadronic:
            raise DataError(
                f"pileup is {self.pileup}; {self.name} has none, electrons meet one at a time"
            )
        if self.seed < 0:
            raise DataError(f"seed is {self.seed}; it must not be negative")

    def __len__(self) -> int:
        return -(-self.events // self.part_size)

    @property
    def process(self) -> Process:
        return process_named(self.name)

    @property
    def part_size(self) -> int:
        return EVENTS_PER_PART_WITH_PILEUP if self.pileup else EVENTS_PER_PART

    def seeds(self, purpose: int, part: int) -> np.random.SeedSequence:
        """Purposes: 0 collisions, 1 their vertices, 2 the pool, 3 pile-up and detector."""
        return np.random.SeedSequence([self.seed, purpose, part])

    def rng(self, purpose: int, part: int) -> np.random.Generator:
        return np.random.default_rng(self.seeds(purpose, part))

    def collide(self, part: int) -> Particles:
        """Make the collisions of a part, at their vertices."""
        n = min(self.part_size, self.events - part * self.part_size)
        hard = collide(self.process, n, self.seeds(0, part))
        if self.process.hadronic:
            hard.vertex[:, 2] += vertex_z(n, self.rng(1, part))[hard.event]
        return hard

    def pool(self) -> Particles | None:
        """Make the collisions that all parts draw their pile-up from, where there is any."""
        return collide(MINIMUM_BIAS, POOL, self.seeds(2, 0)) if self.pileup else None


def _make(plan: _Plan, part: int, pool: Particles | None) -> Events:
    """Make one part, a bounded number of particles at a time."""
    hard, rng = plan.collide(part), plan.rng(3, part)
    added = plan.pileup * len(pool) / pool.n_events if pool is not None else 0.0
    at_once = max(1, int(PARTICLES_AT_ONCE / (len(hard) / hard.n_events + added)))
    made = []
    for first in range(0, hard.n_events, at_once):
        some = hard.between(first, min(first + at_once, hard.n_events))
        if pool is not None:
            some = mix_pileup(some, pool, mean=plan.pileup, rng=rng)
        made.append(simulate(some, rng))
    return Events.concatenate(made)


def _in_order(plan: _Plan, jobs: int) -> Iterator[Events]:
    if not len(plan):
        return
    pool = plan.pool()
    if jobs == 1:
        for part in range(len(plan)):
            yield _make(plan, part, pool)
        return
    # Started anew rather than forked: the caller may have threads.
    fresh = multiprocessing.get_context("spawn")
    workers = ProcessPoolExecutor(jobs, mp_context=fresh, initializer=_ignore_interrupts)
    under_way: deque[Future[Events]] = deque()
    try:
        for part in range(len(plan)):
            under_way.append(workers.submit(_make, plan, part, pool))
            if len(under_way) == 2 * jobs:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {jobs} processes that make events died; fewer jobs need less memory"
        ) from error
    finally:
        workers.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that collects the parts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
