"""What a campaign or a curve store says of the rungs of its ladder."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daskhpo.analysis.reading import Reading
from daskhpo.analysis.reliability import reliability, starts
from daskhpo.analysis.verdict import Reliability
from daskhpo.campaign import Campaign
from daskhpo.exceptions import DataError
from daskhpo.schedulers.rungs import milestones
from daskhpo.store.directory import CampaignDirectory
from daskhpo.study import Study
from daskhpo.trial import Fact, TrialState

__all__ = ["RungWatch", "ladder_of", "reliability_of"]

ETA = 2  # of a ladder that nobody chose: every doubling is looked at
_OPEN = (TrialState.RUNNING, TrialState.WAITING, TrialState.FAILED)
_UNDECIDED = ("", *(state.value for state in _OPEN))  # in a store; "" is a trial that never ran


class RungWatch:
    """Gathers a campaign's curves from its facts and judges the rungs, at any time.

    Use it where facts go by anyhow: while a journal is read, or as a listener of a live study.

    Parameters
    ----------
    study : Study
        Has seen every fact that :meth:`record` is given.
    campaign : Campaign
        Its settings.

    Notes
    -----
    A trial is an audit if a fact that starts or promotes it has ``audit`` in its evidence:
    whether it was drawn at random is for the scheduler to say. A trial that took over the
    checkpoint of another one has no beginning of its own, and is left out.

    Examples
    --------
    >>> campaign = Campaign.from_mapping({
    ...     "metric": "loss", "scheduler": {"type": "fifo", "max_step": 3}, "sampler": "random",
    ...     "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}}})
    >>> facts = []
    >>> study = campaign.study(facts.append)
    >>> watch = RungWatch(study, campaign)
    >>> for loss in (0.3, 0.1, 0.2, 0.5, 0.4):
    ...     job = study.ask()
    ...     for step in (1, 2, 3):
    ...         _ = study.report(job.number, 0, step, {"loss": loss / step})
    ...     _ = study.tell(job.number, 0, "completed")
    >>> for fact in facts:
    ...     watch.record(fact)
    >>> [rung.spearman.value for rung in watch.judge().rungs]
    [1.0, 1.0]
    """

    def __init__(self, study: Study, campaign: Campaign) -> None:
        self._study = study
        self._unit = campaign.unit
        self._ladder, self._eta, self._learned = ladder_of(study)
        max_step = study.scheduler.max_step
        # Enough for every ladder that could be advised, and small for any number of reports.
        self._steps = sorted({*self._ladder, *starts(max_step), max_step})
        self._curves: dict[int, list[float]] = {}  # {number: values, as far along _steps as it got}
        self._last: dict[int, float] = {}  # {number: last value}
        self._audits: set[int] = set()

    def record(self, fact: Fact) -> None:
        """Take a fact in; what says nothing of a curve is passed over."""
        if fact["kind"] == "reported":
            number, step = fact["number"], fact["step"]
            value = fact["metrics"].get(self._study.metric, math.nan)
            self._last[number] = value
            curve = self._curves.setdefault(number, [])
            while len(curve) < len(self._steps) and self._steps[len(curve)] <= step:
                curve.append(value)
        if fact.get("evidence", {}).get("audit") and "number" in fact:
            self._audits.add(fact["number"])

    def judge(
        self, *, eta: int | None = None, min_step: int | None = None, top: float | None = None
    ) -> Reliability:
        """Judge the campaign's ladder, or another one where ``eta`` or ``min_step`` is given."""
        ladder, own = self._ladder, eta or self._eta
        if eta is not None or min_step is not None:
            ladder = milestones(min_step or min(ladder), self._study.scheduler.max_step, own)
        numbers = [number for number in self._curves if self._counts(number)]
        curves = np.full((len(numbers), len(self._steps)), math.nan)
        for row, number in enumerate(numbers):
            curve = self._curves[number]
            curves[row, : len(curve)] = curve
            if self._study.trials[number].state is TrialState.COMPLETED:
                curves[row, -1] = self._last[number]  # it may have ended by itself, before the end
        return reliability(
            curves,
            milestones=ladder,
            eta=own,
            steps=self._steps,
            top=top,
            audit=np.array([number in self._audits for number in numbers], dtype=bool),
            direction=self._study.direction,
            unit=self._unit,
            learned=self._learned and eta is None and min_step is None,
        )

    def _counts(self, number: int) -> bool:
        """Whether it is decided how far a trial gets; and it has a beginning of its own."""
        trial = self._study.trials[number]
        return trial.state not in _OPEN and trial.parent is None


def ladder_of(study: Study) -> tuple[Sequence[int], int, bool]:
    """The milestones of a study's scheduler, of all its brackets; its eta; whether it learns it.

    Examples
    --------
    >>> from daskhpo import ASHA, Fifo, Float, Space, Study
    >>> from daskhpo.samplers import Random
    >>> space = Space(x=Float(0, 1))
    >>> fixed = ASHA(max_step=9, min_step=1, eta=3)
    >>> ladder_of(Study(space, fixed, Random(space, seed=0), metric="loss"))
    ([1, 3, 9], 3, False)
    >>> ladder_of(Study(space, Fifo(max_step=9), Random(space, seed=0), metric="loss"))
    ((1, 2, 4, 8, 9), 2, False)
    """
    eta = study.scheduler.settings().get("eta")
    steps = sorted({row.milestone for row in study.scheduler.table()})
    known = eta if isinstance(eta, int) and eta >= 2 else ETA
    ladder = steps or milestones(1, study.scheduler.max_step, known)
    return ladder, known, eta == "auto"


def reliability_of(
    path: str | os.PathLike[str],
    *,
    eta: int | None = None,
    min_step: int | None = None,
    top: float | None = None,
) -> Reliability:
    """Judge the rungs of a campaign, or those that a campaign would have on stored curves.

    Parameters
    ----------
    path : path
        A campaign directory (its journal is read, also while it runs), or a curve store.
    eta, min_step : int, optional
        Of the ladder; by default the campaign's own, for a store 2 and 1.
    top : float, optional
        Which share of the complete trials is called the best; by default a tenth, or 1/eta where
        that is less.

    Raises
    ------
    SchedulerError
        If they make no ladder.
    DataError
        If the store holds no value, or the path is a table that was not imported.
    StoreError
        If there is neither a campaign nor a curve store at the path, or it is damaged.

    Examples
    --------
    >>> reliability_of("runs/nowhere")
    Traceback (most recent call last):
    daskhpo.exceptions.StoreError: there are no curves at runs/nowhere: check the path; in a new \
campaign they appear with the first reports
    """
    if not CampaignDirectory(path).exists():
        return _of_store(Path(path), eta=eta or ETA, min_step=min_step or 1, top=top)
    reading = Reading(path)
    watch = RungWatch(reading.study, reading.campaign)
    for fact in reading.facts():
        watch.record(fact)
    return watch.judge(eta=eta, min_step=min_step, top=top)


def _of_store(path: Path, *, eta: int, min_step: int, top: float | None) -> Reliability:
    from daskhpo.store.curves import open_curves

    if path.is_file():
        raise DataError(f"{path} is a file: make a curve store of it (daskhpo curves import)")
    data = open_curves(path)
    metric = str(data.attrs["metric"])
    curves = np.asarray(data[metric if metric in data else f"metric_{metric}"].values)
    seen = np.flatnonzero(~np.isnan(curves).all(axis=0))
    if not len(seen):
        raise DataError(f"{path}: no trial has reported {metric!r} yet")
    # Stores keep room for more steps than anybody has reported.
    curves = curves[~np.isin(data["state"].values, _UNDECIDED), : int(seen[-1]) + 1]
    return reliability(
        curves,
        milestones=milestones(min_step, curves.shape[1], eta),
        eta=eta,
        top=top,
        direction=str(data.attrs["direction"]),
        unit=str(data.attrs.get("unit", "step")),
    )
