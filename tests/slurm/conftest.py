"""A real Slurm for the tests of this folder: four virtual nodes with four fake GPUs each.

It starts once in a session (about half a second) and ends with it; after each test its jobs are
cancelled and its nodes mended. ``SLURM_CONF`` points to it, so whatever a test starts finds it.

    def test_a_job_that_runs_into_its_limit(slurm):
        job = slurm.sbatch("sleep 600", "--nodelist=node2")
        slurm.wait(job, "RUNNING")
        slurm.end_in(job, 2)
        assert slurm.wait(job, "TIMEOUT", "RUNNING", seconds=60) == "TIMEOUT"

With the environment variable CI these tests fail where Slurm is missing; elsewhere they skip.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "jobqueue"
PACKAGES = "slurmctld slurmd slurm-client munge"


class RealSlurm:
    """A test Slurm and what can be done to it.

    Parameters
    ----------
    root : pathlib.Path
        Where its files lie; ``root / "log"`` has the logs of its daemons.
    port : int
        The first of the ports that it takes.
    """

    nodes = ("node1", "node2", "node3", "node4")
    gpus = 4  # of a node
    cpus = 8  # of a node

    def __init__(self, root, port):
        self.root = Path(root)
        self.conf = self.root / "etc/slurm.conf"
        self.port = port

    def up(self):
        """Start it."""
        self._script("slurm-up.sh", self.root, len(self.nodes), self.gpus, self.cpus)

    def down(self):
        """End it, with all that its jobs left behind."""
        self._script("slurm-down.sh", self.root)

    def _script(self, name, *arguments):
        done = subprocess.run(
            [SCRIPTS / name, *map(str, arguments)],
            env={**os.environ, "SLURM_TEST_PORT": str(self.port), "SLURM_TEST_DBD": ""},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr

    def run(self, *command, check=True):
        """What a command of this Slurm prints: ``slurm.run("squeue", "-h")``."""
        done = subprocess.run(
            [str(each) for each in command],
            env={**os.environ, "SLURM_CONF": str(self.conf)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    # Jobs.

    def sbatch(self, command="sleep 600", *options):
        """Submit a shell command as a job; gives its id. Its output is in ``root/log/JOB.out``."""
        output = f"--output={self.root}/log/%j.out"
        return self.run("sbatch", "--parsable", output, *options, f"--wrap={command}").strip()

    def states(self):
        """The state of every job that it remembers, by id: ``{"3": "RUNNING"}``."""
        lines = self.run("squeue", "-h", "--states=all", "-o", "%i %T").split("\n")
        return dict(line.split() for line in lines if line)

    def state(self, job):
        """The state of a job in Slurm's word; empty if it has been forgotten."""
        return self.states().get(job, "")

    def wait(self, job, *states, seconds=60.0):
        """Wait until a job is in one of ``states``; gives the state."""
        until = time.monotonic() + seconds
        while (state := self.state(job)) not in states:
            if time.monotonic() > until:
                raise AssertionError(f"job {job} is {state or 'unknown'}, not {', '.join(states)}")
            time.sleep(0.1)
        return state

    def end_in(self, job, seconds):
        """Move a running job's time limit, so that it ends in so many seconds.

        Slurm looks only every 30 s, so the end comes up to that much later.
        """
        self.run("scontrol", "update", f"JobId={job}", f"EndTime=now+{int(seconds)}")

    def requeue(self, job):
        """Put a job back into the queue; it starts again some seven seconds later."""
        self.run("scontrol", "requeue", job)

    def cancel_all(self):
        """Cancel every job."""
        self.run("scancel", "--user", str(os.getuid()), check=False)

    def block(self, *nodes):
        """Take whole nodes (default: all) by a job of the partition ``batch`` as soon as they are
        free, so that whoever comes after it waits; gives its id. Cancel it to make room.
        """
        return self._take("batch", nodes)

    def urgent(self, *nodes):
        """Take whole nodes (default: all) from whoever is on them, by preemption; gives the id of
        the job that does. Cancel it to give them back.
        """
        return self._take("urgent", nodes)

    def _take(self, partition, nodes):
        nodes = nodes or self.nodes
        return self.sbatch(
            "sleep 3600",
            f"--partition={partition}",
            f"--nodelist={','.join(nodes)}",
            f"--nodes={len(nodes)}",
            "--exclusive",
            f"--gpus-per-node={self.gpus}",
            "--time=60",
        )

    def processes(self, job=None):
        """The pids of a job's processes (default: any job's), even if Slurm has given them up."""
        wanted = {f"SLURM_CONF={self.conf}".encode()}
        found = []
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (each / "environ").read_bytes().split(b"\0")
                jobs = [line for line in environment if line.startswith(b"SLURM_JOB_ID=")]
                if wanted <= {*environment} and jobs and job in (None, jobs[0][13:].decode()):
                    found.append(int(each.name))
        return found

    # Nodes.

    def node_states(self):
        """What it says of its nodes: ``{"node1": "idle"}``."""
        lines = self.run("sinfo", "-h", "-N", "-o", "%N %T").split("\n")
        return dict(line.split() for line in lines if line)

    def node_down(self, node):
        """Declare a node dead: its jobs end with NODE_FAIL at once."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def node_up(self, node):
        """Mend a node, whatever was done to it."""
        if not self._slurmd(node):
            self.start_slurmd(node)
        if self.node_states()[node].rstrip("*") in ("down", "drained", "draining"):
            self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)

    def kill_slurmd(self, node):
        """Kill a node's daemon: Slurm misses it some 25 s later; its jobs' processes live on."""
        os.kill(self._slurmd(node), signal.SIGKILL)

    def start_slurmd(self, node):
        """Start a node's daemon again; it ends what it finds of jobs that Slurm has given up."""
        self.run("slurmd", "-f", self.conf, "-N", node)

    def _slurmd(self, node):
        return self._daemon(f"slurmd.{node}")

    # The controller.

    def stop_controller(self):
        """End the controller: jobs go on, but nobody answers."""
        pid = self._daemon("slurmctld")
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + 30
        while _alive(pid, b"slurmctld") and time.monotonic() < until:
            time.sleep(0.05)

    def start_controller(self):
        """Start the controller again; it still knows its jobs."""
        self.run("slurmctld", "-f", self.conf)

    def _daemon(self, name):
        """The pid of a daemon, 0 if it is not there."""
        try:
            pid = int((self.root / "run" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return 0
        return pid if _alive(pid, name.partition(".")[0].encode()) else 0

    def tidy(self):
        """Cancel every job, mend every node, and wait until all of it is idle."""
        if not self._daemon("slurmctld"):
            self.start_controller()
        self.cancel_all()
        until = time.monotonic() + 60
        while True:
            for node, state in self.node_states().items():
                if not self._slurmd(node) or state.rstrip("*") in ("down", "drained"):
                    self.node_up(node)
            busy = self.run("squeue", "-h")
            if not busy and {*self.node_states().values()} == {"idle"}:
                break
            assert time.monotonic() < until, f"not idle: {busy}{self.run('sinfo', '-N', '-l')}"
            time.sleep(0.1)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _alive(pid, name):
    try:
        return name in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _free_ports(count):
    """The first of so many consecutive ports that nobody listens on, below the ephemeral ones."""
    for base in range(18100 + os.getpid() % 1000 * 10, 32000, 10):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(base, base + count):
                stack.enter_context(socket.socket()).bind(("", port))
            return base
    raise AssertionError("no free ports for a test Slurm")


def _missing():
    """Why there can be no test Slurm here; empty if there can."""
    lacking = [each for each in ("slurmctld", "slurmd", "squeue", "munged") if not _which(each)]
    if lacking:
        return f"{', '.join(lacking)} missing (apt-get install {PACKAGES})"
    return "" if os.geteuid() == 0 else "a test Slurm needs root"


def _which(command):
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@pytest.fixture(scope="session")
def slurm():
    """The :class:`RealSlurm` of this session."""
    if reason := _missing():
        if os.environ.get("CI"):
            pytest.fail(f"CI has to test against a real Slurm: {reason}")
        pytest.skip(reason)
    port = int(os.environ.get("SLURM_TEST_PORT") or _free_ports(len(RealSlurm.nodes) + 1))
    # A short path: sockets lie below it.
    root = tempfile.mkdtemp(prefix="daskhpo-slurm-")
    found = RealSlurm(root, port)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(found.conf))
        patch.setenv("PATH", f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        try:
            found.up()
            yield found
        finally:
            found.down()
            shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def tidy_slurm(slurm):
    """After each test: no jobs, all nodes idle."""
    yield
    slurm.tidy()
