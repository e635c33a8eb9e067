"""The table of Swift- and Fast-Hyperband with different predictors."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from daskhpo.analysis.prediction import Protocol
from daskhpo.analysis.prediction_hyperband import Campaigns, Outcome
from daskhpo.analysis.prediction_table import Cells, is_papers, laid_out
from daskhpo.simulate.problem import Problem
from daskhpo.store.disk import disk_error
from daskhpo.wording import count, number

__all__ = ["Summary", "summaries", "to_dict", "to_text", "write"]

# Epochs on the curves of MLPF, from the results that the authors keep with their program
# (JP-Amboage/qtml-hybrid-workflow), mean of ten seeds; the last was trained on a quantum annealer.
AUTHORS = {"hyperband": 3213, "swift: nu_svr": 2926, "swift: qubo_svr": 2953}


@dataclass(frozen=True, slots=True)
class Summary:
    """What a contender showed on a set, over its seeds.

    Parameters
    ----------
    name : str
        Algorithm and predictor.
    seeds : int
        Campaigns.
    epochs, epochs_std : float
        Steps trained: mean and standard deviation.
    saved : float
        Share of the steps of Hyperband with the same seeds; negative where it took more.
    makespan : float
        Mean, relative to Hyperband with the same seeds.
    rank, regret, value : float
        Of what was found: mean rank (0 is the best), mean regret, mean final value.
    found_best : float
        Share of the seeds that found the best.
    stops : float
        Trials that a forecast stopped, mean.
    wrong : float
        Share of all these that would have gone on; 0 where there are none.
    authors : int or None
        The steps that the authors of Swift-Hyperband report.
    """

    name: str
    seeds: int
    epochs: float
    epochs_std: float
    saved: float
    makespan: float
    rank: float
    regret: float
    value: float
    found_best: float
    stops: float
    wrong: float
    authors: int | None = None


def summaries(problem: Problem, found: Sequence[Campaigns]) -> list[Summary]:
    """Sum up the campaigns on one set; the first of them are Hyperband's."""
    base = {outcome.seed: outcome for outcome in found[0].outcomes}
    paper = found[0].contender.protocol is Protocol.PAPER and is_papers(problem)
    authors = AUTHORS if paper else {}
    return [_summary(one, base, authors.get(one.contender.name)) for one in found]


def to_text(problems: Sequence[Problem], found: Sequence[Campaigns]) -> str:
    """Write the tables for a terminal."""
    lines: list[str] = []
    shown: list[Summary] = []
    for place, problem in enumerate(problems):
        here = [one for one in found if one.problem == place]
        rows = summaries(problem, here)
        shown += rows
        lines.append(
            f"{problem.name}: {len(problem):,} curves of {problem.metric} ({problem.direction}), "
            f"{count(problem.max_step, problem.unit)}"
        )
        lines += [*laid_out(list(_rows(rows, problem.unit))), ""]
    lines += [
        "saved: steps, as a share of Hyperband's with the same seeds; rank: of the configuration",
        "found, 0 the best; wrong: share of the trials stopped on a forecast that would have been",
        "among the best at the next milestone; time: makespan relative to Hyperband's, whose",
        "brackets overlap here while those of the others follow each other.",
    ]
    if any(row.authors for row in shown):
        lines.append("authors: epochs in the authors' own runs, qubo_svr on a quantum annealer.")
    return "\n".join(lines)


def to_dict(problems: Sequence[Problem], found: Sequence[Campaigns]) -> dict[str, Any]:
    """Give plain JSON data."""
    return {
        "sets": [
            {
                "name": problem.name,
                "metric": problem.metric,
                "curves": len(problem),
                "steps": problem.max_step,
                "rows": [
                    asdict(row)
                    for row in summaries(problem, [one for one in found if one.problem == place])
                ],
            }
            for place, problem in enumerate(problems)
        ]
    }


def write(problems: Sequence[Problem], found: Sequence[Campaigns], out: Path) -> list[Path]:
    """Write ``hyperband.csv``, a row per campaign, and ``hyperband.json``, the tables.

    Raises
    ------
    StoreError
        If ``out`` cannot be written.
    """
    runs, tables = out / "hyperband.csv", out / "hyperband.json"
    names = [f.name for f in fields(Outcome)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with open(runs, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["set", "algorithm", "predictor", *names])
            for one in found:
                who = one.contender
                head = [problems[one.problem].name, who.algorithm, who.predictor]
                for outcome in one.outcomes:
                    writer.writerow([*head, *(getattr(outcome, name) for name in names)])
        content = json.dumps(to_dict(problems, found), indent=2, allow_nan=False)
        tables.write_text(content + "\n", encoding="utf-8")
    except OSError as error:
        raise disk_error("write", out, error) from error
    return [runs, tables]


def _summary(found: Campaigns, base: dict[int, Outcome], authors: int | None) -> Summary:
    outcomes = found.outcomes
    pairs = [(one, base[one.seed]) for one in outcomes]
    trained = np.array([one.trained for one in outcomes], float)
    stopped = sum(one.stops for one in outcomes)

    def mean(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in outcomes]))

    return Summary(
        name=found.contender.name,
        seeds=len(outcomes),
        epochs=float(trained.mean()),
        epochs_std=float(trained.std()),
        saved=1 - float(np.mean([one.trained / other.trained for one, other in pairs])),
        makespan=float(np.mean([one.makespan / other.makespan for one, other in pairs])),
        rank=mean("rank"),
        regret=mean("regret"),
        value=mean("value"),
        found_best=float(np.mean([one.rank == 0 for one in outcomes])),
        stops=mean("stops"),
        wrong=sum(one.wrong for one in outcomes) / stopped if stopped else 0.0,
        authors=authors,
    )


def _rows(rows: Sequence[Summary], unit: str) -> Iterator[Cells]:
    heads = ["saved", "time", "rank", "best", "regret", "value", "stops", "wrong"]
    authors = ["authors"] if any(row.authors for row in rows) else [""]
    yield ["", "seeds", f"{unit}s", *heads, *authors]
    for row in rows:
        yield [
            row.name,
            str(row.seeds),
            f"{row.epochs:,.0f} ± {row.epochs_std:.0f}",
            f"{row.saved:.1%}",
            f"{row.makespan:.2f}x",
            f"{row.rank:.2f}",
            f"{row.found_best:.0%}",
            f"{row.regret:.2g}",
            number(row.value),
            f"{row.stops:.0f}",
            f"{row.wrong:.0%}" if row.stops else "-",
            f"{row.authors:,}" if row.authors else "",
        ]
