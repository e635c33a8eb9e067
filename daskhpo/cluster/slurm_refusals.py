"""What sbatch says when it refuses a batch job, in terms of a campaign's settings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from daskhpo.cluster.commands import Answer
from daskhpo.cluster.slurm_commands import trouble
from daskhpo.cluster.slurm_partitions import Partition, Request, listed, named

__all__ = ["Refusal", "refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why sbatch refuses a batch job.

    Parameters
    ----------
    message : str
        Which setting, what is allowed, and sbatch's own words.
    final : bool, optional
        Whether it would be refused again later; None where that is unknown.
    """

    message: str
    final: bool | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    """Sbatch's words, the setting that they are about, and the cure."""

    words: str
    setting: str
    cure: str
    final: bool | None = True


# The first that fits. QOS limits before what they are wrapped in ("Job violates accounting/QOS
# policy"); what passes before what does not, as sbatch may say both.
_RULES = (
    _Rule(
        r"\w*(?:Submit|MaxJobs|GrpJobs)\w*(?:Limit|Per\w+)",
        "jobs",
        "you may not have more batch jobs queued now",
        final=False,
    ),
    _Rule(
        "temporarily unable|temporarily unavailable|Required (node|partition) not available|"
        "Requested nodes are busy|job submission.*disabled|in maintenance|Slurm .*is busy",
        "",
        "this passes",
        final=False,
    ),
    _Rule(
        r"(?:QOS|Assoc)\w*Wall\w*",
        "walltime",
        "longer than your account or QOS allows",
    ),
    _Rule(
        r"(?:QOS|Assoc)Max(?:GRES|Gres|TRES|Tres)\w*Per(?:Job|Node)\w*",
        "gpus",
        "more than your account or QOS allows a batch job",
    ),
    _Rule(
        "violates accounting/QOS policy",
        "",
        "a limit of your account or QOS (batch jobs queued, their size or walltime)",
        final=None,
    ),
    _Rule("reservation", "directives", "the reservation that they name cannot be used"),
    _Rule("Invalid partition", "queue", "this Slurm has no such partition; it has {partitions}"),
    _Rule(
        "not permitted to use this partition|Access/permission denied|Access denied",
        "queue",
        "you may not use it; this Slurm has {partitions}",
    ),
    _Rule(
        "account/partition combination|([Ii]nvalid|unknown|missing|no default) account|"
        "(specify|provide|requires?|without)[^.]*account",
        "account",
        "name one that may be charged here (sacctmgr show associations user=$USER lists yours; "
        "SBATCH_ACCOUNT is not read)",
    ),
    _Rule("Invalid qos", "directives", "--qos={qos} is none that you may use"),
    _Rule(
        "Invalid feature",
        "directives",
        "--constraint={constraint}: nodes have no such feature (sinfo -o '%P %f' lists them)",
    ),
    _Rule("Invalid --time|time specification", "walltime", "no walltime as Slurm writes it"),
    _Rule(
        "time limit",
        "walltime",
        "not within the limit of the partition ({longest})",
    ),
    _Rule(
        r"generic resource|\(gres\)|\bGRES\b|Trackable RESource|--gpus|--gres",
        "gpus",
        "the site's GPU directive is not understood here; {offer}",
    ),
    _Rule(
        "Memory specification|[Mm]emory required",
        "site",
        "its `memory` is more than a node of the partition has (sinfo -o '%P %m' in MB)",
    ),
    _Rule(
        "CPU count|Task count|Node count",
        "site",
        "more `cores` or nodes than the partition has (sinfo -o '%P %D %c')",
    ),
    _Rule(
        "node configuration is not available",
        "gpus",
        "no node of the partition has all of it: GPUs, the site's `cores` and `memory`, "
        "constraints; {offer}",
    ),
    _Rule(
        "partition configuration not available",
        "queue",
        "outside the partition's limits on time, nodes, memory or accounts (walltime at the most "
        "{longest})",
    ),
)


def refusal(answer: Answer, request: Request, known: dict[str, Partition]) -> Refusal:
    """Say which setting sbatch refuses, and the cure.

    Parameters
    ----------
    answer : Answer
        Of sbatch, which failed.
    request : Request
        What the script asked for.
    known : dict
        The partitions by name; may be empty.

    Examples
    --------
    >>> answer = Answer(["sbatch"], 1, "", "sbatch: error: Batch job submission failed: "
    ...                 "Invalid partition name specified")
    >>> refused = refusal(answer, Request("nope"), {"batch": Partition("batch", default=True)})
    >>> refused.final, refused.message.split(" (sbatch")[0]
    (True, "pool.queue='nope': this Slurm has no such partition; it has batch (default)")
    """
    said = f"sbatch says: {answer.said or f'exit code {answer.code}'}"
    if why := trouble(answer):
        return Refusal(f"{why} ({said})", final=False)
    text = answer.err + answer.out
    rule = next((each for each in _RULES if re.search(each.words, text)), None)
    if rule is None:
        return Refusal(f"Slurm refuses the batch job ({said})")
    cure = rule.cure.format_map(_facts(request, known))
    return Refusal(f"{_setting(rule.setting, request)}{cure} ({said})", rule.final)


def _setting(name: str, request: Request) -> str:
    if name == "gpus" and not request.gpu_count:
        name = "site"
    values = {
        "queue": repr(request.partition),
        "account": repr(request.account),
        "walltime": repr(request.walltime),
        "gpus": str(request.gpu_count),
    }
    if not name:
        return "Slurm refuses the batch job: "
    return f"pool.{name}={values[name]}: " if name in values else f"pool.{name}: "


def _facts(request: Request, known: dict[str, Partition]) -> dict[str, str]:
    chosen = named(request, known)
    return {
        "partitions": listed(known) or "others (sinfo lists them)",
        "longest": ", ".join(dict.fromkeys(each.longest for each in chosen)) or "see sinfo",
        "offer": "; ".join(dict.fromkeys(each.offer for each in chosen)) or "see sinfo -o '%P %G'",
        "qos": request.qos,
        "constraint": request.constraint,
    }
