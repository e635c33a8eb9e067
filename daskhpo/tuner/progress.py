"""Progress of a run: one refreshed line on a terminal, a few quiet lines in a log."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from daskhpo.study import Study
from daskhpo.trial import TrialState
from daskhpo.tuner.driver import Driver
from daskhpo.wording import clock, count, duration, number

__all__ = ["Progress"]

REFRESH = 0.5  # seconds between two looks at the study
NEWS = 10.0  # seconds between two lines in a log that only tell of a new incumbent
ENOUGH = 3  # trials that must have been judged in this run before an end is foretold

_CLEAR = "\r\x1b[K"  # back to the first column, and erase the line


class Progress:
    """Shows how a run goes on: pass it as ``watch`` to :meth:`daskhpo.tuner.Tuner.run`.

    On a terminal it keeps one line up to date. Anywhere else (a batch job's output) it writes a
    line when a rung gets its first trial, when the first trial of a rung goes on, and when there
    is a new incumbent, the latter at most every ten seconds.

    Parameters
    ----------
    unit : str
        What a step is.
    stream : file, optional
        Where to; standard error by default.
    clock : callable
        Seconds, rising.

    Attributes
    ----------
    handler : logging.Handler
        Writes log records to the same stream without tearing the line.

    Examples
    --------
    >>> with Progress("epoch") as progress:  # doctest: +SKIP
    ...     tuner.run(client, trials=100, watch=progress)
    """

    def __init__(
        self,
        unit: str = "epoch",
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.handler: logging.Handler = _Above(self)
        self._unit = unit
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._looked = -REFRESH - 1.0
        self._told = -NEWS - 1.0
        self._judged: int | None = None  # trials that had been judged when this run began
        self._rungs: list[tuple[int, int]] = []  # (recorded, promoted) at the last look
        self._best: tuple[int, float] | None = None  # (number, value) of the last one told
        self._drawn = False

    def __call__(self, driver: Driver, free: int, slots: int) -> None:
        """Look at the campaign, unless that was done just now; the tuner calls this."""
        now = self._clock()
        if now - self._looked < REFRESH:
            return
        self._looked = now
        if self._judged is None:
            self._judged = _judged(driver.study)
            self._rungs = _rungs(driver.study)
        if self._terminal:
            self._draw(driver, slots)
        else:
            self._report(driver, now)

    def say(self, line: str) -> None:
        """Write a line of its own."""
        self._wipe()
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Take the refreshed line away: what comes next starts a line."""
        self._wipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ on a terminal

    def _draw(self, driver: Driver, slots: int) -> None:
        study = driver.study
        elapsed = clock(driver.seconds).removeprefix("00:")
        outlook = self._left(driver) if slots else "waiting for workers"
        best = [f"best {study.best.best_value:.4g}"] if study.best else []
        # What matters least stands last: that is what a narrow terminal cuts off.
        parts = [f"{elapsed}, {outlook}" if outlook else elapsed, self._states(study), *best]
        parts.append(count(study.steps, self._unit))
        width = shutil.get_terminal_size().columns
        self._stream.write(_CLEAR + " | ".join(parts)[: width - 1])
        self._stream.flush()
        self._drawn = True

    def _states(self, study: Study) -> str:
        states = Counter(trial.state for trial in study.trials.values())
        done = states[TrialState.COMPLETED] + states[TrialState.STOPPED]
        waiting = states[TrialState.PAUSED] + states[TrialState.WAITING]
        limit = f"/{study.limit:,}" if study.limit else ""
        bred = sum(trial.parent is not None for trial in study.trials.values())
        more = f" and {bred:,} in place of others" if bred else ""
        said = f"{len(study.trials) - bred:,}{limit} trials{more}: "
        said += f"{states[TrialState.RUNNING]} running, {waiting} paused, {done} done"
        failed = states[TrialState.FAILED]
        return f"{said}, {failed} failed" if failed else said

    def _left(self, driver: Driver) -> str:
        """How long it may still take, as far as that can be told from the number of trials."""
        study = driver.study
        assert self._judged is not None
        judged = _judged(study)
        if not study.limit or judged - self._judged < ENOUGH or judged >= study.limit:
            return ""
        left = driver.seconds * (study.limit - judged) / (judged - self._judged)
        return f"{duration(left)} left"

    def _wipe(self) -> None:
        if self._drawn:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._drawn = False

    # ------------------------------------------------------------------ in a log

    def _report(self, driver: Driver, now: float) -> None:
        study = driver.study
        news = []
        before, self._rungs = self._rungs, _rungs(study)
        for row, (recorded, promoted) in zip(study.scheduler.table(), before, strict=True):
            place = f"{self._unit} {row.milestone}"
            if row.recorded and not recorded:
                news.append(f"first trial at {place}")
            if row.promoted and not promoted:
                news.append(f"first trial beyond {place}")
        best = study.best
        found = (best.number, best.best_value) if best else None
        fresh = found is not None and found != self._best
        if not news and not (fresh and now - self._told >= NEWS):
            return
        self._best, self._told = found, now
        told = "; ".join([*news, _incumbent(study) or "nothing reported yet"])
        steps = count(study.steps, self._unit)
        self.say(f"{clock(driver.seconds)}  {told}; {self._states(study)}; {steps}")


class _Above(logging.Handler):
    """Puts log records above the refreshed line."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.say(self.format(record))


def _rungs(study: Study) -> list[tuple[int, int]]:
    return [(row.recorded, row.promoted) for row in study.scheduler.table()]


def _judged(study: Study) -> int:
    """Trials that have been through their first milestone; without milestones, to their end."""
    rows = study.scheduler.table()
    if rows:
        return sum(row.recorded for row in rows if row.rung == row.bracket)
    return sum(trial.state.final for trial in study.trials.values())


def _incumbent(study: Study) -> str:
    best = study.best
    return f"best {study.metric} {number(best.best_value)} (trial {best.number})" if best else ""
