"""What tuning brought: trainings with the default configuration beside some with the tuned one.

Both are trained several times on the same events, from other seeds: what is left between two curves
beyond their standard deviations is due to the configuration. This is figure 2 of Wulff et al.
(2022), with the jets and the missing momentum of the final networks besides.

Each training is kept in a file of its own, so that an interrupted comparison goes on.
"""

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from daskhpo.exceptions import CampaignError, DataError
from daskhpo.mlpf.config import resolve_aliases
from daskhpo.mlpf.training import TrainingConfig, configure
from daskhpo.store.disk import disk_error, write_atomic

if TYPE_CHECKING:
    from daskhpo.mlpf.batches import EventSource
    from daskhpo.mlpf.model import MLPF

__all__ = ["SIDES", "Order", "Spread", "Training", "configurations", "summarise", "train_all"]

SIDES = ("default", "tuned")
# What both sides must have in common: else their losses are not of the same events, or not alike.
COMMON = (
    *("data", "events", "validation_fraction", "data_seed", "unit", "steps_per_unit"),
    *("cls_loss", "cls_weight", "charge_weight", "reg_weight", "loss_norm"),
)
CURVES = ("val_loss", "val_cls_loss", "val_reg_loss", "val_accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One training to be done.

    Parameters
    ----------
    side : {"default", "tuned"}
    params : mapping
        As in a campaign's space.
    seed : int
        Of weights, batches and dropout; the events are the same for all.
    epochs : int
    device : str
        As torch names it.
    threads : int
    """

    side: str
    params: Mapping[str, Any]
    seed: int
    epochs: int
    device: str = "cpu"
    threads: int = 1

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.side}-{self.seed}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training that was done.

    Parameters
    ----------
    side, params, seed, epochs
        As ordered.
    history : list of dict
        Metrics of each epoch.
    physics : dict of dict
        {group: {name: value}} of the final network, on the validation events.
    """

    side: str
    params: dict[str, Any]
    seed: int
    epochs: int
    history: list[dict[str, float]]
    physics: dict[str, dict[str, float | None]]


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation over trainings; NaN where there are too few.

    Examples
    --------
    >>> Spread.of([1.0, 2.0, 3.0])
    Spread(mean=2.0, std=1.0)
    """

    mean: float
    std: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Take what trainings gave; those that gave no number do not count."""
        known = [v for v in values if v is not None and math.isfinite(v)]
        mean = float(np.mean(known)) if known else math.nan
        return cls(mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan)


@dataclass(slots=True)
class _Seat:
    """Whom a trainer trains for when there is no campaign: one rank, to the end."""

    params: dict[str, Any]
    seed: int
    max_step: int
    device: str
    rank: int = 0
    world_size: int = 1

    def ddp(self, module: nn.Module) -> nn.Module:
        return module


def configurations(
    tuned: Mapping[str, Any], default: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Complete the two sides by what they must have in common.

    Parameters
    ----------
    tuned : mapping
        Parameters of the tuned configuration.
    default : mapping, optional
        Parameters that the other side has; what is left out is our default.

    Returns
    -------
    dict
        Parameters of the sides "default" and "tuned".

    Raises
    ------
    SpaceError
        If a parameter is unknown or out of range.
    CampaignError
        If events or loss differ, so that the losses could not be compared.

    Examples
    --------
    >>> configurations({"lr": 0.01, "events": 100})["default"]
    {'events': 100}
    """
    sides = {"default": resolve_aliases(default or {}), "tuned": resolve_aliases(tuned)}
    shared = {name: side[name] for side in sides.values() for name in COMMON if name in side}
    sides = {name: shared | side for name, side in sides.items()}
    one, other = (_common(configure(side)[1]) for side in sides.values())
    for name in COMMON:
        if one[name] != other[name]:
            raise CampaignError(
                f"{name}={one[name]!r} before and {other[name]!r} after: must be the same, or the "
                "losses cannot be compared"
            )
    return sides


def _common(training: TrainingConfig) -> dict[str, Any]:
    return {f.name: getattr(training, f.name) for f in fields(training) if f.name in COMMON}


def train_all(
    orders: Sequence[Order],
    folder: Path,
    *,
    jobs: int = 1,
    watch: Callable[[Training, bool], object] = lambda training, again: None,
) -> list[Training]:
    """Do the trainings that are not done yet.

    Parameters
    ----------
    orders : sequence of Order
    folder : path
        Where each training is kept once it is complete.
    jobs : int
        Processes; with 1 it is done in this one.
    watch : callable
        Told each training, and whether it was there already.

    Raises
    ------
    CampaignError
        If the folder holds a training of another configuration, or of other epochs.
    StoreError
        If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error("write", folder, error) from error
    kept = {order.name: found for order in orders if (found := _kept(order, folder))}
    for training in kept.values():
        watch(training, True)
    left = [order for order in orders if order.name not in kept]
    for order, training in _done(left, jobs):
        text = json.dumps(_without_nan(asdict(training)), indent=1, allow_nan=False)
        write_atomic(folder / order.name, text + "\n")
        kept[order.name] = training
        watch(training, False)
    return [kept[order.name] for order in orders]


def _done(orders: Sequence[Order], jobs: int) -> Iterator[tuple[Order, Training]]:
    if jobs == 1 or len(orders) < 2:
        yield from ((order, train(order)) for order in orders)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
    with ProcessPoolExecutor(min(jobs, len(orders)), context) as pool:
        running = {pool.submit(train, order): order for order in orders}
        try:
            for ended in as_completed(running):
                yield running[ended], ended.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _kept(order: Order, folder: Path) -> Training | None:
    path = folder / order.name
    if not path.exists():
        return None
    try:
        found = Training(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a training of ours ({error}); remove it") from error
    if (found.params, found.epochs) != (dict(order.params), order.epochs):
        raise CampaignError(
            f"{path}: is of {found.params} for {found.epochs} epochs, not of {dict(order.params)} "
            f"for {order.epochs}: choose another directory"
        )
    history = [{k: math.nan if v is None else v for k, v in e.items()} for e in found.history]
    return Training(**(asdict(found) | {"history": history}))


def train(order: Order) -> Training:
    """Do one training, in this process."""
    import torch

    from daskhpo.mlpf.train import Trainer

    torch.set_num_threads(order.threads)
    trainer = Trainer(_Seat(dict(order.params), order.seed, order.epochs, order.device))
    history = []
    for epoch in range(1, order.epochs + 1):
        trainer.train(epoch)
        history.append(trainer.validate())
    return Training(
        side=order.side,
        params=dict(order.params),
        seed=order.seed,
        epochs=order.epochs,
        history=history,
        physics=_physics(trainer.model, trainer.data.validation, order.device),
    )


def _physics(model: MLPF, source: EventSource, device: str) -> dict[str, dict[str, float | None]]:
    """What jets and missing momentum of the network's particles are worth, by the true ones."""
    import torch

    from daskhpo.mlpf.checkpoint import predict
    from daskhpo.mlpf.events import Events
    from daskhpo.mlpf.physics import missing, responses
    from daskhpo.mlpf.physics.jets import definition_of
    from daskhpo.mlpf.physics.judgement import Reconstruction
    from daskhpo.mlpf.physics.uncertainties import Resamples

    held = source.take(torch.arange(len(source.counts)))
    x, target, counts = held.x.numpy(), held.y.numpy(), held.counts.numpy()
    events = Events(x, target, np.zeros_like(target), counts, held.schema)
    definition = definition_of(held.schema)
    truth, found = (
        Reconstruction.of(rows, counts, definition)
        for rows in (target, predict(model, events, device=device))
    )
    whole = Resamples(np.ones((1, len(counts)), np.int64))  # the spread is that of the trainings
    jets = responses.JetResponses.of(truth.jets, found.jets)
    table: dict[str, dict[str, float | None]] = {}
    for quantity in (
        *responses.quantities(jets, whole),
        *missing.quantities(truth.met, found.met, whole),
    ):
        name = f"{quantity.name} [{quantity.unit}]" if quantity.unit else quantity.name
        table.setdefault(quantity.group, {})[name] = float(quantity.samples[0])
    return table


def summarise(trainings: Sequence[Training]) -> dict[str, Any]:
    """Mean and standard deviation of everything, side by side, as JSON data.

    Returns
    -------
    dict
        For each side `params`, `trainings`, `curves` ({metric: {"mean": [...], "std": [...]}} by
        epoch), `final` and `physics` ({name: {"mean", "std"}}); None where there is no number.
        `gain`: the part of the final loss that went, and how well that is known.
    """
    content: dict[str, Any] = {}
    for side in SIDES:
        of_side = [training for training in trainings if training.side == side]
        curves = {metric: _curve(of_side, metric) for metric in CURVES}
        content[side] = {
            "params": of_side[0].params,
            "trainings": len(of_side),
            "curves": {
                metric: {"mean": [s.mean for s in curve], "std": [s.std for s in curve]}
                for metric, curve in curves.items()
            },
            "final": {metric: asdict(curve[-1]) for metric, curve in curves.items()},
            "physics": {
                group: {
                    name: asdict(Spread.of(t.physics[group][name] for t in of_side))
                    for name in names
                }
                for group, names in of_side[0].physics.items()
            },
        }
    content["gain"] = {"val_loss": asdict(_gain(trainings))}
    found: dict[str, Any] = _without_nan(content)
    return found


def _gain(trainings: Sequence[Training]) -> Spread:
    """Part of the mean final loss that went, with the standard error that the means leave it."""
    finals = [[t.history[-1]["val_loss"] for t in trainings if t.side == side] for side in SIDES]
    before, after = (Spread.of(losses) for losses in finals)
    parts = [
        spread.std / spread.mean / math.sqrt(len(losses))
        for spread, losses in zip((before, after), finals, strict=True)
    ]
    left = after.mean / before.mean
    return Spread(1 - left, left * math.hypot(*parts))


def _curve(trainings: Sequence[Training], metric: str) -> list[Spread]:
    epochs = range(trainings[0].epochs)
    return [Spread.of(t.history[epoch][metric] for t in trainings) for epoch in epochs]


def _without_nan(content: Any) -> Any:
    """JSON knows no NaN: None stands for it."""
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
