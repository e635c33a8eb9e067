"""Advice: whether a trial between two milestones is worth the way to the next one.

Two looks on the way from milestone 8 to 16 of stopping ASHA, of which one in two goes on::

    step 11: forecast for step 16: 0.60, at best 0.54 (20 curves); to be among the best half: 0.47
             0.54 > 0.47: doubted
    step 12: forecast for step 16: 0.58, at best 0.53: advice to stop
             one time in twenty it is not followed, to see whether it is right
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daskhpo.advice.forecast import Forecast
from daskhpo.advice.forecaster import Forecaster
from daskhpo.advice.leaders import Leaders
from daskhpo.exceptions import SchedulerError
from daskhpo.predictors import Predictor, make_predictor, predictor_name
from daskhpo.predictors.base import Array
from daskhpo.schedulers.base import Bar
from daskhpo.schedulers.rungs import check_integer

__all__ = ["Advice", "Adviser"]

AUDITS = 3  # what the random numbers are for; schedulers use 1 and 2
MODES = ("log", "obey")
ORDERS = ("value", "forecast")


@dataclass(frozen=True, slots=True)
class Advice:
    """What was said about a trial at one report; a fact, kept with it.

    Parameters
    ----------
    next : Forecast
        For the trial's next milestone.
    bar : float
        What it has to reach there in order to go on, as things stood.
    heard : str
        ``""`` no objection; ``"doubted"`` it was advised to stop, and not yet confirmed;
        else it was advised to stop, and that was ``"obeyed"``, ``"logged"``
        or, to see whether it is right, ``"audited"``. ``"ranked"`` where it was not about a stop:
        the forecast moved the trial's place among those that wait.
    delta : float
        The error rate in force.
    caution : float
        How many margins above the bar the forecast had to be for a doubt.
    end : Forecast, optional
        For the last step, once enough trials are complete.
    """

    next: Forecast
    bar: float
    heard: str
    delta: float
    caution: float
    end: Forecast | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: that of ``next`` with the rest beside it."""
        form = self.next.to_dict()
        form |= {"bar": self.bar if math.isfinite(self.bar) else None}
        form |= {"heard": self.heard, "delta": self.delta, "caution": self.caution}
        return form if self.end is None else form | {"end": self.end.to_dict()}


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What the models said at one report; the part of an :class:`Advice` that is not worked out."""

    next: Forecast
    end: Forecast | None = None

    @classmethod
    def from_dict(cls, form: Mapping[str, Any]) -> Forecasts:
        """From the plain form of an advice."""
        rest = {key: value for key, value in form.items() if key not in _OWN}
        end = form.get("end")
        return cls(Forecast.from_dict(rest), None if end is None else Forecast.from_dict(end))


_OWN = ("bar", "heard", "delta", "caution", "end")


@dataclass(slots=True)
class Tally:
    """Stops that were advised and not followed, and those of them that turned out wrong."""

    audits: int = 0
    wrong: int = 0
    obeyed: int = 0
    logged: int = 0
    open: dict[int, int] = field(default_factory=dict)  # {trial that goes on: its target}


class Adviser:
    """Says, between two milestones, that a trial will not pass the next one.

    Use it where steps are dear and curves are smooth. In ``log`` mode it only says so, in the
    journal and in ``daskhpo explain``: look at its record before you let it decide. In ``obey``
    mode a trial that it advises to stop leaves its worker at once, and its forecast stands on the
    rung in its place, so that the bar for all others is what it would have been.

    It looks at a trial up to ``looks`` times on the way to a milestone, evenly spread. It doubts
    the trial if the forecast is above the bar by more than a margin, which a share ``confirm *
    delta`` of such forecasts exceeds. The advice is to stop after ``confirm`` looks in a row with
    a doubt, for a single one may fall on a step where the curve jumps; or at once, if no curve
    was ever forecast too high by as much. Margins are taken wider where those that lead today
    would have been in danger, see :class:`~daskhpo.advice.leaders.Leaders`.

    There is no advice before ``labels`` trials have come to a milestone, or while the predictor
    forecasts worse than the last value less the median drop does, out of fold. For later
    milestones, to which fewer have come, it is the median drop that is trusted, with margins of an
    earlier stretch, see :func:`~daskhpo.advice.lessons.learn`. A share ``audit`` of the stops,
    drawn at random, is not carried out: where those turn out wrong more often than ``delta``,
    margins are widened.

    Curves of earlier campaigns (:meth:`learn`) count as if they had come to their milestones in
    this one: with enough of them there are forecasts from the first minute on. No more than 60 to
    a milestone are learned from, the latest ones, so that those of this campaign take over.

    Parameters
    ----------
    predictor : str, mapping or Predictor
        What forecasts, see :func:`~daskhpo.predictors.make_predictor`.
    mode : {"log", "obey"}
        What is done with the advice.
    delta : float
        Share of wrong stops that is put up with.
    audit : float
        Share of stops that are not carried out.
    looks : int
        Decision points between two milestones, fewer where there are not so many steps; each has
        a model of its own.
    confirm : int
        Doubts in a row before a trial is stopped, where one is not enough.
    labels : int
        Curves needed before anything is said, at least 4.
    grace : int
        No advice before this step: for schedules of the learning rate that bend every curve.
    order : {"value", "forecast"}
        What paused trials of a promoting ladder with a fixed eta are ranked by: their last value,
        or that moved by what the forecast says beyond it, as far as the model deserves it. Not a
        matter of stops: it acts in ``log`` mode as well.
    seed : int
        Draws the audits, together with a trial's number.

    Raises
    ------
    SchedulerError
        Naming the argument, its value and what is allowed.

    Notes
    -----
    It is a pure function of the facts: forecasts come with the reports, margins and all, and a
    replay takes them from the journal. Models are fitted by whoever drives the study, outside of
    it, whenever there is time; a trial never waits for one.

    Split conformal margins need curves that could be exchanged for one another. Those that came
    to a milestone are a selection, and those that were stopped never come: hence the audits.

    Examples
    --------
    >>> Adviser("last_drop", mode="obey").settings()["predictor"]
    'last_drop'
    """

    def __init__(
        self,
        predictor: str | Mapping[str, Any] | Predictor = "auto",
        *,
        mode: str = "log",
        delta: float = 0.1,
        audit: float = 0.05,
        looks: int = 15,
        confirm: int = 2,
        labels: int = 15,
        grace: int = 0,
        order: str = "value",
        seed: int = 0,
    ) -> None:
        if isinstance(predictor, str | Mapping):
            predictor = make_predictor(predictor)
        elif isinstance(predictor, type) or not isinstance(predictor, Predictor):
            raise SchedulerError(
                f"predictor={predictor!r}: must be a name or have the methods fit and predict"
            )
        _check(mode, delta, audit, order)
        check_integer("looks", looks)
        check_integer("confirm", confirm)
        check_integer("labels", labels, least=4)
        check_integer("grace", grace, least=0)
        check_integer("seed", seed, least=0)
        self.mode = mode
        self.delta = delta
        self.audit = audit
        self.looks = looks
        self.confirm = confirm
        self.grace = grace
        self.order = order
        self.seed = seed
        self.forecaster = Forecaster(predictor, labels=labels)
        self.tally = Tally()
        self.leaders = Leaders()
        self._looked: dict[int, int] = {}  # {trial: the last decision point that was used}
        # {trial: (milestone that the last look denied it, how many in a row did)}
        self._doubted: dict[int, tuple[int, int]] = {}

    @property
    def delta_now(self) -> float:
        """``delta``, or less where audits show that stops are wrong more often than that."""
        tally = self.tally
        rate = (tally.wrong + 2 * self.delta) / (tally.audits + 2)
        return self.delta * min(1.0, self.delta / rate)

    def share_of_a_look(self, delta: float) -> float:
        """How often one look may be wrong for stops to be so at most ``delta`` of the time.

        Several in a row have to say so: each may be wrong as many times more often.
        """
        return min(0.5, self.confirm * delta)

    def learn(self, static: Array, steps: Sequence[int], values: Sequence[float]) -> None:
        """Let models learn from a curve of an earlier campaign as from those of this one.

        ``static`` are its encoded parameters, ``steps`` rise, ``values`` are minimised.
        """
        self.forecaster.remember(static, steps, values)

    def begin(self, number: int, static: Array) -> None:
        """Note what does not change while a trial trains: its encoded parameters."""
        self.forecaster.begin(number, static)

    def observe(self, number: int, step: int, value: float) -> None:
        """Note a report; ``value`` is minimised."""
        self.forecaster.observe(number, step, value)

    def settle(self, number: int, step: int, value: float, bar: Bar) -> None:
        """Learn from who comes to a milestone: ``bar`` is that of the arrival."""
        if step >= bar.milestone:
            self.leaders.arrive(number, bar.milestone, value)
        if step < self.tally.open.get(number, math.inf):
            return
        del self.tally.open[number]
        self.tally.audits += 1
        self.tally.wrong += value <= bar.value

    def forecasts(self, number: int, step: int, bar: Bar, max_step: int) -> Forecasts | None:
        """Forecast a trial's value at its next milestone, if it is at a decision point.

        ``step`` is below that milestone.
        """
        point = self._point(number, step, bar)
        if point is None:
            return None
        delta, ask = self.share_of_a_look(self.delta_now), self.forecaster.forecast
        coming = ask(number, point, target=bar.milestone, since=bar.since, delta=delta)
        end = None
        if bar.milestone < max_step:
            end = ask(number, point, target=max_step, since=bar.since, delta=delta)
        return None if coming is None else Forecasts(coming, end)

    def advise(self, number: int, said: Forecasts, bar: Bar) -> Advice:
        """Weigh forecasts against the bar; notes what is done about it."""
        coming, milestone = said.next, bar.milestone
        self._looked[number] = coming.step
        caution = self.leaders.caution(milestone)
        self.leaders.look(number, milestone, coming.above(bar.value))
        denied, times = self._doubted.pop(number, (0, 0))
        heard = ""
        if coming.open and coming.above(bar.value) > caution:
            times = times + 1 if denied == milestone else 1
            self._doubted[number] = (milestone, times)
            sure = times >= self.confirm or coming.above(bar.value, worst=True) > caution
            heard = self._hear(number, milestone) if sure else "doubted"
        return Advice(coming, bar.value, heard, self.delta_now, caution, said.end)

    def outlook(self, number: int, step: int, bar: Bar) -> Forecasts | None:
        """Forecast the way beyond the milestone that the trial has come to, for its rank there."""
        if bar.after is None or step >= bar.after or bar.milestone < self.grace:
            return None
        delta, here = self.share_of_a_look(self.delta_now), bar.milestone
        beyond = self.forecaster.forecast(number, here, target=bar.after, since=here, delta=delta)
        return None if beyond is None else Forecasts(beyond)

    def rank(self, said: Forecasts) -> Advice:
        """The advice that such a forecast comes to: no stop, but a place among those that wait."""
        return Advice(said.next, math.inf, "ranked", self.delta_now, 1.0)

    def forget(self, number: int) -> None:
        """Note that a trial is over before its milestone: nobody learns if advice was right."""
        self.tally.open.pop(number, None)
        self._doubted.pop(number, None)

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON; a predictor by its line."""
        names = ("mode", "delta", "audit", "looks", "confirm", "grace", "order", "seed")
        settings: dict[str, Any] = {"predictor": predictor_name(self.forecaster.predictor)}
        return settings | {n: getattr(self, n) for n in names} | {"labels": self.forecaster.labels}

    def __repr__(self) -> str:
        return f"Adviser({', '.join(f'{k}={v!r}' for k, v in self.settings().items())})"

    def _point(self, number: int, step: int, bar: Bar) -> int | None:
        """The latest decision point of this stretch that is not beyond ``step`` and is not used."""
        way, parts = bar.milestone - bar.since, self.looks + 1
        points = [bar.since - (-way * k // parts) for k in range(1, parts)]  # rounded up
        point = max((p for p in points if p <= step), default=0)
        return point if point > self._looked.get(number, 0) and point >= self.grace else None

    def _hear(self, number: int, target: int) -> str:
        """What becomes of the advice to stop."""
        tally, log = self.tally, self.mode == "log"
        if number not in tally.open:
            if not log and self._draw(number, target) >= self.audit:
                tally.obeyed += 1
                return "obeyed"
            tally.logged += log
            tally.open[number] = target
        return "logged" if log else "audited"

    def _draw(self, number: int, target: int) -> float:
        """A number of the trial's own between 0 and 1."""
        return float(np.random.default_rng([self.seed, number, target, AUDITS]).random())


def _check(mode: object, delta: object, audit: object, order: object) -> None:
    if mode not in MODES:
        raise SchedulerError(f"mode={mode!r}: must be 'log' or 'obey'")
    if order not in ORDERS:
        raise SchedulerError(f"order={order!r}: must be 'value' or 'forecast'")
    for name, share, most in (("delta", delta, 0.5), ("audit", audit, 1.0)):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= most:
            raise SchedulerError(f"{name}={share!r}: must be a share between 0 and {most:g}")
    if not delta:
        raise SchedulerError("delta=0: no finite number of curves bounds every error; give a share")
