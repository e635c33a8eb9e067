"""Whether our account of batch jobs is Slurm's: ``scontrol show job -d`` and ``sacct``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from daskhpo.analysis.accounting_parts import Accounts, BatchAccount
from daskhpo.cluster.batch import Phase
from daskhpo.wording import number

__all__ = ["Check", "reconcile", "reconciled_lines"]

Lookup = Callable[[str], Mapping[str, str] | None]  # {field: value} of a batch job, as Slurm says

_SECONDS = 2.0  # Slurm counts whole seconds, from either end
_SHARE = 0.01  # of what a batch job has held
_GRES = re.compile(r"gpu(?::[^\s:=,()]+)?[:=](\d+)(?!\d)")  # gpu:4, gpu:a100:4(IDX:0-3), gpu=4
_TRES = re.compile(r"gres/gpu=(\d+)")
_TYPED = re.compile(r"gres/gpu:[^=,]+=(\d+)")
_RUNTIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Check:
    """A batch job, as booked here and as the batch system says.

    Parameters
    ----------
    batch : str
        Its id.
    source : str
        Who was asked: ``"sacct"``, ``"scontrol"``; empty if it is no longer known there.
    seconds, cpus, gpus : float
        Booked here: of the last start, and what was allocated.
    said_seconds, said_cpus, said_gpus : float
        The batch system's; nan where it says nothing.
    differences : tuple of str
        What differs by more than two seconds, or by more than 1 % of what it held; empty if all
        is well.
    """

    batch: str
    source: str
    seconds: float
    cpus: float
    gpus: float
    said_seconds: float = math.nan
    said_cpus: float = math.nan
    said_gpus: float = math.nan
    differences: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON data; what has no value is None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def reconcile(account: Accounts, lookup: Lookup) -> list[Check]:
    """Compare the account with the batch system's, batch job by batch job.

    Parameters
    ----------
    account : Accounts
        Of a campaign on batch jobs.
    lookup : callable
        Gives the fields of a batch job by its id: those of ``scontrol show job -d`` (``RunTime``,
        ``NumCPUs``, ``JOB_GRES``, ``TresPerNode``), those of ``sacct -X`` (``ElapsedRaw``,
        ``AllocTRES``), or both; nothing, or None, where the batch job is forgotten.

    Returns
    -------
    list of Check
        One for every batch job that has had its nodes.

    Notes
    -----
    The time of a batch job that still runs is not compared: the two were not looked at in the same
    moment. Of one that was requeued, Slurm tells of the last start, so that is compared.

    Examples
    --------
    >>> from daskhpo.analysis.accounting import accounts
    >>> from daskhpo.cluster.batch import BatchJob, Phase
    >>> job = BatchJob("17", Phase.ENDED, "COMPLETED", began=5.0, ended=105.0, cpus=8, gpus=4)
    >>> account = accounts([{"kind": "noted", "t": 106.0, "of": "batch", **job.to_fact()}])
    >>> [check] = reconcile(account, lambda id: {
    ...     "RunTime": "00:01:20", "NumCPUs": "8", "JOB_GRES": "gpu:4"})
    >>> check.differences
    ('100 s here, 80 s there', '400 GPU-seconds here, 320 there')
    """
    return [_check(each, lookup(each.id) or {}) for each in account.batches if each.seconds > 0.0]


def reconciled_lines(checks: list[Check]) -> list[str]:
    """Write what was found, differences only.

    Examples
    --------
    >>> reconciled_lines([Check("17", "sacct", 80.0, 8, 4, 80.0, 8, 4), Check("9", "", 80.0, 8, 4)])
    ['1 batch job agrees with sacct; 1 is forgotten there: 9']
    """
    known = [check for check in checks if check.source]
    fine = [check for check in known if not check.differences]
    forgotten = [check.batch for check in checks if not check.source]
    sources = " and ".join(sorted({check.source for check in known})) or "the batch system"
    agree = "batch job agrees" if len(fine) == 1 else "batch jobs agree"
    lines = [f"{len(fine):,} {agree} with {sources}"]
    if forgotten:
        named = ", ".join(forgotten[:8]) + (", ..." if len(forgotten) > 8 else "")
        be = "is" if len(forgotten) == 1 else "are"
        lines[0] += f"; {len(forgotten):,} {be} forgotten there: {named}"
    lines += [
        f"  batch job {check.batch}: {'; '.join(check.differences)}"
        for check in known
        if check.differences
    ]
    return lines


def _check(each: BatchAccount, fields: Mapping[str, str]) -> Check:
    own = (each.last_seconds, float(each.cpus), each.gpus)
    if not fields:
        return Check(each.id, "", *own)
    source = "sacct" if fields.get("ElapsedRaw") else "scontrol"
    said = (_said_seconds(fields), _said_cpus(fields), _said_gpus(fields))
    differences = _differences(own, said, running=each.job.phase is not Phase.ENDED)
    return Check(each.id, source, *own, *said, differences)


def _differences(
    own: tuple[float, float, float], said: tuple[float, float, float], *, running: bool
) -> tuple[str, ...]:
    found: list[str] = []
    names = ("s", "cores", "GPUs")
    for name, ours, theirs in zip(names, own, said, strict=True):
        allowed = _SECONDS if name == "s" else 0.0
        if not (running and name == "s") and abs(ours - theirs) > allowed:
            found.append(f"{number(ours)} {name} here, {number(theirs)} {name} there")
    for place, unit in ((2, "GPU-seconds"), (1, "core-seconds")):
        ours, theirs = own[0] * own[place], said[0] * said[place]
        # Below what seconds are rounded to, shares say nothing.
        allowed = max(_SHARE * theirs, _SECONDS * own[place])
        if not running and ours and abs(ours - theirs) > allowed:
            found.append(f"{number(ours)} {unit} here, {number(theirs)} there")
            break
    return tuple(found)


def _said_seconds(fields: Mapping[str, str]) -> float:
    raw = fields.get("ElapsedRaw", "")
    if raw.isdecimal():
        return float(raw)
    found = _RUNTIME.fullmatch(fields.get("RunTime", "").strip())
    if not found:
        return math.nan
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _said_cpus(fields: Mapping[str, str]) -> float:
    given = fields.get("NumCPUs", "")
    if not given:
        found = re.search(r"(?:^|,)cpu=(\d+)", _tres(fields))
        given = found[1] if found else ""
    return float(given) if given.isdecimal() else math.nan


def _said_gpus(fields: Mapping[str, str]) -> float:
    """In all, over its nodes."""
    tres = _tres(fields)
    if found := _TRES.search(tres):
        return float(found[1])
    if typed := _TYPED.findall(tres):
        return float(sum(map(int, typed)))
    for name, each in (("JOB_GRES", ""), ("TresPerJob", ""), ("TresPerNode", "NumNodes")):
        if counts := _GRES.findall(fields.get(name, "")):
            nodes = fields.get(each, "1").split("-")[0] if each else "1"
            return float(sum(map(int, counts)) * int(nodes if nodes.isdecimal() else 1))
    # scontrol tells of GPUs wherever there are any; sacct only where the site counts them.
    return 0.0 if "RunTime" in fields else math.nan


def _tres(fields: Mapping[str, str]) -> str:
    return fields.get("AllocTRES") or fields.get("TRES") or ""
