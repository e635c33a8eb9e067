"""What one hyperparameter's value may be: a JSON scalar, and checks that say what is wrong."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable

from daskhpo.exceptions import SpaceError
from daskhpo.trial import ParamValue

__all__ = ["MAX_INT", "flag", "native", "nearest", "real", "same", "scalar", "whole"]

MAX_INT = 2**40  # beyond this, integers on a log scale no longer survive encode and decode


def same(one: object, other: object) -> bool:
    """Whether two scalars are the same value: ``1`` and ``1.0`` are, ``1`` and ``True`` are not.

    Examples
    --------
    >>> same(1, 1.0), same(1, True)
    (True, False)
    """
    one, other = native(one), native(other)
    return isinstance(one, bool) is isinstance(other, bool) and one == other


def native(value: object) -> object:
    """Return a numpy scalar as the Python scalar it stands for; anything else as it is."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()  # type: ignore[attr-defined]
    return value


def real(key: str, value: object) -> float:
    value = native(value)
    if isinstance(value, str):
        hint = " (YAML takes 1e-5 for text: write 1.0e-5)"
        raise SpaceError(f"{key} of a Float is the text {value!r}; it must be a number{hint}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpaceError(f"{key} of a Float is {value!r}; it must be a finite number")
    return float(value)


def whole(key: str, value: object) -> int:
    value = native(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise SpaceError(f"{key} of an Int is {value!r}; it must be a whole number")
    whole = operator.index(value)
    if abs(whole) > MAX_INT:
        raise SpaceError(f"{key} of an Int is {whole}; it must lie within -2**40 and 2**40")
    return whole


def flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SpaceError(f"{key} is {value!r}; it must be true or false")
    return value


def scalar(key: str, value: object) -> ParamValue:
    value = native(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise SpaceError(f"{key} has {value!r}; values must be bool, int, finite float, str or None")


def nearest(name: object, known: Iterable[str]) -> str:
    """Help for a name that is not known: the nearest one, and all of them."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known) or 'none'}"
