"""The energy of bits is the dual of the machine that they spell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.qubo import Dual, energies, ranked

duals = st.builds(
    Dual,
    bits=st.integers(1, 4),
    base=st.sampled_from([0.5, 2.0, 10.0]),
    k0=st.sampled_from([0.0, 0.005, 1.0, 2]),
    xi=st.floats(0, 2),
    epsilon=st.floats(0, 1),
    gamma=st.floats(0.01, 3),
    beta=st.sampled_from([0.0, 0.7]),
)


@given(duals, st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_energy_of_any_bits_is_the_dual_of_their_coefficients(dual, n, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.random((n, 3)), rng.normal(size=n)
    states = rng.integers(0, 2, (20, 2 * n * dual.bits)).astype(np.int8)
    kernel = dual.kernel(X, X)
    Q = dual.matrix(kernel, y)
    expected = dual.energy(kernel, y, *dual.decode(states))
    scale = max(1.0, float(np.abs(Q).sum()))
    assert np.abs(energies(Q, states) - expected).max() <= 1e-9 * scale
    assert not np.tril(Q, -1).any()


def test_the_papers_problem_of_twenty_curves_agrees_to_a_billionth():
    rng = np.random.default_rng(1)
    dual, X, y = Dual(), rng.random((20, 13)), rng.random(20)
    kernel = dual.kernel(X, X)
    Q = dual.matrix(kernel, y)
    assert Q.shape == (120, 120)
    states = rng.integers(0, 2, (500, 120)).astype(np.int8)
    expected = dual.energy(kernel, y, *dual.decode(states))
    np.testing.assert_allclose(energies(Q, states), expected, rtol=0, atol=1e-9)


def test_the_dual_is_written_as_in_the_literature():
    dual = Dual(bits=1, k0=0.0, xi=0.25, epsilon=0.1, beta=0.5)
    kernel = np.array([[1.0, 0.5], [0.5, 1.0]])
    y = np.array([2.0, -1.0])
    a, A = np.array([[1.0, 0.0]]), np.array([[1.0, 3.0]])
    # a - A = (0, -3): 1/2 * 9 * 1 + 0.1 * 5 - (-1 * -3) + 0.25 * 9 + 0.5 * (1 * 1)
    assert dual.energy(kernel, y, a, A) == pytest.approx([4.5 + 0.5 - 3.0 + 2.25 + 0.5])


def test_a_problem_of_two_curves_and_one_bit_worked_out_by_hand():
    # Variables a_0, a_1, A_0, A_1; k(0, 1) = 0.5, so that 1/2 k + xi = 0.6 and 0.35.
    dual = Dual(bits=1, k0=0.0, xi=0.1, epsilon=0.25)
    Q = dual.matrix(np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([2.0, -1.0]))
    expected = [
        [0.6 + 0.25 - 2.0, 2 * 0.35, -2 * 0.6, -2 * 0.35],
        [0.0, 0.6 + 0.25 + 1.0, -2 * 0.35, -2 * 0.6],
        [0.0, 0.0, 0.6 + 0.25 + 2.0, 2 * 0.35],
        [0.0, 0.0, 0.0, 0.6 + 0.25 - 1.0],
    ]
    np.testing.assert_allclose(Q, expected, rtol=0, atol=1e-12)


def test_matrix_equals_the_loops_of_the_slides():
    dual, rng = Dual(bits=2, beta=0.3), np.random.default_rng(2)
    N, K, B, k0 = 3, dual.bits, dual.base, dual.k0
    y, kernel = rng.normal(size=N), dual.kernel(*[rng.random((N, 4))] * 2)
    full = np.zeros((2 * N * K, 2 * N * K))
    every = itertools.product(range(N), range(N), range(K), range(K), range(2), range(2))
    for n, m, i, j, s, t in every:
        entry = (-1) ** (s != t) * B ** (i + j - 2 * k0) * (kernel[n, m] / 2 + dual.xi)
        if n == m and (s, t) == (0, 1):
            entry += dual.beta * B ** (i + j - 2 * k0)
        if n == m and i == j and s == t:
            entry += B ** (i - k0) * (dual.epsilon + (y[n] if s else -y[n]))
        full[K * (s * N + n) + i, K * (t * N + m) + j] = entry
    np.testing.assert_allclose(
        dual.matrix(kernel, y), np.triu(full) + np.tril(full, -1).T, rtol=0, atol=1e-12
    )


def test_each_variable_is_one_bit_of_one_coefficient():
    dual, n = Dual(bits=3, base=2.0, k0=0), 4
    a, A = dual.decode(np.eye(2 * n * 3, dtype=np.int8))
    for curve, bit in itertools.product(range(n), range(3)):
        assert a[3 * curve + bit, curve] == A[3 * (n + curve) + bit, curve] == 2**bit
    assert np.count_nonzero(a) == np.count_nonzero(A) == 3 * n


def test_the_papers_bits_say_at_most_1_756():
    assert abs(Dual().C - 1.756) < 5e-4
    assert Dual().levels == pytest.approx([1.0035, 0.5017, 0.2509], abs=5e-5)
    a, _ = Dual().decode(np.ones((1, 6), dtype=np.int8))
    assert a == pytest.approx(Dual().C)


def test_states_are_ranked_by_energy_and_told_once():
    rng = np.random.default_rng(3)
    Q, states = np.triu(rng.normal(size=(5, 5))), rng.integers(0, 2, (200, 5)).astype(np.int8)
    different, found = ranked(Q, states)
    assert {tuple(s) for s in different} == {tuple(s) for s in states}
    assert len(different) == len({tuple(s) for s in states})
    assert (np.diff(found) >= 0).all()
    np.testing.assert_allclose(found, [x @ Q @ x for x in different], atol=1e-12)
    shuffled, _ = ranked(Q, rng.permutation(states))
    np.testing.assert_array_equal(shuffled, different)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 0}, "bits=0.*from 1 to 16"),
        ({"bits": 2.0}, "bits=2.0"),
        ({"bits": True}, "bits=True"),
        ({"base": 0.0}, "base=0.0: must be above 0"),
        ({"gamma": -1.0}, "gamma=-1.0: must be above 0"),
        ({"epsilon": -0.1}, "epsilon=-0.1: must not be negative"),
        ({"xi": float("nan")}, "xi=nan: must be a finite number"),
        ({"beta": "1"}, "beta='1': must be a finite number"),
        ({"base": 10.0, "bits": 12}, "from 1e-6 to 1e6"),
        ({"k0": 1e9}, "from 1e-6 to 1e6"),
    ],
)
def test_what_cannot_work_is_named(settings, message):
    with pytest.raises(PredictorError, match=message):
        Dual(**settings)
