"""What the answers of a node mean: one small function for each, from data to a finding.

Each takes the answer (see :data:`daskhpo.cluster.probe_job.ASKS`) and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from daskhpo.cluster.examine import FEW_FILES, GIGABYTE, SKEW
from daskhpo.cluster.findings import Finding, Level
from daskhpo.wording import duration

__all__ = [
    "judge_clock",
    "judge_devices",
    "judge_disk",
    "judge_end",
    "judge_files",
    "judge_limits",
    "judge_names",
    "judge_ports",
    "judge_program",
    "judge_start",
    "judge_torch",
    "judge_way",
]

WRONG = 60.0  # seconds between two clocks with which deadlines mean nothing
SLOW = 20.0  # seconds of an import that a campaign of short trials feels
ROOM = 5 * GIGABYTE

INTERFACE = "name the interface as jobqueue.NAME.interface, or as scheduler-options: {interface: X}"


def judge_way(hello: Mapping[str, Any], mine: Mapping[str, str], interface: str) -> Finding:
    """By which address the node has reached us, and whether that is the one meant for it.

    Parameters
    ----------
    hello : mapping
        ``{"reached": address, "failed": {address: why}}``.
    mine : mapping
        ``{interface: address}`` of this machine.
    interface : str
        The one that the site names; may be empty.
    """
    reached = hello["reached"]
    names = {address: name for name, address in mine.items()}
    said = f"the node reaches {reached} ({names.get(reached, 'by name')})"
    meant = mine.get(interface, "")
    if meant and meant != reached:
        why = hello["failed"].get(meant, "it was not tried")
        said += f", but not {meant} ({interface}, which the site names): {why}"
        return Finding("way back", Level.FAILURE, said, INTERFACE)
    return Finding("way back", Level.OK, said)


def judge_names(found: str, name: str, mine: Sequence[str]) -> Finding:
    """Whether the node finds this machine under its name."""
    if found in mine:
        return Finding("names", Level.OK, f"{name} is {found} on the node")
    said = f"{name} is {found} on the node, and here {', '.join(mine)}"
    return Finding("names", Level.WARNING, said, f"addresses do without names: {INTERFACE}")


def judge_ports(tried: Mapping[str, str]) -> Finding:
    """Whether the scheduler may come in by a port of the node."""
    for address, why in tried.items():
        if not why:
            return Finding("ports", Level.OK, f"a free port of the node answers at {address}")
    said = "; ".join(f"{address}: {why}" for address, why in tried.items()) or "it has no address"
    cure = "ask the site which ports are open, then worker-extra-args: [--worker-port, 'A:B']"
    return Finding("ports", Level.FAILURE, f"the node's ports are closed to us: {said}", cure)


def judge_program(answer: Mapping[str, Any], version: str) -> Finding:
    """Whether the node runs the same daskhpo as we do."""
    said = f"daskhpo {answer['version']} with {answer['python']}"
    if answer["version"] != version:
        cure = "install the same version there: jobqueue.NAME.python names the Python of the nodes"
        return Finding("node's program", Level.FAILURE, f"{said}, here it is {version}", cure)
    return Finding("node's program", Level.OK, said)


def judge_files(wrote: str, read: str, back: str, folder: str) -> Finding:
    """Whether node and driver see each other's files.

    Parameters
    ----------
    wrote, read : str
        By us, and what the node found.
    back : str
        What we find of what the node wrote; empty for nothing.
    folder : str
        Where.
    """
    cure = "choose a directory on a file system that all nodes share: --dir, run --path"
    if read != wrote:
        said = f"the node does not see what is written to {folder}"
        return Finding("shared files", Level.FAILURE, said, cure)
    if back != wrote:
        said = f"what the node writes to {folder} is not seen here"
        return Finding("shared files", Level.FAILURE, said, cure)
    return Finding("shared files", Level.OK, f"{folder} is seen from both sides")


def judge_disk(answer: Mapping[str, Any]) -> Finding:
    """Whether the node's own disk has room for what workers put aside."""
    said = f"{answer['free'] / GIGABYTE:,.1f} GB free in {answer['folder']} of the node"
    if answer["free"] < ROOM:
        cure = "name another place as jobqueue.NAME.local-directory"
        return Finding("node's disk", Level.WARNING, said, cure)
    return Finding("node's disk", Level.OK, said)


def judge_clock(skew: float) -> Finding:
    """Whether the node's clock agrees with ours; ``skew`` in seconds, ahead of us."""
    if abs(skew) <= SKEW:
        return Finding("node's clock", Level.OK, f"within {max(abs(skew), 0.001):.3f} s of ours")
    said = f"{duration(abs(skew))} {'ahead of' if skew > 0 else 'behind'} ours"
    level = Level.FAILURE if abs(skew) > WRONG else Level.WARNING
    cure = "tell the site: without a common time nobody knows when a batch job ends"
    return Finding("node's clock", level, said, cure)


