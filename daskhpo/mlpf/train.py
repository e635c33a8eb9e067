"""Training MLPF as one trial of a campaign: `objective(trial)`, on one device or many.

Every rank knows every batch: which events form it, which of them are whose, and by how many
elements and particles the loss of the whole batch is divided. So nothing is communicated but
gradients and, once a step of the campaign, sums; and n ranks train as one rank would.

What a step of the campaign does is a pure function of the seed, its number and the stretch of the
schedule that it lies in: the order of events, the learning rate and the dropout. The stretch is
saved with the weights. A resumed training therefore equals an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count, islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from daskhpo.exceptions import SpaceError
from daskhpo.mlpf.batches import EventBatches, EventSource, cut, load_dataset, prefetched, share
from daskhpo.mlpf.checkpoint import TrainedOn
from daskhpo.mlpf.config import MLPFConfig
from daskhpo.mlpf.decoder import N_CLASSES, MLPFOutput
from daskhpo.mlpf.losses import LossParts, Norm, particle_flow_loss
from daskhpo.mlpf.metrics import balanced_accuracy, confusion_matrix
from daskhpo.mlpf.model import MLPF
from daskhpo.mlpf.schedules import Stretch
from daskhpo.mlpf.schema import Measured, Target
from daskhpo.mlpf.training import TrainingConfig, configure

__all__ = ["Place", "Trainer", "TrainingTrial", "objective"]

ENOUGH = 5_000  # events tell the mean and the scale of every feature
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


class Place(Protocol):
    """Whom a `Trainer` trains for: a trial, or a rank of one.

    It may have a `stop`, the step after which it waits for a decision; else that is `max_step`.
    """

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


class TrainingTrial(Place, Protocol):
    """What `objective` uses of the trial that the runtime hands to it."""

    def steps(self, **state: Any) -> Iterator[int]:
        """Iterate over steps from 1, saving and restoring `state` as needed."""

    def report(self, **metrics: float) -> None:
        """Report the metrics of this step, the same on every rank."""


def objective(trial: TrainingTrial) -> None:
    """Train MLPF as `trial` asks and report its validation loss after every step.

    Reported are `val_loss` (the whole loss: class, charge, momentum), its parts before they are
    weighted, `val_cls_loss`, `val_charge_loss` and `val_reg_loss`, and `val_accuracy` (balanced:
    the mean recall of the classes). A training that diverges reports nan, and trains no more.

    Parameters
    ----------
    trial : TrainingTrial
        Its `params` hold fields of `MLPFConfig` and `TrainingConfig`.

    Raises
    ------
    SpaceError
        If a parameter is unknown or out of range, or a batch has fewer events than ranks.
    """
    trainer = Trainer(trial)
    for step in trial.steps(**trainer.state):
        trainer.train(step)
        trial.report(**trainer.validate())


class Trainer:
    """One network in training, on one rank.

    Use it where the loop is your own; `objective` is its use in a campaign.

    Parameters
    ----------
    trial : Place
        Its `params` hold fields of `MLPFConfig` and `TrainingConfig`.

    Attributes
    ----------
    model : MLPF
        With the columns of the data for input.
    training : TrainingConfig
    data : Dataset
        The events to train on and to validate on.
    state : dict
        {name: object with state_dict and load_state_dict}: all that a checkpoint has to keep.

    Raises
    ------
    SpaceError
        If a parameter is unknown or out of range, or a batch has fewer events than ranks.

    Examples
    --------
    >>> trainer = Trainer(trial)  # doctest: +SKIP
    >>> for step in range(1, trial.max_step + 1):  # doctest: +SKIP
    ...     trainer.train(step)
    ...     print(step, trainer.validate()["val_loss"])
    """

    def __init__(self, trial: Place) -> None:
        network, training = configure(trial.params)
        if training.batch_size < trial.world_size and not training.batch_elements:
            raise SpaceError(
                f"batch_size={training.batch_size} must be at least the number of ranks, "
                f"{trial.world_size}: each takes at least one event"
            )
        self.training = training
        self.data = load_dataset(
            training.data, training.events, training.validation_fraction, training.data_seed
        )
        network = _fit_to(network, self.data.train, given="input_dim" in trial.params)
        self.model = MLPF(network, seed=trial.seed)
        some = torch.arange(min(len(self.data.train.counts), ENOUGH))
        self.model.fit_normalisation(self.data.train.take(some).x)
        dtype = torch.float64 if training.precision == "float64" else torch.float32
        self.model.to(device=trial.device, dtype=dtype)
        self._optimizer = OPTIMIZERS[training.optimizer](
            self.model.parameters(), lr=training.lr, weight_decay=training.weight_decay, fused=True
        )
        self._stretch = Stretch(training.schedule_span, trial.max_step)
        self.state: dict[str, Any] = {
            "model": self.model,
            "optimizer": self._optimizer,
            "stretch": self._stretch,
        }
        self._trial = trial
        self._batches = _Batches(self.data.train, training, trial.seed)
        self._parallel = trial.ddp(self.model)
        self._diverged = False

    def train(self, step: int) -> int:
        """Train one step of the campaign: an epoch, or as many gradient steps as were asked for.

        Returns
        -------
        int
            How many events it learned from, over all ranks.
        """
        if self._diverged:
            return 0
        self._stretch.enter(step, milestone=getattr(self._trial, "stop", self._trial.max_step))
        self.model.seed_dropout(_derived_seed(self._trial.seed, step, self._trial.rank))
        self.model.train()
        batches = self._batches.of(step)
        mine = (self._share(self.data.train, events) for events in batches)
        read = prefetched(self.data.train, mine)
        for number, (events, batch) in enumerate(zip(batches, read, strict=True)):
            self._set_rate(step - 1 + number / len(batches))
            self._gradient_step(events, batch)
        return sum(map(len, batches))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Metrics over all validation events; each rank computes its share of the sums."""
        self.model.eval()
        data, trial, training = self.data.validation, self._trial, self.training
        mine = self._share(data, torch.arange(len(data.counts)))
        norm = Norm.of(data.counts, data.particles, training.loss_norm)
        parts = len(LossParts._fields)
        sums = torch.zeros(parts + N_CLASSES**2, dtype=torch.float64, device=trial.device)
        for batch in prefetched(data, _portions(data, mine, training)):
            output, target, pt = self._forward(self.model, batch)
            loss = particle_flow_loss(output, target, norm=norm, settings=training.loss, pt=pt)
            predicted = output.classes()
            confusion = confusion_matrix(predicted, target[:, Target.CLASS], n_classes=N_CLASSES)
            sums += torch.cat([torch.stack(loss).double(), confusion.flatten()])
        if trial.world_size > 1:
            torch.distributed.all_reduce(sums)
        total, cls, charge, reg = sums[:parts].tolist()
        self._diverged = not math.isfinite(total)  # alike on every rank, as the sums are
        return {
            "val_loss": total,
            "val_cls_loss": cls,
            "val_charge_loss": charge,
            "val_reg_loss": reg,
            "val_accuracy": balanced_accuracy(sums[parts:].view(N_CLASSES, N_CLASSES)),
        }

    def trained_on(self, step: int) -> TrainedOn:
        """What a checkpoint of `save_checkpoint` after `step` says about the events."""
        t = self.training
        per_epoch = 1 if t.unit == "epoch" else len(self._batches.epoch(1)) / t.steps_per_unit
        return TrainedOn(
            data=t.data,
            events=t.events,
            validation_fraction=t.validation_fraction,
            data_seed=t.data_seed,
            schema=self.data.train.schema.name,
            epochs=step / per_epoch,
        )

    def _set_rate(self, passed: float) -> None:
        """Set what the trial's parameters say: they rule over what a parent's checkpoint says."""
        t = self.training
        factor = self._stretch.factor(t.schedule, passed, decay_rate=t.decay_rate)
        for group in self._optimizer.param_groups:
            group["lr"] = t.lr * factor
            group["weight_decay"] = t.weight_decay

    def _share(self, data: EventSource, events: Tensor) -> Tensor:
        return share(data, events, rank=self._trial.rank, world_size=self._trial.world_size)

    def _gradient_step(self, events: Tensor, batch: EventBatches) -> None:
        """Learn from a rank's share of the global batch of `events`, without waiting for a GPU."""
        training, data = self.training, self.data.train
        # gradients are averaged over ranks: each divides by its part of the global numbers
        norm = Norm.of(
            data.counts[events],
            data.particles[events],
            training.loss_norm,
            ranks=self._trial.world_size,
        )
        output, target, pt = self._forward(self._parallel, batch)
        loss = particle_flow_loss(output, target, norm=norm, settings=training.loss, pt=pt)
        self._optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        if training.clip_norm:  # of gradients that are averaged already: alike on every rank
            nn.utils.clip_grad_norm_(self.model.parameters(), training.clip_norm)
        self._optimizer.step()

    def _forward(self, model: nn.Module, batch: EventBatches) -> tuple[MLPFOutput, Tensor, Tensor]:
        """Predictions for a batch, their targets (M, 7) and measured pt (M,), on the device."""
        device = self._trial.device
        kind = torch.device(device).type
        mixed = self.training.precision == "auto" and kind == "cuda"
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=mixed):
            x = batch.x.to(device, non_blocking=True)
            output = model(x, batch.counts)
        return output, batch.y.to(device, non_blocking=True), x[:, Measured.PT]


