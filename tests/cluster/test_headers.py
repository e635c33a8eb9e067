"""The batch scripts of every kind of batch system: directives, our launcher, no dask worker."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from daskhpo.cluster.script import WorkerNeeds, batch_script
from daskhpo.cluster.settings import PoolSettings
from daskhpo.cluster.site import Site, load_site

OPTIONS = {
    "slurm": {"account": "hep"},
    "pbs": {"account": "hep"},
    "lsf": {"project": "hep", "lsf-units": "mb"},
    "sge": {"project": "hep"},
    "htcondor": {"disk": "1GB"},
    "oar": {"project": "hep", "memory-per-core-property-name": "not_applicable"},
}
DIRECTIVES = {
    "slurm": [
        "#SBATCH -J hpo-a1b2",
        "#SBATCH -p gold",
        "#SBATCH -A hep",
        "#SBATCH -t 02:00:00",
        "#SBATCH --no-requeue",
        "#SBATCH --gres=gpu:4",
    ],
    "pbs": [
        "#PBS -N hpo-a1b2",
        "#PBS -q gold",
        "#PBS -A hep",
        "#PBS -l walltime=02:00:00",
        "#PBS -r n",
    ],
    "lsf": [
        "#BSUB -J hpo-a1b2",
        "#BSUB -q gold",
        '#BSUB -P "hep"',
        "#BSUB -W 02:00",
        "#BSUB -rn",
        '#BSUB -gpu "num=4"',
    ],
    "sge": [
        "#$ -N hpo-a1b2",
        "#$ -q gold",
        "#$ -P hep",
        "#$ -l h_rt=02:00:00",
        "#$ -r n",
    ],
    "htcondor": [
        "batch_name = hpo-a1b2",
        "RequestCpus = MY.DaskWorkerCores",
        "request_gpus = 4",
        "allowed_job_duration = 7200",
        "Executable = /bin/sh",
        "Queue",
    ],
    "oar": [
        "#OAR -n hpo-a1b2",
        "#OAR -q gold",
        "#OAR --project hep",
        "#OAR -l /nodes=1/core=8,walltime=02:00:00",
    ],
}


def script_of(kind: str, directory: Path, **more: object) -> str:
    options = {**load_site(kind=kind).options, "cores": 8, "memory": "16GB", **OPTIONS[kind]}
    settings = PoolSettings(kind=kind, queue="gold", walltime="02:00:00")
    site = replace(Site("ours", kind, options, gpus=4), **more)
    return batch_script(site, settings, WorkerNeeds(directory, "a1b2"))


@pytest.mark.parametrize("kind", DIRECTIVES)
def test_a_batch_script_says_all_that_was_asked_for(kind: str, tmp_path: Path) -> None:
    lines = script_of(kind, tmp_path).splitlines()
    assert [each for each in DIRECTIVES[kind] if each not in lines] == []


@pytest.mark.parametrize("kind", DIRECTIVES)
def test_a_batch_script_starts_the_launcher_once_and_last(kind: str, tmp_path: Path) -> None:
    script = script_of(kind, tmp_path)
    assert script.count("-m daskhpo.cluster.launcher") == 1
    assert "dask_worker" not in script
    assert str(tmp_path / "pool" / "scheduler.json") in script
    if kind != "htcondor":
        last = script.strip().splitlines()[-1]
        assert re.match(r"exec \S*python", last)


@pytest.mark.parametrize(("kind", "spec"), [("pbs", "select=1:ncpus=8:ngpus={gpus}")])
def test_gpus_go_into_the_resources_where_they_are_said_there(
    kind: str, spec: str, tmp_path: Path
) -> None:
    options = {**load_site(kind=kind).options, "cores": 8, "memory": "16GB", "resource-spec": spec}
    assert "#PBS -l select=1:ncpus=8:ngpus=4" in script_of(kind, tmp_path, options=options)


@pytest.mark.parametrize("kind", ["pbs", "sge", "oar"])
def test_a_directive_of_the_site_asks_for_gpus(kind: str, tmp_path: Path) -> None:
    script = script_of(kind, tmp_path, gpu_directive="-l gpu={gpus}")
    assert re.search(r"^#\S+ -l gpu=4$", script, re.MULTILINE)


@pytest.mark.parametrize("kind", ["slurm", "pbs", "lsf", "sge"])
def test_logs_lie_in_the_campaign_directory(kind: str, tmp_path: Path) -> None:
    logs = str(tmp_path / "pool" / "logs")
    header = [line for line in script_of(kind, tmp_path).splitlines() if line.startswith("#")]
    assert [line for line in header if logs in line]
