"""A study as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from daskhpo.study import Study

__all__ = ["trials_frame"]


def trials_frame(study: Study) -> pd.DataFrame:
    """One row per trial, indexed by its number, with one ``param_*`` column per parameter.

    Examples
    --------
    >>> from daskhpo.samplers import Random
    >>> from daskhpo.schedulers import Fifo
    >>> from daskhpo.space import Float, Space
    >>> from daskhpo.study import Study
    >>> space = Space(x=Float(0, 1))
    >>> study = Study(space, Fifo(max_step=3), Random(space, seed=0), metric="loss")
    >>> _ = study.ask()
    >>> trials_frame(study).columns[:4].tolist()
    ['state', 'rung', 'step', 'value']
    """
    import pandas as pd

    columns = ("rung", "step", "value", "best_value", "best_step", "attempt", "seconds", "error")
    rows = []
    for trial in study.trials.values():
        row = {"state": trial.state.value} | {name: getattr(trial, name) for name in columns}
        rows.append(row | {f"param_{name}": trial.params.get(name) for name in study.space})
    names = ["state", *columns, *(f"param_{name}" for name in study.space)]
    index = pd.Index(list(study.trials), name="number", dtype="int64")
    return pd.DataFrame(rows, columns=names, index=index)
