"""How many configurations a space or its grid has, and which one is number ``index``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from daskhpo.domains import Domain
from daskhpo.scalars import same
from daskhpo.trial import Params, ParamValue

if TYPE_CHECKING:
    from daskhpo.space import Space

__all__ = ["count", "linked", "named_values", "point"]


def count(space: Space, resolution: int | None = None) -> float:
    """Number of configurations: an int, or ``math.inf``.

    Parameters
    ----------
    space : Space
        The space.
    resolution : int, optional
        Count the points of a grid with so many values for each infinite domain.

    Notes
    -----
    Parameters that conditions link are counted together, the groups multiply; so the cost
    grows with the largest group only.
    """
    return math.prod(_count(space, group, {}, resolution) for group in space.groups)


def point(space: Space, index: int, resolution: int) -> dict[str, ParamValue]:
    """Configuration ``index`` of a grid: mixed radix, the last group and parameter fastest.

    Parameters
    ----------
    space : Space
        The space.
    index : int
        From 0 to ``count(space, resolution) - 1``.
    resolution : int
        Values for each infinite domain.
    """
    sizes = [int(_count(space, group, {}, resolution)) for group in space.groups]
    found: dict[str, ParamValue] = {}
    for place, group in enumerate(space.groups):
        digit, index = divmod(index, math.prod(sizes[place + 1 :]))
        found |= _point(space, group, digit, resolution)
    return {name: found[name] for name in space if name in found}


def named_values(domains: Mapping[str, Domain]) -> dict[str, list[ParamValue]]:
    """``{parent: all values that conditions name}``."""
    named: dict[str, list[ParamValue]] = {}
    for domain in domains.values():
        for parent, values in domain.when.items():
            known = named.setdefault(parent, [])
            for value in values:
                if not any(same(value, other) for other in known):
                    known.append(value)
    return named


def linked(domains: Mapping[str, Domain], order: list[str]) -> list[list[str]]:
    """Group the names that conditions link, directly or through others; keep their order."""
    groups: list[list[str]] = []
    for name in order:
        linked = [group for group in groups if set(group) & set(domains[name].when)]
        merged = sorted(sum(linked, [name]), key=order.index)
        groups = [group for group in groups if group not in linked] + [merged]
    return groups


def _count(space: Space, names: list[str], found: Params, resolution: int | None) -> float:
    """Configurations of ``names`` (parents first), given the parameters found before them."""
    total: float = 1
    for place, name in enumerate(names):
        if not space.active(name, found):
            continue
        size = space[name].size
        if resolution is not None and math.isinf(size):
            size = resolution
        if name not in space.parents:
            total *= size
            continue
        # Values that no condition names all lead to the same number: one stands for the rest.
        rest = names[place + 1 :]
        below = [
            _count(space, rest, {**found, name: value}, resolution) for value in space.parents[name]
        ]
        others = size - len(below)
        return total * (
            sum(below) + (others * _count(space, rest, found, resolution) if others else 0)
        )
    return total


def _point(space: Space, names: list[str], index: int, resolution: int) -> dict[str, ParamValue]:
    """Configuration ``index`` of one group."""
    found: dict[str, ParamValue] = {}
    for place, name in enumerate(names):
        if not space.active(name, found):
            continue
        levels, rest = space[name].levels(resolution), names[place + 1 :]
        if name not in space.parents:  # the same number of points below every value
            digit, index = divmod(index, int(_count(space, rest, found, resolution)))
            found[name] = levels[digit]
            continue
        for value in levels:
            below = int(_count(space, rest, {**found, name: value}, resolution))
            if index < below:
                found[name] = value
                break
            index -= below
    return found
