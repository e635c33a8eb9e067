"""Learning rates that know how long the training is, also where a campaign decides that late.

A schedule is a pure function of the part of its span that is over. The span is the whole trial or,
in a campaign with rungs, the stretch up to the next decision: a network that is judged there has
then been annealed, not caught at the height of its learning rate, and if it is promoted it sets
out anew (a warm restart).
"""

from __future__ import annotations

import math

__all__ = ["SCHEDULES", "SPANS", "Stretch", "rate_factor"]

SCHEDULES = ("constant", "cosine", "onecycle", "exponential")
SPANS = ("campaign", "rung")

# Of the one-cycle policy, as upstream: part of the span that is warm-up, and the first and last
# learning rate as parts of the highest.
WARM_UP = 0.3
FIRST = 1 / 25
LAST = 1e-5


def rate_factor(schedule: str, passed: float, length: float, *, decay_rate: float = 1.0) -> float:
    """Learning rate at a point of a span, as a part of the highest.

        constant      1
        cosine        (1 + cos(pi x)) / 2                                x = passed / length
        onecycle      from 1/25 to 1 by a half-cosine while x < 0.3,     (Smith 2018)
                      then from 1 to 1e-5 by another
        exponential   decay_rate^passed

    Parameters
    ----------
    schedule : {"constant", "cosine", "onecycle", "exponential"}
    passed, length : float
        Resource units (epochs, ...) since the span began, and of all of it.
    decay_rate : float
        exponential: the part that is left after one resource unit. It does not look at `length`.

    Examples
    --------
    >>> [rate_factor("cosine", x, 4) for x in (0, 2, 4)]
    [1.0, 0.5, 0.0]
    >>> [round(rate_factor("onecycle", x, 10), 5) for x in (0, 3, 10)]
    [0.04, 1.0, 1e-05]
    >>> rate_factor("exponential", 3, 10, decay_rate=0.5)
    0.125
    """
    part = min(passed / length, 1.0)
    if schedule == "cosine":
        return _ease(1.0, 0.0, part)
    if schedule == "onecycle":
        if part < WARM_UP:
            return _ease(FIRST, 1.0, part / WARM_UP)
        return _ease(1.0, LAST, (part - WARM_UP) / (1 - WARM_UP))
    if schedule == "exponential":
        return float(decay_rate**passed)
    return 1.0


def _ease(start: float, end: float, part: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * part))


class Stretch:
    """The steps that a schedule spans, decided once where it begins and kept from then on.

    It is part of a trial's checkpoint. So a trial that pauses in the middle goes on with the
    schedule it had, even if it is to be judged elsewhere by now, and equals one that was never
    disturbed.

    Parameters
    ----------
    span : {"campaign", "rung"}
        "campaign": all steps. "rung": those up to where the trial waits for a decision.
    length : int
        All steps of the trial.

    Attributes
    ----------
    begin, end : int
        The stretch holds the steps begin + 1 to end.

    Examples
    --------
    >>> stretch = Stretch("rung", 9)
    >>> stretch.enter(1, milestone=3); (stretch.begin, stretch.end)
    (0, 3)
    >>> stretch.enter(3, milestone=9); stretch.end  # still in it
    3
    >>> stretch.enter(4, milestone=9); (stretch.begin, stretch.end)  # promoted
    (3, 9)
    """

    def __init__(self, span: str, length: int) -> None:
        self.begin = self.end = 0
        self._span = span
        self._length = length

    def enter(self, step: int, *, milestone: int) -> None:
        """Begin a new stretch if `step` is none of this one.

        Parameters
        ----------
        step : int
            From 1; about to be trained.
        milestone : int
            The next step after which the trial waits for a decision.
        """
        if self._span == "campaign":
            self.begin, self.end = 0, self._length
        elif not self.begin < step <= self.end:
            self.begin = step - 1
            self.end = max(step, min(milestone, self._length))

    def factor(self, schedule: str, passed: float, *, decay_rate: float = 1.0) -> float:
        """`rate_factor` where `passed` steps of the trial are over, a part of one counted too."""
        length = self.end - self.begin
        return rate_factor(schedule, passed - self.begin, length, decay_rate=decay_rate)

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return {"begin": self.begin, "end": self.end}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on in the stretch of a checkpoint."""
        self.begin, self.end = state["begin"], state["end"]
