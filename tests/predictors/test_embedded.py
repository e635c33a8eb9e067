"""Annealing on the graph of real hardware: the chains, their strength, and what comes back."""

from __future__ import annotations

import itertools
import json
import pickle
import sys
from threading import Thread

import networkx as nx
import numpy as np
import pytest

from daskhpo.exceptions import AnnealerError, PredictorError
from daskhpo.predictors.annealers import Backend, make_annealer
from daskhpo.predictors.annealers.chains import states_of, to_model
from daskhpo.predictors.annealers.cliques import find_clique, hardware_graph, largest_clique
from daskhpo.predictors.annealers.embedded import Embedded
from daskhpo.predictors.qubo import Dual

SMALL = {"graph": "zephyr", "size": 3}  # holds 40 bits
CAREFUL = Embedded("zephyr", 3, reads=200, sweeps=3000)  # chains turn seldom


def problem(n, seed=0):
    return np.triu(np.random.default_rng(seed).normal(size=(n, n)))


def least_energy(Q):
    states = np.array(list(itertools.product((0, 1), repeat=len(Q))))
    return ((states @ Q) * states).sum(axis=1).min()


@pytest.mark.parametrize("missing", [0.0, 0.01])
@pytest.mark.parametrize(("family", "size", "most"), [("pegasus", 16, 1600), ("zephyr", 15, 1200)])
def test_twenty_curves_of_three_bits_fit_on_the_machines(family, size, most, missing):
    from dwave.embedding import verify_embedding

    graph = hardware_graph(family, size, missing)
    clique = find_clique(graph, 120)
    assert verify_embedding(clique.chains, nx.complete_graph(120), graph)
    assert clique.longest <= 13
    assert clique.qubits == sum(map(len, clique.chains.values())) <= most


def test_dead_qubits_are_in_no_chain():
    whole, torn = hardware_graph("zephyr", 3), hardware_graph("zephyr", 3, 0.1)
    assert len(torn) == len(whole) - round(0.1 * len(whole))
    used = set().union(*find_clique(torn, 20).chains.values())
    assert used <= set(torn)
    assert used - set(torn) == set()
    assert hardware_graph("zephyr", 3, 0.1) is torn


def test_chains_are_found_once_and_nothing_is_written(monkeypatch):
    from minorminer.busclique import busgraph_cache

    def refuse():
        raise PermissionError("no home on this node")

    monkeypatch.setattr(busgraph_cache, "cache_rootdir", refuse)
    graph = hardware_graph("zephyr", 4, 0.02)
    clique = find_clique(graph, 10)
    assert find_clique(graph.copy(), 10) is clique
    assert find_clique(hardware_graph("zephyr", 4), 10) is not clique


def test_a_problem_that_is_too_large_is_told_what_would_fit():
    graph = hardware_graph("zephyr", 3)
    assert largest_clique(graph) == 40
    assert len(find_clique(graph, 40).chains) == 40
    message = r"41 variables.*40 at most.*20 at 1, 10 at 2, 6 at 3, 5 at 4 bits"
    with pytest.raises(AnnealerError, match=message):
        Embedded(**SMALL).sample(problem(41), seed=0)


@pytest.mark.parametrize("family", ["pegasus", "zephyr"])
def test_every_size_up_to_the_largest_has_its_chains(family):
    from dwave.embedding import verify_embedding

    graph = hardware_graph(family, 3, 0.02)
    for n in range(1, largest_clique(graph) + 1):
        clique = find_clique(graph, n)
        assert sorted(clique.chains) == list(range(n))
        assert verify_embedding(clique.chains, nx.complete_graph(n), graph)


def test_a_graph_of_dead_qubits_holds_nothing():
    with pytest.raises(AnnealerError, match="1 variables"):
        Embedded(graph="zephyr", size=2, missing=0.999).sample(problem(1), seed=0)


@pytest.mark.parametrize("n", range(1, 13))
def test_it_finds_the_least_energy_of_small_problems(n):
    Q = problem(n, seed=n)
    assert CAREFUL.sample(Q, seed=n).energies[0] == pytest.approx(least_energy(Q))


def test_states_are_different_and_have_the_energies_that_are_told():
    Q = problem(12)
    found = Embedded(**SMALL).sample(Q, seed=3)
    np.testing.assert_allclose(found.energies, ((found.states @ Q) * found.states).sum(axis=1))
    assert (np.diff(found.energies) >= 0).all()
    assert len(np.unique(found.states, axis=0)) == len(found.states)
    assert found.states.dtype == np.int8


def test_bits_come_back_in_their_order_whatever_the_sampler_does():
    from dimod import BINARY, SampleSet

    rng = np.random.default_rng(0)
    states, order = rng.integers(0, 2, (5, 12)), rng.permutation(12)
    answer = SampleSet.from_samples((states[:, order], order.tolist()), BINARY, energy=[0] * 5)
    np.testing.assert_array_equal(states_of(answer, 12), states)


def test_the_same_problem_in_another_order_has_the_same_solution():
    Q, order = problem(10), np.random.default_rng(1).permutation(10)
    full = Q + Q.T - np.diag(np.diag(Q))
    moved = np.triu(full[np.ix_(order, order)])
    best, best_moved = (CAREFUL.sample(it, seed=5).states[0] for it in (Q, moved))
    np.testing.assert_array_equal(best_moved, best[order])


