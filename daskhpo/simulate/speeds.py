"""How long a step of a trial takes, in units of one median step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from daskhpo.exceptions import CampaignError
from daskhpo.scalars import nearest
from daskhpo.simulate.draws import Draws
from daskhpo.simulate.problem import Problem
from daskhpo.trial import Params

__all__ = ["BySize", "Lognormal", "Pace"]

Pace = Callable[[Params, int], float]  # (configuration, number of the trial) -> time of a step

_STREAM = 1  # of the speeds, beside those of failures and noise


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Steps of a trial all take the same time, drawn per trial with median 1.

    Parameters
    ----------
    sigma : float
        Standard deviation of the logarithm; 0 makes all trials equally fast.
    seed : int
        The time of a trial depends on this and on its number alone.

    Raises
    ------
    CampaignError
        If sigma is negative.

    Examples
    --------
    >>> pace = Lognormal(0.3, seed=1)
    >>> pace({}, 7) == Lognormal(0.3, seed=1)({}, 7), Lognormal(0.0)({}, 7)
    (True, 1.0)
    """

    sigma: float = 0.3
    seed: int = 0
    _draws: Draws = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sigma = self.sigma
        good = isinstance(sigma, int | float) and not isinstance(sigma, bool)
        if not good or not 0 <= sigma < math.inf:
            raise CampaignError(f"speeds={sigma!r}: sigma of a lognormal, a number of at least 0")
        draws = Draws(lambda rng, n: np.exp(sigma * rng.standard_normal(n)), self.seed, _STREAM)
        object.__setattr__(self, "_draws", draws)

    def __call__(self, params: Params, number: int) -> float:
        """Time of a step of trial ``number``."""
        return float(self._draws[number])


@dataclass(frozen=True, slots=True)
class BySize:
    """Steps take the longer the larger a parameter is: the size of a model, of a batch.

    The time of a step is ``(params[name] / median)**power``, the median being that of the stored
    configurations.

    Parameters
    ----------
    problem : Problem
        The stored configurations.
    name : str
        A parameter with numbers above 0.
    power : float
        1 for proportional, 2 for width of a dense layer, -1 where larger is faster.

    Raises
    ------
    CampaignError
        If there is no such parameter, or a stored value is not a number above 0.

    Examples
    --------
    >>> problem = Problem("made up", "loss", [{"width": w} for w in (32, 64, 128)], np.ones((3, 2)))
    >>> BySize(problem, "width", power=2.0)({"width": 128}, 0)
    4.0
    """

    problem: Problem
    name: str
    power: float = 1.0
    _median: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        power = self.power
        good = isinstance(power, int | float) and not isinstance(power, bool)
        if not good or not math.isfinite(power):
            raise CampaignError(f"speeds: power={power!r}: must be a number")
        known = list(dict.fromkeys(key for point in self.problem.params for key in point))
        if self.name not in known:
            raise CampaignError(f"speeds: parameter={self.name!r}: {nearest(self.name, known)}")
        values = [point.get(self.name) for point in self.problem.params]
        for value in values:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or value <= 0:  # type: ignore[operator]
                raise CampaignError(
                    f"speeds: parameter {self.name!r} is {value!r} in a stored configuration; "
                    "speeds need numbers above 0 everywhere"
                )
        object.__setattr__(self, "_median", float(np.median(np.array(values, float))))

    def __call__(self, params: Params, number: int) -> float:
        """Time of a step under a configuration."""
        return float((params[self.name] / self._median) ** self.power)  # type: ignore[operator]
