"""Which GPUs there are, which of them a trial may use, and on which one a rank computes."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from daskhpo.exceptions import BrokenNode

__all__ = ["Slots", "backend", "narrow", "pick_device", "visible_devices"]

# Where several are set the first one is what torch obeys, whatever the maker of the GPU.
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_NONE = ("", "-1", "NoDevFiles", "none", "void")  # words that end a list: nothing from here on
_NVIDIA = Path("/proc/driver/nvidia/gpus")  # one entry per GPU
_AMD = Path("/sys/class/kfd/kfd/topology/nodes")  # one entry per processor; CPUs have gpu_id 0


def visible_devices(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The ids of the GPUs that this process may use, named as the batch system named them.

    Without any of ``CUDA_VISIBLE_DEVICES``, ``ROCR_VISIBLE_DEVICES`` and ``HIP_VISIBLE_DEVICES``
    it is all that the driver lists.

    Parameters
    ----------
    environ : mapping
        The environment to look into.

    Returns
    -------
    tuple of str
        Numbers, UUIDs (``GPU-...``) or MIG names (``MIG-...``).

    Examples
    --------
    >>> visible_devices({"CUDA_VISIBLE_DEVICES": "2,GPU-8932f937"})
    ('2', 'GPU-8932f937')
    >>> visible_devices({"CUDA_VISIBLE_DEVICES": "NoDevFiles"})
    ()
    """
    variable = _variable(environ)
    if variable is None:
        return tuple(map(str, range(_installed())))
    names: list[str] = []
    for name in environ[variable].split(","):
        if name.strip() in _NONE:
            break
        names.append(name.strip())
    return tuple(names)


def narrow(environ: Mapping[str, str], devices: Sequence[str]) -> dict[str, str]:
    """A copy of ``environ`` in which only ``devices`` are visible, by the same names.

    Numbers stay as they are: 0 to n-1 would be somebody else's GPUs wherever the batch system
    does not fence them in. Of several variables one is kept, since each counts within what
    another leaves.

    Examples
    --------
    >>> narrow({"CUDA_VISIBLE_DEVICES": "4,5,6,7"}, ["6"])
    {'CUDA_VISIBLE_DEVICES': '6'}
    """
    if not devices or tuple(devices) == visible_devices(environ):
        return dict(environ)
    kept = _variable(environ) or _VARIABLES[0]
    others = {name: value for name, value in environ.items() if name not in _VARIABLES}
    return others | {kept: ",".join(devices)}


class Slots:
    """Hands the GPUs of one worker out to the trials that it trains at the same time.

    Parameters
    ----------
    devices : sequence of str
        What the worker may use: :func:`visible_devices`.
    per_trial : int
        GPUs that each trial needs here; 0: all trials share evenly in what is there.
    trials : int
        How many trials there may be at the same time.

    Examples
    --------
    >>> slots = Slots(("4", "5", "6", "7"), per_trial=2, trials=2)
    >>> slots.take(), slots.take()
    (('4', '5'), ('6', '7'))
    """

    def __init__(self, devices: Sequence[str], per_trial: int, trials: int) -> None:
        self.devices = tuple(devices)
        self.per_trial = per_trial
        self._free = _shares(self.devices, per_trial, trials)
        self._broken = per_trial > 0 and not self._free
        self._news = threading.Condition()

    def take(self) -> tuple[str, ...]:
        """GPUs that nobody else has; waits until there are some.

        Raises
        ------
        BrokenNode
            If the worker has fewer GPUs than one trial needs.
        """
        if self._broken:
            raise BrokenNode(
                f"a trial needs {self.per_trial} GPUs on its worker, which was given "
                f"{len(self.devices)}: {', '.join(self.devices) or 'none'}"
            )
        with self._news:
            self._news.wait_for(lambda: self._free)
            return self._free.pop(0)

    def give(self, devices: tuple[str, ...]) -> None:
        """Whoever has taken them is done with them; the next one gets them first."""
        with self._news:
            self._free.insert(0, devices)
            self._news.notify()

    def device(self, devices: Sequence[str]) -> str:
        """What torch calls the first of ``devices`` in the worker's own process, which sees all.

        For trials that train there, in threads, rather than in ranks. Empty: the first one there
        is, if any.
        """
        first = self.devices.index(devices[0]) if devices else 0
        if first == 0:
            return ""
        if importlib.util.find_spec("torch") is not None:
            importlib.import_module("torch")
        return pick_device(first)


def _shares(devices: tuple[str, ...], per_trial: int, trials: int) -> list[tuple[str, ...]]:
    if per_trial == 0 and len(devices) < trials:
        return [devices[i % len(devices) :][:1] if devices else () for i in range(trials)]
    size = per_trial or len(devices) // trials
    shares = [devices[i * size : (i + 1) * size] for i in range(trials)]
    return [share for share in shares if len(share) == size]


def pick_device(rank: int) -> str:
    """``"cuda:<i>"`` for the i-th visible GPU (ranks share when there are fewer), else ``"cpu"``.

    torch is not imported for the question: without it in the process there is nothing to place.

    Examples
    --------
    >>> pick_device(0) in ("cpu", "cuda:0")
    True
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{rank % torch.cuda.device_count()}"


def backend(ranks: int) -> str:
    """``"nccl"`` when each of this machine's ``ranks`` has a GPU of its own, else ``"gloo"``."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.device_count() >= ranks:
        return "nccl"
    return "gloo"


def _variable(environ: Mapping[str, str]) -> str | None:
    return next((name for name in _VARIABLES if name in environ), None)


def _installed() -> int:
    if _NVIDIA.is_dir():
        return len(os.listdir(_NVIDIA))
    return sum(place.read_text().strip() != "0" for place in _AMD.glob("*/gpu_id"))
