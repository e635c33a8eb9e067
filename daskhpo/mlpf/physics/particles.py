"""Particles of ragged events, whoever says they are there: simulation, rule-based flow, network.

All three come as rows in the columns of `Target`, row `i` of each standing for the same detector
element. Here they become the same kind of object, in double precision, with the gaps of the
Delphes candidates filled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError
from daskhpo.mlpf.schema import ParticleClass, Target

__all__ = ["CHARGED", "CLASSES", "Particles", "delta_phi", "in_words"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

CLASSES = tuple(kind for kind in ParticleClass if kind != ParticleClass.NONE)
CHARGED = (ParticleClass.CHARGED_HADRON, ParticleClass.ELECTRON, ParticleClass.MUON)
# Nearer to the beam than this, double precision cannot tell a momentum from its z component.
MAX_ETA = 18.0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Particles:
    """Particles of N events, the events one after the other: M rows, some of which may be empty.

    Parameters
    ----------
    kind : (M,) int64
        Values of `ParticleClass`; rows of class NONE hold no particle.
    pt, energy : (M,) float64
        GeV.
    eta, phi : (M,) float64
        Pseudorapidity within `MAX_ETA`; azimuth in [-pi, pi].
    counts : (N,) int64
        Rows of each event; they add up to M.

    Examples
    --------
    >>> from daskhpo.mlpf.events import load_sample
    >>> events = load_sample()[:10]
    >>> target = Particles.from_rows(events.ygen, events.counts)
    >>> len(target) == len(events.X), len(target.present()) < len(target)
    (True, True)
    """

    kind: Int
    pt: Float
    eta: Float
    phi: Float
    energy: Float
    counts: Int

    @classmethod
    def from_rows(cls, rows: npt.NDArray[np.floating], counts: npt.ArrayLike) -> Particles:
        """Read `ygen`, `ycand` or the output of `checkpoint.predict`.

        A Delphes candidate that is charged has energy 0 there, a neutral one pT 0. What is missing
        is filled as if the particle had no mass: pT = E / cosh(eta), E = pT cosh(eta).

        Parameters
        ----------
        rows : (M, 7)
            In the columns of `Target`.
        counts : (N,)
            Rows of each event.

        Returns
        -------
        Particles
            As many rows, in the same order.

        Raises
        ------
        DataError
            If the shapes do not fit or a value is not finite.

        Examples
        --------
        >>> photon = [3, 0, 0, 1.5, 0, 1, 10]  # class, charge, pT, eta, sin phi, cos phi, energy
        >>> Particles.from_rows(np.array([photon]), [1]).pt.round(3)
        array([4.251])
        """
        values = np.asarray(rows, np.float64)
        counts = np.asarray(counts, np.int64)
        if values.ndim != 2 or values.shape != (counts.sum(), len(Target)):
            raise DataError(
                f"particles have shape {values.shape}; allowed is ({counts.sum()}, {len(Target)}), "
                "one row for each element"
            )
        _check_finite(values)
        eta = np.clip(values[:, Target.ETA], -MAX_ETA, MAX_ETA)
        phi = np.arctan2(values[:, Target.SIN_PHI], values[:, Target.COS_PHI])
        pt, energy, cosh = values[:, Target.PT], values[:, Target.ENERGY], np.cosh(eta)
        filled_pt = np.where(pt == 0, energy / cosh, pt)
        filled_energy = np.where(energy == 0, pt * cosh, energy)
        kind = values[:, Target.CLASS].astype(np.int64)
        return cls(kind, filled_pt, eta, phi, filled_energy, counts)

    def __len__(self) -> int:
        """Return the number of rows M."""
        return len(self.kind)

    def __repr__(self) -> str:
        """Name the numbers of events and rows."""
        return f"Particles({len(self.counts)} events, {len(self)} rows)"

    def where(self, mask: npt.NDArray[np.bool]) -> Particles:
        """Choose rows; the events stay, perhaps without any."""
        counts = np.bincount(self.event[mask], minlength=len(self.counts))
        values = {name: getattr(self, name)[mask] for name in ("kind", "pt", "eta", "phi")}
        return replace(self, **values, energy=self.energy[mask], counts=counts)

    def present(self) -> Particles:
        """Leave out the rows that hold no particle."""
        return self.where(self.kind != ParticleClass.NONE)

    @property
    def event(self) -> Int:
        """Number of the event to which each row belongs: (M,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def momenta(self) -> Float:
        """Four-momenta px, py, pz, E: (M, 4)."""
        px, py = self.pt * np.cos(self.phi), self.pt * np.sin(self.phi)
        return np.stack([px, py, self.pt * np.sinh(self.eta), self.energy], axis=1)

    def momentum(self, kind: ParticleClass) -> Float:
        """Return what is measured best of a class: pT of the charged, energy of the neutral."""
        return self.pt if kind in CHARGED else self.energy


def in_words(kind: ParticleClass) -> str:
    """Name a class as people do.

    Examples
    --------
    >>> in_words(ParticleClass.CHARGED_HADRON)
    'charged hadron'
    """
    return kind.name.lower().replace("_", " ")


def delta_phi(a: npt.ArrayLike, b: npt.ArrayLike) -> Float:
    """Return the angle from b to a, in [-pi, pi).

    Examples
    --------
    >>> delta_phi([3.0], [-3.0]).round(4)
    array([-0.2832])
    """
    turned: Float = (np.asarray(a) - np.asarray(b) + np.pi) % (2 * np.pi) - np.pi
    return turned


def _check_finite(rows: Float) -> None:
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        raise DataError(
            f"particle {row}: {Target(column).name.lower()} is {rows[row, column]}; it must be a "
            "finite number"
        )
