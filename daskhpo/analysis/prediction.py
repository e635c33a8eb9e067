"""What a predictor is asked: the beginnings of curves, what became of them, and who learns.

Two protocols. ``paper`` is the one behind table 2 of Wulff et al. (2022), to the letter of its
authors' program; ``honest`` is what a campaign meets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from daskhpo.exceptions import DataError
from daskhpo.samplers.seeding import generator
from daskhpo.simulate.problem import Array, Problem
from daskhpo.wording import count

__all__ = ["Exercise", "Protocol", "Rows", "known_steps", "set_exercise"]

Rows = npt.NDArray[np.intp]

FEWEST = 10  # curves to be forecast, at least: of fewer no score says anything
_FIRST = 123  # random state of the authors' first split
_OTHERS = 1_000_000  # between those of two seeds: more than anybody asks for
_EVERY = 2  # the authors' curves have every second step
_QUANTILES = 50


class Protocol(StrEnum):
    """How predictors are put to the test.

    ``PAPER``: of every second step; the curve that ends worst is left out; values at each step
    and at the end become quantiles of the whole set, those of the curves to be forecast
    included; one half is forecast from curves of the other; R2 with its arguments exchanged.

    ``HONEST``: all curves as they are, so that scales are learned from the training curves alone;
    the last value is forecast for all other curves but those of a configuration that is among
    the training ones; R2 as it is defined.
    """

    PAPER = "paper"
    HONEST = "honest"


@dataclass(frozen=True, slots=True, eq=False)
class Exercise:
    """What is to be forecast from what; values are minimised.

    Parameters
    ----------
    protocol : Protocol
        How.
    known : array (n, d)
        The beginnings of the curves.
    targets : array (n,)
        What became of them.
    configurations : array (n,)
        Equal for curves of the same configuration.
    """

    protocol: Protocol
    known: Array
    targets: Array
    configurations: Rows

    @property
    def most(self) -> int:
        """How many curves may be learned from."""
        if self.protocol is Protocol.PAPER:
            return len(self.targets) // 2
        return len(np.unique(self.configurations)) - FEWEST

    def split(self, number: int, train: int, *, seed: int = 0) -> tuple[Rows, Rows]:
        """Draw who is learned from and who is forecast, as row numbers.

        Parameters
        ----------
        number : int
            Of the split; the same one has the same curves for every predictor, and fewer
            training curves are the first of those of more.
        train : int
            How many are learned from.
        seed : int
            Under the paper's protocol 0 gives the authors' own splits.
        """
        n = len(self.targets)
        if self.protocol is Protocol.PAPER:
            from sklearn.model_selection import train_test_split

            state = _FIRST + number + _OTHERS * seed
            half, test = train_test_split(np.arange(n), test_size=0.5, random_state=state)
            return half[:train], test
        order = generator(seed, number).permutation(n)
        chosen, others = order[:train], order[train:]
        seen = np.isin(self.configurations[others], self.configurations[chosen])
        return chosen, others[~seen]


def set_exercise(problem: Problem, protocol: Protocol, fraction: float) -> Exercise:
    """Turn stored curves into an exercise.

    Parameters
    ----------
    problem : Problem
        The curves.
    protocol : Protocol
        How they are used.
    fraction : float
        Share of a curve that is known.

    Raises
    ------
    DataError
        If the curves are too short for that, or all end at the same value.

    Examples
    --------
    >>> curves = np.linspace(1.0, 0.1, 8) + np.arange(30)[:, None]
    >>> problem = Problem("made up", "loss", [{"x": i} for i in range(30)], curves)
    >>> set_exercise(problem, Protocol.HONEST, 0.25).known.shape
    (30, 2)
    >>> paper = set_exercise(problem, Protocol.PAPER, 0.25)
    >>> paper.known.shape, float(paper.targets.max())
    ((29, 1), 1.0)
    """
    curves = problem.sign * problem.curves
    configurations = _numbered([str(sorted(point.items())) for point in problem.params])
    if protocol is Protocol.PAPER:
        curves = curves[:, ::_EVERY]
        kept = np.delete(np.arange(len(curves)), np.argmax(curves[:, -1]))
        curves, configurations = curves[kept], configurations[kept]
    steps = known_steps(fraction, curves.shape[1])
    if steps >= curves.shape[1]:
        raise DataError(
            f"fraction={fraction:g}: of {count(problem.max_step, problem.unit)} nothing is left "
            f"to forecast for {problem.name!r}; it must be smaller"
        )
    if not len(curves) or np.ptp(curves[:, -1]) == 0:
        raise DataError(
            f"{problem.name!r}: all curves end at the same value: there is nothing to forecast"
        )
    known, targets = curves[:, :steps], curves[:, -1]
    if protocol is Protocol.PAPER:
        known, targets = _ranks(known), _ranks(targets[:, None])[:, 0]
    return Exercise(protocol, known, targets, configurations)


def known_steps(fraction: float, steps: int) -> int:
    """How many steps a share of them is, rounded up.

    Examples
    --------
    >>> known_steps(0.25, 50), known_steps(0.07, 100)
    (13, 7)
    """
    return math.ceil(Fraction(str(fraction)) * steps)


def _numbered(names: list[str]) -> Rows:
    numbers: Rows = np.unique(names, return_inverse=True)[1]
    return numbers


def _ranks(columns: Array) -> Array:
    """Each column as quantiles of itself, from 0 to 1."""
    from sklearn.preprocessing import QuantileTransformer

    transform: Callable[[Array], Array] = QuantileTransformer(
        n_quantiles=min(_QUANTILES, len(columns))
    ).fit_transform
    return transform(columns)
