"""daskhpo: asynchronous hyperparameter tuning for supercomputers, on Dask."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from daskhpo.schedulers import ASHA, Fifo, Median
from daskhpo.space import Choice, Constant, Float, Int, Space
from daskhpo.trial import Decision, Direction, Job, Outcome, Trial, TrialState

if TYPE_CHECKING:
    from daskhpo.campaign import Budget, Campaign, Workers
    from daskhpo.study import Study
    from daskhpo.tuner import Tuner
    from daskhpo.worker.command import CommandObjective

__version__ = "0.1.0"

__all__ = [
    "ASHA",
    "Budget",
    "Campaign",
    "Choice",
    "CommandObjective",
    "Constant",
    "Decision",
    "Direction",
    "Fifo",
    "Float",
    "Int",
    "Job",
    "Median",
    "Outcome",
    "Space",
    "Study",
    "Trial",
    "TrialState",
    "Tuner",
    "Workers",
]

_LAZY = {  # what would make `import daskhpo` slow: {name: module}
    "Budget": "daskhpo.campaign",
    "Campaign": "daskhpo.campaign",
    "CommandObjective": "daskhpo.worker.command",
    "Study": "daskhpo.study",
    "Tuner": "daskhpo.tuner",
    "Workers": "daskhpo.campaign",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'daskhpo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
