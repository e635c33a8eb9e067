"""Curves of the running campaign, what models have learned from them, and what they forecast."""

from __future__ import annotations

import bisect
import math
from array import array
from collections.abc import Sequence

import numpy as np

from daskhpo.advice.forecast import Forecast
from daskhpo.advice.lessons import Learned, Lesson, Loan
from daskhpo.exceptions import PredictorError
from daskhpo.predictors import Predictor
from daskhpo.predictors.base import Array

__all__ = ["Forecaster"]

MOST = 60  # curves that a lesson holds, the latest ones
FEW = 3  # curves to a target from which on errors may be borrowed from the stretch before
_PLAIN = (str, bool, int, float)  # what of a record goes with each forecast
ALIKE = 1.5  # how much further a stretch may reach, as a factor, than the one it borrows from
GROWTH = 1.25  # of the curves to a target after which its models are fitted again


class Forecaster:
    """Forecasts with the model that was fitted last; says what is to be fitted next.

    It never fits: :meth:`due` gives lessons that may be learned anywhere
    (:func:`~daskhpo.advice.lessons.learn`), and :meth:`take` swaps in what came of one. Between
    the two it goes on forecasting with what it has.

    Parameters
    ----------
    predictor : Predictor
        A copy of it is fitted for each pair of a step and a target.
    labels : int
        Curves to a target that are needed before the predictor is fitted. From three on there is
        the median drop, with the errors of an earlier stretch, see
        :func:`~daskhpo.advice.lessons.learn`.

    Examples
    --------
    >>> from daskhpo.advice.lessons import learn
    >>> from daskhpo.predictors import LastDrop
    >>> forecaster = Forecaster(LastDrop(), labels=15)
    >>> for number in range(15):
    ...     for step, value in enumerate([1.0, 0.5, 0.25], start=1):
    ...         forecaster.observe(number, step, value)
    >>> forecaster.observe(15, 1, 0.875)
    >>> wish = {"target": 3, "since": 0, "delta": 0.1}
    >>> forecaster.forecast(15, 1, **wish) is None    # but now it knows of the wish
    True
    >>> for lesson in forecaster.due():
    ...     forecaster.take(learn(lesson))
    >>> forecaster.forecast(15, 1, **wish).value
    0.125
    """

    def __init__(self, predictor: Predictor, *, labels: int = 15) -> None:
        self.predictor = predictor
        self.labels = labels
        # {trial: (steps, values)}, 16 bytes a report
        self._curves: dict[int, tuple[array[int], array[float]]] = {}
        self._static: dict[int, Array] = {}
        self._earlier = 0  # curves of earlier campaigns, which have the numbers -1, -2, ...
        self._arrived: dict[int, list[int]] = {}  # {target: trials that came to it, in order}
        self._targets: list[int] = []  # the keys of _arrived, rising
        self._learned: dict[tuple[int, int], Learned] = {}  # {(step, target): ...}
        # {(step, target): how many had come to the target when it was last handed out}
        self._asked: dict[tuple[int, int], int] = {}
        # {(step, target): milestone before}, of those that are to be looked at by due()
        self._wanted: dict[tuple[int, int], int] = {}

    def begin(self, number: int, static: Array) -> None:
        """Note what does not change while a trial trains."""
        self._static[number] = static

    def remember(self, static: Array, steps: Sequence[int], values: Sequence[float]) -> None:
        """Note a curve of an earlier campaign: a trial of its own, with a number below 0."""
        number = -1 - self._earlier
        self._earlier += 1
        self.begin(number, static)
        for step, value in zip(steps, values, strict=True):
            self.observe(number, step, value)

    def observe(self, number: int, step: int, value: float) -> None:
        """Note a report: ``value``, minimised, at ``step``."""
        steps, values = self._curves.setdefault(number, (array("q"), array("d")))
        before = steps[-1] if steps else 0
        steps.append(step)
        values.append(value)
        for target in self._targets[bisect.bisect_right(self._targets, before) :]:
            if target > step:
                break
            self._arrived[target].append(number)

    def forecast(
        self, number: int, step: int, *, target: int, since: int, delta: float
    ) -> Forecast | None:
        """What a trial will have reached at ``target``, from its first ``step`` values.

        Models know nothing beyond the curves that they have learned from, least of all how fast a
        worse one catches up: where a curve lies above all of them, it is taken for one that does
        not, and the forecast is what it may reach at the best.

        Parameters
        ----------
        number, step, target : int
            The trial has reported ``step`` or a later one.
        since : int
            The milestone that it comes from, at most ``step``; 0 for none.
        delta : float
            Error rate for which the margin is made.

        Returns
        -------
        Forecast or None
            None as long as nothing was learned for this step and target, or what was learned gives
            no finite number for this trial.
        """
        key = (step, target)
        self._wanted[key] = since
        learned = self._learned.get(key)
        if learned is None:
            return None
        assert learned.model is not None  # nothing else is taken
        static = self._static.get(number)
        known = np.minimum(self._prefix(number, step), learned.ceiling)[None]
        try:
            told = learned.model.predict(known, None if static is None else static[None])
        except PredictorError:  # a curve that it cannot read must not end the campaign
            return None
        value = float(told[0])
        if not math.isfinite(value):
            return None
        return Forecast(
            step,
            target,
            value,
            float(known[0, -1]) - learned.drop,
            learned.margin(delta),
            learned.worst,
            learned.labels,
            learned.error,
            learned.baseline,
            {k: v for k, v in learned.record.items() if v is None or isinstance(v, _PLAIN)},
        )

    def due(self) -> list[Lesson]:
        """What is to be learned now, of all that forecasts were wanted for; each is given once."""
        lessons = []
        for key, since in self._wanted.items():
            labels, before = len(self._arrivals(key[1])), self._asked.get(key, 0)
            enough = before < self.labels <= labels  # for the predictor, at last
            if not enough and labels < max(FEW, GROWTH * before):
                continue
            lender = None if labels >= self.labels else self._lender(*key)
            if labels >= self.labels or lender is not None:
                self._asked[key] = labels
                lessons.append(self._lesson(*key, since, lender))
        self._wanted.clear()
        return lessons

    def take(self, learned: Learned) -> None:
        """Forecast with this from now on, unless it is nothing or older than what there is."""
        key = (learned.step, learned.target)
        standing = self._learned.get(key)
        newer = standing is None or standing.arrived <= learned.arrived
        if newer and learned.model is not None:
            self._learned[key] = learned

    def _lender(self, step: int, target: int) -> Learned | None:
        """What was learned about the last stretch before that enough have passed, if anything.

        Of its steps the one that lies where ``step`` lies on the way to ``target``; nothing if
        that has far less of a way to go.
        """
        rich = [
            learned
            for learned in self._learned.values()
            if learned.target < target and learned.labels >= self.labels
        ]
        latest = max((learned.target for learned in rich), default=0)
        where = step / target
        alike = [
            learned
            for learned in rich
            if learned.target == latest and learned.step / learned.target <= ALIKE * where
        ]
        return min(alike, key=lambda a: abs(a.step / a.target - where), default=None)

    def _lesson(self, step: int, target: int, since: int, lender: Learned | None) -> Lesson:
        arrived = self._arrivals(target)
        numbers = arrived[-MOST:]
        static = [self._static[n] for n in numbers if n in self._static]
        return Lesson(
            step,
            target,
            self.predictor,
            np.array([self._prefix(n, step) for n in numbers]),
            np.array([self._prefix(n, target)[-1] for n in numbers]),
            np.array(static) if len(static) == len(numbers) else None,
            None if lender is None else Loan(lender, self._stretches(numbers, since, target)),
            len(arrived),
        )

    def _stretches(self, numbers: Sequence[int], since: int, target: int) -> Array:
        """The values (n, m) of trials from a milestone, or from their first step, to another."""
        return np.array([self._prefix(n, target)[max(since, 1) - 1 :] for n in numbers])

    def _arrivals(self, target: int) -> Sequence[int]:
        """Trials that have come to a step; from the first question on they are kept."""
        if target not in self._arrived:
            bisect.insort(self._targets, target)
            reached = [n for n, (steps, _) in self._curves.items() if steps[-1] >= target]
            # Thousands of earlier curves must not put off the day when new ones are learned from.
            self._arrived[target] = reached[-MOST:]
        return self._arrived[target]

    def _prefix(self, number: int, step: int) -> Array:
        """The first ``step`` values; a step without a report has that of the report before."""
        steps, values = self._curves[number]
        if len(steps) >= step and steps[step - 1] == step:
            return np.array(values[:step])
        last = np.searchsorted(steps, np.arange(1, step + 1), side="right") - 1
        curve: Array = np.array(values)[np.maximum(last, 0)]
        return curve
