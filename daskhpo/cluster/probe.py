"""Send one batch job to a node, let it connect back, and ask it what the node is like.

The other end is :mod:`daskhpo.cluster.probe_job`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shlex
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from daskhpo.cluster import probe_job
from daskhpo.cluster.batch import BatchJob, BatchSystem, Phase, Unreachable
from daskhpo.cluster.logs import log_tail
from daskhpo.exceptions import DaskhpoError

__all__ = ["Channel", "Listener", "NoAnswer", "own_addresses", "probe_command"]

PAUSE = 3.0  # seconds between two looks at the queue
KNOCK = 5.0  # seconds for a node's port to answer
HELLO = 10.0  # seconds in which a connection must say who it is
FAREWELL = 5.0  # seconds in which an ended probe may still be on its way to us
SILENT = 120.0  # seconds that a running probe may take to connect
ANSWER = 330.0  # seconds for an answer; importing PyTorch can take minutes

_CURES = {  # {what the log of a probe says: what to do}
    "no address of the doctor": "a firewall or the wrong network lies between: name the interface "
    "that nodes share with this machine as scheduler-options: {interface: NAME} of the site",
    "Unknown option: -P": "Python 3.11 or newer is needed: name it as jobqueue.NAME.python",
    "No such file": "install Python and daskhpo where nodes see them, or name the Python of the "
    "nodes as jobqueue.NAME.python",
    "not found": "what the job script calls is not on the node: look at job-script-prologue",
    "": "read the log; the job script's prologue (modules, environment) may be at fault",
}


class NoAnswer(DaskhpoError, RuntimeError):
    """The probe job did not connect, or an answer of it is missing.

    Parameters
    ----------
    message : str
        What happened.
    cure : str
        What to do about it.
    """

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(message)
        self.cure = cure


class Channel:
    """A probe job that has connected: ask it. A context manager; at its end the job ends."""

    def __init__(self, link: socket.socket, hello: Mapping[str, Any]) -> None:
        link.settimeout(ANSWER)
        self._link = link
        self._lines = link.makefile("rw", encoding="utf-8")
        self.hello = hello  # {"reached": address of ours, "failed": {address: why}}

    def ask(self, what: str, **given: Any) -> Any:
        """Ask one of :data:`daskhpo.cluster.probe_job.ASKS`.

        Raises
        ------
        NoAnswer
            If it cannot tell, or the node has gone.
        """
        try:
            self._lines.write(json.dumps({"ask": what, **given}) + "\n")
            self._lines.flush()
            line = self._lines.readline()
            said = json.loads(line)
        except (OSError, ValueError) as error:
            raise NoAnswer(f"the probe job has gone ({error})") from error
        if "error" in said:
            raise NoAnswer(said["error"])
        return said["answer"]

    def skew(self, *, tries: int = 5) -> float:
        """Seconds that the node's clock is ahead of ours, from the quickest of some round trips."""
        found: list[tuple[float, float]] = []  # (round trip, ahead)
        for _ in range(tries):
            sent = time.time()
            theirs = self.ask("clock")
            back = time.time()
            found.append((back - sent, theirs - (sent + back) / 2))
        return min(found)[1]

    def knock(self, token: str) -> dict[str, str]:
        """Come in by a port that the node opens for us; ``{address: "" or why not}``."""
        door = self.ask("listen")
        tried: dict[str, str] = {}
        for address in _not_loopback(door["addresses"]):
            tried[address] = _knock(address, door["port"], token)
            if not tried[address]:
                break
        return tried

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up: the probe job ends."""
        with contextlib.suppress(OSError):
            self._lines.close()
        self._link.close()


class Listener:
    """Waits for one probe job; a context manager.

    Parameters
    ----------
    addresses : sequence of str
        Under which a node may reach us, the likeliest first.

    Examples
    --------
    >>> with Listener(["127.0.0.1"]) as listener:
    ...     listener.accept(0.01) is None
    True
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self.token = secrets.token_hex(16)
        self.addresses = list(addresses)
        self._server = socket.create_server(("", 0), backlog=8)
        self.port = int(self._server.getsockname()[1])

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @property
    def request(self) -> str:
        """What the probe job is given as its argument."""
        wanted = {"addresses": self.addresses, "port": self.port, "token": self.token}
        return base64.urlsafe_b64encode(json.dumps(wanted).encode()).decode()

    def accept(self, seconds: float) -> Channel | None:
        """Wait for the probe job for a while; whoever else knocks is turned away."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._server.settimeout(left)
            try:
                link, _ = self._server.accept()
            except TimeoutError:
                return None
            if (hello := self._hello(link)) is not None:
                return Channel(link, hello)
            link.close()
        return None

    def _hello(self, link: socket.socket) -> dict[str, Any] | None:
        link.settimeout(HELLO)
        said = b""
        try:
            while not said.endswith(b"\n") and len(said) < 1 << 16:
                if not (more := link.recv(1)):
                    return None
                said += more
            hello: dict[str, Any] = json.loads(said)
            token = hello.pop("token")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return hello if secrets.compare_digest(str(token), self.token) else None

    def wait(
        self,
        system: BatchSystem,
        batch: str,
        *,
        patience: float,
        logs: Path,
        say: Callable[[str], None],
    ) -> Channel:
        """Wait until the probe job connects; says every few seconds what is pending.

        Raises
        ------
        NoAnswer
            If it ended, did not connect, or waited in the queue for longer than ``patience``.
        """
        began, running, told = time.monotonic(), 0.0, ""
        while True:
            if (channel := self.accept(PAUSE)) is not None:
                return channel
            waited = time.monotonic() - began
            job = _look(system, batch)
            if job is not None and job.phase is Phase.ENDED:
                if (channel := self.accept(FAREWELL)) is not None:
                    return channel
                raise _ended(job, logs)
            running += PAUSE if job is not None and job.phase is Phase.RUNNING else 0.0
            if running > SILENT:
                raise NoAnswer(
                    f"{job} has run for {running:.0f} s without reaching us at "
                    f"{', '.join(self.addresses)}, port {self.port}",
                    cure="see `ip -4 addr` here and name the interface that nodes share with this "
                    "machine as scheduler-options: {interface: NAME} of the site",
                )
            if waited > patience:
                raise NoAnswer(
                    f"{job or f'batch job {batch}'} after {waited:.0f} s",
                    cure="wait for longer (--wait SECONDS), or ask for what is free (--queue)",
                )
            if (line := f"{job or f'batch job {batch}: no answer from the queue'}") != told:
                say(f"waiting: {line}")
                told = line


def probe_command(python: str, request: str) -> list[str]:
    """The command of the probe job.

    Parameters
    ----------
    python : str
        Of the nodes; empty for the one that runs here.
    request : str
        :attr:`Listener.request`.
    """
    program = shlex.split(python) if python else [sys.executable]
    # -P: its own directory holds modules with names of the standard library's.
    return [*program, "-P", os.path.abspath(probe_job.__file__), request]


def own_addresses(interface: str = "") -> list[str]:
    """Where a node may find us: the interface's address, our name, the other interfaces.

    Examples
    --------
    >>> own_addresses("lo")[0]
    '127.0.0.1'
    """
    by_interface = probe_job.interfaces()
    first = [by_interface[interface]] if interface in by_interface else []
    last = [address for address in by_interface.values() if address.startswith("127.")]
    others = [address for address in by_interface.values() if address not in last]
    return list(dict.fromkeys([*first, *others, socket.getfqdn(), *last]))


def _look(system: BatchSystem, batch: str) -> BatchJob | None:
    try:
        return system.jobs([batch]).get(batch)
    except Unreachable:
        return None


def _ended(job: BatchJob, logs: Path) -> NoAnswer:
    tail = log_tail(logs, job.id)
    text = f"{job} before it connected"
    text += f"; it wrote: {tail.splitlines()[-1]}" if tail else f"; there is no log of it in {logs}"
    cure = next((cure for sign, cure in _CURES.items() if sign in tail), _CURES[""])
    return NoAnswer(
        text,
        cure=cure
        if tail
        else "the node does not see this directory: choose "
        "one on a shared file system (--dir), or read why in `scontrol show job`",
    )


def _not_loopback(addresses: Mapping[str, str]) -> list[str]:
    """Addresses by which another machine may come in; all of them where there are no others."""
    outer = [address for address in addresses.values() if not address.startswith("127.")]
    return outer or list(addresses.values())


def _knock(address: str, port: int, token: str) -> str:
    try:
        with socket.create_connection((address, port), timeout=KNOCK) as link:
            said = link.recv(1024).decode("utf-8", "replace").strip()
    except OSError as error:
        return str(error)
    return "" if said == token else "somebody else answers there"
