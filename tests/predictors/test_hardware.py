"""The way to a quantum annealer: access, limits, time, secrets. No test asks a real one."""

from __future__ import annotations

import json
import logging
import pickle
import socket
import sys
import threading
import traceback

import dimod
import numpy as np
import pytest
from dwave.cloud import exceptions as cloud
from dwave.cloud.api.exceptions import ResourceLimitsExceededError
from dwave.system.testing import MockDWaveSampler

from daskhpo.exceptions import AnnealerError, PredictorError
from daskhpo.predictors.annealers import Backend, make_annealer
from daskhpo.predictors.annealers.access import without_secrets
from daskhpo.predictors.annealers.hardware import QPU, Mock

Q = np.array([[-1.0, 2.0, 0.5], [0.0, -1.5, 0.0], [0.0, 0.0, -0.25]])
TOKEN = "DEV-" + "0123456789abcdef" * 3  # of the form of a real one
WORD = "open sesame"  # of no form


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    """Neither the configuration nor the environment of this computer."""
    import os

    for name in list(os.environ):
        if name.upper().startswith("DWAVE_"):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def machine(monkeypatch):
    """Put a double in the place of D-Wave's sampler; it keeps what it was opened with."""

    def put(**settings):
        class Double(MockDWaveSampler):
            opened: list = []
            closed: list = []

            def __init__(self, **config):
                self.opened.append(config)
                arguments = {"topology_type": "zephyr", "topology_shape": [2]} | settings
                super().__init__(**arguments)

            def close(self):
                self.closed.append(True)

        monkeypatch.setattr("dwave.system.DWaveSampler", Double)
        return Double

    return put


@pytest.fixture
def closed_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it either
        yield held.getsockname()[1]


def failing(monkeypatch, error):
    def fail(**config):
        raise error

    monkeypatch.setattr("dwave.system.DWaveSampler", fail)


def everything_told(error):
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


def test_an_answer_of_a_machine_is_told_with_what_it_cost(machine):
    double = machine()
    found = QPU(reads=20).sample(Q, seed=0)
    assert found.used is Backend.QPU
    assert found.states[0].tolist() == [0, 1, 1]
    assert found.energies[0] == pytest.approx(-1.75)
    record = json.loads(json.dumps(found.record))
    assert record["solver"] == "MockDWaveSampler"
    assert record["qpu_access_time"] == 8550.28
    assert record["problem_id"]
    assert (record["reads"], record["graph"]) == (20, "zephyr 2")
    assert record["strength"] > 0
    assert 0 <= record["chain_break_fraction"] <= 0.5
    assert double.closed


def test_a_solver_is_chosen_by_what_it_can_do_and_no_token_is_handed_over(machine, monkeypatch):
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    double = machine()
    QPU(reads=2).sample(Q, seed=0)
    QPU(reads=2, solver="Advantage9", region="eu-central-1", topologies=["zephyr"]).sample(
        Q, seed=0
    )
    first, second = double.opened
    assert first["solver"] == {
        "qpu": True,
        "topology__type__in": ["pegasus", "zephyr"],
        "num_active_qubits__gt": 4000,
        "order_by": "-num_active_qubits",
    }
    assert first["region"] is None
    assert second["solver"]["name"] == "Advantage9"
    assert second["solver"]["topology__type__in"] == ["zephyr"]
    assert second["region"] == "eu-central-1"
    assert "token" not in first
    assert TOKEN not in repr(double.opened)


def test_the_client_of_d_wave_takes_the_settings_of_the_connection(closed_port, monkeypatch):
    from dwave.cloud.client import Client

    from daskhpo.predictors.annealers.access import CONNECTION

    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    monkeypatch.setenv("DWAVE_API_ENDPOINT", f"http://127.0.0.1:{closed_port}/sapi")
    with Client.from_config(client="qpu", **CONNECTION) as client:
        assert client.config.request_retry.connect == 2
        assert client.config.request_timeout == (10.0, 120.0)
        assert not client.config.cache.enabled


def test_without_a_token_it_is_told_how_to_get_one():
    with pytest.raises(AnnealerError, match=r"no API token.*dwave config create.*DWAVE_API_TOKEN"):
        QPU(timeout=60).sample(Q, seed=0)


