"""Events streamed from a store against what training consumes, side by side.

Run as `OMP_NUM_THREADS=1 python benchmarks/mlpf_loader.py [EVENTS.npz ...]`; for each file (by
default the shipped sample) it writes a store and prints, in events per second of CPU time,

- what the streaming loader delivers in shuffled batches of 8 events: cold, when every block has to
  be decoded (as in any epoch over more events than the cache holds), and warm, when all are held,
- what training consumes: forward, backward and step of the default MLPF on batches of as many,

and the ratios of the two (target: at least 3). All figures are CPU time of this process over all
its threads, with one thread for torch, so that other work on the machine changes them little; the
store's files are in the page cache of the system.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from daskhpo.mlpf.batches import EventBatches
from daskhpo.mlpf.config import MLPFConfig
from daskhpo.mlpf.events import Events, load_events, load_sample
from daskhpo.mlpf.losses import particle_flow_loss
from daskhpo.mlpf.model import MLPF
from daskhpo.mlpf.streaming import StoredEvents

ROUNDS = 5  # of loading and training in turn
BATCH_SIZE = 8
TRAINED_ELEMENTS = 10_000  # in a round, at least one batch


def rate(work: Callable[[], int]) -> float:
    """Events per second of CPU time, where `work` says how many events it has seen."""
    start = time.process_time()
    events = work()
    return events / (time.process_time() - start)


def loading(source: StoredEvents, epoch: int) -> Callable[[], int]:
    """One epoch in shuffled batches, the shuffling included."""

    def work() -> int:
        batches = source.shuffled(BATCH_SIZE, seed=1, epoch=epoch)
        return sum(len(source.take(events).counts) for events in batches)

    return work


def training(model: MLPF, batches: list[EventBatches]) -> Callable[[], int]:
    """Forward, backward and step on each batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def work() -> int:
        for batch in batches:
            loss = particle_flow_loss(model(batch.x, batch.counts), batch.y).total
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        return sum(len(batch.counts) for batch in batches)

    return work


def compare(events: Events, folder: Path) -> tuple[float, float, float]:
    """Median rates of loading cold, loading warm and training."""
    path = folder / "events.zarr"
    events.save(path)
    warm = StoredEvents.open(path, cache_bytes=2**40)
    batches, elements = [], 0
    for chosen in warm.shuffled(BATCH_SIZE, seed=1, epoch=0):
        if elements < TRAINED_ELEMENTS:
            batches.append(warm.take(chosen))
            elements += len(batches[-1].x)
    model = MLPF(MLPFConfig(), seed=1)
    model.fit_normalisation(batches[0].x)
    learn = training(model, batches)
    for work in (loading(warm, 0), learn):
        work()  # once before it counts
    rates = [
        (
            rate(loading(StoredEvents.open(path), epoch)),
            rate(loading(warm, epoch)),
            rate(learn),
        )
        for epoch in range(1, ROUNDS + 1)
    ]
    cold, held, trained = (statistics.median(column) for column in zip(*rates, strict=True))
    return cold, held, trained


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("                        elements  events/s of CPU time           loader : training")
    print("file            events   / event     cold     warm  training       cold      warm")
    for name in sys.argv[1:] or ["sample"]:
        events = load_sample() if name == "sample" else load_events(name)
        with tempfile.TemporaryDirectory() as folder:
            cold, warm, trained = compare(events, Path(folder))
        print(
            f"{Path(name).stem:15s} {len(events):6d} {len(events.X) / len(events):9.0f}"
            f" {cold:8.0f} {warm:8.0f} {trained:9.1f} {cold / trained:10.1f} {warm / trained:9.1f}"
        )


if __name__ == "__main__":
    main()
