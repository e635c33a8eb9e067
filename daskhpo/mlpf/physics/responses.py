"""What becomes of jets: how many are found again, and with what momentum.

The response of a jet is pT / pT(reference) of a reference jet and its match. Its median shows the
scale, its interquartile range IQR = p75 - p25 the resolution; the papers' width is IQR / median,
which a wrong scale does not flatter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daskhpo.mlpf.physics.curves import JET_PT_EDGES, Curve, quartiles_in_bins
from daskhpo.mlpf.physics.jets import Jets
from daskhpo.mlpf.physics.matching import NO_MATCH, nearest
from daskhpo.mlpf.physics.uncertainties import Quantity, Resamples, divide

__all__ = ["JetResponses", "quantities", "response_curves"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

QUARTILES = (25, 50, 75)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JetResponses:
    """Reference jets and what was made of them.

    Parameters
    ----------
    reference, other : Jets
        Of the same events.
    match : (J,) int64
        From `nearest`.

    Examples
    --------
    >>> one = Jets(np.array([[40.0, 0.0, 0.0, 40.0]]), np.array([1]))
    >>> other = Jets(np.array([[30.0, 1.0, 0.0, 31.0]]), np.array([1]))
    >>> JetResponses.of(one, other).response.round(3)
    array([0.75])
    """

    reference: Jets
    other: Jets
    match: Int

    @classmethod
    def of(cls, reference: Jets, other: Jets) -> JetResponses:
        """Match the jets."""
        return cls(reference, other, nearest(reference, other))

    @property
    def matched(self) -> npt.NDArray[np.bool]:
        """Which reference jets have a match: (J,)."""
        return np.not_equal(self.match, NO_MATCH)

    @property
    def response(self) -> Float:
        """The pT of the match over that of the reference jet, for the matched ones."""
        ratio: Float = self.other.pt[self.match[self.matched]] / self.reference_pt
        return ratio

    @property
    def reference_pt(self) -> Float:
        """The pT of the reference jets that have a match, GeV."""
        return self.reference.pt[self.matched]

    @property
    def event(self) -> Int:
        """To which event each response belongs."""
        return self.reference.event[self.matched]


def quantities(jets: JetResponses, resamples: Resamples) -> Iterator[Quantity]:
    """Yield what the papers say of jets, and what guards it.

    The matched fraction is that of the reference jets; the unmatched fraction that of the other
    jets, to which no reference jet is near.
    """
    reference, other = jets.reference, jets.other
    n_reference, n_other = resamples.totals(reference.event), resamples.totals(other.event)
    matched = divide(resamples.totals(jets.event), n_reference)
    stray = nearest(other, reference) == NO_MATCH
    unmatched = divide(resamples.totals(other.event[stray]), n_other)
    low, median, high = resamples.percentiles(jets.response, jets.event, QUARTILES).T
    apart = resamples.wasserstein(other.pt, other.event, reference.pt, reference.event)
    yield Quantity("jets", "matched fraction", "", 1.0, matched)
    yield Quantity("jets", "unmatched fraction", "", 0.0, unmatched)
    yield Quantity("jets", "number / reference", "", 1.0, divide(n_other, n_reference))
    yield Quantity("jets", "response median", "", 1.0, median)
    yield Quantity("jets", "response IQR", "", 0.0, high - low)
    yield Quantity("jets", "response width", "", 0.0, divide(high - low, median))
    yield Quantity("jets", "pT distance", "GeV", 0.0, apart)


def response_curves(jets: JetResponses, resamples: Resamples) -> dict[str, Curve]:
    """Compute the response in bins of the reference jets' pT.

    Returns
    -------
    dict
        Curves "jet response median", "jet response width" and "jet matched fraction".
    """
    quartiles = quartiles_in_bins(
        JET_PT_EDGES, jets.reference_pt, jets.response, jets.event, resamples
    )
    medians = [q[:, 1] for q in quartiles]
    widths = [divide(q[:, 2] - q[:, 0], q[:, 1]) for q in quartiles]
    return {
        "jet response median": Curve.of_samples(JET_PT_EDGES, medians),
        "jet response width": Curve.of_samples(JET_PT_EDGES, widths),
        "jet matched fraction": Curve.of_fraction(JET_PT_EDGES, jets.reference.pt, jets.matched),
    }
