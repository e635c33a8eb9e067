"""Tables of learning curves from elsewhere, as a curve store of ours."""

from __future__ import annotations

import csv
import difflib
import math
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from daskhpo.exceptions import DataError
from daskhpo.predictors import cleaning
from daskhpo.store.curves import CurveWriter
from daskhpo.store.disk import PARTIAL, disk_error
from daskhpo.trial import Direction, ParamValue

__all__ = ["import_table"]

_MISSING = frozenset({"", "na", "nan", "n/a", "null", "none"})
_BATCH = 1024  # trials between two flushes


def import_table(
    csv_path: str | os.PathLike[str],
    *,
    params: Sequence[str],
    metric: str,
    mode: str = "min",
    out: str | os.PathLike[str],
    name: str | None = None,
    clean: bool = False,
) -> Path:
    """Turn a table with one learning curve per row into a curve store.

    When to use it: to simulate schedulers on, or train predictors with, curves that others
    published.

    Parameters
    ----------
    csv_path : path
        A comma-separated table with a header, UTF-8.
    params : sequence of str
        Columns that hold the configuration. A column with only numbers becomes numbers, one with
        only ``true`` and ``false`` booleans, any other texts; empty cells are inactive.
    metric : str
        Pattern of the columns that hold the curve, such as ``"loss_{step}"``. They are ordered by
        the number in place of ``{step}``; the lowest becomes step 1.
    mode : {"min", "max"}
        Which values are good.
    out : path
        The store to make; must not exist.
    name : str, optional
        A name for people; by default that of the table.
    clean : bool
        Leave out rows whose curve is incomplete or holds a restart from scratch, and those that
        repeat a configuration, see :func:`daskhpo.predictors.cleaning.clean`.

    Returns
    -------
    Path
        ``out``. :func:`daskhpo.store.curves.open_curves` opens it; its attributes ``steps`` hold
        the numbers in the original column names, ``source`` the table and, after cleaning,
        ``dropped`` the rows that went, ``{reason: how many}``.

    Raises
    ------
    DataError
        If the table is not as described, naming the column and the line; or nothing is left
        after cleaning.
    StoreError
        If ``out`` cannot be written.

    Notes
    -----
    Empty and ``nan`` cells are missing. A trial whose curve reaches the last step is completed,
    another one stopped, and its ``last_step`` is the last step that is there.

    Examples
    --------
    >>> import tempfile
    >>> from daskhpo.store.curves import open_curves
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder, "table.csv")
    ...     _ = table.write_text("lr,opt,acc_1,acc_2\\n0.1,adam,0.5,0.7\\n0.2,sgd,0.4,\\n")
    ...     out = import_table(
    ...         table, params=["lr", "opt"], metric="acc_{step}", mode="max", out=Path(folder, "c")
    ...     )
    ...     curves = open_curves(out)
    >>> curves.acc.values.tolist(), curves.state.values.tolist(), curves.param_opt.values.tolist()
    ([[0.5, 0.7], [0.4, nan]], ['completed', 'stopped'], ['adam', 'sgd'])
    """
    source, out = Path(csv_path), Path(out)
    if out.exists():
        raise DataError(f"out: {out} exists already; choose another path or remove it")
    table = _read(source, params, metric)
    attrs: dict[str, Any] = {
        "name": name or source.stem,
        "source": source.name,
        "steps": table.steps,
    }
    if clean:
        table, attrs["dropped"] = _cleaned(source, table, mode)
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    writer = CurveWriter(
        partial,
        metric=table.metric,
        direction=mode,
        unit="step",
        max_step=len(table.steps),
        attrs=attrs,
    )
    for number, curve in enumerate(table.curves):
        point = {param: column[number] for param, column in table.params.items()}
        last = max((i for i, value in enumerate(curve, 1) if not math.isnan(value)), default=0)
        done = last == len(table.steps)
        writer.put_trial(number, point, state="completed" if done else "stopped", attempt=0)
        for step, value in enumerate(curve[:last], 1):
            writer.put(number, step, {table.metric: value})
        if number % _BATCH == _BATCH - 1:
            writer.flush(0)
    writer.flush(0)
    try:
        partial.rename(out)
    except OSError as error:
        raise disk_error("write", out, error) from error
    return out


@dataclass(frozen=True, slots=True)
class _Table:
    """A table as it was read: ``params`` by column, ``curves`` by row, ``steps`` as numbered."""

    metric: str
    steps: list[int]
    params: dict[str, list[ParamValue]]
    curves: list[list[float]]


def _read(path: Path, params: Sequence[str], metric: str) -> _Table:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            if repeated := {column for column in header if header.count(column) > 1}:
                raise DataError(f"{path}: the column {sorted(repeated)[0]!r} occurs twice")
            steps = _steps(path, header, metric)
            places = [_place(path, header, param) for param in params]
            texts: list[list[str]] = [[] for _ in params]
            curves: list[list[float]] = []
            for row in filter(None, rows):  # a blank line is no row
                if len(row) != len(header):
                    raise DataError(
                        f"{path}, line {rows.line_num}: {len(row)} cells, the header has "
                        f"{len(header)}"
                    )
                for column, place in zip(texts, places, strict=True):
                    column.append(row[place].strip())
                where = (path, rows.line_num)
                curves.append([_number(row[p], header[p], where) for p in steps.values()])
    except OSError as error:
        raise disk_error("read", path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no comma-separated UTF-8 table: {error}") from error
    if not curves:
        raise DataError(f"{path} has a header but no rows")
    columns = {param: _values(column) for param, column in zip(params, texts, strict=True)}
    return _Table(_metric_name(metric), list(steps), columns, curves)


def _cleaned(path: Path, table: _Table, mode: str) -> tuple[_Table, dict[str, int]]:
    """The rows that can be trusted and say something new; and how many went for which reason."""
    found = cleaning.clean(table.params, table.curves, sign=Direction(mode).sign)
    if not found.keep:
        counts = ", ".join(f"{rows} {reason}" for reason, rows in found.dropped.items())
        raise DataError(f"{path}: no row is left after cleaning ({counts})")
    params = {name: [column[row] for row in found.keep] for name, column in table.params.items()}
    curves = [table.curves[row] for row in found.keep]
    return replace(table, params=params, curves=curves), found.dropped


def _metric_name(pattern: str) -> str:
    """``loss`` for ``loss_{step}``."""
    return pattern.replace("{step}", "").strip("_-. ") or "value"


def _steps(path: Path, header: Sequence[str], pattern: str) -> dict[int, int]:
    """Find the columns of the curve: ``{number in the name: place in the row}``, in order."""
    if pattern.count("{step}") != 1:
        raise DataError(f"metric must contain {{step}} once, such as 'loss_{{step}}': {pattern!r}")
    before, after = map(re.escape, pattern.split("{step}"))
    found = {
        int(match[1]): place
        for place, column in enumerate(header)
        if (match := re.fullmatch(f"{before}([0-9]+){after}", column))
    }
    if not found:
        near = _nearest(pattern.replace("{step}", "0"), header)
        raise DataError(f"{path} has no column like {pattern!r}{near}")
    return dict(sorted(found.items()))


def _place(path: Path, header: Sequence[str], column: str) -> int:
    if column not in header:
        raise DataError(f"{path} has no column {column!r}{_nearest(column, header)}")
    return header.index(column)


def _nearest(name: str, header: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, header, n=3, cutoff=0.5) or list(header[:5])
    return f"; there are {', '.join(map(repr, near))}" if near else "; it has no header"


def _number(text: str, column: str, where: tuple[Path, int]) -> float:
    try:
        return math.nan if text.strip().lower() in _MISSING else float(text)
    except ValueError:
        path, line = where
        raise DataError(f"{path}, line {line}, column {column!r}: {text!r} is no number") from None


def _values(texts: Sequence[str]) -> list[ParamValue]:
    """One column of parameters as what it seems to be: numbers, booleans or texts."""
    given = {text for text in texts if text}
    if {text.lower() for text in given} <= {"true", "false"}:
        return [text.lower() == "true" if text else None for text in texts]
    try:
        numbers = [_whole(float(text)) if text else None for text in texts]
    except ValueError:
        return [text or None for text in texts]
    return [None if number is None or math.isnan(number) else number for number in numbers]


def _whole(number: float) -> float:
    return int(number) if number.is_integer() else number
