"""Which space a set of stored configurations comes from, as far as they show it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from daskhpo.exceptions import DataError
from daskhpo.scalars import MAX_INT
from daskhpo.space import Choice, Constant, Domain, Float, Int, Space
from daskhpo.trial import Params, ParamValue

__all__ = ["infer_space"]

FEW = 8  # this many different numbers, or fewer, were chosen from a list
WIDE = 100  # max / min from which on numbers were drawn on a log scale


def infer_space(params: Sequence[Params], *, name: str = "") -> Space:
    """Find a space that holds all the configurations.

    ==========================================  ==================================================
    a column of                                 becomes
    ==========================================  ==================================================
    one value                                   :class:`Constant`
    texts or booleans (or mixed)                :class:`Choice`, in the order first seen
    2 to 8 different integers, evenly spaced    :class:`Int`, with that step
    2 to 8 other different numbers              :class:`Choice`, ascending
    more different integers                     :class:`Int` between the smallest and the largest
    more different numbers                      :class:`Float` between them
    ==========================================  ==================================================

    The last two are on a log scale when all values are above 0 and the largest is at least 100
    times the smallest. A parameter that is absent from some configurations is conditional on the
    first other one whose value says when.

    Parameters
    ----------
    params : sequence of mappings
        The configurations; inactive parameters are absent.
    name : str
        Of the problem, for error messages.

    Raises
    ------
    DataError
        If there is no parameter, or one is absent at times and nothing says when.

    Examples
    --------
    >>> infer_space([{"n": 16, "k": 1}, {"n": 64, "k": 2}, {"n": 32, "k": 3}])
    Space(n=Choice([16, 32, 64]), k=Int(1, 3))
    >>> infer_space([{"opt": "sgd", "momentum": 0.9}, {"opt": "adam"}])
    Space(opt=Choice(['sgd', 'adam']), momentum=Constant(0.9, when={'opt': ['sgd']}))
    """
    names = list(dict.fromkeys(key for point in params for key in point))
    if not names:
        raise DataError(f"problem {name!r}: its configurations have no parameters to search")
    domains: dict[str, Domain] = {}
    for param in names:
        values = _distinct(point[param] for point in params if param in point)
        domains[param] = _domain(values, _when(param, params, names, name))
    return Space(domains)


def _domain(values: list[Any], when: dict[str, list[ParamValue]]) -> Domain:
    if len(values) == 1:
        return Constant(values[0], when=when)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return Choice(values, when=when)
    values = sorted(values)
    low, high = values[0], values[-1]
    whole = all(isinstance(v, int) for v in values) and max(-low, high) <= MAX_INT
    if len(values) <= FEW:
        gap = values[1] - low
        even = all(b - a == gap for a, b in itertools.pairwise(values))
        return Int(low, high, step=gap, when=when) if whole and even else Choice(values, when=when)
    log = low > 0 and high / low >= WIDE
    return Int(low, high, log=log, when=when) if whole else Float(low, high, log=log, when=when)


def _when(
    param: str, params: Sequence[Params], names: Sequence[str], problem: str
) -> dict[str, list[ParamValue]]:
    """The condition under which a parameter is there; empty if it always is."""
    present = [param in point for point in params]
    if all(present):
        return {}
    for other in names:
        if other == param or not all(other in point for point in params):
            continue
        on = _distinct(p[other] for p, here in zip(params, present, strict=True) if here)
        off = _distinct(p[other] for p, here in zip(params, present, strict=True) if not here)
        if len(on) + len(off) <= FEW and not set(map(_key, on)) & set(map(_key, off)):
            return {other: on}
    raise DataError(
        f"problem {problem!r}: parameter {param!r} is missing from {present.count(False)} of "
        f"{len(params)} configurations, and no other parameter says when; draw stored rows "
        "(source 'rows') instead of searching its space"
    )


def _distinct(values: Any) -> list[Any]:
    """Different values in the order first seen; 1 and True are different."""
    return list({_key(value): value for value in values}.values())


def _key(value: ParamValue) -> tuple[bool, ParamValue]:
    return isinstance(value, bool), value
