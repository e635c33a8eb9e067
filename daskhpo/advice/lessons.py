"""Fits: what there is to learn, and what was learned; they run anywhere, in a thread or a task."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daskhpo.exceptions import AnnealerError, PredictorError
from daskhpo.predictors import LastDrop, Predictor, record_of
from daskhpo.predictors.base import Array
from daskhpo.predictors.folds import out_of_fold

__all__ = ["Learned", "Lesson", "Loan", "learn"]

FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Curves to learn from: from their first ``step`` values to the one at ``target``.

    Parameters
    ----------
    step, target : int
        Where the curves are cut, and the step of the targets.
    predictor : Predictor
        What is to be fitted; a copy is.
    curves : array of shape (n, step)
        Values, minimised.
    targets : array of shape (n,)
        Values at ``target``.
    static : array of shape (n, p), optional
        What does not change while a trial trains: its encoded hyperparameters.
    loan : Loan, optional
        Where there are too few curves to judge errors by: those of an earlier stretch.
    arrived : int
        How many trials had come to ``target``: of two lessons the one with more is the later.
    """

    step: int
    target: int
    predictor: Predictor
    curves: Array
    targets: Array
    static: Array | None = None
    loan: Loan | None = None
    arrived: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Loan:
    """What stands in for errors of one's own while there are few curves.

    Parameters
    ----------
    lender : Learned
        What was learned about an earlier stretch, whose errors stand in.
    stretches : array of shape (n, m)
        Of the curves, all values on the way from the milestone before ``target`` to it.
    """

    lender: Learned
    stretches: Array

    def largest_drop(self, within: int) -> float:
        """By how much one of the curves has fallen at most within so many steps, at any time."""
        drops = self.stretches[:, :-within] - self.stretches[:, within:]
        return float(drops.max())


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What came of a :class:`Lesson`.

    Parameters
    ----------
    step, target, arrived : int
        As in the lesson.
    labels : int
        How many curves there were.
    model : Predictor or None
        Fitted on all of them; None if that was not possible.
    residuals : array of shape (n,)
        Forecast less truth, each by a model that had not seen the curve, rising.
    error, baseline : float
        Mean absolute size of these, and of the same by the last value less the median drop.
    drop : float
        Median drop from the last known value to the target.
    ceiling : array of shape (step,)
        The largest value of any curve, at each step: beyond it nothing is known.
    record : mapping
        What the predictor tells of its fit; ``failed`` says why there is no model.
    """

    step: int
    target: int
    labels: int
    model: Predictor | None
    residuals: Array = field(default_factory=lambda: np.empty(0))
    error: float = math.inf
    baseline: float = math.inf
    drop: float = 0.0
    ceiling: Array | float = math.inf
    record: Mapping[str, Any] = field(default_factory=dict)
    arrived: int = 0

    @property
    def worst(self) -> float:
        """The largest residual, at least 0; inf where there is none."""
        return max(0.0, float(self.residuals[-1])) if len(self.residuals) else math.inf

    def margin(self, delta: float) -> float:
        """The residual that is exceeded with a probability of at most ``delta``; at least 0.

        Split conformal prediction: the ``ceil((1 - delta) (n + 1))`` smallest of n residuals. Too
        few of them for so small a ``delta`` give inf, with which nobody is ever stopped.

        Examples
        --------
        >>> residuals = np.array([-0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.3, 0.4, 0.5])
        >>> learned = Learned(1, 2, 9, None, residuals)
        >>> learned.margin(0.1), learned.margin(0.2), learned.margin(0.05)
        (0.5, 0.4, inf)
        """
        count = len(self.residuals)
        place = math.ceil((1 - delta) * (count + 1) - 1e-9)
        return max(0.0, float(self.residuals[place - 1])) if place <= count else math.inf


def learn(lesson: Lesson) -> Learned:
    """Fit a predictor and find out how well it forecasts what it has not seen.

    It never raises for what lies in the curves or the annealer: a campaign goes on without
    forecasts then, and the record says why.

    With a loan the predictor is given up for the median drop, and its own errors, leave-one-out,
    are joined by those of the lender. Curves flatten, so errors of an earlier stretch are, as a
    rule, too large: fewer stops, not more wrong ones. But some fall late and all at once, each at
    another step (where the learning rate drops when nothing moves any more): what one of the few
    has done at any time, the next one may still do. So no error counts as smaller than the largest
    drop within as many steps as there are left, wherever in the stretch, less the median drop.

    Examples
    --------
    >>> curves = np.linspace(1, 2, 20)[:, None] * [1.0, 0.8]
    >>> learned = learn(Lesson(2, 4, LastDrop(), curves, curves[:, 1] - 0.5))
    >>> learned.labels, round(learned.error, 6), learned.margin(0.1) < 1e-9
    (20, 0.0, True)
    """
    if lesson.loan is not None:
        return _borrow(lesson, lesson.loan)
    step, target, labels = lesson.step, lesson.target, len(lesson.targets)
    curves, targets, static = lesson.curves, lesson.targets, lesson.static
    try:
        model = copy.deepcopy(lesson.predictor).fit(curves, targets, static)
        forecasts = out_of_fold(lesson.predictor, curves, targets, static, folds=FOLDS)
        simple = out_of_fold(LastDrop(), curves, targets, folds=FOLDS)
    except (AnnealerError, PredictorError) as error:
        return Learned(step, target, labels, None, record={"failed": str(error)})
    errors = forecasts - targets
    return Learned(
        step,
        target,
        labels,
        model,
        np.sort(errors),
        # Summed in the same order: the baseline itself is to be exactly as good as the baseline.
        error=float(np.abs(errors).mean()),
        baseline=float(np.abs(simple - targets).mean()),
        drop=LastDrop().fit(curves, targets).drop,
        ceiling=curves.max(0),
        record=dict(record_of(model)),
        arrived=lesson.arrived,
    )


def _borrow(lesson: Lesson, loan: Loan) -> Learned:
    """Learn the median drop; errors are those of the lender, at least as large as the own ones."""
    labels, lender = len(lesson.targets), loan.lender
    model = LastDrop().fit(lesson.curves, lesson.targets)
    simple = out_of_fold(LastDrop(), lesson.curves, lesson.targets, folds=labels)
    own = simple - lesson.targets
    least = max(own.max(), loan.largest_drop(lesson.target - lesson.step) - model.drop)
    return Learned(
        lesson.step,
        lesson.target,
        labels,
        model,
        np.sort(np.maximum(np.concatenate([own, lender.residuals]), least)),
        error=lender.baseline,
        baseline=lender.baseline,
        drop=model.drop,
        ceiling=lesson.curves.max(0),
        record={"errors_of": lender.target},
        arrived=lesson.arrived,
    )
