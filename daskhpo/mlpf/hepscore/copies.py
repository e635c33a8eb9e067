"""Several copies of the benchmark at the same time, each in a process of its own."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from threading import BrokenBarrierError
from typing import TYPE_CHECKING

from daskhpo.exceptions import CampaignError, ObjectiveError
from daskhpo.mlpf.hepscore.workload import Timing, Workload, train

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

__all__ = ["choose_device", "default_copies", "run_copies"]

_start: Barrier | None = None  # of this process's run; set in each copy before it works


def choose_device(device: str) -> str:
    """Turn "auto" into "cuda" where there is a GPU, else "cpu".

    Raises
    ------
    CampaignError
        If a GPU is asked for and there is none.

    Examples
    --------
    >>> choose_device("cpu")
    'cpu'
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise CampaignError("device='cuda': PyTorch finds no GPU here; allowed are auto and cpu")
    return device


def default_copies(workload: Workload) -> int:
    """Fill the machine: a copy for each GPU, or as many as its cores have threads for.

    Examples
    --------
    >>> default_copies(Workload(threads=100_000))
    1
    """
    if workload.device != "cpu":
        import torch

        return max(1, torch.cuda.device_count())
    return max(1, len(os.sched_getaffinity(0)) // workload.threads)


def run_copies(workload: Workload, data: Path, copies: int) -> list[Timing]:
    """Train copies side by side; none begins its first epoch before all can.

    Parameters
    ----------
    workload : Workload
        GPUs are dealt out in turn where its device is "cuda".
    data : path
        Events from `fixed_events`, as a file.
    copies : int

    Raises
    ------
    ObjectiveError
        If a copy fails; the others are ended.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
    barrier = context.Barrier(copies)
    with ProcessPoolExecutor(copies, context, _join, (barrier,)) as pool:
        running = [
            pool.submit(_copy, dataclasses.replace(workload, device=device), data)
            for device in _deal(workload.device, copies)
        ]
        wait(running)
    errors = [error for copy in running if (error := copy.exception()) is not None]
    if errors:
        # those that waited for the one that failed have nothing to tell
        cause = next((e for e in errors if not isinstance(e, BrokenBarrierError)), errors[0])
        said = "a process was killed" if isinstance(cause, BrokenProcessPool) else str(cause)
        raise ObjectiveError(
            f"a copy of the benchmark failed: {type(cause).__name__}: {said}"
        ) from cause
    return [copy.result() for copy in running]


def _deal(device: str, copies: int) -> list[str]:
    if device != "cuda":
        return [device] * copies
    import torch

    return [f"cuda:{copy % torch.cuda.device_count()}" for copy in range(copies)]


def _join(barrier: Barrier) -> None:
    global _start
    _start = barrier


def _copy(workload: Workload, data: Path) -> Timing:
    assert _start is not None
    try:
        return train(workload, data, ready=_start.wait)
    except BaseException:
        _start.abort()
        raise
