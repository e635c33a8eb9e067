"""How a child's parameters differ from its parent's, in population based training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daskhpo.domains import Choice, Domain
from daskhpo.exceptions import SchedulerError
from daskhpo.intervals import Float, Int
from daskhpo.scalars import nearest, same
from daskhpo.space import Space
from daskhpo.trial import Params, ParamValue

__all__ = ["Explorer", "fraction"]

_TRIES = 100


@dataclass(frozen=True, slots=True)
class Explorer:
    """Changes some parameters of a configuration a little, or draws them anew.

    A number on a log scale is multiplied by a factor. On a linear one it moves by ``factor - 1``
    times itself, or times the width of its domain where that is less (a momentum between 0.9 and
    0.99 would otherwise only see its bounds) or the number is 0. Values are clipped to the
    domain; whole numbers and those with a step move by at least one. A choice moves to a
    neighbour in its list. A parameter with a condition is changed where it is active; one that
    others depend on is refused, for it would bring parameters without a history.

    Parameters
    ----------
    perturb : sequence of str
        The parameters that change.
    factors : sequence of float
        One is drawn for every number.
    resample : float
        The probability that a parameter is drawn anew from its domain instead.

    Raises
    ------
    SchedulerError
        If one of them is not valid.

    Examples
    --------
    >>> space = Space(lr=Float(1e-4, 1.0, log=True), width=Int(8, 64))
    >>> explorer = Explorer(["lr"], factors=[0.5], resample=0.0)
    >>> explorer.explore(space, {"lr": 0.1, "width": 16}, np.random.default_rng(0))
    {'lr': 0.05, 'width': 16}
    """

    perturb: Sequence[str]
    factors: Sequence[float]
    resample: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "perturb", _names(self.perturb))
        object.__setattr__(self, "factors", _factors(self.factors))
        object.__setattr__(self, "resample", fraction("resample", self.resample, most=1.0))

    def check(self, space: Space) -> None:
        """Make sure that every name is a parameter that can change while a trial trains.

        Raises
        ------
        SchedulerError
            Naming it, and the nearest that is known.
        """
        for name in self.perturb:
            if name not in space:
                raise SchedulerError(f"perturb has {name!r}: {nearest(name, space)}")
            if space[name].size == 1:
                raise SchedulerError(
                    f"perturb has {name!r}: it has one value only, so there is nothing to change"
                )
            if name in space.parents:
                linked = ", ".join(repr(other) for other in space if name in space[other].when)
                raise SchedulerError(
                    f"perturb has {name!r}: {linked} depends on it; what others depend on must "
                    "stay as it is while a trial trains"
                )

    def explore(
        self, space: Space, params: Params, rng: np.random.Generator
    ) -> dict[str, ParamValue]:
        """A configuration like ``params``, with every parameter of ``perturb`` changed.

        In a space that forbids combinations it is drawn until one is allowed, and is ``params``
        when that takes too long.
        """
        for _ in range(_TRIES):
            found = {**params, **self._changed(space, params, rng)}
            if space.contains(found):
                return found
        return dict(params)

    def _changed(
        self, space: Space, params: Params, rng: np.random.Generator
    ) -> dict[str, ParamValue]:
        changed: dict[str, ParamValue] = {}
        for name in self.perturb:
            # Drawn for every name, so that one parameter's lot is not another's.
            anew, place, draw = rng.random() < self.resample, rng.random(), rng.random()
            if name in params:
                domain, value = space[name], params[name]
                changed[name] = domain.decode(place) if anew else self._move(domain, value, draw)
        return changed

    def _move(self, domain: Domain, value: ParamValue, draw: float) -> ParamValue:
        if isinstance(domain, Choice):
            return _neighbour(domain, value, draw)
        assert isinstance(domain, Float | Int)
        assert isinstance(value, int | float)
        factor = self.factors[int(draw * len(self.factors))]
        scale: float = abs(value)
        if not domain.log:
            width = domain.high - domain.low
            scale = min(scale, width) or width
        moved = value + (factor - 1) * math.copysign(scale, value)
        if isinstance(domain, Float) and domain.step is None:
            return float(min(max(moved, domain.low), domain.high))
        return _on_grid(domain, value, moved)


def fraction(name: str, value: object, *, most: float) -> float:
    """Return a number between 0 and ``most``.

    Raises
    ------
    SchedulerError
        If it is none, naming the argument.
    """
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not 0 <= value <= most:  # type: ignore[operator]
        raise SchedulerError(f"{name}={value!r}: must be a number between 0 and {most:g}")
    return float(value)  # type: ignore[arg-type]


def _neighbour(domain: Choice, value: ParamValue, draw: float) -> ParamValue:
    """The value before or after in the list; at its ends there is only one."""
    index = next(i for i, choice in enumerate(domain.choices) if same(choice, value))
    near = [i for i in (index - 1, index + 1) if 0 <= i < len(domain.choices)]
    return domain.choices[near[int(draw * len(near))]]


def _on_grid(domain: Float | Int, value: float, moved: float) -> ParamValue:
    """The allowed value nearest to ``moved``, at least one step from ``value`` if there is room."""
    step = domain.step or 1
    shift = round((moved - value) / step)
    if not shift and moved != value:
        shift = 1 if moved > value else -1
    place = round((value - domain.low) / step) + shift
    place = min(max(place, 0), int(domain.size) - 1)
    if isinstance(domain, Int):
        return domain.low + domain.step * place
    return domain.decode((place + 0.5) / domain.size)


def _names(perturb: object) -> tuple[str, ...]:
    if isinstance(perturb, str) or not isinstance(perturb, Sequence):
        raise SchedulerError(f"perturb={perturb!r}: must be a list of parameters")
    if not perturb:
        raise SchedulerError("perturb=[]: must name at least one parameter that children change")
    for name in perturb:
        if not isinstance(name, str):
            raise SchedulerError(f"perturb has {name!r}: must be the name of a parameter")
    if len(set(perturb)) < len(perturb):
        raise SchedulerError(f"perturb={list(perturb)!r}: names must differ")
    return tuple(perturb)


def _factors(factors: object) -> tuple[float, ...]:
    allowed = "must be a list of numbers above 0, at least one of them not 1"
    if isinstance(factors, str) or not isinstance(factors, Sequence):
        raise SchedulerError(f"factors={factors!r}: {allowed}")
    for factor in factors:
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not 0 < factor < math.inf:
            raise SchedulerError(f"factors has {factor!r}: {allowed}")
    if all(factor == 1 for factor in factors):
        raise SchedulerError(f"factors={list(factors)!r}: {allowed}")
    return tuple(float(factor) for factor in factors)
