"""Random search."""

from __future__ import annotations

from typing import Any

from daskhpo.samplers.seeding import check_seed, generator
from daskhpo.space import Space
from daskhpo.trial import Params, Value

__all__ = ["Random"]


class Random:
    """Draws every configuration independently of all others.

    Use it as the baseline that every other sampler has to beat, and where thousands of trials
    are stopped early: it never repeats itself in a continuous space and costs nothing. Forbidden
    combinations are never drawn, see :meth:`~daskhpo.space.Space.sample`.

    Parameters
    ----------
    space : Space
        What to draw from.
    seed : int
        Seed; trial ``number`` draws from its own generator.

    References
    ----------
    Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 281 (2012).

    Examples
    --------
    >>> from daskhpo.space import Float, Space
    >>> sampler = Random(Space(lr=Float(0.0, 1.0)), seed=1)
    >>> sampler.suggest(3) == sampler.suggest(3), sampler.suggest(3) == sampler.suggest(4)
    (True, False)
    """

    slow = False

    def __init__(self, space: Space, *, seed: int = 0) -> None:
        self.space = space
        self.seed = check_seed(seed)

    def suggest(self, number: int) -> Params | None:
        """Draw the configuration of trial ``number``."""
        return self.space.sample(generator(self.seed, number))

    def pend(self, number: int, params: Params) -> None:
        """Ignore what was handed out."""

    def tell(self, number: int, step: int, value: Value) -> None:
        """Ignore results."""

    def settings(self) -> dict[str, Any]:
        """Arguments that make this sampler again, see :func:`~daskhpo.samplers.make_sampler`."""
        return {"type": "random"}

    def __repr__(self) -> str:
        return f"Random({self.space!r}, seed={self.seed})"
