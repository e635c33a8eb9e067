"""Slurm as daskhpo asks it, against the real one."""

from __future__ import annotations

import math
import re
import time
import uuid

import pytest

from daskhpo.cluster import slurm as slurm_module
from daskhpo.cluster import slurm_commands
from daskhpo.cluster.batch import Blame, Phase, SubmitError, Unreachable
from daskhpo.cluster.slurm import Slurm, sacct_job, show_job
from daskhpo.exceptions import CampaignError

WHOLE_NODE = ("--nodes=1", "--gpus-per-node=4", "--exclusive")


@pytest.fixture
def system(slurm, tmp_path):
    return Slurm(f"hpo-{uuid.uuid4().hex[:8]}", directory=tmp_path / "pool")


@pytest.fixture
def submit(slurm, system):
    """Submit a batch job of a campaign: ``submit("sleep 600", "--gpus-per-node=4")``."""

    def make(body="sleep 600", *options):
        return system.submit(script(body, f"--output={slurm.root}/log/%j.out", *options))

    return make


def script(body, *options):
    lines = "\n".join(f"#SBATCH {each}" for each in ("--no-requeue", "--time=10", *options))
    return f"#!/bin/bash\n{lines}\n{body}\n"


def wait(system, id, phase, seconds=60):
    """The batch job once it is in a phase."""
    until = time.monotonic() + seconds
    while (job := system.jobs([id])[id]).phase is not phase:
        assert time.monotonic() < until, f"{job}, not {phase.value}"
        time.sleep(0.1)
    return job


class TestLife:
    def test_a_batch_job_is_told_with_its_nodes_times_cpus_and_gpus(self, slurm, system, submit):
        before = int(time.time())
        id = submit("sleep 600", "--nodes=2", "--gpus-per-node=4", "--cpus-per-task=3", "-n2")
        job = wait(system, id, Phase.RUNNING)
        assert re.fullmatch(r"node\[\d-\d\]|node\[\d,\d\]", job.nodes)
        assert (job.state, job.cpus, job.gpus, job.restarts) == ("RUNNING", 6, 8, 0)
        assert before <= job.began <= time.time() + 5
        assert job.ends == job.began + 600
        assert math.isnan(job.ended)

    def test_gpus_are_counted_whichever_way_they_were_asked_for(self, system, submit):
        ways = {"--gres=gpu:2": 2, "--gpus-per-node=2": 2, "--gpus=3": 3}
        ways |= {"--ntasks=2 --gpus-per-task=1": 2, "--mem=1G": 0}
        ids = {submit("sleep 600", way): count for way, count in ways.items()}
        for id in ids:
            wait(system, id, Phase.RUNNING)
        jobs = system.jobs()
        assert {id: jobs[id].gpus for id in ids} == ids

    def test_scontrol_tells_the_same_as_squeue(self, slurm, system, submit):
        id = submit("exit 3", "--gpus-per-node=2")
        job = wait(system, id, Phase.ENDED)
        assert system._dropped(id) == job
        assert (job.state, job.reason, job.gpus) == ("FAILED", "exit code 3", 2)

    def test_batch_jobs_of_another_campaign_are_not_listed(self, slurm, system, submit, tmp_path):
        other = Slurm("hpo-other", directory=tmp_path)
        id = submit()
        assert set(system.jobs()) == {id}
        assert other.jobs([id]) == {} or other.jobs([id])[id].id == id
        assert other.jobs() == {}

    def test_the_next_driver_finds_what_the_last_one_submitted(self, system, submit, tmp_path):
        id = submit()
        assert set(Slurm(system.name, directory=tmp_path).jobs()) == {id}

    def test_a_batch_job_carries_the_campaigns_name_whatever_its_script_says(self, submit, system):
        id = submit("sleep 600", "--job-name=dask-worker")
        assert set(system.jobs()) == {id}

    def test_a_batch_job_starts_without_what_surrounds_the_driver(
        self, slurm, system, submit, monkeypatch
    ):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", "7")
        monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
        monkeypatch.setenv("MINE", "kept")
        id = submit("env")
        wait(system, id, Phase.ENDED)
        said = (slurm.root / f"log/{id}.out").read_text().splitlines()
        assert "MINE=kept" in said
        assert f"SLURM_CONF={slurm.conf}" in said
        assert not [line for line in said if line.startswith(("SLURM_CPUS_PER_TASK", "SLURM_TIME"))]

    def test_an_unknown_id_is_missing(self, system, slurm):
        assert system.jobs(["4000000"]) == {}
        assert show_job("4000000") == {}
        assert sacct_job("4000000") == {}

    def test_show_job_tells_what_it_held(self, system, submit):
        id = submit("sleep 600", *WHOLE_NODE)
        wait(system, id, Phase.RUNNING)
        told = show_job(id)
        assert (told["JobState"], told["NumCPUs"], told["JOB_GRES"]) == ("RUNNING", "8", "gpu:4")
        assert re.fullmatch(r"\d\d:\d\d:\d\d", told["RunTime"])
        assert told["StartTime"].isdecimal()