class _Batches:
    """Which events form the gradient steps of each step of the campaign."""

    def __init__(self, source: EventSource, training: TrainingConfig, seed: int) -> None:
        self._source = source
        self._training = training
        self._seed = seed
        self._stream: Iterator[Tensor] = iter(())
        self._taken = -1  # batches of the stream so far

    def of(self, step: int) -> list[Tensor]:
        """Give the batches of a step: a pure function of it, quick if steps follow one another."""
        if self._training.unit == "epoch":
            return self.epoch(step)
        n = self._training.steps_per_unit
        first = (step - 1) * n
        if first != self._taken:
            endless = chain.from_iterable(map(self.epoch, count(1)))
            self._stream = islice(endless, first, None)
        self._taken = first + n
        return list(islice(self._stream, n))

    def epoch(self, number: int) -> list[Tensor]:
        """Give the batches of a pass over all training events."""
        t = self._training
        return self._source.shuffled(
            t.batch_size, seed=self._seed, epoch=number, batch_elements=t.batch_elements
        )


def _fit_to(network: MLPFConfig, data: EventSource, *, given: bool) -> MLPFConfig:
    """Give the network as many inputs as the data have columns."""
    width = data.schema.width
    if given and network.input_dim != width:
        raise SpaceError(
            f"input_dim={network.input_dim} must be {width}, the columns of {data.schema.name} "
            "events; leave it out to take it from the data"
        )
    return replace(network, input_dim=width)


def _portions(data: EventSource, events: Tensor, training: TrainingConfig) -> list[Tensor]:
    """Cut the events to validate on; no gradients are kept, so portions are larger than batches."""
    if not len(events):
        return []  # fewer events than ranks
    return cut(
        events,
        data.counts,
        batch_size=4 * training.batch_size,
        batch_elements=2 * training.batch_elements,
    )


def _derived_seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
