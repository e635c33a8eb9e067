"""Slurm as daskhpo asks it, with commands that only pretend to be Slurm's."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

import pytest

from daskhpo.cluster import slurm as slurm_module
from daskhpo.cluster import slurm_commands
from daskhpo.cluster.batch import Blame, SubmitError, Unreachable
from daskhpo.cluster.slurm import Slurm, sacct_job, show_job
from daskhpo.exceptions import CampaignError

SINFO = """\
batch*|infinite|gpu:4|idle
batch*|infinite|gpu:4|mixed
short|30:00|gpu:a100:2(S:0-1)|allocated
login|1-00:00:00|(null)|idle~
"""
SCRIPT = """#!/usr/bin/env bash
#SBATCH -J dask-worker
#SBATCH -p {queue}
#SBATCH -A hep
#SBATCH --cpus-per-task=8
#SBATCH -t {walltime}
#SBATCH --gres=gpu:{gpus}
exec launcher
"""


def script(queue="batch", walltime="00:10:00", gpus="4"):
    return SCRIPT.format(queue=queue, walltime=walltime, gpus=gpus)


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """``fakes(sbatch="echo 17")``: shell commands in the place of Slurm's; others are missing.

    Each writes its arguments and its environment beside itself.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(**commands):
        for name, body in commands.items():
            path = folder / name
            path.write_text(
                "#!/bin/bash\nPATH=/usr/bin:/bin\n"
                f'echo "$@" >>{folder}/{name}.calls\nenv >{folder}/{name}.env\n{body}\n'
            )
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return folder

    return make


@pytest.fixture
def system(tmp_path):
    return Slurm("hpo-1a2b", directory=tmp_path / "pool")


def says(text, code=0, *, to=1):
    """A shell command that prints a text to stdout, or stderr, and ends with a code."""
    return f"printf %s {shlex.quote(text)} >&{to}; exit {code}"


def refuses(*lines):
    return says("".join(f"sbatch: error: {line}\n" for line in lines), 1, to=2)


def squeue(*rows):
    """Rows of squeue: dicts by heading."""
    names = ["JOBID", "STATE", "REASON", "START_TIME", "END_TIME", "NODELIST"]
    rows = [{name: name for name in names}, *rows]
    return says("".join("".join(f"{row.get(n, ''):30}" for n in names) + "\n" for row in rows))


