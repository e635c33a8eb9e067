"""Training MLPF as one trial of a campaign: `objective(trial)`, on one device or many.

Every rank holds all events and knows every batch: which events form it, which of them are whose,
and by how many elements and particles the loss of the whole batch is divided. So nothing is
communicated but gradients and, once an epoch, sums; and n ranks train as one rank would.

What an epoch does is a pure function of (seed, epoch): the order of events, the learning rate and
the dropout. A resumed training therefore equals an undisturbed one.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from daskhpo.exceptions import SpaceError
from daskhpo.mlpf.events import Target, load_events, load_sample
from daskhpo.mlpf.losses import particle_flow_loss
from daskhpo.mlpf.metrics import balanced_accuracy, confusion_matrix
from daskhpo.mlpf.model import (
    ALIASES,
    MLPF,
    N_CLASSES,
    MLPFConfig,
    MLPFOutput,
    resolve_aliases,
)

__all__ = [
    "Dataset",
    "EventBatches",
    "TrainingConfig",
    "TrainingTrial",
    "configure",
    "objective",
]

CHOICES = {"schedule": ("constant", "cosine"), "precision": ("auto", "float32", "float64")}


class TrainingTrial(Protocol):
    """What `objective` uses of the trial that the runtime hands to it."""

    params: dict[str, Any]
    seed: int
    rank: int
    world_size: int
    max_step: int

    @property
    def device(self) -> str:
        """Where this rank computes, as torch names it."""

    def ddp(self, module: nn.Module) -> nn.Module:
        """Wrap a module in DistributedDataParallel when there are several ranks."""

    def steps(self, **state: Any) -> Iterator[int]:
        """Iterate over epochs from 1, saving and restoring `state` as needed."""

    def report(self, **metrics: float) -> None:
        """Report the metrics of this epoch, the same on every rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How to train, under the names that a campaign file uses.

    Parameters
    ----------
    lr, weight_decay : float
        Of AdamW; the decay is decoupled from the gradient.
    schedule : {"cosine", "constant"}
        "cosine" lowers the learning rate from lr towards 0 at the trial's max_step, whatever
        the rung at which it may be stopped before.
    batch_size : int
        Events in one optimiser step, over all ranks together.
    data : str
        "sample" for the shipped events or the path of a file that `load_events` reads.
    events : int
        Use this many events; 0 takes all.
    validation_fraction : float
        Part of them that is validated on instead of trained on.
    data_seed : int
        Chooses the events and their split, the same for all trials of a campaign.
    precision : {"auto", "float32", "float64"}
        "auto" is bfloat16 autocast on CUDA and float32 elsewhere.

    Raises
    ------
    SpaceError
        If a value is out of its range.

    Examples
    --------
    >>> TrainingConfig(lr=1e-3).schedule
    'cosine'
    """

    lr: float = 3e-3
    weight_decay: float = 1e-2
    schedule: str = "cosine"
    batch_size: int = 8
    data: str = "sample"
    events: int = 0
    validation_fraction: float = 0.2
    data_seed: int = 0
    precision: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SpaceError(f"{name}={getattr(self, name)!r} must be one of {allowed}")
        for name, least in {
            "weight_decay": 0,
            "batch_size": 1,
            "events": 0,
            "data_seed": 0,
        }.items():
            if not getattr(self, name) >= least:
                raise SpaceError(f"{name}={getattr(self, name)!r} must be at least {least}")
        if not self.lr > 0:
            raise SpaceError(f"lr={self.lr!r} must be greater than 0")
        if not 0 < self.validation_fraction < 1:
            raise SpaceError(
                f"validation_fraction={self.validation_fraction!r} must lie between 0 and 1"
            )


def configure(params: Mapping[str, Any]) -> tuple[MLPFConfig, TrainingConfig]:
    """Sort a trial's parameters into those of the network and those of the training.

    Every parameter must mean something: a name that is not known, which would silently tune
    nothing, is refused.

    Parameters
    ----------
    params : mapping of str to value

    Returns
    -------
    MLPFConfig, TrainingConfig

    Raises
    ------
    SpaceError
        If a name is unknown or a value out of its range.

    Examples
    --------
    >>> network, training = configure({"lr": 0.01, "num_graph_layers_common": 3})
    >>> network.n_glayers_id, training.lr
    (3, 0.01)
    """
    network = {entry.name for entry in fields(MLPFConfig)}
    training = {entry.name for entry in fields(TrainingConfig)}
    known = network | training | set(ALIASES)
    for name in params:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise SpaceError(
                f"{name}={params[name]!r} is not a parameter of MLPF: {hint}"
                f"Allowed are {', '.join(sorted(known))}"
            )
    resolved = resolve_aliases(params)
    chosen = {name: value for name, value in resolved.items() if name in training}
    return MLPFConfig.from_params(params), TrainingConfig(**chosen)


@dataclass(frozen=True, slots=True)
class EventBatches:
    """Events one after the other, from which any batch of events can be taken."""

    x: Tensor  # (M, F) elements
    y: Tensor  # (M, 7) true particles
    counts: Tensor  # (E,) int64 elements of each event
    starts: Tensor  # (E,) int64 first element of each event
    particles: Tensor  # (E,) int64 true particles of each event

    @classmethod
    def of(cls, x: Tensor, y: Tensor, counts: Tensor) -> EventBatches:
        """Index the events of x (M, F) and y (M, 7)."""
        event = torch.arange(len(counts)).repeat_interleave(counts)
        particles = torch.bincount(event[y[:, Target.CLASS] != 0], minlength=len(counts))
        return cls(x, y, counts, counts.cumsum(0) - counts, particles)

    def take(self, events: Tensor) -> EventBatches:
        """Take the given events (int64 indices), in that order."""
        counts = self.counts[events]
        shift = self.starts[events] - (counts.cumsum(0) - counts)
        rows = torch.arange(int(counts.sum())) + shift.repeat_interleave(counts)
        return EventBatches.of(self.x[rows], self.y[rows], counts)

    def share(self, events: Tensor, rank: int, world_size: int) -> Tensor:
        """Choose the part of `events` that is a rank's, so that all have about as many elements.

        The longest event goes first, each to the rank with least so far; a rank gets at least
        one event if there are enough.
        """
        if world_size == 1:
            return events
        load, mine = [0] * world_size, []
        order = torch.argsort(self.counts[events], descending=True, stable=True)
        for position in order.tolist():
            receiver = load.index(min(load))
            load[receiver] += int(self.counts[events[position]]) + 1  # an empty event counts too
            if receiver == rank:
                mine.append(position)
        return events[sorted(mine)]

    def shuffled(self, batch_size: int, *, seed: int, epoch: int) -> list[Tensor]:
        """List the batches of an epoch: all events in random order, in parts of nearly one size."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self.counts))
        return list(torch.from_numpy(order).tensor_split(math.ceil(len(order) / batch_size)))


