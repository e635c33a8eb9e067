"""Simulated annealing on the graph of real hardware: what the chains cost, without the machine."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from daskhpo.exceptions import AnnealerError
from daskhpo.predictors.annealers.base import Backend, Samples
from daskhpo.predictors.annealers.chains import through_chains
from daskhpo.predictors.annealers.cliques import find_clique, hardware_graph
from daskhpo.predictors.annealers.settings import (
    SIZES,
    Strength,
    check_count,
    check_graph,
    check_strength,
)
from daskhpo.predictors.annealers.turning import cool
from daskhpo.predictors.base import Array

__all__ = ["Embedded"]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Anneals in simulation what a quantum annealer would be given: the chains of qubits.

    Use it to see beforehand what the embedding does to a forecast, on which graph, with how many
    dead qubits and at which strength of the chains. It says nothing about quantum annealing, and
    nothing about its time.

    Parameters
    ----------
    graph : {"pegasus", "zephyr"}
    size : int or None
        Of the graph in unit cells; None for the largest machine's, 16 and 15.
    reads : int
        How often it is annealed, from another random state each time.
    sweeps : int
        How often each qubit is offered a flip in one read, while the temperature falls.
    turns : int
        How often each chain is offered a turn as a whole, every qubit of it flipped; 0 for never.
        See the notes for what it hides.
    strength : float or "auto"
        Of the chains, see :func:`~daskhpo.predictors.annealers.chains.through_chains`.
    missing : float
        Share of the qubits that are dead, below 1. The same ones each time.

    Raises
    ------
    PredictorError
        If one of them is not allowed.

    Notes
    -----
    All moves are those of Metropolis on the problem *of the qubits*, broken chains included: what
    is found are the states of that problem at a falling temperature. Chains that are too weak for
    the problem break and spoil the answer, with turns as without.

    What turns hide is that long chains are slow. To be turned by flips of single qubits, a chain
    must break and the break wander along it, which soon is too rare: chains freeze while the
    problem is still hot, and more reads and sweeps do not help. That is so in simulation; chains
    of a machine freeze as well, at a moment of their own that neither way tells. With turns, chains
    that hold are bits again, and the answer shows what embedding costs where chains have the time
    they need. On the papers' task, 120 bits on Pegasus, R² is 0.91 with turns and without chains,
    0.84 without turns (0.87 if the temperatures are chosen for that).

    Examples
    --------
    >>> import numpy as np
    >>> Q = np.array([[-1.0, 2.0], [0.0, -1.5]])
    >>> samples = Embedded(graph="zephyr", size=2, reads=5).sample(Q, seed=1)
    >>> samples.states[0], samples.energies[0].item(), samples.record["qubits"]
    (array([0, 1], dtype=int8), -1.5, 2)
    """

    graph: str = "pegasus"
    size: int | None = None
    _: KW_ONLY
    reads: int = 100
    sweeps: int = 400
    turns: int = 100
    strength: Strength = "auto"
    missing: float = 0.0

    backend: ClassVar[Backend] = Backend.EMBEDDED

    def __post_init__(self) -> None:
        check_graph(self.graph, self.size, self.missing)
        check_count("reads", self.reads)
        check_count("sweeps", self.sweeps)
        check_count("turns", self.turns, least=0)
        check_strength(self.strength)

    def sample(self, Q: Array, *, seed: int) -> Samples:
        """Anneal ``Q`` (n, n), upper triangular; equal seeds give equal answers.

        Raises
        ------
        AnnealerError
            If the problem is too large for the graph, more than half of the chains break, or a
            package is not installed.
        """
        try:
            graph = hardware_graph(self.graph, self.size or SIZES[self.graph], self.missing)
            chains = find_clique(graph, len(Q)).chains

            def anneal(model: Any, torque: float) -> Any:
                return cool(
                    model,
                    torque,
                    chains,
                    reads=self.reads,
                    sweeps=self.sweeps,
                    turns=self.turns,
                    rng=np.random.default_rng(seed),
                )

            found = through_chains(
                Q, graph, strength=self.strength, anneal=anneal, used=self.backend
            )
        except ImportError as error:
            raise AnnealerError(
                f"annealing on a hardware graph needs a package that is missing ({error}): "
                "pip install 'daskhpo[dwave]'"
            ) from error
        told = {name: getattr(self, name) for name in ("missing", "reads", "sweeps", "turns")}
        return replace(found, record={**found.record, **told})
