"""Where ranks stay between the jobs of their worker, so that the next one need not import again."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cloudpickle

from daskhpo.worker.crew import Crew
from daskhpo.worker.environment import rank_environment
from daskhpo.worker.probe import Checkup
from daskhpo.worker.work import Work

__all__ = ["Barracks"]

TIDYING = 10.0  # seconds that ranks have for tidying up, counted from when they are wanted again


class Barracks:
    """The ranks of one worker process, at work and at rest; close it when the worker goes.

    Ranks rest where ``work.warm`` says so and their job ended well. They are as new for the next
    one: see :mod:`daskhpo.worker.surroundings`. Those that could not tidy up are replaced.

    Parameters
    ----------
    trials : int
        Trials that the worker trains at the same time: they divide its CPUs among them.
    check : str
        The site's device check: see :func:`daskhpo.worker.probe.check_devices`.
    idle : float
        Seconds after which ranks that nobody wants are ended.
    jobs : int
        Jobs after which ranks are replaced, whatever they may have piled up.

    Attributes
    ----------
    checkup : Checkup
        What is known of the worker's devices.

    Examples
    --------
    >>> with Barracks(trials=4) as barracks:
    ...     barracks.resting
    0
    """

    def __init__(
        self, *, trials: int = 1, check: str = "", idle: float = 600.0, jobs: int = 100
    ) -> None:
        self.checkup = Checkup(check)
        self._trials = trials
        self._idle = idle
        self._jobs = jobs
        self._lock = threading.Lock()
        # [(work, devices, crew, what ends it)]; works are compared by identity: a new driver
        # sends a new one, and with it perhaps changed modules.
        self._resting: list[tuple[Work, tuple[str, ...], Crew, threading.Timer]] = []
        self._working: set[Crew] = set()
        self._closed = False
        self._packed: tuple[Work, bytes] | None = None

    @property
    def resting(self) -> int:
        """How many trials could start now without starting processes."""
        return len(self._resting)

    @contextmanager
    def crew(self, work: Work, devices: tuple[str, ...], logs: Sequence[Path]) -> Iterator[Crew]:
        """Ranks for one job, one for each of ``logs``; set their ``fit`` if they may stay.

        Parameters
        ----------
        work : Work
            What they do.
        devices : tuple of str
            The GPUs that they see; empty: all that the worker sees.
        logs : sequence of Path
            Where they write what they print.
        """
        crew = self._rested(work, devices)
        try:
            if crew is None:
                share = self._trials * len(logs)
                environment = rank_environment(os.environ, devices=devices, share=share)
                crew = self._enlist(Crew(self._pack(work), environment))
                crew.start(logs)
            crew.fit = False
            crew.jobs += 1
            yield crew
        finally:
            if crew is not None and not self._keep(work, devices, crew):
                crew.end()

    def close(self) -> None:
        """End all ranks, at rest or not; from now on none are kept."""
        with self._lock:
            self._closed = True
            resting, self._resting = self._resting, []
            working = set(self._working)
        for _, _, crew, timer in resting:
            timer.cancel()
            crew.end()
        for crew in working:
            crew.kill()  # whoever watches over it clears up

    def __enter__(self) -> Barracks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _rested(self, work: Work, devices: tuple[str, ...]) -> Crew | None:
        """Ranks that wait for such work; those of other work are ended on the way."""
        while True:
            with self._lock:
                found = next((each for each in self._resting if each[1] == devices), None)
                if found is None:
                    return None
                self._resting.remove(found)
                self._working.add(found[2])
            known, _, crew, timer = found
            timer.cancel()
            if known is work and crew.rested(TIDYING):
                return crew
            with self._lock:
                self._working.discard(crew)
            crew.end()

    def _enlist(self, crew: Crew) -> Crew:
        with self._lock:
            self._working.add(crew)
        return crew

    def _keep(self, work: Work, devices: tuple[str, ...], crew: Crew) -> bool:
        """Let ranks rest if they may; returns whether they do."""
        with self._lock:
            self._working.discard(crew)
            if not (work.warm and crew.fit and crew.jobs < self._jobs) or self._closed:
                return False
            timer = threading.Timer(self._idle, self._expire, [crew])
            timer.daemon = True
            self._resting.append((work, devices, crew, timer))
            timer.start()
        crew.rest()
        return True

    def _expire(self, crew: Crew) -> None:
        with self._lock:
            left = [each for each in self._resting if each[2] is not crew]
            found = len(left) < len(self._resting)
            self._resting = left
        if found:
            crew.end()

    def _pack(self, work: Work) -> bytes:
        packed = self._packed
        if packed is None or packed[0] is not work:
            packed = self._packed = (work, cloudpickle.dumps(work))
        return packed[1]
