"""What runs in every batch job: it keeps a Dask worker going, under one driver after the other.

``python -m daskhpo.cluster.launcher SCHEDULER_FILE --campaign DIR ... WORKER OPTIONS`` starts
``dask worker`` on the scheduler that the campaign's ``pool/scheduler.json`` names at that moment.
So a batch job that was queued for hours serves whatever driver the campaign then has, and one
whose driver dies waits for the next.

=============================================  ==============================================
the worker has ended, and                      the launcher
=============================================  ==============================================
the campaign is over (``pool/closed``)         ends, and the batch job with it
its scheduler lives: the worker was dismissed  ends
its scheduler lives, but the worker failed     starts another; ends after three in a row
its scheduler is gone                          waits for one, then starts another
=============================================  ==============================================

Only the standard library is imported here, and little of it: what it needs to start is added to
what every worker needs.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from daskhpo.cluster.within import BATCH, ENDS, batch_id, end_of

__all__ = ["BLIND", "BROKEN", "main"]

BLIND = 85  # exit code: the node does not see the campaign
BROKEN = 86  # exit code: the node's devices do not work

PATIENCE = 600.0  # seconds to wait for a driver
PAUSE = 2.0  # seconds between two looks at the file system, which others use too
KNOCK = 5.0  # seconds in which a scheduler accepts a connection
CRASHES = 3  # workers in a row that fail under a scheduler that is well
GROWN = 90.0  # seconds after which a worker has not failed at once; imports can take a minute
NOTICE = 1.0  # seconds in which a worker hears of a signal that the whole batch job was sent
CLOSING = 40.0  # seconds that a worker gets to close: its trials save their checkpoints

STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
# USR1 and USR2 are warnings of some batch systems. The clock decides, not they.
HEARD = STOP | {signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the launcher; returns the exit code of the batch job."""
    options, rest = _parser().parse_known_args(arguments)
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    if not _sees_campaign(options.campaign, options.token):
        _say(
            f"{socket.gethostname()} sees no campaign {options.token} in {options.campaign}: it "
            "must lie on a file system that all nodes share, at the same path"
        )
        return BLIND
    if options.check and (code := _run_check(options.check)):
        _say(f"{socket.gethostname()} is broken: the site's check ({options.check}) gave {code}")
        return BROKEN
    return _Launcher(options, rest).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="daskhpo.cluster.launcher", allow_abbrev=False)
    parser.add_argument("scheduler_file", type=Path)
    parser.add_argument("--campaign", type=Path, required=True, help="its directory")
    parser.add_argument("--token", required=True, help="of the campaign that must lie there")
    parser.add_argument("--check", default="", help="shell command; if it fails, so does the node")
    parser.add_argument("--walltime", type=float, help="seconds, if the batch system says nothing")
    parser.add_argument("--batch", default="", help="id of the batch job, if it does not know it")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds")
    parser.add_argument("--name", help="ignored: workers are named after their batch job")
    parser.add_argument("--nthreads", help="of the worker; what is said last holds")
    parser.add_argument("--tls-ca-file")
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    return parser


