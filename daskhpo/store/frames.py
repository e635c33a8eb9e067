"""A study as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskhpo.schedulers.base import Breeder

if TYPE_CHECKING:
    import pandas as pd

    from daskhpo.study import Study

__all__ = ["trials_frame"]


def trials_frame(study: Study) -> pd.DataFrame:
    """One row per trial, indexed by its number, with one ``param_*`` column per parameter.

    Of metrics that are traded off against the first there is the last value, ``value_*``.

    Where trials begin from others' checkpoints there are ``parent`` (missing where one did not)
    and ``origin``, the step at which it began.

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

    columns = ["rung", "step", "value", "best_value", "best_step", "attempt", "seconds", "error"]
    if isinstance(study.scheduler, Breeder):
        columns += ["parent", "origin"]
    rows = []
    for trial in study.trials.values():
        row = {"state": trial.state.value} | {name: getattr(trial, name) for name in columns}
        row |= {f"value_{name}": trial.metrics.get(name) for name in study.goal.also}
        rows.append(row | {f"param_{name}": trial.params.get(name) for name in study.space})
    others = (f"value_{name}" for name in study.goal.also)
    names = ["state", *columns, *others, *(f"param_{name}" for name in study.space)]
    index = pd.Index(list(study.trials), name="number", dtype="int64")
    frame = pd.DataFrame(rows, columns=names, index=index)
    return frame.astype({"parent": "Int64"}) if "parent" in columns else frame
