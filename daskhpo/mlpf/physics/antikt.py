"""Anti-kT jets without FastJet: exact, in numpy, one event at a time.

The generalised kT algorithms with power -1 (Cacciari, Salam, Soyez, JHEP 04 (2008) 063). Of all
pairs and single particles the one with the least distance is taken,

    d_ij = min(s_i, s_j) D_ij,    d_i = s_i,    s = pT^-2 (pp)  or  E^-2 (e+e-),
    D_ij = (dy^2 + dphi^2) / R^2 (pp)  or  (1 - cos theta_ij) / (1 - cos R) (e+e-):

a pair is added up (E-scheme), a single particle becomes a jet, until none is left.

The least d_ij belongs to a particle and its nearest neighbour in D alone (Cacciari, Salam, Phys.
Lett. B 641 (2006) 57), so only nearest neighbours are kept: about n^2 operations for n particles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Geometry", "antikt", "ee_genkt", "find_jets"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

SMALLEST = 1e-300  # squared scale below which FastJet, too, takes no inverse
MAX_RAPIDITY = 1e5  # of what flies along the beam, as in FastJet
NOBODY = -1
ROWS = 256  # particles whose distances to all others are held at once


@dataclass(frozen=True, slots=True)
class Geometry:
    """What an algorithm makes of momenta.

    Parameters
    ----------
    place : callable, (n, 4) -> (n, k)
        Coordinates of momenta.
    distance : callable, (l, 1, k), (n, k) -> (l, n)
        D of places from places; 1 at the jet radius.
    scale : callable, (n, 4) -> (n,)
        s of momenta.
    """

    place: Callable[[Float], Float]
    distance: Callable[[Float, Float], Float]
    scale: Callable[[Float], Float]


def antikt(radius: float) -> Geometry:
    """Anti-kT for hadron collisions: rapidity and azimuth, pT^-2."""

    def distance(a: Float, b: Float) -> Float:
        apart = np.abs(a[..., 1] - b[..., 1])  # of azimuths in [-pi, pi]
        squared: Float = (a[..., 0] - b[..., 0]) ** 2 + np.minimum(apart, 2 * np.pi - apart) ** 2
        return squared / radius**2

    return Geometry(_rapidity_phi, distance, lambda p: _inverse(p[:, 0] ** 2 + p[:, 1] ** 2))


def ee_genkt(radius: float) -> Geometry:
    """Generalised kT with power -1 for e+e- collisions: angles between momenta, E^-2."""

    def distance(a: Float, b: Float) -> Float:
        cosine = (a * b).sum(-1)
        apart: Float = (1 - cosine) / (1 - np.cos(radius))
        return apart

    return Geometry(_direction, distance, lambda p: _inverse(p[:, 3] ** 2))


def find_jets(momenta: Float, geometry: Geometry) -> Float:
    """Cluster the particles of one event.

    Use it where FastJet is not installed, and to check it: results agree to rounding. 100
    particles take milliseconds, 4,000 less than a second.

    Parameters
    ----------
    momenta : (n, 4) float64
        px, py, pz, E in GeV.
    geometry : Geometry
        `antikt(0.4)` or `ee_genkt(0.7)`, say.

    Returns
    -------
    (k, 4) float64
        All inclusive jets, in the order in which they were found.

    Examples
    --------
    >>> event = np.array([[30.0, 0.0, 0.0, 30.0], [9.0, 1.0, 0.0, 9.1], [-20.0, 0.0, 0.0, 20.0]])
    >>> find_jets(event, antikt(0.4))
    array([[ 39. ,   1. ,   0. ,  39.1],
           [-20. ,   0. ,   0. ,  20. ]])
    """
    state, jets = _Clustering(momenta, geometry), []
    for _ in range(len(momenta)):
        i, j = state.closest()
        if j is None:
            jets.append(state.p[i].copy())
            state.remove(i)
        else:
            state.merge(i, j)
    return np.array(jets).reshape(-1, 4)


class _Clustering:
    """The particles that are left, and the nearest neighbour of each."""

    def __init__(self, momenta: Float, geometry: Geometry) -> None:
        n = len(momenta)
        self.geometry = geometry
        self.p = momenta.astype(np.float64, copy=True)
        self.place, self.scale = geometry.place(self.p), geometry.scale(self.p)
        self.gone = np.zeros(n)  # infinite once a particle is in a jet: far from everything
        self.nearest = np.full(n, NOBODY)  # within R
        self.distance = np.ones(n)  # D of the nearest; 1 if there is none
        for start in range(0, n, ROWS):
            self._look_around(np.arange(start, min(start + ROWS, n)))

    def closest(self) -> tuple[int, int | None]:
        """Find the least distance: of a pair i, j, or of i alone."""
        i = int((self.scale * self.distance + self.gone).argmin())
        j = int(self.nearest[i])
        return i, None if j == NOBODY else j

    def remove(self, i: int) -> None:
        """Take a jet out."""
        self.gone[i], self.nearest[i] = np.inf, NOBODY
        self._look_around(np.flatnonzero(self.nearest == i))

    def merge(self, i: int, j: int) -> None:
        """Add particle j to particle i."""
        self.gone[j], self.nearest[j] = np.inf, NOBODY
        self.p[i] += self.p[j]
        self.place[i] = self.geometry.place(self.p[i, None])[0]
        self.scale[i] = self.geometry.scale(self.p[i, None])[0]
        self.nearest[i] = i  # so that it is among those whose neighbour is no longer there
        self._look_around(np.flatnonzero((self.nearest == i) | (self.nearest == j)))
        from_i = self._distances(np.array([i]))[0]
        closer = from_i < self.distance
        self.nearest[closer], self.distance[closer] = i, from_i[closer]

    def _look_around(self, rows: Int) -> None:
        """Find the nearest neighbours of `rows` anew."""
        apart = self._distances(rows)
        closest = apart.argmin(axis=1)
        distance = apart[np.arange(len(rows)), closest]
        self.nearest[rows] = np.where(distance < 1, closest, NOBODY)
        self.distance[rows] = np.minimum(distance, 1.0)

    def _distances(self, rows: Int) -> Float:
        """D of `rows` from everything, (rows, n): infinite to itself and to what is gone."""
        apart = self.geometry.distance(self.place[rows, None, :], self.place) + self.gone
        apart[np.arange(len(rows)), rows] = np.inf
        return apart


def _rapidity_phi(p: Float) -> Float:
    """FastJet's rapidity: a mass squared below zero, from rounding or a network, counts as zero."""
    pt2 = p[:, 0] ** 2 + p[:, 1] ** 2
    along = np.abs(p[:, 2])
    mass2 = np.maximum((p[:, 3] + p[:, 2]) * (p[:, 3] - p[:, 2]) - pt2, 0.0)
    beam = (pt2 == 0) & (p[:, 3] == along)
    ratio = np.where(beam, 1.0, pt2 + mass2) / np.where(beam, 1.0, p[:, 3] + along) ** 2
    rapidity = np.where(beam, -MAX_RAPIDITY - along, 0.5 * np.log(ratio))
    return np.stack(
        [np.where(p[:, 2] > 0, -rapidity, rapidity), np.arctan2(p[:, 1], p[:, 0])], axis=1
    )


def _direction(p: Float) -> Float:
    """Unit vector; along z where there is no momentum."""
    size = np.sqrt((p[:, :3] ** 2).sum(axis=1, keepdims=True))
    along_z = np.array([0.0, 0.0, 1.0])
    unit: Float = np.where(size > 0, p[:, :3] / np.where(size > 0, size, 1.0), along_z)
    return unit


def _inverse(squared: Float) -> Float:
    return 1.0 / np.maximum(squared, SMALLEST)
