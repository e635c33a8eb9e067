"""Advisers from their form in a campaign file or on a command line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from daskhpo.advice.adviser import Adviser
from daskhpo.exceptions import SchedulerError
from daskhpo.scalars import nearest

__all__ = ["make_adviser"]


def make_adviser(
    predictor: str | Mapping[str, Any] | None,
    advice: str | Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
) -> Adviser | None:
    """Make an adviser from the keys ``predictor`` and ``advice`` of a campaign file.

    Parameters
    ----------
    predictor : str or mapping, optional
        See :func:`~daskhpo.predictors.make_predictor`. Without one there is no adviser, unless
        ``advice`` is given: the default predictor then.
    advice : str or mapping, optional
        ``"log"`` or ``"obey"``, or arguments of :class:`Adviser`, ``mode`` among them.
    seed : int
        Of the campaign, where ``advice`` names none.

    Returns
    -------
    Adviser or None
        None where neither is given.

    Raises
    ------
    SchedulerError
        If a key is unknown (the nearest one is named) or a value is not allowed.

    Examples
    --------
    >>> make_adviser("last_drop", "obey").mode
    'obey'
    >>> make_adviser("last_drop", {"delta": 0.2, "looks": 1}).delta
    0.2
    >>> make_adviser(None) is None
    True
    """
    if predictor is None and advice is None:
        return None
    if not isinstance(advice, str | Mapping | None):
        raise SchedulerError(f"advice={advice!r}: must be 'log', 'obey' or a mapping of arguments")
    arguments = {"mode": advice} if isinstance(advice, str) else dict(advice or {})
    known = [name for name in inspect.signature(Adviser).parameters if name != "predictor"]
    for key in arguments:
        if key not in known:
            raise SchedulerError(f"advice: unknown key {key!r}; {nearest(str(key), known)}")
    return Adviser("auto" if predictor is None else predictor, **{"seed": seed, **arguments})