def judge_end(ends: float | None, now: float, asked: float) -> Finding:
    """Whether a batch job knows when it ends.

    Parameters
    ----------
    ends : float or None
        What the node says.
    now : float
        By the node's clock, when it said so.
    asked : float
        Seconds that the batch job was to get; inf where nothing was said.
    """
    if ends is None:
        if math.isfinite(asked):
            said = f"nobody tells the node; {duration(asked)} are counted from its start"
            return Finding("walltime", Level.OK, said)
        cure = "say it: pool.walltime, or --walltime"
        return Finding("walltime", Level.WARNING, "nobody knows when batch jobs end", cure)
    left = ends - now
    said = f"the job ends in {duration(max(left, 0.0))}"
    if math.isfinite(asked):
        said += f", asked for were {duration(asked)}"
    # Slurm rounds up to minutes; what was spent on the way here is missing.
    if left <= 0 or (math.isfinite(asked) and not asked / 2 - 60 < left < asked + 120):
        cure = "the queue has limits of its own: see `scontrol show partition`, or clocks disagree"
        return Finding("walltime", Level.WARNING, said, cure)
    return Finding("walltime", Level.OK, said)


def judge_devices(answer: Mapping[str, Any], wanted: int) -> Finding:
    """Whether the batch job has got the GPUs it asked for, as far as the batch system goes."""
    visible = answer["visible"]
    given = [each for each in (visible or "").split(",") if each]
    if not wanted:
        return Finding("GPUs", Level.OK, "none were asked for")
    said = f"asked for {wanted}: CUDA_VISIBLE_DEVICES={visible!r}"
    if visible is not None and len(given) != wanted:
        cure = "look at the site's gpu-directive, and at gpus: pool.gpus, --gpus"
        return Finding("GPUs", Level.FAILURE, said, cure)
    if not answer["listed"]:
        said += f"; nvidia-smi shows none: {answer['smi']}"
        cure = "is this queue one with NVIDIA GPUs? otherwise rely on what PyTorch sees"
        return Finding("GPUs", Level.WARNING, said, cure)
    names = sorted({line.partition(": ")[2].partition(" (UUID")[0] for line in answer["listed"]})
    return Finding("GPUs", Level.OK, f"{said}; {len(answer['listed'])} x {', '.join(names)}")


def judge_torch(answer: Mapping[str, Any], wanted: int) -> Finding:
    """Whether PyTorch can use the GPUs."""
    said = f"{answer['torch']}, CUDA {answer['cuda']}, NCCL {answer['nccl']}"
    said += f", {answer['count']} GPUs, bf16 {'yes' if answer['bf16'] else 'no'}"
    if answer["count"] < wanted:
        cure = "install PyTorch for this CUDA, or load its module in job-script-prologue"
        if answer["cuda"]:
            cure = "the GPUs or their driver are broken, or the job got none: see `nvidia-smi`"
        return Finding("PyTorch", Level.FAILURE, f"{said}, of {wanted} asked for", cure)
    return Finding("PyTorch", Level.OK, said)


def judge_limits(answer: Mapping[str, int | None], *, fabric: bool) -> Finding:
    """Whether a process on the node may have what it needs.

    Parameters
    ----------
    answer : mapping
        ``{"files", "processes", "locked", "cpu"}``; None without a limit.
    fabric : bool
        Whether the network is InfiniBand or the like, which wants locked memory.
    """
    said = ", ".join(
        f"{name} {'without limit' if n is None else f'{n:,}'}" for name, n in answer.items()
    )
    files, locked = answer["files"], answer["locked"]
    if files is not None and files < FEW_FILES:
        cure = f"job-script-prologue: [ulimit -n {FEW_FILES}]"
        return Finding("node's limits", Level.WARNING, said, cure)
    if answer["cpu"] is not None:
        cure = "ask the site: training processes will be killed by it"
        return Finding("node's limits", Level.WARNING, said, cure)
    if fabric and locked is not None and locked < GIGABYTE:
        cure = "job-script-prologue: [ulimit -l unlimited], else NCCL falls back to TCP"
        return Finding("node's limits", Level.WARNING, said, cure)
    return Finding("node's limits", Level.OK, said)


def judge_start(seconds: Mapping[str, float]) -> Finding:
    """Whether importing takes so long that it matters.

    Parameters
    ----------
    seconds : mapping
        ``{"distributed": 3.2, "torch": 14.0}``.
    """
    said = ", ".join(f"import {name} {time:.1f} s" for name, time in seconds.items())
    if max(seconds.values(), default=0.0) > SLOW:
        cure = "put the environment on a faster file system or in a container; keep workers.warm"
        return Finding("start-up", Level.WARNING, said, cure)
    return Finding("start-up", Level.OK, said or "nothing could be imported")
