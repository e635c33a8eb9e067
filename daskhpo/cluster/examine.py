"""What the doctor can see without a batch job: this machine, and the campaign's directory.

Every function looks at one thing and returns one :class:`~daskhpo.cluster.findings.Finding`; what
it looks with is an argument, so that each way to fail can be shown to it.
"""

from __future__ import annotations

import importlib.util
import math
import os
import resource
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from daskhpo.cluster.findings import Finding, Level
from daskhpo.cluster.shared import own_of_the_node
from daskhpo.cluster.site import Site
from daskhpo.exceptions import DaskhpoError
from daskhpo.store.lock import Lock
from daskhpo.wording import duration

__all__ = [
    "check_answers",
    "check_clock",
    "check_commands",
    "check_directory",
    "check_keys",
    "check_locks",
    "check_open_files",
    "check_process_limits",
    "check_program",
    "check_room",
    "check_script",
    "file_system",
]

COMMANDS = {  # {kind: what we call}
    "slurm": ("sbatch", "squeue", "scancel", "scontrol", "sinfo"),
    "pbs": ("qsub", "qstat", "qdel"),
    "lsf": ("bsub", "bjobs", "bkill"),
    "sge": ("qsub", "qstat", "qdel"),
    "htcondor": ("condor_submit", "condor_q", "condor_rm"),
    "oar": ("oarsub", "oarstat", "oardel"),
}
QUESTIONS = {  # {kind: a harmless question that a living batch system answers}
    "slurm": ("sinfo", "-h", "-o", "%R"),
    "pbs": ("qstat", "-Q"),
    "lsf": ("bqueues",),
    "sge": ("qstat",),
    "htcondor": ("condor_q",),
    "oar": ("oarstat",),
}
SHARED = (  # beginnings of types of file systems
    *("nfs", "lustre", "gpfs", "beegfs", "ceph", "panfs", "wekafs", "afs", "glusterfs"),
    *("orangefs", "pvfs2", "9p", "virtiofs", "cifs", "smb3"),
)

ANSWER = 30.0  # seconds for a batch system to answer
GIGABYTE = 1 << 30
FEW_FILES = 1024  # open files that a driver with some hundred workers needs
SKEW = 5.0  # seconds between two clocks that do harm
MOUNTS = Path("/proc/self/mountinfo")

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False)


def check_commands(kind: str, *, which: Callable[[str], str | None] = shutil.which) -> Finding:
    """Whether the commands of the batch system are there."""
    missing = [name for name in COMMANDS[kind] if which(name) is None]
    if missing:
        cure = f"run this where {kind} is installed (a login node), or `module load {kind}`"
        return Finding("batch commands", Level.FAILURE, f"no {', '.join(missing)} in PATH", cure)
    said = f"{', '.join(COMMANDS[kind])} are in PATH"
    return Finding("batch commands", Level.OK, said)


def check_answers(kind: str, *, run: Run = _run) -> Finding:
    """Whether the batch system answers, and believes that we are who we are."""
    question = " ".join(QUESTIONS[kind])
    try:
        done = run(QUESTIONS[kind])
    except (OSError, subprocess.TimeoutExpired) as error:
        cure = f"wait, or ask the site: `{question}` has to work in a shell first"
        return Finding("batch system", Level.FAILURE, f"`{question}`: {error}", cure)
    if done.returncode == 0:
        return Finding("batch system", Level.OK, f"`{question}` is answered")
    said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
    if any("munge" in line.lower() or "auth" in line.lower() for line in said):
        cure = "munge does not run here, or with another key: `munge -n | unmunge` has to work"
        return Finding("batch system", Level.FAILURE, f"`{question}`: {said[-1]}", cure)
    cure = (
        "the controller is down or this machine does not know it: see `scontrol ping`, SLURM_CONF"
    )
    if kind != "slurm":
        cure = f"`{question}` has to work in a shell first: ask the site"
    return Finding("batch system", Level.FAILURE, f"`{question}`: {said[-1]}", cure)


