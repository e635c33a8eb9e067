"""Generated particles of a batch of collisions, as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Particles"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Particles:
    """The stable particles of some events, one row each, in any order of events.

    Parameters
    ----------
    pdg : (n,) int64
        Particle numbers of the Particle Data Group.
    charge : (n,) float64
        In units of the positron's charge.
    momentum : (n, 3) float64
        px, py, pz in GeV.
    energy : (n,) float64
        GeV.
    vertex : (n, 3) float64
        Where the particle was made, in mm from the detector's centre.
    event : (n,) int64
        Number of the event, from 0.
    n_events : int
        Number of events; some may have no particle.
    """

    pdg: Int
    charge: Float
    momentum: Float
    energy: Float
    vertex: Float
    event: Int
    n_events: int

    def __len__(self) -> int:
        """Return the number of particles."""
        return len(self.pdg)

    def __repr__(self) -> str:
        """Name the numbers of events and particles."""
        return f"Particles({self.n_events} events, {len(self)} particles)"

    @property
    def pt(self) -> Float:
        """Transverse momentum, GeV."""
        return np.hypot(self.momentum[:, 0], self.momentum[:, 1])

    @property
    def eta(self) -> Float:
        """Pseudorapidity of the momentum; the transverse momentum must not be 0."""
        eta: Float = np.arcsinh(self.momentum[:, 2] / self.pt)
        return eta

    @property
    def phi(self) -> Float:
        """Azimuth of the momentum, in [-pi, pi]."""
        phi: Float = np.arctan2(self.momentum[:, 1], self.momentum[:, 0])
        return phi

    @property
    def mass(self) -> Float:
        """Mass in GeV, from energy and momentum."""
        square = self.energy**2 - np.sum(self.momentum**2, axis=1)
        mass: Float = np.sqrt(np.maximum(square, 0.0))
        return mass

    def select(self, rows: npt.NDArray[Any] | slice) -> Particles:
        """Keep some particles (row numbers, mask or slice) of the same events."""
        if not isinstance(rows, slice) and rows.dtype == np.bool:
            rows = np.flatnonzero(rows)  # once, instead of in each of the columns
        return Particles(
            self.pdg[rows],
            self.charge[rows],
            self.momentum[rows],
            self.energy[rows],
            self.vertex[rows],
            self.event[rows],
            self.n_events,
        )

    def between(self, first: int, last: int) -> Particles:
        """Take the events `first` to `last` - 1, numbered from 0 again."""
        chosen = self.select((self.event >= first) & (self.event < last))
        return replace(chosen, event=chosen.event - first, n_events=last - first)

    @classmethod
    def concatenate(cls, parts: Sequence[Particles]) -> Particles:
        """Put sets of events one after the other."""
        sizes = [part.n_events for part in parts]
        total = sum(sizes)
        if not parts:
            none, vectors, whole = np.zeros(0), np.zeros((0, 3)), np.zeros(0, np.int64)
            return cls(whole, none, vectors, none, vectors, whole, 0)
        starts = np.cumsum(sizes) - sizes
        return cls.overlay(
            [
                replace(part, event=part.event + start, n_events=total)
                for part, start in zip(parts, starts, strict=True)
            ]
        )

    @classmethod
    def overlay(cls, parts: Sequence[Particles]) -> Particles:
        """Lay particles of the same events over one another, as pile-up does."""
        return cls(
            np.concatenate([part.pdg for part in parts]),
            np.concatenate([part.charge for part in parts]),
            np.concatenate([part.momentum for part in parts]),
            np.concatenate([part.energy for part in parts]),
            np.concatenate([part.vertex for part in parts]),
            np.concatenate([part.event for part in parts]),
            parts[0].n_events,
        )
