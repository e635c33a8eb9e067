"""Whether another step of a trial still fits into what is left of its worker's life.

A batch job is killed at its walltime, and what its trial has trained since the last checkpoint is
gone. So before every step the clock is asked: a step that would not end in time is not begun, and
the trial leaves with a checkpoint. Times of day are in seconds since 1970.
"""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Sequence

__all__ = ["Deadline", "began_from_environment", "deadline_from_environment"]

RECENT = 32  # steps that are remembered: every tenth or twentieth may validate, and take longer
STEP_RESERVE = 1.25  # the next step may take so many times the longest of them
SAVE_RESERVE = 2.0  # and so a save: one safety copy may come first, file systems vary
MARGIN_SHARE = 0.1  # of a batch job's life: what the margin may take of it at most
YOUTH = 0.25  # of a batch job's life: up to this age, no other one would offer much more time

logger = logging.getLogger(__name__)


class Deadline:
    """What a trial has learned of its own speed, held against the end of its worker.

    It keeps no clock: whoever asks says what time it is.

    Parameters
    ----------
    margin : float
        Seconds before the end at which the trial wants to be gone. In a short life it is a tenth
        of that, so that a batch job of a minute still trains.
    began : float
        When the batch job began, as far as is known; the beginning of the stay otherwise.

    Attributes
    ----------
    save : float
        Seconds that saving a checkpoint takes: as measured last, 1 until then.

    Notes
    -----
    The next step is taken to last 1.25 times the longest of the newest 32, since a step that
    validates is longer than others. The first step of a stay warms up (imports, compilation, file
    caches): it stands for itself, and for the others only until there are any. A save is taken to
    last twice as long as the last one.

    A stay may begin on a worker whose life is too short for even one step. It is turned away then
    (:attr:`fits` is false), because another worker has more time, but not by a batch job in the
    first quarter of its life (:meth:`is_young`): no other one would have much more, and the trial
    would go from one to the next for ever. It trains, and is lost or not.

    Examples
    --------
    >>> deadline = Deadline(60.0, began=0.0)
    >>> deadline.took(100.0)
    >>> deadline.need
    127.0
    >>> deadline.fits(3400.0, 3600.0), deadline.fits(3500.0, 3600.0)
    (True, False)
    """

    def __init__(self, margin: float, *, began: float) -> None:
        self.began = began
        self.save = 1.0
        self.fresh = True  # no step of this stay has ended
        self._margin = margin
        self._first = 0.0  # seconds; 0 as long as no first step is known
        self._steps: deque[float] = deque(maxlen=RECENT)

    @property
    def pace(self) -> tuple[float, ...]:
        """The seconds that steps took, the first of a stay before the others: for a later stay."""
        return (self._first, *self._steps) if self._first else ()

    def recall(self, pace: Sequence[float]) -> None:
        """Begin with the :attr:`pace` of an earlier stay, or of a parent."""
        if pace:
            self._first, *steps = pace
            self._steps.extend(steps)

    def took(self, seconds: float) -> None:
        """A step of this stay has ended that took so long."""
        if self.fresh:
            self._first = max(seconds, 1e-9)
            self.fresh = False
        else:
            self._steps.append(seconds)

    @property
    def need(self) -> float:
        """Seconds that another step and a checkpoint after it may take; unknown steps take none."""
        longest = max(self._steps, default=self._first)
        if self.fresh:
            longest = max(longest, self._first)
        return STEP_RESERVE * longest + SAVE_RESERVE * self.save

    def left(self, now: float, ends: float) -> float:
        """Seconds until the trial has to be gone; negative once it has."""
        margin = min(self._margin, MARGIN_SHARE * max(0.0, ends - self.began))
        return ends - margin - now

    def fits(self, now: float, ends: float) -> bool:
        """Whether another step, and a checkpoint after it, fit into the time before ``ends``."""
        return self.need <= self.left(now, ends)

    def is_young(self, now: float, ends: float) -> bool:
        """Whether another batch job of the same length would not offer much more time."""
        return now - self.began <= YOUTH * (ends - self.began)


def deadline_from_environment() -> float:
    """When the batch job around this process is killed: ``DASKHPO_ENDS``; inf if nobody knows.

    Examples
    --------
    >>> os.environ["DASKHPO_ENDS"] = "1795170000"
    >>> deadline_from_environment()
    1795170000.0
    >>> del os.environ["DASKHPO_ENDS"]
    >>> deadline_from_environment()
    inf
    """
    return _time_from("DASKHPO_ENDS", math.inf)


def began_from_environment(now: float) -> float:
    """When the batch job around this process began: ``DASKHPO_BEGAN``; ``now`` if nobody knows."""
    return min(now, _time_from("DASKHPO_BEGAN", now))


def _time_from(name: str, unknown: float) -> float:
    text = os.environ.get(name, "").strip()
    if not text:
        return unknown
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _LONG_AGO < seconds < math.inf:
        logger.warning("%s=%r: must be seconds since 1970; it is taken as unknown", name, text)
        return unknown
    return seconds


_LONG_AGO = 946_684_800.0  # the year 2000: below it, it is a duration, or Slurm's word for nothing
