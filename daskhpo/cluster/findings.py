"""What the doctor finds: data, with a cure for whatever has failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from daskhpo.exceptions import CampaignError

__all__ = ["Finding", "Level", "worst"]


class Level(StrEnum):
    """How bad it is: ``WARNING`` may hurt later, with ``FAILURE`` no campaign can run."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    what : str
        The thing, in a word or two: ``"open files"``.
    level : Level
        How bad it is.
    said : str
        What was found, in a line.
    cure : str
        What to do about it, in a line; every failure has one.

    Examples
    --------
    >>> print(Finding("open files", Level.WARNING, "at most 256", "ulimit -n 4096"))
    warning  open files: at most 256
             cure: ulimit -n 4096
    """

    what: str
    level: Level
    said: str
    cure: str = ""

    def __post_init__(self) -> None:
        if self.level is Level.FAILURE and not self.cure:
            raise CampaignError(f"finding {self.what!r}: cure='': a failure needs one")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "level": self.level.value}

    def __str__(self) -> str:
        head = f"{self.level.value:<7}  {self.what}: {self.said}"
        return f"{head}\n         cure: {self.cure}" if self.cure else head


def worst(findings: Iterable[Finding]) -> Level:
    """The level of the worst finding; ``OK`` where there is none.

    Examples
    --------
    >>> worst([Finding("munge", Level.OK, "there"), Finding("disk", Level.WARNING, "nearly full")])
    <Level.WARNING: 'warning'>
    """
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)
