"""Which generated particle each track and cluster of an EDM4HEP event stands for.

The rules are those with which the public CLIC and CLD sets were made (Pata et al., Commun. Phys. 7
(2024) 124, and the software of that paper):

1. A stable particle (generator status 1) that is no neutrino also owns what its immediate
   daughters left in the detector.
2. It is visible if it made at least 20 % of the hits of one track, or if more than 5 % of its
   energy lies in clusters.
3. In falling order of energy, each visible particle takes the free track of which it made the
   most hits; if there is none, the free cluster in which it left the most energy.
4. A visible particle for which nothing was free joins the particle that holds the cluster with
   most of its energy: their four-momenta add up, the class stays that of the holder. If it left
   no energy in any cluster, it is no target.

What was taken differently: several particles that join one holder all count (upstream, only the
last does), and a particle without energy in any cluster joins nobody (upstream, the holder of
cluster 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array

__all__ = ["Generated", "Matched", "links", "match"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

MIN_SHARE_OF_TRACK = 0.2
MIN_SHARE_OF_ENERGY = 0.05
STABLE = 1  # generator status
NEUTRINOS = (12, 14, 16)
NOBODY = -1


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """The generated particles of one event.

    Parameters
    ----------
    pdg, status : (G,) int
        Particle id with its sign, and generator status.
    p4 : (G, 4) float
        px, py, pz and energy in GeV.
    daughters : (D, 2) int
        Pairs (mother, daughter).
    """

    pdg: Int64
    status: Int64
    p4: Float64
    daughters: Int64


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """The targets of one event.

    Parameters
    ----------
    of_track, of_cluster : (T,), (C,) int
        The generated particle of each track and cluster; -1 where there is none.
    p4 : (G, 4) float
        Four-momenta, with those that joined; GeV.
    """

    of_track: Int64
    of_cluster: Int64
    p4: Float64


def links(rows: Int64, columns: Int64, weights: Float64, shape: tuple[int, int]) -> csr_array:
    """Make the matrix of weighted links; the weights of a pair that is linked twice add up.

    Examples
    --------
    >>> import numpy as np
    >>> once, twice = np.array([0, 0]), np.array([1, 1])
    >>> links(once, twice, np.array([0.25, 0.5]), (1, 2)).toarray().tolist()
    [[0.0, 0.75]]
    """
    matrix = coo_array((weights, (rows, columns)), shape=shape).tocsr()
    matrix.sum_duplicates()
    return matrix


def match(generated: Generated, track_share: csr_array, cluster_energy: csr_array) -> Matched:
    """Give each track and cluster at most one generated particle.

    Parameters
    ----------
    generated : Generated
        G particles.
    track_share : (G, T) sparse
        The share of a track's hits that a particle made.
    cluster_energy : (G, C) sparse
        The energy that a particle left in a cluster; GeV.

    Returns
    -------
    Matched

    Examples
    --------
    One pion makes the track and leaves 3 GeV in cluster 0; a photon leaves 5 GeV in cluster 1:

    >>> import numpy as np
    >>> none = np.zeros((0, 2), dtype=np.int64)
    >>> p4 = np.array([[6.0, 0, 0, 6.0], [0, 5.0, 0, 5.0]])
    >>> event = Generated(np.array([211, 22]), np.array([1, 1]), p4, none)
    >>> share = csr_array(np.array([[1.0], [0.0]]))
    >>> energy = csr_array(np.array([[3.0, 0.0], [0.0, 5.0]]))
    >>> found = match(event, share, energy)
    >>> found.of_track.tolist(), found.of_cluster.tolist()
    ([0], [-1, 1])
    """
    family = _with_daughters(generated)
    track_share, cluster_energy = _tidy(family @ track_share), _tidy(family @ cluster_energy)
    visible = _visible(generated, track_share, cluster_energy)
    of_track = np.full(track_share.shape[1], NOBODY, dtype=np.int64)
    of_cluster = np.full(cluster_energy.shape[1], NOBODY, dtype=np.int64)
    p4, late = generated.p4.copy(), []
    for particle in visible[np.argsort(-generated.p4[visible, 3], kind="stable")]:
        if not (
            _take(particle, track_share, of_track) or _take(particle, cluster_energy, of_cluster)
        ):
            late.append(particle)
    for particle in late:
        best = _by_weight(particle, cluster_energy)[:1]
        p4[of_cluster[best]] += generated.p4[particle]  # its clusters all have a holder
    return Matched(of_track, of_cluster, p4)


def _with_daughters(generated: Generated) -> csr_array:
    """Return the (G, G) matrix that adds to a particle's links those of its daughters."""
    mother, daughter = generated.daughters.T
    owns = (generated.status == STABLE) & ~np.isin(np.abs(generated.pdg), NEUTRINOS)
    mother, daughter = mother[owns[mother]], daughter[owns[mother]]
    own = np.arange(len(generated.pdg))
    rows, columns = np.concatenate([own, mother]), np.concatenate([own, daughter])
    return links(rows, columns, np.ones(len(rows)), (len(own), len(own)))


def _visible(generated: Generated, track_share: csr_array, cluster_energy: csr_array) -> Int64:
    best_share = np.zeros(len(generated.pdg))
    if track_share.shape[1]:
        best_share = track_share.max(axis=1).toarray().ravel()
    seen = best_share >= MIN_SHARE_OF_TRACK
    seen |= cluster_energy.sum(axis=1) > MIN_SHARE_OF_ENERGY * generated.p4[:, 3]
    return np.flatnonzero(seen & (generated.status == STABLE))


def _take(particle: int, weights: csr_array, holders: Int64) -> bool:
    """Let the particle hold the free element with its largest weight, if there is one."""
    wanted = _by_weight(particle, weights)
    free = wanted[holders[wanted] == NOBODY]
    holders[free[:1]] = particle
    return len(free) > 0


def _by_weight(particle: int, weights: csr_array) -> Int64:
    """Elements to which the particle is linked, largest weight first; of equals, the first."""
    row = slice(weights.indptr[particle], weights.indptr[particle + 1])
    elements: Int64 = weights.indices[row].astype(np.int64)
    return elements[np.argsort(-weights.data[row], kind="stable")]


def _tidy(weights: csr_array) -> csr_array:
    weights = csr_array(weights)
    weights.eliminate_zeros()
    weights.sort_indices()
    return weights
