"""Random generators that are a function of a seed and of a trial's number alone."""

from __future__ import annotations

import numpy as np

from daskhpo.exceptions import SchedulerError

__all__ = ["check_seed", "generator"]


def check_seed(seed: object) -> int:
    """Return ``seed`` when it is a whole number of 0 or more.

    Raises
    ------
    SchedulerError
        Otherwise.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SchedulerError(f"seed of a sampler is {seed!r}; it must be a whole number >= 0")
    return int(seed)


def generator(seed: int, number: int) -> np.random.Generator:
    """Return the generator of trial ``number``.

    Examples
    --------
    >>> bool(generator(7, 3).random() == generator(7, 3).random())
    True
    """
    return np.random.default_rng([seed, number])
