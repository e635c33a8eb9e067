"""What one hyperparameter may be, if it is a number: a float or an integer between bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from daskhpo.domains import assign, brief, cell, conditions, form
from daskhpo.exceptions import SpaceError
from daskhpo.scalars import MAX_INT, flag, native, real, whole

__all__ = ["Float", "Int"]


@dataclass(frozen=True, slots=True)
class Float:
    """A real number between two bounds, both included.

    Use ``log=True`` for scales (learning rates, weight decays), where a factor matters rather
    than a difference.

    Parameters
    ----------
    low, high : float
        The bounds; they may be equal.
    log : bool
        Spread the values evenly over the logarithm; needs ``low > 0``.
    step : float, optional
        Allow only ``low, low + step, ...`` up to at most ``high``. Not with ``log``.
    when : mapping, optional
        Other parameters and the values that make this one active, see
        :class:`~daskhpo.space.Space`.

    Raises
    ------
    SpaceError
        When the bounds or the step do not make a domain.

    Examples
    --------
    >>> round(Float(1e-5, 1e-1, log=True).decode(0.5), 6)
    0.001
    >>> Float(0, 1, step=0.1).levels(5)[3]
    0.3
    """

    low: float
    high: float
    log: bool = field(default=False, kw_only=True)
    step: float | None = field(default=None, kw_only=True)
    when: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)

    def __post_init__(self) -> None:
        low, high = real("low", self.low), real("high", self.high)
        _check_bounds("Float", low, high)
        if not math.isfinite(high - low):
            raise SpaceError(f"Float(low={low}, high={high}): high - low must be a finite number")
        if self.log and low <= 0:
            raise SpaceError(f"low of a Float with log=True is {low}; it must be above 0")
        assign(self, low=low, high=high, log=flag("log", self.log), when=conditions(self.when))
        if self.step is None:
            return
        step = real("step", self.step)
        if self.log:
            raise SpaceError(f"step of a Float with log=True is {step}; log allows no step")
        if step <= 0:
            raise SpaceError(f"step of a Float is {step}; it must be above 0")
        if (high - low) / step > MAX_INT:
            raise SpaceError(f"step of a Float is {step}; it allows more than {MAX_INT} values")
        assign(self, step=step)

    @property
    def size(self) -> float:
        """Number of values: 1 for equal bounds, finite with a step, else infinite."""
        if self.low == self.high:
            return 1
        if self.step is None:
            return math.inf
        # The slack keeps Float(0, 1, step=0.1) from losing its last value to rounding.
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1

    @property
    def allowed(self) -> str:
        """The values in words."""
        grid = f" in steps of {self.step}" if self.step is not None else ""
        return f"a number between {self.low} and {self.high}{grid}"

    def encode(self, value: float) -> float:
        """Map a value into [0, 1]; values on a step sit in the middle of their cell."""
        if self.size == 1:
            return 0.5
        if self.step is not None:
            return (round((value - self.low) / self.step) + 0.5) / self.size
        low, high, x = self.low, self.high, value
        if self.log:
            low, high, x = math.log(low), math.log(high), math.log(value)
        return min(max((x - low) / (high - low), 0.0), 1.0)

    def decode(self, unit: float) -> float:
        """Map [0, 1] onto the domain."""
        if self.size == 1:
            return self.low
        if self.step is not None:
            return self._on_step(cell(unit, int(self.size)))
        if unit <= 0 or unit >= 1:  # exactly the bounds, whatever exp and log round to
            return self.low if unit <= 0 else self.high
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            value = math.exp(low + unit * (high - low))
        else:
            value = self.low + unit * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def contains(self, value: object) -> bool:
        """Whether the value is a number within the bounds and on a step."""
        value = native(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.step is None or not math.isfinite(value):
            return self.low <= value <= self.high
        index = round((value - self.low) / self.step)
        if not 0 <= index < self.size:
            return False
        return abs(value - self._on_step(index)) <= 1e-9 * self.step

    def levels(self, resolution: int) -> Sequence[float]:
        """All values on steps, or ``resolution`` evenly spread ones with both bounds."""
        if math.isfinite(self.size):
            return [self._on_step(index) for index in range(int(self.size))]
        if resolution == 1:
            return [self.decode(0.5)]
        return [self.decode(index / (resolution - 1)) for index in range(resolution)]

    def to_dict(self) -> dict[str, Any]:
        """The domain as a campaign file writes it."""
        return form(
            "float",
            low=self.low,
            high=self.high,
            log=self.log or None,
            step=self.step,
            when=self.when,
        )

    def _on_step(self, index: int) -> float:
        # Decimal arithmetic gives the 0.3 that was meant, not 0.30000000000000004.
        if self.step is None:
            return self.low
        return float(Decimal(repr(self.low)) + index * Decimal(repr(self.step)))

    __repr__ = brief


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number between two bounds, both included.

    Use it for what is counted (layers, heads, batch sizes), with ``log=True`` where a factor
    matters rather than a difference. All values are equally likely without ``log``.

    Parameters
    ----------
    low, high : int
        The bounds, at most 2**40 in size; they may be equal.
    log : bool
        Spread the values over the logarithm; needs ``low >= 1``.
    step : int
        Allow only ``low, low + step, ...`` up to at most ``high``. Not with ``log``.
    when : mapping, optional
        Other parameters and the values that make this one active, see
        :class:`~daskhpo.space.Space`.

    Raises
    ------
    SpaceError
        When the bounds or the step do not make a domain.

    Examples
    --------
    >>> [Int(1, 8, step=3).decode(u) for u in (0.0, 0.5, 1.0)]
    [1, 4, 7]
    >>> Int(16, 1024, log=True).decode(0.5)
    126
    """

    low: int
    high: int
    log: bool = field(default=False, kw_only=True)
    step: int = field(default=1, kw_only=True)
    when: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)

    def __post_init__(self) -> None:
        low, high, step = (whole(key, getattr(self, key)) for key in ("low", "high", "step"))
        _check_bounds("Int", low, high)
        if self.log and low < 1:
            raise SpaceError(f"low of an Int with log=True is {low}; it must be 1 or more")
        if self.log and step != 1:
            raise SpaceError(f"step of an Int with log=True is {step}; log allows no step")
        if step < 1:
            raise SpaceError(f"step of an Int is {step}; it must be 1 or more")
        assign(self, low=low, high=high, step=step)
        assign(self, log=flag("log", self.log), when=conditions(self.when))

    @property
    def size(self) -> float:
        """Number of values."""
        return (self.high - self.low) // self.step + 1

    @property
    def allowed(self) -> str:
        """The values in words."""
        grid = f" in steps of {self.step}" if self.step != 1 else ""
        return f"a whole number between {self.low} and {self.high}{grid}"

    @property
    def log_bounds(self) -> tuple[float, float]:
        """Logarithms of the unit interval's ends: half a number beyond the bounds."""
        return math.log(self.low - 0.5), math.log(self.high + 0.5)

    def encode(self, value: int) -> float:
        """Map a value to the middle of its cell in [0, 1] (log: to its logarithm's place)."""
        if self.size == 1:
            return 0.5
        if self.log:
            low, high = self.log_bounds
            return (math.log(value) - low) / (high - low)
        return ((value - self.low) // self.step + 0.5) / self.size

    def decode(self, unit: float) -> int:
        """Map [0, 1] onto the domain."""
        if not self.log:
            return self.low + self.step * cell(unit, int(self.size))
        low, high = self.log_bounds
        return min(max(round(math.exp(low + unit * (high - low))), self.low), self.high)

    def contains(self, value: object) -> bool:
        """Whether the value is a whole number within the bounds and on a step."""
        value = native(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def levels(self, resolution: int) -> Sequence[int]:
        """All values."""
        return range(self.low, self.high + 1, self.step)

    def to_dict(self) -> dict[str, Any]:
        """The domain as a campaign file writes it."""
        step = self.step if self.step != 1 else None
        return form(
            "int", low=self.low, high=self.high, log=self.log or None, step=step, when=self.when
        )

    __repr__ = brief


def _check_bounds(kind: str, low: float, high: float) -> None:
    if low > high:
        raise SpaceError(f"{kind}(low={low}, high={high}): low must not be above high")
