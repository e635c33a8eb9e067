"""The hybrid service, through a double of its sampler. No test asks the real one."""

from __future__ import annotations

import json
import os
import pickle
import threading
from types import SimpleNamespace

import dimod
import numpy as np
import pytest

from daskhpo.exceptions import AnnealerError, PredictorError
from daskhpo.predictors.annealers import Backend, make_annealer
from daskhpo.predictors.annealers.hybrid import Hybrid

Q = np.array([[-1.0, 2.0, 0.5], [0.0, -1.5, 0.0], [0.0, 0.0, -0.25]])
TOKEN = "DEV-" + "0123456789abcdef" * 3


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    """Neither the configuration nor the environment of this computer."""
    for name in list(os.environ):
        if name.upper().startswith("DWAVE_"):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def service(monkeypatch):
    """A double that solves exactly, and hands the columns back in another order."""

    class Double:
        solver = SimpleNamespace(name="hybrid_binary_quadratic_model_version9")
        opened: list = []

        def __init__(self, **config):
            self.opened.append(config)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def min_time_limit(self, model):
            return 3.0

        def sample(self, model, *, time_limit, label):
            assert model.vartype is dimod.BINARY
            best = dimod.ExactSolver().sample(model).lowest()
            order = list(best.variables)[::-1]
            columns = [best.variables.index(bit) for bit in order]
            states = best.record.sample[:, columns]
            found = dimod.SampleSet.from_samples_bqm((states, order), model)
            found.info.update(problem_id="p1", qpu_access_time=77, run_time=3000000)
            return found

    monkeypatch.setattr("dwave.system.LeapHybridSampler", Double)
    return Double


def test_it_hands_over_the_bits_as_they_are(service):
    found = make_annealer("hybrid(time_limit=5)").sample(Q, seed=0)
    assert found.used is Backend.HYBRID
    assert found.states.tolist() == [[0, 1, 1]]
    assert found.energies.tolist() == [-1.75]
    record = json.loads(json.dumps(found.record))
    assert record == {
        "solver": "hybrid_binary_quadratic_model_version9",
        "problem_id": "p1",
        "time_limit": 5,
    }


def test_a_solver_is_the_newest_or_the_one_that_is_named(service, monkeypatch):
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    Hybrid().sample(Q, seed=0)
    Hybrid(solver="mine", region="eu-central-1").sample(Q, seed=0)
    first, second = service.opened
    assert first["solver"]["order_by"] == "-properties.version"
    assert "name" not in first["solver"]
    assert (second["solver"]["name"], second["region"]) == ("mine", "eu-central-1")
    assert TOKEN not in repr(service.opened)


def test_a_time_below_what_the_solver_takes_is_refused_before_it_is_paid(service):
    with pytest.raises(AnnealerError, match=r"time_limit=1 s: this solver takes 3 s or more for 3"):
        Hybrid(time_limit=1).sample(Q, seed=0)


def test_without_a_token_it_is_told_how_to_get_one():
    with pytest.raises(AnnealerError, match="hybrid service did not answer: there is no API token"):
        Hybrid(timeout=60).sample(Q, seed=0)


def test_a_late_answer_is_cancelled(service, monkeypatch):
    cancelled = threading.Event()
    future = SimpleNamespace(done=lambda: False, cancel=cancelled.set)
    late = dimod.SampleSet.from_future(future)
    monkeypatch.setattr(service, "sample", lambda self, model, **kwargs: late)
    with pytest.raises(AnnealerError, match="nothing came within timeout=1 s"):
        Hybrid(timeout=1).sample(Q, seed=0)
    assert cancelled.wait(30)


def test_a_token_in_what_the_service_says_is_kept_to_oneself(service, monkeypatch):
    monkeypatch.setenv("DWAVE_API_TOKEN", "open sesame")

    def fail(self, model, **kwargs):
        raise RuntimeError("no open sesame today")

    monkeypatch.setattr(service, "sample", fail)
    with pytest.raises(AnnealerError, match=r"no \*\*\* today"):
        Hybrid().sample(Q, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"time_limit": 0}, "time_limit=0"), ({"timeout": "long"}, "timeout='long'")],
)
def test_settings_that_cannot_work_are_named(arguments, message):
    with pytest.raises(PredictorError, match=message):
        Hybrid(**arguments)


def test_it_can_be_sent_to_a_worker():
    annealer = Hybrid(time_limit=4.0, region="eu-central-1")
    assert pickle.loads(pickle.dumps(annealer)) == annealer
