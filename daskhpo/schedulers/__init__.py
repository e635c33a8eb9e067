"""Schedulers decide how long a trial trains.

:class:`ASHA` is the default; :class:`SHA`, :class:`Hyperband` and :class:`SwiftHyperband` wait
for whole rungs as their papers do; :class:`Median`, :class:`OneCut` and :class:`Fifo` are what
the others have to beat; :class:`PBT` changes parameters while it trains. Each is imported when it
is first used.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from daskhpo.exceptions import SchedulerError
from daskhpo.scalars import nearest
from daskhpo.schedulers.base import Promotion, RungRow, Scheduler

if TYPE_CHECKING:
    from daskhpo.schedulers.asha import ASHA
    from daskhpo.schedulers.fifo import Fifo
    from daskhpo.schedulers.median import Median

__all__ = ["ASHA", "Fifo", "Median", "Promotion", "RungRow", "Scheduler", "make_scheduler"]

_HOMES = {  # {class or function: module}
    "ASHA": "daskhpo.schedulers.asha",
    "Fifo": "daskhpo.schedulers.fifo",
    "Median": "daskhpo.schedulers.median",
}
_TYPES = {  # {name in a campaign file: class or function}
    "asha": "ASHA",
    "fifo": "Fifo",
    "median": "Median",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


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
    kind = arguments.pop("type", "asha")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise SchedulerError(f"scheduler type={kind!r}: {nearest(str(kind), _TYPES)}")
    maker = __getattr__(_TYPES[kind])
    known = list(inspect.signature(maker).parameters)
    for key in arguments:
        if key not in known:
            raise SchedulerError(f"scheduler {kind!r}: unknown key {key!r}; {nearest(key, known)}")
    if "max_step" not in arguments:
        raise SchedulerError(f"scheduler {kind!r}: max_step is missing (an integer of at least 1)")
    scheduler: Scheduler = maker(**arguments)
    return scheduler
