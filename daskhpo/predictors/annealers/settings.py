"""What annealers can be asked for, checked before anything is embedded or sent."""

from __future__ import annotations

import math
from typing import Literal

from daskhpo.exceptions import PredictorError
from daskhpo.scalars import nearest

__all__ = ["SIZES", "Strength", "check_count", "check_graph", "check_seconds", "check_strength"]

Strength = float | Literal["auto"]

SIZES = {"pegasus": 16, "zephyr": 15}  # {family: largest size that a machine was designed for}


def check_count(name: str, value: int, *, least: int = 1) -> None:
    """Refuse what is not a whole number from ``least`` on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PredictorError(f"{name}={value!r}: must be a whole number from {least} on")


def check_seconds(name: str, value: float) -> None:
    """Refuse what is not a finite time."""
    if not _is_positive(value):
        raise PredictorError(f"{name}={value!r}: must be seconds, above 0")


def check_strength(strength: Strength) -> None:
    """Refuse a chain strength that is neither ``"auto"`` nor a number above 0."""
    if strength != "auto" and not _is_positive(strength):
        raise PredictorError(f"strength={strength!r}: must be auto or a number above 0")


def check_graph(family: str, size: int | None, missing: float) -> None:
    """Refuse a graph that no machine has."""
    if family not in SIZES:
        raise PredictorError(f"graph={family!r}: {nearest(str(family), SIZES)}")
    if size is not None:
        check_count("size", size)
        if not 2 <= size <= SIZES[family]:
            raise PredictorError(f"size={size!r}: must be from 2 to {SIZES[family]} for {family}")
    if missing != 0 and not (_is_positive(missing) and missing < 1):
        raise PredictorError(f"missing={missing!r}: must be a number from 0 to below 1")


def _is_positive(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 < value < math.inf
