"""How a campaign stands, on one screen."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from daskhpo.analysis.advising import Advising, Gate, advising
from daskhpo.campaign import Campaign
from daskhpo.schedulers.base import RungRow
from daskhpo.study import Study
from daskhpo.trial import Params, TrialState
from daskhpo.wording import count, duration, listing, number, value

__all__ = ["Incumbent", "Leader", "Summary", "front_lines", "summary"]

_WIDTH = 100  # columns of a screen
_SHOWN = 10  # trials of the front that a summary shows


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The best trial so far: ``value`` is its best one and ``step`` where it had it."""

    number: int
    value: float
    step: int
    state: str
    params: Params


@dataclass(frozen=True, slots=True)
class Leader:
    """A trial of the Pareto front: ``values`` is what it reported last, at ``step``."""

    number: int
    values: Mapping[str, float]
    step: int
    state: str
    params: Params


@dataclass(frozen=True, slots=True)
class Summary:
    """How a campaign stands; all values as the objective reported them, whatever the direction.

    Parameters
    ----------
    name, metric, mode, unit : str
        Of the campaign.
    also : mapping
        ``{metric: mode}`` of the metrics that are traded off against the first.
    counts : mapping
        ``{state: number of trials}``, every state in its order.
    incumbent : Incumbent or None
        None before the first report.
    front : tuple of Leader
        The trials that no other beats in every metric, the best in the first metric first. Empty
        with a single metric.
    rungs : tuple of RungRow
        Lowest first; ``best`` is nan where nothing was recorded. Empty without rungs.
    max_step : int
        R, the step at which a trial is complete.
    steps : int
        Trained so far, over all trials.
    device_seconds : float
        How long ended jobs have held a worker, times the ranks of a trial.
    limit : int or None
        How many trials may begin.
    closed : str
        Why nothing may start any more; empty if something may.
    bred : int
        How many trials took the place of others; the limit is not for them.
    known : int
        How many trials of earlier campaigns it has learned from.
    warm_start : tuple of str
        Where those are.
    advice : Advising or None
        How its advice stands; None without a predictor.

    Examples
    --------
    >>> campaign = Campaign.from_mapping({
    ...     "name": "first", "metric": "accuracy", "mode": "max", "sampler": "random",
    ...     "space": {"lr": {"type": "float", "low": 0.0, "high": 1.0}},
    ...     "scheduler": {"type": "asha", "max_step": 9, "eta": 3},
    ... })
    >>> study = campaign.study()
    >>> job = study.ask()
    >>> _ = study.report(0, 0, 1, {"accuracy": 0.9})
    >>> found = summary(study, campaign)
    >>> found.incumbent.value, found.full_steps, found.saving
    (0.9, 9, 9.0)
    """

    name: str
    metric: str
    mode: str
    unit: str
    also: Mapping[str, str]
    counts: Mapping[str, int]
    incumbent: Incumbent | None
    front: tuple[Leader, ...]
    rungs: tuple[RungRow, ...]
    max_step: int
    steps: int
    device_seconds: float
    limit: int | None
    closed: str
    bred: int
    known: int
    warm_start: tuple[str, ...]
    advice: Advising | None = None

    @property
    def trials(self) -> int:
        """How many have begun."""
        return sum(self.counts.values())

    @property
    def full_steps(self) -> int:
        """Steps if every trial that has begun at step 1 had been trained to the end."""
        return (self.trials - self.bred) * self.max_step

    @property
    def saving(self) -> float:
        """How many times more steps that would be; nan before the first report."""
        return self.full_steps / self.steps if self.steps else math.nan

    @property
    def full_device_seconds(self) -> float:
        """Worker time that full training would take, at the pace so far; nan before it is known."""
        return self.device_seconds * self.saving

    def to_text(self) -> str:
        """Write it for a terminal; fits in 100 columns."""
        modes = {self.metric: self.mode, **self.also}
        goals = [f"{'min' if mode == 'min' else 'max'}imise {name}" for name, mode in modes.items()]
        of = f" of {self.limit:,}" if self.limit else ""
        more = f", {self.bred:,} took the place of others" if self.bred else ""
        states = [f"{n:,} {state}" for state, n in self.counts.items() if n]
        lines = [f"{self.name}: {', '.join(goals)}", ""]
        if self.known:
            where = " and ".join(self.warm_start) or "earlier campaigns"
            lines.append(f"earlier   learned from {count(self.known, 'trial')} of {where}")
        begun = f"{self.trials - self.bred:,}{of} begun{more}"
        lines.append(f"trials    {begun}: {', '.join(states) or 'none yet'}")
        lines += _best_lines(self.incumbent, self.metric, self.unit)
        lines += self._front_lines()
        lines += _rung_lines(self.rungs, self.metric, self.unit)
        lines += [] if self.advice is None else self.advice.lines(self.unit)
        lines += self._compute_lines()
        if self.closed:
            lines.append(f"ended     {self.closed}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON data; what has no value is None."""
        best = self.incumbent
        plain = {name: getattr(self, name) for name in _PLAIN}
        return plain | {
            "also": dict(self.also),
            "counts": dict(self.counts),
            "incumbent": None
            if best is None
            else {name: getattr(best, name) for name in Incumbent.__slots__}
            | {"params": dict(best.params)},
            "front": [
                {name: getattr(leader, name) for name in Leader.__slots__}
                | {"values": dict(leader.values), "params": dict(leader.params)}
                for leader in self.front
            ],
            "warm_start": list(self.warm_start),
            "rungs": [
                {name: _finite(getattr(row, name)) for name in RungRow.__slots__}
                for row in self.rungs
            ],
            "trials": self.trials,
            "full_steps": self.full_steps,
            "saving": _finite(self.saving),
            "full_device_seconds": _finite(self.full_device_seconds),
            **({} if self.advice is None else {"advice": self.advice.to_dict()}),
        }

    def _front_lines(self) -> list[str]:
        if not self.front:
            return []
        many, leaders = len(self.front), self.front
        said = f"front     {count(many, 'trial')} that no other beats in every metric"
        if many > _SHOWN:  # spread evenly, with both ends
            leaders = tuple(leaders[i * (many - 1) // (_SHOWN - 1)] for i in range(_SHOWN))
            said += f"; {_SHOWN} of them:"
        lines = [" " * 10 + line for line in front_lines(leaders, self.unit)]
        cut = [line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..." for line in lines]
        return [said, *cut]

    def _compute_lines(self) -> list[str]:
        trained = count(self.steps, self.unit)
        if not self.steps:
            return [f"compute   {trained} trained"]
        full = f"all trials to {self.unit} {self.max_step}: {self.full_steps:,}"
        lines = [f"compute   {trained} trained; {full}, {self.saving:.1f} times as many"]
        if self.device_seconds:
            took, whole = duration(self.device_seconds), duration(self.full_device_seconds)
            lines.append(f"          {took} of workers' time; all trials to the end: about {whole}")
        return lines


_PLAIN = [
    "name",
    "metric",
    "mode",
    "unit",
    "max_step",
    "steps",
    "device_seconds",
    "limit",
    "closed",
    "bred",
    "known",
]  # fields that are JSON as they are


def summary(study: Study, campaign: Campaign, gates: Sequence[Gate] | None = None) -> Summary:
    """Take stock of a study.

    Use it wherever a campaign is shown: a live study gives a live summary.

    Parameters
    ----------
    study : Study
        The campaign's; replayed or live.
    campaign : Campaign
        Its settings.
    gates : sequence of Gate, optional
        Of its forecasts, from the facts (:class:`~daskhpo.analysis.advising.GateWatch`).

    Returns
    -------
    Summary
    """
    states = Counter(trial.state for trial in study.trials.values())
    best = study.best
    held = sum(trial.seconds for trial in study.trials.values())
    return Summary(
        name=campaign.name,
        metric=study.metric,
        mode=study.direction.value,
        unit=campaign.unit,
        also={name: str(mode) for name, mode in study.goal.also.items()},
        counts={state.value: states[state] for state in TrialState},
        incumbent=None
        if best is None
        else Incumbent(best.number, best.best_value, best.best_step, best.state.value, best.params),
        front=_front(study),
        rungs=tuple(_as_reported(row, study.direction.sign) for row in study.scheduler.table()),
        max_step=study.scheduler.max_step,
        steps=study.steps,
        device_seconds=held * campaign.workers.ranks,
        limit=study.limit,
        closed=study.closed or "",
        bred=sum(trial.parent is not None for trial in study.trials.values()),
        known=study.known,
        warm_start=tuple(map(os.fspath, campaign.warm_start)),
        advice=advising(study, gates),
    )


def front_lines(front: Sequence[Leader], unit: str) -> list[str]:
    """Write trials of the Pareto front as a table: what each reported last, and its parameters.

    Examples
    --------
    >>> leader = Leader(3, {"loss": 0.25, "memory": 12.0}, 9, "completed", {"lr": 0.1})
    >>> print(*front_lines([leader], "epoch"), sep="\\n")
       trial          loss        memory   epoch  parameters
           3          0.25            12       9  lr=0.1
    """
    names = list(front[0].values) if front else []
    widths = [max(14, len(name) + 2) for name in names]
    cells = "".join(f"{name:>{wide}}" for name, wide in zip(names, widths, strict=True))
    lines = [f"{'trial':>8}{cells}{unit:>8}  parameters"]
    for leader in front:
        row = zip(leader.values.values(), widths, strict=True)
        cells = "".join(f"{number(given):>{wide}}" for given, wide in row)
        params = ", ".join(f"{name}={value(given)}" for name, given in leader.params.items())
        lines.append(f"{leader.number:>8}{cells}{leader.step:>8}  {params}")
    return lines


def _front(study: Study) -> tuple[Leader, ...]:
    """The Pareto front, the best in the first metric first."""
    if study.goal.single:
        return ()
    names = (study.metric, *study.goal.also)
    return tuple(
        Leader(
            trial.number,
            {name: trial.metrics[name] for name in names},
            trial.step,
            trial.state.value,
            trial.params,
        )
        for trial in sorted(study.front, key=lambda trial: study.goal.sign * trial.value)
    )


def _as_reported(row: RungRow, sign: float) -> RungRow:
    return replace(row, best=sign * row.best if math.isfinite(row.best) else math.nan)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _best_lines(best: Incumbent | None, metric: str, unit: str) -> list[str]:
    if best is None:
        return ["best      nothing was reported yet"]
    where = f"{unit} {best.step} of trial {best.number} ({best.state})"
    params = [(name, value(given)) for name, given in best.params.items()]
    return [f"best      {metric} {number(best.value)} at {where}", *listing(params, indent=10)]


def _rung_lines(rungs: tuple[RungRow, ...], metric: str, unit: str) -> list[str]:
    if not rungs:
        return []
    several = len({row.bracket for row in rungs}) > 1
    best = f"best {metric}"
    top = max(row.milestone for row in rungs)
    lines = [f"rungs     {'bracket':>8}" if several else "rungs   "]
    learned = any(math.isfinite(row.share) for row in rungs)
    lines[0] += f"{unit:>8}{'trials':>8}{'went on':>9}{'lets on':>9}"[: 34 if learned else 25]
    lines[0] += f"  {best:>14}"
    for row in reversed(rungs):
        went = "-" if row.milestone == top else f"{row.promoted:,}"
        cells = f"{row.milestone:>8}{row.recorded:>8,}{went:>9}"
        if learned:
            cells += f"{row.share:>9.0%}" if math.isfinite(row.share) else f"{'-':>9}"
        cells += f"  {number(row.best):>14}"
        lines.append((f"{'':<10}{row.bracket:>8}" if several else " " * 8) + cells)
    return lines
