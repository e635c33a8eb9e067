"""What a scheduler and an adviser make, together, of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import EllipsisType

from daskhpo.advice.adviser import Advice, Adviser, Forecasts
from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers.base import Advised, Bar, Scheduler, single
from daskhpo.space import Space
from daskhpo.trial import Answer, Decision, Params, Value

__all__ = ["Dialogue", "Said"]

Said = Forecasts | EllipsisType | None  # what the models say; ...: they are to be asked


class Dialogue:
    """Asks the adviser at each report, and the scheduler, and tells the one of the other.

    The :class:`~daskhpo.study.Study` holds one. Without an adviser the scheduler decides alone.

    Parameters
    ----------
    adviser : Adviser or None
        Forecasts what trials will reach.
    scheduler : Scheduler
        Judges what they have reached.
    space : Space
        Encodes their parameters.
    several : bool
        Whether several metrics are traded off.

    Raises
    ------
    SchedulerError
        If the adviser asks for what the scheduler cannot do.

    Examples
    --------
    >>> from daskhpo.schedulers import Fifo
    >>> from daskhpo.space import Float, Space
    >>> space = Space(x=Float(0.0, 1.0))
    >>> dialogue = Dialogue(Adviser("last_drop"), Fifo(max_step=9), space)
    >>> dialogue.begin(0, {"x": 0.5})
    >>> answer, advice = dialogue.report(0, 1, 0.7)
    >>> answer.decision, advice    # nothing was learned as yet
    (<Decision.CONTINUE: 'continue'>, None)
    """

    def __init__(
        self,
        adviser: Adviser | None,
        scheduler: Scheduler,
        space: Space,
        *,
        several: bool = False,
    ) -> None:
        if adviser is not None:
            _check(adviser, scheduler, several=several)
        self.adviser = adviser
        self._scheduler = scheduler
        self._advised = scheduler if isinstance(scheduler, Advised) else None
        self._space = space

    def learn(self, params: Params, steps: Sequence[int], values: Sequence[float]) -> None:
        """Let the adviser learn from a curve of an earlier campaign; ``values`` are minimised."""
        if self.adviser is not None:
            self.adviser.learn(self._space.encode(params), steps, values)

    def begin(self, number: int, params: Params) -> None:
        """Tell the adviser of a new trial."""
        if self.adviser is not None:
            self.adviser.begin(number, self._space.encode(params))

    def report(
        self, number: int, step: int, value: Value, said: Said = ...
    ) -> tuple[Answer, Advice | None]:
        """The scheduler's answer to a report, or that of the adviser if it is listened to.

        Parameters
        ----------
        number, step : int
            The trial, and the step that it has come to.
        value : float or tuple of float
            What it reached there; minimised, finite.
        said : Forecasts or None, optional
            What the models said at this report (None: nothing), where that is known already. By
            default they are asked.

        Returns
        -------
        answer : Answer
            What the trial does.
        advice : Advice or None
            What was said about it, and what became of that.
        """
        adviser = self.adviser
        if adviser is None:
            return self._scheduler.report(number, step, value), None
        value = single(value)
        adviser.observe(number, step, value)
        bar = self._bar(number)
        arrives = step >= bar.milestone
        advice = self._rank(adviser, number, step, bar, said) if arrives else None
        answer = self._scheduler.report(number, step, value)
        adviser.settle(number, step, value, bar)
        if not arrives and answer.decision is Decision.CONTINUE:
            advice = self._look(adviser, number, step, bar, said)
            if advice is not None and advice.heard == "obeyed":
                assert self._advised is not None  # or it would not obey
                answer = self._advised.cut(number, step, advice.next.value)
        return answer, advice

    def forget(self, number: int) -> None:
        """Tell the adviser of a trial that is over before its milestone."""
        if self.adviser is not None:
            self.adviser.forget(number)

    def _bar(self, number: int) -> Bar:
        """Who takes no advice is told of the end, and nobody is below a bar."""
        if self._advised is None:
            return Bar(0, self._scheduler.max_step, math.inf)
        return self._advised.bar(number)

    def _rank(
        self, adviser: Adviser, number: int, step: int, bar: Bar, said: Said
    ) -> Advice | None:
        """Let what is forecast beyond a milestone move the trial's rank there."""
        advised = self._advised
        if advised is None or not advised.leans or adviser.order != "forecast":
            return None
        said = adviser.outlook(number, step, bar) if said is ... else said
        if said is None:
            return None
        advised.lean(number, said.next.lean)
        return adviser.rank(said)

    def _look(
        self, adviser: Adviser, number: int, step: int, bar: Bar, said: Said
    ) -> Advice | None:
        """Weigh what is forecast for the next milestone against the bar there."""
        if said is ...:
            said = adviser.forecasts(number, step, bar, self._scheduler.max_step)
        return None if said is None else adviser.advise(number, said, bar)


def _check(adviser: Adviser, scheduler: Scheduler, *, several: bool) -> None:
    if several:
        raise SchedulerError(f"{adviser!r} forecasts one metric; several are traded off here")
    if adviser.mode == "obey" and not isinstance(scheduler, Advised):
        raise SchedulerError(
            f"advice mode='obey': {scheduler!r} does not take advice; ASHA and Fifo do"
        )
    if adviser.order == "forecast" and not (isinstance(scheduler, Advised) and scheduler.leans):
        raise SchedulerError(
            f"advice order='forecast': {scheduler!r} does not rank by last values of those that "
            "wait; ASHA with a fixed eta does, in mode='promote'"
        )
