"""What the figures of a comparison show: medians and quartiles over seeds, and speed-ups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daskhpo.analysis.compare_runs import Record
from daskhpo.simulate.problem import Problem
from daskhpo.simulate.run import History

__all__ = [
    "Band",
    "Scaling",
    "anytime_loss",
    "anytime_regret",
    "limits",
    "over_samples",
    "scaling",
    "scaling_caption",
]

Array = npt.NDArray[np.float64]

_POINTS = 50  # of a line
_DECADES = 2  # before them, the incumbent is whoever reported first


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Median and quartiles over seeds at ``x``; nan where most seeds have no value yet."""

    x: Array
    low: Array
    middle: Array
    high: Array

    @property
    def least(self) -> float:
        """The smallest value above 0; 1 if there is none."""
        values = np.concatenate([self.low, self.middle, self.high])
        values = values[np.isfinite(values) & (values > 0)]
        return float(values.min()) if len(values) else 1.0


def over_samples(records: Sequence[Record]) -> Band:
    """Steps trained by campaigns of different sizes."""
    sizes = sorted({record.task.trials for record in records})
    trained = [
        np.quantile([r.trained for r in records if r.task.trials == n], (0.25, 0.5, 0.75))
        for n in sizes
    ]
    low, middle, high = np.array(trained).T
    return Band(np.array(sizes, float), low, middle, high)


def anytime_loss(kinds: Sequence[Sequence[Record]], problem: Problem) -> list[Band]:
    """Final value of the incumbent of the moment, over steps trained; a band for each kind."""
    sign = problem.sign
    found = _anytime(kinds, lambda history: history.trained, lambda _, value: sign * value)
    if sign > 0:
        return found
    return [Band(band.x, -band.high, -band.middle, -band.low) for band in found]


def anytime_regret(kinds: Sequence[Sequence[Record]], problem: Problem) -> list[Band]:
    """How much worse the incumbent of the moment is than the best drawn, over time."""
    return _anytime(
        kinds,
        lambda history: history.time,
        lambda record, value: np.maximum(problem.sign * (value - record.best), 0.0),
    )


def limits(bands: Sequence[Band]) -> tuple[float, float]:
    """Where an axis begins and ends that shows all medians, whatever the quartiles do.

    Examples
    --------
    >>> x = np.array([1.0, 2.0])
    >>> limits([Band(x, x, x, 100 * x)])
    (0.9, 2.1)
    """
    values = np.concatenate([band.middle for band in bands])
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return low - 0.1 * (high - low), high + 0.1 * (high - low)


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """What more workers bring, each seed relative to itself with the fewest.

    ``campaign`` and ``target`` are speed-ups, of the whole campaign and of the time to a
    configuration of the best 1 %; ``work`` and ``spent`` the steps trained by the end, and until
    that time; ``busy`` (per number of workers) the median share of workers' time that jobs fill.
    """

    campaign: Band
    target: Band
    work: Band
    spent: Band
    busy: Array


def scaling(records: Sequence[Record]) -> Scaling:
    """What more workers bring to one kind of campaign."""
    numbers = sorted({record.task.workers for record in records})
    rows = [
        sorted((r for r in records if r.task.workers == n), key=lambda r: r.seed) for n in numbers
    ]
    x = np.array(numbers, float)
    table = np.array(  # (numbers of workers, seeds, 4)
        [[(r.makespan, r.reached, r.trained, r.spent) for r in row] for row in rows], float
    )
    table[np.isinf(table)] = math.nan  # a seed that never had such a configuration says nothing
    ratio = table / table[0]
    busy = [np.median([r.busy / max(r.busy + r.idle, 1e-12) for r in row]) for row in rows]
    return Scaling(
        campaign=_spread(x, 1 / ratio[:, :, 0]),
        target=_spread(x, 1 / ratio[:, :, 1]),
        work=_spread(x, ratio[:, :, 2]),
        spent=_spread(x, ratio[:, :, 3]),
        busy=np.array(busy),
    )


