"""One copy of the benchmark: MLPF trained on fixed events, epoch by epoch against the clock.

There is nothing to choose at random: the events are the first of the shipped sample (again from the
first when they are used up), weights, batches and dropout follow from constants. The network is the
papers' tuned one, the training the same `objective` that campaigns run.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from daskhpo.exceptions import CampaignError, ObjectiveError
from daskhpo.mlpf.events import Events, load_sample

__all__ = ["TimedTrial", "Timing", "Workload", "checksum", "fixed_events", "train"]

PARAMS: Mapping[str, Any] = {"preset": "paper-table3", "batch_size": 5, "data_seed": 0}
SEED = 0
DIGITS = 2  # upstream rounds the mean throughput


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What each copy does.

    Parameters
    ----------
    events : int
        Events that an epoch trains on; one more is validated on.
    epochs : int
        The first warms up and is not counted.
    threads : int
        Threads of a copy.
    device : str
        As torch names it.

    Raises
    ------
    CampaignError
        If a number is too small.

    Examples
    --------
    >>> Workload(events=100, epochs=3).threads
    1
    """

    events: int = 200
    epochs: int = 4
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what cannot be timed."""
        if self.epochs < 2:
            raise CampaignError(
                f"epochs={self.epochs}: must be at least 2: the first warms up and is not counted"
            )
        for name in ("events", "threads"):
            if getattr(self, name) < 1:
                raise CampaignError(f"{name}={getattr(self, name)}: must be at least 1")

    def params(self, data: str | os.PathLike[str]) -> dict[str, Any]:
        """Parameters of the training on the events of a file made from `fixed_events`."""
        events = self.events + 1
        return dict(PARAMS) | {
            "data": os.fspath(data),
            "events": events,
            "validation_fraction": 1 / events,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What the clock said of one copy; times in seconds.

    Examples
    --------
    >>> Timing(events=100, epoch_times=(9.0, 4.0, 5.0), start=0.0, stop=18.0).mean_throughput
    22.5
    """

    events: int
    epoch_times: tuple[float, ...]
    start: float  # since 1970
    stop: float
    device: str = "cpu"
    gpu: str = ""

    @property
    def throughputs(self) -> list[float]:
        """Events per second of each epoch."""
        return [self.events / seconds for seconds in self.epoch_times]

    @property
    def mean_throughput(self) -> float:
        """Events per second from the second epoch on: the mean over epochs, to two digits."""
        counted = self.throughputs[1:]
        return round(sum(counted) / len(counted), DIGITS)

    def to_dict(self) -> dict[str, Any]:
        """Give it under the names of the `result.json` that the papers' own callback writes."""
        batch = PARAMS["batch_size"]
        steps = math.ceil(self.events / batch)
        counted = self.epoch_times[1:]
        return {
            "wl-scores": {
                "mean_throughput": self.mean_throughput,
                "mean_epoch_time": sum(counted) / len(counted),
            },
            "wl-stats": {
                "num_epochs": len(self.epoch_times),
                "epoch_times": list(self.epoch_times),
                "train_start": self.start,
                "train_stop": self.stop,
                "train_time": self.stop - self.start,
                "horovod_enabled": False,
                "GPU": self.gpu,
                "CPU": platform.processor() or platform.machine(),
                "train_set_size": self.events,
                "batch_size_per_device": batch,
                "batch_size_total": batch,
                "steps_per_epoch": steps,
                "events_per_epoch": batch * steps,
                "throughput_per_epoch": self.throughputs,
            },
        }


@dataclass(slots=True, kw_only=True)
class TimedTrial:
    """A trial that no campaign runs: it only notes when each epoch begins and when it reports."""

    params: dict[str, Any]
    max_step: int
    device: str = "cpu"
    ready: Callable[[], object] = lambda: None  # called before the first epoch: waits for others
    clock: Callable[[], float] = time.perf_counter
    seed: int = SEED
    rank: int = 0
    world_size: int = 1
    epoch_times: list[float] = field(default_factory=list)
    began: float = 0.0  # the epoch, on the clock

    def ddp(self, module: nn.Module) -> nn.Module:
        """Leave the module as it is: a copy is one process."""
        return module

    def steps(self, **state: Any) -> Iterator[int]:
        """Count the epochs, none of them left out."""
        self.ready()
        for epoch in range(1, self.max_step + 1):
            self.began = self.clock()
            yield epoch

    def report(self, **metrics: float) -> None:
        """End the epoch; what is reported lies on the CPU, so that the device has finished."""
        self.epoch_times.append(self.clock() - self.began)
        if not math.isfinite(metrics["val_loss"]):
            raise ObjectiveError(
                f"val_loss={metrics['val_loss']!r} in epoch {len(self.epoch_times)}: "
                "the training is not sound, so its throughput means nothing"
            )


def fixed_events(events: int) -> Events:
    """Take the events of a `Workload`: in the order of the sample, again from its first.

    Examples
    --------
    >>> len(fixed_events(700))
    701
    """
    sample = load_sample()
    return sample[np.arange(events + 1) % len(sample)]


def checksum(events: Events) -> str:
    """Name the content of events (SHA-256), whatever the file that holds them.

    Examples
    --------
    >>> checksum(fixed_events(1)) == checksum(fixed_events(2))
    False
    """
    digest = hashlib.sha256()
    for array in (events.X, events.ygen, events.counts):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def train(
    workload: Workload,
    data: Path,
    *,
    ready: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
    now: Callable[[], float] = time.time,
) -> Timing:
    """Train one copy in this process.

    Parameters
    ----------
    workload : Workload
    data : path
        Events from `fixed_events`, as a file.
    ready : callable
        Called once all is prepared, before the first epoch.
    clock, now : callable
        Seconds: on a clock that never goes back, and since 1970.
    """
    import torch

    from daskhpo.mlpf.train import objective

    torch.set_num_threads(workload.threads)
    start = 0.0

    def begin() -> None:
        nonlocal start
        ready()
        start = now()

    trial = TimedTrial(
        params=workload.params(data),
        max_step=workload.epochs,
        device=workload.device,
        ready=begin,
        clock=clock,
    )
    objective(trial)
    cuda = torch.device(workload.device).type == "cuda"
    return Timing(
        events=workload.events,
        epoch_times=tuple(trial.epoch_times),
        start=start,
        stop=now(),
        device=workload.device,
        gpu=torch.cuda.get_device_name(workload.device) if cuda else "",
    )
