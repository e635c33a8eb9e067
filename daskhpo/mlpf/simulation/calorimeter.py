"""The two calorimeters: cells, resolutions, thresholds, and the energy-flow rule.

Each calorimeter sums the energies of all particles that enter a cell, smears the sum and keeps it
where it is significant. Comparing it with the tracks that point to the cell gives the rule-based
candidates: a significant excess is a neutral particle, otherwise track and cell are averaged
(J. de Favereau et al., JHEP 02 (2014) 057, section 2.3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.schema import ParticleClass
from daskhpo.mlpf.simulation.tracking import log_normal

__all__ = ["ECAL", "HCAL", "Calorimeter", "Cells", "Deposits", "Readout", "TrackHits"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

NEUTRINOS = (12, 14, 16)
STRANGE = (310, 3122)  # K0S and Lambda fly beyond 10 mm and decay in the calorimeters
FORWARD = (3.125, 3.3, 3.475, 3.65, 3.825, 4.0, 4.175, 4.35, 4.525, 4.7, 5.0)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The grid of a calorimeter in pseudorapidity and azimuth.

    Parameters
    ----------
    eta_edges : (k + 1,) float64
        Ascending; a cell has its upper edge and lacks its lower one.
    phi_counts : (k,) int64
        Equal cells around the beam in each ring, the first of them from -pi on.
    """

    eta_edges: Float
    phi_counts: Int

    @property
    def size(self) -> int:
        """Number of cells."""
        return int(self.phi_counts.sum())

    def find(self, eta: Float, phi: Float) -> Int:
        """Return the number of the cell that each direction meets, -1 outside."""
        ring = np.searchsorted(self.eta_edges, eta, side="left") - 1
        outside = (ring < 0) | (ring >= len(self.phi_counts))
        ring = np.clip(ring, 0, len(self.phi_counts) - 1)
        counts = self.phi_counts[ring]
        sector = np.ceil((phi + np.pi) / (2 * np.pi) * counts).astype(np.int64) - 1
        starts = np.cumsum(self.phi_counts) - self.phi_counts
        found = starts[ring] + np.clip(sector, 0, counts - 1)
        return np.where(outside, -1, found)

    def edges(self, cell: Int) -> tuple[Float, Float, Float, Float]:
        """Return the lower and upper edges in eta, then in phi, of cells."""
        starts = np.cumsum(self.phi_counts) - self.phi_counts
        ring = np.searchsorted(starts, cell, side="right") - 1
        width = 2 * np.pi / self.phi_counts[ring]
        low = -np.pi + (cell - starts[ring]) * width
        return self.eta_edges[ring], self.eta_edges[ring + 1], low, low + width


@dataclass(frozen=True, slots=True, eq=False)
class Deposits:
    """Particles at the surface of the calorimeters: (n,) arrays, energies in GeV."""

    event: Int
    pdg: Int
    energy: Float
    eta: Float
    phi: Float


@dataclass(frozen=True, slots=True, eq=False)
class TrackHits:
    """Tracks at the surface: rows of their particles, energies in GeV, sigma(pT) / pT."""

    particle: Int
    energy: Float
    resolution: Float


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """What a calorimeter measured: one row per cell that was hit, by event and then by cell.

    Parameters
    ----------
    event, cell : (n,) int64
        Which cell of which event.
    eta, phi : (n,) float64
        Position, drawn uniformly in the cell.
    energy : (n,) float64
        GeV; 0 where the cell is below a threshold and gives no tower.
    neutral_energy : (n,) float64
        GeV; excess over the tracks that is a neutral candidate, else 0.
    row_of_particle : (particles,) int64
        Row that each particle deposits energy in, or -1.
    track_scale : (tracks,) float64
        What the energy-flow rule multiplies each track's momentum with.
    """

    event: Int
    cell: Int
    eta: Float
    phi: Float
    energy: Float
    neutral_energy: Float
    row_of_particle: Int
    track_scale: Float


