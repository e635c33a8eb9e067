"""Which jet of one collection is which of another: the nearest within a cone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.physics.jets import Jets
from daskhpo.mlpf.physics.particles import delta_phi

__all__ = ["MAX_DELTA_R", "NO_MATCH", "nearest"]

Int = npt.NDArray[np.int64]

MAX_DELTA_R = 0.1  # the papers'
NO_MATCH = -1


def nearest(reference: Jets, other: Jets, *, max_delta_r: float = MAX_DELTA_R) -> Int:
    """Find for each reference jet the nearest other jet of its event.

    As in the papers' code the match is not one to one: two reference jets may have the same
    nearest jet, whose momentum then counts twice. With jets of R = 0.4 and matches within 0.1
    this is rare.

    Parameters
    ----------
    reference, other : Jets
        Of the same N events.
    max_delta_r : float
        Matches have Delta R = sqrt(Delta eta^2 + Delta phi^2) below this.

    Returns
    -------
    (J,) int64
        Number of the other jet for each of the J reference jets, `NO_MATCH` where there is none.

    Examples
    --------
    >>> def jets(*phi):
    ...     momenta = np.array([[np.cos(a), np.sin(a), 0.0, 1.0] for a in phi])
    ...     return Jets(momenta, np.array([len(phi)]))
    >>> nearest(jets(0.0, 1.0), jets(2.0, 0.05, -0.02))
    array([ 2, -1])
    """
    left, right = _pairs(reference, other)
    apart = np.hypot(
        reference.eta[left] - other.eta[right], delta_phi(reference.phi[left], other.phi[right])
    )
    # Pairs of a reference jet in order of distance: the first that is seen is the nearest.
    order = np.lexsort((apart, left))
    order = order[apart[order] < max_delta_r]
    matched, first = np.unique(left[order], return_index=True)
    match = np.full(len(reference), NO_MATCH)
    match[matched] = right[order][first]
    return match


def _pairs(reference: Jets, other: Jets) -> tuple[Int, Int]:
    """Pair each reference jet with all other jets of its event."""
    partners = other.counts[reference.event]  # (J,)
    left = np.repeat(np.arange(len(reference)), partners)
    first = (np.cumsum(other.counts) - other.counts)[reference.event]
    within = np.arange(len(left)) - np.repeat(np.cumsum(partners) - partners, partners)
    return left, np.repeat(first, partners) + within
