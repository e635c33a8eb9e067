"""The hybrid service of D-Wave: classical solvers that ask a quantum annealer now and then."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, ClassVar

from daskhpo.exceptions import AnnealerError
from daskhpo.predictors.annealers.access import CONNECTION, answer_to, ask
from daskhpo.predictors.annealers.base import Backend, Samples
from daskhpo.predictors.annealers.chains import states_of, to_model
from daskhpo.predictors.annealers.settings import check_seconds
from daskhpo.predictors.base import Array
from daskhpo.predictors.qubo import ranked

__all__ = ["Hybrid"]


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Asks Leap's hybrid solver of binary quadratic models.

    Use it for problems that no graph holds: it takes the bits as they are, without chains. It is
    paid by the second, tells nothing of how it works, and is not called quantum here. Account,
    network and configuration are those of :class:`~daskhpo.predictors.annealers.hardware.QPU`.

    Parameters
    ----------
    time_limit : float
        In seconds, of the solver's work; 3 is the least that it takes.
    timeout : float
        In seconds, from the question to the answer; then the problem is cancelled.
    solver : str or None
        The name of a solver; None for the newest.
    region : str or None
        Of the service; None is what the configuration says.

    Raises
    ------
    PredictorError
        If one of them is not allowed.

    Examples
    --------
    >>> Hybrid(time_limit=5.0).backend
    <Backend.HYBRID: 'leap-hybrid'>
    """

    time_limit: float = 3.0
    _: KW_ONLY
    timeout: float = 120.0
    solver: str | None = None
    region: str | None = None

    backend: ClassVar[Backend] = Backend.HYBRID

    def __post_init__(self) -> None:
        check_seconds("time_limit", self.time_limit)
        check_seconds("timeout", self.timeout)

    def sample(self, Q: Array, *, seed: int) -> Samples:
        """Minimise ``Q`` (n, n), upper triangular. The service has no seed: answers differ.

        Raises
        ------
        AnnealerError
            Without access or network, if the time limit is below what the solver takes for this
            problem, or the answer is late.
        """
        return ask("the hybrid service", self.timeout, partial(self._sample, Q))

    def _sample(self, Q: Array, given_up: threading.Event) -> Samples:
        model = to_model(Q)
        with self._open() as sampler:
            least = float(sampler.min_time_limit(model))
            if self.time_limit < least:
                raise AnnealerError(
                    f"time_limit={self.time_limit:g} s: this solver takes {least:g} s or more for "
                    f"{len(Q)} variables"
                )
            question = partial(sampler.sample, model, time_limit=self.time_limit, label="daskhpo")
            answer = answer_to(question, given_up)
            record = self._record(answer.info, sampler)
        return Samples(*ranked(Q, states_of(answer, len(Q))), self.backend, record)

    def _open(self) -> AbstractContextManager[Any]:
        from dwave.system import LeapHybridSampler

        features = {"supported_problem_types__contains": "bqm", "order_by": "-properties.version"}
        if self.solver is not None:
            features["name"] = self.solver
        sampler: AbstractContextManager[Any]
        sampler = LeapHybridSampler(solver=features, region=self.region, **CONNECTION)
        return sampler

    def _record(self, info: Mapping[str, Any], sampler: Any) -> Mapping[str, Any]:
        return {
            "solver": sampler.solver.name,
            "problem_id": info.get("problem_id"),
            "time_limit": self.time_limit,
        }