def check_script(check: Callable[[], None]) -> Finding:
    """Whether the batch system would take the batch job of a worker.

    Parameters
    ----------
    check : callable
        Makes the script and asks :meth:`daskhpo.cluster.batch.BatchSystem.check`.
    """
    try:
        check()
    except DaskhpoError as error:
        cure = "change that setting: in the campaign's pool section, or in the site file"
        return Finding("worker jobs", Level.FAILURE, str(error), cure)
    return Finding("worker jobs", Level.OK, "queue, account, walltime and GPUs are accepted")


def check_program(site: Site, places: Mapping[str, str]) -> Finding:
    """Whether nodes can see the Python and the daskhpo that they have to run.

    Parameters
    ----------
    site : Site
        Which knows what every node has to itself.
    places : mapping
        ``{"python": path, "daskhpo": path}``.
    """
    for name, place in places.items():
        if why := own_of_the_node(site, place):
            cure = "install it on a file system that all nodes share (home, project, software)"
            return Finding("program", Level.FAILURE, f"{name} is {place}: {why}", cure)
    return Finding("program", Level.OK, ", ".join(f"{n} is {p}" for n, p in places.items()))


def check_directory(site: Site, path: Path, *, kind: str | None = None) -> Finding:
    """Whether the campaign's directory lies where every node sees it.

    Parameters
    ----------
    site : Site
        Which knows what every node has to itself; nothing where all nodes are one machine.
    path : Path
        The directory, or where it is to be.
    kind : str, optional
        The type of its file system; by default what the machine says.
    """
    real = path.resolve()
    cure = "choose a directory on a shared file system (scratch, project): --dir, run --path"
    if why := own_of_the_node(site, real):
        return Finding("directory", Level.FAILURE, f"{real}: {why}", cure)
    kind = kind if kind is not None else file_system(real)
    if not site.node_local:
        return Finding("directory", Level.OK, f"{real} ({kind}); all nodes are one machine")
    if kind.removeprefix("fuse.").startswith(SHARED):
        return Finding("directory", Level.OK, f"{real} is on a shared file system ({kind})")
    said = f"{real} is on {kind}, which looks like a disk of this machine; the probe job tells"
    return Finding("directory", Level.WARNING, said, cure)


def file_system(path: Path, *, mounts: str | None = None) -> str:
    """The type of the file system that a path is on; ``"unknown"`` where the system is silent.

    Examples
    --------
    >>> line = "36 35 0:31 / /scratch rw - lustre 10.0.0.1@tcp:/scratch rw"
    >>> file_system(Path("/scratch/ada"), mounts=line), file_system(Path("/home"), mounts=line)
    ('lustre', 'unknown')
    """
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "unknown"
    best, kind = -1, "unknown"
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = fields[4].replace("\\040", " ")
        # Of two mounts at one place the later one is on top.
        if path.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), right.split()[0]
    return kind


def check_room(path: Path, *, statvfs: Callable[[Path], Any] = os.statvfs) -> Finding:
    """Whether there are bytes and inodes left for a campaign."""
    found = statvfs(path)
    free = found.f_bavail * found.f_frsize
    files = found.f_favail if found.f_files else math.inf  # some file systems do not count them
    count = f"{files:,.0f}" if files < math.inf else "any number of"
    said = f"{free / GIGABYTE:,.1f} GB and {count} files free at {path}"
    cure = "free some space or inodes, or choose another file system: --dir"
    if free < GIGABYTE // 10 or files < 100:
        return Finding("disk", Level.FAILURE, said, cure)
    if free < 10 * GIGABYTE or files < 10_000:
        return Finding("disk", Level.WARNING, said, cure)
    return Finding("disk", Level.OK, said)


def check_locks(path: Path) -> Finding:
    """Whether the file system keeps a campaign's promise of one writer."""
    try:
        with tempfile.TemporaryDirectory(prefix=".daskhpo-doctor-", dir=path) as folder:
            first = Lock(Path(folder, "lock"))
            first.acquire()
            first.refresh()
            second = _refused(Path(folder, "lock"))
            first.release()
    except (OSError, DaskhpoError) as error:
        cure = "make the directory writable, or choose another: --dir"
        return Finding("locks", Level.FAILURE, str(error), cure)
    if not second:
        cure = "this file system creates one file twice: choose another one"
        return Finding("locks", Level.FAILURE, "two writers got the same lock", cure)
    return Finding("locks", Level.OK, f"one writer at a time in {path}")


