"""``daskhpo hours`` tells what a campaign has cost; ``status`` says it in two lines."""

from __future__ import annotations

import csv
import json
import sys
import types

import pytest
from batched import Batched, preempted
from click.testing import CliRunner

from daskhpo.cli import main


@pytest.fixture
def campaign(tmp_path):
    """The directory of a campaign on two batch jobs, one of which was preempted."""
    return preempted(Batched(tmp_path / "first")).close().path


@pytest.fixture
def slurm(monkeypatch):
    """What Slurm says of batch jobs: {id: fields}, of scontrol and of sacct."""
    said = types.SimpleNamespace(
        scontrol={
            "17": {"RunTime": "00:02:00", "NumCPUs": "8", "JOB_GRES": "gpu:4"},
            "21": {"RunTime": "00:02:09", "NumCPUs": "8", "JOB_GRES": "gpu:4"},
        },
        sacct={},
    )
    module = types.ModuleType("daskhpo.cluster.slurm")
    module.show_job = lambda batch: said.scontrol.get(batch, {})
    module.sacct_job = lambda batch: said.sacct.get(batch)
    monkeypatch.setitem(sys.modules, "daskhpo.cluster.slurm", module)
    return said


def call(*words):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


def test_hours_tells_the_campaign_s_cost_and_its_interruptions(campaign):
    done = call("hours", campaign)
    assert done.exit_code == 0, done.output
    assert "allocated 0.267 GPU-hours in 2 batch jobs" in done.output
    assert "batch job 17 on node3 was preempted after 2 min" in done.output
    assert max(map(len, done.output.splitlines())) <= 100


def test_hours_in_json_are_seconds(campaign):
    plain = json.loads(call("hours", campaign, "--json").stdout)
    assert plain["unit"] == "gpu"
    assert plain["allocated"]["gpu"] == 4 * 240
    assert plain["used"]["gpu"] + plain["idle"]["gpu"] == pytest.approx(4 * 240)
    assert plain["rungs"][1]["milestone"] == 3
    assert plain["batches"][0]["state"] == "PREEMPTED"
    assert "checks" not in plain


def test_hours_as_a_table_for_other_programs(campaign, tmp_path):
    done = call("hours", campaign, "--csv", tmp_path / "stays.csv")
    assert f"{tmp_path / 'stays.csv'}: 5 rows" in " ".join(done.output.split())
    with open(tmp_path / "stays.csv", encoding="utf-8", newline="") as file:
        assert [row["outcome"] for row in csv.DictReader(file)].count("evicted") == 1


def test_a_table_that_cannot_be_written_is_said(campaign, tmp_path):
    done = call("hours", campaign, "--csv", tmp_path / "nowhere" / "stays.csv")
    assert done.exit_code == 1
    assert "nowhere" in done.output


def test_hours_are_compared_with_slurm_s_own(campaign, slurm):
    done = call("hours", campaign, "--reconcile")
    assert "1 batch job agrees with scontrol" in done.output
    assert "batch job 21: 120 s here, 129 s there" in done.output
    slurm.sacct["21"] = {"ElapsedRaw": "120", "AllocTRES": "cpu=8,gres/gpu=4"}
    plain = json.loads(call("hours", campaign, "--reconcile", "--json").stdout)
    assert [check["source"] for check in plain["checks"]] == ["scontrol", "sacct"]
    assert [check["differences"] for check in plain["checks"]] == [[], []]


def test_without_batch_jobs_there_is_nothing_to_compare(tmp_path, slurm):
    made = Batched(tmp_path / "local", pool={"kind": "local"})
    made.at(0).study.ask()
    made.at(30).leaves(0, "interrupted", 30.0)
    made.close()
    done = call("hours", made.path)
    assert "allocated unknown: there were no batch jobs" in done.output
    done = call("hours", made.path, "--reconcile")
    assert done.exit_code == 1
    assert "--reconcile: the campaign has had no batch jobs" in done.output


def test_only_slurm_can_be_asked(tmp_path, slurm):
    made = preempted(Batched(tmp_path / "first", pool={"kind": "pbs"})).close()
    done = call("hours", made.path, "--reconcile")
    assert done.exit_code == 2
    assert "--reconcile: pool.kind='pbs': must be 'slurm' or 'allocation'" in done.output


def test_many_interruptions_are_shown_on_request(tmp_path):
    made = Batched(tmp_path / "first")
    made.at(0).starts("17", "node3")
    for number in range(12):
        made.at(10 * number).begins("17")
        made.at(10 * number + 5).leaves(number, "failed", 5.0, error=f"no {number}", retry=False)
    made.close()
    short, full = call("hours", made.path).output, call("hours", made.path, "--all").output
    assert "the last 10 of 12" in short
    assert "no 1\n" not in short.replace(";", "\n")
    assert "the 10 dearest of 12 trials" in short
    assert "no 1;" in full
    assert "in batch job 17 on node3: no 0;" in full


def test_status_says_in_two_lines_what_batch_jobs_held(campaign):
    done = call("status", campaign)
    assert done.exit_code == 0, done.output
    assert "batch     2 batch jobs held 0.267 GPU-hours" in done.output
    assert "1 interruption; 0.011 GPU-hours came to nothing" in done.output
    plain = json.loads(call("status", campaign, "--json").stdout)
    assert plain["batch"]["allocated"]["gpu"] == 4 * 240


def test_status_says_nothing_of_batch_jobs_where_there_are_none(tmp_path):
    made = Batched(tmp_path / "local", pool={"kind": "local"})
    made.at(0).study.ask()
    made.close()
    assert "batch job" not in call("status", made.path).output
    assert json.loads(call("status", made.path, "--json").stdout)["batch"] is None
