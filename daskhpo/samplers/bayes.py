"""Bayesian optimisation with scikit-optimize's surrogates, made asynchronous."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers.acquisition import ACQUISITIONS
from daskhpo.samplers.candidates import first_free, neighbours, scattered, unique
from daskhpo.samplers.features import Array
from daskhpo.samplers.notebook import Notebook, Results
from daskhpo.samplers.refits import patience, subset
from daskhpo.samplers.seeding import check_seed
from daskhpo.samplers.sobol import Sobol
from daskhpo.samplers.surrogates import Belief, Forest, GaussianProcess, Pool, Surrogate
from daskhpo.scalars import nearest
from daskhpo.space import Space
from daskhpo.trial import Params, Value

__all__ = ["Bayes"]

SURROGATES: dict[str, type[Surrogate]] = {"gp": GaussianProcess, "et": Forest}
FIT_ROWS = 200  # results that hyperparameters are fitted to: n**3 beyond
GP_ROWS = 1000  # results beyond which trees take over from the Gaussian process
TREE_ROWS = 5000  # results beyond which trees see a subset
WIDE = 1000  # candidates all over the space
COVERING = 3  # one suggestion in so many covers the space where trials are judged by beginnings
ANCHORS = 10  # best trials, around which further candidates lie


@dataclass(slots=True)
class Shelf:
    """Candidates ready to be handed out, under one state of knowledge.

    ``units`` (m, d), ``free`` (m,) says which are not handed out, ``best`` is the smallest
    believed score of what has been tried. A ``fleeting`` one serves one weighing of metrics only.
    """

    units: Array
    pool: Pool
    best: float
    fleeting: bool = False
    free: npt.NDArray[np.bool_] = field(init=False)
    picks: int = 0

    def __post_init__(self) -> None:
        self.free = np.ones(len(self.units), bool)


class Bayes:
    """Learns from the results where to look next.

    Use it where a trial is expensive and there are ten to a few thousand of them. It knows no
    rounds: every suggestion takes all results so far into account and keeps clear of the trials
    that still run. Results of different steps are compared as if all trials had gone on to the
    largest one, see :func:`~daskhpo.samplers.scores.prolonged`.

    Parameters
    ----------
    space : Space
        What to search.
    seed : int
        Seed. The same calls in the same order give the same suggestions.
    surrogate : {"gp", "et"}
        Gaussian process, replaced by trees beyond 1,000 results; or extra trees throughout, for
        spaces that are mostly choices.
    startup : int, optional
        Trials that cover the space (Sobol) before the surrogate is asked; ``max(10, 2 d)`` for
        d dimensions. The covering goes on while fewer than half as many have finished.
    acquisition : {"ei", "lcb"}
        Expected improvement, or the lower confidence bound, which explores more.

    Raises
    ------
    SchedulerError
        When an argument is not allowed.

    Notes
    -----
    :meth:`tell` and :meth:`pend` only take notes; all work is in :meth:`suggest`, which holds no
    lock while it computes. Three clocks keep it short: hyperparameters are fitted again when a
    quarter more results are in (25 more beyond 100, 5 % more beyond 500), to 200 of them; the
    posterior takes in new results every ``n / 50`` suggestions; in between, each suggestion
    costs one row of a Cholesky factor.

    Where a scheduler stops trials early, most are judged by their beginnings, and what leads
    early need not lead at the end: then every third suggestion covers the space all the same, as
    in BOHB. On a regressor fitted to the curves of MLPF this search beats random search under
    ASHA in every campaign; where early values mislead (an LSTM on Penn Treebank, 84 trials) or
    trials are few (CNNs on CIFAR-10, 43 trials) it is no better than random.

    Results are standardised after cutting off the bad ones, see
    :func:`~daskhpo.samplers.scores.winsorised`. A failed trial (inf or nan) never
    enters a fit of hyperparameters; the posterior holds it as bad as the worst score, which
    keeps suggestions softly away from where trials fail.

    Where several metrics are traded off, each suggestion weighs them anew, see
    :func:`~daskhpo.samplers.scores.scalarised`; with many results the same weights serve
    ``n / 50`` suggestions.

    In a finite space no configuration is suggested twice before all have been, those of earlier
    campaigns included; then they are drawn at random.

    References
    ----------
    Snoek, Larochelle and Adams, Practical Bayesian optimization of machine learning algorithms,
    NeurIPS 2012.

    Examples
    --------
    >>> from daskhpo.space import Float, Space
    >>> sampler = Bayes(Space(x=Float(-1.0, 1.0)), seed=1, startup=4)
    >>> tried = []
    >>> for number in range(12):
    ...     tried.append(sampler.suggest(number)["x"])
    ...     sampler.pend(number, {"x": tried[-1]})
    ...     sampler.tell(number, 1, (tried[-1] - 0.3) ** 2)
    >>> min(abs(x - 0.3) for x in tried) < 0.01
    True
    """

    slow = True

    def __init__(
        self,
        space: Space,
        *,
        seed: int = 0,
        surrogate: str = "gp",
        startup: int | None = None,
        acquisition: str = "ei",
    ) -> None:
        _check("surrogate", surrogate, SURROGATES)
        _check("acquisition", acquisition, ACQUISITIONS)
        if startup is None:
            startup = max(10, 2 * space.dimension)
        if isinstance(startup, bool) or not isinstance(startup, int) or startup < 2:
            raise SchedulerError(f"startup of Bayes is {startup!r}; it must be an int >= 2")
        self.space, self.seed = space, check_seed(seed)
        self.surrogate, self.startup, self.acquisition = surrogate, startup, acquisition
        self._notes = Notebook(space, self.seed)
        self._sobol = Sobol(space, seed=self.seed)
        self._models: dict[str, Surrogate] = {}
        self._fitted = 0  # results at the last fit of hyperparameters
        self._shelf: Shelf | None = None

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
        keys = ("surrogate", "startup", "acquisition")
        return {"type": "bayes"} | {key: getattr(self, key) for key in keys}

    def __repr__(self) -> str:
        return f"Bayes({self.space!r}, seed={self.seed}, surrogate={self.surrogate!r})"

    def _choose(self, number: int, rng: np.random.Generator) -> Array:
        """Return the point of trial ``number``, of shape (d,)."""
        covers = self._notes.partial and number % COVERING == 0
        if number + self._notes.learned >= self.startup and not covers:
            shelf = self._ready(rng)
            unit = None if shelf is None else self._take(shelf)
            if unit is not None:
                return unit
        wanted = self._sobol.point(number)[None]
        return first_free(self._notes.features, wanted, self._notes.taken, rng)

    def _take(self, shelf: Shelf) -> Array | None:
        """Hand out the most promising candidate that is free; None when there is none."""
        scores = ACQUISITIONS[self.acquisition](shelf.pool.mean, shelf.pool.std, shelf.best)
        while shelf.free.any():
            index = int(np.argmax(np.where(shelf.free, scores, -np.inf)))
            shelf.free[index] = False
            unit: Array = shelf.units[index]
            if self._notes.features.keys(unit[None])[0] in self._notes.taken:
                continue  # pended by somebody else since the shelf was filled
            shelf.best = min(shelf.best, float(shelf.pool.mean[index]))
            shelf.pool.condition(index)
            shelf.picks += 1
            return unit
        return None

    def _ready(self, rng: np.random.Generator) -> Shelf | None:
        """Return the shelf, filled anew when it is due; None while there is too little to learn."""
        shelf = self._shelf
        if shelf is not None and shelf.free.any():
            due = (self._notes.changes or shelf.fleeting) and shelf.picks >= self._notes.many // 50
            if not due and shelf.picks < WIDE // 4:
                return shelf
        results = self._notes.results()
        if results.fine.sum() < max(2, self.startup // 2):
            return None
        self._shelf = self._fill(results, rng)
        return self._shelf

    def _fill(self, results: Results, rng: np.random.Generator) -> Shelf:
        """Make candidates and what is believed of them."""
        features, fine, scores = self._notes.features, results.fine, results.scores(rng)
        rows = features.columns(results.units)
        best_first = np.flatnonzero(fine)[np.argsort(scores[fine], kind="stable")]
        belief = self._belief(rows, scores, fine, features.columns(results.pending), rng)
        anchors = results.units[best_first[:ANCHORS]]
        tried = belief.pool(features.columns(np.vstack([anchors, results.pending])))
        best = float(tried.mean.min())
        units = self._candidates(belief, best, anchors, rng)
        return Shelf(units, belief.pool(features.columns(units)), best, results.several)

    def _belief(
        self,
        rows: Array,
        scores: Array,
        fine: npt.NDArray[np.bool_],
        pending: Array,
        rng: np.random.Generator,
    ) -> Belief:
        """Fit the surrogate when that is due, and condition it on everything."""
        n = int(fine.sum())
        kind = "et" if len(rows) > GP_ROWS else self.surrogate
        if kind not in self._models:
            self._models[kind], self._fitted = SURROGATES[kind](), 0
        model = self._models[kind]
        if not self._fitted or n >= self._fitted + patience(self._fitted):
            some = subset(scores[fine], FIT_ROWS, rng)
            model.fit(rows[fine][some], scores[fine][some], rng)
            self._fitted = n
        some = subset(scores, TREE_ROWS, rng)
        return model.believe(rows[some], scores[some], pending, rng)

    def _candidates(
        self, belief: Belief, best: float, anchors: Array, rng: np.random.Generator
    ) -> Array:
        """Return candidates (m, d) that are not handed out: wide ones, near ones, nearer ones."""
        features, taken = self._notes.features, self._notes.taken
        if self.space.size <= 2 * WIDE:
            units = np.array([self.space.encode(params) for params in self.space.grid()])
            return unique(features, units, taken)
        near = neighbours(features, anchors, 50, 0.3, rng)
        units = unique(features, np.vstack([scattered(features, WIDE, rng), near]), taken)
        latest = units
        for scale in (0.1, 0.03, 0.01):
            pool = belief.pool(features.columns(latest))
            scores = ACQUISITIONS[self.acquisition](pool.mean, pool.std, best)
            top = latest[np.argsort(-scores, kind="stable")[:8]]
            nearer = unique(features, neighbours(features, top, 30, scale, rng), taken)
            latest = np.vstack([top, nearer])
            units = np.vstack([units, latest])
        return unique(features, units, taken)


def _check(key: str, value: object, known: Mapping[str, Any]) -> None:
    if value not in known:
        raise SchedulerError(f"{key} of Bayes is {value!r}; {nearest(value, known)}")
