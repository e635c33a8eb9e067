"""What every annealer is: something that looks for the bits with the least energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from daskhpo.predictors.base import Array

__all__ = ["Annealer", "Backend", "Bits", "Samples"]

Bits = npt.NDArray[np.int8]


class Backend(StrEnum):
    """What trained a support vector machine. It is recorded with every forecast.

    ``SVR`` the same problem with continuous coefficients, solved exactly by scikit-learn;
    ``SIMULATED`` simulated annealing of the bits as they are; ``EMBEDDED`` simulated annealing on
    the graph of real hardware, each bit a chain of qubits; ``MOCK`` answers like hardware, for
    tests of the way there, its quality means nothing; ``QPU`` a quantum annealer answered;
    ``HYBRID`` a hybrid service answered. Only of ``QPU`` may the word quantum be used.
    """

    SVR = "svr"
    SIMULATED = "qubo-sa"
    EMBEDDED = "qubo-sa-embedded"
    MOCK = "mock"
    QPU = "qpu"
    HYBRID = "leap-hybrid"


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What an annealer found.

    Parameters
    ----------
    states : int8 array of shape (r, n)
        Different ones, by rising energy; columns in the order of the problem's variables.
    energies : array of shape (r,)
        ``x^T Q x`` of each, worked out from the problem and not taken from the annealer.
    used : Backend
        What answered.
    record : mapping
        JSON data to be kept with the answer: reads, sweeps; of embedded ones the chains' strength
        (and in which units), the share of broken chains, qubits, longest chain; of a QPU solver,
        problem_id and qpu_access_time in microseconds. Times of anything that is not a QPU are
        left out.
    """

    states: Bits
    energies: Array
    used: Backend
    record: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Annealer(Protocol):
    """Minimises ``x^T Q x`` over bits x.

    Attributes
    ----------
    backend : Backend
        What is asked for. :attr:`Samples.used` says what answered; an annealer never puts another
        one in its own place.
    """

    @property
    def backend(self) -> Backend:
        """What is asked for."""

    def sample(self, Q: Array, *, seed: int) -> Samples:
        """Look for low energies of ``Q`` (n, n), upper triangular.

        Raises
        ------
        AnnealerError
            If it cannot answer: no access, no network, too late, the problem too large for its
            graph, all chains broken. It names the reason and what to do.
        """