class TestSubmit:
    def test_it_gives_the_id_and_keeps_the_script(self, fakes, system):
        folder = fakes(sbatch="echo 17")
        assert system.submit(script()) == "17"
        (kept,) = system.directory.iterdir()
        assert kept.read_text() == script()
        assert f"--job-name=hpo-1a2b {kept}" in (folder / "sbatch.calls").read_text()

    def test_the_same_script_is_written_once(self, fakes, system):
        fakes(sbatch="echo 17")
        for text in (script(), script(), script(gpus="2")):
            system.submit(text)
        assert len(list(system.directory.iterdir())) == 2

    @pytest.mark.parametrize(
        "text", ["17;cluster\n", "*** Budget: 300 h left\n17\n", "2 of 3 quotas used\n\n17\n"]
    )
    def test_the_id_is_found_among_what_a_site_prints(self, fakes, system, text):
        fakes(sbatch=says(text))
        assert system.submit(script()) == "17"

    def test_no_id_is_an_error_that_passes(self, fakes, system):
        fakes(sbatch="echo welcome")
        with pytest.raises(SubmitError, match="welcome") as caught:
            system.submit(script())
        assert not caught.value.final

    def test_options_of_a_surrounding_job_do_not_reach_sbatch(self, fakes, system, monkeypatch):
        for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SBATCH_PARTITION", "SQUEUE_FORMAT"):
            monkeypatch.setenv(name, "7")
        monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
        monkeypatch.setenv("SLURMY", "mine")
        folder = fakes(sbatch="echo 17")
        system.submit(script())
        lines = (folder / "sbatch.env").read_text().splitlines()
        left = {line for line in lines if line.startswith(("SLURM", "SBATCH", "SQUEUE"))}
        assert left == {"SLURM_CONF=/etc/slurm.conf", "SLURMY=mine"}

    @pytest.mark.parametrize(
        ("lines", "words", "final"),
        [
            (
                ["invalid partition specified: x", "Invalid partition name specified"],
                r"pool.queue='batch'.*it has batch \(default\), short, login",
                True,
            ),
            (["User's group not permitted to use this partition"], "pool.queue='batch'", True),
            (["Invalid account or account/partition combination specified"], "='hep'", True),
            (
                ["Requested time limit is invalid (missing or exceeds some limit)"],
                r"pool.walltime='00:10:00'.*\(infinite\)",
                True,
            ),
            (["QOSMaxWallDurationPerJobLimit", "Job violates accounting/QOS"], "walltime=", True),
            (
                ["Requested node configuration is not available"],
                "pool.gpus=4: .*its nodes have 4 GPUs",
                True,
            ),
            (["Memory specification can not be satisfied"], "pool.site: its `memory`", True),
            (["CPU count per node can not be satisfied"], "pool.site: more `cores`", True),
            (["Invalid generic resource (gres) specification"], "pool.gpus=4", True),
            (["Invalid feature specification"], "pool.directives: --constraint", True),
            (["Invalid qos specification"], "pool.directives: --qos", True),
            (["Access denied to requested reservation"], "pool.directives: the reserv", True),
            (
                [
                    "QOSMaxSubmitJobPerUserLimit",
                    "Batch job submission failed: Job violates accounting/QOS policy (job submit "
                    "limit, user's size and/or time limits)",
                ],
                "pool.jobs: you may not have more",
                False,
            ),
            (["Job violates accounting/QOS policy (job submit limit, ...)"], "your account", False),
            (["Slurm temporarily unable to accept job, sleeping and retrying"], "passes", False),
            (["Required partition not available (inactive or drain)"], "passes", False),
            (["Unable to contact slurm controller (connect failure)"], "does not answer", False),
            (
                ["If munged is up, restart with --num-threads=10", "Munge encode failed"],
                "munge, with which Slurm knows its users, does not run",
                False,
            ),
            (["The moon is not full"], "refuses the batch job.*The moon is not full", False),
        ],
    )
    def test_a_refusal_names_the_setting_and_whether_it_is_final(
        self, fakes, system, lines, words, final
    ):
        fakes(sbatch=refuses(*lines), sinfo=says(SINFO))
        with pytest.raises(SubmitError, match=f"(?s){words}") as caught:
            system.submit(script())
        assert caught.value.final is final
        assert lines[-1] in str(caught.value)

    def test_a_refusal_without_gpus_does_not_speak_of_them(self, fakes, system):
        fakes(sbatch=refuses("Requested node configuration is not available"), sinfo=says(SINFO))
        with pytest.raises(SubmitError, match="pool.site"):
            system.submit("#!/bin/bash\nexit 0\n")

    def test_without_sbatch_it_says_so(self, fakes, system):
        fakes()
        with pytest.raises(SubmitError, match="sbatch cannot be run on this machine") as caught:
            system.submit(script())
        assert not caught.value.final

    def test_a_script_that_cannot_be_written_is_refused(self, fakes, tmp_path):
        fakes(sbatch="echo 17")
        (tmp_path / "file").write_text("")
        with pytest.raises(SubmitError, match="cannot write"):
            Slurm("hpo-1a2b", directory=tmp_path / "file").submit(script())


