"""The transverse momentum that is missing: |sum of pT (cos phi, sin phi)| over all particles.

The reference is that of the target particles, those which left something in the detector; it is
not the momentum of the neutrinos, of which the event files know nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.physics.particles import Particles
from daskhpo.mlpf.physics.uncertainties import Quantity, Resamples, divide

__all__ = ["met_response", "missing_pt", "quantities"]

Float = npt.NDArray[np.float64]

QUARTILES = (25, 50, 75)


def missing_pt(particles: Particles) -> Float:
    """Compute the missing transverse momentum of each event, GeV: (N,).

    Examples
    --------
    >>> rows = np.array([[1, 1, 3.0, 0, 0, 1, 0], [3, 0, 4.0, 0, 1, 0, 0], [0, 0, 9.0, 0, 0, 1, 0]])
    >>> missing_pt(Particles.from_rows(rows, [3]))
    array([5.])
    """
    present = particles.present()
    event, events = present.event, len(present.counts)
    x = np.bincount(event, present.pt * np.cos(present.phi), minlength=events)
    y = np.bincount(event, present.pt * np.sin(present.phi), minlength=events)
    return np.hypot(x, y)


def met_response(reference: Float, other: Float) -> Float:
    """Divide the missing momenta of the events in which the reference misses any."""
    some = reference > 0
    return divide(other[some], reference[some])


def quantities(reference: Float, other: Float, resamples: Resamples) -> Iterator[Quantity]:
    """Yield the response of the missing momentum, and its difference, by median and IQR.

    Parameters
    ----------
    reference, other : (N,) float64
        From `missing_pt`, GeV.
    """
    event = np.arange(len(reference))
    response = met_response(reference, other)
    low, median, high = resamples.percentiles(response, event[reference > 0], QUARTILES).T
    yield Quantity("MET", "response median", "", 1.0, median)
    yield Quantity("MET", "response IQR", "", 0.0, high - low)
    yield Quantity("MET", "response width", "", 0.0, divide(high - low, median))
    low, median, high = resamples.percentiles(other - reference, event, QUARTILES).T
    yield Quantity("MET", "difference median", "GeV", 0.0, median)
    yield Quantity("MET", "difference IQR", "GeV", 0.0, high - low)
    apart = resamples.wasserstein(other, event, reference, event)
    yield Quantity("MET", "distance", "GeV", 0.0, apart)
