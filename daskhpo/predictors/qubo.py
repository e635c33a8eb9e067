"""Support vector regression in bits: the matrix whose lowest energies are trained machines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.annealers.base import Bits
from daskhpo.predictors.base import Array

__all__ = ["Dual", "energies", "ranked"]

MOST_BITS = 16  # a coefficient; more tell apart what no annealer could


@dataclass(frozen=True, slots=True)
class Dual:
    r"""The dual problem of support vector regression, with coefficients of a few bits.

    Use it to write the training of a machine on N curves as a quadratic unconstrained binary
    optimisation (QUBO) of 2NK bits, which an annealer minimises.

    Parameters
    ----------
    bits : int
        K, the bits of one coefficient. Two cost a little accuracy and halve the chains on an
        annealer, four gain nothing.
    base, k0 : float
        B and :math:`k_0`: bit k of a coefficient stands for :math:`B^{k - k_0}`. With the
        papers' :math:`k_0 = 0.005` the levels are 0.35 % higher than with 0; a whole number
        shifts them by powers of B. See :attr:`C` for what the two decide.
    xi : float
        :math:`\xi`, what it costs that the coefficients do not sum to 0. It hardly matters, as
        the offset b takes up the rest.
    epsilon : float
        :math:`\epsilon`, the half-width of the tube in which errors cost nothing.
    gamma : float
        :math:`\gamma` of the kernel :math:`k(x, z) = e^{-\gamma |x - z|^2}`.
    beta : float
        What it costs that both coefficients of a curve are above 0, which they are not at the
        minimum; 0 in the papers.

    Raises
    ------
    PredictorError
        If one of them is out of its range; it is named.

    Notes
    -----
    Of N curves with targets :math:`y_n` the energy is (Pasetto et al., and the slides of Wulff et
    al., QTML 2023, equations 2.7 to 2.9)

    .. math::
        \tfrac12 \sum_{nm} (a_n - A_n)(a_m - A_m) k(x_n, x_m) + \epsilon \sum_n (a_n + A_n)
        - \sum_n y_n (a_n - A_n) + \xi \Bigl(\sum_n (a_n - A_n)\Bigr)^2
        + \beta \sum_n a_n A_n .

    Three slips of the slides are not repeated. (2.7) prints :math:`-\epsilon` and :math:`+y`
    beside :math:`+\tfrac12`; the matrix below it has the signs above. The decoding of
    :math:`\alpha_n` is printed with the index K(n + k) where Kn + k is meant. And
    :math:`\xi` stands in the matrix with the coefficient 1, not with the :math:`\tfrac12` of the
    kernel, whatever the bracket suggests. :math:`a_n, A_n \le C` needs no penalty, as bits cannot
    say more.

    Examples
    --------
    >>> dual = Dual(bits=1, k0=0.0, epsilon=0.0, xi=0.0)
    >>> dual.matrix(np.array([[1.0]]), np.array([2.0]))
    array([[-1.5, -1. ],
           [ 0. ,  2.5]])
    """

    bits: int = 3
    base: float = 0.5
    k0: float = 0.005
    xi: float = 0.01
    epsilon: float = 0.02
    gamma: float = 0.1
    beta: float = 0.0

    def __post_init__(self) -> None:
        whole = isinstance(self.bits, int) and not isinstance(self.bits, bool)
        if not whole or not 1 <= self.bits <= MOST_BITS:
            raise PredictorError(
                f"bits={self.bits!r}: must be a whole number from 1 to {MOST_BITS}"
            )
        for name in ("base", "k0", "xi", "epsilon", "gamma", "beta"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise PredictorError(f"{name}={value!r}: must be a finite number")
            if name in ("base", "gamma") and value <= 0:
                raise PredictorError(f"{name}={value!r}: must be above 0")
            if name in ("xi", "epsilon", "beta") and value < 0:
                raise PredictorError(f"{name}={value!r}: must not be negative")
        exponents = (-self.k0, self.bits - 1 - self.k0)
        if any(abs(exponent * math.log10(self.base)) > 6 for exponent in exponents):
            raise PredictorError(
                f"base={self.base!r}, k0={self.k0!r}, bits={self.bits}: every base**(k - k0), "
                "k = 0 ... bits - 1, must be from 1e-6 to 1e6"
            )

    @property
    def levels(self) -> Array:
        """What each bit of a coefficient stands for, (K,)."""
        found: Array = np.power(float(self.base), np.arange(self.bits) - self.k0)
        return found

    @property
    def C(self) -> float:
        """The largest coefficient, all bits set: the C of the classical machine to compare with.

        1.756 with the papers' settings. Their C = 67.61 bounds nothing, as no bits reach it, and
        a classical machine with that C is another one.
        """
        return float(self.levels.sum())

    def kernel(self, X: Array, Z: Array) -> Array:
        """k(x, z) of the rows of ``X`` (n, d) and ``Z`` (m, d): (n, m)."""
        found: Array = np.exp(-self.gamma * cdist(X, Z, "sqeuclidean"))
        return found

    def matrix(self, kernel: Array, targets: Array) -> Array:
        """Q, upper triangular (2NK, 2NK), of ``kernel`` (N, N) and ``targets`` (N,).

        Bit k of a_n is the variable Kn + k, that of A_n the variable K(N + n) + k.
        """
        signs = np.array([[1.0, -1.0], [-1.0, 1.0]])
        pairs = np.kron(signs, 0.5 * kernel + self.xi)
        pairs += np.kron([[0.0, self.beta / 2], [self.beta / 2, 0.0]], np.eye(len(targets)))
        linear = self.epsilon + np.concatenate([-targets, targets])
        full = np.kron(pairs, np.outer(self.levels, self.levels))
        full[np.diag_indices_from(full)] += np.kron(linear, self.levels)
        upper: Array = np.triu(full) + np.tril(full, -1).T
        return upper

    def decode(self, states: Bits) -> tuple[Array, Array]:
        """The coefficients a and A, each (r, N), of ``states`` (r, 2NK)."""
        coefficients = states.reshape(len(states), 2, -1, self.bits) @ self.levels
        return coefficients[:, 0], coefficients[:, 1]

    def energy(self, kernel: Array, targets: Array, a: Array, A: Array) -> Array:
        """The energy (r,) of coefficients ``a`` and ``A``, each (r, N), of any values."""
        signed = a - A
        return np.asarray(
            0.5 * np.einsum("rn,nm,rm->r", signed, kernel, signed)
            + self.epsilon * (a + A).sum(axis=1)
            - signed @ targets
            + self.xi * signed.sum(axis=1) ** 2
            + self.beta * (a * A).sum(axis=1)
        )


def energies(Q: Array, states: Bits) -> Array:
    """``x^T Q x`` of each row x of ``states`` (r, n)."""
    found: Array = ((states @ Q) * states).sum(axis=1)
    return found


def ranked(Q: Array, states: Bits) -> tuple[Bits, Array]:
    """The different ones of ``states`` (r, n) by rising energy, and their energies.

    Of equal energy the one comes first that is smaller as a number, so that the same states in
    any order give the same answer.

    Examples
    --------
    >>> states = np.array([[0, 0], [1, 0], [0, 0]], dtype=np.int8)
    >>> ranked(np.array([[-1.0, 0.0], [0.0, 1.0]]), states)
    (array([[1, 0],
           [0, 0]], dtype=int8), array([-1.,  0.]))
    """
    different = np.unique(states, axis=0)
    found = energies(Q, different)
    order = np.argsort(found, kind="stable")
    return different[order], found[order]
