"""When a stay has to be over: the clock on the wall, asked for all ranks of a trial."""

from __future__ import annotations

import logging
import time

from daskhpo.worker.channel import Channel, Ranks
from daskhpo.worker.deadline import Deadline, began_from_environment

__all__ = ["Curfew"]

logger = logging.getLogger(__name__)


class Curfew:
    """The end of one stay, and whether another step comes before it.

    Parameters
    ----------
    number : int
        The trial, for what is logged.
    margin : float
        See :class:`~daskhpo.worker.deadline.Deadline`.
    channel : Channel
        Knows when this rank's batch job is killed.
    ranks : Ranks
        The trial's processes, each perhaps in a batch job of its own.

    Attributes
    ----------
    deadline : Deadline
        What is known of the trial's speed. Each rank measures; rank 0 decides.
    """

    def __init__(self, number: int, margin: float, channel: Channel, ranks: Ranks) -> None:
        self._began = began_from_environment(time.time())
        self.deadline = Deadline(margin, began=self._began)
        self._number = number
        self._channel = channel
        self._ranks = ranks
        self._others: list[tuple[float, float]] | None = None  # [(end, beginning)]; None: not asked
        self._step_began = time.monotonic()

    @property
    def ends(self) -> float:
        """Seconds since 1970 when the first of the trial's batch jobs is killed; inf if unknown."""
        return self._life[0]

    @property
    def seconds_left(self) -> float:
        """Seconds until the trial has to be gone, not below 0."""
        ends, self.deadline.began = self._life
        return max(0.0, self.deadline.left(time.time(), ends))

    @property
    def _life(self) -> tuple[float, float]:
        """(end, beginning) of the batch job that ends first; this rank's own end may be moved."""
        own = (self._channel.ends, self._began)
        return min(own, *self._others) if self._others else own

    def meet(self) -> None:
        """Ask all ranks, once a stay, for the lives of their batch jobs: the first end counts."""
        if self._others is None:
            own = (self._channel.ends, self._began)
            self._others = [life for life in self._ranks.gather(own) if life != own]

    def begin_step(self) -> None:
        """A step begins. The first one begins with the stay."""
        self._step_began = time.monotonic()

    def end_step(self) -> None:
        """It has ended."""
        self.deadline.took(time.monotonic() - self._step_began)

    def is_near(self) -> bool:
        """Whether another step, and a checkpoint after it, would not end in time; says so too.

        A stay that has trained nothing yet is not sent away by a young batch job.
        """
        now, deadline = time.time(), self.deadline
        ends, deadline.began = self._life
        if deadline.fits(now, ends):
            return False
        lacks = (
            f"trial {self._number}: another step and its checkpoint may take {deadline.need:.0f} "
            f"s, its batch job ends in {ends - now:.0f} s"
        )
        if deadline.fresh and deadline.is_young(now, ends):
            logger.warning(
                "%s and was given %.0f s in all: no other one would have much more, so it trains "
                "here and may be killed; give batch jobs a longer walltime (pool.walltime)",
                *(lacks, ends - deadline.began),
            )
            return False
        logger.info("%s: it leaves and goes on elsewhere", lacks)
        return True
