"""Networks that others have trained to continue learning curves; the user brings the weights.

Nothing is downloaded. Both adapters were written to what the packages document and were tested
with doubles in their place, never with weights: do not take a figure of theirs for granted.
"""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path
from typing import Any, Self

import numpy as np

from daskhpo.exceptions import PredictorError
from daskhpo.predictors.base import Array, Configured
from daskhpo.predictors.features import Scaling, check_curves, check_known

__all__ = ["LCPFN", "IfBO"]

_HORIZON = 100  # steps of the curves that LC-PFN was trained on
_COLUMNS = 10  # hyperparameters that FT-PFN has room for


class LCPFN(Configured):
    """LC-PFN, which has seen millions of made-up curves, continues each curve by itself.

    Use it where there are next to no complete curves: those given tell it the range of values
    alone. The package (``lcpfn`` 0.1.3) asks for versions of torch and numpy that are older than
    daskhpo's; installing both is up to you.

    Parameters
    ----------
    weights : path
        The package's file of weights. It is a pickle: use only one that you trust.
    target_step : int
        The step of the targets; columns of curves are the steps 1, 2, ...

    Raises
    ------
    PredictorError
        If ``target_step`` is not allowed; when it learns, if package or weights are missing.

    Notes
    -----
    Adriaensen et al., Efficient Bayesian Learning Curve Extrapolation using Prior-Data Fitted
    Networks (NeurIPS 2023). Forecasts are medians.

    Examples
    --------
    >>> LCPFN("weights.pt", target_step=100)
    LCPFN(weights='weights.pt', target_step=100)
    """

    def __init__(self, weights: str | os.PathLike[str], target_step: int = 100) -> None:
        self.weights = weights
        self.target_step = target_step
        _check_step(target_step)

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn the range of values from ``curves`` (n, d) and ``targets`` (n,)."""
        curves, targets, _ = check_known(curves, targets)
        _ahead(self.target_step, curves)
        _load_lcpfn(str(self.weights))
        self._scale = Scaling("minmax").fit(np.append(curves.ravel(), targets))
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d)."""
        import torch

        curves, _ = check_curves(curves)
        model = _load_lcpfn(str(self.weights))
        unit = min(1.0, _HORIZON / self.target_step)
        steps = torch.arange(1, curves.shape[1] + 1, dtype=torch.float32)[:, None] * unit
        target = torch.tensor([[self.target_step * unit]], dtype=torch.float32)
        rising = 1 - self._scale.transform(curves.ravel()).reshape(curves.shape)
        medians = [
            float(model.predict_quantiles(steps, _tensor(row)[:, None], target, [0.5]))
            for row in rising
        ]
        return self._scale.inverse(1 - np.array(medians))


class IfBO(Configured):
    """FT-PFN, the surrogate of ifBO, reads complete and begun curves together.

    Use it where hyperparameters say much about curves: ``static`` is needed, at most ten columns,
    and curves with the same ones are one curve to it.

    Parameters
    ----------
    weights : path
        The directory that holds the package's ``.model`` with its archive, unpacked. It is a
        pickle: use only one that you trust.
    target_step : int
        The step of the targets; columns of curves are the steps 1, 2, ...

    Raises
    ------
    PredictorError
        If ``target_step`` is not allowed; when it learns, if package, weights or ``static`` are
        missing.

    Notes
    -----
    Rakotoarison et al., In-Context Freeze-Thaw Bayesian Optimization for Hyperparameter
    Optimization (ICML 2024); package ``ifbo`` 0.4.1. Forecasts are medians.

    Examples
    --------
    >>> IfBO("weights", target_step=50)
    IfBO(weights='weights', target_step=50)
    """

    def __init__(self, weights: str | os.PathLike[str], target_step: int = 100) -> None:
        self.weights = weights
        self.target_step = target_step
        _check_step(target_step)

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Keep ``curves`` (n, d), ``targets`` (n,) and ``static`` (n, p)."""
        curves, targets, static = check_known(curves, targets, static)
        _ahead(self.target_step, curves)
        _load_ftpfn(str(self.weights))
        facts = _needed(static)
        self._known = (curves, targets, facts)
        self._scale = Scaling("minmax").fit(np.append(curves.ravel(), targets))
        self._facts = Scaling("minmax").fit(facts)
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d) and ``static`` (m, p)."""
        curves, static = check_curves(curves, static)
        model, ifbo = _load_ftpfn(str(self.weights)), _package("ifbo")
        known, targets, facts = self._known
        times = np.append(np.arange(1, known.shape[1] + 1), self.target_step) / self.target_step
        complete = [
            self._curve(ifbo, own, times, np.append(values, target))
            for own, values, target in zip(facts, known, targets, strict=True)
        ]
        medians = []
        for own, values in zip(_needed(static), curves, strict=True):
            begun = self._curve(ifbo, own, times[: len(values)], values)
            query = self._curve(ifbo, own, times[-1:], None)
            [found] = model.predict(context=[*complete, begun], query=[query])
            medians.append(float(found.quantile(0.5)))
        return self._scale.inverse(1 - np.array(medians))

    def _curve(self, ifbo: Any, facts: Array, times: Array, values: Array | None) -> Any:
        own = _tensor(self._facts.transform(facts[None])[0])
        rising = None if values is None else _tensor(1 - self._scale.transform(values))
        return ifbo.Curve(hyperparameters=own, t=_tensor(times), y=rising)


@functools.cache
def _load_lcpfn(weights: str) -> Any:
    lcpfn = _package("lcpfn")
    if not Path(weights).is_file():
        raise PredictorError(f"weights={weights!r}: no such file; they are not downloaded")
    return lcpfn.LCPFN(model_name=weights)


@functools.cache
def _load_ftpfn(weights: str) -> Any:
    ifbo = _package("ifbo")
    names = _package("ifbo.download")
    [version] = ifbo.VERSION_MAP
    # The package downloads, and writes into the working directory, unless both are there.
    for name in (names.FILENAME(version), names.WEIGHTS_FINAL_NAME(version)):
        if not (path := Path(weights) / ".model" / name).is_file():
            raise PredictorError(f"weights={weights!r}: there is no {path}; it is not downloaded")
    return ifbo.FTPFN(target_path=Path(weights), version=version)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise PredictorError(f"the package {package!r} cannot be imported: {error}") from error


def _check_step(target_step: object) -> None:
    whole = isinstance(target_step, int) and not isinstance(target_step, bool)
    if not whole or target_step < 2:  # type: ignore[operator]
        raise PredictorError(f"target_step={target_step!r}: must be a whole number from 2 on")


def _ahead(target_step: int, curves: Array) -> None:
    if target_step <= curves.shape[1]:
        raise PredictorError(
            f"target_step={target_step}: must be beyond the {curves.shape[1]} steps of the curves"
        )


def _needed(static: Array | None) -> Array:
    if static is None or not 1 <= static.shape[1] <= _COLUMNS:
        given = "is missing" if static is None else f"has {static.shape[1]} columns"
        raise PredictorError(f"static {given}: must have 1 to {_COLUMNS}, the hyperparameters")
    return static


def _tensor(values: Array) -> Any:
    import torch

    return torch.from_numpy(np.asarray(values, dtype=np.float32))
