"""Space-filling search with a Sobol sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo.samplers.seeding import check_seed
from daskhpo.space import Space
from daskhpo.trial import Params, Value

__all__ = ["Sobol"]


class Sobol:
    """Spreads configurations more evenly over the space than chance would.

    Use it instead of :class:`~daskhpo.samplers.random.Random` for up to a few hundred trials
    that together are to cover the space, such as the first ones of a model-based search. Powers
    of two are the best numbers of trials. Where combinations are forbidden, the points move
    together into what is left, see :meth:`~daskhpo.space.Space.evade`; none is skipped.

    Parameters
    ----------
    space : Space
        What to cover.
    seed : int
        Seed of the scrambling; trial ``number`` gets point ``number`` of the sequence.

    References
    ----------
    Owen, Scrambling Sobol' and Niederreiter-Xing points, J. Complexity 14, 466 (1998);
    :class:`scipy.stats.qmc.Sobol`.

    Examples
    --------
    >>> from daskhpo.space import Float, Space
    >>> sampler = Sobol(Space(x=Float(0.0, 1.0)), seed=1)
    >>> sorted(int(4 * sampler.suggest(number)["x"]) for number in range(4))
    [0, 1, 2, 3]
    """

    slow = False

    def __init__(self, space: Space, *, seed: int = 0) -> None:
        self.space = space
        self.seed = check_seed(seed)
        self._points = np.empty((0, space.dimension))  # the sequence so far, grown by doubling

    def suggest(self, number: int) -> Params | None:
        """Return point ``number`` of the sequence."""
        return self.space.decode(self.point(number))

    def point(self, number: int) -> npt.NDArray[np.float64]:
        """Return point ``number`` in the unit cube, of shape (dimension,)."""
        if not self.space.dimension:
            return np.empty(0)
        points = self._points
        if number >= len(points):
            points = self._points = self._sequence(max(6, number.bit_length()))
        return self.space.evade(points[number])

    def _sequence(self, power: int) -> npt.NDArray[np.float64]:
        """First ``2 ** power`` points, of shape (2 ** power, dimension)."""
        from scipy.stats import qmc  # takes half a second: not before it is needed

        rng = np.random.default_rng(self.seed)
        points: npt.NDArray[np.float64] = qmc.Sobol(self.space.dimension, rng=rng).random_base2(
            power
        )
        return points

    def pend(self, number: int, params: Params) -> None:
        """Ignore what was handed out."""

    def tell(self, number: int, step: int, value: Value) -> None:
        """Ignore results."""

    def settings(self) -> dict[str, Any]:
        """Arguments that make this sampler again, see :func:`~daskhpo.samplers.make_sampler`."""
        return {"type": "sobol"}

    def __repr__(self) -> str:
        return f"Sobol({self.space!r}, seed={self.seed})"
