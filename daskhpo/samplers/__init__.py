"""Samplers: what to try next.

:class:`Random` and :class:`Sobol` cover the space, :class:`Grid` exhausts it, :class:`Bayes`
learns from the results with scikit-optimize, :class:`KDE` as BOHB does, :class:`Quantile` with
boosted trees; :class:`Prior` stays near what is known to be good. Each is imported when it is
first used.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers.base import Sampler
from daskhpo.scalars import nearest

if TYPE_CHECKING:
    from daskhpo.samplers.bayes import Bayes
    from daskhpo.samplers.grid import Grid
    from daskhpo.samplers.kde import KDE
    from daskhpo.samplers.prior import Prior
    from daskhpo.samplers.quantile import Quantile
    from daskhpo.samplers.random import Random
    from daskhpo.samplers.sobol import Sobol
    from daskhpo.space import Space

__all__ = [
    "KDE",
    "Bayes",
    "Grid",
    "Prior",
    "Quantile",
    "Random",
    "Sampler",
    "Sobol",
    "make_sampler",
]

HOMES = {  # {class: module}
    "Bayes": "daskhpo.samplers.bayes",
    "Grid": "daskhpo.samplers.grid",
    "KDE": "daskhpo.samplers.kde",
    "Prior": "daskhpo.samplers.prior",
    "Quantile": "daskhpo.samplers.quantile",
    "Random": "daskhpo.samplers.random",
    "Sobol": "daskhpo.samplers.sobol",
}
TYPES = {name.lower(): name for name in HOMES} | {"bohb": "KDE"}  # {"type" in a file: class}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)


def make_sampler(settings: Mapping[str, Any], space: Space, seed: int = 0) -> Sampler:
    """Make a sampler from the ``sampler`` section of a campaign file.

    Parameters
    ----------
    settings : mapping
        ``type`` (``"random"``, ``"grid"``, ``"sobol"``, ``"bayes"``, ``"kde"`` or ``"bohb"``,
        ``"quantile"``, ``"prior"``) and arguments of that class.
    space : Space
        What to search.
    seed : int
        Seed of the sampler.

    Raises
    ------
    SchedulerError
        When the type or a key is unknown, naming the nearest one, or a value is not allowed.

    Examples
    --------
    >>> from daskhpo.space import Float, Space
    >>> make_sampler({"type": "grid", "resolution": 3}, Space(x=Float(0.0, 1.0))).suggest(1)
    {'x': 0.5}
    """
    kind = settings.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise SchedulerError(f"type of the sampler is {kind!r}; {nearest(kind, TYPES)}")
    maker = __getattr__(TYPES[kind])
    known = [key for key in inspect.signature(maker).parameters if key not in ("space", "seed")]
    arguments = {key: value for key, value in settings.items() if key != "type"}
    for key in arguments:
        if key not in known:
            raise SchedulerError(f"sampler {kind!r} has no setting {key!r}; {nearest(key, known)}")
    sampler: Sampler = maker(space, seed=seed, **arguments)
    return sampler
