"""What Grid Engine says of batch jobs: Sun, Univa and Son of Grid Engine.

Written from the documentation of ``qstat``, ``qacct`` and ``sge_status`` and from output that
sites have published; not run against a live Grid Engine.
"""

from __future__ import annotations

import getpass
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import replace

from daskhpo.cluster.batch import BatchJob, Blame, Phase, Unreachable
from daskhpo.cluster.commands import Ask, answered
from daskhpo.cluster.endings import clock_seconds, exit_blame, local_time

__all__ = ["Sge", "parse_qacct", "parse_qstat_xml"]

_FORGOTTEN = re.compile(r"not found", re.IGNORECASE)
_GPUS = re.compile(r"(?:^|,)[hn]?(?:um_)?gpus?(?:_card)?=(\d+)")


def parse_qstat_xml(text: str, name: str = "") -> dict[str, BatchJob]:
    """Batch jobs of ``qstat -r -xml`` that are called ``name`` (all, if empty), by id.

    Raises
    ------
    Unreachable
        If it is no XML.

    Examples
    --------
    >>> text = "<job_info><job_info><job_list><JB_job_number>8</JB_job_number>"
    >>> text += "<JB_name>hpo-1</JB_name><state>qw</state></job_list></job_info></job_info>"
    >>> print(parse_qstat_xml(text)["8"])
    batch job 8: qw
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Unreachable(f"qstat writes no valid XML: {error}") from error
    jobs = {}
    for listed in root.iter("job_list"):
        called = listed.findtext("full_job_name") or listed.findtext("JB_name") or ""
        if not name or called == name:
            job = _queued(listed)
            jobs[job.id] = job
    return jobs


def _queued(listed: ElementTree.Element) -> BatchJob:
    state = listed.findtext("state", "")
    phase = Phase.PENDING if "w" in state or not state else Phase.RUNNING
    started = listed.findtext("JAT_start_time", "")
    began = local_time(started.split(".")[0], "%Y-%m-%dT%H:%M:%S")
    asked = {each.get("name", ""): each.text or "" for each in listed.iter("hard_request")}
    ends = began + clock_seconds(asked.get("h_rt", ""))
    job = BatchJob(
        listed.findtext("JB_job_number", ""),
        phase,
        state,
        nodes=listed.findtext("queue_name", "").partition("@")[2],
        began=began,
        ends=ends if math.isfinite(ends) else math.inf,
        cpus=int(listed.findtext("slots", "0")),
        gpus=_gpus(",".join(f"{key}={value}" for key, value in asked.items())),
        restarts=int("R" in state),
    )
    if "E" in state:
        # It will never run, and nothing but a person's qmod -cj brings it back.
        reason = f"in error; see qstat -j {job.id}"
        return replace(job, phase=Phase.ENDED, reason=reason, blame=Blame.SYSTEM)
    return job


def parse_qacct(text: str) -> dict[str, BatchJob]:
    """Batch jobs of ``qacct -j``, by id; of one that was restarted, its last run.

    Examples
    --------
    >>> text = '''jobnumber    5
    ... failed       0
    ... exit_status  143                  (Terminated)
    ... '''
    >>> print(parse_qacct(text)["5"])
    batch job 5: done (SIGTERM)
    """
    jobs: dict[str, BatchJob] = {}
    for block in re.split(r"^=+$", text, flags=re.MULTILINE):
        pairs = (line.split(None, 1) for line in block.splitlines() if " " in line.strip())
        told = {key: value.strip() for key, value in pairs}
        if "jobnumber" in told:
            job = _finished(told)
            before = jobs.get(job.id)
            jobs[job.id] = replace(job, restarts=before.restarts + 1) if before else job
    return jobs


def _finished(told: Mapping[str, str]) -> BatchJob:
    began, ended = (_time(told.get(key, "")) for key in ("start_time", "end_time"))
    asked = ",".join(re.findall(r"-l (\S+)", told.get("category", "")))
    limit = re.search(r"(?:^|,)h_rt=([\d:]+)", asked)
    ends = began + clock_seconds(limit[1]) if limit else math.inf
    ends = ends if math.isfinite(ends) else math.inf
    failed = told.get("failed", "0")
    blame, reason = _ending(failed, told.get("exit_status", "0"), ended, ends, "h_vmem=" in asked)
    return BatchJob(
        told["jobnumber"],
        Phase.ENDED,
        "done" if failed.split()[0] == "0" else f"failed {failed.split()[0]}",
        reason=reason,
        blame=blame,
        nodes=told.get("hostname", ""),
        began=began,
        ended=ended,
        ends=ends,
        cpus=int(told.get("slots", "0")),
        gpus=_gpus(asked),
    )


def _ending(
    failed: str, status: str, ended: float, ends: float, limits_memory: bool
) -> tuple[Blame, str]:
    code, words = int(failed.split()[0]), failed.partition(":")[2].strip()
    if code == 37:  # "qmaster enforced h_rt, h_cpu, or h_vmem limit": which one, the clock tells
        if ended >= ends - 60:
            return Blame.SYSTEM, "out of walltime"
        return (Blame.TRIAL if limits_memory else Blame.UNKNOWN), words
    exit_code = re.match(r"\d+", status)
    blame, more = exit_blame(int(exit_code[0]) if exit_code else 0, ended=ended, ends=ends)
    if code in (0, 100):  # 100: "assumedly after job", which a signal has ended
        return blame, more
    return Blame.SYSTEM, words  # the node could not start it, or could not clean up after it


def _time(text: str) -> float:
    """Son of Grid Engine writes ``Wed Feb 12 21:01:50 2020``, Univa ``02/12/2020 21:01:50.123``."""
    plain = local_time(text)
    return plain if math.isfinite(plain) else local_time(text.split(".")[0], "%m/%d/%Y %H:%M:%S")


def _gpus(asked: str) -> int:
    """What sites call a GPU is their own: ``gpu``, ``gpus``, ``ngpus``, ``num_gpu``, ``gpu_card``.

    The number may be per slot, which is not said here.
    """
    return sum(int(each) for each in _GPUS.findall(asked))


class Sge:
    """How to ask Grid Engine; see :class:`daskhpo.cluster.systems.Queue`."""

    queue_directive = r"^#\$ -q (\S+)"
    queue_command = ("qconf", "-sq")
    environment: Mapping[str, str] = {}

    def jobs(self, name: str, ids: Sequence[str], ask: Ask) -> dict[str, BatchJob]:
        """Those called ``name``, and ``ids``."""
        answer = answered(ask(["qstat", "-u", getpass.getuser(), "-r", "-xml"]))
        jobs = parse_qstat_xml(answer.out)
        named = parse_qstat_xml(answer.out, name)
        found = {**named, **{each: jobs[each] for each in ids if each in jobs}}
        for each in ids:
            if each not in found:
                history = ask(["qacct", "-j", each])
                found.update(parse_qacct(answered(history, unless=_FORGOTTEN).out))
        return found
