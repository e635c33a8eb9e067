"""There and back: a problem laid on chains of qubits, and the answer read off them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from daskhpo.exceptions import AnnealerError
from daskhpo.predictors.annealers.base import Backend, Bits, Samples
from daskhpo.predictors.annealers.cliques import Graph, find_clique
from daskhpo.predictors.annealers.settings import Strength
from daskhpo.predictors.base import Array
from daskhpo.predictors.qubo import ranked

__all__ = ["BROKEN", "states_of", "through_chains", "to_model"]

BROKEN = 0.5  # share of broken chains beyond which most bits were decided by a vote of the torn


def to_model(Q: Array) -> Any:
    """Make the binary quadratic model of ``Q`` (n, n), upper triangular, with bits 0 to n - 1."""
    from dimod import BINARY, BinaryQuadraticModel

    rows, columns = np.nonzero(np.triu(Q, 1))
    couplers = (rows, columns, Q[rows, columns])
    return BinaryQuadraticModel.from_numpy_vectors(np.diag(Q), couplers, 0.0, BINARY)


def states_of(answer: Any, n: int) -> Bits:
    """Read the states (r, n) of a sample set with the bits in their order.

    A sampler hands the columns back in an order of its own.
    """
    columns = [answer.variables.index(bit) for bit in range(n)]
    states: Bits = answer.record.sample[:, columns].astype(np.int8)
    return states


def through_chains(
    Q: Array,
    graph: Graph,
    *,
    strength: Strength,
    anneal: Callable[[Any, float], Any],
    used: Backend,
    broken: float = BROKEN,
) -> Samples:
    """Lay a problem on the chains of a graph, anneal it there, and read the answer by majority.

    Parameters
    ----------
    Q : array of shape (n, n)
        Upper triangular.
    graph : networkx.Graph
        See :func:`~daskhpo.predictors.annealers.cliques.hardware_graph`.
    strength : float or "auto"
        A broken link of a chain costs twice as much energy (the coupling between two spins, the
        unit of :func:`dwave.embedding.embed_bqm`). ``"auto"`` is the torque, see below.
    anneal : callable
        Answers a binary quadratic model of qubits, and the torque that the problem exerts on a
        chain (uniform torque compensation of the *binary* model: 1.414 x the root mean square of
        the couplers x the root of the number of them at a bit; worked out from the model in spins
        it would be a quarter), with a sample set.
    used : Backend
        What ``anneal`` asks.
    broken : float
        The mean share of broken chains from which on the answer is refused: it says more about
        the chains than about the problem.

    Raises
    ------
    AnnealerError
        If the problem is too large for the graph or too many chains are broken.
    """
    from dimod import SPIN
    from dwave.embedding import unembed_sampleset

    model, clique = to_model(Q), find_clique(graph, len(Q))
    torque = _torque(model)
    held = torque if strength == "auto" else float(strength)
    chains: Any = clique.chains
    # Fields are spread over a chain as those of spins. Spread as those of bits, the part that
    # couplers of bits exert as a field stays at single qubits, and a third of the chains break.
    laid = chains.embed_bqm(model, chain_strength=held, smear_vartype=SPIN)
    answer = anneal(laid, torque)
    bits = unembed_sampleset(answer, clique.chains, model, chain_break_fraction=True)
    torn = float(np.average(bits.record.chain_break_fraction, weights=bits.record.num_occurrences))
    if torn > broken:
        raise AnnealerError(
            f"{torn:.0%} of the chains are broken, at most {broken:.0%} may be: their "
            f"strength={held:.4g} is too low for this problem"
        )
    states, energies = ranked(Q, states_of(bits, len(Q)))
    record = _record(graph, clique.qubits, clique.longest, held, torn)
    return Samples(states, energies, used, record)


def _torque(model: Any) -> float:
    from dwave.embedding.chain_strength import uniform_torque_compensation

    if model.num_interactions:
        return float(uniform_torque_compensation(model))
    return (
        float(max(map(abs, model.linear.values()), default=0.0)) or 1.0
    )  # nothing pulls at chains


def _record(
    graph: Graph, qubits: int, longest: int, strength: float, torn: float
) -> Mapping[str, Any]:
    return {
        "graph": f"{graph.graph['family']} {graph.graph['rows']}",
        "graph_qubits": len(graph),
        "qubits": qubits,
        "longest_chain": longest,
        "strength": strength,
        "strength_units": "coupling of two spins: a broken link costs twice this energy",
        "chain_break_fraction": torn,
    }
