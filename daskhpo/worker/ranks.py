"""Train one trial in processes of its own: n ranks of DDP, or one for isolation.

The supervisor (a thread of the Dask worker) starts the ranks, passes rank 0's reports on and the
answers back, and ends all of them as soon as one fails. Ranks meet at a store that rank 0 opens
on a port the kernel picks, so trials on one node never collide. A rank whose supervisor dies
ends itself.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

import cloudpickle

from daskhpo.trial import Answer, Job, Outcome
from daskhpo.worker.perform import ERROR_CHARACTERS, Ending
from daskhpo.worker.session import Channel
from daskhpo.worker.work import Work

__all__ = ["perform_in_ranks"]

PULSE = 1.0  # seconds between two looks at whether the ranks live
AFTERSHOCK = 0.5  # seconds after a first failure in which others may turn out to be its cause
_KILLED = {-signal.SIGKILL, -signal.SIGTERM}  # somebody else's doing, as far as we can know


class ListeningChannel(Channel, Protocol):
    """A channel that also calls back with every answer."""

    def listen(self, listener: Any) -> None:
        """Call ``listener(answer)`` from now on."""


def perform_in_ranks(work: Work, job: Job, channel: ListeningChannel) -> Ending:
    """Run a job in ``work.ranks`` subprocesses; see :func:`daskhpo.worker.perform.perform`."""
    crew = _Crew(work, job, channel)
    try:
        crew.start()
        channel.listen(crew.forward)
        return crew.watch()
    finally:
        channel.listen(_ignore)
        crew.end()


class _Crew:
    """The ranks of one trial and the pipes to them."""

    def __init__(self, work: Work, job: Job, channel: Channel) -> None:
        self.work = work
        self.job = job
        self.channel = channel
        self.folder = Path(work.path) / "trials" / f"{job.number:05d}" / f"a{job.attempt}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.pipes: list[Connection] = []
        self._began = time.monotonic()

    def start(self) -> None:
        """Start every rank and hand it its work."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = cloudpickle.dumps((self.work, self.job))
        for rank in range(self.work.ranks):
            ours, theirs = socket.socketpair()
            with theirs, open(self._log(rank), "wb") as log:
                command = [
                    sys.executable,
                    "-m",
                    "daskhpo.worker.rank",
                    str(theirs.fileno()),
                    str(rank),
                ]
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),),
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    start_new_session=True,
                )
            self.processes.append(process)
            self.pipes.append(Connection(ours.detach()))
            self._send(rank, ("work", content))

    def forward(self, answer: Answer) -> None:
        """Pass an answer to rank 0, which agrees with the others."""
        if self.channel.interrupted:
            self._send(0, ("leave",))
        else:
            self._send(0, ("answer", answer.decision.value, answer.stop))

    def watch(self) -> Ending:
        """Until all ranks have ended, or one has failed."""
        open_pipes = dict(zip(self.pipes, range(len(self.pipes)), strict=True))
        endings: dict[int, tuple[float, Ending]] = {}  # {rank: when and how it ended}
        deadline = math.inf
        while open_pipes and (left := deadline - time.monotonic()) > 0:
            ready = wait(list(open_pipes), timeout=min(PULSE, left))
            for pipe in [p for p, rank in open_pipes.items() if p in ready or self._gone(rank)]:
                rank = open_pipes[pipe]
                message = _receive(pipe) if pipe in ready else None
                if message is None:
                    del open_pipes[pipe]
                    if rank not in endings:
                        endings[rank] = (0.0, self._died(rank))
                elif message[0] == "ended":
                    endings[rank] = message[1:]
                else:
                    self._pass_on(message)
            if deadline == math.inf and any(_failed(how) for _, how in endings.values()):
                deadline = time.monotonic() + AFTERSHOCK
        return _cause(endings)

    def _pass_on(self, message: tuple[Any, ...]) -> None:
        if message[0] == "store":
            for other in range(1, len(self.pipes)):
                self._send(other, message)
        else:
            _, step, metrics, urgent = message
            self.channel.send(step, metrics, urgent=urgent)

    def _gone(self, rank: int) -> bool:
        """Whether a rank has ended though its pipe is open: in the hands of a child it forked."""
        return self.processes[rank].poll() is not None and not self.pipes[rank].poll()

    def end(self) -> None:
        """Leave nothing running."""
        for process in self.processes:
            if process.poll() is None:
                _kill_session(process)
        for process in self.processes:
            process.wait()
            # Whatever a rank forked lives on in its session.
            _kill_session(process)
        for pipe in self.pipes:
            pipe.close()

    def _died(self, rank: int) -> Ending:
        code = self.processes[rank].wait()
        tail = _tail(self._log(rank))
        seconds = time.monotonic() - self._began
        if code in _KILLED:
            name = signal.Signals(-code).name
            error = f"rank {rank} was killed by {name} (memory?)\n{tail}"
            return Ending(Outcome.LOST, seconds, error)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return Ending(Outcome.FAILED, seconds, f"rank {rank} ended {how}\n{tail}")

    def _send(self, rank: int, message: tuple[Any, ...]) -> None:
        try:
            self.pipes[rank].send(message)
        except OSError:
            pass  # the rank is gone: watch() sees it and says how

    def _log(self, rank: int) -> Path:
        return self.folder / f"rank{rank}.log"


def _failed(ending: Ending) -> bool:
    return ending.outcome in (Outcome.FAILED, Outcome.LOST)


def _cause(endings: dict[int, tuple[float, Ending]]) -> Ending:
    """How the trial ended: as its first failure says, else as rank 0 does.

    A rank that loses another one fails too, a moment later. So a kill comes first, then whoever
    died without a word (at time 0), then the oldest word.
    """
    failures = [
        (how.outcome is Outcome.FAILED, when, how) for when, how in endings.values() if _failed(how)
    ]
    if not failures:
        return endings[0][1]
    return min(failures, key=lambda failure: failure[:2])[2]


def _receive(pipe: Connection) -> tuple[Any, ...] | None:
    try:
        message: tuple[Any, ...] = pipe.recv()
    except (EOFError, OSError):
        return None
    return message


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _tail(log: Path) -> str:
    """The end of a log, whatever bytes it holds."""
    try:
        with open(log, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - ERROR_CHARACTERS))
            return file.read().decode(errors="replace")
    except OSError as error:
        return f"(its log cannot be read: {error})"


def _ignore(answer: Answer) -> None:
    """Nobody is left to tell."""
