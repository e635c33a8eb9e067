"""The nodes of the Slurm job that this process runs in: one worker each, as a step of the job.

Use it (``pool.kind: allocation``) where one wait in the queue for everything is better than one
per worker. The driver runs in the batch script, on the first node; a worker that dies is started
again on a node that lives, until the job ends. ``sbatch --no-kill`` lets the job outlive a node.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from daskhpo.cluster.allocation import Allocation, NodeShare, step_environment
from daskhpo.cluster.batch import BatchJob, Blame, Phase, SubmitError, Unreachable
from daskhpo.cluster.endings import exit_blame

__all__ = ["Steps"]

GRACE = 10.0  # seconds between SIGTERM and SIGKILL for a step that is cancelled
TAIL = 8192  # bytes of a log in which Slurm's last words are looked for

_LAST_WORDS = {  # {what srun or slurmstepd writes: the state that it means}
    re.compile(r"oom[-_ ]kill|out of memory", re.IGNORECASE): ("OUT_OF_MEMORY", Blame.TRIAL),
    re.compile(r"node failure|node_fail", re.IGNORECASE): ("NODE_FAIL", Blame.SYSTEM),
}


@dataclass(slots=True)
class _Step:
    """A worker's step, and its srun unless an earlier driver has started it."""

    job: BatchJob
    log: Path
    child: subprocess.Popen[bytes] | None = None
    cancelled: bool = False


