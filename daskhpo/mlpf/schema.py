"""What the columns of an event file mean, for each detector whose files are read.

All detectors agree on the first six columns (type, pT or ET, eta, sin phi, cos phi, momentum or
energy) and on the particles; what follows differs between detectors and between kinds of element.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["CLIC", "DELPHES", "SCHEMAS", "Measured", "ParticleClass", "Schema", "Target"]


class ParticleClass(IntEnum):
    """What a row of `ygen` or `ycand` is: the value of its first column."""

    NONE = 0
    CHARGED_HADRON = 1
    NEUTRAL_HADRON = 2
    PHOTON = 3
    ELECTRON = 4
    MUON = 5


class Measured(IntEnum):
    """The columns of `X` that all elements of all detectors share; GeV."""

    TYPE = 0
    PT = 1
    ETA = 2
    SIN_PHI = 3
    COS_PHI = 4
    ENERGY = 5


class Target(IntEnum):
    """Columns of `ygen` and `ycand`; GeV."""

    CLASS = 0
    CHARGE = 1
    PT = 2
    ETA = 3
    SIN_PHI = 4
    COS_PHI = 5
    ENERGY = 6


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one detector's elements.

    Parameters
    ----------
    name : str
        As in files and messages.
    kinds : tuple of (int, str, tuple of str)
        Value of the type column, name of the kind of element, names of its columns. Columns
        beyond them are zero.

    Examples
    --------
    >>> DELPHES.width, DELPHES.kind(2), DELPHES.column(1, 7)
    (12, 'track', 'energy_hcal')
    """

    name: str
    kinds: tuple[tuple[int, str, tuple[str, ...]], ...]

    @property
    def width(self) -> int:
        """Number of columns F of X."""
        return max(len(columns) for _, _, columns in self.kinds)

    @property
    def types(self) -> tuple[int, ...]:
        """The values that the type column may take."""
        return tuple(value for value, _, _ in self.kinds)

    @property
    def track_type(self) -> int:
        """The value of the type column of tracks."""
        return next(value for value, kind, _ in self.kinds if kind == "track")

    def kind(self, value: int) -> str:
        """Name the kind of element of this type."""
        return next(kind for known, kind, _ in self.kinds if known == value)

    def position(self, value: int) -> tuple[int, int, int]:
        """Columns of eta, sin phi and cos phi where the element meets the calorimeter.

        Tracks bend on their way there, so it is not where they point at first; where a detector's
        files do not say (CLIC), the direction stands in.
        """
        names = next(columns for known, _, columns in self.kinds if known == value)
        end = "_outer" if "eta_outer" in names else ""
        eta, sin, cos = (names.index(f"{name}{end}") for name in ("eta", "sin_phi", "cos_phi"))
        return eta, sin, cos

    def column(self, value: int, number: int) -> str:
        """Name a column of elements of this type; "unused" beyond the last."""
        names = next(columns for known, _, columns in self.kinds if known == value)
        return names[number] if number < len(names) else "unused"


# Public Delphes set, Zenodo 4559324 (Pata et al., Eur. Phys. J. C 81 (2021) 381).
DELPHES = Schema(
    "delphes",
    (
        (
            1,
            "tower",
            ("type", "et", "eta", "sin_phi", "cos_phi", "energy", "energy_ecal", "energy_hcal"),
        ),
        (
            2,
            "track",
            (
                *("type", "pt", "eta", "sin_phi", "cos_phi", "momentum"),
                *("eta_outer", "sin_phi_outer", "cos_phi_outer"),
                *("charge", "is_gen_muon", "is_gen_electron"),
            ),
        ),
    ),
)

# CLIC and CLD full simulation, Zenodo 8260741, 8414225, 8409592 (Pata et al., Commun. Phys. 7
# (2024) 124).
CLIC = Schema(
    "clic",
    (
        (
            1,
            "track",
            (
                *("type", "pt", "eta", "sin_phi", "cos_phi", "momentum"),
                *("chi2", "ndf", "dedx", "dedx_error", "radius_of_innermost_hit"),
                *("tan_lambda", "d0", "omega", "z0", "time"),
            ),
        ),
        (
            2,
            "cluster",
            (
                *("type", "et", "eta", "sin_phi", "cos_phi", "energy"),
                *("position_x", "position_y", "position_z", "itheta"),
                *("energy_ecal", "energy_hcal", "energy_other"),
                *("num_hits", "sigma_x", "sigma_y", "sigma_z"),
            ),
        ),
    ),
)

SCHEMAS = {schema.name: schema for schema in (DELPHES, CLIC)}