@dataclass(frozen=True, slots=True)
class Dataset:
    """Training and validation events."""

    train: EventBatches
    validation: EventBatches


@lru_cache(maxsize=4)
def _dataset(data: str, events: int, validation_fraction: float, data_seed: int) -> Dataset:
    """Read, choose and split the events, once per process."""
    loaded = load_sample() if data == "sample" else load_events(data)
    available = len(loaded.counts)
    if events > available or available < 2 or events == 1:
        raise SpaceError(f"events={events} must be 0 (all) or between 2 and {available} for {data}")
    whole = EventBatches.of(
        torch.as_tensor(loaded.X, dtype=torch.float32),
        torch.as_tensor(loaded.ygen, dtype=torch.float32),
        torch.as_tensor(loaded.counts, dtype=torch.int64),
    )
    chosen = torch.from_numpy(np.random.default_rng(data_seed).permutation(available))
    chosen = chosen[: events or available]
    n_validation = min(max(1, round(validation_fraction * len(chosen))), len(chosen) - 1)
    return Dataset(whole.take(chosen[n_validation:]), whole.take(chosen[:n_validation]))


def objective(trial: TrainingTrial) -> None:
    """Train MLPF as `trial` asks and report its validation loss after every epoch.

    Reported are `val_loss` (the whole loss: class, charge, momentum), `val_cls_loss`,
    `val_reg_loss` and `val_accuracy` (balanced: the mean recall of the classes).

    Parameters
    ----------
    trial : TrainingTrial
        Its `params` hold fields of `MLPFConfig` and `TrainingConfig`.

    Raises
    ------
    SpaceError
        If a parameter is unknown or out of range, or a batch has fewer events than ranks.
    """
    network, training = configure(trial.params)
    if training.batch_size < trial.world_size:
        raise SpaceError(
            f"batch_size={training.batch_size} must be at least the number of ranks, "
            f"{trial.world_size}: each takes at least one event"
        )
    data = _dataset(
        training.data, training.events, training.validation_fraction, training.data_seed
    )
    model = MLPF(network, seed=trial.seed)
    model.fit_normalisation(data.train.x)
    dtype = torch.float64 if training.precision == "float64" else torch.float32
    model.to(device=trial.device, dtype=dtype)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.lr, weight_decay=training.weight_decay, fused=True
    )
    parallel = trial.ddp(model)
    for epoch in trial.steps(model=model, optimizer=optimizer):
        model.seed_dropout(_derived_seed(trial.seed, epoch, trial.rank))
        _train_epoch(parallel, optimizer, data.train, trial=trial, training=training, epoch=epoch)
        trial.report(**_validate(model, data.validation, trial=trial, training=training))


