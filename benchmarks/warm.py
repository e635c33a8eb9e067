"""How long a worker's GPUs stand idle between two trials that train in processes of their own.

From the end of one trial to the first step of the next on the same worker, as the trials stamp it:
whatever the tuner, the worker, new processes, imports (torch), the ranks' finding together and the
wrapping of the model take. Of several ranks the one that stands idle longest counts.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from row import Row

from daskhpo import Fifo, Float, Space, Tuner
from daskhpo.cluster.local import local_client

__all__ = ["rows"]

STEPS = 3
MAX_IDLE = 1.0  # seconds


def objective(trial: Any) -> None:
    """Train a small model; every rank stamps when its first step began and when it ended."""
    import torch

    model = trial.ddp(torch.nn.Linear(8, 8))
    began = 0.0
    for _ in trial.steps():
        began = began or time.time()
        loss = model(torch.ones(4, 8)).square().mean()
        loss.backward()
        trial.report(loss=float(loss.detach()))
    stamp = trial.folder() / f"stamp-{trial.number}-{trial.rank}"
    stamp.write_text(f"{began} {time.time()}")


def rows(*, quick: bool) -> list[Row]:
    """Measure ranks that stay and ranks that do not, in turns."""
    found = []
    with tempfile.TemporaryDirectory() as folder, local_client(count=1) as client:
        for ranks in (1, 2):
            idle: dict[bool, list[float]] = {True: [], False: []}
            for part in range(1 if quick else 3):
                for warm, trials in ((True, 11), (False, 4)):
                    path = Path(folder, f"{ranks}-{part}-{warm}")
                    idle[warm] += measure(client, path, ranks=ranks, warm=warm, trials=trials)
            what = f"idle between two trials of {ranks} rank{'s' * (ranks > 1)}"
            median = statistics.median(idle[True])
            target = f"< {MAX_IDLE:g} s median"
            found.append(Row(f"{what}, warm", _text(idle[True]), target, median < MAX_IDLE))
            found.append(Row(f"{what}, started anew", _text(idle[False])))
    return found


def measure(client: Any, path: Path, *, ranks: int, warm: bool, trials: int) -> list[float]:
    """Seconds between the trials of one campaign on one worker."""
    tuner = Tuner(
        objective, Space(x=Float(0, 1)), metric="loss", path=path, scheduler=Fifo(max_step=STEPS),
        sampler="random", workers={"ranks": ranks, "isolate": True, "warm": warm},
    )  # fmt: skip
    tuner.run(client, trials=trials)
    stamps: dict[int, dict[int, list[float]]] = {}  # {trial: {rank: [began, ended]}}
    for stamp in path.glob("trials/*/stamp-*"):
        number, rank = map(int, stamp.name.split("-")[1:])
        stamps.setdefault(number, {})[rank] = [float(each) for each in stamp.read_text().split()]
    in_order = sorted(stamps.values(), key=lambda trial: trial[0])
    if len(in_order) != trials or any(len(trial) != ranks for trial in in_order):
        raise RuntimeError(f"{path}: {len(in_order)} of {trials} trials have been trained")
    return [
        max(later[rank][0] - earlier[rank][1] for rank in range(ranks))
        for earlier, later in itertools.pairwise(in_order)
    ]


def _text(seconds: list[float]) -> str:
    return (
        f"{statistics.median(seconds):.3f} s median, {max(seconds):.3f} s worst of {len(seconds)}"
    )


if __name__ == "__main__":
    for row in rows(quick=False):
        print(row.what, row.measured, row.target, row.verdict, sep=" | ")
