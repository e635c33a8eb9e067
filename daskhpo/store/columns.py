"""The per-trial columns of a curve store: how parameters and states become numbers, and back.

Zarr has no settled format for arrays of texts, so none is written: a parameter with only numbers
is a float column (nan where it is inactive), any other holds codes into its list of choices (-1
where it is inactive), and the state of a trial is a code too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from daskhpo.trial import ParamValue, TrialState

__all__ = ["BRED", "FIXED", "STATES", "Choices", "column_name", "decode", "is_number"]

STATES = [str(state) for state in TrialState]  # a code is an index into this list

FIXED: Mapping[str, tuple[str, float]] = {  # column: (dtype, what an untouched trial has)
    "state": ("int8", -1),
    "attempt": ("int32", -1),
    "last_step": ("int32", 0),
    "seconds": ("float64", 0.0),
}

BRED: Mapping[str, tuple[str, float]] = {  # the same, of columns that are there once one has it
    "parent": ("int32", -1),
}


def column_name(param: str) -> str:
    """Name the array of a parameter; letters that a path cannot have are percent-encoded.

    Examples
    --------
    >>> column_name("lr"), column_name("model/width")
    ('param_lr', 'param_model%2Fwidth')
    """
    return f"param_{quote(param, safe=' ')}"


def is_number(value: ParamValue) -> bool:
    """Whether a value can stand in a float column: booleans and texts cannot.

    Examples
    --------
    >>> is_number(3), is_number(True), is_number("3")
    (True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


class Choices:
    """The values of one column of codes, in the order in which they were first seen.

    Parameters
    ----------
    values : sequence
        What is known already.

    Examples
    --------
    >>> choices = Choices(["adam"])
    >>> choices.code("sgd"), choices.code(True), choices.code(1), choices.values
    (1, 2, 3, ['adam', 'sgd', True, 1])
    """

    def __init__(self, values: Iterable[ParamValue] = ()) -> None:
        self.values: list[ParamValue] = []
        self._codes: dict[tuple[bool, ParamValue], int] = {}
        for value in values:
            self.code(value)

    def code(self, value: ParamValue) -> int:
        """Give the code of a value, a new one if it was not seen before."""
        key = (isinstance(value, bool), value)  # True is 1 for a dict
        if key not in self._codes:
            self._codes[key] = len(self.values)
            self.values.append(value)
        return self._codes[key]

    def recode(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        """Turn a float column into codes (nan into -1)."""
        codes = np.full(len(numbers), -1, dtype=np.int32)
        for index in np.flatnonzero(~np.isnan(numbers)):
            number = float(numbers[index])
            codes[index] = self.code(int(number) if number.is_integer() else number)
        return codes


def decode(codes: npt.NDArray[Any], values: Sequence[ParamValue]) -> npt.NDArray[np.object_]:
    """Turn codes into an object array of values, with None for -1.

    So is a code beyond the list: of a store that was written on after its list was read.

    Examples
    --------
    >>> import numpy as np
    >>> decode(np.array([1, -1, 0]), ["adam", "sgd"]).tolist()
    ['sgd', None, 'adam']
    """
    table = np.empty(len(values) + 1, dtype=object)
    table[:-1] = values
    found: npt.NDArray[np.object_] = table[np.where(codes < len(values), codes, -1)]
    return found
