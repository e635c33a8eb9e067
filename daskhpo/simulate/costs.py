"""What a simulated campaign pays beyond its steps, and what goes wrong.

All times are in units of one median step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Self

from daskhpo.exceptions import CampaignError

__all__ = ["Costs", "Failures", "Walltime"]


@dataclass(frozen=True, slots=True)
class Costs:
    """What a stay of a trial on a worker costs besides training.

    The defaults are those of a training that takes minutes a step: ten seconds or so to start a
    process and to open the data, a few to write a checkpoint and to read it. A trial that
    continues in place pays nothing.

    Parameters
    ----------
    startup : float
        Start of every job: the process, the imports, the data.
    save : float
        A checkpoint, written when a trial pauses or its worker ends.
    load : float
        A checkpoint, read when a trial goes on somewhere.

    Raises
    ------
    CampaignError
        If a cost is negative or no number.

    Examples
    --------
    >>> Costs.free()
    Costs(startup=0.0, save=0.0, load=0.0)
    """

    startup: float = 0.1
    save: float = 0.05
    load: float = 0.05

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(f"costs.{field.name}", getattr(self, field.name), least=0.0)

    @classmethod
    def free(cls) -> Self:
        """Nothing costs anything, as in the figures of the papers."""
        return cls(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Failures:
    """How often jobs die and trials fail, per step that is trained.

    A job that was lost goes on from the checkpoint of the trial's last pause, or from the start:
    the steps since then are trained again. A trial that fails by itself does so too, ``retries``
    times; then it is given up.

    Parameters
    ----------
    lost : float
        Probability that a job dies with its worker during a step; a new worker takes its place at
        once.
    failed : float
        Probability that the trial fails by itself during a step.
    retries : int
        How often a trial may fail by itself and try again.

    Raises
    ------
    CampaignError
        If these are no probabilities, or add up to 1 or more.

    Examples
    --------
    >>> Failures(lost=0.001).hazard
    0.001
    """

    lost: float = 0.0
    failed: float = 0.0
    retries: int = 1

    def __post_init__(self) -> None:
        for name in ("lost", "failed"):
            _check(f"failures.{name}", getattr(self, name), least=0.0)
        if self.hazard >= 1:
            raise CampaignError(
                f"failures.lost={self.lost!r}, failures.failed={self.failed!r}: probabilities per "
                "step; together they must be below 1"
            )
        if not isinstance(self.retries, int) or self.retries < 0:
            raise CampaignError(
                f"failures.retries={self.retries!r}: must be an integer of at least 0"
            )

    @property
    def hazard(self) -> float:
        """Probability that a job ends during a step, for whatever reason."""
        return self.lost + self.failed


@dataclass(frozen=True, slots=True)
class Walltime:
    """Workers that end: those of a batch job, followed by the next batch job.

    All workers begin at time 0, end ``length`` later, and as many new ones begin ``queue`` after
    that. A trial pauses with a checkpoint before the first step that would no longer fit, and
    goes on elsewhere; a worker begins nothing when not even start-up, one median step and a
    checkpoint fit.

    Parameters
    ----------
    length : float
        How long a worker lives.
    queue : float
        How long the next one is waited for.

    Raises
    ------
    CampaignError
        If ``length`` is not above 0 or ``queue`` is negative.

    Examples
    --------
    >>> Walltime(length=200, queue=50).alive(until=300)
    250.0
    """

    length: float
    queue: float = 0.0

    def __post_init__(self) -> None:
        _check("walltime.length", self.length, least=0.0)
        _check("walltime.queue", self.queue, least=0.0)
        if self.length == 0:
            raise CampaignError("walltime.length=0: must be above 0")

    def alive(self, until: float) -> float:
        """How long a worker has been there between time 0 and ``until``, successors included."""
        lives, rest = divmod(until, self.length + self.queue)
        return float(lives * self.length + min(rest, self.length))


def _check(name: str, value: object, *, least: float) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not least <= value < math.inf:  # type: ignore[operator]
        raise CampaignError(f"{name}={value!r}: must be a number of at least {least:g}")
