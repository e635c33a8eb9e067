"""What a command costs: CPU time and memory of all its processes together."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Cost", "measure"]

EVERY = 0.25  # seconds between two looks at the memory
LIMIT = 600.0  # seconds after which a command is given up


@dataclass(frozen=True, slots=True)
class Cost:
    """The bill of one command.

    Parameters
    ----------
    cpu : float
        User and system seconds of the command and all processes it waited for, as Dask's nannies
        wait for their workers; from the start of the interpreter to its end.
    pss : float
        Most MB that its processes held at the same time, pages shared among them counted once.
    answer : dict
        The line of JSON that it printed last.
    """

    cpu: float
    pss: float
    answer: dict[str, Any]


def measure(*command: str) -> Cost:
    """Run ``python command...`` and wait for it.

    Raises
    ------
    RuntimeError
        If it fails, or takes longer than ten minutes.
    """
    before = _children_cpu()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # Every user has compiled modules at hand; without them each worker would compile them anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    most, end = 0.0, time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < end:
        most = max(most, _pss(process.pid))
        time.sleep(EVERY)
    if process.returncode != 0:
        process.kill()
        raise RuntimeError(f"{' '.join(command)} failed: {process.returncode}")
    text = process.communicate()[0]
    return Cost(_children_cpu() - before, most, json.loads(text.splitlines()[-1]))


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _pss(pid: int) -> float:
    """MB of a process and its descendants now; processes that end meanwhile count nothing."""
    total = 0
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in [top, *top.children(recursive=True)]:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
                total += int(found[1]) if found else 0
    return total / 1024
