"""What is said about where a trial will be: a number, how wrong it may be, what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

__all__ = ["Forecast"]


_ROUNDING = 1e-9  # the baseline by another way is the baseline


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast of a trial's value at a later step. Values are minimised.

    It is a fact: the journal keeps it with the report at which it was made, and a replay takes it
    from there, so that no model is ever fitted again to reproduce a decision.

    Parameters
    ----------
    step : int
        The first ``step`` values of the curve are what it was made from.
    target : int
        The step it is for.
    value : float
        What is expected there.
    simple : float
        What the last value less the median drop says: the baseline's forecast.
    margin : float
        So much too high were all but a certain share of such forecasts, each of a curve that its
        model had not seen (split conformal prediction); the share is
        :meth:`~daskhpo.advice.Adviser.share_of_a_look`. ``value - margin`` is what the trial
        reaches at the best, with an error rate of about that.
    worst : float
        So much too high was one of them: none was more.
    labels : int
        How many curves to ``target`` it was learned from.
    error, baseline : float
        Mean absolute error of such forecasts, and of those by the last value less the median
        drop. If ``error`` is above ``baseline`` nobody may act upon the forecast.
    record : mapping
        What the predictor tells of its fit, such as the annealer that was asked and the one that
        answered.

    Examples
    --------
    >>> forecast = Forecast(5, 8, 0.42, 0.4, 0.05, 0.1, labels=20, error=0.03, baseline=0.04)
    >>> round(forecast.above(0.32), 2), round(forecast.above(0.32, worst=True), 2), forecast.open
    (2.0, 1.0, True)
    >>> Forecast.from_dict(forecast.to_dict()) == forecast
    True
    """

    step: int
    target: int
    value: float
    simple: float
    margin: float
    worst: float
    labels: int
    error: float
    baseline: float
    record: Mapping[str, Any] = field(default_factory=dict)

    def above(self, bar: float, *, worst: bool = False) -> float:
        """How many margins it lies above a bar, or how many worst errors; 0 if it does not.

        It is inf where every such forecast was too low, and nothing is left to doubt.
        """
        excess, margin = self.value - bar, self.worst if worst else self.margin
        if excess <= 0.0:
            return 0.0
        return excess / margin if margin else math.inf

    @property
    def open(self) -> bool:
        """Whether the gate is open: the model forecasts at least as well as the baseline."""
        return self.error <= self.baseline * (1 + _ROUNDING)

    @property
    def lean(self) -> float:
        """How much larger than a last value makes believe a trial's prospects are; may be below 0.

        The difference to the baseline's forecast, as far as the model deserves it: its share is
        ``1 - (error / baseline)^2``, nothing while the gate is closed.
        """
        if not self.open or not self.baseline:
            return 0.0
        return (1 - (self.error / self.baseline) ** 2) * (self.value - self.simple)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; the inverse of :meth:`from_dict`."""
        return {**self.record, **{name: getattr(self, name) for name in _OWN}}

    @classmethod
    def from_dict(cls, form: Mapping[str, Any]) -> Self:
        """Make one from its plain form; further keys are the predictor's record."""
        own = {name: form[name] for name in _OWN}
        return cls(**own, record={k: v for k, v in form.items() if k not in _OWN})


_OWN = ("step", "target", "value", "simple", "margin", "worst", "labels", "error", "baseline")