def _derived_seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: EventBatches,
    *,
    trial: TrainingTrial,
    training: TrainingConfig,
    epoch: int,
) -> None:
    """Pass over all training events once."""
    model.train()
    batches = data.shuffled(training.batch_size, seed=trial.seed, epoch=epoch)
    for number, events in enumerate(batches):
        progress = (epoch - 1 + number / len(batches)) / trial.max_step  # in [0, 1)
        for group in optimizer.param_groups:
            # set here, not restored: the trial's parameters rule over what a checkpoint says
            group["lr"] = _learning_rate(training, progress)
            group["weight_decay"] = training.weight_decay
        batch = data.take(data.share(events, trial.rank, trial.world_size))
        # gradients are averaged over ranks: each divides by its part of the global numbers
        loss = particle_flow_loss(
            *_forward(model, batch, device=trial.device, precision=training.precision),
            elements=max(1, int(data.counts[events].sum())) / trial.world_size,
            particles=max(1, int(data.particles[events].sum())) / trial.world_size,
        )
        optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _learning_rate(training: TrainingConfig, progress: float) -> float:
    if training.schedule == "constant":
        return training.lr
    return training.lr * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


@torch.no_grad()
def _validate(
    model: MLPF, data: EventBatches, *, trial: TrainingTrial, training: TrainingConfig
) -> dict[str, float]:
    """Metrics over all validation events; each rank computes its share of the sums."""
    model.eval()
    elements = max(1, int(data.counts.sum()))
    particles = max(1, int(data.particles.sum()))
    mine = data.share(torch.arange(len(data.counts)), trial.rank, trial.world_size)
    sums = torch.zeros(4 + N_CLASSES**2, dtype=torch.float64, device=trial.device)
    for events in torch.split(
        mine, 4 * training.batch_size
    ):  # no gradients are kept: larger batches
        batch = data.take(events)
        output, target = _forward(model, batch, device=trial.device, precision=training.precision)
        parts = particle_flow_loss(output, target, elements=elements, particles=particles)
        predicted = output.logits.argmax(1)
        confusion = confusion_matrix(predicted, target[:, Target.CLASS], n_classes=N_CLASSES)
        sums += torch.cat([torch.stack(parts).double(), confusion.flatten()])
    if trial.world_size > 1:
        torch.distributed.all_reduce(sums)
    total, cls, _, reg = sums[:4].tolist()
    accuracy = balanced_accuracy(sums[4:].view(N_CLASSES, N_CLASSES))
    return {
        "val_loss": total,
        "val_cls_loss": cls,
        "val_reg_loss": reg,
        "val_accuracy": accuracy,
    }


def _forward(
    model: nn.Module, batch: EventBatches, *, device: str, precision: str
) -> tuple[MLPFOutput, Tensor]:
    """Predictions for a batch and their targets (M, 7), both on `device`."""
    kind = torch.device(device).type
    mixed = precision == "auto" and kind == "cuda"
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=mixed):
        output = model(batch.x.to(device, non_blocking=True), batch.counts)
    return output, batch.y.to(device, non_blocking=True)
