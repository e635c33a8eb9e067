"""What PBS says of batch jobs: PBS Professional, OpenPBS and Torque.

Written from the documentation of ``qstat`` and ``qselect`` and from output that sites have
published; not run against a live PBS.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from daskhpo.cluster.batch import BatchJob, Blame, Phase
from daskhpo.cluster.commands import Ask, answered
from daskhpo.cluster.endings import clock_seconds, exit_blame, local_time

__all__ = ["Pbs", "parse_qstat"]

_GONE = re.compile(r"unknown job|job has finished|illegally formed job identifier", re.IGNORECASE)
_NO_HISTORY = re.compile(r"job history|invalid option|usage:", re.IGNORECASE)

_STATES = {  # {job_state: where it stands and the word of the manual}
    "Q": (Phase.PENDING, "Queued"),
    "H": (Phase.PENDING, "Held"),
    "W": (Phase.PENDING, "Waiting"),
    "T": (Phase.PENDING, "Transiting"),
    "M": (Phase.PENDING, "Moved"),
    "B": (Phase.RUNNING, "Begun"),
    "R": (Phase.RUNNING, "Running"),
    "S": (Phase.RUNNING, "Suspended"),
    "U": (Phase.RUNNING, "Suspended"),
    "E": (Phase.RUNNING, "Exiting"),
    "F": (Phase.ENDED, "Finished"),
    "X": (Phase.ENDED, "Finished"),
    "C": (Phase.ENDED, "Completed"),
}
# Exit_status below 0 is PBS's own. Torque (whose finished jobs are in state C) uses other numbers.
_PRO = {
    -24: (Blame.UNKNOWN, "more CPUs than asked for"),
    -25: (Blame.UNKNOWN, "more CPUs than asked for"),
    -26: (Blame.TRIAL, "out of virtual memory"),
    -27: (Blame.TRIAL, "out of memory"),
    -28: (Blame.UNKNOWN, "out of CPU time"),
    -29: (Blame.SYSTEM, "out of walltime"),
    -31: (Blame.TRIAL, "out of high-bandwidth memory"),
}
_TORQUE = {
    -10: (Blame.TRIAL, "out of memory"),
    -11: (Blame.SYSTEM, "out of walltime"),
    -12: (Blame.UNKNOWN, "out of CPU time"),
}


def parse_qstat(text: str) -> dict[str, BatchJob]:
    """Batch jobs of ``qstat -f`` (PBS Professional: ``qstat -x -f``), by id.

    The plain form and not JSON: the latter is not valid where a variable of the environment has
    quotes in it, and Torque has none.

    Examples
    --------
    >>> text = '''Job Id: 42.pbs
    ...     job_state = Q
    ...     comment = Not Running: Insufficient amount of resource: ngpus
    ... '''
    >>> print(parse_qstat(text)["42.pbs"])
    batch job 42.pbs: Queued (Not Running: Insufficient amount of resource: ngpus)
    """
    jobs = {}
    for block in re.split(r"^Job Id: *", text, flags=re.MULTILINE)[1:]:
        head, _, body = block.partition("\n")
        # Long values go on in the next line, after a tab, anywhere in a word.
        lines = body.replace("\n\t", "").splitlines()
        pairs = (line.strip().partition(" = ") for line in lines if " = " in line)
        job = _job(head.strip(), {key: value for key, _, value in pairs})
        jobs[job.id] = job
    return jobs


def _job(number: str, told: Mapping[str, str]) -> BatchJob:
    phase, word = _STATES.get(told.get("job_state", ""), (Phase.PENDING, told.get("job_state", "")))
    began = _first(told, "stime", "start_time")
    limit = clock_seconds(told.get("Resource_List.walltime", ""))
    ends = began + limit if math.isfinite(began + limit) else math.inf
    ended = _first(told, "obittime", "comp_time", "mtime") if phase is Phase.ENDED else math.nan
    blame, reason = Blame.UNKNOWN, ""
    if phase is Phase.ENDED:
        blame, reason = _ending(told, word, began, ended, ends)
    elif phase is Phase.PENDING:
        reason = told.get("comment", "")
    hosts = told.get("exec_host", "")
    return BatchJob(
        number,
        phase,
        word,
        reason=reason,
        blame=blame,
        nodes=",".join(dict.fromkeys(re.findall(r"(?:^|\+)([^/+]+)", hosts))),
        began=began,
        ended=ended,
        ends=ends,
        cpus=_asked(told, "ncpus", "ppn"),
        gpus=_asked(told, "ngpus", "gpus"),
        restarts=max(int(told.get("run_count", told.get("start_count", "1"))) - 1, 0),
    )


def _first(told: Mapping[str, str], *keys: str) -> float:
    times = (local_time(told[key]) for key in keys if key in told)
    return next((each for each in times if math.isfinite(each)), math.nan)


def _ending(
    told: Mapping[str, str], word: str, began: float, ended: float, ends: float
) -> tuple[Blame, str]:
    status = told.get("Exit_status")
    if status is None:
        # Deleted while it waited, or never started.
        return (Blame.UNKNOWN if math.isfinite(began) else Blame.SYSTEM), told.get("comment", "")
    code = int(status)
    if code < 0:
        table = _TORQUE if word == "Completed" else _PRO
        # What is in neither table is about starting batch jobs, and nothing has trained yet.
        return table.get(code, (Blame.SYSTEM, f"exit status {code}: PBS could not run it"))
    if code >= 256:
        return exit_blame(code - 256, ended=ended, ends=ends, signalled=True)
    return exit_blame(code, ended=ended, ends=ends)


def _asked(told: Mapping[str, str], pro: str, torque: str) -> int:
    """How many of a resource in all: ``ncpus=8``, or ``select=2:ncpus=4``, or ``nodes=2:ppn=4``."""
    total = told.get(f"Resource_List.{pro}", "")
    if total.isdecimal():
        return int(total)
    for key, name in (("Resource_List.select", pro), ("Resource_List.nodes", torque)):
        chunks = [part.split(":") for part in told.get(key, "").split("+")]
        count = sum(
            (int(words[0]) if words[0].isdecimal() else 1) * int(word.removeprefix(f"{name}="))
            for words in chunks
            for word in words
            if re.fullmatch(rf"{name}=\d+", word)
        )
        if count:
            return count
    return 0


class Pbs:
    """How to ask PBS; see :class:`daskhpo.cluster.systems.Queue`."""

    queue_directive = r"^#PBS -q (\S+)"
    queue_command = ("qstat", "-Q")
    environment: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._history: tuple[str, ...] = ("-x",)  # PBS Professional's: finished jobs as well

    def jobs(self, name: str, ids: Sequence[str], ask: Ask) -> dict[str, BatchJob]:
        """Those called ``name``, and ``ids``."""
        listed = answered(ask(["qselect", "-N", name])).out.split()
        wanted = list(dict.fromkeys([*listed, *ids]))
        if not wanted:
            return {}
        if self._history:
            answer = ask(["qstat", *self._history, "-f", *wanted])
            # On Torque -x is XML, and PBS may have been told to forget.
            if not answer.out.lstrip().startswith("<") and not _NO_HISTORY.search(answer.err):
                return parse_qstat(answered(answer, unless=_GONE).out)
            self._history = ()
        return parse_qstat(answered(ask(["qstat", "-f", *wanted]), unless=_GONE).out)
