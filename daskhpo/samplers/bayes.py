"""Bayesian optimisation with scikit-optimize's surrogates, made asynchronous."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers.acquisition import ACQUISITIONS
from daskhpo.samplers.candidates import neighbours, unique
from daskhpo.samplers.features import Array, Features
from daskhpo.samplers.scores import prolonged, winsorised
from daskhpo.samplers.seeding import check_seed, generator
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
GAINS = 256  # latest changes kept for each pair of steps
ANCHORS = 10  # best trials, around which further candidates lie


@dataclass(frozen=True, slots=True)
class Results:
    """What is known at one moment: a copy, so that a fit needs no lock.

    ``units`` (n, d), ``steps`` (n,) and ``values`` (n,; inf where failed) of the trials with
    results in the order of their numbers, ``pending`` (p, d) of those without; ``gains`` are
    changes between steps, see :func:`~daskhpo.samplers.scores.prolonged`.
    """

    units: Array
    steps: Array
    values: Array
    pending: Array
    gains: dict[tuple[int, int], list[float]]

    @property
    def fine(self) -> npt.NDArray[np.bool_]:
        """Which trials did not fail, of shape (n,)."""
        return np.isfinite(self.values)


@dataclass(slots=True)
class Shelf:
    """Candidates ready to be handed out, under one state of knowledge.

    ``units`` (m, d), ``free`` (m,) says which are not handed out, ``best`` is the smallest
    believed score of what has been tried.
    """

    units: Array
    pool: Pool
    best: float
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

    Results are standardised after cutting off the bad ones, see
    :func:`~daskhpo.samplers.scores.winsorised`. A failed trial (inf or nan) never
    enters a fit of hyperparameters; the posterior holds it as bad as the worst score, which
    keeps suggestions softly away from where trials fail.

    In a finite space no configuration is suggested twice before all have been; then they
    are drawn at random.

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
        self._features = Features(space)
        self._sobol = Sobol(space, seed=seed)
        self._notes = threading.Lock()  # guards the six below, never held while computing
        self._given: dict[int, Params] = {}  # {number: params}
        self._units: dict[int, Array] = {}  # {number: (d,)}
        self._results: dict[int, tuple[int, float]] = {}  # {number: (step, value)}
        self._gains: dict[tuple[int, int], deque[float]] = defaultdict(lambda: deque(maxlen=GAINS))
        self._taken: Counter[bytes] = Counter()  # {key of a configuration: trials that have it}
        self._changes = 0  # results and foreign trials since the shelf was filled
        self._turn = threading.Lock()  # one suggestion at a time; guards the rest
        self._models: dict[str, Surrogate] = {}
        self._fitted = 0  # results at the last fit of hyperparameters
        self._shelf: Shelf | None = None

    def suggest(self, number: int) -> Params | None:
        """Propose the configuration of trial ``number``; the same one when asked again."""
        with self._turn:
            with self._notes:
                if number in self._given:
                    return dict(self._given[number])
            unit = self._choose(number)
            params = self.space.decode(unit)
            with self._notes:
                changes = self._changes
                self._note(number, params)
                self._changes = changes  # the shelf has been conditioned on it
            return dict(params)

    def pend(self, number: int, params: Params) -> None:
        """Note what was handed out."""
        with self._notes:
            if number not in self._given or dict(self._given[number]) != dict(params):
                self._note(number, params)

    def tell(self, number: int, step: int, value: Value) -> None:
        """Note the last result of a trial; nan counts as failed."""
        assert not isinstance(value, tuple)
        value = float(value) if math.isfinite(value) else math.inf
        with self._notes:
            before, last = self._results.get(number, (step, value))
            if before < step and math.isfinite(value - last):
                self._gains[before, step].append(value - last)
            self._results[number] = (step, value)
            self._changes += 1

    def settings(self) -> dict[str, Any]:
        """Arguments that make this sampler again, see :func:`~daskhpo.samplers.make_sampler`."""
        keys = ("surrogate", "startup", "acquisition")
        return {"type": "bayes"} | {key: getattr(self, key) for key in keys}

    def __repr__(self) -> str:
        return f"Bayes({self.space!r}, seed={self.seed}, surrogate={self.surrogate!r})"

    def _note(self, number: int, params: Params) -> None:
        unit = self.space.encode(params)
        if number in self._units:  # somebody else's configuration took this number
            self._taken.subtract(self._features.keys(self._units[number][None]))
            self._taken += Counter()  # drops what nobody has any more
        self._given[number] = self.space.validate(params)
        self._units[number] = unit
        self._taken.update(self._features.keys(unit[None]))
        self._changes += 1

    def _choose(self, number: int) -> Array:
        """Return the point of trial ``number``, of shape (d,)."""
        rng = generator(self.seed, number)
        with self._notes:
            taken, everything = len(self._taken), self.space.size
        if not self.space.dimension:
            return np.empty(0)
        if taken >= everything:
            again: Array = rng.random(self.space.dimension)
            return again
        if number >= self.startup:
            shelf = self._ready(rng)
            unit = None if shelf is None else self._take(shelf)
            if unit is not None:
                return unit
        return self._cover(number, rng)

    def _take(self, shelf: Shelf) -> Array | None:
        """Hand out the most promising candidate that is free; None when there is none."""
        scores = ACQUISITIONS[self.acquisition](shelf.pool.mean, shelf.pool.std, shelf.best)
        while shelf.free.any():
            index = int(np.argmax(np.where(shelf.free, scores, -np.inf)))
            shelf.free[index] = False
            unit: Array = shelf.units[index]
            if self._features.keys(unit[None])[0] in self._taken:
                continue  # pended by somebody else since the shelf was filled
            shelf.best = min(shelf.best, float(shelf.pool.mean[index]))
            shelf.pool.condition(index)
            shelf.picks += 1
            return unit
        return None

    def _cover(self, number: int, rng: np.random.Generator) -> Array:
        """Return point ``number`` of the Sobol sequence, or another when that was handed out."""
        draws: Array = rng.random((64, self.space.dimension))
        points = np.vstack([self._sobol.point(number), draws])
        free = unique(self._features, points, self._taken)
        if len(free):
            return np.asarray(free[0])
        # The space is finite and nearly exhausted: among its first taken + 1 points one is free.
        for params in self.space.grid():
            unit = self.space.encode(params)
            if self._features.keys(unit[None])[0] not in self._taken:
                return unit
        return np.asarray(points[0])

    def _ready(self, rng: np.random.Generator) -> Shelf | None:
        """Return the shelf, filled anew when it is due; None while there is too little to learn."""
        shelf, n = self._shelf, len(self._results)
        if shelf is not None and shelf.free.any():
            due = self._changes and shelf.picks >= n // 50
            if not due and shelf.picks < WIDE // 4:
                return shelf
        with self._notes:
            self._changes = 0
            results = self._snapshot()
        if results.fine.sum() < max(2, self.startup // 2):
            return None
        self._shelf = self._fill(results, rng)
        return self._shelf

    def _snapshot(self) -> Results:
        known = sorted(self._results.keys() & self._units.keys())
        waiting = sorted(self._units.keys() - self._results.keys())
        shape = (-1, self.space.dimension)
        return Results(
            units=np.array([self._units[number] for number in known]).reshape(shape),
            steps=np.array([self._results[number][0] for number in known], float),
            values=np.array([self._results[number][1] for number in known], float),
            pending=np.array([self._units[number] for number in waiting]).reshape(shape),
            gains={pair: list(changes) for pair, changes in self._gains.items()},
        )

    def _fill(self, results: Results, rng: np.random.Generator) -> Shelf:
        """Make candidates and what is believed of them."""
        fine = results.fine
        values = prolonged(results.values, results.steps, results.gains)
        scores = np.empty(len(fine))
        scores[fine] = winsorised(values[fine])
        scores[~fine] = scores[fine].max()
        rows = self._features.columns(results.units)
        best_first = np.flatnonzero(fine)[np.argsort(scores[fine], kind="stable")]
        belief = self._belief(rows, scores, fine, self._features.columns(results.pending), rng)
        anchors = results.units[best_first[:ANCHORS]]
        tried = belief.pool(self._features.columns(np.vstack([anchors, results.pending])))
        best = float(tried.mean.min())
        units = self._candidates(belief, best, anchors, rng)
        return Shelf(units, belief.pool(self._features.columns(units)), best)

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
        if not self._fitted or n >= self._fitted + _patience(self._fitted):
            some = _subset(scores[fine], FIT_ROWS, rng)
            model.fit(rows[fine][some], scores[fine][some], rng)
            self._fitted = n
        some = _subset(scores, TREE_ROWS, rng)
        return model.believe(rows[some], scores[some], pending, rng)

    def _candidates(
        self, belief: Belief, best: float, anchors: Array, rng: np.random.Generator
    ) -> Array:
        """Return candidates (m, d) that are not handed out: wide ones, near ones, nearer ones."""
        with self._notes:
            taken = set(self._taken)
        if self.space.size <= 2 * WIDE:
            units = np.array([self.space.encode(params) for params in self.space.grid()])
            return unique(self._features, units, taken)
        wide = rng.random((WIDE, self.space.dimension))
        near = neighbours(self._features, anchors, 50, 0.3, rng)
        units = unique(self._features, np.vstack([wide, near]), taken)
        latest = units
        for scale in (0.1, 0.03, 0.01):
            pool = belief.pool(self._features.columns(latest))
            scores = ACQUISITIONS[self.acquisition](pool.mean, pool.std, best)
            top = latest[np.argsort(-scores, kind="stable")[:8]]
            latest = np.vstack([top, neighbours(self._features, top, 30, scale, rng)])
            units = np.vstack([units, latest])
        return unique(self._features, units, taken)


def _patience(fitted: int) -> int:
    """Further results to wait for before hyperparameters are fitted again."""
    return max(1, min(fitted // 4, max(25, fitted // 20)))


def _subset(scores: Array, most: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Choose at most so many rows: a quarter the best, a quarter the latest, the rest by lot."""
    n = len(scores)
    if n <= most:
        return np.arange(n)
    chosen = set(np.argsort(scores, kind="stable")[: most // 4].tolist())
    chosen |= set(range(n - most // 4, n))
    others = np.setdiff1d(np.arange(n), list(chosen))
    lot = rng.choice(others, most - len(chosen), replace=False)
    return np.sort(np.concatenate([list(chosen), lot])).astype(np.intp)


def _check(key: str, value: object, known: Mapping[str, Any]) -> None:
    if value not in known:
        raise SchedulerError(f"{key} of Bayes is {value!r}; {nearest(value, known)}")
