"""Running Pythia 8: from settings and a seed to the stable particles of collisions.

Pythia is an optional extra (`pip install daskhpo[mlpf]`). Its `nextBatch` hands over whole batches
of events as arrays; looping over their particles in Python would cost half as much time again as
making them.

References: C. Bierlich et al., "A comprehensive guide to the physics and usage of PYTHIA 8.3",
SciPost Phys. Codebases 8 (2022), arXiv:2203.11601.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskhpo.exceptions import DataError
from daskhpo.mlpf.simulation.particles import Particles
from daskhpo.mlpf.simulation.processes import Process

__all__ = ["check_pythia", "collide"]

BATCH = 100  # events of which Pythia's whole record is in memory at a time: 0.2 MB each


def check_pythia() -> None:
    """Refuse to begin what cannot be made.

    Raises
    ------
    ImportError
        If pythia8mc is not installed.
    """
    try:
        import pythia8mc  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "making events needs Pythia 8, which is not installed: pip install daskhpo[mlpf]"
        ) from error


def collide(process: Process, events: int, seed: np.random.SeedSequence) -> Particles:
    """Make collisions.

    Use it through `daskhpo.mlpf.simulation.generator`, which checks what it is asked for, spreads
    the vertices and adds pile-up.

    Parameters
    ----------
    process : Process
        What to make.
    events : int
        Number of events; those that Pythia gives up are made anew.
    seed : numpy.random.SeedSequence
        Of Pythia's own random numbers.

    Returns
    -------
    Particles
        The stable ones, neutrinos included, event after event; collisions at the origin.

    Raises
    ------
    DataError
        If Pythia does not start or gives up a whole batch of events.
    ImportError
        If pythia8mc is not installed.
    """
    if events == 0:
        return Particles.concatenate([])
    pythia = _start(process, seed)
    batches: list[Particles] = []
    made = 0
    while made < events:
        wanted = min(BATCH, events - made)
        batch = pythia.nextBatch(wanted, "skip")  # without the events that failed
        if not len(batch):
            raise DataError(f"Pythia failed {wanted} times in a row at event {made}")
        batches.append(_particles(batch, pythia.particleData))
        made += len(batch)
    return Particles.concatenate(batches)


def _start(process: Process, seed: np.random.SeedSequence) -> Any:
    check_pythia()
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    number = int(seed.generate_state(1)[0]) % 900_000_000 + 1  # 0 would mean the clock
    own = ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {number}")
    for line in (*own, *process.settings):
        if not pythia.readString(line):
            raise DataError(f"Pythia does not know the setting {line!r}")
    if not pythia.init():
        raise DataError(f"Pythia could not start with {', '.join(process.settings)}")
    return pythia


def _particles(batch: Any, names: Any) -> Particles:
    """Take what is stable from an awkward array of Pythia's events."""
    import awkward as ak

    stable = batch.prt[batch.prt.status > 0]
    sizes = ak.to_numpy(ak.num(stable))
    rows = ak.flatten(stable)
    pdg = ak.to_numpy(rows.id).astype(np.int64)
    kinds, kind = np.unique(pdg, return_inverse=True)
    charges = np.array([names.charge(int(number)) for number in kinds])
    vertex = ak.fill_none(rows.vProd, {"px": 0.0, "py": 0.0, "pz": 0.0, "e": 0.0})  # none: origin
    return Particles(
        pdg=pdg,
        charge=charges[kind],
        momentum=np.column_stack([ak.to_numpy(rows.p[axis]) for axis in ("px", "py", "pz")]),
        energy=ak.to_numpy(rows.p.e),
        vertex=np.column_stack([ak.to_numpy(vertex[axis]) for axis in ("px", "py", "pz")]),
        event=np.repeat(np.arange(len(sizes)), sizes),
        n_events=len(sizes),
    )
