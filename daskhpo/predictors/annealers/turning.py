"""Annealing of chains in simulation: flips of single qubits, and of whole chains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array

from daskhpo.predictors.annealers.base import Bits
from daskhpo.predictors.annealers.chains import states_of
from daskhpo.predictors.base import Array

__all__ = ["cool"]

Chains = Mapping[int, Sequence[int]]  # {bit: its qubits}

# Inverse temperatures, in units of the torque on a chain, at the beginning and the end: from where
# single qubits turn chains to where the small differences of a machine's energy are decided.
_BETAS = (1.0, 1000.0)
_STAGES = 10  # in each some sweeps of the qubits, then some turns of the chains
_AT_ONCE = 100  # reads of which the couplings of all pairs of chains are in memory
_SEEDS = 2**31  # dwave-samplers takes smaller ones


def cool(
    model: Any,
    torque: float,
    chains: Chains,
    *,
    reads: int,
    sweeps: int,
    turns: int,
    rng: np.random.Generator,
) -> Any:
    """Anneal a model of qubits, stage by stage, and hand back its sample set.

    Parameters
    ----------
    model : dimod.BinaryQuadraticModel
        Of the qubits, chains and all.
    torque : float
        What turns a chain: temperatures are in units of it.
    chains : mapping
        ``{bit: its qubits}``.
    reads, sweeps, turns : int
        As in :class:`~daskhpo.predictors.annealers.embedded.Embedded`.
    rng : numpy Generator
        Draws everything.
    """
    from dimod import SPIN, SampleSet
    from dwave.samplers import SimulatedAnnealingSampler

    sampler = SimulatedAnnealingSampler()  # type: ignore[no-untyped-call]
    spins, qubits = model.change_vartype(SPIN, inplace=False), list(model.variables)
    spins.scale(1 / torque)
    spins.relabel_variables({qubit: place for place, qubit in enumerate(qubits)})
    tied = _Tied.of(spins, qubits, chains)
    states: Bits = rng.choice(np.array([-1, 1], np.int8), (reads, len(qubits)))
    for of_qubits, of_chains in zip(_stages(sweeps), _stages(turns), strict=True):
        if of_qubits.size:
            answer = sampler.sample(
                spins,
                initial_states=(states, range(len(qubits))),
                beta_schedule_type="custom",
                beta_schedule=of_qubits,
                seed=int(rng.integers(_SEEDS)),
            )
            states = states_of(answer, len(qubits))
        if of_chains.size:
            parts = range(0, len(states), _AT_ONCE)
            states = np.concatenate(
                [tied.turn(states[part : part + _AT_ONCE], of_chains, rng) for part in parts]
            )
    bits = (states > 0).astype(np.int8)
    return SampleSet.from_samples_bqm((bits, qubits), model)  # type: ignore[no-untyped-call]


def _stages(count: int) -> list[Array]:
    """So many inverse temperatures, from hot to cold, dealt into stages; a single one is cold."""
    return np.array_split(np.geomspace(*_BETAS[::-1], count)[::-1], _STAGES)


@dataclass(frozen=True, slots=True, eq=False)
class _Tied:
    """The same spins tied together by chains: what they do to one another when those turn.

    Parameters
    ----------
    chain : int array of shape (q,)
        Of each spin.
    ends : int array of shape (2, c)
        The spins at the ends of the couplers between different chains.
    couplers : sparse array of shape (n * n, c)
        Their strengths, in the rows of both pairs of chains, (i, j) and (j, i).
    fields : sparse array of shape (n, q)
        Of each spin, in the row of its chain.
    """

    chain: Any
    ends: Any
    couplers: Any
    fields: Any

    @classmethod
    def of(cls, spins: Any, qubits: Sequence[int], chains: Chains) -> Self:
        """Tie together ``spins``, a model of the variables 0 to q - 1, which stand for qubits."""
        n, bits = len(chains), {qubit: bit for bit, chain in chains.items() for qubit in chain}
        chain = np.array([bits[qubit] for qubit in qubits])
        h, (i, j, J), _ = spins.to_numpy_vectors(variable_order=range(len(qubits)))
        between = chain[i] != chain[j]
        i, j, J = i[between], j[between], J[between]
        rows = np.concatenate([chain[i] * n + chain[j], chain[j] * n + chain[i]])
        columns = np.tile(np.arange(len(J)), 2)
        couplers = csr_array((np.tile(J, 2), (rows, columns)), shape=(n * n, len(J)))
        fields = csr_array((h, (chain, np.arange(len(h)))), shape=(n, len(h)))
        return cls(chain, np.array([i, j]), couplers, fields)

    def turn(self, states: Bits, betas: Array, rng: np.random.Generator) -> Bits:
        """Offer each chain of ``states`` (r, q), of -1 and 1, a turn at each of ``betas``.

        What holds a chain together, or is broken in it, is the same after a turn: only what is
        between chains decides.
        """
        spins = states.T.astype(float)
        n, reads = self.fields.shape[0], len(states)
        fields = self.fields @ spins
        couplings = (self.couplers @ (spins[self.ends[0]] * spins[self.ends[1]])).reshape(n, n, -1)
        turned = np.ones((n, reads))
        for beta in betas:
            accepted = rng.exponential(1 / beta, (n, reads))  # rises of the energy up to this
            for chain in range(n):
                pull = fields[chain] + np.einsum("nr,nr->r", couplings[chain], turned)
                turned[chain] *= np.where(-2 * turned[chain] * pull <= accepted[chain], -1, 1)
        found: Bits = (states * turned[self.chain].T).astype(np.int8)
        return found
