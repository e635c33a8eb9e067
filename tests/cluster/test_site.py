"""Site files: what is said where, what is refused, and what dask-jobqueue makes of them."""

from __future__ import annotations

import dask.config
import pytest
import yaml

from daskhpo.cluster import site as site_module
from daskhpo.cluster.settings import SYSTEMS
from daskhpo.cluster.site import Site, find_sites, load_site
from daskhpo.exceptions import CampaignError

OURS = {
    "jobqueue": {"ours": {"cores": 48, "memory": "500GB", "interface": "ib0", "account": None}},
    "daskhpo": {"site": {"kind": "slurm", "gpus": 4, "check": "nvidia-smi -L"}},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The only directory that is searched for sites."""
    monkeypatch.setattr(site_module, "_directories", lambda: [tmp_path])
    return tmp_path


def write(folder, content, name="ours"):
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_site_is_found_by_its_name_or_its_path(folder):
    path = write(folder, OURS)
    assert load_site("ours") == load_site(path) == load_site(str(path))
    ours = load_site("ours", kind="slurm")
    assert (ours.name, ours.gpus, ours.options["interface"]) == ("ours", 4, "ib0")
    assert ours.gpu_directive == "--gres=gpu:{gpus}"
    assert not ours.tested


def test_other_yaml_files_of_dask_are_no_sites(folder):
    write(folder, OURS)
    write(folder, {"jobqueue": {"slurm": {"cores": 4}}}, "jobqueue")
    (folder / "broken.yaml").write_text("a: [")
    assert list(find_sites()) == ["ours"]


def test_ones_own_site_file_goes_before_one_that_came_with_daskhpo(tmp_path, monkeypatch):
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    monkeypatch.setattr(site_module, "_directories", lambda: [own, shipped])
    for place in (own, shipped):
        place.mkdir()
        write(place, OURS)
    assert find_sites()["ours"] == own / "ours.yaml"


def test_a_wrong_name_is_answered_with_the_nearest_and_all(folder):
    write(folder, OURS)
    with pytest.raises(CampaignError, match=r"pool\.site='our'.*did you mean 'ours'\? known: ours"):
        load_site("our")


def test_a_path_that_is_not_there_is_named(folder):
    with pytest.raises(CampaignError, match=r"pool\.site='sites/mine\.yaml'.*no such file"):
        load_site("sites/mine.yaml")


def test_a_site_of_another_kind_is_refused(folder):
    write(folder, OURS)
    with pytest.raises(CampaignError, match=r"pool\.site='ours' is of kind 'slurm'.*'pbs'"):
        load_site("ours", kind="pbs")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"daskhpo": {"site": {"kind": "slurm", "gpu": 4}}}, "unknown key 'gpu'; did you mean"),
        ({"daskhpo": {"site": {"kind": "slrum"}}}, r"kind='slrum': must be one of slurm"),
        ({"daskhpo": {"site": {"gpus": 4}}}, r"kind=None: must be one of"),
        ({"daskhpo": {"site": {"kind": "slurm", "gpus": True}}}, r"gpus=True: must be an integer"),
        ({"daskhpo": {"site": {"kind": "slurm", "gpus": -1}}}, r"gpus=-1: must be an integer"),
        ({"daskhpo": {"site": {"kind": "slurm", "node-local": "/tmp"}}}, "must be a list of paths"),
        ({"daskhpo": {"site": {"kind": "slurm", "driver": {"que": "x"}}}}, "did you mean 'queue'"),
        ({"daskhpo": {"sites": {}}}, "unknown key 'sites'"),
        ({"distributed": {}}, "unknown key 'distributed'"),
        ({"jobqueue": {"ours": {"core": 48}}}, "unknown key 'core'; did you mean 'cores'"),
        ({"jobqueue": {"a": {}, "b": {}}}, "must have one section"),
        ({"jobqueue": {"ours": {"walltime": 21600}}}, r"walltime=21600: must be a text.*quotes"),
    ],
)
def test_what_is_wrong_in_a_site_file_is_named(folder, change, complaint):
    path = write(folder, OURS | change)
    with pytest.raises(CampaignError, match=complaint) as caught:
        load_site("ours" if "ours" in find_sites() else path)
    assert str(path) in str(caught.value)


def test_options_of_a_user_go_first_then_the_file_then_the_users_defaults(folder):
    write(folder, OURS)
    configured = {"ours": {"account": "hep"}, "slurm": {"cores": 2, "queue": "gpu"}}
    with dask.config.set({"jobqueue": configured}):
        options = load_site("ours").options
    assert options["account"] == "hep"  # said for this site by the user
    assert options["cores"] == 48  # said by the file
    assert options["queue"] == "gpu"  # said for all of Slurm by the user
    assert options["death-timeout"] == 60  # dask-jobqueue's


def test_without_a_name_dask_jobqueues_own_configuration_holds():
    with dask.config.set({"jobqueue.slurm": {"cores": 7, "job_extra_directives": ["-x"]}}):
        site = load_site(kind="slurm")
    assert (site.name, site.options["cores"]) == ("slurm", 7)
    assert site.options["job-extra-directives"] == ["-x"]


@pytest.mark.parametrize("kind", SYSTEMS)
def test_every_kind_has_all_options_that_dask_jobqueue_reads(kind):
    assert {"cores", "memory", "job-extra", "env-extra"} <= load_site(kind=kind).options.keys()


def test_a_site_cannot_be_of_an_unknown_kind():
    with pytest.raises(CampaignError, match="kind='local'"):
        Site("ours", "local", {})


@pytest.mark.parametrize("name", find_sites())
def test_every_shipped_site_loads_and_says_where_it_is_from(name):
    site = load_site(name)
    assert site.name == name
    assert site.description
    assert site.sources or site.tested or site.name == "generic"
