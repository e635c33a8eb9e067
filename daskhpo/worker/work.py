"""What a campaign asks of every worker, sent once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Objective", "Work"]

Objective = Callable[[Any], Any]  # takes a Session


@dataclass(frozen=True, slots=True)
class Work:
    """Everything but the job: what to call and how.

    Parameters
    ----------
    campaign : str
        A name that no other campaign on the cluster has.
    objective : callable
        Takes a :class:`~daskhpo.worker.session.Session`.
    metric : str
        The metric that every report must hold.
    max_step : int
        R.
    seed : int
        The campaign's seed.
    path : str
        The campaign directory, as every worker sees it.
    also : tuple of str
        Further metrics that every report must hold, because they are traded off.
    ranks : int
        Processes per trial; more than one train together (DDP).
    isolate : bool
        Run even a single rank in a process of its own, so that nothing it does (memory, crashes,
        forks) can harm the worker.
    mtbf : float
        Mean time between failures of a worker in seconds: sets how often a long trial takes a
        safety copy.
    """

    campaign: str
    objective: Objective
    metric: str
    max_step: int
    seed: int
    path: str
    also: tuple[str, ...] = ()
    ranks: int = 1
    isolate: bool = False
    mtbf: float = 86_400.0
