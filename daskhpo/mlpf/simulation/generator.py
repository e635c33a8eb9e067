"""Making particle-flow events: Pythia collisions, pile-up, and the detector of `detector.py`.

Pythia 8 is an optional extra (`pip install daskhpo[mlpf]`). The settings are those of the public
Delphes set: 14 TeV, top mass 172.5 GeV, tune 14 (NNPDF 2.3 LO), particles that live for longer
than 10 mm/c stay as they are, pile-up from non-diffractive and diffractive collisions.

References: C. Bierlich et al., "A comprehensive guide to the physics and usage of PYTHIA 8.3",
SciPost Phys. Codebases 8 (2022), arXiv:2203.11601.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError
from daskhpo.mlpf.detector import simulate
from daskhpo.mlpf.events import Events
from daskhpo.mlpf.particles import Particles

__all__ = ["PROCESSES", "generate_events", "generate_particles", "mix_pileup"]

PP_14TEV = ("Beams:idA = 2212", "Beams:idB = 2212", "Beams:eCM = 14000.", "Tune:pp = 14")
EE_380GEV = ("Beams:idA = 11", "Beams:idB = -11", "Beams:eCM = 380.", "Tune:ee = 7")
COMMON = ("Print:quiet = on", "6:m0 = 172.5", "ParticleDecays:limitTau0 = on")

# {process: Pythia settings}
PROCESSES: dict[str, tuple[str, ...]] = {
    "ttbar": (*PP_14TEV, "Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
    "qcd": (*PP_14TEV, "HardQCD:all = on", "PhaseSpace:pTHatMin = 20."),
    "ee_ttbar": (*EE_380GEV, "Top:ffbar2ttbar(s:gmZ) = on"),
}
MINIMUM_BIAS = (
    *PP_14TEV,
    "SoftQCD:nonDiffractive = on",
    "SoftQCD:singleDiffractive = on",
    "SoftQCD:doubleDiffractive = on",
)

VERTEX_SIGMA = 53.0  # mm, of the collisions along the beam
VERTEX_LIMIT = 250.0  # mm
POOL = 1_000  # minimum-bias collisions, drawn with replacement and turned by a random angle
PARTICLES_AT_ONCE = 2_000_000  # of the detector simulation, about 1 GB
FAILURES_IN_A_ROW = 100


def generate_events(process: str, events: int, *, seed: int, pileup: float = 0.0) -> Events:
    """Make particle-flow events: collide, overlay pile-up, and simulate the detector.

    Use it where the public Delphes set is out of reach or other processes are wanted. One core
    makes about 120 top-quark events a second without pile-up, nearly all of it Pythia's time, and
    about 25 with a mean pile-up of 50.

    Parameters
    ----------
    process : str
        A key of `PROCESSES`: "ttbar" and "qcd" (pp, 14 TeV), "ee_ttbar" (e+e-, 380 GeV).
    events : int
        Number of events.
    seed : int
        The same seed gives the same events with the same versions of Pythia and numpy.
    pileup : float
        Mean number of further collisions in each event.

    Returns
    -------
    Events

    Raises
    ------
    DataError
        If the process is unknown, a number is negative, or Pythia fails.
    ImportError
        If pythia8mc is not installed.

    Examples
    --------
    >>> generate_events("higgs", 10, seed=1)
    Traceback (most recent call last):
    ...
    daskhpo.exceptions.DataError: process is 'higgs'; allowed are ttbar, qcd, ee_ttbar
    """
    hard, pool = _collide(process, events, pileup, seed)
    if not len(hard):
        return Events.empty()
    rng = np.random.default_rng(np.random.SeedSequence([seed, 3]))
    per_event = len(hard) / events + (pileup * len(pool) / POOL if pool is not None else 0.0)
    at_once = max(1, int(PARTICLES_AT_ONCE / per_event))
    parts = []
    for start in range(0, events, at_once):
        chunk = _events_between(hard, start, min(start + at_once, events))
        if pool is not None:
            chunk = mix_pileup(chunk, pool, mean=pileup, rng=rng)
        parts.append(simulate(chunk, rng))
    return Events.concatenate(parts)


def generate_particles(process: str, events: int, *, seed: int, pileup: float = 0.0) -> Particles:
    """Make collisions with Pythia, without a detector.

    Use it to study the generated truth, or with a detector of your own; `generate_events` does
    the whole chain, in chunks that bound its memory.

    Parameters
    ----------
    process, events, seed, pileup
        As in `generate_events`.

    Returns
    -------
    Particles
        The stable particles, neutrinos included; the vertices are spread along the beam by a
        Gaussian of 53 mm cut at 250 mm.

    Raises
    ------
    DataError
        If the process is unknown, a number is negative, or Pythia fails.
    ImportError
        If pythia8mc is not installed.
    """
    hard, pool = _collide(process, events, pileup, seed)
    if pool is None:
        return hard
    rng = np.random.default_rng(np.random.SeedSequence([seed, 3]))
    return mix_pileup(hard, pool, mean=pileup, rng=rng)


def mix_pileup(
    hard: Particles, pool: Particles, *, mean: float, rng: np.random.Generator
) -> Particles:
    """Overlay a Poisson number of collisions from a pool on each event.

    Parameters
    ----------
    hard : Particles
        The events.
    pool : Particles
        Minimum-bias collisions with vertices around 0; each draw is turned by a random angle
        about the beam and moved along it.
    mean : float
        Mean number of collisions to add to an event.
    rng : numpy.random.Generator
        The source of chance.

    Returns
    -------
    Particles
        Of the same events.
    """
    event = np.repeat(np.arange(hard.n_events), rng.poisson(mean, hard.n_events))
    drawn = rng.integers(pool.n_events, size=len(event))
    order = np.argsort(pool.event, kind="stable")
    sizes = np.bincount(pool.event, minlength=pool.n_events)
    starts = np.cumsum(sizes) - sizes
    size = sizes[drawn]
    before = np.cumsum(size) - size
    rows = order[np.arange(size.sum()) + np.repeat(starts[drawn] - before, size)]
    angle = np.repeat(rng.uniform(-np.pi, np.pi, len(event)), size)
    shift = np.repeat(_vertex_z(len(event), rng), size)
    extra = pool.select(rows)
    vertex = _turn(extra.vertex, angle)
    vertex[:, 2] += shift
    added = Particles(
        extra.pdg,
        extra.charge,
        _turn(extra.momentum, angle),
        extra.energy,
        vertex,
        np.repeat(event, size),
        hard.n_events,
    )
    return Particles.overlay([hard, added])


def _collide(
    process: str, events: int, pileup: float, seed: int
) -> tuple[Particles, Particles | None]:
    """Return the hard collisions at their vertices, and the pool where there is pile-up."""
    if process not in PROCESSES:
        raise DataError(f"process is {process!r}; allowed are {', '.join(PROCESSES)}")
    if events < 0:
        raise DataError(f"events is {events}; it must not be negative")
    if not (np.isfinite(pileup) and pileup >= 0):
        raise DataError(f"pileup is {pileup}; it must be a mean number of at least 0")
    if seed < 0:
        raise DataError(f"seed is {seed}; it must not be negative")
    hard = _run_pythia(PROCESSES[process], events, np.random.SeedSequence([seed, 0]))
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    hard.vertex[:, 2] += _vertex_z(events, rng)[hard.event]
    if pileup == 0:
        return hard, None
    return hard, _run_pythia(MINIMUM_BIAS, POOL, np.random.SeedSequence([seed, 2]))


def _run_pythia(settings: tuple[str, ...], events: int, seed: np.random.SeedSequence) -> Particles:
    pythia = _pythia(settings, seed)
    rows: list[tuple[float, ...]] = []
    event, failures = 0, 0
    while event < events:
        if not pythia.next():
            failures += 1
            if failures == FAILURES_IN_A_ROW:
                raise DataError(f"Pythia failed {failures} times in a row at event {event}")
            continue
        failures = 0
        rows.extend((*_row(p), event) for p in pythia.event if p.isFinal())
        event += 1
    table = np.array(rows, dtype=np.float64).reshape(-1, 10)
    return Particles(
        pdg=table[:, 0].astype(np.int64),
        charge=table[:, 1],
        momentum=table[:, 2:5],
        energy=table[:, 5],
        vertex=table[:, 6:9].copy(),
        event=table[:, 9].astype(np.int64),
        n_events=events,
    )


def _row(p: Any) -> tuple[float, ...]:
    return (p.id(), p.charge(), p.px(), p.py(), p.pz(), p.e(), p.xProd(), p.yProd(), p.zProd())


def _pythia(settings: tuple[str, ...], seed: np.random.SeedSequence) -> Any:
    try:
        import pythia8mc
    except ImportError as error:
        raise ImportError(
            "making events needs Pythia 8, which is not installed: pip install daskhpo[mlpf]"
        ) from error
    pythia = pythia8mc.Pythia("", False)
    number = int(seed.generate_state(1)[0]) % 900_000_000 + 1  # 0 would mean the clock
    own = ("ParticleDecays:tau0Max = 10.", "Random:setSeed = on", f"Random:seed = {number}")
    for line in (*COMMON, *own, *settings):
        if not pythia.readString(line):
            raise DataError(f"Pythia does not know the setting {line!r}")
    if not pythia.init():
        raise DataError(f"Pythia could not start with {', '.join(settings)}")
    return pythia


def _vertex_z(events: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw positions along the beam in mm, (events,), by rejection beyond the limit."""
    z = rng.normal(0.0, VERTEX_SIGMA, events)
    while np.any(far := np.abs(z) > VERTEX_LIMIT):
        z[far] = rng.normal(0.0, VERTEX_SIGMA, int(far.sum()))
    return z


def _turn(
    vector: npt.NDArray[np.float64], angle: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Turn (n, 3) vectors about the beam."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = vector.T
    return np.column_stack([cos * x - sin * y, sin * x + cos * y, z])


def _events_between(particles: Particles, first: int, last: int) -> Particles:
    """Take the events `first` to `last` - 1, numbered from 0 again."""
    chosen = particles.select((particles.event >= first) & (particles.event < last))
    return Particles(
        chosen.pdg,
        chosen.charge,
        chosen.momentum,
        chosen.energy,
        chosen.vertex,
        chosen.event - first,
        last - first,
    )
