"""Forbidden combinations of values: how they are written, and which configurations match them."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daskhpo.domains import Choice, Constant, Domain
from daskhpo.exceptions import SpaceError
from daskhpo.intervals import Float, Int
from daskhpo.scalars import native, nearest
from daskhpo.trial import Params, ParamValue

__all__ = ["Clause", "Entry", "level"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Some values of one parameter: those that a clause or a condition names.

    Parameters
    ----------
    domain : Domain
        All values of the parameter.
    written : value, list of values, or mapping of bounds
        As the user wrote it: ``"sgd"``, ``[16, 32]`` or ``{"low": 0.01, "high": 1.0}``.
    runs : tuple of (int, int)
        First and last index of neighbouring values that are meant; empty where there are
        infinitely many values.
    low, high : float
        Bounds of what is meant where there are infinitely many values.

    Examples
    --------
    >>> entry = Entry.read("batch", {"low": 32}, Int(16, 64, step=16))
    >>> entry.runs, entry.holds(48), entry.holds(16)
    (((1, 3),), True, False)
    """

    domain: Domain
    written: Any
    runs: tuple[tuple[int, int], ...] = ()
    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def read(cls, name: str, written: Any, domain: Domain) -> Entry:
        """Check what was written for parameter ``name``.

        Raises
        ------
        SpaceError
            When a value or a bound is not one of the domain, or nothing is meant.
        """
        if isinstance(written, Mapping):
            return cls._range(name, written, domain)
        values = written if isinstance(written, list | tuple | set | frozenset) else [written]
        if not values:
            raise SpaceError(f"forbidden: {name!r} has no values; it needs at least one")
        if math.isinf(domain.size):
            raise SpaceError(
                f"forbidden: {name!r} is {written!r}, but it has infinitely many values, of which "
                "none is ever hit; give a range such as {'low': 0.1, 'high': 0.2}"
            )
        for value in values:
            if not domain.contains(value):
                raise SpaceError(
                    f"forbidden: {name!r} has {value!r}; it must be {domain.allowed}, "
                    "or a list of such values"
                )
        plain: list[Any] = [native(value) for value in values]
        places = tuple((place(domain, value),) * 2 for value in plain)
        return cls(domain, plain if len(plain) > 1 else plain[0], places)

    @classmethod
    def _range(cls, name: str, written: Mapping[str, Any], domain: Domain) -> Entry:
        """Check a range; both of its bounds are included."""
        if isinstance(domain, Choice | Constant):
            raise SpaceError(
                f"forbidden: {name!r} has the range {dict(written)!r}, but its values have no "
                f"order; name those that are meant ({domain.allowed})"
            )
        for key in written:
            if key not in ("low", "high"):
                near = nearest(key, ("low", "high"))
                raise SpaceError(f"forbidden: range of {name!r} has the key {key!r}; {near}")
        assert isinstance(domain, Float | Int)
        bounds = {key: _bound(name, key, value, domain) for key, value in written.items()}
        low, high = bounds.get("low", domain.low), bounds.get("high", domain.high)
        runs: tuple[tuple[int, int], ...] = ()
        if math.isfinite(domain.size):
            runs = (_indices(domain, low, high),)
        if not bounds or low > high or any(first > last for first, last in runs):
            raise SpaceError(
                f"forbidden: {name!r} has the range {dict(written)!r}, which holds no value of it"
            )
        return cls(domain, dict(written), runs, low, high)

    def holds(self, value: Any) -> bool:
        """Whether a value of the domain is one of those meant."""
        if not self.runs:
            return bool(self.low <= value <= self.high)
        index = place(self.domain, value)
        return any(first <= index <= last for first, last in self.runs)

    def runs_among(self, levels: Sequence[Any]) -> tuple[tuple[int, int], ...]:
        """First and last index of what is meant among some values in rising order."""
        if self.runs:
            return self.runs
        first, last = bisect.bisect_left(levels, self.low), bisect.bisect_right(levels, self.high)
        return ((first, last - 1),) if first < last else ()

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Where the values lie in the unit interval: from the first to the last of each run."""
        if not self.runs:
            return [(self.domain.encode(self.low), self.domain.encode(self.high))]
        return [
            (self.domain.encode(level(self.domain, a)), self.domain.encode(level(self.domain, b)))
            for a, b in self.runs
        ]

    @property
    def words(self) -> str:
        """The values in words."""
        if isinstance(self.written, Mapping):
            bounds = [("above", "low"), ("below", "high")]
            given = [(word, self.written[key]) for word, key in bounds if key in self.written]
            if len(given) == 2:
                return f"between {given[0][1]} and {given[1][1]}"
            return f"{given[0][1]} or {given[0][0]}"
        values = self.written if isinstance(self.written, list) else [self.written]
        return " or ".join(map(repr, values))


@dataclass(frozen=True, slots=True)
class Clause:
    """A forbidden combination: configurations in which every entry holds.

    A configuration in which one of the parameters is not active does not match.

    Parameters
    ----------
    entries : mapping
        ``{parameter: Entry}``.

    Examples
    --------
    >>> clause = Clause.read({"opt": "sgd", "n": [1, 2]},
    ...                      {"opt": Choice(["sgd", "adam"]), "n": Int(1, 9)})
    >>> clause.matches({"opt": "sgd", "n": 2}), clause.matches({"opt": "sgd", "n": 3})
    (True, False)
    >>> print(clause)
    opt = 'sgd' and n = 1 or 2
    """

    entries: Mapping[str, Entry]

    @classmethod
    def read(cls, written: Any, domains: Mapping[str, Domain]) -> Clause:
        """Check a clause as a campaign file writes it.

        Raises
        ------
        SpaceError
            Naming the parameter, the value and what is allowed.
        """
        if not isinstance(written, Mapping) or not written:
            raise SpaceError(
                f"forbidden has {written!r}; each combination must be a mapping of parameters to "
                "values, lists of values or ranges {'low': ..., 'high': ...}"
            )
        entries: dict[str, Entry] = {}
        for name, values in written.items():
            if name not in domains:
                raise SpaceError(f"forbidden: unknown parameter {name!r}; {nearest(name, domains)}")
            entries[name] = Entry.read(name, values, domains[name])
        return cls(entries)

    def matches(self, params: Params) -> bool:
        """Whether a configuration of valid values is forbidden by this clause."""
        return all(
            name in params and entry.holds(params[name]) for name, entry in self.entries.items()
        )

    def pinned(self, values: Params, domains: Mapping[str, Domain]) -> dict[str, Any] | None:
        """The clause in a space where some parameters have one value; None if it is void there.

        Parameters
        ----------
        values : mapping
            ``{parameter: its only value}``.
        domains : mapping
            The parameters that are left.
        """
        written: dict[str, Any] = {}
        for name, entry in self.entries.items():
            if name not in domains or (name in values and not entry.holds(values[name])):
                return None
            written[name] = values.get(name, entry.written)
        return written

    def to_dict(self) -> dict[str, Any]:
        """The clause as a campaign file writes it."""
        return {name: entry.written for name, entry in self.entries.items()}

    def __str__(self) -> str:
        return " and ".join(
            f"{name} {'is ' if isinstance(entry.written, Mapping) else '= '}{entry.words}"
            for name, entry in self.entries.items()
        )


def place(domain: Domain, value: Any) -> int:
    """Index of a value of a finite domain: exact, and blind to rounding of steps."""
    if isinstance(domain, Int):
        return (int(value) - domain.low) // domain.step
    return int(domain.encode(value) * domain.size)


def level(domain: Domain, index: int) -> ParamValue:
    """Value ``index`` of a finite domain; the inverse of :func:`place`."""
    if isinstance(domain, Int):
        return domain.low + domain.step * index
    return domain.decode((index + 0.5) / domain.size)


def _bound(name: str, key: str, value: Any, domain: Float | Int) -> float:
    value = native(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = " (YAML takes 1e-5 for text: write 1.0e-5)" if isinstance(value, str) else ""
        raise SpaceError(f"forbidden: {key} of {name!r} is {value!r}; it must be a number{hint}")
    if not domain.low <= value <= domain.high:
        raise SpaceError(
            f"forbidden: {key} of {name!r} is {value!r}; it must be a number between "
            f"{domain.low} and {domain.high} (left out, the range has no bound there)"
        )
    return value


def _indices(domain: Float | Int, low: float, high: float) -> tuple[int, int]:
    """First and last index of the values of a finite, ordered domain within two bounds."""
    indices, slack = range(int(domain.size)), 0.0
    if isinstance(domain, Float) and domain.step is not None:
        slack = 1e-9 * domain.step  # 0.1 + 0.2 is meant to be the step 0.3

    def value(index: int) -> Any:
        return level(domain, index)

    first = bisect.bisect_left(indices, low - slack, key=value)
    return first, bisect.bisect_right(indices, high + slack, key=value) - 1
