"""Whether a batch script fits what Slurm's partitions offer, before anything is queued."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from daskhpo.cluster.settings import walltime_seconds
from daskhpo.cluster.slurm_commands import answered, ask
from daskhpo.cluster.slurm_words import gpus, span
from daskhpo.exceptions import CampaignError

__all__ = ["Partition", "Request", "check_request", "listed", "named", "partitions"]

_LONG = {
    "-A": "--account",
    "-C": "--constraint",
    "-G": "--gpus",
    "-N": "--nodes",
    "-n": "--ntasks",
    "-p": "--partition",
    "-q": "--qos",
    "-t": "--time",
}


_UP = frozenset({"allocated", "completing", "idle", "mixed", "planned", "reserved"})


@dataclass(frozen=True, slots=True)
class Request:
    """What a batch script asks for.

    Parameters
    ----------
    partition, account, walltime, qos, constraint : str
        As written; empty where the script says nothing.
    gpus : dict
        GPUs of a node by type, ``""`` for any.
    """

    partition: str = ""
    account: str = ""
    walltime: str = ""
    qos: str = ""
    constraint: str = ""
    gpus: dict[str, int] | None = None

    @classmethod
    def of(cls, script: str) -> Request:
        """Read the directives of a script, as sbatch does: up to the first command.

        Examples
        --------
        >>> request = Request.of('''#!/bin/bash
        ... #SBATCH -p booster --time=02:00:00
        ... #SBATCH --nodes=2 --gpus=a100:8
        ... hostname
        ... #SBATCH -p ignored
        ... ''')
        >>> request.partition, request.walltime, request.gpus
        ('booster', '02:00:00', {'a100': 4})
        """
        told = _directives(script)
        return cls(
            told.get("--partition", ""),
            told.get("--account", ""),
            told.get("--time", ""),
            told.get("--qos", ""),
            told.get("--constraint", ""),
            _gpus_of_a_node(told),
        )

    @property
    def gpu_count(self) -> int:
        """GPUs of a node, of whatever type."""
        return sum((self.gpus or {}).values())


def _directives(script: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            break
        if not line.startswith("#SBATCH"):
            continue
        try:
            tokens = shlex.split(line[len("#SBATCH") :], comments=True)
        except ValueError:  # quotes that do not match: sbatch will say so
            continue
        while tokens:
            name, equals, value = tokens.pop(0).partition("=")
            if not name.startswith("--"):
                name, value = name[:2], name[2:] + equals + value
            if not (equals or value) and tokens and not tokens[0].startswith("-"):
                value = tokens.pop(0)
            found[_LONG.get(name, name)] = value
    return found


def _gpus_of_a_node(told: dict[str, str]) -> dict[str, int]:
    if found := gpus(told.get("--gres", "")):
        return found
    nodes = max(_number(told.get("--nodes", "")), 1)
    tasks = _number(told.get("--ntasks-per-node", "")) or math.ceil(
        max(_number(told.get("--ntasks", "")), 1) / nodes
    )
    for name, share in (
        ("--gpus-per-node", 1.0),
        ("--gpus", 1 / nodes),
        ("--gpus-per-task", tasks),
    ):
        if given := told.get(name, ""):
            asked = gpus(",".join(f"gpu:{each}" for each in given.split(",")))
            return {kind: math.ceil(count * share) for kind, count in asked.items()}
    return {}


def _number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0


@dataclass(frozen=True, slots=True)
class Partition:
    """What a partition offers.

    Parameters
    ----------
    name : str
        Of the partition.
    default : bool
        Whether it is taken where a script names none.
    limit : float
        Longest walltime in seconds; inf for none.
    longest : str
        The same as Slurm writes it.
    gres : sequence of str
        Generic resources of its nodes, one entry a kind of node: ``"gpu:a100:4(S:0-1)"``.
    whole : bool
        Whether all of its nodes are up.
    """

    name: str
    default: bool = False
    limit: float = math.inf
    longest: str = "infinite"
    gres: Sequence[str] = ()
    whole: bool = True

    def most_gpus(self, kind: str = "") -> int:
        """GPUs of the node that has most of them, of a type (default: of whatever type)."""
        counts = (gpus(each) for each in self.gres)
        return max(
            (each.get(kind, 0) if kind else sum(each.values()) for each in counts), default=0
        )

    @property
    def offer(self) -> str:
        """What its nodes have, in words."""
        kinds = {
            " and ".join(f"{count} GPUs" + (f" {kind!r}" if kind else "") for kind, count in each)
            for each in (sorted(gpus(gres).items()) for gres in self.gres)
            if each
        }
        return f"its nodes have {' or '.join(sorted(kinds)) or 'no GPUs'}"


def partitions() -> dict[str, Partition]:
    """The partitions of this Slurm by name, also those that are hidden.

    Raises
    ------
    Unreachable
        If Slurm does not answer.
    """
    found: dict[str, Partition] = {}
    for line in answered(ask("sinfo", "-h", "--all", "-o", "%P|%l|%G|%T")).out.splitlines():
        name, longest, gres, state = [*line.split("|"), "", "", ""][:4]
        key = name.rstrip("*")
        before = found.get(key, Partition(key))
        found[key] = Partition(
            key,
            name.endswith("*"),
            span(longest),
            longest,
            (*before.gres, gres),
            before.whole and re.sub(r"\W", "", state) in _UP,
        )
    return found


def named(request: Request, known: dict[str, Partition]) -> list[Partition]:
    """The partitions that a script names, or the default one."""
    if not request.partition:
        return [each for each in known.values() if each.default]
    return [known[each] for each in request.partition.split(",") if each in known]


def listed(known: dict[str, Partition]) -> str:
    """Partitions in words: ``batch (default), urgent``."""
    return ", ".join(
        f"{each.name} (default)" if each.default else each.name for each in known.values()
    )


def check_request(request: Request, known: dict[str, Partition]) -> None:
    """Make sure that a partition exists that would run the batch job some day.

    Parameters
    ----------
    request : Request
        What the script asks for.
    known : dict
        The partitions by name.

    Raises
    ------
    CampaignError
        Naming the setting, its value and what is allowed.

    Examples
    --------
    >>> known = {"short": Partition("short", limit=1800.0, longest="30:00", gres=("gpu:4",))}
    >>> check_request(Request("short", walltime="00:20:00", gpus={"": 4}), known)
    >>> check_request(Request("short", walltime="02:00:00"), known)
    Traceback (most recent call last):
        ...
    daskhpo.exceptions.CampaignError: pool.walltime='02:00:00': partition 'short' allows 30:00 ...
    """
    missing = [each for each in request.partition.split(",") if each and each not in known]
    if missing:
        raise CampaignError(
            f"pool.queue={request.partition!r}: this Slurm has no partition {missing[0]!r}; "
            f"it has {listed(known)}"
        )
    chosen = named(request, known)
    if not chosen:
        raise CampaignError(
            f"pool.queue='': this Slurm has no default partition; name one of {listed(known)}"
        )
    names = " or ".join(repr(each.name) for each in chosen)
    _check_walltime(request, chosen, names)
    _check_gpus(request, chosen, names)


def _check_walltime(request: Request, chosen: list[Partition], names: str) -> None:
    if not request.walltime:
        return
    asked = walltime_seconds("pool.walltime", request.walltime)
    most = max(chosen, key=lambda each: each.limit)
    if asked > most.limit:
        raise CampaignError(
            f"pool.walltime={request.walltime!r}: partition {names} allows {most.longest} "
            "at the most ([days-]hours:minutes:seconds, or minutes:seconds)"
        )


def _check_gpus(request: Request, chosen: list[Partition], names: str) -> None:
    for kind, count in (request.gpus or {}).items():
        if count > max(each.most_gpus(kind) for each in chosen):
            of_kind = f" of type {kind!r}" if kind else ""
            offers = "; ".join(dict.fromkeys(each.offer for each in chosen))
            raise CampaignError(
                f"pool.gpus={request.gpu_count}: no node of partition {names} has "
                f"{count} GPUs{of_kind}: {offers}"
            )