class _Launcher:
    """One batch job's life after all is found to be well.

    Signals are blocked here and looked at where the launcher waits, so that none comes at a bad
    moment; its children get them as usual.
    """

    # No nanny between us and the worker: the launcher is one, and a nanny that is told to end
    # kills its worker at once, without the seconds in which its trials could save.

    def __init__(self, options: argparse.Namespace, rest: list[str]) -> None:
        self.options = options
        self.closed = options.campaign / "pool" / "closed"
        self.batch = (
            options.batch or batch_id(os.environ) or f"{socket.gethostname()}:{os.getpid()}"
        )
        self.ends = end_of(os.environ, options.walltime)
        self.stop = 0  # the signal that asked for the end
        tls = {"ca_file": options.tls_ca_file, "cert": options.tls_cert, "key": options.tls_key}
        self.command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny"]
        self.command += ["--scheduler-file", str(options.scheduler_file)]
        self.command += ["--preload", "daskhpo.cluster.leaving"]
        self.command += ["--nthreads", options.nthreads] if options.nthreads else []
        for name, value in tls.items():
            self.command += [f"--tls-{name.replace('_', '-')}", value] if value else []
        self.command += rest

    def run(self) -> int:
        crashes = 0
        for launch in itertools.count():
            scheduler = self._await_scheduler()
            if scheduler is None:
                break
            began = time.monotonic()
            code = self._work(launch)
            if self.stop:
                break
            if self._scheduler() != scheduler or not self._lives(scheduler):
                crashes = 0
                continue
            if code == 0:
                _say("the worker was dismissed")
                break
            crashes = 1 if time.monotonic() - began > GROWN else crashes + 1
            _say(f"the worker failed with exit code {code}, {crashes} in a row")
            if crashes == CRASHES:
                return code if code > 0 else 128 - code
            self._hear(PAUSE)
        return 128 + self.stop if self.stop else 0

    # ------------------------------------------------------------------ the scheduler

    def _await_scheduler(self) -> str | None:
        """The content of the scheduler file once its scheduler lives; None to give up."""
        deadline = time.time() + self.options.patience
        if self.ends is not None:
            deadline = min(deadline, self.ends)
        waited = False
        while not self.stop:
            if self.closed.exists():
                _say("the campaign is over")
                return None
            scheduler = self._scheduler()
            if scheduler and self._lives(scheduler):
                return scheduler
            if time.time() > deadline:
                _say(f"no driver for {self.options.patience:g} seconds: giving the node back")
                return None
            if not waited:
                _say(f"waiting for the campaign's driver ({self.options.scheduler_file})")
            waited = True
            self._hear(PAUSE)
        return None

    def _scheduler(self) -> str:
        try:
            return str(self.options.scheduler_file.read_text(encoding="utf-8"))
        except OSError:
            return ""

    def _lives(self, scheduler: str) -> bool:
        """Whether a scheduler with the campaign's keys answers; one that is only slow does."""
        try:
            scheme, _, place = json.loads(scheduler)["address"].partition("://")
            host, _, port = place.rpartition(":")
            plain = socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK)
        except (OSError, ValueError, KeyError):
            return False
        with contextlib.closing(plain):
            try:
                # Dask's servers speak first. Whoever leaves before that makes them complain.
                if scheme == "tls":
                    with self._wrap(plain) as encrypted:
                        return bool(encrypted.recv(1))
                return bool(plain.recv(1))
            except TimeoutError:
                return True
            except OSError:  # such as another server on a port that the scheduler once had
                return False

    def _wrap(self, plain: socket.socket) -> socket.socket:
        import ssl

        context = ssl.create_default_context(cafile=self.options.tls_ca_file)
        context.check_hostname = False  # the certificate is the campaign's, not a host's
        context.load_cert_chain(self.options.tls_cert, self.options.tls_key)
        return context.wrap_socket(plain)

    # ------------------------------------------------------------------ the worker

    def _work(self, launch: int) -> int:
        """Run a worker to its end; returns its exit code."""
        environ = {**os.environ, BATCH: self.batch}
        if self.ends is not None:
            environ[ENDS] = f"{self.ends:.0f}"
        command = [*self.command, "--name", f"{self.batch}-{launch}"]
        with subprocess.Popen(command, env=environ, preexec_fn=_as_child_of(os.getpid())) as child:
            while child.poll() is None and not self.stop:
                self._hear(None)
            if self.stop:
                self._end(child)
            return child.wait()

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """Pass the signal on, unless it was sent to the worker as well: two cut it short."""
        for patience, due in ((NOTICE, _catches), (CLOSING, _always), (CLOSING, _always)):
            deadline = time.monotonic() + patience
            while child.poll() is None and time.monotonic() < deadline:
                signal.sigtimedwait({signal.SIGCHLD}, 0.1)
            if child.poll() is None and due(child.pid):
                child.terminate()
        child.kill()

    def _hear(self, seconds: float | None) -> None:
        """Wait for a signal, for some seconds at the most."""
        if seconds is None:
            heard: signal.struct_siginfo | None = signal.sigwaitinfo(HEARD)
        else:
            heard = signal.sigtimedwait(HEARD, seconds)
        if heard is not None and heard.si_signo in STOP:
            self.stop = heard.si_signo


def _sees_campaign(directory: Path, token: str) -> bool:
    """Whether a campaign with this token lies there; YAML is not worth its import here."""
    try:
        lines = (directory / "campaign.yaml").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    said = [line.partition(":")[2].strip(" '\"") for line in lines if line.startswith("token:")]
    return said == [token]


def _run_check(command: str) -> int:
    return subprocess.run(
        ["/bin/sh", "-c", command], stdout=sys.stderr, preexec_fn=_as_child_of(os.getpid())
    ).returncode


def _as_child_of(parent: int) -> Callable[[], None]:
    """What a child does first: hear signals as usual, and end when the launcher does."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):  # not Linux
        prctl = None

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        if prctl is not None:
            prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before we asked to be told
            os._exit(128 + signal.SIGTERM)

    return prepare


def _catches(process: int) -> bool:
    """Whether a process would still be told of SIGTERM: Dask's handlers go at the first one."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return True
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


def _always(process: int) -> bool:
    return True


def _say(text: str) -> None:
    print(f"daskhpo launcher: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
