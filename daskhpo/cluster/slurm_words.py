"""What Slurm's commands print, as values: times, GPUs, and what a batch job's state means.

Slurm 20 to 25 spell the same thing in many ways; whoever reads them reads them here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime

from daskhpo.cluster.batch import BatchJob, Blame, Phase
from daskhpo.cluster.settings import walltime_seconds
from daskhpo.exceptions import CampaignError

__all__ = ["batch_job", "fields", "gpu_count", "gpus", "moment", "records", "span", "table"]

_NOTHING = frozenset({"", "(null)", "n/a", "none", "unknown", "none assigned", "nodes none"})

# A state that is in neither of the two is taken for alive: nothing is concluded from it.
_ALIVE = {
    "PENDING": Phase.PENDING,
    "REQUEUED": Phase.PENDING,
    "REQUEUE_FED": Phase.PENDING,
    "REQUEUE_HOLD": Phase.PENDING,
    "SPECIAL_EXIT": Phase.PENDING,
    "RESV_DEL_HOLD": Phase.PENDING,
    "RUNNING": Phase.RUNNING,
    "CONFIGURING": Phase.RUNNING,
    "POWER_UP_NODE": Phase.RUNNING,
    "RESIZING": Phase.RUNNING,
    "SIGNALING": Phase.RUNNING,
    "STAGE_OUT": Phase.RUNNING,
    "STOPPED": Phase.RUNNING,
    "SUSPENDED": Phase.RUNNING,
    # It is over, but holds its nodes, and how it has ended is told only afterwards.
    "COMPLETING": Phase.RUNNING,
}
_ENDED = {
    "BOOT_FAIL": Blame.SYSTEM,
    "CANCELLED": Blame.SYSTEM,
    "DEADLINE": Blame.SYSTEM,
    "LAUNCH_FAILED": Blame.SYSTEM,
    "NODE_FAIL": Blame.SYSTEM,
    "PREEMPTED": Blame.SYSTEM,
    "RECONFIG_FAIL": Blame.SYSTEM,
    "REVOKED": Blame.SYSTEM,
    "TIMEOUT": Blame.SYSTEM,
    "OUT_OF_MEMORY": Blame.TRIAL,
    "COMPLETED": Blame.UNKNOWN,
    "FAILED": Blame.UNKNOWN,
}

# {another command's name for a field: scontrol's}
_SCONTROL = {
    "START_TIME": "StartTime",
    "END_TIME": "EndTime",
    "STATE": "JobState",
    "REASON": "Reason",
    "NODELIST": "NodeList",
    "CPUS": "NumCPUs",
    "MIN_CPUS": "NumCPUs",
    "NODES": "NumNodes",
    "TASKS": "NumTasks",
    "TRES_ALLOC": "TRES",
    "TRES_PER_NODE": "TresPerNode",
    "TRES_PER_JOB": "TresPerJob",
    "TRES_PER_TASK": "TresPerTask",
    "RESTART_COUNT": "Restarts",
    "RESTARTCNT": "Restarts",
    "RESTART_CNT": "Restarts",
    "EXIT_CODE": "ExitCode",
    "JOBID": "JobId",
    "Start": "StartTime",
    "End": "EndTime",
    "State": "JobState",
    "AllocCPUS": "NumCPUs",
    "AllocNodes": "NumNodes",
    "JobID": "JobId",
}


def moment(text: str) -> float:
    """Seconds since 1970 of a time as Slurm writes it, local or in seconds; nan if it is none.

    Examples
    --------
    >>> moment("1795259170"), moment("Unknown"), moment("N/A")
    (1795259170.0, nan, nan)
    >>> moment("2026-11-21T11:00:07") - moment("2026-11-21T11:00:00")
    7.0
    """
    text = text.strip()
    if text.isdecimal():
        return float(text) if int(text) else math.nan
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return math.nan


def span(text: str) -> float:
    """Seconds of a time limit as Slurm writes it; inf for none.

    Examples
    --------
    >>> span("1-00:00:00"), span("30:00"), span("infinite")
    (86400.0, 1800.0, inf)
    """
    try:
        return walltime_seconds("walltime", text.strip())
    except CampaignError:
        return math.inf


def gpus(text: str) -> dict[str, int]:
    """GPUs by their type in a GRES or a TRES, however it is spelled; no type is ``""``.

    Examples
    --------
    >>> gpus("gpu:a100:4(IDX:0,2-3)"), gpus("gres:gpu:2"), gpus("craynetwork:1,gpu")
    ({'a100': 4}, {'': 2}, {'': 1})
    >>> gpus("billing=8,cpu=8,gres/gpu=4,gres/gpu:a100=4")  # a TRES has the sum as well
    {'a100': 4}
    """
    found: dict[str, int] = {}
    for item in re.sub(r"\([^)]*\)", "", text).split(","):
        parts = re.split("[:=]", re.sub("^gres[:/]", "", item.strip()))
        if parts[0] != "gpu":
            continue
        counted = len(parts) > 1 and parts[-1].isdecimal()
        kind = parts[1] if len(parts) > 1 + counted else ""
        found[kind] = found.get(kind, 0) + (int(parts[-1]) if counted else 1)
    if "=" in text and len(found) > 1:
        found.pop("", None)
    return found


def gpu_count(told: Mapping[str, str]) -> int:
    """GPUs of a batch job over all its nodes, from the fields of ``scontrol show job -d``.

    Examples
    --------
    >>> gpu_count({"TRES": "cpu=8,node=2", "NumNodes": "2", "TresPerNode": "gres:gpu:4"})
    8
    >>> gpu_count({"JOB_GRES": "gpu:a100:4", "TresPerNode": "gres:gpu:4", "NumNodes": "2"})
    4
    """
    sources = (("AllocTRES", ""), ("TRES", ""), ("JOB_GRES", ""), ("TresPerJob", ""))
    shares = (("TresPerNode", "NumNodes"), ("TresPerTask", "NumTasks"))
    for name, times in (*sources, *shares):
        if found := gpus(told.get(name, "")):
            return sum(found.values()) * (_number(told.get(times, "")) or 1)
    return 0


def fields(text: str) -> dict[str, str]:
    """The fields of a record of ``scontrol show``; of those given twice, the first.

    Examples
    --------
    >>> fields("JobId=17 JobName=hpo\\n   JobState=RUNNING\\n   Command=/a b/c.sh")
    {'JobId': '17', 'JobName': 'hpo', 'JobState': 'RUNNING', 'Command': '/a b/c.sh'}
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        for item in re.split(r"\s+(?=[A-Za-z][\w/:.-]*=)", line.strip()):
            name, equals, value = item.partition("=")
            if equals:
                found.setdefault(name, value)
    return found


