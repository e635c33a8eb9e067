"""``daskhpo bench``: what a machine is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from daskhpo.cli import options

if TYPE_CHECKING:
    from daskhpo.mlpf.hepscore.benchmark import Outcome

__all__ = ["bench"]

COUNT = click.IntRange(min=1)


@click.group()
def bench() -> None:
    """Benchmarks of this machine.

    \b
    Example:
      daskhpo bench hepscore --out results
    """


@bench.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("hepscore"),
    show_default=True,
    metavar="DIR",
    help="A directory without results.",
)
@click.option(
    "--copies", type=COUNT, metavar="N", help="By default as many as fill the cores, or the GPUs."
)
@click.option("--threads-per-copy", type=COUNT, default=1, show_default=True, metavar="N")
@click.option(
    "--epochs",
    type=click.IntRange(min=2),
    default=4,
    show_default=True,
    metavar="N",
    help="The first is not counted.",
)
@click.option(
    "--events", type=COUNT, default=200, show_default=True, metavar="N", help="In an epoch."
)
@click.option("--repetitions", type=COUNT, default=3, show_default=True, metavar="N")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--reference",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    help="Events per second of the reference machine: gives the score.",
)
@options.as_json
def hepscore(
    out: Path,
    copies: int | None,
    threads_per_copy: int,
    epochs: int,
    events: int,
    repetitions: int,
    device: str,
    reference: float | None,
    as_json: bool,
) -> None:
    """Train MLPF on fixed events and report events per second in HEPscore's format.

    Copies run at the same time, repetitions one after the other. Their reports, in the format of
    HEP-workloads, are DIR/mlpf/run0/mlpf_summary.json and so on: what hep-score reads. Nothing
    is downloaded. Scores compare only between runs with the same --events and --epochs.

    \b
    Example:
      daskhpo bench hepscore
      daskhpo bench hepscore --out results --copies 8 --threads-per-copy 4 --repetitions 3
      daskhpo bench hepscore --device cuda --events 5000 --reference 15.4
    """
    from daskhpo.mlpf.hepscore.benchmark import run_benchmark
    from daskhpo.mlpf.hepscore.copies import choose_device, default_copies
    from daskhpo.mlpf.hepscore.workload import Workload

    workload = Workload(
        events=events, epochs=epochs, threads=threads_per_copy, device=choose_device(device)
    )
    chosen = copies or default_copies(workload)

    def watch(run: int, throughput: float) -> None:
        click.echo(f"run{run}: {throughput:.2f} events/s", err=as_json)

    outcome = run_benchmark(workload, out, copies=chosen, repetitions=repetitions, watch=watch)
    if as_json:
        options.print_json(outcome.to_dict(reference))
    else:
        _print(outcome, workload.device, reference)


def _print(outcome: Outcome, device: str, reference: float | None) -> None:
    click.echo(f"median: {outcome.median:.2f} events/s, copies: {outcome.copies}, on {device}")
    if reference is not None:
        click.echo(f"score: {outcome.score(reference):g} (reference: {reference:g} events/s)")
    for path in outcome.summaries:
        click.echo(path)
