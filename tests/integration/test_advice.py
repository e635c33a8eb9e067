"""Advisers on real clusters: fits beside the loop, workers that ask, drivers that are killed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import objectives
import pytest
from distributed import Client, LocalCluster, Nanny
from pupils import Pupil

from daskhpo import ASHA, Float, Space, Tuner
from daskhpo.advice import Adviser
from daskhpo.store.directory import CampaignDirectory
from daskhpo.store.rebuild import verify
from daskhpo.testing import standing

TESTS = Path(__file__).parent.parent
TOKEN = "DEV-" + "0123456789abcdef" * 3  # of the form of a real one

# First the good ones, so that the others have something to be compared with.
POINTS = [{"x": 0.3 + 0.02 * n} for n in range(8)] + [{"x": 0.7 + 0.01 * n} for n in range(16)]
KEEN = {"mode": "obey", "labels": 5, "delta": 0.2, "audit": 0.0, "looks": 3, "confirm": 1}


def tuner_at(path, objective=objectives.steady, **settings):
    return Tuner(
        objective,
        Space(x=Float(0.0, 1.0)),
        metric="loss",
        path=path,
        scheduler=ASHA(max_step=16, min_step=4, eta=2, mode="stop"),
        sampler="random",
        points=POINTS,
        **{"predictor": "last_drop", "advice": KEEN} | settings,
    )


def facts_of(tuner, **wanted):
    """The facts that are so."""
    facts = tuner.directory.facts()
    return [fact for fact in facts if wanted.items() <= fact.items()]


def heard(facts):
    return [fact["advice"]["heard"] for fact in facts if "advice" in fact]


@contextlib.contextmanager
def cluster_of(workers=2, **settings):
    """A cluster, and a client of it."""
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            **settings,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def pupil(monkeypatch):
    """Put a predictor of a test's own into campaigns."""

    def put(pupil):
        def make(predictor, advice, *, seed):
            return Adviser(pupil, **advice, seed=seed)

        monkeypatch.setattr("daskhpo.campaign.make_adviser", make)

    return put


def test_trials_are_stopped_by_advice_and_it_is_told_why(client, tmp_path):
    tuner = tuner_at(tmp_path / "campaign")
    tuner.run(client, trials=24)
    stops = [fact for fact in facts_of(tuner, kind="reported") if "obeyed" in heard([fact])]
    assert stops
    for fact in stops:
        advice, trial = fact["advice"], tuner.study.trials[fact["number"]]
        assert trial.state == "stopped"
        assert trial.step == fact["step"] < advice["target"]
        assert advice["value"] - advice["margin"] > advice["bar"]
        assert advice["labels"] >= 5
        assert advice["error"] <= advice["baseline"]
        assert fact["evidence"]["forecast"] == advice["value"]
        trained = [step for _, step in objectives.trained(tuner.directory.path, trial.number)]
        assert len(trained) < 16
    assert facts_of(tuner, of="lesson")
    assert tuner.best.state == "completed"
    assert verify(tuner.directory).ok


def test_nobody_is_stopped_by_advice_that_is_only_logged(client, tmp_path):
    tuner = tuner_at(tmp_path / "campaign", advice=KEEN | {"mode": "log"})
    tuner.run(client, trials=24)
    reports = facts_of(tuner, kind="reported")
    assert set(heard(reports)) == {"", "logged"} or set(heard(reports)) == {"logged"}
    stopped = [fact for fact in reports if fact.get("decision") == "stop"]
    assert {fact["step"] for fact in stopped} <= {4, 8, 16}
    assert not any(fact["evidence"].get("advice") for fact in stopped)


@pytest.mark.parametrize("afar", [False, True])
def test_no_trial_and_no_end_waits_for_a_fit(tmp_path, pupil, afar):
    """It goes on until the campaign is over, in a thread here or in that of the only worker."""
    gate = tmp_path / "gate"
    pupil(Pupil("waits", str(gate), annealer="mock" if afar else "svr"))
    try:
        with cluster_of(1, resources={"qpu": 1} if afar else {}) as client:
            tuner = tuner_at(tmp_path / "campaign", objectives.noted)
            tuner.run(client, trials=24)
            assert len(tuner.trials) == 24
            assert tuner.best.state == "completed"
            assert not facts_of(tuner, of="lesson")
            gate.touch()
    finally:
        gate.touch()


