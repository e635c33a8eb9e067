"""Which particles are found, and which are made up.

A particle is found if its element is said to hold a particle of the same class:

    efficiency = N(said = true = class) / N(true = class)
    fake rate  = N(said = class, true another or none) / N(said = class)

as in the papers' code; it makes no statement on momenta.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.physics.curves import ETA_EDGES, MOMENTUM_EDGES, Curve
from daskhpo.mlpf.physics.particles import CLASSES, Particles, in_words
from daskhpo.mlpf.physics.uncertainties import Quantity, Resamples, divide
from daskhpo.mlpf.schema import ParticleClass

__all__ = ["confusion", "efficiency", "efficiency_curves", "fake_rate", "quantities"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


def confusion(target: Particles, other: Particles) -> Int:
    """Count elements by true class (row) and class that they are said to be (column).

    Parameters
    ----------
    target, other : Particles
        With one row for each of the same elements.

    Returns
    -------
    (6, 6) int64
        In the order of `ParticleClass`.
    """
    n = len(ParticleClass)
    return np.bincount(target.kind * n + other.kind, minlength=n * n).reshape(n, n)


def efficiency(
    target: Particles, other: Particles, kind: ParticleClass, resamples: Resamples
) -> Float:
    """Share of the true particles of a class that are found: (B + 1,) samples."""
    true, said = target.kind == kind, other.kind == kind
    return _share(true & said, true, target.event, resamples)


def fake_rate(
    target: Particles, other: Particles, kind: ParticleClass, resamples: Resamples
) -> Float:
    """Share of the particles said to be of a class that are not: (B + 1,) samples."""
    true, said = target.kind == kind, other.kind == kind
    return _share(said & ~true, said, target.event, resamples)


def quantities(target: Particles, other: Particles, resamples: Resamples) -> Iterator[Quantity]:
    """Yield efficiency and fake rate of each class."""
    for kind in CLASSES:
        group = in_words(kind)
        found = efficiency(target, other, kind, resamples)
        yield Quantity(group, "efficiency", "", 1.0, found)
        yield Quantity(group, "fake rate", "", 0.0, fake_rate(target, other, kind, resamples))


def efficiency_curves(target: Particles, other: Particles, kind: ParticleClass) -> dict[str, Curve]:
    """Compute efficiency and fake rate of a class in bins.

    Particles count as independent here: intervals are Wilson's, for a bin that all or no particle
    has passed has no spread from which a bootstrap could tell.

    Returns
    -------
    dict
        Curves "efficiency" and "fake rate" in bins of the true and the reconstructed pT
        (charged classes) or energy (neutral ones), "efficiency in eta" and "fake rate in eta".
    """
    true, said = target.kind == kind, other.kind == kind
    both = true & said
    return {
        "efficiency": Curve.of_fraction(MOMENTUM_EDGES, target.momentum(kind)[true], both[true]),
        "fake rate": Curve.of_fraction(MOMENTUM_EDGES, other.momentum(kind)[said], ~both[said]),
        "efficiency in eta": Curve.of_fraction(ETA_EDGES, target.eta[true], both[true]),
        "fake rate in eta": Curve.of_fraction(ETA_EDGES, other.eta[said], ~both[said]),
    }


def _share(
    some: npt.NDArray[np.bool], of: npt.NDArray[np.bool], event: Int, resamples: Resamples
) -> Float:
    return divide(resamples.totals(event[some]), resamples.totals(event[of]))
