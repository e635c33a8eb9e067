"""The search space: named domains, conditions between them, and the unit cube they map to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from daskhpo import forms
from daskhpo.clauses import Clause
from daskhpo.domains import Choice, Constant, Domain
from daskhpo.enumeration import Census
from daskhpo.exceptions import SpaceError
from daskhpo.intervals import Float, Int
from daskhpo.links import linked, named_values, needs, parents_first, pinned
from daskhpo.scalars import native, nearest, same
from daskhpo.trial import Params, ParamValue

__all__ = ["Choice", "Constant", "Domain", "Float", "Int", "Space"]


class Space(Mapping[str, Domain]):
    """Everything a study may vary: a read-only mapping of names to domains.

    Write it in Python from :class:`Float`, :class:`Int`, :class:`Choice` and :class:`Constant`,
    or in a campaign file and read it with :meth:`from_dict`. A bare value stands for a constant
    and a list for a choice.

    A domain with ``when={"opt": ["adam"]}`` is active only while the parameter ``opt`` is active
    itself and has one of these values; with several names all must hold. An inactive parameter
    is absent from the configuration. Chains of conditions are allowed.

    :meth:`forbid` takes combinations of values out of the space, :meth:`fix` pins parameters.

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
        The parameters, parents first, those linked by conditions or clauses together.
    forbidden : tuple of Clause
        The combinations of values that are not part of the space.

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

    __slots__ = ("_censuses", "_dimensions", "_domains", "_order", "forbidden", "groups", "parents")

    def __init__(self, domains: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        if domains and (twice := sorted(set(domains) & set(named))):
            raise SpaceError(f"parameter {twice[0]!r} is given twice; names must differ")
        given = dict(domains or {}) | named
        self._domains = {name: forms.domain(name, value) for name, value in given.items()}
        self._order = parents_first(self._domains)
        self.parents = named_values(self._domains)
        varying = (name for name, domain in self._domains.items() if domain.size > 1)
        self._dimensions = {name: index for index, name in enumerate(varying)}
        self._restrict(())

    def _restrict(self, clauses: Sequence[Clause]) -> None:
        self.forbidden = tuple(clauses)
        self.groups = linked(self._domains, self._order, [clause.entries for clause in clauses])
        self._censuses: dict[int | None, Census] = {}  # {resolution of a grid, None: of the space}

    def forbid(self, *clauses: Mapping[str, Any]) -> Space:
        """Return this space without some combinations of values.

        Use it for what is known to be useless or impossible: batches that do not fit the memory,
        a learning rate at which an optimiser diverges. Samplers then never propose it.

        Parameters
        ----------
        *clauses : mapping
            ``{parameter: value, list of values, or range {"low": ..., "high": ...}}``. Forbidden
            is every configuration in which all of a clause's parameters are active and have such
            values. Ranges include their bounds; one of the two may be left out.

        Raises
        ------
        SpaceError
            When a clause names an unknown parameter or a value that it cannot have, the clauses
            leave nothing of the space, or a parameter is called ``forbidden``.

        Examples
        --------
        >>> space = Space(lr=Float(0.0, 1.0), opt=["adam", "sgd"])
        >>> space = space.forbid({"opt": "sgd", "lr": {"low": 0.01}})
        >>> space.contains({"lr": 0.1, "opt": "sgd"}), space.contains({"lr": 0.1, "opt": "adam"})
        (False, True)
        """
        every = [*self.forbidden, *(Clause.read(clause, self._domains) for clause in clauses)]
        forms.write(self._domains, every)  # refuses what a campaign file could not say
        made = self._with(every)
        if not made.size:
            straw = next(c for k, c in enumerate(every, 1) if not self._with(every[:k]).size)
            raise SpaceError(f"forbidden: {straw}; nothing is left of the space")
        return made

    def _with(self, clauses: Sequence[Clause]) -> Space:
        made = Space(self._domains)
        made._restrict(clauses)
        return made

    def fix(self, values: Params | None = None, /, **named: ParamValue) -> Space:
        """Return this space with some parameters pinned to one value each.

        Parameters that can then never be active, for want of a parent's value, are left out.

        Parameters
        ----------
        values : mapping, optional
            Names and values, for names that are no Python identifiers.
        **named
            Names and values.

        Raises
        ------
        SpaceError
            When a name is unknown, or a value is not allowed or forbidden.

        Examples
        --------
        >>> Space(lr=Float(0.0, 1.0), opt=["adam", "sgd"]).fix(lr=0.1)
        Space(lr=Constant(0.1), opt=Choice(['adam', 'sgd']))
        """
        given = dict(values or {}) | named
        domains = pinned(self._domains, self._order, given)
        kept = (clause.pinned(given, domains) for clause in self.forbidden)
        return Space(domains).forbid(*(clause for clause in kept if clause is not None))

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
        return self._census(None).many

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
        """Draw a configuration, evenly over the part of the unit cube that is not forbidden."""
        return self.decode(self.evade(rng.random(self.dimension)))

    def evade(self, unit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Move a point of the unit cube to where nothing is forbidden.

        Points that cover the cube evenly then cover evenly what is allowed, however small it is.
        They have the shape (dimension,).

        Examples
        --------
        >>> Space(x=Float(0.0, 1.0)).forbid({"x": {"low": 0.5}}).evade(np.array([0.8]))
        array([0.4])
        """
        return self._census(None).evade(unit) if self.forbidden else unit

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
            Native Python values of the active parameters, in the order of the space. The
            combination may be a forbidden one, see :meth:`evade`.
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
                        f"it needs {needs(domain)}"
                    )
                continue
            if name not in params:
                raise SpaceError(f"parameter {name!r} is missing; it must be {domain.allowed}")
            if not domain.contains(params[name]):
                raise SpaceError(
                    f"parameter {name!r} is {params[name]!r}; it must be {domain.allowed}"
                )
            found[name] = native(params[name])  # type: ignore[assignment]
        for clause in self.forbidden:
            if clause.matches(found):
                raise SpaceError(f"the configuration {found!r} is forbidden: {clause}")
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
            yield self._census(resolution).point(index)

    def grid_size(self, resolution: int = 5) -> int:
        """Number of points of :meth:`grid`."""
        return int(self._census(resolution).many)

    def grid_point(self, index: int, resolution: int = 5) -> dict[str, ParamValue] | None:
        """Point ``index`` of :meth:`grid`, or None beyond its end."""
        if not 0 <= index < self.grid_size(resolution):
            return None
        return self._census(resolution).point(index)

    def _census(self, resolution: int | None) -> Census:
        if resolution not in self._censuses:
            self._censuses[resolution] = Census(self, resolution)
        return self._censuses[resolution]

    def to_dict(self) -> dict[str, Any]:
        """The space as a campaign file writes it; JSON, defaults left out."""
        return forms.write(self._domains, self.forbidden)

    @classmethod
    def from_dict(cls, form: Mapping[str, Any]) -> Space:
        """Read a space as a campaign file writes it.

        Parameters
        ----------
        form : mapping
            ``{name: {"type": "float" | "int" | "choice" | "constant", ...}}`` with the arguments
            of the domain as further keys; or ``{name: value}`` and ``{name: [values]}``. The key
            ``forbidden`` with a list of mappings stands for the clauses of :meth:`forbid`; with
            anything else it is a parameter.

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
        domains, clauses = forms.read(form)
        return cls(domains).forbid(*clauses)

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

    def __reduce__(self) -> tuple[Any, ...]:
        return Space.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        clauses = ", ".join(repr(clause.to_dict()) for clause in self.forbidden)
        forbid = f".forbid({clauses})" if clauses else ""
        if all(name.isidentifier() for name in self):
            named = ", ".join(f"{name}={domain!r}" for name, domain in self.items())
            return f"Space({named}){forbid}"
        return f"Space({dict(self)!r}){forbid}"

    def _repr_html_(self) -> str:
        return forms.table(self)
