"""How a space is written: in a campaign file, and as a table in a notebook."""

from __future__ import annotations

import html
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from daskhpo.clauses import Clause
from daskhpo.domains import Choice, Constant, Domain
from daskhpo.exceptions import SpaceError
from daskhpo.intervals import Float, Int
from daskhpo.links import needs
from daskhpo.scalars import nearest

if TYPE_CHECKING:
    from daskhpo.space import Space

__all__ = ["FORBIDDEN", "domain", "read", "table", "write"]

TYPES: dict[str, Any] = {"float": Float, "int": Int, "choice": Choice, "constant": Constant}
FORBIDDEN = "forbidden"  # key of the clauses; no clash: no parameter is a list of mappings


def domain(name: object, value: Any) -> Domain:
    """Read ``value`` as a domain: bare values are constants, lists are choices.

    Raises
    ------
    SpaceError
        Naming the parameter and what is allowed.

    Examples
    --------
    >>> domain("opt", ["adam", "sgd"])
    Choice(['adam', 'sgd'])
    """
    if not isinstance(name, str) or not name:
        raise SpaceError(f"parameter name {name!r} must be a text that is not empty")
    if isinstance(value, Float | Int | Choice | Constant):
        return value
    try:
        return Choice(value) if isinstance(value, list | tuple) else Constant(value)
    except SpaceError as error:
        raise SpaceError(f"parameter {name!r}: {error}") from None


def read(form: Mapping[str, Any]) -> tuple[dict[str, Domain], Sequence[Any]]:
    """Read the domains and the clauses of a space.

    Parameters
    ----------
    form : mapping
        As :meth:`daskhpo.space.Space.from_dict` takes it.

    Raises
    ------
    SpaceError
        Naming the parameter, the key and what is allowed.
    """
    parameters, clauses = dict(form), form.get(FORBIDDEN)
    if isinstance(clauses, Mapping) and "type" not in clauses:
        raise SpaceError(
            f"{FORBIDDEN} is {dict(clauses)!r}; it must be a list of combinations (each one begins "
            "with a dash), or a parameter of that name with a type"
        )
    if isinstance(clauses, list | tuple) and all(isinstance(c, Mapping) for c in clauses):
        del parameters[FORBIDDEN]
    else:
        clauses = ()
    return {name: _domain_of(str(name), value) for name, value in parameters.items()}, clauses


def write(domains: Mapping[str, Domain], clauses: Sequence[Clause]) -> dict[str, Any]:
    """Write a space as a campaign file does; the inverse of :func:`read`.

    Raises
    ------
    SpaceError
        When there are clauses and a parameter that is called as they are.
    """
    form: dict[str, Any] = {name: domain.to_dict() for name, domain in domains.items()}
    if not clauses:
        return form
    if FORBIDDEN in form:
        raise SpaceError(
            f"a space with a parameter called {FORBIDDEN!r} cannot forbid combinations, which "
            "campaign files write under that name; call the parameter otherwise"
        )
    return form | {FORBIDDEN: [clause.to_dict() for clause in clauses]}


def _domain_of(name: str, form: Any) -> Domain:
    """Read one parameter of a campaign file."""
    if not isinstance(form, Mapping):
        return domain(name, form)
    kind = form.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise SpaceError(f"parameter {name!r} has type {kind!r}; {nearest(kind, TYPES)}")
    arguments = {str(key): value for key, value in form.items() if key != "type"}
    signature = inspect.signature(TYPES[kind])
    for key in arguments:
        if key not in signature.parameters:
            raise SpaceError(
                f"parameter {name!r} ({kind}) has the unknown key {key!r}; "
                f"{nearest(key, signature.parameters)}"
            )
    for key, parameter in signature.parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in arguments:
            raise SpaceError(f"parameter {name!r} ({kind}) lacks the key {key!r}")
    try:
        made: Domain = TYPES[kind](**arguments)
    except SpaceError as error:
        raise SpaceError(f"parameter {name!r}: {error}") from None
    return made


def table(space: Space) -> str:
    """Write a space as an HTML table, for notebooks."""
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code></td>"
        f"<td>{type(domain).__name__}</td><td>{html.escape(domain.allowed)}"
        f"{', log scale' if getattr(domain, 'log', False) else ''}</td>"
        f"<td>{html.escape(needs(domain))}</td></tr>"
        for name, domain in space.items()
    )
    feet = "".join(
        f'<tr><td>forbidden</td><td colspan="3">{html.escape(str(clause))}</td></tr>'
        for clause in space.forbidden
    )
    size = "infinitely many" if math.isinf(space.size) else f"{space.size:,}"
    return (
        "<table><caption>"
        f"Space: {len(space)} parameters, {size} configurations</caption>"
        "<thead><tr><th>parameter</th><th>type</th><th>values</th><th>active when</th></tr>"
        f"</thead><tbody>{rows}</tbody><tfoot>{feet}</tfoot></table>"
    )
