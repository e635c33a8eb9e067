"""What every scheduler is: the judge of how long a trial trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from daskhpo.space import Space
from daskhpo.trial import Answer, Evidence, Params, Value

__all__ = [
    "Advised",
    "Bar",
    "Breeder",
    "Child",
    "Learner",
    "Promotion",
    "RungRow",
    "Scheduler",
    "single",
]


@dataclass(frozen=True, slots=True)
class Promotion:
    """A paused trial that goes on: to train towards ``rung``, up to step ``stop``."""

    number: int
    rung: int
    stop: int
    evidence: Evidence = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Child:
    """A new trial that goes on from the checkpoint of ``parent``, at step ``start``."""

    parent: int
    params: Params
    rung: int
    start: int
    stop: int
    evidence: Evidence = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RungRow:
    """One line of the rung table.

    ``recorded`` trials were compared at ``milestone``, ``promoted`` of them went on, ``best`` is
    the smallest (minimised) value recorded there, ``share`` is what may go on at present where
    that is learned (else nan).
    """

    bracket: int
    rung: int
    milestone: int
    recorded: int
    promoted: int
    best: float
    share: float = math.nan


@dataclass(frozen=True, slots=True)
class Bar:
    """What a trial has to reach in order to go on, as things stand.

    ``since`` is the milestone before (0 for the first), ``milestone`` where it is compared next;
    with a value above ``value`` there it would not go on; inf where everybody would. ``after`` is
    the milestone after that one, None at the last.
    """

    since: int
    milestone: int
    value: float
    after: int | None = None


@runtime_checkable
class Scheduler(Protocol):
    """Decides who goes on, who pauses and who stops. It always minimises.

    The study calls it, in the order of the facts; it holds no clock, no randomness beyond its
    seed, and does no I/O, so that the same calls give the same decisions.

    Attributes
    ----------
    max_step : int
        R, the step at which a trial is complete.
    several : bool
        Whether it can trade several metrics off; if not, a study with more than one is refused.
    """

    max_step: int
    several: bool

    def begin(self, number: int) -> Promotion:
        """Admit a new trial; returns the rung it trains towards and the step where it waits."""

    def admits(self) -> bool:
        """Whether a new trial may begin now; False while a rung waits for those it has.

        A scheduler that admits nobody while nothing runs must have somebody to promote, or is at
        its end.
        """

    def promote(self, *, drained: bool) -> Promotion | None:
        """The paused trial that should train now, or None.

        ``drained`` says that nothing runs and nothing is left to start: the moment to send on
        the best of the highest rung, so that a campaign never ends without a complete trial, and
        to close rungs for which nobody will come any more.

        Returning None must change nothing that a later decision could see: no fact records the
        question, so a replay does not ask it.
        """

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Judge one new report. Called once per (trial, step), with finite values only.

        ``value`` is a tuple where several metrics are traded off.
        """

    def fail(self, number: int) -> None:
        """Note that a trial will never report again: it ranks below every other."""

    def table(self) -> Sequence[RungRow]:
        """The rung table, lowest rung first; empty for schedulers without rungs."""

    def settings(self) -> Mapping[str, Any]:
        """What it was made with, as JSON: ``type`` and the constructor's arguments."""


@runtime_checkable
class Breeder(Protocol):
    """A scheduler that also makes trials out of others, such as population based training."""

    def check(self, space: Space) -> None:
        """Refuse a space in which it could not breed; called once, before anything runs.

        Raises
        ------
        SchedulerError
            Naming the argument, its value and what is allowed.
        """

    def breed(self, number: int, space: Space, params: Callable[[int], Params]) -> Child | None:
        """The trial that should take the place of one that was stopped, or None.

        It becomes trial ``number`` and is admitted: :meth:`Scheduler.begin` is not called for it.
        ``params`` gives the configuration of any trial so far.
        """


@runtime_checkable
class Advised(Protocol):
    """A scheduler to which a forecast can be told between two milestones.

    Attributes
    ----------
    leans : bool
        Whether forecasts may move the ranks of those that wait; :meth:`lean` is called if so.
    """

    leans: bool

    def bar(self, number: int) -> Bar:
        """What a running trial has to reach at its next milestone."""

    def cut(self, number: int, step: int, value: float) -> Answer:
        """Take a trial off before its milestone: it is forecast to have ``value`` there.

        The forecast stands in for the value, so that the bar for all others does not move by it.
        """

    def lean(self, number: int, shift: float) -> None:
        """Rank the trial at its next milestone as if its value were ``shift`` larger."""


@runtime_checkable
class Learner(Protocol):
    """A scheduler that learns from the curves of earlier campaigns."""

    def learn(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Note one learning curve: its steps, rising, and the (minimised) value at each."""


def single(value: Value) -> float:
    """The value for schedulers that compare one metric (``several`` is False)."""
    assert not isinstance(value, tuple)
    return value
