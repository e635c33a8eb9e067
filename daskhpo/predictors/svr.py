"""Support vector machines, which forecast from whole curves and need few of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.base import Array, Configured
from daskhpo.predictors.features import Kind, Part
from daskhpo.predictors.machine import Machine, Target, check_number

__all__ = ["SVR", "NuSVR"]

_FEATURES: tuple[Part, ...] = ("prefix", "differences")


class _OnCurves(Configured):
    """A machine of scikit-learn between the scalings of a :class:`Machine`."""

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn from ``curves`` (n, d), ``targets`` (n,) and, where it is a feature, ``static``.

        Raises
        ------
        PredictorError
            If there are fewer than two curves, shapes differ or a number is not finite.
        """
        self._machine = self._checked().fit(self._estimator(), curves, targets, static)
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d) and ``static`` (m, p)."""
        return self._machine.predict(curves, static)

    @abstractmethod
    def _checked(self) -> Machine:
        """The scalings around it, if all arguments are allowed."""

    @abstractmethod
    def _estimator(self) -> Any:
        """A new one of scikit-learn."""


class SVR(_OnCurves):
    """Support vector regression with a radial kernel.

    Use it where twenty to a few hundred curves are known. By default it learns what a curve
    still drops from its last value on, so that a curve far from all it knows is forecast as
    :class:`LastDrop` would, and curves that restarted are mended first.

    Parameters
    ----------
    C : float
        The most that one curve may weigh.
    epsilon : float
        Errors up to this, on the scale of the scaled target, do not count.
    gamma : float or str
        Of the kernel ``exp(-gamma |x - x'|^2)``; ``"scale"`` and ``"auto"`` as in scikit-learn.
    scaling : str, optional
        Of features and target, see :class:`~daskhpo.predictors.features.Scaling`.
    features : sequence of str
        See :class:`~daskhpo.predictors.features.Features`.
    target : str
        ``"drop"`` from the last value on; the ``"value"`` itself, which is then never forecast
        beyond those that were learned from: better where all bad curves end at the same value,
        much worse where a few end far above the others; ``"extended"`` the value, and for curves
        beyond those learned from what the line through last values adds.
    mend : bool
        Whether to take restarts out of curves, see :func:`~daskhpo.predictors.cleaning.mend`.

    Raises
    ------
    PredictorError
        If an argument is not allowed; it is named.

    Notes
    -----
    Wulff et al., Hyperparameter optimization, quantum-assisted model performance prediction, and
    benchmarking of AI-based High Energy Physics workloads using HPC, used ``SVR(C=67.61,
    epsilon=0.02, gamma=0.1, features=["prefix"], target="value", mend=False)``. The first row of
    its table 2 is met with every second of the first 25 losses, loss 98 as target, the curve
    that is highest there left out, columns and target scaled before by
    ``Scaling("quantile", quantiles=50)`` fitted on all curves (``scaling=None`` in the machine),
    and R² with its arguments swapped: mean 0.890 and deviation 0.048 over 1000 splits.

    Examples
    --------
    >>> import numpy as np
    >>> curves = np.linspace(1.0, 2.0, 20)[:, None] * np.array([3.0, 2.0, 1.5])
    >>> predictor = SVR().fit(curves, curves[:, -1] - 0.5)
    >>> predictor.predict(np.array([[4.5, 3.0, 2.25]])).round(2)
    array([1.75])
    """

    def __init__(
        self,
        C: float = 3.0,
        epsilon: float = 0.1,
        *,
        gamma: float | str = "scale",
        scaling: Kind | None = "standard",
        features: Sequence[Part] = _FEATURES,
        target: Target = "drop",
        mend: bool = True,
    ) -> None:
        self.C = C
        self.epsilon = epsilon
        self.gamma = gamma
        self.scaling = scaling
        self.features = features
        self.target = target
        self.mend = mend
        self._checked()

    def _estimator(self) -> Any:
        from sklearn import svm

        return svm.SVR(C=self.C, epsilon=self.epsilon, gamma=self.gamma)

    def _checked(self) -> Machine:
        check_number("C", self.C, above=0.0)
        check_number("epsilon", self.epsilon, least=0.0)
        return _machine(self)


class NuSVR(_OnCurves):
    """Support vector regression that finds its own tolerance of errors.

    Use it as :class:`SVR`, where the noise of targets is not known: ``nu`` says how many curves
    may lie outside the tolerance, not how wide that is.

    Parameters
    ----------
    C : float
        The most that one curve may weigh.
    nu : float
        The share of curves outside the tolerance, at most; of those that carry the machine, at
        least.
    gamma, scaling, features, target, mend
        See :class:`SVR`.

    Raises
    ------
    PredictorError
        If an argument is not allowed; it is named.

    Notes
    -----
    Swift-Hyperband (Amboage et al., arXiv:2311.17508) uses ``NuSVR(features=["prefix"],
    target="value", mend=False)``.

    Examples
    --------
    >>> import numpy as np
    >>> curves = np.linspace(1.0, 2.0, 20)[:, None] * np.array([3.0, 2.0, 1.5])
    >>> predictor = NuSVR().fit(curves, curves[:, -1] - 0.5)
    >>> predictor.predict(np.array([[4.5, 3.0, 2.25]])).round(2)
    array([1.75])
    """

    def __init__(
        self,
        C: float = 1.0,
        nu: float = 0.5,
        *,
        gamma: float | str = "scale",
        scaling: Kind | None = "minmax",
        features: Sequence[Part] = _FEATURES,
        target: Target = "drop",
        mend: bool = True,
    ) -> None:
        self.C = C
        self.nu = nu
        self.gamma = gamma
        self.scaling = scaling
        self.features = features
        self.target = target
        self.mend = mend
        self._checked()

    def _estimator(self) -> Any:
        from sklearn import svm

        return svm.NuSVR(C=self.C, nu=self.nu, gamma=self.gamma)

    def _checked(self) -> Machine:
        check_number("C", self.C, above=0.0)
        check_number("nu", self.nu, above=0.0)
        if self.nu > 1:
            raise PredictorError(f"nu={self.nu!r}: must be at most 1")
        return _machine(self)


def _machine(settings: SVR | NuSVR) -> Machine:
    if settings.gamma not in ("scale", "auto"):
        check_number("gamma", settings.gamma, above=0.0)
    return Machine(settings.scaling, settings.features, target=settings.target, mend=settings.mend)
