"""The tables of an evaluation of predictors, the paper's own rows beside ours where it has any."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from daskhpo.analysis.prediction import Protocol
from daskhpo.analysis.prediction_models import Model
from daskhpo.analysis.prediction_runs import Evaluation, Result
from daskhpo.analysis.prediction_scores import Score
from daskhpo.simulate.problem import Problem
from daskhpo.store.disk import disk_error
from daskhpo.wording import number

__all__ = [
    "PUBLISHED",
    "Cells",
    "Published",
    "Spread",
    "is_papers",
    "laid_out",
    "to_dict",
    "to_text",
    "write",
]


@dataclass(frozen=True, slots=True)
class Spread:
    """Best, worst, mean and standard deviation of a score over splits, and how many there are."""

    best: float
    worst: float
    mean: float
    std: float
    trainings: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up; scores that are nan are left out."""
        finite = np.array([value for value in values if math.isfinite(value)])
        if not len(finite):
            return cls(math.nan, math.nan, math.nan, math.nan, len(values))
        best, worst = float(finite.max()), float(finite.min())
        return cls(best, worst, float(finite.mean()), float(finite.std()), len(values))


@dataclass(frozen=True, slots=True)
class Published:
    """A row of the paper's table: what it is called there, its scores, and what trained it."""

    name: str
    spread: Spread
    backend: str


# Table 2 of Wulff et al., arXiv:2303.15053; by what ours is called that does the same.
PUBLISHED = {
    "svr": Published("SVR", Spread(0.959, 0.318, 0.889, 0.050, 1000), ""),
    "qubo-sa": Published("Sim-QSVR", Spread(0.949, 0.383, 0.901, 0.045, 100), "simulated"),
    "qpu": Published("QSVR", Spread(0.948, 0.742, 0.880, 0.056, 10), "quantum annealer"),
    "ensemble": Published(
        "QSVR Ensemble", Spread(0.927, 0.857, 0.899, 0.019, 10), "quantum annealer"
    ),
}
_PAPERS_C = 67.61
_PAPERS_SET = ((296, 100), 442.27, 597.31)  # shape of its curves, their best and worst last value

_GAP = "  "

Cells = list[str]


def to_text(found: Evaluation) -> str:
    """Write the tables for a terminal."""
    lines: list[str] = []
    for place, problem in enumerate(found.problems):
        lines += [*_heading(found, place), ""]
        paper = found.plan.protocol is Protocol.PAPER
        if paper:
            rows = list(_paper_rows(found.at(place), problem))
            groups = {3: "R2, arguments exchanged", 7: "R2"}
            lines += laid_out(rows, words=(0, 12), groups=groups)
        else:
            lines += laid_out(list(_honest_rows(found.at(place))), words=(0, 11))
        lines += [""]
        if found.plan.fractions:
            lines += [*laid_out(list(_fraction_rows(found, place))), ""]
    return "\n".join([*lines, *_legend(found)])


def to_dict(found: Evaluation) -> dict[str, Any]:
    """Give plain JSON data; what has no value is None."""
    plan = found.plan
    return {
        "protocol": str(plan.protocol),
        "fraction": plan.fraction,
        "seed": plan.seed,
        "sets": [
            {
                "name": problem.name,
                "metric": problem.metric,
                "direction": str(problem.direction),
                "curves": len(problem),
                "steps": problem.max_step,
                "known": found.exercises[place].known.shape[1],
                "rows": [_plain(result) for result in found.results if result.problem == place],
                "left_out": [model.name for model in found.left_out(place)],
                "published": _published(found, place),
            }
            for place, problem in enumerate(found.problems)
        ],
    }


