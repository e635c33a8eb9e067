"""Run a campaign on stored curves: what is asked for, checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from daskhpo.advice import Adviser
from daskhpo.exceptions import CampaignError, DataError, SchedulerError
from daskhpo.naming import parse_settings
from daskhpo.samplers import make_sampler
from daskhpo.samplers.base import Sampler
from daskhpo.samplers.seeding import check_seed
from daskhpo.schedulers import make_scheduler
from daskhpo.schedulers.base import Breeder, Scheduler
from daskhpo.simulate.clock import Clock, Conditions
from daskhpo.simulate.costs import Costs, Failures, Walltime
from daskhpo.simulate.mishaps import Dooms
from daskhpo.simulate.prompt import Prompt
from daskhpo.simulate.run import Run
from daskhpo.simulate.sources import Source
from daskhpo.simulate.speeds import Lognormal, Pace
from daskhpo.simulate.stops import Stops
from daskhpo.study import Study
from daskhpo.trial import Fact

__all__ = ["Settings", "simulate"]

CHARGED = Costs()

Settings = str | Mapping[str, Any]  # "asha(eta=4)" or {"type": "asha", "eta": 4}


def simulate(
    source: Source,
    scheduler: Scheduler | Settings,
    *,
    sampler: Sampler | Settings | None = None,
    workers: int = 8,
    trials: int | None = None,
    seed: int = 0,
    costs: Costs = CHARGED,
    speeds: float | Pace = 0.3,
    failures: Failures | None = None,
    walltime: Walltime | None = None,
    adviser: Adviser | None = None,
    emit: Callable[[Fact], object] | None = None,
) -> Run:
    """Run a campaign on n workers under a virtual clock.

    When to use it: before a campaign, to choose its scheduler, sampler and number of workers; and
    to compare algorithms on the same curves. The study and everything it decides are those of a
    real campaign; only workers and time are made up. The same arguments give the same run.

    Parameters
    ----------
    source : Source
        Where curves come from: :class:`~daskhpo.simulate.sources.Rows`,
        :class:`~daskhpo.simulate.sources.Nearest` or
        :class:`~daskhpo.simulate.surrogate.Surrogate`.
    scheduler : Scheduler, mapping or str
        A new scheduler; or its settings, as a campaign file or a line (``"asha(eta=4)"``) has
        them. In settings ``max_step`` is that of the curves unless it is given, and ``seed``
        that of the simulation.
    sampler : Sampler, mapping or str, optional
        A new sampler on the source's space, or its settings. By default the source's own stream
        (:class:`~daskhpo.simulate.sources.Rows`), or random search.
    workers : int
        How many jobs run at the same time.
    trials : int, optional
        How many trials may begin; by default as many as there are stored configurations.
    seed : int
        Draws the stream, speeds and failures. A trial's are a function of the seed and of its
        number alone, not of the order in which things happen.
    costs : Costs
        What jobs and checkpoints cost; :meth:`Costs.free` for the figures of papers.
    speeds : float or callable
        Time of a step: a float is the sigma of a lognormal with median 1, drawn per trial; a
        callable gets the configuration and the trial's number, such as
        :class:`~daskhpo.simulate.speeds.BySize`.
    failures : Failures, optional
        What goes wrong; nothing by default.
    walltime : Walltime, optional
        Workers that end; by default they stay.
    adviser : Adviser, optional
        A new one: forecasts, and may stop trials early. Its models are fitted when they are asked
        for, in no time. The run says how many it stopped that would have been kept.
    emit : callable, optional
        Receives every fact of the study, see :class:`~daskhpo.study.Study`.

    Raises
    ------
    DataError
        If the curves are shorter than the scheduler's ``max_step``.
    SchedulerError
        If scheduler or sampler are not valid, or cannot be simulated on stored curves.
    CampaignError
        If another argument is not allowed.

    Notes
    -----
    One event per report, so rules that judge every step see them in the order of their times.
    A worker that gets no job stays idle until the study may have changed its mind: a report with
    a decision, or the end of a job. See :class:`Walltime` and :class:`Failures` for the rest.

    Population based training cannot be simulated: a member goes on from the weights of another
    with other parameters, and no stored curve says where that leads.

    Examples
    --------
    >>> import numpy as np
    >>> from daskhpo.simulate import Problem, Rows
    >>> curves = np.linspace(1.0, 0.1, 9) + np.arange(20)[:, None] / 20
    >>> problem = Problem("made up", "loss", [{"x": i / 20} for i in range(20)], curves)
    >>> run = simulate(Rows(problem), "asha(eta=3)", workers=4, costs=Costs.free())
    >>> run.begun, run.trained, run.rank
    (20, 52, 0)
    """
    check_seed(seed)
    _check_count("workers", workers)
    trials = len(source.problem) if trials is None else trials
    _check_count("trials", trials)
    stops = Stops(source, emit)
    study = Study(
        source.space,
        _scheduler(scheduler, source, seed),
        _sampler(sampler, source, seed),
        metric=source.problem.metric,
        direction=source.problem.direction,
        retries=failures.retries if failures else 1,
        adviser=adviser,
        emit=emit if adviser is None else stops,
    )
    if adviser is not None:
        adviser.forecaster = Prompt(adviser.forecaster)
    study.set_limit(trials)
    conditions = Conditions(
        workers=workers,
        costs=costs,
        pace=speeds if callable(speeds) else Lognormal(speeds, seed=seed),
        dooms=Dooms(failures, seed) if failures and failures.hazard else None,
        walltime=walltime,
    )
    if walltime is not None and walltime.length < conditions.least:
        raise CampaignError(
            f"walltime.length={walltime.length!r}: must leave room for start-up, one step and "
            f"checkpoints ({conditions.least:g})"
        )
    run = Clock(study, source, conditions).run()
    return run if adviser is None else replace(run, stopped=stops.stopped, wrong=stops.wrong)


def _scheduler(given: Scheduler | Settings, source: Source, seed: int) -> Scheduler:
    """A scheduler that can judge the stored curves."""
    if isinstance(given, str):
        given = parse_settings(given)
    if isinstance(given, Mapping):
        settings = {"max_step": source.problem.max_step, **given}
        made = make_scheduler(settings)
        if "seed" not in settings and "seed" in made.settings():
            made = make_scheduler({**settings, "seed": seed})
    else:
        made = given
    if isinstance(made, Breeder):
        raise SchedulerError(
            f"{made!r} cannot be simulated: a trial that goes on from another's weights with "
            "other parameters has no stored curve; run it, or simulate another scheduler"
        )
    if made.max_step > source.problem.max_step:
        raise DataError(
            f"max_step={made.max_step} of {made!r}: the curves of {source.problem.name!r} have "
            f"{source.problem.max_step} steps; it must not be above that"
        )
    return made


def _sampler(given: Sampler | Settings | None, source: Source, seed: int) -> Sampler:
    """A sampler for the source's space: its own stream, or one of the caller's choice."""
    own = source.stream(seed)
    if own is not None:
        if given is not None:
            raise SchedulerError(
                f"sampler={given!r}: {source!r} draws stored rows by itself; samplers search the "
                "space of 'nearest' and 'surrogate'"
            )
        return own
    if isinstance(given, str):
        given = parse_settings(given)
    if given is None or isinstance(given, Mapping):
        return make_sampler({"type": "random"} if given is None else given, source.space, seed)
    return given


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CampaignError(f"{name}={value!r}: must be an integer of at least 1")
