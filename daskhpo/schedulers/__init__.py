"""Schedulers decide how long a trial trains: first come first served, median rule, ASHA."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daskhpo.exceptions import SchedulerError
from daskhpo.scalars import nearest
from daskhpo.schedulers.asha import ASHA
from daskhpo.schedulers.base import Promotion, RungRow, Scheduler
from daskhpo.schedulers.fifo import Fifo
from daskhpo.schedulers.median import Median

__all__ = ["ASHA", "Fifo", "Median", "Promotion", "RungRow", "Scheduler", "make_scheduler"]

_TYPES: dict[str, tuple[Callable[..., Scheduler], frozenset[str]]] = {
    # {name in a campaign file: (class, arguments it takes)}
    "asha": (ASHA, frozenset({"max_step", "min_step", "eta", "mode", "brackets", "seed"})),
    "fifo": (Fifo, frozenset({"max_step"})),
    "median": (Median, frozenset({"max_step", "min_step", "min_trials"})),
}


def make_scheduler(settings: Mapping[str, Any]) -> Scheduler:
    """Build a scheduler from its campaign-file form; the inverse of :meth:`Scheduler.settings`.

    Raises
    ------
    SchedulerError
        If the type or an argument is unknown (the nearest known one is named) or not valid.

    Examples
    --------
    >>> make_scheduler({"type": "asha", "max_step": 81, "eta": 3})
    ASHA(max_step=81, min_step=1, eta=3, mode='promote', brackets=1, seed=0)
    """
    arguments = dict(settings)
    name = arguments.pop("type", "asha")
    if name not in _TYPES:
        raise SchedulerError(f"scheduler type={name!r}: {nearest(str(name), _TYPES)}")
    factory, allowed = _TYPES[name]
    for key in arguments:
        if key not in allowed:
            raise SchedulerError(
                f"scheduler {name!r}: unknown key {key!r}; {nearest(key, allowed)}"
            )
    if "max_step" not in arguments:
        raise SchedulerError(f"scheduler {name!r}: max_step is missing (an integer of at least 1)")
    return factory(**arguments)
