"""``mlpf evaluate``: what a trained network is worth to a physicist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskhpo.cli import options
from daskhpo.exceptions import DataError
from daskhpo.wording import count

if TYPE_CHECKING:
    from daskhpo.mlpf.checkpoint import TrainedOn
    from daskhpo.mlpf.events import Events
    from daskhpo.mlpf.physics.report import Evaluation

__all__ = ["evaluate"]

SEED = 1  # of the bootstrap: the same network and events give the same table


@click.command()
@click.argument(
    "checkpoint",
    metavar="[CHECKPOINT]",
    default=Path("mlpf.pt"),
    type=click.Path(dir_okay=False, path_type=Path),
)
@click.option(
    "--events",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Other events than those that were held back for validation.",
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("mlpf-evaluation"),
    show_default=True,
    help="For evaluation.json and the plots.",
)
@click.option("--no-plots", is_flag=True, help="Draw nothing.")
@options.as_json
def evaluate(checkpoint: Path, file: Path | None, out: Path, no_plots: bool, as_json: bool) -> None:
    """Hold a trained network against the rule-based particle flow: jets, MET, particles.

    CHECKPOINT is what 'daskhpo mlpf train' wrote, by default mlpf.pt. Both are judged by the
    generated particles of the validation events, which the network has not seen.

    \b
    Example:
      daskhpo mlpf evaluate mlpf.pt --out mlpf-evaluation
      daskhpo mlpf evaluate mlpf.pt --events qcd.npz --json
    """
    import numpy as np

    from daskhpo.mlpf.checkpoint import load_checkpoint, predict
    from daskhpo.mlpf.physics import report

    model, trained_on = load_checkpoint(checkpoint)
    events, source = _events(checkpoint, file, trained_on)
    predicted = predict(model, events, device=_device())
    found = report.evaluate(events, predicted, rng=np.random.default_rng(SEED))
    about = {"checkpoint": str(checkpoint), "epochs": trained_on.epochs, "source": source}
    content = about | found.to_dict()
    written = [_write(content, out), *([] if no_plots else _draw(found, out))]
    if as_json:
        options.print_json(content | {"written": [str(path) for path in written]})
        return
    click.echo(f"{checkpoint}, trained for {trained_on.epochs:g} epochs, on {source}")
    click.echo(report.format_table(found))
    click.echo(f"\n{count(len(written), 'file')} in {out}")


def _events(checkpoint: Path, file: Path | None, trained_on: TrainedOn) -> tuple[Events, str]:
    """Return the events to evaluate, and what they are in words."""
    if file is None:
        return _validation_events(checkpoint, trained_on), f"validation events of {trained_on.data}"
    from daskhpo.mlpf.events import load_events

    events = load_events(file)
    if events.schema.name != trained_on.schema:
        raise DataError(
            f"{file}: its events are {events.schema.name}'s; those that {checkpoint} was trained "
            f"on are {trained_on.schema}'s"
        )
    if trained_on.data != "sample" and file.resolve() == Path(trained_on.data).resolve():
        click.echo(
            f"warning: {checkpoint} was trained on events of {file}: it has seen them. Without "
            "--events it is judged by those that it has not seen.",
            err=True,
        )
    return events, str(file)


def _validation_events(checkpoint: Path, trained_on: TrainedOn) -> Events:
    """Make the split again by which the network was trained."""
    from daskhpo.mlpf.batches import split_events
    from daskhpo.mlpf.events import load_events, load_sample

    data = trained_on.data
    if data != "sample" and not Path(data).exists():
        raise DataError(
            f"{checkpoint}: was trained on {data}, which is not here; name other events with "
            "--events"
        )
    events = load_sample() if data == "sample" else load_events(data)
    _, validation = split_events(
        len(events), trained_on.events, trained_on.validation_fraction, trained_on.data_seed
    )
    return events[validation]


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _write(content: dict[str, Any], out: Path) -> Path:
    from daskhpo.store.disk import disk_error, write_atomic

    path = out / "evaluation.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error("write", out, error) from error
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def _draw(found: Evaluation, out: Path) -> list[Path]:
    """Draw the plots; the table stands without them."""
    from daskhpo.mlpf.physics import plots

    try:
        plots.check_matplotlib()
    except DataError as error:
        click.echo(f"no plots: {error}", err=True)
        return []
    return plots.draw(found, out)
