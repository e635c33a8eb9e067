"""Schedulers and samplers compared on stored curves: one table per set and number of workers."""

from __future__ import annotations

import csv
import json
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from daskhpo.analysis.compare_plan import Plan
from daskhpo.analysis.compare_rows import Best, Row, best_ladder, label_of, row_of, rows_text
from daskhpo.analysis.compare_runs import RANDOM, Bench, Record, Role, run_tasks, tasks_of
from daskhpo.exceptions import CampaignError
from daskhpo.simulate.problem import Problem
from daskhpo.store.disk import disk_error
from daskhpo.wording import count

__all__ = ["Comparison", "Table", "compare"]


@dataclass(frozen=True, slots=True)
class Table:
    """What one set shows at one number of workers; ``best`` is the ladder in hindsight."""

    problem: Problem
    workers: int
    rows: tuple[Row, ...]
    best: Best | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of a plan.

    Parameters
    ----------
    plan : Plan
        What was compared.
    problems : sequence of Problem
        On which sets.
    records : sequence of Record
        Every campaign, in the order of the plan.
    tables : sequence of Table
        Set by set, and by number of workers.
    """

    plan: Plan
    problems: Sequence[Problem]
    records: Sequence[Record]
    tables: Sequence[Table]

    def of(self, problem: Problem, *roles: Role) -> dict[str, list[Record]]:
        """The campaigns on a set, ``{scheduler and sampler: records}``, in the plan's order."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            if self.problems[record.task.problem] is problem and record.task.role in roles:
                found.setdefault(label_of(record), []).append(record)
        return found

    def to_text(self) -> str:
        """Write the tables for a terminal."""
        lines: list[str] = []
        for problem in self.problems:
            lines += [self._heading(problem), ""]
            for table in self.tables:
                if table.problem is problem:
                    lines.append(count(table.workers, "worker"))
                    lines += rows_text(table.rows, problem.unit)
                    lines += [table.best.sentence(), ""] if table.best else [""]
        return "\n".join([*lines, *_legend(self.plan)])

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON data; what has no value is None."""
        return {
            "plan": self.plan.to_mapping(),
            "sets": [
                {
                    "name": problem.name,
                    "metric": problem.metric,
                    "direction": str(problem.direction),
                    "unit": problem.unit,
                    "curves": len(problem),
                    "max_step": problem.max_step,
                    "trials": self.plan.draws(problem),
                    "tables": [_plain(t) for t in self.tables if t.problem is problem],
                }
                for problem in self.problems
            ],
        }

    def write(self, out: Path) -> list[Path]:
        """Write ``results.csv``, a row per campaign, and ``results.json``, the tables.

        Raises
        ------
        StoreError
            If ``out`` cannot be written.
        """
        runs, tables = out / "results.csv", out / "results.json"
        try:
            out.mkdir(parents=True, exist_ok=True)
            with open(runs, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                numbers = self._numbers()
                writer.writerow([*_TASK, *numbers])
                writer.writerows(self._cells(record, numbers) for record in self.records)
            content = json.dumps(self.to_dict(), indent=2, allow_nan=False)
            tables.write_text(content + "\n", encoding="utf-8")
        except OSError as error:
            raise disk_error("write", out, error) from error
        return [runs, tables]

    def _heading(self, problem: Problem) -> str:
        plan = self.plan
        return (
            f"{problem.name}: {len(problem):,} curves of {problem.metric} ({problem.direction}), "
            f"{problem.max_step} {problem.unit}s; {count(plan.draws(problem), 'trial')}, "
            f"{count(plan.seeds, 'seed')}"
        )

    def _numbers(self) -> list[str]:
        """Columns of ``results.csv``; those on advice only where there is an adviser."""
        advised = any(record.stopped is not None for record in self.records)
        return [name for name in _NUMBERS if advised or name not in ("stopped", "wrong")]

    def _cells(self, record: Record, numbers: Sequence[str]) -> list[Any]:
        task = record.task
        problem = self.problems[task.problem]
        sampler = task.sampler.name if task.sampler else ""
        chosen = [problem.name, task.role, task.scheduler.name, sampler, task.workers, task.trials]
        return [*chosen, *(getattr(record, name) for name in numbers)]


_TASK = ("set", "role", "scheduler", "sampler", "workers", "trials")
_NUMBERS = [f.name for f in fields(Record) if f.name not in ("task", "history")]


def compare(
    problems: Sequence[Problem],
    plan: Plan,
    *,
    jobs: int = 1,
    figures: bool = False,
    watch: Callable[[int, int], object] | None = None,
) -> Comparison:
    """Simulate every campaign of a plan on every set of curves.

    Use it to choose a scheduler for problems like those that the curves come from, or to see
    whether a new one is better than those that are there. Everything is made and checked once
    before the first campaign runs.

    Parameters
    ----------
    problems : sequence of Problem
        The sets.
    plan : Plan
        The grid of schedulers, samplers, workers and seeds.
    jobs : int
        Processes; the result does not depend on it.
    figures : bool
        Whether to run also what only :func:`~daskhpo.analysis.figures.draw` needs.
    watch : callable, optional
        Told how many kinds of campaigns are done, and of how many.

    Returns
    -------
    Comparison

    Raises
    ------
    CampaignError, DataError, SchedulerError
        If plan and sets do not go together: names the set, the entry and what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> curves = np.linspace(1.0, 0.1, 9) + np.arange(20)[:, None] / 20
    >>> problem = Problem("made up", "loss", [{"x": i / 20} for i in range(20)], curves)
    >>> plan = Plan.from_mapping({
    ...     "schedulers": ["fifo", "asha(eta=3)"], "workers": 4, "seeds": 3, "trials": 20})
    >>> found = compare([problem], plan)
    >>> [(row.label, row.epochs, row.rank_median) for row in found.tables[0].rows]
    [('fifo', 180.0, 0.0), ('asha(eta=3)', 54.0, 0.0)]
    """
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise CampaignError(f"jobs={jobs!r}: must be an integer of at least 1")
    if not problems:
        raise CampaignError("curves: none given; name at least one set")
    slugs = [slug(problem) for problem in problems]
    for problem, name in zip(problems, slugs, strict=True):
        if slugs.count(name) > 1:
            raise CampaignError(f"two sets are called {problem.name!r}: rename one of them")
        plan.check(problem)
    bench = Bench(problems, plan)
    records = run_tasks(bench, tasks_of(problems, plan, figures=figures), jobs=jobs, watch=watch)
    tables = [
        _table(plan, place, problem, workers, records)
        for place, problem in enumerate(problems)
        for workers in plan.workers
    ]
    return Comparison(plan, problems, records, tables)


def slug(problem: Problem) -> str:
    """What files about a set are called.

    Examples
    --------
    >>> slug(Problem("LSTM (PTB)", "loss", [{}], [[1.0]]))
    'LSTM-PTB'
    """
    return re.sub(r"[^\w.]+", "-", problem.name).strip("-") or "set"


def _table(
    plan: Plan, place: int, problem: Problem, workers: int, records: Sequence[Record]
) -> Table:
    here = [r for r in records if r.task.problem == place and r.task.workers == workers]
    kinds = _grouped(here, "table")
    best = None
    if plan.hindsight is not None:
        first = next(k for k in kinds.values() if k[0].task.scheduler.name == plan.hindsight.like)
        wanted = row_of(first, (), None).rank_median
        ladders = list(_grouped(here, "hindsight").values())
        best = best_ladder(ladders, plan.hindsight.like, wanted)
    rows = []
    for kind in kinds.values():
        task = kind[0].task
        base = [
            record
            for other in kinds.values()
            for record in other
            if record.task.scheduler.name == plan.baseline and record.task.sampler == task.sampler
        ]
        rows.append(row_of(kind, base, best))
    return Table(problem, workers, tuple(rows), best)


def _grouped(records: Sequence[Record], role: Role) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.task.role == role:
            found.setdefault(label_of(record), []).append(record)
    return found


def _plain(table: Table) -> dict[str, Any]:
    best = None
    if table.best is not None:
        items = asdict(table.best).items()
        best = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in items}
    rows = [row.to_dict() for row in table.rows]
    return {"workers": table.workers, "rows": rows, "hindsight": best}


def _legend(plan: Plan) -> list[str]:
    """What the columns mean, where that is not plain."""
    lines = [
        "rank: how many configurations end better than the one found, of those that were drawn, or "
        f"of {RANDOM:,} random ones where the source is not rows; best: share of seeds with rank "
        "0; regret: mean distance to the best of them; value: median",
        "top 1 %: median time from which on the incumbent is as good as the best 1 % of them; "
        "times in median steps, start-ups and checkpoints included",
    ]
    if any(entry.adviser(seed=0) is not None for entry in plan.schedulers):
        lines.append(
            "stopped: trials that advice took off on their way to a milestone, mean; wrong: share "
            "of them that would have gone on there, over all seeds"
        )
    if plan.baseline:
        lines.append(f"faster: how many times shorter that is than for {plan.baseline}")
    if plan.hindsight:
        lines.append(
            "hindsight: steps over those of the best hand-tuned ladder; *: at a worse median rank "
            f"than {plan.hindsight.like}"
        )
    return [line for text in lines for line in textwrap.wrap(text, 100, subsequent_indent="  ")]