class TestJobs:
    def test_it_lists_those_that_live_and_those_that_are_named(self, fakes, system):
        folder = fakes(
            squeue=squeue(
                {"JOBID": "17", "STATE": "RUNNING", "START_TIME": "100", "NODELIST": "n[1-2]"},
                {"JOBID": "18", "STATE": "TIMEOUT", "END_TIME": "200"},
                {"JOBID": "19", "STATE": "COMPLETED"},
            )
        )
        found = system.jobs(["18"])
        assert {id: job.state for id, job in found.items()} == {"17": "RUNNING", "18": "TIMEOUT"}
        assert (found["17"].began, found["17"].nodes) == (100.0, "n[1-2]")
        call = (folder / "squeue.calls").read_text()
        assert f"--user={os.getuid()} --name=hpo-1a2b --states=all" in call

    def test_one_that_squeue_has_dropped_is_looked_up(self, fakes, system):
        told = "JobId=18 JobName=hpo-1a2b\n   JobState=NODE_FAIL Reason=NodeDown\n   NodeList=n3"
        fakes(squeue=squeue(), scontrol=says(told))
        assert str(system.jobs(["18"])["18"]) == "batch job 18 on n3: NODE_FAIL (NodeDown)"

    def test_one_that_scontrol_has_dropped_is_looked_up_in_the_accounts(self, fakes, system):
        fakes(
            squeue=squeue(),
            scontrol=says("slurm_load_jobs error: Invalid job id specified", 1, to=2),
            sacct=says("JobID|JobName|State\n18|hpo-1a2b|CANCELLED by 0\n"),
        )
        assert system.jobs(["18"])["18"].blame is Blame.SYSTEM

    def test_one_that_all_have_forgotten_is_missing(self, fakes, system):
        fakes(
            squeue=squeue(),
            scontrol=says("slurm_load_jobs error: Invalid job id specified", 1, to=2),
            sacct=says("Slurm accounting storage is disabled", 1, to=2),
        )
        assert system.jobs(["18"]) == {}

    def test_somebody_elses_job_under_an_old_id_is_not_ours(self, fakes, system):
        fakes(squeue=squeue(), scontrol=says("JobId=18 JobName=theirs\n JobState=RUNNING"))
        assert system.jobs(["18"]) == {}

    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            ("slurm_load_jobs error: Unable to contact slurm controller", "controller does not"),
            ("squeue: error: Munge encode failed: Failed to connect", "munge"),
            ("squeue: fatal: Could not establish a configuration source", "knows no Slurm"),
        ],
    )
    def test_a_slurm_that_does_not_answer_is_no_empty_queue(self, fakes, system, said, meant):
        fakes(squeue=says(said, 1, to=2))
        with pytest.raises(Unreachable, match=meant):
            system.jobs()

    def test_a_squeue_that_hangs_is_given_up_with_its_children(self, fakes, system, monkeypatch):
        monkeypatch.setattr(slurm_commands, "PATIENCE", 0.5)
        folder = fakes()
        fakes(squeue=f"sleep 987 & echo $! >{folder}/child; wait")
        with pytest.raises(Unreachable, match="not answered"):
            system.jobs()
        child = Path(f"/proc/{(folder / 'child').read_text().strip()}/cmdline")
        assert not (child.exists() and child.read_bytes())  # gone, or nobody has reaped it yet

    def test_what_a_command_complained_of_before_it_was_given_up_is_told(
        self, fakes, system, monkeypatch
    ):
        monkeypatch.setattr(slurm_commands, "PATIENCE", 0.5)
        fakes(squeue="echo 'cannot stat file slurm.conf, retrying' >&2; sleep 987")
        with pytest.raises(Unreachable, match="knows no Slurm.*has not answered.*retrying"):
            system.jobs()

    def test_times_are_asked_for_without_zones(self, fakes, system, monkeypatch):
        monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
        folder = fakes(squeue=squeue(), sbatch="echo 17")
        system.jobs()
        assert "SLURM_TIME_FORMAT=%s" in (folder / "squeue.env").read_text()
        system.submit(script())
        assert "SLURM_TIME_FORMAT" not in (folder / "sbatch.env").read_text()


class TestCancel:
    def test_nothing_is_no_command(self, fakes, system):
        fakes()
        system.cancel([])

    def test_what_is_over_is_no_error(self, fakes, system):
        error = "scancel: error: Kill job error on job id 17: Invalid job id specified\n"
        folder = fakes(scancel=says(error, 1, to=2))
        system.cancel(["17", "18"])
        assert (folder / "scancel.calls").read_text() == "17 18\n"

    def test_what_else_goes_wrong_is_told(self, fakes, system):
        over = "scancel: error: Kill job error on job id 17: Invalid job id specified\n"
        down = "scancel: error: Unable to contact slurm controller (connect failure)\n"
        fakes(scancel=says(over + down, 1, to=2))
        with pytest.raises(Unreachable, match="controller does not answer"):
            system.cancel(["17", "18"])


