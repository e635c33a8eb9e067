"""Every site file that is shipped: it loads, is complete, cites its sources and makes a header."""

import subprocess
from pathlib import Path

import dask.config
import pytest
import yaml

from daskhpo.cluster.driverjob import driver_script
from daskhpo.cluster.script import WorkerNeeds, batch_script, cluster_class
from daskhpo.cluster.settings import PoolSettings, walltime_seconds
from daskhpo.cluster.site import load_site
from daskhpo.cluster.systems import import_jobqueue

FOLDER = Path(__file__).parents[2] / "jobqueue"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
HEADERS = {
    "generic-slurm": ["#SBATCH --cpus-per-task=4", "#SBATCH -t 01:00:00"],
    "juwels-booster": ["#SBATCH -p booster", "#SBATCH --gres=gpu:4", "#SBATCH -A hep"],
    "jureca-dc": ["#SBATCH -p dc-gpu", "#SBATCH --gres=gpu:4", "#SBATCH -A hep"],
    "perlmutter": [
        "#SBATCH -q regular",
        "#SBATCH -C gpu",
        "#SBATCH --gpus-per-node=4",
        "#SBATCH -A hep",
    ],
    "leonardo": ["#SBATCH -p boost_usr_prod", "#SBATCH --gres=gpu:4", "#SBATCH -A hep"],
    "lumi": ["#SBATCH -p standard-g", "#SBATCH --gpus-per-node=8", "#SBATCH -A hep"],
    "test-slurm": ["#SBATCH -p batch", "#SBATCH --gpus-per-node=4", "#SBATCH --mem=954M"],
}


def content(name: str):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def test_every_preset_is_tested_here() -> None:
    assert sorted(HEADERS) == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_it_is_from_and_whether_it_was_tried(name: str) -> None:
    site = load_site(FOLDER / f"{name}.yaml")
    assert site.name == name
    assert site.description
    told = content(name)["daskhpo"]["site"]
    assert isinstance(told["tested"], bool)
    assert all(source.startswith("https://") for source in site.sources)
    assert site.sources or site.tested
    walltime_seconds("walltime", site.options["walltime"])
    walltime_seconds("driver.walltime", site.driver["walltime"])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_every_key_that_dask_jobqueue_wants(name: str) -> None:
    section = content(name)["jobqueue"][name]
    cls = cluster_class("slurm").job_cls
    # Alone, without dask-jobqueue's defaults, and with memory and cores of its own.
    with dask.config.set({f"jobqueue.{name}": section}):
        script = cls("tcp://10.0.0.1:8786", name="w", config_name=name).job_script()
    assert "distributed.cli.dask_worker" in script
    if section["interface"]:
        assert f"--interface {section['interface']}" in script
    shipped = Path(import_jobqueue().__file__ or "").with_name("jobqueue.yaml")
    defaults = yaml.safe_load(shipped.read_text(encoding="utf-8"))["jobqueue"]["slurm"]
    assert sorted(section) == sorted(defaults)


@pytest.mark.parametrize("name", PRESETS)
def test_the_batch_script_of_a_preset_has_the_sites_directives(name: str, tmp_path: Path) -> None:
    site = load_site(FOLDER / f"{name}.yaml")
    account = "hep" if name not in ("generic-slurm", "test-slurm") else ""
    settings = PoolSettings(kind="slurm", account=account)
    lines = batch_script(site, settings, WorkerNeeds(tmp_path, "a1b2")).splitlines()
    assert [each for each in HEADERS[name] if each not in lines] == []
    has_memory = any(line.startswith("#SBATCH --mem") for line in lines)
    assert has_memory is (site.options["job-directives-skip"] != ["--mem"])
    assert "#SBATCH --no-requeue" in lines


@pytest.mark.parametrize("name", PRESETS)
def test_a_campaigns_driver_asks_for_no_gpus(name: str, tmp_path: Path) -> None:
    site = load_site(FOLDER / f"{name}.yaml")
    settings = PoolSettings(kind="slurm", account="hep")
    script = driver_script(site, settings, directory=tmp_path, token="a1b2")
    header = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert "gpu:" not in "".join(header)
    assert "gpus" not in "".join(header)
    assert f"#SBATCH -t {site.driver['walltime']}" in header
    assert f"#SBATCH --cpus-per-task={site.driver['cores']}" in header


@pytest.mark.parametrize("name", ["campaign", "allocation"])
def test_the_scripts_to_submit_by_hand_say_how_to_use_them(name: str) -> None:
    script = FOLDER / f"{name}.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    told = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert told.returncode == 2
    assert f"{name}.sbatch CAMPAIGN.yaml" in told.stderr
    lines = script.read_text(encoding="utf-8").splitlines()
    assert "#SBATCH --no-requeue" in lines
    assert ("#SBATCH --no-kill" in lines) is (name == "allocation")
