"""Cliques on the graphs of quantum annealers: a chain of qubits for each bit, each touching all.

The problem of a support vector machine couples every bit with every other one, the hardware a
qubit with 15 (Pegasus) or 20 (Zephyr). So each bit becomes a chain of qubits that are held
together. For cliques the chains are known from the graph's construction (Boothby, King and Roy,
doi:10.1007/s11128-015-1150-6), qubits that are missing included: a second for cliques of all sizes
where a search for one embedding takes minutes and finds chains twice as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from daskhpo.exceptions import AnnealerError

__all__ = ["Clique", "Graph", "find_clique", "hardware_graph", "largest_clique"]

Graph = Any  # networkx.Graph as dwave.graphs makes it: it knows its family and rows

_SEED = 0  # of the dead qubits: the same graph each time
_GRAPHS, _CLIQUES = 8, 64  # how many are kept in memory

Key = tuple[str, int, int]  # family, rows, hash of the couplers: equal keys, equal cliques
_FINDERS: dict[Key, Any] = {}
_FOUND: dict[tuple[Key, int], Clique] = {}  # {(graph, n): clique}


@dataclass(frozen=True, slots=True, eq=False)
class Clique:
    """Chains for n bits, each coupled to every other.

    Parameters
    ----------
    chains : mapping
        ``{bit: its qubits}``, a :class:`dwave.embedding.EmbeddedStructure`.
    qubits : int
        Of all chains together.
    longest : int
        Number of qubits of the longest chain.
    """

    chains: Mapping[int, tuple[int, ...]]
    qubits: int
    longest: int


@lru_cache(maxsize=8)
def hardware_graph(family: str, size: int, missing: float = 0.0) -> Graph:
    """Make the graph of a quantum annealer.

    Parameters
    ----------
    family : {"pegasus", "zephyr"}
    size : int
        In unit cells: 16 is Advantage's Pegasus (5,640 qubits), 12 Advantage2's Zephyr (4,800),
        15 the Zephyr of 7,440.
    missing : float
        Share of the qubits that are dead, as some are on each real one. The same ones each time.

    Returns
    -------
    networkx.Graph
        Shared by all who ask: not to be changed.

    Examples
    --------
    >>> len(hardware_graph("zephyr", 3)), len(hardware_graph("zephyr", 3, missing=0.01))
    (336, 333)
    """
    from dwave.graphs import pegasus_graph, zephyr_graph

    make = {"pegasus": pegasus_graph, "zephyr": zephyr_graph}[family]
    graph = make(size)
    dead = np.random.default_rng(_SEED).permutation(sorted(graph))[: round(missing * len(graph))]
    return make(size, node_list=sorted(set(graph) - set(dead.tolist()))) if dead.size else graph


def find_clique(graph: Graph, n: int) -> Clique:
    """Find chains for ``n`` bits on a graph, be it an ideal or a live working one.

    What was found is kept in memory for the same qubits and couplers; nothing is written to disk,
    where the processes of a cluster would wait for one another's locks.

    Raises
    ------
    AnnealerError
        If the graph has no clique of that size; the message tells the largest.

    Examples
    --------
    >>> clique = find_clique(hardware_graph("zephyr", 3), 12)
    >>> len(clique.chains), clique.longest
    (12, 3)
    """
    key = _key(graph)
    if (key, n) not in _FOUND:
        if len(_FOUND) >= _CLIQUES:
            _FOUND.clear()
        _FOUND[key, n] = _clique(graph, key, n)
    return _FOUND[key, n]


def largest_clique(graph: Graph) -> int:
    """Return how many bits a graph can hold at most, all of them coupled.

    Examples
    --------
    >>> largest_clique(hardware_graph("zephyr", 3))
    40
    """
    return len(_finder(graph, _key(graph)).largest_clique())


def _clique(graph: Graph, key: Key, n: int) -> Clique:
    from dwave.embedding import EmbeddedStructure

    finder = _finder(graph, key)
    chains = finder.find_clique_embedding(n)
    if not chains:
        most = len(finder.largest_clique())
        # A curve takes two coefficients, of that many bits each.
        curves = ", ".join(f"{most // (2 * bits)} at {bits}" for bits in (1, 2, 3, 4))
        raise AnnealerError(
            f"the problem has {n} variables, all coupled; this {graph.graph['family']} graph of "
            f"{len(graph)} qubits holds {most} at most. Learn from fewer curves or with fewer "
            f"bits: it holds {curves} bits"
        )
    lengths = [len(chain) for chain in chains.values()]
    return Clique(EmbeddedStructure(graph.edges, chains), sum(lengths), max(lengths))


def _key(graph: Graph) -> Key:
    return graph.graph["family"], graph.graph["rows"], hash(frozenset(graph.edges))


def _finder(graph: Graph, key: Key) -> Any:
    """What knows the cliques of all sizes on a graph.

    Asked for a single small one, minorminer 0.2.22 looks on Zephyr graphs until the memory is full.
    """
    from minorminer.busclique import busgraph_cache

    class InMemory(busgraph_cache):  # type: ignore[misc]
        def _fetch_cache(self, dirname: str, compute: Any, force_write: bool = False) -> Any:
            return compute()

    if key not in _FINDERS:
        if len(_FINDERS) >= _GRAPHS:
            _FINDERS.clear()
        _FINDERS[key] = InMemory(graph)
    return _FINDERS[key]
