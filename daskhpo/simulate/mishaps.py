"""Which simulated jobs die, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass

from daskhpo.simulate.costs import Failures
from daskhpo.simulate.draws import Draws
from daskhpo.trial import Job, Outcome

__all__ = ["Doom", "Dooms"]

_STREAM = 2  # of failures, beside those of speeds and noise
_NEVER = 1e15  # steps: a hazard of almost nothing overflows


@dataclass(frozen=True, slots=True)
class Doom:
    """A job ends during step ``after`` + 1 of its stay, when ``part`` of it has passed."""

    after: int
    part: float
    outcome: Outcome


class Dooms:
    """Which jobs die, and when: a function of seed, trial and attempt."""

    def __init__(self, failures: Failures, seed: int) -> None:
        self._failures = failures
        self._seed = seed
        self._draws: dict[int, Draws] = {}  # {attempt: three uniform numbers per trial}

    def of(self, job: Job) -> Doom:
        """When the job dies, if it trains for long enough."""
        if job.attempt not in self._draws:
            self._draws[job.attempt] = Draws(
                lambda rng, n: rng.random((n, 3)), self._seed, _STREAM, job.attempt
            )
        first, second, part = self._draws[job.attempt][job.number].tolist()
        hazard = self._failures.hazard
        after = int(min(math.log1p(-first) / math.log1p(-hazard), _NEVER))  # geometric
        lost = second * hazard < self._failures.lost
        return Doom(after, part, Outcome.LOST if lost else Outcome.FAILED)
