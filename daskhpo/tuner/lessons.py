"""One lesson, in a thread or on a worker: it takes its time, never raises and tells no secrets."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from daskhpo.advice import Learned, Lesson, learn
from daskhpo.predictors import Predictor, make_predictor
from daskhpo.predictors.annealers import Annealer, Backend, make_annealer
from daskhpo.predictors.base import Configured

__all__ = ["attend", "attend_aside", "backends", "failed"]


def attend(lesson: Lesson) -> tuple[Learned, float]:
    """Learn a lesson.

    Whatever goes wrong is told in the record, as ``failed``. It must not be raised: Dask would
    write a traceback into a worker's log, and what a service says of a failure can hold a token.

    Returns
    -------
    learned : Learned
        Its record is plain JSON data, as facts are.
    seconds : float
        How long it took.

    Examples
    --------
    >>> import numpy as np
    >>> from daskhpo.predictors import LastDrop
    >>> curves = np.linspace(1, 2, 20)[:, None] * [1.0, 0.8]
    >>> learned, seconds = attend(Lesson(2, 4, LastDrop(), curves, curves[:, 1] - 0.5))
    >>> learned.labels, seconds >= 0
    (20, True)
    """
    began = time.monotonic()
    try:
        learned = learn(lesson)
        learned = replace(learned, record=_plain(learned.record))
        if learned.model is not None and not math.isfinite(learned.error):
            learned = failed(lesson, "its forecasts are not finite")
    except Exception as error:  # noqa: BLE001  whatever it is, the campaign goes on without it
        learned = failed(lesson, _told(error))
    return learned, time.monotonic() - began


def attend_aside(lesson: Lesson) -> tuple[Learned, float]:
    """As :func:`attend`, as a Dask task: the thread of its worker is free for trials meanwhile."""
    from distributed import secede

    secede()
    return attend(lesson)


def failed(lesson: Lesson, reason: str) -> Learned:
    """What is learned of a lesson that has come to nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from daskhpo.predictors import LastDrop
    >>> lesson = Lesson(1, 2, LastDrop(), np.ones((3, 1)), np.ones(3))
    >>> failed(lesson, "its worker died").record
    {'failed': 'its worker died'}
    """
    labels = len(lesson.targets)
    return Learned(lesson.step, lesson.target, labels, None, record={"failed": reason})


def backends(predictor: object) -> set[Backend]:
    """The annealers that a predictor asks, itself or through predictors inside it.

    Examples
    --------
    >>> ensemble = make_predictor("ensemble(predictor='qubo_svr(annealer=qpu)')")
    >>> [str(backend) for backend in backends(ensemble)]
    ['qpu']
    """
    found: set[Backend] = set()
    if not isinstance(predictor, Configured):
        return found
    for name, value in predictor.get_params(deep=False).items():
        if name == "annealer":
            found.add(_backend(value))
        for inner in value if isinstance(value, list | tuple) else [value]:
            if isinstance(inner, Predictor):
                found |= backends(inner)
            elif name in ("predictor", "candidates"):
                found |= backends(make_predictor(inner))
    return found


def _backend(annealer: str | Mapping[str, Any] | Annealer) -> Backend:
    return Backend.SVR if annealer == Backend.SVR else make_annealer(annealer).backend


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps(dict(record), default=_listed)
    plain: dict[str, Any] = json.loads(text, parse_constant=lambda word: None)  # NaN, Infinity
    return plain


def _listed(value: Any) -> Any:
    """What JSON does not know: numpy has numbers and lists for it, the rest is told in words."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _told(error: Exception) -> str:
    from daskhpo.predictors.annealers.access import without_secrets

    return without_secrets(f"{type(error).__name__}: {' '.join(str(error).split())}")
