"""How parameters hang together: which are active when, and which are forbidden together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from daskhpo.domains import Constant, Domain
from daskhpo.exceptions import SpaceError
from daskhpo.scalars import nearest, same
from daskhpo.trial import ParamValue

__all__ = ["linked", "named_values", "needs", "parents_first", "pinned"]


def parents_first(domains: Mapping[str, Domain]) -> list[str]:
    """Check all conditions; return the names so that parents come before their children.

    Raises
    ------
    SpaceError
        When a condition names an unknown parameter, one with infinitely many values or a value
        that it cannot have, or leads back to itself.
    """
    for name, domain in domains.items():
        for parent, values in domain.when.items():
            _check_condition(name, parent, values, domains)
    order: list[str] = []
    while len(order) < len(domains):
        ready = [n for n in domains if n not in order and set(domains[n].when) <= set(order)]
        if not ready:
            stuck = [name for name in domains if name not in order]
            raise SpaceError(f"when of {', '.join(stuck)} leads back to itself; it must not")
        order += ready
    return order


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


def linked(
    domains: Mapping[str, Domain], order: Sequence[str], ties: Iterable[Iterable[str]]
) -> list[list[str]]:
    """Group the names that conditions and ``ties`` link, directly or through others.

    Parameters
    ----------
    domains : mapping
        All parameters.
    order : sequence of str
        Their names, parents first; groups keep it.
    ties : iterable of iterables of str
        Names that belong together for another reason.

    Examples
    --------
    >>> from daskhpo.intervals import Int
    >>> linked({"a": Int(1, 2), "b": Int(1, 2), "c": Int(1, 2, when={"a": 1})}, "abc", [])
    [['b'], ['a', 'c']]
    """
    tied = [set(names) for names in ties]
    groups: list[list[str]] = []
    for name in order:
        near = set(domains[name].when).union(*(names for names in tied if name in names))
        found = [group for group in groups if near & set(group)]
        merged = sorted(sum(found, [name]), key=order.index)
        groups = [group for group in groups if group not in found] + [merged]
    return groups


def needs(domain: Domain) -> str:
    """The conditions of a domain in words."""
    return " and ".join(
        f"{parent} = {' or '.join(map(repr, values))}" for parent, values in domain.when.items()
    )


def pinned(
    domains: Mapping[str, Domain], order: Sequence[str], values: Mapping[str, Any]
) -> dict[str, Domain]:
    """Replace domains by constants; leave out what can then never be active.

    Parameters
    ----------
    domains : mapping
        All parameters.
    order : sequence of str
        Their names, parents first.
    values : mapping
        ``{parameter: the value that it gets}``.

    Raises
    ------
    SpaceError
        When a name is unknown, a value is not allowed, or a parameter with a value can never be
        active.
    """
    for name, value in values.items():
        if name not in domains:
            raise SpaceError(f"unknown parameter {name!r}; {nearest(name, domains)}")
        if not domains[name].contains(value):
            raise SpaceError(f"parameter {name!r} is {value!r}; it must be {domains[name].allowed}")
    made: dict[str, Domain] = {}
    for name in order:
        when = {
            parent: [v for v in wanted if parent in made and made[parent].contains(v)]
            for parent, wanted in domains[name].when.items()
        }
        if all(when.values()):
            domain: Any = Constant(values[name]) if name in values else domains[name]
            made[name] = replace(domain, when=when)
        elif name in values:
            raise SpaceError(
                f"parameter {name!r} is {values[name]!r}, but it can never be active; it needs "
                f"{needs(domains[name])}"
            )
    return {name: made[name] for name in domains if name in made}


def _check_condition(
    name: str, parent: str, values: Iterable[ParamValue], domains: Mapping[str, Domain]
) -> None:
    if parent not in domains:
        near = nearest(parent, domains)
        raise SpaceError(f"when of {name!r} names the unknown parameter {parent!r}; {near}")
    if math.isinf(domains[parent].size):
        raise SpaceError(
            f"when of {name!r} names {parent!r}, which has infinitely many "
            "values; it must be a Choice, an Int or a Float with a step"
        )
    for value in values:
        if not domains[parent].contains(value):
            raise SpaceError(
                f"when of {name!r} has {value!r} for {parent!r}; it must be "
                f"{domains[parent].allowed}"
            )