class TestCauses:
    def test_out_of_walltime_or_on_a_dead_node_is_the_systems_doing(self, slurm, system, submit):
        # Slurm takes half a minute to notice either, so both at once.
        late, lost = (submit("sleep 600", f"--nodelist={node}") for node in ("node1", "node4"))
        for id in (late, lost):
            wait(system, id, Phase.RUNNING)
        slurm.kill_slurmd("node4")
        slurm.end_in(late, 1)
        job = wait(system, late, Phase.ENDED, seconds=90)
        assert (job.state, job.blame, job.nodes) == ("TIMEOUT", Blame.SYSTEM, "node1")
        assert job.seconds > 0
        job = wait(system, lost, Phase.ENDED, seconds=90)
        assert (job.state, job.blame, job.nodes) == ("NODE_FAIL", Blame.SYSTEM, "node4")
        # Which Slurm cannot know of.
        assert slurm.processes(lost)

    def test_preempted_is_the_systems_doing(self, slurm, system, submit):
        ids = [submit("sleep 600", *WHOLE_NODE) for _ in slurm.nodes]
        for id in ids:
            wait(system, id, Phase.RUNNING)
        slurm.urgent("node2")
        until = time.monotonic() + 60
        while not (over := [j for j in system.jobs(ids).values() if j.phase is Phase.ENDED]):
            assert time.monotonic() < until, "nobody was preempted"
            time.sleep(0.1)
        (job,) = over
        assert (job.state, job.blame, job.nodes) == ("PREEMPTED", Blame.SYSTEM, "node2")
        assert job.gpus == 4

    def test_a_node_that_dies_is_the_systems_doing(self, slurm, system, submit):
        id = submit("sleep 600", "--nodelist=node3")
        wait(system, id, Phase.RUNNING)
        slurm.node_down("node3")
        job = wait(system, id, Phase.ENDED)
        assert (job.state, job.blame, job.nodes) == ("NODE_FAIL", Blame.SYSTEM, "node3")

    def test_cancelled_is_the_systems_doing(self, system, submit):
        id = submit()
        wait(system, id, Phase.RUNNING)
        system.cancel([id, "4000000"])
        job = wait(system, id, Phase.ENDED)
        assert (job.state, job.blame) == ("CANCELLED", Blame.SYSTEM)

    def test_cancelled_in_the_queue_it_never_began(self, slurm, system, submit):
        slurm.wait(slurm.block(), "RUNNING")
        id = submit()
        assert system.jobs()[id].phase is Phase.PENDING
        assert math.isnan(system.jobs()[id].began)
        system.cancel([id])
        job = wait(system, id, Phase.ENDED)
        assert job.blame is Blame.SYSTEM
        assert math.isnan(job.began)
        assert (job.cpus, job.gpus) == (0, 0)

    def test_one_that_lingers_holds_its_nodes_until_its_cause_is_known(self, slurm, system, submit):
        id = submit("trap '' TERM\nfor _ in $(seq 20); do sleep 0.1; done")
        wait(system, id, Phase.RUNNING)
        system.cancel([id])
        job = system.jobs([id])[id]
        assert job.phase is Phase.RUNNING or job.state == "CANCELLED"
        assert wait(system, id, Phase.ENDED).blame is Blame.SYSTEM

    def test_a_script_that_kills_itself_may_be_anybodys_doing(self, system, submit):
        job = wait(system, submit("kill -9 $$"), Phase.ENDED)
        assert (job.state, job.blame, job.reason) == ("FAILED", Blame.UNKNOWN, "signal 9")

    def test_a_requeued_batch_job_waits_again_and_its_restart_is_counted(self, slurm, system):
        options = (f"--output={slurm.root}/log/%j.out", "--time=10", "--requeue")
        id = system.submit(script("sleep 600", *options))
        began = wait(system, id, Phase.RUNNING).began
        slurm.requeue(id)
        waiting = wait(system, id, Phase.PENDING)
        assert math.isnan(waiting.began)
        job = wait(system, id, Phase.RUNNING)
        assert job.restarts == 1
        assert job.began > began


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--partition=booster"], r"pool.queue='booster': .*batch \(default\), urgent, short"),
            (["--partition=short", "-t 02:00:00"], "pool.walltime='02:00:00': .*'short'.* 30:00 "),
            (["--gpus-per-node=5"], "pool.gpus=5: no node of .*: its nodes have 4 GPUs"),
            (["--gres=gpu:h100:1"], "pool.gpus=1: .* of type 'h100'"),
            (["--mem=99G"], "pool.site: its `memory`|pool.site: no node"),
            (["--cpus-per-task=99"], "pool.site: "),
            (["--constraint=a100"], "pool.directives: --constraint=a100"),
            (["--reservation=mine"], "pool.directives: the reservation"),
            (["--gres=fpga:1"], "pool.site|pool.gpus"),
            (["--no-such-option"], "no-such-option"),
        ],
    )
    def test_what_cannot_start_fails_before_anything_is_queued(self, slurm, system, options, words):
        with pytest.raises(CampaignError, match=f"(?s){words}"):
            system.check(script("exit 0", *options))
        assert system.jobs() == {}

    def test_a_good_script_passes_though_the_queue_is_full(self, slurm, system):
        slurm.wait(slurm.block(), "RUNNING")
        system.check(script("exit 0", "--gpus-per-node=4"))
        assert system.jobs() == {}

    def test_a_good_script_passes_though_all_nodes_are_down(self, slurm, system):
        for node in slurm.nodes:
            slurm.node_down(node)
        system.check(script("exit 0", "--gpus-per-node=4"))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--partition=booster"], "pool.queue='booster'.*urgent"),
            (["--gpus-per-node=5"], "pool.gpus=5.*4 GPUs"),
        ],
    )
    def test_sbatch_refuses_for_good(self, slurm, system, options, words):
        with pytest.raises(SubmitError, match=f"(?s){words}") as caught:
            system.submit(script("exit 0", *options))
        assert caught.value.final

    def test_a_closed_partition_opens_again(self, slurm, system):
        slurm.run("scontrol", "update", "PartitionName=short", "State=DRAIN")
        try:
            with pytest.raises(SubmitError) as caught:
                system.submit(script("exit 0", "--partition=short"))
            system.check(script("exit 0", "--partition=short"))
        finally:
            slurm.run("scontrol", "update", "PartitionName=short", "State=UP")
        assert not caught.value.final


