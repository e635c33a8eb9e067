"""Flight of particles through the solenoid: where each of them meets the calorimeters.

The tracker is a cylinder around the beam with a uniform field along it, as in the Delphes CMS
card (J. de Favereau et al., JHEP 02 (2014) 057, section 2.1): neutral particles fly straight,
charged ones on helices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.simulation.particles import Particles

__all__ = ["Surface", "propagate"]

Float = npt.NDArray[np.float64]

RADIUS = 1.29  # m
HALF_LENGTH = 3.00  # m
FIELD = 3.8  # T
LIGHT = 299_792_458.0  # m/s
PT_MIN_SQUARE = 1e-9  # GeV^2: below, a direction across the beam means nothing


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Where particles leave the tracker, and with which azimuth they seem to have started.

    Parameters
    ----------
    eta, phi : (n,) float64
        Pseudorapidity and azimuth of the point on the cylinder, seen from the detector's centre.
    phi_start : (n,) float64
        Azimuth of the momentum at the point of closest approach to the beam: what a tracker
        measures. For neutral particles that of the momentum.
    """

    eta: Float
    phi: Float
    phi_start: Float


def propagate(particles: Particles) -> tuple[Particles, Surface]:
    """Fly particles from their vertices to the calorimeters.

    Use it before `daskhpo.mlpf.simulation.tracking` and `daskhpo.mlpf.simulation.calorimeter`.

    Parameters
    ----------
    particles : Particles
        As generated.

    Returns
    -------
    particles : Particles
        Those that start inside the tracker with some transverse momentum and leave it.
    surface : Surface
        Where they leave it, row by row.
    """
    start = particles.vertex / 1e3
    inside = np.flatnonzero(
        (particles.pt**2 >= PT_MIN_SQUARE)
        & (np.hypot(start[:, 0], start[:, 1]) <= RADIUS)
        & (np.abs(start[:, 2]) <= HALF_LENGTH)
    )
    point, phi_start = np.empty((len(inside), 3)), np.empty(len(inside))
    bent = particles.charge[inside] != 0
    for fliers, fly in ((np.flatnonzero(~bent), _straight), (np.flatnonzero(bent), _helix)):
        point[fliers], phi_start[fliers] = fly(particles.select(inside[fliers]))
    across = np.hypot(point[:, 0], point[:, 1])
    seen = np.flatnonzero(across > 0)
    surface = Surface(
        np.arcsinh(point[seen, 2] / across[seen]),
        np.arctan2(point[seen, 1], point[seen, 0]),
        phi_start[seen],
    )
    return particles.select(inside[seen]), surface


def _straight(particles: Particles) -> tuple[Float, Float]:
    """Return exit points (n, 3) in m and azimuths (n,) of straight flights."""
    start, momentum = particles.vertex / 1e3, particles.momentum
    x, y, z = start.T
    px, py, pz = momentum.T
    along = px * x + py * y
    square = px**2 + py**2
    # The vertex is inside, so exactly one root lies ahead.
    to_side = (
        np.sqrt(np.maximum(along**2 + square * (RADIUS**2 - x**2 - y**2), 0)) - along
    ) / square
    way = np.minimum(to_side, _to_end(z, pz))
    return start + way[:, None] * momentum, particles.phi


def _helix(particles: Particles) -> tuple[Float, Float]:
    """Return exit points (n, 3) in m and azimuths (n,) at the closest approach to the beam."""
    x, y, z = particles.vertex.T / 1e3
    pt, phi = particles.pt, particles.phi
    bend = particles.charge * FIELD
    omega = bend * LIGHT**2 / (particles.energy * 1e9)  # rad/s
    radius = pt * 1e9 / (bend * LIGHT)  # m, with the sign of the charge
    velocity_z = particles.momentum[:, 2] / particles.energy * LIGHT
    centre_x, centre_y = x + radius * np.sin(phi), y - radius * np.cos(phi)
    centre = np.hypot(centre_x, centre_y)
    # Time of the closest approach; the approach nearest to the vertex is within a quarter turn.
    half_turn = np.pi / np.abs(omega)
    closest = (phi + np.arctan2(centre_x, centre_y)) / omega
    closest -= half_turn * np.round(closest / half_turn)
    time = _to_end(z, velocity_z)
    crosses = centre + np.abs(radius) >= RADIUS
    cosine = (radius**2 + centre**2 - RADIUS**2) / (2 * np.abs(radius) * centre)
    to_side = closest + np.abs(np.arccos(np.clip(cosine, -1, 1)) / omega)
    time = np.where(crosses, np.minimum(to_side, time), time)
    leaves = np.isfinite(time)
    time = np.where(leaves, time, 0.0)
    angle = phi - omega * time
    point = np.column_stack(
        [
            centre_x - radius * np.sin(angle),
            centre_y + radius * np.cos(angle),
            z + velocity_z * time,
        ]
    )
    point[~leaves] = 0.0  # on the beam, where `propagate` leaves it out
    return point, phi - omega * closest


def _to_end(z: Float, speed: Float) -> Float:
    """Return the time to the end cap ahead; a particle that flies across never gets there."""
    way = np.copysign(HALF_LENGTH, speed) - z
    with np.errstate(over="ignore"):
        return np.divide(way, speed, out=np.full_like(z, np.inf), where=speed != 0)
