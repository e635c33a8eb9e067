"""The collisions that can be made, as settings of Pythia.

Proton-proton collisions follow the public Delphes set: 14 TeV, tune 14 (NNPDF 2.3 LO), pile-up
from non-diffractive and diffractive collisions. Electron-positron collisions follow the processes
of the public CLIC set: 380 GeV, tune 7, with radiation off the initial and final state. Both:
top mass 172.5 GeV, particles that live for longer than 10 mm/c stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from daskhpo.exceptions import DataError

__all__ = ["MINIMUM_BIAS", "PROCESSES", "Process", "process_named"]

COMMON = (
    "6:m0 = 172.5",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.",
)
PP_14TEV = (
    *COMMON,
    "Beams:idA = 2212",
    "Beams:idB = 2212",
    "Beams:eCM = 14000.",
    "Tune:pp = 14",
)
EE_380GEV = (
    *COMMON,
    "Beams:idA = 11",
    "Beams:idB = -11",
    "Beams:eCM = 380.",
    "Tune:ee = 7",
)
QUARKS = "onIfAny = 1 2 3 4 5"


@dataclass(frozen=True, slots=True)
class Process:
    """One kind of collision.

    Parameters
    ----------
    text : str
        What is made, in a line.
    settings : tuple of str
        For Pythia.
    hadronic : bool
        Whether the beams are protons: their collisions are spread along the beam, and others
        happen at the same time.
    """

    text: str
    settings: tuple[str, ...]
    hadronic: bool


PROCESSES: dict[str, Process] = {
    "ttbar": Process(
        "pp to top-quark pairs, 14 TeV",
        (*PP_14TEV, "Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
        hadronic=True,
    ),
    "qcd": Process(
        "pp to jets above 20 GeV, 14 TeV",
        (*PP_14TEV, "HardQCD:all = on", "PhaseSpace:pTHatMin = 20."),
        hadronic=True,
    ),
    "ee_ttbar": Process(
        "e+e- to top-quark pairs, 380 GeV",
        (*EE_380GEV, "Top:ffbar2ttbar(s:gmZ) = on"),
        hadronic=False,
    ),
    "ee_zh": Process(
        "e+e- to Z and Higgs boson, 380 GeV, all decays",
        (*EE_380GEV, "HiggsSM:ffbar2HZ = on", "25:m0 = 125."),
        hadronic=False,
    ),
    "ee_ww": Process(
        "e+e- to W pairs that decay to quarks, 380 GeV",
        (*EE_380GEV, "WeakDoubleBoson:ffbar2WW = on", "24:onMode = off", f"24:{QUARKS}"),
        hadronic=False,
    ),
    "ee_qq": Process(
        "e+e- to quark pairs, 380 GeV",
        (*EE_380GEV, "WeakSingleBoson:ffbar2gmZ = on", "23:onMode = off", f"23:{QUARKS}"),
        hadronic=False,
    ),
}

MINIMUM_BIAS = Process(
    "pp, whatever happens, 14 TeV",
    (
        *PP_14TEV,
        "SoftQCD:nonDiffractive = on",
        "SoftQCD:singleDiffractive = on",
        "SoftQCD:doubleDiffractive = on",
    ),
    hadronic=True,
)


def process_named(name: str) -> Process:
    """Look a process up.

    Parameters
    ----------
    name : str
        A key of `PROCESSES`.

    Raises
    ------
    DataError
        If there is no such process; the message names those that there are.

    Examples
    --------
    >>> process_named("ee_zh").text
    'e+e- to Z and Higgs boson, 380 GeV, all decays'
    """
    if name not in PROCESSES:
        raise DataError(f"process is {name!r}; allowed are {', '.join(PROCESSES)}")
    return PROCESSES[name]
