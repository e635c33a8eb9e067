"""Predictors put to the test on stored curves, split by split."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from daskhpo.analysis.prediction import Exercise, Protocol, set_exercise
from daskhpo.analysis.prediction_models import Model
from daskhpo.analysis.prediction_pool import Watch, each
from daskhpo.analysis.prediction_scores import Score, score
from daskhpo.exceptions import CampaignError, DataError
from daskhpo.predictors import record_of
from daskhpo.samplers.seeding import check_seed
from daskhpo.simulate.problem import Array, Problem
from daskhpo.wording import count

__all__ = ["Evaluation", "Forecast", "Plan", "Result", "evaluate", "forecast"]

_FEWER = 10  # splits at one of several fractions: one in so many, but no fewer than
_FEWEST = 5
_PARTS = 10  # tasks that the splits of a model are dealt into


@dataclass(frozen=True, slots=True)
class Plan:
    """What is evaluated, and how.

    Parameters
    ----------
    models : sequence of Model
        The predictors.
    protocol : Protocol
        How they are put to the test.
    fraction : float
        Share of a curve that is known.
    fractions : sequence of float
        More of them, for how the forecasts improve with what is known; with fewer splits.
    seed : int
        Draws the splits.

    Raises
    ------
    CampaignError
        If there is no model, or a fraction is not between 0 and 1.
    """

    models: Sequence[Model]
    protocol: Protocol = Protocol.HONEST
    fraction: float = 0.25
    fractions: Sequence[float] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.models:
            raise CampaignError("models: none given; name at least one, such as 'svr'")
        for fraction in (self.fraction, *self.fractions):
            if not 0 < fraction < 1:
                raise CampaignError(f"fraction={fraction:g}: must be between 0 and 1")
        check_seed(self.seed)


@dataclass(frozen=True, slots=True)
class Result:
    """What a model showed on the set at place ``problem``, one score per split."""

    problem: int
    fraction: float
    model: Model
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome of a plan: its results set by set, in the order of its models."""

    plan: Plan
    problems: Sequence[Problem]
    exercises: Sequence[Exercise]
    results: Sequence[Result]

    def at(self, problem: int, fraction: float | None = None) -> list[Result]:
        """The results on a set, at the plan's own fraction unless another is given."""
        wanted = self.plan.fraction if fraction is None else fraction
        return [r for r in self.results if r.problem == problem and r.fraction == wanted]

    def left_out(self, problem: int) -> list[Model]:
        """The models that would learn from more curves than a set has to offer."""
        most = self.exercises[problem].most
        return [model for model in self.plan.models if model.curves > most]


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """What one fit forecast of the curves that it did not see, (m,), and what became of them."""

    forecasts: Array
    targets: Array
    seconds: float
    backend: str


def evaluate(
    problems: Sequence[Problem], plan: Plan, *, jobs: int = 1, watch: Watch | None = None
) -> Evaluation:
    """Fit and score every model of a plan on every set of curves.

    Use it to choose a predictor for curves like the stored ones, and to see what it is worth
    beside a forecast that knows nothing. Everything is checked before the first fit.

    Parameters
    ----------
    problems : sequence of Problem
        The sets.
    plan : Plan
        Models and protocol.
    jobs : int
        Processes; the result does not depend on it, but for the seconds.
    watch : callable, optional
        Told how far it is.

    Raises
    ------
    DataError
        If a set has too few curves for every model (one that alone asks for more is left out),
        they are too short, or all end at the same value.
    PredictorError, AnnealerError
        If a predictor cannot learn from the curves, or an annealer does not answer.

    Examples
    --------
    >>> import numpy as np
    >>> from daskhpo.analysis.prediction_models import parse_models
    >>> curves = np.linspace(1.0, 0.1, 8) + np.arange(40)[:, None]
    >>> problem = Problem("made up", "loss", [{"x": i} for i in range(40)], curves)
    >>> models = parse_models("last_drop*3", protocol=Protocol.HONEST)
    >>> [result] = evaluate([problem], Plan(models)).results
    >>> [round(score.r2, 6) for score in result.scores]
    [1.0, 1.0, 1.0]
    """
    places = [
        (place, fraction)
        for place in range(len(problems))
        for fraction in dict.fromkeys([plan.fraction, *plan.fractions])
    ]
    exercises = [
        set_exercise(problems[place], plan.protocol, fraction) for place, fraction in places
    ]
    for (place, _), exercise in zip(places, exercises, strict=True):
        _check(problems[place], exercise, plan.models)
    tasks = [
        task
        for at, (_, fraction) in enumerate(places)
        for kind, model in enumerate(plan.models)
        if model.curves <= exercises[at].most
        for task in _tasks(at, kind, _splits(plan, fraction, model))
    ]
    found: dict[tuple[int, int], list[Score]] = {}
    examiner = _Examiner(exercises, plan.models, plan.seed)
    for task, scores in zip(tasks, each(examiner, tasks, jobs=jobs, watch=watch), strict=True):
        found.setdefault((task.exercise, task.model), []).extend(scores)
    results = [
        Result(*places[at], plan.models[kind], tuple(scores))
        for (at, kind), scores in found.items()
    ]
    own = [e for e, (_, f) in zip(exercises, places, strict=True) if f == plan.fraction]
    return Evaluation(plan, problems, own, results)


def forecast(exercise: Exercise, model: Model, number: int, *, seed: int = 0) -> Forecast:
    """Fit a model on the training curves of a split and forecast the others."""
    train, test = exercise.split(number, model.curves, seed=seed)
    predictor = model.make()
    begin = time.perf_counter()
    predictor.fit(exercise.known[train], exercise.targets[train])
    seconds = time.perf_counter() - begin
    return Forecast(
        predictor.predict(exercise.known[test]),
        exercise.targets[test],
        seconds,
        str(record_of(predictor).get("backend_used") or ""),
    )


@dataclass(frozen=True, slots=True)
class _Task:
    exercise: int
    model: int
    splits: range


@dataclass(frozen=True, slots=True)
class _Examiner:
    """Scores one model on some splits of one exercise."""

    exercises: Sequence[Exercise]
    models: Sequence[Model]
    seed: int

    def __call__(self, task: _Task) -> list[Score]:
        exercise, model = self.exercises[task.exercise], self.models[task.model]
        made = (forecast(exercise, model, number, seed=self.seed) for number in task.splits)
        return [
            score(one.forecasts, one.targets, seconds=one.seconds, backend=one.backend)
            for one in made
        ]


def _tasks(exercise: int, model: int, splits: int) -> list[_Task]:
    size = math.ceil(splits / _PARTS)
    return [
        _Task(exercise, model, range(begin, min(begin + size, splits)))
        for begin in range(0, splits, size)
    ]


def _splits(plan: Plan, fraction: float, model: Model) -> int:
    if fraction == plan.fraction:
        return model.splits
    return min(model.splits, max(_FEWEST, model.splits // _FEWER))


def _check(problem: Problem, exercise: Exercise, models: Sequence[Model]) -> None:
    model = min(models, key=lambda model: model.curves)
    most = max(exercise.most, 0)
    if model.curves <= most:
        return
    paper = exercise.protocol is Protocol.PAPER
    rest = "half of them are" if paper else "10 other configurations must be left"
    raise DataError(
        f"{problem.name!r}: {count(len(problem), 'curve')}, and {rest} to be forecast: "
        f"{model.name} can learn from at most {most}, not from {model.curves} (train)"
    )
