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
from daskhpo.predictors.annealers.turning import _Tied
from daskhpo.predictors.qubo import Dual

SMALL = {"graph": "zephyr", "size": 3}  # holds 40 bits
CAREFUL = Embedded("zephyr", 3, reads=200)


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
    annealer = Embedded(**SMALL, reads=4, sweeps=3, turns=1)
    threads = [
        Thread(target=lambda: found.append(annealer.sample(Q, seed=7).states)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[0], other) for other in found)
    assert not np.array_equal(annealer.sample(Q, seed=8).states, found[0])


def machine(curves, seed=0):
    """The problem of a machine that learns from made-up curves."""
    rng, dual = np.random.default_rng(seed), Dual()
    X = rng.random((curves, 5))
    return dual.matrix(dual.kernel(X, X), rng.random(curves))


def laid(n, size=3, seed=0):
    """Spins in chains, the qubits in their order, the chains."""
    from dimod import SPIN

    chains = find_clique(hardware_graph("zephyr", size), n).chains
    model = chains.embed_bqm(to_model(problem(n, seed)), chain_strength=3.0, smear_vartype=SPIN)
    spins, qubits = model.change_vartype(SPIN, inplace=False), list(model.variables)
    spins.relabel_variables({qubit: place for place, qubit in enumerate(qubits)})
    return spins, qubits, chains


def test_turns_never_raise_the_energy_in_the_cold_be_chains_whole_or_broken():
    spins, qubits, chains = laid(12)
    rng = np.random.default_rng(0)
    states = rng.choice(np.array([-1, 1], np.int8), (50, len(qubits)))
    before = spins.energies((states, range(len(qubits))))
    turned = _Tied.of(spins, qubits, chains).turn(states, np.full(5, 1e9), rng)
    after = spins.energies((turned, range(len(qubits))))
    assert (after <= before + 1e-6).all()
    assert (after < before - 1).any()


def test_a_turn_flips_chains_as_a_whole():
    spins, qubits, chains = laid(12)
    rng = np.random.default_rng(0)
    states = rng.choice(np.array([-1, 1], np.int8), (20, len(qubits)))
    flips = states * _Tied.of(spins, qubits, chains).turn(states, np.full(3, 0.1), rng)
    assert {-1, 1} == set(flips.ravel().tolist())
    for chain in chains.values():
        places = [qubits.index(qubit) for qubit in chain]
        assert (flips[:, places] == flips[:, places[:1]]).all()


def test_turns_at_one_temperature_find_states_as_often_as_boltzmann_has_them():
    spins, qubits, chains = laid(3, size=2)
    assert len(qubits) == 3  # chains of one qubit: a turn is a flip, and every state is met
    every = np.array(list(itertools.product((-1, 1), repeat=3)), dtype=np.int8)
    likely = np.exp(-spins.energies((every, range(3))))
    states = np.tile(every, (2500, 1))
    found = _Tied.of(spins, qubits, chains).turn(states, np.ones(60), np.random.default_rng(0))
    counts = (found[:, None] == every).all(axis=2).sum(axis=0)
    np.testing.assert_allclose(counts / len(found), likely / likely.sum(), atol=0.01)


def test_without_turns_chains_freeze_while_the_problem_is_hot():
    Q = machine(10)
    frozen, turned = (Embedded("pegasus", 6, turns=turns).sample(Q, seed=0) for turns in (0, 100))
    simulated = make_annealer("simulated").sample(Q, seed=0)
    spread = frozen.energies.mean() - simulated.energies.mean()
    assert turned.energies.mean() < frozen.energies.mean() - 0.5 * spread
    assert turned.energies[0] <= simulated.energies[0] + 0.05 * abs(simulated.energies[0])


def test_turns_do_not_mend_chains_that_are_too_weak():
    held = Embedded("pegasus", 6).sample(machine(10), seed=0)
    weak = Embedded("pegasus", 6, strength=0.4 * held.record["strength"]).sample(
        machine(10), seed=0
    )
    assert weak.record["chain_break_fraction"] > 0.1 > held.record["chain_break_fraction"]
    assert weak.energies[:20].mean() > held.energies[:20].mean() + 0.5


@pytest.mark.parametrize("reads", [1, 100, 101])
def test_as_many_reads_are_annealed_as_are_asked_for(reads, monkeypatch):
    from daskhpo.predictors.annealers import embedded

    given = []

    Q, found = problem(6), Embedded(**SMALL, reads=reads, sweeps=2, turns=1)
    original = embedded.through_chains

    def watched(Q, graph, *, anneal, **settings):
        def seen(model, torque):
            given.append(anneal(model, torque))
            return given[-1]

        return original(Q, graph, anneal=seen, **settings)

    monkeypatch.setattr(embedded, "through_chains", watched)
    found.sample(Q, seed=0)
    assert len(given[0]) == reads


@pytest.mark.parametrize("seed", [0, 2**31, 2**63])
def test_any_seed_of_a_predictor_will_do(seed):
    assert Embedded(**SMALL, reads=2).sample(problem(4), seed=seed).states.shape[1] == 4


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
    assert (record["reads"], record["sweeps"], record["turns"]) == (9, 400, 100)
    assert record["missing"] == 0.01
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
    found = Embedded("pegasus", 6).sample(machine(10), seed=0)
    assert found.record["chain_break_fraction"] < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"graph": "pegasos"}, "did you mean 'pegasus'"),
        ({"graph": "zephyr", "size": 16}, "size=16: must be from 2 to 15 for zephyr"),
        ({"size": 1}, "size=1: must be from 2 to 16"),
        ({"reads": 0}, "reads=0"),
        ({"sweeps": 1.5}, "sweeps=1.5"),
        ({"turns": -1}, "turns=-1: must be a whole number from 0 on"),
        ({"turns": True}, "turns=True"),
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
