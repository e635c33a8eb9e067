"""What a session stands between: the tuner on one side, the other ranks on the other."""

from __future__ import annotations

from typing import Any, Protocol

from daskhpo.trial import Answer
from daskhpo.worker.devices import pick_device

__all__ = ["Alone", "Channel", "Ranks"]


class Channel(Protocol):
    """The way from a trial to its tuner and back."""

    def send(self, step: int, metrics: dict[str, float], *, urgent: bool) -> None:
        """Send one report and return at once; ``urgent`` ones are not held back for company."""

    def wait(self, step: int) -> Answer:
        """Block until there is an answer that says what to do after ``step``."""

    def poll(self) -> Answer | None:
        """The newest answer, if one has come unasked."""

    @property
    def interrupted(self) -> bool:
        """Whether the worker has to go: the trial is to pause though nobody decided so."""

    @property
    def ends(self) -> float:
        """Seconds since 1970: when the worker's batch job is killed; inf if it is not known."""


class Ranks(Protocol):
    """The processes that train one trial together.

    Attributes
    ----------
    rank, size : int
        This process is ``rank`` of ``size``.
    local_rank : int
        Its place among those of the trial on the same node.
    """

    rank: int
    size: int
    local_rank: int

    @property
    def device(self) -> str:
        """Where this process computes: ``"cuda:0"``, ``"cpu"``."""

    def agree(self, code: int) -> int:
        """Rank 0's ``code``, on every rank."""

    def gather(self, thing: Any) -> list[Any]:
        """Every rank's ``thing``, in order, on rank 0 (elsewhere the list may be empty)."""


class Alone:
    """One process: nothing to agree on.

    Parameters
    ----------
    device : str
        Where it computes, for one of several trials in a process; by default the first GPU that
        is visible, if there is one.

    Examples
    --------
    >>> Alone("cuda:2").device
    'cuda:2'
    """

    rank = 0
    size = 1
    local_rank = 0

    def __init__(self, device: str = "") -> None:
        self._device = device

    @property
    def device(self) -> str:
        """The device that was given; else looked for now, as torch may come with the objective."""
        return self._device or pick_device(0)

    def agree(self, code: int) -> int:
        """The code itself."""
        return code

    def gather(self, thing: Any) -> list[Any]:
        """The thing itself, in a list."""
        return [thing]
