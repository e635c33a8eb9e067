"""Predictors forecast where a learning curve will be; schedulers use them to stop earlier."""

from __future__ import annotations

from collections.abc import Callable

from daskhpo.exceptions import SchedulerError
from daskhpo.predictors.base import Predictor
from daskhpo.predictors.last_value import LastValue
from daskhpo.scalars import nearest

__all__ = ["LastValue", "Predictor", "make_predictor", "predictor_name"]

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


def predictor_name(predictor: Predictor) -> str:
    """The name of a predictor in a campaign file; its ``repr`` if it has none.

    Examples
    --------
    >>> predictor_name(LastValue())
    'last_value'
    """
    names = [name for name, make in _TYPES.items() if make is type(predictor)]
    return names[0] if names else repr(predictor)
