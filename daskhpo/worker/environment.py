"""What the ranks of a trial find in their environment."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence

from daskhpo.worker.devices import narrow

__all__ = ["cpus", "interface_of", "rank_environment"]

# Whatever makes torch, Lightning, accelerate or an MPI library take a process for a task of srun
# or mpirun: the worker may be one, its ranks are not.
_OF_A_TASK = (
    *("SLURM_STEP", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS"),
    *("SLURM_NPROCS", "SLURM_TASK", "SLURM_GTIDS", "SLURM_DISTRIBUTION", "SLURM_SRUN_COMM"),
    *("SLURM_LAUNCH_NODE", "SLURM_CPU_BIND", "SLURM_MPI_TYPE", "SLURM_PMI"),
    *("PMI_", "PMIX_", "PALS_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "TORCHELASTIC_"),
)
_OF_A_RANK = frozenset(
    {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK"}
    | {"ROLE_RANK", "MASTER_ADDR", "MASTER_PORT"}
)
_SIOCGIFADDR = 0x8915  # Linux: ask an interface for its IPv4 address


def rank_environment(
    environ: Mapping[str, str], *, devices: Sequence[str] = (), share: int = 1
) -> dict[str, str]:
    """The environment of a rank that a worker with ``environ`` starts.

    Parameters
    ----------
    environ : mapping
        The worker's own.
    devices : sequence of str
        The GPUs of its trial; empty: all that the worker sees.
    share : int
        How many ranks there are on this worker at the same time: they divide its CPUs among
        them, unless ``OMP_NUM_THREADS`` is set.

    Examples
    --------
    >>> sorted(rank_environment({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}))
    ['OMP_NUM_THREADS', 'PYTHONPATH', 'SLURM_JOB_ID']
    """
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_OF_A_TASK) and name not in _OF_A_RANK
    }
    kept.setdefault("OMP_NUM_THREADS", str(max(1, cpus(environ) // share)))
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return narrow(kept, devices)


def cpus(environ: Mapping[str, str] = os.environ) -> int:
    """CPUs that this worker may keep busy: those it is bound to, and no more than it was given.

    Examples
    --------
    >>> cpus({"SLURM_CPUS_ON_NODE": "1"})
    1
    """
    bound = len(os.sched_getaffinity(0))
    given = environ.get("SLURM_CPUS_ON_NODE", "")
    return min(bound, int(given)) if given.isdecimal() and int(given) > 0 else bound


def interface_of(host: str) -> str:
    """Name of the network interface that has the IPv4 address of ``host``; empty if none has.

    Examples
    --------
    >>> interface_of("127.0.0.1")
    'lo'
    """
    try:
        wanted = socket.inet_aton(socket.gethostbyname(host))
    except OSError:
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, request)
            except OSError:
                continue  # it has no IPv4 address
            if answer[20:24] == wanted:
                return name
    return ""
