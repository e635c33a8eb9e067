"""A campaign's settings: checked before anything starts, and turned into a study.

The same mapping is what a campaign file holds (see ``data/quickstart.yaml``), what
``campaign.yaml`` in a campaign directory records, and what :class:`daskhpo.tuner.Tuner` makes of
its arguments.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from daskhpo.advice import Adviser, make_adviser
from daskhpo.cluster.settings import PoolSettings
from daskhpo.exceptions import CampaignError, SchedulerError
from daskhpo.predictors import make_predictor, predictor_name
from daskhpo.samplers import make_sampler
from daskhpo.scalars import nearest
from daskhpo.schedulers import make_scheduler
from daskhpo.space import Space
from daskhpo.study import Study
from daskhpo.trial import Direction, Fact, Params

__all__ = ["Budget", "Campaign", "Workers"]


@dataclass(frozen=True, slots=True)
class Budget:
    """When a campaign ends. What is None does not limit it.

    Parameters
    ----------
    trials : int, optional
        How many trials may begin; promotions of those go on until none is left.
    steps : int, optional
        How many steps may be trained in all.
    hours : float, optional
        Wall time of this run.
    device_hours : float, optional
        Time that trials hold workers, times the ranks of a trial, over all runs.

    Examples
    --------
    >>> Budget(trials=200, hours=24.0).given
    {'trials': 200, 'hours': 24.0}
    """

    trials: int | None = None
    steps: int | None = None
    hours: float | None = None
    device_hours: float | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "steps"):
            _check_number(f"budget.{name}", getattr(self, name), whole=True)
        for name in ("hours", "device_hours"):
            _check_number(f"budget.{name}", getattr(self, name))

    @property
    def given(self) -> dict[str, float]:
        """The limits that are set."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}


@dataclass(frozen=True, slots=True)
class Workers:
    """How trials run on workers.

    Parameters
    ----------
    count : int
        Worker processes of a local cluster; clusters that exist already have theirs.
    threads : int
        Trials that a worker trains at the same time.
    ranks : int
        Processes per trial, training together (DDP).
    nodes : int
        Workers that a trial takes at the same time; its ranks are spread evenly over them.
    gpus : int
        GPUs that a trial needs on each of its workers, for it alone; 0 if it takes what is there.
        Before its first trial a worker makes sure that they work.
    warm : bool
        Keep rank processes for the next trial of their worker: it need not import again.
    isolate : bool
        Give even a single rank a process of its own.
    resources : mapping
        Dask resources that a trial takes, such as ``{"GPU": 1}``.
    timeout : float, optional
        Seconds without a report after which a trial has failed and its worker is restarted.
    memory : str, optional
        Memory limit of a local worker, such as ``"4 GiB"``; by default an even share.
    """

    count: int = 2
    threads: int = 1
    ranks: int = 1
    nodes: int = 1
    gpus: int = 0
    warm: bool = True
    isolate: bool = False
    resources: Mapping[str, float] = field(default_factory=dict)
    timeout: float | None = None
    memory: str | None = None

    def __post_init__(self) -> None:
        for name in ("count", "threads", "ranks", "nodes"):
            value = getattr(self, name)
            if value is None:
                raise CampaignError(f"workers.{name}=None: must be an integer of at least 1")
            _check_number(f"workers.{name}", value, whole=True)
        _check_number("workers.timeout", self.timeout)
        if self.ranks % self.nodes:
            raise CampaignError(
                f"workers.ranks={self.ranks}: must be a multiple of workers.nodes={self.nodes}"
            )
        if not isinstance(self.gpus, int) or isinstance(self.gpus, bool) or self.gpus < 0:
            raise CampaignError(f"workers.gpus={self.gpus!r}: must be an integer of at least 0")
        for name in ("isolate", "warm"):
            if not isinstance(getattr(self, name), bool):
                raise CampaignError(
                    f"workers.{name}={getattr(self, name)!r}: must be true or false"
                )
        if not isinstance(self.resources, Mapping):
            raise CampaignError(f"workers.resources={self.resources!r}: must map names to numbers")
        for name, amount in self.resources.items():
            _check_number(f"workers.resources.{name}", amount)
        if not isinstance(self.memory, str | None):
            raise CampaignError(f"workers.memory={self.memory!r}: must be a text such as '4 GiB'")


