"""The doctor's questions to a node, over the connection that the probe job has made."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from daskhpo.cluster import judge
from daskhpo.cluster.findings import Finding, Level
from daskhpo.cluster.probe import Channel, NoAnswer
from daskhpo.cluster.probe_job import interfaces

__all__ = ["interview"]

SHARED = "choose a directory on a file system that all nodes share: --dir, run --path"
CURES = {  # {what the node could not tell: what to do}
    "names": "addresses do without names: name the site's interface",
    "shared files": SHARED,
    "node's program": "install daskhpo where nodes see it, or name jobqueue.NAME.python",
    "Dask": "install daskhpo in the environment that nodes use",
    "PyTorch": "pip install 'daskhpo[torch]' in the environment that nodes use",
}
FABRIC = ("ib", "hsn", "opa")  # beginnings of names of interfaces that want locked memory


def interview(
    channel: Channel, *, token: str, folder: Path, interface: str, gpus: int, asked: float | None
) -> Iterator[Finding]:
    """Ask one thing after the other; what the node cannot tell is a finding too.

    Parameters
    ----------
    channel : Channel
        Of the probe job.
    token : str
        That it was given.
    folder : Path
        A directory of our own where campaigns are to lie.
    interface : str
        The one that the site names; may be empty.
    gpus : int
        That the batch job asked for.
    asked : float or None
        Seconds of walltime that it asked for; inf for none, None where no batch system ends it.

    Yields
    ------
    Finding
        As the answers come.
    """
    mine = interfaces()
    seconds: dict[str, float] = {}  # {module: how long its import took}
    questions: dict[str, Callable[[], Finding]] = {
        "node": lambda: _node(channel.ask("host")),
        "way back": lambda: judge.judge_way(channel.hello, mine, interface),
        "names": lambda: _names(channel, list(mine.values())),
        "ports": lambda: judge.judge_ports(channel.knock(token)),
        "shared files": lambda: _exchange(channel, folder, token),
        "node's program": lambda: _program(channel),
        "node's clock": lambda: judge.judge_clock(channel.skew()),
        "walltime": lambda: _end(channel, asked),
        "node's disk": lambda: judge.judge_disk(channel.ask("disk")),
        "node's limits": lambda: _limits(channel, interface),
        "GPUs": lambda: judge.judge_devices(channel.ask("gpus"), gpus),
        "Dask": partial(_dask, channel, seconds),
        "PyTorch": partial(_torch, channel, seconds, gpus),
        "start-up": lambda: judge.judge_start(seconds),
    }
    if asked is None:
        del questions["walltime"]
    for what, question in questions.items():
        try:
            yield question()
        except NoAnswer as error:
            # A campaign can do without names, and without PyTorch where it needs no GPUs.
            soft = what == "names" or (what == "PyTorch" and not gpus)
            level = Level.WARNING if soft else Level.FAILURE
            cure = CURES.get(what, "see what the batch job has written, and run this once more")
            yield Finding(what, level, f"the node cannot tell: {error}", cure)


def _node(answer: dict[str, Any]) -> Finding:
    addresses = ", ".join(f"{name} {address}" for name, address in answer["addresses"].items())
    queue = answer["batch"].get("SLURM_JOB_PARTITION", "")
    said = f"{answer['host']}{f' (queue {queue})' if queue else ''}: {addresses}"
    return Finding("node", Level.OK, said)


def _names(channel: Channel, mine: list[str]) -> Finding:
    name = socket.gethostname()
    here = {str(found[4][0]) for found in socket.getaddrinfo(name, None, socket.AF_INET)}
    return judge.judge_names(channel.ask("resolve", name=name), name, [*mine, *sorted(here)])


def _exchange(channel: Channel, folder: Path, token: str) -> Finding:
    """Write a file for the node, and read the one that it writes."""
    (folder / "from-doctor").write_text(token, encoding="utf-8")
    answer = channel.ask("files", folder=str(folder))
    try:
        back = (folder / "from-node").read_text(encoding="utf-8")
    except OSError:
        back = ""
    return judge.judge_files(token, answer["read"], back, str(folder.parent))


def _program(channel: Channel) -> Finding:
    # The package itself lies above this module: it is asked, not imported.
    version = str(sys.modules["daskhpo"].__dict__["__version__"])
    return judge.judge_program(channel.ask("program"), version)


def _end(channel: Channel, asked: float | None) -> Finding:
    assert asked is not None
    return judge.judge_end(channel.ask("ends"), channel.ask("clock"), asked)


def _limits(channel: Channel, interface: str) -> Finding:
    return judge.judge_limits(channel.ask("limits"), fabric=interface.startswith(FABRIC))


def _dask(channel: Channel, seconds: dict[str, float]) -> Finding:
    answer = channel.ask("distributed")
    seconds["distributed"] = answer["seconds"]
    return Finding("Dask", Level.OK, f"distributed {answer['version']}")


def _torch(channel: Channel, seconds: dict[str, float], gpus: int) -> Finding:
    answer = channel.ask("torch")
    seconds["torch"] = answer["seconds"]
    return judge.judge_torch(answer, gpus)
