"""What exit codes, signals and clocks say about the end of a batch job, on any batch system."""

from __future__ import annotations

import math
import signal
import time

from daskhpo.cluster.batch import Blame

__all__ = ["clock_seconds", "exit_blame", "local_time"]

# Whoever trains never sends these to its own batch job; batch systems do.
_ASKED_TO_END = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU}
)
_SLACK = 60.0  # seconds before its limit at which a killed batch job counts as out of walltime


def exit_blame(
    code: int, *, ended: float = math.nan, ends: float = math.inf, signalled: bool = False
) -> tuple[Blame, str]:
    """Whose doing the end of a batch job was, from how its script ended; and that in words.

    A SIGKILL is the batch system's where the batch job was at its time limit; elsewhere it may
    as well be the kernel's, which was out of memory.

    Parameters
    ----------
    code : int
        Exit code as a shell gives it (128 + signal), or the signal itself if ``signalled``.
    ended, ends : float
        When it ended, and when its time was up.
    signalled : bool
        Whether ``code`` is a signal.

    Examples
    --------
    >>> exit_blame(143)
    (<Blame.SYSTEM: 'system'>, 'SIGTERM')
    >>> exit_blame(9, signalled=True, ended=3599.0, ends=3600.0)
    (<Blame.SYSTEM: 'system'>, 'SIGKILL, out of walltime')
    >>> exit_blame(1)
    (<Blame.UNKNOWN: 'unknown'>, 'exit code 1')
    """
    number = code if signalled else code - 128
    if number not in {each.value for each in signal.Signals}:
        return Blame.UNKNOWN, f"exit code {code}" if code else ""
    words = signal.Signals(number).name
    if ended >= ends - _SLACK:
        return Blame.SYSTEM, f"{words}, out of walltime"
    return (Blame.SYSTEM if number in _ASKED_TO_END else Blame.UNKNOWN), words


def clock_seconds(text: str) -> float:
    """Seconds of ``[[D:]HH:]MM:SS`` or of plain seconds; nan if it is neither.

    Examples
    --------
    >>> clock_seconds("04:00:00"), clock_seconds("7200"), clock_seconds("never")
    (14400.0, 7200.0, nan)
    """
    parts = text.strip().split(":")
    if len(parts) > 4 or not all(part.isdecimal() for part in parts):
        return math.nan
    return float(
        sum(int(part) * unit for part, unit in zip(parts[::-1], (1, 60, 3600, 86400), strict=False))
    )


def local_time(text: str, form: str = "%a %b %d %H:%M:%S %Y") -> float:
    """Seconds since 1970 of a local time in words; nan if it is none.

    Examples
    --------
    >>> local_time("Fri Aug 20 23:14:08 2021") - local_time("Fri Aug 20 23:14:01 2021")
    7.0
    >>> local_time("never")
    nan
    """
    try:
        return time.mktime(time.strptime(text.strip(), form))
    except ValueError:
        return math.nan