def table(text: str) -> list[dict[str, str]]:
    """Rows of ``squeue -O``, by scontrol's names.

    The columns are found by their headings: a field that this version does not know is left out
    (squeue complains, but succeeds), and all columns after it would be taken for others.

    Examples
    --------
    >>> table("JOBID   STATE     REASON\\n17      PENDING   (null)\\n")
    [{'JobId': '17', 'JobState': 'PENDING', 'Reason': '(null)'}]
    """
    head, *rows = text.splitlines() or [""]
    starts = [(found.start(), found[0]) for found in re.finditer(r"\S+", head)]
    ends = [start for start, _ in starts[1:]] + [None]
    return [
        {
            _SCONTROL.get(name, name): row[start:end].strip()
            for (start, name), end in zip(starts, ends, strict=True)
        }
        for row in rows
        if row.strip()
    ]


def records(text: str) -> list[dict[str, str]]:
    """Rows of ``sacct --parsable2``, by sacct's own names.

    Examples
    --------
    >>> records("JobID|State\\n17|CANCELLED by 0\\n")
    [{'JobID': '17', 'State': 'CANCELLED by 0'}]
    """
    head, *rows = text.splitlines() or [""]
    names = head.split("|")
    return [dict(zip(names, row.split("|"), strict=False)) for row in rows if row.strip()]


def batch_job(told: Mapping[str, str]) -> BatchJob:
    """A batch job, from the fields that squeue, scontrol or sacct give of it.

    Examples
    --------
    >>> job = batch_job({"JobID": "17", "State": "CANCELLED by 0", "Start": "100", "End": "160",
    ...                  "NodeList": "node3", "AllocTRES": "cpu=8,gres/gpu=4", "AllocCPUS": "8"})
    >>> print(job, job.seconds, job.blame.value, job.gpus)
    batch job 17 on node3: CANCELLED 60.0 system 4
    """
    told = {_SCONTROL.get(name, name): value for name, value in told.items()}
    told = {name: "" if text.lower() in _NOTHING else text for name, text in told.items()}
    # "CANCELLED by 0" names who did it; "CANCELLED+" is cut off.
    state = re.sub(r"[ +].*", "", told.get("JobState", ""))
    began, over = moment(told.get("StartTime", "")), moment(told.get("EndTime", ""))
    phase = _ALIVE.get(state, Phase.ENDED if state in _ENDED else Phase.RUNNING)
    # Slurm also guesses when a waiting job will start, and "starts" those that it cancels in the
    # queue; neither has nodes.
    placed = phase is not Phase.PENDING and bool(told.get("NodeList"))
    return BatchJob(
        told["JobId"],
        phase,
        state,
        reason=_reason(state, told),
        blame=_ENDED.get(state, Blame.UNKNOWN),
        nodes=told.get("NodeList", "") if placed else "",
        began=began if placed else math.nan,
        ended=over if phase is Phase.ENDED else math.nan,
        ends=over if phase is Phase.RUNNING and math.isfinite(over) else math.inf,
        cpus=_number(told.get("NumCPUs", "")) if placed else 0,
        gpus=gpu_count(told) if placed else 0,
        restarts=_number(told.get("Restarts", "")),
    )


def _reason(state: str, told: Mapping[str, str]) -> str:
    """Slurm's, or how the script ended where that says more."""
    said = told.get("Reason", "")
    if state != "FAILED":
        return said
    first, colon, second = told.get("ExitCode", "").partition(":")
    code, signal = _number(first), _number(second)
    if not colon:  # squeue gives what wait() gave
        code, signal = code >> 8, code & 127
    if signal:
        return f"signal {signal}"
    # A batch job that never had nodes has an exit code too.
    return f"exit code {code}" if code and said in ("", "NonZeroExitCode") else said


def _number(text: str) -> int:
    """The first of "4" and "2-4"; 0 if there is none."""
    found = re.match(r"\d+", text.strip())
    return int(found[0]) if found else 0
