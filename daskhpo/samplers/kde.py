"""BOHB's sampler: where good configurations are dense and bad ones are not."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers.candidates import first_free, scattered, unique
from daskhpo.samplers.features import Array
from daskhpo.samplers.kernels import Kernels, rule_of_thumb
from daskhpo.samplers.notebook import Notebook, Results
from daskhpo.samplers.scores import scalarised
from daskhpo.samplers.seeding import check_seed
from daskhpo.space import Space
from daskhpo.trial import Params, Value

__all__ = ["KDE"]

GOOD = 0.15  # share of the results that are good
STRETCH = 3.0  # candidates are drawn from wider kernels than those they are judged by
LEAST_WIDTH = 1e-3
ROWS = 1000  # bad results beyond which a subset is taken: the cost grows with them


class KDE:
    """Proposes what resembles the good configurations and not the bad ones.

    Use it with a scheduler of many short trials (ASHA, Hyperband) and thousands of them: it costs
    a few milliseconds, and it learns from the largest step at which it has seen enough trials,
    so that the few long ones count for more than the many short ones.

    Parameters
    ----------
    space : Space
        What to search, in d dimensions.
    seed : int
        Seed. The same calls in the same order give the same suggestions.
    min_points : int, optional
        The least number of good configurations, and of bad ones; ``d + 1``. The model begins at
        the first step with two more results.
    candidates : int
        How many are drawn for each suggestion.
    random_fraction : float
        Share of the suggestions that are drawn evenly, whatever is known.

    Raises
    ------
    SchedulerError
        When an argument is not allowed.

    Notes
    -----
    Of N results at that step, the best ``max(min_points, 0.15 N)`` are good and the worst
    ``max(min_points, N - good)`` bad, as in the paper. Candidates come from the density of the
    good ones with widths three times larger, and the one with the largest ratio of the two
    densities is taken. Trials that failed are bad at every step.

    Three things are not as in the paper, where it says nothing: a parameter that is inactive in
    a configuration counts as spread evenly there (its authors' code fills in another
    configuration's value), the width of a choice does not depend on the order of its values, and
    no configuration is proposed twice while others are left. Several metrics are weighed anew
    for each suggestion, see :func:`~daskhpo.samplers.scores.scalarised`.

    References
    ----------
    Falkner, Klein and Hutter, BOHB: robust and efficient hyperparameter optimization at scale,
    ICML 2018.

    Examples
    --------
    >>> from daskhpo.space import Float, Space
    >>> sampler = KDE(Space(x=Float(-1.0, 1.0)), seed=1)
    >>> tried = []
    >>> for number in range(40):
    ...     tried.append(sampler.suggest(number)["x"])
    ...     sampler.tell(number, 1, (tried[-1] - 0.3) ** 2)
    >>> min(abs(x - 0.3) for x in tried) < 0.05
    True
    """

    slow = False

    def __init__(
        self,
        space: Space,
        *,
        seed: int = 0,
        min_points: int | None = None,
        candidates: int = 64,
        random_fraction: float = 1 / 3,
    ) -> None:
        self.space, self.seed = space, check_seed(seed)
        if min_points is None:
            min_points = space.dimension + 1
        for key, value in (("min_points", min_points), ("candidates", candidates)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SchedulerError(f"{key} of KDE is {value!r}; it must be an int >= 1")
        share = isinstance(random_fraction, int | float) and not isinstance(random_fraction, bool)
        if not share or not 0 <= random_fraction <= 1:
            raise SchedulerError(
                f"random_fraction of KDE is {random_fraction!r}; it must be a number from 0 to 1"
            )
        self.min_points, self.candidates = min_points, candidates
        self.random_fraction = random_fraction
        self._notes = Notebook(space, self.seed)
        self._results: Results | None = None  # what the model rests on
        self._model: tuple[Kernels, Kernels] | None = None  # good, bad

    def suggest(self, number: int) -> Params | None:
        """Propose the configuration of trial ``number``; the same one when asked again."""
        return self._notes.once(number, self._choose)

    def pend(self, number: int, params: Params) -> None:
        """Note what was handed out."""
        self._notes.pend(number, params)

    def tell(self, number: int, step: int, value: Value) -> None:
        """Note a result; those of smaller steps are kept beside it."""
        self._notes.tell(number, step, value)

    def learn(self, params: Params, step: int, value: Value) -> None:
        """Note a result of an earlier campaign, to be learned from like one's own."""
        self._notes.learn(params, step, value)

    def settings(self) -> dict[str, Any]:
        """Arguments that make this sampler again, see :func:`~daskhpo.samplers.make_sampler`."""
        keys = ("min_points", "candidates", "random_fraction")
        return {"type": "kde"} | {key: getattr(self, key) for key in keys}

    def __repr__(self) -> str:
        return f"KDE({self.space!r}, seed={self.seed})"

    def _choose(self, number: int, rng: np.random.Generator) -> Array:
        """Return the point of trial ``number``, of shape (d,)."""
        features, taken = self._notes.features, self._notes.taken
        if rng.random() >= self.random_fraction and (model := self._densities(rng)) is not None:
            good, bad = model
            drawn = unique(features, good.draw(self.candidates, rng, STRETCH), taken)
            if len(drawn):
                ratios = good.log_density(drawn) - bad.log_density(drawn)
                return np.asarray(drawn[np.argmax(ratios)])
        return first_free(features, scattered(features, 1, rng), taken, rng)

    def _densities(self, rng: np.random.Generator) -> tuple[Kernels, Kernels] | None:
        """Return the densities of good and bad; None while there are too few results."""
        if self._notes.changes:
            self._results, self._model = self._notes.reached(self.min_points + 2), None
        if self._results is not None and (self._model is None or self._results.several):
            self._model = self._fit(self._results, rng)
        return self._model

    def _fit(self, results: Results, rng: np.random.Generator) -> tuple[Kernels, Kernels]:
        order = np.argsort(scalarised(results.values, rng), kind="stable")
        n, fine = len(order), int(results.fine.sum())
        good = min(fine, max(self.min_points, int(GOOD * n)))
        bad = order[-max(self.min_points, n - good) :]
        if len(bad) > ROWS:
            bad = rng.choice(bad, ROWS, replace=False)
        return self._kernels(results.units[order[:good]]), self._kernels(results.units[bad])

    def _kernels(self, units: Array) -> Kernels:
        features = self._notes.features
        snapped, active = features.snap(units)
        widths = rule_of_thumb(features, snapped, active, LEAST_WIDTH)
        return Kernels(features, snapped, active, widths)
