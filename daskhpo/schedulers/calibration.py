"""Which share of its trials each rung lets through, learned while the campaign runs.

Early ranks mislead on some problems and not on others, and agreement between neighbouring rungs
does not tell which. What tells is where those that lead today stood on the rungs below: if they
nearly fell through a rung, others like them did fall through, and the rung is to let more of
them go on. In the promotion form nobody was lost by it, they only wait.

What was tried and lost, on stored curves: promoting whoever may still be the best, by draws from
regressions rung to rung (5 to 10 times the epochs: it settles every near-tie at the top); shares
that follow from a rank correlation with the end, learned from trials trained in full (1.5 to 3
times); a fixed ladder that ranks by forecast (as cheap, but loses the best where ranks are noise).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from daskhpo.schedulers.pareto import AnyRung
from daskhpo.schedulers.rungs import Rung
from daskhpo.schedulers.trend import forecast

__all__ = ["Calibration", "Places", "needed_share"]

START = 0.45  # share of a rung that goes on before there is evidence, and at least
FLOOR = 0.33  # the same where an earlier campaign on the problem has left evidence
CONFIDENCE = 0.85  # with which the leader of the end is to be let through
LEADERS = 4  # trials that are taken for leaders
RIPE = 0.5  # of max_step: before somebody has got this far nobody leads
PRIOR = (2.0, 0.35)  # leaders that are made up before the first is seen, and their mean place
LIMIT = 3.0  # times what it would cost to trust every rank: a ladder is not widened beyond
NEWS = 1.05  # growth of what is recorded after which it is looked at again

# The place of a leader is exponential with an unknown mean, cut at 1: a grid over the mean, and
# the distribution function at every possible share.
_MEANS = np.exp(np.linspace(np.log(0.02), np.log(5.0), 60))
_SHARES = np.arange(2, 101) / 100
_BELOW = (1 - np.exp(-_SHARES / _MEANS[:, None])) / (1 - np.exp(-1 / _MEANS[:, None]))


@dataclass(frozen=True, slots=True)
class Places:
    """Where today's leaders stood on a rung.

    Parameters
    ----------
    places : tuple of float
        Their ranks there, as shares of those recorded (0 the best, 1 the worst).
    share : float
        The share that has gone on from there: nobody beyond it can have become a leader.
    """

    places: tuple[float, ...]
    share: float


def needed_share(evidence: Sequence[Places], *, confidence: float = CONFIDENCE) -> float:
    """The share that a rung must let through so that it holds the next leader as well.

    Places are exponential with unknown mean theta (log-uniform, with the weight of
    two made-up leaders at .35), cut at 1, and seen only up to the share that went on. Returned is
    the ``confidence`` quantile of the place of a further leader, over what is believed of theta.
    If the places seen fill the whole share evenly, theta is large, and the quantile lies beyond
    it: the rung is to be widened.

    Parameters
    ----------
    evidence : sequence of Places
        From this campaign and from earlier ones.
    confidence : float
        Probability, between 0 and 1.

    Returns
    -------
    float
        Between .02 and 1.

    Examples
    --------
    >>> round(needed_share([Places((0.01, 0.02, 0.02, 0.03), share=0.45)]), 2)
    0.37
    >>> round(needed_share([Places((0.1, 0.3, 0.35, 0.4), share=0.45)]), 2)
    0.71
    """
    made_up, place = PRIOR
    log = -made_up * (np.log(_MEANS) + place / _MEANS)
    for seen in evidence:
        share = max(seen.share, *seen.places)
        log -= len(seen.places) * np.log(_MEANS) + sum(seen.places) / _MEANS
        log -= len(seen.places) * np.log1p(-np.exp(-share / _MEANS))
    weight = np.exp(log - log.max())
    below = weight @ _BELOW / weight.sum()
    index = int(np.searchsorted(below, confidence))
    return float(_SHARES[min(index, len(_SHARES) - 1)])


class Calibration:
    """The shares of one ladder, and what they rest on.

    Parameters
    ----------
    steps : sequence of int
        The milestones, rising; the last one is R.

    Attributes
    ----------
    shares : list of float
        Of every rung but the last one; hundredths.

    Examples
    --------
    >>> Calibration((1, 2, 4)).etas
    [Fraction(20, 9), Fraction(20, 9), Fraction(1, 1)]
    """

    def __init__(self, steps: Sequence[int]) -> None:
        self.steps = tuple(steps)
        self.shares = [START] * (len(steps) - 1)
        self.own: dict[int, Places] = {}  # {rung: where this campaign's leaders stood}
        self.inherited: dict[int, Places] = {}  # the same of earlier campaigns
        self._earlier = [Rung(step) for step in steps]  # their trials
        self._taught = 0  # how many of them
        self._seen = 0  # recorded, over all rungs, when the shares were worked out
        self._inherited_from = 0  # earlier trials that ``inherited`` knows of

    @property
    def etas(self) -> list[Fraction]:
        """The reduction factors that the shares come to, of all rungs."""
        return [1 / Fraction(round(100 * share), 100) for share in (*self.shares, 1.0)]

    def learn(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Take in a curve of an earlier campaign: as far as it goes, as if it were promoted."""
        number, last = self._taught, steps[-1]
        self._taught += 1
        at = np.log2(np.asarray(steps, float))
        for index, milestone in enumerate(self.steps):
            if milestone > last or milestone < steps[0]:
                continue
            value = float(np.interp(np.log2(milestone), at, values))
            half = float(np.interp(np.log2(milestone / 2), at, values))
            known = milestone / 2 >= steps[0] and index < len(self.steps) - 1
            ranked = forecast(value, half, milestone, self.steps[-1]) if known else value
            self._earlier[index].record(number, ranked)
            if index + 1 < len(self.steps) and last >= self.steps[index + 1]:
                self._earlier[index].promoted.add(number)

    def update(self, rungs: Sequence[AnyRung], *, anyway: bool = False) -> bool:
        """Work the shares out again if there is enough news; returns whether it did.

        Parameters
        ----------
        rungs : sequence of rungs
            Of the ladder, lowest first.
        anyway : bool
            Whether little news is enough.
        """
        seen = 0
        for rung in rungs:
            seen += len(rung.recorded)
        taught = self._inherited_from != self._taught
        if not (anyway or taught or seen >= self._seen * NEWS + 1):
            return False
        self._seen = seen
        if taught:
            self._inherited_from = self._taught
            self.inherited = places_of_leaders(self._earlier)
        far = max((s for s, r in zip(self.steps, rungs, strict=True) if r.recorded), default=0)
        ripe = far >= RIPE * self.steps[-1]
        self.own = places_of_leaders(rungs) if ripe else {}
        least = FLOOR if self.inherited else START
        for index in range(len(self.shares)):
            evidence = [seen[index] for seen in (self.own, self.inherited) if index in seen]
            share = needed_share(evidence) if evidence else START
            # To widen can wait for own evidence: nobody is lost by waiting.
            self.shares[index] = max(least, share if ripe else min(share, START))
        self.shares = affordable(self.steps, self.shares)
        return True