def test_equal_seeds_give_equal_answers_also_in_threads():
    Q, found = problem(20), []
    annealer = Embedded(**SMALL, reads=4, sweeps=3)
    threads = [
        Thread(target=lambda: found.append(annealer.sample(Q, seed=7).states)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[0], other) for other in found)
    assert not np.array_equal(annealer.sample(Q, seed=8).states, found[0])


def test_chains_are_held_by_the_torque_of_the_binary_model_and_not_of_the_spins():
    from dwave.embedding.chain_strength import uniform_torque_compensation

    Q = problem(15)
    record = Embedded(**SMALL).sample(Q, seed=0).record
    couplers = Q[np.triu_indices(15, 1)]
    by_hand = 1.414 * np.sqrt((couplers**2).mean()) * np.sqrt(14)
    assert record["strength"] == pytest.approx(by_hand)
    spins = to_model(Q).change_vartype("SPIN", inplace=False)
    assert uniform_torque_compensation(spins) == pytest.approx(by_hand / 4)
    assert "spins" in record["strength_units"]
    assert Embedded(**SMALL, strength=3).sample(Q, seed=0).record["strength"] == 3.0


def test_a_broken_link_costs_twice_the_strength():
    chains = find_clique(hardware_graph("zephyr", 3), 12).chains
    laid = chains.embed_bqm(to_model(np.zeros((12, 12))), chain_strength=3.0)
    chain = max(chains.values(), key=len)
    off = dict.fromkeys(laid.variables, 0)
    links = [pair for pair in laid.quadratic if set(pair) <= set(chain) and chain[0] in pair]
    assert laid.energy(off) == 0.0
    assert laid.energy({**off, chain[0]: 1}) == pytest.approx(6.0 * len(links))


def test_chains_that_are_not_held_are_an_error_and_not_an_answer():
    with pytest.raises(AnnealerError, match=r"of the chains are broken.*strength=1e-06"):
        Embedded(**SMALL, strength=1e-6).sample(problem(40), seed=0)


def test_the_record_tells_of_the_chains_and_of_no_time():
    found = make_annealer("embedded(graph=zephyr, size=3, reads=9, missing=0.01)").sample(
        problem(12), seed=0
    )
    assert found.used is Backend.EMBEDDED
    record = json.loads(json.dumps(found.record))
    assert record["graph"] == "zephyr 3"
    assert (record["reads"], record["sweeps"], record["missing"]) == (9, 200, 0.01)
    assert 12 <= record["qubits"] < record["graph_qubits"] == 333
    assert record["longest_chain"] >= 2
    assert 0 <= record["chain_break_fraction"] <= 0.5
    assert not [key for key in record if "time" in key]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_bits_without_couplers_are_no_trouble(scale):
    found = Embedded(**SMALL).sample(scale * np.diag([-1.0, 1.0, -2.0, 3.0]), seed=0)
    assert found.states[0].tolist() == [1, 0, 1, 0]


def test_a_problem_of_nothing_has_any_answer():
    assert Embedded(**SMALL).sample(np.zeros((4, 4)), seed=0).energies[0] == 0.0


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_the_unit_of_the_energy_does_not_matter(scale):
    Q = problem(20)
    found, scaled = (Embedded(**SMALL).sample(it, seed=1) for it in (Q, scale * Q))
    assert scaled.energies[0] == pytest.approx(scale * found.energies[0], rel=0.05)
    assert scaled.record["chain_break_fraction"] < 0.05


def test_few_chains_break_when_a_machine_is_trained_at_the_default_strength():
    rng, dual = np.random.default_rng(0), Dual()
    X = rng.random((10, 5))
    Q = dual.matrix(dual.kernel(X, X), rng.random(10))
    found = Embedded("pegasus", 6).sample(Q, seed=0)
    assert found.record["chain_break_fraction"] < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"graph": "pegasos"}, "did you mean 'pegasus'"),
        ({"graph": "zephyr", "size": 16}, "size=16: must be from 2 to 15 for zephyr"),
        ({"size": 1}, "size=1: must be from 2 to 16"),
        ({"reads": 0}, "reads=0"),
        ({"sweeps": 1.5}, "sweeps=1.5"),
        ({"strength": "strong"}, "strength='strong': must be auto"),
        ({"strength": 0}, "strength=0"),
        ({"strength": float("nan")}, "strength=nan"),
        ({"missing": 1.0}, "missing=1.0"),
        ({"missing": -0.1}, "missing=-0.1"),
    ],
)
def test_settings_that_cannot_work_are_named(arguments, message):
    with pytest.raises(PredictorError, match=message):
        Embedded(**arguments)


def test_a_missing_package_is_named_with_the_extra_that_has_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dwave.samplers", None)
    with pytest.raises(AnnealerError, match=r"pip install 'daskhpo\[dwave\]'"):
        Embedded(**SMALL).sample(problem(3), seed=0)


def test_it_can_be_sent_to_a_worker():
    annealer = Embedded("zephyr", 3, reads=7)
    assert pickle.loads(pickle.dumps(annealer)) == annealer
    assert repr(annealer).startswith("Embedded(graph='zephyr', size=3, reads=7")
