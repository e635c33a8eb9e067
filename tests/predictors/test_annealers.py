"""The annealers' common face, and simulated annealing."""

from __future__ import annotations

import itertools
import pickle
import sys

import numpy as np
import pytest

from daskhpo.exceptions import AnnealerError, PredictorError, SchedulerError
from daskhpo.predictors.annealers import Annealer, Backend, make_annealer
from daskhpo.predictors.annealers.simulated import Simulated
from daskhpo.predictors.qubo import Dual, energies


def problem(n, seed=1):
    rng = np.random.default_rng(seed)
    return np.triu(rng.normal(size=(n, n)))


def lowest(Q):
    """The least energy of all 2**n states."""
    states = np.array(list(itertools.product([0, 1], repeat=len(Q))), dtype=np.int8)
    found = energies(Q, states)
    return states[found.argmin()], found.min()


def test_it_finds_the_lowest_energy_of_a_machine_of_two_curves():
    dual = Dual()
    kernel = dual.kernel(*[np.array([[0.1, 0.4], [0.9, 0.3]])] * 2)
    Q = dual.matrix(kernel, np.array([0.2, 0.8]))
    assert len(Q) == 12
    state, energy = lowest(Q)
    samples = Simulated().sample(Q, seed=3)
    assert samples.energies[0] == pytest.approx(energy)
    np.testing.assert_array_equal(samples.states[0], state)


@pytest.mark.parametrize("seed", range(5))
def test_columns_are_in_the_order_of_the_variables(seed):
    Q = problem(11, seed)
    state, _ = lowest(Q)
    np.testing.assert_array_equal(Simulated().sample(Q, seed=seed).states[0], state)


def test_states_are_different_by_rising_energy_which_is_their_own():
    Q = problem(60)
    samples = Simulated(reads=50, sweeps=2).sample(Q, seed=1)
    assert samples.states.dtype == np.int8
    assert len(samples.states) == len({tuple(state) for state in samples.states}) > 3
    assert (np.diff(samples.energies) >= 0).all()
    np.testing.assert_allclose(samples.energies, [x @ Q @ x for x in samples.states], atol=1e-9)


def test_equal_seeds_give_equal_answers_and_others_do_not():
    Q, annealer = problem(60), Simulated(reads=5, sweeps=3)
    once, again = (annealer.sample(Q, seed=7) for _ in range(2))
    np.testing.assert_array_equal(once.states, again.states)
    other = annealer.sample(Q, seed=8)
    assert once.states.shape != other.states.shape or (once.states != other.states).any()


def test_any_seed_that_is_not_negative_is_taken():
    for seed in (0, 2**32 - 1, 2**32, 2**70):
        Simulated(reads=1, sweeps=1).sample(problem(3), seed=seed)


def test_bits_that_are_not_coupled_are_in_the_answer():
    samples = Simulated().sample(np.diag([1.0, -1.0, 0.5]), seed=1)
    np.testing.assert_array_equal(samples.states[0], [0, 1, 0])


def test_it_says_what_it_is():
    samples = Simulated(reads=4, sweeps=6).sample(problem(4), seed=1)
    assert samples.used is Simulated.backend is Backend.SIMULATED
    assert samples.record == {"reads": 4, "sweeps": 6}  # no times: they would be taken for a QPU's


def test_annealers_are_made_by_name_with_arguments_and_from_mappings():
    assert make_annealer("simulated") == Simulated()
    assert make_annealer("simulated(reads=20)") == Simulated(reads=20)
    made = make_annealer({"type": "simulated", "sweeps": 7})
    assert made == Simulated(sweeps=7)
    assert isinstance(made, Annealer)
    assert make_annealer(made) is made
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize("name", ["simulated", "embedded", "mock", "qpu", "hybrid"])
def test_every_annealer_says_before_it_is_asked_what_it_will_be(name):
    annealer = make_annealer(name)
    assert isinstance(annealer, Annealer)
    assert isinstance(annealer.backend, Backend)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("simulatd", "annealer='simulatd': did you mean 'simulated'"),
        ({"reads": 3}, "annealer=None"),
        ("simulated(raeds=3)", "unknown key 'raeds'; did you mean 'reads'"),
        ("simulated(reads=0)", "reads=0"),
        ("simulated(sweeps=1.5)", "sweeps=1.5"),
        ("simulated(", "settings 'simulated\\('"),
        (3, "annealer=3"),
    ],
)
def test_what_cannot_be_made_is_named(settings, message):
    with pytest.raises(SchedulerError, match=message):
        make_annealer(settings)


def test_a_missing_package_is_told_with_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dwave.samplers", None)
    with pytest.raises(AnnealerError, match=r"daskhpo\[annealing\]"):
        Simulated().sample(problem(3), seed=1)


def test_settings_are_refused_as_those_of_a_predictor():
    with pytest.raises(PredictorError, match="reads=True"):
        Simulated(reads=True)
