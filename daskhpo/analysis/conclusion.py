"""Whether a campaign is over, as far as its directory tells: for whoever might go on with it."""

from __future__ import annotations

import os
from typing import Any

from daskhpo.analysis.reading import Reading
from daskhpo.campaign import Budget
from daskhpo.store.requests import stop_requested
from daskhpo.trial import TrialState

__all__ = ["why_over"]

_OPEN = frozenset({TrialState.RUNNING, TrialState.WAITING})


def why_over(path: str | os.PathLike[str], **budget: Any) -> str:
    """Why nobody has to go on with a campaign; empty while there is something to do.

    Use it where no driver is at work: before one begins, or after it has ended.

    Parameters
    ----------
    path : path
        The campaign directory.
    **budget
        What is to hold in place of the campaign's own budget; see
        :class:`~daskhpo.campaign.Budget`. ``hours`` belong to a run, and are not looked at.

    Raises
    ------
    StoreError
        As :class:`daskhpo.analysis.reading.Reading`.

    Examples
    --------
    >>> import tempfile
    >>> from daskhpo import Fifo, Float, Space, Tuner
    >>> def objective(trial):
    ...     for epoch in trial.steps():
    ...         trial.report(loss=trial.params["x"] / epoch)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = folder + "/first"
    ...     Tuner(objective, Space(x=Float(0, 1)), metric="loss", sampler="random",
    ...           scheduler=Fifo(max_step=2), path=path).debug(trials=3)
    ...     why_over(path, trials=3), why_over(path, trials=4), why_over(path, steps=6)
    ('nothing is left to train', '', 'the budget of 6 steps is spent')
    """
    if stop := stop_requested(path):
        return stop
    reading = Reading(path).catch_up()
    study = reading.study
    limits = Budget(**{**reading.campaign.budget.given, **_given(budget)})
    if limits.steps is not None and study.steps >= limits.steps:
        return f"the budget of {limits.steps} steps is spent"
    held = study.seconds * reading.campaign.workers.ranks
    if limits.device_hours is not None and held >= limits.device_hours * 3600:
        return f"the budget of {limits.device_hours:g} device-hours is spent"
    if any(trial.state in _OPEN for trial in study.trials.values()):
        return ""
    # This study is ours alone: it may be asked what it would do.
    if study.closed is not None:
        study.reopen()
    study.set_limit(limits.trials)
    if study.may_begin or study.ask(inline=False) is not None:
        return ""
    return "nothing is left to train"


def _given(budget: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in budget.items() if value is not None}
