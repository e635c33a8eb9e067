"""What every predictor is: a forecaster of where a learning curve will be at a later step."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import PredictorError
from daskhpo.scalars import nearest

__all__ = ["Array", "Configured", "Predictor", "record_of"]

Array = npt.NDArray[np.float64]


@runtime_checkable
class Predictor(Protocol):
    """Learns from complete curves what becomes of the beginning of one.

    It knows nothing of trials, rungs or steps: who uses it cuts all curves at the same step and
    says what each reached at the later one. Values are minimised and finite. Where it is known,
    ``static`` tells what does not change while a trial trains: encoded hyperparameters, the
    number of weights. A predictor that has no use for it leaves it aside.

    After a fit it may have an attribute ``record``, see :func:`record_of`.
    """

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn from ``curves`` (n, d), values at the first d steps, and ``targets`` (n,).

        ``static`` is (n, p).
        """

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast the targets (m,) of ``curves`` (m, d) and ``static`` (m, p)."""


def record_of(predictor: Predictor) -> Mapping[str, Any]:
    """What is to be known of a predictor's last fit, as JSON; empty where there is nothing.

    ``backend_requested`` and ``backend_used`` of those that ask an annealer, and what that tells
    of chains and times.
    """
    found: Mapping[str, Any] = getattr(predictor, "record", {})
    return found


class Configured:
    """Gives a predictor the manners of scikit-learn: its arguments are its parameters.

    Each argument of the constructor is kept as an attribute of the same name, so that
    :func:`sklearn.base.clone` works, and nothing is learned before ``fit``.

    Examples
    --------
    >>> class Constant(Configured):
    ...     def __init__(self, value=0.0):
    ...         self.value = value
    >>> Constant(value=2.0), Constant().set_params(value=1.0).get_params()
    (Constant(value=2.0), {'value': 1.0})
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments; ``deep`` adds those of predictors inside."""
        names = list(inspect.signature(type(self)).parameters)
        found = {name: getattr(self, name) for name in names}
        if deep:
            for name, value in list(found.items()):
                if isinstance(value, Configured):
                    inner = value.get_params().items()
                    found |= {f"{name}__{key}": given for key, given in inner}
        return found

    def set_params(self, **params: Any) -> Self:
        """Set arguments, ``inner__argument`` those of a predictor inside; returns itself.

        Raises
        ------
        PredictorError
            If there is no such argument; the nearest one is named.
        """
        known = self.get_params(deep=False)
        for key, value in params.items():
            name, _, rest = key.partition("__")
            if name not in known:
                raise PredictorError(f"{type(self).__name__}: {key!r}: {nearest(name, known)}")
            if rest:
                getattr(self, name).set_params(**{rest: value})
            else:
                setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_params(deep=False).items())
        return f"{type(self).__name__}({arguments})"
