"""Campaigns under a virtual clock: the same study, over stored learning curves.

:func:`simulate` runs a scheduler and a sampler on n workers and says what they found and what it
cost. A :class:`Problem` is a set of stored curves; :class:`Rows`, :class:`Nearest` and
:class:`Surrogate` are three answers to the question of what a configuration's curve would be.

Examples
--------
>>> import numpy as np
>>> from daskhpo.simulate import Costs, Problem, Rows, simulate
>>> curves = np.linspace(1.0, 0.1, 9) + np.arange(20)[:, None] / 20
>>> problem = Problem("made up", "loss", [{"x": i / 20} for i in range(20)], curves)
>>> run = simulate(Rows(problem), "asha(eta=3)", workers=4, costs=Costs.free())
>>> run.begun, run.rank, run.regret, run.trained
(20, 0, 0.0, 52)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskhpo.simulate.costs import Costs, Failures, Walltime
    from daskhpo.simulate.problem import Problem
    from daskhpo.simulate.run import History, Run
    from daskhpo.simulate.simulation import simulate
    from daskhpo.simulate.sources import Nearest, Rows, Source
    from daskhpo.simulate.speeds import BySize, Lognormal
    from daskhpo.simulate.surrogate import Surrogate

__all__ = [
    "BySize",
    "Costs",
    "Failures",
    "History",
    "Lognormal",
    "Nearest",
    "Problem",
    "Rows",
    "Run",
    "Source",
    "Surrogate",
    "Walltime",
    "simulate",
]

_HOMES = {  # {name: module}
    "BySize": "speeds",
    "Costs": "costs",
    "Failures": "costs",
    "History": "run",
    "Lognormal": "speeds",
    "Nearest": "sources",
    "Problem": "problem",
    "Rows": "sources",
    "Run": "run",
    "Source": "sources",
    "Surrogate": "surrogate",
    "Walltime": "costs",
    "simulate": "simulation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
