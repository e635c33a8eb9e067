"""The doctor asks a node of a real Slurm, sees what is wrong with it, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from daskhpo.cluster.doctor import Case, diagnose
from daskhpo.cluster.findings import Level
from daskhpo.cluster.settings import PoolSettings
from daskhpo.cluster.site import load_site


def case(path, *, say=lambda line: None, patience=60.0, **settings):
    settings = {"kind": "slurm", "site": "test-slurm", "gpus": 0} | settings
    site = load_site("test-slurm")
    return Case(PoolSettings(**settings), site, path, patience=patience, say=say)


def by_name(found):
    return {finding.what: finding for finding in found}


def test_a_healthy_site_has_no_failures(slurm, tmp_path):
    found = list(diagnose(case(tmp_path)))
    assert [finding for finding in found if finding.level is Level.FAILURE] == []
    named = by_name(found)
    assert "10 min" in named["walltime"].said
    assert "queue batch" in named["node"].said
    assert list(tmp_path.iterdir()) == []
    slurm.wait(*slurm.states(), "CANCELLED", "COMPLETED")


def test_gpus_are_those_that_slurm_gave(slurm, tmp_path):
    named = by_name(diagnose(case(tmp_path, gpus=2)))
    assert "CUDA_VISIBLE_DEVICES='0,1'" in named["GPUs"].said
    # The devices of the test Slurm have no driver.
    assert named["PyTorch"].level is Level.FAILURE


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"queue": "nowhere"}, "nowhere"),
        ({"queue": "short", "walltime": "02:00:00"}, "walltime"),
        ({"gpus": 9}, "gpus"),
    ],
)
def test_what_slurm_would_refuse_is_seen_before_anything_is_queued(slurm, tmp_path, settings, says):
    before = slurm.states()
    found = list(diagnose(case(tmp_path, **settings)))
    refused = by_name(found)["worker jobs"]
    assert refused.level is Level.FAILURE
    assert says in refused.said
    assert found[-1].what == "probe job"
    assert slurm.states() == before


def test_a_full_queue_is_told_with_slurms_reason(slurm, tmp_path):
    slurm.wait(slurm.block(), "RUNNING")
    said = []
    named = by_name(diagnose(case(tmp_path, patience=4.0, say=said.append)))
    assert "PENDING" in named["probe job"].said
    assert "--wait" in named["probe job"].cure
    assert any("Resources" in line or "Priority" in line for line in said)


def test_a_controller_that_is_down_is_a_failure(slurm, tmp_path):
    slurm.stop_controller()
    try:
        named = by_name(diagnose(case(tmp_path)))
    finally:
        slurm.start_controller()
    assert named["batch system"].level is Level.FAILURE
    assert "scontrol ping" in named["batch system"].cure


def test_ctrl_c_cancels_the_probe_job(slurm, tmp_path):
    slurm.wait(slurm.block(), "RUNNING")
    command = ["-c", "from daskhpo.cli import main; main()", "doctor", "--site", "test-slurm"]
    process = subprocess.Popen(
        [sys.executable, *command, "--dir", str(tmp_path), "--gpus", "0"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    heard = []
    for line in process.stderr:  # Slurm may have something to say first
        heard.append(line)
        if b"waiting" in line:
            break
    assert b"waiting" in heard[-1], heard
    [probe] = [job for job, state in slurm.states().items() if state == "PENDING"]
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    slurm.wait(probe, "CANCELLED")
    deadline = time.monotonic() + 10
    while [*tmp_path.iterdir()] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []
