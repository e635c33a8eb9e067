"""The schedule of parameters that led to a trial: what population based training finds."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daskhpo.analysis.reading import Reading
from daskhpo.exceptions import CampaignError
from daskhpo.store.disk import disk_error
from daskhpo.study import Study
from daskhpo.trial import Params, Trial
from daskhpo.wording import listing, number, value

__all__ = ["Stretch", "ancestry", "schedule", "to_csv", "to_table"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps that were trained with the same parameters.

    Parameters
    ----------
    from_step, to_step : int
        The first and the last of these steps.
    params : mapping
        What they were trained with.
    trial : int
        Who trained them.
    value : float
        The metric at ``to_step``, as reported; nan where nothing was.
    """

    from_step: int
    to_step: int
    params: Params
    trial: int
    value: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; what has no value is None."""
        return {
            "from_step": self.from_step,
            "to_step": self.to_step,
            "trial": self.trial,
            "value": self.value if math.isfinite(self.value) else None,
            "params": dict(self.params),
        }


def schedule(source: Study | Reading, number: int | None = None) -> list[Stretch]:
    """Which parameters a trial's weights were trained with, step by step, back to step 1.

    Use it after population based training: a model that is trained from scratch with this
    schedule goes the way that the best one went. Any other trial has one stretch.

    Parameters
    ----------
    source : Study or Reading
        The campaign. A reading goes through the journal twice and knows every value; a study
        remembers those that its trials reported last, and their best ones.
    number : int, optional
        The trial; by default the incumbent, up to the step at which it was best.

    Returns
    -------
    list of Stretch
        The first steps first; empty if the trial has reported nothing yet.

    Raises
    ------
    CampaignError
        If no such trial has begun, or none has reported where the incumbent is asked for.

    Notes
    -----
    A child begins at its parent's checkpoint of the step that the journal names. Where that was
    lost (a worker died while it saved), the child trained some steps of its parent's again.

    Examples
    --------
    >>> from daskhpo.samplers import Random
    >>> from daskhpo.schedulers import PBT
    >>> from daskhpo.space import Float, Space
    >>> space = Space(lr=Float(0.0, 1.0))
    >>> study = Study(space, PBT(4, interval=2, population=2, quantile=0.5, perturb=["lr"]),
    ...               Random(space), metric="loss")
    >>> for loss in (0.1, 0.9):                        # trial 1 is worse, and is replaced
    ...     job = study.ask()
    ...     decision = study.report(job.number, 0, 2, {"loss": loss}).decision
    ...     _ = study.tell(job.number, 0, "paused" if decision == "pause" else "stopped")
    >>> _ = study.ask(), study.report(2, 0, 4, {"loss": 0.05})
    >>> [(row.from_step, row.to_step, row.trial, row.value) for row in schedule(study)]
    [(1, 2, 0, 0.1), (3, 4, 2, 0.05)]
    """
    study = source if isinstance(source, Study) else source.catch_up().study
    if number is not None:
        line = ancestry(study, number)
        last = line[-1].step
    elif study.best is not None:
        line = ancestry(study, study.best.number)
        last = line[-1].best_step
    else:
        raise CampaignError("no trial has reported yet, so there is no best one")
    ends = [*(heir.origin for heir in line[1:]), last]  # where each stretch ends
    wanted = {(trial.number, end) for trial, end in zip(line, ends, strict=True)}
    values = _remembered(line) if isinstance(source, Study) else _reported(source, wanted)
    return [
        Stretch(
            trial.origin + 1,
            end,
            dict(trial.params),
            trial.number,
            values.get((trial.number, end), math.nan),
        )
        for trial, end in zip(line, ends, strict=True)
        if end > trial.origin
    ]


def ancestry(study: Study, number: int) -> list[Trial]:
    """A trial and those whose checkpoints it goes back to, the oldest first.

    Raises
    ------
    CampaignError
        If no such trial has begun.
    """
    if number not in study.trials:
        raise CampaignError(
            f"trial {number}: it has not begun; {len(study.trials)} trials have begun so far"
        )
    line = [study.trials[number]]
    while (parent := line[-1].parent) is not None:
        line.append(study.trials[parent])
    return line[::-1]


def _remembered(line: Iterable[Trial]) -> dict[tuple[int, int], float]:
    """{(number, step): value} as far as trials know it themselves."""
    found: dict[tuple[int, int], float] = {}
    for trial in line:
        found[trial.number, trial.step] = trial.value
        found[trial.number, trial.best_step] = trial.best_value
    return found


def _reported(reading: Reading, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """{(number, step): value} of the reports that are wanted, from the journal."""
    found: dict[tuple[int, int], float] = {}
    for fact in reading.directory.facts():
        if fact["kind"] == "reported" and (fact["number"], fact["step"]) in wanted:
            metrics = fact["metrics"]
            found[fact["number"], fact["step"]] = metrics.get(reading.campaign.metric, math.nan)
    return found


# ---------------------------------------------------------------------- for people


def to_table(rows: Sequence[Stretch], *, metric: str, unit: str) -> str:
    """Write a schedule for a terminal: what changed in columns, what did not below.

    Examples
    --------
    >>> rows = [Stretch(1, 10, {"lr": 0.1, "width": 64}, 3, 0.5),
    ...         Stretch(11, 20, {"lr": 0.08, "width": 64}, 7, 0.25)]
    >>> print(to_table(rows, metric="loss", unit="epoch"))
       epochs  trial  loss    lr
         1-10      3   0.5   0.1
        11-20      7  0.25  0.08
    <BLANKLINE>
    the same throughout
      width  64
    """
    changing = [name for name in _names(rows) if len({repr(r.params.get(name)) for r in rows}) > 1]
    table = [[f"{unit}s", "trial", metric, *changing]]
    for row in rows:
        cells = [f"{row.from_step}-{row.to_step}", str(row.trial), number(row.value)]
        table.append(cells + [value(row.params.get(name, "-")) for name in changing])
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    widths[0] = max(widths[0], 9)
    lines = [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        for line in table
    ]
    constant = [name for name in _names(rows) if name not in changing]
    if constant:
        pairs = [(name, value(rows[0].params[name])) for name in constant]
        lines += ["", "the same throughout", *listing(pairs, indent=2)]
    return "\n".join(lines)


def to_csv(rows: Sequence[Stretch], path: str | os.PathLike[str]) -> Path:
    """Write a schedule as a table: a row per stretch, a column per parameter.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    target, names = Path(path), _names(rows)
    try:
        with open(target, "w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(["from_step", "to_step", "trial", "value", *names])
            for row in rows:
                given: Mapping[str, Any] = row.params
                cells = [row.from_step, row.to_step, row.trial, row.value]
                lines.writerow([*cells, *(given.get(name, "") for name in names)])
    except OSError as error:
        raise disk_error("write", target, error) from error
    return target


def _names(rows: Sequence[Stretch]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.params))
