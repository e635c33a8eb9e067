"""Jets of ragged events: anti-kT as in the papers, by FastJet where it is installed.

Cite FastJet (Cacciari, Salam, Soyez, Eur. Phys. J. C 72 (2012) 1896) where it made the jets; its
banner, which says so, is not printed.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError
from daskhpo.mlpf.physics import antikt
from daskhpo.mlpf.physics.particles import Particles
from daskhpo.mlpf.schema import Schema

__all__ = ["ANTIKT", "EE_GENKT", "JetDefinition", "Jets", "cluster", "definition_of", "engine"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Engine = Literal["fastjet", "numpy"]


@dataclass(frozen=True, slots=True)
class JetDefinition:
    """How particles become jets.

    Parameters
    ----------
    algorithm : "antikt" or "ee_genkt"
        Anti-kT in rapidity and azimuth for hadron collisions; generalised kT with power -1 in
        angles for e+e- collisions.
    radius : float
        R; rad for e+e-.
    min_pt : float
        GeV; softer jets are left out.

    Examples
    --------
    >>> print(JetDefinition())
    anti-kT R=0.4, pT > 5 GeV
    """

    algorithm: Literal["antikt", "ee_genkt"] = "antikt"
    radius: float = 0.4
    min_pt: float = 5.0

    def __post_init__(self) -> None:
        if self.algorithm not in ("antikt", "ee_genkt"):
            raise DataError(f"algorithm is {self.algorithm!r}; allowed are antikt and ee_genkt")
        if not 0 < self.radius < np.pi:
            raise DataError(f"radius is {self.radius}; it must lie between 0 and pi")
        if not self.min_pt >= 0:
            raise DataError(f"min_pt is {self.min_pt}; it must not be negative")

    def __str__(self) -> str:
        """Name the algorithm as papers do."""
        name = "anti-kT" if self.algorithm == "antikt" else "e+e- generalised kT (p=-1)"
        return f"{name} R={self.radius:g}, pT > {self.min_pt:g} GeV"


ANTIKT = JetDefinition()  # the papers' jets for Delphes and CMS
EE_GENKT = JetDefinition("ee_genkt", 0.7)  # and for CLIC


def definition_of(schema: Schema) -> JetDefinition:
    """Return the papers' jets for a detector.

    Examples
    --------
    >>> from daskhpo.mlpf.schema import CLIC
    >>> print(definition_of(CLIC))
    e+e- generalised kT (p=-1) R=0.7, pT > 5 GeV
    """
    return EE_GENKT if schema.name == "clic" else ANTIKT


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Jets:
    """Jets of N events, the events one after the other, the hardest of each event first.

    Parameters
    ----------
    momenta : (J, 4) float64
        px, py, pz, E in GeV.
    counts : (N,) int64
        Jets of each event; they add up to J.
    """

    momenta: Float
    counts: Int

    def __len__(self) -> int:
        """Return the number of jets J."""
        return len(self.momenta)

    def __repr__(self) -> str:
        """Name the numbers of events and jets."""
        return f"Jets({len(self.counts)} events, {len(self)} jets)"

    @property
    def event(self) -> Int:
        """Number of the event to which each jet belongs: (J,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def pt(self) -> Float:
        """Transverse momenta, GeV: (J,)."""
        return np.hypot(self.momenta[:, 0], self.momenta[:, 1])

    @property
    def eta(self) -> Float:
        """Pseudorapidities: (J,)."""
        tiny = np.finfo(np.float64).tiny
        return np.arcsinh(self.momenta[:, 2] / np.maximum(self.pt, tiny))

    @property
    def phi(self) -> Float:
        """Azimuths in [-pi, pi]: (J,)."""
        return np.arctan2(self.momenta[:, 1], self.momenta[:, 0])


def engine() -> Engine:
    """Name what makes the jets here: FastJet if it is installed, else our own code."""
    found = all(importlib.util.find_spec(name) for name in ("fastjet", "awkward"))
    return "fastjet" if found else "numpy"


def cluster(particles: Particles, definition: JetDefinition, *, by: Engine | None = None) -> Jets:
    """Find the jets of events.

    Parameters
    ----------
    particles : Particles
        Rows without a particle are ignored.
    definition : JetDefinition
        `definition_of(events.schema)`, or another.
    by : "fastjet" or "numpy"
        The code; by default `engine()`. Both find the same jets, FastJet about fifty times as
        fast.

    Returns
    -------
    Jets

    Examples
    --------
    >>> from daskhpo.mlpf.events import load_sample
    >>> events = load_sample()[:5]
    >>> jets = cluster(Particles.from_rows(events.ygen, events.counts), ANTIKT, by="numpy")
    >>> len(jets.counts), bool(jets.pt.min() > 5)
    (5, True)
    """
    present = particles.present()
    find = _fastjet if (by or engine()) == "fastjet" else _numpy
    momenta, event = find(present.momenta, present.counts, definition)
    pt = np.hypot(momenta[:, 0], momenta[:, 1])
    hard = pt >= definition.min_pt
    momenta, event, pt = momenta[hard], event[hard], pt[hard]
    counts = np.bincount(event, minlength=len(particles.counts))
    return Jets(momenta[np.lexsort((-pt, event))], counts)


def _numpy(momenta: Float, counts: Int, definition: JetDefinition) -> tuple[Float, Int]:
    make = antikt.antikt if definition.algorithm == "antikt" else antikt.ee_genkt
    geometry = make(definition.radius)
    events = np.split(momenta, np.cumsum(counts)[:-1]) if len(counts) else []
    jets = [antikt.find_jets(event, geometry) for event in events]
    found = np.array([len(event) for event in jets], np.int64)
    return np.concatenate([np.zeros((0, 4)), *jets]), np.repeat(np.arange(len(jets)), found)


def _fastjet(momenta: Float, counts: Int, definition: JetDefinition) -> tuple[Float, Int]:
    import awkward as ak
    import fastjet

    # The banner goes to standard output, where --json data may be.
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    if definition.algorithm == "antikt":
        made = fastjet.JetDefinition(fastjet.antikt_algorithm, definition.radius)
    else:
        made = fastjet.JetDefinition(fastjet.ee_genkt_algorithm, definition.radius, -1.0)
    names = ("px", "py", "pz", "E")
    flat = ak.zip(dict(zip(names, momenta.T, strict=True)))
    jets = fastjet.ClusterSequence(ak.unflatten(flat, counts), made).inclusive_jets()
    found = ak.to_numpy(ak.num(jets)).astype(np.int64)
    columns = [np.asarray(ak.to_numpy(ak.flatten(jets[name]))) for name in names]
    return np.stack(columns, axis=1), np.repeat(np.arange(len(counts)), found)
