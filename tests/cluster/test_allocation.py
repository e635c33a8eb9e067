"""What a Slurm job says of its nodes, and what its steps must not be told."""

from pathlib import Path

import pytest

from daskhpo.cluster.allocation import NodeShare, parse_shares, step_environment
from daskhpo.cluster.batch import Unreachable
from daskhpo.cluster.steps import Steps
from daskhpo.exceptions import CampaignError

# Of `scontrol --details show job`, Slurm 22.05; the job has two kinds of nodes.
DETAILS = """\
   TRES=cpu=24,mem=3000M,node=3,billing=24
   Socks/Node=* NtasksPerN:B:S:C=1:0:*:* CoreSpec=*
   JOB_GRES=gpu:a100:8,gpu:v100:2
     Nodes=node[1-2] CPU_IDs=0-7 Mem=1000 GRES=gpu:a100:4(IDX:0-3)
     Nodes=node7 CPU_IDs=0-1,4,8-9 Mem=1000 GRES=gpu:v100:2(IDX:0,3),tmp:100(CNT:100)
     Nodes=node9 CPU_IDs=0 Mem=1000 GRES=
   MinCPUsNode=8 MinMemoryNode=1000M MinTmpDiskNode=0
"""


def test_every_node_says_what_the_job_has_of_it() -> None:
    assert parse_shares(DETAILS) == [
        ("node[1-2]", NodeShare(cpus=8, gpus=4)),
        ("node7", NodeShare(cpus=5, gpus=2)),
        ("node9", NodeShare(cpus=1, gpus=0)),
    ]


def test_steps_are_not_told_what_slurm_has_told_the_batch_script() -> None:
    environ = {
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_JOB_ID": "17",
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_MEM_PER_NODE": "1000",
        "SLURM_TRES_PER_TASK": "cpu:8",
        "SLURM_GPUS": "12",
        "SBATCH_ACCOUNT": "hep",
        "SRUN_CPUS_PER_TASK": "8",
        "CUDA_VISIBLE_DEVICES": "0",
        "PMI_RANK": "0",
        "HOME": "/home/alice",
        "PYTHONPATH": "/src",
    }
    assert sorted(step_environment(environ)) == ["HOME", "PYTHONPATH", "SLURM_CONF"]


def test_outside_of_a_slurm_job_there_is_no_allocation(tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match=r"pool.kind='allocation': .*--allocation NODES"):
        Steps("hpo-a1b2", directory=tmp_path, environ={})


def test_an_allocation_whose_slurm_does_not_answer_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unreachable, match="scontrol"):
        Steps("hpo-a1b2", directory=tmp_path, environ={"SLURM_JOB_ID": "17"})
