"""Annealers look for the bits with the least energy, simulated or on a quantum annealer.

All have the same face, :class:`Annealer`; each is imported when it is first asked for. None
stands in for another: what answered is told with every answer.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from daskhpo.exceptions import PredictorError
from daskhpo.naming import parse_settings
from daskhpo.predictors.annealers.base import Annealer, Backend, Samples
from daskhpo.scalars import nearest

__all__ = ["Annealer", "Backend", "Samples", "make_annealer"]

_TYPES = {  # {name in a campaign file: (module, class)}
    "embedded": ("embedded", "Embedded"),
    "hybrid": ("hybrid", "Hybrid"),
    "mock": ("hardware", "Mock"),
    "qpu": ("hardware", "QPU"),
    "simulated": ("simulated", "Simulated"),
}


def make_annealer(settings: str | Mapping[str, Any] | Annealer) -> Annealer:
    """Make an annealer from its form in a campaign file; one that is made already is handed back.

    Parameters
    ----------
    settings : str, mapping or Annealer
        A name, ``"simulated"``; one with arguments, ``"embedded(graph=zephyr)"``; or
        ``{"type": "embedded", "graph": "zephyr"}``.

    Raises
    ------
    PredictorError
        If there is none of that name, or an argument is unknown (the nearest one is named) or not
        allowed.

    Examples
    --------
    >>> make_annealer("simulated(reads=20)")
    Simulated(reads=20, sweeps=100)
    """
    if isinstance(settings, Annealer):
        return settings
    if not isinstance(settings, str | Mapping):
        raise PredictorError(
            f"annealer={settings!r}: must be a name, settings, or have the attribute backend and "
            "the method sample"
        )
    arguments = dict(parse_settings(settings) if isinstance(settings, str) else settings)
    kind = arguments.pop("type", None)
    if not isinstance(kind, str) or kind not in _TYPES:
        raise PredictorError(f"annealer={kind!r}: {nearest(str(kind), _TYPES)}")
    module, name = _TYPES[kind]
    maker = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    known = list(inspect.signature(maker).parameters)
    for key in arguments:
        if key not in known:
            raise PredictorError(f"annealer {kind!r}: unknown key {key!r}; {nearest(key, known)}")
    annealer: Annealer = maker(**arguments)
    return annealer
