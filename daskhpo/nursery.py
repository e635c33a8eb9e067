"""Children of a population: bred, and waiting for the checkpoints that they begin from."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from daskhpo.schedulers.base import Breeder, Child, Scheduler
from daskhpo.space import Space
from daskhpo.trial import Trial, TrialState

__all__ = ["Nursery"]


class Nursery:
    """Lets a scheduler breed, where it can, and keeps its children until they may begin.

    They come before everything else, so that no parent trains on, or is stopped, before they have
    been handed out.

    Parameters
    ----------
    scheduler : Scheduler
        One that breeds, or any other: there are no children then.
    space : Space
        What can be tried.
    trials : mapping
        ``{number: trial}`` of the study.

    Raises
    ------
    SchedulerError
        If the scheduler cannot breed in this space.

    Examples
    --------
    >>> from daskhpo.schedulers import Fifo
    >>> nursery = Nursery(Fifo(max_step=9), Space(lr=[0.1, 0.2]), {})
    >>> nursery.breed(0) is None, nursery.leave() is None, len(nursery)
    (True, True, 0)
    """

    def __init__(self, scheduler: Scheduler, space: Space, trials: Mapping[int, Trial]) -> None:
        self._breeder = scheduler if isinstance(scheduler, Breeder) else None
        if self._breeder is not None:
            self._breeder.check(space)
        self._space = space
        self._trials = trials
        self._waiting: deque[tuple[int, Child]] = deque()
        self.bred = 0  # of all times: trials that took the place of others

    def __len__(self) -> int:
        return len(self._waiting)

    def breed(self, number: int) -> Child | None:
        """Let trial ``number`` fill a place that has become free, if there is one."""
        if self._breeder is None:
            return None
        child = self._breeder.breed(number, self._space, lambda n: self._trials[n].params)
        if child is not None:
            self.bred += 1
            self._waiting.append((number, child))
        return child

    def leave(self) -> Trial | None:
        """The next child, as a trial; None while its parent is saving the checkpoint it needs."""
        if not self._waiting:
            return None
        number, child = self._waiting[0]
        parent = self._trials[child.parent]
        if parent.state is TrialState.RUNNING and parent.start < child.start:
            return None
        self._waiting.popleft()
        trial = Trial(number, child.params, rung=child.rung, stop=child.stop)
        trial.parent, trial.origin, trial.step = child.parent, child.start, child.start
        return trial
