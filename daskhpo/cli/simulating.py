"""``simulate``: a campaign on stored curves, before one on a cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskhpo.cli import options
from daskhpo.exceptions import CampaignError

if TYPE_CHECKING:
    from daskhpo.simulate.problem import Problem
    from daskhpo.simulate.run import Run

__all__ = ["simulate"]


@click.command()
@click.argument("curves", metavar="CURVES|DIR", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--scheduler",
    default="asha",
    show_default=True,
    metavar="NAME(...)",
    help="Such as 'asha(min_step=2, eta=4)'; max_step is that of the curves unless given.",
)
@click.option(
    "--sampler",
    metavar="NAME(...)",
    help="Such as 'bayes'; by default random. Not with --source rows, which draws its own.",
)
@click.option(
    "--source",
    default="rows",
    show_default=True,
    metavar="NAME(...)",
    help="rows: stored rows, drawn without replacement; nearest: the stored configuration next "
    "to the one asked for; surrogate: a regressor, such as 'surrogate(noise=1)'.",
)
@click.option(
    "--predictor",
    metavar="NAME(...)",
    help="Forecasts what trials will reach, such as 'svr' or 'qubo_svr(bits=2)'; a new one for "
    "each seed.",
)
@click.option(
    "--advice",
    metavar="log|obey(...)",
    help="What becomes of its advice to stop: log writes it down, obey stops trials, such as "
    "'obey(delta=0.2, looks=1)'. The table says how many of these stops were wrong.",
)
@click.option("--workers", type=click.IntRange(min=1), default=8, show_default=True, metavar="N")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many begin; by default as many as are stored.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="K",
    help="Campaigns, with seeds 0 to K - 1.",
)
@click.option(
    "--speeds",
    default="0.3",
    show_default=True,
    metavar="SIGMA|size(...)",
    help="Spread of the time of a step over trials (sigma of a lognormal), or what it follows: "
    "'size(parameter=width, power=2)'.",
)
@click.option("--free-costs", is_flag=True, help="Start-ups and checkpoints cost nothing.")
@click.option("--lost", type=float, default=0.0, metavar="P", help="A job dies, per step.")
@click.option("--failed", type=float, default=0.0, metavar="P", help="A trial fails, per step.")
@click.option("--walltime", type=float, metavar="T", help="Workers end after T median steps ...")
@click.option("--queue", type=float, default=0.0, metavar="T", help="... new ones come after T.")
@click.option("--drop-incomplete", is_flag=True, help="Leave out curves that are not whole.")
@options.as_json
def simulate(curves: Path, seeds: int, as_json: bool, **asked: Any) -> None:
    """Simulate campaigns on stored learning curves.

    The study and its decisions are those of a real campaign; time and workers are made up. Times
    are in median steps. CURVES is a store made by 'daskhpo curves import', DIR a campaign whose
    complete trials are taken.

    \b
    Example:
      daskhpo curves import curves.csv --params lr,width --metric 'loss_{step}' curves.zarr
      daskhpo simulate curves.zarr --scheduler 'asha(min_step=2, eta=4)' --workers 64
      daskhpo simulate curves.zarr --scheduler median --source nearest --sampler bayes --json
      daskhpo simulate curves.zarr --predictor svr --advice obey
    """
    from daskhpo.simulate.problem import Problem
    from daskhpo.simulate.spread import spread

    problem = Problem.open(curves, drop_incomplete=asked["drop_incomplete"])
    runs = _runs(problem, seeds, asked)
    found = spread(runs)
    if as_json:
        head = {"curves": str(curves), "source": asked["source"], "sampler": asked["sampler"]}
        adviser = runs[0].study.adviser
        told = {} if adviser is None else {"adviser": adviser.settings()}
        content = {**head, **told, "seeds": seeds, "summary": found}
        options.print_json({**content, "runs": [run.to_dict() for run in runs]})
    else:
        click.echo(_table(runs, found, asked["source"]))


def _runs(problem: Problem, seeds: int, asked: Mapping[str, Any]) -> list[Run]:
    from daskhpo.simulate.choosing import make_adviser, make_source, make_speeds
    from daskhpo.simulate.costs import Costs, Failures, Walltime
    from daskhpo.simulate.simulation import simulate as run

    source = make_source(asked["source"], problem)
    length, queue = asked["walltime"], asked["queue"]
    if queue and length is None:
        raise CampaignError(f"--queue {queue:g} is the time between two workers: give --walltime")
    failures = Failures(asked["lost"], asked["failed"])
    walltime = None if length is None else Walltime(length, queue)
    return [
        run(
            source,
            asked["scheduler"],
            sampler=asked["sampler"],
            workers=asked["workers"],
            trials=asked["trials"],
            seed=seed,
            costs=Costs.free() if asked["free_costs"] else Costs(),
            speeds=make_speeds(asked["speeds"], problem, seed=seed),
            failures=failures,
            walltime=walltime,
            adviser=make_adviser(asked["predictor"], asked["advice"], seed=seed),
        )
        for seed in range(seeds)
    ]


def _table(runs: list[Run], found: Mapping[str, Mapping[str, float | None]], source: str) -> str:
    from daskhpo.wording import count

    first = runs[0]
    problem, unit = first.problem, first.problem.unit
    aim = "minimise" if problem.direction == "min" else "maximise"
    title = f"{problem.name}: {aim} {problem.metric}, {len(problem)} curves of {problem.max_step}"
    lines = [
        f"{title} {unit}s, source {source}",
        f"{first.study.scheduler!r}",
        *_advice(first),
        f"{count(first.workers, 'worker')}, {count(len(runs), 'seed')}",
        "",
        f"{'':<24}{'median':>12}{'10 %':>12}{'90 %':>12}",
    ]
    names = {"steps": f"{unit}s trained", "share": "of full training", "value": "value found"}
    names |= {"idle": "idle workers", "overhead": "start-ups, checkpoints"}
    names |= {"stopped": "stopped by advice", "wrong": "of these wrong"}
    for name, values in found.items():
        style = _share if name in ("share", "idle", "overhead", "wrong") else _number
        cells = "".join(f"{style(values[key]):>12}" for key in ("median", "low", "high"))
        lines.append(f"{names.get(name, name):<24}{cells}")
    return "\n".join(lines)


def _advice(run: Run) -> list[str]:
    """A line on the adviser, in the words of the options that make it."""
    from daskhpo.naming import describe

    if run.study.adviser is None:
        return []
    settings = run.study.adviser.settings()
    predictor, mode = settings.pop("predictor"), settings.pop("mode")
    del settings["seed"]
    return [f"predictor {predictor}", f"advice {describe({'type': mode, **settings})}"]


def _number(value: float | None) -> str:
    from daskhpo.wording import number

    if value is None:
        return number(math.nan)
    return f"{value:,.0f}" if value.is_integer() or abs(value) >= 1000 else number(value)


def _share(value: float | None) -> str:
    return _number(None) if value is None else f"{value:.1%}"