def scaling_caption(curves: Mapping[str, Scaling], unit: str, seeds: int) -> str:
    """Say what was measured, and where a speed-up beyond the ideal comes from."""
    said = [
        f"Median and quartiles of {seeds} seeds, each relative to itself with the fewest workers: "
        "how many times sooner the whole campaign ends (left); how many times sooner the "
        "incumbent is one of the best 1 % of the configurations drawn (middle); "
        f"{unit}s trained in all (right)."
    ]
    beyond = [
        said
        for label, curve in curves.items()
        for said in (
            _beyond(label, curve.campaign, curve.work, unit),
            _beyond(f"{label} to a top 1 % configuration", curve.target, curve.spent, unit),
        )
        if said
    ]
    if beyond:
        said += [
            f"Superlinear in three of four seeds: {'; '.join(beyond)}.",
            f"Workers are not faster in company; fewer {unit}s are needed: with more trials side "
            "by side, more are compared before one goes on, and a good one is met before much was "
            "spent on others.",
        ]
    else:
        said.append("Nothing is superlinear in three of four seeds.")
    last = {label: float(curve.busy[-1]) for label, curve in curves.items()}
    least, most = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
    workers = next(iter(curves.values())).campaign.x[-1]
    said.append(
        f"With {workers:.0f} workers the last trials leave others idle: jobs fill from "
        f"{last[least]:.0%} ({least}) to {last[most]:.0%} ({most}) of their time."
    )
    return " ".join(said)


def _beyond(label: str, speed: Band, work: Band, unit: str) -> str:
    """Where a speed-up is beyond the ideal by its lower quartile; empty if nowhere."""
    ideal = speed.x / speed.x[0]
    gain = np.nan_to_num(speed.low / ideal)
    top = int(gain.argmax())
    if gain[top] <= 1:
        return ""
    return (
        f"{label}, {speed.middle[top]:.3g} times with {ideal[top]:.3g} times the workers, for "
        f"{work.middle[top]:.2f} times the {unit}s"
    )


def _spread(x: Array, values: Array) -> Band:
    """Quartiles over seeds (the second axis) that have a value; nan where most have none."""
    found = np.full((3, len(x)), math.nan)
    for place, row in enumerate(values):
        known = row[np.isfinite(row)]
        if 2 * len(known) > len(row):
            found[:, place] = np.quantile(known, (0.25, 0.5, 0.75))
    low, middle, high = found
    return Band(x, low, middle, high)


def _anytime(
    kinds: Sequence[Sequence[Record]],
    axis: Callable[[History], npt.NDArray[np.generic]],
    worth: Callable[[Record, Array], Array],
) -> list[Band]:
    """Minimised values along an axis of the histories, on the last decades of the longest one."""
    ends = [[float(axis(_history(r))[-1]) for r in records] for records in kinds]
    last = max(max(end) for end in ends)
    grid = np.geomspace(last / 10**_DECADES, last, _POINTS)
    bands = []
    for records, end in zip(kinds, ends, strict=True):
        own = grid[grid <= max(end) * (1 + 1e-9)]
        values = [_held(axis(_history(r)), worth(r, _history(r).value), own) for r in records]
        bands.append(_quartiles(own, np.array(values)))
    return bands


def _history(record: Record) -> History:
    assert record.history is not None  # the campaigns of the tables keep theirs
    return record.history


def _held(x: npt.NDArray[np.generic], value: Array, grid: Array) -> Array:
    """A step function on the grid: each value holds until the next; inf before the first."""
    place = np.searchsorted(np.asarray(x, float), grid * (1 + 1e-9), side="right") - 1
    held: Array = np.where(place < 0, math.nan, value[np.maximum(place, 0)])
    return np.where(np.isnan(held), math.inf, held)


def _quartiles(grid: Array, values: Array) -> Band:
    """Over seeds; values of some seed, never a mean, so that inf is allowed."""
    found = np.quantile(values, (0.25, 0.5, 0.75), axis=0, method="inverted_cdf")
    low, middle, high = np.where(np.isinf(found), math.nan, found)
    return Band(grid, low, middle, high)