class TestCheck:
    @pytest.fixture
    def site(self, fakes):
        """A site where everything is fine; ``site(sbatch=...)`` changes that."""

        def make(**commands):
            words = "sbatch: Job 18 to start at 2026-11-21T11:00:00 using 8 processors on n1"
            fine = {"sinfo": says(SINFO), "sbatch": says(words, to=2), "squeue": squeue()}
            return fakes(**{**fine, "scancel": "", "scontrol": "", **commands})

        return make

    def test_a_good_script_passes_and_is_not_submitted(self, site, system):
        folder = site()
        system.check(script())
        assert all("--test-only" in line for line in (folder / "sbatch.calls").open())

    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"queue": "booster"}, "pool.queue='booster': .* it has batch .default., short, login"),
            (
                {"queue": "short", "walltime": "02:00:00"},
                "pool.walltime='02:00:00': .*'short'.*30:00",
            ),
            ({"gpus": "5"}, "pool.gpus=5: no node of partition 'batch'.*its nodes have 4 GPUs"),
            ({"queue": "login"}, "pool.gpus=4: .*its nodes have no GPUs"),
            (
                {"queue": "short", "gpus": "h100:1"},
                "pool.gpus=1: .* 1 GPUs of type 'h100': its nodes have 2 GPUs 'a100'",
            ),
            ({"queue": "short,login", "gpus": "2", "walltime": "2-00"}, "pool.walltime='2-00'"),
        ],
    )
    def test_what_cannot_start_is_refused_with_what_is_allowed(self, site, system, asked, words):
        folder = site()
        with pytest.raises(CampaignError, match=words):
            system.check(script(**asked))
        assert not (folder / "sbatch.calls").exists()

    def test_either_of_two_partitions_may_do(self, site, system):
        site()
        system.check(script(queue="short,batch", walltime="10:00:00"))

    def test_what_sbatch_refuses_is_refused(self, site, system):
        site(sbatch=refuses("Invalid account or account/partition combination specified"))
        with pytest.raises(CampaignError, match="pool.account='hep'"):
            system.check(script())

    def test_what_passes_is_no_fault_of_the_campaign(self, site, system):
        site(sbatch=refuses("Required node not available (down, drained or reserved)"))
        system.check(script())

    def test_what_only_waits_for_broken_nodes_passes(self, site, system):
        refused = refuses("allocation failure: Requested node configuration is not available")
        site(sbatch=f"[[ $* == *--wrap* ]] && exit\n{refused}")
        with pytest.raises(CampaignError, match="pool.gpus=4: "):
            system.check(script())
        site(sbatch=refused)  # whatever is asked for: the controller has only just started
        system.check(script())
        site(sbatch=refused, sinfo=says(SINFO + "batch*|infinite|gpu:4|down*\n"))
        system.check(script())

    def test_a_machine_without_slurm_is_told_before_anything_else(self, fakes, system):
        fakes(sbatch="")
        with pytest.raises(CampaignError, match="pool.kind='slurm': squeue, scancel.* login node"):
            system.check(script())

    def test_a_silent_controller_is_not_the_campaigns_fault(self, site, system):
        site(sinfo=says("slurm_load_partitions: Unable to contact slurm controller", 1, to=2))
        with pytest.raises(Unreachable, match="controller does not answer"):
            system.check(script())


class TestDetails:
    def test_what_is_forgotten_is_empty(self, fakes):
        fakes(scontrol=says("slurm_load_jobs error: Invalid job id specified", 1, to=2))
        assert show_job("17") == {}
        assert sacct_job("17") == {}

    def test_show_job_is_scontrols_record(self, fakes):
        fakes(scontrol=says("JobId=17 JobName=hpo\n   NumNodes=1 NumCPUs=8\n   JOB_GRES=gpu:4"))
        assert show_job("17")["JOB_GRES"] == "gpu:4"

    def test_show_job_needs_an_answer(self, fakes):
        fakes(scontrol=says("Unable to contact slurm controller", 1, to=2))
        with pytest.raises(Unreachable):
            show_job("17")

    def test_sacct_gives_the_job_and_not_another(self, fakes):
        fakes(sacct=says("JobID|State|ElapsedRaw\n170|FAILED|3\n17|TIMEOUT|60\n"))
        assert sacct_job("17") == {"JobID": "17", "State": "TIMEOUT", "ElapsedRaw": "60"}


def test_the_class_and_the_details_are_in_one_place():
    assert {*slurm_module.__all__} == {"Slurm", "sacct_job", "show_job"}
