"""Simulated annealing of the bits as they are, on any computer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from daskhpo.exceptions import AnnealerError
from daskhpo.predictors.annealers.base import Backend, Samples
from daskhpo.predictors.annealers.chains import states_of, to_model
from daskhpo.predictors.annealers.settings import check_count
from daskhpo.predictors.base import Array
from daskhpo.predictors.qubo import ranked

__all__ = ["Simulated"]

_SEEDS = 2**31  # dwave-samplers takes smaller ones


@dataclass(frozen=True, slots=True)
class Simulated:
    """Simulated annealing by dwave-samplers: no account, no embedding, a fraction of a second.

    Use it where no hardware is at hand, and to see what a hardware's chains cost. Ten times the
    reads or sweeps find lower energies but no better machines.

    Parameters
    ----------
    reads : int
        How often it is annealed, from another random state each time.
    sweeps : int
        How often each bit is offered a flip in one read, while the temperature falls.

    Raises
    ------
    PredictorError
        If one of them is not a whole number above 0.

    Examples
    --------
    >>> import numpy as np
    >>> Q = np.array([[-1.0, 2.0], [0.0, -1.5]])
    >>> samples = Simulated(reads=10).sample(Q, seed=1)
    >>> samples.states[0], samples.energies[0].item(), str(samples.used)
    (array([0, 1], dtype=int8), -1.5, 'qubo-sa')
    """

    reads: int = 100
    sweeps: int = 100

    backend: ClassVar[Backend] = Backend.SIMULATED

    def __post_init__(self) -> None:
        check_count("reads", self.reads)
        check_count("sweeps", self.sweeps)

    def sample(self, Q: Array, *, seed: int) -> Samples:
        """Anneal ``Q`` (n, n), upper triangular; equal seeds give equal answers.

        Raises
        ------
        AnnealerError
            If dwave-samplers is not installed.
        """
        try:
            from dwave.samplers import SimulatedAnnealingSampler

            model = to_model(Q)
        except ImportError as error:
            raise AnnealerError(
                f"simulated annealing needs a package that is missing ({error}): "
                "pip install 'daskhpo[annealing]'"
            ) from error
        sampler = SimulatedAnnealingSampler()  # type: ignore[no-untyped-call]
        answer = sampler.sample(
            model, num_reads=self.reads, num_sweeps=self.sweeps, seed=seed % _SEEDS
        )
        states, energies = ranked(Q, states_of(answer, len(Q)))
        told = {"reads": self.reads, "sweeps": self.sweeps}
        return Samples(states, energies, self.backend, told)
