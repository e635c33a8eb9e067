"""What Slurm says of the job that a process runs in: its nodes, its end, its steps."""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daskhpo.cluster.batch import Unreachable
from daskhpo.cluster.commands import ask_shell
from daskhpo.exceptions import CampaignError

__all__ = ["Allocation", "NodeShare", "parse_shares", "step_environment"]

FRESH = 30.0  # seconds for which the end of the allocation is believed
_DOWN = ("down", "fail", "error", "unknown", "inval", "power", "reboot")


@dataclass(frozen=True, slots=True)
class NodeShare:
    """What of a node belongs to the allocation.

    Parameters
    ----------
    cpus, gpus : int
        How many.
    """

    cpus: int
    gpus: int


class Allocation:
    """The Slurm job that a process runs in.

    Parameters
    ----------
    environ : mapping
        The environment of a process in it.

    Attributes
    ----------
    job : str
        Its id.
    shares : dict
        Its nodes, in its own order, and what it has of each.

    Raises
    ------
    CampaignError
        If the process runs in no Slurm job.
    Unreachable
        If Slurm does not answer.

    Examples
    --------
    >>> list(Allocation(os.environ).shares)  # doctest: +SKIP
    ['node1', 'node2', 'node3']
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.job = environ.get("SLURM_JOB_ID", "")
        if not self.job:
            raise CampaignError(
                "pool.kind='allocation': this process runs in no Slurm job (SLURM_JOB_ID is not "
                "set); submit it with `daskhpo submit --allocation NODES`, or start it in "
                "`sbatch --no-kill` or salloc"
            )
        self.shares = self._ask_shares()
        self._ends, self._asked = math.inf, -math.inf

    def ends(self) -> float:
        """When it is killed, in seconds since 1970; inf if Slurm does not say."""
        if time.monotonic() - self._asked > FRESH:
            self._asked = time.monotonic()
            command = ["squeue", "--noheader", "--jobs", self.job, "--format", "%e"]
            with contextlib.suppress(Unreachable):
                answer = ask_shell(command, environment={"SLURM_TIME_FORMAT": "%s"})
                said = answer.out.strip()
                self._ends = float(said) if said.isdecimal() else math.inf
        return self._ends

    def ailing(self) -> tuple[set[str], set[str]]:
        """Nodes that are down, and nodes that do not answer at the moment."""
        command = ["sinfo", "--noheader", "--Node", "--nodes", ",".join(self.shares)]
        try:
            answer = ask_shell([*command, "--format", "%N %T"])
        except Unreachable:
            return set(), set()
        rows = [line.strip().partition(" ") for line in answer.out.splitlines()]
        down = {node for node, _, state in rows if state.startswith(_DOWN)}
        return down, {node for node, _, state in rows if "*" in state} - down

    def steps(self, name: str) -> dict[str, tuple[str, str]]:
        """Its steps that are called ``NAME.NUMBER``: {NUMBER: (Slurm's id, node)}.

        Raises
        ------
        Unreachable
            If Slurm does not answer.
        """
        command = ["squeue", "--noheader", "--steps", "--jobs", self.job]
        answer = ask_shell([*command, "--format", "%i|%j|%N"])
        if answer.code:
            raise Unreachable(f"squeue says: {answer.said}")
        rows = [line.strip().split("|") for line in answer.out.splitlines()]
        return {
            row[1].removeprefix(f"{name}."): (row[0], row[2])
            for row in rows
            if len(row) == 3 and row[1].startswith(f"{name}.")
        }

    def signal(self, steps: Sequence[str], signal: str) -> None:
        """Send a signal to all processes of steps, by Slurm's ids of them."""
        if steps:
            with contextlib.suppress(Unreachable):
                ask_shell(["scancel", f"--signal={signal}", *steps])

    def _ask_shares(self) -> dict[str, NodeShare]:
        answer = ask_shell(["scontrol", "--details", "show", "job", self.job])
        if answer.code:
            raise Unreachable(f"scontrol says of Slurm job {self.job}: {answer.said}")
        shares: dict[str, NodeShare] = {}
        for nodes, share in parse_shares(answer.out):
            listed = ask_shell(["scontrol", "show", "hostnames", nodes])
            shares.update(dict.fromkeys(listed.out.split(), share))
        return shares


def parse_shares(text: str) -> list[tuple[str, NodeShare]]:
    """Nodes, as Slurm abbreviates them, and what a job has of each.

    Parameters
    ----------
    text : str
        Of ``scontrol --details show job``.

    Examples
    --------
    >>> parse_shares("     Nodes=node[1-3] CPU_IDs=0-7,16 Mem=1000 GRES=gpu:a100:4(IDX:0-3)")
    [('node[1-3]', NodeShare(cpus=9, gpus=4))]
    """
    shares = []
    for nodes, cpus, gres in re.findall(r"^ +Nodes=(\S+) CPU_IDs=(\S+) .*?GRES=(.*)$", text, re.M):
        ranges = (each.partition("-") for each in cpus.split(","))
        count = sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
        gpus = sum(int(each) for each in re.findall(r"(?:^|,)gpu(?::[^:(,]+)*?:(\d+)\(", gres))
        shares.append((nodes, NodeShare(count, gpus)))
    return shares


def step_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for ``srun --jobid``, without what Slurm has said of the batch script.

    srun takes such variables for options of its own: memory, CPUs and GPUs per task of the job
    contradict those of a step, in ways that differ from version to version.

    Examples
    --------
    >>> step_environment({"PATH": "/bin", "SLURM_CONF": "/c", "SLURM_MEM_PER_CPU": "100"})
    {'PATH': '/bin', 'SLURM_CONF': '/c'}
    """
    ours: tuple[str, ...] = (
        "SLURM_",
        "SBATCH_",
        "SRUN_",
        "SALLOC_",
        "SLURMD_",
        "PMI",
        "CUDA_VISIBLE_DEVICES",
    )
    ours += ("GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
    kept = {"SLURM_CONF", "SLURM_CONF_SERVER"}
    return {
        name: value for name, value in environ.items() if name in kept or not name.startswith(ours)
    }
