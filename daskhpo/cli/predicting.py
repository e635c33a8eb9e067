"""``predict``: what forecasts of learning curves are worth, on stored ones."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskhpo.cli import options

if TYPE_CHECKING:
    from daskhpo.simulate.problem import Problem

__all__ = ["predict"]


@click.group()
def predict() -> None:
    """What forecasts of learning curves are worth.

    \b
    Example:
      daskhpo predict evaluate curves.zarr --protocol honest
      daskhpo predict hyperband curves.zarr --models last_drop,nu_svr
    """


def _curves(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument(
        "curves",
        metavar="CURVES...",
        nargs=-1,
        required=True,
        type=click.Path(exists=True, path_type=Path),
    )(function)


def _shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that both have."""
    given = (
        click.option(
            "--out",
            metavar="DIR",
            type=click.Path(file_okay=False, path_type=Path),
            help="Write the numbers and the figures here (figures need daskhpo[figures]).",
        ),
        click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True),
        click.option(
            "--drop-incomplete", is_flag=True, help="Leave out curves that are not whole."
        ),
        options.as_json,
    )
    for option in reversed(given):
        function = option(function)
    return function


class _Fractions(click.ParamType):  # type: ignore[type-arg]
    """Shares of a curve: ``0.1,0.25,0.5``, or ``0.1..0.9`` in steps of a tenth."""

    name = "fractions"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Read them; each must be between 0 and 1."""
        try:
            first, dots, last = str(value).partition("..")
            if dots:
                low, high = Fraction(first), Fraction(last)
                steps = int((high - low) * 10)
                found = [float(low + Fraction(i, 10)) for i in range(steps + 1)]
            else:
                found = [float(part) for part in re.split(r"\s*,\s*", str(value).strip())]
        except (ValueError, ZeroDivisionError):
            found = []
        if not found or not all(0 < fraction < 1 for fraction in found):
            self.fail(
                f"{value!r}: write shares between 0 and 1 such as 0.1,0.25,0.5, or 0.1..0.9 for "
                "every tenth",
                param,
                ctx,
            )
        return tuple(found)


@predict.command()
@_curves
@click.option(
    "--models",
    metavar="NAME(...),...",
    help="Predictors, such as 'svr,svr(C=1.75)*100,ensemble(predictor=qubo_svr)'. @80 after one: "
    "it learns from 80 curves; *100: from 100 splits.",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "honest"]),
    default="honest",
    show_default=True,
    help="paper: as the authors of table 2 did it; honest: as a campaign meets it.",
)
@click.option(
    "--train",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    metavar="N",
    help="Curves to learn from; ensembles take a full set for each member.",
)
@click.option(
    "--fraction",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.25,
    show_default=True,
    help="Share of a curve that is known.",
)
@click.option(
    "--splits",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="Random choices of the curves to learn from; slow predictors get fewer.",
)
@click.option(
    "--fractions",
    type=_Fractions(),
    metavar="A,B,...|A..B",
    help="Also how R2 grows with what is known, on a tenth of the splits.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws the splits."
)
@_shared
def evaluate(
    curves: tuple[Path, ...],
    models: str | None,
    protocol: str,
    train: int,
    splits: int,
    fractions: tuple[float, ...] | None,
    out: Path | None,
    jobs: int,
    drop_incomplete: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Fit predictors on a few curves and score their forecasts of the others.

    Prints best, worst, mean and deviation of R2 over the splits for each predictor. CURVES is a
    store made by 'daskhpo curves import'. A QUBO-SVR stands next to the classical machine whose
    coefficients have the same bound. On the curves of the paper, --protocol paper prints the
    paper's own rows below ours; 'predict evaluate' knows them by their values.

    \b
    Example:
      daskhpo predict evaluate mlpf.zarr --protocol paper --jobs 2
      daskhpo predict evaluate mlpf.zarr lstm.zarr --models last_value,svr --fractions 0.1..0.9 \\
          --splits 200 --out prediction
    """
    from daskhpo.analysis import prediction_table as table
    from daskhpo.analysis.prediction import Protocol
    from daskhpo.analysis.prediction_models import parse_models
    from daskhpo.analysis.prediction_runs import Plan
    from daskhpo.analysis.prediction_runs import evaluate as run

    _say_what_is_left_out(models)
    named = parse_models(models, protocol=Protocol(protocol), train=train, splits=splits)
    plan = Plan(named, Protocol(protocol), fractions=fractions or (), **asked)
    _prepare(out)
    found = run(_opened(curves, drop_incomplete), plan, jobs=jobs, watch=_watch("parts"))
    written = []
    if out is not None:
        from daskhpo.analysis.prediction_figures import draw_evaluation

        written = [str(path) for path in (*table.write(found, out), *draw_evaluation(found, out))]
    if as_json:
        options.print_json(table.to_dict(found) | {"written": written})
    else:
        click.echo("\n".join([table.to_text(found), *([""] if written else []), *written]))


