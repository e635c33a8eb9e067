"""A question to a quantum annealer: within its limits, and what it tells beside the answer."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from daskhpo.exceptions import AnnealerError
from daskhpo.predictors.annealers.access import answer_to
from daskhpo.predictors.annealers.base import Backend, Samples
from daskhpo.predictors.annealers.chains import through_chains
from daskhpo.predictors.annealers.settings import Strength
from daskhpo.predictors.base import Array

__all__ = ["submit"]


class Asking(Protocol):
    """Who submits: a QPU or its double."""

    @property
    def reads(self) -> int: ...
    @property
    def strength(self) -> Strength: ...
    @property
    def backend(self) -> Backend: ...


def submit(
    Q: Array, sampler: Any, asking: Asking, *, broken: float, given_up: threading.Event
) -> Samples:
    """Lay ``Q`` (n, n) on a sampler's working graph, submit it and wait for the answer.

    Parameters
    ----------
    Q : array of shape (n, n)
        Upper triangular.
    sampler : dwave.system.DWaveSampler
        Open, or a double of it.
    asking : QPU or Mock
    broken : float
        Share of broken chains from which on the answer is refused.
    given_up : threading.Event
        Set when nobody waits any longer.

    Raises
    ------
    AnnealerError
        If the reads are beyond the solver's limits, the problem is too large for its working
        graph, or too many chains are broken.
    """
    _check_limits(sampler.properties, asking.reads)
    info: dict[str, Any] = {}

    def anneal(model: Any, torque: float) -> Any:
        question = partial(sampler.sample, model, num_reads=asking.reads, label="daskhpo")
        answer = answer_to(question, given_up)
        info.update(answer.info)
        return answer

    graph = sampler.to_networkx_graph()
    found = through_chains(
        Q, graph, strength=asking.strength, anneal=anneal, used=asking.backend, broken=broken
    )
    told = {
        "solver": sampler.properties.get("chip_id"),
        "problem_id": info.get("problem_id"),
        "reads": asking.reads,
    }
    if asking.backend is Backend.QPU:  # a double makes its times up
        told["qpu_access_time"] = info.get("timing", {}).get("qpu_access_time")  # microseconds
    return replace(found, record={**found.record, **told})


def _check_limits(properties: Mapping[str, Any], reads: int) -> None:
    fewest, most = properties.get("num_reads_range", (1, reads))
    if not fewest <= reads <= most:
        raise AnnealerError(f"reads={reads}: this solver allows from {fewest} to {most}")
    # The limit leaves out readout; all in microseconds.
    each = properties.get("default_annealing_time", 0.0)
    each += properties.get("default_readout_thermalization", 0.0)
    before = properties.get("default_programming_thermalization", 0.0)
    longest = properties.get("problem_run_duration_range", (0.0, float("inf")))[1]
    if before + reads * each > longest:
        raise AnnealerError(
            f"reads={reads}: this solver runs a problem for {longest:g} us at most, they take "
            f"{before + reads * each:g}; {int((longest - before) // each)} would do"
        )
