"""The table of a comparison: what each scheduler found, and what that cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from daskhpo.analysis.compare_runs import Record
from daskhpo.wording import number

__all__ = ["Best", "Row", "best_ladder", "label_of", "row_of", "rows_text"]


@dataclass(frozen=True, slots=True)
class Row:
    """One scheduler with one sampler, over all seeds. Times are in units of one median step.

    Parameters
    ----------
    label : str
        Scheduler, and sampler where there is one.
    seeds : int
        Campaigns behind the row.
    epochs, epochs_low, epochs_high : float
        Steps trained: median and quartiles.
    share : float
        Median share of training every trial to its end.
    rank_median, rank_mean : float
        Of the configuration found, 0 for the best.
    found_best : float
        Share of the seeds that found the best.
    regret : float
        Mean; inf where a campaign found nothing.
    value : float
        Median final value of what was found, as reported.
    reached : float
        Median time to a configuration of the best 1 %; inf where most never had one.
    faster : float
        How many times shorter that is than the baseline's median: 0 and inf where only the
        baseline or only this one had such a time, nan if neither had.
    makespan, idle, checkpoints : float
        Medians; ``idle`` as a share of the workers' time.
    hindsight : float
        ``epochs`` divided by those of the best hand-tuned ladder; nan if it was not asked for.
    attained : bool
        Whether ``rank_median`` is as good as it was asked of that ladder.
    stopped : float
        Trials that advice has stopped, mean; nan without an adviser.
    wrong : float
        Share of these, over all seeds, that would have been kept; nan where nobody was stopped.
    """

    label: str
    seeds: int
    epochs: float
    epochs_low: float
    epochs_high: float
    share: float
    rank_median: float
    rank_mean: float
    found_best: float
    regret: float
    value: float
    reached: float
    faster: float
    makespan: float
    idle: float
    checkpoints: float
    hindsight: float = math.nan
    attained: bool = True
    stopped: float = math.nan
    wrong: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON data; what has no value is None, and there is no word of no adviser."""
        silent = ("stopped", "wrong") if math.isnan(self.stopped) else ()
        plain = [(key, value) for key, value in asdict(self).items() if key not in silent]
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in plain}


@dataclass(frozen=True, slots=True)
class Best:
    """The best hand-tuned ladder in hindsight: the cheapest whose median rank is good enough.

    ``label`` is empty where none attained the rank ``wanted``, the median of ``like``.
    """

    like: str
    wanted: float
    label: str = ""
    epochs: float = math.nan
    rank: float = math.nan

    def sentence(self) -> str:
        """Say which it is."""
        aim = f"a median rank of {self.wanted:g}, that of {self.like}"
        if not self.label:
            return f"in hindsight: no fixed ladder of the grid attains {aim}"
        return (
            f"in hindsight: the cheapest fixed ladder with at least {aim}, is {self.label} with "
            f"{self.epochs:,.0f} (rank {self.rank:g})"
        )


def label_of(record: Record) -> str:
    """How a campaign's scheduler and sampler are called.

    Examples
    --------
    >>> from daskhpo.analysis.compare_entries import Entry
    >>> from daskhpo.analysis.compare_runs import Task
    >>> task = Task("table", 0, Entry("asha", {}), Entry("bayes", {}), workers=8, trials=9)
    >>> nan = math.nan
    >>> label_of(Record(task, 0, 9, nan, 0, *[nan] * 8, 0, 9, nan))
    'asha + bayes'
    """
    task = record.task
    return task.scheduler.name + (f" + {task.sampler.name}" if task.sampler else "")


