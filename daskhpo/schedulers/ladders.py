"""Asynchronous ladders: who stands on which rung, and who goes on whenever a worker is free."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from daskhpo.schedulers.base import Bar, Promotion, RungRow
from daskhpo.schedulers.pareto import AnyRung, enter
from daskhpo.schedulers.rungs import Rung
from daskhpo.trial import Answer, Decision, Evidence, Value

__all__ = ["Candidate", "Ladders"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A paused trial that may leave rung ``rung`` of its ladder, and why."""

    number: int
    bracket: int
    rung: int
    evidence: Evidence


class Ladders:
    """The rungs of one or several asynchronous brackets, without a barrier anywhere.

    It is the part that :class:`~daskhpo.schedulers.ASHA` and
    :class:`~daskhpo.schedulers.OneCut` share: promotion from the highest rung down, among the
    best ``floor(n / eta)`` of the ``n`` recorded on a rung, and the tail rule.

    Parameters
    ----------
    steps : sequence of int
        The milestones, rising; the last one is R.
    eta : int or Fraction
        One in ``eta`` goes on.
    brackets : int
        Ladder s consists of ``steps[s:]``.
    rationed : bool
        Whether never more than ``floor(n / eta)`` of a rung go on. Without, all go on that were
        among the best ``floor(n / eta)`` of their moment: more than that, where a sampler learns
        and later trials are better than earlier ones.
    finalists : int
        How many trials of each bracket train to the end, at least.

    Examples
    --------
    >>> ladders = Ladders((1, 9), eta=3)
    >>> for number, loss in enumerate([0.5, 0.1, 0.9]):
    ...     _ = ladders.enter(number)
    ...     evidence = ladders.record(number, 1, loss)
    >>> ladders.promotable().number
    1
    """

    def __init__(
        self,
        steps: Sequence[int],
        *,
        eta: int | Fraction,
        brackets: int = 1,
        rationed: bool = False,
        finalists: int = 1,
    ) -> None:
        self._rationed = rationed
        self._finalists = finalists
        self._ending = False  # whether the tail rule has been called upon
        self._etas: list[int | Fraction] = [eta] * len(steps)
        self.rungs: list[list[AnyRung]] = [
            [Rung(step) for step in steps[s:]] for s in range(brackets)
        ]
        self._place: dict[int, tuple[int, int]] = {}  # {number: (bracket, rung it trains towards)}
        self._descent = [  # (bracket, rung) of all but the last ones, highest milestone first
            (bracket, height - bracket)
            for height in range(len(steps) - 2, -1, -1)
            for bracket in range(min(brackets, height + 1))
        ]
        # Rungs that were found to have nobody to promote, until somebody is recorded on them:
        # most questions would look at every rung in vain.
        self._barren: set[tuple[int, int]] = set()

    @property
    def etas(self) -> list[int | Fraction]:
        """``eta`` of each milestone; may be set at any time."""
        return self._etas

    @etas.setter
    def etas(self, etas: Sequence[int | Fraction]) -> None:
        self._etas = list(etas)
        self._barren.clear()

    def enter(self, number: int, bracket: int = 0) -> Promotion:
        """Admit a new trial at the bottom of a bracket."""
        self._place[number] = (bracket, 0)
        return Promotion(number, bracket, self.rungs[bracket][0].milestone)

    def milestone(self, number: int) -> int:
        """The step at which the trial is compared next."""
        bracket, rung = self._place[number]
        return self.rungs[bracket][rung].milestone

    def tops_out(self, number: int) -> bool:
        """Whether the trial trains towards the last rung, or has been recorded there."""
        bracket, rung = self._place[number]
        return rung == len(self.rungs[bracket]) - 1

    def record(self, number: int, step: int, value: Value) -> dict[str, Any]:
        """Enter what a trial has reached at or beyond its milestone; returns the evidence.

        A trial that does not report every step is compared at the last milestone it has passed.
        """
        bracket, rung = self._place[number]
        ladder = self.rungs[bracket]
        while rung + 1 < len(ladder) and step >= ladder[rung + 1].milestone:
            rung += 1
        self._place[number] = (bracket, rung)
        self._barren.discard((bracket, rung))
        rank = enter(ladder, rung, number, value)
        return self._evidence(bracket, rung, rank)

    def promotable(self) -> Candidate | None:
        """The best promotable trial of the highest rung, or None."""
        for place in self._descent:
            if place in self._barren:
                continue
            bracket, rung = place
            step, eta = self.rungs[bracket][rung], self._etas[bracket + rung]
            spent = self._rationed and len(step.promoted) >= len(step.recorded) // eta
            found = None if spent else step.promotable(eta)
            if found is not None:
                number, rank = found
                return Candidate(number, bracket, rung, self._evidence(bracket, rung, rank))
            self._barren.add(place)
        return self.finalist() if self._ending else None

    def finalist(self) -> Candidate | None:
        """The tail rule: for a bracket with too few trials at the end or on the way, one more.

        It is the best paused one of the highest rung. To be asked for when nothing runs and
        nothing is left to start: so every bracket ends with a complete trial, as in Hyperband,
        and no campaign ends without one. From then on the others follow side by side.
        """
        short = {
            bracket
            for bracket, ladder in enumerate(self.rungs)
            if _complete_or_climbing(ladder) < self._finalists
        }
        paused: list[tuple[int, tuple[float, int], int, int]] = []
        for bracket, rung in self._descent:
            entry = self.rungs[bracket][rung].best_waiting() if bracket in short else None
            if entry is not None and entry[0] < float("inf"):
                paused.append((-bracket - rung, entry, bracket, rung))
        if not paused:
            return None
        _, (_, number), bracket, rung = min(paused)
        step = self.rungs[bracket][rung]
        evidence = {"rung": bracket + rung, "milestone": step.milestone, "tail": True}
        return Candidate(number, bracket, rung, evidence | {"of": len(step.recorded)})

    def advance(self, candidate: Candidate) -> Promotion:
        """Send a paused trial on to the next rung."""
        bracket, rung, number = candidate.bracket, candidate.rung, candidate.number
        self._ending = self._ending or "tail" in candidate.evidence
        self.rungs[bracket][rung].promoted.add(number)
        self._place[number] = (bracket, rung + 1)
        stop = self.rungs[bracket][rung + 1].milestone
        return Promotion(number, bracket + rung + 1, stop, candidate.evidence)

    def judge(self, number: int, evidence: Evidence) -> Answer:
        """Answer a trial that was recorded just now as if its worker had become free.

        When the best next promotion is this very trial it continues in place, with nothing saved.
        """
        found = self.promotable()
        if found is not None and found.number == number:
            tail = {"tail": True} if "tail" in found.evidence else {}
            return Answer(Decision.CONTINUE, self.advance(found).stop, {**evidence, **tail})
        return Answer(Decision.PAUSE, self.milestone(number), evidence)

    def bar(self, number: int, within: Callable[[AnyRung, int | Fraction], int]) -> Bar:
        """What the trial has to reach at its milestone, as that stands now.

        ``within`` says of a rung and its eta how many of those recorded there may be better than a
        trial that goes on; below 0 where that cannot be said. Who trains towards the last rung has
        to be among the finalists, which are the best complete trials.
        """
        bracket, rung = self._place[number]
        ladder = self.rungs[bracket]
        here, last = ladder[rung], rung == len(ladder) - 1
        ranking = here.ranking
        better = self._finalists - 1 if last else within(here, self._etas[bracket + rung])
        value = ranking[better][0] if 0 <= better < len(ranking) else math.inf
        since = ladder[rung - 1].milestone if rung else 0
        return Bar(since, here.milestone, value, None if last else ladder[rung + 1].milestone)

    def stand_in(self, number: int, value: float) -> dict[str, Any]:
        """Enter a trial with the value that it would have had at its milestone.

        On the last rung that is no more than a line: nobody is complete by a forecast.
        """
        evidence = self.record(number, self.milestone(number), value)
        if self.tops_out(number):
            self.standing(number).withdrawn.add(number)
        return evidence

    def pass_on(self, number: int, evidence: Evidence) -> Answer:
        """Let a trial that was recorded just now continue in place, whoever else waits."""
        bracket, rung = self._place[number]
        stop = self.advance(Candidate(number, bracket, rung, evidence)).stop
        return Answer(Decision.CONTINUE, stop, evidence)

    def standing(self, number: int) -> AnyRung:
        """The rung that the trial trains towards, or was recorded on."""
        bracket, rung = self._place[number]
        return self.rungs[bracket][rung]

    def fail(self, number: int) -> None:
        """Rank the trial last on the rung it was training towards; never promote it again."""
        bracket, rung = self._place[number]
        ladder = self.rungs[bracket]
        self._barren.clear()
        if number not in ladder[rung].recorded:
            ladder[rung].record(number, float("inf"))
        for step in ladder:
            step.withdrawn.add(number)

    def rows(self) -> Sequence[RungRow]:
        """One row per bracket and rung; a rung's index counts from the lowest ladder's bottom."""
        return [
            RungRow(s, s + k, rung.milestone, len(rung.recorded), len(rung.promoted), rung.best)
            for s, ladder in enumerate(self.rungs)
            for k, rung in enumerate(ladder)
        ]

    def _evidence(self, bracket: int, rung: int, rank: int) -> dict[str, Any]:
        step = self.rungs[bracket][rung]
        size = len(step.recorded)
        evidence = {"rung": bracket + rung, "milestone": step.milestone, "rank": rank}
        return evidence | {"of": size, "within": size // self._etas[bracket + rung]}


def _complete_or_climbing(ladder: Sequence[AnyRung]) -> int:
    """How many trials are at the end, or have left a rung and not come to one above it."""
    gone, arrived, climbing = ladder[-1].withdrawn, set[int](), set[int]()
    for rung in reversed(ladder):
        climbing |= rung.promoted - arrived
        arrived |= rung.recorded  # a trial that reports rarely passes rungs by
    return len(ladder[-1].recorded - gone) + len(climbing - gone)
