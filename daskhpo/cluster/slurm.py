"""Slurm, asked by its own commands: submit, list, cancel and check batch jobs.

Written for Slurm 20 to 25, and run against 22.05.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from daskhpo.cluster.batch import BatchJob, Phase, SubmitError, Unreachable
from daskhpo.cluster.commands import Answer
from daskhpo.cluster.slurm_commands import answered, ask, sacct_job, show_job
from daskhpo.cluster.slurm_partitions import (
    Partition,
    Request,
    check_request,
    named,
    partitions,
)
from daskhpo.cluster.slurm_refusals import refusal
from daskhpo.cluster.slurm_words import batch_job, table
from daskhpo.exceptions import CampaignError, StoreError
from daskhpo.store.disk import disk_error

__all__ = ["Slurm", "sacct_job", "show_job"]

SUBMITTING = 120.0  # seconds; sbatch itself waits for a busy controller and tries again
CHUNK = 500  # ids on one command line

_COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")

# Widths are those of the longest values that are of use, and wider than the heading, which would
# be cut off: the columns are found by it.
_COLUMNS = ",".join(
    f"{name}:{width}"
    for name, width in (
        ("JobID", 24),
        ("State", 24),
        ("Reason", 80),
        ("StartTime", 24),
        ("EndTime", 24),
        ("NodeList", 400),
        ("NumCPUs", 24),
        ("NumNodes", 24),
        ("NumTasks", 24),
        ("tres-alloc", 400),
        ("tres-per-job", 80),
        ("tres-per-node", 80),
        ("tres-per-task", 80),
        ("RestartCnt", 24),
        ("exit_code", 24),
    )
)
_OVER = re.compile(r"Invalid job id|already completing or completed|not found", re.IGNORECASE)


class Slurm:
    """The batch jobs of one campaign on a Slurm cluster.

    Parameters
    ----------
    name : str
        That all of them bear: whoever submitted them, this finds them again.
    directory : pathlib.Path
        Where batch scripts are written, and kept for people to look at. The same script is written
        once.

    Examples
    --------
    >>> Slurm("hpo-1a2b", directory=Path("runs/first/pool"))
    <daskhpo.cluster.slurm.Slurm hpo-1a2b>
    """

    def __init__(self, name: str, *, directory: Path) -> None:
        self.name = name
        self.directory = directory

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self.name}>"

    def submit(self, script: str) -> str:
        """Submit a batch script; returns the id of the batch job.

        Parameters
        ----------
        script : str
            With its ``#SBATCH`` directives; the name in them is replaced by ours.

        Raises
        ------
        SubmitError
            Naming the setting that is refused and what is allowed; not final where Slurm does not
            answer or the script cannot be written. After silence the batch job may have been
            submitted all the same: :meth:`jobs` lists it.
        """
        try:
            answer = ask(*self._sbatch(script), seconds=SUBMITTING)
        except (Unreachable, StoreError) as error:
            raise SubmitError(str(error), final=False) from error
        if answer.code:
            refused = refusal(answer, Request.of(script), _partitions())
            # What is in no list of ours was no obstacle when the script was checked, so it passes.
            raise SubmitError(refused.message, final=bool(refused.final))
        # Sites let sbatch print a page about budgets before it; a federation adds ";cluster".
        found = re.findall(r"^(\d+)(?:;\S*)?\s*$", answer.out, re.MULTILINE)
        if not found:
            raise SubmitError(
                f"sbatch says no id of a batch job, but: {answer.out.strip()!r}", final=False
            )
        return str(found[-1])

    def jobs(self, ids: Sequence[str] = ()) -> dict[str, BatchJob]:
        """All batch jobs of this name that are queued or running, and those of ``ids``.

        One call of squeue, and one of scontrol for each of ``ids`` that squeue has dropped some
        minutes after its end. One that Slurm has forgotten is missing from the answer.

        Parameters
        ----------
        ids : sequence of str
            Batch jobs whose end is of interest.

        Raises
        ------
        Unreachable
            If Slurm does not answer.
        """
        wanted = dict.fromkeys(ids)
        found = {}
        for row in table(answered(ask(*self._squeue())).out):
            job = batch_job(row)
            if job.phase is not Phase.ENDED or job.id in wanted:
                found[job.id] = job
        for id in wanted:
            if id not in found and (late := self._dropped(id)):
                found[id] = late
        return found

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel batch jobs; those that are over or forgotten are no error.

        Parameters
        ----------
        ids : sequence of str
            Of the batch jobs.

        Raises
        ------
        Unreachable
            If Slurm does not answer.
        """
        for first in range(0, len(ids), CHUNK):
            answer = ask("scancel", *ids[first : first + CHUNK])
            lines = [line for line in answer.err.splitlines() if line.strip()]
            if not (lines and all(map(_OVER.search, lines))):
                answered(answer)

    def check(self, script: str) -> None:
        """Make sure, as far as can be told, that ``script`` would be accepted and could start.

        Looks at the partition, its time limit and the GPUs of its nodes, then lets sbatch try it.

        Parameters
        ----------
        script : str
            With its ``#SBATCH`` directives.

        Raises
        ------
        CampaignError
            Naming the setting, its value and what is allowed.
        Unreachable
            If Slurm does not answer.
        StoreError
            If the script cannot be written.
        """
        missing = [each for each in _COMMANDS if shutil.which(each) is None]
        if missing:
            raise CampaignError(
                f"pool.kind='slurm': {', '.join(missing)} cannot be found on this machine; start "
                "the campaign on a login node of a site with Slurm, or choose pool.kind='local'"
            )
        request, known = Request.of(script), partitions()
        check_request(request, known)
        answer = ask(*self._sbatch(script, "--test-only"), seconds=SUBMITTING)
        if answer.code == 0:
            return
        refused = refusal(answer, request, known)
        # A trial run is refused where nodes are down for which the batch job itself would wait.
        whole = all(each.whole for each in named(request, known))
        may_wait = _unfit(answer) and not (whole and _takes_anything(request))
        if refused.final is not False and not may_wait:
            raise CampaignError(refused.message)
        # What passes is no fault of the campaign, but nobody can be asked while Slurm is silent.
        answered(ask("squeue", "--noheader", f"--name={self.name}"))

    def _sbatch(self, script: str, *options: str) -> list[str]:
        path = self._written(script)
        return ["sbatch", "--parsable", *options, f"--job-name={self.name}", str(path)]

    def _squeue(self) -> list[str]:
        # By number, as a name may be unknown on the machine. Also those that have just ended:
        # one question to a controller that many ask, instead of one for each.
        mine = [f"--user={os.getuid()}", f"--name={self.name}"]
        return ["squeue", *mine, "--states=all", f"--Format={_COLUMNS}"]

    def _dropped(self, id: str) -> BatchJob | None:
        """One that squeue does not list any more, if it was ours: ids are given out again."""
        told = show_job(id) or sacct_job(id)
        return batch_job(told) if told.get("JobName") == self.name else None

    def _written(self, script: str) -> Path:
        digest = hashlib.sha256(script.encode()).hexdigest()[:12]
        path = self.directory / f"{self.name}-{digest}.sh"
        try:
            if not path.exists():
                self.directory.mkdir(parents=True, exist_ok=True)
                draft = path.with_suffix(f".{os.getpid()}")
                draft.write_text(script, encoding="utf-8")
                draft.replace(path)
        except OSError as error:
            raise disk_error("write", path, error) from error
        return path


def _unfit(answer: Answer) -> bool:
    return "node configuration" in answer.err + answer.out


def _takes_anything(request: Request) -> bool:
    """Whether a trial run of the least that can be asked for fits there.

    For some seconds after its own start a controller refuses every trial run like one that fits
    on no node: no node has spoken to it yet, though it lists all of them as up.
    """
    options = ("--partition", request.partition), ("--account", request.account)
    given = [f"{name}={value}" for name, value in options if value]
    least = ["sbatch", "--test-only", *given, "--ntasks=1", "--wrap=true"]
    return not _unfit(ask(*least, seconds=SUBMITTING))


def _partitions() -> dict[str, Partition]:
    """For messages: nothing where Slurm does not answer."""
    with contextlib.suppress(Unreachable):
        return partitions()
    return {}
