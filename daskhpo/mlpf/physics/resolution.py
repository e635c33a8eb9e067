"""How well particles are measured that are found.

Momenta by (reconstructed - true) / true, pT for charged and energy for neutral classes; angles by
the difference itself, for eta and phi may be 0. Each by its median (bias) and its interquartile
range, which tails do not move.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.physics.curves import ETA_EDGES, MOMENTUM_EDGES, Curve, quartiles_in_bins
from daskhpo.mlpf.physics.particles import CHARGED, CLASSES, Particles, delta_phi, in_words
from daskhpo.mlpf.physics.uncertainties import Quantity, Resamples, divide
from daskhpo.mlpf.schema import ParticleClass

__all__ = ["quantities", "residuals", "resolution_curves"]

Float = npt.NDArray[np.float64]

QUARTILES = (25, 50, 75)


def residuals(target: Particles, other: Particles, kind: ParticleClass) -> dict[str, Float]:
    """Compare the particles of a class that are found with the true ones.

    Parameters
    ----------
    target, other : Particles
        With one row for each of the same elements.
    kind : ParticleClass

    Returns
    -------
    dict of (n,) float64
        "pT" or "energy" (relative), "eta" and "phi" (differences, rad), for the n elements that
        are of this class in both.
    """
    both = (target.kind == kind) & (other.kind == kind)
    true, said = target.momentum(kind)[both], other.momentum(kind)[both]
    return {
        "pT" if kind in CHARGED else "energy": divide(said - true, true),
        "eta": other.eta[both] - target.eta[both],
        "phi": delta_phi(other.phi[both], target.phi[both]),
    }


def quantities(target: Particles, other: Particles, resamples: Resamples) -> Iterator[Quantity]:
    """Yield median and interquartile range of the residuals of each class."""
    for kind in CLASSES:
        group = in_words(kind)
        event = target.event[(target.kind == kind) & (other.kind == kind)]
        for name, values in residuals(target, other, kind).items():
            low, median, high = resamples.percentiles(values, event, QUARTILES).T
            unit = "rad" if name == "phi" else ""
            yield Quantity(group, f"{name} bias", unit, 0.0, median)
            yield Quantity(group, f"{name} resolution", unit, 0.0, high - low)


def resolution_curves(
    target: Particles, other: Particles, kind: ParticleClass, resamples: Resamples
) -> dict[str, Curve]:
    """Compute the interquartile range of the momentum of a class in bins.

    Returns
    -------
    dict
        Curves "resolution" in bins of the true pT or energy and "resolution in eta" of the true
        eta.
    """
    both = (target.kind == kind) & (other.kind == kind)
    momentum = next(iter(residuals(target, other, kind).values()))
    event = target.event[both]

    def curve(at: Float, edges: Float) -> Curve:
        quartiles = quartiles_in_bins(edges, at[both], momentum, event, resamples)
        return Curve.of_samples(edges, [q[:, 2] - q[:, 0] for q in quartiles])

    return {
        "resolution": curve(target.momentum(kind), MOMENTUM_EDGES),
        "resolution in eta": curve(target.eta, ETA_EDGES),
    }