def test_without_a_network_it_is_told_where_there_is_one_and_the_token_nowhere(
    closed_port, monkeypatch, caplog
):
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    monkeypatch.setenv("DWAVE_API_ENDPOINT", f"http://127.0.0.1:{closed_port}/sapi")
    annealer = QPU(timeout=60)
    with caplog.at_level(1), pytest.raises(AnnealerError, match="cannot be reached") as caught:
        annealer.sample(Q, seed=0)
    assert caught.value.__context__ is None
    for told in (everything_told(caught.value), repr(annealer), str(pickle.dumps(annealer))):
        assert TOKEN not in told
    assert TOKEN not in caplog.text
    assert TOKEN not in str([vars(record) for record in caplog.records])


def test_the_client_never_logs_below_information(monkeypatch):
    failing(monkeypatch, ValueError("no"))
    logger = logging.getLogger("dwave.cloud")
    monkeypatch.setattr(logger, "level", logging.DEBUG)  # as DWAVE_LOG_LEVEL does
    with pytest.raises(AnnealerError):
        QPU().sample(Q, seed=0)
    assert logger.getEffectiveLevel() == logging.INFO


def test_a_server_that_never_answers_is_left_after_the_time(monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
        port = server.getsockname()[1]
        monkeypatch.setenv("DWAVE_API_ENDPOINT", f"http://127.0.0.1:{port}/sapi")
        with pytest.raises(AnnealerError, match=r"nothing came within timeout=0.5 s"):
            QPU(timeout=0.5).sample(Q, seed=0)


def test_a_late_answer_is_cancelled(machine, monkeypatch):
    cancelled = threading.Event()

    class Never:
        def done(self):
            return False

        def cancel(self):
            cancelled.set()

    double = machine()
    late = dimod.SampleSet.from_future(Never())
    monkeypatch.setattr(double, "sample", lambda self, model, **kwargs: late)
    with pytest.raises(AnnealerError, match="the QPU did not answer: nothing came within"):
        QPU(timeout=2.0).sample(Q, seed=0)
    assert cancelled.wait(30)


def test_nothing_is_submitted_for_nobody(machine, monkeypatch):
    opened, asked, closed = threading.Event(), [], threading.Event()
    double = machine()
    monkeypatch.setattr(double, "sample", lambda self, model, **kwargs: asked.append(model))
    monkeypatch.setattr(double, "close", lambda self: closed.set())
    graph = double.to_networkx_graph
    monkeypatch.setattr(double, "to_networkx_graph", lambda self: opened.wait(30) and graph(self))
    with pytest.raises(AnnealerError, match="nothing came within"):
        QPU(timeout=0.2).sample(Q, seed=0)
    opened.set()
    assert closed.wait(30)
    assert not asked


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (cloud.SolverAuthenticationError(f"bad token {TOKEN}"), "token was refused"),
        (cloud.SolverNotFoundError("none"), "dwave solvers"),
        (cloud.SolverOfflineError("off"), "offline"),
        (ResourceLimitsExceededError("no time left"), r"quota in Leap \(no time left\)"),
        (cloud.RequestTimeout("slow"), "DWAVE_API_PROXY"),
        (cloud.ConfigFileParseError(f"line 3: token = {TOKEN}"), "ConfigFileParseError: line 3"),
        (ValueError("Config profile 'x' not found"), "profile 'x' not found"),
        (ConnectionError(f"proxy http://me:{TOKEN}@host:1 refused"), r"http://\*\*\*@host:1"),
        (RuntimeError("x" * 1000), r"x{200}\.\.\."),
        (ModuleNotFoundError("No module named 'dwave'"), r"pip install 'daskhpo\[dwave\]'"),
    ],
)
def test_every_failure_says_what_to_do_and_no_secret(error, message, monkeypatch):
    failing(monkeypatch, error)
    with pytest.raises(AnnealerError, match=message) as caught:
        QPU().sample(Q, seed=0)
    assert TOKEN not in everything_told(caught.value)


