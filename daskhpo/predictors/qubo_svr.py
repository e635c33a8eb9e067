"""A support vector machine that an annealer trains: coefficients of a few bits, solved as QUBO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from daskhpo.exceptions import AnnealerError, PredictorError
from daskhpo.predictors.annealers import Annealer, Backend, make_annealer
from daskhpo.predictors.base import Array, Configured
from daskhpo.predictors.combining import COMBINATIONS, OFFSETS, offset, papers_top, weigh
from daskhpo.predictors.features import Kind, Scaling, check_curves, check_known
from daskhpo.predictors.qubo import Dual
from daskhpo.scalars import nearest

__all__ = ["QUBOSVR"]


class QUBOSVR(Configured):
    """Support vector regression trained by an annealer, on at most ``most`` curves.

    Use it to repeat what the papers did, or to train forecasters on a quantum annealer; a
    classical :class:`SVR` with the same bound on its coefficients is as good and faster. It sees
    the curves alone and leaves ``static`` aside.

    Parameters
    ----------
    bits, base : int, float
        K and B of the coefficients, see :class:`~daskhpo.predictors.qubo.Dual`.
    k0, xi, epsilon, gamma, beta : float
        See there.
    scaling : str, optional
        Of curves and targets, see :class:`~daskhpo.predictors.features.Scaling`; none for
        numbers that are of order 1 already.
    annealer : str, mapping or Annealer
        ``"simulated"``, ``"embedded(graph=zephyr)"``, ``"qpu"``, ``"hybrid"``; ``"svr"`` solves
        the same problem exactly, with continuous coefficients, by scikit-learn.
    combine : str
        What is made of the best solutions, see :func:`~daskhpo.predictors.combining.weigh`.
    top : int, optional
        How many solutions that is; none for the papers' share of the annealer's reads, 4 of their
        thousand. More smooth the coarse levels of the bits: 20 of a hundred reads forecast better
        than 4 of a hundred or of a thousand.
    offset : str
        ``"mean_residual"`` or ``"authors"``, see :func:`~daskhpo.predictors.combining.offset`.
    most : int
        Of more curves it learns from as many, drawn at random. The graphs of quantum annealers
        hold about 30 curves of 3 bits.
    seed : int
        Draws the curves and seeds the annealer.
    fallback : bool
        Whether the classical machine of ``"svr"`` takes the place of an annealer that does not
        answer; ``record`` says so and why. Otherwise its error goes up.

    Attributes
    ----------
    record : mapping
        After a fit: ``backend_requested``, ``backend_used`` (none where all targets were equal
        and nothing had to be solved), ``reason`` where the two differ, ``curves``, ``variables``,
        ``energy`` of the best solution, and what the annealer tells.

    Raises
    ------
    PredictorError
        If an argument is not allowed; it is named.

    Notes
    -----
    Solutions are averaged coefficient by coefficient, and b is worked out again for the average.
    The papers' machine is ``QUBOSVR(scaling=None, annealer="simulated(reads=1000)", top=4,
    offset="authors")`` on curves and targets that are quantiles of the whole table.

    Examples
    --------
    >>> curves = np.linspace(1.0, 2.0, 8)[:, None] * np.array([3.0, 2.0, 1.5])
    >>> predictor = QUBOSVR(seed=1).fit(curves, curves[:, -1] - 0.5)
    >>> predictor.predict(curves[[4]]).round(1), str(predictor.record["backend_used"])
    (array([1.9]), 'qubo-sa')
    """

    def __init__(
        self,
        bits: int = 3,
        base: float = 0.5,
        *,
        k0: float = 0.005,
        xi: float = 0.01,
        epsilon: float = 0.02,
        gamma: float = 0.1,
        beta: float = 0.0,
        scaling: Kind | None = "quantile",
        annealer: str | Mapping[str, Any] | Annealer = "simulated",
        combine: str = "softmax_logcosh",
        top: int | None = 20,
        offset: str = "mean_residual",
        most: int = 20,
        seed: int = 0,
        fallback: bool = True,
    ) -> None:
        self.bits = bits
        self.base = base
        self.k0 = k0
        self.xi = xi
        self.epsilon = epsilon
        self.gamma = gamma
        self.beta = beta
        self.scaling = scaling
        self.annealer = annealer
        self.combine = combine
        self.top = top
        self.offset = offset
        self.most = most
        self.seed = seed
        self.fallback = fallback
        self._checked()

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn from ``curves`` (n, d) and ``targets`` (n,).

        Raises
        ------
        PredictorError
            If there are fewer than two curves, shapes differ or a number is not finite.
        AnnealerError
            If the annealer does not answer and ``fallback`` is false.
        """
        dual, annealer = self._checked()
        curves, targets, _ = check_known(curves, targets)
        if len(curves) > self.most:
            rng = np.random.default_rng(self.seed)
            chosen = np.sort(rng.choice(len(curves), self.most, replace=False))
            curves, targets = curves[chosen], targets[chosen]
        self._inputs, self._outputs = Scaling(self.scaling), Scaling(self.scaling)
        X = self._inputs.fit(curves).transform(curves)
        y = self._outputs.fit(targets).transform(targets)
        self._machine, told = self._train(dual, annealer, X, y)
        requested = annealer.backend if annealer else Backend.SVR
        self.record = {**told, "backend_requested": requested, "curves": len(y)}
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d)."""
        curves, _ = check_curves(curves)
        steps = self._machine.X.shape[1]
        if curves.shape[1] != steps:
            raise PredictorError(
                f"curves have {curves.shape[1]} steps: must be {steps}, as learned"
            )
        return self._outputs.inverse(self._machine.forecast(self._inputs.transform(curves)))

    def _checked(self) -> tuple[Dual, Annealer | None]:
        dual = Dual(self.bits, self.base, self.k0, self.xi, self.epsilon, self.gamma, self.beta)
        Scaling(self.scaling)
        for name, known in (("combine", COMBINATIONS), ("offset", OFFSETS)):
            if (value := getattr(self, name)) not in known:
                raise PredictorError(f"{name}={value!r}: {nearest(value, known)}")
        for name, least in (("top", 1), ("most", 2), ("seed", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if (name, value) != ("top", None) and not (whole and value >= least):
                raise PredictorError(f"{name}={value!r}: must be a whole number from {least} on")
        if not isinstance(self.fallback, bool):
            raise PredictorError(f"fallback={self.fallback!r}: must be true or false")
        return dual, None if self.annealer == Backend.SVR else make_annealer(self.annealer)

    def _train(
        self, dual: Dual, annealer: Annealer | None, X: Array, y: Array
    ) -> tuple[_Machine, dict[str, Any]]:
        if np.ptp(y) == 0:
            told = {"backend_used": None, "reason": "all targets are equal"}
            return _Machine(dual, X, np.zeros_like(y), float(y[0])), told
        if annealer is None:
            return _solve(dual, X, y)
        try:
            return self._anneal(dual, annealer, X, y)
        except AnnealerError as error:
            if not self.fallback:
                raise
            machine, told = _solve(dual, X, y)
            return machine, {**told, "reason": str(error)}

    def _anneal(
        self, dual: Dual, annealer: Annealer, X: Array, y: Array
    ) -> tuple[_Machine, dict[str, Any]]:
        kernel = dual.kernel(X, X)
        samples = annealer.sample(dual.matrix(kernel, y), seed=self.seed)
        top = self.top or papers_top(samples.record.get("reads", len(samples.states)))
        a, A = dual.decode(samples.states[:top])
        left = y - (a - A) @ kernel  # (r, N): what is left of the targets, without b
        b = offset(self.offset, left, a, A, dual.epsilon)
        weights = weigh(self.combine, left - b[:, None], samples.energies[:top], y)
        a, A = weights[None] @ a, weights[None] @ A
        left = y - (a - A) @ kernel
        b = offset(self.offset, left, a, A, dual.epsilon)
        told = {
            **samples.record,
            "backend_used": samples.used,
            "energy": float(samples.energies[0]),
            "variables": samples.states.shape[1],
        }
        return _Machine(dual, X, (a - A)[0], float(b[0])), told


@dataclass(frozen=True, slots=True, eq=False)
class _Machine:
    """Trained on X (N, d), with the coefficients a - A (N,) and the offset b."""

    dual: Dual
    X: Array
    signed: Array
    b: float

    def forecast(self, X: Array) -> Array:
        found: Array = self.dual.kernel(X, self.X) @ self.signed + self.b
        return found


def _solve(dual: Dual, X: Array, y: Array) -> tuple[_Machine, dict[str, Any]]:
    """Solve the same problem exactly: coefficients of any value up to C, which sum to 0."""
    from sklearn.svm import SVR

    kernel = dual.kernel(X, X)
    found = SVR(kernel="precomputed", C=dual.C, epsilon=dual.epsilon).fit(kernel, y)
    signed = np.zeros_like(y)
    signed[found.support_] = found.dual_coef_[0]
    a, A = np.maximum(signed, 0.0)[None], np.maximum(-signed, 0.0)[None]
    energy = float(dual.energy(kernel, y, a, A)[0])
    told = {"backend_used": Backend.SVR, "energy": energy, "C": dual.C}
    return _Machine(dual, X, signed, float(found.intercept_[0])), told
