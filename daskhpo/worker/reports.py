"""What may be reported: numbers under names, the study's metrics among them."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping

from daskhpo.exceptions import ObjectiveError

__all__ = ["clean_metrics"]


def clean_metrics(metrics: Mapping[str, object], required: Iterable[str]) -> dict[str, float]:
    """Plain floats under plain names.

    Parameters
    ----------
    metrics : mapping
        Numbers of any kind: Python's, numpy's, tensors of one element.
    required : iterable of str
        Metrics that must be there.

    Raises
    ------
    ObjectiveError
        If one of them is missing, or a value is not a number.

    Examples
    --------
    >>> clean_metrics({"loss": 1, "epochs": True}, ["loss"])
    {'loss': 1.0, 'epochs': 1.0}
    """
    for name in required:
        if name not in metrics:
            known = ", ".join(sorted(map(str, metrics))) or "nothing"
            raise ObjectiveError(f"report() got {known}; the study's metric {name!r} is missing")
    return {str(name): _number(name, value) for name, value in metrics.items()}


def _number(name: object, value: object) -> float:
    if hasattr(value, "item"):  # numpy scalars, torch tensors of one element
        value = value.item()
    if isinstance(value, numbers.Real):
        return float(value)
    raise ObjectiveError(f"report({name}={value!r}): must be a number")
