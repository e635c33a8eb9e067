"""The search space: named domains, conditions between them, and the unit cube they map to."""

from __future__ import annotations

import hashlib
import html
import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo import enumeration
from daskhpo.domains import Choice, Constant, Domain
from daskhpo.exceptions import SpaceError
from daskhpo.intervals import Float, Int
from daskhpo.scalars import native, nearest, same
from daskhpo.trial import Params, ParamValue

__all__ = ["Choice", "Constant", "Domain", "Float", "Int", "Space"]

TYPES: dict[str, Any] = {"float": Float, "int": Int, "choice": Choice, "constant": Constant}


class Space(Mapping[str, Domain]):
    """Everything a study may vary: a read-only mapping of names to domains.

    Write it in Python from :class:`Float`, :class:`Int`, :class:`Choice` and :class:`Constant`,
    or in a campaign file and read it with :meth:`from_dict`. A bare value stands for a constant
    and a list for a choice.

    A domain with ``when={"opt": ["adam"]}`` is active only while the parameter ``opt`` is active
    itself and has one of these values; with several names all must hold. An inactive parameter
    is absent from the configuration. Chains of conditions are allowed.

    Parameters
    ----------
    domains : mapping, optional
        Names and domains, for names that are no Python identifiers.
    **named
        Names and domains.

    Attributes
    ----------
    parents : dict
        ``{parameter: the values of it that conditions name}``.
    groups : list of list of str
        The parameters, parents first, those linked by conditions together.

    Raises
    ------
    SpaceError
        When a domain is none, or a condition names an unknown parameter, a value that it cannot
        have, a parameter with infinitely many values, or leads back to itself.

    Notes
    -----
    The order of the parameters is part of the space: it fixes which dimension of the unit cube
    belongs to which parameter, and so what a seed draws. Spaces in another order are different
    and have another :meth:`fingerprint`.

    Examples
    --------
    >>> space = Space(
    ...     lr=Float(1e-5, 1e-1, log=True),
    ...     opt=Choice(["adam", "sgd"]),
    ...     momentum=Float(0.0, 1.0, when={"opt": "sgd"}),
    ... )
    >>> space.decode([0.0, 0.9, 0.25])
    {'lr': 1e-05, 'opt': 'sgd', 'momentum': 0.25}
    >>> space.encode({"lr": 0.1, "opt": "adam"})
    array([1.  , 0.25, 0.5 ])
    """

    __slots__ = ("_dimensions", "_domains", "_order", "_size", "groups", "parents")

    def __init__(self, domains: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        given = dict(domains or {}) | named
        if domains and (twice := sorted(set(domains) & set(named))):
            raise SpaceError(f"parameter {twice[0]!r} is given twice; names must differ")
        self._domains: dict[str, Domain] = {}
        for name, value in given.items():
            if not isinstance(name, str) or not name:
                raise SpaceError(f"parameter name {name!r} must be a text that is not empty")
            self._domains[name] = _domain(name, value)
        self._order = _parents_first(self._domains)
        self.parents = enumeration.named_values(self._domains)
        self.groups = enumeration.linked(self._domains, self._order)
        varying = (name for name, domain in self._domains.items() if domain.size > 1)
        self._dimensions = {name: index for index, name in enumerate(varying)}
        self._size = enumeration.count(self)

    def __getitem__(self, name: str) -> Domain:
        return self._domains[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._domains)

    def __len__(self) -> int:
        return len(self._domains)

    @property
    def dimensions(self) -> Mapping[str, int]:
        """``{parameter: its column of the unit cube}``, for those with more than one value."""
        return self._dimensions

    @property
    def dimension(self) -> int:
        """Dimensions of the unit cube: the parameters with more than one value."""
        return len(self._dimensions)

    @property
    def size(self) -> float:
        """Number of different configurations: an int, or ``math.inf``."""
        return self._size

    def active(self, name: str, params: Params) -> bool:
        """Whether a parameter takes part, given the values of the others.

        Parameters
        ----------
        name : str
            The parameter.
        params : mapping
            A configuration, or at least the parents of ``name``.
        """
        return all(
            parent in params and any(same(params[parent], value) for value in values)
            for parent, values in self._domains[name].when.items()
        )

    def sample(self, rng: np.random.Generator) -> dict[str, ParamValue]:
        """Draw a configuration, evenly over the unit cube."""
        return self.decode(rng.random(self.dimension))

    def decode(self, unit: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, ParamValue]:
        """Turn a point of the unit cube into a configuration.

        Parameters
        ----------
        unit : array of shape (dimension,)
            The point; coordinates beyond [0, 1] count as its ends, those of inactive parameters
            are ignored.

        Returns
        -------
        dict
            Native Python values of the active parameters, in the order of the space.
        """
        if len(unit) != self.dimension:
            raise SpaceError(f"a point has {len(unit)} coordinates; it needs {self.dimension}")
        found: dict[str, ParamValue] = {}
        for name in self._order:
            if self.active(name, found):
                column = self._dimensions.get(name)
                place = 0.5 if column is None else float(unit[column])
                found[name] = self._domains[name].decode(place)
        return {name: found[name] for name in self._domains if name in found}

    def encode(self, params: Params) -> npt.NDArray[np.float64]:
        """Turn a configuration into a point of the unit cube; the inverse of :meth:`decode`.

        Values of finite domains come back exactly, others to within rounding.

        Returns
        -------
        array of shape (dimension,)
            Coordinates in [0, 1]; 0.5 for inactive parameters.

        Raises
        ------
        SpaceError
            When the configuration is not in the space.
        """
        valid = self.validate(params)
        unit = np.full(self.dimension, 0.5)
        for name, column in self._dimensions.items():
            if name in valid:
                unit[column] = self._domains[name].encode(valid[name])
        return unit

    def validate(self, params: Params) -> dict[str, ParamValue]:
        """Check a configuration and return it in native Python values, in the space's order.

        Raises
        ------
        SpaceError
            Naming the parameter, its value and what is allowed.
        """
        for name in params:
            if name not in self._domains:
                raise SpaceError(f"unknown parameter {name!r}; {nearest(name, self._domains)}")
        found: dict[str, ParamValue] = {}
        for name in self._order:
            domain = self._domains[name]
            if not self.active(name, found):
                if name in params:
                    raise SpaceError(
                        f"parameter {name!r} is {params[name]!r}, but it is not active here; "
                        f"it needs {_needs(domain)}"
                    )
                continue
            if name not in params:
                raise SpaceError(f"parameter {name!r} is missing; it must be {domain.allowed}")
            if not domain.contains(params[name]):
                raise SpaceError(
                    f"parameter {name!r} is {params[name]!r}; it must be {domain.allowed}"
                )
            found[name] = native(params[name])  # type: ignore[assignment]
        return {name: found[name] for name in self._domains if name in found}

    def contains(self, params: Params) -> bool:
        """Whether a configuration is in the space."""
        try:
            self.validate(params)
        except SpaceError:
            return False
        return True

    def grid(self, resolution: int = 5) -> Iterator[dict[str, ParamValue]]:
        """Go through a grid, the last parameter fastest.

        Parameters
        ----------
        resolution : int
            Values of each :class:`Float` without a step; finite domains show all of theirs.

        Examples
        --------
        >>> list(Space(n=Int(1, 2), opt=["adam", "sgd"]).grid())[1]
        {'n': 1, 'opt': 'sgd'}
        """
        for index in range(self.grid_size(resolution)):
            yield enumeration.point(self, index, resolution)

    def grid_size(self, resolution: int = 5) -> int:
        """Number of points of :meth:`grid`."""
        return int(enumeration.count(self, _resolved(resolution)))

    def grid_point(self, index: int, resolution: int = 5) -> dict[str, ParamValue] | None:
        """Point ``index`` of :meth:`grid`, or None beyond its end."""
        if not 0 <= index < self.grid_size(resolution):
            return None
        return enumeration.point(self, index, resolution)

    def to_dict(self) -> dict[str, Any]:
        """The space as a campaign file writes it; JSON, defaults left out."""
        return {name: domain.to_dict() for name, domain in self._domains.items()}

    @classmethod
    def from_dict(cls, form: Mapping[str, Any]) -> Space:
        """Read a space as a campaign file writes it.

        Parameters
        ----------
        form : mapping
            ``{name: {"type": "float" | "int" | "choice" | "constant", ...}}`` with the arguments
            of the domain as further keys; or ``{name: value}`` and ``{name: [values]}``.

        Raises
        ------
        SpaceError
            Naming the parameter, the key and the nearest one that is known.

        Examples
        --------
        >>> Space.from_dict({"lr": {"type": "float", "low": 0, "high": 1}, "opt": ["adam", "sgd"]})
        Space(lr=Float(0.0, 1.0), opt=Choice(['adam', 'sgd']))
        """
        if not isinstance(form, Mapping):
            raise SpaceError(f"a space is {form!r}; it must be a mapping of names to domains")
        return cls({name: _from_form(str(name), value) for name, value in form.items()})

    def fingerprint(self) -> str:
        """First 16 digits of the SHA-256 of the canonical JSON form, order included."""
        text = json.dumps(list(self.to_dict().items()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Space):
            return NotImplemented
        return self.fingerprint() == other.fingerprint()

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __repr__(self) -> str:
        if all(name.isidentifier() for name in self):
            return f"Space({', '.join(f'{name}={domain!r}' for name, domain in self.items())})"
        return f"Space({dict(self)!r})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{html.escape(name)}</code></td>"
            f"<td>{type(domain).__name__}</td><td>{html.escape(domain.allowed)}"
            f"{', log scale' if getattr(domain, 'log', False) else ''}</td>"
            f"<td>{html.escape(_needs(domain))}</td></tr>"
            for name, domain in self.items()
        )
        size = "infinitely many" if math.isinf(self.size) else f"{self.size:,}"
        return (
            "<table><caption>"
            f"Space: {len(self)} parameters, {size} configurations</caption>"
            "<thead><tr><th>parameter</th><th>type</th><th>values</th><th>active when</th></tr>"
            f"</thead><tbody>{rows}</tbody></table>"
        )


def _domain(name: str, value: Any) -> Domain:
    """Read ``value`` as a domain: bare values are constants, lists are choices."""
    if isinstance(value, Float | Int | Choice | Constant):
        return value
    try:
        return Choice(value) if isinstance(value, list | tuple) else Constant(value)
    except SpaceError as error:
        raise SpaceError(f"parameter {name!r}: {error}") from None


def _from_form(name: str, form: Any) -> Domain:
    """Read one parameter of a campaign file."""
    if not isinstance(form, Mapping):
        return _domain(name, form)
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


def _parents_first(domains: Mapping[str, Domain]) -> list[str]:
    """Check all conditions; return the names so that parents come before their children."""
    for name, domain in domains.items():
        for parent, values in domain.when.items():
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
    order: list[str] = []
    while len(order) < len(domains):
        ready = [n for n in domains if n not in order and set(domains[n].when) <= set(order)]
        if not ready:
            stuck = [name for name in domains if name not in order]
            raise SpaceError(f"when of {', '.join(stuck)} leads back to itself; it must not")
        order += ready
    return order


def _needs(domain: Domain) -> str:
    """The conditions of a domain in words."""
    return " and ".join(
        f"{parent} = {' or '.join(map(repr, values))}" for parent, values in domain.when.items()
    )


def _resolved(resolution: object) -> int:
    if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution < 1:
        raise SpaceError(f"resolution of a grid is {resolution!r}; it must be 1 or more")
    return resolution