def write(found: Evaluation, out: Path) -> list[Path]:
    """Write ``scores.csv``, a row per fit, and ``results.json``, the tables.

    Raises
    ------
    StoreError
        If ``out`` cannot be written.
    """
    scores, tables = out / "scores.csv", out / "results.json"
    names = [f.name for f in fields(Score)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with open(scores, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["set", "model", "fraction", "curves", "split", *names])
            for result in found.results:
                head = [found.problems[result.problem].name, result.model.name, result.fraction]
                for split, one in enumerate(result.scores):
                    values = (getattr(one, name) for name in names)
                    writer.writerow([*head, result.model.curves, split, *values])
        content = json.dumps(to_dict(found), indent=2, allow_nan=False)
        tables.write_text(content + "\n", encoding="utf-8")
    except OSError as error:
        raise disk_error("write", out, error) from error
    return [scores, tables]


def is_papers(problem: Problem) -> bool:
    """Whether these are the curves of the paper's table: those of MLPF, before cleaning."""
    best, worst = float(problem.finals.min()), float(problem.finals.max())
    return (problem.curves.shape, round(best, 2), round(worst, 2)) == _PAPERS_SET


def counterpart(model: Model, backends: Sequence[str]) -> str:
    """Which row of the paper's table a model is the counterpart of; empty for none."""
    kind, settings = model.settings["type"], model.settings
    if kind == "svr":
        return "svr" if settings.get("C") == _PAPERS_C and not model.name.count("@") else ""
    if kind == "qubo_svr":
        return next((name for name in ("qubo-sa", "qpu") if list(backends) == [name]), "")
    if kind == "ensemble" and "qubo_svr" in str(settings.get("predictor")):
        return "ensemble"
    return ""


def backends(result: Result) -> list[str]:
    """What answered in the fits of a result."""
    return sorted({one.backend for one in result.scores if one.backend})


# ---------------------------------------------------------------------- rows


def _heading(found: Evaluation, place: int) -> list[str]:
    problem, exercise, plan = found.problems[place], found.exercises[place], found.plan
    title = (
        f"{problem.name}: {len(problem):,} curves of {problem.metric} ({problem.direction}), "
        f"{problem.max_step} {problem.unit}s"
    )
    steps = exercise.known.shape[1]
    if plan.protocol is Protocol.PAPER:
        how = (
            f"{steps} values are known, every second {problem.unit} of the first "
            f"{plan.fraction:.0%}, as quantiles of {len(exercise.targets)} curves; half of these "
            "are forecast"
        )
    else:
        how = (
            f"the first {steps} {problem.unit}s ({plan.fraction:.0%}) are known; the last value "
            "is forecast for all curves of other configurations"
        )
    missing = [
        f"left out: {model.name}, which learns from {model.curves} curves; here at most "
        f"{exercise.most} can be learned from"
        for model in found.left_out(place)
    ]
    return [title, f"protocol {plan.protocol}: {how}", *missing]


def _paper_rows(results: Sequence[Result], problem: Problem) -> Iterator[Cells]:
    heads = ["best", "worst", "mean", "std"]
    yield ["model", "curves", "trainings", *heads, *heads, "s/fit", "backend"]
    left = dict(PUBLISHED) if is_papers(problem) else {}
    for result in results:
        exchanged = Spread.of([one.exchanged for one in result.scores])
        cells = [*_spread(exchanged), *_spread(Spread.of([one.r2 for one in result.scores]))]
        yield [*_begin(result), *cells, *_end(result)]
        row = left.pop(counterpart(result.model, backends(result)), None)
        if row is not None:
            yield _published_cells(row)
    if left:
        yield [""] * 13
    for row in left.values():
        yield _published_cells(row)


def _published_cells(row: Published) -> Cells:
    ours = ["", str(row.spread.trainings), *_spread(row.spread)]
    return [f"  paper: {row.name}", *ours, "", "", "", "", "", row.backend]


def _honest_rows(results: Sequence[Result]) -> Iterator[Cells]:
    heads = ["best", "worst", "mean", "std", "spearman", "lost", "error"]
    yield ["model", "curves", "trainings", *heads, "s/fit", "backend"]
    for result in results:
        spread = _spread(Spread.of([one.r2 for one in result.scores]))
        means = [_mean(result, name) for name in ("spearman", "lost", "error")]
        others = [_share(means[0]), _share(means[1]), f"{means[2]:.3g}"]
        yield [*_begin(result), *spread, *others, *_end(result)]


def _fraction_rows(found: Evaluation, place: int) -> Iterator[Cells]:
    fractions = sorted({found.plan.fraction, *found.plan.fractions})
    yield ["mean R2 when known", *(f"{fraction:.0%}" for fraction in fractions)]
    by_fraction = [found.at(place, fraction) for fraction in fractions]
    for column in zip(*by_fraction, strict=True):
        yield [column[0].model.name, *(_share(_mean(result, "r2")) for result in column)]


def _begin(result: Result) -> Cells:
    return [result.model.name, str(result.model.curves), f"{len(result.scores):,}"]


def _end(result: Result) -> Cells:
    seconds = float(np.median([one.seconds for one in result.scores]))
    return [f"{seconds:.2g}", ", ".join(backends(result))]


def _mean(result: Result, name: str) -> float:
    return Spread.of([getattr(one, name) for one in result.scores]).mean


def _spread(spread: Spread) -> Cells:
    return [_share(value) for value in (spread.best, spread.worst, spread.mean, spread.std)]


def _share(value: float) -> str:
    """Three digits behind the point and none before it where that is a 0, as the paper writes."""
    if not math.isfinite(value):
        return number(value)
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3g}"