def affordable(steps: Sequence[int], shares: Sequence[float]) -> list[float]:
    """Narrow shares evenly until a trial costs, on average, what is allowed.

    Where many trials are equally good, as towards the end of a Bayesian search, ranks cannot
    tell them apart and no width would be enough; nothing is lost by leaving some behind.

    Parameters
    ----------
    steps : sequence of int
        The milestones.
    shares : sequence of float
        Of every rung but the last one.

    Returns
    -------
    list of float
        Hundredths.

    Examples
    --------
    >>> affordable((1, 2, 4, 8), [0.5, 0.5, 0.5]), affordable((1, 2, 4, 8), [1.0, 1.0, 1.0])
    ([0.5, 0.5, 0.5], [0.91, 0.91, 0.91])
    """
    allowed = LIMIT * _cost(steps, [START] * len(shares))
    narrower = list(shares)
    for part in range(100, -1, -1):
        if _cost(steps, narrower) <= allowed:
            break
        narrower = [min(share, START + (share - START) * part / 100) for share in shares]
    return [int(100 * share + 1e-9) / 100 for share in narrower]


def _cost(steps: Sequence[int], shares: Sequence[float]) -> float:
    """Steps that a trial trains on average when each rung lets its share go on."""
    cost, reach, before = 0.0, 1.0, 0
    for step, share in zip(steps, (*shares, 0.0), strict=True):
        cost += (step - before) * reach
        reach, before = reach * share, step
    return cost


def places_of_leaders(rungs: Sequence[AnyRung]) -> dict[int, Places]:
    """Where the leaders stood on every rung below the one that they are taken from.

    They are the best of the highest rung that has compared twice as many, in the order of what
    became of them above it.

    Returns
    -------
    dict
        ``{rung: Places}``; empty while too few have come far enough.
    """
    top = next(
        (k for k in range(len(rungs) - 1, 0, -1) if len(rungs[k].recorded) >= 2 * LEADERS), 0
    )
    if not top:
        return {}
    order = [number for _, number in rungs[top].ranking]
    here = set(order)
    for rung in rungs[top + 1 :]:
        above = [number for _, number in rung.ranking if number in here]
        places = [place for place, number in enumerate(order) if number in rung.recorded]
        for place, number in zip(places, above, strict=True):
            order[place] = number
    leaders = frozenset(order[:LEADERS])
    found = {}
    for index, rung in enumerate(rungs[:top]):
        size, passing = len(rung.recorded), leaders & rung.promoted
        ranks = [rank for rank, (_, number) in enumerate(rung.ranking) if number in passing]
        passed = [(rank + 0.5) / size for rank in ranks]
        if passed:
            found[index] = Places(tuple(passed), len(rung.promoted) / size)
    return found
