"""How numbers and times read wherever people see them: the command line, logs, notebooks."""

from __future__ import annotations

import math

__all__ = ["clock", "count", "duration", "listing", "number", "value"]


def number(value: float) -> str:
    """Write a metric's value; a dash where there is none.

    Examples
    --------
    >>> number(0.123456789), number(float("nan")), number(float("inf"))
    ('0.123457', '-', '-')
    """
    return f"{value:.6g}" if math.isfinite(value) else "-"


def value(given: object) -> str:
    """Write the value of a parameter: as it is, long floats shortened.

    Examples
    --------
    >>> value(0.0123456789), value(3), value("adam"), value(None)
    ('0.0123457', '3', 'adam', 'None')
    """
    return number(given) if isinstance(given, float) else str(given)


def duration(seconds: float) -> str:
    """Write a time span in its two largest units.

    Examples
    --------
    >>> duration(0.42), duration(61), duration(3 * 3600 + 120), duration(50 * 3600)
    ('0.4 s', '1 min 1 s', '3 h 2 min', '2 d 2 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    left, parts = round(seconds), list[str]()
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size or parts:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def clock(seconds: float) -> str:
    """Write a time span as a clock does, for columns.

    Examples
    --------
    >>> clock(5), clock(3725)
    ('00:00:05', '01:02:05')
    """
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def count(n: int, thing: str) -> str:
    """Write how many there are of a thing.

    Examples
    --------
    >>> count(1, "epoch"), count(1234, "trial")
    ('1 epoch', '1,234 trials')
    """
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def listing(rows: list[tuple[str, str]], *, indent: int = 0) -> list[str]:
    """Lay out names and values in two columns.

    Examples
    --------
    >>> listing([("lr", "0.1"), ("width", "64")], indent=2)
    ['  lr     0.1', '  width  64']
    """
    wide = max((len(name) for name, _ in rows), default=0)
    return [f"{' ' * indent}{name:<{wide}}  {value}" for name, value in rows]
