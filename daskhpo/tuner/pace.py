"""How long jobs will take, judged by the trials' own step times."""

from __future__ import annotations

from collections import deque
from statistics import median

from daskhpo.trial import Job

__all__ = ["Pace"]

RECENT = 5  # steps of a trial whose times count
CROWD = 64  # trials whose step times stand in for one that has none of its own


class Pace:
    """Step times, and what they say of a job that has not begun.

    A step of a trial is taken to last as long as the slowest of its last few: validation steps
    are longer than others, and a job that is begun in vain costs more than one that is not. A
    trial that has not trained yet is taken for the median of the others.

    Examples
    --------
    >>> pace = Pace()
    >>> pace.began(0, now=0.0); pace.reported(0, 1, now=40.0); pace.reported(0, 2, now=50.0)
    >>> pace.step(0), pace.seconds(Job(0, 1, 1, 2, 6, {}))
    (10.0, 70.0)
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}  # {trial: last step and when}
        self._began: dict[int, float] = {}  # {trial: when its stay began, until its first report}
        self._times: dict[int, deque[float]] = {}  # {trial: seconds per step, the last few}
        self._starts: deque[float] = deque(maxlen=RECENT)  # seconds until a first step began

    def began(self, number: int, now: float) -> None:
        """A trial has been handed to its workers."""
        self._began[number] = now
        self._seen.pop(number, None)

    def reported(self, number: int, step: int, now: float) -> None:
        """A trial has reported ``step``."""
        before = self._seen.get(number)
        if before is not None and step > before[0]:
            times = self._times.setdefault(number, deque(maxlen=RECENT))
            times.append((now - before[1]) / (step - before[0]))
            began = self._began.pop(number, None)
            if began is not None:  # by now it is known how much of the wait was its first step
                self._starts.append(max(0.0, before[1] - began - times[-1]))
        self._seen[number] = (step, now)

    def forget(self, number: int) -> None:
        """A trial is over."""
        for store in (self._seen, self._began):
            store.pop(number, None)
        if len(self._times) > CROWD:
            self._times.pop(number, None)

    def step(self, number: int) -> float:
        """Seconds that the next step of a trial will take; 0 while nobody can know."""
        own = self._times.get(number)
        if own:
            return max(own)
        return median(map(max, self._times.values())) if self._times else 0.0

    def seconds(self, job: Job) -> float:
        """Seconds that a job will hold its workers, from now to its stop."""
        start = max(self._starts, default=0.0)
        return start + (job.stop - job.start) * self.step(job.number)