class Steps:
    """A :class:`~daskhpo.cluster.batch.BatchSystem` whose batch jobs are steps of one Slurm job.

    Ids are ``JOB.NUMBER``, counted over all drivers of the allocation. The number is not that of
    Slurm's step, whose name the id is part of: ``NAME.NUMBER``.

    Parameters
    ----------
    name : str
        That all batch jobs of the campaign bear.
    directory : pathlib.Path
        Holds the scripts, ``step-JOB.NUMBER.sh``; on a file system that all nodes share.
    logs : pathlib.Path, optional
        Holds what steps write, ``NAME-JOB.NUMBER.log``; by default ``directory/logs``.
    environ : mapping, optional
        The environment of a process in the allocation; by default this process's.

    Raises
    ------
    CampaignError
        If this process runs in no Slurm job.
    Unreachable
        If Slurm does not answer.

    Examples
    --------
    >>> Steps("hpo-1a2b", directory=Path("pool")).submit(script)  # doctest: +SKIP
    '17.0'
    """

    def __init__(
        self,
        name: str,
        *,
        directory: Path,
        logs: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._allocation = Allocation(environ)
        self._name = name
        self._directory = directory
        self._logs = logs or directory / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._environ = step_environment(environ)
        self._lock = threading.Lock()  # guards the three below
        self._down: set[str] = set()  # never used again
        self._ended: dict[str, BatchJob] = {}
        self._running = self._earlier()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Of the allocation: no more workers than these can run at the same time."""
        return tuple(self._allocation.shares)

    # ---------------------------------------------------------------- what a pool asks

    def submit(self, script: str) -> str:
        """Start a worker on a free node; returns the id of its step.

        Raises
        ------
        SubmitError
            If there is none: final once all nodes are down.
        """
        with self._lock:
            node = self._free_node()
            number, path = self._write(script)
            id = f"{self._allocation.job}.{number}"
            log = self._logs / f"{self._name}-{id}.log"
            try:
                with open(log, "ab") as file:
                    child = subprocess.Popen(
                        self._command(node, number, path),
                        env={**self._environ, "DASKHPO_BATCH": id},
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        stderr=file,
                        start_new_session=True,  # Ctrl-C is the driver's to hear
                    )
            except OSError as error:
                raise SubmitError(f"srun cannot be started: {error}", final=True) from error
            self._running[id] = _Step(self._job(id, node, began=time.time()), log, child)
            return id

    def jobs(self, ids: Sequence[str] = ()) -> dict[str, BatchJob]:
        """All steps that run, and those of ``ids`` that this driver has seen the end of."""
        with self._lock:
            self._reap()
            ends = self._allocation.ends()
            told = {id: replace(step.job, ends=ends) for id, step in self._running.items()}
            return told | {id: self._ended[id] for id in ids if id in self._ended}

    def cancel(self, ids: Sequence[str]) -> None:
        """End steps: SIGTERM for their processes, and SIGKILL for those that stay.

        Not by way of srun, which on SIGTERM kills its step at once.
        """
        with self._lock:
            steps = [self._running[id] for id in ids if id in self._running]
            for step in steps:
                step.cancelled = True
            self._signal(steps, "TERM")
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and any(_lives(step) for step in steps):
            time.sleep(0.1)
        with self._lock:
            self._signal([step for step in steps if _lives(step)], "KILL")

    def check(self, script: str) -> None:
        """Nothing is waited for here, and nothing can be refused."""

    # ---------------------------------------------------------------- steps

    def _free_node(self) -> str:
        self._reap()
        down, silent = self._allocation.ailing()
        self._down |= down
        taken = {step.job.nodes for step in self._running.values()}
        free = [node for node in self.nodes if node not in taken | self._down | silent]
        if free:
            return free[0]
        most = len(self.nodes)
        raise SubmitError(
            f"Slurm job {self._allocation.job} has no free node: {len(taken)} of {most} have a "
            f"worker, {len(self._down)} are down; pool.jobs can be {most} at the most",
            final=len(self._down) == most,
        )

    def _write(self, script: str) -> tuple[int, Path]:
        """A file of its own for every step; it stays, so that no number is given twice."""
        number = 0
        while True:
            path = self._directory / f"step-{self._allocation.job}.{number}.sh"
            try:
                with open(path, "x", encoding="utf-8") as file:
                    file.write(script)
                return number, path
            except FileExistsError:
                number += 1

    def _command(self, node: str, number: int, path: Path) -> list[str]:
        share = self._allocation.shares[node]
        return [
            "srun",
            f"--jobid={self._allocation.job}",
            f"--job-name={self._name}.{number}",
            "--overlap",  # the batch script has its part of the first node as well
            "--nodes=1",
            "--ntasks=1",
            f"--nodelist={node}",
            f"--cpus-per-task={share.cpus}",  # else the step would be confined to one
            "--cpu-bind=none",
            "--mem=0",
            f"--gres={f'gpu:{share.gpus}' if share.gpus else 'none'}",
            "--mpi=none",
            "--export=ALL",
            "--kill-on-bad-exit=0",
            "--unbuffered",
            "bash",
            str(path.resolve()),
        ]

    def _earlier(self) -> dict[str, _Step]:
        """Steps that an earlier driver of this allocation has left running."""
        steps = {}
        for number, (_, node) in self._allocation.steps(self._name).items():
            id = f"{self._allocation.job}.{number}"
            steps[id] = _Step(self._job(id, node), self._logs / f"{self._name}-{id}.log")
        return steps

    def _job(self, id: str, node: str, began: float = math.nan) -> BatchJob:
        share = self._allocation.shares.get(node, NodeShare(0, 0))
        return BatchJob(
            id,
            Phase.RUNNING,
            "RUNNING",
            nodes=node,
            began=began,
            ends=self._allocation.ends(),
            cpus=share.cpus,
            gpus=share.gpus,
        )

    def _reap(self) -> None:
        gone = [step for step in self._running.values() if not _lives(step)]
        if adopted := [step for step in self._running.values() if step.child is None]:
            with contextlib.suppress(Unreachable):
                listed = self._allocation.steps(self._name)
                gone += [step for step in adopted if _number(step) not in listed]
        if gone:
            self._down |= self._allocation.ailing()[0]
        for step in gone:
            del self._running[step.job.id]
            self._ended[step.job.id] = self._verdict(step)

    def _verdict(self, step: _Step) -> BatchJob:
        code = step.child.returncode if step.child else 0
        code = 128 - code if code < 0 else code
        words = _last_words(step.log)
        state, blame, reason = "COMPLETED" if code == 0 else "FAILED", Blame.UNKNOWN, words
        if step.cancelled:
            state, blame = "CANCELLED", Blame.SYSTEM
        elif step.job.nodes in self._down:
            state, blame = "NODE_FAIL", Blame.SYSTEM
        elif told := [end for pattern, end in _LAST_WORDS.items() if pattern.search(words)]:
            state, blame = told[0]
            if state == "NODE_FAIL":  # and perhaps back already, but not for this job
                self._down.add(step.job.nodes)
        elif code:
            blame, exit_words = exit_blame(code)
            reason = words or exit_words
        return replace(
            step.job,
            phase=Phase.ENDED,
            state=state,
            reason=reason if state != "COMPLETED" else "",
            blame=blame,
            ended=time.time(),
            ends=self._allocation.ends(),
        )

    def _signal(self, steps: Sequence[_Step], signal: str) -> None:
        if not steps:
            return
        try:
            listed = self._allocation.steps(self._name)
        except Unreachable:
            listed = {}
        known = [listed[_number(step)][0] for step in steps if _number(step) in listed]
        self._allocation.signal(known, signal)
        for step in steps:
            if _number(step) not in listed and step.child is not None:
                step.child.terminate()  # Slurm has not started it yet


def _lives(step: _Step) -> bool:
    return step.child is None or step.child.poll() is None


def _number(step: _Step) -> str:
    return step.job.id.rpartition(".")[2]


def _last_words(log: Path) -> str:
    """The last complaint of srun or of Slurm's daemon on the node; empty if there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    told = [line for line in lines if line.startswith(("srun: error:", "slurmstepd: error:"))]
    plain = [each for each in told if any(words.search(each) for words in _LAST_WORDS)]
    return (plain or told or [""])[-1].partition("error: ")[2]