@predict.command()
@_curves
@click.option(
    "--models",
    metavar="NAME(...),...",
    help="Predictors, such as 'last_drop,nu_svr,qubo_svr*5'; *5 after one: it has 5 seeds.",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "honest"]),
    default="honest",
    show_default=True,
    help="paper: predictors see and scale curves as those of the paper's authors; honest: as in "
    "a campaign.",
)
@click.option(
    "--algorithms",
    default="swift,fast",
    show_default=True,
    metavar="NAME,...",
    help="Swift- and Fast-Hyperband, each with each predictor; the latter not with annealed ones, "
    "which it would train thousands of times.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="K",
    help="Campaigns, with seeds 0 to K - 1; slow predictors get fewer.",
)
@click.option("--workers", type=click.IntRange(min=1), default=8, show_default=True, metavar="N")
@_shared
def hyperband(
    curves: tuple[Path, ...],
    models: str | None,
    protocol: str,
    algorithms: str,
    seeds: int,
    workers: int,
    out: Path | None,
    jobs: int,
    drop_incomplete: bool,
    as_json: bool,
) -> None:
    """What predictors save Hyperband, and whom they lose.

    Simulates Swift- and Fast-Hyperband with each predictor, and Hyperband itself, on stored
    curves. Prints steps trained, what was found, and how many of the trials stopped would have
    gone on. CURVES is a store made by 'daskhpo curves import'.

    \b
    Example:
      daskhpo predict hyperband mlpf.zarr --protocol paper --seeds 30 --jobs 2
      daskhpo predict hyperband mlpf.zarr lstm.zarr --models last_drop,nu_svr --out prediction
    """
    from daskhpo.analysis import prediction_hyperband_table as table
    from daskhpo.analysis.prediction import Protocol
    from daskhpo.analysis.prediction_hyperband import contenders, run_campaigns

    wanted = [name.strip() for name in algorithms.split(",")]
    _say_what_is_left_out(models)
    chosen = contenders(models, wanted, protocol=Protocol(protocol), seeds=seeds)
    _prepare(out)
    problems = _opened(curves, drop_incomplete)
    found = run_campaigns(problems, chosen, workers=workers, jobs=jobs, watch=_watch("campaigns"))
    written = []
    if out is not None:
        from daskhpo.analysis.prediction_figures import draw_hyperband

        paths = (*table.write(problems, found, out), *draw_hyperband(problems, found, out))
        written = [str(path) for path in paths]
    if as_json:
        options.print_json(table.to_dict(problems, found) | {"written": written})
    else:
        text = table.to_text(problems, found)
        click.echo("\n".join([text, *([""] if written else []), *written]))


def _opened(curves: Sequence[Path], drop_incomplete: bool) -> list[Problem]:
    from daskhpo.analysis.compare import slug
    from daskhpo.exceptions import CampaignError
    from daskhpo.simulate.problem import Problem

    problems = [Problem.open(path, drop_incomplete=drop_incomplete) for path in curves]
    names = [slug(problem) for problem in problems]
    for problem, name in zip(problems, names, strict=True):
        if names.count(name) > 1:
            raise CampaignError(f"two sets are called {problem.name!r}: import one with --name")
    return problems


def _prepare(out: Path | None) -> None:
    """Find out before anything runs whether the outcome can be drawn and written."""
    if out is None:
        return
    from daskhpo.analysis.figures import check_matplotlib
    from daskhpo.store.disk import disk_error

    check_matplotlib()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error("write", out, error) from error


def _watch(things: str) -> Any:
    """One line on a terminal that says how far it is; nothing elsewhere."""
    if not sys.stderr.isatty():
        return None

    def told(done: int, of: int) -> None:
        click.echo(f"\r\x1b[K{done} of {of} {things}", err=True, nl=done == of)

    return told


def _say_what_is_left_out(models: str | None) -> None:
    from daskhpo.analysis.prediction_models import annealing

    if models is None and not annealing():
        click.echo("left out: qubo_svr, which needs pip install 'daskhpo[annealing]'", err=True)
