"""Simulated annealing on the graph of real hardware: what the chains cost, without the machine."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

from daskhpo.exceptions import AnnealerError
from daskhpo.predictors.annealers.base import Backend, Samples
from daskhpo.predictors.annealers.chains import through_chains
from daskhpo.predictors.annealers.cliques import hardware_graph
from daskhpo.predictors.annealers.settings import (
    SIZES,
    Strength,
    check_count,
    check_graph,
    check_strength,
)
from daskhpo.predictors.base import Array

__all__ = ["Embedded"]

# Inverse temperatures, in units of the torque on a chain, at the beginning and the end: from where
# chains turn easily to where none does. The sampler's own end, from the smallest field of any
# qubit, is hundreds of times colder: most sweeps would pass with everything frozen.
_BETAS = (0.6, 30.0)
_SEEDS = 2**32 - 1  # dwave-samplers takes smaller ones


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
        How often it is annealed, from another random state each time. Chains freeze early, so
        that single answers are worse than without them; averages of many are less so.
    sweeps : int
        How often each qubit is offered a flip in one read, while the temperature falls.
    strength : float or "auto"
        Of the chains, see :func:`~daskhpo.predictors.annealers.chains.through_chains`.
    missing : float
        Share of the qubits that are dead, below 1. The same ones each time.

    Raises
    ------
    PredictorError
        If one of them is not allowed.

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
    reads: int = 200
    sweeps: int = 200
    strength: Strength = "auto"
    missing: float = 0.0

    backend: ClassVar[Backend] = Backend.EMBEDDED

    def __post_init__(self) -> None:
        check_graph(self.graph, self.size, self.missing)
        check_count("reads", self.reads)
        check_count("sweeps", self.sweeps)
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
            from dwave.samplers import SimulatedAnnealingSampler

            sampler = SimulatedAnnealingSampler()  # type: ignore[no-untyped-call]
            graph = hardware_graph(self.graph, self.size or SIZES[self.graph], self.missing)

            def anneal(model: Any, torque: float) -> Any:
                return sampler.sample(
                    model,
                    num_reads=self.reads,
                    num_sweeps=self.sweeps,
                    seed=seed % _SEEDS,
                    beta_range=[beta / torque for beta in _BETAS],
                )

            found = through_chains(
                Q, graph, strength=self.strength, anneal=anneal, used=self.backend
            )
        except ImportError as error:
            raise AnnealerError(
                f"annealing on a hardware graph needs a package that is missing ({error}): "
                "pip install 'daskhpo[dwave]'"
            ) from error
        told = {"missing": self.missing, "reads": self.reads, "sweeps": self.sweeps}
        return replace(found, record={**found.record, **told})
