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
    from daskhpo.schedulers.asha import ASHA, async_hyperband
    from daskhpo.schedulers.fast import FastHyperband
    from daskhpo.schedulers.fifo import Fifo
    from daskhpo.schedulers.hyperband import Hyperband
    from daskhpo.schedulers.median import Median
    from daskhpo.schedulers.one_cut import OneCut
    from daskhpo.schedulers.pbt import PBT
    from daskhpo.schedulers.sha import SHA
    from daskhpo.schedulers.swift import SwiftHyperband

__all__ = [
    "ASHA",
    "PBT",
    "SHA",
    "FastHyperband",
    "Fifo",
    "Hyperband",
    "Median",
    "OneCut",
    "Promotion",
    "RungRow",
    "Scheduler",
    "SwiftHyperband",
    "async_hyperband",
    "make_scheduler",
]

_HOMES = {  # {class or function: module}
    "ASHA": "daskhpo.schedulers.asha",
    "FastHyperband": "daskhpo.schedulers.fast",
    "Fifo": "daskhpo.schedulers.fifo",
    "Hyperband": "daskhpo.schedulers.hyperband",
    "Median": "daskhpo.schedulers.median",
    "OneCut": "daskhpo.schedulers.one_cut",
    "PBT": "daskhpo.schedulers.pbt",
    "SHA": "daskhpo.schedulers.sha",
    "SwiftHyperband": "daskhpo.schedulers.swift",
    "async_hyperband": "daskhpo.schedulers.asha",
}
_TYPES = {  # {name in a campaign file: class or function}
    "asha": "ASHA",
    "async_hyperband": "async_hyperband",
    "fast_hyperband": "FastHyperband",
    "fifo": "Fifo",
    "hyperband": "Hyperband",
    "median": "Median",
    "one_cut": "OneCut",
    "pbt": "PBT",
    "sha": "SHA",
    "swift_hyperband": "SwiftHyperband",
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
    >>> make_scheduler({"type": "hyperband", "max_step": 81, "eta": 3})
    Hyperband(max_step=81, min_step=1, eta=3, overlap=True)
    """
    arguments = dict(settings)
    kind = arguments.pop("type", "asha")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise SchedulerError(f"scheduler type={kind!r}: {nearest(str(kind), _TYPES)}")
    maker = __getattr__(_TYPES[kind])
    known = inspect.signature(maker).parameters
    for key in arguments:
        if key not in known:
            raise SchedulerError(f"scheduler {kind!r}: unknown key {key!r}; {nearest(key, known)}")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise SchedulerError(f"scheduler {kind!r}: {key} is missing")
    scheduler: Scheduler = maker(**arguments)
    return scheduler