@dataclass(frozen=True, slots=True)
class Campaign:
    """All settings of one campaign, valid.

    Parameters
    ----------
    name : str
        For people.
    metric : str
        The reported metric that decides.
    space : Space
        What is searched.
    scheduler, sampler : mapping
        Their campaign-file form, ``type`` and arguments.
    objective : str
        ``"module:function"``, or a description when the objective was given in Python.
    command : str
        A shell command instead of an objective.
    metrics_file : str
        Where the command writes its metrics, if not to its file descriptor; see
        :class:`daskhpo.worker.command.CommandObjective`.
    mode : {"min", "max"}
        Direction of the metric.
    also : mapping
        Further metrics to be traded off against the first, ``{metric: "min" or "max"}``.
    unit : str
        What a step is: epoch, by default.
    seed : int
        Everything random follows from it.
    retries : int
        How often a trial may fail by its own fault.
    predictor : str or mapping, optional
        What forecasts where trials get to, see :func:`~daskhpo.predictors.make_predictor`.
    advice : str or mapping, optional
        What is done with forecasts: ``"log"`` (as without it) or ``"obey"``, or arguments of
        :class:`~daskhpo.advice.Adviser`. Without a predictor it takes the default one.
    budget, workers, pool
        See :class:`Budget`, :class:`Workers` and
        :class:`~daskhpo.cluster.settings.PoolSettings`.
    points : sequence of mapping
        Configurations to try first.
    warm_start : sequence of str
        Directories of earlier campaigns, or their ``curves.zarr``, that a new campaign learns
        from before its first trial.
    token : str
        Names the campaign on a cluster; drawn when it is created.

    Examples
    --------
    >>> campaign = Campaign.from_mapping({
    ...     "name": "first", "objective": "mymodule:objective", "metric": "loss",
    ...     "space": {"lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}},
    ...     "scheduler": {"type": "asha", "max_step": 9, "eta": 3},
    ... })
    >>> campaign.study().scheduler.max_step
    9
    """

    name: str
    metric: str
    space: Space
    scheduler: Mapping[str, Any]
    sampler: Mapping[str, Any] = field(default_factory=lambda: {"type": "bayes"})
    objective: str = ""
    command: str = ""
    metrics_file: str = ""
    mode: str = "min"
    also: Mapping[str, str] = field(default_factory=dict)
    unit: str = "epoch"
    seed: int = 0
    retries: int = 1
    predictor: str | Mapping[str, Any] | None = None
    advice: str | Mapping[str, Any] | None = None
    budget: Budget = field(default_factory=Budget)
    workers: Workers = field(default_factory=Workers)
    pool: PoolSettings = field(default_factory=PoolSettings)
    points: Sequence[Params] = ()
    warm_start: Sequence[str] = ()
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise CampaignError(f"mode={self.mode!r}: must be 'min' or 'max'")
        for name in ("name", "metric", "unit"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise CampaignError(f"{name}={value!r}: must be a name")
        for name in ("objective", "command", "metrics_file"):
            if not isinstance(getattr(self, name), str):
                raise CampaignError(f"{name}={getattr(self, name)!r}: must be a text")
        if not isinstance(self.also, Mapping):
            raise CampaignError(f"also={self.also!r}: must map metrics to 'min' or 'max'")
        if not isinstance(self.points, list | tuple):
            raise CampaignError(f"points={self.points!r}: must be a list of configurations")
        _check_directories("warm_start", self.warm_start)
        for name in ("seed", "retries"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise CampaignError(f"{name}={value!r}: must be an integer of at least 0")
        self.study()  # scheduler, sampler and adviser are checked by making them
        for point in self.points:
            self.space.validate(point)

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> Self:
        """Check a campaign file's content; every unknown key is an error that names the nearest.

        Raises
        ------
        CampaignError, SpaceError, SchedulerError
            Naming the key, the value and what is allowed.
        """
        if not isinstance(settings, Mapping):
            raise CampaignError(f"a campaign must be a mapping, got {type(settings).__name__}")
        values = {str(key): value for key, value in settings.items() if key not in RECORD}
        known = [f.name for f in fields(cls)]
        _refuse_unknown("campaign", values, known)
        for name in ("metric", "space", "scheduler"):
            if name not in values:
                raise CampaignError(
                    f"{name}: missing; a campaign needs metric, space and scheduler"
                )
        values.setdefault("name", "campaign")
        values["space"] = Space.from_dict(values["space"])
        values["budget"] = _section("budget", Budget, values.get("budget"))
        values["workers"] = _section("workers", Workers, values.get("workers"))
        values["pool"] = _section("pool", PoolSettings, values.get("pool"))
        for name in ("scheduler", "sampler"):
            if isinstance(values.get(name), str):
                values[name] = {"type": values[name]}
            elif name in values and not isinstance(values[name], Mapping):
                raise CampaignError(f"{name}={values[name]!r}: must be a mapping with a type")
        if values.get("objective") and values.get("command"):
            raise CampaignError("objective and command are both given: keep one of them")
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """The inverse of :meth:`from_mapping`, with defaults resolved: plain YAML data."""
        plain: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["space"] = self.space.to_dict()
        plain["scheduler"] = dict(make_scheduler(self.scheduler).settings())
        plain["sampler"] = dict(self.sampler)
        adviser = self.adviser()
        if adviser is not None:
            plain["advice"] = adviser.settings()
            plain["predictor"] = plain["advice"].pop("predictor")
        plain["budget"] = self.budget.given
        plain["workers"] = {f.name: getattr(self.workers, f.name) for f in fields(Workers)}
        plain["workers"]["resources"] = dict(self.workers.resources)
        plain["pool"] = {f.name: getattr(self.pool, f.name) for f in fields(PoolSettings)}
        plain["pool"]["directives"] = list(self.pool.directives)
        plain["also"] = {name: str(mode) for name, mode in self.also.items()}
        plain["points"] = [dict(point) for point in self.points]
        plain["warm_start"] = [os.fspath(path) for path in self.warm_start]
        return plain

    def study(self, emit: Callable[[Fact], object] | None = None) -> Study:
        """A fresh study of this campaign."""
        return Study(
            self.space,
            make_scheduler(self.scheduler),
            make_sampler(self.sampler, self.space, self.seed),
            metric=self.metric,
            direction=Direction(self.mode),
            also=self.also,
            retries=self.retries,
            adviser=self.adviser(),
            emit=emit,
        )

    def adviser(self) -> Adviser | None:
        """A fresh adviser of this campaign, if it has one."""
        for name in ("predictor", "advice"):
            value = getattr(self, name)
            if not isinstance(value, str | Mapping | None):
                raise CampaignError(f"{name}={value!r}: must be a name or a mapping")
        name, predictor = "predictor", self.predictor
        try:
            if predictor is not None:
                predictor = predictor_name(make_predictor(predictor))
            name = "advice"
            adviser = make_adviser(predictor, self.advice, seed=self.seed)
        except SchedulerError as error:
            text = str(error)
            raise SchedulerError(text if text.startswith(name) else f"{name}: {text}") from error
        if adviser is not None and self.also:
            raise CampaignError(
                f"predictor={adviser.settings()['predictor']!r} forecasts one metric; "
                f"{', '.join(map(repr, self.also))} is traded off against it: leave one out"
            )
        return adviser

    @property
    def decisive(self) -> dict[str, Any]:
        """The settings that decisions follow from: a resumed campaign must have the same."""
        plain = self.to_mapping()
        names = ("metric", "mode", "also", "space", "scheduler", "sampler", "seed", "retries")
        return {name: plain[name] for name in (*names, "predictor", "advice")}

    @property
    def fingerprint(self) -> str:
        """A short hash of :attr:`decisive`."""
        given = {name: value for name, value in self.decisive.items() if value is not None}
        content = json.dumps(given, sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


RECORD = frozenset({"fingerprint", "versions", "created", "path"})
"""Keys of a recorded ``campaign.yaml`` that are no settings."""


def _section(name: str, kind: type[Any], given: object) -> Any:
    if given is None:
        return kind()
    if not isinstance(given, Mapping):
        raise CampaignError(f"{name}={given!r}: must be a mapping")
    _refuse_unknown(name, given, [f.name for f in fields(kind)])
    return kind(**given)


def _check_directories(name: str, given: object) -> None:
    if not isinstance(given, list | tuple) or not all(
        isinstance(path, str | os.PathLike) and os.fspath(path) for path in given
    ):
        raise CampaignError(f"{name}={given!r}: must be a list of directories")


def _refuse_unknown(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise CampaignError(f"{where}: unknown key {key!r}; {nearest(key, known)}")


def _check_number(name: str, value: object, *, whole: bool = False) -> None:
    if value is None:
        return
    kinds = int if whole else (int, float)
    least = "an integer of at least 1" if whole else "a number above 0"
    good = isinstance(value, kinds) and not isinstance(value, bool)
    if not good or not 0 < value < math.inf:  # type: ignore[operator]
        raise CampaignError(f"{name}={value!r}: must be {least}")
