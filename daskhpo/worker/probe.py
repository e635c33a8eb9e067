"""Do the GPUs of this machine work? ``python -m daskhpo.worker.probe --gpus 4`` says.

It prints one line of JSON and exits with 0 if they do. Each GPU multiplies two matrices, and all
of them add a vector up, before any trial is made to depend on it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from daskhpo.exceptions import BrokenNode
from daskhpo.worker.devices import narrow, visible_devices
from daskhpo.worker.environment import rank_environment

__all__ = ["Checkup", "check_devices", "main", "suspicious"]

PATIENCE = 300.0  # seconds: a first import of torch from a busy file system takes minutes
SIDE = 256  # of the matrices
WORDS = 1000  # characters of what a check has printed that are passed on

_SUSPECT = re.compile(
    "CUDA error|HIP error|ECC|NVLink|unspecified launch failure|no CUDA-capable device"
    "|CUDA driver|fallen off the bus|unhandled (?:system|cuda) error",
    re.IGNORECASE,
)
_TRIALS_OWN = re.compile("device-side assert|out of memory", re.IGNORECASE)


def suspicious(error: str) -> bool:
    """Whether a trial's error may be its machine's, so that the machine should be checked again.

    Examples
    --------
    >>> suspicious("RuntimeError: CUDA error: uncorrectable ECC error encountered")
    True
    >>> suspicious("RuntimeError: CUDA error: device-side assert triggered")
    False
    """
    return bool(_SUSPECT.search(error)) and not _TRIALS_OWN.search(error)


def check_devices(
    devices: Sequence[str], gpus: int, command: str = "", *, patience: float = PATIENCE
) -> str:
    """Check GPUs in a process of its own.

    Parameters
    ----------
    devices : sequence of str
        Which ones; empty: all that this process sees.
    gpus : int
        How many there must be; nothing is checked if it is 0 and there is no ``command``.
    command : str
        A shell command to run instead of this module: what it prints is the reason if its exit
        code is not 0.
    patience : float
        Seconds after which it counts as broken.

    Returns
    -------
    str
        What is wrong; empty if nothing is.

    Examples
    --------
    >>> check_devices((), 0, "echo no such card; exit 1")
    "the check 'echo no such card; exit 1' ended with exit code 1: no such card"
    """
    if not command and gpus == 0:
        return ""
    own = [sys.executable, "-m", "daskhpo.worker.probe", "--gpus", str(gpus)]
    checker = subprocess.Popen(
        ["/bin/sh", "-c", command] if command else own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=narrow(os.environ, devices)
        if command
        else rank_environment(os.environ, devices=devices),
        start_new_session=True,
    )
    try:
        output, _ = checker.communicate(timeout=patience)
        how = f"ended with exit code {checker.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(checker.pid, signal.SIGKILL)
        output, _ = checker.communicate()
        how = f"did not end within {patience:g} s"
    if checker.returncode == 0:
        return ""
    text = output.decode(errors="replace").strip()
    return f"the check {command or 'of the GPUs'!r} {how}: {_words(text)}"


class Checkup:
    """Checks each set of GPUs of a worker once, before its first trial, and again when in doubt.

    Parameters
    ----------
    command : str
        See :func:`check_devices`.

    Examples
    --------
    >>> Checkup().assure(devices=(), gpus=0)
    """

    def __init__(self, command: str = "") -> None:
        self.command = command
        self._good: set[tuple[str, ...]] = set()  # devices that have passed
        self._lock = threading.Lock()

    def assure(self, devices: tuple[str, ...], gpus: int) -> None:
        """Return once ``devices`` are known to work; see :func:`check_devices`.

        Raises
        ------
        BrokenNode
            If they do not.
        """
        with self._lock:
            if devices in self._good:
                return
            wrong = check_devices(devices, gpus, self.command)
            if wrong:
                raise BrokenNode(wrong)
            self._good.add(devices)

    def doubt(self, devices: tuple[str, ...], gpus: int, error: str) -> None:
        """A trial on ``devices`` has failed with ``error``: check them again if that may be why.

        Raises
        ------
        BrokenNode
            If they do not work any more.
        """
        if suspicious(error) and (gpus or self.command):
            with self._lock:
                self._good.discard(devices)
            self.assure(devices, gpus)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the visible GPUs and print what was found; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m daskhpo.worker.probe", description=__doc__)
    parser.add_argument("--gpus", type=int, default=0, help="how many there must be at least")
    gpus = parser.parse_args(arguments).gpus
    devices = visible_devices()
    began = time.monotonic()
    findings: dict[str, Any] = {"gpus": gpus, "devices": devices}
    try:
        findings |= _examine(devices, gpus)
    except Exception as error:  # noqa: BLE001 (whatever a driver raises is the answer)
        findings["error"] = f"{type(error).__name__}: {error}"
    findings["seconds"] = round(time.monotonic() - began, 3)
    print(json.dumps(findings))
    return 1 if "error" in findings else 0


def _examine(devices: Sequence[str], gpus: int) -> dict[str, Any]:
    """What there is; ``"error"`` among it if it is not enough."""
    if len(devices) < gpus:
        named = ", ".join(devices) or "none"
        return {"error": f"{gpus} GPUs are needed, the environment names {len(devices)}: {named}"}
    try:
        import torch
    except ImportError:
        return {"torch": None}  # whatever the trials compute with, this cannot say
    found: dict[str, Any] = {"torch": torch.__version__}
    if torch.version.cuda is None and torch.version.hip is None:
        return found  # built without: the names are all that can be counted
    seen = torch.cuda.device_count()
    found |= {"cuda": torch.version.cuda or torch.version.hip, "seen": seen}
    if seen < gpus:
        return found | {"error": f"{gpus} GPUs are needed, torch sees {seen} of {len(devices)}"}
    found["names"] = [torch.cuda.get_device_name(i) for i in range(seen)]
    found["nccl"] = False
    wrong = [i for i in range(gpus) if not _multiplies(torch, i)]
    if wrong:
        return found | {"error": f"wrong products on GPU {', '.join(devices[i] for i in wrong)}"}
    if gpus > 1 and torch.distributed.is_nccl_available():
        found["nccl"] = True
        if not _adds_up(torch, gpus):
            return found | {"error": f"a wrong sum over {gpus} GPUs (NCCL)"}
    return found


def _multiplies(torch: Any, device: int) -> bool:
    """Small integers in float32: the product is exact, so it must be right to the last bit."""
    left = (torch.arange(SIDE * SIDE) % 7).reshape(SIDE, SIDE).float()
    right = (torch.arange(SIDE * SIDE) % 5).reshape(SIDE, SIDE).float()
    there = left.to(f"cuda:{device}") @ right.to(f"cuda:{device}")
    return bool((there.cpu() == left @ right).all())


def _adds_up(torch: Any, gpus: int) -> bool:
    vectors = [torch.full((SIDE,), float(i + 1), device=f"cuda:{i}") for i in range(gpus)]
    torch.cuda.nccl.all_reduce(vectors, outputs=vectors)
    return all(bool((each == gpus * (gpus + 1) / 2).all()) for each in vectors)


def _words(text: str) -> str:
    """The error in a report of :func:`main`, or the end of whatever else was printed."""
    last = text.splitlines()[-1] if text else ""
    try:
        return str(json.loads(last)["error"])
    except (ValueError, KeyError, TypeError):
        return text[-WORDS:]


if __name__ == "__main__":
    sys.exit(main())
