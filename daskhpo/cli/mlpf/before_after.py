"""``mlpf before-after``: what tuning brought."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from daskhpo.cli import options
from daskhpo.cli.loading import load_yaml
from daskhpo.exceptions import DataError
from daskhpo.store.directory import CampaignDirectory

if TYPE_CHECKING:
    from daskhpo.mlpf.before_after import Training

__all__ = ["before_after"]

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
COUNT = click.IntRange(min=1)
KEPT = ("preset", "model", "batch_size", "batch_elements")  # of a campaign, where they are constant


@click.command("before-after")
@click.option("--tuned", type=FILE, metavar="FILE", help="YAML: the tuned parameters.")
@click.option(
    "--campaign",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Take the best trial of this campaign for tuned.",
)
@click.option(
    "--default",
    type=FILE,
    metavar="FILE",
    help="YAML: parameters before tuning; by default ours, with the campaign's preset and batches.",
)
@click.option("--trainings", type=COUNT, default=10, show_default=True, metavar="N")
@click.option("--epochs", type=COUNT, default=20, show_default=True, metavar="N")
@click.option("--jobs", type=COUNT, default=1, show_default=True, metavar="N", help="Processes.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("mlpf-before-after"),
    show_default=True,
    metavar="DIR",
)
@options.as_json
def before_after(
    tuned: Path | None,
    campaign: Path | None,
    default: Path | None,
    trainings: int,
    epochs: int,
    jobs: int,
    out: Path,
    as_json: bool,
) -> None:
    """Train MLPF with the default and with the tuned parameters, N times each, and compare.

    All trainings have the same events and each its own seed. Writes mean and standard deviation of
    loss and accuracy by epoch, jets and missing momentum of the final networks, and the figure.
    Interrupted, the same command goes on.

    \b
    Example:
      daskhpo mlpf before-after --campaign runs/mlpf-stage2 --jobs 2
      daskhpo mlpf before-after --tuned tuned.yaml --default before.yaml --trainings 10
    """
    from daskhpo.mlpf.before_after import Order, configurations, summarise, train_all
    from daskhpo.mlpf.before_after_figure import draw
    from daskhpo.mlpf.physics.plots import check_matplotlib

    check_matplotlib()
    before, after = _sides(tuned, campaign, default)
    device, threads = _device(), max(1, len(os.sched_getaffinity(0)) // jobs)
    orders = [
        Order(side=side, params=p, seed=seed, epochs=epochs, device=device, threads=threads)
        for seed in range(1, trainings + 1)
        for side, p in configurations(after, before).items()
    ]

    def watch(training: Training, again: bool) -> None:
        last = training.history[-1]
        click.echo(
            f"{training.side} {training.seed}: val_loss {last['val_loss']:.4f}, "
            f"accuracy {last['val_accuracy']:.4f}{' (kept)' if again else ''}",
            err=True,
        )

    found = summarise(train_all(orders, out / "trainings", jobs=jobs, watch=watch))
    written = [_write(found, out), *draw(found, out / "before-after")]
    if as_json:
        options.print_json(found | {"written": [str(path) for path in written]})
    else:
        _print(found, written)


def _sides(
    tuned: Path | None, campaign: Path | None, default: Path | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters before and after."""
    if (tuned is None) == (campaign is None):
        raise click.UsageError("give either --tuned FILE or --campaign DIR")
    before: dict[str, Any] = {}
    if tuned is not None:
        after = _read(tuned)
    else:
        assert campaign is not None
        before, after = _of_campaign(CampaignDirectory(campaign))
    return (before if default is None else _read(default)), after


def _of_campaign(directory: CampaignDirectory) -> tuple[dict[str, Any], dict[str, Any]]:
    """The network from which a campaign set out, and its best trial.

    Other constants do not count: they may be what an earlier campaign found.
    """
    from daskhpo.analysis.reading import Reading
    from daskhpo.domains import Constant

    reading = Reading(directory.path).catch_up()
    best = reading.study.best
    if best is None:
        raise options.Failed(f"{directory.path}: no trial has reported yet")
    space, params = reading.campaign.space, dict(best.params)
    kept = [name for name in KEPT if isinstance(space.get(name), Constant)]
    return {name: params[name] for name in kept}, params


def _read(file: Path) -> dict[str, Any]:
    try:
        content = load_yaml(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no YAML file: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("params"), dict):
        content = content["params"]  # a trial, as `daskhpo best --json` prints it
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise DataError(f"{file}: must hold parameters, as name: value")
    return content


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _write(found: Mapping[str, Any], out: Path) -> Path:
    from daskhpo.store.disk import write_atomic

    path = out / "before-after.json"
    write_atomic(path, json.dumps(found, indent=1, allow_nan=False) + "\n")
    return path


def _print(found: Mapping[str, Any], written: list[Path]) -> None:
    from daskhpo.mlpf.before_after import SIDES

    click.echo(f"{'':<28}" + "".join(f"{side:>22}" for side in SIDES))
    groups = {"final": [found[side]["final"] for side in SIDES]}
    for group in found[SIDES[0]]["physics"]:
        groups[group] = [found[side]["physics"][group] for side in SIDES]
    for group, (before, after) in groups.items():
        click.echo(group)
        for name in before:
            click.echo(f"  {name:<26}{_text(before[name]):>22}{_text(after[name]):>22}")
    n = found[SIDES[0]]["trainings"]
    gain = found["gain"]["val_loss"]
    click.echo(f"\nmean ± standard deviation over {n} trainings each")
    if gain["mean"] is not None:
        error = "" if gain["std"] is None else f" ± {100 * gain['std']:.1f}"
        click.echo(f"validation loss: {-100 * gain['mean']:+.1f}{error} % by tuning")
    for path in written:
        click.echo(path)


def _text(spread: Mapping[str, float | None]) -> str:
    mean, std = spread["mean"], spread["std"]
    if mean is None:
        return "-"
    return f"{mean:.4g}" if std is None else f"{mean:.4g} ± {std:.2g}"
