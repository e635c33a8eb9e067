"""Whatever Slurm does to a campaign, nothing acknowledged is lost and it comes to its end."""

from __future__ import annotations

import os

import objectives
import pytest
from campaigns import (
    TESTS,
    Driver,
    assert_whole,
    batches_of,
    endings_of,
    facts_of,
    outcomes_of,
    place_of,
    reports_of,
    running,
    states_of,
    training,
    tuner_at,
    tuner_like,
    wait_until,
)

from daskhpo import ASHA, Fifo
from daskhpo.exceptions import CampaignError, DaskhpoError

pytestmark = [pytest.mark.kills, pytest.mark.slurm]


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Workers import the objectives from the directory that the driver runs in."""
    monkeypatch.chdir(TESTS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "campaign"


def replaced(facts, batch):
    """Whether a batch job was submitted after the end of this one."""
    ended = next(
        fact["seq"] for fact in facts if fact.get("id") == batch and fact["phase"] == "ended"
    )
    return any(fact["seq"] > ended and fact.get("phase") == "pending" for fact in facts)


def node_of(slurm, batch):
    return slurm.run("squeue", "-h", "-j", batch, "-o", "%N").strip()


STATES = {"cancelled": "CANCELLED", "preempted": "PREEMPTED", "node down": "NODE_FAIL"}


def take(slurm, how, batch):
    """Let Slurm take a batch job; gives its node."""
    node = node_of(slurm, batch)
    if how == "cancelled":
        slurm.run("scancel", batch)
    elif how == "preempted":
        slurm.urgent(node)
    else:
        slurm.node_down(node)
    return node


@pytest.mark.parametrize("how", list(STATES))
def test_what_slurm_takes_in_the_middle_of_an_epoch_goes_on_elsewhere_for_free(slurm, path, how):
    shape = {"jobs": 1, "max_step": 2, "scheduler": Fifo(2)}
    with running(tuner_at(path, objectives.crawl, **shape), trials=1):
        wait_until(lambda: objectives.trained(path, 0))
        batch = place_of(facts_of(path), 0)
        node = take(slurm, how, batch)
        wait_until(lambda: outcomes_of(facts_of(path))["evicted"])
    facts = assert_whole(path, trials=1, states=("completed",))
    ((_, _, error),) = [each for each in endings_of(facts) if each[1] == "evicted"]
    assert error.startswith(f"batch job {batch} on {node}: {STATES[how]}")
    assert batches_of(facts)[batch]["blame"] == "system"
    assert replaced(facts, batch)
    (trial,) = tuner_like(path).study.trials.values()
    assert (trial.failures, trial.losses) == (0, 0)


@pytest.mark.parametrize("how", ["cancelled", "preempted"])
def test_who_is_told_in_time_saves_what_it_has(slurm, path, how):
    with running(tuner_at(path, objectives.slow, max_step=60, scheduler=Fifo(60)), trials=2):
        number, batch = wait_until(lambda: training(path))
        take(slurm, how, batch)
        wait_until(lambda: place_of(facts_of(path), number) != batch)
    facts = assert_whole(path, trials=2, states=("completed",))
    assert outcomes_of(facts) == {"interrupted": 1, "completed": 2}
    steps = [step for _, step in objectives.trained(path, number)]
    assert steps == list(range(1, 61)), "a step was trained twice or never"
    assert batches_of(facts)[batch]["state"] == STATES[how]


def test_five_preemptions_of_one_trial_are_not_its_fault(slurm, path):
    seen = []
    with running(tuner_at(path, objectives.crawl, jobs=1, max_step=2, scheduler=Fifo(2)), trials=1):
        for _ in range(5):
            batch = wait_until(
                lambda: (found := place_of(facts_of(path), 0)) not in [None, *seen] and found
            )
            urgent = slurm.urgent(node_of(slurm, batch))
            wait_until(lambda: outcomes_of(facts_of(path))["evicted"] == len(seen) + 1)
            slurm.run("scancel", urgent)
            seen.append(batch)
    facts = assert_whole(path, trials=1, states=("completed",))
    assert outcomes_of(facts) == {"evicted": 5, "completed": 1}
    (trial,) = tuner_like(path).study.trials.values()
    assert (trial.failures, trial.losses, trial.attempt) == (0, 0, 5)


def test_a_trial_leaves_with_a_checkpoint_before_the_walltime(slurm, path):
    with running(
        tuner_at(path, objectives.slow, jobs=1, max_step=60, scheduler=Fifo(60)), trials=1
    ):
        _, batch = wait_until(lambda: training(path))
        slurm.end_in(batch, 10)
        wait_until(lambda: outcomes_of(facts_of(path))["interrupted"])
        assert slurm.state(batch) == "RUNNING", "it left too late"
    facts = assert_whole(path, trials=1, states=("completed",))
    assert outcomes_of(facts) == {"interrupted": 1, "completed": 1}
    steps = [step for _, step in objectives.trained(path, 0)]
    assert steps == list(range(1, 61)), "a step was trained twice or never"
    assert place_of([f for f in facts if f["kind"] != "ended"], 0) != batch


def test_a_walltime_in_the_middle_of_an_epoch_costs_that_epoch_alone(slurm, path):
    shape = {"jobs": 1, "max_step": 4, "scheduler": Fifo(4)}
    with running(tuner_at(path, objectives.hangs_once, **shape), trials=1):
        wait_until(lambda: (0, 2) in objectives.trained(path, 0))
        slurm.end_in(place_of(facts_of(path), 0), 1)
        wait_until(lambda: outcomes_of(facts_of(path))["evicted"])
    facts = assert_whole(path, trials=1, states=("completed",))
    assert outcomes_of(facts) == {"evicted": 1, "completed": 1}
    assert "TIMEOUT" in next(error for _, how, error in endings_of(facts) if how == "evicted")


def test_a_rung_that_does_not_fit_is_begun_elsewhere(slurm, path):
    shape = {"jobs": 1, "max_step": 27, "scheduler": ASHA(max_step=27, eta=3, min_step=9)}
    with running(tuner_at(path, objectives.slow, **shape), trials=4):
        wait_until(lambda: outcomes_of(facts_of(path))["paused"])
        batch = next(iter(batches_of(facts_of(path))))
        # A first rung takes 2 s and its margin 2 s, a second one 4 s.
        slurm.end_in(batch, 5)
    facts = assert_whole(path, trials=4)
    assert len(batches_of(facts)) >= 2
    assert outcomes_of(facts)["evicted"] == 0
    assert batches_of(facts)[batch]["state"] != "TIMEOUT", "nobody stayed until it was killed"


@pytest.mark.timeout(420)
def test_a_node_whose_daemon_died_trains_on_as_a_ghost_that_nobody_hears(slurm, path):
    shape = {"jobs": 2, "max_step": 200, "scheduler": Fifo(200)}
    with running(tuner_at(path, objectives.slow, **shape), trials=2):
        number, batch = wait_until(lambda: training(path))
        node = node_of(slurm, batch)
        ghosts = slurm.processes(batch)
        slurm.kill_slurmd(node)
        wait_until(lambda: outcomes_of(facts_of(path))["evicted"])  # after some 26 s
        assert [pid for pid in ghosts if os.path.exists(f"/proc/{pid}")]
        wait_until(lambda: place_of(facts_of(path), number) not in (None, batch))
    facts = assert_whole(path, trials=2, states=("completed",))
    evicted = next(fact for fact in facts if fact.get("outcome") == "evicted")
    late = [
        fact
        for fact in facts
        if fact["seq"] > evicted["seq"] and fact.get("number") == evicted["number"]
    ]
    assert all(fact["attempt"] > evicted["attempt"] for fact in late if "attempt" in fact)
    assert "NODE_FAIL" in evicted["error"]


def test_a_batch_job_that_slurm_starts_again_is_the_same_one(slurm, path):
    with running(tuner_at(path, objectives.slow, directives=["--requeue"])):
        number, batch = wait_until(lambda: training(path))
        slurm.requeue(batch)
        wait_until(lambda: place_of(facts_of(path), number) is None)
        before = len(batches_of(facts_of(path)))
    facts = assert_whole(path)
    assert len(batches_of(facts)) == before == 2, "it was replaced though it came back"
    trial = tuner_like(path).study.trials[number]
    assert (trial.losses, trial.failures) == (0, 0)


def test_a_full_queue_is_waited_for(slurm, path):
    blocker = slurm.block()
    slurm.wait(blocker, "RUNNING")
    with running(tuner_at(path, objectives.quick)):
        wait_until(lambda: len(batches_of(facts_of(path))) == 2)
        wait_until(lambda: any("reason" in each for each in batches_of(facts_of(path)).values()))
        assert not reports_of(facts_of(path))
        slurm.run("scancel", blocker)
    facts = assert_whole(path)
    assert len(batches_of(facts)) == 2, "pending ones were replaced"


def test_the_next_driver_takes_running_batch_jobs_over(slurm, path):
    first = Driver(path, "slow", max_step=27)
    wait_until(lambda: len(reports_of(facts_of(path))) > 5)
    before = set(batches_of(facts_of(path)))
    acknowledged = len(facts_of(path))
    first.kill()
    assert set(states_of(slurm, path)) == {"RUNNING"}
    second = Driver(path, "slow", max_step=27)
    assert second.end() == 0, second.log.read_text()[-2000:]
    facts = assert_whole(path)
    assert acknowledged <= len(facts)
    assert set(batches_of(facts)) == before, "the batch jobs of the first driver were not used"
    assert set(states_of(slurm, path)) <= {"CANCELLED", "COMPLETED"}


def test_a_driver_that_has_to_go_leaves_its_batch_jobs_to_the_next(slurm, path):
    hours = 6.0 / 3600
    shape = {"max_step": 60, "scheduler": {"type": "fifo", "max_step": 60}}
    first = Driver(path, "slow", keep=True, budget={"trials": 4, "hours": hours}, **shape)
    assert first.end() == 0, first.log.read_text()[-2000:]
    before = set(batches_of(facts_of(path)))
    assert "RUNNING" in states_of(slurm, path)
    assert [fact for fact in facts_of(path) if fact.get("state") == "waiting"]
    second = Driver(path, "slow", budget={"trials": 4}, **shape)
    assert second.end() == 0, second.log.read_text()[-2000:]
    facts = assert_whole(path, trials=4)
    assert before & {
        batch for fact in facts if fact.get("of") == "placed" for batch in fact["batches"]
    }
    for number in range(4):
        steps = [step for _, step in objectives.trained(path, number)]
        assert len(steps) == len(set(steps)), f"trial {number} was trained twice: {steps}"


def test_batch_jobs_that_die_young_end_the_campaign_with_their_own_words(slurm, path):
    with (
        pytest.raises(DaskhpoError, match="no such module: cuda-toolkit"),
        running(
            tuner_at(
                path,
                objectives.quick,
                site=site_with(path, "echo no such module: cuda-toolkit >&2; exit 3"),
            )
        ),
    ):
        pass
    assert len(batches_of(facts_of(path))) <= 6
    assert set(states_of(slurm, path)) <= {"FAILED", "CANCELLED"}


def site_with(path, prologue, **site):
    """A file like the test site's, with another line in front of the worker."""
    import yaml

    preset = TESTS.parent / "jobqueue/test-slurm.yaml"
    content = yaml.safe_load(preset.read_text())
    content["jobqueue"]["test-slurm"]["job-script-prologue"].append(prologue)
    content["daskhpo"]["site"] |= site
    file = path.parent / "test-slurm.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


