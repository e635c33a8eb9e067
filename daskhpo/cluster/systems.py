"""Batch systems other than Slurm: PBS, LSF, Grid Engine, HTCondor and OAR.

How to submit and cancel is dask-jobqueue's to know (its job classes); how to ask what became of a
batch job is in a module per system here. None but Slurm was run against a live system: their
parsers are tested on output that sites and manuals have published.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from daskhpo.cluster.batch import BatchJob, BatchSystem, Phase, SubmitError, Unreachable
from daskhpo.cluster.commands import Answer, Ask, ask_shell
from daskhpo.cluster.htcondor import HTCondor
from daskhpo.cluster.lsf import Lsf
from daskhpo.cluster.oar import Oar
from daskhpo.cluster.pbs import Pbs
from daskhpo.cluster.settings import SYSTEMS
from daskhpo.cluster.sge import Sge
from daskhpo.exceptions import CampaignError

__all__ = ["Dialect", "Queue", "import_jobqueue", "job_class", "make_system"]


class Dialect(Protocol):
    """What differs from system to system, beyond what dask-jobqueue knows.

    Attributes
    ----------
    queue_directive : str
        Finds the queue in a batch script; empty where there are none.
    queue_command : sequence of str
        Followed by the name of a queue, fails if there is no such queue.
    environment : mapping
        Variables for the commands that ask.
    """

    @property
    def queue_directive(self) -> str: ...

    @property
    def queue_command(self) -> Sequence[str]: ...

    @property
    def environment(self) -> Mapping[str, str]: ...

    def jobs(self, name: str, ids: Sequence[str], ask: Ask) -> dict[str, BatchJob]:
        """All that are called ``name`` and not forgotten, and ``ids``."""


_CLASSES = {  # {kind: where dask-jobqueue's job class is}
    "slurm": "slurm.SLURMJob",
    "pbs": "pbs.PBSJob",
    "lsf": "lsf.LSFJob",
    "sge": "sge.SGEJob",
    "htcondor": "htcondor.HTCondorJob",
    "oar": "oar.OARJob",
}
_DIALECTS: Mapping[str, Callable[[], Dialect]] = {
    "pbs": Pbs,
    "lsf": Lsf,
    "sge": Sge,
    "htcondor": HTCondor,
    "oar": Oar,
}
_JOB_IDS = {
    "pbs": r"(?P<job_id>\d+\S*)",  # with the server, as in the batch job's own PBS_JOBID
    "htcondor": r"submitted to cluster (?P<job_id>\d+)",  # dask-jobqueue has code for it
}
_PASSING = re.compile(  # refusals that may be none later
    r"connect|contact|commlib|communicat|timed? ?out|answer|respond|try again|retry|temporar|busy"
    r"|would exceed|maximum number|jobs are allowed|too many|threshold|max_jobs|slot limit",
    re.IGNORECASE,
)
_SETTINGS = {  # {what a refusal is about: the setting}
    r"queue": "pool.queue",
    r"account|project|allocation|group": "pool.account",
    r"wall ?time|run ?limit|h_rt|duration": "pool.walltime",
    r"gpu": "pool.gpus",
}


def make_system(
    kind: str, name: str, *, directory: Path, job_cls: type | None = None
) -> BatchSystem:
    """The batch system of a site.

    Parameters
    ----------
    kind : str
        One of :data:`daskhpo.cluster.settings.SYSTEMS`.
    name : str
        That all batch jobs of the campaign bear.
    directory : pathlib.Path
        For batch scripts on their way; exists.
    job_cls : type, optional
        dask-jobqueue's job class, or one derived from it with another ``submit_command`` or
        ``cancel_command``.

    Raises
    ------
    CampaignError
        If there is no such kind.

    Examples
    --------
    >>> make_system("pbs", "hpo-1a2b", directory=Path("."))
    <daskhpo.cluster.systems.Queue pbs hpo-1a2b>
    """
    if kind not in SYSTEMS:
        raise CampaignError(f"pool.kind={kind!r}: must be one of {', '.join(SYSTEMS)}")
    if kind == "slurm":
        from daskhpo.cluster.slurm import Slurm

        system: BatchSystem = Slurm(name, directory=directory)
        return system
    return Queue(kind, name, directory=directory, job_cls=job_cls or job_class(kind))


def job_class(kind: str) -> type:
    """dask-jobqueue's job class of a kind of batch system.

    Examples
    --------
    >>> job_class("pbs").submit_command
    'qsub'
    """
    module, name = _CLASSES[kind].split(".")
    import_jobqueue()
    found: type = getattr(importlib.import_module(f"dask_jobqueue.{module}"), name)
    return found


def import_jobqueue() -> ModuleType:
    """dask_jobqueue, imported without what it does to signals.

    Its module ``runner`` makes Ctrl-C end the process at once, whoever handles it, and cannot be
    imported from any thread but the main one because of that.

    Examples
    --------
    >>> import_jobqueue().SLURMCluster.__name__
    'SLURMCluster'
    """
    real = signal.signal

    def but_for_the_runner(number: Any, handler: Any) -> Any:
        if sys._getframe(1).f_globals.get("__name__") == "dask_jobqueue.runner":
            return signal.getsignal(number)
        return real(number, handler)

    signal.signal = but_for_the_runner  # type: ignore[assignment]
    try:
        return importlib.import_module("dask_jobqueue")
    finally:
        signal.signal = real


class Queue:
    """A batch system that is asked by its commands.

    Parameters
    ----------
    kind : str
        Any of :data:`daskhpo.cluster.settings.SYSTEMS` but ``"slurm"``.
    name : str
        That all batch jobs of the campaign bear.
    directory : pathlib.Path
        For batch scripts on their way.
    job_cls : type
        dask-jobqueue's job class.
    ask : callable, optional
        Runs a command; another one in tests.

    Examples
    --------
    >>> Queue("lsf", "hpo-1a2b", directory=Path("."), job_cls=job_class("lsf"))
    <daskhpo.cluster.systems.Queue lsf hpo-1a2b>
    """

    def __init__(
        self,
        kind: str,
        name: str,
        *,
        directory: Path,
        job_cls: type,
        ask: Callable[..., Answer] = ask_shell,
    ) -> None:
        self._kind, self._name, self._directory, self._ask = kind, name, directory, ask
        self._submit = shlex.split(job_cls.submit_command)  # type: ignore[attr-defined]
        self._cancel = shlex.split(job_cls.cancel_command)  # type: ignore[attr-defined]
        self._job_id = _JOB_IDS.get(kind) or job_cls.job_id_regexp  # type: ignore[attr-defined]
        self._dialect: Dialect = _DIALECTS[kind]()

    def __repr__(self) -> str:
        return f"<daskhpo.cluster.systems.Queue {self._kind} {self._name}>"

    def submit(self, script: str) -> str:
        """Submit a batch script; returns the id of the batch job."""
        program = self._submit[0]
        if shutil.which(program) is None:
            raise SubmitError(_missing(self._kind, program), final=True)
        try:
            answer = self._handed_over(script)
        except Unreachable as error:
            raise SubmitError(str(error), final=False) from error
        found = re.search(self._job_id, answer.out)
        if answer.code or not found:
            raise _refusal(answer)
        number = found["job_id"]
        return f"{number}.0" if self._kind == "htcondor" else number

    def _handed_over(self, script: str) -> Answer:
        if self._kind == "lsf":
            # As dask-jobqueue does it by default: nodes need not see the file then.
            return self._ask(self._submit, stdin=script)
        if self._kind == "oar":
            return self._ask([*self._submit, *_oar_words(script)])
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=self._directory, prefix="batch-", suffix=".sh"
        ) as file:
            file.write(script)
            file.flush()
            return self._ask([*self._submit, file.name])

    def jobs(self, ids: Sequence[str] = ()) -> dict[str, BatchJob]:
        """All batch jobs of this campaign that are queued or running, and those of ``ids``."""
        found = self._dialect.jobs(self._name, ids, self._question)
        wanted = set(ids)
        return {
            each: job
            for each, job in found.items()
            if job.phase is not Phase.ENDED or each in wanted
        }

    def _question(self, command: Sequence[str]) -> Answer:
        return self._ask(command, environment={"LC_ALL": "C", **self._dialect.environment})

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel batch jobs; whatever the command complains about, the next poll shows."""
        if ids:
            self._ask([*self._cancel, *ids])

    def check(self, script: str) -> None:
        """Make sure that there is such a batch system here, and such a queue."""
        program = self._submit[0]
        if shutil.which(program) is None:
            raise CampaignError(_missing(self._kind, program))
        directive = self._dialect.queue_directive
        queue = re.search(directive, script, flags=re.MULTILINE) if directive else None
        command = [*self._dialect.queue_command, queue[1] if queue else ""]
        if not queue or shutil.which(command[0]) is None:
            return
        try:
            answer = self._question(command)
        except Unreachable:
            return  # a server that is down for a moment is no reason to refuse a campaign
        if answer.code and not _PASSING.search(answer.said):
            raise CampaignError(
                f"pool.queue={queue[1]!r}: must be a queue of this site; "
                f"{command[0]} says: {answer.said}"
            )


def _oar_words(script: str) -> list[str]:
    """Options and command of ``oarsub``: it keeps no copy of a script's file."""
    options = [
        word
        for line in script.splitlines()
        if line.startswith("#OAR ")
        for word in shlex.split(line.removeprefix("#OAR "))
    ]
    command = [line for line in script.splitlines() if not line.startswith("#")]
    return [*options, "\n".join(command).strip() + "\n"]


def _missing(kind: str, program: str) -> str:
    return (
        f"pool.kind={kind!r}: there is no {program} on this machine; run the campaign on a login "
        f"node of the site, or choose another pool.kind"
    )


def _refusal(answer: Answer) -> SubmitError:
    said = answer.said or f"exit code {answer.code}"
    about = [name for words, name in _SETTINGS.items() if re.search(words, said, re.IGNORECASE)]
    cure = f"look at {', '.join(about) or 'pool.directives and the site file'}"
    passing = _PASSING.search(said) is not None
    return SubmitError(
        f"{answer.command[0]} refuses the batch job: {said}; "
        f"{'it will be tried again' if passing else cure}",
        final=not passing,
    )
