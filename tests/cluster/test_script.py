"""The batch script: what dask-jobqueue makes of a site, and what a campaign adds."""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Security

from daskhpo.cluster.launcher import _parser
from daskhpo.cluster.script import WorkerNeeds, batch_script, lifetime_of
from daskhpo.cluster.settings import SYSTEMS, PoolSettings
from daskhpo.cluster.site import Site, load_site
from daskhpo.exceptions import CampaignError

TLS = Security(
    require_encryption=True,
    tls_ca_file="/keys/cert.pem",
    tls_worker_cert="/keys/cert.pem",
    tls_worker_key="/keys/key.pem",
)


def site_of(kind="slurm", *, gpus=0, check="", **options):
    given = {key.replace("_", "-"): value for key, value in options.items()}
    enough = {"cores": 4, "memory": "4GB", "python": "python3"}
    if kind == "htcondor":
        enough["disk"] = "1GB"
    elif kind == "lsf":
        enough["lsf-units"] = "mb"
    elif kind == "oar":
        enough["memory-per-core-property-name"] = "not_applicable"
    complete = {**load_site(kind=kind).options, **enough, **given}
    return Site("ours", kind, complete, gpus=gpus, check=check)


@pytest.fixture
def script_of(tmp_path):
    def make(site=None, *, security=None, needs=None, **settings):
        site = site or site_of()
        needs = WorkerNeeds(tmp_path / "first", "a1b2", **(needs or {}))
        script = batch_script(
            site, PoolSettings(kind=site.kind, **settings), needs, security=security
        )
        return script.replace(str(tmp_path), "/project")

    return make


def command_of(script):
    """What the launcher makes of the last line of a script, and what it passes on."""
    words = shlex.split(script.strip().splitlines()[-1])
    at = words.index("daskhpo.cluster.launcher")
    return _parser().parse_known_args(words[at + 1 :])


SLURM = """\
#!/usr/bin/env bash

#SBATCH -J hpo-a1b2
#SBATCH -e /project/first/pool/logs/hpo-a1b2-%J.err
#SBATCH -o /project/first/pool/logs/hpo-a1b2-%J.out
#SBATCH -p booster
#SBATCH -A hep
#SBATCH -n 1
#SBATCH --cpus-per-task=4
#SBATCH -t 02:00:00
#SBATCH --qos=low
#SBATCH --gres=gpu:4
#SBATCH --no-requeue
#SBATCH --open-mode=append
#SBATCH --constraint=a100
module load Python
export DASKHPO_BEGAN=$(date +%s)
"""


def test_a_slurm_script_in_full(script_of):
    site = site_of(
        gpus=4,
        interface="ib0",
        job_directives_skip=["--mem"],
        job_extra_directives=["--qos=low"],
        job_script_prologue=["module load Python"],
    )
    script = script_of(
        site,
        security=TLS,
        queue="booster",
        account="hep",
        walltime="02:00:00",
        directives=["--constraint=a100"],
    )
    header = [line for line in script.splitlines() if not line.startswith("export PYTHONPATH")]
    *header, command = header
    assert "\n".join(header) + "\n" == SLURM
    assert command == (
        "exec python3 -m daskhpo.cluster.launcher /project/first/pool/scheduler.json "
        "--name hpo-a1b2 --nthreads 4 --memory-limit 3.73GiB --death-timeout 300 "
        '--local-directory "${TMPDIR:-/tmp}" --campaign /project/first --token a1b2 '
        "--nthreads 1 --patience 600 --no-dashboard --dashboard-address 127.0.0.1:0 "
        "--walltime 7200 --interface ib0 --protocol tls:// --tls-ca-file /keys/cert.pem "
        "--tls-cert /keys/cert.pem --tls-key /keys/key.pem"
    )


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("pbs", ["#PBS -N hpo-a1b2", "#PBS -r n", "#PBS -A hep", "#PBS -l walltime=26:30:00"]),
        ("sge", ["#$ -N hpo-a1b2", "#$ -r n", "#$ -P hep", "#$ -l h_rt=26:30:00"]),
        ("lsf", ["#BSUB -J hpo-a1b2", "#BSUB -rn", '#BSUB -P "hep"', "#BSUB -W 26:30"]),
        ("oar", ["#OAR -n hpo-a1b2", "#OAR --project hep", ",walltime=26:30:00"]),
        ("htcondor", ["batch_name = hpo-a1b2", "allowed_job_duration = 95400"]),
    ],
)
def test_other_batch_systems_are_told_the_same_in_their_words(script_of, kind, lines):
    script = script_of(site_of(kind), walltime="1-02:30:00", account="hep")
    for line in lines:
        assert line in script


@pytest.mark.parametrize("kind", [kind for kind in SYSTEMS if kind != "htcondor"])
def test_every_script_is_one_that_a_shell_understands(script_of, kind):
    script = script_of(site_of(kind, check="""nvidia-smi -L | grep -q 'A100' || exit "$?" """))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    options, _ = command_of(script)
    assert options.check == """nvidia-smi -L | grep -q 'A100' || exit "$?" """


