"""The rank processes that one worker has for a trial, and the pipes to them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["Crew"]

Message = tuple[Any, ...]  # see daskhpo.worker.rank


class Crew:
    """Processes that train one trial after the other, all with the same work.

    Parameters
    ----------
    content : bytes
        The pickled :class:`~daskhpo.worker.work.Work`.
    environment : dict
        What the processes find in theirs.

    Attributes
    ----------
    fit : bool
        Whether its last job ended well, so that it may take another one.
    jobs : int
        How many jobs it has had.
    """

    def __init__(self, content: bytes, environment: dict[str, str]) -> None:
        self.fit = False
        self.jobs = 0
        self.pipes: list[Connection] = []
        self._content = content
        self._environment = environment
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sending = threading.Lock()

    def start(self, logs: Sequence[Path]) -> None:
        """Start a process for each of ``logs``, where it writes whatever it prints."""
        for log in logs:
            log.parent.mkdir(parents=True, exist_ok=True)
            ours, theirs = socket.socketpair()
            with theirs, open(log, "wb") as output:
                process = self._start_one(theirs.fileno(), output)
            self._processes.append(process)
            self.pipes.append(Connection(ours.detach()))
            self.send(len(self.pipes) - 1, ("work", self._content))

    def _start_one(self, descriptor: int, output: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "daskhpo.worker.rank", str(descriptor)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(descriptor,),
            env=self._environment,
            start_new_session=True,
        )

    def send(self, index: int, message: Message) -> None:
        """Send a message to one process; if it is gone, whoever reads from it will see that."""
        with self._sending:
            try:
                self.pipes[index].send(message)
            except OSError:
                pass

    def receive(self, index: int) -> Message | None:
        """The next message of a process; None if there will be none."""
        try:
            message: Message = self.pipes[index].recv()
        except (EOFError, OSError):
            return None
        return message

    def gone(self, index: int) -> bool:
        """Whether a process has ended though its pipe is open: in the hands of its children."""
        return self._processes[index].poll() is not None and not self.pipes[index].poll()

    def code(self, index: int) -> int:
        """The exit code of a process that has ended or is about to."""
        return self._processes[index].wait()

    def rest(self) -> None:
        """Let every process tidy up after its job."""
        for index in range(len(self.pipes)):
            self.send(index, ("rest",))

    def rested(self, patience: float) -> bool:
        """Whether every process is ready for another job, within ``patience`` seconds."""
        deadline = time.monotonic() + patience
        return all(self._is_ready(index, deadline) for index in range(len(self.pipes)))

    def _is_ready(self, index: int, deadline: float) -> bool:
        pipe = self.pipes[index]
        while pipe.poll(max(0.0, deadline - time.monotonic())):
            message = self.receive(index)
            if message is None or message[0] == "ready":
                return message == ("ready", "")
        return False

    def kill(self) -> None:
        """Kill every process at once, with all that it has started."""
        for process in self._processes:
            _kill_session(process)

    def end(self) -> None:
        """Leave nothing running."""
        for process in self._processes:
            if process.poll() is None:
                _kill_session(process)
        for process in self._processes:
            process.wait()
            # Whatever it forked lives on in its session.
            _kill_session(process)
        for pipe in self.pipes:
            pipe.close()


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
