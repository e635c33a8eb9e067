"""``reliability`` and ``compare``: what early ranks are worth, and which scheduler finds more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from daskhpo.cli import options
from daskhpo.cli.loading import load_yaml
from daskhpo.exceptions import CampaignError

if TYPE_CHECKING:
    from daskhpo.analysis.compare_plan import Plan

__all__ = ["compare", "reliability"]


@click.command()
@click.argument("path", metavar="DIR|CURVES", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--eta",
    type=click.IntRange(min=2),
    help="Judge a ladder on which one in ETA goes on; by default the campaign's own, for curves 2.",
)
@click.option(
    "--min-step",
    type=click.IntRange(min=1),
    help="Judge a ladder that begins here; by default the campaign's own, for curves 1.",
)
@click.option(
    "--top",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Share of the complete trials that counts as the best; by default 0.1.",
)
@options.as_json
def reliability(
    path: Path, eta: int | None, min_step: int | None, top: float | None, as_json: bool
) -> None:
    """How far early ranks can be trusted, rung by rung.

    For each rung: how well the ranks there agree with those at the end, and how many of the
    trials that end best a campaign would keep that begins to halve there. Warns in words where
    that is too few. DIR is a campaign, running or not; CURVES a store made by 'daskhpo curves
    import'.

    \b
    Example:
      daskhpo reliability runs/first
      daskhpo reliability curves.zarr --eta 4 --min-step 2
    """
    from daskhpo.analysis.rungwatch import reliability_of

    found = reliability_of(path, eta=eta, min_step=min_step, top=top)
    if as_json:
        options.print_json(found.to_dict())
    else:
        click.echo(found.to_text())


@click.command()
@click.argument(
    "curves",
    metavar="CURVES...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "--plan",
    "file",
    required=True,
    metavar="PLAN.yaml",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Schedulers, samplers, workers, seeds; see data/plans.",
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write results.csv, results.json and the figures here.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, metavar="N")
@click.option("--drop-incomplete", is_flag=True, help="Leave out curves that are not whole.")
@options.as_json
def compare(
    curves: tuple[Path, ...],
    file: Path,
    out: Path | None,
    jobs: int,
    drop_incomplete: bool,
    as_json: bool,
) -> None:
    """Compare schedulers and samplers by simulating campaigns on stored curves.

    Prints a table for each set and number of workers: what was found, and what it cost. With
    --out also the figures of the papers (needs matplotlib: pip install daskhpo[figures]). The
    plan and everything in it are checked before anything runs; --jobs is the number of processes
    and changes no result.

    \b
    Example:
      daskhpo compare curves.zarr --plan data/plans/small.yaml
      daskhpo compare mlpf.zarr lstm.zarr --plan data/plans/full.yaml --out tables --jobs 2
    """
    from daskhpo.analysis.compare import compare as compare_sets
    from daskhpo.simulate.problem import Problem

    plan = _plan(file)
    if out is not None:
        _prepare(out)
    problems = [Problem.open(path, drop_incomplete=drop_incomplete) for path in curves]
    found = compare_sets(problems, plan, jobs=jobs, figures=out is not None, watch=_watch())
    written = []
    if out is not None:
        from daskhpo.analysis.figures import draw

        written = [str(path) for path in (*found.write(out), *draw(found, out))]
    if as_json:
        options.print_json(found.to_dict() | {"written": written})
    else:
        click.echo("\n".join([found.to_text(), *([""] if written else []), *written]))


def _plan(file: Path) -> Plan:
    from daskhpo.analysis.compare_plan import Plan

    try:
        given = load_yaml(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CampaignError(f"{file} is no YAML file: {error}") from error
    return Plan.from_mapping(given)


def _prepare(out: Path) -> None:
    """Find out before anything runs whether the outcome can be drawn and written."""
    from daskhpo.analysis.figures import check_matplotlib
    from daskhpo.store.disk import disk_error

    check_matplotlib()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error("write", out, error) from error


def _watch() -> Any:
    """One line on a terminal that says how far the campaigns are; nothing elsewhere."""
    if not sys.stderr.isatty():
        return None

    def told(done: int, of: int) -> None:
        click.echo(f"\r\x1b[K{done} of {of} kinds of campaigns", err=True, nl=done == of)

    return told
