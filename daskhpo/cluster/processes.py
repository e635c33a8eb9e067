"""A batch system of one machine: batch jobs are processes. For tests, and as an example."""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from daskhpo.cluster.batch import BatchJob, Blame, Phase, SubmitError
from daskhpo.exceptions import CampaignError

__all__ = ["Processes"]

TICK = 0.02  # seconds between two looks at the processes
TAIL = 4000  # characters of a log that are shown


@dataclass(slots=True)
class _Run:
    """A batch job that is not over, and its process once it has one."""

    job: BatchJob
    process: subprocess.Popen[bytes] | None = None
    verdict: str = ""  # the state it will end in, because somebody ends it
    kill_at: float = math.inf  # when it is killed, having been asked to end


class Processes:
    """Run batch scripts on this machine, each in a session of its own.

    Use it to try a campaign of batch jobs, or code that keeps them, where there is no batch
    system. It is also the shortest example of a
    :class:`daskhpo.cluster.batch.BatchSystem`; :class:`daskhpo.testing.batch.BatchSuite` holds
    any other one to the same.

    Parameters
    ----------
    directory : pathlib.Path
        Holds ``ID.sh``, ``ID.out`` and ``ID.err`` of every batch job; made if it is missing.
    slots : int
        Batch jobs that run at the same time; further ones wait, first come, first served.
    walltime : float
        Seconds after which a batch job is ended.
    grace : float
        Seconds between SIGTERM and SIGKILL for one that is cancelled or out of walltime.

    Notes
    -----
    A script finds its id in ``PROCESSES_JOB_ID`` and, where there is a walltime, the time when
    it ends (seconds since 1970) in ``PROCESSES_JOB_END_TIME``. What it leaves running in its
    process group is killed. Batch jobs are known only to the object that has submitted them.

    Examples
    --------
    >>> import tempfile, time
    >>> with tempfile.TemporaryDirectory() as folder, Processes(Path(folder)) as system:
    ...     id = system.submit("echo gone wrong >&2; exit 3")
    ...     while (job := system.jobs([id])[id]).phase is not Phase.ENDED:
    ...         time.sleep(0.01)
    ...     job.state, job.reason, system.log(id)
    ('FAILED', 'exit code 3', 'gone wrong\\n')
    """

    def __init__(
        self,
        directory: Path,
        *,
        slots: int = 4,
        walltime: float = math.inf,
        grace: float = 2.0,
    ) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self._slots = slots
        self._walltime = walltime
        self._grace = grace
        self._lock = threading.Lock()  # guards the three below
        self._runs: dict[str, _Run] = {}  # in the order of submission
        self._ended: dict[str, BatchJob] = {}
        self._last = max(
            (int(p.stem) for p in directory.glob("*.sh") if p.stem.isdigit()), default=0
        )
        self._over = threading.Event()
        self._warden = threading.Thread(target=self._watch, name="processes", daemon=True)
        self._warden.start()

    # ---------------------------------------------------------------- what a pool asks

    def submit(self, script: str) -> str:
        """See :meth:`daskhpo.cluster.batch.BatchSystem.submit`."""
        with self._lock:
            if self._over.is_set():
                raise SubmitError("Processes: closed, so nothing can be submitted", final=True)
            self._last += 1
            id = str(self._last)
            try:
                self._path(id, "sh").write_text(script, encoding="utf-8")
            except OSError as error:
                raise SubmitError(
                    f"directory={str(self.directory)!r}: must be writable ({error.strerror})",
                    final=True,
                ) from error
            self._runs[id] = _Run(BatchJob(id, Phase.PENDING, "PENDING", reason="Resources"))
        return id

    def jobs(self, ids: Sequence[str] = ()) -> dict[str, BatchJob]:
        """See :meth:`daskhpo.cluster.batch.BatchSystem.jobs`; it always answers."""
        with self._lock:
            alive = {id: run.job for id, run in self._runs.items()}
            return alive | {id: self._ended[id] for id in ids if id in self._ended}

    def cancel(self, ids: Sequence[str]) -> None:
        """See :meth:`daskhpo.cluster.batch.BatchSystem.cancel`."""
        with self._lock:
            for run in [self._runs[id] for id in ids if id in self._runs]:
                run.verdict = run.verdict or "CANCELLED"
                if run.process is None:
                    self._end(run, Blame.SYSTEM)

    def check(self, script: str) -> None:
        """See :meth:`daskhpo.cluster.batch.BatchSystem.check`: bash must find no mistake in it."""
        if shutil.which("bash") is None:
            raise CampaignError("Processes: bash must be installed on this machine")
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        if done.returncode:
            raise CampaignError(f"the batch script is no bash script: {done.stderr.strip()}")

    # ---------------------------------------------------------------- what a test asks

    def log(self, id: str) -> str:
        """The end of what a batch job has written to standard error."""
        return self._path(id, "err").read_text(encoding="utf-8", errors="replace")[-TAIL:]

    def pid(self, id: str) -> int:
        """The process of a running batch job, which leads its session.

        Raises
        ------
        KeyError
            If it does not run.
        """
        with self._lock:
            process = self._runs[id].process
        if process is None:
            raise KeyError(id)
        return process.pid

    def close(self) -> None:
        """End all batch jobs and see them gone."""
        self._over.set()
        self.cancel(list(self.jobs()))
        self._warden.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- what a batch system does

    def _watch(self) -> None:
        while not self._over.wait(TICK) or self._runs:
            with self._lock:
                for run in list(self._runs.values()):
                    if run.process is not None:
                        self._look_at(run, run.process)
                free = self._slots - sum(run.process is not None for run in self._runs.values())
                waiting = [run for run in self._runs.values() if run.process is None]
                for run in waiting[: max(0, free)]:
                    try:
                        self._begin(run)
                    except OSError as error:
                        self._end(run, Blame.SYSTEM, "BOOT_FAIL", str(error))
            if self._over.is_set():
                time.sleep(TICK)

    def _begin(self, run: _Run) -> None:
        began = time.time()
        environment = os.environ | {"PROCESSES_JOB_ID": run.job.id}
        if self._walltime < math.inf:
            environment["PROCESSES_JOB_END_TIME"] = f"{began + self._walltime:.0f}"
        run.job = replace(
            run.job,
            phase=Phase.RUNNING,
            state="RUNNING",
            reason="",
            nodes=socket.gethostname(),
            began=began,
            ends=began + self._walltime,
            cpus=1,
        )
        with (
            open(self._path(run.job.id, "out"), "wb") as out,
            open(self._path(run.job.id, "err"), "wb") as err,
        ):
            run.process = subprocess.Popen(
                ["bash", self._path(run.job.id, "sh")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                start_new_session=True,
            )

    def _look_at(self, run: _Run, process: subprocess.Popen[bytes]) -> None:
        code = process.poll()
        now = time.time()
        if code is not None and (not run.verdict or now >= run.kill_at or not _lives(process)):
            _signal(process, signal.SIGKILL)  # to what it has left behind
            self._end(run, *_blame(run.verdict, code))
            return
        if now >= run.job.ends:
            run.verdict = run.verdict or "TIMEOUT"
        if run.verdict and run.kill_at == math.inf:
            run.kill_at = now + self._grace
            _signal(process, signal.SIGTERM)
        elif now >= run.kill_at:
            _signal(process, signal.SIGKILL)

    def _end(self, run: _Run, blame: Blame, state: str = "", reason: str = "") -> None:
        job = replace(
            run.job,
            phase=Phase.ENDED,
            state=state or run.verdict,
            reason=reason,
            blame=blame,
            ended=time.time(),
        )
        self._ended[job.id] = job
        del self._runs[job.id]

    def _path(self, id: str, suffix: str) -> Path:
        return self.directory / f"{id}.{suffix}"


def _blame(verdict: str, code: int) -> tuple[Blame, str, str]:
    """Whose doing an end was, its state and more about it."""
    if verdict:
        return Blame.SYSTEM, verdict, ""
    if code < 0:
        # Somebody's kill -9, or the kernel's because the memory is full: nobody can say.
        return Blame.UNKNOWN, "KILLED", signal.Signals(-code).name
    return Blame.UNKNOWN, "FAILED" if code else "COMPLETED", f"exit code {code}" if code else ""


def _lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether anything is left of its process group, though bash itself may have ended."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass
