"""The doctor sees each way in which campaigns cannot run, and names a cure for it."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from daskhpo.cluster import examine, judge, probe_job
from daskhpo.cluster.batch import BatchJob, Phase, SubmitError, Unreachable
from daskhpo.cluster.doctor import Case, diagnose
from daskhpo.cluster.findings import Finding, Level, worst
from daskhpo.cluster.interview import interview
from daskhpo.cluster.probe import Listener, NoAnswer, own_addresses, probe_command
from daskhpo.cluster.settings import PoolSettings
from daskhpo.cluster.site import Site, load_site
from daskhpo.exceptions import CampaignError

OK, WARNING, FAILURE = Level
SITE = Site("ours", "slurm", {}, node_local=("/scratch/local",))


def bad(finding, level=FAILURE, says=""):
    """A finding of this level that says this, with a cure."""
    assert finding.level is level, finding
    assert finding.cure, finding
    assert says in finding.said, finding
    return finding


def good(finding):
    assert finding.level is OK, finding
    return finding


def done(code, out="", err=""):
    return lambda command: subprocess.CompletedProcess(command, code, out, err)


# ---------------------------------------------------------------------- findings


def test_a_failure_without_a_cure_cannot_be_said():
    with pytest.raises(CampaignError, match="needs one"):
        Finding("disk", FAILURE, "full")


def test_the_worst_finding_decides():
    assert worst([]) is OK
    found = [Finding("a", OK, ""), Finding("b", FAILURE, "", "c"), Finding("d", WARNING, "")]
    assert worst(found) is FAILURE
    assert worst(found[::2]) is WARNING


# ---------------------------------------------------------------------- this machine


@pytest.mark.parametrize("kind", sorted(examine.COMMANDS))
def test_batch_commands_that_are_missing_are_named(kind):
    missing = examine.COMMANDS[kind][0]
    good(examine.check_commands(kind, which=lambda name: "/usr/bin/" + name))
    which = lambda name: None if name == missing else "/usr/bin/" + name  # noqa: E731
    bad(examine.check_commands(kind, which=which), says=missing)


def test_a_batch_system_that_answers_is_fine():
    good(examine.check_answers("slurm", run=done(0, "batch\n")))


def test_a_controller_that_does_not_answer_is_a_failure():
    said = "slurm_load_partitions: Unable to contact slurm controller (connect failure)"
    assert "scontrol ping" in bad(examine.check_answers("slurm", run=done(1, "", said))).cure


def test_munge_that_does_not_run_is_told_apart():
    said = "sinfo: error: If munged is up, restart with --num-threads=10\nsinfo: error: auth"
    assert "munge" in bad(examine.check_answers("slurm", run=done(1, "", said))).cure


def test_a_question_without_an_end_is_a_failure():
    def hangs(command):
        raise subprocess.TimeoutExpired(command, 30)

    bad(examine.check_answers("pbs", run=hangs), says="timed out")


def test_settings_that_the_batch_system_refuses_are_passed_on():
    def refuse():
        raise CampaignError("pool.queue='gpus': must be one of batch, urgent")

    bad(examine.check_script(refuse), says="pool.queue='gpus'")
    good(examine.check_script(lambda: None))


def test_a_python_that_only_this_node_has_is_a_failure():
    good(examine.check_program(SITE, {"python": "/usr/bin/python3"}))
    bad(examine.check_program(SITE, {"python": "/scratch/local/venv"}), says="python is")


def test_a_directory_that_every_node_has_to_itself_is_a_failure():
    bad(examine.check_directory(SITE, Path("/scratch/local/ada")), says="every node has its own")
    good(examine.check_directory(SITE, Path("/work"), kind="lustre"))
    good(examine.check_directory(SITE, Path("/work"), kind="fuse.beegfs"))
    bad(examine.check_directory(SITE, Path("/work"), kind="ext4"), WARNING, "ext4")
    one_machine = Site("ours", "slurm", {}, node_local=())
    good(examine.check_directory(one_machine, Path("/work"), kind="ext4"))


def test_the_innermost_mount_decides_on_the_type():
    mounts = "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /work rw - nfs4 b rw\nbroken line\n"
    assert examine.file_system(Path("/work/a"), mounts=mounts) == "nfs4"
    assert examine.file_system(Path("/works"), mounts=mounts) == "ext4"


@pytest.mark.parametrize(
    ("free", "files", "level"),
    [(1e12, 1e6, OK), (5e9, 1e6, WARNING), (1e12, 5000, WARNING), (1e6, 1e6, FAILURE)],
)
def test_room_is_bytes_and_inodes(free, files, level):
    found = SimpleNamespace(f_bavail=free, f_frsize=1, f_favail=files, f_files=1e7)
    finding = examine.check_room(Path("."), statvfs=lambda path: found)
    assert finding.level is level


def test_a_file_system_that_does_not_count_inodes_has_enough():
    found = SimpleNamespace(f_bavail=1e12, f_frsize=1, f_favail=0, f_files=0)
    assert "any number" in good(examine.check_room(Path("."), statvfs=lambda p: found)).said


def test_locks_keys_and_clocks_are_tried_out(tmp_path):
    good(examine.check_locks(tmp_path))
    good(examine.check_keys(tmp_path))
    good(examine.check_clock(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_fails_each_of_them(tmp_path):
    for check in (examine.check_locks, examine.check_keys, examine.check_clock):
        bad(check(tmp_path / "nowhere"))


def test_a_lock_that_two_get_is_no_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "_refused", lambda path: False)
    bad(examine.check_locks(tmp_path), says="two writers")


def test_keys_that_others_can_read_are_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fchmod", lambda handle, mode: os.chmod(handle, 0o644))
    bad(examine.check_keys(tmp_path), says="0644")


def test_without_cryptography_there_are_no_keys(tmp_path):
    bad(examine.check_keys(tmp_path, encrypts=False), says="cryptography")


def test_a_clock_that_is_wrong_is_a_warning(tmp_path):
    bad(examine.check_clock(tmp_path, now=lambda: time.time() + 90), WARNING, "ahead of")
    bad(examine.check_clock(tmp_path, now=lambda: time.time() - 90), WARNING, "behind")


def test_few_open_files_are_a_warning():
    good(examine.check_open_files((4096, 4096)))
    good(examine.check_open_files((-1, -1)))
    bad(examine.check_open_files((256, 4096)), WARNING, "256")


def test_login_nodes_that_kill_processes_are_a_warning():
    good(examine.check_process_limits(-1, -1))
    assert "daskhpo submit" in bad(examine.check_process_limits(600, -1), WARNING).cure
    bad(examine.check_process_limits(-1, 100), WARNING, "100")


# ---------------------------------------------------------------------- what a node says

MINE = {"lo": "127.0.0.1", "eth0": "10.0.0.1", "ib0": "10.1.0.1"}


def test_the_interface_that_the_site_names_has_to_be_the_way_back():
    good(judge.judge_way({"reached": "10.1.0.1", "failed": {}}, MINE, "ib0"))
    good(judge.judge_way({"reached": "10.0.0.1", "failed": {}}, MINE, ""))
    hello = {"reached": "10.0.0.1", "failed": {"10.1.0.1": "No route to host"}}
    bad(judge.judge_way(hello, MINE, "ib0"), says="No route to host")


def test_a_name_that_means_another_machine_is_a_warning():
    good(judge.judge_names("10.0.0.1", "login1", ["10.0.0.1"]))
    bad(judge.judge_names("10.9.9.9", "login1", ["10.0.0.1"]), WARNING, "10.9.9.9")


def test_one_open_port_of_a_node_is_enough_and_none_is_a_failure():
    good(judge.judge_ports({"10.0.0.2": "timed out", "10.1.0.2": ""}))
    bad(judge.judge_ports({"10.0.0.2": "timed out"}), says="timed out")
    bad(judge.judge_ports({}), says="no address")


def test_another_version_on_the_node_is_a_failure():
    answer = {"version": "1.0", "python": "/opt/python"}
    good(judge.judge_program(answer, "1.0"))
    bad(judge.judge_program(answer, "1.1"), says="here it is 1.1")


def test_files_have_to_be_seen_from_both_sides():
    good(judge.judge_files("a", "a", "a", "/work"))
    bad(judge.judge_files("a", "", "a", "/work"), says="does not see")
    bad(judge.judge_files("a", "a", "", "/work"), says="not seen here")


def test_a_full_disk_of_the_node_is_a_warning():
    good(judge.judge_disk({"free": 1e11, "folder": "/tmp"}))
    bad(judge.judge_disk({"free": 1e8, "folder": "/tmp"}), WARNING)


@pytest.mark.parametrize(
    ("skew", "level"), [(0.2, OK), (-4.9, OK), (-30.0, WARNING), (100.0, FAILURE)]
)
def test_clocks_that_disagree_are_told_by_how_much(skew, level):
    finding = judge.judge_clock(skew)
    assert finding.level is level
    assert bool(finding.cure) is (level is not OK)


def test_a_job_has_to_know_its_end():
    good(judge.judge_end(1600.0, 1010.0, 600.0))
    good(judge.judge_end(None, 1000.0, 600.0))
    bad(judge.judge_end(None, 1000.0, math.inf), WARNING, "nobody knows")
    bad(judge.judge_end(1060.0, 1000.0, 3600.0), WARNING, "1 min")
    bad(judge.judge_end(900.0, 1000.0, 600.0), WARNING)


def test_gpus_are_counted_as_the_batch_system_gave_them():
    listed = ["GPU 0: NVIDIA A100 (UUID: GPU-1)", "GPU 1: NVIDIA A100 (UUID: GPU-2)"]
    answer = {"visible": "0,1", "listed": listed, "smi": ""}
    assert "2 x NVIDIA A100" in good(judge.judge_devices(answer, 2)).said
    bad(judge.judge_devices(answer, 4), says="'0,1'")
    bad(judge.judge_devices(answer | {"listed": [], "smi": "no driver"}, 2), WARNING, "no driver")
    good(judge.judge_devices({"visible": None, "listed": [], "smi": ""}, 0))


def test_names_of_gpus_need_no_numbers():
    uuids = {"visible": "GPU-1a,MIG-2b", "listed": ["GPU 0: H100 (UUID: GPU-1a)"], "smi": ""}
    good(judge.judge_devices(uuids, 2))


def test_torch_has_to_see_all_gpus():
    answer = {"torch": "2.6", "cuda": "12.4", "nccl": "2.21", "count": 4, "bf16": True}
    good(judge.judge_torch(answer, 4))
    assert "nvidia-smi" in bad(judge.judge_torch(answer | {"count": 3}, 4)).cure
    cpu = answer | {"count": 0, "cuda": None, "nccl": None, "bf16": False}
    assert "PyTorch for this CUDA" in bad(judge.judge_torch(cpu, 4)).cure
    good(judge.judge_torch(cpu, 0))


def test_limits_of_the_node_are_warnings():
    free = {"files": None, "processes": None, "locked": None, "cpu": None}
    good(judge.judge_limits(free, fabric=True))
    good(judge.judge_limits(free | {"locked": 65536}, fabric=False))
    bad(judge.judge_limits(free | {"locked": 65536}, fabric=True), WARNING)
    bad(judge.judge_limits(free | {"files": 512}, fabric=False), WARNING)
    bad(judge.judge_limits(free | {"cpu": 600}, fabric=False), WARNING)


def test_slow_imports_are_a_warning():
    good(judge.judge_start({"distributed": 2.0}))
    good(judge.judge_start({}))
    bad(judge.judge_start({"distributed": 2.0, "torch": 40.0}), WARNING, "torch 40.0 s")


# ---------------------------------------------------------------------- the probe job


@pytest.fixture
def link():
    """A probe that serves in a thread of this process; the doctor's end of it."""
    with Listener(["127.0.0.1"]) as listener:

        def serve():
            reached, address, failed = probe_job.connect(["127.0.0.1"], listener.port)
            hello = {"reached": address, "failed": failed}
            probe_job.serve(reached, listener.token, hello)

        thread = threading.Thread(target=serve)
        thread.start()
        channel = listener.accept(10)
        assert channel is not None
        with channel:
            yield listener, channel
        thread.join(10)


