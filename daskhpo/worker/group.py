"""The ranks of one trial find each other and agree."""

from __future__ import annotations

import math
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from daskhpo.worker.devices import backend, pick_device
from daskhpo.worker.environment import interface_of

__all__ = ["Group", "Place"]

# A collective that takes longer has lost somebody. Agreeing takes as long as a trial waits for
# the answer to its report, and who is lost is then seen by the supervisors.
COLLECTIVE = timedelta(minutes=30)
AGREEMENT = timedelta(days=30)
_LEAVE = "daskhpo/leave"  # a key of the store: some rank wants its trial to leave


@dataclass(frozen=True, slots=True)
class Place:
    """A rank's place among those of its trial, for one job.

    Parameters
    ----------
    rank, size : int
        Among all ranks of the trial.
    local_rank, local_size : int
        Among those of this worker.
    node, nodes : int
        The worker among those of the trial.
    host : str
        Where the other workers reach this one.
    log : str
        The file that takes what the rank prints.
    ends : float
        Seconds since 1970: when this worker's batch job is killed.
    patience : float
        Seconds that the ranks wait for each other at the start.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    node: int
    nodes: int
    host: str
    log: str
    ends: float
    patience: float


class Post(Protocol):
    """What a group needs of its rank's way to the supervisor."""

    ends: float
    others: float
    interrupted: bool

    def announce(self, port: int) -> None:
        """The store of this rank listens on ``port``."""

    def endpoint(self, timeout: float) -> str:
        """Where rank 0's store listens (``"host:port"``)."""

    def interrupt(self) -> None:
        """The trial has to leave."""


class Group:
    """Ranks that agree over gloo, whatever the model's gradients travel on.

    Parameters
    ----------
    place : Place
        This rank's.
    post : Post
        Its way to the supervisor.

    Raises
    ------
    RuntimeError
        If the ranks do not find together.
    """

    def __init__(self, place: Place, post: Post) -> None:
        import torch
        import torch.distributed as dist

        self.rank = place.rank
        self.size = place.size
        self.local_rank = place.local_rank
        self._post = post
        self._told = False
        self._dist = dist
        self._torch = torch
        if torch.cuda.is_available():
            torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
        host, port = self._meet(place)
        os.environ |= _variables(place, host, port)
        self._gather_all(place)
        self._store.set_timeout(COLLECTIVE)
        dist.init_process_group(
            backend(place.local_size),
            store=self._store,
            rank=place.rank,
            world_size=place.size,
            timeout=COLLECTIVE,
        )
        self._control = dist.new_group(backend="gloo", timeout=AGREEMENT)
        everywhere = self.gather((place.node, post.ends))
        post.others = min(
            (ends for node, ends in everywhere if node != place.node), default=math.inf
        )
        post.ends = min(post.ends, post.others)

    @property
    def device(self) -> str:
        """Where this rank computes: its GPU if there is one, else ``"cpu"``."""
        return pick_device(self.local_rank)

    def agree(self, code: int) -> int:
        """Rank 0's ``code``, on every rank."""
        if self.rank != 0 and self._post.interrupted and not self._told:
            self._told = True
            self._store.set(_LEAVE, "")
        elif self.rank == 0 and not self._post.interrupted and self._store.check([_LEAVE]):
            self._post.interrupt()
        flag = self._torch.tensor([code])
        self._dist.broadcast(flag, src=0, group=self._control)
        return int(flag.item())

    def gather(self, thing: Any) -> list[Any]:
        """Every rank's ``thing``, in order."""
        things: list[Any] = [None] * self.size
        self._dist.all_gather_object(things, thing, group=self._control)
        return things

    def close(self) -> None:
        """Leave the others; every rank has to be done."""
        self._dist.destroy_process_group()
        del self._store

    def _meet(self, place: Place) -> tuple[str, int]:
        """Open the store, or find it: on a port that the kernel picks as it is bound."""
        store: Any = self._dist.TCPStore  # type: ignore[attr-defined]  # torch does not export it
        timeout = timedelta(seconds=place.patience)
        if place.rank == 0:
            alone = {}
            port = 0
            if place.nodes == 1:  # nobody outside is to reach it
                listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
                port = listener.getsockname()[1]
                alone = {"master_listen_fd": listener.detach()}
            host = place.host if place.nodes > 1 else "127.0.0.1"
            self._store = store(
                host, port, place.size, True, timeout, wait_for_workers=False, **alone
            )
            self._post.announce(self._store.port)
            return host, self._store.port
        host, _, text = self._post.endpoint(place.patience).rpartition(":")
        self._store = store(host.strip("[]"), int(text), place.size, False, timeout)
        return host.strip("[]"), int(text)

    def _gather_all(self, place: Place) -> None:
        """Wait for all, so that nobody waits for half an hour for one that never comes."""
        keys = [f"daskhpo/rank{rank}" for rank in range(place.size)]
        self._store.set(keys[place.rank], "")
        try:
            self._store.wait(keys)
        except RuntimeError as error:
            missing = [str(rank) for rank, key in enumerate(keys) if not self._store.check([key])]
            raise RuntimeError(
                f"rank {', '.join(missing)} of {place.size} did not come within "
                f"{place.patience:g} s"
            ) from error


def _variables(place: Place, host: str, port: int) -> dict[str, str]:
    """What libraries for training on several ranks look for."""
    variables = {
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "RANK": str(place.rank),
        "WORLD_SIZE": str(place.size),
        "LOCAL_RANK": str(place.local_rank),
        "LOCAL_WORLD_SIZE": str(place.local_size),
        "NODE_RANK": str(place.node),
        "GROUP_RANK": str(place.node),
    }
    # gloo takes the interface of the machine's own name, which may be none that others can reach.
    interface = interface_of(place.host) if place.nodes > 1 else "lo"
    if interface and "GLOO_SOCKET_IFNAME" not in os.environ:
        variables["GLOO_SOCKET_IFNAME"] = interface
    return variables
