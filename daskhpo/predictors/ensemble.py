"""Several predictors, each of its own curves, whose forecasts are averaged."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import numpy as np

from daskhpo.exceptions import PredictorError
from daskhpo.predictors import make_predictor
from daskhpo.predictors.base import Array, Configured, Predictor, record_of
from daskhpo.predictors.features import check_curves, check_known
from daskhpo.scalars import nearest

__all__ = ["Ensemble"]

Weights = Literal["equal", "r2"]


class Ensemble(Configured):
    """Members of one kind that learn from disjoint random sets of curves.

    Use it where a member can learn from few curves only, as one that a quantum annealer trains,
    and where one random set of them may be a bad one: the mean is hardly better than a member,
    its worst case is. A classical machine on all the curves is as good.

    Parameters
    ----------
    predictor : str, mapping or Predictor
        Of what kind the members are, as :func:`~daskhpo.predictors.make_predictor` takes it. One
        that is given is copied and left as it is.
    members : int
        How many there are at most.
    size : int
        Curves of one member. With fewer than ``members * size`` there are as many members as
        there are full sets, and at least one, with what there is.
    weights : str
        ``"equal"`` the plain mean, as in the paper; ``"r2"`` in proportion to each member's R² on
        the curves that it did not see, as in the authors' notebook, 0 for one that is worse than
        their mean. Equal where no member has a weight.
    seed : int
        Deals out the curves.

    Attributes
    ----------
    residuals_ : array of shape (n,)
        Forecasts less targets, each forecast by the members that did not see the curve; NaN where
        all have seen it, as with a single member.
    record : mapping
        ``members``, ``size`` of the smallest, the members' ``backend_requested`` and
        ``backend_used`` (several are joined by a comma) and ``fits``, their records.

    Raises
    ------
    PredictorError
        If an argument is not allowed; it is named.

    Notes
    -----
    Wulff et al., Hyperparameter optimization, quantum-assisted model performance prediction, and
    benchmarking of AI-based High Energy Physics workloads using HPC (section 2 and the last row
    of table 2): 80 curves, four members of 20.

    Examples
    --------
    >>> curves = np.linspace(1.0, 2.0, 8)[:, None] * np.array([3.0, 2.0, 1.5])
    >>> targets = curves[:, -1] - np.array([0.5, 0.7] * 4)
    >>> ensemble = Ensemble("last_drop", members=2, size=4, seed=1).fit(curves, targets)
    >>> len(ensemble.members_), ensemble.residuals_.shape
    (2, (8,))
    """

    def __init__(
        self,
        predictor: str | Mapping[str, Any] | Predictor = "svr",
        members: int = 4,
        *,
        size: int = 20,
        weights: Weights = "equal",
        seed: int = 0,
    ) -> None:
        self.predictor = predictor
        self.members = members
        self.size = size
        self.weights = weights
        self.seed = seed
        self._member()

    def fit(self, curves: Array, targets: Array, static: Array | None = None) -> Self:
        """Learn from ``curves`` (n, d), ``targets`` (n,) and, where it is known, ``static`` (n, p).

        Raises
        ------
        PredictorError
            If there are fewer than two curves, shapes differ, a number is not finite, or a member
            cannot learn from its curves.
        """
        kind = self._member()
        curves, targets, static = check_known(curves, targets, static)
        order = np.random.default_rng(self.seed).permutation(len(curves))
        count = min(max(len(curves) // self.size, 1), self.members)
        sets = [np.sort(order[i * self.size : (i + 1) * self.size]) for i in range(count)]
        self.members_ = [
            copy.deepcopy(kind).fit(curves[rows], targets[rows], _rows(static, rows))
            for rows in sets
        ]
        errors = self._forecasts(curves, static) - targets  # (members, n)
        unseen = np.ones_like(errors, dtype=bool)
        for member, rows in enumerate(sets):
            unseen[member, rows] = False
        self.weights_ = self._weigh(errors, unseen, targets)
        self.residuals_ = _out_of_fold(errors, unseen, self.weights_)
        self.record = _record(self.members_, min(map(len, sets)))
        return self

    def predict(self, curves: Array, static: Array | None = None) -> Array:
        """Forecast (m,) from ``curves`` (m, d) and ``static`` (m, p): the members' mean."""
        forecast: Array = self.weights_ @ self._forecasts(*check_curves(curves, static))
        return forecast

    def _forecasts(self, curves: Array, static: Array | None) -> Array:
        return np.stack([member.predict(curves, static) for member in self.members_])

    def _member(self) -> Predictor:
        """A member that has learned nothing, once all arguments are known to be allowed."""
        for name, least in (("members", 1), ("size", 2), ("seed", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not (whole and value >= least):
                raise PredictorError(f"{name}={value!r}: must be a whole number from {least} on")
        if self.weights not in get_args(Weights):
            known = nearest(self.weights, get_args(Weights))
            raise PredictorError(f"weights={self.weights!r}: {known}")
        if isinstance(self.predictor, str | Mapping):
            return make_predictor(self.predictor)
        if not isinstance(self.predictor, Predictor):
            raise PredictorError(
                f"predictor={self.predictor!r}: must be a name, settings, or have the methods fit "
                "and predict"
            )
        return self.predictor

    def _weigh(self, errors: Array, unseen: Array, targets: Array) -> Array:
        worth = np.ones(len(errors))
        if self.weights == "r2":
            worth = np.array(
                [_r2(e[rows], targets[rows]) for e, rows in zip(errors, unseen, strict=True)]
            )
            worth = np.maximum(worth, 0.0)
        if not worth.any():
            worth = np.ones(len(errors))
        shares: Array = worth / worth.sum()
        return shares


def _r2(errors: Array, targets: Array) -> float:
    spread = float(((targets - targets.mean()) ** 2).sum()) if len(targets) else 0.0
    return 1 - float((errors**2).sum()) / spread if spread > 0 else 0.0


def _out_of_fold(errors: Array, unseen: Array, weights: Array) -> Array:
    shares = unseen * weights[:, None]
    total = shares.sum(axis=0)
    found = np.full(errors.shape[1], np.nan)
    known = total > 0
    found[known] = (shares * errors).sum(axis=0)[known] / total[known]
    return found


def _rows(static: Array | None, rows: Any) -> Array | None:
    return None if static is None else static[rows]


def _record(members: list[Predictor], size: int) -> dict[str, Any]:
    fits = [dict(record_of(member)) for member in members]
    record: dict[str, Any] = {"members": len(members), "size": size}
    for key in ("backend_requested", "backend_used"):
        if found := {str(fit[key]) for fit in fits if fit.get(key) is not None}:
            record[key] = ", ".join(sorted(found))
    return {**record, "fits": fits} if any(fits) else record