def _refused(path: Path) -> bool:
    try:
        Lock(path).acquire()
    except DaskhpoError:
        return True
    return False


def check_keys(path: Path, *, encrypts: bool | None = None) -> Finding:
    """Whether the keys of TLS can be made, and kept from others.

    Parameters
    ----------
    path : Path
        Where they are to be.
    encrypts : bool, optional
        Whether the package cryptography is installed; by default as it is.
    """
    if encrypts is None:
        encrypts = importlib.util.find_spec("cryptography") is not None
    if not encrypts:
        cure = "pip install cryptography, or trust the network: pool.tls: false"
        return Finding("TLS keys", Level.FAILURE, "the package cryptography is missing", cure)
    try:
        with tempfile.NamedTemporaryFile(prefix=".daskhpo-doctor-", dir=path) as file:
            os.fchmod(file.fileno(), 0o600)
            mode = stat.S_IMODE(os.stat(file.name).st_mode)
    except OSError as error:
        cure = "make the directory writable, or choose another: --dir"
        return Finding("TLS keys", Level.FAILURE, str(error), cure)
    if mode != 0o600:
        said = f"a file that is to be 0600 is {mode:04o} in {path}: others could read keys"
        cure = "choose a file system that keeps permissions, or pool.tls: false"
        return Finding("TLS keys", Level.FAILURE, said, cure)
    return Finding("TLS keys", Level.OK, f"can be kept 0600 in {path}")


def check_open_files(limits: tuple[int, int] | None = None) -> Finding:
    """Whether a driver may have a connection to every worker."""
    soft, hard = limits if limits is not None else resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FEW_FILES:
        return Finding("open files", Level.OK, f"at most {_limit(soft)} in this shell")
    most = _limit(hard)
    cure = f"ulimit -n {FEW_FILES} (at most {most} here), or let it run elsewhere: daskhpo submit"
    return Finding("open files", Level.WARNING, f"at most {soft} in this shell", cure)


def check_process_limits(cpu: int | None = None, processes: int | None = None) -> Finding:
    """Whether this machine kills processes that live for long, as login nodes do.

    Parameters
    ----------
    cpu : int, optional
        Seconds of CPU time that a process may take (``ulimit -t``).
    processes : int, optional
        Processes and threads of this user (``ulimit -u``).
    """
    if cpu is None:
        cpu = resource.getrlimit(resource.RLIMIT_CPU)[0]
    if processes is None:
        processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    said = f"CPU time of a process: {_limit(cpu, ' s')}; processes: {_limit(processes)}"
    cure = "let the driver be a batch job: daskhpo submit"
    if cpu != resource.RLIM_INFINITY and cpu < 24 * 3600:
        return Finding("process limits", Level.WARNING, said, cure)
    if processes != resource.RLIM_INFINITY and processes < 256:
        return Finding("process limits", Level.WARNING, said, cure)
    return Finding("process limits", Level.OK, said)


def check_clock(path: Path, *, now: Callable[[], float] = time.time) -> Finding:
    """Whether this machine's clock agrees with that of the campaign's file system."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".daskhpo-doctor-", dir=path) as file:
            file.write(b" ")
            file.flush()
            os.fsync(file.fileno())
            away = now() - os.stat(file.name).st_mtime
    except OSError as error:
        cure = "make the directory writable, or choose another: --dir"
        return Finding("clock", Level.FAILURE, str(error), cure)
    if abs(away) > SKEW:
        side = "ahead of" if away > 0 else "behind"
        said = f"{duration(abs(away))} {side} that of the file system"
        cure = "tell the site: times in the journal and ends of batch jobs are read by this clock"
        return Finding("clock", Level.WARNING, said, cure)
    return Finding("clock", Level.OK, "agrees with that of the file system")


def _limit(value: int, unit: str = "") -> str:
    return "no limit" if value == resource.RLIM_INFINITY else f"{value:,}{unit}"
