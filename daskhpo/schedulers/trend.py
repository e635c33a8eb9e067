"""Where a trial is going: the value by which a rung ranks it, when ranks are to last."""

from __future__ import annotations

import math

from daskhpo.trial import Value

__all__ = ["Trend", "forecast"]

REACH = 0.2  # of the doublings that are left: how far the present pace is believed


def forecast(
    value: float, half: float, step: int, max_step: int, *, doublings: float = 1.0
) -> float:
    """Extrapolate a curve a fifth of the way to its end, on a logarithmic axis of steps.

    ``value + .2 log2(max_step / step) (value - half) / doublings``. A trial that is behind but
    catches up ranks above one that leads and has flattened. Over the whole way the pace of the
    last doubling would be noise; a fifth of it is what helped on stored curves and hurt on none.

    Parameters
    ----------
    value : float
        At ``step``.
    half : float
        At half of it, or wherever ``doublings`` ago is.
    step, max_step : int
        Now, and the end.
    doublings : float
        How many doublings lie between ``half`` and ``value``.

    Examples
    --------
    >>> leader, follower = forecast(1.0, 1.1, 4, 128), forecast(1.1, 1.6, 4, 128)
    >>> leader > follower
    True
    """
    pace = (value - half) / doublings
    return value + REACH * math.log2(max_step / step) * pace


class Trend:
    """What the trials of a ladder reported half way to their milestones.

    Parameters
    ----------
    max_step : int
        R.

    Examples
    --------
    >>> trend = Trend(max_step=16)
    >>> trend.note(0, 1, 0.9, milestone=2)
    >>> round(trend.rank_by(0, 2, 0.6), 2)
    0.42
    """

    def __init__(self, max_step: int) -> None:
        self.max_step = max_step
        self._half: dict[int, tuple[int, Value]] = {}  # {number: (step, value) half way or before}

    def note(self, number: int, step: int, value: Value, *, milestone: int) -> None:
        """Keep a report if it is not beyond half of the trial's next milestone."""
        if 2 * step <= milestone:
            self._half[number] = (step, value)

    def rank_by(self, number: int, step: int, value: Value) -> Value:
        """What a rung ranks a trial by: its forecast, or its value where there is none to make.

        At the end there is nothing left to forecast, and at its first report nothing to do it
        from. Several metrics are extrapolated one by one.
        """
        before, half = self._half.pop(number, (step, value))
        if step >= self.max_step:
            return value
        self._half[number] = (step, value)  # half way to the next milestone
        if before == step:
            return value
        doublings = math.log2(step / before)
        if isinstance(value, tuple):
            assert isinstance(half, tuple)
            return tuple(
                self._extrapolate(v, h, step, doublings) for v, h in zip(value, half, strict=True)
            )
        assert not isinstance(half, tuple)
        return self._extrapolate(value, half, step, doublings)

    def value_for(self, number: int, step: int, ranked: float) -> float:
        """The value at ``step`` with which a trial would be ranked by ``ranked``.

        The inverse of :meth:`rank_by`, for one metric.

        Examples
        --------
        >>> trend = Trend(max_step=16)
        >>> trend.note(0, 1, 0.9, milestone=2)
        >>> value = trend.value_for(0, 2, 0.42)
        >>> round(value, 2), round(trend.rank_by(0, 2, value), 2)
        (0.6, 0.42)
        """
        before, half = self._half.get(number, (step, ranked))
        if step >= self.max_step or before == step or math.isinf(ranked):
            return ranked
        assert not isinstance(half, tuple)
        reach = REACH * math.log2(self.max_step / step) / math.log2(step / before)
        return (ranked + reach * half) / (1 + reach)

    def _extrapolate(self, value: float, half: float, step: int, doublings: float) -> float:
        ranked = forecast(value, half, step, self.max_step, doublings=doublings)
        return ranked if math.isfinite(ranked) else value  # differences of huge values overflow
