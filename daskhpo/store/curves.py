"""The curves: every metric of every trial over its steps, as one Zarr group.

Derived from the journal, for people and predictors. The group holds ``curves`` (metric, trial,
step), the columns of :mod:`daskhpo.store.columns` (trial,) and the attributes ``schema_version``,
``metrics``, ``metric``, ``direction``, ``also`` (``{metric: direction}`` of others that are traded
off, where there are any), ``unit``, ``trials`` (how many rows are in use) and ``journal_seq`` (the
last fact that is in it). Steps count from 1: step ``s`` is column ``s - 1``.
"""

from __future__ import annotations

import math
import os
from array import array
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskhpo.exceptions import StoreError
from daskhpo.store.arrays import (
    SCHEMA_VERSION,
    CurveArrays,
    array_of,
    explained,
    open_group,
)
from daskhpo.store.columns import BRED, FIXED, STATES, column_name, decode
from daskhpo.store.disk import PARTIAL
from daskhpo.trial import Direction, Fact, Params, ParamValue

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["CurveWriter", "apply_fact", "open_curves"]


class CurveWriter:
    """Write curves; one writer at a time (the campaign's lock).

    What is put is kept in memory until :meth:`flush` rewrites the chunks that it changes; beyond
    that some ten bytes per trial are kept.

    Parameters
    ----------
    path : path
        The Zarr group; made by the first flush, gone on with if it is there.
    metric : str
        The metric that is tuned.
    direction : {"min", "max"}
        Which values of it are good.
    unit : str
        What a step is.
    max_step : int
        How many steps a curve usually has; longer ones make the array grow.
    attrs : mapping, optional
        More attributes to keep, as JSON data.

    Attributes
    ----------
    journal_seq : int
        The last fact that is safely in the store. 0 after a flush that was interrupted: apply
        the whole journal again.

    Raises
    ------
    StoreError
        If an argument is not valid, or what is at the path is damaged or of another version.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     writer = CurveWriter(pathlib.Path(folder, "curves.zarr"), metric="loss", max_step=3)
    ...     writer.put_trial(0, {"lr": 0.1, "opt": "adam"}, state="running")
    ...     writer.put(0, 1, {"loss": 0.5})
    ...     writer.flush(2)
    ...     curves = open_curves(writer.path)
    >>> curves.loss.values.tolist(), curves.param_opt.values.tolist(), curves.attrs["journal_seq"]
    ([[0.5, nan, nan]], ['adam'], 2)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        metric: str,
        direction: str = "min",
        unit: str = "epoch",
        max_step: int = 100,
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        if max_step < 1:
            raise StoreError(f"max_step must be 1 or more; given: {max_step}")
        if direction not in list(Direction):
            raise StoreError(f"direction must be 'min' or 'max'; given: {direction!r}")
        self.path = Path(path)
        self.journal_seq = 0
        self._attrs: dict[str, Any] = {
            **(attrs or {}),
            "metric": metric,
            "direction": str(direction),
            "unit": unit,
        }
        self._max_step = max_step
        self._metrics: dict[str, int] = {metric: 0}  # {name: index}
        self._params: dict[str, None] = {}  # names, in the order in which they were first seen
        self._trials = 0
        # What a fact adds to: per trial, also of trials without unflushed cells.
        self._seconds = array("d")
        self._last_step = array("l")
        self._cells: dict[tuple[int, int, int], float] = {}  # {(metric, trial, column): value}
        self._rows: dict[str, dict[int, float]] = defaultdict(dict)  # {column: {trial: value}}
        self._values: dict[str, dict[int, ParamValue]] = defaultdict(
            dict
        )  # {param: {trial: value}}
        self._arrays: CurveArrays | None = None
        if self.path.exists():
            with explained("open", self.path):
                self._resume()

    def put(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        """Remember what a trial reported at a step (from 1); unknown metrics are added.

        What is no number is left to the journal: it becomes nan here.

        Examples
        --------
        >>> CurveWriter("curves.zarr", metric="loss").put(0, 1, {"loss": 0.5, "accuracy": 0.9})
        """
        if step < 1:
            raise StoreError(f"steps count from 1; trial {number} reported step {step}")
        self._touch(number)
        for name, value in metrics.items():
            index = self._metrics.setdefault(name, len(self._metrics))
            self._cells[index, number, step - 1] = _number(value)
        if step > self._last_step[number]:
            self._last_step[number] = step
            self._rows["last_step"][number] = step

    def put_trial(
        self,
        number: int,
        params: Params | None = None,
        *,
        state: str | None = None,
        attempt: int | None = None,
        seconds: float | None = None,
        parent: int | None = None,
    ) -> None:
        """Remember what is known of a trial; what is None stays as it is.

        Parameters
        ----------
        number : int
            The trial.
        params : mapping, optional
            Its configuration; parameters that are absent or None are inactive.
        state : str, optional
            A :class:`daskhpo.trial.TrialState`.
        attempt : int, optional
            Of its latest job.
        seconds : float, optional
            How long its jobs have held a worker, together.
        parent : int, optional
            The trial from whose checkpoint it began.

        Examples
        --------
        >>> CurveWriter("curves.zarr", metric="loss").put_trial(0, {"lr": 0.1}, state="running")
        """
        self._touch(number)
        for name, value in (params or {}).items():
            if value is not None:
                self._values[name][number] = value
                self._params.setdefault(name)
        if state is not None:
            if state not in STATES:
                raise StoreError(f"state must be one of {', '.join(STATES)}; given: {state!r}")
            self._rows["state"][number] = STATES.index(state)
        if attempt is not None:
            self._rows["attempt"][number] = attempt
        if parent is not None:
            self._rows["parent"][number] = parent
        if seconds is not None:
            self._seconds[number] = seconds
            self._rows["seconds"][number] = seconds

    def add_seconds(self, number: int, seconds: float) -> None:
        """Add a job's time to its trial's.

        Examples
        --------
        >>> CurveWriter("curves.zarr", metric="loss").add_seconds(0, 12.5)
        """
        self._touch(number)
        self.put_trial(number, seconds=self._seconds[number] + seconds)

    def flush(self, seq: int) -> None:
        """Write what was put since the last flush; the last fact in it is ``seq``.

        Commit the journal durably before: curves must never know more than the journal.

        Raises
        ------
        StoreError
            If the disk refuses or the store is damaged; everything put is kept for the next try.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = CurveWriter(pathlib.Path(folder, "curves.zarr"), metric="loss")
        ...     writer.flush(7)
        ...     writer.journal_seq
        7
        """
        with explained("write", self.path):
            arrays = self._arrays or CurveArrays(
                open_group(self.path, mode="a"), usual_steps=self._max_step
            )
            self._arrays = None  # after a failure, what it remembers may not be so
            arrays.group.update_attributes({"schema_version": SCHEMA_VERSION, "flushing": True})
            self._write(arrays)
            arrays.group.update_attributes(self._described(seq))
            self._arrays = arrays
        self.journal_seq = seq
        self._cells.clear()
        self._rows.clear()
        self._values.clear()

    def __repr__(self) -> str:
        return (
            f"<CurveWriter {self.path}: {self._trials} trials, {len(self._cells)} cells to write>"
        )

    def _touch(self, number: int) -> None:
        self._trials = max(self._trials, number + 1)
        if missing := self._trials - len(self._seconds):
            self._seconds.extend([0.0] * missing)
            self._last_step.extend([0] * missing)

    def _resume(self) -> None:
        for leftover in self.path.rglob(f"*{PARTIAL}"):
            leftover.unlink(missing_ok=True)
        group = open_group(self.path, mode="a")
        attrs: dict[str, Any] = group.attrs.asdict()
        known = attrs.get("metrics", [])
        self._metrics = {name: i for i, name in enumerate(dict.fromkeys([*known, *self._metrics]))}
        self._params = dict.fromkeys(attrs.get("params", []))
        if attrs.get("flushing", True):
            return  # some of its chunks are newer than others: journal_seq stays 0
        self.journal_seq = attrs["journal_seq"]
        if trials := attrs["trials"]:
            self._touch(trials - 1)
            self._seconds = array("d", np.asarray(array_of(group, "seconds")[:trials]))
            self._last_step = array("l", np.asarray(array_of(group, "last_step")[:trials]))

    def _write(self, arrays: CurveArrays) -> None:
        arrays.fit(
            metrics=len(self._metrics),
            trials=self._trials,
            steps=max((column for _, _, column in self._cells), default=0) + 1,
        )
        for param in self._params:
            arrays.write_param(param, self._values.get(param, {}))
        for name, rows in self._rows.items():
            arrays.write_rows(name, rows)
        arrays.write_cells(self._cells)

    def _described(self, seq: int) -> dict[str, Any]:
        """Give the group's attributes after a flush."""
        return {
            **self._attrs,
            "metrics": list(self._metrics),
            "params": list(self._params),
            "states": STATES,
            "trials": self._trials,
            "journal_seq": seq,
            "flushing": False,
        }


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def apply_fact(writer: CurveWriter, fact: Fact) -> None:
    """Carry one fact of the journal over into the curves.

    The one place that knows what facts mean for curves: live writing and rebuilding use it.
    Facts that the writer has already (``seq`` up to ``journal_seq``) change nothing.

    Parameters
    ----------
    writer : CurveWriter
        What to change; flush it afterwards.
    fact : dict
        A fact, with its ``seq`` where it has one.

    Examples
    --------
    >>> writer = CurveWriter("curves.zarr", metric="loss")
    >>> apply_fact(writer, {"kind": "offered", "number": 0, "params": {"lr": 0.1}})
    >>> apply_fact(writer, {"kind": "reported", "number": 0, "step": 1, "metrics": {"loss": 0.5}})
    >>> writer
    <CurveWriter curves.zarr: 1 trials, 1 cells to write>
    """
    if fact.get("seq", math.inf) <= writer.journal_seq:
        return
    match fact["kind"]:
        case "offered":
            writer.put_trial(fact["number"], fact["params"])
        case "bred":
            writer.put_trial(fact["number"], fact["params"], parent=fact["parent"])
        case "asked":
            writer.put_trial(fact["number"], state="running", attempt=fact["attempt"])
        case "reported":
            writer.put(fact["number"], fact["step"], fact["metrics"])
        case "ended":
            writer.put_trial(fact["number"], state=fact.get("state"), attempt=fact.get("attempt"))
            writer.add_seconds(fact["number"], fact.get("seconds") or 0.0)


