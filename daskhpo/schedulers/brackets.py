"""Which brackets Hyperband runs: how many trials begin in each, and where they are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from daskhpo.exceptions import SchedulerError
from daskhpo.schedulers.rungs import check_integer

__all__ = ["Plan", "brackets", "check_brackets"]

Plan = tuple[int, tuple[tuple[int, int], ...]]  # (s, ((milestone, trials), ...)), lowest rung first


def brackets(max_step: int, eta: int, *, min_step: int = 1) -> Iterator[Plan]:
    """Yield Hyperband's brackets, from the one that halves most to training in full.

    Bracket s, from ``s_max``, the largest with ``min_step * eta**s_max <= max_step``, down to 0,
    begins with ``n = ceil((s_max + 1) * eta**s / (s + 1))`` trials. Its rung i compares
    ``floor(n / eta**i)`` of them at step ``max_step / eta**(s - i)``, rounded to the nearest
    integer, and to an even one in the middle (Li et al., *Hyperband*, 1603.06560, algorithm 1).
    All of it is integer arithmetic: ``floor(log(243) / log(3))`` is 4.

    Parameters
    ----------
    max_step : int
        R, the last milestone of every bracket.
    eta : int
        Reduction factor, at least 2.
    min_step : int
        Nobody is compared before this step.

    Yields
    ------
    (s, ((milestone, trials), ...))

    Raises
    ------
    SchedulerError
        If the numbers do not make a ladder.

    Examples
    --------
    >>> for bracket in brackets(9, 3):
    ...     print(bracket)
    (2, ((1, 9), (3, 3), (9, 1)))
    (1, ((3, 5), (9, 1)))
    (0, ((9, 3),))
    """
    check_integer("max_step", max_step)
    check_integer("min_step", min_step)
    check_integer("eta", eta, least=2)
    if min_step > max_step:
        raise SchedulerError(f"min_step={min_step}: must not be above max_step={max_step}")
    most = 0
    while min_step * eta ** (most + 1) <= max_step:
        most += 1
    for s in range(most, -1, -1):
        trials = -(-(most + 1) * eta**s // (s + 1))
        steps = [round(Fraction(max_step, eta ** (s - i))) for i in range(s + 1)]
        yield s, tuple((step, trials // eta**i) for i, step in enumerate(steps))


def check_brackets(given: Iterable[Any], max_step: int) -> tuple[Plan, ...]:
    """Take brackets as :func:`brackets` yields them, from anywhere (lists from JSON, too).

    Raises
    ------
    SchedulerError
        If there is none; if one is not a pair of s and s + 1 rungs; if milestones do not rise to
        ``max_step`` or trials grow; if two brackets of the same s have other milestones.

    Examples
    --------
    >>> check_brackets([[1, [[3, 4], [9, 2]]]], max_step=9)
    ((1, ((3, 4), (9, 2))),)
    """
    plans = tuple(_plan(bracket, max_step) for bracket in given)
    if not plans:
        raise SchedulerError("brackets=(): must hold at least one bracket")
    ladders: dict[int, list[int]] = {}  # {s: milestones}
    for s, rungs in plans:
        steps = [step for step, _ in rungs]
        if ladders.setdefault(s, steps) != steps:
            raise SchedulerError(
                f"brackets: s={s} comes with the milestones {ladders[s]} and {steps}; those of "
                "the same s must have the same"
            )
    return plans


def _plan(bracket: Any, max_step: int) -> Plan:
    try:
        s, pairs = bracket
        rungs = tuple((step, trials) for step, trials in pairs)
    except (TypeError, ValueError):
        raise SchedulerError(
            f"brackets: {bracket!r} must be (s, ((milestone, trials), ...))"
        ) from None
    for step, trials in rungs:
        check_integer("milestone", step)
        check_integer("trials", trials)
    steps, sizes = [step for step, _ in rungs], [trials for _, trials in rungs]
    if not isinstance(s, int) or len(rungs) != s + 1:
        raise SchedulerError(f"brackets: s={s!r} with {len(rungs)} rungs; it must have s + 1")
    if steps != sorted(set(steps)) or steps[-1] != max_step:
        raise SchedulerError(f"brackets: milestones {steps} must rise to max_step={max_step}")
    if sizes != sorted(sizes, reverse=True):
        raise SchedulerError(f"brackets: trials {sizes} must not grow from rung to rung")
    return s, rungs
