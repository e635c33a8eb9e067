"""What every scheduler is: the judge of how long a trial trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from daskhpo.trial import Answer, Evidence

__all__ = ["Promotion", "RungRow", "Scheduler"]


@dataclass(frozen=True, slots=True)
class Promotion:
    """A paused trial that goes on: to train towards ``rung``, up to step ``stop``."""

    number: int
    rung: int
    stop: int
    evidence: Evidence = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RungRow:
    """One line of the rung table.

    ``recorded`` trials were compared at ``milestone``, ``promoted`` of them went on, ``best`` is
    the smallest (minimised) value recorded there.
    """

    bracket: int
    rung: int
    milestone: int
    recorded: int
    promoted: int
    best: float


@runtime_checkable
class Scheduler(Protocol):
    """Decides who goes on, who pauses and who stops. It always minimises.

    The study calls it, in the order of the facts; it holds no clock, no randomness beyond its
    seed, and does no I/O, so that the same calls give the same decisions.

    Attributes
    ----------
    max_step : int
        R, the step at which a trial is complete.
    """

    max_step: int

    def begin(self, number: int) -> Promotion:
        """Admit a new trial; returns the rung it trains towards and the step where it waits."""

    def promote(self, *, drained: bool) -> Promotion | None:
        """The paused trial that should train now, or None.

        ``drained`` says that nothing runs and nothing is left to start: the moment to send on
        the best of the highest rung, so that a campaign never ends without a complete trial.
        """

    def report(self, number: int, step: int, value: float) -> Answer:
        """Judge one new report. Called once per (trial, step), with finite values only."""

    def fail(self, number: int) -> None:
        """Note that a trial will never report again: it ranks below every other."""

    def table(self) -> Sequence[RungRow]:
        """The rung table, lowest rung first; empty for schedulers without rungs."""

    def settings(self) -> Mapping[str, Any]:
        """What it was made with, as JSON: ``type`` and the constructor's arguments."""
