"""What LSF says of batch jobs.

Written from the documentation of ``bjobs`` and from output that sites have published; not run
against a live LSF.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence

from daskhpo.cluster.batch import BatchJob, Blame, Phase, Unreachable
from daskhpo.cluster.commands import Ask, answered
from daskhpo.cluster.endings import exit_blame, local_time

__all__ = ["Lsf", "parse_bjobs"]

_FIELDS = "jobid stat exit_code exit_reason pend_reason exec_host start_time finish_time"
_GPUS = " gpu_num"  # since LSF 10.1.0.6
_NONE = re.compile(r"not found|no .*job", re.IGNORECASE)

_PHASES = {
    "PEND": Phase.PENDING,
    "PSUSP": Phase.PENDING,
    "WAIT": Phase.PENDING,
    "PROV": Phase.PENDING,
    "RUN": Phase.RUNNING,
    "USUSP": Phase.RUNNING,
    "SSUSP": Phase.RUNNING,
    "UNKWN": Phase.RUNNING,  # its host does not answer: what runs there may live
    "DONE": Phase.ENDED,
    "EXIT": Phase.ENDED,
    "ZOMBI": Phase.ENDED,
}
_TRIAL = {"TERM_MEMLIMIT", "TERM_SWAP"}
_UNKNOWN = {
    "TERM_CPULIMIT",
    "TERM_EXTERNAL_SIGNAL",
    "TERM_PROCESSLIMIT",
    "TERM_THREADLIMIT",
    "TERM_UNKNOWN",
}
_TIME = re.compile(r"([A-Z][a-z]{2}) +(\d+) (\d+:\d+)(:\d+)?(?: (\d{4}))?")


def parse_bjobs(text: str, *, now: float) -> dict[str, BatchJob]:
    """Batch jobs of ``bjobs -json -o "jobid stat ..."``, by id.

    Parameters
    ----------
    text : str
        Standard output; what comes before the JSON ("Cannot connect to LSF. Please wait ...") is
        skipped.
    now : float
        Seconds since 1970: times without a year are those nearest to it.

    Examples
    --------
    >>> text = '{"RECORDS": [{"JOBID": "5", "STAT": "EXIT", "EXIT_CODE": "130", "EXIT_REASON": '
    >>> text += '"TERM_RUNLIMIT: job killed after reaching LSF run time limit"}]}'
    >>> job = parse_bjobs(text, now=0.0)["5"]
    >>> job.reason, job.blame
    ('TERM_RUNLIMIT: job killed after reaching LSF run time limit', <Blame.SYSTEM: 'system'>)
    """
    start = text.find("{")
    if start < 0:
        return {}
    try:
        records = json.loads(text[start:], strict=False).get("RECORDS", [])
    except json.JSONDecodeError as error:
        raise Unreachable(f"bjobs writes no valid JSON: {error}") from error
    jobs = (_job(record, now) for record in records if record.get("STAT"))
    return {job.id: job for job in jobs}


def _job(told: Mapping[str, str], now: float) -> BatchJob:
    state = told["STAT"]
    phase = _PHASES.get(state, Phase.PENDING)
    began = _time(told.get("START_TIME", ""), now)
    finish = _time(told.get("FINISH_TIME", ""), now)
    over = phase is Phase.ENDED
    # While a batch job runs, its finish is the one that the run limit foresees.
    ends = finish if phase is Phase.RUNNING and math.isfinite(finish) else math.inf
    blame, reason = _ending(told) if over else (Blame.UNKNOWN, told.get("PEND_REASON", ""))
    hosts = told.get("EXEC_HOST", "").strip()
    slots = re.findall(r"(?:(\d+)\*)?([^:*]+)", hosts) if hosts != "-" else []
    gpus = told.get("GPU_NUM", "")
    return BatchJob(
        told["JOBID"],
        phase,
        state,
        reason=reason,
        blame=blame,
        nodes=",".join(dict.fromkeys(host for _, host in slots)),
        began=began,
        ended=finish if over else math.nan,
        ends=ends,
        cpus=sum(int(count or 1) for count, _ in slots),
        gpus=int(gpus) if gpus.isdecimal() else 0,
    )


def _ending(told: Mapping[str, str]) -> tuple[Blame, str]:
    if told["STAT"] == "ZOMBI":
        return Blame.SYSTEM, "its host did not answer"
    reason = told.get("EXIT_REASON", "")
    word = reason.split(":")[0].strip()
    if word.startswith("TERM_"):
        if word in _TRIAL:
            return Blame.TRIAL, reason
        return (Blame.UNKNOWN if word in _UNKNOWN else Blame.SYSTEM), reason
    code = told.get("EXIT_CODE", "")
    blame, words = exit_blame(int(code) if code.isdecimal() else 0)
    return blame, reason.strip("- ") or words


def _time(text: str, now: float) -> float:
    """Of ``Dec 20 16:25``, with seconds, a year and a letter behind it, or without."""
    found = _TIME.search(text)
    if not found:
        return math.nan
    month, day, clock, seconds, year = found.groups()
    this = time.localtime(now).tm_year
    years = [int(year)] if year else [this - 1, this, this + 1]
    times = [
        local_time(f"{month} {day} {clock}{seconds or ':00'} {each}", "%b %d %H:%M:%S %Y")
        for each in years
    ]
    known = [each for each in times if math.isfinite(each)]  # Feb 29 is not in every year
    return min(known, key=lambda each: abs(each - now), default=math.nan)


class Lsf:
    """How to ask LSF; see :class:`daskhpo.cluster.systems.Queue`."""

    queue_directive = r"^#BSUB -q (\S+)"
    queue_command = ("bqueues",)
    environment: Mapping[str, str] = {"LSB_DISPLAY_YEAR": "Y"}

    def __init__(self) -> None:
        self._fields = _FIELDS + _GPUS

    def jobs(self, name: str, ids: Sequence[str], ask: Ask) -> dict[str, BatchJob]:
        """Those called ``name``, and ``ids``."""
        jobs = self._ask(["-a", "-J", name], ask)
        missing = [each for each in ids if each not in jobs]
        return {**jobs, **self._ask(missing, ask)} if missing else jobs

    def _ask(self, which: Sequence[str], ask: Ask) -> dict[str, BatchJob]:
        def told(fields: str) -> str:
            answer = ask(["bjobs", "-json", "-o", fields, *which])
            return answered(answer, unless=_NONE).out

        try:
            text = told(self._fields)
        except Unreachable:
            if self._fields == _FIELDS:
                raise
            text = told(_FIELDS)
            self._fields = _FIELDS
        return parse_bjobs(text, now=time.time())