@dataclass(frozen=True, slots=True, eq=False)
class Calorimeter:
    """One calorimeter with its cells, response and thresholds; `ECAL` and `HCAL` are the two.

    Parameters
    ----------
    cells : Cells
        The grid.
    neutral : ParticleClass
        What a neutral candidate of this calorimeter is.
    fraction : function of (n,) absolute PDG ids
        Share of a particle's energy that it leaves here.
    sigma : function of (n,) absolute eta and (n,) energy
        Resolution in GeV.
    energy_min : float
        GeV; threshold of towers and of neutral candidates.
    significance_min : float
        Threshold of both in units of sigma.
    """

    cells: Cells
    neutral: ParticleClass
    fraction: Callable[[Int], Float]
    sigma: Callable[[Float, Float], Float]
    energy_min: float
    significance_min: float

    def read_out(
        self,
        deposits: Deposits,
        tracks: TrackHits,
        rng: np.random.Generator,
    ) -> Readout:
        """Measure the particles of a batch of events and compare with their tracks.

        Parameters
        ----------
        deposits : Deposits
            All particles at the calorimeter's surface, tracked or not.
        tracks : TrackHits
            The tracks among them.
        rng : numpy.random.Generator
            The source of chance.

        Returns
        -------
        Readout
        """
        fraction = self.fraction(np.abs(deposits.pdg))
        hit = np.flatnonzero(fraction > 1e-9)
        cell = self.cells.find(deposits.eta[hit], deposits.phi[hit])
        hit, cell = hit[cell >= 0], cell[cell >= 0]
        keys, row = np.unique(deposits.event[hit] * self.cells.size + cell, return_inverse=True)
        row_of_particle = np.full(len(fraction), -1)
        row_of_particle[hit] = row
        true = sum_by(row, (deposits.energy * fraction)[hit], len(keys))
        event, cell = np.divmod(keys, self.cells.size)
        eta_low, eta_high, phi_low, phi_high = self.cells.edges(cell)
        centre = np.abs(0.5 * (eta_low + eta_high))
        energy = log_normal(true, self.sigma(centre, true), rng)
        sigma = self.sigma(centre, energy)
        energy[(energy < self.energy_min) | (energy < self.significance_min * sigma)] = 0.0
        neutral, scale = self._flow(
            energy, sigma, tracks, row_of_particle[tracks.particle], fraction[tracks.particle]
        )
        return Readout(
            event,
            cell,
            rng.uniform(eta_low, eta_high),
            rng.uniform(phi_low, phi_high),
            energy,
            neutral,
            row_of_particle,
            scale,
        )

    def _flow(
        self, energy: Float, sigma: Float, tracks: TrackHits, row: Int, fraction: Float
    ) -> tuple[Float, Float]:
        """Return neutral energies (cells,) and scales (tracks,) of the energy-flow rule."""
        here = row >= 0
        at = row[here]
        charged = sum_by(at, (tracks.energy * fraction)[here], len(energy))
        width = (tracks.resolution * tracks.energy)[here]
        variance = sum_by(at, width**2, len(energy))
        excess = np.maximum(energy - charged, 0.0)
        combined = np.sqrt(variance + sigma**2)
        is_neutral = (excess > self.energy_min) & (excess > self.significance_min * combined)
        # Mean of track and cell, weighted with their inverse variances; kept where the excess is
        # a particle of its own and where no track points to the cell.
        total = variance + sigma**2
        averages = ~is_neutral & (charged > 0)
        mean = np.divide(
            sigma**2 * charged + variance * energy, total, out=charged.copy(), where=averages
        )
        ratio = np.divide(mean, charged, out=np.ones_like(mean), where=averages)
        scale = np.ones(len(row))
        scale[here] = ratio[at]
        return np.where(is_neutral, excess, 0.0), scale


def sum_by(row: Int, values: Float, rows: int) -> Float:
    """Add up values that belong to the same row: (rows,) float64.

    Examples
    --------
    >>> sum_by(np.array([2, 0, 2]), np.array([1.0, 5.0, 2.0]), 3)
    array([5., 0., 3.])
    """
    return np.bincount(row, values, minlength=rows).astype(np.float64)


def _ecal_fraction(pdg: Int) -> Float:
    return np.select([np.isin(pdg, (11, 22, 111)), np.isin(pdg, STRANGE)], [1.0, 0.3], 0.0)


def _hcal_fraction(pdg: Int) -> Float:
    nothing = (11, 13, 22, 111, *NEUTRINOS)
    return np.select([np.isin(pdg, nothing), np.isin(pdg, STRANGE)], [0.0, 0.7], 1.0)


def _ecal_sigma(eta: Float, energy: Float) -> Float:
    central = np.sqrt((0.008 * energy) ** 2 + 0.11**2 * energy + 0.40**2)
    forward = np.sqrt((0.107 * energy) ** 2 + 2.08**2 * energy)
    return np.select(
        [eta <= 1.5, eta <= 2.5],
        [(1 + 0.64 * eta**2) * central, (2.16 + 5.6 * (eta - 2) ** 2) * central],
        forward,
    )


def _hcal_sigma(eta: Float, energy: Float) -> Float:
    central = np.sqrt((0.05 * energy) ** 2 + 1.5**2 * energy)
    return np.where(eta <= 3.0, central, np.sqrt((0.13 * energy) ** 2 + 2.7**2 * energy))


def _ecal_cells() -> Cells:
    """Lay 1 degree cells up to |eta| = 2.958 and 10 degrees beyond."""
    barrel = 0.0174 * np.arange(-85, 87)
    left, right = -2.958 + 0.0174 * np.arange(1, 85), 1.4964 + 0.0174 * np.arange(1, 85)
    negative = (*(-eta for eta in reversed(FORWARD)), -2.958)
    edges = np.concatenate([negative, left, barrel, right, FORWARD])
    edges = edges[np.concatenate([[True], np.diff(edges) > 1e-9])]
    centre = np.abs(0.5 * (edges[1:] + edges[:-1]))
    return Cells(edges, np.where(centre < 2.958, 360, 36))


def _hcal_cells() -> Cells:
    """Lay 5 degree cells up to |eta| = 1.653, 10 degrees up to 4.525 and 20 degrees beyond."""
    rings = (1.653, 1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 2.868, 2.95, *FORWARD)
    positive = np.concatenate([0.087 * np.arange(1, 19), rings])
    edges = np.concatenate([-positive[::-1], [0.0], positive])
    centre = np.abs(0.5 * (edges[1:] + edges[:-1]))
    return Cells(edges, np.select([centre < 1.653, centre < 4.525], [72, 36], 18))


ECAL = Calorimeter(
    cells=_ecal_cells(),
    neutral=ParticleClass.PHOTON,
    fraction=_ecal_fraction,
    sigma=_ecal_sigma,
    energy_min=0.5,
    significance_min=2.0,
)
# The card of the public set asks for 2 sigma here (the plain CMS card for 1): no tower of the
# reference events lies below 9.09 GeV, where 2 sigma(E) = E.
HCAL = Calorimeter(
    cells=_hcal_cells(),
    neutral=ParticleClass.NEUTRAL_HADRON,
    fraction=_hcal_fraction,
    sigma=_hcal_sigma,
    energy_min=1.0,
    significance_min=2.0,
)