@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_token_of_any_form_is_kept_to_oneself(where, monkeypatch, tmp_path):
    if where == "environment":
        monkeypatch.setenv("DWAVE_API_TOKEN", WORD)
    else:
        (tmp_path / "dwave.conf").write_text(f"[defaults]\ntoken = {WORD}\n")
    failing(monkeypatch, OSError(f"header X-Auth-Token: {WORD} is odd"))
    with pytest.raises(AnnealerError, match=r"X-Auth-Token: \*\*\* is odd") as caught:
        QPU().sample(Q, seed=0)
    assert WORD not in everything_told(caught.value)


def test_stars_stand_for_secrets_and_for_nothing_else():
    told = "solver Advantage2_system1.4 at https://eu-central-1.cloud.dwavesys.com/sapi/v2 is busy"
    assert without_secrets(told) == told
    assert without_secrets(f"a {TOKEN} b") == "a *** b"


def test_what_is_sent_to_a_worker_holds_settings_only(machine, monkeypatch):
    monkeypatch.setenv("DWAVE_API_TOKEN", TOKEN)
    machine()
    annealer = QPU(reads=5, region="eu-central-1")
    annealer.sample(Q, seed=0)
    sent = pickle.dumps(annealer)
    assert pickle.loads(sent) == annealer
    assert TOKEN.encode() not in sent
    assert "token" not in repr(annealer)


def test_reads_beyond_the_limits_of_a_solver_are_refused_before_they_cost(machine):
    machine()
    with pytest.raises(AnnealerError, match="reads=10001: this solver allows from 1 to 10000"):
        QPU(reads=10_001).sample(Q, seed=0)
    machine(properties={"problem_run_duration_range": [0.0, 3000.0]})
    with pytest.raises(AnnealerError, match="they take 5000; 100 would do"):
        QPU(reads=200).sample(Q, seed=0)
    assert QPU(reads=100).sample(Q, seed=0).record["reads"] == 100


def test_a_problem_that_is_too_large_for_the_working_graph_is_refused(machine):
    machine()
    with pytest.raises(AnnealerError, match=r"50 variables.*24 at most"):
        QPU().sample(np.triu(np.ones((50, 50))), seed=0)


def test_noise_on_broken_chains_is_no_answer(machine):
    class Noise(dimod.Sampler):
        properties = parameters = {}

        def sample(self, model, num_reads, **settings):
            states = np.random.default_rng(0).integers(0, 2, (num_reads, len(model.variables)))
            return dimod.SampleSet.from_samples_bqm((states, list(model.variables)), model)

    machine(substitute_sampler=Noise())
    problem = np.triu(np.random.default_rng(0).normal(size=(24, 24)))
    with pytest.raises(AnnealerError, match="of the chains are broken, at most 50% may be"):
        QPU(reads=50).sample(problem, seed=0)


def test_the_double_says_that_it_is_one_and_tells_no_times():
    found = make_annealer("mock(graph=zephyr, size=2, reads=10)").sample(Q, seed=0)
    assert found.used is Backend.MOCK
    assert found.states[0].tolist() == [0, 1, 1]
    record = json.loads(json.dumps(found.record))
    assert not [key for key in record if "time" in key]
    assert record["problem_id"]
    assert record["reads"] == 10


def test_the_double_answers_alike_for_equal_seeds():
    problem = np.triu(np.random.default_rng(0).normal(size=(24, 24)))
    annealer = Mock("zephyr", 2, reads=5)
    first, again, other = (annealer.sample(problem, seed=seed).states for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reads": 0}, "reads=0"),
        ({"strength": -1.0}, "strength=-1.0"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": float("inf")}, "timeout=inf"),
        ({"qubits": -5}, "qubits=-5"),
        ({"topologies": "pegasus"}, "must be a list"),
        ({"topologies": []}, "must be a list"),
        ({"topologies": ["pegasos"]}, "did you mean 'pegasus'"),
    ],
)
def test_settings_that_cannot_work_are_named(arguments, message):
    with pytest.raises(PredictorError, match=message):
        QPU(**arguments)


def test_a_token_is_no_setting():
    with pytest.raises(PredictorError, match="unknown key 'token'"):
        make_annealer(f"qpu(token={TOKEN!r})")


def test_a_missing_package_is_named_with_the_extra_that_has_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dwave.system", None)
    with pytest.raises(AnnealerError, match=r"pip install 'daskhpo\[dwave\]'"):
        QPU().sample(Q, seed=0)