def laid_out(
    rows: Sequence[Cells],
    *,
    words: Container[int] = (0,),
    groups: Mapping[int, str] = MappingProxyType({}),
) -> Cells:
    """Lines of columns: ``words`` to the left, numbers to the right, ``groups`` above some.

    Examples
    --------
    >>> laid_out([["model", "best"], ["svr", "1"]], groups={1: "R2"})
    ['       R2', 'model  best', 'svr       1']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head = ""
    for place, title in groups.items():
        head = head.ljust(sum(widths[:place]) + len(_GAP) * place) + title
    lines = [head] if head else []
    for row in rows:
        cells = [
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(_GAP.join(cells).rstrip())
    return lines


def _legend(found: Evaluation) -> list[str]:
    if found.plan.protocol is Protocol.PAPER:
        lines = [
            "paper: table 2 of arXiv:2303.15053. Its R2 is r2_score(forecast, true), and curves to",
            "be forecast were among those that the quantiles were taken of.",
        ]
    else:
        lines = [
            "lost: share of the best 5 % that are forecast to end outside the best quarter; error:",
            "median absolute error; curves of a configuration that was learned from are left out.",
        ]
    if any("annealer=svr" in model.name for model in found.plan.models):
        lines += [
            "qubo_svr(annealer=svr): the same machine solved exactly: a classical SVR with the C",
            "that the bits imply (1.756 unless bits, base or k0 are given).",
        ]
    return lines


def _plain(result: Result) -> dict[str, Any]:
    r2, exchanged = (
        {key: _none(value) for key, value in asdict(Spread.of(values)).items()}
        for values in (
            [one.r2 for one in result.scores],
            [one.exchanged for one in result.scores],
        )
    )
    numbers = {name: _none(_mean(result, name)) for name in ("spearman", "lost", "error")}
    seconds = float(np.median([one.seconds for one in result.scores]))
    head = {"model": result.model.name, "fraction": result.fraction, "curves": result.model.curves}
    scores = {"r2": r2, "r2_exchanged": exchanged, **numbers, "seconds": seconds}
    return {**head, "trainings": len(result.scores), **scores, "backends": backends(result)}


def _published(found: Evaluation, place: int) -> list[dict[str, Any]]:
    paper = found.plan.protocol is Protocol.PAPER and is_papers(found.problems[place])
    return [
        {"model": row.name, "backend": row.backend, "r2_exchanged": asdict(row.spread)}
        for row in PUBLISHED.values()
        if paper
    ]


def _none(value: float) -> float | None:
    return value if math.isfinite(value) else None
