"""Quantum annealers of D-Wave, and a double of one for tests of the way there."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.annealers.access import CONNECTION, ask
from daskhpo.predictors.annealers.base import Backend, Samples
from daskhpo.predictors.annealers.chains import BROKEN
from daskhpo.predictors.annealers.settings import (
    SIZES,
    Strength,
    check_count,
    check_graph,
    check_seconds,
    check_strength,
)
from daskhpo.predictors.annealers.submission import submit
from daskhpo.predictors.base import Array
from daskhpo.scalars import nearest

__all__ = ["QPU", "Mock"]

_PATIENCE = 600.0  # seconds for a double on a slow computer


@dataclass(frozen=True, slots=True)
class QPU:
    """Asks a quantum annealer of D-Wave.

    Use it with an account of Leap or of a centre that has one; a campaign does not wait for it. A
    worker asks if it has the network and the configuration (``dwave config create`` or the
    environment's DWAVE_API_TOKEN): give it the resource ``qpu=1``. The connection is opened for
    each question in the process that asks, and closed after it.

    Parameters
    ----------
    reads : int
        How often it is annealed; 1,000 take about 0.1 s of the QPU's time.
    strength : float or "auto"
        Of the chains, see :func:`~daskhpo.predictors.annealers.chains.through_chains`.
    timeout : float
        In seconds, from the question to the answer; then the problem is cancelled.
    solver : str or None
        The name of a solver. Names die with machines: leave it to the features that follow.
    region : str or None
        Of the service, ``"eu-central-1"``; None is what the configuration says.
    topologies : list of str
        Families of graphs to choose from.
    qubits : int
        The solver has more working ones.

    Raises
    ------
    PredictorError
        If one of them is not allowed.

    Examples
    --------
    >>> QPU(reads=500, region="eu-central-1").backend
    <Backend.QPU: 'qpu'>
    """

    reads: int = 1000
    strength: Strength = "auto"
    _: KW_ONLY
    timeout: float = 120.0
    solver: str | None = None
    region: str | None = None
    topologies: Sequence[str] = ("pegasus", "zephyr")
    qubits: int = 4000

    backend: ClassVar[Backend] = Backend.QPU

    def __post_init__(self) -> None:
        check_count("reads", self.reads)
        check_count("qubits", self.qubits)
        check_strength(self.strength)
        check_seconds("timeout", self.timeout)
        if isinstance(self.topologies, str) or not self.topologies:
            raise PredictorError(f"topologies={self.topologies!r}: must be a list of {[*SIZES]}")
        for family in self.topologies:
            if family not in SIZES:
                raise PredictorError(f"topologies: {family!r}: {nearest(str(family), SIZES)}")

    def sample(self, Q: Array, *, seed: int) -> Samples:
        """Anneal ``Q`` (n, n), upper triangular. The machine has no seed: answers differ.

        Raises
        ------
        AnnealerError
            Without access, network or a solver that has the features; if the problem is too large,
            the reads are beyond the solver's limits, more than half of the chains break, or the
            answer is late.
        """

        def work(given_up: threading.Event) -> Samples:
            with self._open() as sampler:
                return submit(Q, sampler, self, broken=BROKEN, given_up=given_up)

        return ask("the QPU", self.timeout, work)

    def _open(self) -> AbstractContextManager[Any]:
        from dwave.system import DWaveSampler

        features: dict[str, Any] = {
            "qpu": True,
            "topology__type__in": list(self.topologies),
            "num_active_qubits__gt": self.qubits,
            "order_by": "-num_active_qubits",
        }
        if self.solver is not None:
            features["name"] = self.solver
        sampler: AbstractContextManager[Any]
        sampler = DWaveSampler(solver=features, region=self.region, **CONNECTION)
        return sampler


@dataclass(frozen=True, slots=True)
class Mock:
    """Answers as a QPU does, by steepest descent on this computer: for tests of the way there.

    No account, no network, and no meaning: it breaks two thirds of the chains of a large problem,
    and the times that it tells are made up, so they are dropped.

    Parameters
    ----------
    graph : {"pegasus", "zephyr"}
    size : int or None
        Of the graph in unit cells; None for 16 and 15.
    reads : int
    strength : float or "auto"
        Of the chains.

    Raises
    ------
    PredictorError
        If one of them is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> Q = np.array([[-1.0, 2.0], [0.0, -1.5]])
    >>> samples = Mock(graph="zephyr", size=2).sample(Q, seed=1)
    >>> str(samples.used), samples.states[0], samples.energies[0].item()
    ('mock', array([0, 1], dtype=int8), -1.5)
    """

    graph: str = "pegasus"
    size: int | None = None
    _: KW_ONLY
    reads: int = 100
    strength: Strength = "auto"

    backend: ClassVar[Backend] = Backend.MOCK

    def __post_init__(self) -> None:
        check_graph(self.graph, self.size, 0.0)
        check_count("reads", self.reads)
        check_strength(self.strength)

    def sample(self, Q: Array, *, seed: int) -> Samples:
        """Descend ``Q`` (n, n), upper triangular; equal seeds give equal answers.

        Raises
        ------
        AnnealerError
            If the problem is too large for the graph, or a package is not installed.
        """

        def work(given_up: threading.Event) -> Samples:
            with self._open(seed) as sampler:
                return submit(Q, sampler, self, broken=1.0, given_up=given_up)

        return ask("the mock QPU", _PATIENCE, work)

    def _open(self, seed: int) -> AbstractContextManager[Any]:
        from dwave.system.testing import MockDWaveSampler

        sampler: AbstractContextManager[Any] = MockDWaveSampler(
            topology_type=self.graph,
            topology_shape=[self.size or SIZES[self.graph]],
            substitute_kwargs={"seed": seed % (2**31)},
        )
        return sampler
