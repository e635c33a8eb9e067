"""One line of the table, and what the figures in it are rounded to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Row", "table"]


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, what came out, and what it should be.

    ``met`` is None where there is no target: for a peer, and for context.
    """

    what: str
    measured: str
    target: str = ""
    met: bool | None = None

    @property
    def verdict(self) -> str:
        """In a word."""
        return {None: "", True: "met", False: "MISSED"}[self.met]


def table(rows: Iterable[Row]) -> str:
    """Lay the rows out as a Markdown table."""
    cells = [("what", "measured", "target", "")]
    cells += [(row.what, row.measured, row.target, row.verdict) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(text.ljust(n) for text, n in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
