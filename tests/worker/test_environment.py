"""Ranks do not take themselves for tasks of somebody else."""

from __future__ import annotations

import pytest

from daskhpo.worker.environment import cpus, interface_of, rank_environment

OF_A_TASK = ["SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_STEP_ID"]
OF_A_TASK += ["SLURM_LOCALID", "SLURM_NODEID", "SLURM_TASKS_PER_NODE", "SLURM_STEPID", "PMI_RANK"]
OF_A_TASK += ["PMIX_RANK", "OMPI_COMM_WORLD_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR"]
OF_THE_JOB = ["SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_JOB_NODELIST", "SLURM_CONF", "HOME"]


@pytest.mark.parametrize("name", OF_A_TASK)
def test_what_makes_a_task_is_taken_away(name):
    assert name not in rank_environment({name: "1"})


@pytest.mark.parametrize("name", OF_THE_JOB)
def test_what_tells_of_the_job_stays(name):
    assert rank_environment({name: "1"})[name] == "1"


def test_ranks_divide_the_cpus_among_them_unless_somebody_has_done_so():
    environ = {"SLURM_CPUS_ON_NODE": "1"}
    assert rank_environment(environ, share=4)["OMP_NUM_THREADS"] == "1"
    assert rank_environment({})["OMP_NUM_THREADS"] == str(cpus({}))
    assert rank_environment({"OMP_NUM_THREADS": "7"})["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize("given", ["", "0", "many", "100000"])
def test_a_worker_has_no_more_cpus_than_it_is_bound_to(given):
    assert cpus({"SLURM_CPUS_ON_NODE": given}) == cpus({})


def test_a_host_that_is_not_here_has_no_interface():
    assert interface_of("192.0.2.1") == ""
    assert interface_of("no such host.invalid") == ""
