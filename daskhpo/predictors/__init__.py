"""Predictors forecast where a learning curve will be; who uses them can stop trials earlier.

:class:`LastValue`, :class:`LinearOnLast` and :class:`LastDrop` are what others have to beat;
:class:`SVR` and :class:`NuSVR` are support vector machines, :class:`QUBOSVR` one that an annealer
trains; :class:`Ensemble` averages several, :class:`Auto` takes the one that forecasts best what
it was not fitted on. Each is imported when it is first used.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from daskhpo.exceptions import PredictorError
from daskhpo.naming import describe, parse_settings
from daskhpo.predictors.base import Configured, Predictor, record_of
from daskhpo.scalars import nearest

if TYPE_CHECKING:
    from daskhpo.predictors.auto import Auto
    from daskhpo.predictors.ensemble import Ensemble
    from daskhpo.predictors.last_value import LastDrop, LastValue
    from daskhpo.predictors.linear import LinearOnLast
    from daskhpo.predictors.pretrained import LCPFN, IfBO
    from daskhpo.predictors.qubo_svr import QUBOSVR
    from daskhpo.predictors.svr import SVR, NuSVR
    from daskhpo.predictors.trees import Boosting, ExtraTrees

__all__ = [
    "LCPFN",
    "QUBOSVR",
    "SVR",
    "Auto",
    "Boosting",
    "Ensemble",
    "ExtraTrees",
    "IfBO",
    "LastDrop",
    "LastValue",
    "LinearOnLast",
    "NuSVR",
    "Predictor",
    "make_predictor",
    "predictor_name",
    "record_of",
]

_HOMES = {  # {class: module}
    "Auto": "daskhpo.predictors.auto",
    "Boosting": "daskhpo.predictors.trees",
    "Ensemble": "daskhpo.predictors.ensemble",
    "ExtraTrees": "daskhpo.predictors.trees",
    "IfBO": "daskhpo.predictors.pretrained",
    "LCPFN": "daskhpo.predictors.pretrained",
    "LastDrop": "daskhpo.predictors.last_value",
    "LastValue": "daskhpo.predictors.last_value",
    "LinearOnLast": "daskhpo.predictors.linear",
    "NuSVR": "daskhpo.predictors.svr",
    "QUBOSVR": "daskhpo.predictors.qubo_svr",
    "SVR": "daskhpo.predictors.svr",
}
_TYPES = {  # {name in a campaign file: class}
    "auto": "Auto",
    "boosting": "Boosting",
    "ensemble": "Ensemble",
    "extra_trees": "ExtraTrees",
    "ifbo": "IfBO",
    "last_drop": "LastDrop",
    "last_value": "LastValue",
    "lc_pfn": "LCPFN",
    "linear": "LinearOnLast",
    "nu_svr": "NuSVR",
    "qubo_svr": "QUBOSVR",
    "svr": "SVR",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def make_predictor(settings: str | Mapping[str, Any]) -> Predictor:
    """Make a new predictor from its form in a campaign file or on a command line.

    Parameters
    ----------
    settings : str or mapping
        A name, ``"svr"``; one with arguments, ``"svr(C=1.75)"``; or
        ``{"type": "svr", "C": 1.75}``.

    Raises
    ------
    PredictorError
        If there is none of that name, or an argument is unknown (the nearest one is named) or not
        allowed.

    Examples
    --------
    >>> make_predictor("last_drop")
    LastDrop()
    """
    arguments = dict(parse_settings(settings) if isinstance(settings, str) else settings)
    kind = arguments.pop("type", "auto")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise PredictorError(f"predictor={kind!r}: {nearest(str(kind), _TYPES)}")
    maker = __getattr__(_TYPES[kind])
    known = list(inspect.signature(maker).parameters)
    for key in arguments:
        if key not in known:
            allowed = nearest(key, known) if known else "it takes no arguments"
            raise PredictorError(f"predictor {kind!r}: unknown key {key!r}; {allowed}")
    predictor: Predictor = maker(**arguments)
    return predictor


def predictor_name(predictor: Predictor) -> str:
    """The form of a predictor in a campaign file, on one line; its ``repr`` if it has none.

    Arguments that have their default are left out.

    Examples
    --------
    >>> from daskhpo.predictors.last_value import LastDrop
    >>> predictor_name(LastDrop())
    'last_drop'
    """
    names = [name for name, kind in _TYPES.items() if kind == type(predictor).__name__]
    if not names or type(predictor).__module__ != _HOMES[type(predictor).__name__]:
        return repr(predictor)
    assert isinstance(predictor, Configured)
    defaults = inspect.signature(type(predictor)).parameters
    given = predictor.get_params(deep=False).items()
    told = {key: value for key, value in given if value != defaults[key].default}
    return describe({"type": names[0], **told})
