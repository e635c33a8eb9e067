"""Random numbers that belong to a trial: the same whatever else happens, in whatever order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["Draws"]

BLOCK = 1024  # trials that share a generator: making one takes longer than drawing a thousand


class Draws:
    """Numbers of trial 0, 1, 2, ...; each is a function of the seed, the stream and the trial.

    Parameters
    ----------
    draw : callable
        ``draw(rng, n)`` gives an array of n draws, its first axis.
    seed : sequence of int
        Seed and name of the stream.

    Examples
    --------
    >>> draws = Draws(lambda rng, n: rng.random(n), 7)
    >>> draws[5000] == Draws(lambda rng, n: rng.random(n), 7)[5000]
    np.True_
    """

    def __init__(
        self, draw: Callable[[np.random.Generator, int], npt.NDArray[np.float64]], *seed: int
    ) -> None:
        self._draw = draw
        self._seed = seed
        self._blocks: dict[int, npt.NDArray[np.float64]] = {}

    def __getitem__(self, number: int) -> npt.NDArray[np.float64]:
        block, place = divmod(number, BLOCK)
        if block not in self._blocks:
            self._blocks[block] = self._draw(np.random.default_rng([*self._seed, block]), BLOCK)
        row: npt.NDArray[np.float64] = self._blocks[block][place]
        return row
