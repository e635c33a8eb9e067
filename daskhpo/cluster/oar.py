"""What OAR says of batch jobs.

Written from the documentation and the source of ``oarstat`` and from output that sites have
published; not run against a live OAR.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from daskhpo.cluster.batch import BatchJob, Blame, Phase, Unreachable
from daskhpo.cluster.commands import Ask, answered
from daskhpo.cluster.endings import clock_seconds, exit_blame

__all__ = ["Oar", "parse_oarstat"]

_PHASES = {
    "Waiting": Phase.PENDING,
    "Hold": Phase.PENDING,
    "toLaunch": Phase.PENDING,
    "toAckReservation": Phase.PENDING,
    "Launching": Phase.RUNNING,
    "Running": Phase.RUNNING,
    "Suspended": Phase.RUNNING,
    "Resuming": Phase.RUNNING,
    "Finishing": Phase.RUNNING,
    "toError": Phase.RUNNING,
    "Terminated": Phase.ENDED,
    "Error": Phase.ENDED,
}
# Events that say why OAR ended a job, in the order in which they are believed.
_CAUSES = {
    "WALLTIME": "out of walltime",
    "BESTEFFORT_KILL": "preempted: another job wanted its nodes",
    "FRAG_JOB_REQUEST": "deleted",
}
_ABSENT = re.compile(r"no job|unknown|not found|does not exist", re.IGNORECASE)


def parse_oarstat(text: str, name: str = "") -> dict[str, BatchJob]:
    """Batch jobs of ``oarstat -f -J`` that are called ``name`` (all, if empty), by id.

    Raises
    ------
    Unreachable
        If it is no JSON.

    Examples
    --------
    >>> text = '{"36627": {"state": "Running", "startTime": 1751979909, "walltime": 3600,'
    >>> text += '"assigned_network_address": ["gengar-1"]}}'
    >>> job = parse_oarstat(text)["36627"]
    >>> print(job, job.ends)
    batch job 36627 on gengar-1: Running 1751983509.0
    """
    if text.strip() in ("", "null"):
        return {}
    try:
        told = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unreachable(f"oarstat writes no valid JSON: {error}") from error
    return {
        number: _job(number, record)
        for number, record in (told or {}).items()
        if not name or record.get("name") == name
    }


def _job(number: str, told: Mapping[str, Any]) -> BatchJob:
    state = str(told.get("state", ""))
    phase = _PHASES.get(state, Phase.PENDING)
    began = _time(told, "startTime", "start_time")
    # A batch job that waits may have a start that is only foreseen.
    began = began if phase is not Phase.PENDING else math.nan
    ended = _time(told, "stopTime", "stop_time") if phase is Phase.ENDED else math.nan
    limit = clock_seconds(str(told.get("walltime") or "never"))
    ends = began + limit if math.isfinite(began + limit) else math.inf
    blame, reason = Blame.UNKNOWN, ""
    if phase is Phase.ENDED:
        blame, reason = _ending(told, state, ended, ends)
    elif phase is Phase.PENDING:
        reason = str(told.get("message") or "")
    hosts = list(dict.fromkeys(told.get("assigned_network_address") or ()))
    wanted = str(told.get("wanted_resources") or told.get("initial_request") or "")
    gpus = re.search(r"/gpu(?:num|device)?=(\d+)", wanted)
    return BatchJob(
        number,
        phase,
        state,
        reason=reason,
        blame=blame,
        nodes=",".join(hosts),
        began=began,
        ended=ended,
        ends=ends,
        cpus=len(told.get("assigned_resources") or ()),
        gpus=int(gpus[1]) * len(hosts) if gpus else 0,
    )


def _time(told: Mapping[str, Any], *keys: str) -> float:
    values = (float(told.get(key) or 0) for key in keys)
    return next((value for value in values if value > 0), math.nan)


def _ending(told: Mapping[str, Any], state: str, ended: float, ends: float) -> tuple[Blame, str]:
    events = {str(event.get("type")) for event in told.get("events") or ()}
    for event, words in _CAUSES.items():
        if event in events:
            return Blame.SYSTEM, words
    status = told.get("exit_code")
    if status is None:
        # OAR could not run it, or lost its node.
        return (Blame.SYSTEM if state == "Error" else Blame.UNKNOWN), ", ".join(sorted(events))
    number = int(status)  # as wait(2) gives it: 256 x exit code + signal
    if number & 127:
        return exit_blame(number & 127, ended=ended, ends=ends, signalled=True)
    return exit_blame(number >> 8, ended=ended, ends=ends)


class Oar:
    """How to ask OAR; see :class:`daskhpo.cluster.systems.Queue`."""

    queue_directive = ""
    queue_command = ()
    environment: Mapping[str, str] = {}

    def jobs(self, name: str, ids: Sequence[str], ask: Ask) -> dict[str, BatchJob]:
        """Those called ``name``, and ``ids``."""
        listed = answered(ask(["oarstat", "-f", "-J", "-u"]), unless=_ABSENT)
        found = parse_oarstat(listed.out, name)
        missing = [each for each in ids if each not in found]
        if missing:
            which = [word for each in missing for word in ("-j", each)]
            answer = answered(ask(["oarstat", "-f", "-J", *which]), unless=_ABSENT)
            found.update(parse_oarstat(answer.out))
        return found