def row_of(records: Sequence[Record], baseline: Sequence[Record], best: Best | None) -> Row:
    """Sum up the campaigns of one kind; ``baseline`` are those that it is measured against."""
    epochs = np.array([r.trained for r in records], float)
    ranks = np.array([r.rank for r in records], float)
    low, median, high = np.quantile(epochs, (0.25, 0.5, 0.75)).tolist()
    alive = [r.busy + r.idle for r in records]
    reached, base = _median_time(records), _median_time(baseline)
    stopped = sum(r.stopped or 0 for r in records)
    advised = records[0].stopped is not None
    return Row(
        label=label_of(records[0]),
        seeds=len(records),
        epochs=median,
        epochs_low=low,
        epochs_high=high,
        share=_median([r.share for r in records]),
        rank_median=_median(ranks.tolist()),
        rank_mean=float(ranks.mean()),
        found_best=float((ranks == 0).mean()),
        regret=float(np.mean([r.regret for r in records])),
        value=_median([r.value for r in records]),
        reached=reached,
        faster=base / reached if math.isfinite(base) or math.isfinite(reached) else math.nan,
        makespan=_median([r.makespan for r in records]),
        idle=_median([r.idle / t if t else 0.0 for r, t in zip(records, alive, strict=True)]),
        checkpoints=_median([float(r.checkpoints) for r in records]),
        hindsight=median / best.epochs if best is not None else math.nan,
        attained=best is None or _median(ranks.tolist()) <= best.wanted,
        stopped=stopped / len(records) if advised else math.nan,
        wrong=sum(r.wrong or 0 for r in records) / stopped if stopped else math.nan,
    )


def best_ladder(ladders: Sequence[Sequence[Record]], like: str, wanted: float) -> Best:
    """Find the cheapest of the hand-tuned ladders whose median rank is at most ``wanted``."""
    good = []
    for records in ladders:
        rank = _median([float(r.rank) for r in records])
        if rank <= wanted:
            good.append((_median([float(r.trained) for r in records]), rank, label_of(records[0])))
    if not good:
        return Best(like, wanted)
    epochs, rank, label = min(good)
    return Best(like, wanted, label, epochs, rank)


def rows_text(rows: Sequence[Row], unit: str) -> list[str]:
    """Lay the rows out for a terminal; columns that say nothing in any row are left out."""
    columns = [column for column in _columns(unit) if any(column[1](row) != "-" for row in rows)]
    lines = []
    wide = max(len("scheduler"), *(len(row.label) for row in rows))
    widths = [max(len(head), *(len(cell(row)) for row in rows)) for head, cell in columns]
    heads = [head.rjust(width) for (head, _), width in zip(columns, widths, strict=True)]
    lines.append("  ".join(["scheduler".ljust(wide), *heads]))
    for row in rows:
        cells = [cell(row).rjust(width) for (_, cell), width in zip(columns, widths, strict=True)]
        lines.append("  ".join([row.label.ljust(wide), *cells]).rstrip())
    return lines


def _columns(unit: str) -> list[tuple[str, Any]]:
    """Heads, and what stands below them."""
    return [
        (
            f"{unit}s [quartiles]",
            lambda r: f"{r.epochs:,.0f} [{r.epochs_low:,.0f}, {r.epochs_high:,.0f}]",
        ),
        ("share", lambda r: f"{r.share:.0%}"),
        ("rank: median, mean", lambda r: f"{r.rank_median:g}, {r.rank_mean:.2f}"),
        ("best", lambda r: f"{r.found_best:.0%}"),
        ("regret", lambda r: f"{r.regret:.3g}" if math.isfinite(r.regret) else "-"),
        ("value", lambda r: number(r.value)),
        ("top 1 %", lambda r: "never" if math.isinf(r.reached) else f"{r.reached:,.0f}"),
        ("faster", lambda r: f"{r.faster:.1f}x" if 0 < r.faster < math.inf else "-"),
        ("makespan", lambda r: f"{r.makespan:,.0f}"),
        ("idle", lambda r: f"{r.idle:.0%}"),
        ("saves", lambda r: f"{r.checkpoints:,.0f}"),
        ("stopped", lambda r: f"{r.stopped:,.0f}" if math.isfinite(r.stopped) else "-"),
        ("wrong", lambda r: f"{r.wrong:.1%}" if math.isfinite(r.wrong) else "-"),
        ("hindsight", _ratio),
    ]


def _ratio(row: Row) -> str:
    """How much dearer than the best ladder; a star where the rank is not as good."""
    if not math.isfinite(row.hindsight):
        return "-"
    return f"{row.hindsight:.2f}x" + (" " if row.attained else "*")


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _median_time(records: Sequence[Record]) -> float:
    """Median of times of which some may be inf: the upper one of two, never their mean."""
    times = sorted(record.reached for record in records)
    return times[len(times) // 2] if times else math.nan
