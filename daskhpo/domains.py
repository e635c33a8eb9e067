"""What one hyperparameter may be: the interface, a choice, a constant (numbers: intervals.py).

Every domain maps its values onto the unit interval and back: samplers and surrogates work
there, where a step of 0.1 means the same for a learning rate and for a number of layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from daskhpo.exceptions import SpaceError
from daskhpo.scalars import same, scalar
from daskhpo.trial import ParamValue

__all__ = ["Choice", "Constant", "Domain", "assign", "brief", "cell", "conditions", "form"]


class Domain(Protocol):
    """What :class:`~daskhpo.space.Space` asks of the domain of one parameter."""

    @property
    def when(self) -> Mapping[str, Any]:
        """Parents and the values that make this parameter active."""

    @property
    def size(self) -> float:
        """Number of values: an int, or ``math.inf``."""

    @property
    def allowed(self) -> str:
        """The values in words, for error messages."""

    def encode(self, value: Any) -> float:
        """Map a value of the domain into [0, 1]."""

    def decode(self, unit: float) -> ParamValue:
        """Map [0, 1] onto the domain; values are native Python scalars."""

    def contains(self, value: object) -> bool:
        """Whether the value is in the domain."""

    def levels(self, resolution: int) -> Sequence[ParamValue]:
        """All values of a finite domain; ``resolution`` of them, evenly spread, of another."""

    def to_dict(self) -> dict[str, Any]:
        """The domain as a campaign file writes it, defaults left out."""


def brief(domain: Domain) -> str:
    """Write a domain as the call that makes it, defaults left out."""
    kind, *items = domain.to_dict().items()
    named = ("log", "step", "when")
    arguments = [f"{key}={value!r}" if key in named else repr(value) for key, value in items]
    return f"{kind[1].capitalize()}({', '.join(arguments)})"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values without an order.

    Use it for names (optimisers, activations) and for numbers whose order means nothing. The
    surrogate sees one column per value.

    Parameters
    ----------
    choices : sequence of bool, int, float, str or None
        The values, all different. ``True`` and ``1`` are different, ``1`` and ``1.0`` are not.
    when : mapping, optional
        Other parameters and the values that make this one active, see
        :class:`~daskhpo.space.Space`.

    Raises
    ------
    SpaceError
        When there is no value, one occurs twice, or one is not a JSON scalar.

    Examples
    --------
    >>> Choice(["adam", "sgd"]).decode(0.7)
    'sgd'
    """

    choices: Sequence[ParamValue]
    when: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)

    def __post_init__(self) -> None:
        if isinstance(self.choices, str | Mapping) or not isinstance(self.choices, Iterable):
            raise SpaceError(f"choices of a Choice is {self.choices!r}; it must be a list")
        choices = tuple(scalar("choices", value) for value in self.choices)
        if not choices:
            raise SpaceError("choices of a Choice is empty; it needs at least one value")
        for index, value in enumerate(choices):
            if any(same(value, other) for other in choices[:index]):
                raise SpaceError(f"choices of a Choice has {value!r} twice; values must differ")
        assign(self, choices=choices, when=conditions(self.when))

    @property
    def size(self) -> float:
        """Number of values."""
        return len(self.choices)

    @property
    def allowed(self) -> str:
        """The values in words."""
        return "one of " + ", ".join(repr(value) for value in self.choices)

    def encode(self, value: ParamValue) -> float:
        """Map a value to the middle of its cell in [0, 1]."""
        index = next(i for i, choice in enumerate(self.choices) if same(choice, value))
        return (index + 0.5) / len(self.choices)

    def decode(self, unit: float) -> ParamValue:
        """Map [0, 1] onto the choices."""
        return self.choices[cell(unit, len(self.choices))]

    def contains(self, value: object) -> bool:
        """Whether the value is one of the choices."""
        return any(same(choice, value) for choice in self.choices)

    def levels(self, resolution: int) -> Sequence[ParamValue]:
        """All choices."""
        return self.choices

    def to_dict(self) -> dict[str, Any]:
        """The domain as a campaign file writes it."""
        return form("choice", choices=list(self.choices), when=self.when)

    __repr__ = brief


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that every trial gets.

    Use it to pin a parameter without touching the objective. It takes no dimension.

    Parameters
    ----------
    value : bool, int, float, str or None
        The value.
    when : mapping, optional
        Other parameters and the values that make this one active, see
        :class:`~daskhpo.space.Space`.

    Examples
    --------
    >>> Constant("sample").decode(0.2)
    'sample'
    """

    value: ParamValue
    when: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)

    def __post_init__(self) -> None:
        assign(self, value=scalar("value", self.value), when=conditions(self.when))

    @property
    def size(self) -> float:
        """Always 1."""
        return 1

    @property
    def allowed(self) -> str:
        """The value in words."""
        return f"only {self.value!r}"

    def encode(self, value: ParamValue) -> float:
        """Map the value to 0.5."""
        return 0.5

    def decode(self, unit: float) -> ParamValue:
        """Return the value."""
        return self.value

    def contains(self, value: object) -> bool:
        """Whether this is the value."""
        return same(self.value, value)

    def levels(self, resolution: int) -> Sequence[ParamValue]:
        """The value alone."""
        return [self.value]

    def to_dict(self) -> dict[str, Any]:
        """The domain as a campaign file writes it."""
        return {"type": "constant", "value": self.value} | (
            {"when": self.when} if self.when else {}
        )

    __repr__ = brief


def cell(unit: float, n: int) -> int:
    """Index of the cell of [0, 1] cut into n equal ones."""
    return min(max(int(unit * n), 0), n - 1)


def assign(domain: object, **values: object) -> None:
    for key, value in values.items():
        object.__setattr__(domain, key, value)  # the dataclasses are frozen


def conditions(when: object) -> dict[str, list[ParamValue]]:
    """Normalise ``{parent: value or values}`` to ``{parent: [values]}``."""
    if not isinstance(when, Mapping):
        raise SpaceError(f"when is {when!r}; it must be a mapping of parameters to values")
    found: dict[str, list[ParamValue]] = {}
    for name, values in when.items():
        many = values if isinstance(values, list | tuple | set | frozenset) else [values]
        found[str(name)] = [scalar(f"when[{name!r}]", value) for value in many]
        if not found[str(name)]:
            raise SpaceError(f"when[{name!r}] is empty; it needs at least one value")
    return found


def form(kind: str, **keys: Any) -> dict[str, Any]:
    return {"type": kind} | {k: v for k, v in keys.items() if v is not None and v != {}}
