"""What is made of what Slurm prints, and of what a batch script asks for."""

from __future__ import annotations

import math
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.cluster.batch import Blame, Phase
from daskhpo.cluster.slurm_partitions import Partition, Request
from daskhpo.cluster.slurm_words import batch_job, gpu_count, gpus, moment, table


class TestStates:
    @pytest.mark.parametrize(
        ("words", "phase", "blame"),
        [
            ("PENDING", Phase.PENDING, Blame.UNKNOWN),
            ("REQUEUED", Phase.PENDING, Blame.UNKNOWN),
            ("REQUEUE_HOLD", Phase.PENDING, Blame.UNKNOWN),
            ("SPECIAL_EXIT", Phase.PENDING, Blame.UNKNOWN),
            ("CONFIGURING", Phase.RUNNING, Blame.UNKNOWN),
            ("RUNNING", Phase.RUNNING, Blame.UNKNOWN),
            ("SUSPENDED", Phase.RUNNING, Blame.UNKNOWN),
            ("STOPPED", Phase.RUNNING, Blame.UNKNOWN),
            ("RESIZING", Phase.RUNNING, Blame.UNKNOWN),
            ("SIGNALING", Phase.RUNNING, Blame.UNKNOWN),
            ("STAGE_OUT", Phase.RUNNING, Blame.UNKNOWN),
            ("COMPLETING", Phase.RUNNING, Blame.UNKNOWN),
            ("A_WORD_OF_SLURM_31", Phase.RUNNING, Blame.UNKNOWN),
            ("PREEMPTED", Phase.ENDED, Blame.SYSTEM),
            ("TIMEOUT", Phase.ENDED, Blame.SYSTEM),
            ("NODE_FAIL", Phase.ENDED, Blame.SYSTEM),
            ("BOOT_FAIL", Phase.ENDED, Blame.SYSTEM),
            ("DEADLINE", Phase.ENDED, Blame.SYSTEM),
            ("REVOKED", Phase.ENDED, Blame.SYSTEM),
            ("CANCELLED", Phase.ENDED, Blame.SYSTEM),
            ("CANCELLED by 0", Phase.ENDED, Blame.SYSTEM),
            ("CANCELLED+", Phase.ENDED, Blame.SYSTEM),
            ("OUT_OF_MEMORY", Phase.ENDED, Blame.TRIAL),
            ("COMPLETED", Phase.ENDED, Blame.UNKNOWN),
            ("FAILED", Phase.ENDED, Blame.UNKNOWN),
        ],
    )
    def test_every_state_says_where_a_batch_job_stands_and_whose_doing_its_end_was(
        self, words, phase, blame
    ):
        job = batch_job({"JobId": "17", "JobState": words})
        assert (job.phase, job.blame) == (phase, blame)

    def test_a_waiting_batch_job_has_no_times_though_slurm_guesses_them(self):
        told = {"JobId": "17", "JobState": "PENDING", "StartTime": "100", "EndTime": "200"}
        job = batch_job(told | {"NumCPUs": "8", "TRES": "gres/gpu=4", "Reason": "Resources"})
        assert math.isnan(job.began)
        assert math.isnan(job.ended)
        assert (job.ends, job.cpus, job.gpus, job.reason) == (math.inf, 0, 0, "Resources")

    def test_a_running_one_ends_when_slurm_says_or_never(self):
        told = {"JobId": "17", "JobState": "RUNNING", "StartTime": "100", "NodeList": "n1"}
        assert batch_job(told | {"EndTime": "200"}).ends == 200.0
        assert batch_job(told | {"EndTime": "Unknown"}).ends == math.inf
        assert batch_job(told).began == 100.0

    def test_one_that_was_cancelled_in_the_queue_never_began(self):
        told = {"JobId": "17", "JobState": "CANCELLED", "StartTime": "100", "EndTime": "100"}
        job = batch_job(told | {"NodeList": "(null)", "NumCPUs": "2-4"})
        assert math.isnan(job.began)
        assert (job.ended, job.nodes, job.cpus) == (100.0, "", 0)

    @pytest.mark.parametrize(
        ("code", "reason"),
        [("3:0", "exit code 3"), ("768", "exit code 3"), ("0:9", "signal 9"), ("9", "signal 9")],
    )
    def test_how_a_failed_script_ended_is_said(self, code, reason):
        told = {"JobId": "17", "JobState": "FAILED", "Reason": "NonZeroExitCode", "ExitCode": code}
        assert batch_job(told).reason == reason