class TestSilence:
    @pytest.fixture
    def elsewhere(self, slurm, tmp_path, monkeypatch):
        """Turn to a Slurm whose configuration differs in one place."""

        def make(before, after):
            text = slurm.conf.read_text()
            assert before in text
            (tmp_path / "slurm.conf").write_text(text.replace(before, after))
            monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))

        return make

    def assert_silent(self, system, words):
        with pytest.raises(Unreachable, match=words):
            system.jobs()
        with pytest.raises(Unreachable, match=words):
            system.check(script("exit 0"))
        with pytest.raises(SubmitError, match=words) as caught:
            system.submit(script("exit 0"))
        assert not caught.value.final

    def test_no_munge(self, slurm, system, elsewhere):
        elsewhere("munge.socket,", "no.socket,")
        self.assert_silent(system, "munge, with which Slurm knows its users, does not run")

    def test_no_configuration(self, system, monkeypatch, tmp_path):
        monkeypatch.setenv("SLURM_CONF", str(tmp_path / "nothing.conf"))
        # Slurm itself tries again for a minute.
        monkeypatch.setattr(slurm_commands, "PATIENCE", 3.0)
        monkeypatch.setattr(slurm_module, "SUBMITTING", 3.0)
        self.assert_silent(system, "knows no Slurm")

    def test_no_controller(self, slurm, system, submit):
        id = submit()
        wait(system, id, Phase.RUNNING)
        slurm.stop_controller()
        with pytest.raises(Unreachable, match="controller does not answer"):
            system.jobs([id])
        slurm.start_controller()
        assert wait(system, id, Phase.RUNNING).id == id
