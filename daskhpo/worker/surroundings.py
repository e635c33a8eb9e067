"""Leave a process to the next job as the last one found it.

Random generators start afresh, as those of a new process do. What cannot be put back (threads and
children that live on, resource limits, memory on a GPU) is named, and the process is given up.
Modules that a job has imported stay imported: what they keep, and what was changed in them, is
seen by the next job. What their import did to the process as a whole (its environment, filters of
warnings) is undone with the rest, unless the objective's own module imports them at its top.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Surroundings"]

MERCY = 1.0  # seconds for threads and children that are about to end
LEFT_ON_GPU = 1 << 28  # bytes: less than this may be libraries' work space

# Idle threads that libraries start once and keep: tqdm, zarr and fsspec.
_HARMLESS = frozenset({"TMonitor", "zarr_io", "fsspecIO", "_DummyThread"})
_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM),
    *(signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE),
)
_LIMITS = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}


class Surroundings:
    """What the process looks like now, to come back to.

    Examples
    --------
    >>> before = Surroundings()
    >>> os.environ["A_TRIAL_WAS_HERE"] = "1"
    >>> before.restore()
    ''
    >>> "A_TRIAL_WAS_HERE" in os.environ
    False
    """

    def __init__(self) -> None:
        torch = sys.modules.get("torch")
        self._python = {setting.name: setting.get() for setting in _python()}
        self._torch = {setting.name: setting.get() for setting in _torch(torch)} if torch else {}
        self._threads = set(threading.enumerate())
        self._children = _children()
        self._limits = _limits()

    def restore(self) -> str:
        """Put everything back; returns what could not be, empty if nothing was left over."""
        try:
            _put_back(_python(), self._python)
            gc.collect()
            torch = sys.modules.get("torch")
            if torch is not None:
                _put_back(_torch(torch), self._torch)
                _start_torch_afresh(torch)
            random.seed()
            np.random.seed()  # noqa: NPY002 (the user's code may draw from it)
        except Exception as error:  # noqa: BLE001 (whatever it is, this process is not as before)
            return f"{type(error).__name__}: {error}"
        return self._left_over() or (_left_on_gpu(torch) if torch is not None else "")

    def _left_over(self) -> str:
        if _limits() != self._limits:
            return "its resource limits were changed"
        deadline = time.monotonic() + MERCY
        while (left := self._alive()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return left

    def _alive(self) -> str:
        for thread in set(threading.enumerate()) - self._threads:
            if not _HARMLESS & {type(thread).__name__, thread.name}:
                return f"thread {thread.name!r} lives on"
        return "a child process lives on" if _children() - self._children else ""


@dataclass(frozen=True, slots=True)
class _Setting:
    """Something that belongs to the whole process."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]
    pristine: Any = None  # of torch: its value after the import


def _put_back(settings: list[_Setting], values: dict[str, Any]) -> None:
    for setting in settings:
        value = values.get(setting.name, setting.pristine)
        if setting.get() != value:
            setting.put(value)


def _python() -> list[_Setting]:
    root = logging.getLogger()
    named = {each.name: each for each in _SIGNALS}
    return [
        _Setting("environment", lambda: dict(os.environ), _put_environment),
        _Setting("directory", os.getcwd, os.chdir),
        _Setting("umask", _umask, os.umask),
        _Setting("path", lambda: list(sys.path), lambda path: _put_list(sys.path, path)),
        _Setting("arguments", lambda: list(sys.argv), lambda argv: _put_list(sys.argv, argv)),
        _Setting("output", lambda: sys.stdout, lambda to: setattr(sys, "stdout", to)),
        _Setting("errors", lambda: sys.stderr, lambda to: setattr(sys, "stderr", to)),
        _Setting("hook", lambda: sys.excepthook, lambda hook: setattr(sys, "excepthook", hook)),
        _Setting("recursion", sys.getrecursionlimit, sys.setrecursionlimit),
        _Setting("warnings", lambda: list(warnings.filters), _put_warnings),
        _Setting("level", lambda: root.level, root.setLevel),
        _Setting("log", lambda: list(root.handlers), lambda them: _put_list(root.handlers, them)),
        _Setting("collector", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        _Setting("numpy", np.geterr, lambda how: np.seterr(**how)),
        _Setting("alarm", lambda: signal.getitimer(signal.ITIMER_REAL)[0], _put_alarm),
        _Setting(
            "signals",
            lambda: {name: signal.getsignal(each) for name, each in named.items()},
            lambda them: [signal.signal(named[name], how) for name, how in them.items()],
        ),
    ]


def _torch(torch: Any) -> list[_Setting]:
    """Where torch was not imported before the job, its defaults are what to come back to."""
    cudnn, autograd = torch.backends.cudnn, torch.autograd
    # Ranks always have the second one; where there is the first, torch goes by that.
    names = ("MKL_NUM_THREADS", "OMP_NUM_THREADS")
    threads = next((os.environ[name] for name in names if os.environ.get(name)), "1").split(",")[0]
    return [
        _Setting("dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32),
        _Setting(
            "device", torch.get_default_device, lambda to: _put_device(torch, to), _cpu(torch)
        ),
        _Setting("threads", torch.get_num_threads, torch.set_num_threads, int(threads)),
        _Setting("gradients", torch.is_grad_enabled, torch.set_grad_enabled, True),
        _Setting("anomalies", torch.is_anomaly_enabled, autograd.set_detect_anomaly, False),
        _Setting(
            "deterministic",
            torch.get_deterministic_debug_mode,
            torch.set_deterministic_debug_mode,
            0,
        ),
        _Setting(
            "precision",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
            "highest",
        ),
        *(
            _Setting(
                f"cudnn.{name}",
                lambda name=name: getattr(cudnn, name),  # type: ignore[misc]
                lambda value, name=name: setattr(cudnn, name, value),  # type: ignore[misc]
                pristine,
            )
            for name, pristine in (
                ("enabled", True),
                ("benchmark", False),
                ("deterministic", False),
            )
        ),
    ]


def _start_torch_afresh(torch: Any) -> None:
    # What was compiled for one configuration is in the way of the next: after eight of them
    # torch gives compiling up.
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
    torch.seed()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def _left_on_gpu(torch: Any) -> str:
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return ""
    held = max(torch.cuda.memory_allocated(i) for i in range(torch.cuda.device_count()))
    return f"{held >> 20} MiB on a GPU are still in use" if held > LEFT_ON_GPU else ""


def _limits() -> dict[str, tuple[int, int]]:
    return {name: resource.getrlimit(number) for name, number in _LIMITS.items()}


def _children() -> set[int]:
    """Child processes that run. The tracker of multiprocessing serves all jobs alike."""
    tracker = getattr(getattr(resource_tracker, "_resource_tracker", None), "_pid", None)
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found |= set(map(int, listing.read_text().split()))
        except OSError:
            continue  # the thread has ended; its children are with another one
    return {child for child in found if child != tracker and _runs(child)}


def _runs(child: int) -> bool:
    try:
        state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _cpu(torch: Any) -> Any:
    return torch.device("cpu")


def _put_device(torch: Any, device: Any) -> None:
    # Where a default is set, be it "cpu", every factory of tensors takes a detour.
    torch.set_default_device(None if device == _cpu(torch) else device)


def _put_environment(environ: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)


def _umask() -> int:
    """The mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _put_list(place: list[Any], content: list[Any]) -> None:
    place[:] = content


def _put_warnings(filters: list[Any]) -> None:
    warnings.resetwarnings()  # and with them what was remembered under the old ones
    kept: Any = warnings.filters
    kept[:] = filters


def _put_alarm(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)