class TestWords:
    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("gpu:4", {"": 4}),
            ("gpu", {"": 1}),
            ("gpu:a100", {"a100": 1}),
            ("gpu:a100:4(IDX:0-3)", {"a100": 4}),
            ("gpu:4(IDX:0,2-3)", {"": 4}),
            ("gpu:1g.5gb:7", {"1g.5gb": 7}),
            ("gres:gpu:2", {"": 2}),
            ("gres/gpu:a100:2", {"a100": 2}),
            ("billing=8,cpu=8,gres/gpu=4,mem=1G", {"": 4}),
            ("gres/gpu=4,gres/gpu:a100=3,gres/gpu:v100=1", {"a100": 3, "v100": 1}),
            ("craynetwork:4,gpu:a100:4(S:0-1)", {"a100": 4}),
            ("gpumem:80G,shard:4", {}),
            ("(null)", {}),
            ("", {}),
        ],
    )
    def test_gpus_are_counted_however_they_are_spelled(self, text, meant):
        assert gpus(text) == meant

    @pytest.mark.parametrize(
        ("told", "count"),
        [
            ({"TRES": "cpu=8,gres/gpu=4", "TresPerNode": "gpu:1"}, 4),
            ({"TRES": "cpu=8", "JOB_GRES": "gpu:8", "TresPerNode": "gres:gpu:4"}, 8),
            ({"TresPerNode": "gres:gpu:4", "NumNodes": "2"}, 8),
            ({"TresPerNode": "gres/gpu:4"}, 4),
            ({"TresPerTask": "gres:gpu:1", "NumTasks": "6"}, 6),
            ({"TresPerJob": "gres:gpu:6", "NumNodes": "2"}, 6),
            ({"TRES": "cpu=8,mem=1G"}, 0),
        ],
    )
    def test_gpus_of_a_batch_job_are_those_of_all_its_nodes(self, told, count):
        assert gpu_count(told) == count

    @given(st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1)))
    def test_times_are_local(self, when):
        when = when.replace(microsecond=0)
        assert moment(when.strftime("%Y-%m-%dT%H:%M:%S")) == when.timestamp()

    @pytest.mark.parametrize("text", ["Unknown", "N/A", "NONE", "None", "", "0", "now"])
    def test_what_is_no_time_is_nan(self, text):
        assert math.isnan(moment(text))

    def test_columns_are_told_by_their_headings_as_unknown_ones_are_left_out(self):
        text = f"{'JOBID':10}{'NODELIST':12}{'RESTART_COUNT':16}\n{'17':10}{'n[1-2]':12}{'2':16}\n"
        job = batch_job({"JobState": "RUNNING"} | table(text)[0])
        assert (job.id, job.nodes, job.restarts) == ("17", "n[1-2]", 2)

    def test_reasons_keep_their_spaces(self):
        text = (
            f"{'JOBID':10}{'REASON':60}{'STATE':10}\n{'17':10}{'Nodes required are DOWN':60}PENDING"
        )
        assert table(text)[0]["Reason"] == "Nodes required are DOWN"


class TestRequest:
    @pytest.mark.parametrize(
        ("directives", "meant"),
        [
            ("--gres=gpu:4", {"": 4}),
            ("--gres gpu:a100:4", {"a100": 4}),
            ("--gpus-per-node=4", {"": 4}),
            ("--gpus-per-node=a100:4", {"a100": 4}),
            ("-N 2 --gpus=8", {"": 4}),
            ("-G 4", {"": 4}),
            ("-n4 --gpus-per-task=1", {"": 4}),
            ("-N2 -n8 --gpus-per-task=a100:1", {"a100": 4}),
            ("--mem=4G", {}),
        ],
    )
    def test_gpus_of_a_node_are_read_from_any_directive(self, directives, meant):
        assert Request.of(f"#!/bin/bash\n#SBATCH {directives}\nexit 0\n").gpus == meant

    def test_the_last_of_two_directives_counts_and_none_after_the_first_command(self):
        text = "#SBATCH -p a\n# words\n\n#SBATCH --partition=b # here\nsrun x\n#SBATCH -p c\n"
        assert Request.of(text).partition == "b"


def test_a_partition_offers_its_best_node():
    mixed = Partition("gpu", gres=("gpu:v100:4", "gpu:a100:8", "(null)"))
    assert (mixed.most_gpus(), mixed.most_gpus("v100"), mixed.most_gpus("h100")) == (8, 4, 0)
    assert mixed.offer == "its nodes have 4 GPUs 'v100' or 8 GPUs 'a100'"
