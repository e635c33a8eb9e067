"""One reconstruction of events held against the truth, in all respects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.physics import efficiency, missing, resolution, responses
from daskhpo.mlpf.physics.curves import Curve
from daskhpo.mlpf.physics.jets import JetDefinition, Jets, cluster
from daskhpo.mlpf.physics.particles import CLASSES, Particles, in_words
from daskhpo.mlpf.physics.responses import JetResponses
from daskhpo.mlpf.physics.uncertainties import Quantity, Resamples

__all__ = ["Judgement", "Reconstruction"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reconstruction:
    """Events as somebody says they were: the truth is one, too.

    Parameters
    ----------
    particles : Particles
        One row for each detector element.
    jets : Jets
        Of these particles.
    met : (N,) float64
        Missing transverse momentum of each event, GeV.
    """

    particles: Particles
    jets: Jets
    met: Float

    @classmethod
    def of(
        cls, rows: npt.NDArray[np.floating], counts: Int, definition: JetDefinition
    ) -> Reconstruction:
        """Read rows in the columns of `Target` and find their jets."""
        particles = Particles.from_rows(rows, counts)
        return cls(particles, cluster(particles, definition), missing.missing_pt(particles))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Judgement:
    """What a reconstruction is worth.

    Parameters
    ----------
    quantities : tuple of Quantity
        Of jets, missing momentum and each class of particles, in this order.
    curves : dict of dict of Curve
        By "jets" or the name of a class, then by the name of the curve.
    confusion : (6, 6) int64
        Elements by true class (row) and reconstructed class (column).
    reconstruction : Reconstruction
        Which is judged.
    jets : JetResponses
        Its jets matched to the true ones.
    """

    quantities: tuple[Quantity, ...]
    curves: dict[str, dict[str, Curve]]
    confusion: Int
    reconstruction: Reconstruction
    jets: JetResponses

    @classmethod
    def of(cls, truth: Reconstruction, other: Reconstruction, resamples: Resamples) -> Judgement:
        """Judge a reconstruction of the same elements by the truth."""
        true, said = truth.particles, other.particles
        jets = JetResponses.of(truth.jets, other.jets)
        of_particles = [
            *efficiency.quantities(true, said, resamples),
            *resolution.quantities(true, said, resamples),
        ]
        found = [
            *responses.quantities(jets, resamples),
            *missing.quantities(truth.met, other.met, resamples),
            *(q for kind in CLASSES for q in of_particles if q.group == in_words(kind)),
        ]
        curves = {"jets": responses.response_curves(jets, resamples)}
        for kind in CLASSES:
            curves[in_words(kind)] = {
                **efficiency.efficiency_curves(true, said, kind),
                **resolution.resolution_curves(true, said, kind, resamples),
            }
        confusion = efficiency.confusion(true, said)
        return cls(tuple(found), curves, confusion, other, jets)
