"""Sampling round what is known to be good, and less so the more results say otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from daskhpo.exceptions import SchedulerError, SpaceError
from daskhpo.samplers.candidates import first_free, neighbours, scattered
from daskhpo.samplers.features import Array
from daskhpo.samplers.kernels import Kernels
from daskhpo.samplers.notebook import Notebook, Results
from daskhpo.samplers.seeding import check_seed
from daskhpo.space import Space
from daskhpo.trial import Params, Value

__all__ = ["Prior"]

RANDOM = 1 / 3  # share of the suggestions that are drawn evenly, whatever is known
TOP = 3  # the least number of results that prior and incumbent are judged by
DRAWS = 64  # tries to find one that is not taken


class Prior:
    """Samples round configurations that somebody knows to be good, and learns whether they are.

    Use it where a good setting is known from another experiment or an earlier, smaller one: it
    is at home there from the first trial, needs no model, and a wrong belief costs it little.
    (To have the known configurations tried exactly as they are, give them to the campaign as
    ``points``.)

    Parameters
    ----------
    space : Space
        What to search, in d dimensions.
    around : sequence of mapping
        Known configurations. Parameters may be missing from them: those are drawn evenly.
    spread : float
        Standard deviation round them, as a share of a parameter's range (on its log scale where
        it has one); the chance that a choice is changed. Above 0 and at most 1.
    strength : float
        The number of results after which the prior counts half of what it did. Above 0.
    seed : int
        Seed. The same calls in the same order give the same suggestions.

    Raises
    ------
    SchedulerError
        When an argument is not allowed, or a known configuration is not part of the space.

    Notes
    -----
    A suggestion comes from one of three sources. One in three is drawn evenly over the space, so
    that nothing is ever excluded. The others come from the prior and, as soon as there are three
    results, from the neighbourhood of the incumbent, in the proportion ``S_prior : S_incumbent``:

    - the K best results (a tenth of them, at least three) have the weights K, K - 1, ..., 1;
    - ``S_incumbent`` adds them up, each times the density of a kernel of width ``spread`` round
      the incumbent at that configuration;
    - ``S_prior`` adds them up times the density of the prior, and is multiplied by
      ``strength / (strength + n)`` for n results.

    The sums are those of PriorBand: whoever predicts better where good results lie gets more
    trials. PriorBand also lets the share of the even draws fall from rung to rung; here all
    suggestions are for the lowest rung, so it stays. The last factor is ours, in the spirit of
    the decay of pi-BO (Hvarfner et al., ICLR 2022): even a prior that is right becomes too wide
    as the incumbent settles. A prior that is wrong loses by its density alone, within three
    results.

    References
    ----------
    Mallik et al., PriorBand: practical hyperparameter optimization in the age of deep learning,
    NeurIPS 2023 (arXiv 2306.12370), section 4.

    Examples
    --------
    >>> from daskhpo.space import Float, Space
    >>> space = Space(lr=Float(1e-5, 1e-1, log=True), drop=Float(0.0, 0.5))
    >>> sampler = Prior(space, around=[{"lr": 1e-3}], spread=0.05, seed=1)
    >>> sum(3e-4 < sampler.suggest(number)["lr"] < 3e-3 for number in range(30)) > 15
    True
    """

    slow = False

    def __init__(
        self,
        space: Space,
        *,
        around: Sequence[Params] = (),
        spread: float = 0.2,
        strength: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.space, self.seed = space, check_seed(seed)
        self.spread = _number("spread", spread, 1.0)
        self.strength = _number("strength", strength, np.inf)
        self._notes = Notebook(space, self.seed)
        self.around = _configurations(space, around)
        units = np.array([_unit(space, point) for point in self.around])
        known = np.array([[name in p for name in space.dimensions] for p in self.around], bool)
        widths = np.full(space.dimension, self.spread)
        self._prior = Kernels(self._notes.features, units, known, widths)
        self._results: Results | None = None

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
        keys = ("around", "spread", "strength")
        return {"type": "prior"} | {key: getattr(self, key) for key in keys}

    def __repr__(self) -> str:
        return f"Prior({self.space!r}, around={self.around!r}, seed={self.seed})"

    def shares(self, rng: np.random.Generator) -> tuple[float, float, float]:
        """Chances that the next suggestion is drawn evenly, from the prior, near the incumbent.

        ``rng`` weighs several metrics against one another.
        """
        return self._judge(rng)[0]

    def _choose(self, number: int, rng: np.random.Generator) -> Array:
        """Return the point of trial ``number``, of shape (d,)."""
        features, taken = self._notes.features, self._notes.taken
        shares, best = self._judge(rng)
        source = int(rng.choice(3, p=shares))
        if source == 1:
            points = self._prior.draw(DRAWS, rng)
        elif source == 2 and best is not None:
            points = neighbours(features, best[None], DRAWS, self.spread, rng)
        else:
            points = scattered(features, DRAWS, rng)
        return first_free(features, points, taken, rng)

    def _judge(self, rng: np.random.Generator) -> tuple[tuple[float, float, float], Array | None]:
        """Return the shares of the three sources, and the incumbent where it is one of them."""
        if self._results is None or self._notes.changes:
            self._results = self._notes.results()
        fine = self._results.fine
        n = int(fine.sum())
        if n < TOP:
            return (RANDOM, 1 - RANDOM, 0.0), None
        scores = self._results.scores(rng)
        order = np.flatnonzero(fine)[np.argsort(scores[fine], kind="stable")]
        top = self._results.units[order[: max(TOP, n // 10)]]
        near = self._incumbent(top[:1]).log_density(top)
        prior = self._prior.log_density(top)
        highest = max(near.max(), prior.max())  # only their ratio counts: keeps exp from underflow
        ranks = np.arange(len(top), 0, -1)
        faith = self.strength / (self.strength + n)
        agreed = faith * float(ranks @ np.exp(prior - highest))
        share = agreed / (agreed + float(ranks @ np.exp(near - highest)))
        rest = 1 - RANDOM
        return (RANDOM, rest * share, rest * (1 - share)), top[0]

    def _incumbent(self, unit: Array) -> Kernels:
        snapped, active = self._notes.features.snap(unit)
        widths = np.full(self.space.dimension, self.spread)
        return Kernels(self._notes.features, snapped, active, widths)


def _configurations(space: Space, around: object) -> list[dict[str, Any]]:
    """Check the known configurations; some of their parameters may be missing."""
    if not isinstance(around, list | tuple) or not around:
        raise SchedulerError(
            f"around of Prior is {around!r}; it must be a list of configurations, such as "
            "[{'lr': 0.001}]"
        )
    for point in around:
        if not isinstance(point, Mapping) or not point:
            raise SchedulerError(
                f"around of Prior has {point!r}; it must be a mapping of parameters to values"
            )
        try:
            space.fix(point)  # whatever else is in the space could complete it
        except SpaceError as error:
            raise SchedulerError(f"around of Prior: {error}") from None
    return [dict(point) for point in around]


def _unit(space: Space, point: Params) -> Array:
    """Where a configuration lies; 0.5 for what it does not say."""
    unit = np.full(space.dimension, 0.5)
    for name, column in space.dimensions.items():
        if name in point:
            unit[column] = space[name].encode(point[name])
    return unit


def _number(key: str, value: object, most: float) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not 0 < value <= most or value == np.inf:  # type: ignore[operator]
        limit = f" and at most {most:g}" if most < np.inf else ""
        raise SchedulerError(f"{key} of Prior is {value!r}; it must be a number above 0{limit}")
    return float(value)  # type: ignore[arg-type]
