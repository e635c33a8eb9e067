"""daskhpo: asynchronous hyperparameter tuning for supercomputers, on Dask."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from daskhpo.space import Choice, Constant, Float, Int, Space
from daskhpo.trial import Decision, Direction, Job, Outcome, Trial, TrialState

if TYPE_CHECKING:
    from daskhpo.analysis.attach import attach
    from daskhpo.campaign import Budget, Campaign, Workers
    from daskhpo.schedulers import (
        ASHA,
        PBT,
        SHA,
        FastHyperband,
        Fifo,
        Hyperband,
        Median,
        OneCut,
        SwiftHyperband,
        async_hyperband,
    )
    from daskhpo.study import Study
    from daskhpo.tuner import Tuner
    from daskhpo.worker.command import CommandObjective

__version__ = "0.1.0"

__all__ = [
    "ASHA",
    "PBT",
    "SHA",
    "Budget",
    "Campaign",
    "Choice",
    "CommandObjective",
    "Constant",
    "Decision",
    "Direction",
    "FastHyperband",
    "Fifo",
    "Float",
    "Hyperband",
    "Int",
    "Job",
    "Median",
    "OneCut",
    "Outcome",
    "Space",
    "Study",
    "SwiftHyperband",
    "Trial",
    "TrialState",
    "Tuner",
    "Workers",
    "async_hyperband",
    "attach",
]

_LAZY = {  # what would make `import daskhpo` slow: {name: module}
    "ASHA": "daskhpo.schedulers",
    "Budget": "daskhpo.campaign",
    "Campaign": "daskhpo.campaign",
    "CommandObjective": "daskhpo.worker.command",
    "FastHyperband": "daskhpo.schedulers",
    "Fifo": "daskhpo.schedulers",
    "Hyperband": "daskhpo.schedulers",
    "Median": "daskhpo.schedulers",
    "OneCut": "daskhpo.schedulers",
    "PBT": "daskhpo.schedulers",
    "SHA": "daskhpo.schedulers",
    "Study": "daskhpo.study",
    "SwiftHyperband": "daskhpo.schedulers",
    "Tuner": "daskhpo.tuner",
    "Workers": "daskhpo.campaign",
    "async_hyperband": "daskhpo.schedulers",
    "attach": "daskhpo.analysis.attach",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'daskhpo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
