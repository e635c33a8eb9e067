"""Predictors forecast where a learning curve will be; schedulers use them to stop earlier."""

from __future__ import annotations

from collections.abc import Callable

from daskhpo.exceptions import SchedulerError
from daskhpo.predictors.base import Predictor
from daskhpo.predictors.last_value import LastValue
from daskhpo.scalars import nearest

__all__ = ["LastValue", "Predictor", "make_predictor"]

_TYPES: dict[str, Callable[[], Predictor]] = {"last_value": LastValue}


def make_predictor(name: str) -> Predictor:
    """Make a new predictor from its name in a campaign file.

    Raises
    ------
    SchedulerError
        If there is none of that name; the nearest one is named.

    Examples
    --------
    >>> make_predictor("last_value")
    LastValue()
    """
    if name not in _TYPES:
        raise SchedulerError(f"predictor={name!r}: {nearest(str(name), _TYPES)}")
    return _TYPES[name]()