def test_htcondor_tells_the_launcher_which_batch_job_it_is(script_of):
    check = "test -e '/dev/my nvidia0'"
    script = script_of(site_of("htcondor", check=check))
    line = next(line for line in script.splitlines() if line.startswith("Arguments"))
    # As condor_submit reads it: macros, then doubled double quotes, then doubled single ones.
    said = line.partition('"')[2][:-1].replace("$(ClusterId).$(ProcId)", "17.0")
    option, command = said.replace('""', '"').split(" ", 1)
    command = command[1:-1].replace("''", "'")
    assert (option, "$(" in command) == ("-c", False)
    subprocess.run(["sh", "-n", "-c", command], check=True)
    options, _ = command_of(command)
    assert (options.batch, options.check) == ("17.0", check)


def test_threads_and_resources_are_those_of_the_campaign_not_the_cores(script_of):
    script = script_of(needs={"threads": 2, "resources": {"gpu": 1.0, "io": 0.5}})
    options, rest = command_of(script)
    assert options.nthreads == "2"
    assert "#SBATCH --cpus-per-task=4" in script
    assert rest[rest.index("--resources") + 1] == "gpu=2 io=1"


def test_memory_of_the_campaign_goes_before_the_sites(script_of):
    assert "#SBATCH --mem=2G" in script_of(needs={"memory": "2 GiB"})


def test_no_memory_at_all_is_an_error_that_names_both_places(script_of):
    with pytest.raises(CampaignError, match=r"neither workers\.memory nor site 'ours'"):
        script_of(site_of(memory=None))


def test_gpus_of_the_pool_go_before_the_sites(script_of):
    assert "--gres=gpu:2\n" in script_of(site_of(gpus=4), gpus=2)
    assert "gpu:" not in script_of(site_of(gpus=4), gpus=0)


def test_gpus_in_a_resource_specification(script_of):
    site = site_of("pbs", gpus=4, resource_spec="select=1:ncpus=8:ngpus={gpus}")
    assert "#PBS -l select=1:ncpus=8:ngpus=2\n" in script_of(site, gpus=2)
    assert "ngpus=4\n" in script_of(site)


def test_gpus_that_nobody_knows_how_to_ask_for(script_of):
    with pytest.raises(CampaignError, match=r"pool\.gpus=2: site 'ours' does not say how"):
        script_of(site_of("pbs"), gpus=2)


def test_more_gpus_than_a_batch_job_has(script_of):
    with pytest.raises(CampaignError, match=r"workers\.gpus=2 .*workers\.threads=3 .* has 4"):
        script_of(site_of(gpus=4), needs={"gpus": 2, "threads": 3})


def test_a_directive_for_htcondor_needs_a_value(script_of):
    with pytest.raises(CampaignError, match=r"pool\.directives='getenv'.*attribute = value"):
        script_of(site_of("htcondor"), directives=["getenv"])


@pytest.mark.parametrize("name", ["my runs", "100%", "a$b", "it's"])
def test_paths_that_batch_systems_mangle_are_refused(tmp_path, name):
    needs = WorkerNeeds(tmp_path / name, "a1b2")
    with pytest.raises(CampaignError, match="batch systems take no paths with spaces"):
        batch_script(site_of(), PoolSettings(kind="slurm"), needs)
    assert not (tmp_path / name).exists()


def test_the_objective_is_importable_wherever_the_batch_job_starts(script_of, tmp_path):
    home = tmp_path / "my model"
    home.mkdir()
    (home / "objective_of_mine.py").touch()
    script = script_of(needs={"path": str(home)}).replace("/project", str(tmp_path))
    *prologue, _ = script.strip().splitlines()
    check = f"{shlex.quote(sys.executable)} -c 'import objective_of_mine, daskhpo'"
    done = subprocess.run(["bash", "-c", "\n".join([*prologue, check])], cwd="/")
    assert done.returncode == 0


def test_the_objective_is_imported_before_any_trial_wants_it(script_of):
    _, rest = command_of(script_of(needs={"module": "my.objectives"}))
    assert rest[rest.index("--preload") + 1] == "my.objectives"


def test_the_python_of_the_driver_is_used_unless_the_site_names_one(script_of):
    assert f"exec {shlex.quote(sys.executable)} -m" in script_of(site_of(python=None))


@pytest.mark.parametrize(
    ("kind", "walltime", "seconds"),
    [
        ("slurm", "1-00:00:00", 86400.0),
        ("slurm", None, math.inf),
        ("lsf", "01:30", 5400.0),
        ("pbs", "7200", 7200.0),
        ("sge", "02:00:00", 7200.0),
    ],
)
def test_how_long_a_batch_job_lives_by_its_site(kind, walltime, seconds):
    assert lifetime_of(site_of(kind, walltime=walltime), PoolSettings(kind=kind)) == seconds


def test_the_pools_walltime_goes_before_the_sites():
    site = site_of(walltime="01:00:00")
    assert lifetime_of(site, PoolSettings(kind="slurm", walltime="00:10:00")) == 600.0
    wrong = replace(site, options={**site.options, "walltime": "an hour"})
    with pytest.raises(CampaignError, match="walltime of site 'ours'='an hour'"):
        lifetime_of(wrong, PoolSettings(kind="slurm"))


def test_needs_know_where_things_lie():
    needs = WorkerNeeds(Path("/project/first"), "a1b2")
    assert needs.scheduler_file == Path("/project/first/pool/scheduler.json")