def test_who_has_no_access_is_told_so_and_the_campaign_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("dwave.system")
    for name in [each for each in os.environ if each.upper().startswith("DWAVE_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(name, str(tmp_path))
    predictor = "qubo_svr(annealer=qpu, fallback=false)"
    with cluster_of(1, resources={"qpu": 1}) as client:
        tuner = tuner_at(tmp_path / "campaign", objectives.steady, predictor=predictor)
        until_noted(tuner, client, "lesson")
    for fact in facts_of(tuner, of="lesson"):
        assert "there is no API token" in fact["failed"]
        assert (fact["backend_requested"], fact["backend_used"]) == ("qpu", None)


def test_what_stands_in_for_a_qpu_is_told_and_no_token_is(tmp_path, monkeypatch):
    """With a token and a proxy that is not there: the request fails before it leaves."""
    pytest.importorskip("dwave.system")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    monkeypatch.setenv("DWAVE_API_ENDPOINT", "http://127.0.0.1:9/sapi")  # nobody listens there
    predictor = "qubo_svr(annealer={type: qpu, timeout: 0.2})"
    with cluster_of(1, resources={"qpu": 1}) as client:
        tuner = tuner_at(tmp_path / "campaign", objectives.steady, predictor=predictor)
        until_noted(tuner, client, "lesson")
    (fact, *_) = facts_of(tuner, of="lesson")
    assert (fact["backend_requested"], fact["backend_used"]) == ("qpu", "svr")
    assert "the QPU did not answer" in fact["reason"]
    for path in tuner.directory.path.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def until_noted(tuner, client, what):
    """Run a campaign until something is noted that was not there."""

    def watch(driver, free, slots):
        noted = [fact for fact in tuner.directory.facts() if fact.get("of") == what]
        if noted and driver.study.closed is None:
            driver.study.close("that is enough")

    tuner.run(client, trials=10_000, watch=watch)
    assert tuner.study.closed == "that is enough"


@pytest.mark.kills
def test_a_fit_that_kills_its_worker_harms_nobody_else(tmp_path, pupil):
    pupil(Pupil("dies", annealer="qpu"))
    tuner = tuner_at(tmp_path / "campaign", workers={"resources": {"train": 1}})
    with cluster_of(1, resources={"train": 1}) as client:

        async def hire():
            return await Nanny(
                client.scheduler.address, nthreads=1, resources={"qpu": 1}, name="login"
            )

        login = client.sync(hire)
        try:
            until_noted(tuner, client, "lesson")
        finally:
            client.sync(login.close)
    (fact, *_) = facts_of(tuner, of="lesson")
    assert fact["failed"] == "its worker died"
    assert not any(trial.losses for trial in tuner.study.trials.values())


# ---------------------------------------------------------------------- kill -9

DRIVER = """
import os, sys
sys.path[:0] = sys.argv[3:]
from test_advice import tuner_at, heard
from daskhpo.cluster.local import local_client

def watch(driver, free, slots):
    obeyed = driver.study.adviser.tally.obeyed
    os.write(1, b"%d %d\\n" % (driver.seq, obeyed))

with local_client(count=2) as client:
    tuner_at(sys.argv[1]).run(client, trials=int(sys.argv[2]), watch=watch)
"""


@pytest.mark.kills
def test_advice_outlives_a_driver_that_is_killed(tmp_path):
    path = tmp_path / "campaign"
    folders = map(str, (Path(__file__).parent, TESTS, TESTS.parent))
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path), "60", *folders],
        stdout=subprocess.PIPE,
        env=os.environ | {"DASK_DASKHPO__TUNER_GRACE": "1"},
        start_new_session=True,
    )
    try:
        acknowledged = 0
        for line in process.stdout:
            acknowledged, obeyed = map(int, line.split())
            if obeyed >= 3:
                break
        assert process.poll() is None, "the campaign was over too early"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    known = list(CampaignDirectory(path).facts())
    assert len(known) >= acknowledged
    assert heard(known).count("obeyed") >= 3

    tuner = tuner_at(path)
    replayed = standing(tuner.study)
    assert standing(tuner.campaign.study().replay(known)) == replayed
    with cluster_of() as client:
        tuner.run(client, trials=60)
    facts = list(tuner.directory.facts())
    assert facts[: len(known)] == known
    new = facts[len(known) :]
    lessons = [fact for fact in new if fact.get("of") == "lesson"]
    assert lessons[0]["labels"] >= 5, "what the killed driver had seen is known"
    assert "obeyed" in heard(new)
    assert len(tuner.trials) == 60
    assert tuner.best.state == "completed"
    assert verify(tuner.directory).ok
    cut = [fact for fact in facts if "obeyed" in heard([fact])]
    for fact in cut:
        assert int(tuner.curves.last_step.sel(trial=fact["number"])) == fact["step"]
