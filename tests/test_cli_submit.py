"""``daskhpo submit`` checks, writes and submits; a driver in a batch job knows when to end."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys

import pytest
import yaml
from click.testing import CliRunner

from daskhpo import ASHA, Float, Space, Tuner
from daskhpo.analysis.conclusion import why_over
from daskhpo.cli import main
from daskhpo.cli.driving import FALLS, LEAST, MARGIN, START, Stretch, drive
from daskhpo.cluster.batch import BatchJob, Phase, SubmitError
from daskhpo.cluster.driverjob import (
    Relay,
    driver_name,
    driver_script,
    following,
    script_path,
    wind_up,
)
from daskhpo.cluster.settings import PoolSettings
from daskhpo.cluster.site import load_site
from daskhpo.exceptions import CampaignError
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.requests import request_stop, stop_requested

CAMPAIGN = {
    "objective": "objectives_of_submit:objective",
    "metric": "loss",
    "space": {"x": {"type": "float", "low": 0, "high": 1}},
    "scheduler": {"type": "asha", "max_step": 9, "eta": 3},
    "sampler": "random",
    "budget": {"trials": 9},
}
MODULE = """
def objective(trial):
    for epoch in trial.steps():
        trial.report(loss=trial.params["x"] + 1 / epoch)
"""
SITE = load_site("test-slurm")


class Queue:
    """A batch system that takes everything, and remembers it."""

    def __init__(self):
        self.submitted, self.cancelled, self.refuses = [], [], ""
        self.alive = {}  # {name: {id}}

    def named(self, name):
        queue = self

        class Named:
            def check(self, script):
                if queue.refuses:
                    raise CampaignError(queue.refuses)

            def submit(self, script):
                if queue.refuses:
                    raise SubmitError(queue.refuses, final=True)
                queue.submitted.append(script)
                batch = str(16 + len(queue.submitted))
                queue.alive.setdefault(name, set()).add(batch)
                return batch

            def jobs(self, ids=()):
                alive = queue.alive.get(name, set())
                return {each: BatchJob(each, Phase.PENDING, "PENDING") for each in alive}

            def cancel(self, ids):
                queue.cancelled += ids
                queue.alive.get(name, set()).difference_update(ids)

        return Named()


@pytest.fixture
def queue(monkeypatch):
    """The only batch system there is."""
    queue = Queue()

    def make(kind, name, *, directory):
        assert directory.is_dir()
        return queue.named(name)

    monkeypatch.setattr("daskhpo.cluster.driverjob.make_system", make)
    return queue


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's directory with an objective and a campaign file, as the working directory."""
    (tmp_path / "objectives_of_submit.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(name="first.yaml", **settings):
        content = yaml.safe_dump(CAMPAIGN | settings, sort_keys=False)
        (tmp_path / name).write_text(content, encoding="utf-8")

    write()
    yield write
    sys.modules.pop("objectives_of_submit", None)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A finished campaign; not to be changed."""

    def objective(trial):
        for epoch in trial.steps():
            trial.report(loss=trial.params["x"] + 1 / epoch)

    path = tmp_path_factory.mktemp("runs") / "first"
    scheduler = ASHA(max_step=9, eta=3, min_step=3)
    settings = {"metric": "loss", "scheduler": scheduler, "sampler": "random"}
    Tuner(objective, Space(x=Float(0, 1)), path=path, **settings).debug(trials=9)
    return path


@pytest.fixture
def campaign(original, tmp_path):
    """A copy of the finished campaign."""
    shutil.copytree(original, tmp_path / "first")
    (tmp_path / "first" / "pool").mkdir()
    return CampaignDirectory(tmp_path / "first")


def call(*arguments, code=0):
    """Run a command and insist on its exit code; returns what click recorded."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


# ---------------------------------------------------------------------- submit


def test_a_campaign_is_created_and_its_driver_submitted(project, queue):
    output = call("submit", "first.yaml", "--site", "test-slurm", "--workers", 3).output
    directory = CampaignDirectory("runs/first")
    config = directory.config()
    assert config["pool"]["kind"] == "slurm"
    assert config["pool"]["site"] == "test-slurm"
    assert config["pool"]["jobs"] == 3
    assert script_path(directory.path).read_text() == queue.submitted[0]
    assert Relay.read(directory.path).successor == "17"
    name = driver_name(config["token"])
    for words in ("batch job 17", "attach runs/first", "stop runs/first", f"squeue --name={name},"):
        assert words in output


def test_json_says_what_was_submitted(project, queue):
    content = json.loads(call("submit", "first.yaml", "--site", "test-slurm", "--json").stdout)
    assert content["batch"] == "17"
    assert content["directory"].endswith("runs/first")


def test_a_dry_run_prints_the_script_and_writes_nothing(project, queue):
    output = call("submit", "first.yaml", "--site", "test-slurm", "--dry-run").output
    assert "-m daskhpo.cli.driving" in output
    assert "runs/first/pool/logs" in output
    assert not os.path.exists("runs")
    assert queue.submitted == []


def test_a_refused_job_leaves_nothing_behind(project, queue):
    queue.refuses = "pool.queue='gpus': must be one of batch, urgent"
    assert queue.refuses in call("submit", "first.yaml", "--site", "test-slurm", code=2).output
    assert not os.path.exists("runs")


@pytest.mark.parametrize(
    ("settings", "options", "says"),
    [
        ({}, [], "--site NAME"),
        ({}, ["--site", "nowhere"], "no such site"),
        ({"budget": {}}, ["--site", "test-slurm"], "budget: none given"),
        ({"metric": 3}, ["--site", "test-slurm"], "metric=3"),
        ({"objective": "objectives_of_submit:nothing"}, ["--site", "test-slurm"], "nothing"),
        ({"pool": {"kind": "allocation"}}, ["--site", "test-slurm"], "--allocation NODES"),
        ({"workers": {"gpus": 9}}, ["--site", "test-slurm"], "workers.gpus=9"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
    project, queue, settings, options, says
):
    project(**settings)
    assert says in call("submit", "first.yaml", *options, code=2).output
    assert not os.path.exists("runs")
    assert queue.submitted == []


def test_a_campaign_goes_on_with_another_budget(project, queue):
    call("submit", "first.yaml", "--site", "test-slurm")
    queue.alive.clear()
    request_stop("runs/first")
    call("submit", "runs/first", "--trials", 20, "--hours", 48)
    assert stop_requested("runs/first") == ""
    last = queue.submitted[-1].splitlines()[-1]
    assert {"--hours=48.0", "--trials=20"} <= {*last.split()}


def test_a_second_driver_is_refused(project, queue):
    call("submit", "first.yaml", "--site", "test-slurm")
    output = call("submit", "runs/first", code=2).output
    assert "has a driver already: batch job 17" in output
    assert len(queue.submitted) == 1


def test_a_campaign_that_somebody_drives_is_refused(project, queue):
    call("submit", "first.yaml", "--site", "test-slurm")
    queue.alive.clear()
    with CampaignDirectory("runs/first").writer():
        assert "is being written by" in call("submit", "runs/first", code=1).output


def test_an_allocation_is_one_batch_job_of_several_nodes(project, queue):
    call("submit", "first.yaml", "--site", "test-slurm", "--allocation", 3)
    [script] = queue.submitted
    for words in ("--nodes=3", "--ntasks-per-node=1", "--no-kill", "--gpus-per-node=4"):
        assert f"#SBATCH {words}\n" in script
    assert "#SBATCH -n 1\n" not in script
    assert CampaignDirectory("runs/first").config()["pool"]["kind"] == "allocation"


def test_an_allocation_is_for_new_campaigns(project, queue):
    call("submit", "first.yaml", "--site", "test-slurm")
    queue.alive.clear()
    assert "pool.kind='slurm'" in call("submit", "runs/first", "--allocation", 2, code=2).output


# ---------------------------------------------------------------------- stop


def test_stop_cancels_what_waits_for_a_driver_that_is_not_there(project, queue):
    call("submit", "first.yaml", "--site", "test-slurm")
    assert "cancelled batch jobs 17" in call("stop", "runs/first").output
    assert queue.cancelled == ["17"]
    assert stop_requested("runs/first")


def test_stop_leaves_a_living_driver_its_workers(project, queue):
    call("submit", "first.yaml", "--site", "test-slurm")
    with CampaignDirectory("runs/first").writer():
        content = json.loads(call("stop", "runs/first", "--json").stdout)
    assert content["driver"].startswith("process")
    assert content["cancelled"] == queue.cancelled == []


# ---------------------------------------------------------------------- the script


def test_a_driver_is_as_small_as_its_site_says(tmp_path):
    script = driver_script(SITE, PoolSettings(kind="slurm"), directory=tmp_path, token="a1b2")
    assert "#SBATCH -J hpo-a1b2-driver\n" in script
    assert "gpu" not in script
    assert "#SBATCH --no-requeue\n" in script
    assert script.splitlines()[-2] == f"cd {os.getcwd()}"
    assert script.splitlines()[-1].endswith(f"-m daskhpo.cli.driving {tmp_path}")


def test_a_working_directory_that_no_script_can_name_is_refused(tmp_path, monkeypatch):
    (tmp_path / "my project").mkdir()
    monkeypatch.chdir(tmp_path / "my project")
    with pytest.raises(CampaignError, match="my project"):
        driver_script(SITE, PoolSettings(kind="slurm"), directory=tmp_path, token="a1b2")


def test_a_successor_follows_only_the_last():
    script = "#!/bin/bash\n#SBATCH -J a\nexec true\n"
    twice = following(following(script, "17"), "18")
    assert twice.count("--dependency") == 1
    assert "#SBATCH --dependency=afterany:18\n" in twice


def test_winding_up_cancels_workers_and_drivers_but_not_oneself(queue, campaign):
    queue.alive = {"hpo-a1b2": {"20", "21"}, "hpo-a1b2-driver": {"17", "18"}, "hpo-else": {"9"}}
    assert sorted(wind_up(SITE, "a1b2", campaign.path, own="17")) == ["18", "20", "21"]
    assert queue.alive["hpo-a1b2-driver"] == {"17"}
    assert queue.alive["hpo-else"] == {"9"}
    assert (campaign.path / "pool" / "closed").exists()


def test_a_damaged_note_on_drivers_is_no_obstacle(tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "driver.json").write_text("{half")
    assert Relay.read(tmp_path) == Relay()


# ---------------------------------------------------------------------- one driver's part


class Clock:
    """Time that passes only where somebody sleeps or works."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def stretch_of(campaign, *, lasts=3600.0, **limits):
    script_path(campaign.path).write_text("#!/bin/bash\n#SBATCH -J a\nexec true\n")
    limits = {"trials": None, "hours": None} | limits
    return Stretch(campaign, SITE, "a1b2", "16", 1000.0 + lasts, limits)


@pytest.fixture
def driven(queue, campaign):
    """Drive for an hour; each call of resume takes the next (code, seconds) that is given."""

    def go(*outcomes, lasts=3600.0, each=None, **limits):
        clock, calls, left = Clock(), [], list(outcomes)

        def resume(arguments):
            calls.append(arguments)
            code, seconds = left.pop(0)
            clock.sleep(seconds)
            if each is not None:
                each()
            return code

        stretch = stretch_of(campaign, lasts=lasts, **limits)
        code = drive(stretch, resume=resume, now=clock, sleep=clock.sleep)
        return code, calls, clock.now - 1000.0

    return go


def hours_of(arguments):
    return float(arguments[arguments.index("--hours") + 1])


def test_a_driver_that_is_over_hands_over(driven, queue, campaign):
    code, calls, _ = driven((0, 3240), trials=20)
    assert code == 0
    [arguments] = calls
    assert arguments[0] == str(campaign.path)
    assert "--keep-workers" in arguments
    assert arguments[arguments.index("--trials") + 1] == "20"
    assert hours_of(arguments) == pytest.approx(0.9)  # a tenth of the walltime is left to pause
    [successor] = queue.submitted
    assert "afterany:16" in successor
    assert queue.cancelled == []
    assert Relay.read(campaign.path) == Relay(began=1000.0, successor="17", since=1000.0)


def test_a_long_walltime_keeps_ten_minutes_for_trials_to_pause(driven):
    _, [arguments], _ = driven((0, 10), lasts=86_400.0, trials=20)
    assert hours_of(arguments) == pytest.approx((86_400 - MARGIN) / 3600)


def test_a_campaign_that_is_over_has_no_successor(driven, queue, campaign):
    code, calls, _ = driven(trials=9)
    assert (code, calls, queue.submitted) == (0, [], [])


def test_a_campaign_that_comes_to_its_end_cancels_its_successor(driven, queue, campaign):
    code, _, _ = driven((0, 60), trials=20, each=lambda: request_stop(campaign.path, "enough"))
    assert code == 0
    assert queue.cancelled == ["17"]
    assert Relay.read(campaign.path).successor == ""


def test_a_stop_that_came_while_it_waited_in_the_queue_is_heard(driven, queue, campaign):
    request_stop(campaign.path)
    queue.alive = {"hpo-a1b2": {"20"}}
    code, calls, _ = driven(trials=20)
    assert (code, calls) == (0, [])
    assert queue.cancelled == ["20"]


def test_hours_are_those_of_all_drivers_together(driven, queue, campaign):
    Relay(began=1000.0 - 3600.0).write(campaign.path)
    code, [arguments], _ = driven((0, 1800), trials=20, hours=1.5)
    assert hours_of(arguments) == pytest.approx(0.5)
    assert code == 0
    assert queue.cancelled == ["17"]


def test_hours_that_are_spent_are_the_end(driven, queue, campaign):
    Relay(began=1000.0 - 3600.0).write(campaign.path)
    assert driven(trials=20, hours=1.0)[:2] == (0, [])
    assert queue.submitted == []


def test_a_driver_that_fails_tries_again_slower_and_slower(driven, queue):
    code, calls, seconds = driven((1, 10), (1, 10), (0, 3000), trials=20)
    assert code == 0
    assert len(calls) == 3
    assert seconds == 10 + 15 + 10 + 30 + 3000
    assert len(queue.submitted) == 1


def test_a_driver_that_always_fails_gives_up_and_leaves_nobody(driven, queue):
    code, calls, _ = driven(*[(1, 10)] * FALLS, trials=20)
    assert code == 1
    assert len(calls) == FALLS
    assert queue.cancelled == ["17"]


def test_drivers_that_are_killed_at_once_one_after_the_other_give_up(driven, queue, campaign):
    long_ago = os.stat(campaign.journal_path).st_mtime
    Relay(began=1.0, batch="15", since=long_ago - 60, falls=FALLS).write(campaign.path)
    code, calls, _ = driven(trials=20)
    assert (code, calls) == (1, [])


def test_a_driver_that_is_killed_after_good_work_is_forgiven(driven, queue, campaign):
    written = os.stat(campaign.journal_path).st_mtime
    Relay(began=1.0, batch="15", since=written - 7200, falls=FALLS).write(campaign.path)
    code, calls, _ = driven((0, 3240), trials=20)
    assert (code, len(calls)) == (0, 1)


def test_what_is_not_valid_is_not_tried_again(driven, queue):
    code, calls, _ = driven((2, 1), trials=20)
    assert (code, len(calls)) == (1, 1)
    assert queue.cancelled == ["17"]


def test_a_failure_at_the_end_of_the_walltime_is_the_successors(driven, queue):
    code, calls, _ = driven((1, 3590), trials=20)
    assert (code, len(calls)) == (0, 1)
    assert queue.cancelled == []


def test_a_successor_that_is_refused_is_tried_again_at_the_end(driven, queue, campaign):
    queue.refuses = "sbatch: error: too many jobs"

    def relent():
        queue.refuses = ""

    driven((0, 3240), trials=20, each=relent)
    assert len(queue.submitted) == 1
    assert Relay.read(campaign.path).successor == "17"


def test_where_nobody_knows_the_end_there_is_no_limit(campaign, queue):
    stretch = stretch_of(campaign, lasts=math.inf, trials=20)
    assert "--hours" not in stretch.resume_arguments(stretch.hours(Relay(), 1000.0))


def test_little_time_is_not_worth_a_start(driven):
    assert driven(lasts=START + LEAST - 1.0, trials=20)[:2] == (0, [])


# ---------------------------------------------------------------------- whether it is over


def test_a_campaign_is_over_when_nothing_is_left_or_a_budget_is_spent(campaign):
    path = campaign.path
    assert why_over(path, trials=9) == "nothing is left to train"
    assert why_over(path, trials=10) == ""
    assert "steps" in why_over(path, trials=10, steps=1)
    assert "device-hours" in why_over(path, trials=10, device_hours=1e-12)
    request_stop(path, "enough")
    assert why_over(path, trials=10) == "enough"


def test_a_trial_that_was_running_is_work_that_is_left(campaign):
    with campaign.writer() as writer:
        study_facts = list(campaign.facts())
        number = max(fact["number"] for fact in study_facts if fact["kind"] == "asked")
        assert number == 8
        writer.journal.append({"kind": "limited", "trials": 10})
    assert why_over(campaign.path, trials=9) == "nothing is left to train"
    assert why_over(campaign.path, trials=11) == ""