def open_curves(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a curve store into memory, also one that is being written.

    Parameters
    ----------
    path : path
        The ``curves.zarr`` of a campaign, or what
        :func:`daskhpo.store.importer.import_table` made.

    Returns
    -------
    xarray.Dataset
        One variable per metric (trial, step), nan where nothing was reported; per trial
        ``state`` (text, empty before it first ran), ``attempt`` (-1 before), ``last_step``,
        ``seconds`` and ``param_<name>`` (numbers, or objects with None where inactive), and
        ``parent`` (-1 for none) where a trial began from another's checkpoint. A metric that has
        the name of one of these, or of a dimension, is called ``metric_<name>``.

    Raises
    ------
    StoreError
        If there is none, or it is damaged or of another version.

    Notes
    -----
    Chunks of a store that is just being written can be of different ages; the attribute
    ``flushing`` is then true.

    Examples
    --------
    >>> open_curves("runs/nowhere/curves.zarr")
    Traceback (most recent call last):
    daskhpo.exceptions.StoreError: there are no curves at runs/nowhere/curves.zarr: check the \
path; in a new campaign they appear with the first reports
    """
    import xarray as xr  # brings pandas: 40 MB that a running tuner can do without

    path = Path(path)
    with explained("read", path):
        attrs: dict[str, Any] = {}
        if path.exists():
            group = open_group(path, mode="r")
            attrs = group.attrs.asdict()
        if "trials" not in attrs:  # the first flush reveals at its end what it has made
            raise StoreError(
                f"there are no curves at {path}: check the path; in a new campaign they appear "
                "with the first reports"
            )
        trials = attrs.pop("trials")
        values = np.asarray(array_of(group, "curves")[:, :trials])
        names = [*FIXED, *(name for name in BRED if name in group)]
        columns = {name: np.asarray(array_of(group, name)[:trials]) for name in names}
        columns["state"] = np.array([*attrs.pop("states"), ""])[columns["state"]]
        for param in attrs["params"]:
            column = array_of(group, column_name(param))
            content = np.asarray(column[:trials])
            choices: Any = column.attrs.get("choices")
            columns[f"param_{param}"] = content if choices is None else decode(content, choices)
    taken = {*columns, "trial", "step"}
    names = [f"metric_{name}" if name in taken else name for name in attrs["metrics"]]
    return xr.Dataset(
        {name: (("trial", "step"), values[index]) for index, name in enumerate(names)}
        # The fast path leaves objects alone; otherwise pandas turns the None of texts into nan.
        | {name: xr.Variable("trial", c, fastpath=True) for name, c in columns.items()},
        coords={"trial": np.arange(trials), "step": np.arange(1, values.shape[2] + 1)},
        attrs=attrs,
    )