def test_a_probe_answers_what_it_is_asked(link):
    _, channel = link
    assert channel.hello == {"reached": "127.0.0.1", "failed": {}}
    assert abs(channel.skew()) < 1.0
    assert channel.ask("host")["host"] == socket.gethostname()
    assert channel.ask("resolve", name="localhost") in ("127.0.0.1", "::1")
    assert channel.ask("disk")["free"] > 0
    assert set(channel.ask("limits")) == {"files", "processes", "locked", "cpu"}


def test_a_probe_says_why_it_cannot_tell(link):
    _, channel = link
    with pytest.raises(NoAnswer, match="KeyError"):
        channel.ask("weather")
    with pytest.raises(NoAnswer, match="FileNotFoundError"):
        channel.ask("files", folder="/nowhere")
    assert channel.ask("clock") > 0


def test_a_port_of_the_node_is_tried_with_the_right_token(link):
    listener, channel = link
    assert "" in channel.knock(listener.token).values()
    assert set(channel.knock("another").values()) == {"somebody else answers there"}


def test_the_end_of_a_job_is_what_slurm_says(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1800000000")
    assert probe_job.ends({}) == 1.8e9
    monkeypatch.delenv("SLURM_JOB_END_TIME")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert probe_job.ends({}) is None


def test_a_stranger_is_turned_away():
    with Listener(["127.0.0.1"]) as listener:
        with socket.create_connection(("127.0.0.1", listener.port)) as stranger:
            stranger.sendall(b'{"token": "guessed"}\n')
            assert listener.accept(0.2) is None
            assert stranger.recv(1) == b""
        with socket.create_connection(("127.0.0.1", listener.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\n")
            assert listener.accept(0.2) is None


def test_a_probe_that_reaches_nobody_says_which_addresses_it_tried():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match="no address of the doctor"):
        probe_job.connect(["127.0.0.1"], port)


def test_the_first_address_that_works_is_told_and_those_before_it():
    with socket.create_server(("127.0.0.1", 0)) as server:
        reached, address, failed = probe_job.connect(
            ["no.such.host.invalid", "127.0.0.1"], server.getsockname()[1]
        )
        reached.close()
    assert address == "127.0.0.1"
    assert list(failed) == ["no.such.host.invalid"]


def test_the_interface_of_the_site_is_offered_first():
    assert own_addresses("lo")[0] == "127.0.0.1"
    assert own_addresses("no-such-interface")


def test_the_probe_needs_nothing_but_python(tmp_path):
    with Listener(["127.0.0.1"]) as listener:
        command = probe_command("", listener.request)
        # -I: neither the working directory nor the user's packages; -S: no site-packages.
        process = subprocess.Popen([command[0], "-I", "-S", *command[1:]], cwd=tmp_path)
        with listener.accept(30) as channel:
            assert channel.ask("clock") > 0
            assert channel.ask("limits")
        assert process.wait(10) == 0


# ---------------------------------------------------------------------- waiting


class Queue:
    """A batch system in which a probe job goes through given stages, one a look."""

    def __init__(self, *stages):
        self.stages = list(stages)

    def jobs(self, ids=()):
        stage = self.stages.pop(0) if len(self.stages) > 1 else self.stages[0]
        if stage is Unreachable:
            raise Unreachable("slurmctld is restarting")
        return {"17": stage}


PENDING = BatchJob("17", Phase.PENDING, "PENDING", reason="Priority")
RUNNING = BatchJob("17", Phase.RUNNING, "RUNNING", nodes="node3")
FAILED = BatchJob("17", Phase.ENDED, "FAILED", nodes="node3")


@pytest.fixture
def impatient(monkeypatch):
    for name in ("PAUSE", "FAREWELL"):
        monkeypatch.setattr(f"daskhpo.cluster.probe.{name}", 0.01)
    monkeypatch.setattr("daskhpo.cluster.probe.SILENT", 0.05)


def wait(system, tmp_path, patience=60.0):
    """Wait for a probe that never connects; returns what was raised and what was said."""
    said = []
    with Listener(["10.9.9.9"]) as listener, pytest.raises(NoAnswer) as caught:
        listener.wait(system, "17", patience=patience, logs=tmp_path, say=said.append)
    assert caught.value.cure
    return caught.value, said


def test_whoever_waits_is_told_once_what_is_pending(impatient, tmp_path):
    stages = [PENDING, PENDING, Unreachable, Unreachable, PENDING, RUNNING, FAILED]
    _, said = wait(Queue(*stages), tmp_path)
    assert said == [
        "waiting: batch job 17: PENDING (Priority)",
        "waiting: batch job 17: no answer from the queue",
        "waiting: batch job 17: PENDING (Priority)",
        "waiting: batch job 17 on node3: RUNNING",
    ]


def test_a_queue_that_is_longer_than_patience_says_why_the_job_waits(impatient, tmp_path):
    error, _ = wait(Queue(PENDING), tmp_path, patience=0.05)
    assert "Priority" in str(error)
    assert "--wait" in error.cure


def test_a_probe_that_runs_but_does_not_connect_is_about_the_network(impatient, tmp_path):
    error, _ = wait(Queue(RUNNING), tmp_path)
    assert "10.9.9.9" in str(error)
    assert "interface" in error.cure


@pytest.mark.parametrize(
    ("wrote", "cure"),
    [
        ("OSError: no address of the doctor can be reached: {...}", "firewall"),
        ("slurm_script: line 9: exec: /opt/python: No such file or directory", "jobqueue.NAME"),
        ("line 4: module: command not found", "job-script-prologue"),
        ("something else", "read the log"),
    ],
)
def test_what_a_dead_probe_wrote_leads_to_the_cure(impatient, tmp_path, wrote, cure):
    (tmp_path / "hpo-doctor-17.err").write_text(wrote, encoding="utf-8")
    error, _ = wait(Queue(FAILED), tmp_path)
    assert wrote in str(error)
    assert cure in error.cure


def test_a_dead_probe_without_a_log_did_not_see_the_directory(impatient, tmp_path):
    error, _ = wait(Queue(FAILED), tmp_path)
    assert "shared file system" in error.cure


# ---------------------------------------------------------------------- all together


def test_a_node_that_goes_away_is_a_failure_of_every_question_left(tmp_path):
    class Gone:
        hello = {"reached": "127.0.0.1", "failed": {}}

        def ask(self, what="", **given):
            raise NoAnswer("the probe job has gone")

        skew = knock = ask

    found = interview(Gone(), token="", folder=tmp_path, interface="", gpus=0, asked=60.0)
    levels = {finding.what: finding.level for finding in found}
    assert levels.pop("names") is levels.pop("PyTorch") is WARNING
    assert levels.pop("way back") is levels.pop("start-up") is OK
    assert set(levels.values()) == {FAILURE}
    assert "walltime" in levels


def test_this_machine_is_well_and_nothing_is_left_behind(tmp_path):
    found = list(diagnose(Case(PoolSettings(), None, tmp_path)))
    assert [finding for finding in found if finding.level is FAILURE] == []
    what = [finding.what for finding in found]
    assert what[:2] == ["program", "directory"]
    assert {"probe job", "way back", "ports", "shared files", "node's program"} <= {*what}
    assert list(tmp_path.iterdir()) == []


def test_whoever_stops_listening_leaves_no_probe_behind(tmp_path):
    findings = diagnose(Case(PoolSettings(), None, tmp_path))
    while next(findings).what != "probe job":
        pass
    findings.close()
    assert list(tmp_path.iterdir()) == []


def test_no_job_is_sent_where_it_could_not_start(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    site = Site("ours", "slurm", load_site(kind="slurm").options, node_local=())
    found = list(diagnose(Case(PoolSettings(kind="slurm"), site, tmp_path)))
    assert bad(found[-1], WARNING, "not sent").what == "probe job"
    assert "batch commands" in [finding.what for finding in found if finding.level is FAILURE]


def test_a_refused_probe_job_is_a_finding(tmp_path, monkeypatch):
    class Refuses:
        def check(self, script):
            pass

        def submit(self, script):
            raise SubmitError("sbatch: error: invalid account", final=True)

    monkeypatch.setattr("daskhpo.cluster.doctor.make_system", lambda *a, **k: Refuses())
    monkeypatch.setattr(examine, "check_commands", lambda kind: Finding("c", OK, ""))
    monkeypatch.setattr(examine, "check_answers", lambda kind: Finding("a", OK, ""))
    options = {**load_site(kind="slurm").options, "memory": "1GB"}
    site = Site("ours", "slurm", options, node_local=())
    found = list(diagnose(Case(PoolSettings(kind="slurm"), site, tmp_path)))
    bad(found[-1], FAILURE, "invalid account")
