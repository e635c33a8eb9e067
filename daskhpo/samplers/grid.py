"""Grid search."""

from __future__ import annotations

from typing import Any

from daskhpo.exceptions import SchedulerError
from daskhpo.samplers.seeding import check_seed
from daskhpo.space import Space
from daskhpo.trial import Params, Value

__all__ = ["Grid"]


class Grid:
    """Goes through all combinations, the last parameter fastest, and then has no more.

    Use it for a few parameters with few values, where every combination is wanted in a table.
    Finite domains show all their values. Conditions are respected: no combination occurs twice,
    and no forbidden one at all.

    Parameters
    ----------
    space : Space
        What to go through.
    seed : int
        Accepted as by all samplers; a grid draws nothing.
    resolution : int
        Values of each ``Float`` without a step: evenly spread, both bounds included.

    Raises
    ------
    SchedulerError
        When ``resolution`` is no whole number of 1 or more.

    Examples
    --------
    >>> from daskhpo.space import Float, Space
    >>> grid = Grid(Space(lr=Float(0.001, 0.1, log=True), bias=[True, False]), resolution=3)
    >>> grid.suggest(5), grid.suggest(6)
    ({'lr': 0.1, 'bias': False}, None)
    """

    slow = False

    def __init__(self, space: Space, *, seed: int = 0, resolution: int = 5) -> None:
        if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution < 1:
            raise SchedulerError(
                f"resolution of Grid is {resolution!r}; it must be a whole number >= 1"
            )
        self.space = space
        self.seed = check_seed(seed)
        self.resolution = resolution

    def suggest(self, number: int) -> Params | None:
        """Return combination ``number``, or None after the last."""
        return self.space.grid_point(number, self.resolution)

    def pend(self, number: int, params: Params) -> None:
        """Ignore what was handed out."""

    def tell(self, number: int, step: int, value: Value) -> None:
        """Ignore results."""

    def settings(self) -> dict[str, Any]:
        """Arguments that make this sampler again, see :func:`~daskhpo.samplers.make_sampler`."""
        return {"type": "grid", "resolution": self.resolution}

    def __repr__(self) -> str:
        return f"Grid({self.space!r}, resolution={self.resolution})"
