"""Why a trial went as far as it did, from the journal alone."""

from __future__ import annotations

import bisect
import math
import os
import textwrap
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from daskhpo.analysis.reading import Reading
from daskhpo.analysis.story import Moment, Story
from daskhpo.exceptions import CampaignError
from daskhpo.schedulers.base import Breeder, RungRow
from daskhpo.trial import Fact, Trial, TrialState
from daskhpo.wording import clock, listing, number, value

__all__ = ["Explanation", "Place", "explain"]

_WIDTH = 96
_MORE = (
    "Whoever went on was among the best when its turn came. Where later trials are better than "
    "earlier ones, more than one in"
)

_ROUNDS = ("sha", "hyperband", "swift_hyperband", "fast_hyperband")  # types that wait for rungs


@dataclass(frozen=True, slots=True)
class Place:
    """A milestone of a trial's bracket, as it stands now.

    ``recorded`` trials were compared there, ``went_on`` of them went on. ``bar`` is the worst
    value with which a trial would be among those that go on today (nan while nobody is).
    ``value`` and ``rank`` are the trial's own; nan and 0 where it was not recorded, nan with a
    rank where it did not come there: it failed on the way, or advice took it off and ``forecast``
    stands in for its value. Where a rung ranks by forecasts, ``bar`` and ``forecast`` are such;
    elsewhere ``forecast`` is nan.
    """

    milestone: int
    recorded: int
    went_on: int
    bar: float
    value: float
    rank: int
    forecast: float = math.nan

    @property
    def stood_in(self) -> bool:
        """Whether the trial has its rank by a forecast, without having come there."""
        return self.rank > 0 and math.isnan(self.value) and math.isfinite(self.forecast)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happened to a trial and where that leaves it.

    Parameters
    ----------
    trial : Trial
        As the study knows it now.
    headline, outlook : str
        The first and the last sentence.
    moments : tuple of Moment
        What happened.
    places : tuple of Place
        The milestones of its bracket, lowest first; empty for schedulers without rungs.
    eta : int
        One trial in ``eta`` goes on; 0 where that is not the rule.
    metric, unit : str
        Of the campaign.
    rule : str
        Who goes on at a milestone, in words.
    """

    trial: Trial
    headline: str
    outlook: str
    moments: tuple[Moment, ...]
    places: tuple[Place, ...]
    eta: int
    metric: str
    unit: str
    rule: str = ""

    def to_text(self) -> str:
        """Write it for a terminal; fits in 100 columns."""
        lines = [*_wrapped(self.headline, ""), ""]
        lines += listing(
            [(name, value(given)) for name, given in self.trial.params.items()], indent=2
        )
        lines += ["", "What happened (time since the campaign began)"]
        for moment in self.moments:
            first, *rest = _wrapped(moment.text, " " * 12)
            lines += [f"  {clock(moment.time)}  {first.strip()}", *rest]
        if self.places:
            lines += ["", f"The milestones today{f' ({self.rule})' if self.rule else ''}"]
            lines += _ladder(self.places, self.unit)
            if self.eta and any(p.went_on > p.recorded // self.eta for p in self.places[:-1]):
                lines += _wrapped(f"{_MORE} {self.eta} goes on.", "  ")
        if self.trial.error:
            lines += [
                "",
                "The error",
                *textwrap.indent(self.trial.error.strip(), "  ").splitlines(),
            ]
        return "\n".join([*lines, "", *_wrapped(self.outlook, "")])

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON data; what has no value is None."""
        return {
            "number": self.trial.number,
            "state": self.trial.state.value,
            "step": self.trial.step,
            "params": dict(self.trial.params),
            "error": self.trial.error,
            "headline": self.headline,
            "moments": [asdict(moment) for moment in self.moments],
            "milestones": [
                {name: value if math.isfinite(value) else None for name, value in asdict(p).items()}
                for p in self.places
            ],
            "outlook": self.outlook,
        }


