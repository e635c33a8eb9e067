"""The workers as the loop sees them: how many trials each has room for, and for how long."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Fleet", "Worker"]


@dataclass(slots=True, eq=False)
class Worker:
    """A Dask worker.

    Parameters
    ----------
    address, name : str
        Dask's.
    room : int
        Trials that it can train at the same time.
    batch : str
        Id of the batch job that it is; empty if it is none.
    busy : int
        Trials that it trains now.
    ends : float
        Seconds since 1970 at which its batch job is killed.
    leaving : bool
        Whether it gets no more trials.
    released : bool
        Whether the pool has been told to let it go.
    """

    address: str
    name: str
    room: int
    batch: str = ""
    busy: int = 0
    ends: float = math.inf
    leaving: bool = False
    released: bool = False

    @property
    def free(self) -> bool:
        """Whether one more trial fits."""
        return self.busy < self.room and not self.leaving


class Fleet:
    """All workers, and the choice among them.

    Parameters
    ----------
    nodes : int
        Workers that a trial takes. With more than one, each of them has room for one trial.
    resources : mapping
        What a trial takes of each worker, in Dask's resources.
    batch_of : callable
        The id of the batch job behind a worker's name, or an empty text.

    Examples
    --------
    >>> fleet = Fleet(2, {}, lambda name: "")
    >>> _ = fleet.update({f"tcp://{name}": [name, 4, {}] for name in "abc"})
    >>> fleet.slots, [worker.name for worker in fleet.choose(0.0, now=0.0)]
    (1, ['a', 'b'])
    """

    def __init__(
        self, nodes: int, resources: Mapping[str, float], batch_of: Callable[[str], str]
    ) -> None:
        self.nodes = nodes
        self.workers: dict[str, Worker] = {}
        self._resources = resources
        self._batch_of = batch_of
        self._banned: set[str] = set()  # ids of batch jobs that are over, whatever still talks

    def update(self, present: Mapping[str, Sequence[Any]]) -> list[str]:
        """Take note of who is there; returns addresses that must not be.

        Parameters
        ----------
        present : mapping
            ``{address: [name, threads, resources]}``.
        """
        unwanted = []
        for address in [each for each in self.workers if each not in present]:
            del self.workers[address]
        for address, (name, threads, resources) in present.items():
            batch = self._batch_of(name)
            if batch and batch in self._banned:
                unwanted.append(address)
            elif address not in self.workers:
                self.workers[address] = Worker(address, name, self._room(threads, resources), batch)
        return unwanted

    def set_end(self, batch: str, ends: float) -> list[Worker]:
        """Note when a batch job is killed; returns those of its workers to whom that is news."""
        told = [each for each in self.of_batch(batch) if each.ends != ends]
        for worker in told:
            worker.ends = ends
        return told

    def ban(self, batch: str) -> list[Worker]:
        """A batch job is over: whoever still speaks for it is a ghost. Returns those who do."""
        self._banned.add(batch)
        ghosts = self.of_batch(batch)
        for ghost in ghosts:
            del self.workers[ghost.address]
        return ghosts

    def of_batch(self, batch: str) -> list[Worker]:
        """The workers of a batch job."""
        return [each for each in self.workers.values() if batch and each.batch == batch]

    @property
    def slots(self) -> int:
        """How many trials can train at the same time."""
        rooms = [max(each.busy, each.room * (not each.leaving)) for each in self.workers.values()]
        return sum(rooms) // self.nodes

    @property
    def per_worker(self) -> int:
        """How many trials a worker has room for, at the most."""
        return max((worker.room for worker in self.workers.values()), default=1)

    @property
    def idle(self) -> list[Worker]:
        """Workers that train nothing."""
        return [worker for worker in self.workers.values() if not worker.busy]

    def choose(self, seconds: float, *, now: float, fresh: float = math.inf) -> list[Worker]:
        """Workers for a trial that needs them for ``seconds``; empty if none are free or fit.

        Among those that live long enough, the ones that end first: long lives are kept for long
        jobs. What would not fit into the life of a fresh worker (``fresh`` seconds) either goes
        to those that live longest, and pauses there.
        """
        free = [worker for worker in self.workers.values() if worker.free]
        free.sort(key=lambda worker: (worker.ends, worker.busy))
        fit = [worker for worker in free if worker.ends - now >= seconds]
        if len(fit) >= self.nodes:
            return fit[: self.nodes]
        if seconds > fresh and len(free) >= self.nodes:
            return free[-self.nodes :]
        return []

    def _room(self, threads: int, resources: Mapping[str, float]) -> int:
        room = threads if self.nodes == 1 else 1
        for name, amount in self._resources.items():
            room = min(room, int(resources.get(name, 0) // amount))
        return room