def test_a_site_without_gpus_is_a_site(slurm, path):
    with running(tuner_at(path, objectives.quick, gpus=0)):
        pass
    facts = assert_whole(path)
    assert all(not batch.get("gpus") for batch in batches_of(facts).values())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"queue": "nope"}, r"pool\.queue='nope'.*batch"),
        ({"gpus": 5}, r"pool\.gpus=5.*4"),
        ({"walltime": "an hour"}, r"pool\.walltime='an hour'"),
        ({"site": "nowhere"}, r"pool\.site='nowhere'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_queued_or_written(
    slurm, path, wrong, message
):
    with (
        pytest.raises(CampaignError, match=message),
        tuner_at(path, objectives.quick, **wrong).pool(),
    ):
        pass
    assert not (path / "campaign.yaml").exists()
    assert not slurm.run("squeue", "-h")


def test_a_campaign_on_a_disk_of_one_node_is_refused(slurm, path):
    site = site_with(path, "true", **{"node-local": [str(path.parent)]})
    tuner = tuner_at(path, objectives.quick, site=site)
    with pytest.raises(CampaignError, match="every node has its own"), tuner.pool():
        pass


def test_workers_go_when_nothing_is_left_for_them(slurm, path):
    shape = {"jobs": 4, "max_step": 40, "idle": 2.0, "scheduler": Fifo(40)}
    with running(tuner_at(path, objectives.slow, **shape), trials=5):
        wait_until(lambda: outcomes_of(facts_of(path))["completed"] >= 3)
        wait_until(lambda: states_of(slurm, path).count("RUNNING") < 4, seconds=15)
    facts = assert_whole(path, trials=5, states=("completed",))
    assert outcomes_of(facts) == {"completed": 5}


