"""Fast-Hyperband: Hyperband that stops a trial at any step once it is surely not among the best.

A trial between two milestones, in a round of which four will go on::

    step 31: four have arrived at step 50; the worst of them has a loss of 0.42
             forecast for step 50: 0.58, errors of such forecasts: 0.06
             P(loss at 50 > 0.42) = 0.996 >= delta: it stops here
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from daskhpo.predictors import Predictor
from daskhpo.schedulers.base import Promotion, RungRow, single
from daskhpo.schedulers.brackets import brackets
from daskhpo.schedulers.forecasts import Forecasts, unroll
from daskhpo.schedulers.rounds import Bracket, Rounds
from daskhpo.schedulers.rungs import check_integer, check_share
from daskhpo.trial import Answer, Decision, Value

__all__ = ["FastHyperband"]

# As many complete curves as the paper learns from. With refits at each doubling this bounds what
# a report may cost: as many fits as there are curves, for the leave-one-out errors.
_MOST_CURVES = 100


class FastHyperband:
    """Hyperband in which every step is a decision point, with a probability.

    Use it where curves tell early and reports come often: unlike
    :class:`~daskhpo.schedulers.SwiftHyperband` it needs no second barrier and parks nobody, but
    it needs a predictor for every step, so take one that is quick to fit. A trial that it stops
    is stopped for ever. The fewer workers, the more it saves: on learning curves of MLPF a tenth
    of Hyperband's steps with one worker, 3 % with eight, because those that train side by side
    have nearly arrived when there is somebody to compare them with.

    In each round the first ``full`` times as many trials as will go on train to the milestone
    without a decision. For the others, as soon as ``curves`` complete curves to this milestone
    are known and as many trials have arrived there as will go on: a model of its own for each
    step forecasts the loss at the milestone, and the trial stops if it is worse than the worst
    of those that would go on now with a probability of at least ``delta``. The forecast counts
    as normally distributed, with the standard deviation of the leave-one-out errors on the known
    curves (Baker et al., *Accelerating Neural Architecture Search using Performance Prediction*,
    1705.10823: f-Hyperband, with sequential regression models).

    Parameters
    ----------
    max_step : int
        R, the step at which a trial is complete.
    eta : int
        Reduction factor, as in :class:`~daskhpo.schedulers.Hyperband`.
    full : float
        The paper's kappa.
    curves : int
        Complete curves to learn from, at least; at least 2.
    delta : float
        How sure a stop must be.
    predictor : str or Predictor
        What forecasts, from the values reported so far. It sees values that are minimised; a
        step without a report has the value of the report before.

    Raises
    ------
    SchedulerError
        If a number is out of bounds or there is no such predictor.

    Notes
    -----
    Unlike the paper: features are the values alone (a predictor sees no hyperparameters and makes
    its own differences); models are fitted again whenever the curves that they know of have
    doubled, up to 100; a failed trial counts as the worst of its rung.

    Examples
    --------
    >>> scheduler = FastHyperband(max_step=2, curves=2)
    >>> for number in (0, 1):                    # the bracket s=1: two trials to step 1
    ...     _ = scheduler.begin(number)
    ...     _ = scheduler.report(number, 1, 0.5 + number)
    >>> promotion = scheduler.promote(drained=False)
    >>> _ = scheduler.report(0, 2, 0.4)          # the best one of them, a first whole curve
    >>> for number in (2, 3):                    # s=0: two trials to step 2
    ...     _ = scheduler.begin(number)
    >>> _ = scheduler.report(2, 1, 0.5), scheduler.report(2, 2, 0.3)
    >>> answer = scheduler.report(3, 1, 0.9)     # forecast: 0.9 less a drop of 0.15; to beat: 0.3
    >>> answer.decision, round(answer.evidence["forecast"], 2)
    (<Decision.STOP: 'stop'>, 0.75)
    """

    several = False

    def __init__(
        self,
        max_step: int,
        *,
        eta: int = 2,
        full: float = 0.5,
        curves: int = 15,
        delta: float = 0.95,
        predictor: str | Predictor = "last_drop",
    ) -> None:
        check_integer("curves", curves, least=2)
        check_share("full", full)
        check_share("delta", delta)
        self._rounds = Rounds(tuple(brackets(max_step, eta)), eta=eta)
        self.max_step = max_step
        self.eta = eta
        self.full = full
        self.curves = curves
        self.delta = delta
        self._forecasts = Forecasts(predictor)
        self._models: dict[tuple[int, int], tuple[int, Predictor, float]] = {}
        # {(step, milestone): (curves it was fitted on, model, spread of its errors)}
        self._latest: Bracket | None = None
        self._round: tuple[Bracket, int] | None = None
        self._exempt: set[int] = set()  # trials that this round trains in full
        self._points: dict[int, list[tuple[int, float]]] = {}  # {number: its curve}, one bracket's

    def begin(self, number: int) -> Promotion:
        """Admit a trial: it trains to the first milestone of its bracket."""
        promotion = self._rounds.begin(number)
        if self._latest is not self._rounds.latest:
            self._latest = self._rounds.latest
            self._points.clear()
        return promotion

    def admits(self) -> bool:
        """While the bracket is not full, or once it is over."""
        return self._rounds.admits()

    def promote(self, *, drained: bool) -> Promotion | None:
        """The best one left of the rung that was judged last; the tail rule when ``drained``."""
        return self._rounds.promote(drained=drained)

    def report(self, number: int, step: int, value: Value) -> Answer:
        """Stop a trial that is surely not among the best; at its milestone, pause it."""
        value = single(value)
        if self._rounds.is_finalist(number):
            return self._rounds.report(number, step, value)
        points = self._points.setdefault(number, [])
        points.append((step, value))
        bracket = self._rounds.home(number)
        milestone = bracket.current.milestone
        if step >= milestone:
            if self._forecasts.count(milestone) < _MOST_CURVES:
                self._forecasts.keep(milestone, points)
            return self._rounds.report(number, step, value)
        if not self._trains_in_full(bracket, number):
            evidence = self._forecast(bracket, points)
            if evidence and evidence["probability"] >= self.delta:
                self._rounds.fail(number)
                return Answer(Decision.STOP, step, evidence)
        return Answer(Decision.CONTINUE, milestone)

    def fail(self, number: int) -> None:
        """Count the trial as the worst of its rung."""
        self._exempt.discard(number)
        self._rounds.fail(number)

    def table(self) -> Sequence[RungRow]:
        """As :meth:`Hyperband.table`; trials that were stopped on the way count as recorded."""
        return self._rounds.rows()

    def settings(self) -> Mapping[str, Any]:
        """``type`` and the constructor's arguments; a predictor by its name."""
        names = ("max_step", "eta", "full", "curves", "delta")
        settings = {"type": "fast_hyperband", **{name: getattr(self, name) for name in names}}
        return settings | {"predictor": self._forecasts.name}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.settings().items() if k != "type")
        return f"FastHyperband({arguments})"

    def _trains_in_full(self, bracket: Bracket, number: int) -> bool:
        """Whether the trial is one of the first of this round."""
        if self._round != (bracket, bracket.round):
            self._round, self._exempt = (bracket, bracket.round), set()
        if len(self._exempt) < self.full * bracket.goes_on:
            self._exempt.add(number)
        return number in self._exempt

    def _forecast(
        self, bracket: Bracket, points: Sequence[tuple[int, float]]
    ) -> dict[str, Any] | None:
        """How surely a trial will be worse than the last that would go on; None if unknown."""
        rung, within = bracket.current, bracket.goes_on
        if len(rung.ranking) < within or math.isinf(bar := rung.ranking[within - 1][0]):
            return None
        known = self._forecasts.count(rung.milestone)
        if known < self.curves:
            return None
        step = points[-1][0]
        model, spread = self._model(step, rung.milestone, known)
        forecast = float(model.predict(unroll(points, step)[None])[0])
        evidence = {"rule": "forecast", "milestone": rung.milestone, "of": known, "bar": bar}
        evidence |= {"forecast": forecast, "spread": spread}
        # Without a spread the forecast is taken for the truth.
        worse = NormalDist(forecast, spread).cdf(bar) if spread else float(forecast <= bar)
        return evidence | {"probability": 1.0 - worse}

    def _model(self, step: int, milestone: int, known: int) -> tuple[Predictor, float]:
        key = (step, milestone)
        if key not in self._models or known >= 2 * self._models[key][0]:
            fitted = self._forecasts.fit(*key), self._forecasts.spread(*key)
            self._models[key] = (known, *fitted)
        return self._models[key][1:]
