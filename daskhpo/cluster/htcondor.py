"""What HTCondor says of batch jobs.

Written from the documentation of ``condor_q``, ``condor_history`` and the attributes of jobs;
not run against a live HTCondor. A batch job that is put on hold counts as over: what trained in
it is gone. To have such jobs removed, give the submit description
``periodic_remove: JobStatus == 5``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from daskhpo.cluster.batch import BatchJob, Blame, Phase, Unreachable
from daskhpo.cluster.commands import Ask, answered
from daskhpo.cluster.endings import exit_blame

__all__ = ["HTCondor", "parse_condor"]

_STATES = {  # {JobStatus: where it stands and its name}
    1: (Phase.PENDING, "Idle"),
    2: (Phase.RUNNING, "Running"),
    3: (Phase.ENDED, "Removed"),
    4: (Phase.ENDED, "Completed"),
    5: (Phase.ENDED, "Held"),
    6: (Phase.RUNNING, "Transferring Output"),
    7: (Phase.RUNNING, "Suspended"),
}
_OUT_OF_MEMORY = 34  # HoldReasonCode
_SOMEBODYS_RULE = {3, 5, 21, 26, 27}  # HoldReasonCode: a site's expression; may be about anything
_ATTRIBUTES = (
    "ClusterId",
    "ProcId",
    "JobStatus",
    "JobCurrentStartDate",
    "JobStartDate",
    "CompletionDate",
    "EnteredCurrentStatus",
    "AllowedJobDuration",
    "RemoteHost",
    "LastRemoteHost",
    "CpusProvisioned",
    "RequestCpus",
    "GPUsProvisioned",
    "RequestGPUs",
    "NumJobStarts",
    "HoldReason",
    "HoldReasonCode",
    "LastHoldReasonCode",
    "RemoveReason",
    "ExitBySignal",
    "ExitSignal",
    "ExitCode",
)


def parse_condor(text: str) -> dict[str, BatchJob]:
    """Batch jobs of ``condor_q -json`` or ``condor_history -json``, by ``cluster.process``.

    Raises
    ------
    Unreachable
        If it is no JSON.

    Examples
    --------
    >>> print(parse_condor('[{"ClusterId": 7, "ProcId": 0, "JobStatus": 1}]')["7.0"])
    batch job 7.0: Idle
    """
    if not text.strip():
        return {}  # nothing at all is written where there is no job
    try:
        records = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unreachable(f"HTCondor writes no valid JSON: {error}") from error
    jobs = (_job(record) for record in records)
    return {job.id: job for job in jobs}


def _job(told: Mapping[str, Any]) -> BatchJob:
    phase, state = _STATES.get(told.get("JobStatus", 1), (Phase.PENDING, ""))
    host = told.get("RemoteHost") or told.get("LastRemoteHost") or ""
    began = math.nan
    if phase is not Phase.PENDING:
        began = _number(told, "JobCurrentStartDate", "JobStartDate", default=math.nan)
    ended = math.nan
    if phase is Phase.ENDED:
        ended = _number(told, "CompletionDate", "EnteredCurrentStatus", default=math.nan)
    ends = began + _number(told, "AllowedJobDuration", default=math.inf)
    ends = ends if math.isfinite(ends) else math.inf
    blame, reason = Blame.UNKNOWN, ""
    if phase is Phase.ENDED:
        blame, reason = _ending(told, state, ended, ends)
    return BatchJob(
        f"{told['ClusterId']}.{told['ProcId']}",
        phase,
        state,
        reason=reason,
        blame=blame,
        nodes=str(host).rpartition("@")[2],
        began=began,
        ended=ended,
        ends=ends,
        cpus=int(_number(told, "CpusProvisioned", "RequestCpus", default=0)),
        gpus=int(_number(told, "GPUsProvisioned", "RequestGPUs", default=0)),
        restarts=max(int(_number(told, "NumJobStarts", default=0)) - 1, 0),
    )


def _number(told: Mapping[str, Any], *keys: str, default: float) -> float:
    """The first that is a number; expressions are texts, and a time that is not known is 0."""
    values = (told.get(key) for key in keys)
    return next((v for v in values if isinstance(v, int | float) and v > 0), default)


def _ending(told: Mapping[str, Any], state: str, ended: float, ends: float) -> tuple[Blame, str]:
    if state == "Completed":
        if told.get("ExitBySignal"):
            number = int(told.get("ExitSignal") or 0)
            return exit_blame(number, ended=ended, ends=ends, signalled=True)
        return exit_blame(int(told.get("ExitCode") or 0), ended=ended, ends=ends)
    held = told.get("HoldReasonCode") or told.get("LastHoldReasonCode")
    reason = str(told.get("RemoveReason" if state == "Removed" else "HoldReason") or "")
    if held == _OUT_OF_MEMORY:
        return Blame.TRIAL, reason or "out of memory"
    rule = held in _SOMEBODYS_RULE or "evaluated to TRUE" in reason
    return (Blame.UNKNOWN if rule else Blame.SYSTEM), reason


class HTCondor:
    """How to ask HTCondor; see :class:`daskhpo.cluster.systems.Queue`."""

    queue_directive = ""
    queue_command = ()
    environment: Mapping[str, str] = {}

    def jobs(self, name: str, ids: Sequence[str], ask: Ask) -> dict[str, BatchJob]:
        """Those whose ``batch_name`` is ``name``, and ``ids``."""
        either = [f'JobBatchName == "{name}"', *map(_is, ids)]
        found = self._ask(["condor_q"], either, ask)
        missing = [each for each in ids if each not in found]
        if missing:
            # -match ends the search, which else goes through all the years of a schedd.
            history = ["condor_history", "-match", str(len(missing))]
            found.update(self._ask(history, list(map(_is, missing)), ask))
        return found

    def _ask(self, command: list[str], either: list[str], ask: Ask) -> dict[str, BatchJob]:
        constraint = " || ".join(either)
        columns = ",".join(_ATTRIBUTES)
        answer = ask([*command, "-json", "-attributes", columns, "-constraint", constraint])
        return parse_condor(answered(answer).out)


def _is(job: str) -> str:
    cluster, process = re.findall(r"\d+", f"{job}.0")[:2]
    return f"(ClusterId == {cluster} && ProcId == {process})"
