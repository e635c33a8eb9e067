"""Whether all nodes of a site can see a path: said before anything is queued."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from daskhpo.cluster.site import Site
from daskhpo.exceptions import CampaignError

__all__ = ["check_interface", "check_shared", "own_of_the_node"]

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs", "hugetlbfs")


def check_shared(site: Site, directory: str | os.PathLike[str]) -> None:
    """Refuse a campaign, or a Python, that no other node can see.

    Parameters
    ----------
    site : Site
        With ``node_local`` paths; without any, nothing is checked.
    directory : path
        The campaign's.

    Raises
    ------
    CampaignError
        Naming the path, why it is not shared, and what to do.

    Examples
    --------
    >>> check_shared(Site("ours", "slurm", {}, node_local=()), "/tmp/first")
    """
    if why := own_of_the_node(site, directory):
        raise CampaignError(
            f"campaign directory {os.fspath(directory)}: {why}, so that batch jobs cannot see it: "
            "choose a path on a file system that all nodes share (home, project or scratch)"
        )
    if not site.options.get("python") and (why := own_of_the_node(site, sys.prefix)):
        raise CampaignError(
            f"Python {sys.executable}: {why}, so that batch jobs cannot start it: use an "
            f"environment on a file system that all nodes share, or name the Python of the nodes "
            f"as jobqueue.{site.name}.python"
        )


def own_of_the_node(site: Site, path: str | os.PathLike[str]) -> str:
    """Why a path is one that every node has to itself; empty if it is not.

    Examples
    --------
    >>> own_of_the_node(Site("ours", "slurm", {}, node_local=("/scratch/local",)),
    ...                 "/scratch/local/me/first")
    'every node has its own /scratch/local'
    """
    if not site.node_local:
        return ""
    real = Path(path).resolve()
    for place in site.node_local:
        if real.is_relative_to(Path(place).resolve()):
            return f"every node has its own {place}"
    kind = _file_system(real)
    return f"it lies in the memory of this machine ({kind})" if kind in IN_MEMORY else ""


def _file_system(path: Path) -> str:
    """The type of the file system that a path lies on, or will; empty where nobody says."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    longest, found = 0, ""
    for line in lines:  # later mounts cover earlier ones
        _, mount, kind, *_ = line.split()
        # Blanks in paths are written as \040.
        place = mount.encode("latin-1", "replace").decode("unicode_escape")
        if path.is_relative_to(place) and len(place) >= longest:
            longest, found = len(place), kind
    return found


def check_interface(site: Site) -> None:
    """Refuse a network interface that the scheduler's machine, this one, does not have.

    Raises
    ------
    CampaignError
        Naming those that it has.

    Examples
    --------
    >>> check_interface(Site("ours", "slurm", {"interface": "lo"}))
    """
    scheduler = site.options.get("scheduler-options") or {}
    if "host" in scheduler:
        return
    name = scheduler.get("interface") or site.options.get("interface")
    known = [interface for _, interface in socket.if_nameindex()]
    if name and name not in known:
        raise CampaignError(
            f"jobqueue.{site.name}.interface={name!r}: this machine has {', '.join(known)}; if "
            f"the network of the nodes is called otherwise here, name it as scheduler-options: "
            "{interface: NAME} beside it"
        )
