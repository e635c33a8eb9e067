"""How far the ranks at a rung can be trusted: do the trials that end best lead there already?

A trial that starts slowly and wins in the end is lost to a ladder that compares too early. What
two neighbouring rungs agree on says nothing of it, so every number here compares a rung with the
end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from daskhpo.analysis.agreement import (
    NOTHING,
    Estimate,
    implied_share,
    rank_correlation,
    share_kept,
)
from daskhpo.analysis.verdict import FEWEST, Basis, Reliability, RungReliability, Verdict
from daskhpo.exceptions import DataError, SchedulerError
from daskhpo.schedulers.rungs import check_integer
from daskhpo.trial import Direction

__all__ = ["reliability", "starts"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

COUNTABLE = 5  # best trials from which on they are counted; fewer say too little one by one
ENOUGH = 0.9  # of the best trials that a rung must keep to be called reliable
UNSELECTED = 0.9  # complete share from which on the few that ended early select nothing


def reliability(
    curves: npt.ArrayLike,
    *,
    milestones: Sequence[int],
    eta: int,
    steps: Sequence[int] | None = None,
    top: float | None = None,
    audit: npt.ArrayLike | None = None,
    direction: Direction | str = Direction.MIN,
    unit: str = "epoch",
    learned: bool = False,
) -> Reliability:
    """Judge each rung of a ladder by the trials that were trained to the end.

    Use it before a campaign, on curves of an earlier one, to choose ``min_step``; during one, to
    see whether it is losing its best trials.

    Parameters
    ----------
    curves : array (n, columns)
        The metric of n trials; nan after a trial has ended, and where it did not report. A trial
        is complete if it has a value in the last column. Leave out trials that are still running
        and those that failed.
    milestones : sequence of int
        Where the ladder compares; those at R and beyond are left out.
    eta : int
        One trial in ``eta`` goes on.
    steps : sequence of int, optional
        What the columns show, rising; by default every step from 1 to R. The last one is R.
    top : float, optional
        Which share of the complete trials is called the best; by default a tenth, or 1/eta where
        that is less.
    audit : array of bool (n,), optional
        Trials that were drawn at random, before anything was known of them, to be trained to the
        end.
    direction : {"min", "max"}
        Which values are good.
    unit : str
        What a step is.
    learned : bool
        Whether the scheduler learns how many go on, so that the advice is not to change it.

    Returns
    -------
    Reliability

    Raises
    ------
    SchedulerError
        If the ladder, ``eta`` or ``top`` cannot be.
    DataError
        If the curves are no table, or the mask does not fit them.

    Notes
    -----
    Where the scheduler chose who reaches the end, whoever it lost is missing among the complete
    trials: then nothing is claimed, unless ``audit`` names enough that were not chosen.

    Each rung is judged as the first one of a ladder, where everybody arrives and the best
    ``floor(n / eta)`` go on. Intervals hold to 95 %: of the rank correlation by Fisher's z with
    the variance of Bonett and Wright (Psychometrika 65, 2000), of the share by Wilson's score.
    With fewer than five best trials the share is that of two normally distributed variables with
    this rank correlation (Pearson's is ``2 sin(pi/6 rho)``), and its interval follows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> end = rng.normal(size=(200, 1))
    >>> curves = np.hstack([rng.normal(size=(200, 1)), end + 0.1 * rng.normal(size=(200, 1)), end])
    >>> found = reliability(curves, milestones=(1, 2), eta=2)
    >>> [rung.verdict for rung in found.rungs], found.min_step
    (['unreliable', 'reliable'], 2)
    """
    values = _checked(curves, direction)
    columns = _columns(steps, values.shape[1])
    max_step = int(columns[-1])
    ladder = _ladder(milestones, max_step)
    check_integer("eta", eta, least=2)
    top = _top(top, eta)
    basis, chosen = _basis(np.isfinite(values[:, -1]), _mask(audit, len(values)))
    used = values[chosen]
    best = min(max(1, round(top * len(used))), max(1, len(used) // eta))
    judged: dict[int, RungReliability] = {}  # {step: as a rung there}
    for step in sorted({*ladder, *starts(max_step)}) if basis != "few" else ():
        later = used[:, np.searchsorted(columns, step) :]
        rung = _judge(step, _first(later), used[:, -1], eta=eta, best=best, top=top)
        judged[step] = _withheld(rung) if basis == "finalists" else rung
    return Reliability(
        rungs=tuple(judged[step] for step in ladder if judged),
        basis=basis,
        trials=len(values),
        used=len(used),
        best=best,
        top=top,
        eta=eta,
        max_step=max_step,
        unit=unit,
        min_step=_lowest(judged, ("reliable", "undecided")),
        sure_step=_lowest(judged, ("reliable",)),
        measured=best >= COUNTABLE,
        learned=learned,
    )


def starts(max_step: int) -> list[int]:
    """Where a ladder might begin: 1, 2, 3, 4, 6, 8, 12, ... below the end.

    Examples
    --------
    >>> starts(20)
    [1, 2, 3, 4, 6, 8, 12, 16]
    """
    doubled = [2**k for k in range(max_step.bit_length())]
    return sorted(step for two in doubled for step in (two, 3 * two) if step < max_step)


def _judge(
    step: int, early: Array, end: Array, *, eta: int, best: int, top: float
) -> RungReliability:
    """Judge one rung by what complete trials had there, and at the end."""
    spearman = rank_correlation(early, end)
    inside, kept = share_kept(early, end, eta=eta, best=best)
    if best < COUNTABLE:
        kept = implied_share(spearman, eta=eta, top=top)
    return RungReliability(step, spearman, inside, kept, _verdict(kept, eta))


def _verdict(kept: Estimate, eta: int) -> Verdict:
    if math.isnan(kept.value):
        return "unknown"
    if kept.value < ENOUGH:
        return "unreliable" if kept.high < ENOUGH else "undecided"
    # Half way up from what chance would keep: no certainty, but evidence.
    return "reliable" if kept.low >= (1 / eta + ENOUGH) / 2 else "undecided"


def _lowest(judged: dict[int, RungReliability], good: Sequence[Verdict]) -> int | None:
    """The step from which on all verdicts are good."""
    found = None
    for step in sorted(judged, reverse=True):
        if judged[step].verdict not in good:
            break
        found = step
    return found


def _withheld(rung: RungReliability) -> RungReliability:
    """What is left of a rung that only the scheduler's own finalists speak for."""
    return replace(rung, inside=math.nan, kept=NOTHING, verdict="unknown")


def _first(later: Array) -> Array:
    """(n,) the first value of each row: a trial that skipped a step is judged by the next one."""
    first = np.isfinite(later).argmax(axis=1)
    found: Array = np.take_along_axis(later, first[:, None], axis=1)[:, 0]
    return found


def _basis(complete: Mask, audit: Mask) -> tuple[Basis, Mask]:
    """Which complete trials may speak for all."""
    found = int(complete.sum())
    if found >= max(FEWEST, UNSELECTED * len(complete)):
        return "all", complete
    if (complete & audit).sum() >= FEWEST:
        return "audit", complete & audit
    return ("finalists" if found >= FEWEST else "few"), complete


def _checked(curves: npt.ArrayLike, direction: Direction | str) -> Array:
    """The curves, minimised, nan where there is no finite value."""
    values = np.asarray(curves, dtype=float)
    if values.ndim != 2 or not values.shape[1]:
        raise DataError(f"curves have the shape {values.shape}: must be (trials, steps)")
    return np.where(np.isfinite(values), Direction(direction).sign * values, math.nan)


def _columns(steps: Sequence[int] | None, count: int) -> npt.NDArray[np.int64]:
    columns = np.asarray(range(1, count + 1) if steps is None else steps, dtype=np.int64)
    if columns.shape != (count,) or (np.diff(columns) <= 0).any():
        raise DataError(f"steps={steps!r}: must rise, one for each of {count} columns")
    return columns


def _mask(audit: npt.ArrayLike | None, trials: int) -> Mask:
    mask = np.zeros(trials, bool) if audit is None else np.asarray(audit)
    if mask.shape != (trials,) or mask.dtype != bool:
        raise DataError(f"audit has the shape {mask.shape}, {mask.dtype}: must be ({trials},) bool")
    return mask


def _ladder(milestones: Sequence[int], max_step: int) -> list[int]:
    """The milestones before the end, which agrees with itself."""
    for step in milestones:
        check_integer("milestone", step)
    return sorted({step for step in milestones if step < max_step})


def _top(top: float | None, eta: int) -> float:
    top = min(0.1, 1 / eta) if top is None else top
    if not 0 < top <= 1 / eta:
        raise SchedulerError(
            f"top={top!r}: must be above 0 and at most 1/eta, which is {1 / eta:g}"
        )
    return top
