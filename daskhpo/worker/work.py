"""What a campaign asks of every worker, sent once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Objective", "Seat", "Work"]

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
        Processes per trial, over all its nodes; more than one train together (DDP).
    nodes : int
        Workers that a trial takes; its ranks are spread evenly over them.
    gpus : int
        GPUs that a trial needs on each of its workers; 0 if it takes what is there.
    isolate : bool
        Run even a single rank in a process of its own, so that nothing it does (memory, crashes,
        forks) can harm the worker.
    warm : bool
        Keep rank processes for the next job of their worker, so that it need not import again.
    margin : float
        Seconds before the end of its batch job at which a trial leaves, beyond the time that
        saving it takes.
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
    nodes: int = 1
    gpus: int = 0
    isolate: bool = False
    warm: bool = True
    margin: float = 60.0
    mtbf: float = 86_400.0

    @property
    def local_ranks(self) -> int:
        """Processes per trial on each of its workers."""
        return self.ranks // self.nodes


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker's place among those that train one trial together.

    Parameters
    ----------
    node, nodes : int
        It is worker ``node`` of ``nodes``; rank 0 is on worker 0.
    host : str
        The address at which the other workers reach this one.
    devices : tuple of str
        Ids of the GPUs that this trial may use here, as ``CUDA_VISIBLE_DEVICES`` would name them
        (numbers, UUIDs or MIG names); empty where nobody has assigned any.
    """

    node: int = 0
    nodes: int = 1
    host: str = "127.0.0.1"
    devices: tuple[str, ...] = ()
