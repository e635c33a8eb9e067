"""What every sampler is: a proposer of configurations."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from daskhpo.trial import Params, Value

__all__ = ["Learner", "Sampler"]


@runtime_checkable
class Sampler(Protocol):
    """Proposes the configuration of trial ``number``.

    The study hands suggestions out in the order of their numbers, so the number of a suggestion
    is the number of its trial. A sampler never sees rungs or workers, and always minimises.

    Attributes
    ----------
    slow : bool
        Whether :meth:`suggest` may take longer than a report can wait. The tuner then calls it
        ahead of time in a thread; ``suggest`` and ``tell`` must be safe against one another.
    """

    slow: bool

    def suggest(self, number: int) -> Params | None:
        """Propose the configuration of trial ``number``; None when there is nothing left to try.

        Randomness is a function of the sampler's seed and of ``number`` alone, so a resumed
        campaign goes on as if it had never been interrupted.
        """

    def pend(self, number: int, params: Params) -> None:
        """Note that ``params`` was handed out as trial ``number`` (also on replay)."""

    def tell(self, number: int, step: int, value: Value) -> None:
        """Note the last seen ``value`` of a trial at ``step``: smaller is better, inf is failed.

        May be called again for the same trial: the later value replaces the earlier one. Never
        fits a model: this runs on the event loop. ``value`` is a tuple where several metrics are
        traded off (a failed trial is inf all the same).
        """


@runtime_checkable
class Learner(Protocol):
    """A sampler that learns from the trials of earlier campaigns."""

    def learn(self, params: Params, step: int, value: Value) -> None:
        """Note what another campaign's trial reached at ``step``: its last value there.

        ``params`` is a point of the space. Called before the first suggestion, and on replay.
        """