def test_a_budget_of_submissions_holds_over_all_runs(slurm, path):
    tuner = tuner_at(path, objectives.crawl, jobs=1, submissions=2)

    cancelled = []

    def placed():
        facts = facts_of(path)
        places = (place_of(facts, number) for number in range(2))
        return next((batch for batch in places if batch and batch not in cancelled), None)

    with pytest.raises(DaskhpoError, match="submissions"), running(tuner, trials=2):  # noqa: PT012
        for _ in range(2):
            cancelled.append(wait_until(placed))
            slurm.run("scancel", cancelled[-1])
    assert len(batches_of(facts_of(path))) == 2


def test_trials_of_one_gpu_share_a_node_and_no_gpu(slurm, path):
    workers = {"threads": 2, "gpus": 2, "isolate": True}
    with running(tuner_at(path, objectives.devices, jobs=1, workers=workers), trials=4):
        pass
    assert_whole(path, trials=4)
    seen = {
        line.split()[1] for file in path.rglob("devices") for line in file.read_text().splitlines()
    }
    assert seen == {"0,1", "2,3"}


def test_a_trial_over_two_nodes_is_all_or_nothing(slurm, path):
    workers = {"ranks": 2, "nodes": 2}
    shape = {"jobs": 2, "max_step": 20, "scheduler": Fifo(20), "workers": workers}
    with running(tuner_at(path, objectives.together, **shape), trials=1):
        wait_until(lambda: len(reports_of(facts_of(path))) > 3)
        placed = [f for f in facts_of(path) if f.get("of") == "placed"][-1]
        slurm.run("scancel", placed["batches"][1])
    facts = assert_whole(path, trials=1, states=("completed",))
    assert outcomes_of(facts) in (
        {"evicted": 1, "completed": 1},
        {"interrupted": 1, "completed": 1},
    )
    assert all(len(set(f["batches"])) == 2 for f in facts if f.get("of") == "placed")
    assert {f["metrics"]["ranks"] for f in facts if f["kind"] == "reported"} == {2.0}
