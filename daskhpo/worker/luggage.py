"""What a trial takes along from stay to stay: packed by all ranks, unpacked by all ranks."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from daskhpo.exceptions import CheckpointError
from daskhpo.worker.channel import Ranks
from daskhpo.worker.checkpoint import (
    Checkpoint,
    Checkpoints,
    capture,
    capture_rng,
    restore,
    restore_rng,
)
from daskhpo.worker.inheritance import inherit

__all__ = ["Luggage"]

logger = logging.getLogger(__name__)


class Luggage:
    """The objects of one training loop, and the checkpoints that hold their state.

    Every method but :meth:`clear` is called on all ranks at the same point; rank 0 writes.

    Parameters
    ----------
    checkpoints : Checkpoints
        The trial's, as of this attempt.
    ranks : Ranks
        The trial's processes.
    states : dict
        ``{name: object}``: what the objective handed to ``trial.steps``.

    Raises
    ------
    CheckpointError
        If one of the objects cannot be kept: before anything is trained.

    Examples
    --------
    >>> import tempfile
    >>> from daskhpo.worker.channel import Alone
    >>> checkpoints = Checkpoints(tempfile.mkdtemp(), attempt=0)
    >>> seconds = Luggage(checkpoints, Alone(), {"sums": [1, 2]}).pack(3, [], ())
    >>> later = []
    >>> Luggage(checkpoints, Alone(), {"sums": later}).unpack().step, later
    (3, [1, 2])
    """

    def __init__(self, checkpoints: Checkpoints, ranks: Ranks, states: dict[str, Any]) -> None:
        for name, thing in states.items():
            capture(name, thing)
        self._checkpoints = checkpoints
        self._ranks = ranks
        self._states = states

    def __bool__(self) -> bool:
        return bool(self._states)

    def pack(
        self, step: int, reports: Sequence[tuple[int, dict[str, float]]], pace: tuple[float, ...]
    ) -> float:
        """Save everything as of ``step``; returns the seconds that it took."""
        began = time.monotonic()
        rng = self._ranks.gather(capture_rng())
        if self._ranks.rank == 0:
            states = {name: capture(name, thing) for name, thing in self._states.items()}
            content = Checkpoint(step, tuple(reports), states, tuple(rng), pace)
            self._checkpoints.save(content)
        return max(time.monotonic() - began, 1e-3)

    def unpack(self) -> Checkpoint | None:
        """Put the objects and the random numbers back to the newest checkpoint, if there is one."""
        checkpoint = self._checkpoints.load()
        if checkpoint is not None:
            self._restore(checkpoint)
            if len(checkpoint.rng) == self._ranks.size:
                restore_rng(checkpoint.rng[self._ranks.rank])
        return checkpoint

    def inherit(self, parent: int, step: int, *, below: int) -> Checkpoint | None:
        """Put the objects to where the parent's were, with random numbers of their own.

        See :func:`daskhpo.worker.inheritance.inherit`.

        Raises
        ------
        CheckpointError
            If the ranks do not find the same one.
        """
        path = self._checkpoints.path
        checkpoint = inherit(path.with_name(f"{parent:05d}"), path, step, below=below)
        if checkpoint is not None:
            self._restore(checkpoint)
        elif self._ranks.rank == 0:
            logger.warning(
                "trial %d finds no checkpoint of its parent, trial %d: it trains from step 1, and "
                "what it reports up to step %d does not count",
                *(int(path.name), parent, step),
            )
        found = checkpoint.step if checkpoint is not None else 0
        if self._ranks.agree(found) != found:
            raise CheckpointError(f"rank {self._ranks.rank} finds another checkpoint than rank 0")
        return checkpoint

    def clear(self) -> None:
        """Remove every checkpoint: the trial will never train again."""
        if self._ranks.rank == 0:
            self._checkpoints.clear()

    def _restore(self, checkpoint: Checkpoint) -> None:
        for name, state in checkpoint.states.items():
            if name in self._states:
                restore(name, self._states[name], state)
