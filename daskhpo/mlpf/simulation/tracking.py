"""Which charged particles become tracks, and how well the tracker measures them.

Efficiencies and resolutions are those of the Delphes CMS card; the smearing of the angles is that
of the card behind the public particle-flow set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.schema import ParticleClass
from daskhpo.mlpf.simulation.particles import Particles
from daskhpo.mlpf.simulation.propagation import Surface

__all__ = ["Tracks", "log_normal", "reconstruct"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

ETA_MAX = 2.5
ANGLE_SIGMA = 0.01  # of eta and of phi
HADRON, ELECTRON, MUON = (
    ParticleClass.CHARGED_HADRON,
    ParticleClass.ELECTRON,
    ParticleClass.MUON,
)

# {class: (soft, medium) efficiencies in the barrel, |eta| <= 1.5, and beyond}; soft is up to 1 GeV
EFFICIENCY = {
    HADRON: ((0.70, 0.95), (0.60, 0.85)),
    ELECTRON: ((0.73, 0.95), (0.50, 0.83)),
    MUON: ((0.75, 0.99), (0.70, 0.98)),
}
ELECTRON_HARD = (0.99, 0.90)  # from 100 GeV on, barrel and beyond
MUON_HARD = 1_000.0  # GeV; from here the efficiency falls as exp(0.5 - 5e-4 pT)

# {class: (constant, slope per GeV) of sigma(pT) / pT for |eta| up to 0.5, 1.5 and 2.5}
RESOLUTION = {
    HADRON: ((0.06, 1.3e-3), (0.10, 1.7e-3), (0.25, 3.1e-3)),
    ELECTRON: ((0.03, 1.3e-3), (0.05, 1.7e-3), (0.15, 3.1e-3)),
    MUON: ((0.01, 1.0e-4), (0.015, 1.5e-4), (0.025, 3.5e-4)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Measured tracks, sorted by event and in it by hadrons, electrons, muons.

    Parameters
    ----------
    particle : (n,) int64
        Row of the particle in `Particles`.
    kind : (n,) int64
        `ParticleClass` CHARGED_HADRON, ELECTRON or MUON.
    pt, eta, phi : (n,) float64
        As measured; GeV.
    resolution : (n,) float64
        sigma(pT) / pT.
    energy : (n,) float64
        From the measured momentum and the true mass; GeV.
    """

    particle: Int
    kind: Int
    pt: Float
    eta: Float
    phi: Float
    resolution: Float
    energy: Float


def reconstruct(particles: Particles, surface: Surface, rng: np.random.Generator) -> Tracks:
    """Find the tracks of charged particles and smear what is measured of them.

    Parameters
    ----------
    particles : Particles
        Those that `propagate` returned.
    surface : Surface
        Where they leave the tracker; efficiency and resolution depend on this pseudorapidity.
    rng : numpy.random.Generator
        The source of chance.

    Returns
    -------
    Tracks
    """
    pdg = np.abs(particles.pdg)
    kind = np.select([pdg == 11, pdg == 13], [int(ELECTRON), int(MUON)], int(HADRON))
    pt, eta = particles.pt, np.abs(surface.eta)
    chance = np.where(particles.charge != 0, efficiency(kind, pt, eta), 0.0)
    found = np.flatnonzero(rng.random(len(particles)) < chance)
    found = found[np.lexsort((kind[found], particles.event[found]))]
    sigma = resolution(kind[found], pt[found], eta[found])
    measured = log_normal(pt[found], sigma * pt[found], rng)
    own = particles.select(found)
    eta_seen = own.eta + rng.normal(0.0, ANGLE_SIGMA, len(found))
    phi_seen = surface.phi_start[found] + rng.normal(0.0, ANGLE_SIGMA, len(found))
    energy = np.hypot(measured * np.cosh(eta_seen), own.mass)
    return Tracks(found, kind[found], measured, eta_seen, phi_seen, sigma, energy)


def efficiency(kind: Int, pt: Float, eta: Float) -> Float:
    """Return the chance that a charged particle leaves a track.

    Parameters
    ----------
    kind : (n,) int64
        `ParticleClass` of the particle.
    pt : (n,) float64
        True transverse momentum, GeV.
    eta : (n,) float64
        Absolute pseudorapidity where it leaves the tracker.
    """
    table = np.zeros((len(ParticleClass), 2, 2))  # [class, forward, hard]
    for of_kind, chances in EFFICIENCY.items():
        table[of_kind] = chances
    forward = (eta > 1.5).astype(np.int64)
    result: Float = table[kind, forward, (pt > 1.0).astype(np.int64)]
    hard = (kind == ELECTRON) & (pt > 100.0)
    result[hard] = np.array(ELECTRON_HARD)[forward[hard]]
    result[(pt <= 0.1) | (eta > ETA_MAX)] = 0.0
    falls = (kind == MUON) & (pt > MUON_HARD)
    result[falls] *= np.exp(0.5 - 5e-4 * pt[falls])
    return result


def resolution(kind: Int, pt: Float, eta: Float) -> Float:
    """Return sigma(pT) / pT, at most 1; parameters as in `efficiency`."""
    result = np.zeros(len(pt))
    region = np.searchsorted([0.5, 1.5], eta, side="left")
    for of_kind, table in RESOLUTION.items():
        constant, slope = np.array(table)[region].T
        chosen = kind == of_kind
        result[chosen] = np.hypot(constant, slope * pt)[chosen]
    return np.minimum(result, 1.0)


def log_normal(mean: Float, sigma: Float, rng: np.random.Generator) -> Float:
    """Draw from log-normal distributions of given mean and standard deviation.

    A mean of 0 gives 0.

    Parameters
    ----------
    mean, sigma : (n,) float64
        Of the variable itself, not of its logarithm.
    rng : numpy.random.Generator
        The source of chance; one draw per element, also where the mean is 0.
    """
    normal = rng.standard_normal(len(mean))
    safe = np.where(mean > 0, mean, 1.0)
    width = np.sqrt(np.log1p((sigma / safe) ** 2))
    drawn: Float = np.where(mean > 0, safe * np.exp(width * normal - 0.5 * width**2), 0.0)
    return drawn
