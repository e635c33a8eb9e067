"""Thompson sampling from conformal quantiles: a light model that does not slow down."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers.candidates import first_free, scattered, unique
from daskhpo.samplers.features import Array
from daskhpo.samplers.notebook import Notebook
from daskhpo.samplers.quantiles import Quantiles
from daskhpo.samplers.refits import patience, subset
from daskhpo.samplers.seeding import check_seed
from daskhpo.samplers.sobol import Sobol
from daskhpo.space import Space
from daskhpo.trial import Params, Value

__all__ = ["Quantile"]

ROWS = 2000  # results beyond which the model sees a subset: what keeps it flat
CANDIDATES = 2000  # all over the space: trees gain nothing from looking near the best


class Quantile:
    """Learns from the quantiles of the results where luck may still be found.

    Use it where there are many trials, many choices and conditions, or noise that is far from
    Gaussian: it assumes nothing of its form, and hundreds of results cost it as much as
    thousands. :class:`~daskhpo.samplers.bayes.Bayes` finds smooth valleys in fewer trials.

    Parameters
    ----------
    space : Space
        What to search, in d dimensions.
    seed : int
        Seed. The same calls in the same order give the same suggestions.
    startup : int, optional
        Trials that cover the space (Sobol) before the model is asked; ``max(10, 2 d)``. The
        covering goes on while fewer than half as many have finished.

    Raises
    ------
    SchedulerError
        When an argument is not allowed.

    Notes
    -----
    Boosted trees predict five quantiles of the result, and held-out results correct them, see
    :class:`~daskhpo.samplers.quantiles.Quantiles`. Of 2,000 candidates spread evenly, each gets
    one of its quantiles by lot, and the smallest wins (Thompson sampling): uncertain regions are
    tried as long as they may hold the best.

    The lots are drawn anew for each suggestion, and no configuration is suggested twice while
    others are left. That is all that keeps pending trials apart: the model does not know them,
    and two that run at the same time may be close.

    Trees are grown again when a quarter more results are in (25 more beyond 100, 5 % more beyond
    500), from 2,000 results at most. Results of different steps are compared as if all trials
    had gone on to the largest one, see :func:`~daskhpo.samplers.scores.prolonged`; the paper
    takes the last value as it is, which under ASHA made no difference beyond the noise of 14
    seeds on three problems. Candidates near the best ones, which serve
    :class:`~daskhpo.samplers.bayes.Bayes`, made this sampler worse: trees do not tell them apart.

    A failed trial is as bad as the worst. Several metrics are weighed anew whenever trees are
    grown, see :func:`~daskhpo.samplers.scores.scalarised`.

    References
    ----------
    Salinas, Golebiowski, Klein, Seeger and Archambeau, Optimizing hyperparameters with conformal
    quantile regression, ICML 2023 (arXiv 2305.03623).

    Examples
    --------
    >>> from daskhpo.space import Float, Space
    >>> sampler = Quantile(Space(x=Float(-1.0, 1.0)), seed=1)
    >>> tried = []
    >>> for number in range(20):
    ...     tried.append(sampler.suggest(number)["x"])
    ...     sampler.tell(number, 1, (tried[-1] - 0.3) ** 2)
    >>> min(abs(x - 0.3) for x in tried) < 0.05
    True
    """

    slow = True

    def __init__(self, space: Space, *, seed: int = 0, startup: int | None = None) -> None:
        if startup is None:
            startup = max(10, 2 * space.dimension)
        if isinstance(startup, bool) or not isinstance(startup, int) or startup < 2:
            raise SchedulerError(f"startup of Quantile is {startup!r}; it must be an int >= 2")
        self.space, self.seed, self.startup = space, check_seed(seed), startup
        self._notes = Notebook(space, self.seed)
        self._sobol = Sobol(space, seed=self.seed)
        self._model: Quantiles | None = None
        self._fitted = 0  # results that the model rests on

    def suggest(self, number: int) -> Params | None:
        """Propose the configuration of trial ``number``; the same one when asked again."""
        return self._notes.once(number, self._choose)

    def pend(self, number: int, params: Params) -> None:
        """Note what was handed out."""
        self._notes.pend(number, params)

    def tell(self, number: int, step: int, value: Value) -> None:
        """Note the last result of a trial; nan counts as failed."""
        self._notes.tell(number, step, value)

    def learn(self, params: Params, step: int, value: Value) -> None:
        """Note a result of an earlier campaign, to be learned from like one's own."""
        self._notes.learn(params, step, value)

    def settings(self) -> dict[str, Any]:
        """Arguments that make this sampler again, see :func:`~daskhpo.samplers.make_sampler`."""
        return {"type": "quantile", "startup": self.startup}

    def __repr__(self) -> str:
        return f"Quantile({self.space!r}, seed={self.seed}, startup={self.startup})"

    def _choose(self, number: int, rng: np.random.Generator) -> Array:
        """Return the point of trial ``number``, of shape (d,)."""
        features, taken = self._notes.features, self._notes.taken
        if number + self._notes.learned >= self.startup and (model := self._ready(rng)):
            points = unique(features, scattered(features, CANDIDATES, rng), taken)
            if len(points):
                drawn = model.draw(features.columns(points), rng)
                return np.asarray(points[np.argmin(drawn)])
        return first_free(features, self._sobol.point(number)[None], taken, rng)

    def _ready(self, rng: np.random.Generator) -> Quantiles | None:
        """Return the model, fitted anew when that is due; None while there is too little."""
        due = self._notes.many >= self._fitted + patience(self._fitted)
        if self._model is not None and not due:
            return self._model
        results = self._notes.results()
        if results.fine.sum() < max(2, self.startup // 2):
            return None
        scores = results.scores(rng)
        some = subset(scores, ROWS, rng)
        rows = self._notes.features.columns(results.units[some])
        self._model, self._fitted = Quantiles(rows, scores[some], rng), len(results.units)
        return self._model
