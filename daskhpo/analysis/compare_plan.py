"""What a comparison compares: the plan, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from daskhpo.analysis.compare_entries import (
    Entry,
    Hindsight,
    check_names,
    check_texts,
    integers,
    listed,
    refuse_unknown,
)
from daskhpo.exceptions import CampaignError, DaskhpoError
from daskhpo.naming import describe
from daskhpo.samplers import make_sampler
from daskhpo.scalars import nearest
from daskhpo.schedulers import make_scheduler
from daskhpo.schedulers.base import Breeder
from daskhpo.schedulers.brackets import brackets
from daskhpo.simulate.choosing import make_source, make_speeds
from daskhpo.simulate.costs import Costs, Failures, Walltime
from daskhpo.simulate.problem import Problem
from daskhpo.simulate.sources import Source
from daskhpo.study import Study

__all__ = ["Plan"]

HYPERBAND = "hyperband"  # as many trials as it draws
ETA = 2  # of the Hyperband that says how many trials


@dataclass(frozen=True, slots=True)
class Plan:
    """The grid of a comparison.

    Parameters
    ----------
    schedulers : sequence of Entry
        What is compared. ``max_step`` is that of the curves unless it is given. With the keys
        ``predictor`` and ``advice``, ``asha(eta=4, predictor=svr, advice=obey)``, trials are
        stopped by forecasts too, and the table says how many of these stops were wrong.
    samplers : sequence of Entry
        Each with each scheduler; only where ``source`` leaves the choice.
    workers : sequence of int
        A table for each.
    seeds : int
        Campaigns of each kind, with seeds 0, 1, 2, ...: at the same seed all schedulers draw the
        same configurations.
    trials : int or "hyperband"
        How many begin; or as many as Hyperband with eta=2 draws for the length of the curves.
    source : str or mapping
        Where curves come from, see :func:`daskhpo.simulate.choosing.make_source`: ``"rows"``,
        ``"nearest"`` or ``"surrogate(noise=1)"``.
    speeds : float, str or mapping
        Spread of the time of a step over trials (sigma of a lognormal), or
        ``"size(parameter=width)"``, see :func:`daskhpo.simulate.choosing.make_speeds`.
    costs, failures, walltime
        See :mod:`daskhpo.simulate.costs`.
    baseline : str
        The scheduler whose time to a good configuration is the unit; by default the first that
        stops nobody (``fifo``), if there is one.
    hindsight : Hindsight, optional
        Ask for the best hand-tuned ladder.
    scaling : sequence of int
        Numbers of workers of the scaling figure; none for no figure.
    core_hours : float, optional
        What one median step costs, for the axes of figures.

    Examples
    --------
    >>> plan = Plan.from_mapping({"schedulers": ["fifo", "asha(eta=4)"], "workers": 8})
    >>> [entry.name for entry in plan.schedulers], plan.workers, plan.baseline
    (['fifo', 'asha(eta=4)'], (8,), 'fifo')
    """

    schedulers: Sequence[Entry]
    samplers: Sequence[Entry] = ()
    workers: Sequence[int] = (8, 64)
    seeds: int = 20
    trials: int | str = HYPERBAND
    source: str | Mapping[str, Any] = "rows"
    speeds: float | str | Mapping[str, Any] = 0.3
    costs: Costs = field(default_factory=Costs)
    failures: Failures | None = None
    walltime: Walltime | None = None
    baseline: str = ""
    hindsight: Hindsight | None = None
    scaling: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    core_hours: float | None = None

    def __post_init__(self) -> None:
        if not self.schedulers:
            raise CampaignError("schedulers: none given; name at least one, such as 'asha(eta=4)'")
        for where in ("schedulers", "samplers"):
            check_names(where, getattr(self, where))
        object.__setattr__(self, "workers", integers("workers", self.workers, 1))
        if not self.workers:
            raise CampaignError("workers: none given; name at least one number, such as 8")
        object.__setattr__(self, "scaling", integers("scaling", self.scaling, 1))
        _check_integer("seeds", self.seeds)
        if self.trials != HYPERBAND:
            _check_integer("trials", self.trials, other=f" or {HYPERBAND!r}")
        if self.core_hours is not None and not _positive(self.core_hours):
            raise CampaignError(f"core_hours={self.core_hours!r}: must be a number above 0")
        self._check_references()

    def _check_references(self) -> None:
        """Fill in and check the names that point to schedulers of the plan."""
        names = [entry.name for entry in self.schedulers]
        check_texts("plan", baseline=self.baseline)
        if self.baseline and self.baseline not in names:
            raise CampaignError(f"baseline={self.baseline!r}: {nearest(self.baseline, names)}")
        object.__setattr__(self, "baseline", self.baseline or self._first("fifo"))
        if self.hindsight is None:
            return
        like = self.hindsight.like or self._first("hyperband")
        if not like:
            raise CampaignError(
                "hindsight.like: name the scheduler whose rank is to be attained; there is no "
                f"hyperband among {', '.join(names)}"
            )
        if like not in names:
            raise CampaignError(f"hindsight.like={like!r}: {nearest(like, names)}")
        hindsight = Hindsight(
            self.hindsight.scheduler, self.hindsight.min_step, self.hindsight.eta, like
        )
        object.__setattr__(self, "hindsight", hindsight)

    def _first(self, kind: str) -> str:
        return next((e.name for e in self.schedulers if e.settings.get("type") == kind), "")

    @classmethod
    def from_mapping(cls, given: object) -> Self:
        """Check a plan file's content; an unknown key is an error that names the nearest.

        Raises
        ------
        CampaignError, SchedulerError
            Naming the key, the value and what is allowed.
        """
        if not isinstance(given, Mapping):
            raise CampaignError("a plan must be a mapping with schedulers, workers and so on")
        values = {str(key): value for key, value in given.items()}
        refuse_unknown("plan", values, [f.name for f in fields(cls)])
        if "schedulers" not in values:
            raise CampaignError("schedulers: missing; a plan needs at least one scheduler")
        for where in ("schedulers", "samplers"):
            if where in values:
                values[where] = tuple(Entry.parse(where, e) for e in listed(values[where]))
        for where in ("workers", "scaling"):
            if where in values:
                values[where] = listed(values[where])
        for where in ("source", "speeds"):
            if not isinstance(values.get(where, ""), str | Mapping | float | int):
                raise CampaignError(f"{where}={values[where]!r}: must be settings on one line")
        if values.get("costs") == "free":
            values["costs"] = Costs.free()
        kinds = {"costs": Costs, "failures": Failures, "walltime": Walltime, "hindsight": Hindsight}
        for name, kind in kinds.items():
            if name in values and not isinstance(values[name], kind):
                values[name] = _section(name, kind, values[name])
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """The inverse of :meth:`from_mapping`, with defaults resolved: plain data."""
        plain: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for where in ("schedulers", "samplers"):
            plain[where] = [{entry.name: describe(entry.settings)} for entry in plain[where]]
        for where in ("workers", "scaling"):
            plain[where] = list(plain[where])
        for name in ("costs", "failures", "walltime", "hindsight"):
            section = plain[name]
            if section is not None:
                plain[name] = {f.name: getattr(section, f.name) for f in fields(section)}
        if plain["hindsight"]:
            for name in ("min_step", "eta"):
                plain["hindsight"][name] = list(plain["hindsight"][name])
        return plain

    def draws(self, problem: Problem) -> int:
        """How many trials begin on a set.

        Examples
        --------
        >>> import numpy as np
        >>> plan = Plan.from_mapping({"schedulers": "fifo", "trials": "hyperband"})
        >>> plan.draws(Problem("made up", "loss", [{"x": 1}], np.ones((1, 100))))
        163
        """
        if isinstance(self.trials, int):
            return self.trials
        return sum(rungs[0][1] for _, rungs in brackets(problem.max_step, ETA))

    def check(self, problem: Problem) -> Source:
        """Make everything that a set needs, once; returns the source of its curves.

        Raises
        ------
        CampaignError, DataError, SchedulerError
            Naming the set, the entry and what is allowed.
        """
        where = problem.name
        try:
            source = make_source(self.source, problem)
            make_speeds(self.speeds, problem, seed=0)
            extra = self.hindsight.entries(problem.max_step) if self.hindsight else ()
            for entry in (*self.schedulers, *extra):
                where = f"{problem.name}: {entry.name}"
                _check_scheduler(entry, source)
            for entry in self.samplers:
                where = f"{problem.name}: {entry.name}"
                if source.stream(0) is not None:
                    raise CampaignError(
                        f"{source!r} draws stored rows by itself: leave samplers out, or take "
                        "source: nearest or surrogate"
                    )
                make_sampler(entry.settings, source.space, 0)
        except DaskhpoError as error:
            raise type(error)(f"{where}: {error}") from error
        return source


def _check_scheduler(entry: Entry, source: Source) -> None:
    """Make it and its adviser, and see that they go together and can judge stored curves."""
    most = source.problem.max_step
    scheduler = make_scheduler({"max_step": most, **entry.alone})
    if isinstance(scheduler, Breeder):
        raise CampaignError(
            "cannot be simulated: no stored curve says where a trial leads that goes on from "
            "another's weights"
        )
    if scheduler.max_step > most:
        raise CampaignError(
            f"max_step={scheduler.max_step}: the curves have {most} steps; it must not be above "
            "that"
        )
    sampler = make_sampler({"type": "random"}, source.space, 0)
    Study(source.space, scheduler, sampler, metric="loss", adviser=entry.adviser(seed=0))


def _check_integer(name: str, value: object, *, other: str = "") -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CampaignError(f"{name}={value!r}: must be an integer of at least 1{other}")


def _positive(value: object) -> bool:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return good and 0 < value < math.inf  # type: ignore[operator]


def _section(name: str, kind: type[Any], given: object) -> Any:
    if given is None:
        return None if name != "costs" else kind()
    if not isinstance(given, Mapping):
        free = ", or free" if name == "costs" else ""
        raise CampaignError(f"{name}={given!r}: must be a mapping{free}")
    known = [f.name for f in fields(kind)]
    refuse_unknown(name, given, known)
    values = dict(given)
    if kind is Hindsight:
        values |= {key: listed(values[key]) for key in ("min_step", "eta") if key in values}
    try:
        return kind(**values)
    except TypeError:
        missing = ", ".join(key for key in known if key not in given)
        raise CampaignError(f"{name}: incomplete; it can have also {missing}") from None