def explain(path: str | os.PathLike[str], trial: int) -> Explanation:
    """Say why a trial went as far as it did.

    Use it when a trial that looked good was stopped, or one that looked bad was not. It reads
    nothing but ``campaign.yaml`` and the journal, also of a campaign that is running.

    Parameters
    ----------
    path : path
        The campaign directory.
    trial : int
        The trial's number.

    Returns
    -------
    Explanation

    Raises
    ------
    CampaignError
        If no such trial has begun.
    StoreError, ReplayError
        If the campaign cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from daskhpo import ASHA, Float, Space, Tuner
    >>> def objective(trial):
    ...     for epoch in trial.steps():
    ...         trial.report(loss=trial.params["x"] / epoch)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "first")
    ...     tuner = Tuner(objective, Space(x=Float(0, 1)), metric="loss", sampler="sobol",
    ...                   scheduler=ASHA(max_step=9, eta=3), path=path)
    ...     tuner.debug(trials=9)
    ...     found = explain(path, tuner.best.number)
    >>> [place.rank for place in found.places], found.trial.state.value
    ([1, 1, 1], 'completed')
    """
    reading = Reading(path)
    story = Story(trial, reading.study, reading.campaign)
    ladders = _Ladders(reading)
    for fact in reading.facts():
        ladders.record(fact)
        story.tell(fact)
    story.close()
    found = reading.study.trials.get(trial)
    if found is None:
        raise CampaignError(f"trial {trial}: {_known(reading, trial)}")
    places = ladders.places(trial)
    return Explanation(
        trial=found,
        headline=_headline(reading, found),
        outlook=_outlook(reading, found, places),
        moments=tuple(story.moments),
        places=places,
        eta=_eta(reading.study.scheduler.settings()),
        metric=reading.campaign.metric,
        unit=reading.campaign.unit,
        rule=_rule(reading.study.scheduler.settings()),
    )


def _eta(settings: Mapping[str, Any]) -> int:
    """One in how many goes on; 0 where no fixed share does."""
    eta = settings.get("eta")
    return eta if isinstance(eta, int) else 0


def _rule(settings: Mapping[str, Any]) -> str:
    if eta := _eta(settings):
        return f"one trial in {eta} goes on"
    if settings.get("eta") == "auto":
        return "ranked by where curves are heading; the share that goes on is learned"
    if "quantile" in settings:
        return f"the worst {settings['quantile']:.0%} are replaced"
    return ""


def _quota(settings: Mapping[str, Any], n: int, share: float) -> int:
    """How many of ``n`` recorded trials go on today; 0 where no share of them does."""
    if eta := _eta(settings):
        return n // eta
    if math.isfinite(share):
        return int(n * share + 1e-9)
    return n - int(settings["quantile"] * n + 1e-9) if "quantile" in settings else 0


class _Ladders:
    """Who was compared with whom, gathered from the facts."""

    def __init__(self, reading: Reading) -> None:
        self._study = reading.study
        self._metric = reading.campaign.metric
        self._brackets: dict[int, int] = {}  # {number: bracket, the rung at which it began}
        self._entries: dict[tuple[int, int], list[tuple[float, int]]] = defaultdict(list)
        # {(bracket, rung): sorted (what they are ranked by, minimised, and number)}
        self._values: dict[tuple[int, int], float] = {}
        # {(rung, number): minimised value; nan of a trial that advice took off before}

    def record(self, fact: Fact) -> None:
        """Take a fact in that the study has seen."""
        if fact["kind"] == "bred":
            self._brackets[fact["number"]] = self._brackets[fact["parent"]]
        elif fact["kind"] == "asked":
            self._brackets.setdefault(fact["number"], fact["rung"])
        elif fact["kind"] == "reported" and "rung" in fact.get("evidence", {}):
            self._compare(fact["number"], fact["metrics"][self._metric], fact["evidence"])
        elif fact["kind"] == "ended" and fact["state"] == TrialState.FAILED.value:
            # As the scheduler does: last at the rung that it was training towards.
            rung = self._study.trials[fact["number"]].rung
            self._enter(fact["number"], rung, math.inf, math.inf)

    def places(self, trial: int) -> tuple[Place, ...]:
        """The milestones of the trial's bracket; none where fronts are ranked, not values."""
        if not self._study.goal.single:
            return ()
        bracket = self._brackets[trial]
        rows = [row for row in self._study.scheduler.table() if row.bracket == bracket]
        return tuple(self._place(trial, row) for row in rows)

    def _compare(self, trial: int, value: float, evidence: Mapping[str, Any]) -> None:
        """Enter a trial at its milestone; with its forecast where it did not come there."""
        rung, signed = evidence["rung"], self._study.direction.sign * value
        ranked = evidence.get("forecast", signed + evidence.get("shift", 0.0))
        self._enter(trial, rung, math.nan if evidence.get("advice") else signed, ranked)

    def _enter(self, trial: int, rung: int, signed: float, ranked: Any) -> None:
        if (rung, trial) not in self._values and not isinstance(ranked, list | tuple):
            self._values[rung, trial] = signed
            bisect.insort(self._entries[self._brackets[trial], rung], (ranked, trial))

    def _place(self, trial: int, row: RungRow) -> Place:
        entries = self._entries[row.bracket, row.rung]
        sign = self._study.direction.sign
        quota = _quota(self._study.scheduler.settings(), len(entries), row.share)
        mine = [rank for rank, (_, other) in enumerate(entries, 1) if other == trial]
        value = sign * self._values.get((row.rung, trial), math.nan)
        forecast = sign * entries[mine[0] - 1][0] if mine else math.nan
        return Place(
            milestone=row.milestone,
            recorded=len(entries),
            went_on=sum(self._study.trials[other].rung > row.rung for _, other in entries),
            bar=sign * entries[quota - 1][0] if quota else math.nan,
            value=value if math.isfinite(value) else math.nan,
            rank=mine[0] if mine else 0,
            forecast=forecast if math.isfinite(forecast) and forecast != value else math.nan,
        )


