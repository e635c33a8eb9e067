"""Where collisions happen along the beam, and further ones in the same crossing of the bunches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.simulation.particles import Particles

__all__ = ["mix_pileup", "vertex_z"]

Float = npt.NDArray[np.float64]

VERTEX_SIGMA = 53.0  # mm, of the collisions along the beam
VERTEX_LIMIT = 250.0  # mm


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
    shift = np.repeat(vertex_z(len(event), rng), size)
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


def vertex_z(events: int, rng: np.random.Generator) -> Float:
    """Draw positions of proton-proton collisions along the beam.

    Parameters
    ----------
    events : int
        How many.
    rng : numpy.random.Generator
        The source of chance.

    Returns
    -------
    (events,) float64
        In mm: Gaussian of 53 mm, drawn again beyond 250 mm.
    """
    z = rng.normal(0.0, VERTEX_SIGMA, events)
    while np.any(far := np.abs(z) > VERTEX_LIMIT):
        z[far] = rng.normal(0.0, VERTEX_SIGMA, int(far.sum()))
    return z


def _turn(vector: Float, angle: Float) -> Float:
    """Turn (n, 3) vectors about the beam."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = vector.T
    return np.column_stack([cos * x - sin * y, sin * x + cos * y, z])