def _headline(reading: Reading, trial: Trial) -> str:
    unit, metric = reading.campaign.unit, reading.campaign.metric
    said = f"Trial {trial.number} is {trial.state} at {unit} {trial.step} of "
    said += f"{reading.study.scheduler.max_step}."
    if trial.best_step:
        said += f" Its best {metric} is {number(trial.best_value)}, at {unit} {trial.best_step}."
    best = reading.study.best
    if best is None:
        return said
    if best.number == trial.number:
        return f"{said} No trial is better."
    return f"{said} The best of all is {number(best.best_value)}, of trial {best.number}."


def _outlook(reading: Reading, trial: Trial, places: tuple[Place, ...]) -> str:
    study = reading.study
    match trial.state:
        case TrialState.COMPLETED | TrialState.STOPPED:
            return f"It is {trial.state} for good."
        case TrialState.FAILED:
            return "It has failed for good; it counts as worse than every other trial."
        case TrialState.RUNNING if reading.driver is None:
            return "Its driver has gone: it goes on when the campaign is resumed."
        case TrialState.RUNNING:
            return f"It is training towards {reading.campaign.unit} {trial.stop}."
        case TrialState.WAITING:
            return "It goes on before anything else starts, as soon as there is a free worker."
    eta = _eta(study.scheduler.settings())
    place = next((p for p in reversed(places) if p.rank), None)
    if isinstance(study.scheduler, Breeder):
        return "It goes on when there is a worker for it; those that are furthest behind go first."
    if not place:
        return "It may be called back."
    if study.scheduler.settings()["type"] in _ROUNDS:
        return "It goes on only if it is among the best once its rung is full."
    share = next((r.share for r in study.scheduler.table() if r.milestone == place.milestone), 0)
    quota = _quota(study.scheduler.settings(), place.recorded, share)
    at = f"rank {place.rank} of {place.recorded} at {reading.campaign.unit} {place.milestone}"
    at += " by its forecast" if place.stood_in else ""
    if not eta and not math.isfinite(share):
        return "It may be called back."
    if place.rank <= quota:
        return "It is good enough to go on, and does when a worker is free and nobody is before it."
    if not eta:
        return (
            f"It is {at}, where the best {quota} go on at present: it is called back if trials "
            "like it turn out to lead, or if many worse ones are still to come."
        )
    return (
        f"It is {at}. One in {eta} goes on, so it is called back once {place.rank * eta} trials "
        "were compared there, unless some of those to come are better."
    )


def _known(reading: Reading, trial: int) -> str:
    begun = len(reading.study.trials)
    if not begun:
        return "no trial has begun yet"
    if 0 <= trial < reading.study.next_number:
        return "it was proposed, but has not begun"
    return f"there is none; trials 0 to {begun - 1} have begun"


def _ladder(places: tuple[Place, ...], unit: str) -> list[str]:
    top = places[-1].milestone
    lines = [f"  {unit:>8}{'trials':>8}{'went on':>9}{'bar to go on':>15}   this trial"]
    for place in reversed(places):
        last = place.milestone == top
        went, bar = ("-", "-") if last else (f"{place.went_on:,}", number(place.bar))
        mine = _own(place) if place.rank else "-"
        lines.append(f"  {place.milestone:>8}{place.recorded:>8,}{went:>9}{bar:>15}   {mine}")
    return lines


def _own(place: Place) -> str:
    """What the trial had at a milestone, and its rank there."""
    rank = f"rank {place.rank} of {place.recorded}"
    if place.stood_in:
        return f"forecast {number(place.forecast)}, {rank}"
    heading = f" -> {number(place.forecast)}" if math.isfinite(place.forecast) else ""
    mine = f"{number(place.value)}{heading}" if math.isfinite(place.value) else "failed"
    return f"{mine}, {rank}"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
